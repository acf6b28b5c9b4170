//! Marks and changes: what mangle does to packets, cached or not, and what other rules see of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::at;
use sim::packets::{ACK, SYN, SYN_ACK, balanced, one, tcp, to_gateway, udp};
use sim::{LAN, Sim, WAN, is, masquerading_policy, open_policy, rule};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::MarkId;
use turnpike_pipeline::outbox::Found;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::packet::tcp::tcp_options;
use turnpike_pipeline::policy::{
    Action, AddressRange, Comparison, Edit, Mark, MarkKind, Match, Matchers, NewMss, PacketAsk,
    Policy, PortRange, Then, Translation, TtlChange,
};

const PREROUTING: usize = 0;
const FORWARD: usize = 2;
const POSTROUTING: usize = 4;

fn marked(kind: MarkKind, mark: Option<u16>) -> Matchers {
    Matchers {
        marks: vec![is(Mark {
            kind,
            mark: mark.map(MarkId),
        })],
        ..Matchers::default()
    }
}

fn asking(ask: PacketAsk) -> Matchers {
    Matchers {
        packet: vec![is(ask)],
        ..Matchers::default()
    }
}

fn set(kind: MarkKind, mark: u16) -> Action {
    Action::Edit(Edit::Mark(kind, Some(MarkId(mark))), Then::GoOn)
}

fn change(edit: Edit) -> Action {
    Action::Edit(edit, Then::GoOn)
}

/// The policy with these rules of mangle: chain, what is asked, what is done.
fn mangling(mut policy: Policy, rules: Vec<(usize, Matchers, Action)>) -> Policy {
    policy.marks = vec!["a".to_owned(), "b".to_owned()];
    for (chain, matchers, action) in rules {
        policy.mangle.chains[chain]
            .rules
            .push(rule(matchers, action));
    }
    policy
}

fn dropping(mut policy: Policy, matchers: Matchers) -> Policy {
    policy.filter.chains[1]
        .rules
        .push(rule(matchers, Action::Drop));
    policy
}

fn out(sim: &mut Sim) -> Vec<(turnpike_pipeline::ids::PortId, Vec<u8>)> {
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"))
}

fn back(sim: &mut Sim) -> Vec<(turnpike_pipeline::ids::PortId, Vec<u8>)> {
    sim.inject(WAN, udp(WAN, "198.51.100.7:53", "203.0.113.2:4000"))
}

#[test]
fn a_packet_mark_is_seen_by_the_rules_behind_it_and_by_no_other_packet() {
    let policy = mangling(
        open_policy(),
        vec![(
            PREROUTING,
            asking(PacketAsk::Size(0, 50)),
            set(MarkKind::Packet, 0),
        )],
    );
    let mut sim = Sim::new(&dropping(policy, marked(MarkKind::Packet, Some(0))), 1);
    let sized = |len: usize| {
        let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
        to_gateway(LAN, craft.payload(&vec![0; len]))
    };
    for round in 0..3 {
        assert!(sim.inject(LAN, sized(5)).is_empty(), "round {round}");
        assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
        one(&sim.inject(LAN, sized(100)), WAN);
    }
    assert_eq!((sim.rule_packets(0), sim.rule_packets(1)), (3, 3));
    balanced(&sim);
}

#[test]
fn a_connection_mark_lasts_and_both_directions_have_it() {
    let policy = mangling(
        masquerading_policy(),
        vec![
            (
                FORWARD,
                marked(MarkKind::Connection, None),
                set(MarkKind::Connection, 1),
            ),
            (
                FORWARD,
                marked(MarkKind::Connection, Some(1)),
                change(Edit::Dscp(46)),
            ),
        ],
    );
    let mut sim = Sim::new(&policy, 1);
    for _ in 0..3 {
        assert_eq!(one(&out(&mut sim), WAN).parsed.tos >> 2, 46);
        assert_eq!(one(&back(&mut sim), LAN).parsed.tos >> 2, 46);
    }
    assert_eq!(
        sim.rule_packets(0),
        1,
        "the mark is set by the first packet only"
    );
    assert_eq!(sim.rule_packets(1), 6);
    balanced(&sim);
}

