//! Translation of the gateway's own connections: nat's chains input and output.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{at, balanced, echo, one, udp};
use sim::{LAN, Sim, WAN, ip, is, open_policy, rule};
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::outbox::{FromSlowPath, Outbox};
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::policy::{
    Action, AddressRange, Matchers, NatStateSet, Policy, PortRange, Translation,
};

const DSTNAT: usize = 0;
const SRCNAT: usize = 1;
const INPUT: usize = 2;
const OUTPUT: usize = 3;

fn single(address: &str) -> AddressRange {
    AddressRange {
        first: ip(address),
        last: ip(address),
    }
}

fn to(address: &str, port: Option<u16>) -> Translation {
    Translation {
        addresses: Some(single(address)),
        ports: port.map(|port| PortRange {
            first: port,
            last: port,
        }),
    }
}

fn translating(chain: usize, matchers: Matchers, action: Action) -> Policy {
    let mut policy = open_policy();
    policy.nat.chains[chain].rules.push(rule(matchers, action));
    policy
}

#[test]
fn input_translates_the_source_of_what_is_for_the_gateway_and_nothing_else() {
    let action = Action::SrcNat(to("192.0.2.77", None));
    let mut policy = translating(INPUT, Matchers::default(), action);
    // Behind the filter, as in Linux: it sees who asks, and then that it is translated.
    policy.mangle.chains[1].rules.push(rule(
        Matchers {
            connection_nat_state: Some(is(NatStateSet(NatStateSet::SRCNAT))),
            ..Matchers::default()
        },
        Action::Passthrough,
    ));
    for workers in [1, 4] {
        let mut sim = Sim::new(&policy, workers);
        for id in 1..=20 {
            for _ in 0..2 {
                let ping = echo(LAN, "192.168.88.10", "192.168.88.1", 8, id);
                let answer = one(&sim.inject(LAN, ping), LAN);
                assert_eq!(answer.words(), "192.168.88.1 > 192.168.88.10");
                assert_eq!(answer.parsed.icmp(), Some((0, 0)));
            }
        }
        assert_eq!(sim.connections(), 20);
        let all = sim.workers.iter_mut().flat_map(|worker| {
            let table = &worker.conntrack().v4;
            let mut seen = Vec::new();
            table.walk(0, 10_000, sim.now, |c| seen.push(c.pair.reply.dst));
            seen
        });
        assert!(all.into_iter().all(|dst| dst == [192, 0, 2, 77]));
        assert_eq!(sim.rule_packets(0), 20, "the second packets");
        assert_eq!(sim.rule_packets(1), 20, "the first packets");
        let through = one(
            &sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53")),
            WAN,
        );
        assert_eq!(through.words(), "192.168.88.10:4000 > 198.51.100.7:53");
        balanced(&sim);
    }
}

/// A datagram that the gateway itself sends.
fn own(sim: &mut Sim, from: &str, to: &str) -> Vec<(turnpike_pipeline::ids::PortId, Vec<u8>)> {
    let craft = Craft::udp(at(from), at(to)).unwrap().payload(b"own");
    let buf = HeapBuffer::new(craft.frame().unwrap(), 0);
    sim.slow_counters.generated.add(1);
    let mut out = Outbox::default();
    sim.workers[0].resume(FromSlowPath::Output(buf), sim.now, &mut out);
    sim.finish(0, &mut out)
}

#[test]
fn output_translates_the_destination_of_the_gateways_own_connections() {
    let udp_only = || Matchers {
        protocol: Some(is(Proto::UDP)),
        ..Matchers::default()
    };
    let action = Action::DstNat(to("192.168.88.53", Some(5_353)));
    let mut policy = translating(OUTPUT, udp_only(), action);
    let elsewhere = Action::DstNat(to("192.168.88.99", None));
    policy.nat.chains[DSTNAT]
        .rules
        .push(rule(udp_only(), elsewhere));
    let mut sim = Sim::new(&policy, 1);
    for _ in 0..2 {
        let sent = own(&mut sim, "203.0.113.2:5000", "198.51.100.7:53");
        let words = one(&sent, LAN).words();
        assert_eq!(words, "203.0.113.2:5000 > 192.168.88.53:5353");
    }
    let answer = udp(LAN, "192.168.88.53:5353", "203.0.113.2:5000");
    sim.inject(LAN, answer);
    let state = sim.last_end().state.unwrap();
    assert_eq!(state.name(), "established");
    assert_eq!(sim.rule_packets(1), 1, "the first packet only");
    assert_eq!(sim.rule_packets(0), 0, "dstnat is for others");
    assert_eq!(sim.connections(), 1);
    balanced(&sim);
}

#[test]
fn srcnat_comes_behind_output_for_own_connections() {
    let action = Action::DstNat(to("198.51.100.9", None));
    let mut policy = translating(OUTPUT, Matchers::default(), action);
    let from = Action::SrcNat(to("203.0.113.9", None));
    policy.nat.chains[SRCNAT]
        .rules
        .push(rule(Matchers::default(), from));
    let mut sim = Sim::new(&policy, 1);
    let sent = own(&mut sim, "203.0.113.2:5000", "198.51.100.7:53");
    let words = one(&sent, WAN).words();
    assert_eq!(words, "203.0.113.9:5000 > 198.51.100.9:53");
    balanced(&sim);
}
