"""UDP and protocols without a tracker of their own: question, answer, and what they never send."""

import struct
from functools import partial

import packet as pk
from model import INSIDE, OUTSIDE, Scenario, Step

from .talk import Ends


def there(ends, data=b"question", phase=0, **kw):
    """A datagram of the client."""
    return Step(INSIDE, pk.udp(ends.client, ends.server, data, **kw), phase)


def back(ends, data=b"answer", phase=0, **kw):
    """A datagram of the server."""
    return Step(OUTSIDE, pk.udp(ends.server, ends.client, data, **kw), phase)


def with_field(step, at, value):
    """The step with two bytes of its upper header replaced and nothing else made right."""
    at += pk.read(step.packet).l4
    step.packet = step.packet[:at] + struct.pack("!H", value) + step.packet[at + 2:]
    return step


def udp(family, kind):
    """One flow each, on the addresses of `kind`."""
    new = partial(Ends, family, kind)
    e = new()
    yield "one-way", [there(e), there(e)]
    e = new()
    yield "answered", [there(e), back(e), there(e), back(e)]
    e = new()
    yield "stream", [there(e), back(e), back(e, phase=1), there(e, phase=1)]
    e = new()
    yield "late-answer", [there(e), there(e, phase=1), back(e, phase=1)]
    e = new()
    yield "long-lived-one-way", [there(e), there(e, phase=1), there(e, phase=1)]
    e = new()
    yield "bad-checksum", [there(e, bad=True), there(e), back(e, bad=True), back(e)]
    e = new()
    yield "no-checksum", [with_field(there(e), 6, 0), there(e)]
    e = new()
    yield "empty", [there(e, data=b""), back(e, data=b"")]
    if kind == "plain":
        e = new()
        yield "server-first", [back(e), there(e), back(e)]
        e = new(service=0)
        yield "port-zero", [there(e), back(e)]
        e = new()
        yield "length-too-long", [with_field(there(e), 4, 60)]
        e = new()
        yield "length-too-short", [with_field(there(e), 4, 9), there(e)]
        e = new()
        yield "length-below-header", [with_field(there(e), 4, 3), there(e)]


def generic(family, number):
    """A protocol that is two addresses and a number to both."""
    def step(side, ends, data=b"12345678"):
        hosts = (ends.client[0], ends.server[0])
        return Step(side, pk.ip(*(hosts if side == INSIDE else hosts[::-1]), number, data))
    e = Ends(family)
    yield "one-way", [step(INSIDE, e), step(INSIDE, e)]
    e = Ends(family)
    yield "answered", [step(INSIDE, e), step(OUTSIDE, e), step(INSIDE, e)]
    e = Ends(family)
    yield "empty", [step(INSIDE, e, b""), step(OUTSIDE, e, b"")]


def scenarios():
    """All of them, in both families."""
    made = []
    for family in (4, 6):
        for kind in ("plain", "masquerade"):
            made += [Scenario(f"udp{family}-{kind}-{name}", steps)
                     for name, steps in udp(family, kind)]
        for number, name in ((50, "esp"), (51, "ah"), (89, "ospf"), (4, "ipip"), (103, "pim")):
            if (family, number) == (6, 51):
                continue
            made += [Scenario(f"{name}{family}-{text}", steps)
                     for text, steps in generic(family, number)]
    return made
