//! Kinds of translation, on a whole gateway on one thread: packets in, packets out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{SYN, SYN_ACK, balanced, echo, one, tcp, to_gateway, udp};
use sim::{LAN, Sim, WAN, WAN_IF, ip, is, open_policy, rule};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::tuple::{Port, Proto, V4};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::policy::{
    Action, AddressRange, Matchers, Policy, PortChoice, PortRange, PortSet, Translation,
};

const OUTSIDE: [u8; 4] = [203, 0, 113, 2];

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange {
        first: ip(first),
        last: ip(last),
    }
}

fn out_wan() -> Matchers {
    Matchers {
        out_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    }
}

fn in_wan() -> Matchers {
    Matchers {
        in_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    }
}

/// Mappings towards everybody, out of `wan`.
fn mapping_policy() -> Policy {
    let mut policy = open_policy();
    let map = Action::EndpointIndependent(Translation::default());
    policy.nat.chains[1].rules.push(rule(out_wan(), map));
    policy
}

/// The same, and anybody is let in to them.
fn full_cone_policy() -> Policy {
    let mut policy = mapping_policy();
    let let_in = Action::EndpointIndependent(Translation::default());
    policy.nat.chains[0].rules.push(rule(in_wan(), let_in));
    policy
}

#[test]
fn an_endpoint_keeps_its_mapping_towards_everybody_although_it_lost_its_own_port() {
    for workers in [1, 4] {
        let mut sim = Sim::new(&mapping_policy(), workers);
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.1:53"));
        let mut ports: Vec<u16> = (1..60)
            .map(|n| {
                let server = format!("198.51.100.{n}:53");
                let out = sim.inject(LAN, udp(LAN, "192.168.88.11:4000", &server));
                let mapped = one(&out, WAN).tuple().src_port;
                let to = format!("203.0.113.2:{}", mapped.0);
                let back = sim.inject(WAN, udp(WAN, &server, &to));
                let words = format!("{server} > 192.168.88.11:4000");
                assert_eq!(one(&back, LAN).words(), words, "{workers} workers");
                mapped.0
            })
            .collect();
        ports.dedup();
        assert_eq!(ports.len(), 1, "{workers} workers: {ports:?}");
        assert_ne!(ports[0], 4000);
        balanced(&sim);
    }
}

#[test]
fn anybody_gets_in_to_a_mapping_where_a_rule_lets_them_and_nobody_elsewhere() {
    for workers in [1, 4] {
        let mut sim = Sim::new(&full_cone_policy(), workers);
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
        for n in 1..40 {
            let stranger = format!("192.0.2.{n}:777");
            let seen = sim.inject(WAN, udp(WAN, &stranger, "203.0.113.2:4000"));
            let words = format!("{stranger} > 192.168.88.10:4000");
            assert_eq!(one(&seen, LAN).words(), words);
            assert_eq!(sim.last_end().state, Some(ConnState::New));
            let answer = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", &stranger));
            let words = format!("203.0.113.2:4000 > {stranger}");
            assert_eq!(one(&answer, WAN).words(), words);
            assert_eq!(sim.last_end().state, Some(ConnState::Established));
        }
        // Forty connections use the mapping: the one from inside, and each stranger's.
        let pool = sim.program.pools4.ports(OUTSIDE).unwrap();
        assert_eq!(pool.users(PortSpace::Udp, Port(4000)), 40);
        assert_eq!(sim.connections(), 40);
        assert_eq!(sim.rule_packets(0), 39, "the rule counts whom it let in");
        for other in ["203.0.113.2:4001", "203.0.113.2:53"] {
            sim.inject(WAN, udp(WAN, "192.0.2.9:777", other));
            assert_eq!(sim.last_end().reason, Some(DropReason::NoListener));
        }
        let other_protocol = tcp(WAN, "192.0.2.9:777", "203.0.113.2:4000", SYN, 1, 0);
        sim.inject(WAN, other_protocol);
        assert_eq!(sim.last_end().reason, Some(DropReason::NoListener));
        balanced(&sim);
    }
}

#[test]
fn without_a_rule_that_lets_in_a_mapping_is_for_whom_it_was_made() {
    let mut sim = Sim::new(&mapping_policy(), 2);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    for stranger in ["192.0.2.9:777", "198.51.100.7:54"] {
        sim.inject(WAN, udp(WAN, stranger, "203.0.113.2:4000"));
        assert_eq!(sim.last_end().reason, Some(DropReason::NoListener));
    }
    let known = sim.inject(WAN, udp(WAN, "198.51.100.7:53", "203.0.113.2:4000"));
    assert_eq!(one(&known, LAN).tuple().dst_port, Port(4000));
}