#[test]
fn another_connection_mark_is_judged_again_in_both_directions() {
    // A packet that is large marks the connection, and from then on nothing of it passes.
    let policy = mangling(
        masquerading_policy(),
        vec![(
            PREROUTING,
            asking(PacketAsk::Size(1_000, 2_000)),
            set(MarkKind::Connection, 0),
        )],
    );
    let mut sim = Sim::new(&dropping(policy, marked(MarkKind::Connection, Some(0))), 1);
    for _ in 0..3 {
        one(&out(&mut sim), WAN);
        one(&back(&mut sim), LAN);
    }
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    assert!(
        sim.inject(LAN, to_gateway(LAN, craft.payload(&[0; 1_200])))
            .is_empty()
    );
    assert!(back(&mut sim).is_empty());
    assert!(out(&mut sim).is_empty());
    balanced(&sim);
}

#[test]
fn the_time_to_live_is_changed_on_its_side_of_routing() {
    let ttl = |chain, change| {
        let edits = vec![(chain, Matchers::default(), self::change(Edit::Ttl(change)))];
        let mut sim = Sim::new(&mangling(open_policy(), edits), 1);
        let sent: Vec<u8> = (0..3)
            .map(|_| one(&out(&mut sim), WAN).parsed.ttl)
            .collect();
        balanced(&sim);
        sent
    };
    assert_eq!(
        ttl(PREROUTING, TtlChange::set(10)),
        [9; 3],
        "then forwarded"
    );
    assert_eq!(ttl(POSTROUTING, TtlChange::set(10)), [10; 3]);
    assert_eq!(ttl(FORWARD, TtlChange::increment(1)), [64; 3]);
    assert_eq!(ttl(FORWARD, TtlChange::decrement(3)), [60; 3]);
}

#[test]
fn a_time_to_live_that_prerouting_uses_up_ends_the_packet() {
    let edits = change(Edit::Ttl(TtlChange::set(1)));
    let policy = mangling(
        open_policy(),
        vec![(PREROUTING, Matchers::default(), edits)],
    );
    let mut sim = Sim::new(&policy, 1);
    out(&mut sim);
    let reasons: Vec<_> = sim.ends_of(1).iter().map(|end| end.reason).collect();
    assert!(
        reasons.contains(&Some(DropReason::TtlExceeded)),
        "{reasons:?}"
    );
}

#[test]
fn ttl_is_compared_as_the_packet_stands_at_that_point() {
    let compare = |chain, comparison, number| {
        let ask = asking(PacketAsk::Ttl(comparison, number));
        let rules = vec![(chain, ask, Action::Passthrough)];
        let mut sim = Sim::new(&mangling(open_policy(), rules), 1);
        out(&mut sim);
        out(&mut sim);
        sim.rule_packets(0) == 2
    };
    assert!(compare(PREROUTING, Comparison::Equal, 64));
    assert!(
        compare(FORWARD, Comparison::Equal, 63),
        "forwarding takes one"
    );
    assert!(compare(FORWARD, Comparison::Less, 64));
    assert!(compare(FORWARD, Comparison::Greater, 62));
    assert!(compare(FORWARD, Comparison::NotEqual, 64));
    assert!(!compare(FORWARD, Comparison::NotEqual, 63));
}

#[test]
fn dscp_is_changed_in_both_families_and_congestion_bits_stay() {
    let edits = vec![(
        POSTROUTING,
        Matchers::default(),
        change(Edit::Dscp(0b101_010)),
    )];
    let mut sim = Sim::new(&mangling(open_policy(), edits), 1);
    for (src, dst) in [
        ("192.168.88.10:4000", "198.51.100.7:53"),
        ("[fd00:88::10]:4000", "[2001:db8:7::7]:53"),
    ] {
        let craft = Craft::udp(at(src), at(dst)).unwrap().tos(0b11);
        for _ in 0..2 {
            let sent = sim.inject(LAN, to_gateway(LAN, craft.clone()));
            assert_eq!(one(&sent, WAN).parsed.tos, 0b1010_1011);
        }
    }
    balanced(&sim);
}

#[test]
fn without_passthrough_the_chain_ends_and_the_filter_is_still_asked() {
    let stop = Action::Edit(Edit::Mark(MarkKind::Packet, Some(MarkId(0))), Then::Stop);
    let policy = mangling(
        open_policy(),
        vec![
            (FORWARD, Matchers::default(), stop),
            (FORWARD, Matchers::default(), set(MarkKind::Packet, 1)),
        ],
    );
    let mut sim = Sim::new(&dropping(policy, marked(MarkKind::Packet, Some(0))), 1);
    assert!(out(&mut sim).is_empty());
    assert_eq!((sim.rule_packets(1), sim.rule_packets(2)), (0, 1));
}

