"""Reads captures: pcap and pcapng, gzip too, down to the IP packets in them."""

import gzip
import struct

import packet as pk

NULL, ETHERNET, RAW = (0,), (1,), (12, 14, 101, 228, 229)
LOOP, COOKED, COOKED2 = (108,), (113,), (276,)
ENHANCED_PACKET, SIMPLE_PACKET, INTERFACE, SECTION = 6, 3, 1, 0x0A0D0D0A
PCAP_MAGIC = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1, 0xA1B2CD34: 1000}


def frames(path):
    """The (link type, frame) of each record; stops where the file is damaged."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if struct.unpack("<I", data[:4])[0] == SECTION:
        yield from pcapng(data)
        return
    order, _ = byte_order(data)
    link = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        size = struct.unpack(order + "I", data[at + 8:at + 12])[0]
        if at + 16 + size > len(data):
            return
        yield link, data[at + 16:at + 16 + size]
        at += 16 + size


def byte_order(data):
    """The byte order of a pcap file, and the nanoseconds of its unit of time."""
    for order in "<>":
        number = struct.unpack(order + "I", data[:4])[0]
        if number in PCAP_MAGIC:
            return order, PCAP_MAGIC[number]
    raise ValueError("not a capture")


def pcapng(data):
    """The records of a pcapng file, by the interfaces of its section."""
    at, links, order = 0, [], "<"
    while at + 12 <= len(data):
        kind = struct.unpack(order + "I", data[at:at + 4])[0]
        if kind == SECTION:
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        size = struct.unpack(order + "I", data[at + 4:at + 8])[0]
        if size < 12 or at + size > len(data):
            return
        body = data[at + 8:at + size - 4]
        if kind == INTERFACE:
            links.append(struct.unpack(order + "H", body[:2])[0])
        elif kind == ENHANCED_PACKET:
            interface, _, _, length = struct.unpack(order + "IIII", body[:16])
            yield links[interface], body[20:20 + length]
        elif kind == SIMPLE_PACKET:
            yield links[0], body[4:]
        at += size


def ip_of(link, frame):
    """The IP packet in a frame, without padding; none if it holds none."""
    packet = network(link, frame)
    if packet is None or len(packet) < 20:
        return None
    if pk.version(packet) == 4:
        length = struct.unpack("!H", packet[2:4])[0]
        return packet[:length] if 20 <= length <= len(packet) else packet
    if pk.version(packet) == 6 and len(packet) >= 40:
        return packet[:40 + struct.unpack("!H", packet[4:6])[0]]
    return None


def network(link, frame):
    """What is behind the link header."""
    if link in ETHERNET:
        kind, at = frame[12:14], 14
        while kind in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
            kind, at = frame[at + 2:at + 4], at + 4
        return frame[at:] if kind in (b"\x08\0", b"\x86\xdd") else None
    if link in RAW:
        return frame
    if link in NULL + LOOP:
        return frame[4:]
    if link in COOKED:
        return frame[16:] if frame[14:16] in (b"\x08\0", b"\x86\xdd") else None
    return frame[20:] if link in COOKED2 else None


def packets(path):
    """Every IP packet of a capture."""
    return [packet for packet in (ip_of(*record) for record in frames(path)) if packet]
