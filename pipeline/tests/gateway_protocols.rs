//! A whole gateway on one thread: protocols other than TCP, UDP and ICMP, through masquerade.
//!
//! Every frame seen here has had its checksum verified, see `sim::packets::see`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{Seen, at, balanced, one, to_gateway};
use sim::{LAN, Sim, WAN, ip, masquerading_policy};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::segment::DccpType;
use turnpike_conntrack::tuple::Proto;
use turnpike_conntrack::tuple::V4;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::{Craft, DccpSpec, IcmpSpec};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::packet::sctp::seal;

const SERVER: &str = "198.51.100.7:5060";

fn sctp(port: PortId, src: &str, dst: &str, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let craft = Craft::sctp(at(src), at(dst), tag).unwrap();
    to_gateway(port, craft.payload(chunks))
}

/// INIT (1) or INIT-ACK (2) that gives `tag`.
fn init(kind: u8, tag: u32) -> Vec<u8> {
    let mut chunk = vec![kind, 0, 0, 20];
    chunk.extend(tag.to_be_bytes());
    chunk.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 0]);
    chunk
}

const COOKIE_ECHO: [u8; 8] = [10, 0, 0, 8, 1, 2, 3, 4];
const COOKIE_ACK: [u8; 4] = [11, 0, 0, 4];
const DATA: [u8; 17] = [0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9];

fn udp_lite(port: PortId, src: &str, dst: &str) -> Vec<u8> {
    let craft = Craft::udp_lite(at(src), at(dst), 12).unwrap();
    to_gateway(port, craft.payload_len(40))
}

fn dccp(port: PortId, src: &str, dst: &str, kind: DccpType) -> Vec<u8> {
    let craft = Craft::dccp(at(src), at(dst), DccpSpec { kind, coverage: 2 });
    to_gateway(port, craft.unwrap().payload_len(40))
}

fn gre(port: PortId, src: &str, dst: &str, call: u16) -> Vec<u8> {
    let [high, low] = call.to_be_bytes();
    let bytes = [0x30, 1, 0x88, 0x0b, 0, 2, high, low, 0, 0, 0, 1, 0xff, 3];
    let craft = Craft::other(ip(src), ip(dst), Proto::GRE).unwrap();
    to_gateway(port, craft.payload(&bytes))
}

fn state(sim: &mut Sim) -> Option<ConnState> {
    sim.last_end().state
}

fn external_port(seen: &Seen) -> u16 {
    let tuple = seen.tuple();
    assert_eq!(tuple.src, [203, 0, 113, 2]);
    tuple.src_port.0
}

/// Two hosts use one port, so that the second is translated to another.
#[test]
fn an_sctp_association_goes_through_masquerade_with_its_port_changed() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    sim.inject(LAN, sctp(LAN, "192.168.88.10:5000", SERVER, 0, &init(1, 9)));
    let from = "192.168.88.11:5000";
    let out = sim.inject(LAN, sctp(LAN, from, SERVER, 0, &init(1, 11)));
    let port = external_port(&one(&out, WAN));
    assert_ne!(port, 5000);
    assert_eq!(state(&mut sim), Some(ConnState::New));
    let outside = format!("203.0.113.2:{port}");
    let to = &outside;
    let mut say = |from_lan: bool, tag: u32, chunks: &[u8]| {
        let (side, other, frame) = if from_lan {
            (LAN, WAN, sctp(LAN, from, SERVER, tag, chunks))
        } else {
            (WAN, LAN, sctp(WAN, SERVER, to, tag, chunks))
        };
        let sent = sim.inject(side, frame);
        let words = sent.first().map(|_| one(&sent, other).words());
        (words, sim.last_end().state)
    };
    let out_words = Some(format!("{to} > {SERVER}"));
    let back_words = Some(format!("{SERVER} > {from}"));
    let established = Some(ConnState::Established);
    let back = (back_words, established);
    assert_eq!(say(false, 11, &init(2, 22)), back);
    let echo_with_data = [&COOKIE_ECHO[..], &DATA].concat();
    assert_eq!(
        say(true, 22, &echo_with_data),
        (out_words.clone(), established)
    );
    assert_eq!(say(false, 11, &COOKIE_ACK), back);
    assert_eq!(say(true, 22, &DATA), (out_words.clone(), established));
    assert_eq!(
        say(false, 12, &DATA).1,
        Some(ConnState::Invalid),
        "a wrong tag"
    );
    let malformed = [0, 3, 0, 99];
    assert_eq!(say(true, 22, &malformed).1, Some(ConnState::Invalid));
    assert_eq!(
        say(true, 22, &[6, 0, 0, 4]),
        (out_words, established),
        "an ABORT"
    );
    balanced(&sim);
}

#[test]
fn an_sctp_packet_with_a_wrong_checksum_is_invalid() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let mut frame = sctp(LAN, "192.168.88.10:5000", SERVER, 0, &init(1, 9));
    *frame.last_mut().unwrap() ^= 1;
    sim.inject(LAN, frame.clone());
    assert_eq!(state(&mut sim), Some(ConnState::Invalid));
    assert_eq!(sim.connections(), 0);
    seal(&mut frame[34..]);
    sim.inject(LAN, frame);
    assert_eq!(state(&mut sim), Some(ConnState::New));
}

