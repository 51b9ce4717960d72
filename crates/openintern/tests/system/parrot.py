"""An MCP server that repeats its environment: in what it says of its tools, in results, in errors,
and on standard error. Standard library only."""

import base64
import json
import os
import sys
import urllib.parse

TOKEN = os.environ["CANARY_TOKEN"]
SPELLINGS = [
    json.dumps(dict(os.environ)),
    TOKEN,
    base64.b64encode(TOKEN.encode()).decode(),
    base64.b64encode(("user:" + TOKEN).encode()).decode(),
    urllib.parse.quote(TOKEN, safe=""),
]
SAID = " ".join(SPELLINGS)
OBJECT = {"type": "object"}
TOOLS = [
    {"name": "environment", "description": "Has " + SAID, "inputSchema": {**OBJECT, "title": SAID}},
    {"name": "fail", "description": "Fails.", "inputSchema": OBJECT},
]


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    print(SAID, file=sys.stderr, flush=True)
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        version = {"protocolVersion": message["params"]["protocolVersion"]}
        info = {"serverInfo": {"name": TOKEN, "version": TOKEN}, "capabilities": {"tools": {}}}
        send({"id": number, "result": {**version, **info}})
    elif method == "tools/list":
        send({"id": number, "result": {"tools": TOOLS}})
    elif method == "tools/call" and message["params"]["name"] == "fail":
        send({"id": number, "error": {"code": -32000, "message": "failed with " + SAID}})
    elif method == "tools/call":
        structured = {"environment": dict(os.environ), TOKEN: [TOKEN]}
        content = [{"type": "text", "text": SAID}]
        send({"id": number, "result": {"content": content, "structuredContent": structured}})
    elif number is not None:
        send({"id": number, "error": {"code": -32601, "message": "unknown method"}})
