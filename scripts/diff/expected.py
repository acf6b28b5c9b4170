"""The differences that are meant, each with its reason. ARCHITECTURE.md lists the same names.

A run of everything in which one of them does not occur fails: then it is no difference any more.
"""

import dataclasses
import typing

import model
import packet as pk


@dataclasses.dataclass
class Difference:
    """A difference on purpose: how to know it, and why it is there."""

    name: str
    reason: str
    knows: typing.Callable
    seen: int = 0


def flags(finding):
    """The TCP flags of the packet where the two part, without those that mean nothing here."""
    packet = finding.scenario.steps[finding.step].packet
    seen = pk.read(packet)
    return packet[seen.l4 + 13] & 0x3F if seen.protocol == pk.TCP else 0


def opens_anew(finding):
    """A SYN or INIT to what was closed: the kernel ignores it or refuses it, unless its sender was
    the one who closed."""
    opens = pk.is_opening(finding.scenario.steps[finding.step].packet)
    return opens and finding.ours.state == "new" and finding.kernel.state != "new"


def reset_must_fit(finding):
    """A reset that lies in no window."""
    return flags(finding) & pk.RST and finding.ours.state == "invalid" \
        and finding.kernel.state in ("established", "new")


def acknowledges_reset(finding):
    """An acknowledgement of what only a reset could have sent."""
    packet = finding.scenario.steps[finding.step].packet
    side = finding.scenario.steps[finding.step].side
    if not flags(finding) & pk.ACK or (finding.ours.state, finding.kernel.state) != \
            ("invalid", "established"):
        return False
    ack = int.from_bytes(packet[pk.read(packet).l4 + 8:][:4], "big")
    ends = [reset_end(step.packet) for step in finding.scenario.steps[:finding.step]
            if step.side != side]
    return any(end is not None and (end - ack) & 0xFFFFFFFF < 1 << 20 for end in ends)


def reset_end(packet):
    """Behind the last number of a reset; None for other packets."""
    at = pk.read(packet).l4
    if pk.read(packet).protocol != pk.TCP or not packet[at + 13] & pk.RST:
        return None
    size = len(packet) - at - (packet[at + 12] >> 4) * 4
    return int.from_bytes(packet[at + 4:at + 8], "big") + size


def refused_at_the_door(finding):
    """A packet whose upper header does not add up."""
    return "l4-truncated" in finding.ours.verdict and finding.kernel.state == "invalid"


def short_quote(finding):
    """An error that quotes less than eight bytes behind the IP header."""
    seen = pk.read(finding.scenario.steps[finding.step].packet)
    return seen.icmp and not seen.quote and (finding.kernel.state, finding.ours.state) == \
        ("related", "invalid")


def node_information(finding):
    """Type 139 or 140 of ICMPv6."""
    seen = pk.read(finding.scenario.steps[finding.step].packet)
    return seen.version == 6 and seen.icmp and seen.icmp[0] in (139, 140) \
        and finding.ours.state == "invalid"


def fragment(finding):
    """Whether the packet where the two part is a fragment that made Turnpike drop."""
    step = finding.scenario.steps[finding.step]
    return pk.read(step.packet).fragment and "fragment-invalid" in finding.ours.verdict


def overlapping(finding):
    """The kernel put fragments together of which one lies inside another."""
    return fragment(finding) and finding.kernel.state in ("new", "established")


def lone_fragment(finding):
    """The kernel sent a fragment on that it could put together with nothing."""
    return fragment(finding) and finding.kernel.state == "invalid"


def challenged(item, kernel, ours):
    """The last that counted was a reset which did not end the connection."""
    return kernel.state == ours.state == "established" and any(
        reset_end(step.packet) is not None for step in item.steps) and \
        model.timeout_name(kernel.timeout) in ("tcp_timeout_close", "tcp_timeout_unacknowledged")


def behind_last_byte(item, kernel, ours):
    """Only Turnpike took the last reset for an exact one."""
    return kernel.state != "close" and ours.state == "close" and any(
        reset_end(step.packet) is not None for step in item.steps)


def after_syn(item, kernel, ours):
    """Only the kernel took the last reset for an end, since a SYN was let through before."""
    marks = [step.packet[pk.read(step.packet).l4 + 13] & 0x17 for step in item.steps]
    return kernel.state == "close" != ours.state and marks.count(pk.SYN) > 1 and any(
        reset_end(step.packet) is not None for step in item.steps)


def unseen_window(_item, kernel, ours):
    """The window in force was never taken note of."""
    return kernel.state == ours.state == "established" and \
        model.timeout_name(kernel.timeout) == "tcp_timeout_max_retrans"


PACKETS = [
    Difference("syn-opens-anew", "after a reset or ABORT both sides have forgotten the connection, "
               "so a SYN or INIT of either is new and the rules judge it as such", opens_anew),
    Difference("reset-must-fit", "a reset outside the window, or one that answers no SYN, is "
               "invalid whatever the state and the switches (RFC 5961 3.2, RFC 9293 3.10.7.3)",
               reset_must_fit),
    Difference("reset-moves-no-window", "a reset that may be challenged does not count as data "
               "sent, so nobody can acknowledge it (RFC 5961 3.2)", acknowledges_reset),
    Difference("malformed-is-dropped", "a packet whose headers contradict its length is dropped at "
               "the door, counted by reason; it never meets a rule", refused_at_the_door),
    Difference("errors-quote-eight-bytes", "an ICMP error that quotes less than RFC 792 asks for "
               "is about nothing", short_quote),
    Difference("node-information-is-no-query", "RFC 4620 has no identifier: translated, the "
               "question itself would change", node_information),
    Difference("overlap-spoils", "a fragment over another spoils the packet, unless it repeats "
               "it exactly (RFC 8200 4.5, RFC 5722; in IPv4 too)", overlapping),
    Difference("malformed-fragments-go-no-further", "a fragment that fits nowhere is dropped and "
               "counted; no rule could look at what it carries", lone_fragment),
]


def counted(_item, kernel, ours):
    """Only the counts differ, and Turnpike counts more."""
    same = (kernel.state, kernel.timeout, kernel.assured, kernel.seen_reply) == \
        (ours.state, ours.timeout, ours.assured, ours.seen_reply)
    return same and all(a <= b for a, b in zip(kernel.packets, ours.packets))

ENTRIES = [
    Difference("every-packet-counts", "a packet that passes counts for its connection, one that "
               "the tracker ignores too", counted),
    Difference("challenged-reset-changes-nothing", "a reset that is not exact leaves the timeout "
               "alone: whoever guesses one in the window must not shorten a connection's life "
               "(RFC 5961 3.2)", challenged),
    Difference("reset-behind-the-last-byte", "a reset right behind the last byte its sender has "
               "sent is exact, whatever the other side has said since", behind_last_byte),
    Difference("reset-after-a-syn-is-exact", "a SYN that was let through does not make resets in "
               "the window good enough (RFC 5961 3.2)", after_syn),
    Difference("unseen-window-is-open", "a window that was never looked at is not taken for a "
               "closed one", unseen_window),
]
DIFFERENCES = PACKETS + ENTRIES


def find(finding):
    """The difference on purpose that a finding is an instance of."""
    return first(PACKETS, finding)


def entry(item, kernel, ours):
    """The difference on purpose between two entries of one connection."""
    return first(ENTRIES, item, kernel, ours) if kernel and ours else None


def first(differences, *what):
    """The first of some differences that knows this."""
    for difference in differences:
        if difference.knows(*what):
            difference.seen += 1
            return difference
    return None
