//! What mangle changes of headers beside marks, DSCP and time to live, through the whole gateway.
//!
//! [`see`](sim::packets::see) checks every checksum of what leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{
    ACK, SYN, SYN_ACK, Seen, at, balanced, one, see, to_gateway, with_ipv4_options,
};
use sim::{LAN, PEER_MAC, Sim, WAN, WAN_MAC, ip, is, open_policy, rule};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::packet::arp::{self, Station};
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::packet::parse::VlanId;
use turnpike_pipeline::packet::tcp::tcp_options;
use turnpike_pipeline::policy::{
    Action, Edit, HeaderAsk, Interface, Ipv4Options, Matchers, NewMss, NewPriority, PacketAsk,
    Policy, Route, Then, Via,
};

const PREROUTING: usize = 0;
const FORWARD: usize = 2;
const POSTROUTING: usize = 4;

const DONT_FRAGMENT: u16 = 0x4000;
const GUEST: &str = "10.20.0.10:4000";

/// The policy with these rules of mangle, each for every packet of its chain.
fn changing(mut policy: Policy, edits: &[(usize, Edit)]) -> Policy {
    for (chain, edit) in edits {
        let action = Action::Edit(*edit, Then::GoOn);
        policy.mangle.chains[*chain]
            .rules
            .push(rule(Matchers::default(), action));
    }
    policy
}

/// The same with a rule behind them, in postrouting, that counts what is so.
fn counting(policy: Policy, ask: HeaderAsk) -> Policy {
    let mut policy = policy;
    let asked = Matchers {
        packet: vec![is(PacketAsk::Header(ask))],
        ..Matchers::default()
    };
    policy.mangle.chains[POSTROUTING]
        .rules
        .push(rule(asked, Action::Passthrough));
    policy
}

fn tcp(ends: (&str, &str), flags: u8, options: &'static [u8]) -> Craft {
    let spec = TcpSpec {
        flags,
        options,
        seq: 100,
        ack: 7,
        ..TcpSpec::default()
    };
    Craft::tcp(at(ends.0), at(ends.1), spec).unwrap()
}

const V4: (&str, &str) = ("192.168.88.10:4000", "198.51.100.7:80");
const V6: (&str, &str) = ("[fd00:88::10]:4000", "[2001:db8:7::7]:80");
const MSS_1460: &[u8] = &[2, 4, 0x05, 0xb4];

fn mss(seen: &Seen) -> Option<u16> {
    tcp_options(&seen.frame, &seen.parsed).mss
}

/// What a SYN that announces 1460 bytes announces behind the gateway, twice.
fn announced(policy: &Policy, ends: (&str, &str)) -> Option<u16> {
    let mut sim = Sim::new(policy, 1);
    let mut seen = || {
        let sent = sim.inject(LAN, to_gateway(LAN, tcp(ends, SYN, MSS_1460)));
        mss(&one(&sent, WAN))
    };
    let first = seen();
    assert_eq!(seen(), first, "a repeated SYN, by the flow's outcome");
    balanced(&sim);
    first
}

#[test]
fn change_mss_lowers_and_never_raises() {
    for ends in [V4, V6] {
        for (new, expected) in [
            (1_300, 1_300),
            (1_459, 1_459),
            (1_460, 1_460),
            (1_500, 1_460),
        ] {
            let edits = [(FORWARD, Edit::Mss(NewMss::AtMost(new)))];
            let policy = changing(open_policy(), &edits);
            assert_eq!(announced(&policy, ends), Some(expected), "{new}");
        }
        let two = [1_200, 1_300].map(|new| (FORWARD, Edit::Mss(NewMss::AtMost(new))));
        let policy = changing(open_policy(), &two);
        assert_eq!(announced(&policy, ends), Some(1_200));
    }
}

