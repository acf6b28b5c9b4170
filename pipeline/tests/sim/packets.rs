//! Packets in and packets seen, in few words.

use std::net::SocketAddr;

use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::tuple::{Tuple, V4};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::checksum::Sum;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::packet::fragment::fragment;
use turnpike_pipeline::packet::parse::{Net, Parsed, parse};
use turnpike_pipeline::packet::verify::verify_l4;

use super::{HOST_MAC, LAN, LAN_MAC, PEER_MAC, Sim, WAN_MAC, ip};

pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;
pub const RST: u8 = 0x04;

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Towards the gateway, from whoever is on that side.
pub fn to_gateway(port: PortId, craft: Craft) -> Vec<u8> {
    let (dst, src) = if port == LAN {
        (LAN_MAC, HOST_MAC)
    } else {
        (WAN_MAC, PEER_MAC)
    };
    craft.macs(dst, src).frame().unwrap()
}

pub fn tcp(port: PortId, src: &str, dst: &str, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let spec = TcpSpec {
        flags,
        seq,
        ack,
        ..TcpSpec::default()
    };
    to_gateway(port, Craft::tcp(at(src), at(dst), spec).unwrap())
}

pub fn udp(port: PortId, src: &str, dst: &str) -> Vec<u8> {
    to_gateway(
        port,
        Craft::udp(at(src), at(dst)).unwrap().payload(b"hello"),
    )
}

pub fn echo(port: PortId, src: &str, dst: &str, kind: u8, id: u16) -> Vec<u8> {
    let spec = IcmpSpec {
        kind,
        id,
        ..IcmpSpec::default()
    };
    to_gateway(
        port,
        Craft::icmp(ip(src), ip(dst), spec)
            .unwrap()
            .payload(b"ping"),
    )
}

/// An untagged IPv4 frame with these options put in, a multiple of four bytes.
pub fn with_ipv4_options(mut frame: Vec<u8>, options: &[u8]) -> Vec<u8> {
    frame.splice(34..34, options.iter().copied());
    let len = u16::try_from(frame.len() - 14).unwrap();
    frame[14] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    frame[24..26].fill(0);
    let mut sum = Sum::new();
    sum.add(&frame[14..34 + options.len()]);
    let checksum = sum.checksum();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// What a frame says, having checked that it is a sound one.
pub struct Seen {
    pub parsed: Parsed,
    pub frame: Vec<u8>,
}

impl Seen {
    pub fn tuple(&self) -> Tuple<V4> {
        self.parsed.tuple::<V4>(&self.frame).unwrap()
    }

    pub fn words(&self) -> String {
        let (src, dst) = (
            self.parsed.src_ip(&self.frame),
            self.parsed.dst_ip(&self.frame),
        );
        let ports = self.parsed.ports().map(|(s, d)| (s.0, d.0));
        match ports {
            Some((s, d)) => format!("{}:{s} > {}:{d}", src.unwrap(), dst.unwrap()),
            None => format!("{} > {}", src.unwrap(), dst.unwrap()),
        }
    }
}

pub fn see(frame: &[u8]) -> Seen {
    let mut buf = HeapBuffer::new(frame.to_vec(), 0);
    let parsed = parse(&mut buf).expect("the gateway sends sound frames");
    if parsed.net != Net::Arp {
        assert_eq!(
            verify_l4(&buf, &parsed),
            Checksum::Good,
            "layer-4 checksum of {parsed:?}"
        );
    }
    Seen {
        parsed,
        frame: frame.to_vec(),
    }
}

pub fn one(sent: &[(PortId, Vec<u8>)], port: PortId) -> Seen {
    assert_eq!(sent.len(), 1, "one frame is sent");
    assert_eq!(sent[0].0, port);
    see(&sent[0].1)
}

pub fn balanced(sim: &Sim) {
    let (came, went) = sim.books();
    assert_eq!(came, went, "the books add up");
}

/// `craft` cut into pieces for a link of `mtu` bytes.
pub fn pieces_of(port: PortId, craft: Craft, mtu: u16) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    fragment(&to_gateway(port, craft), mtu, |piece| {
        pieces.push(piece.to_vec())
    })
    .unwrap();
    pieces
}