#[test]
fn tcp_and_ipv6_are_mapped_and_let_in_as_well() {
    for workers in [1, 3] {
        let mut sim = Sim::new(&full_cone_policy(), workers);
        let syn = |port, from, to| tcp(port, from, to, SYN, 100, 0);
        sim.inject(LAN, syn(LAN, "[fd00:88::10]:4000", "[2001:db8:7::7]:443"));
        // A second host with the port gets another one, and is found by it.
        let out = sim.inject(LAN, syn(LAN, "[fd00:88::11]:4000", "[2001:db8:7::7]:443"));
        let port = one(&out, WAN).parsed.ports().unwrap().0.0;
        assert_ne!(port, 4000);
        let to = format!("[2001:db8:113::2]:{port}");
        let seen = sim.inject(WAN, syn(WAN, "[2001:db8:9::9]:5", &to));
        assert_eq!(
            one(&seen, LAN).words(),
            "2001:db8:9::9:5 > fd00:88::11:4000"
        );
        let answer = tcp(
            LAN,
            "[fd00:88::11]:4000",
            "[2001:db8:9::9]:5",
            SYN_ACK,
            9,
            101,
        );
        let words = format!("2001:db8:113::2:{port} > 2001:db8:9::9:5");
        assert_eq!(one(&sim.inject(LAN, answer), WAN).words(), words);
        balanced(&sim);
    }
}

#[test]
fn a_mapping_lives_as_long_as_any_connection_uses_it() {
    let mut sim = Sim::new(&full_cone_policy(), 2);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    for _ in 0..6 {
        // The first connection is idle and ends after ten seconds; the stranger's goes on.
        sim.inject(WAN, udp(WAN, "192.0.2.9:777", "203.0.113.2:4000"));
        sim.advance(5_000);
    }
    assert_eq!(sim.connections(), 1);
    let other = sim.inject(WAN, udp(WAN, "192.0.2.10:1", "203.0.113.2:4000"));
    assert_eq!(
        one(&other, LAN).words(),
        "192.0.2.10:1 > 192.168.88.10:4000"
    );
    sim.advance(60_000);
    sim.advance(1_000);
    assert_eq!(sim.connections(), 0);
    let pool = sim.program.pools4.ports(OUTSIDE).unwrap();
    assert_eq!(pool.in_use(PortSpace::Udp), 0);
    sim.inject(WAN, udp(WAN, "192.0.2.9:777", "203.0.113.2:4000"));
    assert_eq!(sim.last_end().reason, Some(DropReason::NoListener));
}

#[test]
fn a_mapping_outlives_a_reload() {
    let mut sim = Sim::new(&full_cone_policy(), 2);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    sim.reload(&full_cone_policy());
    let seen = sim.inject(WAN, udp(WAN, "192.0.2.9:777", "203.0.113.2:4000"));
    assert_eq!(
        one(&seen, LAN).words(),
        "192.0.2.9:777 > 192.168.88.10:4000"
    );
}

/// Mappings for whatever comes from the inside, wherever it goes.
fn hairpin_policy() -> Policy {
    let mut policy = open_policy();
    for (inside, outside) in [
        (range("192.168.88.2", "192.168.88.254"), "203.0.113.2"),
        (range("fd00:88::2", "fd00:88::ff"), "2001:db8:113::2"),
    ] {
        let from_inside = Matchers {
            src_address: Some(is(inside)),
            ..Matchers::default()
        };
        let to = Translation {
            addresses: Some(range(outside, outside)),
            ports: None,
        };
        let map = Action::EndpointIndependent(to);
        policy.nat.chains[1].rules.push(rule(from_inside, map));
    }
    let let_in = Action::EndpointIndependent(Translation::default());
    let rules = &mut policy.nat.chains[0].rules;
    rules.push(rule(Matchers::default(), let_in));
    policy
}

