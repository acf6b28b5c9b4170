"""Two ends that talk: addresses nobody else uses, and TCP segments with numbers that follow."""

import itertools

import packet as pk
from model import INSIDE, OUTSIDE, Step

NUMBERS = itertools.count(1)

# Inside addresses by what happens to them on their way out, see the rules of both routers.
KINDS = {"plain": ("10.{}.{}.{}", "fd10::{:x}:{:x}:{:x}"),
         "masquerade": ("100.{}.{}.{}", "fd64::{:x}:{:x}:{:x}"),
         "ports": ("100.{}.{}.{}", "fd80::{:x}:{:x}:{:x}")}
FIRST_OCTET = {"plain": 0, "masquerade": 64, "ports": 80}


class Ends:
    """An inside client and an outside server."""

    def __init__(self, family=4, kind="plain", port=None, service=80):
        number = next(NUMBERS)
        high, low = divmod(number, 250)
        inside = KINDS[kind][family == 6].format(FIRST_OCTET[kind] + high % 16, low,
                                                 2 + high // 16)
        outside = (f"198.18.{high}.{low + 1}", f"2001:db8:1::{high:x}:{low:x}")[family == 6]
        self.family = family
        self.client = (inside, port or 20000 + number % 40000)
        self.server = (outside, service)

    def key(self, protocol):
        """The connection, as tables list it."""
        return protocol, *self.client, *self.server


class Talk:
    """A TCP connection in the making. Sides are called `c` and `s`; the next number of each is
    known, and `seq` and `ack` count from the initial numbers as people write them."""

    def __init__(self, family=4, kind="plain", isn=(1000, 500000), **kw):
        self.ends = Ends(family, kind, **kw)
        self.isn = {"c": isn[0], "s": isn[1]}
        self.next = {"c": isn[0], "s": isn[1]}
        self.steps = []

    def say(self, side, flags, seq=None, ack=None, size=0, **kw):
        """One segment. Flags by letter; `seq` and `ack` are offsets from the initial numbers, left
        out they are what is due."""
        far = "s" if side == "c" else "c"
        bits = sum(bit for letter, bit in zip("FSRPAUEC", (1, 2, 4, 8, 16, 32, 64, 128))
                   if letter in flags)
        number = self.next[side] if seq is None else self.isn[side] + seq
        answer = self.next[far] if ack is None else self.isn[far] + ack
        if ack is None and "A" not in flags:
            answer = 0
        ends = (self.ends.client, self.ends.server)
        source, target = ends if side == "c" else ends[::-1]
        packet = pk.tcp(source, target, bits, number, answer, data=b"d" * size, **kw)
        self.steps.append(Step(INSIDE if side == "c" else OUTSIDE, packet))
        end = number + size + ("S" in flags) + ("F" in flags)
        if "R" not in flags and (end - self.next[side]) & 0xFFFFFFFF < 1 << 31:
            self.next[side] = end
        return self

    def handshake(self, **kw):
        """SYN, SYN-ACK, ACK."""
        return self.say("c", "S", **kw).say("s", "SA", **kw).say("c", "A")

    def data(self, side, size=100):
        """A segment of data and its acknowledgement."""
        far = "s" if side == "c" else "c"
        return self.say(side, "PA", size=size).say(far, "A")
