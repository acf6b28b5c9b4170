//! A whole gateway on one thread: a packet in, a packet out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{ACK, SYN, SYN_ACK, at, balanced, echo, one, tcp, to_gateway, udp};
use sim::{
    LAN, LAN_IF, PEER_MAC, Sim, WAN, WAN_IF, WAN_MAC, ip, is, masquerading_policy, open_policy,
    rule, states,
};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::tuple::{Proto, V4};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::policy::{Action, AddressRange, Matchers, Policy, PortSet, Translation};
use turnpike_pipeline::witness::Ending;

#[test]
fn a_packet_is_forwarded_with_one_hop_less_and_its_neighbours_address() {
    let mut sim = Sim::new(&open_policy(), 1);
    let sent = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    let seen = one(&sent, WAN);
    assert_eq!(seen.words(), "192.168.88.10:4000 > 198.51.100.7:53");
    assert_eq!(seen.parsed.ttl, 63);
    assert_eq!(
        (seen.parsed.link.dst, seen.parsed.link.src),
        (PEER_MAC, WAN_MAC)
    );
    assert_eq!(sim.last_end().ending, Ending::Accept);
    balanced(&sim);
}

#[test]
fn masquerade_translates_both_ways_and_keeps_the_port() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let out = sim.inject(
        LAN,
        tcp(LAN, "192.168.88.10:40000", "198.51.100.7:443", SYN, 100, 0),
    );
    assert_eq!(
        one(&out, WAN).words(),
        "203.0.113.2:40000 > 198.51.100.7:443"
    );
    let back = tcp(
        WAN,
        "198.51.100.7:443",
        "203.0.113.2:40000",
        SYN_ACK,
        500,
        101,
    );
    let back = sim.inject(WAN, back);
    assert_eq!(
        one(&back, LAN).words(),
        "198.51.100.7:443 > 192.168.88.10:40000"
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Established));
    assert_eq!(sim.connections(), 1);
    balanced(&sim);
}

#[test]
fn masquerade_works_for_ipv6() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let out = sim.inject(LAN, udp(LAN, "[fd00:88::10]:4000", "[2001:db8:7::7]:53"));
    assert_eq!(
        one(&out, WAN).words(),
        "2001:db8:113::2:4000 > 2001:db8:7::7:53"
    );
    let back = sim.inject(
        WAN,
        udp(WAN, "[2001:db8:7::7]:53", "[2001:db8:113::2]:4000"),
    );
    assert_eq!(
        one(&back, LAN).words(),
        "2001:db8:7::7:53 > fd00:88::10:4000"
    );
    balanced(&sim);
}

#[test]
fn two_hosts_with_one_port_leave_by_two_ports() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let a = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    let b = sim.inject(LAN, udp(LAN, "192.168.88.11:4000", "198.51.100.7:53"));
    let (a, b) = (one(&a, WAN).tuple(), one(&b, WAN).tuple());
    assert_eq!(a.src, b.src);
    assert_ne!(a.src_port, b.src_port);
}

#[test]
fn an_echo_goes_through_masquerade_by_its_identifier() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let out = sim.inject(LAN, echo(LAN, "192.168.88.10", "198.51.100.7", 8, 77));
    assert_eq!(one(&out, WAN).words(), "203.0.113.2 > 198.51.100.7");
    let back = sim.inject(WAN, echo(WAN, "198.51.100.7", "203.0.113.2", 0, 77));
    assert_eq!(one(&back, LAN).words(), "198.51.100.7 > 192.168.88.10");
}

#[test]
fn an_error_about_a_masqueraded_packet_reaches_its_sender_translated() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let out = one(
        &sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53")),
        WAN,
    );
    // 192.0.2.1, a router on the way, says that the port is unreachable.
    let spec = IcmpSpec {
        kind: 3,
        code: 3,
        ..IcmpSpec::default()
    };
    let quote = &out.frame[usize::from(out.parsed.l3)..];
    let error = Craft::icmp(ip("192.0.2.1"), ip("203.0.113.2"), spec)
        .unwrap()
        .payload(quote);
    let seen = one(&sim.inject(WAN, to_gateway(WAN, error)), LAN);
    assert_eq!(seen.words(), "192.0.2.1 > 192.168.88.10");
    let quote = quoted::<V4>(&seen.frame, &seen.parsed).unwrap();
    assert_eq!(
        (quote.tuple.src, quote.tuple.src_port.0),
        ([192, 168, 88, 10], 4000)
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
}