/// RFC 4787 REQ-9: the sender is seen at its external endpoint.
#[test]
fn two_inside_hosts_meet_at_their_external_endpoints() {
    let families = [
        (
            "192.168.88.10",
            "192.168.88.11",
            "203.0.113.2",
            "198.51.100.7",
        ),
        (
            "[fd00:88::10]",
            "[fd00:88::11]",
            "[2001:db8:113::2]",
            "[2001:db8:7::7]",
        ),
    ];
    for (workers, (a, b, outside, server)) in
        [1, 4].into_iter().flat_map(|w| families.map(|f| (w, f)))
    {
        let mut sim = Sim::new(&hairpin_policy(), workers);
        let at = |host: &str, port: u16| format!("{host}:{port}");
        sim.inject(LAN, udp(LAN, &at(a, 4000), &at(server, 53)));
        sim.inject(LAN, udp(LAN, &at(b, 5000), &at(server, 53)));
        let seen = sim.inject(LAN, udp(LAN, &at(a, 4000), &at(outside, 5000)));
        let words = format!("{} > {}", at(outside, 4000), at(b, 5000)).replace(['[', ']'], "");
        assert_eq!(one(&seen, LAN).words(), words);
        let answer = sim.inject(LAN, udp(LAN, &at(b, 5000), &at(outside, 4000)));
        let words = format!("{} > {}", at(outside, 5000), at(a, 4000)).replace(['[', ']'], "");
        assert_eq!(one(&answer, LAN).words(), words);
        assert_eq!(sim.last_end().state, Some(ConnState::Established));
        assert_eq!(sim.connections(), 3);
        // It uses both mappings, so both outlive the connections that made them.
        let pools = &sim.program;
        let users = |port| match ip(&outside.replace(['[', ']'], "")) {
            std::net::IpAddr::V4(ip) => pools
                .pools4
                .ports(ip.octets())
                .unwrap()
                .users(PortSpace::Udp, Port(port)),
            std::net::IpAddr::V6(ip) => pools
                .pools6
                .ports(ip.octets())
                .unwrap()
                .users(PortSpace::Udp, Port(port)),
        };
        assert_eq!((users(4000), users(5000)), (2, 2));
        sim.advance(200_000);
        sim.advance(1_000);
        assert_eq!(sim.connections(), 0);
        let pools = &sim.program;
        let (v4, v6) = (&pools.pools4, &pools.pools6);
        let all = v4
            .addresses()
            .map(|a| v4.ports(a).unwrap().in_use(PortSpace::Udp));
        let all6 = v6
            .addresses()
            .map(|a| v6.ports(a).unwrap().in_use(PortSpace::Udp));
        assert_eq!(all.chain(all6).sum::<usize>(), 0);
        balanced(&sim);
    }
}

#[test]
fn a_port_that_is_not_mapped_goes_on_to_the_next_rule() {
    let mut policy = full_cone_policy();
    let forward = Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: Some(is(PortSet::new([8080..=8080]))),
        ..in_wan()
    };
    let to = Translation {
        addresses: Some(range("192.168.88.20", "192.168.88.20")),
        ports: None,
    };
    policy.nat.chains[0]
        .rules
        .push(rule(forward, Action::DstNat(to)));
    let mut sim = Sim::new(&policy, 1);
    let syn = || tcp(WAN, "192.0.2.9:777", "203.0.113.2:8080", SYN, 1, 0);
    let seen = sim.inject(WAN, syn());
    assert_eq!(
        one(&seen, LAN).words(),
        "192.0.2.9:777 > 192.168.88.20:8080"
    );
    sim.inject(
        LAN,
        tcp(LAN, "192.168.88.10:8080", "198.51.100.7:80", SYN, 1, 0),
    );
    let other = tcp(WAN, "192.0.2.9:778", "203.0.113.2:8080", SYN, 1, 0);
    let seen = sim.inject(WAN, other);
    assert_eq!(
        one(&seen, LAN).words(),
        "192.0.2.9:778 > 192.168.88.10:8080"
    );
    assert_eq!((sim.rule_packets(0), sim.rule_packets(1)), (1, 1));
}

#[test]
fn a_ping_to_the_external_address_is_for_the_gateway_whoever_pings_from_inside() {
    let mut sim = Sim::new(&full_cone_policy(), 1);
    let out = sim.inject(LAN, echo(LAN, "192.168.88.10", "198.51.100.7", 8, 77));
    assert_eq!(one(&out, WAN).words(), "203.0.113.2 > 198.51.100.7");
    let back = sim.inject(WAN, echo(WAN, "198.51.100.7", "203.0.113.2", 0, 77));
    assert_eq!(one(&back, LAN).words(), "198.51.100.7 > 192.168.88.10");
    let answer = sim.inject(WAN, echo(WAN, "192.0.2.9", "203.0.113.2", 8, 77));
    assert_eq!(one(&answer, WAN).words(), "203.0.113.2 > 192.0.2.9");
}

