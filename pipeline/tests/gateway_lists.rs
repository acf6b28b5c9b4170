//! Address lists that rules fill: port knocking, brute force, and who is cut when.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use std::time::Duration;

use sim::packets::{ACK, SYN, SYN_ACK, balanced, one, tcp, udp};
use sim::{LAN, Sim, WAN, is, masquerading_policy, open_policy, rule};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::ListId;
use turnpike_pipeline::policy::{
    Action, AddressList, ListTimeout, Match, Matchers, Policy, PortSet, StateSet,
};
use turnpike_pipeline::rules::matchers::End;

const FORWARD: usize = 1;

fn lists(mut policy: Policy, names: &[&str]) -> Policy {
    let list = |name: &&str| AddressList {
        name: (*name).to_owned(),
        ..AddressList::default()
    };
    policy.address_lists = names.iter().map(list).collect();
    policy
}

fn forwarding(mut policy: Policy, rules: Vec<(Matchers, Action)>) -> Policy {
    for (matchers, action) in rules {
        policy.filter.chains[FORWARD]
            .rules
            .push(rule(matchers, action));
    }
    policy
}

const fn add_src(list: u16, seconds: u64) -> Action {
    let timeout = ListTimeout::For(Duration::from_secs(seconds));
    Action::AddToList(End::Src, ListId(list), timeout)
}

fn from(list: u16) -> Matchers {
    Matchers {
        src_address_list: Some(is(ListId(list))),
        ..Matchers::default()
    }
}

fn to_port(port: u16, matchers: Matchers) -> Matchers {
    Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: Some(is(PortSet::new([port..=port]))),
        ..matchers
    }
}

fn new(matchers: Matchers) -> Matchers {
    Matchers {
        connection_state: Some(is(StateSet::default().with(ConnState::New))),
        ..matchers
    }
}

fn established(matchers: Matchers) -> Matchers {
    Matchers {
        connection_state: Some(is(StateSet::default().with(ConnState::Established))),
        ..matchers
    }
}

/// Whether a SYN from a host to a port of a server passes.
fn passes(sim: &mut Sim, host: &str, port: u16) -> bool {
    let packet = tcp(LAN, host, &format!("198.51.100.7:{port}"), SYN, 99, 0);
    !sim.inject(LAN, packet).is_empty()
}

