//! What attackers and bad luck have found, one test each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use arrayvec::ArrayVec;
use sim::{
    HOST_MAC, LAN, LAN_MAC, PEER_MAC, Sim, WAN, WAN_MAC, ip, masquerading_policy, open_policy,
    rule, states,
};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::{Port, V4};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{IfaceId, Mac, PortId};
use turnpike_pipeline::outbox::{Found, Outbox};
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::packet::parse::{VlanId, inspect};
use turnpike_pipeline::policy::{Action, AddressRange, Interface, Matchers, Translation};
use turnpike_pipeline::witness::Ending;

fn to_gateway(port: PortId, craft: Craft) -> Vec<u8> {
    let (dst, src) = if port == LAN {
        (LAN_MAC, HOST_MAC)
    } else {
        (WAN_MAC, PEER_MAC)
    };
    craft.macs(dst, src).frame().unwrap()
}

fn udp(src: &str, dst: &str) -> Craft {
    let craft = Craft::udp(src.parse().unwrap(), dst.parse().unwrap());
    craft.unwrap().payload(b"hello")
}

fn icmp(src: &str, dst: &str, kind: u8, code: u8, id: u16) -> Craft {
    let spec = IcmpSpec {
        kind,
        code,
        id,
        ..IcmpSpec::default()
    };
    Craft::icmp(ip(src), ip(dst), spec).unwrap()
}

fn balanced(sim: &Sim) {
    let (came, went) = sim.books();
    assert_eq!(came, went, "the books add up");
}

/// Sends a host's echo through masquerade; the workers involved: the one that owns the connection
/// and the one whose queue the request enters.
fn echo_through(sim: &mut Sim, host: u8) -> (u8, usize, usize) {
    let before: Vec<usize> = sim.workers.iter().map(|w| w.conntrack().v4.len()).collect();
    assert_eq!(sim.inject(LAN, echo_request(host)).len(), 1);
    let owner = (0..before.len()).find(|w| sim.workers[*w].conntrack().v4.len() > before[*w]);
    let request = HeapBuffer::new(echo_request(host), 0);
    let queue = sim.workers[0].owner_of(LAN, &request);
    (host, owner.unwrap(), usize::from(queue.0))
}

fn echo_request(host: u8) -> Vec<u8> {
    let request = icmp(&format!("192.168.88.{host}"), "198.51.100.7", 8, 0, 7);
    to_gateway(LAN, request.payload(b"ping"))
}

/// A host whose masqueraded echo is answered at another worker than its request enters.
fn steered(sim: &mut Sim) -> (u8, usize, usize) {
    (10..60)
        .map(|host| echo_through(sim, host))
        .find(|(_, owner, queue)| owner != queue)
        .expect("some answers hash to the other worker")
}

#[test]
fn a_steered_packet_is_held_against_the_raw_rules_once() {
    let mut policy = masquerading_policy();
    policy.raw.chains[0]
        .rules
        .push(rule(Matchers::default(), Action::Passthrough));
    let mut sim = Sim::new(&policy, 2);
    let (host, ..) = steered(&mut sim);
    let before = sim.rule_packets(0);
    assert_eq!(sim.inject(LAN, echo_request(host)).len(), 1);
    assert_eq!(sim.rule_packets(0), before + 1);
    balanced(&sim);
}

