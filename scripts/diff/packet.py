"""Packets as bytes, from the IP header on: making them, reading them, and what two have in common.

Nothing here knows of a router. A packet is made with every checksum right unless it is asked for
otherwise, so that what a scenario breaks is what it says it breaks.
"""

import dataclasses
import ipaddress
import struct

ICMP, TCP, UDP, GRE, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 47, 58, 132, 136
WITH_PORTS = (TCP, UDP, SCTP, UDPLITE)
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32

ECHO_REPLY = {4: 0, 6: 129}
ECHO_REQUEST = {4: 8, 6: 128}
ICMP_ERRORS = {4: (3, 4, 5, 11, 12), 6: (1, 2, 3, 4)}
ICMP_QUERIES = {4: (0, 8, 13, 14, 15, 16, 17, 18), 6: (128, 129)}

# Where the checksum of each protocol stands in its header.
CHECKSUM_AT = {ICMP: 2, ICMPV6: 2, TCP: 16, UDP: 6, UDPLITE: 6, SCTP: 8}


def fold(data, start=0):
    """The Internet checksum of some bytes, complemented."""
    if len(data) & 1:
        data += b"\0"
    total = start + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def version(packet):
    """4 or 6."""
    return packet[0] >> 4


def packed(address):
    """An address in its 4 or 16 bytes."""
    return ipaddress.ip_address(address).packed


def pseudo(packet, protocol, length):
    """The pseudo header of a packet for an upper layer of this length."""
    if version(packet) == 4:
        return packet[12:20] + struct.pack("!HH", protocol, length)
    return packet[8:40] + struct.pack("!II", length, protocol)


def ip(source, target, protocol, payload, **kw):
    """An IP packet of the family of its addresses; `payload` gets its checksum.

    Keywords: ttl, ident, df, more and offset (a fragment of IPv4), bad (a wrong checksum above).
    """
    if ":" in source:
        head = struct.pack("!IHBB", 0x60000000, len(payload), protocol, kw.get("ttl", 64))
        head += packed(source) + packed(target)
    else:
        flags = (0x4000 if kw.get("df") else 0) | (0x2000 if kw.get("more") else 0)
        flags |= kw.get("offset", 0) // 8
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), kw.get("ident", 0), flags,
                           kw.get("ttl", 64), protocol, 0) + packed(source) + packed(target)
        head = head[:10] + struct.pack("!H", fold(head)) + head[12:]
    packet = seal(head + payload)
    if kw.get("bad"):
        at = len(head) + CHECKSUM_AT[protocol]
        packet = packet[:at] + bytes([packet[at] ^ 0x55]) + packet[at + 1:]
    return packet


def seal(packet):
    """The packet with the checksums of its IP and upper header made right, where it is whole."""
    packet = bytearray(seal_header(packet))
    seen = read(packet)
    at = CHECKSUM_AT.get(seen.protocol)
    if at is None or seen.fragment or len(packet) < seen.l4 + at + 2 or not covered(seen, packet):
        return bytes(packet)
    at += seen.l4
    if seen.protocol == SCTP:
        packet[at:at + 4] = b"\0\0\0\0"
        packet[at:at + 4] = struct.pack("<I", crc32c(bytes(packet[seen.l4:])))
        return bytes(packet)
    packet[at:at + 2] = b"\0\0"
    value = checksum(packet, seen)
    packet[at:at + 2] = struct.pack("!H", 0xFFFF if value == 0 and seen.protocol != ICMP else value)
    return bytes(packet)


def seal_header(packet):
    """The packet with the checksum of an IPv4 header made right."""
    if version(packet) == 6:
        return bytes(packet)
    head = bytes(packet[:(packet[0] & 15) * 4])
    return head[:10] + struct.pack("!H", fold(head[:10] + b"\0\0" + head[12:])) + bytes(packet[12:])


def covered(seen, packet):
    """Whether there is a checksum to compute: one of zero in UDP over IPv4 says there is none."""
    return not (seen.protocol == UDP and seen.version == 4
                and packet[seen.l4 + 6:seen.l4 + 8] == b"\0\0")


def checksum(packet, seen):
    """What the upper checksum comes to over the packet as it stands: zero if it is right."""
    upper = bytes(packet[seen.l4:])
    length = len(upper)
    if seen.protocol == UDPLITE:
        coverage = struct.unpack("!H", upper[4:6])[0] or length
        upper = upper[:coverage]
    start = b"" if seen.protocol == ICMP else pseudo(bytes(packet), seen.protocol, length)
    return fold(start + upper)