#[test]
fn an_error_about_a_packet_let_in_reaches_the_stranger_from_the_external_address() {
    let mut sim = Sim::new(&full_cone_policy(), 3);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    let seen = one(
        &sim.inject(WAN, udp(WAN, "192.0.2.9:777", "203.0.113.2:4000")),
        LAN,
    );
    let spec = IcmpSpec {
        kind: 3,
        code: 3,
        ..IcmpSpec::default()
    };
    let quote = &seen.frame[usize::from(seen.parsed.l3)..];
    let error = Craft::icmp(ip("192.168.88.10"), ip("192.0.2.9"), spec)
        .unwrap()
        .payload(quote);
    let seen = one(&sim.inject(LAN, to_gateway(LAN, error)), WAN);
    assert_eq!(seen.words(), "203.0.113.2 > 192.0.2.9");
    let quote = quoted::<V4>(&seen.frame, &seen.parsed).unwrap();
    assert_eq!(
        (quote.tuple.dst, quote.tuple.dst_port),
        (OUTSIDE, Port(4000))
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
}

#[test]
fn an_exhausted_range_drops_and_counts_at_its_address() {
    let mut policy = open_policy();
    let two = Translation {
        addresses: None,
        ports: Some(PortRange {
            first: 7000,
            last: 7001,
        }),
    };
    let udp_out = Matchers {
        protocol: Some(is(Proto::UDP)),
        ..out_wan()
    };
    let map = Action::EndpointIndependent(two);
    policy.nat.chains[1].rules.push(rule(udp_out, map));
    let mut sim = Sim::new(&policy, 2);
    for host in 10..15 {
        let from = format!("192.168.88.{host}:4000");
        sim.inject(LAN, udp(LAN, &from, "198.51.100.7:53"));
    }
    assert_eq!(sim.last_end().reason, Some(DropReason::NatPortsExhausted));
    let pool = sim.program.pools4.ports(OUTSIDE).unwrap();
    assert_eq!(pool.exhausted(PortSpace::Udp), 3);
    assert_eq!(pool.exhausted(PortSpace::Tcp), 0);
    assert_eq!(pool.in_use(PortSpace::Udp), 2);
    // The first two go on, to anybody.
    let out = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.8:53"));
    assert!((7000..=7001).contains(&one(&out, WAN).tuple().src_port.0));
    balanced(&sim);
}

#[test]
fn random_ports_are_other_ones_each_time_and_the_same_under_the_same_seed() {
    let actions = [
        Action::Masquerade(None),
        Action::SrcNat(Translation {
            addresses: Some(range("203.0.113.2", "203.0.113.2")),
            ports: None,
        }),
        Action::EndpointIndependent(Translation::default()),
    ];
    for action in actions {
        let mut policy = open_policy();
        let mut random = rule(out_wan(), action.clone());
        random.port_choice = PortChoice::Random;
        policy.nat.chains[1].rules.push(random);
        let ports = || -> Vec<u16> {
            let mut sim = Sim::new(&policy, 2);
            let hosts = 10..60;
            hosts
                .map(|host| {
                    let from = format!("192.168.88.{host}:4000");
                    let out = sim.inject(LAN, udp(LAN, &from, "198.51.100.7:53"));
                    one(&out, WAN).tuple().src_port.0
                })
                .collect()
        };
        let first = ports();
        assert_eq!(first, ports(), "{action:?}");
        assert!(!first.contains(&4000), "{action:?}");
        assert!(first.iter().all(|p| *p > 1023), "{action:?}");
        let even = first.iter().filter(|p| *p % 2 == 0).count();
        assert_eq!(even, first.len(), "parity is kept by {action:?}");
        let high = first.iter().filter(|p| **p > 33_000).count();
        assert!((10..40).contains(&high), "{action:?}: {first:?}");
        let steps: std::collections::BTreeSet<i32> = first
            .windows(2)
            .map(|w| i32::from(w[1]) - i32::from(w[0]))
            .collect();
        assert!(steps.len() > 40, "{action:?} gives guessable ports");
    }
}

/// 192.168.88.0/24 is 198.18.5.0/24 outside, and fd00:88::/64 is 2001:db8:1::/64, both ways.
fn netmap_policy() -> Policy {
    let mut policy = open_policy();
    let pairs = [
        (
            range("192.168.88.0", "192.168.88.255"),
            range("198.18.5.0", "198.18.5.255"),
        ),
        (
            range("fd00:88::", "fd00:88::ffff:ffff:ffff:ffff"),
            range("2001:db8:1::", "2001:db8:1::ffff:ffff:ffff:ffff"),
        ),
    ];
    for (inside, outside) in pairs {
        let to_outside = Matchers {
            dst_address: Some(is(outside)),
            ..in_wan()
        };
        let from_inside = Matchers {
            src_address: Some(is(inside)),
            ..out_wan()
        };
        let (dst, src) = (Action::Netmap(inside), Action::Netmap(outside));
        policy.nat.chains[0].rules.push(rule(to_outside, dst));
        policy.nat.chains[1].rules.push(rule(from_inside, src));
    }
    policy
}

#[test]
fn netmap_gives_each_host_its_own_address_both_ways_and_keeps_ports() {
    for workers in [1, 4] {
        let mut sim = Sim::new(&netmap_policy(), workers);
        for host in [2, 10, 254] {
            let inside = format!("192.168.88.{host}:4000");
            let outside = format!("198.18.5.{host}:4000");
            let out = sim.inject(LAN, udp(LAN, &inside, "192.0.2.7:53"));
            assert_eq!(one(&out, WAN).words(), format!("{outside} > 192.0.2.7:53"));
            let back = sim.inject(WAN, udp(WAN, "192.0.2.7:53", &outside));
            assert_eq!(one(&back, LAN).words(), format!("192.0.2.7:53 > {inside}"));
            let opened = sim.inject(WAN, udp(WAN, "192.0.2.8:9", &outside));
            assert_eq!(one(&opened, LAN).words(), format!("192.0.2.8:9 > {inside}"));
            let answer = sim.inject(LAN, udp(LAN, &inside, "192.0.2.8:9"));
            assert_eq!(
                one(&answer, WAN).words(),
                format!("{outside} > 192.0.2.8:9")
            );
        }
        let out = sim.inject(LAN, udp(LAN, "[fd00:88::77]:9", "[2001:db8:7::7]:53"));
        assert_eq!(
            one(&out, WAN).words(),
            "2001:db8:1::77:9 > 2001:db8:7::7:53"
        );
        let opened = sim.inject(WAN, udp(WAN, "[2001:db8:7::8]:5", "[2001:db8:1::78]:9"));
        assert_eq!(one(&opened, LAN).words(), "2001:db8:7::8:5 > fd00:88::78:9");
        balanced(&sim);
    }
}

#[test]
fn icmp_goes_through_netmap_with_what_it_quotes() {
    for workers in [1, 3] {
        let mut sim = Sim::new(&netmap_policy(), workers);
        let ping = sim.inject(LAN, echo(LAN, "192.168.88.10", "192.0.2.7", 8, 77));
        assert_eq!(one(&ping, WAN).words(), "198.18.5.10 > 192.0.2.7");
        let pong = sim.inject(WAN, echo(WAN, "192.0.2.7", "198.18.5.10", 0, 77));
        assert_eq!(one(&pong, LAN).words(), "192.0.2.7 > 192.168.88.10");
        let spec = IcmpSpec {
            kind: 3,
            code: 3,
            ..IcmpSpec::default()
        };
        let error = |from: &str, to: &str, seen: &sim::packets::Seen| {
            let quote = &seen.frame[usize::from(seen.parsed.l3)..];
            Craft::icmp(ip(from), ip(to), spec).unwrap().payload(quote)
        };
        // A router outside says that a packet from inside did not arrive.
        let out = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "192.0.2.7:53"));
        let told = error("192.0.2.1", "198.18.5.10", &one(&out, WAN));
        let seen = one(&sim.inject(WAN, to_gateway(WAN, told)), LAN);
        assert_eq!(seen.words(), "192.0.2.1 > 192.168.88.10");
        let quote = quoted::<V4>(&seen.frame, &seen.parsed).unwrap();
        assert_eq!(quote.tuple.src, [192, 168, 88, 10]);
        // A host inside says so of one from outside.
        let opened = sim.inject(WAN, udp(WAN, "192.0.2.8:9", "198.18.5.11:7"));
        let told = error("192.168.88.11", "192.0.2.8", &one(&opened, LAN));
        let seen = one(&sim.inject(LAN, to_gateway(LAN, told)), WAN);
        assert_eq!(seen.words(), "198.18.5.11 > 192.0.2.8");
        let quote = quoted::<V4>(&seen.frame, &seen.parsed).unwrap();
        assert_eq!(quote.tuple.dst, [198, 18, 5, 11]);
        balanced(&sim);
    }
}

