//! A compiled policy: everything a worker needs to judge packets, immutable.
//!
//! Compiling cannot fail; what could be wrong was refused when the configuration was checked. A
//! program is published by one pointer store, and workers adopt it between bursts. Counters live
//! in cells that successive programs share: a rule with the same canonical text in the same chain
//! goes on counting where it was, even while some workers still run the old program.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::Ipv6Addr;

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_conntrack::nat::{NAT_ADDRESSES_MAX, Pools};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::counters::{Counts, PerInterface, RuleCounters};
use crate::fib::Fib;
use crate::ids::{IfaceId, RuleId};
use crate::interfaces::{Interfaces, PortFacts};
use crate::layer7::Layer7Program;
use crate::lists::Lists;
use crate::policy::{Policy, ServicePorts, TableKind, Tracking};
use crate::routing::Routing;
use crate::rules::external::external_addresses;
use crate::rules::lasting::Lasting;
use crate::rules::marks::MarkNumbers;
use crate::rules::{RuleStates, Rules};
use crate::wall::Zone;

/// A policy, compiled.
#[derive(Debug)]
pub struct Program {
    /// Which program this is: one more than the one before it.
    pub generation: Generation,
    /// The interfaces.
    pub interfaces: Interfaces,
    /// The forwarding table: the gateway itself, its links and the main routing table.
    pub fib: Fib,
    /// The other routing tables, and which one is asked.
    pub routing: Routing,
    /// The address lists.
    pub lists: Lists,
    /// The rules of all tables.
    pub rules: Rules,
    /// Connection tracking settings.
    pub tracking: Tracking,
    /// The same as the trackers take them.
    pub tracking_config: TrackingConfig,
    /// Whether a raw rule is enabled: without any, no packet is held against them.
    pub has_raw_rules: bool,
    /// Whether a rule asks how connections are translated.
    pub asks_nat_state: bool,
    /// Whether a mangle rule is enabled.
    pub has_mangle_rules: bool,
    /// Whether an enabled rule asks for a list of addresses.
    pub asks_lists: bool,
    /// The numbers that stand for marks.
    pub marks: MarkNumbers,
    /// The port pools of IPv4 source translation.
    pub pools4: Pools<V4>,
    /// The port pools of IPv6 source translation.
    pub pools6: Pools<V6>,
    /// The numbers that rules keep over reloads.
    pub lasting: Lasting,
    /// The helpers.
    pub service_ports: ServicePorts,
    /// The time zone that rules tell the time in.
    pub zone: Zone,
    /// What rules remember of the packets that they were asked for.
    pub states: RuleStates,
    /// What connections are looked through for.
    pub layer7: Layer7Program,
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
    /// The key of what programs hash, unless it goes on from `previous`.
    pub key: HashKey,
}

impl Program {
    /// Compiles a checked policy.
    pub fn compile(policy: &Policy, context: &CompileContext<'_>) -> Self {
        let interfaces = Interfaces::build(policy, context.ports);
        let link_locals: Vec<Ipv6Addr> = interfaces.iter().map(|(_, i)| i.link_local).collect();
        let rules = Rules::build(policy);
        let previous = context.previous;
        let asks_lists = rules.iter().any(|(_, rule)| rule.asks_lists());
        let carry = carried_rules(&rules, previous);
        let same_interfaces = carried_interfaces(&interfaces, previous);
        let lasting = Lasting::build(&carry, previous.map(|p| &p.lasting));
        let marks = MarkNumbers::build(&policy.marks, previous.map(|p| &p.marks));
        let workers = 0..context.workers;
        Self {
            generation: context.generation,
            fib: Fib::build(&policy.interfaces, &link_locals, &policy.routes),
            routing: Routing::build(&policy.routing, &marks),
            lists: Lists::build(
                &policy.address_lists,
                previous.map(|p| &p.lists),
                context.key,
            ),
            tracking: policy.tracking.clone(),
            tracking_config: policy.tracking.config(),
            has_raw_rules: !rules.is_idle(TableKind::Raw),
            asks_nat_state: policy.asks_nat_state(),
            has_mangle_rules: !rules.is_idle(TableKind::Mangle),
            asks_lists,
            marks,
            pools4: pools(&rules, &interfaces, previous.map(|p| &p.pools4)),
            pools6: pools(&rules, &interfaces, previous.map(|p| &p.pools6)),
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
            service_ports: policy.service_ports.clone(),
            zone: policy.zone.clone(),
            states: RuleStates::build(&rules, (&carry, &lasting), previous.map(|p| &p.states)),
            lasting,
            layer7: Layer7Program::build(
                &policy.layer7,
                &rules,
                context.workers,
                previous.map(|p| &p.layer7),
            ),
            interfaces,
            rules,
            carry,
        }
    }

