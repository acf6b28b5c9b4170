//! What a rehearsal says of a connection is what happens to it: policies and connections by
//! chance, each prediction held against the packet that it is about.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

#[path = "sim/policies.rs"]
mod policies;
#[path = "sim/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use policies::random_policy;
use random::Random;
use sim::packets::{SYN, SYN_ACK, echo, to_gateway, udp};
use sim::{LAN, LAN_IF, Sim, WAN, WAN_IF, compile, ip, is, masquerading_policy, rule};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{Direction, FlowRef};
use turnpike_conntrack::table::Connection;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{Address, Proto, Tuple, V4, V6};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{IfaceId, MarkId, PortId};
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::policy::{
    Action, ConnectionLimit, Edit, IcmpOptions, Interface, Mark, MarkKind, Matchers, PacketAsk,
    Policy, PortRange, PortSet, RejectWith, Route, RoutingTable, Then, Via,
};
use turnpike_pipeline::program::Program;
use turnpike_pipeline::rehearsal::{
    Certainty, Entrance, NewEnd, Refusal, Rehearsal, Retranslation, Subject, Why,
};
use turnpike_pipeline::stages::family::Stack;
use turnpike_pipeline::witness::{End, Ending};

const DIRECTIONS: [Direction; 2] = [Direction::Original, Direction::Reply];
const WORLDS: u64 = 800;

/// The connections of a family, as a rehearsal of `program` takes them.
fn subjects<F: Stack>(sim: &Sim, program: &Program) -> Vec<(Connection<F>, Subject<F>)> {
    let table = F::table(sim.workers[0].conntrack());
    let mut found = Vec::new();
    table.walk(0, usize::MAX, sim.now, |connection| {
        let server = connection.pair.outgoing(Direction::Original).dst.to_ip();
        if ["203.0.113.2", "2001:db8:113::2"].map(ip).contains(&server) {
            // The gateway answers by itself; nothing can be sent in its place.
            return;
        }
        let entrances = DIRECTIONS.map(|direction| {
            let flow = FlowRef {
                id: connection.id,
                direction,
            };
            Entrance::of(&table.cached(flow)).in_program(&sim.program, program)
        });
        let subject = Subject {
            pair: connection.pair,
            flags: connection.flags,
            layer7: connection.layer7,
            mark: connection.mark,
            entrances,
        };
        found.push((connection, subject));
    });
    found
}

/// A packet of a connection over UDP, TCP or ICMP echo, as it comes in.
fn packet<F: Stack>(at: PortId, tuple: &Tuple<F>, direction: Direction) -> Vec<u8> {
    let (src, dst) = (tuple.src.to_ip(), tuple.dst.to_ip());
    let ends = (
        SocketAddr::from((src, tuple.src_port.0)),
        SocketAddr::from((dst, tuple.dst_port.0)),
    );
    match (tuple.proto, direction) {
        (Proto::UDP, _) => udp(at, &ends.0.to_string(), &ends.1.to_string()),
        (Proto::TCP, _) => {
            let (flags, seq, ack) = match direction {
                Direction::Original => (SYN, 100, 0),
                Direction::Reply => (SYN_ACK, 500, 101),
            };
            let spec = TcpSpec {
                flags,
                seq,
                ack,
                ..TcpSpec::default()
            };
            to_gateway(at, Craft::tcp(ends.0, ends.1, spec).unwrap())
        }
        (_, direction) => {
            let (kind, id) = match direction {
                Direction::Original => (8, tuple.src_port.0),
                Direction::Reply => (0, tuple.dst_port.0),
            };
            echo(at, &src.to_string(), &dst.to_string(), kind, id)
        }
    }
}

fn port_towards(address: IpAddr) -> PortId {
    let text = address.to_string();
    if text.starts_with("192.168.88.") || text.starts_with("fd00:88:") {
        LAN
    } else {
        WAN
    }
}

