//! Matchers that count: what passes of a stream of packets, through the whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use std::time::Duration;

use sim::packets::{ACK, RST, SYN, at, balanced, echo, one, tcp, to_gateway, udp};
use sim::{LAN, Sim, WAN, is, masquerading_policy, open_policy, rule};
use turnpike_pipeline::ids::RuleId;
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::policy::{
    Action, Classifier, DestinationLimit, FlowFields, Hours, Match, Matchers, Nth, PacketAsk,
    Policy, RateAsk, RateLimit, RateUnit, ScanWeights, Volume,
};
use turnpike_pipeline::rules::rates::destinations::DESTINATIONS_MAX;
use turnpike_pipeline::wall::Zone;

const FORWARD: usize = 1;

fn asking(ask: RateAsk) -> Matchers {
    Matchers {
        packet: vec![is(PacketAsk::Rate(ask))],
        ..Matchers::default()
    }
}

fn not_asking(ask: RateAsk) -> Matchers {
    Matchers {
        packet: vec![Match {
            value: PacketAsk::Rate(ask),
            negated: true,
        }],
        ..Matchers::default()
    }
}

/// What these matchers hold for is accepted, and nothing else.
fn only(mut policy: Policy, matchers: Matchers) -> Policy {
    let rules = &mut policy.filter.chains[FORWARD].rules;
    rules.push(rule(matchers, Action::Accept));
    rules.push(rule(Matchers::default(), Action::Drop));
    policy
}

fn limit(rate: u64, burst: u64) -> RateAsk {
    RateAsk::Limit(RateLimit {
        rate,
        per: Duration::from_secs(1),
        burst,
        unit: RateUnit::Packet,
    })
}

/// Packets of one IPv4 flow, or of one IPv6 flow, and how many of them pass.
fn passed(sim: &mut Sim, packets: usize, version: u8) -> usize {
    let (src, dst) = if version == 4 {
        ("192.168.88.10:4000", "198.51.100.7:53")
    } else {
        ("[fd00:88::10]:4000", "[2001:db8:7::7]:53")
    };
    let passes = |_: &usize| !sim.inject(LAN, udp(LAN, src, dst)).is_empty();
    (0..packets).filter(passes).count()
}

#[test]
fn limit_lets_a_burst_pass_and_then_the_rate_for_packets_of_one_flow_too() {
    let mut sim = Sim::new(&only(open_policy(), asking(limit(5, 10))), 1);
    assert_eq!(passed(&mut sim, 30, 4), 10);
    sim.advance(1_000);
    assert_eq!(passed(&mut sim, 30, 4), 5);
    sim.advance(200);
    // Both families take from the same bucket.
    assert_eq!((passed(&mut sim, 3, 6), passed(&mut sim, 3, 4)), (1, 0));
    assert_eq!((sim.rule_packets(0), sim.rule_packets(1)), (16, 50));
    balanced(&sim);
}

#[test]
fn a_negated_limit_matches_what_is_over_it() {
    let mut policy = open_policy();
    let over = rule(not_asking(limit(5, 10)), Action::Drop);
    policy.filter.chains[FORWARD].rules.push(over);
    let mut sim = Sim::new(&policy, 1);
    assert_eq!(passed(&mut sim, 30, 4), 10);
    assert_eq!(sim.rule_packets(0), 20);
}

#[test]
fn a_limit_counts_only_packets_that_the_rest_of_its_rule_holds_for() {
    let narrow = Matchers {
        packet: vec![
            is(PacketAsk::Size(0, 60)),
            is(PacketAsk::Rate(limit(5, 10))),
        ],
        ..Matchers::default()
    };
    let mut sim = Sim::new(&only(open_policy(), narrow), 1);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    for _ in 0..20 {
        let large = to_gateway(LAN, craft.clone().payload(&[0; 200]));
        assert!(sim.inject(LAN, large).is_empty());
    }
    assert_eq!(passed(&mut sim, 30, 4), 10, "the bucket is still full");
}