#[test]
fn a_packet_steered_to_a_connection_that_has_expired_is_judged_where_it_came_in() {
    let mut policy = open_policy();
    policy.nat = masquerading_policy().nat;
    let mut sim = Sim::new(&policy, 2);
    let (host, owner, queue) = steered(&mut sim);
    // Expired, and not reclaimed yet: the steering map still names the owner.
    let later = sim.now.as_micros() + 11_000_000;
    sim.now = turnpike_conntrack::time::Tick::from_micros(later);
    assert!(!sim.shared.steering.is_empty());
    let mut burst = ArrayVec::new();
    burst.push(HeapBuffer::new(echo_request(host), 1));
    let mut out = Outbox::default();
    sim.workers[queue].receive(LAN, &mut burst, sim.now, &mut out);
    let (to, handover) = out.handover.pop().expect("steered");
    assert_eq!(usize::from(to.0), owner);
    let mut burst = ArrayVec::new();
    burst.push(handover);
    let mut out = Outbox::default();
    sim.workers[owner].take_over(&mut burst, sim.now, &mut out);
    let (to, handover) = out.handover.pop().expect("back where it came in");
    assert_eq!(usize::from(to.0), queue);
    let mut burst = ArrayVec::new();
    burst.push(handover);
    let mut out = Outbox::default();
    sim.workers[queue].take_over(&mut burst, sim.now, &mut out);
    // There it opens another, which lives where its reply arrives.
    let (to, handover) = out.handover.pop().expect("opened");
    assert_eq!(usize::from(to.0), owner);
    assert_eq!(handover.found, Found::ReplyArrives);
    let mut burst = ArrayVec::new();
    burst.push(handover);
    let mut out = Outbox::default();
    sim.workers[owner].take_over(&mut burst, sim.now, &mut out);
    assert!(out.handover.is_empty(), "and stays there");
    assert_eq!(out.tx.len(), 1);
}

/// Rules that let in what belongs to a connection of the inside, and nothing else.
fn closed() -> turnpike_pipeline::policy::Policy {
    let mut policy = open_policy();
    let known = Matchers {
        connection_state: states(&[ConnState::Established, ConnState::Related]),
        ..Matchers::default()
    };
    let from_wan = Matchers {
        in_interface: Some(sim::is(sim::WAN_IF)),
        ..Matchers::default()
    };
    let forward = &mut policy.filter.chains[1].rules;
    forward.push(rule(known, Action::Accept));
    forward.push(rule(from_wan, Action::Drop));
    policy
}

#[test]
fn an_error_about_a_connection_reaches_nobody_but_its_host() {
    let mut sim = Sim::new(&closed(), 2);
    let out = sim.inject(
        LAN,
        to_gateway(LAN, udp("192.168.88.10:4000", "198.51.100.7:53")),
    );
    let quote = out[0].1[14..].to_vec();
    let about = |dst| to_gateway(WAN, icmp("192.0.2.1", dst, 3, 3, 0).payload(&quote));
    assert!(sim.inject(WAN, about("192.168.88.66")).is_empty());
    assert_eq!(sim.last_end().state, Some(ConnState::Invalid));
    assert_eq!(sim.inject(WAN, about("192.168.88.10")).len(), 1);
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
    balanced(&sim);
}

#[test]
fn nobody_speaks_for_the_gateway_not_even_without_tracking() {
    for tracking in [true, false] {
        let mut policy = open_policy();
        policy.tracking.enabled = tracking;
        let mut sim = Sim::new(&policy, 1);
        for src in ["192.168.88.1", "203.0.113.2", "192.168.88.255"] {
            let spoofed = udp(&format!("{src}:4000"), "192.168.88.10:53");
            assert!(sim.inject(WAN, to_gateway(WAN, spoofed)).is_empty());
            assert_eq!(sim.last_end().reason, Some(DropReason::MartianSource));
            // Of no connection, and no query either.
            let stray = icmp(src, "192.168.88.10", 0, 0, 9);
            assert!(sim.inject(WAN, to_gateway(WAN, stray)).is_empty());
            assert_eq!(sim.last_end().reason, Some(DropReason::MartianSource));
        }
        balanced(&sim);
    }
}

#[test]
fn a_packet_in_the_gateways_name_does_not_join_the_gateways_connection() {
    let mut sim = Sim::new(&open_policy(), 1);
    let ping = icmp("192.168.88.10", "192.168.88.1", 8, 0, 7);
    assert_eq!(sim.inject(LAN, to_gateway(LAN, ping)).len(), 1);
    let spoofed = icmp("192.168.88.1", "192.168.88.10", 0, 0, 7);
    assert!(sim.inject(WAN, to_gateway(WAN, spoofed)).is_empty());
    assert_eq!(sim.last_end().reason, Some(DropReason::MartianSource));
}