/// A session's first packet, and perhaps its answer; nothing if the policy refuses it.
fn open(sim: &mut Sim, random: &mut Random) {
    let v4 = random.chance(70);
    let (hosts, servers, own) = if v4 {
        (
            ["192.168.88.10", "192.168.88.11"],
            "198.51.100.1",
            "203.0.113.2",
        )
    } else {
        (
            ["fd00:88::10", "fd00:88::11"],
            "2001:db8:7::1",
            "2001:db8:113::2",
        )
    };
    let host = ip(random.pick(&hosts));
    let (src, dst) = match random.below(3) {
        0 => (ip(servers), if random.chance(80) { ip(own) } else { host }),
        _ => (host, ip(servers)),
    };
    let at = port_towards(src);
    let (src_port, dst_port) = (
        2_000 + u16::from(random.byte()),
        80 + u16::from(random.byte() % 40),
    );
    let proto = random.pick(&[Proto::UDP, Proto::TCP, Proto::ICMP]);
    let frame = match proto {
        Proto::ICMP if v4 => echo(at, &src.to_string(), &dst.to_string(), 8, src_port),
        Proto::TCP => {
            let ends = (
                SocketAddr::from((src, src_port)),
                SocketAddr::from((dst, dst_port)),
            );
            let spec = TcpSpec {
                flags: SYN,
                seq: 100,
                ..TcpSpec::default()
            };
            to_gateway(at, Craft::tcp(ends.0, ends.1, spec).unwrap())
        }
        _ => udp(
            at,
            &SocketAddr::from((src, src_port)).to_string(),
            &SocketAddr::from((dst, dst_port)).to_string(),
        ),
    };
    sim.inject(at, frame);
}

/// What became of a packet, as a rehearsal would say it; `None` if it went on.
fn refused(end: &End) -> Option<(&'static str, Option<u32>)> {
    match (end.ending, end.reason) {
        // The rules have let it in; nobody there listens, which is not theirs to say.
        (_, Some(DropReason::NoListener)) => None,
        (Ending::Drop | Ending::Reject, Some(reason)) => {
            Some((reason.label(), end.rule.map(|rule| rule.0)))
        }
        (_, _) => None,
    }
}

fn said(refusal: Refusal) -> (&'static str, Option<u32>) {
    (refusal.why.label(), refusal.rule.map(|rule| rule.0))
}

/// How often each kind of answer was given.
type Seen = BTreeMap<String, u64>;

fn world<F: Stack>(seed: u64, seen: &mut Seen) {
    let random = &mut Random::new(seed);
    let before = random_policy(random).policy;
    let chosen = random_policy(random);
    let mut after = chosen.policy;
    let forbids = random.chance(30);
    if forbids {
        let low = Matchers {
            port: Some(is(PortSet::new([80..=99]))),
            ..Matchers::default()
        };
        let action = if random.chance(50) {
            Action::Drop
        } else {
            Action::Reject(RejectWith::TcpReset)
        };
        after.filter.chains[1].rules.insert(0, rule(low, action));
    }
    let mut sim = Sim::new(&before, 1);
    for _ in 0..3 {
        open(&mut sim, random);
    }
    let answered = random.chance(60);
    let program = compile(&after, 1, Some(&sim.program));
    for (connection, _) in subjects::<F>(&sim, &program) {
        if answered {
            let reply = connection.pair.reply;
            let at = port_towards(reply.src.to_ip());
            sim.inject(at, packet(at, &reply, Direction::Reply));
        }
    }
    let candidates = subjects::<F>(&sim, &program);
    if candidates.is_empty() {
        return;
    }
    let (connection, subject) = candidates[random.below(candidates.len())];
    let shared = std::sync::Arc::clone(&sim.shared);
    let rehearsal = Rehearsal {
        now: Tick::default(),
        program: &program,
        shared: &shared,
    };
    if random.chance(50) {
        let direction = random.pick(&DIRECTIONS);
        let predicted = rehearsal.next_packet(&subject, direction);
        if answered && chosen.keeps_established && !forbids {
            let word = predicted.map(|refusal| refusal.why.label());
            assert!(
                !word.is_some_and(|word| word.starts_with("filter")),
                "seed {seed}"
            );
        }
        sim.reload(&after);
        next_packet(&mut sim, &connection, direction, predicted, seen, seed);
    } else {
        let predicted = rehearsal.opened_now(&subject);
        sim.reload(&after);
        let tables = sim.workers[0].conntrack_mut();
        F::table_mut(tables).end(connection.id, Cause::Flushed);
        opened_now(&mut sim, &connection, predicted, seen, seed);
    }
}

fn note(seen: &mut Seen, what: String) {
    *seen.entry(what).or_default() += 1;
}