    /// Compiles a policy that was left for another and comes back: `context.previous` is its old
    /// program, whose counters and pools go on, and `left` the one that ran meanwhile, whose
    /// numbers for rules, marks and lists nobody else gets.
    pub fn compile_back(policy: &Policy, context: &CompileContext<'_>, left: &Self) -> Self {
        let mut program = Self::compile(policy, context);
        program.lasting.leave_out(&left.lasting);
        program.marks = MarkNumbers::build(&policy.marks, Some(&left.marks));
        program.routing = Routing::build(&policy.routing, &program.marks);
        program.lists = Lists::build(&policy.address_lists, Some(&left.lists), context.key);
        program.layer7 = Layer7Program::build(
            &policy.layer7,
            &program.rules,
            context.workers,
            Some(&left.layer7),
        );
        program
    }

    /// Compiles the policy that `live` was compiled from once more, for a gateway of its own: it
    /// begins with what rules remember and lists hold in `live` at `now`, and whatever it does
    /// to them is not seen there.
    pub fn compile_apart(
        policy: &Policy,
        context: &CompileContext<'_>,
        live: &Self,
        now: Tick,
    ) -> Self {
        let mut program = Self::compile(policy, context);
        program.lasting = live.lasting.clone();
        program.marks = live.marks.clone();
        program.routing = Routing::build(&policy.routing, &program.marks);
        program.layer7 = Layer7Program::build_apart(
            &policy.layer7,
            &program.rules,
            context.workers,
            &live.layer7,
        );
        program.lists = live.lists.apart(now);
        program.states = live.states.apart();
        program
    }

    /// The rule's name as people are told it: `table/chain/N file:line`, `None` for no such rule.
    pub fn rule_name(&self, rule: RuleId) -> Option<String> {
        self.rules.find(rule).map(ToString::to_string)
    }

    /// The name of the rule that has a lasting number, `None` if it is gone.
    pub fn lasting_rule_name(&self, number: u32) -> Option<String> {
        self.rule_name(self.lasting.rule(number)?)
    }

    /// The prefix of a rule's log lines, `None` if it writes none.
    pub fn log_prefix(&self, rule: RuleId) -> Option<&str> {
        self.rules.find(rule)?.log_prefix().map(|prefix| &**prefix)
    }

    /// The name of an interface in the configuration.
    pub fn interface_name(&self, iface: IfaceId) -> Option<&str> {
        self.interfaces.find(iface).map(|i| &*i.name)
    }

    /// The same rule in the program before this one, `None` for a new rule.
    ///
    /// Rules are the same when table, chain and canonical text are; of several equal ones the
    /// first is the first, the second the second, and so on.
    pub fn carried_from(&self, rule: RuleId) -> Option<RuleId> {
        *self.carry.get(usize::try_from(rule.0).ok()?)?
    }

    /// Whether rules ask how fast connections are, so that workers need meters.
    pub fn needs_meters(&self) -> bool {
        self.states.needs_meters()
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

/// The port pools of one family; an address that had one before keeps it.
fn pools<F: Family>(
    rules: &Rules,
    interfaces: &Interfaces,
    previous: Option<&Pools<F>>,
) -> Pools<F> {
    let addresses = external_addresses::<F>(rules, interfaces, NAT_ADDRESSES_MAX);
    Pools::build(previous, addresses)
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

#[cfg(test)]
mod tests;