#[test]
fn a_limit_is_shared_by_all_workers() {
    let mut sim = Sim::new(&only(masquerading_policy(), asking(limit(5, 10))), 4);
    let passed = (0..64)
        .filter(|port| {
            let inside = format!("192.168.88.10:{}", 4_000 + port);
            !sim.inject(LAN, udp(LAN, &inside, "198.51.100.7:53"))
                .is_empty()
        })
        .count();
    assert_eq!(passed, 10);
    let busy = sim.workers.iter().filter(|w| !w.conntrack().v4.is_empty());
    assert!(busy.count() > 1, "several workers have judged");
    balanced(&sim);
}

#[test]
fn the_state_of_a_limit_follows_its_rule_over_a_reload_and_no_other() {
    let policy = only(open_policy(), asking(limit(5, 10)));
    let mut sim = Sim::new(&policy, 1);
    assert_eq!(passed(&mut sim, 30, 4), 10);
    let mut moved = policy.clone();
    let first = rule(Matchers::default(), Action::Passthrough);
    moved.filter.chains[FORWARD].rules.insert(0, first);
    sim.reload(&moved);
    assert_eq!(passed(&mut sim, 30, 4), 0, "the same rule, an empty bucket");
    sim.reload(&only(open_policy(), asking(limit(5, 11))));
    assert_eq!(passed(&mut sim, 30, 4), 11, "another rule");
}

#[test]
fn limit_counts_bits_of_whole_ip_packets() {
    let bits = RateAsk::Limit(RateLimit {
        rate: 8_000,
        per: Duration::from_secs(1),
        burst: 128 * 8,
        unit: RateUnit::Bit,
    });
    let mut sim = Sim::new(&only(open_policy(), asking(bits)), 1);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    // 20 bytes of IPv4, 8 of UDP, 36 of payload: 64, so two of them.
    let packet = to_gateway(LAN, craft.payload(&[0; 36]));
    let mut passed = || {
        let passes = |_: &usize| !sim.inject(LAN, packet.clone()).is_empty();
        let passed = (0..5).filter(passes).count();
        sim.advance(64);
        passed
    };
    assert_eq!((passed(), passed(), passed()), (2, 1, 1));
}

#[test]
fn nth_gives_each_packet_of_a_round_to_one_rule() {
    let nth = |packet| asking(RateAsk::Nth(Nth { every: 3, packet }));
    let mut policy = open_policy();
    for packet in 1..=3 {
        let log = rule(nth(packet), Action::Passthrough);
        policy.filter.chains[FORWARD].rules.push(log);
    }
    let mut sim = Sim::new(&policy, 2);
    for round in 1..=7 {
        passed(&mut sim, 1, 4);
        let counted: Vec<u64> = (0..3).map(|n| sim.rule_packets(n)).collect();
        let expected = [2, 1, 0].map(|behind| (round + behind) / 3);
        assert_eq!(counted, expected);
    }
    balanced(&sim);
}

#[test]
fn nth_goes_on_counting_over_a_reload() {
    let nth = Nth {
        every: 3,
        packet: 1,
    };
    let policy = only(open_policy(), asking(RateAsk::Nth(nth)));
    let mut sim = Sim::new(&policy, 1);
    assert_eq!(passed(&mut sim, 2, 4), 1);
    sim.reload(&policy);
    assert_eq!((passed(&mut sim, 1, 4), passed(&mut sim, 1, 4)), (0, 1));
}

#[test]
fn random_matches_so_many_percent_the_same_ones_in_each_run() {
    let run = |percent| {
        let mut sim = Sim::new(&only(open_policy(), asking(RateAsk::Random(percent))), 1);
        let passes = |_: &u32| passed(&mut sim, 1, 4) == 1;
        (0..2_000).filter(passes).collect::<Vec<_>>()
    };
    let quarter = run(25);
    assert!((430..570).contains(&quarter.len()), "{}", quarter.len());
    assert_eq!(quarter, run(25));
    assert!(run(99).len() > 1_950 && run(1).len() < 50);
}

