//! What RFC 4787, 5382, 5508 and 7857 ask of a NAT, on `configs/rfc-nat.yaml` in virtual time.
//!
//! `mgmt/docs/rfc.md` names for each requirement the test that shows it; `scripts/check-tree` holds
//! it to that.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../pipeline/tests/sim/mod.rs"]
mod sim;

mod icmp;
mod table;
mod tcp;
mod udp;

use std::path::Path;

use sim::packets::{Seen, at, one, see, to_gateway};
use sim::{LAN, Sim, WAN, ip};
use turnpike_conntrack::tuple::{Family, Tuple};
use turnpike_mgmt::config::Config;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::witness::End;

/// One family's cast: two inside hosts, the inside server, the gateway outside, two outsiders.
#[derive(Debug, Clone, Copy)]
struct Cast {
    a: &'static str,
    b: &'static str,
    inside_server: &'static str,
    gateway: &'static str,
    server: &'static str,
    stranger: &'static str,
    /// A router in the net outside, and one in the net inside.
    routers: [&'static str; 2],
    /// The protocol's numbers: type and code of "port unreachable", and of an echo and its answer.
    port_unreachable: (u8, u8),
    host_unreachable: (u8, u8),
    echo: [u8; 2],
}

const V4: Cast = Cast {
    a: "192.168.88.10",
    b: "192.168.88.11",
    inside_server: "192.168.88.80",
    gateway: "203.0.113.2",
    server: "198.51.100.7",
    stranger: "198.51.100.66",
    routers: ["192.0.2.1", "192.168.88.254"],
    port_unreachable: (3, 3),
    host_unreachable: (3, 1),
    echo: [8, 0],
};

const V6: Cast = Cast {
    a: "fd00:88::10",
    b: "fd00:88::11",
    inside_server: "fd00:88::80",
    gateway: "2001:db8:113::2",
    server: "2001:db8:7::7",
    stranger: "2001:db8:7::66",
    routers: ["2001:db8:2::1", "fd00:88::fe"],
    port_unreachable: (1, 4),
    host_unreachable: (1, 3),
    echo: [128, 129],
};

const FAMILIES: [Cast; 2] = [V4, V6];

fn policy() -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/rfc-nat.yaml");
    Config::load(&path).unwrap().policy
}

fn gateway() -> Sim {
    Sim::new(&policy(), 1)
}

/// `address:port`, as an address of either family is written.
fn end(address: &str, port: u16) -> String {
    std::net::SocketAddr::new(ip(address), port).to_string()
}

fn udp(from: PortId, src: &str, dst: &str) -> Vec<u8> {
    sim::packets::udp(from, src, dst)
}

/// The source of the one packet that leaves by `wan`.
fn outside_of(sent: &[(PortId, Vec<u8>)]) -> String {
    let words = words(&one(sent, WAN));
    words.split_once(" > ").unwrap().0.to_owned()
}

/// Source and destination, with ports where there are any.
fn words(seen: &Seen) -> String {
    let (src, dst) = (
        seen.parsed.src_ip(&seen.frame).unwrap().to_string(),
        seen.parsed.dst_ip(&seen.frame).unwrap().to_string(),
    );
    match seen.parsed.ports() {
        Some((s, d)) => format!("{} > {}", end(&src, s.0), end(&dst, d.0)),
        None => format!("{src} > {dst}"),
    }
}

fn flow(src: &str, dst: &str) -> String {
    format!("{src} > {dst}")
}

/// One packet goes in on `from`; it must come out on `to` with these ends.
fn passes(sim: &mut Sim, from: PortId, frame: Vec<u8>, to: PortId, expected: &str) {
    let sent = sim.inject(from, frame);
    assert_eq!(words(&one(&sent, to)), expected);
}

/// Nothing at all comes of a packet; how it ended.
fn is_silent(sim: &mut Sim, from: PortId, frame: Vec<u8>) -> End {
    let sent = sim.inject(from, frame);
    assert!(sent.is_empty(), "{:?}", see(&sent[0].1).parsed);
    sim.last_end()
}

fn seconds(sim: &mut Sim, seconds: u64) {
    assert!(sim.advance(seconds * 1_000).is_empty());
}

/// An ICMP error about the IP packet in `about`, behind its Ethernet header.
fn error(from: PortId, ends: (&str, &str), (kind, code): (u8, u8), about: &Seen) -> Vec<u8> {
    let quote = &about.frame[usize::from(about.parsed.l3)..];
    error_quoting(from, ends, (kind, code), quote)
}

fn error_quoting(
    from: PortId,
    (src, dst): (&str, &str),
    (kind, code): (u8, u8),
    quote: &[u8],
) -> Vec<u8> {
    let spec = IcmpSpec {
        kind,
        code,
        ..IcmpSpec::default()
    };
    let craft = Craft::icmp(ip(src), ip(dst), spec).unwrap();
    to_gateway(from, craft.payload(quote))
}

fn echo(from: PortId, src: &str, dst: &str, kind: u8, id: u16) -> Vec<u8> {
    sim::packets::echo(from, src, dst, kind, id)
}

/// The packet that an error quotes, as its receiver knows it.
fn quote_of<F: Family>(seen: &Seen) -> Tuple<F> {
    quoted::<F>(&seen.frame, &seen.parsed).unwrap().tuple
}

fn quoted_ends(seen: &Seen) -> String {
    let (src, dst, ports) = if seen.parsed.version() == Some(4) {
        let quote = quote_of::<turnpike_conntrack::tuple::V4>(seen);
        (
            std::net::IpAddr::from(quote.src).to_string(),
            std::net::IpAddr::from(quote.dst).to_string(),
            (quote.src_port.0, quote.dst_port.0),
        )
    } else {
        let quote = quote_of::<turnpike_conntrack::tuple::V6>(seen);
        (
            std::net::IpAddr::from(quote.src).to_string(),
            std::net::IpAddr::from(quote.dst).to_string(),
            (quote.src_port.0, quote.dst_port.0),
        )
    };
    flow(&end(&src, ports.0), &end(&dst, ports.1))
}

fn port_of(end: &str) -> u16 {
    at(end).port()
}

/// The source port with which a packet of this inside endpoint leaves.
fn outside_port(sim: &mut Sim, inside: &str, server: &str) -> u16 {
    port_of(&outside_of(&sim.inject(LAN, udp(LAN, inside, server))))
}
