#!/usr/bin/env python3
"""Sends malformed frames and prints what a gateway should have counted: `reason count` per line.

Usage: frames.py DEVICE GATEWAY_MAC TIMES [--random SEED]

Each frame of the list goes out TIMES times. With --random instead TIMES frames of random bytes
behind a true Ethernet header (seeded, so that a failure can be sent again).
"""

import collections
import ipaddress
import random
import socket
import struct
import sys
import time

IPV4, IPV6, ARP, VLAN = 0x0800, 0x86DD, 0x0806, 0x8100
TCP, UDP, HOP_BY_HOP = 6, 17, 0
SOURCE4, SOURCE6 = "192.168.88.10", "fd00:88::10"
SERVER4, SERVER6 = "203.0.113.1", "2001:db8:113::1"
# The gateway's packet ring takes 512 frames; it must never be the one that drops.
PACE_FRAMES, PACE_SECONDS = 32, 0.002


def checksum(data):
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(payload, version=4, words=5, options=b"", total=None, source=SOURCE4, target=SERVER4,
         protocol=UDP, fragment=0, break_checksum=False):
    """An IPv4 packet; each argument can say something untrue."""
    size = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | words, 0, size, 1, fragment, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target)) + options
    value = checksum(head) ^ (0x5555 if break_checksum else 0)
    return head[:10] + struct.pack("!H", value) + head[12:] + payload


def ipv6(payload, version=6, length=None, following=UDP, source=SOURCE6, target=SERVER6):
    """An IPv6 packet; each argument can say something untrue."""
    size = len(payload) if length is None else length
    return struct.pack("!IHBB", version << 28, size, following, 64) + \
        ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed + payload


def udp(length=None, data=b"malformed"):
    """A UDP datagram without checksum."""
    size = 8 + len(data) if length is None else length
    return struct.pack("!HHHH", 40000, 9, size, 0) + data


def tcp(words=5, data=b""):
    """A TCP segment whose checksum is left zero: it is to be refused before anybody looks."""
    return struct.pack("!HHIIBBHHH", 40000, 9, 1, 0, words << 4, 2, 1000, 0, 0) + data


def malformed():
    """The frames: (reason, Ethernet type, bytes behind it)."""
    return [
        ("ethertype-unknown", 0x88B5, b"\0" * 46),
        ("vlan-unknown", VLAN, struct.pack("!HH", 77, IPV4) + ipv4(udp())),
        ("arp-malformed", ARP, struct.pack("!HHBBH", 1, IPV4, 5, 4, 1) + b"\0" * 20),
        ("arp-malformed", ARP, struct.pack("!HHBBH", 1, IPV4, 6, 4, 1)),
        ("ip-truncated", IPV4, ipv4(udp())[:10]),
        ("ip-truncated", IPV6, ipv6(udp())[:30]),
        ("ip-version", IPV4, ipv4(udp(), version=5)),
        ("ip-version", IPV6, ipv6(udp(), version=7)),
        ("ip-header-length", IPV4, ipv4(udp(), words=4)),
        ("ip-header-length", IPV4, ipv4(b"", words=15)),
        ("ip-total-length", IPV4, ipv4(udp(), total=19)),
        ("ip-total-length", IPV4, ipv4(udp(), total=1400)),
        ("ip-total-length", IPV6, ipv6(udp(), length=1400)),
        ("ip-checksum", IPV4, ipv4(udp(), break_checksum=True)),
        ("ip-options", IPV4, ipv4(udp(), words=6, options=bytes([7, 0, 0, 0]))),
        ("ip-options", IPV4, ipv4(udp(), words=6, options=bytes([7, 40, 4, 0]))),
        ("ipv6-extension", IPV6, ipv6(bytes([UDP, 200]) + b"\0" * 14, following=HOP_BY_HOP)),
        ("l4-truncated", IPV4, ipv4(udp()[:6])),
        ("l4-truncated", IPV4, ipv4(udp(length=4))),
        ("l4-truncated", IPV4, ipv4(udp(length=900))),
        ("l4-truncated", IPV4, ipv4(tcp()[:12], protocol=TCP)),
        ("l4-truncated", IPV4, ipv4(tcp(words=4), protocol=TCP)),
        ("l4-truncated", IPV6, ipv6(tcp(words=15), following=TCP)),
        ("martian-source", IPV4, ipv4(udp(), source="127.0.0.1")),
        ("martian-source", IPV4, ipv4(udp(), source="224.0.0.9")),
        ("martian-source", IPV6, ipv6(udp(), source="::1")),
        ("martian-source", IPV6, ipv6(udp(), source="ff02::1")),
        ("martian-destination", IPV4, ipv4(udp(), target="127.0.0.1")),
        ("martian-destination", IPV6, ipv6(udp(), target="::1")),
    ]


def ethernet(target, source, ethertype, payload):
    """A frame; short ones stay short, as a veth does not pad."""
    return target + source + struct.pack("!H", ethertype) + payload


def send_paced(wire, frames):
    """Sends the frames with a pause now and then."""
    for number, frame in enumerate(frames, 1):
        wire.send(frame)
        if number % PACE_FRAMES == 0:
            time.sleep(PACE_SECONDS)


def random_frames(target, source, times, seed):
    """Frames of random bytes that claim to be IP or ARP."""
    dice = random.Random(seed)
    for _ in range(times):
        ethertype = dice.choice([IPV4, IPV6, ARP, VLAN])
        payload = bytearray(dice.randbytes(dice.randrange(4, 300)))
        if dice.random() < 0.8:
            payload[0] = {IPV4: 0x45, IPV6: 0x60}.get(ethertype, payload[0])
        yield ethernet(target, source, ethertype, bytes(payload))


def main(arguments):
    device, times = arguments[0], int(arguments[2])
    mac = bytes.fromhex(arguments[1].replace(":", ""))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((device, 0))
    source = wire.getsockname()[4]
    if arguments[3:4] == ["--random"]:
        send_paced(wire, random_frames(mac, source, times, int(arguments[4])))
        return
    sent = collections.Counter()
    frames = []
    for reason, ethertype, payload in malformed():
        frames += [ethernet(mac, source, ethertype, payload)] * times
        sent[reason] += times
    stranger = bytes([mac[0] ^ 0x02]) + mac[1:]
    frames += [ethernet(stranger, source, IPV4, ipv4(udp()))] * times
    sent["not-for-us"] += times
    send_paced(wire, frames)
    for reason, count in sorted(sent.items()):
        print(reason, count)


if __name__ == "__main__":
    if len(sys.argv) < 4 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(sys.argv[1:])
