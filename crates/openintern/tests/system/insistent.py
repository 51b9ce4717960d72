"""An MCP server that asks for more than it may, 20,000 times, before it says which tools it has. Standard
library only."""

import json
import sys

REQUESTS, AT_ONCE = 20_000, 100
TOOLS = [{"name": "late", "description": "Comes late.", "inputSchema": {"type": "object"}}]


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def insist():
    for first in range(0, REQUESTS, AT_ONCE):
        for number in range(first, first + AT_ONCE):
            send({"id": number, "method": "more/please"})
        sys.stdout.flush()
        for _ in range(AT_ONCE):  # Else both of us would wait for room in a pipe.
            sys.stdin.readline()


while line := sys.stdin.readline():
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        version = {"protocolVersion": message["params"]["protocolVersion"]}
        info = {"serverInfo": {"name": "n", "version": "1"}, "capabilities": {"tools": {}}}
        send({"id": number, "result": {**version, **info}})
    elif method == "tools/list":
        insist()
        send({"id": number, "result": {"tools": TOOLS}})
    elif number is not None:
        send({"id": number, "error": {"code": -32601, "message": "unknown method"}})
    sys.stdout.flush()
