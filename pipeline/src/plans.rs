//! One worker's plans, interned: flows that have the same rules left to ask share one.
//!
//! Memory is taken at start. When it is full, a flow has no plan and is evaluated in full for each
//! packet, which comes to the same.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use hashbrown::HashTable;

use crate::outcome::OutcomeId;
use crate::rules::plan::{PLAN_STEPS_MAX, Step};

/// The most plans one worker keeps.
pub const PLANS_MAX: usize = 16_384;

/// How much room there is for steps, per plan on average.
const STEPS_PER_PLAN: usize = 8;

/// What tells the identifier of a plan from one of an outcome.
const PLAN: u32 = 1 << 31;

/// The half of a plan that a packet is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Before routing.
    Early,
    /// Behind it.
    Late,
}

/// One worker's plans under one program.
#[derive(Debug)]
pub struct Plans {
    known: HashTable<u32>,
    entries: Vec<Entry>,
    arena: Vec<Step>,
    /// Where a plan is made before it is known to be new.
    scratch: Vec<Step>,
    limit: usize,
    hasher: BuildHasherDefault<DefaultHasher>,
}

#[derive(Debug, Clone)]
struct Entry {
    steps: Range<usize>,
    /// How many of them come before routing.
    early: usize,
}

impl Plans {
    /// An empty table for at most `limit` plans, itself at most [`PLANS_MAX`].
    pub fn with_limit(limit: usize) -> Self {
        let limit = limit.min(PLANS_MAX);
        Self {
            known: HashTable::with_capacity(limit),
            entries: Vec::with_capacity(limit),
            arena: Vec::with_capacity(limit * STEPS_PER_PLAN),
            scratch: Vec::with_capacity(PLAN_STEPS_MAX),
            limit,
            hasher: BuildHasherDefault::default(),
        }
    }

    /// The identifier of the plan that `make` writes; of its steps, the returned number comes
    /// before routing. [`OutcomeId::NONE`] if it makes none, or there is no room.
    pub fn intern(&mut self, make: impl FnOnce(&mut Vec<Step>) -> Option<usize>) -> OutcomeId {
        if self.limit == 0 {
            return OutcomeId::NONE;
        }
        self.scratch.clear();
        let Some(early) = make(&mut self.scratch) else {
            return OutcomeId::NONE;
        };
        let hash = self.hasher.hash_one((early, self.scratch.as_slice()));
        let (entries, arena, scratch) = (&self.entries, &self.arena, &self.scratch);
        let is_it = |index: &u32| {
            let entry = usize::try_from(*index).ok().and_then(|i| entries.get(i));
            entry.is_some_and(|entry| {
                entry.early == early && arena.get(entry.steps.clone()) == Some(scratch.as_slice())
            })
        };
        if let Some(index) = self.known.find(hash, is_it) {
            return OutcomeId(PLAN | *index);
        }
        self.keep(early, hash)
    }

    /// A plan's steps, and which of them are in `half`; `None` if the identifier is not a plan's.
    pub fn half(&self, id: OutcomeId, half: Half) -> Option<(&[Step], Range<usize>)> {
        let entry = self.entries.get(Self::index(id)?)?;
        let steps = self.arena.get(entry.steps.clone())?;
        let span = match half {
            Half::Early => 0..entry.early,
            Half::Late => entry.early..steps.len(),
        };
        Some((steps, span))
    }

    /// Whether the identifier is a plan's.
    pub const fn is_plan(id: OutcomeId) -> bool {
        id.0 & PLAN != 0
    }

    /// Forgets them all: identifiers of before mean nothing afterwards.
    pub fn clear(&mut self) {
        self.known.clear();
        self.entries.clear();
        self.arena.clear();
    }

    /// How many plans are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn index(id: OutcomeId) -> Option<usize> {
        Self::is_plan(id).then_some(usize::try_from(id.0 & !PLAN).ok()?)
    }

    fn keep(&mut self, early: usize, hash: u64) -> OutcomeId {
        let room = self.arena.capacity() - self.arena.len();
        if self.entries.len() >= self.limit || self.scratch.len() > room {
            return OutcomeId::NONE;
        }
        let Ok(index) = u32::try_from(self.entries.len()) else {
            return OutcomeId::NONE;
        };
        let first = self.arena.len();
        self.arena.extend_from_slice(&self.scratch);
        self.entries.push(Entry {
            steps: first..self.arena.len(),
            early,
        });
        let (hasher, entries, arena) = (&self.hasher, &self.entries, &self.arena);
        self.known.insert_unique(hash, index, |index| {
            let entry = usize::try_from(*index).ok().and_then(|i| entries.get(i));
            entry.map_or(0, |entry| {
                let steps = arena.get(entry.steps.clone()).unwrap_or_default();
                hasher.hash_one((entry.early, steps))
            })
        });
        OutcomeId(PLAN | index)
    }
}
