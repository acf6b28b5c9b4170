"""What is compared: scenarios of steps, and what a router made of each step."""

import dataclasses

import packet as pk

INSIDE, OUTSIDE = "lan", "wan"
OTHER_SIDE = {INSIDE: OUTSIDE, OUTSIDE: INSIDE}
# One step takes so long on the virtual clock.
STEP_NS = 1_000_000
# A pause between two phases, on both clocks. UDP becomes a stream two seconds after its start.
PAUSE_NS = 2_100_000_000

LAN = {4: "192.0.2", 6: "2001:db8:ffff:"}
WAN = {4: "203.0.113", 6: "2001:db8:fffe:"}

# The same for both, each value once, so that the time left tells which of them was applied. Those
# that shorten others (`max_retrans`, `unacknowledged`) lie between, as in the defaults.
TIMEOUTS = {
    "tcp_timeout_syn_sent": ("tcp-syn-sent-timeout", 1000),
    "tcp_timeout_syn_recv": ("tcp-syn-received-timeout", 1200),
    "tcp_timeout_fin_wait": ("tcp-fin-wait-timeout", 1400),
    "tcp_timeout_close_wait": ("tcp-close-wait-timeout", 1600),
    "tcp_timeout_last_ack": ("tcp-last-ack-timeout", 1800),
    "tcp_timeout_time_wait": ("tcp-time-wait-timeout", 2000),
    "tcp_timeout_close": ("tcp-close-timeout", 2200),
    "tcp_timeout_max_retrans": ("tcp-max-retrans-timeout", 2600),
    "tcp_timeout_unacknowledged": ("tcp-unacked-timeout", 2800),
    "tcp_timeout_established": ("tcp-established-timeout", 9000),
    "udp_timeout": ("udp-timeout", 3200),
    "udp_timeout_stream": ("udp-stream-timeout", 3400),
    "icmp_timeout": ("icmp-timeout", 3600),
    "icmpv6_timeout": (None, 3600),
    "generic_timeout": ("generic-timeout", 3800),
    "gre_timeout": ("gre-timeout", 4000),
    "gre_timeout_stream": ("gre-stream-timeout", 4200),
    "sctp_timeout_closed": ("sctp-closed-timeout", 5000),
    "sctp_timeout_cookie_wait": ("sctp-cookie-wait-timeout", 5200),
    "sctp_timeout_cookie_echoed": ("sctp-cookie-echoed-timeout", 5400),
    "sctp_timeout_established": ("sctp-established-timeout", 5600),
    "sctp_timeout_shutdown_sent": ("sctp-shutdown-sent-timeout", 5800),
    "sctp_timeout_shutdown_recd": ("sctp-shutdown-recd-timeout", 6000),
    "sctp_timeout_shutdown_ack_sent": ("sctp-shutdown-ack-sent-timeout", 6200),
    "sctp_timeout_heartbeat_sent": ("sctp-heartbeat-sent-timeout", 6400),
}
# The kernel keeps UDP-Lite by the timeouts of UDP.
UDPLITE = {"udplite-timeout": 3200, "udplite-stream-timeout": 3400}


def timeouts():
    """The timeouts as lines of `connection-tracking`."""
    named = [pair for pair in TIMEOUTS.values() if pair[0]] + list(UDPLITE.items())
    return "".join(f"\n  {name}: {seconds}s" for name, seconds in named)


@dataclasses.dataclass(frozen=True)
class Options:
    """Switches that hold for a whole router."""

    loose: bool = True
    liberal: bool = False
    checksum: bool = True

    def words(self):
        """As they are told to people."""
        return (f"loose {'on' if self.loose else 'off'}, liberal {'on' if self.liberal else 'off'}"
                + ("" if self.checksum else ", checksums unseen"))


@dataclasses.dataclass
class Step:
    """A packet that enters. `packet` is in the inside view: what comes from outside is addressed
    to the inside host, and is carried over into the view of the outside where `carry` is set."""

    side: str
    packet: bytes
    phase: int = 0
    carry: bool = True


@dataclasses.dataclass
class Scenario:
    """Steps on addresses of their own, under some switches."""

    name: str
    steps: list
    options: Options = Options()


