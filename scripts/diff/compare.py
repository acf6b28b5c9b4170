"""Holds two routers' results against each other, step by step and connection by connection."""

import dataclasses

import expected
import model
import packet as pk

ROUTER = {f"{net}{sep}{host}" for nets, sep in ((model.LAN, "."), (model.WAN, "."))
          for net in (nets[4],) for host in (1,)}
ROUTER |= {f"{net[6]}:1" for net in (model.LAN, model.WAN)}


@dataclasses.dataclass
class Finding:
    """Where two routers part."""

    scenario: model.Scenario
    step: int
    kernel: object
    ours: object
    note: str
    reason: expected.Difference = None


def scenario(item, kernel, ours, translations):
    """The first difference of a scenario, or none."""
    for number, (theirs, mine) in enumerate(zip(kernel, ours)):
        note = step(theirs, mine, translations) or unsaid(item, number, theirs, mine)
        if note:
            finding = Finding(item, number, theirs, mine, note)
            finding.reason = expected.find(finding)
            return finding
    return None


def unsaid(item, number, kernel, ours):
    """A packet that both dropped and the kernel did not name: a SYN from outside that opens anew
    for Turnpike, where it met the end of a connection. What follows cannot be compared."""
    packet = item.steps[number].packet
    seen = pk.read(packet)
    if kernel.state or ours.state != "new" or number == 0 or seen.protocol != pk.TCP:
        return ""
    return "both dropped a SYN" if packet[seen.l4 + 13] & 0x17 == pk.SYN else ""


def step(kernel, ours, translations):
    """What differs between two results of one step, in words; empty if nothing does."""
    theirs = sorted(seen_out(p, kernel.fed, translations[0]) for p in joined(kernel.out))
    mine = sorted(seen_out(p, ours.fed, translations[1]) for p in joined(ours.out))
    if len(theirs) != len(mine):
        return f"{len(theirs)} packets out of the kernel, {len(mine)} out of Turnpike"
    if kernel.state and kernel.state != ours.state:
        return f"state {kernel.state} in the kernel, {ours.state} in Turnpike"
    for one, other in zip(theirs, mine):
        if one[:3] != other[:3]:
            return f"the packets that came out differ: {one[3]} and {other[3]}"
    return ""


def joined(out):
    """What came out, with fragments put together: into which pieces a router cuts a packet that it
    has put together, if it has to, is its own affair."""
    made, parts = [], {}
    for side, packet in out:
        seen = pk.read(packet)
        if seen.fragment or seen.version == 6 and packet[6] == 44:
            parts.setdefault((side, seen.source, seen.target), []).append(packet)
        else:
            made.append((side, packet))
    return made + [(key[0], pk.whole(pieces)) for key, pieces in parts.items()]


def seen_out(out, fed, translations):
    """A packet that came out, so that equal ones compare equal: its side, its bytes without what
    may differ, whether its checksums hold, and itself in words."""
    side, packet = out
    seen = pk.read(packet)
    if seen.quote and seen.source in ROUTER and pk.read(fed).source not in ROUTER:
        # The router's own: how much it quotes and what it numbers it with are its affair.
        return side, bytes(seen.icmp), pk.is_sound(packet), f"router's {seen.icmp}"
    return side, plain(translations.back(packet)), pk.is_sound(packet), pk.words(packet)


def plain(packet):
    """A packet with its checksums and those of a quoted packet left out."""
    seen, out = pk.read(packet), bytearray(packet)
    if seen.version == 4:
        out[10:12] = b"\0\0"
    at = pk.CHECKSUM_AT.get(seen.protocol)
    size = 4 if seen.protocol == pk.SCTP else 2
    if at is not None and not seen.fragment and len(packet) >= seen.l4 + at + size:
        out[seen.l4 + at:seen.l4 + at + size] = bytes(size)
    if seen.quote:
        out[seen.l4 + 8:] = plain(seen.quote)
    return bytes(out)


def entries(items, kernel, ours, ends):
    """The scenarios whose connections differ at the end: (scenario, key, kernel's, ours)."""
    found = []
    for item in items:
        for key in ends(item):
            theirs, mine = kernel.get(key), ours.get(key)
            if theirs != mine and not expected.entry(item, theirs, mine):
                found.append((item, key, theirs, mine))
    return found