def is_sound(packet):
    """Whether the checksums of IP, of the upper layer and of a quoted IP header are right."""
    seen = read(packet)
    if seen.version == 4 and fold(bytes(packet[:seen.l4])):
        return False
    if seen.fragment or seen.protocol not in CHECKSUM_AT or seen.cut:
        return True
    if seen.protocol == UDP and packet[seen.l4 + 6:seen.l4 + 8] == b"\0\0":
        return seen.version == 4
    if seen.protocol == SCTP:
        return seal(packet) == bytes(packet)
    if checksum(packet, seen):
        return False
    quote = seen.quote
    return quote is None or version(quote) != 4 or not fold(bytes(quote[:(quote[0] & 15) * 4]))


def crc32c(data):
    """The checksum of SCTP (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def crc_table():
    """The remainders of each byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc_table()


def sctp(source, target, tag, chunks, **kw):
    """An SCTP packet between two (address, port) pairs."""
    header = struct.pack("!HHII", source[1], target[1], tag, 0)
    return ip(source[0], target[0], SCTP, header + chunks, **kw)


def tcp(source, target, flags, seq, ack=0, **kw):
    """A TCP segment between two (address, port) pairs. Keywords: window, options, data, and those
    of `ip`."""
    options = kw.pop("options", b"")
    options += b"\1" * (-len(options) % 4)
    data = kw.pop("data", b"")
    header = struct.pack("!HHIIBBHHH", source[1], target[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                         (20 + len(options)) << 2, flags, kw.pop("window", 8192), 0, 0)
    return ip(source[0], target[0], TCP, header + options + data, **kw)


def udp(source, target, data=b"data", protocol=UDP, coverage=None, **kw):
    """A UDP or UDP-Lite datagram between two (address, port) pairs."""
    length = 8 + len(data) if coverage is None else coverage
    header = struct.pack("!HHHH", source[1], target[1], length, 0xFFFF)
    return ip(source[0], target[0], protocol, header + data, **kw)


def icmp(source, target, kind, code=0, rest=b"\0\0\0\0", data=b"", **kw):
    """An ICMP or ICMPv6 message."""
    protocol = ICMPV6 if ":" in source else ICMP
    return ip(source, target, protocol, bytes([kind, code, 0, 0]) + rest + data, **kw)


def echo(source, target, number, seq=1, reply=False, **kw):
    """A ping or its answer."""
    kinds = ECHO_REPLY if reply else ECHO_REQUEST
    kind = kinds[6 if ":" in source else 4]
    return icmp(source, target, kind, 0, struct.pack("!HH", number, seq), b"ping-data", **kw)


def complaint(source, target, kind, code, about, rest=b"\0\0\0\0", quote=548, **kw):
    """An ICMP error about a packet, of which it quotes so many bytes."""
    return icmp(source, target, kind, code, rest, about[:quote], **kw)


def pieces(packet, size, ident=77):
    """A packet in fragments of up to `size` bytes of data each (a multiple of eight)."""
    seen = read(packet)
    data = packet[seen.l4:]
    made = []
    for at in range(0, len(data), size):
        part, more = data[at:at + size], at + size < len(data)
        made.append(piece(packet, ident, at, part, more))
    return made


def piece(packet, ident, offset, data, more):
    """One fragment with the headers of a packet."""
    if version(packet) == 4:
        head = bytearray(packet[:20])
        field = offset // 8 | (0x2000 if more else 0)
        head[2:8] = struct.pack("!HHH", 20 + len(data), ident, field)
        head[10:12] = b"\0\0"
        head[10:12] = struct.pack("!H", fold(bytes(head)))
        return bytes(head) + data
    extension = struct.pack("!BBHI", packet[6], 0, offset | int(more), ident)
    head = bytearray(packet[:40])
    head[4:7] = struct.pack("!HB", 8 + len(data), 44)
    return bytes(head) + extension + data


def whole(fragments):
    """The packet that fragments make up; the fragments in a row where they do not fit."""
    parts = {}
    for packet in fragments:
        seen = read(packet)
        at = 6 if seen.version == 4 else seen.l4 - 6
        field = struct.unpack("!H", packet[at:at + 2])[0]
        offset = (field & 0x1FFF) * 8 if seen.version == 4 else field & 0xFFF8
        parts[offset] = bytes(packet[seen.l4:])
    data, first = b"", bytes(fragments[0])
    for offset in sorted(parts):
        if offset != len(data):
            return b"".join(fragments)
        data += parts[offset]
    if version(first) == 4:
        head = first[:2] + struct.pack("!H", 20 + len(data)) + first[4:6] + b"\0\0" + first[8:10]
        head += b"\0\0" + first[12:20]
        return head[:10] + struct.pack("!H", fold(head)) + head[12:] + data
    kind = first[40]
    return first[:4] + struct.pack("!HB", len(data), kind) + first[7:40] + data


@dataclasses.dataclass
class Seen:
    """What a packet says, as far as the comparison needs it. Offsets count from the IP header."""

    version: int
    protocol: int
    source: str
    target: str
    l4: int
    ports: tuple
    fragment: bool
    cut: bool
    quote: bytes
    icmp: tuple


def read(packet):
    """Reads a packet whose IP header is whole."""
    family = version(packet)
    if family == 4:
        at, protocol = (packet[0] & 15) * 4, packet[9]
        field = struct.unpack("!H", packet[6:8])[0]
        fragment, first = bool(field & 0x3FFF), not field & 0x1FFF
        cut = struct.unpack("!H", packet[2:4])[0] > len(packet)
        source, target = packet[12:16], packet[16:20]
    else:
        at, protocol, fragment, first = 40, packet[6], False, True
        while protocol in (0, 43, 44, 60) and len(packet) >= at + 8:
            if protocol == 44:
                field = struct.unpack("!H", packet[at + 2:at + 4])[0]
                fragment, first = bool(field & 0xFFF9), not field & 0xFFF8
            following = packet[at]
            at += 8 if protocol == 44 else 8 + packet[at + 1] * 8
            protocol = following
            if not first:
                break
        cut = 40 + struct.unpack("!H", packet[4:6])[0] > len(packet)
        source, target = packet[8:24], packet[24:40]
    seen = Seen(family, protocol, str(ipaddress.ip_address(bytes(source))),
                str(ipaddress.ip_address(bytes(target))), at, (0, 0), fragment, cut, None, None)
    if first:
        read_upper(packet, seen)
    return seen


def read_upper(packet, seen):
    """Ports, identifiers and quoted packets."""
    upper = packet[seen.l4:]
    if seen.protocol in WITH_PORTS and len(upper) >= 4:
        seen.ports = struct.unpack("!HH", upper[:4])
        return
    if seen.protocol != (ICMP if seen.version == 4 else ICMPV6) or len(upper) < 8:
        return
    seen.icmp = (upper[0], upper[1])
    if upper[0] in ICMP_QUERIES[seen.version]:
        number = struct.unpack("!H", upper[4:6])[0]
        asks = upper[0] in (8, 13, 15, 17, 128)
        seen.ports = (number, 0) if asks else (0, number)
    elif upper[0] in ICMP_ERRORS[seen.version] and len(upper) >= {4: 36, 6: 56}[seen.version]:
        seen.quote = bytes(upper[8:])


def is_opening(packet):
    """Whether it is a TCP SYN or an SCTP INIT."""
    seen = read(packet)
    if seen.protocol == TCP and len(packet) > seen.l4 + 13:
        return packet[seen.l4 + 13] & (SYN | ACK | RST | FIN) == SYN
    return seen.protocol == SCTP and packet[seen.l4 + 12:seen.l4 + 13] == b"\x01"


def put_source(packet, address, port):
    """The packet with another source address and port or identifier."""
    return rewritten(packet, 12, 8, address, 0, port)


def put_target(packet, address, port):
    """The packet with another destination address and port or identifier."""
    return rewritten(packet, 16, 24, address, 2, port)


def rewritten(packet, at4, at6, address, port_at, port):
    """The packet with one of its ends replaced; checksums are not touched."""
    seen, out = read(packet), bytearray(packet)
    at, new = (at4 if seen.version == 4 else at6), packed(address)
    out[at:at + len(new)] = new
    if seen.protocol in (ICMP, ICMPV6):
        port_at = 4
    if any(seen.ports) and port is not None:
        out[seen.l4 + port_at:seen.l4 + port_at + 2] = struct.pack("!H", port)
    return bytes(out)


def words(packet):
    """A packet in one line, for people."""
    seen = read(packet)
    names = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmpv6", SCTP: "sctp", GRE: "gre",
             UDPLITE: "udplite"}
    text = names.get(seen.protocol, f"proto {seen.protocol}")
    text += f" {seen.source}:{seen.ports[0]} > {seen.target}:{seen.ports[1]}"
    if seen.protocol == TCP and not seen.fragment and len(packet) >= seen.l4 + 20:
        seq, ack, offset, flags, window = struct.unpack("!IIBBH", packet[seen.l4 + 4:seen.l4 + 16])
        marks = "".join(c for c, bit in zip("FSRPAUEC", (1, 2, 4, 8, 16, 32, 64, 128))
                        if flags & bit)
        size = len(packet) - seen.l4 - (offset >> 4) * 4
        text += f" [{marks or '-'}] seq {seq} len {size} ack {ack} win {window}"
        options = packet[seen.l4 + 20:seen.l4 + (offset >> 4) * 4]
        text += f" opt {options.hex()}" if options else ""
    if seen.icmp:
        text += f" type {seen.icmp[0]} code {seen.icmp[1]}"
    if seen.quote:
        text += f" about ({words(seen.quote)})" if len(seen.quote) >= 28 else ""
    if seen.fragment:
        text += " (fragment)"
    return text
