//! What rules ask of headers, through the whole gateway: each packet of a flow gets its own answer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{ACK, SYN, at, balanced, pieces_of, to_gateway, with_ipv4_options};
use sim::{HOST_MAC, LAN, LAN_MAC, PEER_MAC, Sim, ip, open_policy, rule};
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::Mac;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::packet::parse::VlanId;
use turnpike_pipeline::policy::{
    Action, Edit, Extent, HeaderAsk, HeaderSet, Interface, Ipv4Options, Match, Matchers, PacketAsk,
    Piece, Policy, TcpFlags, Then,
};

const PREROUTING: usize = 0;
const FORWARD: usize = 1;

fn asking(ask: HeaderAsk, negated: bool) -> Matchers {
    Matchers {
        packet: vec![Match {
            value: PacketAsk::Header(ask),
            negated,
        }],
        ..Matchers::default()
    }
}

/// Which of these frames, in their order, a filter rule that asks this drops.
fn dropped_by(mut policy: Policy, asked: Matchers, frames: &[Vec<u8>]) -> Vec<bool> {
    policy.filter.chains[FORWARD]
        .rules
        .push(rule(asked, Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    let dropped = frames
        .iter()
        .map(|frame| {
            let sent = sim.inject(LAN, frame.clone());
            let reason = sim.last_end().reason;
            assert_eq!(sent.is_empty(), reason.is_some(), "{reason:?}");
            assert!(matches!(reason, None | Some(DropReason::FilterRule)));
            reason.is_some()
        })
        .collect();
    balanced(&sim);
    dropped
}

/// The answers to a question and to its negation: `None` where a packet has no answer.
fn answers(policy: &Policy, ask: HeaderAsk, frames: &[Vec<u8>]) -> Vec<Option<bool>> {
    let plain = dropped_by(policy.clone(), asking(ask, false), frames);
    let negated = dropped_by(policy.clone(), asking(ask, true), frames);
    let both = plain.into_iter().zip(negated);
    both.map(|(yes, no)| {
        assert!(!(yes && no), "a question and its negation do not both hold");
        (yes || no).then_some(yes)
    })
    .collect()
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

fn udp4() -> Craft {
    Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap()
}

fn udp6() -> Craft {
    Craft::udp(at("[fd00:88::10]:4000"), at("[2001:db8:7::7]:53")).unwrap()
}

fn tcp(flags: u8, options: &'static [u8]) -> Vec<u8> {
    let spec = TcpSpec {
        flags,
        options,
        ..TcpSpec::default()
    };
    let (src, dst) = (at("192.168.88.10:4000"), at("198.51.100.7:80"));
    to_gateway(LAN, Craft::tcp(src, dst, spec).unwrap())
}

#[test]
fn dscp_is_asked_of_each_packet_of_either_family() {
    for craft in [udp4(), udp6()] {
        let frames: Vec<Vec<u8>> = [46 << 2, 46 << 2 | 3, 0, 46 << 2]
            .map(|tos| to_gateway(LAN, craft.clone().tos(tos)))
            .into();
        let seen = answers(&open_policy(), HeaderAsk::Dscp(46), &frames);
        assert_eq!(seen, [YES, YES, NO, YES]);
    }
}

#[test]
fn dscp_is_what_an_earlier_rule_has_made_it() {
    let mut policy = open_policy();
    let change = Action::Edit(Edit::Dscp(8), Then::GoOn);
    policy.mangle.chains[PREROUTING]
        .rules
        .push(rule(Matchers::default(), change));
    let frames = [to_gateway(LAN, udp4().tos(46 << 2))];
    assert_eq!(answers(&policy, HeaderAsk::Dscp(8), &frames), [YES]);
    assert_eq!(answers(&policy, HeaderAsk::Dscp(46), &frames), [NO]);
}

#[test]
fn tcp_flags_are_those_of_the_segment() {
    let ask = HeaderAsk::TcpFlags(TcpFlags {
        set: SYN,
        clear: ACK,
    });
    let frames = [
        tcp(SYN, &[]),
        tcp(SYN | 0xc0, &[]),
        tcp(SYN | ACK, &[]),
        tcp(ACK, &[]),
        to_gateway(LAN, udp4()),
    ];
    let seen = answers(&open_policy(), ask, &frames);
    assert_eq!(seen, [YES, YES, NO, NO, None]);
}

#[test]
fn tcp_mss_is_asked_only_of_segments_that_carry_it() {
    let frames = [
        tcp(SYN, &[1, 1, 2, 4, 0x05, 0xb4]),
        tcp(SYN, &[2, 4, 0x05, 0xb5]),
        tcp(SYN, &[]),
        tcp(ACK, &[1, 1, 1, 1]),
        to_gateway(LAN, udp4()),
    ];
    let seen = answers(&open_policy(), HeaderAsk::TcpMss(1_400, 1_460), &frames);
    assert_eq!(seen, [YES, NO, None, None, None]);
}

#[test]
fn src_mac_address_is_the_stations_that_sent_the_frame() {
    let from = |craft: Craft, mac| craft.macs(LAN_MAC, mac).frame().unwrap();
    for craft in [udp4(), udp6()] {
        let frames = [
            from(craft.clone(), HOST_MAC),
            from(craft.clone(), PEER_MAC),
            from(craft, HOST_MAC),
        ];
        let seen = answers(&open_policy(), HeaderAsk::SrcMac(HOST_MAC), &frames);
        assert_eq!(seen, [YES, NO, YES]);
    }
}

#[test]
fn src_mac_address_is_nothing_that_the_gateway_itself_has() {
    // An echo request is answered by the gateway, from a blank Ethernet header.
    let mut policy = open_policy();
    let ask = asking(HeaderAsk::SrcMac(Mac::default()), false);
    let negated = asking(HeaderAsk::SrcMac(Mac::default()), true);
    for asked in [ask, negated] {
        policy.filter.chains[2]
            .rules
            .push(rule(asked, Action::Drop));
    }
    let mut sim = Sim::new(&policy, 1);
    let ping = sim::packets::echo(LAN, "192.168.88.10", "192.168.88.1", 8, 1);
    assert_eq!(sim.inject(LAN, ping).len(), 1, "the answer leaves");
}

/// An IPv6 packet of an unnamed protocol in two pieces.
fn pieces6() -> Vec<Vec<u8>> {
    let piece = |field: u16, data: &[u8]| {
        let [hi, lo] = field.to_be_bytes();
        ipv6(44, &[&[253, 0, hi, lo, 0, 0, 0, 9][..], data].concat())
    };
    vec![piece(1, &[7; 1_200]), piece(1_200, &[8; 100])]
}

#[test]
fn fragment_is_a_later_piece_and_only_where_nothing_puts_pieces_together() {
    let pieces4 = pieces_of(LAN, udp4().payload_len(2_000), 1_280);
    for (craft, pieces) in [(udp4(), pieces4), (udp6(), pieces6())] {
        let whole = to_gateway(LAN, craft);
        let [first, later] = &pieces[..] else {
            panic!("two pieces");
        };
        let mut policy = open_policy();
        policy.tracking.enabled = false;
        let frames = [whole, first.clone(), later.clone()];
        let seen = answers(&policy, HeaderAsk::Fragment(Piece::Later), &frames);
        assert_eq!(seen, [NO, NO, YES]);
        let seen = answers(&policy, HeaderAsk::Fragment(Piece::WholeOrFirst), &frames);
        assert_eq!(seen, [YES, YES, NO]);
        // With tracking on, the packet is whole before any rule is asked.
        let mut policy = open_policy();
        let asked = asking(HeaderAsk::Fragment(Piece::Later), false);
        policy.filter.chains[FORWARD]
            .rules
            .push(rule(asked, Action::Drop));
        let mut sim = Sim::new(&policy, 1);
        let sent: usize = pieces
            .iter()
            .map(|p| sim.inject(LAN, p.clone()).len())
            .sum();
        assert!(sent > 0);
        assert_eq!(sim.rule_packets(0), 0);
    }
}

/// A UDP packet whose IPv4 header has these options, a multiple of four bytes.
fn with_options(options: &[u8]) -> Vec<u8> {
    with_ipv4_options(to_gateway(LAN, udp4().payload(b"hello")), options)
}

#[test]
fn ipv4_options_are_asked_by_name() {
    let frames = [
        with_options(&[]),
        with_options(&[1, 1, 1, 0]),
        with_options(&[131, 3, 4, 0]),
        with_options(&[1, 137, 3, 4]),
        with_options(&[1, 7, 3, 4]),
        with_options(&[68, 4, 5, 0]),
        with_options(&[148, 4, 0, 0]),
        with_options(&[130, 4, 0, 0]),
        to_gateway(LAN, udp6()),
    ];
    let columns = |name: &str| -> String {
        let named = Ipv4Options::NAMES.iter().find(|(n, _)| *n == name);
        let seen = answers(
            &open_policy(),
            HeaderAsk::Ipv4Options(named.unwrap().1),
            &frames,
        );
        let letter = |answer| match answer {
            Some(true) => 'y',
            Some(false) => '.',
            None => '-',
        };
        seen.into_iter().map(letter).collect()
    };
    //   without, padding, loose, strict, record, time, alert, security; IPv6
    for (name, expected) in [
        ("any", "..yyyyyy-"),
        ("none", "yy......-"),
        ("loose-source-routing", "..y.....-"),
        ("strict-source-routing", "...y....-"),
        ("record-route", "....y...-"),
        ("timestamp", ".....y..-"),
        ("router-alert", "......y.-"),
        ("no-source-routing", "yy..yyyy-"),
        ("no-record-route", "yyyy.yyy-"),
        ("no-timestamp", "yyyyy.yy-"),
        ("no-router-alert", "yyyyyy.y-"),
    ] {
        assert_eq!(columns(name), expected, "{name}");
    }
}

/// An IPv6 packet whose first header is `next`; what follows is given as it is.
fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let craft = Craft::other(ip("fd00:88::10"), ip("2001:db8:7::7"), Proto(next)).unwrap();
    to_gateway(LAN, craft.payload(rest))
}

#[test]
fn headers_are_those_of_the_chain_and_what_it_leads_to() {
    const OPTIONS: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];
    let then = |next: u8| [&[next][..], &OPTIONS].concat();
    let routing = |next: u8| vec![next, 0, 4, 0, 0, 0, 0, 0];
    let ah = |next: u8| [&[next, 4, 0, 0][..], &[7; 20]].concat();
    let frames = [
        ipv6(253, b"data"),
        ipv6(0, &[then(253), b"data".to_vec()].concat()),
        ipv6(0, &[then(60), then(43), routing(59)].concat()),
        ipv6(51, &[ah(253), b"data".to_vec()].concat()),
        ipv6(50, b"encrypted"),
        to_gateway(LAN, udp4()),
    ];
    let set = |headers: &[HeaderSet]| {
        let all = headers.iter().copied();
        all.fold(HeaderSet::default(), HeaderSet::and)
    };
    let seen = |headers: &[HeaderSet], extent| {
        answers(
            &open_policy(),
            HeaderAsk::Headers(set(headers), extent),
            &frames,
        )
    };
    let hop_and_proto = [HeaderSet::HOP, HeaderSet::PROTO];
    assert_eq!(
        seen(&hop_and_proto, Extent::Exact),
        [NO, YES, NO, NO, NO, None]
    );
    assert_eq!(
        seen(&[HeaderSet::HOP], Extent::Exact),
        [NO, NO, NO, NO, NO, None],
        "what a chain leads to is a header too"
    );
    assert_eq!(
        seen(&[HeaderSet::HOP], Extent::Contains),
        [NO, YES, YES, NO, NO, None]
    );
    assert_eq!(
        seen(
            &[
                HeaderSet::HOP,
                HeaderSet::DST,
                HeaderSet::ROUTE,
                HeaderSet::NONE
            ],
            Extent::Exact
        ),
        [NO, NO, YES, NO, NO, None]
    );
    assert_eq!(
        seen(&[HeaderSet::AH], Extent::Contains),
        [NO, NO, NO, YES, NO, None]
    );
    assert_eq!(
        seen(&[HeaderSet::ESP], Extent::Exact),
        [NO, NO, NO, NO, YES, None]
    );
}

#[test]
fn headers_show_that_a_packet_came_in_pieces() {
    let pieces = pieces6();
    let mut policy = open_policy();
    policy.tracking.enabled = false;
    let frames = [
        to_gateway(LAN, udp6()),
        pieces[0].clone(),
        pieces[1].clone(),
    ];
    let ask = HeaderAsk::Headers(HeaderSet::FRAG, Extent::Contains);
    assert_eq!(answers(&policy, ask, &frames), [NO, YES, YES]);
    let mut policy = open_policy();
    policy.filter.chains[FORWARD]
        .rules
        .push(rule(asking(ask, false), Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    for piece in pieces {
        assert!(sim.inject(LAN, piece).is_empty());
    }
    assert_eq!(
        sim.rule_packets(0),
        1,
        "put together, it has kept the header"
    );
}

#[test]
fn ingress_priority_and_priority_are_those_of_the_tag() {
    let mut policy = open_policy();
    policy.interfaces.push(Interface {
        name: "guest".to_owned(),
        port: LAN,
        vlan: Some(20),
        addresses: vec!["10.20.0.1/24".parse().unwrap()],
        mtu: 1_500,
    });
    let craft = Craft::udp(at("10.20.0.10:4000"), at("198.51.100.7:53")).unwrap();
    let tagged = |priority: u16| to_gateway(LAN, craft.clone().vlan(VlanId(priority << 13 | 20)));
    let frames = [tagged(5), tagged(0), to_gateway(LAN, udp4()), tagged(5)];
    for ask in [HeaderAsk::IngressPriority, HeaderAsk::Priority] {
        assert_eq!(answers(&policy, ask(5), &frames), [YES, NO, NO, YES]);
        assert_eq!(answers(&policy, ask(0), &frames), [NO, YES, YES, NO]);
    }
}

#[test]
fn what_is_asked_in_raw_and_nat_is_answered_there() {
    let ask = || asking(HeaderAsk::Dscp(46), false);
    let mut policy = open_policy();
    policy.raw.chains[PREROUTING]
        .rules
        .push(rule(ask(), Action::Drop));
    policy.nat.chains[1].rules.push(rule(
        asking(HeaderAsk::Dscp(8), false),
        Action::Masquerade(None),
    ));
    let mut sim = Sim::new(&policy, 1);
    assert!(
        sim.inject(LAN, to_gateway(LAN, udp4().tos(46 << 2)))
            .is_empty()
    );
    assert_eq!(sim.last_end().reason, Some(DropReason::RawRule));
    let sent = sim.inject(LAN, to_gateway(LAN, udp4().tos(8 << 2)));
    let seen = sim::packets::one(&sent, sim::WAN);
    assert_eq!(seen.words(), "203.0.113.2:4000 > 198.51.100.7:53");
}