#[test]
fn connection_bytes_counts_both_directions_and_the_packet_itself() {
    let volume = |first, last| asking(RateAsk::ConnectionBytes(Volume { first, last }));
    let mut policy = masquerading_policy();
    // Each packet has 33 bytes: IPv4, UDP and what the harness puts in.
    let sent = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    let size = u64::try_from(sent.len() - 14).unwrap();
    for (first, last) in [
        (0, Some(size)),
        (2 * size, Some(3 * size)),
        (4 * size, None),
    ] {
        let counting = rule(volume(first, last), Action::Passthrough);
        policy.filter.chains[FORWARD].rules.push(counting);
    }
    let mut sim = Sim::new(&policy, 1);
    for _ in 0..3 {
        one(&sim.inject(LAN, sent.clone()), WAN);
        let answer = udp(WAN, "198.51.100.7:53", "203.0.113.2:4000");
        one(&sim.inject(WAN, answer), LAN);
    }
    let counted: Vec<u64> = (1..4).map(|n| sim.rule_packets(n)).collect();
    assert_eq!(counted, [1, 2, 3]);
    balanced(&sim);
}

#[test]
fn connection_bytes_of_a_packet_without_a_connection_never_matches() {
    let all = Volume {
        first: 0,
        last: None,
    };
    let mut policy = open_policy();
    let untracked = rule(Matchers::default(), Action::NoTrack);
    policy.raw.chains[0].rules.push(untracked);
    for matchers in [
        asking(RateAsk::ConnectionBytes(all)),
        not_asking(RateAsk::ConnectionBytes(all)),
    ] {
        let drop = rule(matchers, Action::Drop);
        policy.filter.chains[FORWARD].rules.push(drop);
    }
    assert_eq!(passed(&mut Sim::new(&policy, 1), 3, 4), 3);
}

#[test]
fn per_connection_classifier_divides_flows_and_is_judged_once_for_each() {
    let mut policy = open_policy();
    for remainder in 0..2 {
        let class = Matchers {
            classifier: Some(is(Classifier {
                fields: FlowFields::CLASSIFIED[8].1,
                denominator: 2,
                remainder,
            })),
            ..Matchers::default()
        };
        let counting = rule(class, Action::Passthrough);
        policy.filter.chains[FORWARD].rules.push(counting);
    }
    let mut sim = Sim::new(&policy, 1);
    let mut before = [0; 2];
    for port in 0..100 {
        let inside = format!("192.168.88.10:{}", 4_000 + port);
        for _ in 0..3 {
            one(&sim.inject(LAN, udp(LAN, &inside, "198.51.100.7:53")), WAN);
            let answer = udp(WAN, "198.51.100.7:53", &inside);
            one(&sim.inject(WAN, answer), LAN);
        }
        let now = [0, 1].map(|n| sim.rule_packets(n));
        let more = [now[0] - before[0], now[1] - before[1]];
        assert!(more == [6, 0] || more == [0, 6], "{more:?}");
        before = now;
    }
    assert!(before.iter().all(|n| (180..=420).contains(n)), "{before:?}");
    balanced(&sim);
}

fn dst_limit(fields: FlowFields, expire_ms: u64) -> RateAsk {
    let RateAsk::Limit(limit) = limit(1, 3) else {
        unreachable!()
    };
    RateAsk::DestinationLimit(DestinationLimit {
        limit,
        fields,
        expire: Duration::from_millis(expire_ms),
    })
}

/// How many of five packets from `src` to `dst` pass.
fn of_five(sim: &mut Sim, src: &str, dst: &str) -> usize {
    let passes = |_: &u32| !sim.inject(LAN, udp(LAN, src, dst)).is_empty();
    (0..5).filter(passes).count()
}

#[test]
fn dst_limit_has_a_bucket_for_each_value_of_its_fields_in_both_families() {
    let (a, b) = ("192.168.88.10:4000", "192.168.88.11:4001");
    let (x, y) = ("198.51.100.7:53", "198.51.100.8:54");
    for (word, expected) in [
        ("dst-address", [3, 0, 3]),
        ("src-address", [3, 3, 0]),
        ("dst-port", [3, 0, 3]),
        ("src-port", [3, 3, 0]),
        ("dst-address-and-port", [3, 0, 3]),
        ("src-and-dst-addresses", [3, 3, 3]),
        ("addresses-and-dst-port", [3, 3, 3]),
    ] {
        let fields = FlowFields::LIMITED
            .iter()
            .find(|(w, _)| *w == word)
            .unwrap();
        let ask = asking(dst_limit(fields.1, 60_000));
        let mut sim = Sim::new(&only(open_policy(), ask), 1);
        let passed = [(a, x), (b, x), (a, y)].map(|(src, dst)| of_five(&mut sim, src, dst));
        assert_eq!(passed, expected, "{word}");
        let (a6, x6) = ("[fd00:88::10]:4000", "[2001:db8:7::7]:53");
        let of_its_own = !word.ends_with("port") || word.contains("addr");
        let passed = of_five(&mut sim, a6, x6);
        assert_eq!(passed, if of_its_own { 3 } else { 0 }, "{word}");
        balanced(&sim);
    }
}