#[test]
fn a_link_local_source_does_not_leave_its_link() {
    let mut sim = Sim::new(&open_policy(), 1);
    let stray = udp("[fe80::9]:4000", "[2001:db8:7::7]:53");
    assert!(sim.inject(LAN, to_gateway(LAN, stray)).is_empty());
    assert_eq!(sim.last_end().reason, Some(DropReason::MartianSource));
    // On its link it is as good as any.
    let ping = icmp("fe80::9", "fd00:88::1", 128, 0, 7);
    sim.inject(LAN, to_gateway(LAN, ping));
    assert_eq!(sim.last_end().ending, Ending::Local);
    balanced(&sim);
}

#[test]
fn an_echo_request_to_everybody_is_not_answered() {
    let mut sim = Sim::new(&open_policy(), 1);
    for dst in ["192.168.88.255", "255.255.255.255", "224.0.0.1", "ff02::1"] {
        let src = if dst.contains(':') {
            "fd00:88::10"
        } else {
            "192.168.88.10"
        };
        let kind = if dst.contains(':') { 128 } else { 8 };
        let ping = icmp(src, dst, kind, 0, 7);
        let frame = ping.macs(Mac::BROADCAST, HOST_MAC).frame().unwrap();
        assert!(sim.inject(LAN, frame).is_empty(), "{dst}");
        assert_eq!(sim.last_end().reason, Some(DropReason::NoListener));
    }
    balanced(&sim);
}

fn tcp(port: PortId, src: &str, dst: &str, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let spec = TcpSpec {
        flags,
        seq,
        ack,
        ..TcpSpec::default()
    };
    let craft = Craft::tcp(src.parse().unwrap(), dst.parse().unwrap(), spec);
    to_gateway(port, craft.unwrap())
}

#[test]
fn the_last_segment_of_a_connection_does_not_stand_in_the_way_of_the_next_in_the_same_burst() {
    const FIN_ACK: u8 = 0x11;
    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;
    let (host, server) = ("192.168.88.10:4000", "198.51.100.7:80");
    let out = |flags, seq, ack| tcp(LAN, host, server, flags, seq, ack);
    let back = |flags, seq, ack| tcp(WAN, server, host, flags, seq, ack);
    let mut sim = Sim::new(&open_policy(), 1);
    sim.inject(LAN, out(SYN, 100, 0));
    sim.inject(WAN, back(SYN_ACK, 500, 101));
    sim.inject(LAN, out(ACK, 101, 501));
    sim.inject(LAN, out(FIN_ACK, 101, 501));
    sim.inject(WAN, back(FIN_ACK, 501, 102));
    sim.inject(LAN, out(ACK, 102, 502));
    // Its last acknowledgement once more, and at once a new connection from the same port.
    let again = vec![out(ACK, 102, 502), out(SYN, 900_000, 0)];
    sim.inject_burst(LAN, again);
    assert_eq!(sim.last_end().state, Some(ConnState::New));
    sim.inject(WAN, back(SYN_ACK, 7_000_000, 900_001));
    assert_eq!(sim.last_end().state, Some(ConnState::Established));
    sim.inject(LAN, out(ACK, 900_001, 7_000_001));
    assert_eq!(sim.last_end().state, Some(ConnState::Established));
    balanced(&sim);
}

