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
mod tests {
    use super::*;
    use crate::ids::{ChainId, PortId};
    use crate::policy::{Action, Interface, Match, Matchers, Rule, StateSet, TableKind};
    use crate::rules::{Verdict, evaluate};
    use crate::testing::{bare, chain, compile, compile_after, gateway, rule};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;
    use turnpike_conntrack::timeouts::Switch;
    use turnpike_conntrack::tuple::Proto;

    fn named(text: &str) -> Rule {
        Rule {
            text: text.into(),
            ..rule(Action::Passthrough)
        }
    }

    /// A gateway whose filter/forward holds rules with these canonical texts.
    fn forward(texts: &[&str]) -> Policy {
        let rules = texts.iter().map(|t| named(t)).collect();
        let mut policy = gateway();
        policy.filter.chains = vec![chain("input", vec![]), chain("forward", rules)];
        policy
    }

    fn carried(program: &Program) -> Vec<Option<u32>> {
        let ids = program.rules.iter().map(|(id, _)| program.carried_from(id));
        ids.map(|from| from.map(|r| r.0)).collect()
    }

    #[test]
    fn rules_are_numbered_raw_nat_filter_and_named_by_place() {
        let mut policy = forward(&["a", "b"]);
        policy.raw.chains = vec![chain("prerouting", vec![named("r")])];
        policy.nat.chains = vec![chain("dstnat", vec![]), chain("srcnat", vec![named("n")])];
        let program = compile(&policy);
        let names: Vec<_> = (0..5).map(|n| program.rule_name(RuleId(n))).collect();
        let expected = [
            "raw/prerouting/1 gw.yaml:41",
            "nat/srcnat/1 gw.yaml:41",
            "filter/forward/1 gw.yaml:41",
            "filter/forward/2 gw.yaml:41",
        ];
        assert_eq!(names[..4], expected.map(|n| Some(n.to_owned())));
        assert_eq!(names[4], None);
        let forward = program.rules.chain_named(TableKind::Filter, "forward");
        assert_eq!(forward, Some(ChainId(1)));
        assert_eq!(program.rules.chain_named(TableKind::Nat, "forward"), None);
    }

    #[test]
    fn the_same_text_is_the_same_rule_wherever_it_moved_in_its_chain() {
        let old = compile(&forward(&["a", "b", "c"]));
        assert_eq!(carried(&old), [None, None, None]);
        let new = compile_after(&forward(&["c", "x", "a"]), Some(&old));
        assert_eq!(carried(&new), [Some(2), None, Some(0)]);
    }

    #[test]
    fn of_equal_texts_the_kth_follows_the_kth() {
        let old = compile(&forward(&["a", "b", "a"]));
        let new = compile_after(&forward(&["a", "a", "a", "b"]), Some(&old));
        assert_eq!(carried(&new), [Some(0), Some(2), None, Some(1)]);
    }

    #[test]
    fn the_same_text_in_another_chain_or_table_is_another_rule() {
        let old = compile(&forward(&["a"]));
        let mut policy = gateway();
        policy.raw.chains = vec![chain("prerouting", vec![named("a")])];
        policy.filter.chains = vec![chain("input", vec![named("a")])];
        assert_eq!(carried(&compile_after(&policy, Some(&old))), [None, None]);
    }

    #[test]
    fn counters_follow_a_rule_over_reloads_and_new_rules_start_at_nothing() {
        let one = Counts {
            packets: 1,
            bytes: 100,
        };
        let first = compile(&forward(&["a", "b"]));
        first
            .rule_counters(WorkerId(0))
            .unwrap()
            .add(RuleId(1), one);
        let second = compile_after(&forward(&["x", "b"]), Some(&first));
        let third = compile_after(&forward(&["b", "a"]), Some(&second));
        drop((first, second));
        assert_eq!(third.rule_counts(RuleId(0)), one);
        assert_eq!(third.rule_counts(RuleId(1)), Counts::default());
    }

