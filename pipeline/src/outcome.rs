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
use crate::rules::linear::Decision;
use crate::rules::path::Path;

/// The most outcomes one worker keeps.
pub const OUTCOMES_MAX: usize = 65_535;

/// How much room there is for matched rules, per outcome on average.
const RULES_PER_OUTCOME: usize = 8;

/// An outcome in its worker's table, valid for the program it was made under.
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
    /// Those of them that write a line to the log.
    pub logs: &'a [RuleId],
    /// Whether one of them sets the fasttrack flag.
    pub fasttrack: bool,
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
    fasttrack: bool,
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
    /// [`OutcomeId::NONE`] if the path overflowed or there is no room.
    pub fn intern(&mut self, decision: Decision, path: &Path) -> OutcomeId {
        if path.overflowed() {
            return OutcomeId::NONE;
        }
        let wanted = Outcome {
            decision,
            rules: path.rules(),
            logs: path.logs(),
            fasttrack: path.fasttrack(),
        };
        let hash = self.hash(decision, path.rules());
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
            fasttrack: entry.fasttrack,
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
            fasttrack: outcome.fasttrack,
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

    fn hash(&self, decision: Decision, rules: &[RuleId]) -> u64 {
        self.hasher.hash_one((decision, rules))
    }
}