#[test]
fn a_redirect_goes_no_further_where_the_connection_is_translated() {
    for (policy, dropped) in [(masquerading_policy(), true), (open_policy(), false)] {
        let mut sim = Sim::new(&policy, 1);
        let sent = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
        let out = one(&sent, WAN);
        let spec = IcmpSpec {
            kind: 5,
            code: 1,
            ..IcmpSpec::default()
        };
        let quote = &out.frame[usize::from(out.parsed.l3)..];
        let target = if dropped {
            "203.0.113.2"
        } else {
            "192.168.88.10"
        };
        let redirect = Craft::icmp(ip("192.0.2.1"), ip(target), spec).unwrap();
        sim.inject(WAN, to_gateway(WAN, redirect.payload(quote)));
        let expected = if dropped {
            Ending::Drop
        } else {
            Ending::Accept
        };
        assert_eq!(sim.last_end().ending, expected);
        let reason = sim.last_end().reason;
        assert_eq!(reason, dropped.then_some(DropReason::NatUntranslatable));
        balanced(&sim);
    }
}

#[test]
fn an_error_about_nothing_known_is_invalid() {
    let mut sim = Sim::new(&open_policy(), 1);
    let spec = IcmpSpec {
        kind: 3,
        code: 3,
        ..IcmpSpec::default()
    };
    let stray = Craft::udp(at("192.168.88.10:1"), at("198.51.100.7:2"))
        .unwrap()
        .frame()
        .unwrap();
    let error = Craft::icmp(ip("192.0.2.1"), ip("192.168.88.10"), spec).unwrap();
    sim.inject(WAN, to_gateway(WAN, error.payload(&stray[14..])));
    assert_eq!(sim.last_end().state, Some(ConnState::Invalid));
}

#[test]
fn dst_nat_brings_a_connection_inside_and_its_answers_back() {
    let mut policy = open_policy();
    let inside = ip("192.168.88.80");
    let to = Translation {
        addresses: Some(AddressRange {
            first: inside,
            last: inside,
        }),
        ports: Some(turnpike_pipeline::policy::PortRange {
            first: 8080,
            last: 8080,
        }),
    };
    let to_port_80 = Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: Some(is(PortSet::new([80..=80]))),
        in_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    };
    policy.nat.chains[0]
        .rules
        .push(rule(to_port_80, Action::DstNat(to)));
    let mut sim = Sim::new(&policy, 1);
    let inwards = sim.inject(
        WAN,
        tcp(WAN, "198.51.100.7:5000", "203.0.113.2:80", SYN, 1, 0),
    );
    assert_eq!(
        one(&inwards, LAN).words(),
        "198.51.100.7:5000 > 192.168.88.80:8080"
    );
    let back = tcp(
        LAN,
        "192.168.88.80:8080",
        "198.51.100.7:5000",
        SYN_ACK,
        9,
        2,
    );
    assert_eq!(
        one(&sim.inject(LAN, back), WAN).words(),
        "203.0.113.2:80 > 198.51.100.7:5000"
    );
    balanced(&sim);
}

#[test]
fn a_dropped_first_packet_leaves_no_connection() {
    let mut policy = masquerading_policy();
    policy.filter.chains[1]
        .rules
        .push(rule(Matchers::default(), Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    assert!(
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"))
            .is_empty()
    );
    let end = sim.last_end();
    assert_eq!(
        (end.ending, end.reason),
        (Ending::Drop, Some(DropReason::FilterRule))
    );
    assert!(end.rule.is_some());
    assert_eq!(sim.connections(), 0);
    balanced(&sim);
}

#[test]
fn every_packet_of_a_flow_counts_for_every_rule_it_matches() {
    let mut policy = masquerading_policy();
    let forward = &mut policy.filter.chains[1].rules;
    forward.push(rule(Matchers::default(), Action::Passthrough));
    forward.push(rule(
        Matchers {
            in_interface: Some(is(LAN_IF)),
            ..Matchers::default()
        },
        Action::Accept,
    ));
    let mut sim = Sim::new(&policy, 1);
    for _ in 0..5 {
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    }
    sim.inject(WAN, udp(WAN, "198.51.100.7:53", "203.0.113.2:4000"));
    // Rules in configuration order: masquerade, passthrough, accept.
    assert_eq!(sim.rule_packets(0), 1, "nat counts the first packet");
    assert_eq!(sim.rule_packets(1), 6);
    assert_eq!(sim.rule_packets(2), 5);
}

#[test]
fn a_reload_keeps_what_the_new_rules_admit_and_ends_what_they_forbid() {
    let mut policy = masquerading_policy();
    let established = Matchers {
        connection_state: states(&[ConnState::Established, ConnState::Related]),
        ..Matchers::default()
    };
    policy.filter.chains[1]
        .rules
        .push(rule(established, Action::Accept));
    let mut sim = Sim::new(&policy, 1);
    sim.inject(
        LAN,
        tcp(LAN, "192.168.88.10:40000", "198.51.100.7:443", SYN, 100, 0),
    );
    sim.inject(
        WAN,
        tcp(
            WAN,
            "198.51.100.7:443",
            "203.0.113.2:40000",
            SYN_ACK,
            500,
            101,
        ),
    );
    let data = || {
        tcp(
            LAN,
            "192.168.88.10:40000",
            "198.51.100.7:443",
            ACK,
            101,
            501,
        )
    };
    assert_eq!(sim.inject(LAN, data()).len(), 1);

    // A drop below the established-accept leaves the session alone.
    policy.filter.chains[1]
        .rules
        .push(rule(Matchers::default(), Action::Drop));
    sim.reload(&policy);
    assert_eq!(sim.inject(LAN, data()).len(), 1);
    assert_eq!(sim.rule_packets(1), 3, "the accept counts on");

    // A drop above it ends the session with its next packet.
    policy.filter.chains[1]
        .rules
        .insert(0, rule(Matchers::default(), Action::Drop));
    sim.reload(&policy);
    assert_eq!(sim.inject(LAN, data()).len(), 0);
    assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
    assert_eq!(sim.connections(), 0, "the entry is gone");
    balanced(&sim);
}

#[test]
fn a_live_translation_survives_a_reload_without_its_rule() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    sim.reload(&open_policy());
    let sent = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    assert_eq!(
        one(&sent, WAN).words(),
        "203.0.113.2:4000 > 198.51.100.7:53"
    );
    let fresh = sim.inject(LAN, udp(LAN, "192.168.88.10:4001", "198.51.100.7:53"));
    assert_eq!(
        one(&fresh, WAN).words(),
        "192.168.88.10:4001 > 198.51.100.7:53"
    );
}

#[test]
fn two_packets_of_one_new_connection_in_a_burst_make_one_entry() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let datagram = || udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    let sent = sim.inject_burst(LAN, vec![datagram(), datagram(), datagram()]);
    assert_eq!(sent.len(), 3);
    assert_eq!(sim.connections(), 1);
    balanced(&sim);
}

