//! Interned outcomes: what the rules said about a direction of a connection, said once.
//!
//! Many connections take the same way through the rules. Each different way (verdict, deciding
//! rule, matched rules in order) is kept once per worker and program, with its own counters; a
//! connection carries the [`OutcomeId`]. Counting a packet of an established connection is two
//! additions, whatever the number of rules it would have matched; [`Outcomes::fold`] adds them to
//! the rules' counters later. Memory is taken at start. When it is full, [`OutcomeId::NONE`] is
//! handed out: such a flow is evaluated for each packet and counted exactly all the same.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use hashbrown::HashTable;

use crate::counters::{Counts, RuleCounters};
use crate::ids::RuleId;
use crate::rules::edits::Edits;
use crate::rules::linear::Decision;
use crate::rules::path::{Membership, Path};

/// The most outcomes one worker keeps.
pub const OUTCOMES_MAX: usize = 65_535;

/// How much room there is for matched rules, per outcome on average.
const RULES_PER_OUTCOME: usize = 8;

/// An outcome in its worker's table, or a plan (see [`crate::plans`]), valid for the program it was
/// made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct OutcomeId(pub u32);

impl OutcomeId {
    /// No outcome: the packet has to be evaluated.
    pub const NONE: Self = Self(0);

    /// Whether this is no outcome.
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    fn index(self) -> Option<usize> {
        usize::try_from(self.0).ok()?.checked_sub(1)
    }
}

/// What the rules said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The verdict, and the rule that gave it.
    pub decision: Decision,
    /// Every matched rule in order.
    pub rules: &'a [RuleId],
    /// Those of them that write a line to the log, or send a copy to a sniffer.
    pub logs: &'a [RuleId],
    /// How many of those, the first ones, were matched before routing.
    pub early_logs: usize,
    /// What the matched rules change of a packet.
    pub edits: Edits,
    /// Whether one of them sets the fasttrack flag.
    pub fasttrack: bool,
    /// For which lists of addresses it holds; `None` if no rule asked for any.
    pub membership: Option<Membership>,
}

/// One worker's outcomes under one program.
#[derive(Debug)]
pub struct Outcomes {
    known: HashTable<OutcomeId>,
    entries: Vec<Entry>,
    /// By the same index as `entries`, apart from them: this is what every packet touches.
    counts: Vec<Counts>,
    /// Outcomes with counts that are not folded yet.
    dirty: Vec<OutcomeId>,
    /// The rule lists of all entries, one behind the other.
    arena: Vec<RuleId>,
    limit: usize,
    hasher: BuildHasherDefault<DefaultHasher>,
}

#[derive(Debug)]
struct Entry {
    decision: Decision,
    rules: Range<usize>,
    logs: Range<usize>,
    early_logs: usize,
    edits: Edits,
    fasttrack: bool,
    membership: Option<Membership>,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self::with_limit(OUTCOMES_MAX)
    }
}

impl Outcomes {
    /// An empty table for at most `limit` outcomes, itself at most [`OUTCOMES_MAX`].
    pub fn with_limit(limit: usize) -> Self {
        let limit = limit.min(OUTCOMES_MAX);
        Self {
            known: HashTable::with_capacity(limit),
            entries: Vec::with_capacity(limit),
            counts: Vec::with_capacity(limit),
            dirty: Vec::with_capacity(limit),
            arena: Vec::with_capacity(limit * RULES_PER_OUTCOME),
            limit,
            hasher: BuildHasherDefault::default(),
        }
    }

    /// Counts a packet that has been evaluated and hands out the outcome for those behind it.
    ///
    /// The packet is counted for every rule of the path: by the outcome, or at once in `counters`
    /// when the outcome cannot be kept.
    pub fn settle(
        &mut self,
        decision: Decision,
        path: &Path,
        counters: &RuleCounters,
        bytes: u64,
    ) -> OutcomeId {
        let id = self.intern(decision, path);
        if id.is_none() {
            path.count(counters, bytes);
        } else {
            self.account(id, bytes);
        }
        id
    }

    /// The identifier of this outcome, which is kept if it is new.
    ///
    /// [`OutcomeId::NONE`] if the path overflowed or holds for one packet, or there is no room.
    pub fn intern(&mut self, decision: Decision, path: &Path) -> OutcomeId {
        if path.overflowed() || path.is_passing() || path.is_residual() {
            return OutcomeId::NONE;
        }
        let wanted = Outcome {
            decision,
            rules: path.rules(),
            logs: path.logs(),
            early_logs: path.early_logs(),
            edits: *path.edits(),
            fasttrack: path.fasttrack(),
            membership: path.asks_lists().then(|| path.membership()),
        };
        let hash = self.hash(&wanted);
        let found = self.known.find(hash, |id| self.find(*id) == Some(wanted));
        if let Some(id) = found {
            return *id;
        }
        self.keep(wanted, hash)
    }

