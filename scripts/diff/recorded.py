"""Captures through Turnpike, held against what was recorded of the kernel on the same packets.

`DIR/kernel-verdicts/route/SOURCE_FILE.tsv` has a line for each IP packet of `DIR/SOURCE/FILE`:
number, side (c, s or - for skipped), fwd or DROP, connection state, tuple. No kernel is needed.
"""

import argparse
import collections
import dataclasses
import fnmatch
import pathlib
import sys

import capture
import model
import packet as pk
import turnpike
from model import INSIDE, OUTSIDE

SIDES = {"c": INSIDE, "s": OUTSIDE}
STATES = {"new": "new", "est/orig": "established", "est/reply": "established",
          "rel/orig": "related", "rel/reply": "related", "invalid": "invalid",
          "untracked": "untracked"}
# Nobody in a capture has these.
NETS = {INSIDE: ("198.19.254.1/30", "2001:db8:ff0a::1/126"),
        OUTSIDE: ("198.19.254.5/30", "2001:db8:ff0b::1/126")}
NEXT = {INSIDE: ("198.19.254.2", "2001:db8:ff0a::2"), OUTSIDE: ("198.19.254.6", "2001:db8:ff0b::2")}
DCCP = 33
# The ports whose packets the recording kernel's helpers looked at.
HELPED = {21, 69, 1719, 1720, 1723, 5060, 6667}


@dataclasses.dataclass
class Line:
    """What was recorded of one packet."""

    side: str
    forwarded: bool
    state: str


@dataclasses.dataclass
class Parting:
    """A packet that the two judged differently."""

    number: int
    packet: bytes
    kernel: Line
    ours: dict


def recorded(path):
    """The lines of a record."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        _, side, verdict, state, *_ = text.split("\t")
        lines.append(Line(SIDES.get(side) if verdict != "senderr" else None, verdict == "fwd",
                          STATES.get(state)))
    return lines


def source_of(record, folder):
    """The capture that a record is about."""
    name = record.name.removesuffix(".tsv")
    found = [folder / source.name / name[len(source.name) + 1:] for source in folder.iterdir()
             if name.startswith(source.name + "_")]
    return next((path for path in found if path.exists()), None)


def finished(packet):
    """The packet with checksums that the sender's card would have filled in."""
    seen = pk.read(packet)
    at = 40 if seen.version == 6 else (packet[0] & 15) * 4
    least = {pk.TCP: 20, pk.UDP: 8, pk.ICMP: 8, pk.ICMPV6: 8}.get(seen.protocol)
    if least is None or seen.l4 != at or seen.cut or len(packet) < at + least:
        return pk.seal_header(packet)
    return pk.seal(packet)


def config(hosts):
    """Those hosts inside, everybody else outside, and no rule."""
    routes = [(f"{host}/{128 if ':' in host else 32}", NEXT[INSIDE][":" in host]) for host in hosts]
    routes += [("0.0.0.0/0", NEXT[OUTSIDE][0]), ("::/0", NEXT[OUTSIDE][1])]
    interfaces = "".join(f'\n  {side}: {{ device: net_null{n}, mtu: 9000, address: ["{net[0]}", '
                         f'"{net[1]}"] }}' for n, (side, net) in enumerate(NETS.items()))
    lines = "".join(f'\n  - {{ dst-address: "{net}", gateway: "{gateway}" }}'
                    for net, gateway in routes)
    return (f"interfaces:{interfaces}\nroutes:{lines}\n"
            f"connection-tracking:\n  enabled: yes{model.timeouts()}\n")


