//! Copies for sniffers, through the whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{Seen, at, balanced, one, see, to_gateway, udp};
use sim::{LAN, Sim, WAN, ip, is, masquerading_policy, open_policy, rule};
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::policy::{
    Action, Matchers, PacketAsk, Policy, Route, Sniff, SniffForm, Via,
};

const PREROUTING: usize = 0;
const FORWARD: usize = 2;
const OUTPUT: usize = 3;
const POSTROUTING: usize = 4;

fn sniffing(mut policy: Policy, chains: &[usize], to: &str, form: SniffForm) -> Policy {
    for chain in chains {
        let action = Action::Sniff(Sniff { to: at(to), form });
        policy.mangle.chains[*chain]
            .rules
            .push(rule(Matchers::default(), action));
    }
    policy
}

/// What a copy is made of: from and to, and what the datagram carries.
fn copy_in(seen: &Seen) -> (String, Vec<u8>) {
    assert_eq!(seen.parsed.proto, Proto::UDP);
    let end = usize::from(seen.parsed.l3) + usize::try_from(seen.parsed.ip_len).unwrap();
    let carried = &seen.frame[usize::from(seen.parsed.payload)..end];
    (seen.words(), carried.to_vec())
}

const TZSP: [u8; 5] = [1, 0, 0, 1, 1];

fn tzsp(frame: &[u8]) -> Vec<u8> {
    [&TZSP, frame].concat()
}

/// What left by `port`.
fn by(port: PortId, sent: &[(PortId, Vec<u8>)]) -> Vec<Seen> {
    let by = sent.iter().filter(|(out, _)| *out == port);
    by.map(|(_, frame)| see(frame)).collect()
}

#[test]
fn sniff_tzsp_sends_a_copy_as_it_came_in_and_the_packet_goes_on() {
    let sniffer = "192.168.88.9:37008";
    let policy = sniffing(masquerading_policy(), &[FORWARD], sniffer, SniffForm::Tzsp);
    let mut sim = Sim::new(&policy, 1);
    let frame = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    for round in 1..=3 {
        let sent = sim.inject(LAN, frame.clone());
        assert_eq!(sent.len(), 2);
        let on = &by(WAN, &sent)[0];
        assert_eq!(on.words(), "203.0.113.2:4000 > 198.51.100.7:53");
        let (words, carried) = copy_in(&by(LAN, &sent)[0]);
        assert_eq!(words, format!("192.168.88.1:37008 > {sniffer}"));
        assert_eq!(carried, tzsp(&frame));
        assert_eq!(sim.rule_packets(0), round);
    }
    let answer = udp(WAN, "198.51.100.7:53", "203.0.113.2:4000");
    let sent = sim.inject(WAN, answer.clone());
    let mut carried: Vec<_> = by(LAN, &sent).iter().map(copy_in).collect();
    carried.retain(|(words, _)| words.ends_with(sniffer));
    assert_eq!(carried[0].1, tzsp(&answer));
    assert_eq!(sim.connections(), 1, "copies are not tracked");
    assert_eq!(sim.counters[0].copies.read(), 4);
    balanced(&sim);
}

#[test]
fn sniff_tzsp_sees_packets_that_are_dropped_further_on() {
    let sniffer = "192.168.88.9:37008";
    let mut policy = sniffing(open_policy(), &[PREROUTING], sniffer, SniffForm::Tzsp);
    policy.filter.chains[1]
        .rules
        .push(rule(Matchers::default(), Action::Drop));
    let mut sim = Sim::new(&policy, 1);
    let frame = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    for _ in 0..2 {
        let sent = sim.inject(LAN, frame.clone());
        let (_, carried) = copy_in(&one(&sent, LAN));
        assert_eq!(carried, tzsp(&frame));
        assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
    }
    balanced(&sim);
}

