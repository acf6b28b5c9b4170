//! The world around the gateway: hosts, servers, their sessions, and those who mean harm.

use std::net::{IpAddr, SocketAddr};

use turnpike_conntrack::tuple::{V4, V6};
use turnpike_pipeline::ids::{Mac, PortId};
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec, UdpChecksum};
use turnpike_pipeline::packet::parse::{Parsed, inspect};

use crate::random::Random;
use crate::sim::{HOST_MAC, LAN, LAN_MAC, PEER_MAC, WAN, WAN_MAC, ip};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Who sends, and who receives, as a packet says it; identifiers stand for ports in echoes.
pub type Ends = ((IpAddr, u16), (IpAddr, u16));

/// What a packet's tuple says; `None` for ARP.
pub fn ends_of(frame: &[u8], parsed: &Parsed) -> Option<Ends> {
    if let Some(t) = parsed.tuple::<V4>(frame) {
        let (src, dst) = (t.src.into(), t.dst.into());
        return Some(((src, t.src_port.0), (dst, t.dst_port.0)));
    }
    let t = parsed.tuple::<V6>(frame)?;
    let (src, dst) = (t.src.into(), t.dst.into());
    Some(((src, t.src_port.0), (dst, t.dst_port.0)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
    Echo,
}

/// Which way a packet of a session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    Server,
    Client,
}

/// One end's place in a TCP stream.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    next: u32,
    peer: Option<u32>,
    opened: bool,
}

/// A conversation between a client and a server, one of them behind the gateway.
#[derive(Debug, Clone)]
pub struct Session {
    pub kind: Kind,
    pub client: (IpAddr, u16),
    pub server: (IpAddr, u16),
    pub client_at: PortId,
    pub server_at: PortId,
    /// The last packet of the client as the server got it.
    seen: Option<(Ends, Vec<u8>)>,
    streams: [Stream; 2],
}

const HOSTS: [&str; 5] = [
    "192.168.88.10",
    "192.168.88.11",
    "192.168.88.12",
    "fd00:88::10",
    "fd00:88::11",
];
const SERVERS: [&str; 5] = [
    "198.51.100.1",
    "198.51.100.2",
    "203.0.113.77",
    "2001:db8:7::1",
    "2001:db8:113::77",
];

