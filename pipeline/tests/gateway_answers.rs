//! What the gateway says and holds: replies, errors, neighbours, fragments.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use std::net::Ipv6Addr;

use sim::packets::{RST, SYN, at, balanced, echo, one, pieces_of, see, tcp, to_gateway, udp};
use sim::{
    HOST_MAC, LAN, LAN_MAC, PEER_MAC, Sim, WAN, ip, is, masquerading_policy, open_policy, rule,
};
use turnpike_conntrack::tuple::{Proto, V4};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::Mac;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::packet::arp::{self, ArpKind, Station};
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::packet::nd::{self, SolicitTo, Station6};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::packet::reassembly::{Limits, Reassembler};
use turnpike_pipeline::policy::{Action, Matchers, RejectWith, Unreachable};
use turnpike_pipeline::witness::Ending;

#[test]
fn the_gateway_answers_echo_in_both_families() {
    let mut sim = Sim::new(&open_policy(), 1);
    let v4 = sim.inject(LAN, echo(LAN, "192.168.88.10", "192.168.88.1", 8, 7));
    let seen = one(&v4, LAN);
    assert_eq!(seen.words(), "192.168.88.1 > 192.168.88.10");
    assert_eq!(seen.parsed.icmp(), Some((0, 0)));
    assert_eq!(sim.last_end().ending, Ending::Local);
    let v6 = sim.inject(LAN, echo(LAN, "fd00:88::10", "fd00:88::1", 128, 7));
    assert_eq!(one(&v6, LAN).parsed.icmp(), Some((129, 0)));
    balanced(&sim);
}

#[test]
fn the_gateway_answers_arp_for_its_own_address_only() {
    let mut sim = Sim::new(&open_policy(), 1);
    let ask = |wanted| {
        let mut frame = Vec::new();
        let host = Station {
            mac: HOST_MAC,
            ip: [192, 168, 88, 10],
        };
        arp::request(&mut frame, host, Mac::BROADCAST, wanted);
        frame
    };
    let sent = sim.inject(LAN, ask([192, 168, 88, 1]));
    let seen = one(&sent, LAN);
    let answer = arp::read(&seen.frame, &seen.parsed).unwrap();
    assert_eq!(answer.kind, ArpKind::Reply);
    assert_eq!(
        answer.sender,
        Station {
            mac: LAN_MAC,
            ip: [192, 168, 88, 1]
        }
    );
    assert_eq!(seen.parsed.link.dst, HOST_MAC);
    assert!(sim.inject(LAN, ask([192, 168, 88, 2])).is_empty());
    assert_eq!(sim.last_end().ending, Ending::Consumed);
    balanced(&sim);
}

#[test]
fn a_packet_waits_until_its_neighbour_answers() {
    let mut sim = Sim::with_neighbours(&open_policy(), 2, Neighbours::Learn, 100);
    let sent = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    let seen = one(&sent, WAN);
    let asked = arp::read(&seen.frame, &seen.parsed).unwrap();
    assert_eq!(
        (asked.kind, asked.target.ip),
        (ArpKind::Request, [203, 0, 113, 1])
    );
    assert_eq!(sim.last_end().ending, Ending::Held);
    balanced(&sim);
    let mut answer = Vec::new();
    arp::reply(
        &mut answer,
        Station {
            mac: PEER_MAC,
            ip: [203, 0, 113, 1],
        },
        asked.sender,
    );
    let released = sim.inject(WAN, answer);
    let seen = one(&released, WAN);
    assert_eq!(seen.words(), "192.168.88.10:4000 > 198.51.100.7:53");
    assert_eq!((seen.parsed.link.dst, seen.parsed.ttl), (PEER_MAC, 63));
    let next = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    assert_eq!(one(&next, WAN).parsed.link.dst, PEER_MAC);
    balanced(&sim);
}

#[test]
fn a_neighbour_that_stays_silent_is_reported_to_the_inside_host() {
    let mut sim = Sim::with_neighbours(&masquerading_policy(), 1, Neighbours::Learn, 100);
    let mut ask = Vec::new();
    let host = Station {
        mac: HOST_MAC,
        ip: [192, 168, 88, 10],
    };
    arp::request(&mut ask, host, Mac::BROADCAST, [192, 168, 88, 1]);
    sim.inject(LAN, ask);
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent = sim.advance(1_000);
    }
    let seen = one(&sent, LAN);
    assert_eq!(seen.parsed.icmp(), Some((3, 1)));
    // From the side where it goes, not from where the packet was to leave.
    assert_eq!(seen.words(), "192.168.88.1 > 192.168.88.10");
    let quote = quoted::<V4>(&seen.frame, &seen.parsed).unwrap();
    assert_eq!(quote.tuple.src, [192, 168, 88, 10]);
    balanced(&sim);
}