#[test]
fn dst_limit_is_shared_by_workers_refilled_and_forgotten_when_it_expires() {
    let ask = asking(dst_limit(FlowFields::DST_ADDRESS, 5_000));
    let mut sim = Sim::new(&only(masquerading_policy(), ask), 4);
    let mut passed = || {
        let passes = |port: &u32| {
            let inside = format!("192.168.88.10:{}", 4_000 + port);
            !sim.inject(LAN, udp(LAN, &inside, "198.51.100.7:53"))
                .is_empty()
        };
        let passed = (0..40).filter(passes).count();
        sim.advance(2_000);
        passed
    };
    assert_eq!((passed(), passed(), passed()), (3, 2, 2));
    sim.advance(4_000);
    assert_eq!(of_five(&mut sim, "192.168.88.10:9", "198.51.100.7:53"), 3);
    balanced(&sim);
}

#[test]
fn dst_limit_follows_its_rule_over_a_reload_and_a_full_table_lets_nothing_pass() {
    let ask = asking(dst_limit(FlowFields::SRC_PORT, 600_000));
    let policy = only(open_policy(), ask);
    let mut sim = Sim::new(&policy, 1);
    assert_eq!(of_five(&mut sim, "192.168.88.10:1", "198.51.100.7:53"), 3);
    let mut moved = policy.clone();
    let first = rule(Matchers::default(), Action::Passthrough);
    moved.filter.chains[FORWARD].rules.insert(0, first);
    sim.reload(&moved);
    assert_eq!(of_five(&mut sim, "192.168.88.10:1", "198.51.100.7:53"), 0);
    let (buckets, keeping, _) = sim.program.states.destinations(RuleId(1)).unwrap();
    for n in 0..2 * DESTINATIONS_MAX as u64 {
        let hash = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..3 {
            buckets.take(hash, keeping, 100, sim.now);
        }
    }
    assert_eq!(of_five(&mut sim, "192.168.88.10:2", "198.51.100.7:53"), 0);
    assert_eq!(sim.counters[0].unremembered.read(), 5);
    balanced(&sim);
}

fn psd() -> RateAsk {
    RateAsk::Scan(ScanWeights {
        threshold: 21,
        delay: Duration::from_secs(3),
        low_port: 3,
        high_port: 1,
    })
}

#[test]
fn psd_sees_who_tries_many_ports_and_leaves_others_alone() {
    let mut policy = masquerading_policy();
    let scans = rule(asking(psd()), Action::Drop);
    policy.filter.chains[FORWARD].rules.push(scans);
    let mut sim = Sim::new(&policy, 4);
    let mut syn = |src: &str, port: u16, flags: u8| {
        let dst = format!("198.51.100.7:{port}");
        let src = format!("{src}:{}", 4_000 + port);
        !sim.inject(LAN, tcp(LAN, &src, &dst, flags, 100, 1))
            .is_empty()
    };
    assert!(
        (1..7).all(|port| syn("192.168.88.10", port, SYN)),
        "18 so far"
    );
    assert!(!syn("192.168.88.10", 7, SYN) && !syn("192.168.88.10", 8, SYN));
    assert!(syn("192.168.88.10", 6, SYN), "a port that was tried before");
    assert!(syn("192.168.88.11", 7, SYN), "another source");
    assert!(
        (20..60).all(|port| syn("192.168.88.11", port, ACK)),
        "no attempts"
    );
    assert!(
        (20..60).all(|port| syn("192.168.88.11", port, RST)),
        "none either"
    );
    assert_eq!(sim.rule_packets(1), 2);
    balanced(&sim);
}

