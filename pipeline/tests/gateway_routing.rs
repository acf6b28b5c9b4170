//! Routing marks, tables and rules on a whole gateway with two uplinks: packets in, packets out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod sim;

use std::collections::BTreeSet;
use std::sync::Arc;

use sim::packets::{Seen, at, balanced, see, to_gateway, udp};
use sim::{LAN, LAN_IF, Sim, WAN, WAN_IF, ip, is, open_policy, rule};
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{IfaceId, MarkId, PortId, RoutingTableId};
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::Found;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec};
use turnpike_pipeline::packet::parse::{Net, VlanId};
use turnpike_pipeline::policy::{
    Action, AddressRange, Classifier, Edit, FlowFields, Interface, Mark, MarkKind, Match, Matchers,
    PacketAsk, Policy, Route, RoutingAction, RoutingRule, RoutingTable, Then, Translation, Via,
};

/// The second uplink, a VLAN on the port of the first.
const WAN2_IF: IfaceId = IfaceId(2);
const WAN2_VLAN: VlanId = VlanId(20);

const PREROUTING: usize = 0;
const FORWARD: usize = 2;
const OUTPUT: usize = 3;

/// Marks of connections and, by their names, of ways.
const ISP1: u16 = 0;
const ISP2: u16 = 1;
const TO_ISP1: u16 = 2;
const TO_ISP2: u16 = 3;
const TABLE_1: RoutingTableId = RoutingTableId(1);
const TABLE_2: RoutingTableId = RoutingTableId(2);

fn default_by(iface: IfaceId, gateway: &str) -> Route {
    Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        via: Via::Gateway(iface, ip(gateway)),
    }
}

/// Uplinks `wan` (203.0.113.2, the main table's) and `wan2` (198.18.2.2), a table for each, what
/// leaves by one masqueraded.
fn two_uplinks() -> Policy {
    let mut policy = open_policy();
    policy.interfaces.push(Interface {
        name: "wan2".to_owned(),
        port: WAN,
        vlan: Some(20),
        addresses: vec!["198.18.2.2/24".parse().unwrap()],
        mtu: 1_500,
    });
    let marks = ["isp1", "isp2", "to_isp1", "to_isp2"];
    policy.marks = marks.map(str::to_owned).to_vec();
    let table = |name: &str, route| RoutingTable {
        name: name.to_owned(),
        routes: vec![route],
    };
    policy.routing.tables = vec![
        table("to_isp1", default_by(WAN_IF, "203.0.113.1")),
        table("to_isp2", default_by(WAN2_IF, "198.18.2.1")),
    ];
    for iface in [WAN_IF, WAN2_IF] {
        let leaving = Matchers {
            out_interface: Some(is(iface)),
            ..Matchers::default()
        };
        let masquerade = rule(leaving, Action::Masquerade(None));
        policy.nat.chains[1].rules.push(masquerade);
    }
    policy
}

fn set(kind: MarkKind, mark: u16) -> Action {
    Action::Edit(Edit::Mark(kind, Some(MarkId(mark))), Then::GoOn)
}

fn marked(kind: MarkKind, mark: Option<u16>) -> Match<Mark> {
    is(Mark {
        kind,
        mark: mark.map(MarkId),
    })
}

fn in_by(iface: IfaceId) -> Matchers {
    Matchers {
        in_interface: Some(is(iface)),
        ..Matchers::default()
    }
}

fn mangle(policy: &mut Policy, chain: usize, matchers: Matchers, action: Action) {
    policy.mangle.chains[chain]
        .rules
        .push(rule(matchers, action));
}

