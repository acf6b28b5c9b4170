#!/usr/bin/env python3
"""Answers one datagram when its sender has closed the port, and prints what it was told of it.

Usage: late_answer.py ADDRESS PORT

Prints `ready`, waits for a datagram, answers until an error comes back, and prints
`ERROR from OFFENDER quoting PEER:PORT`: the error's name, who sent it, whom the answer was for.
"""

import ipaddress
import socket
import struct
import sys
import time

# linux/in.h, linux/in6.h: switches the error queue on.
IP_RECVERR, IPV6_RECVERR = 11, 25
TRIES, PAUSE_SECONDS = 20, 0.2


def offender(control):
    """Who sent the error: the address behind a sock_extended_err."""
    for _, _, data in control:
        family = struct.unpack("=H", data[16:18])[0]
        at, size = (20, 4) if family == socket.AF_INET else (24, 16)
        return ipaddress.ip_address(data[at:at + size])
    return None


def main(address, port):
    v6 = ":" in address
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR) if v6
                         else (socket.IPPROTO_IP, IP_RECVERR)), 1)
        own.bind((address, port))
        print("ready", flush=True)
        _, peer = own.recvfrom(100)
        time.sleep(PAUSE_SECONDS)
        for _ in range(TRIES):
            try:
                own.sendto(b"answer", peer)
                time.sleep(PAUSE_SECONDS)
            except OSError as error:
                _, control, _, quoted = own.recvmsg(100, 200, socket.MSG_ERRQUEUE)
                who = f"{quoted[0]}:{quoted[1]}"
                print(f"{type(error).__name__} from {offender(control)} quoting {who}")
                return
    sys.exit("nothing came back")


if __name__ == "__main__":
    if len(sys.argv) != 3 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))