#[test]
fn over_ipv6_a_silent_neighbour_is_reported_from_the_side_of_the_host_too() {
    let mut sim = Sim::with_neighbours(&masquerading_policy(), 1, Neighbours::Learn, 100);
    let of = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let host = Station6 {
        mac: HOST_MAC,
        ip: of("fd00:88::10"),
    };
    let mut ask = Vec::new();
    nd::solicit(&mut ask, host, of("fd00:88::1"), SolicitTo::Group);
    sim.inject(LAN, ask);
    let inside = "[fd00:88::10]:4000";
    sim.inject(LAN, udp(LAN, inside, "[2001:db8:7::7]:53"));
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent = sim.advance(1_000);
    }
    // Its checksum covers the address that was put in.
    let seen = one(&sent, LAN);
    assert_eq!(seen.parsed.icmp(), Some((1, 3)));
    assert_eq!(seen.words(), "fd00:88::1 > fd00:88::10");
    balanced(&sim);
}

#[test]
fn the_last_hop_of_a_packet_is_reported_in_the_senders_words() {
    let mut sim = Sim::new(&masquerading_policy(), 1);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:33434"))
        .unwrap()
        .ttl(1);
    let seen = one(&sim.inject(LAN, to_gateway(LAN, craft)), LAN);
    assert_eq!(seen.words(), "192.168.88.1 > 192.168.88.10");
    assert_eq!(seen.parsed.icmp(), Some((11, 0)));
    assert_eq!(sim.last_end().reason, Some(DropReason::TtlExceeded));
    assert_eq!(sim.connections(), 0);
    balanced(&sim);
}

#[test]
fn a_packet_too_big_for_its_link_is_reported_with_the_links_size() {
    let mut policy = masquerading_policy();
    policy.interfaces[1].mtu = 1_400;
    let mut sim = Sim::new(&policy, 1);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    let craft = craft.flags(0x4000).payload_len(1_450);
    let seen = one(&sim.inject(LAN, to_gateway(LAN, craft)), LAN);
    assert_eq!(seen.parsed.icmp(), Some((3, 4)));
    let l4 = usize::from(seen.parsed.l4);
    assert_eq!(&seen.frame[l4 + 6..l4 + 8], &1_400_u16.to_be_bytes());
    balanced(&sim);
}

#[test]
fn reject_tells_the_sender_by_reset_or_by_icmp() {
    let mut policy = open_policy();
    let only = |proto| Matchers {
        protocol: Some(is(proto)),
        ..Matchers::default()
    };
    let forward = &mut policy.filter.chains[1].rules;
    forward.push(rule(only(Proto::TCP), Action::Reject(RejectWith::TcpReset)));
    let prohibited = RejectWith::Icmp(Unreachable::AdminProhibited);
    forward.push(rule(only(Proto::UDP), Action::Reject(prohibited)));
    let mut sim = Sim::new(&policy, 1);
    let syn = tcp(LAN, "192.168.88.10:40000", "198.51.100.7:443", SYN, 100, 0);
    let seen = one(&sim.inject(LAN, syn), LAN);
    assert_eq!(seen.words(), "198.51.100.7:443 > 192.168.88.10:40000");
    assert_eq!(seen.parsed.tcp().unwrap().flags & RST, RST);
    assert_eq!(sim.last_end().ending, Ending::Reject);
    let datagram = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    assert_eq!(
        one(&sim.inject(LAN, datagram), LAN).parsed.icmp(),
        Some((3, 13))
    );
    balanced(&sim);
}

