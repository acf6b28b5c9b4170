//! RFC 4787: UDP.

use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::packet::parse::Fragment;
use turnpike_pipeline::policy::{Action, AddressRange, Translation};

use crate::sim::packets::{SYN, SYN_ACK, at, balanced, one, pieces_of, see, tcp, to_gateway};
use crate::sim::{LAN, Sim, WAN, ip};
use crate::{
    FAMILIES, V4, end, error, flow, gateway, is_silent, outside_of, outside_port, passes, policy,
    port_of, quoted_ends, seconds, udp, words,
};

#[test]
fn one_inside_host_keeps_to_one_of_several_outside_addresses() {
    let mut pooled = policy();
    let range = AddressRange {
        first: ip("203.0.113.16"),
        last: ip("203.0.113.31"),
    };
    let map = &mut pooled.nat.chains[1].rules[0];
    assert!(matches!(map.action, Action::EndpointIndependent(_)));
    map.action = Action::EndpointIndependent(Translation {
        addresses: Some(range),
        ports: None,
    });
    let mut sim = Sim::new(&pooled, 1);
    let mut used = std::collections::BTreeSet::new();
    for host in 10..30 {
        let mut address = |port, server: &str| {
            let inside = end(&format!("192.168.88.{host}"), port);
            at(&outside_of(&sim.inject(LAN, udp(LAN, &inside, server)))).ip()
        };
        let first = address(4_000, "198.51.100.7:53");
        assert_eq!(address(4_001, "198.51.100.66:123"), first);
        used.insert(first);
    }
    assert!(used.len() > 4, "the pool is used: {used:?}");
}

#[test]
fn two_inside_endpoints_never_share_an_outside_one() {
    for who in FAMILIES {
        let mut sim = gateway();
        let first = outside_port(&mut sim, &end(who.a, 4_000), &end(who.server, 53));
        // Even towards different servers, where the flows could be told apart.
        let second = outside_port(&mut sim, &end(who.b, 4_000), &end(who.stranger, 53));
        assert_ne!(first, second);
    }
}

#[test]
fn a_port_of_udp_is_another_than_that_of_tcp() {
    for who in FAMILIES {
        let mut sim = gateway();
        let server = end(who.server, 53);
        let open = |host: &str| tcp(LAN, &end(host, 4_000), &server, SYN, 1, 0);
        assert_eq!(port_of(&outside_of(&sim.inject(LAN, open(who.a)))), 4_000);
        // The other host's datagrams keep that port, and what answers one does not reach the other.
        assert_eq!(outside_port(&mut sim, &end(who.b, 4_000), &server), 4_000);
        let outside = end(who.gateway, 4_000);
        let answer = udp(WAN, &server, &outside);
        let to_b = flow(&server, &end(who.b, 4_000));
        passes(&mut sim, WAN, answer, LAN, &to_b);
        let answer = tcp(WAN, &server, &outside, SYN_ACK, 9, 2);
        let to_a = flow(&server, &end(who.a, 4_000));
        passes(&mut sim, WAN, answer, LAN, &to_a);
    }
}

#[test]
fn a_port_that_cannot_be_kept_stays_in_its_range_and_parity() {
    for who in FAMILIES {
        let mut sim = gateway();
        for port in [123, 500, 1_000, 4_000, 4_001, 40_000] {
            let kept = outside_port(&mut sim, &end(who.a, port), &end(who.server, 53));
            assert_eq!(kept, port, "a free port is kept");
            let other = outside_port(&mut sim, &end(who.b, port), &end(who.server, 53));
            assert_ne!(other, port);
            assert_eq!(other < 1_024, port < 1_024, "{other} for {port}");
            assert_eq!(other % 2, port % 2, "{other} for {port}");
        }
    }
}

