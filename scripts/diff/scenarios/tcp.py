"""TCP by hand: what endpoints do to each other, and what others try to do to them."""

from functools import partial

from model import Options, Scenario

from .talk import Talk

WSCALE = bytes([3, 3, 7])
SACK_OK = bytes([4, 2])


def close(talk):
    """Both sides end, one after the other."""
    return talk.say("c", "FA").say("s", "A").say("s", "FA").say("c", "A")


def again(talk):
    """The same tuple, from the start."""
    return talk.say("c", "S", seq=90000).say("s", "SA", seq=80000).say("c", "A").data("c")


def scaled(talk):
    """A handshake of small windows that are scaled."""
    return talk.say("c", "S", options=WSCALE, window=100).say(
        "s", "SA", options=WSCALE, window=100).say("c", "A", window=100)


def block(start, end):
    """A selective acknowledgement of what the server has sent."""
    return b"\1\1\5\x0a" + b"".join((500000 + n).to_bytes(4, "big") for n in (start, end))


def lives(family):
    """Ordinary lives and ends."""
    talk = partial(Talk, family)
    yield "handshake", talk().handshake()
    yield "open-close", close(talk().handshake().data("c").data("s"))
    yield "syn-retransmitted", talk().say("c", "S").say("c", "S", seq=0).say("s", "SA").say(
        "c", "A")
    yield "syn-ack-retransmitted", (talk().say("c", "S").say("s", "SA").say("s", "SA", seq=0)
                                    .say("c", "A").say("s", "SA", seq=0))
    yield "half-close", (talk().handshake().say("c", "FA").say("s", "A").data("s").data("s")
                         .say("s", "FA").say("c", "A"))
    yield "server-closes", talk().handshake().say("s", "FA").say("c", "A").say("c", "FA").say(
        "s", "A")
    yield "both-close", talk().handshake().say("c", "FA").say("s", "FA", ack=1).say(
        "c", "A").say("s", "A")
    yield "fin-retransmitted", (talk().handshake().say("c", "FA").say("c", "FA", seq=1)
                                .say("s", "A").say("s", "FA").say("s", "FA", seq=1).say("c", "A"))
    yield "fin-with-data", talk().handshake().say("c", "FPA", size=50).say("s", "FA").say("c", "A")
    yield "refused", talk().say("c", "S").say("s", "RA", seq=0)
    yield "refused-then-again", talk().say("c", "S").say("s", "RA", seq=0).say("c", "S", seq=7000)
    yield "reset-by-client", talk().handshake().data("c").say("c", "R")
    yield "reset-by-server", talk().handshake().data("c").say("s", "RA")
    yield "data-after-close", close(talk().handshake()).say("c", "PA", size=10).say("s", "R")
    yield "simultaneous-open", talk().say("c", "S").say("s", "S").say("c", "SA", seq=0).say(
        "s", "SA", seq=0).data("c").data("s")
    yield "split-handshake", talk().say("c", "S").say("s", "A", seq=0).say("s", "S", seq=0).say(
        "c", "SA", seq=0).say("s", "A").data("c")
    yield "keepalive", talk().handshake().data("c", 100).data("s").say("c", "A", seq=100).say(
        "s", "A").say("s", "A", seq=100).say("c", "A")
    yield "keepalive-with-a-byte", talk().handshake().data("c", 100).data("s").say(
        "c", "A", seq=100, size=1).say("s", "A").data("c")
    yield "zero-window-probe", talk().handshake().say("s", "A", window=0).say("c", "A", size=1).say(
        "s", "A", ack=1, window=0).say("s", "A", window=8192).data("c")
    yield "retransmitted-data", talk().handshake().say("c", "PA", size=100).say(
        "c", "PA", seq=1, size=100).say("c", "PA", seq=1, size=100).say(
        "c", "PA", seq=1, size=100).say("c", "PA", seq=1, size=100).say("s", "A")
    yield "same-ack-many-times", talk().handshake().data("c").say("s", "A").say("s", "A").say(
        "s", "A").say("s", "A").say("s", "A")
    yield "urgent", talk().handshake().say("c", "UA", size=3).say("s", "A").say("c", "FUPA", size=3)
    yield "ecn", talk().say("c", "SEC").say("s", "SAE").say("c", "A").data("c")
    yield "fast-open", talk().say("c", "S", size=120).say("s", "SA").say("c", "A").data("s")