impl Session {
    pub fn random(random: &mut Random) -> Self {
        let host = ip(random.pick(&HOSTS));
        let far: Vec<_> = SERVERS.iter().map(|s| ip(s)).collect();
        let far: Vec<_> = far
            .into_iter()
            .filter(|s| s.is_ipv4() == host.is_ipv4())
            .collect();
        let far = random.pick(&far);
        let kind = random.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Echo]);
        // Few enough client ports that hosts compete for them.
        let port = 2_000 + u16::from(random.byte());
        let service = 80 + u16::from(random.byte() % 40);
        let service = if kind == Kind::Echo { 8 } else { service };
        let inwards = random.chance(20);
        let own = if host.is_ipv4() {
            "203.0.113.2"
        } else {
            "2001:db8:113::2"
        };
        let (client, server) = match inwards {
            true => (far, if random.chance(70) { ip(own) } else { host }),
            false if random.chance(5) => (host, ip(own)),
            false => (host, far),
        };
        let (client_at, server_at) = if inwards { (WAN, LAN) } else { (LAN, WAN) };
        let stream = |next| Stream {
            next,
            ..Stream::default()
        };
        Self {
            kind,
            client: (client, port),
            server: (server, service),
            client_at,
            server_at,
            seen: None,
            streams: [stream(random.byte().into()), stream(random.byte().into())],
        }
    }

    /// The next packet of either end, and where it enters.
    pub fn packet(&mut self, random: &mut Random, macs: Macs) -> (PortId, Towards, Vec<u8>) {
        let answers = self.seen.is_some() && random.chance(50);
        let (towards, at) = if answers {
            (Towards::Client, self.server_at)
        } else {
            (Towards::Server, self.client_at)
        };
        let (from, to) = match (towards, &self.seen) {
            (Towards::Client, Some((seen, _))) => (seen.1, seen.0),
            (Towards::Client | Towards::Server, _) => (self.client, self.server),
        };
        let craft = match self.kind {
            Kind::Tcp => self.segment(from, to, towards, random),
            Kind::Udp => datagram(from, to, random),
            Kind::Echo => echo(from, to, towards, random),
        };
        let (dst, src) = macs.towards_gateway(at, from.0);
        let ttl = if random.chance(3) {
            random.byte() % 3
        } else {
            64
        };
        (at, towards, craft.macs(dst, src).ttl(ttl).frame().unwrap())
    }

    fn segment(
        &mut self,
        from: (IpAddr, u16),
        to: (IpAddr, u16),
        towards: Towards,
        random: &mut Random,
    ) -> Craft {
        let stream = &mut self.streams[towards as usize];
        let opening = !stream.opened || random.chance(3);
        let payload = if opening { 0 } else { random.below(40) };
        let closing = match random.below(20) {
            0 => RST,
            1 => FIN,
            _ => 0,
        };
        let flags = match (opening, stream.peer) {
            (true, None) => SYN,
            (true, Some(_)) => SYN | ACK,
            (false, _) => ACK | closing,
        };
        let spec = TcpSpec {
            flags,
            seq: stream
                .next
                .wrapping_sub(u32::from(opening && stream.opened)),
            ack: stream.peer.unwrap_or(0),
            ..TcpSpec::default()
        };
        if opening && !stream.opened {
            stream.next = stream.next.wrapping_add(1);
            // A client that has no answer yet opens again.
            stream.opened = towards == Towards::Client || stream.peer.is_some();
            if !stream.opened {
                stream.next = stream.next.wrapping_sub(1);
            }
        }
        let fin = u32::from(flags & FIN != 0);
        stream.next = stream.next.wrapping_add(payload as u32 + fin);
        Craft::tcp(at(from), at(to), spec)
            .unwrap()
            .payload_len(payload)
    }

    /// One of its packets came out of the gateway.
    pub fn hear(&mut self, towards: Towards, port: PortId, frame: &[u8], parsed: &Parsed) {
        if towards == Towards::Server
            && let Some(ends) = ends_of(frame, parsed)
        {
            self.seen = Some((ends, frame[usize::from(parsed.l3)..].to_vec()));
            self.server_at = port;
        }
        if let Some(tcp) = parsed.tcp() {
            let edge = u32::from(tcp.flags & SYN != 0) + u32::from(tcp.flags & FIN != 0);
            let end = tcp.seq.wrapping_add(parsed.payload_len() + edge);
            let (hearer, sender) = match towards {
                Towards::Server => (Towards::Client, Towards::Server),
                Towards::Client => (Towards::Server, Towards::Client),
            };
            self.streams[hearer as usize].peer = Some(end);
            if tcp.flags & SYN != 0 && towards == Towards::Client {
                let client = &mut self.streams[Towards::Server as usize];
                if !client.opened {
                    client.opened = true;
                    client.next = client.next.wrapping_add(1);
                }
            }
            let _ = sender;
        }
    }

    /// An ICMP error about what the server got, from the server or from a router before it.
    pub fn error(&self, random: &mut Random, macs: Macs) -> Option<(PortId, Vec<u8>)> {
        let ((seen, _), quote) = self.seen.as_ref()?;
        let router = if seen.0.is_ipv4() {
            ip("192.0.2.1")
        } else {
            ip("2001:db8:99::1")
        };
        let from = if random.chance(50) {
            router
        } else {
            self.server.0
        };
        let (kind, code) = if seen.0.is_ipv4() { (3, 3) } else { (1, 4) };
        let spec = IcmpSpec {
            kind,
            code,
            ..IcmpSpec::default()
        };
        let (dst, src) = macs.towards_gateway(self.server_at, from);
        let to = if random.chance(80) {
            seen.0
        } else {
            let hosts: Vec<_> = HOSTS.iter().map(|h| ip(h)).collect();
            let same: Vec<_> = hosts
                .into_iter()
                .filter(|h| h.is_ipv4() == seen.0.is_ipv4())
                .collect();
            random.pick(&same)
        };
        let craft = Craft::icmp(from, to, spec)?.payload(quote);
        Some((self.server_at, craft.macs(dst, src).frame()?))
    }
}

fn at((ip, port): (IpAddr, u16)) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn datagram(from: (IpAddr, u16), to: (IpAddr, u16), random: &mut Random) -> Craft {
    let len = if random.chance(10) {
        1_280
    } else {
        random.below(64)
    };
    let craft = Craft::udp(at(from), at(to)).unwrap().payload_len(len);
    if from.0.is_ipv4() && random.chance(10) {
        craft.udp_checksum(UdpChecksum::Zero)
    } else {
        craft
    }
}