#[test]
fn netmap_keeps_off_ports_that_others_were_given() {
    let mut policy = open_policy();
    let host = |n: u8| {
        let host = format!("192.168.88.{n}");
        Matchers {
            src_address: Some(is(range(&host, &host))),
            ..out_wan()
        }
    };
    let outside = range("203.0.113.2", "203.0.113.2");
    let rules = &mut policy.nat.chains[1].rules;
    rules.push(rule(host(10), Action::Netmap(outside)));
    rules.push(rule(out_wan(), Action::Masquerade(None)));
    let mut sim = Sim::new(&policy, 1);
    sim.inject(LAN, udp(LAN, "192.168.88.11:4000", "192.0.2.7:53"));
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "192.0.2.8:53"));
    assert_eq!(sim.last_end().reason, Some(DropReason::NatClash));
    let out = sim.inject(LAN, udp(LAN, "192.168.88.10:4001", "192.0.2.8:53"));
    assert_eq!(one(&out, WAN).words(), "203.0.113.2:4001 > 192.0.2.8:53");
    let out = sim.inject(LAN, udp(LAN, "192.168.88.11:4001", "192.0.2.8:53"));
    assert_ne!(one(&out, WAN).tuple().src_port, Port(4001));
    sim.advance(60_000);
    sim.advance(1_000);
    let pool = sim.program.pools4.ports(OUTSIDE).unwrap();
    assert_eq!(pool.in_use(PortSpace::Udp), 0);
    balanced(&sim);
}