#[test]
fn change_mss_clamp_to_pmtu_fits_both_links() {
    for (lan, wan) in [(1_500, 1_492), (1_492, 1_500)] {
        let mut policy = changing(open_policy(), &[(FORWARD, Edit::Mss(NewMss::FitsPath))]);
        policy.interfaces[0].mtu = lan;
        policy.interfaces[1].mtu = wan;
        assert_eq!(announced(&policy, V4), Some(1_452));
        assert_eq!(announced(&policy, V6), Some(1_432));
    }
    let policy = changing(open_policy(), &[(PREROUTING, Edit::Mss(NewMss::FitsPath))]);
    assert_eq!(announced(&policy, V4), Some(1_460));
    assert_eq!(announced(&policy, V6), Some(1_440));
}

#[test]
fn change_mss_touches_syns_that_announce_one_and_nothing_else() {
    let edits = [(FORWARD, Edit::Mss(NewMss::AtMost(1_000)))];
    let mut sim = Sim::new(&changing(open_policy(), &edits), 1);
    let mut pass = |port, exit, ends, flags, options| {
        let sent = sim.inject(port, to_gateway(port, tcp(ends, flags, options)));
        one(&sent, exit)
    };
    // At an odd place, and behind others.
    let odd = pass(LAN, WAN, V4, SYN, &[1, 2, 4, 0x05, 0xb4, 3, 3, 7]);
    assert_eq!(mss(&odd), Some(1_000));
    let options = tcp_options(&odd.frame, &odd.parsed);
    assert_eq!(options.window_scale, Some(7));
    let answer = pass(WAN, LAN, (V4.1, V4.0), SYN_ACK, MSS_1460);
    assert_eq!(mss(&answer), Some(1_000), "the answer to it");
    // Only a SYN's option means something.
    assert_eq!(mss(&pass(LAN, WAN, V4, ACK, MSS_1460)), Some(1_460));
    let other = ("192.168.88.10:4001", V4.1);
    let bare = pass(LAN, WAN, other, SYN, &[1, 1, 1, 0]);
    assert_eq!(mss(&bare), None);
    assert_eq!(bare.parsed.payload - bare.parsed.l4, 24, "none is put in");
    balanced(&sim);
}

#[test]
fn tcp_mss_is_what_change_mss_has_made_it() {
    for (edit, expected) in [(NewMss::AtMost(1_300), 1_300), (NewMss::FitsPath, 1_360)] {
        let mut policy = changing(open_policy(), &[(PREROUTING, Edit::Mss(edit))]);
        policy.interfaces[1].mtu = 1_400;
        let policy = counting(policy, HeaderAsk::TcpMss(expected, expected));
        let mut sim = Sim::new(&policy, 1);
        sim.inject(LAN, to_gateway(LAN, tcp(V4, SYN, MSS_1460)));
        assert_eq!(sim.rule_packets(1), 1, "{edit:?}");
    }
}

fn datagram(len: usize) -> Craft {
    let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    craft.payload_len(len).flags(DONT_FRAGMENT)
}

/// The identification, and the flags and fragment offset.
fn id_and_flags(seen: &Seen) -> (u16, u16) {
    let word = |at: usize| u16::from_be_bytes([seen.frame[at], seen.frame[at + 1]]);
    (word(18), word(20))
}

#[test]
fn clear_df_clears_the_flag_and_gives_an_identification_where_there_is_none() {
    for chain in [PREROUTING, FORWARD, POSTROUTING] {
        let mut sim = Sim::new(&changing(open_policy(), &[(chain, Edit::ClearDf)]), 1);
        let mut pass = |craft| {
            let sent = sim.inject(LAN, to_gateway(LAN, craft));
            id_and_flags(&one(&sent, WAN))
        };
        for _ in 0..2 {
            assert_eq!(pass(datagram(9).id(77)), (77, 0));
        }
        let (first, flags) = pass(datagram(9));
        assert_eq!(flags, 0);
        let (second, _) = pass(datagram(10));
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!(pass(datagram(9)).0, first, "the same packet again");
        assert_eq!(
            pass(datagram(9).flags(0)),
            (0, 0),
            "one that may be cut as it is"
        );
        balanced(&sim);
    }
}

