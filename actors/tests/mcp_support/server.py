"""A server of tools over standard input and output that misbehaves as it is told: its first argument says how. It notes each
call in the file named by its second argument. Nothing but Python's own library."""

import json
import os
import sys
import time

HOW = sys.argv[1]
NOTES = sys.argv[2]
OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}}


def note(text):
    with open(NOTES, "a", encoding="utf-8") as notes:
        notes.write(text + "\n")


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request, text, **more):
    send({"id": request["id"], "result": {"content": [{"type": "text", "text": text}], **more}})


def listed():
    extra = {"annotations": {"readOnlyHint": True}}
    tools = [{"name": "work", "description": "Does some work.", "inputSchema": OBJECT}]
    tools.append({"name": "look", "description": "Looks.", "inputSchema": OBJECT, **extra})
    if HOW == "schemas":
        tools[0]["inputSchema"] = {"type": "object", "properties": {"n": {"$ref": "https://example.org/never-fetched"}}}
    if HOW == "long-schema":
        tools[0]["inputSchema"] = {"type": "object", "description": "x" * 100_000}
    return tools


def call(request):
    name = request["params"]["name"]
    meta = request["params"].get("_meta", {})
    note(f"call {name} {meta.get('commedia/idempotency-key')}")
    if HOW == "dies":
        sys.stderr.write("out of ink, says ${TOKEN}\n".replace("${TOKEN}", os.environ.get("TOKEN", "")))
        sys.exit(3)
    if HOW == "dies-once" and open(NOTES, encoding="utf-8").read().count("start") == 1:
        sys.exit(3)
    if HOW == "floods":
        for _ in range(100):
            sys.stdout.write("x" * 1_000_000)
        sys.stdout.write("\n")
        sys.stdout.flush()
    if HOW == "silent" or HOW == "floods":
        return
    if HOW == "late":
        time.sleep(0.6)
    if HOW == "wrong-id":
        send({"id": 4711, "result": {"content": []}})
        return
    if HOW == "garbage":
        sys.stdout.write("this is no JSON\n{\"half\": \n\n[1,2]\n{\"jsonrpc\": \"2.0\"}\n")
    if HOW == "changes":
        send({"method": "notifications/tools/list_changed"})
        send({"id": request["id"], "error": {"code": -32602, "message": f"there is no tool {name} any more"}})
        return
    if HOW == "asks":
        send({"id": "s1", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
    if HOW == "fails":
        answer(request, "the printer is on fire", isError=True)
        return
    if HOW == "big":
        answer(request, "x" * 1_200_000)
        return
    if HOW == "image":
        content = [{"type": "text", "text": "a picture:"}, {"type": "image", "data": "AAAA", "mimeType": "image/png"}]
        send({"id": request["id"], "result": {"content": content}})
        return
    if HOW == "structured":
        answer(request, "seven", structuredContent={"n": 7})
        return
    if HOW == "environment":
        answer(request, " ".join(sorted(os.environ)) + " " + os.environ.get("TOKEN", ""))
        return
    answer(request, "done")


def main():
    note(f"start {os.getpid()}")
    if HOW == "dead":
        sys.stderr.write("cannot open the ledger\n")
        sys.exit(1)
    if HOW == "mute":
        time.sleep(3600)
    for line in sys.stdin:
        request = json.loads(line)
        method = request.get("method")
        if method == "initialize":
            version = request["params"]["protocolVersion"]
            info = {"name": "awkward", "version": "1.0"}
            send({"id": request["id"], "result": {"protocolVersion": version, "capabilities": {"tools": {"listChanged": True}}, "serverInfo": info}})
        elif method == "tools/list":
            cursor = request.get("params", {}).get("cursor")
            if HOW == "pages":
                page = int(cursor or 0)
                result = {"tools": [{"name": f"t{page}", "inputSchema": OBJECT}], "nextCursor": str(page + 1)}
            elif HOW == "many":
                result = {"tools": [{"name": f"t{n}", "inputSchema": OBJECT} for n in range(2500)]}
            elif HOW == "two-pages" and cursor is None:
                result = {"tools": listed()[:1], "nextCursor": "more"}
            elif HOW == "two-pages":
                result = {"tools": listed()[1:]}
            else:
                result = {"tools": listed()}
            send({"id": request["id"], "result": result})
        elif method == "tools/call":
            call(request)
        elif "id" in request and method is not None:
            send({"id": request["id"], "result": {}})
        elif method == "notifications/cancelled":
            note("cancelled")
    note("end")


main()