    /// Counts one packet of `bytes` bytes under an outcome; nothing for [`OutcomeId::NONE`].
    pub fn account(&mut self, id: OutcomeId, bytes: u64) {
        let Some(counts) = id.index().and_then(|i| self.counts.get_mut(i)) else {
            return;
        };
        if counts.packets == 0 {
            self.dirty.push(id);
        }
        *counts += Counts { packets: 1, bytes };
    }

    /// The outcome with this identifier.
    pub fn find(&self, id: OutcomeId) -> Option<Outcome<'_>> {
        let entry = self.entries.get(id.index()?)?;
        Some(Outcome {
            decision: entry.decision,
            rules: self.arena.get(entry.rules.clone())?,
            logs: self.arena.get(entry.logs.clone())?,
            early_logs: entry.early_logs,
            edits: entry.edits,
            fasttrack: entry.fasttrack,
            membership: entry.membership,
        })
    }

    /// Adds what has been counted since the last time to each matched rule's counters.
    pub fn fold(&mut self, counters: &RuleCounters) {
        for id in self.dirty.drain(..) {
            let Some(index) = id.index() else { continue };
            let (Some(entry), Some(counts)) = (self.entries.get(index), self.counts.get_mut(index))
            else {
                continue;
            };
            let counts = std::mem::take(counts);
            for rule in self.arena.get(entry.rules.clone()).unwrap_or_default() {
                counters.add(*rule, counts);
            }
        }
    }

    /// Folds into the counters of the program that made these outcomes, then forgets them all.
    ///
    /// For the change to another program: identifiers of before mean nothing afterwards.
    pub fn clear(&mut self, counters: &RuleCounters) {
        self.fold(counters);
        self.known.clear();
        self.entries.clear();
        self.counts.clear();
        self.arena.clear();
    }

    /// How many outcomes are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn keep(&mut self, outcome: Outcome<'_>, hash: u64) -> OutcomeId {
        let room = self.arena.capacity() - self.arena.len();
        let needed = outcome.rules.len() + outcome.logs.len();
        if self.entries.len() >= self.limit || needed > room {
            return OutcomeId::NONE;
        }
        let Ok(id) = u32::try_from(self.entries.len() + 1).map(OutcomeId) else {
            return OutcomeId::NONE;
        };
        let rules = self.store(outcome.rules);
        let logs = self.store(outcome.logs);
        self.entries.push(Entry {
            decision: outcome.decision,
            rules,
            logs,
            early_logs: outcome.early_logs,
            edits: outcome.edits,
            fasttrack: outcome.fasttrack,
            membership: outcome.membership,
        });
        self.counts.push(Counts::default());
        let (hasher, entries, arena) = (&self.hasher, &self.entries, &self.arena);
        self.known.insert_unique(hash, id, |id| {
            let entry = id.index().and_then(|i| entries.get(i));
            entry.map_or(0, |entry| {
                let rules = arena.get(entry.rules.clone()).unwrap_or_default();
                hasher.hash_one((entry.decision, rules))
            })
        });
        id
    }

    fn store(&mut self, rules: &[RuleId]) -> Range<usize> {
        let first = self.arena.len();
        self.arena.extend_from_slice(rules);
        first..self.arena.len()
    }

    fn hash(&self, outcome: &Outcome<'_>) -> u64 {
        let Outcome {
            decision,
            rules,
            membership,
            ..
        } = outcome;
        self.hasher.hash_one((decision, rules, membership))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChainId;
    use crate::policy::{Action, Match, Matchers, PortSet, Rule, TableKind};
    use crate::program::Program;
    use crate::rules::linear::Verdict;
    use crate::rules::path::PATH_MAX;
    use crate::rules::{CompiledRule, Facts, Observer, Recorder, evaluate};
    use crate::testing::{bare, chain, compile, gateway, rule};
    use proptest::prelude::*;
    use turnpike_conntrack::ids::WorkerId;
    use turnpike_conntrack::tuple::Proto;

    fn program(raw: Vec<Rule>, forward: Vec<Rule>, custom: Vec<Rule>) -> Program {
        let mut policy = gateway();
        policy.raw.chains = vec![chain("prerouting", raw)];
        policy.filter.chains = vec![chain("forward", forward), chain("custom", custom)];
        compile(&policy)
    }

    fn packet(port: u16) -> Facts {
        Facts {
            src_port: Some(1024),
            dst_port: Some(port),
            ..bare("192.168.88.2", "8.8.8.8", Proto::UDP)
        }
    }

    /// Counts as the meaning has it: each match when it happens.
    struct Direct<'a>(&'a mut Vec<Counts>, u64);

    impl Observer for Direct<'_> {
        fn matched(&mut self, id: RuleId, _: &CompiledRule) {
            self.0[usize::try_from(id.0).unwrap()] += Counts {
                packets: 1,
                bytes: self.1,
            };
        }
    }

    /// raw, then filter, as a worker does for the first packet of a direction.
    fn judge(program: &Program, facts: &Facts, seen: &mut impl Observer) -> Decision {
        let raw = evaluate(program, TableKind::Raw, ChainId(0), facts, seen);
        if raw.verdict == Verdict::Drop {
            return raw;
        }
        evaluate(program, TableKind::Filter, ChainId(0), facts, seen)
    }

    fn counters(program: &Program) -> &RuleCounters {
        program.rule_counters(WorkerId(0)).unwrap()
    }

    fn settle(program: &Program, outcomes: &mut Outcomes, port: u16, bytes: u64) -> OutcomeId {
        let mut path = Path::new();
        let mut recorder = Recorder {
            path: &mut path,
            counters: counters(program),
            marks: &program.marks,
            bytes,
        };
        let decision = judge(program, &packet(port), &mut recorder);
        outcomes.settle(decision, &path, counters(program), bytes)
    }

    fn on_port(port: u16, action: Action) -> Rule {
        Rule {
            matchers: Matchers {
                dst_port: Some(Match {
                    value: PortSet::new([port..=port]),
                    negated: false,
                }),
                ..Matchers::default()
            },
            ..rule(action)
        }
    }

    #[test]
    fn equal_ways_share_an_outcome_and_different_ones_do_not() {
        let program = program(
            vec![],
            vec![on_port(53, Action::Passthrough), rule(Action::Accept)],
            vec![],
        );
        let mut outcomes = Outcomes::with_limit(10);
        let other = settle(&program, &mut outcomes, 80, 1);
        let dns = settle(&program, &mut outcomes, 53, 1);
        assert_ne!(other, dns);
        assert_eq!(settle(&program, &mut outcomes, 443, 1), other);
        assert_eq!(outcomes.len(), 2);
        let found = outcomes.find(dns).unwrap();
        assert_eq!(found.rules, [RuleId(0), RuleId(1)]);
        assert_eq!(found.decision.rule, Some(RuleId(1)));
        assert_eq!(found.decision.verdict, Verdict::Accept);
    }

    #[test]
    fn an_outcome_says_who_logs_and_whether_fasttrack_is_set() {
        let logging = Rule {
            log: Some("seen: ".into()),
            ..rule(Action::Accept)
        };
        let program = program(
            vec![],
            vec![
                on_port(53, Action::Log("dns: ".into())),
                on_port(80, Action::Fasttrack),
                logging,
            ],
            vec![],
        );
        let mut outcomes = Outcomes::with_limit(10);
        let dns = settle(&program, &mut outcomes, 53, 1);
        let web = settle(&program, &mut outcomes, 80, 1);
        let found = outcomes.find(dns).unwrap();
        assert_eq!(
            (found.logs, found.fasttrack),
            (&[RuleId(0), RuleId(2)][..], false)
        );
        let found = outcomes.find(web).unwrap();
        assert_eq!((found.logs, found.fasttrack), (&[RuleId(2)][..], true));
    }

    #[test]
    fn a_full_table_hands_out_none_and_counts_exactly() {
        let rules = (1..=3).map(|port| on_port(port, Action::Accept)).collect();
        let program = program(vec![], rules, vec![]);
        let mut outcomes = Outcomes::with_limit(2);
        let ids: Vec<OutcomeId> = (1..=3)
            .map(|port| settle(&program, &mut outcomes, port, 100))
            .collect();
        assert_eq!(ids, [OutcomeId(1), OutcomeId(2), OutcomeId::NONE]);
        assert!(outcomes.find(OutcomeId::NONE).is_none());
        outcomes.account(OutcomeId::NONE, 100);
        outcomes.fold(counters(&program));
        let once = Counts {
            packets: 1,
            bytes: 100,
        };
        for rule in 0..3 {
            assert_eq!(program.rule_counts(RuleId(rule)), once, "rule {rule}");
        }
    }

    #[test]
    fn a_way_longer_than_a_path_is_not_kept_and_counts_exactly() {
        let long = PATH_MAX + 7;
        let mut rules = vec![rule(Action::Passthrough); long];
        rules.push(rule(Action::Drop));
        let program = program(vec![], rules, vec![]);
        let mut outcomes = Outcomes::with_limit(10);
        assert!(settle(&program, &mut outcomes, 1, 60).is_none());
        assert!(settle(&program, &mut outcomes, 1, 40).is_none());
        assert!(outcomes.is_empty());
        outcomes.fold(counters(&program));
        for (rule, _) in program.rules.iter() {
            let counts = program.rule_counts(rule);
            assert_eq!((counts.packets, counts.bytes), (2, 100), "{rule:?}");
        }
    }

    #[test]
    fn a_way_that_the_arena_has_no_room_for_is_not_kept_and_counts_exactly() {
        let logging = Rule {
            log: Some("".into()),
            ..rule(Action::Passthrough)
        };
        // Nine rules and nine log lines where there is room for sixteen.
        let program = program(vec![], vec![logging; 9], vec![]);
        let mut outcomes = Outcomes::with_limit(2);
        let capacity = outcomes.arena.capacity();
        assert!(settle(&program, &mut outcomes, 1, 60).is_none());
        assert_eq!(outcomes.arena.capacity(), capacity);
        for (rule, _) in program.rules.iter() {
            assert_eq!(program.rule_counts(rule).packets, 1, "{rule:?}");
        }
    }

    #[test]
    fn nothing_is_allocated_once_the_table_stands() {
        let rules = (1..=200)
            .map(|port| on_port(port, Action::Accept))
            .collect();
        let program = program(vec![], rules, vec![]);
        let mut outcomes = Outcomes::with_limit(200);
        let sizes = |o: &Outcomes| {
            let tables = [
                o.entries.capacity(),
                o.counts.capacity(),
                o.dirty.capacity(),
            ];
            (tables, o.arena.capacity(), o.known.capacity())
        };
        let before = sizes(&outcomes);
        for port in 1..=300 {
            settle(&program, &mut outcomes, port, 1);
        }
        assert_eq!(outcomes.len(), 200);
        assert_eq!(sizes(&outcomes), before);
    }

    #[test]
    fn clearing_counts_what_was_not_folded_and_forgets_the_outcomes() {
        let program = program(vec![], vec![rule(Action::Accept)], vec![]);
        let mut outcomes = Outcomes::with_limit(10);
        let id = settle(&program, &mut outcomes, 1, 10);
        outcomes.account(id, 5);
        outcomes.clear(counters(&program));
        let counts = program.rule_counts(RuleId(0));
        assert_eq!((counts.packets, counts.bytes), (2, 15));
        assert!(outcomes.find(id).is_none());
        outcomes.account(id, 99);
        outcomes.fold(counters(&program));
        assert_eq!(program.rule_counts(RuleId(0)).packets, 2);
    }

    fn any_rule(jumps: bool) -> impl Strategy<Value = Rule> {
        let action = prop_oneof![
            3 => Just(Action::Passthrough),
            2 => Just(Action::Log("".into())),
            1 => Just(Action::Fasttrack),
            1 => Just(Action::Accept),
            1 => Just(Action::Drop),
            1 => Just(Action::Return),
            3 => Just(if jumps { Action::Jump(ChainId(1)) } else { Action::Passthrough }),
        ];
        let ports =
            (1u16..6, 0u16..4).prop_map(|(first, more)| PortSet::new([first..=first + more]));
        (action, ports, any::<bool>()).prop_map(|(action, ports, negated)| Rule {
            matchers: Matchers {
                dst_port: Some(Match {
                    value: ports,
                    negated,
                }),
                ..Matchers::default()
            },
            ..rule(action)
        })
    }

    fn rules(jumps: bool, most: usize) -> impl Strategy<Value = Vec<Rule>> {
        proptest::collection::vec(any_rule(jumps), 0..most)
    }

    proptest! {
        #[test]
        fn counting_by_outcome_equals_counting_each_match(
            raw in rules(false, 6),
            forward in rules(true, 12),
            // Long enough for some paths to overflow.
            custom in rules(false, 24),
            limit in 0usize..6,
            packets in proptest::collection::vec((1u16..8, 20u64..1500, any::<bool>()), 1..60),
        ) {
            let program = program(raw, forward, custom);
            let mut direct = vec![Counts::default(); program.rules.len()];
            let mut outcomes = Outcomes::with_limit(limit);
            let mut cached = std::collections::HashMap::new();
            for (port, bytes, fold) in packets {
                let decision = judge(&program, &packet(port), &mut Direct(&mut direct, bytes));
                let id = *cached.entry(port).or_insert(OutcomeId::NONE);
                if id.is_none() {
                    cached.insert(port, settle(&program, &mut outcomes, port, bytes));
                } else {
                    prop_assert_eq!(outcomes.find(id).unwrap().decision, decision);
                    outcomes.account(id, bytes);
                }
                if fold {
                    outcomes.fold(counters(&program));
                }
            }
            outcomes.fold(counters(&program));
            for (rule, _) in program.rules.iter() {
                let expected = direct[usize::try_from(rule.0).unwrap()];
                prop_assert_eq!(program.rule_counts(rule), expected, "{:?}", rule);
            }
        }
    }
}