def partings(record, path, gateway):
    """How many packets were compared, and where the two part; once for each connection."""
    lines, packets = recorded(record), capture.packets(path)
    entered = [(number, line, packet) for number, (line, packet)
               in enumerate(zip(lines, packets), 1) if line.side]
    if not entered:
        return 0, []
    # The recording filled checksums in as well, whatever the capture was about.
    entered = [(number, line, finished(packet)) for number, line, packet in entered]
    hosts = set()
    for _, line, packet in entered:
        seen = pk.read(packet)
        hosts.add(seen.source if line.side == INSIDE else seen.target)
    inputs = {side: [(10**9 + number * model.STEP_NS, packet) for number, line, packet in entered
                     if line.side == side] for side in (INSIDE, OUTSIDE)}
    gateway.replay(config(sorted(hosts)), inputs)
    verdicts, numbers = gateway.verdicts(), collections.Counter()
    found, parted = [], set()
    for number, line, packet in entered:
        numbers[line.side] += 1
        ours = verdicts[line.side, numbers[line.side]]
        seen = pk.read(packet)
        key = frozenset((seen.source, seen.target)), frozenset(seen.ports), seen.protocol
        if key not in parted and not agree(line, ours):
            parted.add(key)
            found.append(Parting(number, packet, line, ours))
    return len(entered), found


def agree(line, ours):
    """Whether the two judged a packet alike. What the kernel dropped it may have kept for later
    (fragments), or answered itself (time to live), so Turnpike only must not have sent it on. What
    came out without a mark was not this packet."""
    if line.forwarded and not line.state:
        return True
    if not line.forwarded:
        return ours["verdict"] != "accept"
    return ours["verdict"] == "accept" and ours["connection-state"] == line.state


def reason(parting):
    """Why a difference is no mistake; none if it is."""
    seen = pk.read(parting.packet)
    kernel, ours = parting.kernel, parting.ours
    for name, holds in (
            ("helpers", not seen.icmp and (kernel.state == "related" or not kernel.forwarded
                                           and HELPED & set(seen.ports))),
            ("discovery-stays-on-its-link", kernel.state == "untracked"
             and ours["verdict"] == "consumed"),
            ("fragments-of-a-recorded-whole", seen.fragment and kernel.forwarded is not
             (ours["verdict"] == "accept")),
            ("malformed-is-dropped", kernel.state == "invalid" and ours["verdict"] == "drop"),
            ("dccp-and-udp-lite", seen.protocol in (pk.UDPLITE, DCCP)),
            ("reset-must-fit", seen.protocol == pk.TCP and packet_flags(parting.packet) & pk.RST
             and ours["connection-state"] == "invalid"),
            ("syn-opens-anew", pk.is_opening(parting.packet)
             and ours["connection-state"] == "new")):
        if holds:
            return name
    return None


def packet_flags(packet):
    """The TCP flags of a packet that has them."""
    at = pk.read(packet).l4 + 13
    return packet[at] if len(packet) > at else 0


def main():
    """One capture after the other; exit code 1 if one differs without a reason."""
    parser = argparse.ArgumentParser()
    for name in ("--binary", "--folder", "--captures"):
        parser.add_argument(name, required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--shown", type=int, default=20)
    args, _ = parser.parse_known_args()
    folder = pathlib.Path(args.captures)
    records = sorted((folder / "kernel-verdicts/route").glob("*.tsv"))
    if not records:
        print(f"skipped: no recorded verdicts below {folder}")
        return 77
    gateway = turnpike.Gateway(args.binary, args.folder)
    totals, whys, bad = collections.Counter(), collections.Counter(), []
    for record in records:
        path = source_of(record, folder)
        if path is None or not fnmatch.fnmatch(record.name, args.only + "*"):
            totals["left out"] += 1
            continue
        count, found = partings(record, path, gateway)
        totals["captures"] += 1
        totals["packets"] += count
        whys.update(reason(parting) for parting in found if reason(parting))
        bad += [(record.name, parting) for parting in found if not reason(parting)]
    for name, parting in bad[:args.shown]:
        print(f"{name.removesuffix('.tsv')}: packet {parting.number}: {pk.words(parting.packet)}: "
              f"kernel {'fwd' if parting.kernel.forwarded else 'drop'} {parting.kernel.state}, "
              f"turnpike {parting.ours['verdict']} {parting.ours['connection-state']} "
              f"{parting.ours['reason'] or ''}")
    print(f"{totals['captures']} captures, {totals['packets']} packets "
          f"({totals['left out']} records left out): {len(bad)} connections differ")
    for name, count in sorted(whys.items()):
        print(f"  on purpose: {count:4} × {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
