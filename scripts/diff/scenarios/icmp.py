"""ICMP and ICMPv6: questions and answers, and errors about the packets of others."""

import struct
from functools import partial

import packet as pk
from model import INSIDE, OUTSIDE, Scenario, Step

from .talk import Ends, Talk

ON_THE_WAY = {4: "198.18.255.9", 6: "2001:db8:1::ffff:9"}
INSIDE_HOP = {4: "10.255.0.9", 6: "fd10::ffff:9"}
KINDS = {4: [(3, code) for code in range(16)] + [(4, 0), (5, 0), (5, 1), (11, 0), (11, 1), (12, 0)],
         6: [(1, code) for code in range(7)] + [(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)]}


def ping(ends, number=77, seq=1, reply=False, **kw):
    """A ping of the client, or its answer."""
    hosts = (ends.client[0], ends.server[0])
    return Step(OUTSIDE if reply else INSIDE,
                pk.echo(*(hosts[::-1] if reply else hosts), number, seq, reply, **kw))


def queries(family, kind):
    """Questions and answers."""
    new = partial(Ends, family, kind)
    e = new()
    yield "ping", [ping(e), ping(e, reply=True), ping(e, seq=2), ping(e, seq=2, reply=True)]
    e = new()
    yield "two-pings", [ping(e, 1), ping(e, 2), ping(e, 2, reply=True), ping(e, 1, reply=True)]
    e = new()
    yield "answered-twice", [ping(e), ping(e, reply=True), ping(e, reply=True)]
    e = new()
    yield "bad-checksum", [ping(e, bad=True), ping(e), ping(e, reply=True, bad=True)]
    if kind == "plain":
        e = new()
        yield "answer-first", [ping(e, reply=True), ping(e)]
        e = new()
        yield "answer-of-another", [ping(e), ping(e, 78, reply=True)]
        e = new()
        yield "ping-back", [ping(e), Step(OUTSIDE, pk.echo(e.server[0], e.client[0], 77))]
    if family == 6:
        return
    for ask, answer in ((13, 14), (15, 16), (17, 18)):
        e = new()
        body = struct.pack("!HH", 5, 1)
        yield f"type-{ask}", [
            Step(INSIDE, pk.icmp(e.client[0], e.server[0], ask, 0, body, b"\0" * 12)),
            Step(OUTSIDE, pk.icmp(e.server[0], e.client[0], answer, 0, body, b"\0" * 12)),
            Step(OUTSIDE, pk.icmp(e.server[0], e.client[0], 0, 0, body, b"\0" * 12))]


def odd(family):
    """Types that are neither question nor error."""
    for kind in ((1, 2, 6, 7, 9, 10, 19, 30, 40, 42, 255) if family == 4 else
                 (0, 5, 100, 127, 138, 139, 140, 144, 160, 200, 255)):
        e = Ends(family)
        packet = pk.icmp(e.client[0], e.server[0], kind, data=b"x" * 40)
        yield f"type-{kind}", [Step(INSIDE, packet)]


def opened(family, kind, about):
    """A connection of some protocol, and the first packets of both directions."""
    if about == "tcp":
        talk = Talk(family, kind).handshake()
        return talk.ends, talk.steps
    ends = Ends(family, kind)
    if about == "ping":
        return ends, [ping(ends), ping(ends, reply=True)]
    return ends, [Step(INSIDE, pk.udp(ends.client, ends.server)),
                  Step(OUTSIDE, pk.udp(ends.server, ends.client))]


def errors(family, kind):
    """Errors of every kind about packets of either direction, from the host or on its way."""
    for about in ("udp", "tcp", "ping"):
        for number, (what, code) in enumerate(KINDS[family]):
            if about != "udp" and number % 5:
                continue
            ends, steps = opened(family, kind, about)
            rest = struct.pack("!I", 1400) if (what, code) in ((3, 4), (2, 0)) else b"\0\0\0\0"
            sent, got = steps[0].packet, steps[1].packet
            yield f"{about}-{what}-{code}", steps + [
                Step(OUTSIDE, pk.complaint(ON_THE_WAY[family], ends.client[0], what, code, sent,
                                           rest)),
                Step(OUTSIDE, pk.complaint(ends.server[0], ends.client[0], what, code, sent, rest)),
                Step(INSIDE, pk.complaint(ends.client[0], ends.server[0], what, code, got, rest)),
                Step(INSIDE, pk.complaint(INSIDE_HOP[family], ends.server[0], what, code, got,
                                          rest))]


def strange_errors(family, kind):
    """Errors that quote what they should not, or too little of it."""
    what = (3, 3) if family == 4 else (1, 4)
    head = 20 if family == 4 else 40
    def about(name, quote=548, source=None, target=None, change=lambda p: p, **kw):
        ends, steps = opened(family, kind, "udp")
        packet = pk.complaint(source or ON_THE_WAY[family], target or ends.client[0], *what,
                              change(steps[0].packet), quote=quote, **kw)
        return name, steps + [Step(OUTSIDE, packet)]
    for size in (0, 8, head - 1, head, head + 4, head + 7, head + 8):
        yield about(f"quotes-{size}", quote=size)
    yield about("bad-checksum", bad=True)
    yield about("quotes-bad-checksum", change=lambda p: p[:-1] + b"!")
    yield about("quotes-another-port", change=lambda p: pk.put_source(p, pk.read(p).source, 9))
    yield about("quotes-the-answer", change=lambda p: pk.put_source(
        pk.put_target(p, pk.read(p).source, pk.read(p).ports[0]), pk.read(p).target, 80))
    if kind == "plain":
        yield about("to-another-host", target=INSIDE_HOP[family])
        ends, steps = opened(family, kind, "udp")
        error = pk.complaint(ON_THE_WAY[family], ends.client[0], *what, steps[0].packet)
        yield "about-an-error", steps + [Step(OUTSIDE, error), Step(INSIDE, pk.complaint(
            ends.client[0], ON_THE_WAY[family], *what, error))]
        ends = Ends(family)
        yield "about-nothing", [Step(OUTSIDE, pk.complaint(
            ON_THE_WAY[family], ends.client[0], *what, pk.udp(ends.client, ends.server)))]
        ends = Ends(family)
        first = pk.udp(ends.client, ends.server)
        yield "before-the-answer", [Step(INSIDE, first), Step(OUTSIDE, pk.complaint(
            ends.server[0], ends.client[0], *what, first)), Step(INSIDE, first)]


def scenarios():
    """All of them, in both families, plain and translated."""
    made = []
    for family in (4, 6):
        made += [Scenario(f"icmp{family}-{name}", steps) for name, steps in odd(family)]
        for kind in ("plain", "masquerade"):
            for text, group in (("query", queries), ("error", errors), ("strange", strange_errors)):
                made += [Scenario(f"icmp{family}-{text}-{kind}-{name}", steps)
                         for name, steps in group(family, kind)]
    return made
