//! A small gateway and short words for the unit tests of this crate.

use std::net::IpAddr;
use std::sync::Arc;

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::Generation;
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::layer7::Pattern;

use crate::ids::{Mac, PortId};
use crate::interfaces::PortFacts;
use crate::policy::{
    Action, Chain, Interface, Layer7Protocol, Matchers, NatStateSet, Policy, PortChoice, Route,
    Rule, Source, Via,
};
use crate::program::{CompileContext, Program};
use crate::rules::{Facts, Marks};

/// lan (port 0), wan (port 1), and guest, which is VLAN 20 on port 0; a default route by wan.
pub(crate) fn gateway() -> Policy {
    let iface = |name: &str, port, vlan, addresses: &[&str]| Interface {
        name: name.to_owned(),
        port: PortId(port),
        vlan,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mtu: 1500,
    };
    Policy {
        interfaces: vec![
            iface("lan", 0, None, &["192.168.88.1/24", "2001:db8:88::1/64"]),
            iface("wan", 1, None, &["203.0.113.2/24", "2001:db8:ffff::2/64"]),
            iface("guest", 0, Some(20), &["10.20.0.1/16"]),
        ],
        routes: vec![Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            via: Via::Gateway(crate::ids::IfaceId(1), ip("203.0.113.1")),
        }],
        ..Policy::default()
    }
}

/// Two ports of 1500 and 1400 bytes.
pub(crate) fn ports() -> Vec<PortFacts> {
    let port = |last, mtu| PortFacts {
        mac: Mac([0x02, 0, 0, 0, 0, last]),
        mtu,
        distribution: Arc::new(Distribution::software(1)),
    };
    vec![port(1, 1500), port(2, 1400)]
}

/// A rule without matchers, named after its action.
pub(crate) fn rule(action: Action) -> Rule {
    Rule {
        matchers: Matchers::default(),
        text: format!("{action:?}").into(),
        action,
        log: None,
        comment: "".into(),
        disabled: false,
        port_choice: PortChoice::Preserved,
        source: Source {
            file: "gw.yaml".into(),
            line: 41,
        },
    }
}

/// A chain of these rules.
pub(crate) fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        rules,
    }
}

/// A protocol that is found where its name is.
pub(crate) fn layer7_protocol(name: &str) -> Layer7Protocol {
    Layer7Protocol {
        name: name.to_owned(),
        pattern: Pattern::read(name).unwrap(),
        comment: "".into(),
    }
}

/// The policy compiled for one worker, after `previous`.
pub(crate) fn compile_after(policy: &Policy, previous: Option<&Program>) -> Program {
    Program::compile(
        policy,
        &CompileContext {
            generation: Generation(previous.map_or(1, |p| p.generation.0 + 1)),
            workers: 1,
            ports: &ports(),
            previous,
            key: HashKey([
                0x0123_4567_89ab_cdef,
                0x1032_5476_98ba_dcfe,
                0x5555_aaaa_3333_cccc,
                0x0f1e_2d3c_4b5a_6978,
            ]),
        },
    )
}

/// The policy compiled for one worker.
pub(crate) fn compile(policy: &Policy) -> Program {
    compile_after(policy, None)
}

/// An address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A packet between two addresses of a protocol without ports, nothing else known about it.
pub(crate) fn bare(src: &str, dst: &str, proto: Proto) -> Facts {
    Facts {
        src: ip(src),
        dst: ip(dst),
        proto,
        src_port: None,
        dst_port: None,
        icmp: None,
        in_interface: None,
        out_interface: None,
        state: None,
        nat_state: NatStateSet::default(),
        helper: None,
        layer7: Layer7::Unknown,
        now: Tick::default(),
        marks: Marks::default(),
        routing_table: None,
    }
}
