"""The kernel as a router: packets in by AF_PACKET, one at a time, and what conntrack said of each.

The rules write the state and direction that conntrack gave a packet into the DSCP field of what is
forwarded. After each packet a fence follows it, which nobody tracks: when the fence is through, so
is the packet, and what has not come out by then was dropped. Nothing waits for a timeout.
"""

import os
import select
import socket
import struct
import subprocess
import time

import model
import packet as pk
from model import INSIDE, OUTSIDE, LAN, WAN

STATES = {1: "new", 2: "established", 3: "related", 4: "invalid", 5: "untracked"}
REPLY = 8
MACS = {INSIDE: ("02:00:00:00:00:0c", "02:00:00:00:01:01"),
        OUTSIDE: ("02:00:00:00:00:05", "02:00:00:00:01:02")}
FENCE = {INSIDE: "10.255.255.254", OUTSIDE: "198.19.255.254"}
FENCE_PORT = 9
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_RCVBUFFORCE = 33

# The state names of conntrack, in the words of RouterOS.
NAMES = {"SYN_RECV": "syn-received", "TIME_WAIT": "time-wait", "LAST_ACK": "last-ack",
         "CLOSE_WAIT": "close-wait", "FIN_WAIT": "fin-wait", "SYN_SENT": "syn-sent",
         "SYN_SENT2": "syn-sent2", "ESTABLISHED": "established", "CLOSE": "close"}


def rules():
    """The rule set: translation by address, and the verdict written into each packet."""
    marks = []
    for family, match in (("ipv4", "ip"), ("ipv6", "ip6")):
        for number, state in STATES.items():
            if state in ("invalid", "untracked"):
                marks.append(f"ct state {state} meta nfproto {family} {match} dscp set {number}")
                continue
            for direction, plus in (("original", 0), ("reply", REPLY)):
                marks.append(f"ct state {state} ct direction {direction} meta nfproto {family} "
                             f"{match} dscp set {number + plus}")
    fences = ", ".join(FENCE.values())
    return "\n".join([
        "table inet diff {", "  chain raw { type filter hook prerouting priority raw;",
        f"    ip saddr {{ {fences} }} udp dport {FENCE_PORT} notrack", "  }",
        "  chain verdict { type filter hook forward priority 0; policy accept;",
        *(f"    {mark}" for mark in marks), "  }",
        "  chain own { type filter hook input priority 0; policy drop; }",
        "  chain targets { type nat hook prerouting priority dstnat;",
        f"    ip daddr {WAN[4]}.20 tcp dport 80 dnat ip to 100.96.0.2:8080",
        f"    ip daddr {WAN[4]}.20 udp dport 80 dnat ip to 100.96.0.2:8080",
        f"    ip daddr {WAN[4]}.21 dnat ip to 100.96.0.3",
        f"    ip6 daddr {WAN[6]}:20 tcp dport 80 dnat ip6 to [fd96::2]:8080",
        f"    ip6 daddr {WAN[6]}:20 udp dport 80 dnat ip6 to [fd96::2]:8080",
        f"    ip6 daddr {WAN[6]}:21 dnat ip6 to fd96::3", "  }",
        "  chain sources { type nat hook postrouting priority srcnat;",
        '    iifname "lan" oifname "lan" masquerade',
        '    oifname "wan" ip saddr 100.64.0.0/12 masquerade',
        '    oifname "wan" ip6 saddr fd64::/16 masquerade',
        f'    oifname "wan" ip saddr 100.80.0.0/12 meta l4proto {{ tcp, udp }} '
        f"snat ip to {WAN[4]}.10:4000-4003",
        f'    oifname "wan" ip6 saddr fd80::/16 meta l4proto {{ tcp, udp }} '
        f"snat ip6 to [{WAN[6]}:10]:4000-4003",
        "  }", "}", ""])


