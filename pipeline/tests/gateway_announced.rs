//! Connections that others have announced, through a whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use std::time::Duration;

use sim::packets::{SYN, SYN_ACK, balanced, one, tcp, to_gateway as wire, udp};
use sim::{
    LAN, LAN_IF, PEER_MAC, Sim, WAN, WAN_IF, ip, is, masquerading_policy, open_policy, rule, states,
};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::expect::{
    Activity, ChildLife, Class, Destination, Expectation, ExpectationId, MasterId, Reservation,
    Source, Uses,
};
use turnpike_conntrack::ids::{ConnState, FlowId, HelperId};
use turnpike_conntrack::nat::reserve;
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::tuple::{Family, Port, Proto, V4, V6};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::policy::{Action, AddressRange, Matchers, Policy, Translation};
use turnpike_pipeline::witness::Ending;

const CLIENT: [u8; 4] = [192, 168, 88, 10];
const SERVER: [u8; 4] = [198, 51, 100, 7];
const GATEWAY: [u8; 4] = [203, 0, 113, 2];

const CLASS: Class = Class {
    number: 0,
    max_expected: 8,
    timeout: Duration::from_secs(60),
};

/// Masquerade; from outside comes only what is established or related.
fn policy() -> Policy {
    let mut policy = masquerading_policy();
    policy.filter.chains[1].rules = vec![accept_known(), rule(from_wan(), Action::Drop)];
    policy
}

fn accept_known() -> turnpike_pipeline::policy::Rule {
    let known = Matchers {
        connection_state: states(&[ConnState::Established, ConnState::Related]),
        ..Matchers::default()
    };
    rule(known, Action::Accept)
}

fn from_wan() -> Matchers {
    Matchers {
        in_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    }
}

/// The client opens a control connection to the server; where it is, and its name as a master.
fn control(sim: &mut Sim) -> (usize, FlowId, MasterId) {
    let opening = tcp(LAN, "192.168.88.10:40000", "198.51.100.7:21", SYN, 100, 0);
    assert_eq!(sim.inject(LAN, opening).len(), 1);
    for (at, worker) in sim.workers.iter_mut().enumerate() {
        let table = &mut worker.conntrack_mut().v4;
        let mut found = None;
        table.walk(0, 1_000, sim.now, |c| found = Some(c.id));
        if let Some(id) = found {
            return (at, id, table.announce(id).expect("a place"));
        }
    }
    unreachable!("some worker has it")
}

/// UDP from the server to this port of the gateway, which is the client's.
fn to_gateway(port: u16) -> Expectation<V4> {
    Expectation {
        proto: Proto::UDP,
        destination: (GATEWAY, Port(port)),
        source: Some(SERVER),
        source_port: None,
        uses: Uses::Once,
        activity: Activity::Active,
        helper: HelperId::new(1),
        life: ChildLife::Own,
        new_destination: Destination::To(CLIENT, Port(port + 1)),
        new_source: Source::Keep,
        reservation: Reservation::None,
    }
}

fn expect<F: Family>(sim: &Sim, master: MasterId, new: Expectation<F>) -> ExpectationId {
    let made = sim.shared.expectations.expect(master, &CLASS, new, sim.now);
    made.expect("room")
}

/// The server calls the announced port; what reaches the inside.
fn call(sim: &mut Sim, src_port: u16) -> Vec<(PortId, Vec<u8>)> {
    let from = format!("198.51.100.7:{src_port}");
    let mut sent = sim.inject(WAN, udp(WAN, &from, "203.0.113.2:5000"));
    // Where nothing is announced the gateway itself says that nothing listens.
    sent.retain(|(port, _)| *port == LAN);
    sent
}