/// What comes in by an uplink marks its connection, and connections from inside are divided among
/// the uplinks; what is marked leaves by its uplink, the gateway's own packets too.
fn balancing() -> Policy {
    let mut policy = two_uplinks();
    let unmarked = |iface| Matchers {
        marks: vec![marked(MarkKind::Connection, None)],
        ..in_by(iface)
    };
    let connection = |mark| set(MarkKind::Connection, mark);
    mangle(&mut policy, PREROUTING, unmarked(WAN_IF), connection(ISP1));
    mangle(&mut policy, PREROUTING, unmarked(WAN2_IF), connection(ISP2));
    for (remainder, mark) in [(0, ISP1), (1, ISP2)] {
        let class = Matchers {
            classifier: Some(is(Classifier {
                fields: FlowFields::CLASSIFIED[8].1,
                denominator: 2,
                remainder,
            })),
            ..unmarked(LAN_IF)
        };
        mangle(&mut policy, PREROUTING, class, connection(mark));
    }
    for (mark, way) in [(ISP1, TO_ISP1), (ISP2, TO_ISP2)] {
        let of = |matchers| Matchers {
            marks: vec![marked(MarkKind::Connection, Some(mark))],
            ..matchers
        };
        let way = || set(MarkKind::Routing, way);
        mangle(&mut policy, PREROUTING, of(in_by(LAN_IF)), way());
        mangle(&mut policy, OUTPUT, of(Matchers::default()), way());
    }
    policy
}

/// A frame for `wan2`.
fn by_wan2(craft: Craft) -> Vec<u8> {
    to_gateway(WAN, craft.vlan(WAN2_VLAN))
}

fn datagram(src: &str, dst: &str) -> Craft {
    Craft::udp(at(src), at(dst)).unwrap().payload(b"hello")
}

/// The only frame that was sent, and the interface it left by.
fn left(sent: &[(PortId, Vec<u8>)]) -> (IfaceId, Seen) {
    assert_eq!(sent.len(), 1, "one frame is sent");
    let (port, frame) = &sent[0];
    let seen = see(frame);
    let iface = match (*port, seen.parsed.link.vlan) {
        (LAN, None) => LAN_IF,
        (WAN, None) => WAN_IF,
        (WAN, Some(WAN2_VLAN)) => WAN2_IF,
        other => panic!("{other:?}"),
    };
    (iface, seen)
}

fn left_by(sent: &[(PortId, Vec<u8>)]) -> IfaceId {
    left(sent).0
}

/// From inside to anywhere.
fn out(sim: &mut Sim) -> Vec<(PortId, Vec<u8>)> {
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"))
}

#[test]
fn mark_routing_divides_connections_among_uplinks_and_each_keeps_its_own() {
    for workers in [1, 4] {
        let mut sim = Sim::new(&balancing(), workers);
        let mut used = BTreeSet::new();
        for n in 0..32 {
            let server = format!("198.51.100.{}:53", n + 1);
            let request = || udp(LAN, "192.168.88.10:4000", &server);
            let (uplink, seen) = left(&sim.inject(LAN, request()));
            used.insert(uplink);
            let outside = seen.words();
            let outside = outside.split_once(" > ").unwrap().0;
            let address = if uplink == WAN_IF {
                "203.0.113.2:"
            } else {
                "198.18.2.2:"
            };
            assert!(outside.starts_with(address), "{outside} by {uplink:?}");
            for _ in 0..3 {
                let answer = datagram(&server, outside);
                let answer = if uplink == WAN_IF {
                    to_gateway(WAN, answer)
                } else {
                    by_wan2(answer)
                };
                assert_eq!(left_by(&sim.inject(WAN, answer)), LAN_IF);
                assert_eq!(left_by(&sim.inject(LAN, request())), uplink);
            }
        }
        assert_eq!(used, BTreeSet::from([WAN_IF, WAN2_IF]));
        balanced(&sim);
    }
}

