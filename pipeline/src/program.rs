//! A compiled policy: everything a worker needs to judge packets, immutable.
//!
//! Compiling cannot fail; what could be wrong was refused when the configuration was checked. A
//! program is published by one pointer store, and workers adopt it between bursts. Counters live
//! in cells that successive programs share: a rule with the same canonical text in the same chain
//! goes on counting where it was, even while some workers still run the old program.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::Ipv6Addr;

use turnpike_conntrack::ids::{Generation, WorkerId};

use crate::counters::{Counts, PerInterface, RuleCounters};
use crate::fib::Fib;
use crate::ids::{IfaceId, RuleId};
use crate::interfaces::{Interfaces, PortFacts};
use crate::lists::Lists;
use crate::policy::{Policy, Tracking};
use crate::rules::Rules;

/// A policy, compiled.
#[derive(Debug)]
pub struct Program {
    /// Which program this is: one more than the one before it.
    pub generation: Generation,
    /// The interfaces.
    pub interfaces: Interfaces,
    /// The forwarding table.
    pub fib: Fib,
    /// The address lists.
    pub lists: Lists,
    /// The rules of all tables.
    pub rules: Rules,
    /// Connection tracking settings.
    pub tracking: Tracking,
    carry: Box<[Option<RuleId>]>,
    rule_counters: Box<[RuleCounters]>,
    interface_counters: Box<[PerInterface]>,
}

/// What compiling needs besides the policy.
#[derive(Debug, Clone, Copy)]
pub struct CompileContext<'a> {
    /// The new program's generation.
    pub generation: Generation,
    /// How many workers will run it; each has counters of its own.
    pub workers: usize,
    /// The engine's ports; a `PortId` is an index here.
    pub ports: &'a [PortFacts],
    /// The program that is running, whose counters go on.
    pub previous: Option<&'a Program>,
}

impl Program {
    /// Compiles a checked policy.
    pub fn compile(policy: &Policy, context: &CompileContext<'_>) -> Self {
        let interfaces = Interfaces::build(policy, context.ports);
        let link_locals: Vec<Ipv6Addr> = interfaces.iter().map(|(_, i)| i.link_local).collect();
        let rules = Rules::build(policy);
        let previous = context.previous;
        let carry = carried_rules(&rules, previous);
        let same_interfaces = carried_interfaces(&interfaces, previous);
        let workers = 0..context.workers;
        Self {
            generation: context.generation,
            fib: Fib::build(&policy.interfaces, &link_locals, &policy.routes),
            lists: Lists::build(&policy.address_lists),
            tracking: policy.tracking.clone(),
            rule_counters: workers
                .clone()
                .map(|w| RuleCounters::build(&carry, previous.and_then(|p| p.rule_counters.get(w))))
                .collect(),
            interface_counters: workers
                .map(|w| {
                    let before = previous.and_then(|p| p.interface_counters.get(w));
                    PerInterface::build(&same_interfaces, before)
                })
                .collect(),
            interfaces,
            rules,
            carry,
        }
    }

    /// The rule's name as people are told it: `table/chain/N file:line`, `None` for no such rule.
    pub fn rule_name(&self, rule: RuleId) -> Option<String> {
        self.rules.find(rule).map(ToString::to_string)
    }

    /// The same rule in the program before this one, `None` for a new rule.
    ///
    /// Rules are the same when table, chain and canonical text are; of several equal ones the
    /// first is the first, the second the second, and so on.
    pub fn carried_from(&self, rule: RuleId) -> Option<RuleId> {
        *self.carry.get(usize::try_from(rule.0).ok()?)?
    }

    /// One worker's rule counters, which that worker alone may add to.
    pub fn rule_counters(&self, worker: WorkerId) -> Option<&RuleCounters> {
        self.rule_counters.get(usize::from(worker.0))
    }

    /// What a rule has counted so far, all workers together.
    pub fn rule_counts(&self, rule: RuleId) -> Counts {
        let each = self.rule_counters.iter().map(|c| c.read(rule));
        each.fold(Counts::default(), std::ops::Add::add)
    }

    /// One worker's interface counters, which that worker alone may add to.
    pub fn interface_counters(&self, worker: WorkerId) -> Option<&PerInterface> {
        self.interface_counters.get(usize::from(worker.0))
    }

    /// What has been received on and sent by an interface so far, all workers together.
    pub fn interface_counts(&self, iface: IfaceId) -> (Counts, Counts) {
        let each = self.interface_counters.iter().filter_map(|c| c.find(iface));
        each.fold(Default::default(), |(received, sent), c| {
            (received + c.received.read(), sent + c.sent.read())
        })
    }
}

/// For each rule of the new program the same rule of the one before.
fn carried_rules(rules: &Rules, previous: Option<&Program>) -> Box<[Option<RuleId>]> {
    let old = previous.into_iter().flat_map(|p| p.rules.iter());
    carry(
        old.map(|(id, rule)| ((rule.table, &*rule.chain_name, &*rule.text), id)),
        rules
            .iter()
            .map(|(_, rule)| (rule.table, &*rule.chain_name, &*rule.text)),
    )
}

/// For each interface of the new program the one of the same name in the program before.
fn carried_interfaces(new: &Interfaces, previous: Option<&Program>) -> Box<[Option<IfaceId>]> {
    let old = previous.into_iter().flat_map(|p| p.interfaces.iter());
    carry(
        old.map(|(id, iface)| (&*iface.name, id)),
        new.iter().map(|(_, iface)| &*iface.name),
    )
}

/// Pairs new keys with old ones: the k-th of equal keys with the k-th.
fn carry<K: Eq + Hash, Id>(
    old: impl Iterator<Item = (K, Id)>,
    new: impl Iterator<Item = K>,
) -> Box<[Option<Id>]> {
    let mut waiting: HashMap<K, VecDeque<Id>> = HashMap::new();
    for (key, id) in old {
        waiting.entry(key).or_default().push_back(id);
    }
    new.map(|key| waiting.get_mut(&key)?.pop_front()).collect()
}