    #[test]
    fn a_program_that_comes_back_goes_on_counting_and_shares_no_number() {
        let counted = |packets| Counts { packets, bytes: 0 };
        let add = |program: &Program, rule, packets| {
            let counters = program.rule_counters(WorkerId(0)).unwrap();
            counters.add(RuleId(rule), counted(packets));
        };
        let marks = |mut policy: Policy, names: &[&str]| {
            policy.marks = names.iter().map(ToString::to_string).collect();
            policy
        };
        let policy = marks(forward(&["a", "b"]), &["one"]);
        let old = compile(&policy);
        add(&old, 0, 1);
        add(&old, 1, 2);
        let tried = compile_after(&marks(forward(&["b", "x"]), &["two"]), Some(&old));
        add(&tried, 0, 10);
        let ports = crate::testing::ports();
        let context = CompileContext {
            generation: Generation(3),
            workers: 1,
            ports: &ports,
            previous: Some(&old),
            key: old.lists.members().key(),
        };
        let back = Program::compile_back(&policy, &context, &tried);
        assert_eq!(back.rule_counts(RuleId(0)), counted(1), "it was not there");
        assert_eq!(back.rule_counts(RuleId(1)), counted(12));
        let wan = [203, 0, 113, 2];
        let (before, after) = (old.pools4.ports(wan), back.pools4.ports(wan));
        assert!(Arc::ptr_eq(before.unwrap(), after.unwrap()));
        let next = compile_after(&marks(forward(&["y"]), &["three"]), Some(&back));
        let taken = tried.lasting.number(RuleId(1));
        assert_ne!(next.lasting.number(RuleId(0)), taken);
        assert_eq!(next.marks.named("three"), Some(3));
        assert_eq!(next.marks.named("two"), Some(2));
    }

    #[test]
    fn each_worker_has_counters_of_its_own_and_readers_see_the_sum() {
        let policy = forward(&["a"]);
        let context = CompileContext {
            generation: Generation(1),
            workers: 2,
            ports: &[],
            previous: None,
            key: HashKey([
                0x0123_4567_89ab_cdef,
                0x1032_5476_98ba_dcfe,
                0x5555_aaaa_3333_cccc,
                0x0f1e_2d3c_4b5a_6978,
            ]),
        };
        let program = Program::compile(&policy, &context);
        for (worker, packets) in [(0, 3), (1, 4)] {
            let counts = Counts { packets, bytes: 0 };
            let counters = program.rule_counters(WorkerId(worker)).unwrap();
            counters.add(RuleId(0), counts);
            assert_eq!(counters.read(RuleId(0)), counts);
        }
        assert!(program.rule_counters(WorkerId(2)).is_none());
        assert_eq!(program.rule_counts(RuleId(0)).packets, 7);
        // One more worker than before starts with nothing; the others go on.
        let more = CompileContext {
            workers: 3,
            previous: Some(&program),
            ..context
        };
        let next = Program::compile(&policy, &more);
        assert_eq!(next.rule_counts(RuleId(0)).packets, 7);
        let third = next.rule_counters(WorkerId(2)).unwrap();
        assert_eq!(third.read(RuleId(0)), Counts::default());
    }

    #[test]
    fn interface_counters_follow_the_name() {
        let old = compile(&gateway());
        let counters = old.interface_counters(WorkerId(0)).unwrap();
        counters.find(IfaceId(1)).unwrap().received.packet(60);
        counters.find(IfaceId(1)).unwrap().sent.packet(40);
        let mut policy = gateway();
        let dmz = Interface {
            name: "dmz".to_owned(),
            port: PortId(1),
            vlan: Some(9),
            addresses: vec![],
            mtu: 1500,
        };
        policy.interfaces.insert(0, dmz);
        let new = compile_after(&policy, Some(&old));
        let counts = |packets, bytes| Counts { packets, bytes };
        assert_eq!(
            new.interface_counts(IfaceId(2)),
            (counts(1, 60), counts(1, 40))
        );
        assert_eq!(new.interface_counts(IfaceId(0)), Default::default());
    }

    #[test]
    fn external_addresses_have_port_pools_which_outlive_a_reload() {
        let mut policy = gateway();
        let old = compile(&policy);
        policy.interfaces[1]
            .addresses
            .push("203.0.113.9/24".parse().unwrap());
        let new = compile_after(&policy, Some(&old));
        let wan = [203, 0, 113, 2];
        let (before, after) = (old.pools4.ports(wan), new.pools4.ports(wan));
        assert!(Arc::ptr_eq(before.unwrap(), after.unwrap()));
        assert!(old.pools4.ports([203, 0, 113, 9]).is_none());
        assert!(new.pools4.ports([203, 0, 113, 9]).is_some());
        let wan6: Ipv6Addr = "2001:db8:ffff::2".parse().unwrap();
        assert!(new.pools6.ports(wan6.octets()).is_some());
    }