fn next_packet<F: Stack>(
    sim: &mut Sim,
    connection: &Connection<F>,
    direction: Direction,
    predicted: Option<Refusal>,
    seen: &mut Seen,
    seed: u64,
) {
    let incoming = *connection.pair.incoming(direction);
    let at = port_towards(incoming.src.to_ip());
    sim.inject(at, packet(at, &incoming, direction));
    let end = sim.last_end();
    let word = predicted.map_or("goes on", |refusal| refusal.why.label());
    note(seen, format!("next: {word}"));
    if predicted.is_some_and(|refusal| refusal.why == Why::Untracked) {
        let translated =
            *connection.pair.incoming(Direction::Reply) != connection.pair.original.inverse();
        assert!(
            translated,
            "seed {seed}: {connection:?} has no translation to lose"
        );
        return;
    }
    let what = format!("seed {seed}: {direction:?} of {connection:?} ends as {end:?}");
    assert_eq!(predicted.map(said), refused(&end), "{what}");
}

fn opened_now<F: Stack>(
    sim: &mut Sim,
    connection: &Connection<F>,
    predicted: Result<Option<Retranslation>, Refusal>,
    seen: &mut Seen,
    seed: u64,
) {
    let original = connection.pair.original;
    let at = port_towards(original.src.to_ip());
    sim.inject(at, packet(at, &original, Direction::Original));
    let end = sim.last_end();
    let what = format!("seed {seed}: {connection:?} opened now ends as {end:?}");
    let translated = match predicted {
        Err(refusal) => {
            note(seen, format!("new: {}", refusal.why.label()));
            assert_eq!(Some(said(refusal)), refused(&end), "{what}");
            return;
        }
        Ok(translated) => translated,
    };
    assert_eq!(refused(&end), None, "{what}");
    let reopened = subjects::<F>(sim, &sim.program)
        .into_iter()
        .map(|(connection, _)| connection.pair)
        .find(|pair| pair.original == original)
        .map(|pair| pair.outgoing(Direction::Original));
    let live = connection.pair.outgoing(Direction::Original);
    match translated.map(|translated| translated.to) {
        None => {
            note(seen, "new: as it is".to_owned());
            // A packet that is not tracked opens nothing.
            if let Some(now) = reopened {
                assert_eq!(now.src, live.src, "{what}");
                assert_eq!((now.dst, now.dst_port), (live.dst, live.dst_port), "{what}");
            }
        }
        Some(NewEnd::Destination(dst, port)) => {
            note(seen, "new: another destination".to_owned());
            assert_ne!((dst, port), (live.dst.to_ip(), live.dst_port.0), "{what}");
            match reopened {
                Some(now) => assert_eq!((now.dst.to_ip(), now.dst_port.0), (dst, port), "{what}"),
                None => assert_eq!(end.reason, Some(DropReason::NoListener), "{what}"),
            }
        }
        Some(NewEnd::Source(addresses, ports)) => {
            note(seen, "new: another source".to_owned());
            let now = reopened.expect("it was opened");
            assert!(addresses.contains(now.src.to_ip()), "{what}");
            assert!(
                ports.is_none_or(|p| (p.first..=p.last).contains(&now.src_port.0)),
                "{what}"
            );
        }
    }
}

#[test]
fn what_is_rehearsed_is_what_happens() {
    let mut seen = Seen::new();
    for seed in 0..WORLDS {
        world::<V4>(seed, &mut seen);
        world::<V6>(seed, &mut seen);
    }
    for what in [
        "next: goes on",
        "next: filter-rule",
        "next: filter-reject",
        "next: raw-rule",
        "next: untracked",
        "new: as it is",
        "new: filter-rule",
        "new: filter-reject",
        "new: raw-rule",
        "new: another destination",
        "new: another source",
    ] {
        assert!(seen.contains_key(what), "never {what}: {seen:?}");
    }
}

/// A gateway whose one connection is from the LAN to port 80 outside, not answered yet.
fn one_connection(policy: &Policy) -> Sim {
    let mut sim = Sim::new(policy, 1);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:80"));
    assert_eq!(sim.connections(), 1);
    sim
}

fn rehearse(
    sim: &Sim,
    after: &Policy,
) -> (Option<Refusal>, Result<Option<Retranslation>, Refusal>) {
    let program = compile(after, 1, Some(&sim.program));
    let (_, subject) = subjects::<V4>(sim, &program)[0];
    let rehearsal = Rehearsal {
        now: Tick::default(),
        program: &program,
        shared: &sim.shared,
    };
    let next = rehearsal.next_packet(&subject, Direction::Original);
    (next, rehearsal.opened_now(&subject))
}

