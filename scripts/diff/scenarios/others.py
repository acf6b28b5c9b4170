"""SCTP, UDP-Lite and GRE: associations, coverage, and tunnels without a helper."""

import struct

import packet as pk
from model import INSIDE, OUTSIDE, Options, Scenario, Step

from .talk import Ends

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = range(7)
SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK, COMPLETE = 7, 8, 9, 10, 11, 14


class Association:
    """An SCTP association in the making: each side's tag is what the other writes."""

    def __init__(self, family=4, kind="plain"):
        self.ends = Ends(family, kind, service=3868)
        self.tags = {"c": 0x1111, "s": 0x2222}
        self.steps = []

    def say(self, side, *chunks, tag=None, **kw):
        """One packet of chunks: (kind, flags, body) or a kind alone."""
        far = "s" if side == "c" else "c"
        ends = (self.ends.client, self.ends.server)
        body = b"".join(chunk(*(c if isinstance(c, tuple) else (c,))) for c in chunks)
        packet = pk.sctp(*(ends if side == "c" else ends[::-1]),
                         self.tags[far] if tag is None else tag, body, **kw)
        self.steps.append(Step(INSIDE if side == "c" else OUTSIDE, packet))
        return self

    def init(self, side="c", tag=None):
        """An INIT, which carries no tag but its sender's."""
        return self.say(side, (INIT, 0, initial(self.tags[side] if tag is None else tag)), tag=0)

    def init_ack(self, side="s", **kw):
        """The answer, with a cookie."""
        body = initial(self.tags[side]) + struct.pack("!HH", 7, 12) + b"cookies!"
        return self.say(side, (INIT_ACK, 0, body), **kw)

    def open(self):
        """All four steps."""
        return self.init().init_ack().say("c", (COOKIE_ECHO, 0, b"cookies!")).say("s", COOKIE_ACK)

    def data(self):
        """Data of the client, acknowledged."""
        return self.say("c", (DATA, 3, struct.pack("!IHHI", 1, 0, 0, 0) + b"data")).say(
            "s", (SACK, 0, b"\0" * 12))


def chunk(kind, flags=0, body=b""):
    """One chunk, padded."""
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + b"\0" * (-len(body) % 4)


def initial(tag):
    """What INIT and INIT-ACK begin with."""
    return struct.pack("!IIHHI", tag, 65536, 10, 10, 1)


def shut(talk, side="c"):
    """A side shuts the association down."""
    far = "s" if side == "c" else "c"
    return talk.say(side, (SHUTDOWN, 0, b"\0\0\0\1")).say(far, SHUTDOWN_ACK).say(side, COMPLETE)


def sctp(family, kind):
    """Associations, right and wrong."""
    def talk():
        return Association(family, kind)
    yield "open", talk().open()
    yield "data", talk().open().data()
    yield "shutdown", shut(talk().open().data())
    yield "server-shuts-down", shut(talk().open().data(), "s")
    yield "abort", talk().open().say("c", ABORT).data()
    yield "server-aborts", talk().open().say("s", ABORT)
    yield "abort-with-own-tag", talk().open().say("s", (ABORT, 1), tag=0x2222)
    yield "abort-wrong-tag", talk().open().say("s", ABORT, tag=9).data()
    yield "refused", talk().init().say("s", ABORT)
    yield "refused-then-again", talk().init().say("s", ABORT).init(tag=0x5555).init_ack(tag=0x5555)
    yield "init-twice", talk().init().init().init_ack()
    yield "init-with-a-tag", talk().say("c", (INIT, 0, initial(7)), tag=5)
    yield "init-and-more", talk().say("c", (INIT, 0, initial(7)), ABORT, tag=0)
    yield "data-wrong-tag", talk().open().say("c", (DATA, 3, b"\0" * 16), tag=77).data()
    yield "heartbeat", talk().open().say("c", (HEARTBEAT, 0, b"info")).say(
        "s", (HEARTBEAT_ACK, 0, b"info"))
    yield "error", talk().open().say("s", (ERROR, 0, b"\0\1\0\4")).data()
    yield "bad-checksum", talk().init().init_ack(bad=True).init_ack()
    if kind == "plain":
        yield "collision", talk().init().init("s").init_ack().say(
            "c", (COOKIE_ECHO, 0, b"cookies!")).say("s", COOKIE_ACK)
        yield "path-by-heartbeat", talk().say("c", (HEARTBEAT, 0, b"info")).say(
            "s", (HEARTBEAT_ACK, 0, b"info")).data()
        yield "data-first", talk().data()
        yield "cookie-first", talk().say("c", (COOKIE_ECHO, 0, b"cookies!")).say("s", COOKIE_ACK)
        yield "chunk-too-long", talk().open().say("c", (DATA, 0, b"x" * 20))
        yield "restart", talk().open().data().init(tag=0x3333)


def lite(family, kind):
    """UDP-Lite with all of it covered, and a part."""
    ends = Ends(family, kind)
    def step(side, **kw):
        pair = (ends.client, ends.server)
        return Step(side, pk.udp(*(pair if side == INSIDE else pair[::-1]), b"some data",
                                 protocol=pk.UDPLITE, **kw))
    yield "whole", [step(INSIDE, coverage=0), step(OUTSIDE, coverage=0)]
    ends = Ends(family, kind)
    yield "header-only", [step(INSIDE, coverage=8), step(OUTSIDE, coverage=8)]
    ends = Ends(family, kind)
    yield "part", [step(INSIDE, coverage=12), step(OUTSIDE, coverage=12)]


def gre(family, kind):
    """GRE without a helper is two addresses."""
    ends = Ends(family, kind)
    def step(side, body):
        hosts = (ends.client[0], ends.server[0])
        return Step(side, pk.ip(*(hosts if side == INSIDE else hosts[::-1]), pk.GRE, body))
    plain, keyed = b"\0\0\x08\0" + b"x" * 20, b"\x20\0\x08\0\0\0\0\5" + b"x" * 20
    yield "plain", [step(INSIDE, plain), step(OUTSIDE, plain), step(INSIDE, plain)]
    ends = Ends(family, kind)
    yield "keyed", [step(INSIDE, keyed), step(OUTSIDE, plain)]
    ends = Ends(family, kind)
    yield "one-way", [step(INSIDE, plain), step(INSIDE, keyed)]


def scenarios():
    """All of them, in both families, plain and translated."""
    made = []
    for family in (4, 6):
        for kind in ("plain", "masquerade"):
            made += [Scenario(f"sctp{family}-{kind}-{name}", talk.steps)
                     for name, talk in sctp(family, kind)]
            made += [Scenario(f"udplite{family}-{kind}-{name}", steps, Options(checksum=False))
                     for name, steps in lite(family, kind)]
            made += [Scenario(f"gre{family}-{kind}-{name}", steps)
                     for name, steps in gre(family, kind)]
    return made