#[test]
fn clear_df_before_routing_lets_a_packet_be_cut_into_fragments() {
    let policy = |chain| {
        let mut policy = changing(open_policy(), &[(chain, Edit::ClearDf)]);
        policy.interfaces[1].mtu = 1_000;
        policy
    };
    let mut sim = Sim::new(&policy(PREROUTING), 1);
    for _ in 0..2 {
        let sent = sim.inject(LAN, to_gateway(LAN, datagram(1_400)));
        assert_eq!(sent.len(), 2);
        let ids: Vec<u16> = sent.iter().map(|(_, f)| id_and_flags(&see(f)).0).collect();
        assert!(ids[0] != 0 && ids[0] == ids[1]);
    }
    balanced(&sim);
    // Behind routing it is too late for this link, as in Linux.
    let mut sim = Sim::new(&policy(FORWARD), 1);
    for _ in 0..3 {
        // Smaller ones of the flow leave an outcome that knows of the change.
        let seen = one(&sim.inject(LAN, to_gateway(LAN, datagram(100))), WAN);
        assert_eq!(id_and_flags(&seen).1, 0);
    }
    let sent = sim.inject(LAN, to_gateway(LAN, datagram(1_400)));
    assert_eq!(one(&sent, LAN).parsed.icmp(), Some((3, 4)));
    assert_eq!(sim.last_end().reason, Some(DropReason::MtuExceeded));
}

#[test]
fn clear_df_means_nothing_in_ipv6() {
    let mut policy = changing(open_policy(), &[(PREROUTING, Edit::ClearDf)]);
    policy.interfaces[1].mtu = 1_300;
    let mut sim = Sim::new(&policy, 1);
    let craft = Craft::udp(at("[fd00:88::10]:4000"), at("[2001:db8:7::7]:53")).unwrap();
    let sent = sim.inject(LAN, to_gateway(LAN, craft.payload_len(1_400)));
    assert_eq!(one(&sent, LAN).parsed.icmp(), Some((2, 0)));
}

#[test]
fn strip_ipv4_options_makes_padding_of_them() {
    let options = [131, 7, 4, 10, 0, 0, 1, 0, 148, 4, 0, 0];
    let policy = changing(open_policy(), &[(PREROUTING, Edit::StripOptions)]);
    let policy = counting(policy, HeaderAsk::Ipv4Options(Ipv4Options::None));
    let mut sim = Sim::new(&policy, 1);
    for round in 1..=2 {
        let frame = with_ipv4_options(to_gateway(LAN, datagram(5)), &options);
        let seen = one(&sim.inject(LAN, frame), WAN);
        assert_eq!(seen.frame[34..46], [1; 12]);
        assert_eq!(seen.words(), "192.168.88.10:4000 > 198.51.100.7:53");
        assert_eq!(sim.rule_packets(1), round, "rules behind see none");
    }
    let frame = to_gateway(LAN, datagram(5));
    one(&sim.inject(LAN, frame), WAN);
    let craft = Craft::udp(at("[fd00:88::10]:4000"), at("[2001:db8:7::7]:53")).unwrap();
    one(&sim.inject(LAN, to_gateway(LAN, craft)), WAN);
    balanced(&sim);
}

/// With `guest`, VLAN 20 on lan's port, and `uplink`, VLAN 30 on wan's, behind which is 10.99/16.
fn tagged_policy() -> Policy {
    let mut policy = open_policy();
    for (name, port, vlan, address) in [
        ("guest", LAN, 20, "10.20.0.1/24"),
        ("uplink", WAN, 30, "10.30.0.1/24"),
    ] {
        policy.interfaces.push(Interface {
            name: name.to_owned(),
            port,
            vlan: Some(vlan),
            addresses: vec![address.parse().unwrap()],
            mtu: 1_500,
        });
    }
    policy.routes.push(Route {
        destination: "10.99.0.0/16".parse().unwrap(),
        via: Via::Gateway(IfaceId(3), ip("10.30.0.2")),
    });
    policy
}

fn guest(priority: u16, tos: u8) -> Craft {
    let craft = Craft::udp(at(GUEST), at("10.99.0.7:53")).unwrap().tos(tos);
    craft.vlan(VlanId(priority << 13 | 20))
}