#[test]
fn an_announced_connection_from_outside_reaches_the_inside_host_as_related() {
    let mut sim = Sim::new(&policy(), 1);
    let (_, _, master) = control(&mut sim);
    assert!(call(&mut sim, 20).is_empty(), "nobody has announced it");
    assert_eq!(sim.last_end().state, Some(ConnState::New));
    expect(&sim, master, to_gateway(5_000));
    let sent = call(&mut sim, 20);
    assert_eq!(
        one(&sent, LAN).words(),
        "198.51.100.7:20 > 192.168.88.10:5001"
    );
    let end = sim.last_end();
    assert_eq!(
        (end.state, end.ending),
        (Some(ConnState::Related), Ending::Accept)
    );
    let back = sim.inject(LAN, udp(LAN, "192.168.88.10:5001", "198.51.100.7:20"));
    assert_eq!(
        one(&back, WAN).words(),
        "203.0.113.2:5000 > 198.51.100.7:20"
    );
    assert_eq!(call(&mut sim, 20).len(), 1);
    assert_eq!(sim.last_end().state, Some(ConnState::Established));
    assert!(
        call(&mut sim, 21).is_empty(),
        "one connection was announced"
    );
    balanced(&sim);
}

#[test]
fn what_one_worker_has_announced_every_worker_finds() {
    let mut sim = Sim::new(&policy(), 4);
    let (owner, id, master) = control(&mut sim);
    let many = Expectation {
        uses: Uses::UntilTimeout,
        ..to_gateway(5_000)
    };
    expect(&sim, master, many);
    for port in 1_000..1_040 {
        let sent = call(&mut sim, port);
        let words = format!("198.51.100.7:{port} > 192.168.88.10:5001");
        assert_eq!(one(&sent, LAN).words(), words);
        let back = format!("198.51.100.7:{port}");
        let back = sim.inject(LAN, udp(LAN, "192.168.88.10:5001", &back));
        assert_eq!(one(&back, WAN).tuple().src, GATEWAY);
    }
    let mut owners = [0; 4];
    for (at, worker) in sim.workers.iter().enumerate() {
        worker.conntrack().v4.walk(0, 1_000, sim.now, |c| {
            if let Some(master) = c.master {
                assert_eq!((usize::from(master.worker.0), master.id), (owner, id));
                assert_eq!(c.helper, HelperId::new(1));
                owners[at] += 1;
            }
        });
    }
    assert!(owners.iter().all(|n| *n > 0), "{owners:?}");
    assert_eq!(owners.iter().sum::<u32>(), 40);
    balanced(&sim);
}

#[test]
fn an_expectation_comes_before_the_nat_rules() {
    let mut policy = policy();
    let elsewhere = "192.168.88.99".parse().unwrap();
    let to = Translation {
        addresses: Some(AddressRange {
            first: elsewhere,
            last: elsewhere,
        }),
        ports: None,
    };
    policy.nat.chains[0].rules = vec![rule(from_wan(), Action::DstNat(to))];
    let mut sim = Sim::new(&policy, 1);
    let (_, _, master) = control(&mut sim);
    expect(&sim, master, to_gateway(5_000));
    let sent = call(&mut sim, 20);
    assert_eq!(one(&sent, LAN).tuple().dst, CLIENT);
    assert_eq!(sim.rule_packets(0), 0, "the rule was not asked");
    let by_rule = Expectation {
        new_destination: Destination::Rules,
        ..to_gateway(5_000)
    };
    expect(&sim, master, by_rule);
    let sent = call(&mut sim, 21);
    assert_eq!(one(&sent, LAN).tuple().dst, [192, 168, 88, 99]);
    assert_eq!(sim.rule_packets(0), 1);
}

#[test]
fn a_connection_announced_towards_outside_leaves_under_its_masters_address() {
    let mut sim = Sim::new(&policy(), 2);
    let (_, _, master) = control(&mut sim);
    let towards = |port, new_source| Expectation {
        destination: (SERVER, Port(port)),
        source: Some(CLIENT),
        new_destination: Destination::Keep,
        new_source,
        ..to_gateway(0)
    };
    expect(&sim, master, towards(3_000, Source::Address(GATEWAY)));
    let out = sim.inject(LAN, udp(LAN, "192.168.88.10:6000", "198.51.100.7:3000"));
    assert_eq!(one(&out, WAN).tuple().src, GATEWAY);
    expect(&sim, master, towards(3_001, Source::Keep));
    let out = sim.inject(LAN, udp(LAN, "192.168.88.10:6000", "198.51.100.7:3001"));
    assert_eq!(one(&out, WAN).tuple().src, CLIENT, "not even masqueraded");
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
    balanced(&sim);
}

