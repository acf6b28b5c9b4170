//! One story per kind of translation, told by a replay as it is kept under `tests/golden`.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails like the test itself"
)]

mod replays;

use replays::{Packet, WAN, golden, is, ping, policy, rule, udp};
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::policy::{
    Action, AddressRange, Matchers, Policy, PortChoice, Rule, SameBy, Translation,
};

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
    }
}

fn out_wan() -> Matchers {
    Matchers {
        out_interface: Some(is(WAN)),
        ..Matchers::default()
    }
}

fn in_wan() -> Matchers {
    Matchers {
        in_interface: Some(is(WAN)),
        ..Matchers::default()
    }
}

/// The gateway with these nat rules, and a filter that lets everything across.
fn translating(dstnat: Vec<Rule>, srcnat: Vec<Rule>) -> Policy {
    let mut policy = policy();
    policy.filter.chains[1].rules.clear();
    policy.nat.chains[0].rules = dstnat;
    policy.nat.chains[1].rules = srcnat;
    policy
}

fn at(millis: u64, craft: Craft) -> Packet {
    (millis * 1_000, craft.frame().unwrap())
}

/// Two hosts with one port, two servers, a stranger, and one who asks for what nobody has mapped.
#[test]
fn endpoint_independent_nat_is_told_as_expected() {
    let lan = vec![
        at(0, udp("192.168.88.10:5000", "198.51.100.1:53")),
        at(10, udp("192.168.88.11:5001", "198.51.100.1:53")),
        at(20, udp("192.168.88.10:5000", "198.51.100.2:53")),
        at(60, udp("192.168.88.10:5000", "192.0.2.9:777")),
        at(70, udp("[fd00:88::10]:5000", "[2001:db8:7::7]:53")),
    ];
    let wan = vec![
        at(30, udp("198.51.100.2:53", "203.0.113.2:5000")),
        at(40, udp("192.0.2.9:777", "203.0.113.2:5000")),
        at(50, udp("192.0.2.9:777", "203.0.113.2:5002")),
        at(55, ping("192.0.2.9", "203.0.113.2", 8)),
        at(80, udp("[2001:db8:9::9]:777", "[2001:db8:113::2]:5000")),
    ];
    let map = || Action::EndpointIndependent(Translation::default());
    let policy = translating(
        vec![rule(10, in_wan(), map(), "let in")],
        vec![rule(20, out_wan(), map(), "map")],
    );
    golden(
        "endpoint-independent-nat",
        &[("lan", lan), ("wan", wan)],
        policy,
    );
}

/// The ports are what the seed makes of them.
#[test]
fn randomise_ports_is_told_as_expected() {
    let lan = (0..6).map(|n| {
        let from = format!("192.168.88.{}:5000", 10 + n);
        at(n * 10, udp(&from, "198.51.100.1:53"))
    });
    let mut random = rule(20, out_wan(), Action::Masquerade(None), "");
    random.port_choice = PortChoice::Random;
    let policy = translating(Vec::new(), vec![random]);
    golden("randomise-ports", &[("lan", lan.collect())], policy);
}

/// Out, back in, and in from somebody new, in both families, and pings.
#[test]
fn netmap_is_told_as_expected() {
    let lan = vec![
        at(0, udp("192.168.88.10:5000", "198.51.100.1:53")),
        at(10, udp("192.168.88.11:5000", "198.51.100.1:53")),
        at(20, ping("192.168.88.10", "198.51.100.1", 8)),
        at(30, udp("[fd00:88::10]:5000", "[2001:db8:7::7]:53")),
    ];
    let wan = vec![
        at(40, udp("198.51.100.1:53", "198.18.5.10:5000")),
        at(50, udp("192.0.2.9:777", "198.18.5.77:80")),
        at(60, ping("198.51.100.1", "198.18.5.10", 0)),
        at(70, udp("[2001:db8:9::9]:777", "[2001:db8:1::77]:80")),
    ];
    let (mut dstnat, mut srcnat) = (Vec::new(), Vec::new());
    let last = "ffff:ffff:ffff:ffff";
    for (inside, outside) in [
        (
            range("192.168.88.0", "192.168.88.255"),
            range("198.18.5.0", "198.18.5.255"),
        ),
        (
            range("fd00:88::", &format!("fd00:88::{last}")),
            range("2001:db8:1::", &format!("2001:db8:1::{last}")),
        ),
    ] {
        let to_outside = Matchers {
            dst_address: Some(is(outside)),
            ..in_wan()
        };
        let from_inside = Matchers {
            src_address: Some(is(inside)),
            ..out_wan()
        };
        dstnat.push(rule(10, to_outside, Action::Netmap(inside), ""));
        srcnat.push(rule(20, from_inside, Action::Netmap(outside), ""));
    }
    let policy = translating(dstnat, srcnat);
    golden("netmap", &[("lan", lan), ("wan", wan)], policy);
}

/// One host, two of its ports, four servers: for each server one address, whatever the port.
#[test]
fn same_is_told_as_expected() {
    let lan: Vec<Packet> = (0..8)
        .map(|n| {
            let from = format!("192.168.88.10:{}", 5000 + n / 4);
            let to = format!("198.51.100.{}:53", n % 4);
            at(n * 10, udp(&from, &to))
        })
        .collect();
    let four = Translation {
        addresses: Some(range("203.0.113.8", "203.0.113.11")),
        ports: None,
    };
    for (name, by) in [("same", SameBy::Both), ("same-not-by-dst", SameBy::Client)] {
        let same = rule(20, out_wan(), Action::Same(four, by), "");
        let policy = translating(Vec::new(), vec![same]);
        golden(name, &[("lan", lan.clone())], policy);
    }
}