def reopenings(family):
    """The tuple is used again."""
    talk = partial(Talk, family)
    yield "reopened-in-time-wait", again(close(talk().handshake()))
    yield "reopened-after-reset", again(talk().handshake().say("c", "R"))
    yield "reopened-after-server-reset", again(talk().handshake().say("s", "RA"))
    yield "reopened-by-server", close(talk().handshake()).say("s", "S", seq=90000).say(
        "c", "SA", seq=80000).say("s", "A")
    yield "reopened-in-established", again(talk().handshake().data("c"))
    yield "reopened-in-fin-wait", again(talk().handshake().say("c", "FA"))
    yield "reopened-in-last-ack", again(talk().handshake().say("c", "FA").say("s", "FA"))
    yield "reopened-in-close-wait", again(talk().handshake().say("c", "FA").say("s", "A"))
    yield "reopened-and-refused", talk().handshake().data("c").say("c", "S", seq=90000).say(
        "s", "RA", seq=-500000, ack=90001).say("c", "S", seq=90000)
    yield "challenge-ack-in-last-ack", talk().handshake().say("c", "FA").say("s", "FA", ack=1).say(
        "c", "S", seq=90000).say("s", "A", ack=2).say("c", "R", seq=2)
    yield "syn-new-number", talk().say("c", "S").say("c", "S", seq=5000).say("s", "SA").say(
        "c", "A")
    yield "challenge-ack-to-syn", talk().handshake().data("c").say("c", "S", seq=90000).say(
        "s", "A").say("c", "R", seq=101).say("c", "S", seq=90001).say("s", "SA", seq=70000).say(
        "c", "A")
    yield "challenge-ack-in-syn-sent", talk().say("c", "S").say("s", "A", ack=77777).say(
        "c", "R", seq=77777).say("c", "S", seq=0).say("s", "SA").say("c", "A")
    yield "old-duplicate-syn", talk().handshake().say("c", "S", seq=0).data("c")
    yield "syn-from-server-side", talk().handshake().say("s", "S", seq=50000).say("c", "A")
    yield "syn-ack-from-client", talk().handshake().say("c", "SA", seq=50000).data("c")


def strays(family):
    """Segments that fit no window, and resets that may or may not be genuine."""
    talk = partial(Talk, family)
    for name, off in (("next", 0), ("one-below", -1), ("one-above", 1), ("in-window", 3000),
                      ("old", -60), ("far-below", -70000), ("far-above", 70000),
                      ("half-away", 1 << 31)):
        yield f"reset-{name}", talk().handshake().data("c").say("c", "R", seq=101 + off).data("c")
        yield f"server-reset-{name}", talk().handshake().data("s").say(
            "s", "RA", seq=101 + off).data("c")
        yield f"data-{name}", talk().handshake().data("c").say(
        "c", "PA", seq=101 + off, size=50).data("c")
        yield f"ack-{name}", talk().handshake().data("c").say("s", "A", ack=101 + off).data("s")
        yield f"fin-{name}", talk().handshake().data("c").say("c", "FA", seq=101 + off).data("c")
    yield "reset-in-syn-sent", talk().say("c", "S").say("s", "R", seq=0).say("s", "SA", seq=0)
    yield "reset-wrong-ack", talk().say("c", "S").say("s", "RA", seq=0, ack=999).say(
        "s", "SA", seq=0)
    yield "reset-ack-zero", talk().handshake().data("c").say("s", "RA", ack=-1000)
    yield "reset-behind-data-in-flight", talk().handshake().say("c", "PA", size=100).say(
        "s", "PA", size=50, ack=1).say("c", "R", seq=101)
    yield "reset-after-a-syn", talk().handshake().data("c").say("c", "S", seq=0).say(
        "c", "R", seq=300)
    yield "reset-acknowledged", talk().handshake().data("c").say("c", "RA", seq=1101).say(
        "s", "A", ack=1101)
    yield "reset-twice", talk().handshake().say("c", "R").say("c", "R").say("s", "R")
    yield "ack-of-nothing-sent", talk().handshake().say("s", "A", ack=5000).data("c")
    yield "syn-ack-wrong-ack", talk().say("c", "S").say("s", "SA", ack=55).say(
        "s", "SA", seq=0, ack=1)
    yield "first-ack-wrong", talk().say("c", "S").say("s", "SA").say("c", "A", ack=99999).say(
        "c", "A")
    for flags in ("", "F", "SF", "SR", "FR", "SAF", "SAR", "FSRPAUEC", "P", "U", "SU", "SAU", "RU",
                  "RPA", "FPU", "SP", "SAP", "E", "C", "RF"):
        yield f"flags-{flags or 'none'}", talk().handshake().say("c", flags).data("c")
        yield f"flags-first-{flags or 'none'}", talk().say("c", flags).say("s", "SA")


