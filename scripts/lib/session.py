#!/usr/bin/env python3
"""TCP sessions that are held open, and say a word when they are told to.

  session.py serve PORT...
      sends back whatever comes in; says "ready" when it listens.
  session.py hold ADDRESS PORT PIPE
      opens a session and says "open"; for each line that comes out of the named pipe it sends that
      line and says "answered", or "silence" if no answer comes within two seconds.
"""

import socket
import sys
import threading

PATIENCE = 2.0


def echo(peer):
    with peer:
        while data := peer.recv(4096):
            peer.sendall(data)


def accept(server):
    while True:
        peer, _ = server.accept()
        threading.Thread(target=echo, args=(peer,), daemon=True).start()


def serve(ports):
    threads = []
    for port in ports:
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        threads.append(threading.Thread(target=accept, args=(server,)))
        threads[-1].start()
    print("ready", flush=True)


def hold(address, port, pipe):
    with socket.create_connection((address, port), timeout=5) as session:
        session.settimeout(PATIENCE)
        print("open", flush=True)
        while True:
            with open(pipe, "rb") as lines:
                for line in lines:
                    session.sendall(line)
                    try:
                        answer = session.recv(4096)
                    except TimeoutError:
                        answer = b""
                    print("answered" if answer else "silence", flush=True)


def main():
    what, *rest = sys.argv[1:]
    if what == "serve":
        serve([int(port) for port in rest])
    else:
        address, port, pipe = rest
        hold(address, int(port), pipe)


main()
