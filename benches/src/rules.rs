//! Rule sets as gateways have them, of any size, and what an attempt costs under them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::burst::BURST_MAX;
use turnpike_pipeline::ids::ChainId;
use turnpike_pipeline::policy::{
    Action, AddressRange, Chain, Match, Matchers, Policy, PortSet, Rule, TableKind,
};

use crate::{
    ATTEMPTED_PORT, InlineBuffer, LAN, Rig, accept_known, attempt, compile, gateway, is, outward,
    rule,
};

/// Places of a rig's table, and half-open connections before they are let go: fewer than close the
/// SYN gate.
const PLACES: usize = 1 << 15;
const OPEN_MAX: usize = 1 << 12;

/// A gateway with so many rules in filter, none of which an [`attempt`] matches but the last.
///
/// Half of them stand in `forward`: sources that are blocked, and servers with a port or two. A
/// jump for TCP leads to a chain about ports, another to one about networks and ranges of ports.
pub fn realistic(rules: usize) -> Policy {
    let mut policy = gateway();
    let share = rules.saturating_sub(4) / 4;
    let (mut ports, mut networks) = (Vec::new(), Vec::new());
    let mut forward = vec![accept_known()];
    for n in 0..u32::try_from(share).unwrap_or(u32::MAX) {
        forward.push(blocked(n));
        forward.push(server(n));
        ports.push(port(n));
        networks.push(network(n));
    }
    let chains = &mut policy.filter.chains;
    for (name, rules) in [("ports", ports), ("networks", networks)] {
        let to = u16::try_from(chains.len()).unwrap_or(u16::MAX);
        let tcp = Matchers {
            protocol: Some(is(Proto::TCP)),
            ..Matchers::default()
        };
        forward.push(rule(tcp, Action::Jump(ChainId(to))));
        chains.push(chain(name, rules));
    }
    let attempted = Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: Some(is(PortSet::new([ATTEMPTED_PORT..=ATTEMPTED_PORT]))),
        ..Matchers::default()
    };
    forward.push(rule(attempted, Action::Accept));
    if let Some(chain) = chains.iter_mut().find(|chain| chain.name == "forward") {
        chain.rules = forward;
    }
    policy
}

/// A gateway with so many blocked sources in raw.
pub fn blocklist(rules: usize) -> Policy {
    let mut policy = gateway();
    let rules = 0..u32::try_from(rules).unwrap_or(u32::MAX);
    if let Some(prerouting) = policy.raw.chains.first_mut() {
        prerouting.rules = rules.map(blocked).collect();
    }
    policy
}

/// A gateway with so many rules in one chain, each about fields of its own in every way.
pub fn everything(rules: usize) -> Policy {
    let mut policy = gateway();
    let all = (0..u32::try_from(rules).unwrap_or(u32::MAX)).map(|n| {
        let to = Matchers {
            src_address: addresses(0x0b00_0000 + n, 0x0b20_0000 - n),
            dst_address: addresses(0x0c00_0000 + n * 7, 0x0d00_0000 - n),
            src_port: ports(n * 31, n * 31 + 9),
            dst_port: ports(n, n + 1),
            ..Matchers::default()
        };
        rule(to, Action::Drop)
    });
    if let Some(chain) = policy
        .filter
        .chains
        .iter_mut()
        .find(|c| c.name == "forward")
    {
        chain.rules = all.collect();
    }
    policy
}

fn blocked(n: u32) -> Rule {
    let source = Matchers {
        src_address: addresses(0x0b00_0000 + n * 3, 0x0b00_0000 + n * 3),
        ..Matchers::default()
    };
    rule(source, Action::Drop)
}

fn server(n: u32) -> Rule {
    let server = Matchers {
        protocol: Some(is(if n.is_multiple_of(4) {
            Proto::UDP
        } else {
            Proto::TCP
        })),
        dst_address: addresses(0xc612_0000 + n, 0xc612_0000 + n),
        dst_port: ports(443, 443 + n % 2),
        ..Matchers::default()
    };
    rule(server, Action::Accept)
}

fn port(n: u32) -> Rule {
    let port = Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: ports(n, n),
        ..Matchers::default()
    };
    rule(port, Action::Drop)
}

fn network(n: u32) -> Rule {
    let network = Matchers {
        src_address: addresses(0x6440_0000 + (n << 6), 0x6440_003f + (n << 6)),
        dst_port: ports(1_024 + n, 2_048 + n),
        ..Matchers::default()
    };
    rule(network, Action::Drop)
}

fn addresses(first: u32, last: u32) -> Option<Match<AddressRange>> {
    let ip = |bits: u32| IpAddr::V4(Ipv4Addr::from(bits));
    Some(is(AddressRange {
        first: ip(first),
        last: ip(last),
    }))
}

/// Ports, kept below the attempted one.
fn ports(first: u32, last: u32) -> Option<Match<PortSet>> {
    let port = |n: u32| u16::try_from(n % 60_000).unwrap_or_default();
    let (a, b) = (port(first), port(last));
    Some(is(PortSet::new([a.min(b)..=a.max(b)])))
}

fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        rules,
    }
}

/// How many rules a policy has.
pub fn count(policy: &Policy) -> usize {
    let tables = TableKind::ALL.into_iter();
    let chains = tables.flat_map(|kind| &policy.table(kind).chains);
    chains.map(|chain| chain.rules.len()).sum()
}

/// A worker to which connections are opened, burst after burst.
#[derive(Debug)]
pub struct Attempts {
    rig: Rig,
    next: u32,
}

impl Attempts {
    /// A worker under this policy that has seen its first packets.
    pub fn under(policy: &Policy) -> Self {
        let mut attempts = Self {
            rig: Rig::under(PLACES, compile(policy)),
            next: 0,
        };
        attempts.burst();
        attempts
    }

    /// How long a burst of SYNs takes, each of which opens a connection.
    ///
    /// # Panics
    /// If one of them does not.
    pub fn burst(&mut self) -> Duration {
        if self.rig.table().len() + BURST_MAX > OPEN_MAX {
            while !self.rig.table().is_empty() {
                self.rig.wait(Duration::from_secs(1));
            }
        }
        let from = self.next % 1_000_000;
        self.next = from + 64;
        let mut frames: ArrayVec<InlineBuffer, BURST_MAX> =
            (from..).filter_map(attempt).take(BURST_MAX).collect();
        let start = Instant::now();
        let opened = self.rig.run(LAN, &mut frames);
        let taken = start.elapsed();
        assert_eq!(opened, BURST_MAX, "every one is opened");
        taken
    }
}

/// A worker with a few established connections.
#[derive(Debug)]
pub struct Established(Rig);

impl Established {
    /// A worker under this policy.
    ///
    /// # Panics
    /// If a connection cannot be opened.
    pub fn under(policy: &Policy) -> Self {
        let mut rig = Rig::under(PLACES, compile(policy));
        let opened = (0..64).filter_map(|n| rig.open(n)).count();
        assert_eq!(opened, 64, "every connection is open");
        Self(rig)
    }

    /// How long a burst takes, one packet of each connection.
    ///
    /// # Panics
    /// If one of them does not pass.
    pub fn burst(&mut self) -> Duration {
        let mut frames: ArrayVec<InlineBuffer, BURST_MAX> = (0..64).filter_map(outward).collect();
        let start = Instant::now();
        let passed = self.0.run(LAN, &mut frames);
        let taken = start.elapsed();
        assert_eq!(passed, BURST_MAX, "every one passes");
        taken
    }
}