#[test]
fn a_reserved_endpoint_is_the_connections_source_and_nobody_elses() {
    let mut sim = Sim::new(&policy(), 2);
    let (_, _, master) = control(&mut sim);
    let ports = std::sync::Arc::clone(sim.program.pools4.ports(GATEWAY).unwrap());
    let reserved = |sim: &Sim| {
        let (external, inside) = ((GATEWAY, Port(7_000)), (CLIENT, Port(6_000)));
        let pools = &sim.program.pools4;
        reserve(pools, Proto::UDP, external, inside, &sim.shared.key).expect("free")
    };
    let new = |sim: &Sim, port, uses| Expectation {
        destination: (SERVER, Port(port)),
        source: Some(CLIENT),
        uses,
        new_destination: Destination::Keep,
        new_source: Source::Endpoint(GATEWAY, Port(7_000)),
        reservation: Reservation::Source(reserved(sim)),
        ..to_gateway(0)
    };
    expect(&sim, master, new(&sim, 3_000, Uses::Once));
    expect(&sim, master, new(&sim, 3_001, Uses::UntilTimeout));
    for to in ["198.51.100.7:3000", "198.51.100.7:3001"] {
        let out = sim.inject(LAN, udp(LAN, "192.168.88.10:6000", to));
        assert_eq!(one(&out, WAN).words(), format!("203.0.113.2:7000 > {to}"));
    }
    // Another endpoint does not get the port, though the announcement would let it in.
    sim.inject(LAN, udp(LAN, "192.168.88.10:6001", "198.51.100.7:3001"));
    assert_eq!(sim.last_end().reason, Some(DropReason::NatPortsExhausted));
    let users = || ports.users(PortSpace::Udp, Port(7_000));
    assert_eq!(
        users(),
        3,
        "two connections, and one announcement that goes on"
    );
    sim.advance(61_000);
    sim.advance(1_000);
    assert_eq!((users(), sim.shared.expectations.len()), (0, 0));
    balanced(&sim);
}