    #[test]
    fn tracking_settings_reach_the_trackers() {
        let mut policy = gateway();
        policy.tracking.loose_tcp = false;
        policy.tracking.liberal_tcp = true;
        policy.tracking.timeouts.udp = Duration::from_secs(77);
        let config = compile(&policy).tracking_config;
        assert_eq!(config.loose_tcp, Switch::Off);
        assert_eq!(config.liberal_tcp, Switch::On);
        assert_eq!(config.timeouts.udp, Duration::from_secs(77));
        let default = compile(&gateway()).tracking_config;
        assert_eq!(default, TrackingConfig::default());
    }

    #[test]
    fn a_program_without_enabled_raw_rules_says_so() {
        let with = |raw: Rule| {
            let mut policy = forward(&["a"]);
            policy.raw.chains = vec![chain("prerouting", vec![raw])];
            compile(&policy).has_raw_rules
        };
        assert!(!compile(&forward(&["a"])).has_raw_rules);
        assert!(with(named("r")));
        let disabled = Rule {
            disabled: true,
            ..named("r")
        };
        assert!(!with(disabled));
    }

    #[test]
    fn the_prefix_of_a_log_line_is_the_actions_or_the_rules() {
        let mut policy = gateway();
        let logging = Rule {
            log: Some("beside".into()),
            ..rule(Action::Drop)
        };
        let log = rule(Action::Log("action".into()));
        policy.filter.chains = vec![chain("input", vec![log, logging, rule(Action::Drop)])];
        let program = compile(&policy);
        let prefixes: Vec<_> = (0..4).map(|n| program.log_prefix(RuleId(n))).collect();
        assert_eq!(prefixes, [Some("action"), Some("beside"), None, None]);
        assert_eq!(program.interface_name(IfaceId(1)), Some("wan"));
        assert_eq!(program.interface_name(IfaceId(3)), None);
    }

    #[test]
    fn tracking_is_needed_by_nat_by_states_and_by_fasttrack() {
        let with = |rule: Rule| {
            let mut policy = gateway();
            policy.filter.chains = vec![chain("input", vec![rule])];
            policy
        };
        assert!(!gateway().needs_tracking());
        assert!(!with(rule(Action::Drop)).needs_tracking());
        assert!(with(rule(Action::Fasttrack)).needs_tracking());
        let asking = Rule {
            matchers: Matchers {
                connection_state: Some(Match {
                    value: StateSet::default(),
                    negated: false,
                }),
                ..Matchers::default()
            },
            ..rule(Action::Drop)
        };
        assert!(with(asking.clone()).needs_tracking());
        let disabled = Rule {
            disabled: true,
            ..asking
        };
        assert!(!with(disabled).needs_tracking());
        let mut nat = gateway();
        nat.nat.chains = vec![chain("dstnat", vec![rule(Action::Accept)])];
        assert!(nat.needs_tracking());
    }

    #[test]
    fn ten_thousand_rules_compile_and_the_last_one_decides() {
        let mut rules: Vec<Rule> = (0..9_999).map(|n| named(&format!("rule {n}"))).collect();
        rules.push(rule(Action::Drop));
        let mut policy = gateway();
        policy.filter.chains = vec![chain("input", rules)];
        let old = compile(&policy);
        let new = compile_after(&policy, Some(&old));
        assert_eq!(new.rules.len(), 10_000);
        assert!(
            new.rules
                .iter()
                .all(|(id, _)| new.carried_from(id) == Some(id))
        );
        let facts = bare("192.168.88.2", "192.168.88.1", Proto::TCP);
        let decision = evaluate(&new, TableKind::Filter, ChainId(0), &facts, &mut ());
        assert_eq!(decision.verdict, Verdict::Drop);
        assert_eq!(decision.rule, Some(RuleId(9_999)));
    }

    proptest! {
        #[test]
        fn carried_rules_pair_up_equal_texts_in_order_and_leave_none_over(
            old in proptest::collection::vec(0u8..4, 0..20),
            new in proptest::collection::vec(0u8..4, 0..20),
        ) {
            let pairs = carry(old.iter().copied().zip(0usize..), new.iter().copied());
            for text in 0..4 {
                let ours: Vec<usize> = (0..old.len()).filter(|i| old[*i] == text).collect();
                let got: Vec<usize> = (0..new.len())
                    .filter(|i| new[*i] == text)
                    .filter_map(|i| pairs[i])
                    .collect();
                let equal = new.iter().filter(|t| **t == text).count();
                prop_assert_eq!(&got, &ours[..equal.min(ours.len())]);
            }
        }
    }
}