#[test]
fn rehearsing_counts_nothing_and_takes_nothing() {
    let mut policy = masquerading_policy();
    let limit = ConnectionLimit {
        count: 1,
        prefix: 32,
    };
    let limited = Matchers {
        connection_limit: Some(is(limit)),
        ..Matchers::default()
    };
    let forward = &mut policy.filter.chains[1].rules;
    forward.push(rule(Matchers::default(), Action::Passthrough));
    forward.push(rule(limited, Action::Drop));
    let mut sim = one_connection(&policy);
    let counted = |sim: &mut Sim| {
        (0..3)
            .map(|rule| sim.rule_packets(rule))
            .collect::<Vec<_>>()
    };
    let (rules, limits) = (counted(&mut sim), sim.shared.limits.total());
    let pool = |sim: &Sim| {
        let ports = sim.program.pools4.ports([203, 0, 113, 2]).unwrap();
        ports.in_use(turnpike_conntrack::ports::PortSpace::Udp)
    };
    let taken = pool(&sim);
    for _ in 0..10 {
        // The connection itself is the one within the limit.
        assert_eq!(rehearse(&sim, &policy), (None, Ok(None)));
    }
    assert_eq!(counted(&mut sim), rules);
    assert_eq!(sim.shared.limits.total(), limits);
    assert_eq!(pool(&sim), taken);
    assert_eq!(sim.connections(), 1);
}

#[test]
fn an_interface_that_is_numbered_otherwise_is_still_the_same() {
    let sim = one_connection(&masquerading_policy());
    let mut after = masquerading_policy();
    let from_lan = Matchers {
        in_interface: Some(is(LAN_IF)),
        dst_port: Some(is(PortSet::new([80..=80]))),
        ..Matchers::default()
    };
    let reject = Action::Reject(RejectWith::TcpReset);
    after.filter.chains[1].rules.push(rule(from_lan, reject));
    let refused = |seen: (Option<Refusal>, _)| seen.0.map(|r: Refusal| r.why.label());
    assert_eq!(refused(rehearse(&sim, &after)), Some("filter-reject"));
    // Another interface comes first: number 0 is not the LAN any more.
    let dmz = Interface {
        name: "dmz".to_owned(),
        vlan: Some(9),
        addresses: vec![],
        ..after.interfaces[0].clone()
    };
    after.interfaces.insert(0, dmz);
    for route in &mut after.routes {
        if let Via::Gateway(iface, _) = &mut route.via {
            *iface = IfaceId(2);
        }
    }
    after.nat.chains[1].rules.clear();
    assert_eq!(refused(rehearse(&sim, &after)), None);
    after.filter.chains[1].rules[0].matchers.in_interface = Some(is(WAN_IF));
    assert_eq!(refused(rehearse(&sim, &after)), Some("filter-reject"));
}

#[test]
fn a_masqueraded_connection_whose_address_goes_is_cut() {
    let sim = one_connection(&masquerading_policy());
    let mut after = masquerading_policy();
    after.interfaces[1].addresses[0] = "203.0.113.3/24".parse().unwrap();
    let (next, new) = rehearse(&sim, &after);
    assert_eq!(next.map(|r| r.why.label()), Some("nat-no-address"));
    let only = turnpike_pipeline::policy::AddressRange {
        first: ip("203.0.113.3"),
        last: ip("203.0.113.3"),
    };
    let to = NewEnd::Source(only, None);
    assert_eq!(new.unwrap().map(|translated| translated.to), Some(to));
}

#[test]
fn without_tracking_a_translated_connection_is_cut() {
    let sim = one_connection(&masquerading_policy());
    let mut after = masquerading_policy();
    after.tracking.enabled = false;
    let (next, _) = rehearse(&sim, &after);
    assert_eq!(next.map(|r| r.why), Some(Why::Untracked));
}

#[test]
fn marks_that_rules_would_set_count_and_those_of_before_too() {
    let kinds = [MarkKind::Connection, MarkKind::Packet];
    for kind in kinds {
        let mut policy = masquerading_policy();
        policy.marks = vec!["seen".to_owned()];
        let marked = Matchers {
            marks: vec![is(Mark {
                kind,
                mark: Some(MarkId(0)),
            })],
            ..Matchers::default()
        };
        let mut after = policy.clone();
        let set = Action::Edit(Edit::Mark(kind, Some(MarkId(0))), Then::GoOn);
        after.mangle.chains[0].rules = vec![rule(Matchers::default(), set)];
        after.filter.chains[1].rules = vec![rule(marked, Action::Drop)];
        let mut sim = one_connection(&policy);
        let (next, new) = rehearse(&sim, &after);
        let word = Some("filter-rule");
        assert_eq!(next.map(|r| r.why.label()), word, "{kind:?}");
        assert_eq!(new.err().map(|r| r.why.label()), word, "{kind:?}");
        // The mark stays with the connection when no rule sets it any more.
        let mut marking = after.clone();
        marking.filter.chains[1].rules.clear();
        sim.reload(&marking);
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:80"));
        after.mangle.chains[0].rules.clear();
        let (next, new) = rehearse(&sim, &after);
        let kept = (kind == MarkKind::Connection).then_some("filter-rule");
        assert_eq!(next.map(|r| r.why.label()), kept, "{kind:?}");
        assert_eq!(new, Ok(None), "a new connection has no mark");
    }
}