#[test]
fn an_answer_leaves_by_the_uplink_that_the_request_came_in_by() {
    let mut policy = balancing();
    let server = ip("192.168.88.80");
    let inside = Translation {
        addresses: Some(AddressRange {
            first: server,
            last: server,
        }),
        ports: None,
    };
    for uplink in [WAN_IF, WAN2_IF] {
        let forward = rule(in_by(uplink), Action::DstNat(inside));
        policy.nat.chains[0].rules.push(forward);
    }
    for workers in [1, 4] {
        let mut sim = Sim::new(&policy, workers);
        for n in 0..16 {
            let client = format!("198.51.100.{}:5000", n + 1);
            let (uplink, request) = if n % 2 == 0 {
                let request = datagram(&client, "203.0.113.2:53");
                (WAN_IF, to_gateway(WAN, request))
            } else {
                (WAN2_IF, by_wan2(datagram(&client, "198.18.2.2:53")))
            };
            for _ in 0..3 {
                let (iface, seen) = left(&sim.inject(WAN, request.clone()));
                assert_eq!(iface, LAN_IF);
                assert_eq!(seen.words(), format!("{client} > 192.168.88.80:53"));
                let answer = udp(LAN, "192.168.88.80:53", &client);
                assert_eq!(left_by(&sim.inject(LAN, answer)), uplink, "{client}");
            }
        }
        balanced(&sim);
    }
}

#[test]
fn mark_routing_in_output_leads_the_gateways_own_answers_back() {
    let mut sim = Sim::new(&balancing(), 1);
    for n in 0..8 {
        let client = ip(&format!("198.51.100.{}", n + 1));
        let spec = IcmpSpec {
            kind: 8,
            id: n,
            ..IcmpSpec::default()
        };
        let ping = |to| Craft::icmp(client, ip(to), spec).unwrap();
        for _ in 0..3 {
            let sent = sim.inject(WAN, by_wan2(ping("198.18.2.2")));
            assert_eq!(left_by(&sent), WAN2_IF);
            let sent = sim.inject(WAN, to_gateway(WAN, ping("203.0.113.2")));
            assert_eq!(left_by(&sent), WAN_IF);
        }
    }
    balanced(&sim);
}