#[test]
fn an_error_about_an_sctp_packet_is_related_and_quotes_what_was_sent() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    sim.inject(LAN, sctp(LAN, "192.168.88.10:5000", SERVER, 0, &init(1, 9)));
    let init = sctp(LAN, "192.168.88.11:5000", SERVER, 0, &init(1, 11));
    let out = one(&sim.inject(LAN, init.clone()), WAN);
    let spec = IcmpSpec {
        kind: 3,
        code: 2,
        ..IcmpSpec::default()
    };
    let error = Craft::icmp(ip("192.0.2.1"), ip("203.0.113.2"), spec).unwrap();
    let quote = &out.frame[usize::from(out.parsed.l3)..];
    let error = to_gateway(WAN, error.payload(quote));
    let seen = one(&sim.inject(WAN, error), LAN);
    assert_eq!(state(&mut sim), Some(ConnState::Related));
    let quote = quoted::<V4>(&seen.frame, &seen.parsed).unwrap();
    let l4 = usize::from(quote.l4);
    assert_eq!(seen.frame[l4..], init[34..], "ports and checksum as sent");
}

#[test]
fn a_dccp_connection_goes_through_masquerade_with_its_port_changed() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let request = DccpType::Request;
    sim.inject(LAN, dccp(LAN, "192.168.88.10:5000", SERVER, request));
    let from = "192.168.88.11:5000";
    let port = external_port(&one(
        &sim.inject(LAN, dccp(LAN, from, SERVER, request)),
        WAN,
    ));
    assert_ne!(port, 5000);
    assert_eq!(state(&mut sim), Some(ConnState::New));
    let to = format!("203.0.113.2:{port}");
    let back = sim.inject(WAN, dccp(WAN, SERVER, &to, DccpType::Response));
    assert_eq!(one(&back, LAN).words(), format!("{SERVER} > {from}"));
    assert_eq!(state(&mut sim), Some(ConnState::Established));
    sim.inject(WAN, dccp(WAN, SERVER, &to, DccpType::Data));
    assert_eq!(
        state(&mut sim),
        Some(ConnState::Invalid),
        "before it is acknowledged"
    );
    one(
        &sim.inject(LAN, dccp(LAN, from, SERVER, DccpType::Ack)),
        WAN,
    );
    one(
        &sim.inject(WAN, dccp(WAN, SERVER, &to, DccpType::Data)),
        LAN,
    );
    assert_eq!(state(&mut sim), Some(ConnState::Established));
    sim.inject(WAN, dccp(WAN, "198.51.100.8:5060", &to, DccpType::Data));
    assert_eq!(state(&mut sim), Some(ConnState::Invalid), "nobody asked");
    balanced(&sim);
}

#[test]
fn udp_lite_with_partial_coverage_goes_through_masquerade_with_its_port_changed() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    sim.inject(LAN, udp_lite(LAN, "192.168.88.10:5000", SERVER));
    let from = "192.168.88.11:5000";
    let port = external_port(&one(&sim.inject(LAN, udp_lite(LAN, from, SERVER)), WAN));
    assert_ne!(port, 5000);
    assert_eq!(state(&mut sim), Some(ConnState::New));
    let to = format!("203.0.113.2:{port}");
    let back = sim.inject(WAN, udp_lite(WAN, SERVER, &to));
    assert_eq!(one(&back, LAN).words(), format!("{SERVER} > {from}"));
    assert_eq!(state(&mut sim), Some(ConnState::Established));
    let mut none = udp_lite(LAN, from, SERVER);
    none[40..42].fill(0);
    sim.inject(LAN, none);
    assert_eq!(
        state(&mut sim),
        Some(ConnState::Invalid),
        "without a checksum"
    );
    balanced(&sim);
}

#[test]
fn a_gre_tunnel_is_one_connection_through_masquerade_whatever_calls_it_carries() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let (inside, server) = ("192.168.88.10", "198.51.100.7");
    let out = one(&sim.inject(LAN, gre(LAN, inside, server, 9)), WAN);
    assert_eq!(out.words(), "203.0.113.2 > 198.51.100.7");
    assert_eq!(
        out.frame[40..42],
        [0, 9],
        "the call id is not the gateway's to change"
    );
    assert_eq!(state(&mut sim), Some(ConnState::New));
    let back = one(&sim.inject(WAN, gre(WAN, server, "203.0.113.2", 7)), LAN);
    assert_eq!(back.words(), "198.51.100.7 > 192.168.88.10");
    assert_eq!(state(&mut sim), Some(ConnState::Established));
    one(&sim.inject(LAN, gre(LAN, inside, server, 10)), WAN);
    assert_eq!(state(&mut sim), Some(ConnState::Established));
    assert_eq!(sim.connections(), 1);
    balanced(&sim);
}

#[test]
fn a_tunnel_owned_by_another_worker_is_found_there() {
    let mut sim = Sim::new(&masquerading_policy(), 3);
    for host in 10..40 {
        let inside = format!("192.168.88.{host}");
        let server = format!("198.51.100.{host}");
        one(&sim.inject(LAN, gre(LAN, &inside, &server, 9)), WAN);
        let back = sim.inject(WAN, gre(WAN, &server, "203.0.113.2", 7));
        assert_eq!(one(&back, LAN).words(), format!("{server} > {inside}"));
    }
    assert_eq!(sim.connections(), 30);
    balanced(&sim);
}
