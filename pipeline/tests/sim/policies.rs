//! Policies that chance puts together, over the interfaces of the harness.

use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::policy::{
    Action, AddressRange, IpFamily, Matchers, Policy, PortChoice, PortRange, PortSet, RejectWith,
    Rule, Translation, Unreachable,
};

use crate::random::Random;
use crate::sim::{LAN_IF, WAN_IF, ip, is, open_policy, rule, states};

/// A policy and what is known of it.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub policy: Policy,
    /// Whether the first rule of `forward` accepts what is established or related.
    pub keeps_established: bool,
}

pub fn random_policy(random: &mut Random) -> Chosen {
    let mut policy = open_policy();
    if random.chance(25) {
        policy.interfaces[1].mtu = 1_300;
    }
    policy.nat.chains[0].rules = dst_nat(random);
    policy.nat.chains[1].rules = src_nat(random);
    policy.raw.chains[0].rules = raw(random);
    let keeps_established = random.chance(75);
    let forward = &mut policy.filter.chains[1].rules;
    if keeps_established {
        let known = Matchers {
            connection_state: states(&[ConnState::Established, ConnState::Related]),
            ..Matchers::default()
        };
        if random.chance(30) {
            forward.push(rule(known.clone(), Action::Fasttrack));
        }
        forward.push(rule(known, Action::Accept));
    }
    for _ in 0..random.below(5) {
        forward.push(forward_rule(random));
    }
    if random.chance(50) {
        forward.push(rule(Matchers::default(), Action::Accept));
    }
    if random.chance(40) {
        let ports = to_ports(Proto::TCP, WAN_IF, 1..=1_023);
        let action = Action::Reject(RejectWith::TcpReset);
        policy.filter.chains[0].rules.push(rule(ports, action));
    }
    let words = ["in ", "out "];
    for (chain, word) in [(0, words[0]), (2, words[1])] {
        if random.chance(20) {
            let logging = rule(Matchers::default(), Action::Log(word.into()));
            policy.filter.chains[chain].rules.push(logging);
        }
    }
    Chosen {
        policy,
        keeps_established,
    }
}

fn to_ports(proto: Proto, from: IfaceId, ports: std::ops::RangeInclusive<u16>) -> Matchers {
    Matchers {
        protocol: Some(is(proto)),
        in_interface: Some(is(from)),
        dst_port: Some(is(PortSet::new([ports]))),
        ..Matchers::default()
    }
}

fn forward_rule(random: &mut Random) -> Rule {
    let proto = random.pick(&[Proto::TCP, Proto::UDP]);
    let from = random.pick(&[LAN_IF, WAN_IF]);
    let first = 80 + u16::from(random.byte());
    let matchers = match random.below(4) {
        0 => Matchers {
            connection_state: states(&[ConnState::Invalid]),
            ..Matchers::default()
        },
        1 => Matchers {
            in_interface: Some(is(from)),
            connection_state: states(&[ConnState::New]),
            ..Matchers::default()
        },
        2 => to_ports(proto, from, first..=first + 40),
        _ => Matchers::default(),
    };
    let narrow = matchers != Matchers::default();
    let action = match random.below(if narrow { 8 } else { 3 }) {
        0 => Action::Passthrough,
        1 => Action::Log("seen ".into()),
        2 => Action::Fasttrack,
        3 => Action::Drop,
        4 => Action::Reject(RejectWith::TcpReset),
        5 => Action::Reject(RejectWith::Icmp(Unreachable::AdminProhibited)),
        _ => Action::Accept,
    };
    let mut made = rule(matchers, action);
    if random.chance(10) {
        made.log = Some("also ".into());
    }
    made
}

fn src_nat(random: &mut Random) -> Vec<Rule> {
    let out_wan = Matchers {
        out_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    };
    let few = PortRange {
        first: 2_000,
        last: 2_031,
    };
    match random.below(8) {
        0 => Vec::new(),
        1 => vec![rule(out_wan, Action::Masquerade(Some(few)))],
        2 => {
            let v4 = Matchers {
                family: Some(IpFamily::V4),
                ..out_wan.clone()
            };
            let two = Translation {
                addresses: Some(AddressRange {
                    first: ip("203.0.113.8"),
                    last: ip("203.0.113.9"),
                }),
                ports: None,
            };
            vec![
                rule(v4, Action::SrcNat(two)),
                rule(out_wan, Action::Masquerade(None)),
            ]
        }
        3 => {
            let mapping = Translation {
                addresses: None,
                ports: random.chance(50).then_some(few),
            };
            let mut mapped = rule(out_wan, Action::EndpointIndependent(mapping));
            if random.chance(50) {
                mapped.port_choice = PortChoice::Random;
            }
            vec![mapped]
        }
        _ => vec![rule(out_wan, Action::Masquerade(None))],
    }
}

fn dst_nat(random: &mut Random) -> Vec<Rule> {
    let mut rules = Vec::new();
    for proto in [Proto::TCP, Proto::UDP] {
        if !random.chance(40) {
            continue;
        }
        let inside = ip("192.168.88.10");
        let to = Translation {
            addresses: Some(AddressRange {
                first: inside,
                last: inside,
            }),
            ports: random.chance(50).then_some(PortRange {
                first: 8_080,
                last: 8_081,
            }),
        };
        let mut matchers = to_ports(proto, WAN_IF, 80..=90);
        matchers.family = Some(IpFamily::V4);
        rules.push(rule(matchers, Action::DstNat(to)));
    }
    if random.chance(30) {
        let in_wan = Matchers {
            in_interface: Some(is(WAN_IF)),
            ..Matchers::default()
        };
        let let_in = Action::EndpointIndependent(Translation::default());
        rules.push(rule(in_wan, let_in));
    }
    rules
}

fn raw(random: &mut Random) -> Vec<Rule> {
    let mut rules = Vec::new();
    if random.chance(20) {
        let ports = to_ports(Proto::UDP, LAN_IF, 100..=110);
        rules.push(rule(ports, Action::NoTrack));
    }
    if random.chance(20) {
        let ports = to_ports(Proto::TCP, LAN_IF, 100..=110);
        rules.push(rule(ports, Action::Drop));
    }
    if random.chance(20) {
        rules.push(rule(Matchers::default(), Action::Passthrough));
    }
    rules
}