/// The priority that packets with these tags and types of service leave with.
fn priorities<const N: usize>(policy: &Policy, packets: [(u16, u8); N]) -> [u8; N] {
    let mut sim = Sim::new(policy, 1);
    let priorities = packets.map(|(priority, tos)| {
        let sent = sim.inject(LAN, to_gateway(LAN, guest(priority, tos)));
        let seen = one(&sent, WAN);
        assert_eq!(seen.parsed.link.vlan, Some(VlanId(30)));
        seen.parsed.link.priority
    });
    balanced(&sim);
    priorities
}

#[test]
fn set_priority_is_that_of_the_tag_the_packet_leaves_with() {
    let ef = 46 << 2;
    let packets = [(5, ef), (0, ef), (3, 0)];
    assert_eq!(priorities(&tagged_policy(), packets), [0, 0, 0]);
    for (new, expected) in [
        (NewPriority::Set(6), [6, 6, 6]),
        (NewPriority::Set(63), [7, 7, 7]),
        (NewPriority::FromIngress, [5, 0, 3]),
        (NewPriority::FromDscp, [6, 6, 0]),
        (NewPriority::FromDscpHigh, [5, 5, 0]),
    ] {
        let policy = changing(tagged_policy(), &[(POSTROUTING, Edit::Priority(new))]);
        assert_eq!(priorities(&policy, packets), expected, "{new:?}");
    }
}

#[test]
fn set_priority_from_dscp_takes_what_dscp_is_at_that_point() {
    let from = Edit::Priority(NewPriority::FromDscpHigh);
    for (edits, expected) in [
        ([(FORWARD, Edit::Dscp(8)), (FORWARD, from)], 1),
        ([(FORWARD, from), (FORWARD, Edit::Dscp(8))], 5),
    ] {
        let policy = changing(tagged_policy(), &edits);
        assert_eq!(priorities(&policy, [(0, 46 << 2); 2]), [expected; 2]);
    }
}

#[test]
fn priority_is_what_set_priority_has_made_it() {
    let edits = [(PREROUTING, Edit::Priority(NewPriority::Set(12)))];
    let policy = changing(open_policy(), &edits);
    let mut sim = Sim::new(&counting(policy, HeaderAsk::Priority(12)), 1);
    for _ in 0..2 {
        let seen = one(&sim.inject(LAN, to_gateway(LAN, datagram(5))), WAN);
        assert_eq!(
            seen.parsed.link.vlan, None,
            "without a tag nobody else sees it"
        );
    }
    assert_eq!(sim.rule_packets(1), 2);
}

#[test]
fn set_priority_outlasts_the_wait_for_a_neighbour_and_the_cutting_of_a_packet() {
    let edits = [(FORWARD, Edit::Priority(NewPriority::Set(4)))];
    let mut policy = changing(tagged_policy(), &edits);
    policy.interfaces[3].mtu = 1_000;
    let mut sim = Sim::with_neighbours(&policy, 1, Neighbours::Learn, 100);
    let asked = sim.inject(LAN, to_gateway(LAN, guest(0, 0)));
    let question = see(&asked[0].1);
    let mut answer = Vec::new();
    let station = |mac, ip| Station { mac, ip };
    let peer = station(PEER_MAC, [10, 30, 0, 2]);
    arp::reply(&mut answer, peer, station(WAN_MAC, [10, 30, 0, 1]));
    answer.splice(12..12, [0x81, 0, 0, 30]);
    assert_eq!(question.parsed.link.priority, 0);
    let sent = sim.inject(WAN, answer);
    let seen = one(&sent, WAN);
    let tag = (seen.parsed.link.vlan, seen.parsed.link.priority);
    assert_eq!(tag, (Some(VlanId(30)), 4));
    let pieces = sim.inject(LAN, to_gateway(LAN, guest(0, 0).payload_len(1_400)));
    assert_eq!(pieces.len(), 2);
    for (_, piece) in &pieces {
        assert_eq!(see(piece).parsed.link.priority, 4);
    }
    balanced(&sim);
}