#[test]
fn a_negated_question_of_the_packet_holds_for_the_others() {
    let negated = Matchers {
        packet: vec![Match {
            value: PacketAsk::Size(0, 100),
            negated: true,
        }],
        ..Matchers::default()
    };
    let mut sim = Sim::new(&dropping(open_policy(), negated), 1);
    one(&out(&mut sim), WAN);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    assert!(
        sim.inject(LAN, to_gateway(LAN, craft.payload(&[0; 200])))
            .is_empty()
    );
    one(&out(&mut sim), WAN);
}

#[test]
fn a_connection_opened_at_another_worker_is_marked_and_its_first_packet_changed() {
    // Destination ports that are translated make the reply arrive anywhere.
    let policy = mangling(
        masquerading_policy(),
        vec![
            (
                PREROUTING,
                Matchers::default(),
                set(MarkKind::Connection, 0),
            ),
            (
                FORWARD,
                marked(MarkKind::Connection, Some(0)),
                change(Edit::Dscp(8)),
            ),
        ],
    );
    let mut sim = Sim::new(&policy, 4);
    for port in 0..64 {
        let inside = format!("192.168.88.10:{}", 4_000 + port);
        let outside = "198.51.100.7:80";
        let syn = sim.inject(LAN, tcp(LAN, &inside, outside, SYN, 100, 0));
        let seen = one(&syn, WAN);
        assert_eq!(seen.parsed.tos >> 2, 8);
        let tuple = seen.tuple();
        let external = format!("203.0.113.2:{}", tuple.src_port.0);
        let answer = tcp(WAN, outside, &external, SYN_ACK, 500, 101);
        assert_eq!(one(&sim.inject(WAN, answer), LAN).parsed.tos >> 2, 8);
        let ack = sim.inject(LAN, tcp(LAN, &inside, outside, ACK, 101, 501));
        assert_eq!(one(&ack, WAN).parsed.tos >> 2, 8);
    }
    balanced(&sim);
}

#[test]
fn a_connection_whose_reply_arrives_elsewhere_keeps_its_mark_and_its_first_packets_changes() {
    let server = AddressRange {
        first: sim::ip("192.168.88.80"),
        last: sim::ip("192.168.88.80"),
    };
    let to = Translation {
        addresses: Some(server),
        ports: Some(PortRange {
            first: 8_080,
            last: 8_080,
        }),
    };
    let mut policy = mangling(
        open_policy(),
        vec![
            (
                PREROUTING,
                marked(MarkKind::Connection, None),
                set(MarkKind::Connection, 1),
            ),
            (
                FORWARD,
                marked(MarkKind::Connection, Some(1)),
                change(Edit::Dscp(8)),
            ),
            (
                FORWARD,
                marked(MarkKind::Connection, Some(1)),
                change(Edit::Mss(NewMss::AtMost(1_200))),
            ),
        ],
    );
    policy.nat.chains[0]
        .rules
        .push(rule(Matchers::default(), Action::DstNat(to)));
    let mut sim = Sim::new(&policy, 4);
    let announcing = |port: u16| {
        let spec = TcpSpec {
            flags: SYN,
            options: &[2, 4, 0x05, 0xb4],
            ..TcpSpec::default()
        };
        let client = at(&format!("198.51.100.7:{port}"));
        to_gateway(WAN, Craft::tcp(client, at("203.0.113.2:80"), spec).unwrap())
    };
    for port in 5_000..5_064 {
        let seen = one(&sim.inject(WAN, announcing(port)), LAN);
        assert_eq!(seen.parsed.tos >> 2, 8);
        assert_eq!(tcp_options(&seen.frame, &seen.parsed).mss, Some(1_200));
        let client = format!("198.51.100.7:{port}");
        let answer = tcp(LAN, "192.168.88.80:8080", &client, SYN_ACK, 500, 1);
        assert_eq!(one(&sim.inject(LAN, answer), WAN).parsed.tos >> 2, 8);
    }
    let opened: u64 = sim
        .counters
        .iter()
        .map(|c| c.handed_over(Found::ReplyArrives).read())
        .sum();
    assert!(opened > 0, "this address pair hashes to different workers");
    for worker in &mut sim.workers {
        let table = &worker.conntrack().v4;
        table.walk(0, 10_000, sim.now, |c| assert_eq!(c.mark, 2));
    }
    balanced(&sim);
}