class Router:
    """A namespace that routes, reached by the devices `lan` and `wan` of this one."""

    def __init__(self, namespace):
        self.namespace = namespace
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self.sockets = {side: self.open(side) for side in (INSIDE, OUTSIDE)}
        self.fences = 0
        self.translations = model.Translations()

    @staticmethod
    def open(device):
        """A socket that sees what arrives on a device."""
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
        wire.bind((device, 3))
        wire.setblocking(False)
        return wire

    def run(self, *command, text=None):
        """Runs a command in the router's namespace."""
        done = subprocess.run(["ip", "netns", "exec", self.namespace, *command], input=text,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def load(self, text=None):
        """Loads the rules and forgets every connection."""
        self.run("nft", "-f", "-", text="flush ruleset\n" + (text or rules()))
        self.run("conntrack", "-F")
        time.sleep(0.1)
        for side in self.sockets:
            self.drain(side)

    def set(self, options):
        """Sets the switches and the timeouts."""
        prefix = "net.netfilter.nf_conntrack_"
        values = {"tcp_loose": int(options.loose), "tcp_be_liberal": int(options.liberal),
                  "checksum": int(options.checksum), "acct": 1}
        values |= {name: seconds for name, (_, seconds) in model.TIMEOUTS.items()}
        self.run("sysctl", "-qw", *(f"{prefix}{name}={value}" for name, value in values.items()))

    def feed(self, step):
        """Sends one step's packet in and waits until the router is done with it."""
        packet = step.packet
        if step.side == OUTSIDE and step.carry:
            packet = self.translations.carry(packet, self.fences)
        result = model.Result(None, [], packet)
        out = self.through(step.side, packet)
        for side, frame in out:
            state, _, bare = unmark(frame)
            if state:
                result.state = state
            if state == "new":
                self.translations.learn(packet, bare, self.fences - 1)
            result.out.append((side, bare))
        return result

    def through(self, side, packet):
        """Sends a packet and a fence behind it; everything that came out before the fence."""
        self.fences += 1
        far = model.OTHER_SIDE[side]
        fence = pk.udp((FENCE[side], 9), (FENCE[far], FENCE_PORT), struct.pack("!Q", self.fences))
        try:
            self.sockets[side].send(ethernet(side, packet))
        except OSError as error:
            raise SystemExit(f"{pk.words(packet)}: {error}") from error
        self.sockets[side].send(ethernet(side, fence))
        out = []
        while True:
            select.select([self.sockets[far]], [], [], 2) == ([], [], []) and lost(packet)
            arrived = self.drain(far)
            fenced = [p for p in arrived if is_fence(p)]
            out += [(far, p) for p in arrived if not is_fence(p)]
            if fenced and fenced[-1][-8:] == fence[-8:]:
                break
        return out + [(side, p) for p in self.drain(side)]

    def drain(self, side):
        """The IP packets that wait on a side, without what the router says of itself."""
        packets = []
        while True:
            try:
                frame = self.sockets[side].recv(65535)
            except BlockingIOError:
                return packets
            if frame[12:14] in (b"\x08\0", b"\x86\xdd") and not is_own_talk(frame[14:]):
                packets.append(trim(frame[14:]))

    def entries(self):
        """Every connection there is, by its original tuple."""
        found = {}
        for family in ("ipv4", "ipv6"):
            for line in self.run("conntrack", "-L", "-f", family, "-o", "extended").splitlines():
                key, entry = read_entry(line)
                found[key] = entry
        return found


def lost(packet):
    """The fence did not come back: there is no telling what the router did."""
    raise SystemExit(f"the kernel router is stuck at {pk.words(packet)}")


def ethernet(side, packet):
    """A frame from a host on a side to the router."""
    own, router = (bytes.fromhex(mac.replace(":", "")) for mac in MACS[side])
    return router + own + (b"\x08\0" if pk.version(packet) == 4 else b"\x86\xdd") + packet


def is_fence(packet):
    """Whether it is one of ours."""
    seen = pk.read(packet)
    return seen.source in FENCE.values() and seen.ports[1] == FENCE_PORT


def is_own_talk(packet):
    """Neighbour discovery and group reports of the router itself."""
    if packet[0] >> 4 != 6:
        return False
    seen = pk.read(packet)
    return seen.icmp is not None and (133 <= seen.icmp[0] <= 137 or seen.icmp[0] == 143)


def trim(packet):
    """Without padding behind it."""
    if pk.version(packet) == 4:
        return packet[:struct.unpack("!H", packet[2:4])[0]]
    return packet[:40 + struct.unpack("!H", packet[4:6])[0]]


def unmark(packet):
    """The state written into a packet, whether it is of the reply direction, and the packet
    without the mark."""
    if pk.version(packet) == 4:
        mark = packet[1] >> 2
        bare = packet[:1] + b"\0" + packet[2:10] + b"\0\0" + packet[12:]
        head = (packet[0] & 15) * 4
        bare = bare[:10] + struct.pack("!H", pk.fold(bare[:head])) + bare[12:]
        if pk.fold(packet[:head]):
            bare = packet
    else:
        mark = (packet[0] & 15) << 2 | packet[1] >> 6
        bare = bytes([packet[0] & 0xF0, packet[1] & 0x0F]) + packet[2:]
    return STATES.get(mark & 7), bool(mark & REPLY), bare


def read_entry(line):
    """One line of `conntrack -L -o extended`."""
    words = line.split()
    protocol, left = int(words[3]), int(words[4])
    fields = {}
    for name, value in (word.split("=", 1) for word in words if "=" in word):
        fields.setdefault(name, []).append(value)
    state = NAMES.get(words[5], words[5].lower().replace("_", "-")) if "=" not in words[5] else None
    if state and state.startswith("["):
        state = None
    if protocol in (pk.ICMP, pk.ICMPV6):
        ports = (int(fields["id"][0]), int(fields["type"][0]))
    else:
        ports = tuple(int(fields.get(name, ["0"])[0]) for name in ("sport", "dport"))
    key = (protocol, fields["src"][0], ports[0], fields["dst"][0], ports[1])
    counts = [tuple(int(n) for n in fields[name]) for name in ("packets", "bytes")]
    return key, model.Entry(state, model.timeout_class(left), "[ASSURED]" in words,
                            "[UNREPLIED]" not in words, *counts)