#[test]
fn the_filter_sees_where_the_gateways_own_packets_go_in_the_end() {
    let mut policy = balancing();
    let by_second = Matchers {
        out_interface: Some(is(WAN2_IF)),
        ..Matchers::default()
    };
    policy.filter.chains[2]
        .rules
        .push(rule(by_second, Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    let spec = IcmpSpec {
        kind: 8,
        ..IcmpSpec::default()
    };
    let ping = |to| Craft::icmp(ip("198.51.100.7"), ip(to), spec).unwrap();
    for _ in 0..2 {
        assert!(sim.inject(WAN, by_wan2(ping("198.18.2.2"))).is_empty());
        let sent = sim.inject(WAN, to_gateway(WAN, ping("203.0.113.2")));
        assert_eq!(left_by(&sent), WAN_IF);
    }
    balanced(&sim);
}

#[test]
fn a_way_that_depends_on_the_packet_is_found_for_each() {
    let mut policy = two_uplinks();
    policy.nat.chains[1].rules.clear();
    let large = Matchers {
        packet: vec![is(PacketAsk::Size(500, 1_500))],
        ..Matchers::default()
    };
    mangle(
        &mut policy,
        PREROUTING,
        large,
        set(MarkKind::Routing, TO_ISP2),
    );
    let mut sim = Sim::new(&policy, 1);
    let sized = |len: usize| {
        let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
        to_gateway(LAN, craft.payload(&vec![0; len]))
    };
    for round in 0..4 {
        assert_eq!(left_by(&sim.inject(LAN, sized(10))), WAN_IF, "{round}");
        assert_eq!(left_by(&sim.inject(LAN, sized(900))), WAN2_IF, "{round}");
    }
    assert_eq!((sim.connections(), sim.rule_packets(0)), (1, 4));
    balanced(&sim);
}

#[test]
fn a_way_that_depends_on_the_flow_is_kept_with_it_and_every_packet_counted() {
    let mut policy = two_uplinks();
    let way = set(MarkKind::Routing, TO_ISP2);
    mangle(&mut policy, PREROUTING, in_by(LAN_IF), way);
    let mut sim = Sim::new(&policy, 1);
    for _ in 0..5 {
        assert_eq!(left_by(&out(&mut sim)), WAN2_IF);
    }
    assert_eq!((sim.connections(), sim.rule_packets(0)), (1, 5));
}

#[test]
fn route_dst_is_where_the_packet_is_handed_to_whatever_the_tables_say() {
    let mut policy = two_uplinks();
    policy.nat.chains[1].rules.clear();
    policy.routing.rules = vec![RoutingRule {
        src_address: None,
        dst_address: None,
        routing_mark: None,
        interface: None,
        action: RoutingAction::Drop,
    }];
    let to_router = Action::Edit(Edit::Route(ip("198.18.2.77")), Then::GoOn);
    mangle(&mut policy, PREROUTING, in_by(LAN_IF), to_router);
    let mut sim = Sim::with_neighbours(&policy, 1, Neighbours::Learn, 100);
    let (iface, seen) = left(&out(&mut sim));
    assert_eq!((iface, seen.parsed.net), (WAN2_IF, Net::Arp));
    // The address that is asked for ends the request.
    let asked = seen.frame.get(18 + 24..18 + 28).unwrap();
    assert_eq!(asked, [198, 18, 2, 77]);
    // What is for the gateway itself goes there.
    let spec = IcmpSpec {
        kind: 8,
        ..IcmpSpec::default()
    };
    let ping = Craft::icmp(ip("192.168.88.10"), ip("192.168.88.1"), spec).unwrap();
    sim.inject(LAN, to_gateway(LAN, ping));
    assert_eq!(sim.last_end().reason, None);
    assert_eq!(sim.last_end().out, None);
}

#[test]
fn routing_rules_choose_drop_or_refuse() {
    let ruled = |action| {
        let mut policy = two_uplinks();
        policy.routing.rules = vec![RoutingRule {
            src_address: Some("192.168.88.8/29".parse().unwrap()),
            dst_address: Some("198.51.100.0/24".parse().unwrap()),
            routing_mark: None,
            interface: Some(LAN_IF),
            action,
        }];
        Sim::new(&policy, 1)
    };
    let mut sim = ruled(RoutingAction::Lookup(TABLE_2));
    for _ in 0..2 {
        assert_eq!(left_by(&out(&mut sim)), WAN2_IF);
        let other = udp(LAN, "192.168.88.20:4000", "198.51.100.7:53");
        assert_eq!(left_by(&sim.inject(LAN, other)), WAN_IF);
    }
    let mut sim = ruled(RoutingAction::Drop);
    assert!(out(&mut sim).is_empty());
    assert_eq!(sim.last_end().reason, Some(DropReason::NoRoute));
    let mut sim = ruled(RoutingAction::Unreachable);
    let (iface, seen) = left(&out(&mut sim));
    assert_eq!((iface, seen.parsed.icmp()), (LAN_IF, Some((3, 0))));
    assert_eq!(sim.last_end().reason, Some(DropReason::NoRoute));
    balanced(&sim);
}

#[test]
fn routing_table_is_the_one_that_had_the_route_and_routing_mark_what_was_asked_for() {
    // Table to_isp2 has no route to this destination: the main table has.
    let mut policy = two_uplinks();
    policy.routing.tables[1].routes[0].destination = "198.51.100.0/25".parse().unwrap();
    let way = set(MarkKind::Routing, TO_ISP2);
    mangle(&mut policy, PREROUTING, in_by(LAN_IF), way);
    let asking = |table, negated| Matchers {
        routing_table: Some(Match {
            value: table,
            negated,
        }),
        ..Matchers::default()
    };
    let marked = Matchers {
        marks: vec![marked(MarkKind::Routing, Some(TO_ISP2))],
        ..Matchers::default()
    };
    let main = RoutingTableId::MAIN;
    for matchers in [
        asking(main, false),
        asking(TABLE_2, false),
        asking(TABLE_2, true),
        asking(TABLE_1, false),
        marked,
    ] {
        mangle(&mut policy, FORWARD, matchers, Action::Passthrough);
    }
    // Nothing is known of it before routing, negated or not.
    let early = asking(main, false);
    mangle(&mut policy, PREROUTING, early, Action::Passthrough);
    let early = asking(main, true);
    mangle(&mut policy, PREROUTING, early, Action::Passthrough);
    let mut sim = Sim::new(&policy, 1);
    for _ in 0..3 {
        assert_eq!(left_by(&out(&mut sim)), WAN2_IF);
    }
    for _ in 0..2 {
        let elsewhere = udp(LAN, "192.168.88.10:4000", "198.51.100.200:53");
        assert_eq!(left_by(&sim.inject(LAN, elsewhere)), WAN_IF);
    }
    let counts: Vec<u64> = (0..8).map(|n| sim.rule_packets(n)).collect();
    assert_eq!(counts, [5, 0, 0, 2, 3, 2, 0, 5]);
}

#[test]
fn a_reload_that_changes_tables_moves_flows_with_their_next_packet() {
    let mut policy = two_uplinks();
    policy.nat.chains[1].rules.clear();
    let way = set(MarkKind::Routing, TO_ISP2);
    mangle(&mut policy, PREROUTING, in_by(LAN_IF), way);
    let mut sim = Sim::new(&policy, 1);
    assert_eq!(left_by(&out(&mut sim)), WAN2_IF);
    // The table comes to lead elsewhere.
    policy.routing.tables[1].routes = vec![default_by(WAN_IF, "203.0.113.1")];
    sim.reload(&policy);
    assert_eq!(left_by(&out(&mut sim)), WAN_IF);
    // Another table comes before it: its mark leads to it nevertheless.
    policy.routing.tables[1].routes = vec![default_by(WAN2_IF, "198.18.2.1")];
    policy.routing.tables.reverse();
    sim.reload(&policy);
    assert_eq!(left_by(&out(&mut sim)), WAN2_IF);
    // It goes, and the main table is left.
    policy.routing.tables.remove(0);
    sim.reload(&policy);
    assert_eq!(left_by(&out(&mut sim)), WAN_IF);
    assert_eq!(sim.connections(), 1);
    balanced(&sim);
}

#[test]
fn a_connection_that_another_worker_enters_goes_the_way_that_it_was_judged_for() {
    // Chosen so that the answer arrives at another worker.
    let elsewhere = ip("198.51.100.6");
    let to_elsewhere = Action::DstNat(Translation {
        addresses: Some(AddressRange {
            first: elsewhere,
            last: elsewhere,
        }),
        ports: None,
    });
    for edit in [
        Edit::Mark(MarkKind::Routing, Some(MarkId(TO_ISP2))),
        Edit::Route(ip("198.18.2.77")),
    ] {
        let mut policy = two_uplinks();
        policy.nat.chains[1].rules.clear();
        let dst_nat = rule(in_by(LAN_IF), to_elsewhere.clone());
        policy.nat.chains[0].rules.push(dst_nat);
        let lead = Action::Edit(edit, Then::GoOn);
        mangle(&mut policy, PREROUTING, in_by(LAN_IF), lead);
        let mut sim = Sim::new(&policy, 4);
        for n in 0..32 {
            let client = format!("192.168.88.{}:4000", n + 10);
            for _ in 0..2 {
                let request = udp(LAN, &client, "192.0.2.1:53");
                assert_eq!(left_by(&sim.inject(LAN, request)), WAN2_IF, "{client}");
            }
        }
        let opened_elsewhere = |c: &Arc<WorkerCounters>| c.handed_over(Found::ReplyArrives).read();
        assert!(sim.counters.iter().map(opened_elsewhere).sum::<u64>() > 5);
        balanced(&sim);
    }
}
