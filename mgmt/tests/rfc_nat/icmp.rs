//! RFC 5508: ICMP; and of RFC 7857 what is about ICMP.

use turnpike_conntrack::ids::ConnState;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::packet::checksum::Sum;
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::policy::{Action, AddressRange, Matchers, Translation};
use turnpike_pipeline::witness::Ending;

use crate::sim::packets::{Seen, at, balanced, one, to_gateway};
use crate::sim::{LAN, Sim, WAN, WAN_IF, ip, is, rule, states};
use crate::{
    Cast, FAMILIES, V4, echo, end, error, error_quoting, flow, gateway, is_silent, passes, policy,
    quoted_ends, seconds, udp, words,
};

/// A datagram that an inside host has sent, as it left.
fn asked(sim: &mut Sim, who: &Cast) -> Seen {
    let question = udp(LAN, &end(who.a, 4_000), &end(who.server, 53));
    one(&sim.inject(LAN, question), WAN)
}

#[test]
fn queries_from_inside_are_answered_through_the_translation() {
    for who in FAMILIES {
        let mut sim = gateway();
        let [request, reply] = who.echo;
        let ids: Vec<u16> = [who.a, who.b]
            .map(|host| {
                let out = sim.inject(LAN, echo(LAN, host, who.server, request, 7));
                let out = one(&out, WAN);
                assert_eq!(words(&out), flow(who.gateway, who.server));
                id_of(&out)
            })
            .into();
        assert_ne!(ids[0], ids[1], "one identifier each");
        for (id, host) in ids.into_iter().zip([who.a, who.b]) {
            let answer = echo(WAN, who.server, who.gateway, reply, id);
            let back = one(&sim.inject(WAN, answer), LAN);
            assert_eq!(words(&back), flow(who.server, host));
            assert_eq!(id_of(&back), 7);
        }
        balanced(&sim);
    }
}

fn id_of(seen: &Seen) -> u16 {
    let at = usize::from(seen.parsed.l4) + 4;
    u16::from_be_bytes([seen.frame[at], seen.frame[at + 1]])
}

#[test]
fn a_query_identifier_is_the_same_towards_every_host() {
    for who in FAMILIES {
        let mut sim = gateway();
        let [request, _] = who.echo;
        // Taken by another, so that it cannot be kept.
        sim.inject(LAN, echo(LAN, who.b, who.server, request, 7));
        let mut id = |server| {
            let out = sim.inject(LAN, echo(LAN, who.a, server, request, 7));
            id_of(&one(&out, WAN))
        };
        assert_eq!(id(who.server), id(who.stranger));
        assert_ne!(id(who.server), 7);
    }
}

#[test]
fn a_query_session_outlives_a_minute_of_silence_less_a_second() {
    for who in FAMILIES {
        let [request, reply] = who.echo;
        for (silence, alive) in [(59, true), (61, false)] {
            let mut sim = gateway();
            sim.inject(LAN, echo(LAN, who.a, who.server, request, 7));
            seconds(&mut sim, silence);
            let sent = sim.inject(WAN, echo(WAN, who.server, who.gateway, reply, 7));
            assert_eq!(sent.len(), usize::from(alive), "after {silence} s");
        }
    }
}

#[test]
fn an_error_neither_refreshes_nor_ends_a_query_session() {
    for who in FAMILIES {
        let [request, reply] = who.echo;
        for (silence, alive) in [(9, true), (11, false)] {
            let mut sim = gateway();
            let out = sim.inject(LAN, echo(LAN, who.a, who.server, request, 7));
            seconds(&mut sim, 50);
            let ends = (who.routers[0], who.gateway);
            let told = error(WAN, ends, who.host_unreachable, &one(&out, WAN));
            assert_eq!(sim.inject(WAN, told).len(), 1);
            seconds(&mut sim, silence);
            let sent = sim.inject(WAN, echo(WAN, who.server, who.gateway, reply, 7));
            assert_eq!(sent.len(), usize::from(alive), "{silence} s later");
        }
    }
}

#[test]
fn an_error_with_a_wrong_checksum_is_dropped_silently() {
    for who in FAMILIES {
        let mut sim = gateway();
        let left = asked(&mut sim, &who);
        let ends = (who.routers[0], who.gateway);
        let mut told = error(WAN, ends, who.port_unreachable, &left);
        let last = told.len() - 1;
        told[last] ^= 0x55;
        let ended = is_silent(&mut sim, WAN, told);
        assert_eq!(ended.state, Some(ConnState::Invalid));
        assert_eq!(ended.reason, Some(DropReason::FilterRule));
    }
}

#[test]
fn a_quoted_header_with_a_wrong_checksum_stays_wrong_for_its_receiver() {
    let mut sim = gateway();
    let left = asked(&mut sim, &V4);
    let mut quote = left.frame[14..].to_vec();
    quote[10] ^= 0x55;
    let ends = (V4.routers[0], V4.gateway);
    let told = error_quoting(WAN, ends, V4.port_unreachable, &quote);
    let told = one(&sim.inject(WAN, told), LAN);
    let at = usize::from(told.parsed.l4) + 8;
    assert!(!is_right(&told.frame[at..at + 20]));
    assert!(is_right(&left.frame[14..34]));
}