#[test]
fn a_raw_rule_exempts_from_tracking_and_another_drops() {
    let mut policy = open_policy();
    let to = |port| Matchers {
        protocol: Some(is(Proto::UDP)),
        dst_port: Some(is(PortSet::new([port..=port]))),
        ..Matchers::default()
    };
    policy.raw.chains[0]
        .rules
        .push(rule(to(53), Action::NoTrack));
    policy.raw.chains[0].rules.push(rule(to(54), Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    assert_eq!(
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"))
            .len(),
        1
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Untracked));
    assert_eq!(sim.connections(), 0);
    assert!(
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:54"))
            .is_empty()
    );
    assert_eq!(sim.last_end().reason, Some(DropReason::RawRule));
}

#[test]
fn a_packet_with_the_gateways_own_source_is_a_martian() {
    let mut sim = Sim::new(&open_policy(), 1);
    sim.inject(WAN, udp(WAN, "192.168.88.1:4000", "192.168.88.10:53"));
    assert_eq!(sim.last_end().reason, Some(DropReason::MartianSource));
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_established_ones() {
    let mut sim = Sim::with_neighbours(&masquerading_policy(), 1, Neighbours::Assume(PEER_MAC), 4);
    for port in 0..4 {
        let out = format!("192.168.88.10:{}", 4_000 + port);
        sim.inject(LAN, tcp(LAN, &out, "198.51.100.7:443", SYN, 100, 0));
        let back = format!("203.0.113.2:{}", 4_000 + port);
        sim.inject(WAN, tcp(WAN, "198.51.100.7:443", &back, SYN_ACK, 500, 101));
        sim.inject(LAN, tcp(LAN, &out, "198.51.100.7:443", ACK, 101, 501));
    }
    for port in 0..40 {
        let out = format!("192.168.88.10:{}", 5_000 + port);
        assert!(
            sim.inject(LAN, tcp(LAN, &out, "198.51.100.7:443", SYN, 1, 0))
                .is_empty()
        );
        assert_eq!(sim.last_end().reason, Some(DropReason::TableFull));
    }
    let data = tcp(LAN, "192.168.88.10:4002", "198.51.100.7:443", ACK, 101, 501);
    assert_eq!(sim.inject(LAN, data).len(), 1);
    balanced(&sim);
}

#[test]
fn with_two_workers_every_reply_finds_its_connection() {
    let mut sim = Sim::new(&masquerading_policy(), 2);
    for n in 0..200_u16 {
        let inside = format!("192.168.88.{}:{}", 10 + n % 5, 4_000 + n);
        let out = one(&sim.inject(LAN, udp(LAN, &inside, "198.51.100.7:53")), WAN).tuple();
        let outside = format!("203.0.113.2:{}", out.src_port.0);
        let back = one(&sim.inject(WAN, udp(WAN, "198.51.100.7:53", &outside)), LAN);
        assert_eq!(back.words(), format!("198.51.100.7:53 > {inside}"));
        assert_eq!(sim.last_end().state, Some(ConnState::Established));
    }
    assert_eq!(sim.connections(), 200);
    let shares: Vec<_> = sim.workers.iter().map(|w| w.conntrack().v4.len()).collect();
    assert!(
        shares.iter().all(|s| *s > 50),
        "both workers own connections: {shares:?}"
    );
    balanced(&sim);
}

#[test]
fn with_two_workers_what_has_no_port_is_steered_to_its_owner() {
    let mut sim = Sim::new(&masquerading_policy(), 2);
    for n in 0..40_u8 {
        let inside = format!("192.168.88.{}", 10 + n);
        let out = one(
            &sim.inject(LAN, echo(LAN, &inside, "198.51.100.7", 8, 7)),
            WAN,
        )
        .tuple();
        let answer = echo(WAN, "198.51.100.7", "203.0.113.2", 0, out.src_port.0);
        let back = one(&sim.inject(WAN, answer), LAN);
        assert_eq!(back.words(), format!("198.51.100.7 > {inside}"));
    }
    let handed_over: u64 = sim.counters.iter().map(|c| c.handed_over_in_all()).sum();
    assert!(handed_over > 0, "some replies hash to the other worker");
    balanced(&sim);
}

/// The policy with `wan` at another address, as a reload after a new lease would have it.
fn renumbered(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.interfaces[1].addresses = vec!["203.0.113.77/24".parse().unwrap()];
    policy
}

#[test]
fn a_masqueraded_connection_ends_with_the_gateways_address_and_its_next_packet_opens_another() {
    let policy = masquerading_policy();
    let mut sim = Sim::new(&policy, 2);
    let datagram = |host| udp(LAN, &format!("192.168.88.{host}:4000"), "198.51.100.7:53");
    for host in 10..30 {
        sim.inject(LAN, datagram(host));
    }
    let renumbered = renumbered(&policy);
    sim.reload(&renumbered);
    // Nothing was swept yet: what leaves, leaves with the new address all the same.
    for host in 10..20 {
        let sent = one(&sim.inject(LAN, datagram(host)), WAN);
        assert!(
            sent.words().starts_with("203.0.113.77:"),
            "{}",
            sent.words()
        );
    }
    assert_eq!(sim.connections(), 20);
    // The others go by themselves, with their ports and places.
    sim.advance(1);
    assert_eq!(sim.connections(), 10);
    let old = sim.program.pools4.ports([203, 0, 113, 2]);
    assert!(old.is_none(), "nobody is given ports of the old address");
    sim.reload(&policy);
    let ports = sim.program.pools4.ports([203, 0, 113, 2]).unwrap();
    assert_eq!(ports.in_use(PortSpace::Udp), 0);
    balanced(&sim);
}

#[test]
fn answers_and_errors_to_a_lost_address_reach_nobody_through_the_old_connection() {
    let policy = masquerading_policy();
    let mut sim = Sim::new(&policy, 1);
    let out = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    let out = one(&out, WAN);
    sim.reload(&renumbered(&policy));
    let spec = IcmpSpec {
        kind: 3,
        code: 3,
        ..IcmpSpec::default()
    };
    let quote = &out.frame[usize::from(out.parsed.l3)..];
    let error = Craft::icmp(ip("192.0.2.1"), ip("203.0.113.2"), spec).unwrap();
    let sent = sim.inject(WAN, to_gateway(WAN, error.payload(quote)));
    assert!(sent.iter().all(|(port, _)| *port != LAN));
    assert_eq!(sim.last_end().state, Some(ConnState::Invalid));
    assert_eq!(
        sim.connections(),
        0,
        "the first packet that meets it ends it"
    );
    let answer = udp(WAN, "198.51.100.7:53", "203.0.113.2:4000");
    let sent = sim.inject(WAN, answer);
    assert!(sent.iter().all(|(port, _)| *port != LAN));
    balanced(&sim);
}

#[test]
fn a_connection_that_a_rule_gave_its_address_survives_the_loss_of_an_interfaces() {
    let mut policy = open_policy();
    let address = ip("203.0.113.2");
    let to = Translation {
        addresses: Some(AddressRange {
            first: address,
            last: address,
        }),
        ports: None,
    };
    policy.nat.chains[1]
        .rules
        .push(rule(Matchers::default(), Action::SrcNat(to)));
    let mut sim = Sim::new(&policy, 1);
    let datagram = || udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    sim.inject(LAN, datagram());
    sim.reload(&renumbered(&policy));
    sim.advance(1);
    let sent = one(&sim.inject(LAN, datagram()), WAN);
    assert_eq!(sent.words(), "203.0.113.2:4000 > 198.51.100.7:53");
    assert_eq!(sim.connections(), 1);
}