#[test]
fn a_knock_sequence_opens_and_its_timeout_closes() {
    let policy = lists(open_policy(), &["knock", "safe"]);
    let policy = forwarding(
        policy,
        vec![
            (to_port(9000, from(0)), add_src(1, 60)),
            (to_port(7000, Matchers::default()), add_src(0, 10)),
            (to_port(22, from(1)), Action::Accept),
            (Matchers::default(), Action::Drop),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    assert!(
        !passes(&mut sim, "192.168.88.10:4000", 22),
        "nobody knocked"
    );
    passes(&mut sim, "192.168.88.10:4001", 9000);
    assert!(
        !passes(&mut sim, "192.168.88.10:4002", 22),
        "the second knock first"
    );
    passes(&mut sim, "192.168.88.10:4003", 7000);
    sim.advance(10_000);
    passes(&mut sim, "192.168.88.10:4004", 9000);
    assert!(!passes(&mut sim, "192.168.88.10:4005", 22), "too slow");
    passes(&mut sim, "192.168.88.10:4006", 7000);
    sim.advance(9_999);
    passes(&mut sim, "192.168.88.10:4007", 9000);
    assert!(passes(&mut sim, "192.168.88.10:4008", 22));
    assert!(!passes(&mut sim, "192.168.88.11:4009", 22), "another host");
    sim.advance(59_999);
    assert!(passes(&mut sim, "192.168.88.10:4010", 22));
    sim.advance(1);
    assert!(!passes(&mut sim, "192.168.88.10:4011", 22), "closed again");
    balanced(&sim);
}

#[test]
fn the_fourth_new_connection_within_a_minute_lands_on_the_list_for_ten_days() {
    let policy = lists(masquerading_policy(), &["blacklist", "one", "two", "three"]);
    let stage = |at: u16, next: u16, seconds| (new(to_port(22, from(at))), add_src(next, seconds));
    let policy = forwarding(
        policy,
        vec![
            (established(Matchers::default()), Action::Accept),
            (to_port(22, from(0)), Action::Drop),
            stage(3, 0, 864_000),
            stage(2, 3, 60),
            stage(1, 2, 60),
            (new(to_port(22, Matchers::default())), add_src(1, 60)),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    let host = "192.168.88.10";
    // An established session, which is the first of the four.
    one(
        &sim.inject(
            LAN,
            tcp(LAN, &format!("{host}:4000"), "198.51.100.7:22", SYN, 99, 0),
        ),
        WAN,
    );
    one(
        &sim.inject(
            WAN,
            tcp(
                WAN,
                "198.51.100.7:22",
                "203.0.113.2:4000",
                SYN_ACK,
                499,
                100,
            ),
        ),
        LAN,
    );
    let session = |sim: &mut Sim| {
        let packet = tcp(
            LAN,
            &format!("{host}:4000"),
            "198.51.100.7:22",
            ACK,
            100,
            500,
        );
        sim.inject(LAN, packet)
    };
    one(&session(&mut sim), WAN);
    for port in 4001..4004 {
        sim.advance(15_000);
        assert!(passes(&mut sim, &format!("{host}:{port}"), 22), "{port}");
    }
    assert!(!passes(&mut sim, &format!("{host}:4004"), 22));
    assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
    assert!(passes(&mut sim, "192.168.88.11:4000", 22), "another host");
    one(&session(&mut sim), WAN);
    sim.advance(1_000 * (864_000 - 1));
    assert!(!passes(&mut sim, &format!("{host}:4005"), 22));
    sim.advance(1_000);
    assert!(passes(&mut sim, &format!("{host}:4006"), 22));
    balanced(&sim);
}

#[test]
fn slower_than_a_minute_apart_nobody_lands_on_the_list() {
    let policy = lists(open_policy(), &["blacklist", "one"]);
    let policy = forwarding(
        policy,
        vec![
            (to_port(22, from(0)), Action::Drop),
            (new(to_port(22, from(1))), add_src(0, 600)),
            (new(to_port(22, Matchers::default())), add_src(1, 60)),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    for port in 4000..4010 {
        assert!(passes(&mut sim, &format!("192.168.88.10:{port}"), 22));
        sim.advance(60_000);
    }
}

/// A policy that drops what comes from or goes to list 0, and adds to it who talks to port 666.
fn cutting() -> Policy {
    let to_it = Matchers {
        dst_address_list: Some(is(ListId(0))),
        ..Matchers::default()
    };
    forwarding(
        lists(masquerading_policy(), &["cut", "other"]),
        vec![
            (from(0), Action::Drop),
            (to_it, Action::Drop),
            (established(Matchers::default()), Action::Accept),
            (to_port(666, Matchers::default()), add_src(0, 30)),
            (to_port(667, Matchers::default()), add_src(1, 30)),
        ],
    )
}

fn out(sim: &mut Sim) -> bool {
    let packet = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    !sim.inject(LAN, packet).is_empty()
}

fn back(sim: &mut Sim) -> bool {
    let packet = udp(WAN, "198.51.100.7:53", "203.0.113.2:4000");
    !sim.inject(WAN, packet).is_empty()
}

#[test]
fn a_cached_outcome_is_judged_again_when_an_address_joins_a_list_and_when_it_leaves() {
    let mut sim = Sim::new(&cutting(), 1);
    for _ in 0..4 {
        assert!(out(&mut sim) && back(&mut sim));
    }
    passes(&mut sim, "192.168.88.10:5000", 666);
    for round in 0..3 {
        assert!(!out(&mut sim), "round {round}");
        assert!(
            !back(&mut sim),
            "the reply goes to a listed address, round {round}"
        );
    }
    assert_eq!((sim.rule_packets(1), sim.rule_packets(2)), (3, 3));
    // UDP keeps the connection for some seconds only when nothing passes: keep it busy.
    sim.advance(29_999);
    assert!(!out(&mut sim));
    sim.advance(1);
    for _ in 0..3 {
        assert!(out(&mut sim));
        assert!(back(&mut sim));
    }
    balanced(&sim);
}

#[test]
fn other_members_and_other_lists_leave_a_cached_outcome_alone() {
    let mut sim = Sim::new(&cutting(), 1);
    assert!(out(&mut sim) && back(&mut sim) && out(&mut sim));
    passes(&mut sim, "192.168.88.11:5000", 666);
    passes(&mut sim, "192.168.88.10:5001", 667);
    for _ in 0..3 {
        assert!(out(&mut sim) && back(&mut sim));
    }
    assert_eq!((sim.rule_packets(1), sim.rule_packets(2)), (0, 0));
    balanced(&sim);
}

#[test]
fn a_rule_behind_one_that_adds_sees_the_member_already() {
    let policy = forwarding(
        lists(open_policy(), &["seen"]),
        vec![
            (Matchers::default(), add_src(0, 10)),
            (from(0), Action::Drop),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    assert!(!out(&mut sim));
}

#[test]
fn every_packet_that_matches_refreshes_the_timeout_cached_or_not() {
    let policy = forwarding(
        lists(masquerading_policy(), &["talkers"]),
        vec![
            (to_port(5000, from(0)), Action::Accept),
            (to_port(5000, Matchers::default()), Action::Drop),
            (Matchers::default(), add_src(0, 10)),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    // The third packet finds the address listed, as the second did: it could be a cached one.
    for _ in 0..3 {
        assert!(out(&mut sim));
        sim.advance(4_000);
    }
    sim.advance(5_999);
    assert!(passes(&mut sim, "192.168.88.10:6000", 5000));
    assert_eq!(sim.rule_packets(3), 3);
    sim.advance(1);
    assert!(!passes(&mut sim, "192.168.88.10:6001", 5000));
    balanced(&sim);
}

#[test]
fn raw_fills_a_list_and_asks_for_it_before_tracking() {
    let mut policy = lists(open_policy(), &["scanners"]);
    let add_dst = Action::AddToList(End::Dst, ListId(0), ListTimeout::NoneDynamic);
    policy.raw.chains[0].rules = vec![
        rule(from(0), Action::Drop),
        rule(to_port(666, Matchers::default()), add_src(0, 30)),
        rule(to_port(777, Matchers::default()), add_dst),
    ];
    let mut sim = Sim::new(&policy, 1);
    assert!(out(&mut sim));
    assert!(passes(&mut sim, "192.168.88.10:5000", 666));
    assert!(!out(&mut sim));
    assert_eq!(sim.last_end().reason, Some(DropReason::RawRule));
    sim.advance(30_000);
    assert!(
        passes(&mut sim, "192.168.88.10:5001", 777),
        "the destination is listed"
    );
    assert!(out(&mut sim));
    let from_server = udp(WAN, "198.51.100.7:53", "192.168.88.10:4000");
    sim.advance(1_000 * (1 << 20));
    assert!(sim.inject(WAN, from_server).is_empty(), "and stays so");
}

#[test]
fn nat_sends_who_is_listed_elsewhere() {
    let mut policy = lists(masquerading_policy(), &["portal"]);
    let srcnat = &mut policy.nat.chains[1].rules;
    srcnat.insert(0, rule(to_port(80, Matchers::default()), add_src(0, 30)));
    let policy = forwarding(policy, vec![(from(0), Action::Drop)]);
    let mut sim = Sim::new(&policy, 1);
    assert!(out(&mut sim));
    assert!(
        passes(&mut sim, "192.168.88.10:5000", 80),
        "listed behind the filter"
    );
    assert!(!out(&mut sim));
    balanced(&sim);
}

#[test]
fn a_negated_list_matches_who_is_not_in_it() {
    let not_listed = Matchers {
        src_address_list: Some(Match {
            value: ListId(0),
            negated: true,
        }),
        ..Matchers::default()
    };
    let policy = forwarding(
        lists(open_policy(), &["admitted"]),
        vec![
            (to_port(7000, Matchers::default()), add_src(0, 30)),
            (not_listed, Action::Drop),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    assert!(!out(&mut sim));
    assert!(passes(&mut sim, "192.168.88.10:5000", 7000));
    assert!(out(&mut sim));
    sim.advance(30_000);
    assert!(!out(&mut sim));
}
