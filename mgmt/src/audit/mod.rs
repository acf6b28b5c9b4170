//! `turnpike audit`: what the rules expose, against the catalogue of services and their safety.
//!
//! Connections are imagined, one for each pair of a sender and a receiver that the rules tell apart
//! and for each service, and the evaluator that judges packets says what becomes of them
//! (`probe`). Who and what is imagined is in `cast`; what they reach in `reach`; what there
//! is to say about it in `advice`, and about rules that do nothing in `idle`.
//!
//! An audit errs on the side of reaching: where a rule asks what only a packet, a rate or a count
//! can answer, accepting rules are taken to match and refusing ones not to. It sees new
//! connections only, and those of an interface's own addresses only.

mod advice;
mod cast;
mod idle;
mod probe;
mod reach;

use std::sync::Arc;

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::Generation;
use turnpike_conntrack::rss::Distribution;
use turnpike_pipeline::ids::{IfaceId, Mac};
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::policy::{Policy, Via};
use turnpike_pipeline::program::{CompileContext, Program};

use crate::config::Config;
use crate::problem::did_you_mean;
use crate::report::Audit;

/// The interface list whose members are untrusted unless others are named.
const UNTRUSTED_LIST: &str = "WAN";

/// What the parts of an audit look at.
struct Subject<'a> {
    config: &'a Config,
    program: &'a Program,
    untrusted: &'a [IfaceId],
}

impl Subject<'_> {
    fn name(&self, iface: IfaceId) -> &str {
        self.program.interface_name(iface).unwrap_or("?")
    }
}

/// Audits a configuration; nobody is trusted behind the interfaces, or lists of them, that
/// `untrusted` names. Where it names none these are the interfaces with a default route and the
/// members of a list called `WAN`.
///
/// # Errors
/// A name that is neither an interface nor a list of them.
pub fn audit(config: &Config, untrusted: &[String]) -> Result<Audit, String> {
    let policy = &config.policy;
    let untrusted = if untrusted.is_empty() {
        facing_outside(policy)
    } else {
        named(policy, untrusted)?
    };
    let program = compile(policy);
    let subject = Subject {
        config,
        program: &program,
        untrusted: &untrusted,
    };
    let reach = reach::explore(&subject);
    let mut findings = advice::on(&subject, &reach);
    findings.extend(idle::rules(policy));
    findings.sort_by(|a, b| {
        (a.severity, place(&a.source), &a.advice, &a.message).cmp(&(
            b.severity,
            place(&b.source),
            &b.advice,
            &b.message,
        ))
    });
    findings.dedup();
    let names = untrusted.iter().map(|i| subject.name(*i).to_owned());
    Ok(Audit {
        file: config.file.to_string(),
        untrusted: names.collect(),
        findings,
        reachable: reach::describe(&subject, &reach),
    })
}

/// `file:line` in an order in which line 9 comes before line 10.
fn place(source: &Option<String>) -> (&str, u32) {
    let source = source.as_deref().unwrap_or_default();
    let (file, line) = source.rsplit_once(':').unwrap_or((source, "0"));
    (file, line.parse().unwrap_or(0))
}

fn facing_outside(policy: &Policy) -> Vec<IfaceId> {
    let tables = policy.routing.tables.iter();
    let routes = tables.flat_map(|table| &table.routes);
    let routes = policy.routes.iter().chain(routes);
    let default = routes.filter(|route| route.destination.prefix_len() == 0);
    let by_route = default.filter_map(|route| match route.via {
        Via::Gateway(iface, _) | Via::Interface(iface) => Some(iface),
        Via::Unreachable | Via::Blackhole => None,
    });
    let lists = policy.interface_lists.iter();
    let wan = lists.filter(|list| list.name == UNTRUSTED_LIST);
    let mut found: Vec<IfaceId> = by_route
        .chain(wan.flat_map(|list| list.members.iter().copied()))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn named(policy: &Policy, names: &[String]) -> Result<Vec<IfaceId>, String> {
    let mut found = Vec::new();
    for name in names {
        let interfaces = (0..).map(IfaceId).zip(&policy.interfaces);
        let mut interface = interfaces.filter(|(_, iface)| iface.name == *name);
        let list = policy.interface_lists.iter().find(|l| l.name == *name);
        match (interface.next(), list) {
            (Some((id, _)), _) => found.push(id),
            (None, Some(list)) => found.extend(&list.members),
            (None, None) => {
                let known = policy.interfaces.iter().map(|i| i.name.as_str());
                let known = known.chain(policy.interface_lists.iter().map(|l| l.name.as_str()));
                let near = did_you_mean(name, known);
                return Err(format!(
                    "`{name}` is neither an interface nor a list of interfaces{near}"
                ));
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The policy on ports that are made up: an audit needs no device.
fn compile(policy: &Policy) -> Program {
    let last = policy.interfaces.iter().map(|i| i.port.0).max();
    let ports: Vec<PortFacts> = (0..=last.unwrap_or(0))
        .map(|_| PortFacts {
            mac: Mac::default(),
            mtu: u16::MAX,
            distribution: Arc::new(Distribution::software(1)),
        })
        .collect();
    let context = CompileContext {
        generation: Generation(1),
        workers: 1,
        ports: &ports,
        previous: None,
        key: HashKey([1, 2, 3, 4]),
    };
    Program::compile(policy, &context)
}

#[cfg(test)]
mod agreement;