#[test]
fn sniff_tzsp_asks_each_packet_where_its_rule_does() {
    let mut policy = open_policy();
    let large = Matchers {
        packet: vec![is(PacketAsk::Size(500, 1_500))],
        ..Matchers::default()
    };
    let sniff = Sniff {
        to: at("192.168.88.9:37008"),
        form: SniffForm::Tzsp,
    };
    policy.mangle.chains[FORWARD]
        .rules
        .push(rule(large, Action::Sniff(sniff)));
    let mut sim = Sim::new(&policy, 1);
    let craft = || Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
    for _ in 0..3 {
        let mut sent = |len| {
            let frame = to_gateway(LAN, craft().payload_len(len));
            by(LAN, &sim.inject(LAN, frame)).len()
        };
        assert_eq!((sent(10), sent(600)), (0, 1));
    }
    balanced(&sim);
}

#[test]
fn sniff_tzsp_never_copies_a_copy() {
    let chains = [OUTPUT, POSTROUTING];
    let policy = sniffing(
        open_policy(),
        &chains,
        "198.51.100.9:37008",
        SniffForm::Tzsp,
    );
    let policy = sniffing(policy, &chains, "192.168.88.9:37008", SniffForm::Tzsp);
    let mut sim = Sim::new(&policy, 1);
    let sent = sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    assert_eq!((by(WAN, &sent).len(), by(LAN, &sent).len()), (2, 1));
    balanced(&sim);
}

#[test]
fn sniff_tzsp_cuts_a_long_copy_into_fragments_or_for_ipv6_short() {
    let frame = |len| {
        let craft = Craft::udp(at("192.168.88.10:4000"), at("198.51.100.7:53")).unwrap();
        to_gateway(LAN, craft.payload_len(len))
    };
    let to = |sniffer| sniffing(open_policy(), &[FORWARD], sniffer, SniffForm::Tzsp);
    let mut sim = Sim::new(&to("192.168.88.9:37008"), 1);
    let sent = sim.inject(LAN, frame(1_472));
    assert_eq!((by(LAN, &sent).len(), by(WAN, &sent).len()), (2, 1));
    balanced(&sim);
    let mut sim = Sim::new(&to("[fd00:88::9]:37008"), 1);
    let copy = &by(LAN, &sim.inject(LAN, frame(1_472)))[0];
    assert_eq!(copy.parsed.ip_len, 1_500);
    let (words, carried) = copy_in(copy);
    assert_eq!(words, "fd00:88::1:37008 > fd00:88::9:37008");
    assert_eq!(carried, tzsp(&frame(1_472))[..1_500 - 48]);
    balanced(&sim);
}

#[test]
fn sniff_pc_puts_the_number_of_the_stream_before_the_ip_packet() {
    let form = SniffForm::PacketCable(0x0102_0304);
    let policy = sniffing(open_policy(), &[FORWARD], "192.168.88.9:5000", form);
    let mut sim = Sim::new(&policy, 1);
    let frame = udp(LAN, "[fd00:88::10]:4000", "[2001:db8:7::7]:53");
    let sent = sim.inject(LAN, frame.clone());
    let (words, carried) = copy_in(&by(LAN, &sent)[0]);
    assert_eq!(words, "192.168.88.1:5000 > 192.168.88.9:5000");
    assert_eq!(carried, [&[1, 2, 3, 4], &frame[14..]].concat());
    balanced(&sim);
}

#[test]
fn sniff_tzsp_to_nowhere_is_a_drop_with_a_reason() {
    let mut policy = sniffing(open_policy(), &[FORWARD], "192.0.2.9:1", SniffForm::Tzsp);
    policy.routes = vec![Route {
        destination: "198.51.100.7/32".parse().unwrap(),
        via: Via::Gateway(sim::WAN_IF, ip("203.0.113.1")),
    }];
    let mut sim = Sim::new(&policy, 1);
    let frame = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    one(&sim.inject(LAN, frame), WAN);
    assert_eq!(sim.slow_counters.dropped(DropReason::NoRoute).read(), 1);
    balanced(&sim);
}
