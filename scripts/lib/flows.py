#!/usr/bin/env python3
"""Many UDP flows at a time, each datagram numbered, and what became of every one of them.

  flows.py serve FIRST_PORT PORTS
      sends every datagram back that arrives at one of these ports; says "ready" when it listens.
  flows.py drive ADDRESS FIRST_PORT PORTS SOURCES STOP_FILE
      drives PORTS * SOURCES flows, a datagram of each per round, until STOP_FILE exists; says
      "open" when each flow has had its first answer. The last line is JSON: how many flows and
      rounds, how many datagrams were sent and never came back, and of how many flows.
"""

import json
import os
import selectors
import socket
import struct
import sys
import time

FIRST_SOURCE = 30000
# How long the rest of a handful may take before the next one is sent.
PATIENCE = 1.0
# How long is waited for stragglers at the end.
GRACE = 3.0
NUMBERS = struct.Struct("!HHI")


def bound(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
    sock.bind(("0.0.0.0", port))
    sock.setblocking(False)
    return sock


def each_datagram(chooser, timeout):
    for key, _ in chooser.select(timeout):
        while True:
            try:
                yield (key.fileobj, *key.fileobj.recvfrom(2048))
            except BlockingIOError:
                break


def serve(first, ports):
    chooser = selectors.DefaultSelector()
    for port in range(first, first + ports):
        chooser.register(bound(port), selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for sock, data, peer in each_datagram(chooser, None):
            sock.sendto(data, peer)


def drive(address, first, ports, sources, stop_file):
    chooser = selectors.DefaultSelector()
    socks = [bound(FIRST_SOURCE + source) for source in range(sources)]
    for sock in socks:
        chooser.register(sock, selectors.EVENT_READ)
    missing = set()

    def collect(until, wanted):
        while wanted() and (left := until - time.monotonic()) > 0:
            for _, data, _ in each_datagram(chooser, left):
                missing.discard(NUMBERS.unpack_from(data))

    sent, number = 0, 0
    opened = False
    while not os.path.exists(stop_file):
        for source, sock in enumerate(socks):
            handful = {(source, port, number) for port in range(ports)}
            missing |= handful
            for datagram in handful:
                sock.sendto(NUMBERS.pack(*datagram), (address, first + datagram[1]))
            sent += ports
            collect(time.monotonic() + PATIENCE, lambda: not missing.isdisjoint(handful))
        if not opened and not missing:
            print("open", flush=True)
            opened = True
        elif not opened:
            # Until every flow stands, nothing counts.
            missing.clear()
            sent = 0
        number += 1
    collect(time.monotonic() + GRACE, lambda: missing)
    flows = {datagram[:2] for datagram in missing}
    report = {
        "flows": ports * sources,
        "rounds": number,
        "sent": sent,
        "lost": len(missing),
        "flows-with-loss": len(flows),
    }
    print(json.dumps(report), flush=True)


def main():
    what, *rest = sys.argv[1:]
    if what == "serve":
        serve(*map(int, rest))
    else:
        address, first, ports, sources, stop_file = rest
        drive(address, int(first), int(ports), int(sources), stop_file)


main()
