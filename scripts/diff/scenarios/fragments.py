"""Packets in pieces: in order, out of order, twice, overlapping, and incomplete."""

from functools import partial

import packet as pk
from model import INSIDE, OUTSIDE, Scenario, Step

from .talk import Ends


def whole(ends, size=2000, back=False):
    """A datagram that is to be cut."""
    hosts = (ends.server, ends.client) if back else (ends.client, ends.server)
    return pk.udp(*hosts, bytes(n & 0xFF for n in range(size)))


def cut(ends, size=2000, by=800, ident=77, back=False):
    """The steps that send a datagram in pieces."""
    side = OUTSIDE if back else INSIDE
    return [Step(side, piece) for piece in pk.pieces(whole(ends, size, back), by, ident)]


def overlapping(ends, at, size, same):
    """A datagram in two pieces and one that lies over both."""
    packet = whole(ends, 1192)
    data = packet[pk.read(packet).l4:]
    over = data[at:at + size] if same else b"#" * size
    more = at + size < len(data)
    return [Step(INSIDE, pk.piece(packet, 5, *part)) for part in (
        (0, data[:800], True), (at, over, more), (800, data[800:], False))]


def kinds(family, kind):
    """One datagram each."""
    new = partial(Ends, family, kind)
    yield "in-order", cut(new())
    yield "reversed", cut(new())[::-1]
    e = new()
    yield "answered", cut(e) + cut(e, back=True, ident=78)
    yield "twice-each", [step for step in cut(new()) for _ in (1, 2)]
    e = new()
    yield "last-missing", cut(e)[:-1] + cut(e, ident=9)
    e = new()
    yield "first-missing", cut(e)[1:] + [Step(INSIDE, whole(e, 100))]
    yield "overlap-other-data", overlapping(new(), 792, 16, False)
    yield "overlap-same-data", overlapping(new(), 792, 16, True)
    yield "overlap-whole-piece", overlapping(new(), 800, 400, False)
    yield "overlap-inside", overlapping(new(), 96, 96, True)
    yield "small-pieces", cut(new(), 200, 16)
    yield "two-at-once", [s for pair in zip(cut(new(), ident=1), cut(new(), ident=2)) for s in pair]
    e = new()
    packet = whole(e, 1200)
    data = packet[pk.read(packet).l4:]
    yield "not-by-eight", [Step(INSIDE, pk.piece(packet, 5, 0, data[:803], True)),
                           Step(INSIDE, pk.piece(packet, 5, 808, data[808:], False))]
    yield "too-long", [Step(INSIDE, pk.piece(packet, 6, 65528, data[:100], False))]
    yield "tiny-first", [Step(INSIDE, pk.piece(packet, 7, 0, data[:8], True)),
                         Step(INSIDE, pk.piece(packet, 7, 8, data[8:], False))]
    e = new()
    yield "ping", [Step(INSIDE, piece) for piece in pk.pieces(pk.icmp(
        e.client[0], e.server[0], 8 if family == 4 else 128, 0, b"\0\7\0\1", b"p" * 1500), 800)]


def scenarios():
    """All of them, in both families, plain and translated."""
    return [Scenario(f"fragments{family}-{kind}-{name}", steps) for family in (4, 6)
            for kind in ("plain", "masquerade") for name, steps in kinds(family, kind)]
