"""An MCP server that misbehaves in the way its first argument names. Standard library only.

It and whatever it starts connect to the socket in ALIVE and hold the connection, so that a test
hears when the last of them is gone.
"""

import json
import os
import signal
import socket
import sys
import time

HOW = sys.argv[1]
OBJECT = {"type": "object"}
TOOLS = {
    "bad_schema": [
        {"name": "good", "inputSchema": OBJECT},
        {"name": "remote", "inputSchema": {"type": "object", "$ref": "https://evil.example/s.json"}},
        {"name": "list", "inputSchema": {"type": "array"}},
        {"name": "bad name", "inputSchema": OBJECT},
        {"name": "bare"},
        {"name": "null", "inputSchema": None},
    ],
}.get(HOW, [{"name": "act", "description": "Acts.", "inputSchema": OBJECT}])


def alive(role):
    if not os.environ["ALIVE"]:
        return None
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["ALIVE"])
    connection.sendall(role.encode() + b"\n")
    return connection


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request, result):
    send({"id": request["id"], "result": result})


def text(request, value, **more):
    answer(request, {"content": [{"type": "text", "text": value}], **more})


def ignore_everything():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def call(request):
    if HOW == "never_answers":
        return
    if HOW == "answers_late":
        late.append(request)
        return leader.sendall(b"called\n")
    if HOW == "exits_mid_call":
        print("last words", file=sys.stderr)
        os._exit(7)
    if HOW == "stubborn_daemon":
        os._exit(0)
    if HOW == "answers_and_exits":
        text(request, "done")
        os._exit(0)
    if HOW == "garbage":
        while True:
            os.write(1, b"\xff\xfe not json\n" * 100)
    if HOW == "huge_line":
        while True:
            os.write(1, b"x" * 65536)
    if HOW == "stderr_flood":
        for _ in range(200):
            os.write(2, b"noise" * 2000)
    if HOW == "huge_result":
        return text(request, "y" * 3_000_000)
    if HOW == "half_characters":
        line = {"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": "a\ud83d b"}]}}
        return os.write(1, json.dumps(line).encode() + b"\n")
    if HOW == "unknown_content":
        blocks = [{"type": "text", "text": "kept"}, {"type": "hologram", "data": 1}]
        return answer(request, {"content": blocks})
    if HOW == "chatters":
        for _ in range(300):
            os.write(1, b"log: working\n")
    if HOW == "refuses":
        return send({"id": request["id"], "error": {"code": -32000, "message": "no\x1b[31m way"}})
    if HOW == "wrong_answers":
        send({"id": 987654, "result": {}})
        send({"id": "other", "result": {"content": []}})
        send({"jsonrpc": "1.0", "id": None, "method": 5})
    if HOW == "reads_environment":
        return text(request, json.dumps(dict(os.environ)))
    if HOW == "counts_high":
        return text(request, "", structuredContent={"id": 123456789012345678901234567890})
    if HOW == "shows_meta":
        return text(request, "", structuredContent=request["params"]["_meta"])
    if HOW == "changes_tools":
        TOOLS[:] = [{"name": "renamed", "inputSchema": OBJECT}]
        send({"method": "notifications/tools/list_changed"})
    text(request, "acted")


late = []
leader = alive("leader")
if HOW == "dies_at_start":
    print("Traceback:\n  no module named 'weather'", file=sys.stderr)
    sys.exit(3)
if HOW == "silent":
    ignore_everything()
if HOW == "stubborn_grandchild":
    if os.fork() == 0:
        grandchild = alive("grandchild")
        ignore_everything()
if HOW == "stubborn_daemon":
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            daemon = alive("daemon")
            ignore_everything()
        os._exit(0)
if HOW == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize" and HOW == "old" and message["params"]["protocolVersion"] != "2024-11-05":
        data = {"supported": ["2024-11-05"], "requested": message["params"]["protocolVersion"]}
        error = {"code": -32602, "message": "Unsupported protocol version", "data": data}
        send({"id": message["id"], "error": error})
    elif method == "initialize":
        versions = {"protocolVersion": message["params"]["protocolVersion"]}
        info = {"serverInfo": {"name": HOW, "version": "1"}}
        answer(message, {**versions, **info, "capabilities": {"tools": {"listChanged": True}}})
    elif method == "tools/list":
        answer(message, {"tools": TOOLS})
    elif method == "tools/call":
        call(message)
    elif method == "notifications/cancelled":
        print("cancelled", file=sys.stderr, flush=True)
        leader.sendall(b"cancelled\n")
        while late:
            text(late.pop(), "too late")
    elif "id" in message and method:
        send({"id": message["id"], "error": {"code": -32601, "message": "unknown method"}})
    if HOW == "deaf" and method == "tools/list":
        ignore_everything()
if HOW == "stubborn":
    ignore_everything()
