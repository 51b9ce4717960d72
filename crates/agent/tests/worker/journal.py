"""An MCP server with one tool, which appends what it is called with to the file of its argument."""

import json
import sys

TOOLS = [{"name": "append", "description": "Appends.", "inputSchema": {"type": "object"}}]



def result_of(method, params):
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "serverInfo": {"name": "journal", "version": "1"},
            "capabilities": {"tools": {}},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        with open(sys.argv[1], "a") as journal:
            journal.write(json.dumps(params["arguments"], sort_keys=True) + "\n")
        return {"content": [{"type": "text", "text": "appended"}]}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = result_of(message["method"], message.get("params", {}))
    error = {"code": -32601, "message": "unknown method"}
    answer = {"error": error} if result is None else {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