#[test]
fn a_mapping_outlives_five_minutes_of_silence_less_a_second() {
    for who in FAMILIES {
        let (inside, outside) = (end(who.a, 4_000), end(who.gateway, 4_000));
        let server = end(who.server, 53);
        for (silence, alive) in [(120, true), (299, true), (301, false)] {
            let mut sim = gateway();
            sim.inject(LAN, udp(LAN, &inside, &server));
            seconds(&mut sim, silence);
            let sent = sim.inject(WAN, udp(WAN, &server, &outside));
            assert_eq!(sent.len(), usize::from(alive), "after {silence} s");
        }
    }
}

#[test]
fn outbound_packets_refresh_a_mapping_and_inbound_ones_too() {
    for who in FAMILIES {
        let (inside, outside) = (end(who.a, 4_000), end(who.gateway, 4_000));
        let server = end(who.server, 53);
        for from_inside in [true, false] {
            let mut sim = gateway();
            sim.inject(LAN, udp(LAN, &inside, &server));
            for _ in 0..5 {
                seconds(&mut sim, 200);
                if from_inside {
                    let frame = udp(LAN, &inside, &server);
                    passes(&mut sim, LAN, frame, WAN, &flow(&outside, &server));
                } else {
                    let frame = udp(WAN, &server, &outside);
                    passes(&mut sim, WAN, frame, LAN, &flow(&server, &inside));
                }
            }
        }
    }
}

#[test]
fn one_inside_endpoint_has_one_outside_one_towards_everybody() {
    for who in FAMILIES {
        let mut sim = gateway();
        // Its own port is taken, so it gets another, and that one for all.
        outside_port(&mut sim, &end(who.a, 4_000), &end(who.server, 53));
        let port = outside_port(&mut sim, &end(who.b, 4_000), &end(who.server, 53));
        assert_ne!(port, 4_000);
        for other in [end(who.stranger, 53), end(who.server, 54)] {
            assert_eq!(outside_port(&mut sim, &end(who.b, 4_000), &other), port);
        }
    }
}

#[test]
fn anybody_is_let_in_by_a_mapping_and_by_nothing_else() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (inside, outside) = (end(who.a, 4_000), end(who.gateway, 4_000));
        sim.inject(LAN, udp(LAN, &inside, &end(who.server, 53)));
        for stranger in [end(who.stranger, 53), end(who.server, 54)] {
            let frame = udp(WAN, &stranger, &outside);
            passes(&mut sim, WAN, frame, LAN, &flow(&stranger, &inside));
            let answer = udp(LAN, &inside, &stranger);
            passes(&mut sim, LAN, answer, WAN, &flow(&outside, &stranger));
        }
        let unmapped = end(who.gateway, 4_001);
        let frame = udp(WAN, &end(who.stranger, 53), &unmapped);
        let ended = is_silent(&mut sim, WAN, frame);
        assert_eq!(ended.reason, Some(DropReason::FilterRule));
        seconds(&mut sim, 301);
        let ended = is_silent(&mut sim, WAN, udp(WAN, &end(who.stranger, 53), &outside));
        assert_eq!(ended.reason, Some(DropReason::FilterRule));
    }
}

#[test]
fn whether_strangers_are_let_in_is_one_rule() {
    for who in FAMILIES {
        let mut strict = policy();
        let rules = &mut strict.nat.chains[0].rules;
        rules.retain(|rule| !matches!(rule.action, Action::EndpointIndependent(_)));
        let mut sim = Sim::new(&strict, 1);
        let (inside, outside) = (end(who.a, 4_000), end(who.gateway, 4_000));
        let server = end(who.server, 53);
        sim.inject(LAN, udp(LAN, &inside, &server));
        let answer = udp(WAN, &server, &outside);
        passes(&mut sim, WAN, answer, LAN, &flow(&server, &inside));
        let ended = is_silent(&mut sim, WAN, udp(WAN, &end(who.stranger, 53), &outside));
        assert_eq!(ended.reason, Some(DropReason::FilterRule));
    }
}