#[test]
fn rules_for_the_gateway_itself_see_the_announced_as_related() {
    let mut policy = open_policy();
    let related = Matchers {
        connection_state: states(&[ConnState::Related]),
        ..Matchers::default()
    };
    policy.filter.chains[0].rules = vec![rule(related, Action::Accept)];
    policy.filter.chains[0]
        .rules
        .push(rule(Matchers::default(), Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    let (_, _, master) = control(&mut sim);
    let own = Expectation {
        new_destination: Destination::Keep,
        ..to_gateway(5_000)
    };
    expect(&sim, master, own);
    call(&mut sim, 20);
    let end = sim.last_end();
    assert_eq!(end.state, Some(ConnState::Related));
    assert_eq!(
        end.reason,
        Some(DropReason::NoListener),
        "accepted, but no one is there"
    );
    assert_eq!(sim.rule_packets(0), 1);
}

#[test]
fn ipv6_connections_are_announced_like_others() {
    let mut sim = Sim::new(&policy(), 2);
    let (_, _, master) = control(&mut sim);
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let new = Expectation::<V6> {
        proto: Proto::TCP,
        destination: (v6("fd00:88::10"), Port(5_000)),
        source: None,
        source_port: Some(Port(20)),
        uses: Uses::Once,
        activity: Activity::Active,
        helper: None,
        life: ChildLife::Own,
        new_destination: Destination::Keep,
        new_source: Source::Keep,
        reservation: Reservation::None,
    };
    expect(&sim, master, new);
    let syn = |port: u16| {
        let from = format!("[2001:db8:7::7]:{port}");
        tcp(WAN, &from, "[fd00:88::10]:5000", SYN, 1, 0)
    };
    assert!(sim.inject(WAN, syn(21)).is_empty());
    assert_eq!(sim.inject(WAN, syn(20)).len(), 1);
    let answer = tcp(
        LAN,
        "[fd00:88::10]:5000",
        "[2001:db8:7::7]:20",
        SYN_ACK,
        1,
        2,
    );
    assert_eq!(sim.inject(LAN, answer).len(), 1);
    assert_eq!(sim.last_end().state, Some(ConnState::Established));
}

#[test]
fn a_packet_that_the_rules_refuse_takes_nothing() {
    let mut refusing = policy();
    refusing.filter.chains[1].rules.remove(0);
    let mut sim = Sim::new(&refusing, 1);
    let (_, _, master) = control(&mut sim);
    expect(&sim, master, to_gateway(5_000));
    assert!(call(&mut sim, 20).is_empty());
    let end = sim.last_end();
    assert_eq!(
        (end.state, end.reason),
        (Some(ConnState::Related), Some(DropReason::FilterRule))
    );
    sim.reload(&policy());
    assert_eq!(call(&mut sim, 20).len(), 1);
}

#[test]
fn with_its_master_an_announcement_ends_and_a_child_that_belongs_to_it() {
    let mut sim = Sim::new(&policy(), 2);
    let (owner, id, master) = control(&mut sim);
    let bound = Expectation {
        life: ChildLife::Master,
        ..to_gateway(5_000)
    };
    expect(&sim, master, bound);
    expect(&sim, master, to_gateway(5_002));
    assert_eq!(call(&mut sim, 20).len(), 1);
    assert_eq!(call(&mut sim, 20).len(), 1);
    sim.workers[owner]
        .conntrack_mut()
        .v4
        .end(id, Cause::Flushed);
    assert!(call(&mut sim, 20).is_empty());
    assert_eq!(
        sim.last_end().state,
        Some(ConnState::New),
        "it is announced no more"
    );
    sim.inject(WAN, udp(WAN, "198.51.100.7:20", "203.0.113.2:5002"));
    assert_eq!(
        sim.last_end().state,
        Some(ConnState::New),
        "nor is the other"
    );
    assert_eq!(sim.connections(), 0);
    sim.advance(1);
    assert_eq!(sim.shared.expectations.len(), 0, "the slots are swept");
    balanced(&sim);
}

#[test]
fn a_connection_whose_master_makes_room_for_it_is_not_opened() {
    let mut sim = Sim::with_neighbours(&policy(), 1, Neighbours::Assume(PEER_MAC), 1);
    let (_, _, master) = control(&mut sim);
    expect(&sim, master, to_gateway(5_000));
    assert!(call(&mut sim, 20).is_empty());
    assert_eq!(sim.last_end().reason, Some(DropReason::ExpectationGone));
    assert_eq!(sim.connections(), 0);
    balanced(&sim);
}

#[test]
fn the_rule_that_admitted_a_connection_is_named_right_after_a_reload_that_moves_it() {
    let mut before = masquerading_policy();
    let from_lan = Matchers {
        in_interface: Some(is(LAN_IF)),
        ..Matchers::default()
    };
    let admits = rule(from_lan, Action::Accept);
    before.filter.chains[1].rules = vec![admits.clone()];
    let mut moved = before.clone();
    moved.filter.chains[1].rules = vec![accept_known(), rule(from_wan(), Action::Drop), admits];
    let mut sim = Sim::new(&moved, 1);
    sim.reload(&before);
    let (_, id, _) = control(&mut sim);
    let name = |sim: &Sim| {
        let connection = sim.workers[0].conntrack().v4.connection(id, sim.now);
        let rule = connection.expect("it lives").rule.expect("one admitted it");
        sim.program.lasting_rule_name(rule)
    };
    assert_eq!(name(&sim).as_deref(), Some("filter/forward/1 test:1"));
    sim.reload(&moved);
    assert_eq!(name(&sim).as_deref(), Some("filter/forward/3 test:1"));
    let mut without = before;
    without.filter.chains[1].rules = vec![accept_known()];
    sim.reload(&without);
    assert_eq!(name(&sim), None, "no other rule is named for it");
}

/// A PPTP data packet for the call that its receiver knows by this id.
fn gre(port: PortId, src: &str, dst: &str, call: u16) -> Vec<u8> {
    let [high, low] = call.to_be_bytes();
    let bytes = [0x20, 1, 0x88, 0x0b, 0, 2, high, low, 0xff, 3];
    let craft = Craft::other(ip(src), ip(dst), Proto::GRE).unwrap();
    wire(port, craft.payload(&bytes))
}

/// Addresses and call id of the one packet that was sent.
fn heard(sent: &[(PortId, Vec<u8>)], port: PortId) -> (String, u16) {
    let seen = one(sent, port);
    (seen.words(), seen.tuple().dst_port.0)
}

/// The client knows the call by 7, the server by 9; outside, the client's id is 1007.
fn call_to_server() -> Expectation<V4> {
    Expectation {
        proto: Proto::GRE,
        destination: (SERVER, Port(9)),
        source: Some(CLIENT),
        source_port: Some(Port(7)),
        new_destination: Destination::Keep,
        new_source: Source::Endpoint(GATEWAY, Port(1_007)),
        ..to_gateway(0)
    }
}

fn call_to_client() -> Expectation<V4> {
    Expectation {
        proto: Proto::GRE,
        destination: (GATEWAY, Port(1_007)),
        source: Some(SERVER),
        source_port: Some(Port(9)),
        new_destination: Destination::To(CLIENT, Port(7)),
        ..to_gateway(0)
    }
}

#[test]
fn an_announced_call_keeps_its_ids_apart_whoever_speaks_first() {
    const INSIDE: (&str, &str) = ("192.168.88.10", "198.51.100.7");
    const OUTSIDE: (&str, &str) = ("198.51.100.7", "203.0.113.2");
    let goes_out = ("203.0.113.2 > 198.51.100.7".to_owned(), 9);
    let comes_in = ("198.51.100.7 > 192.168.88.10".to_owned(), 7);
    for client_first in [true, false] {
        let mut sim = Sim::new(&policy(), 1);
        let (_, _, master) = control(&mut sim);
        expect(&sim, master, call_to_server());
        expect(&sim, master, call_to_client());
        let mut order = [LAN, WAN, LAN, WAN];
        order.rotate_left(usize::from(!client_first));
        for (n, from) in order.into_iter().enumerate() {
            if from == LAN {
                let sent = sim.inject(LAN, gre(LAN, INSIDE.0, INSIDE.1, 9));
                assert_eq!(heard(&sent, WAN), goes_out);
            } else {
                let sent = sim.inject(WAN, gre(WAN, OUTSIDE.0, OUTSIDE.1, 1_007));
                assert_eq!(heard(&sent, LAN), comes_in);
            }
            let state = if n == 0 {
                ConnState::Related
            } else {
                ConnState::Established
            };
            assert_eq!(sim.last_end().state, Some(state), "{n}");
        }
        assert_eq!(sim.connections(), 2, "the control connection and one call");
        let sent = sim.inject(WAN, gre(WAN, OUTSIDE.0, OUTSIDE.1, 7));
        assert!(sent.iter().all(|(port, _)| *port != LAN), "another call");
        balanced(&sim);
    }
}

#[test]
fn an_announced_connection_opens_during_a_flood_of_others() {
    let mut sim = Sim::with_neighbours(&policy(), 1, Neighbours::Assume(PEER_MAC), 64);
    let (_, _, master) = control(&mut sim);
    for port in 1_000..1_060 {
        let from = format!("192.168.88.77:{port}");
        sim.inject(LAN, tcp(LAN, &from, "198.51.100.7:443", SYN, 1, 0));
    }
    assert_eq!(sim.last_end().reason, Some(DropReason::SynFlood));
    let announced = Expectation {
        proto: Proto::TCP,
        ..to_gateway(5_000)
    };
    expect(&sim, master, announced);
    let syn = tcp(WAN, "198.51.100.7:20", "203.0.113.2:5000", SYN, 1, 0);
    let sent = sim.inject(WAN, syn);
    assert_eq!(one(&sent, LAN).tuple().dst, CLIENT);
    balanced(&sim);
}