#[test]
fn a_frame_for_another_worker_counts_for_the_interface_of_its_tag() {
    let mut policy = open_policy();
    policy.interfaces.push(Interface {
        name: "guest".to_owned(),
        port: LAN,
        vlan: Some(20),
        addresses: vec!["10.20.0.1/24".parse().unwrap()],
        mtu: 1_500,
    });
    let mut sim = Sim::new(&policy, 2);
    for n in 10..30 {
        let craft = udp(&format!("10.20.0.{n}:4000"), "198.51.100.7:53").vlan(VlanId(20));
        assert_eq!(sim.inject(LAN, to_gateway(LAN, craft)).len(), 1);
    }
    assert!(sim.counters[1].taken_over.read() > 0);
    let received = |iface| sim.program.interface_counts(iface).0.packets;
    assert_eq!((received(IfaceId(2)), received(sim::LAN_IF)), (20, 0));
}

#[test]
fn an_external_port_stays_taken_while_rules_for_its_address_come_and_go() {
    let mut policy = open_policy();
    let external = AddressRange {
        first: ip("203.0.113.8"),
        last: ip("203.0.113.8"),
    };
    let to = Translation {
        addresses: Some(external),
        ports: None,
    };
    let out_wan = Matchers {
        out_interface: Some(sim::is(sim::WAN_IF)),
        ..Matchers::default()
    };
    policy.nat.chains[1]
        .rules
        .push(rule(out_wan, Action::SrcNat(to)));
    let mut sim = Sim::new(&policy, 1);
    let source_of = |sim: &mut Sim, host: &str| {
        let sent = sim.inject(LAN, to_gateway(LAN, udp(host, "198.51.100.7:53")));
        let frame = &sent[0].1;
        let parsed = inspect(frame, frame.len()).unwrap();
        let tuple = parsed.tuple::<V4>(frame).unwrap();
        (tuple.src, tuple.src_port)
    };
    let first = source_of(&mut sim, "192.168.88.10:4000");
    assert_eq!(first, ([203, 0, 113, 8], Port(4000)));
    sim.reload(&open_policy());
    sim.reload(&open_policy());
    sim.reload(&policy);
    let second = source_of(&mut sim, "192.168.88.11:4000");
    assert_eq!(second.0, first.0);
    assert_ne!(second.1, first.1);
    // Once nobody holds a port of it, the address is as good as new.
    sim.reload(&open_policy());
    sim.advance(60_000);
    sim.reload(&policy);
    assert_eq!(source_of(&mut sim, "192.168.88.12:4000"), first);
}

#[test]
fn a_reload_that_forbids_one_direction_ends_the_session() {
    let mut policy = masquerading_policy();
    let mut sim = Sim::new(&policy, 1);
    let out = || to_gateway(LAN, udp("192.168.88.10:4000", "198.51.100.7:53"));
    let back = || to_gateway(WAN, udp("198.51.100.7:53", "203.0.113.2:4000"));
    sim.inject(LAN, out());
    sim.inject(WAN, back());
    let from_wan = Matchers {
        in_interface: Some(sim::is(sim::WAN_IF)),
        ..Matchers::default()
    };
    policy.filter.chains[1]
        .rules
        .push(rule(from_wan, Action::Drop));
    sim.reload(&policy);
    // The other direction is judged first, and admitted.
    assert_eq!(sim.inject(LAN, out()).len(), 1);
    assert!(sim.inject(WAN, back()).is_empty());
    assert_eq!(sim.connections(), 0);
    balanced(&sim);
}

#[test]
fn discovery_of_routers_and_listeners_passes_input_without_a_rule() {
    let mut policy = open_policy();
    policy.filter.chains[0]
        .rules
        .push(rule(Matchers::default(), Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    for kind in [130, 131, 132, 133, 134, 137, 143] {
        let message = icmp("fe80::10", "ff02::1", kind, 0, 0)
            .ttl(255)
            .payload(&[0; 16]);
        assert!(sim.inject(LAN, to_gateway(LAN, message)).is_empty());
        assert_eq!(sim.last_end().ending, Ending::Consumed, "type {kind}");
    }
    assert_eq!(sim.rule_packets(0), 0);
    balanced(&sim);
}