#[test]
fn psd_never_matches_what_has_no_port_negated_or_not() {
    let mut policy = open_policy();
    for matchers in [asking(psd()), not_asking(psd())] {
        let rules = &mut policy.filter.chains[FORWARD].rules;
        rules.push(rule(matchers, Action::Drop));
    }
    let mut sim = Sim::new(&policy, 1);
    assert!(
        sim.inject(LAN, udp(LAN, "192.168.88.10:1", "198.51.100.7:9"))
            .is_empty()
    );
    let ping = echo(LAN, "192.168.88.10", "198.51.100.7", 8, 1);
    one(&sim.inject(LAN, ping), WAN);
}

#[test]
fn time_is_asked_of_the_wall_in_the_configured_zone() {
    // Monday, 15 June 2026, 07:59:59 UTC is 09:59:59 where two hours have been added.
    let monday = 1_781_510_399;
    let ten_to_noon = RateAsk::Time(Hours {
        first: 36_000,
        last: 43_200,
        days: 0b10,
    });
    let mut policy = only(open_policy(), asking(ten_to_noon));
    policy.zone = Zone {
        changes: [(0, 7_200)].into(),
    };
    let mut sim = Sim::new(&policy, 1);
    let mut passes_at = |unix_secs: i64| {
        sim.wall.set(unix_secs * 1_000_000, sim.now);
        passed(&mut sim, 1, 4) == 1
    };
    assert!(!passes_at(monday) && passes_at(monday + 1));
    assert!(passes_at(monday + 7_201) && !passes_at(monday + 7_202));
    assert!(!passes_at(monday + 86_400 + 60), "Tuesday");
    assert!(passes_at(monday + 7 * 86_400 + 60));
    // The flow was judged before; time goes on without a reload.
    sim.wall.set(monday * 1_000_000, sim.now);
    assert_eq!(passed(&mut sim, 1, 4), 0);
    sim.advance(1_000);
    assert_eq!(passed(&mut sim, 1, 4), 1);
}

#[test]
fn connection_rate_is_that_of_the_last_second_of_both_directions() {
    let fast = RateAsk::ConnectionRate(Volume {
        first: 20_000,
        last: None,
    });
    let mut policy = masquerading_policy();
    let counting = rule(asking(fast), Action::Passthrough);
    policy.filter.chains[FORWARD].rules.push(counting);
    let mut sim = Sim::new(&policy, 1);
    let craft = |src, dst| Craft::udp(at(src), at(dst)).unwrap().payload(&[0; 97]);
    // 125 bytes: 1,000 bits.
    let there = to_gateway(LAN, craft("192.168.88.10:4000", "198.51.100.7:53"));
    let back = to_gateway(WAN, craft("198.51.100.7:53", "203.0.113.2:4000"));
    let mut second = |packets: u64| {
        let before = sim.rule_packets(1);
        for n in 0..packets {
            let (port, frame) = if n % 2 == 0 {
                (LAN, &there)
            } else {
                (WAN, &back)
            };
            sim.inject(port, frame.clone());
            sim.advance(1_000 / packets);
        }
        sim.rule_packets(1) - before
    };
    // The meter's windows begin a tenth of a second into these, with the second packet.
    assert_eq!(second(10), 0, "10,000 bits a second");
    assert_eq!(second(40), 17, "from the twentieth of its window on");
    assert_eq!(second(40), 40, "all of them");
    assert_eq!(second(10), 10, "the window before was fast");
    assert_eq!(second(10), 1);
    balanced(&sim);
}

#[test]
fn connection_rate_begins_when_a_reload_brings_in_the_rule() {
    let fast = RateAsk::ConnectionRate(Volume {
        first: 1_000_000,
        last: None,
    });
    let mut sim = Sim::new(&open_policy(), 1);
    assert_eq!(passed(&mut sim, 2_000, 4), 2_000);
    let mut policy = open_policy();
    let drop = rule(asking(fast), Action::Drop);
    policy.filter.chains[FORWARD].rules.push(drop);
    sim.reload(&policy);
    assert_eq!(
        passed(&mut sim, 10, 4),
        10,
        "what it carried before is not known"
    );
}
