"""TCP by the dice: segments as an endpoint would send them, with mistakes put in.

Everything comes from the seed and the number of the scenario, so one of them can be run again.
"""

import random

from model import Options, Scenario

from .talk import Talk

OFFSETS = (-1, 1, -2, 2, 10, -10, 100, -100, 1000, -1000, 8191, 8192, 8193, 40000, -40000, 65535,
           66000, -66000, -66001, 70000, -70000, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31)
FLAGS = ("S", "SA", "A", "PA", "FA", "R", "RA", "F", "", "SF", "SR", "UA", "SAP", "SEC", "AE",
         "FPA")
OPTIONS = (b"", b"", b"", bytes([3, 3, 2]), bytes([3, 3, 7, 4, 2]), bytes([4, 2]),
           bytes([3, 3, 15]), bytes([2, 4, 5, 0xB4]))


def sack(rng, talk, side):
    """A selective acknowledgement around what the other side has sent."""
    far = "s" if side == "c" else "c"
    edge = talk.next[far] + rng.choice((-500, -100, 0, 1, 500, 5000))
    start = edge - rng.choice((1, 100, 1000))
    return b"\1\1\5\x0a" + b"".join((n & 0xFFFFFFFF).to_bytes(4, "big") for n in (start, edge))


def legal(rng, talk, side):
    """What an endpoint might send now."""
    move = rng.choice(("data", "data", "ack", "ack", "ack", "fin", "rst", "repeat", "probe"))
    if move == "data":
        talk.say(side, "PA", size=rng.choice((1, 100, 500, 1400)))
    elif move == "ack":
        extra = {"options": sack(rng, talk, side)} if rng.random() < 0.2 else {}
        talk.say(side, "A", window=rng.choice((8192, 8192, 100, 0, 65535)), **extra)
    elif move == "fin":
        talk.say(side, "FA")
    elif move == "rst":
        talk.say(side, rng.choice(("R", "RA")))
    elif move == "repeat":
        again = [step for step in talk.steps if step.side == ("lan" if side == "c" else "wan")]
        if again:
            talk.steps.append(rng.choice(again))
    else:
        talk.say(side, "A", seq=talk.next[side] - talk.isn[side] - 1)


def mistaken(rng, talk, side):
    """What no endpoint should send now."""
    far = "s" if side == "c" else "c"
    seq = talk.next[side] - talk.isn[side]
    ack = talk.next[far] - talk.isn[far]
    if rng.random() < 0.6:
        seq += rng.choice(OFFSETS)
    if rng.random() < 0.4:
        ack += rng.choice(OFFSETS)
    before = dict(talk.next)
    talk.say(side, rng.choice(FLAGS), seq=seq, ack=ack, size=rng.choice((0, 0, 1, 500)),
             window=rng.choice((8192, 8192, 0, 100, 65535)), options=rng.choice(OPTIONS))
    if rng.random() < 0.5:
        talk.next = before


def opening(rng, talk):
    """How it begins: mostly as it should."""
    begins = rng.random()
    options = {"options": rng.choice(OPTIONS), "window": rng.choice((8192, 100, 65535))}
    if begins < 0.7:
        talk.handshake(**options)
    elif begins < 0.8:
        talk.say("c", "S", **options)
    elif begins < 0.9:
        talk.say("c", "S", **options).say("s", rng.choice(("S", "SA", "A", "R", "RA")), **options)
    else:
        talk.say(rng.choice("cs"), rng.choice(FLAGS), size=rng.choice((0, 10)), **options)


def generate(seed, number):
    """One scenario of a seed."""
    rng = random.Random(f"{seed}/{number}")
    isn = tuple(rng.choice((1000, 0xFFFFFF00, 0x7FFFFFF0, rng.randrange(1 << 32))) for _ in "cs")
    talk = Talk(rng.choice((4, 4, 6)), rng.choice(("plain", "plain", "masquerade")), isn=isn)
    options = Options(loose=rng.random() < 0.75, liberal=rng.random() < 0.25)
    opening(rng, talk)
    for _ in range(rng.randrange(2, 14)):
        side = rng.choice("cs")
        (legal if rng.random() < 0.65 else mistaken)(rng, talk, side)
    return Scenario(f"tcp-random-{seed}-{number}", talk.steps, options)


def scenarios(seed, count):
    """So many scenarios of a seed."""
    return [generate(seed, number) for number in range(count)]