#[test]
fn two_inside_hosts_meet_at_their_outside_endpoints() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (a, b) = (end(who.a, 4_000), end(who.b, 5_000));
        let server = end(who.server, 53);
        for inside in [&a, &b] {
            sim.inject(LAN, udp(LAN, inside, &server));
        }
        let (a_outside, b_outside) = (end(who.gateway, 4_000), end(who.gateway, 5_000));
        let there = udp(LAN, &a, &b_outside);
        passes(&mut sim, LAN, there, LAN, &flow(&a_outside, &b));
        let back = udp(LAN, &b, &a_outside);
        passes(&mut sim, LAN, back, LAN, &flow(&b_outside, &a));
        balanced(&sim);
    }
}

#[test]
fn an_inside_host_reaches_an_inside_server_by_the_outside_address() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (inside, server) = (end(who.a, 4_000), end(who.inside_server, 80));
        let (outside, published) = (end(who.gateway, 4_000), end(who.gateway, 8_080));
        let question = udp(LAN, &inside, &published);
        // The server sees the host's outside address and port.
        passes(&mut sim, LAN, question, LAN, &flow(&outside, &server));
        let answer = udp(LAN, &server, &outside);
        passes(&mut sim, LAN, answer, LAN, &flow(&published, &inside));
        balanced(&sim);
    }
}

#[test]
fn an_icmp_error_ends_no_mapping_and_may_come_from_anywhere() {
    for who in FAMILIES {
        let (inside, outside) = (end(who.a, 4_000), end(who.gateway, 4_000));
        let server = end(who.server, 53);
        let mut sim = gateway();
        let left = one(&sim.inject(LAN, udp(LAN, &inside, &server)), WAN);
        for sender in [who.server, who.stranger, who.routers[0]] {
            for kind in [who.port_unreachable, who.host_unreachable] {
                let told = error(WAN, (sender, who.gateway), kind, &left);
                let told = one(&sim.inject(WAN, told), LAN);
                assert_eq!(words(&told), flow(sender, who.a));
                assert_eq!(quoted_ends(&told), flow(&inside, &server));
            }
        }
        let answer = udp(WAN, &server, &outside);
        passes(&mut sim, WAN, answer, LAN, &flow(&server, &inside));
    }
}

#[test]
fn a_packet_too_large_is_cut_up_in_order_or_its_sender_is_told() {
    let mut narrow = policy();
    narrow.interfaces[1].mtu = 1_300;
    let mut sim = Sim::new(&narrow, 1);
    let craft = || {
        let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
        craft.payload_len(1_450)
    };
    let pieces = sim.inject(LAN, to_gateway(LAN, craft()));
    let offsets: Vec<_> = pieces
        .iter()
        .map(|(port, frame)| (*port, see(frame).parsed.fragment.offset()))
        .collect();
    assert_eq!(offsets, [(WAN, 0), (WAN, 1_280)]);
    let told = sim.inject(LAN, to_gateway(LAN, craft().flags(0x4000)));
    let told = one(&told, LAN);
    assert_eq!(told.parsed.icmp(), Some((3, 4)));
    let mtu = usize::from(told.parsed.l4) + 6;
    assert_eq!(told.frame[mtu..mtu + 2], 1_300_u16.to_be_bytes());
    assert_eq!(words(&told), flow("192.168.88.1", V4.a));
    balanced(&sim);
}

#[test]
fn fragments_in_any_order_are_translated_as_the_packet_they_are() {
    let (inside, server) = (end(V4.a, 4_000), end(V4.server, 53));
    for turned in [false, true] {
        let mut sim = gateway();
        let craft = Craft::udp(at(&inside), at(&server)).unwrap();
        let mut pieces = pieces_of(LAN, craft.payload_len(4_000).id(7), 1_500);
        if turned {
            pieces.reverse();
        }
        let mut sent = Vec::new();
        for piece in pieces {
            assert!(sent.is_empty(), "nothing leaves before all is there");
            sent = sim.inject(LAN, piece);
        }
        assert!(sent.iter().all(|(port, _)| *port == WAN));
        let first = see(&sent[0].1);
        assert!(matches!(first.parsed.fragment, Fragment::First { .. }));
        assert_eq!(words(&first), flow(&end(V4.gateway, 4_000), &server));
        balanced(&sim);
    }
}