#[test]
fn same_gives_a_client_the_same_address_each_time() {
    use turnpike_pipeline::policy::SameBy;
    for (by, distinct) in [(SameBy::Client, 1), (SameBy::Both, 4)] {
        let mut policy = open_policy();
        let four = Translation {
            addresses: Some(range("203.0.113.8", "203.0.113.11")),
            ports: None,
        };
        let same = Action::Same(four, by);
        policy.nat.chains[1].rules.push(rule(out_wan(), same));
        let mut sim = Sim::new(&policy, 2);
        let address = |sim: &mut Sim, from: &str, server: u8| {
            let server = format!("192.0.2.{server}:53");
            let out = sim.inject(LAN, udp(LAN, from, &server));
            let seen = one(&out, WAN).tuple();
            let words = format!("203.0.113.{}:{}", seen.src[3], seen.src_port.0);
            let back = sim.inject(WAN, udp(WAN, &server, &words));
            assert_eq!(one(&back, LAN).words(), format!("{server} > {from}"));
            seen.src
        };
        let mut all = std::collections::BTreeSet::new();
        for server in 1..20 {
            let first = address(&mut sim, "192.168.88.10:4000", server);
            let again = address(&mut sim, "192.168.88.10:4001", server);
            assert_eq!(first, again, "{by:?}");
            all.insert(first);
        }
        assert_eq!(all.len(), distinct, "{by:?}");
        balanced(&sim);
    }
}

#[test]
fn same_in_dstnat_gives_a_client_the_same_server_each_time() {
    use turnpike_pipeline::policy::SameBy;
    let mut policy = open_policy();
    let servers = Translation {
        addresses: Some(range("192.168.88.20", "192.168.88.23")),
        ports: Some(PortRange {
            first: 8080,
            last: 8080,
        }),
    };
    let web = Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: Some(is(PortSet::new([80..=80]))),
        ..in_wan()
    };
    let same = Action::Same(servers, SameBy::Client);
    policy.nat.chains[0].rules.push(rule(web, same));
    let mut sim = Sim::new(&policy, 2);
    let mut all = std::collections::BTreeSet::new();
    for client in 1..9 {
        let server = |sim: &mut Sim, port: u16| {
            let from = format!("192.0.2.{client}:{port}");
            let sent = sim.inject(WAN, tcp(WAN, &from, "203.0.113.2:80", SYN, 1, 0));
            let seen = one(&sent, LAN).tuple();
            assert_eq!(seen.dst_port, Port(8080));
            seen.dst
        };
        let first = server(&mut sim, 1000);
        assert_eq!(first, server(&mut sim, 1001));
        all.insert(first);
    }
    assert_eq!(all.len(), 4);
    balanced(&sim);
}