fn echo(from: (IpAddr, u16), to: (IpAddr, u16), towards: Towards, random: &mut Random) -> Craft {
    let kind = match (towards, from.0.is_ipv4()) {
        (Towards::Server, true) => 8,
        (Towards::Client, true) => 0,
        (Towards::Server, false) => 128,
        (Towards::Client, false) => 129,
    };
    let id = match towards {
        Towards::Server => from.1,
        Towards::Client => to.1,
    };
    let spec = IcmpSpec {
        kind,
        id,
        ..IcmpSpec::default()
    };
    Craft::icmp(from.0, to.0, spec)
        .unwrap()
        .payload_len(random.below(64))
}

/// Which link addresses stations have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macs {
    /// One of each side, as the gateway assumes.
    Assumed,
    /// One of its own for each address.
    Own,
}

impl Macs {
    pub fn of(self, ip: IpAddr) -> Mac {
        match (self, ip) {
            (Self::Assumed, _) => PEER_MAC,
            (Self::Own, IpAddr::V4(ip)) => {
                let [.., c, d] = ip.octets();
                Mac([2, 4, 0, 0, c, d])
            }
            (Self::Own, IpAddr::V6(ip)) => {
                let [a, b, c, d, .., y, z] = ip.octets();
                Mac([2, 6, a ^ b, c ^ d, y, z])
            }
        }
    }

    fn towards_gateway(self, at: PortId, from: IpAddr) -> (Mac, Mac) {
        let gateway = if at == LAN { LAN_MAC } else { WAN_MAC };
        let station = match self {
            Self::Assumed => HOST_MAC,
            Self::Own => self.of(from),
        };
        (gateway, station)
    }
}

/// A frame that nobody should have sent.
pub fn hostile(random: &mut Random, sample: &[u8]) -> Vec<u8> {
    match random.below(4) {
        0 => (0..random.below(200)).map(|_| random.byte()).collect(),
        1 => mutated(random, sample),
        2 => {
            let mut frame = sample.to_vec();
            frame.truncate(random.below(sample.len() + 1));
            frame
        }
        _ => spoofed(random),
    }
}

fn mutated(random: &mut Random, sample: &[u8]) -> Vec<u8> {
    let mut frame = sample.to_vec();
    for _ in 0..=random.below(3) {
        let at = 12 + random.below(60);
        if let Some(byte) = frame.get_mut(at) {
            *byte = random.byte();
        }
    }
    // With a right header checksum the change gets further.
    if random.chance(70) && frame.len() >= 34 && frame[12..15] == [8, 0, 0x45] {
        frame[24..26].fill(0);
        let mut sum: u32 = 0;
        for pair in frame[14..34].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).unwrap();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

fn spoofed(random: &mut Random) -> Vec<u8> {
    let v4 = [
        "192.168.88.1",
        "203.0.113.2",
        "192.168.88.255",
        "192.168.88.10",
        "198.51.100.1",
        "255.255.255.255",
        "224.0.0.1",
        "127.0.0.1",
        "0.0.0.0",
    ];
    let v6 = [
        "fd00:88::1",
        "2001:db8:113::2",
        "fe80::ff:fe00:1",
        "fe80::9",
        "fd00:88::10",
        "2001:db8:7::1",
        "ff02::1",
        "::1",
        "::",
    ];
    let pool: &[&str] = if random.chance(50) { &v4 } else { &v6 };
    let (src, dst) = (ip(random.pick(pool)), ip(random.pick(pool)));
    let port = 80 + u16::from(random.byte());
    let (from, to) = ((src, port), (dst, 80));
    let craft = match random.below(3) {
        0 => datagram(from, to, random),
        1 => echo(from, to, Towards::Server, random),
        _ => {
            let spec = TcpSpec {
                flags: random.byte(),
                seq: random.byte().into(),
                ..TcpSpec::default()
            };
            Craft::tcp(at(from), at(to), spec).unwrap()
        }
    };
    let gateway = random.pick(&[LAN_MAC, WAN_MAC, Mac::BROADCAST]);
    craft.macs(gateway, HOST_MAC).frame().unwrap()
}

/// The frame as a station sees it that understands what it receives.
pub fn read(frame: &[u8]) -> Option<Parsed> {
    inspect(frame, frame.len()).ok()
}
