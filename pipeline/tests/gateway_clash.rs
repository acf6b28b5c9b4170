//! Connections that would share a tuple, over several workers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{balanced, one, udp};
use sim::{LAN, Sim, WAN, WAN_IF, ip, is, open_policy, rule};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::outbox::Found;
use turnpike_pipeline::policy::{
    Action, AddressRange, Matchers, Policy, PortRange, PortSet, Translation,
};

const SERVER: &str = "192.168.88.80:8080";
const PUBLISHED: &str = "203.0.113.2:80";

/// The server is reached by its own address, and by the gateway's.
fn published() -> Policy {
    let server = ip("192.168.88.80");
    let to = Translation {
        addresses: Some(AddressRange {
            first: server,
            last: server,
        }),
        ports: Some(PortRange {
            first: 8_080,
            last: 8_080,
        }),
    };
    let to_port_80 = Matchers {
        protocol: Some(is(Proto::UDP)),
        dst_port: Some(is(PortSet::new([80..=80]))),
        in_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    };
    let mut policy = open_policy();
    policy.nat.chains[0]
        .rules
        .push(rule(to_port_80, Action::DstNat(to)));
    policy
}

#[test]
fn a_client_that_reaches_a_server_in_two_ways_from_one_port_has_two_connections() {
    for workers in [1, 2, 4] {
        let mut sim = Sim::new(&published(), workers);
        for n in 0..60_u16 {
            // Each its own address: another port, given to one client, may be the next one's own.
            let (host, port) = (format!("198.51.100.{}", 7 + n), 5_000 + n);
            let client = format!("{host}:{port}");
            let mut ways = [PUBLISHED, SERVER];
            if n % 2 == 1 {
                ways.reverse();
            }
            let seen = ways.map(|to| {
                let inwards = one(&sim.inject(WAN, udp(WAN, &client, to)), LAN);
                inwards.tuple().src_port
            });
            assert_eq!(seen[0].0, port, "the first keeps its port");
            assert_ne!(seen[0], seen[1], "the second gets another");
            for (to, port) in ways.into_iter().zip(seen) {
                let answer = udp(LAN, SERVER, &format!("{host}:{}", port.0));
                let back = one(&sim.inject(LAN, answer), WAN);
                assert_eq!(back.words(), format!("{to} > {client}"));
                assert_eq!(sim.last_end().state, Some(ConnState::Established));
                let again = one(&sim.inject(WAN, udp(WAN, &client, to)), LAN);
                assert_eq!(again.tuple().src_port, port, "and keeps it");
            }
        }
        assert_eq!(sim.connections(), 120);
        balanced(&sim);
    }
}

#[test]
fn answers_of_a_published_server_find_their_connection_without_a_handover() {
    let mut sim = Sim::new(&published(), 2);
    let owned = |sim: &Sim, found| -> u64 {
        sim.counters
            .iter()
            .map(|c| c.handed_over(found).read())
            .sum()
    };
    for n in 0..40_u16 {
        let client = format!("198.51.100.7:{}", 5_000 + n);
        sim.inject(WAN, udp(WAN, &client, PUBLISHED));
    }
    let opened = owned(&sim, Found::ReplyArrives);
    assert!(opened > 0, "this address pair hashes to different workers");
    for n in 0..40_u16 {
        let client = format!("198.51.100.7:{}", 5_000 + n);
        one(&sim.inject(LAN, udp(LAN, SERVER, &client)), WAN);
    }
    assert_eq!(owned(&sim, Found::AsOwner), 0);
    for n in 0..40_u16 {
        let client = format!("198.51.100.7:{}", 5_000 + n);
        one(&sim.inject(WAN, udp(WAN, &client, PUBLISHED)), LAN);
    }
    assert_eq!(owned(&sim, Found::AsOwner), opened, "requests are steered");
    assert_eq!(sim.rule_packets(0), 40, "each first packet counts once");
    balanced(&sim);
}