def windows(family):
    """Window scaling and selective acknowledgements."""
    talk = partial(Talk, family)
    yield "scaled", scaled(talk()).say("s", "PA", size=1400).say("s", "PA", size=1400).say(
        "c", "A", window=1).say("s", "PA", seq=12000, size=1000)
    yield "scaled-by-one-only", talk().say("c", "S", options=WSCALE, window=100).say(
        "s", "SA", window=100).say("c", "A", window=100).say("s", "PA", size=90).say(
        "s", "PA", seq=1000, size=90)
    yield "scale-above-14", talk().say("c", "S", options=bytes([3, 3, 200]), window=100).say(
        "s", "SA", options=WSCALE, window=100).say("c", "A", window=100).say(
        "s", "PA", seq=1000000, size=90)
    yield "beyond-the-window", talk().handshake(window=500).say("s", "PA", size=400).say(
        "s", "PA", size=400).say("s", "PA", seq=9000, size=400)
    for name, a, b in (("sack", 1000, 2000), ("sack-unsent", 90000, 91000), ("sack-below", 0, 1)):
        t = talk().handshake(options=SACK_OK).say("s", "PA", size=500).say(
        "s", "PA", seq=1000, size=1000)
        yield name, t.say("c", "A", ack=501, options=block(a, b)).say(
        "s", "PA", seq=501, size=499).say("c", "A")
    t = talk().handshake().say("s", "PA", size=500).say("s", "PA", seq=1000, size=1000)
    yield "sack-not-permitted", t.say("c", "A", ack=501, options=block(1000, 99000)).data("s")
    high = Talk(family, isn=(0xFFFFFFF0, 0xFFFFFF00))
    yield "around-the-circle", high.handshake().data("c").data("s", 500)
    yield "closed-window", talk().handshake().say("s", "A", window=0).say(
        "s", "A", window=0).data("c")


def pickups(family):
    """The beginning was not seen."""
    talk = partial(Talk, family)
    yield "pickup-ack", talk().say("c", "A").say("s", "A").data("c").data("s")
    yield "pickup-alone", talk().say("c", "A")
    yield "pickup-data", talk().say("c", "PA", size=500).say("s", "A").data("s")
    yield "pickup-by-server", talk().say("s", "PA", size=500).say("c", "A").data("s")
    yield "pickup-far-jump", talk().say("c", "A").say("s", "A").say(
        "c", "PA", seq=500000, size=9).say(
        "s", "A", ack=1).data("s")
    for flags in ("SA", "FA", "R", "RA", "F", ""):
        yield f"pickup-{flags or 'none'}", talk().say("c", flags).say("s", "A").data("c")


def scenarios():
    """All of them, in both families, and those that switches change once more for each."""
    made = []
    for family in (4, 6):
        for group in (lives, reopenings, strays, windows, pickups):
            made += [Scenario(f"tcp{family}-{name}", t.steps) for name, t in group(family)]
    for options in (Options(loose=False), Options(liberal=True), Options(False, True)):
        name = "-".join((("strict", "loose")[options.loose], ("exact", "liberal")[options.liberal]))
        for group in (reopenings, strays, pickups):
            made += [Scenario(f"tcp4-{text}-{name}", t.steps, options) for text, t in group(4)]
    return made