@dataclasses.dataclass
class Result:
    """What became of one step: the connection state it had (None if nobody said) and all packets
    that came out, with the side they came out on."""

    state: str
    out: list
    fed: bytes = b""
    verdict: str = ""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A connection at the end: its state's name, the timeout it is under, what was counted."""

    state: str
    timeout: int
    assured: bool
    seen_reply: bool
    packets: tuple
    bytes: tuple

    def words(self):
        """As it is told to people."""
        flags = ("A" if self.assured else "") + ("S" if self.seen_reply else "")
        return (f"{self.state or '-'} timeout {timeout_name(self.timeout)} flags {flags or '-'} "
                f"packets {self.packets} bytes {self.bytes}")


def timeout_class(seconds):
    """The timeout that an entry with so many seconds left is under: the next one above."""
    above = [value for _, value in TIMEOUTS.values() if value >= seconds]
    return min(above) if above else round(seconds)


def timeout_name(value):
    """The kernel's name of a timeout."""
    names = [name for name, (_, known) in TIMEOUTS.items() if known == value]
    return names[0] if names else str(value)


class Translations:
    """What a router made of sources, learned from packets that came out, so that the other side
    can address its answers as it must."""

    def __init__(self):
        self.known = {}
        self.since = {}

    def learn(self, fed, out, when):
        """Remembers how a packet that went through as number `when` changed its source."""
        before, after = pk.read(fed), pk.read(out)
        if before.protocol != after.protocol or after.icmp and after.quote:
            return
        key = self.key(before.protocol, (before.source, before.ports[0]),
                       (after.target, after.ports[1]))
        self.known.setdefault(key, (after.source, after.ports[0]))
        self.since.setdefault(key, when)

    def at(self, key, when):
        """What a source had become by then."""
        return self.known.get(key) if self.since.get(key, when) < when else None

    @staticmethod
    def key(protocol, inside, remote):
        """A connection as the inside host and its peer name it; ICMP has one number for both."""
        if protocol in (pk.ICMP, pk.ICMPV6):
            return protocol, inside[0], inside[1] or remote[1], remote[0], 0
        return protocol, *inside, *remote

    def carry(self, packet, when):
        """A packet to the inside host, as the outside has to write it."""
        seen = pk.read(packet)
        inside, remote = (seen.target, seen.ports[1]), (seen.source, seen.ports[0])
        if seen.quote:
            return self.carry_error(packet, seen, when)
        known = self.at(self.key(seen.protocol, inside, remote), when)
        return pk.seal(pk.put_target(packet, *known)) if known else packet

    def back(self, packet):
        """A packet on the outside, as the inside host knows it: the reverse of `carry`."""
        seen = pk.read(packet)
        if seen.quote:
            quote = pk.read(seen.quote)
            inner = self.back(seen.quote) if len(seen.quote) >= quote.l4 + 4 else seen.quote
            return self.back_ends(packet[:seen.l4 + 8] + inner, seen)
        return self.back_ends(packet, seen)

    def back_ends(self, packet, seen):
        """Both ends of a packet, where one of them was translated."""
        for key, (address, port) in self.known.items():
            protocol, inside, number, remote, far = key
            if protocol != seen.protocol:
                continue
            if (seen.source, seen.target) == (address, remote) and seen.ports[0] == port:
                return pk.put_source(packet, inside, number)
            if (seen.target, seen.source) == (address, remote) and seen.ports[1] == port:
                return pk.put_target(packet, inside, number)
        return packet

    def carry_error(self, packet, seen, when):
        """An error about a packet of the inside host: the quoted packet and the address."""
        quote = pk.read(seen.quote)
        key = self.key(quote.protocol, (quote.source, quote.ports[0]),
                       (quote.target, quote.ports[1]))
        known = self.at(key, when)
        if not known:
            return packet
        inner = pk.put_source(seen.quote, *known)
        if quote.version == 4:
            head = (inner[0] & 15) * 4
            inner = inner[:10] + b"\0\0" + inner[12:]
            inner = inner[:10] + pk.fold(inner[:head]).to_bytes(2, "big") + inner[12:]
        packet = packet[:seen.l4 + 8] + inner
        if seen.target == quote.source:
            packet = pk.put_target(packet, known[0], None)
        return pk.seal(packet)