fn is_right(header: &[u8]) -> bool {
    let mut sum = Sum::new();
    sum.add(header);
    sum.is_valid()
}

#[test]
fn a_quoted_packet_with_options_is_found_behind_them() {
    let mut sim = gateway();
    let left = asked(&mut sim, &V4);
    // Four bytes of options, all of them "no operation", and a header longer by a word.
    let ip = &left.frame[14..];
    let mut quote = [&ip[..20], &[1, 1, 1, 1], &ip[20..]].concat();
    quote[0] = 0x46;
    quote[10..12].fill(0);
    let mut sum = Sum::new();
    sum.add(&quote[..24]);
    let checksum = sum.checksum();
    quote[10..12].copy_from_slice(&checksum.to_be_bytes());
    let ends = (V4.routers[0], V4.gateway);
    let told = error_quoting(WAN, ends, V4.port_unreachable, &quote);
    let told = one(&sim.inject(WAN, told), LAN);
    let inside = flow(&end(V4.a, 4_000), &end(V4.server, 53));
    assert_eq!(quoted_ends(&told), inside);
    let at = usize::from(told.parsed.l4) + 8;
    assert!(is_right(&told.frame[at..at + 24]));
}

#[test]
fn what_stands_behind_the_quoted_headers_is_not_judged() {
    for who in FAMILIES {
        let ends = (who.routers[0], who.gateway);
        let inside = flow(&end(who.a, 4_000), &end(who.server, 53));
        let extension = [0x20, 0, 0xdf, 0xff, 0, 8, 1, 1, 0, 1, 2, 3];
        let mut sim = gateway();
        let left = asked(&mut sim, &who);
        let ip = &left.frame[14..];
        let headers = usize::from(left.parsed.l4) - 14 + 8;
        // Cut behind the ports, with another payload than was sent, with an extension (RFC 4884).
        let garbled = [&ip[..headers], b"what was never sent"].concat();
        for quote in [&ip[..headers], &garbled, &[ip, &extension].concat()] {
            let told = error_quoting(WAN, ends, who.port_unreachable, quote);
            let told = one(&sim.inject(WAN, told), LAN);
            assert_eq!(quoted_ends(&told), inside);
            let behind = usize::from(told.parsed.l4) + 8 + headers;
            assert_eq!(told.frame[behind..], quote[headers..], "left as it came");
        }
    }
}

#[test]
fn an_error_from_outside_is_about_what_its_receiver_sent() {
    for who in FAMILIES {
        let mut sim = gateway();
        let left = asked(&mut sim, &who);
        let ends = (who.routers[0], who.gateway);
        let told = error(WAN, ends, who.host_unreachable, &left);
        let told = one(&sim.inject(WAN, told), LAN);
        assert_eq!(words(&told), flow(who.routers[0], who.a));
        assert_eq!(told.parsed.icmp(), Some(who.host_unreachable));
        let inside = flow(&end(who.a, 4_000), &end(who.server, 53));
        assert_eq!(quoted_ends(&told), inside);
        assert_eq!(sim.last_end().state, Some(ConnState::Related));
    }
}

#[test]
fn an_error_about_nothing_known_is_dropped_silently_from_either_side() {
    for who in FAMILIES {
        let mut sim = gateway();
        let left = asked(&mut sim, &who);
        seconds(&mut sim, 400);
        let outside = error(
            WAN,
            (who.routers[0], who.gateway),
            who.port_unreachable,
            &left,
        );
        let inside = error(LAN, (who.a, who.server), who.port_unreachable, &left);
        for (port, frame) in [(WAN, outside), (LAN, inside)] {
            let ended = is_silent(&mut sim, port, frame);
            assert_eq!(ended.state, Some(ConnState::Invalid));
        }
    }
}

#[test]
fn an_error_from_inside_shows_the_outside_nothing_that_only_the_inside_knows() {
    for who in FAMILIES {
        let mut sim = gateway();
        asked(&mut sim, &who);
        let (inside, outside) = (end(who.a, 4_000), end(who.gateway, 4_000));
        let server = end(who.server, 53);
        let answer = one(&sim.inject(WAN, udp(WAN, &server, &outside)), LAN);
        // By the host itself, and by a router on the way to it.
        for sender in [who.a, who.routers[1]] {
            let told = error(LAN, (sender, who.server), who.port_unreachable, &answer);
            let told = one(&sim.inject(LAN, told), WAN);
            assert_eq!(words(&told), flow(who.gateway, who.server));
            assert_eq!(told.parsed.icmp(), Some(who.port_unreachable));
            assert_eq!(quoted_ends(&told), flow(&server, &outside));
        }
        let answer = udp(WAN, &server, &outside);
        passes(&mut sim, WAN, answer, LAN, &flow(&server, &inside));
    }
}

