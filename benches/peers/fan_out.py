#!/usr/bin/env python3
"""Follows a run with many WebSocket clients until each has been told all its events, and prints how many events a second that was.

    python3 benches/peers/fan_out.py HOST:PORT /ws/RUN?after=0 CLIENTS EVENTS
"""

import base64
import os
import resource
import selectors
import socket
import sys
import time

# Every event has its seq once.
MARK = b'"seq":'


def handshake(host, path):
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["Host: " + host, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: " + key, "Sec-WebSocket-Version: 13"]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def main():
    host, path, clients, events = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_NOFILE, (clients + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    name, port = host.rsplit(":", 1)
    sockets = [socket.create_connection((name, int(port))) for _ in range(clients)]
    selector, request, told, size = selectors.DefaultSelector(), handshake(host, path), 0, 0
    begun = time.monotonic()
    for one in sockets:
        one.sendall(request)
        one.setblocking(False)
        # How many events, and the bytes behind the last one.
        selector.register(one, selectors.EVENT_READ, [0, b""])
    while selector.get_map():
        for key, _ in selector.select(60):
            data = key.fileobj.recv(1 << 18)
            size += len(data)
            text = key.data[1] + data
            key.data[0] += text.count(MARK)
            tail = text[-(len(MARK) - 1):]
            key.data[1] = tail
            if key.data[0] >= events or not data:
                told += key.data[0]
                selector.unregister(key.fileobj)
    took = time.monotonic() - begun
    print(f"{told} events, {size / 1e6:.0f} MB, to {clients} clients in {took:.2f} s: {told / took:,.0f}/s")


main()