#[test]
fn what_a_packet_alone_can_answer_makes_the_rest_uncertain() {
    let sim = one_connection(&masquerading_policy());
    let mut after = masquerading_policy();
    let small = Matchers {
        packet: vec![is(PacketAsk::Size(0, 100))],
        ..Matchers::default()
    };
    let forward = &mut after.filter.chains[1].rules;
    forward.push(rule(Matchers::default(), Action::Drop));
    let certainty = |after: &Policy| rehearse(&sim, after).0.map(|r| r.certainty);
    assert_eq!(certainty(&after), Some(Certainty::Certain));
    let forward = &mut after.filter.chains[1].rules;
    forward.insert(0, rule(small, Action::Accept));
    assert_eq!(certainty(&after), Some(Certainty::DependsOnPackets));
}

#[test]
fn a_port_that_a_rule_would_not_give_any_more_is_another_translation() {
    let sim = one_connection(&masquerading_policy());
    let becomes = |first, last| {
        let ports = PortRange { first, last };
        let mut after = masquerading_policy();
        after.nat.chains[1].rules[0].action = Action::Masquerade(Some(ports));
        let (_, new) = rehearse(&sim, &after);
        let becomes = new.unwrap().map(|translated| translated.to);
        becomes.map(|to| matches!(to, NewEnd::Source(_, Some(given)) if given == ports))
    };
    assert_eq!(becomes(4_000, 4_000), None, "that is the one it has");
    assert_eq!(becomes(4_001, 5_000), Some(true));
}

#[test]
fn an_answer_to_a_ping_is_rehearsed_as_one() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    sim.inject(LAN, echo(LAN, "192.168.88.10", "198.51.100.7", 8, 77));
    let refused = |kind, direction| {
        let options = IcmpOptions {
            kind,
            codes: (0, 255),
        };
        let asking = Matchers {
            icmp_options: Some(is(options)),
            ..Matchers::default()
        };
        let mut after = masquerading_policy();
        let forward = &mut after.filter.chains[1].rules;
        forward.push(rule(asking, Action::Drop));
        let program = compile(&after, 1, Some(&sim.program));
        let (_, subject) = subjects::<V4>(&sim, &program)[0];
        let rehearsal = Rehearsal {
            program: &program,
            shared: &sim.shared,
            now: sim.now,
        };
        rehearsal.next_packet(&subject, direction).is_some()
    };
    assert_eq!(DIRECTIONS.map(|way| refused(8, way)), [true, false]);
    assert_eq!(DIRECTIONS.map(|way| refused(0, way)), [false, true]);
}

#[test]
fn a_rehearsed_packet_goes_the_way_that_its_routing_mark_says() {
    let policy = masquerading_policy();
    let mut after = policy.clone();
    after.marks = vec!["nowhere".to_owned()];
    after.routing.tables = vec![RoutingTable {
        name: "nowhere".to_owned(),
        routes: vec![Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            via: Via::Blackhole,
        }],
    }];
    let sim = one_connection(&policy);
    assert_eq!(rehearse(&sim, &after).0, None);
    let edits = [
        (Edit::Mark(MarkKind::Routing, Some(MarkId(0))), true),
        (Edit::Route(ip("203.0.113.9")), false),
        (Edit::Route(ip("198.51.100.9")), true),
    ];
    for (edit, refused) in edits {
        let edit = rule(Matchers::default(), Action::Edit(edit, Then::GoOn));
        after.mangle.chains[0].rules = vec![edit];
        let (next, new) = rehearse(&sim, &after);
        let word = refused.then_some("no-route");
        assert_eq!(next.map(|r| r.why.label()), word, "{:?}", after.mangle);
        assert_eq!(new.err().map(|r| r.why.label()), word);
    }
}