#[test]
fn a_hairpinned_error_reaches_the_host_in_its_own_words() {
    for who in FAMILIES {
        let mut sim = gateway();
        let (inside, published) = (end(who.a, 4_000), end(who.gateway, 8_080));
        let arrived = one(&sim.inject(LAN, udp(LAN, &inside, &published)), LAN);
        let ends = (who.inside_server, who.gateway);
        let told = error(LAN, ends, who.port_unreachable, &arrived);
        let told = one(&sim.inject(LAN, told), LAN);
        assert_eq!(words(&told), flow(who.gateway, who.a));
        assert_eq!(quoted_ends(&told), flow(&inside, &published));
    }
}

#[test]
fn a_query_between_inside_hosts_passes_by_an_outside_address_of_its_own() {
    for (who, own) in FAMILIES.into_iter().zip(["203.0.113.3", "2001:db8:113::3"]) {
        // Basic NAT: one outside address is one inside host, whatever the protocol.
        let range = |address| AddressRange {
            first: ip(address),
            last: ip(address),
        };
        let mut basic = policy();
        let to_own = Matchers {
            dst_address: Some(is(range(own))),
            ..Matchers::default()
        };
        let to_host = Translation {
            addresses: Some(range(who.inside_server)),
            ports: None,
        };
        let translate = rule(to_own, Action::DstNat(to_host));
        basic.nat.chains[0].rules.push(translate);
        let mut sim = Sim::new(&basic, 1);
        let [request, reply] = who.echo;
        let asked = echo(LAN, who.a, own, request, 7);
        let there = flow(who.gateway, who.inside_server);
        passes(&mut sim, LAN, asked, LAN, &there);
        let answer = echo(LAN, who.inside_server, who.gateway, reply, 7);
        passes(&mut sim, LAN, answer, LAN, &flow(own, who.a));
    }
}

#[test]
fn rules_can_keep_the_gateways_messages_from_an_interface() {
    for who in FAMILIES {
        let mut quiet = policy();
        let to_wan = Matchers {
            out_interface: Some(is(WAN_IF)),
            connection_state: states(&[ConnState::Related]),
            ..Matchers::default()
        };
        quiet.filter.chains[2]
            .rules
            .push(rule(to_wan, Action::Drop));
        let mut sim = Sim::new(&quiet, 1);
        let forbidden = udp(WAN, &end(who.stranger, 9), &end(who.a, 9));
        let ended = is_silent(&mut sim, WAN, forbidden);
        assert_eq!(ended.ending, Ending::Reject);
    }
}

#[test]
fn what_the_rules_forbid_is_answered_with_administratively_prohibited() {
    for who in FAMILIES {
        let mut sim = gateway();
        // Nobody may open a connection to an inside host by its inside address.
        let forbidden = udp(WAN, &end(who.stranger, 9), &end(who.a, 9));
        let told = one(&sim.inject(WAN, forbidden), WAN);
        let expected = if who.a == V4.a { (3, 13) } else { (1, 1) };
        assert_eq!(told.parsed.icmp(), Some(expected));
        assert_eq!(words(&told), flow(who.gateway, who.stranger));
        assert_eq!(sim.last_end().ending, Ending::Reject);
    }
}

#[test]
fn the_gateway_says_unreachable_and_time_exceeded_and_answers_echo() {
    for (who, own, exceeded, no_route) in [
        (FAMILIES[0], "192.168.88.1", (11, 0), (3, 3)),
        (FAMILIES[1], "fd00:88::1", (3, 0), (1, 4)),
    ] {
        let mut sim = gateway();
        let craft = Craft::udp(at(&end(who.a, 4_000)), at(&end(who.server, 53))).unwrap();
        let last_hop = one(&sim.inject(LAN, to_gateway(LAN, craft.ttl(1))), LAN);
        assert_eq!(last_hop.parsed.icmp(), Some(exceeded));
        assert_eq!(words(&last_hop), flow(own, who.a));
        let closed = one(
            &sim.inject(LAN, udp(LAN, &end(who.a, 9), &end(own, 9))),
            LAN,
        );
        assert_eq!(closed.parsed.icmp(), Some(no_route));
        let [request, reply] = who.echo;
        let pong = one(&sim.inject(LAN, echo(LAN, who.a, own, request, 7)), LAN);
        assert_eq!(pong.parsed.icmp(), Some((reply, 0)));
        assert_eq!(words(&pong), flow(own, who.a));
    }
}

#[test]
fn obsolete_queries_and_unknown_messages_get_no_answer_of_the_gateway() {
    let mut sim = gateway();
    // Source quench is never sent; information requests and address masks are not answered.
    for kind in [15, 17, 13, 10, 40] {
        let sent = sim.inject(LAN, echo(LAN, V4.a, "192.168.88.1", kind, 7));
        let kinds: Vec<_> = sent
            .iter()
            .map(|(_, frame)| crate::see(frame).parsed.icmp())
            .collect();
        assert!(
            kinds.iter().all(|k| *k == Some((3, 2))),
            "{kind}: {kinds:?}"
        );
    }
}