#[test]
fn every_reject_with_tells_either_family_by_its_own_code() {
    for (kind, v4, v6) in [
        (Unreachable::Network, 0, 0),
        (Unreachable::Host, 1, 3),
        (Unreachable::Protocol, 2, 4),
        (Unreachable::Port, 3, 4),
        (Unreachable::NetProhibited, 9, 1),
        (Unreachable::HostProhibited, 10, 1),
        (Unreachable::AdminProhibited, 13, 1),
        (Unreachable::NotNeighbour, 1, 2),
        (Unreachable::SourceRoutingHeader, 5, 7),
        (Unreachable::HeadersTooLong, 13, 8),
    ] {
        let mut policy = open_policy();
        let reject = Action::Reject(RejectWith::Icmp(kind));
        let forward = &mut policy.filter.chains[1].rules;
        forward.push(rule(Matchers::default(), reject));
        let mut sim = Sim::new(&policy, 1);
        for (src, dst, code) in [
            ("192.168.88.10:4000", "198.51.100.7:53", (3, v4)),
            ("[fd00:88::10]:4000", "[2001:db8:7::7]:53", (1, v6)),
        ] {
            let seen = one(&sim.inject(LAN, udp(LAN, src, dst)), LAN);
            assert_eq!(seen.parsed.icmp(), Some(code), "{kind:?}");
            assert_eq!(sim.last_end().reason, Some(DropReason::FilterReject));
        }
        balanced(&sim);
    }
}

#[test]
fn nothing_listens_on_the_gateway_and_it_says_so() {
    let mut sim = Sim::new(&open_policy(), 1);
    let syn = tcp(LAN, "192.168.88.10:40000", "192.168.88.1:22", SYN, 100, 0);
    assert_eq!(
        one(&sim.inject(LAN, syn), LAN).parsed.tcp().unwrap().flags & RST,
        RST
    );
    let datagram = udp(LAN, "192.168.88.10:4000", "192.168.88.1:53");
    assert_eq!(
        one(&sim.inject(LAN, datagram), LAN).parsed.icmp(),
        Some((3, 3))
    );
    assert_eq!(sim.last_end().reason, Some(DropReason::NoListener));
    balanced(&sim);
}

#[test]
fn fragments_are_translated_as_the_packet_they_are_and_leave_in_pieces_again() {
    let mut sim = Sim::new(&masquerading_policy(), 2);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    let mut pieces = pieces_of(LAN, craft.payload_len(4_000).id(7), 1_500);
    assert_eq!(pieces.len(), 3);
    pieces.reverse();
    let last = pieces.pop().unwrap();
    for piece in pieces {
        assert!(sim.inject(LAN, piece).is_empty());
        assert_eq!(sim.last_end().ending, Ending::Held);
        balanced(&sim);
    }
    let sent = sim.inject(LAN, last);
    assert_eq!(sent.len(), 3);
    let mut whole = Reassembler::new(Limits::default());
    let mut frame = None;
    for (port, piece) in sent {
        assert_eq!(port, WAN);
        let seen = see(&piece);
        assert_eq!(seen.parsed.src_ip(&piece), Some(ip("203.0.113.2")));
        assert!(seen.parsed.ip_len <= 1_500);
        let buf = HeapBuffer::new(piece, 0);
        let now = turnpike_conntrack::time::Tick::default();
        frame = whole.insert(buf, (WAN, &seen.parsed), now, &mut Vec::new());
    }
    let seen = see(&frame.expect("the pieces are a packet"));
    assert_eq!(seen.words(), "203.0.113.2:4000 > 198.51.100.7:53");
    assert_eq!(sim.connections(), 1);
    balanced(&sim);
}

#[test]
fn pieces_of_two_links_are_never_one_packet() {
    let mut sim = Sim::new(&open_policy(), 1);
    let craft = |port| {
        let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
        pieces_of(port, craft.payload_len(2_000).id(7), 1_500)
    };
    assert!(sim.inject(LAN, craft(LAN)[0].clone()).is_empty());
    assert!(sim.inject(WAN, craft(WAN)[1].clone()).is_empty());
    assert_eq!(sim.inject(LAN, craft(LAN)[1].clone()).len(), 2);
}

#[test]
fn fragments_whose_packet_never_becomes_whole_are_dropped_in_time() {
    let mut sim = Sim::new(&open_policy(), 1);
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    let pieces = pieces_of(LAN, craft.payload_len(4_000), 1_500);
    sim.inject(LAN, pieces[0].clone());
    sim.advance(29_000);
    assert_eq!(sim.last_end().ending, Ending::Held);
    sim.advance(2_000);
    assert_eq!(sim.last_end().reason, Some(DropReason::FragmentTimeout));
    balanced(&sim);
}
