#!/usr/bin/env python3
"""Sends a probe and holds the ICMP error about it against what was sent.

Usage: quotes.py DEVICE udp|echo|tcp ADDRESS PORT [--ttl N] [--size N]

The probe goes out by an ordinary socket and is seen on DEVICE as it leaves. The first ICMP error
that comes back must be for the probe's sender, have right checksums, and quote the probe byte for
byte, but for its time to live and the checksum of its IPv4 header, which must be right. Then one
line says who sent the error, its type and code, the MTU if it names one, and what the socket was
told: `SENDER TYPE/CODE [mtu N] [ERROR]`. Anything else is an error and ends with 1.

PORT is the identifier of an echo request. --size is that of the IP packet, which is then not to
be fragmented.
"""

import argparse
import errno
import ipaddress
import socket
import struct
import sys
import time

IPV4, IPV6 = 0x0800, 0x86DD
ICMP, ICMPV6 = 1, 58
PROTOCOLS = {"udp": 17, "tcp": 6}
# Types of errors: unreachable, time exceeded; in ICMPv6 also too big and parameter problem.
ERRORS = {ICMP: (3, 11, 12), ICMPV6: (1, 2, 3, 4)}
TOO_BIG = {(ICMP, 3, 4), (ICMPV6, 2, 0)}
PACKET_OUTGOING = 4
SECONDS = 5


def summed(data):
    """The Internet checksum over data with its checksum in place: zero if that is right."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Packet:
    """An IP packet without extension headers: addresses, protocol, what is behind the header."""

    def __init__(self, data):
        self.v6 = data[0] >> 4 == 6
        if self.v6:
            self.header, self.protocol, total = 40, data[6], 40 + struct.unpack("!H", data[4:6])[0]
            source, target = data[8:24], data[24:40]
        else:
            self.header, self.protocol = 4 * (data[0] & 15), data[9]
            total = struct.unpack("!H", data[2:4])[0]
            source, target = data[12:16], data[16:20]
        self.data = data[:total]
        self.source, self.target = ipaddress.ip_address(source), ipaddress.ip_address(target)
        self.body = self.data[self.header:]

    def error(self):
        """Type and code, if it is an ICMP error."""
        if self.protocol in ERRORS and len(self.body) >= 8 and \
                self.body[0] in ERRORS[self.protocol]:
            return self.body[0], self.body[1]
        return None

    def checksums(self):
        """Whether the checksums of an ICMP message and of its header are right."""
        if not self.v6:
            return summed(self.data[:self.header]) == 0 and summed(self.body) == 0
        pseudo = self.data[8:40] + struct.pack("!II", len(self.body), ICMPV6)
        return summed(pseudo + self.body) == 0

    def comparable(self, length):
        """Its first bytes, without what changes on the way."""
        data = bytearray(self.data[:length])
        data[7 if self.v6 else 8] = 0
        if not self.v6:
            data[10:12] = b"\0\0"
        return bytes(data)


def send(kind, address, port, ttl, size):
    """Sends the probe; the socket stays open so that it can be told what became of it."""
    v6 = address.version == 6
    family = socket.AF_INET6 if v6 else socket.AF_INET
    header = (40 if v6 else 20) + 8
    payload = bytes(n % 251 for n in range(max(size - header, 24)))
    if kind == "echo":
        probe = socket.socket(family, socket.SOCK_RAW, ICMPV6 if v6 else ICMP)
        head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, port, 1)
        if not v6:
            head = head[:2] + struct.pack("!H", summed(head + payload)) + head[4:]
        payload = head + payload
    else:
        stream = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        probe = socket.socket(family, stream)
    if ttl and v6:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    elif ttl:
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    if size:
        # IP_MTU_DISCOVER and IPV6_MTU_DISCOVER; 3 probes even where a smaller MTU is known.
        probe.setsockopt(*((socket.IPPROTO_IPV6, 23) if v6 else (socket.IPPROTO_IP, 10)), 3)
    probe.setblocking(False)
    try:
        probe.connect((str(address), port if kind != "echo" else 0))
    except BlockingIOError:
        return probe
    probe.send(payload)
    return probe


def seen(wire, deadline):
    """The IP packets on the wire: whether each is on its way out, and the packet."""
    while (left := deadline - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            frame, (_, ethertype, direction, *_) = wire.recvfrom(65535)
        except TimeoutError:
            return
        if ethertype in (IPV4, IPV6):
            yield direction == PACKET_OUTGOING, Packet(frame[14:])


def judge_any(probes, error):
    """What is wrong with an error about a probe that may have been repeated; None if nothing is.

    The sender of an error may limit how many it sends, so that only a repeat is answered.
    """
    wrongs = [judge(probe, error) for probe in probes]
    return None if None in wrongs else wrongs[0]


def judge(probe, error):
    """What is wrong with an error about this very packet; None if nothing is."""
    if error.target != probe.source:
        return f"the error is for {error.target}, the probe was sent by {probe.source}"
    if not error.checksums():
        return f"a checksum is wrong: {error.data.hex()}"
    quote = error.body[8:]
    length = min(len(quote), len(probe.data))
    if length < probe.header + 8:
        return f"only {length} bytes are quoted"
    if not probe.v6 and summed(quote[:20]) != 0:
        return f"the quoted header's checksum is wrong: {quote[:20].hex()}"
    wanted, got = probe.comparable(length), Packet(quote).comparable(length)
    if wanted != got:
        return f"not what was sent:\n  sent   {wanted.hex()}\n  quoted {got.hex()}"
    return None


def line(error, told):
    """The error in one line."""
    words = [str(error.source), "%d/%d" % error.error()]
    if (error.protocol, *error.error()) in TOO_BIG:
        words += ["mtu", str(struct.unpack("!I", error.body[4:8])[0] & 0xFFFFFF)]
    return " ".join(words + ([errno.errorcode[told]] if told else []))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("device")
    parser.add_argument("kind", choices=["udp", "echo", "tcp"])
    parser.add_argument("address", type=ipaddress.ip_address)
    parser.add_argument("port", type=int)
    parser.add_argument("--ttl", type=int, default=0)
    parser.add_argument("--size", type=int, default=0)
    ask = parser.parse_args()
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((ask.device, 0))
    sender = send(ask.kind, ask.address, ask.port, ask.ttl, ask.size)
    icmp = ICMPV6 if ask.address.version == 6 else ICMP
    protocol = PROTOCOLS.get(ask.kind, icmp)
    probes = []
    for leaves, packet in seen(wire, time.monotonic() + SECONDS):
        if leaves and packet.target == ask.address and packet.protocol == protocol:
            probes.append(packet)
        elif probes and not leaves and packet.protocol == icmp and packet.error():
            wrong = judge_any(probes, packet)
            if wrong:
                sys.exit(wrong)
            time.sleep(0.05)
            print(line(packet, sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
            return
    sys.exit("no error came back" if probes else "the probe was not seen to leave")


if __name__ == "__main__":
    main()
