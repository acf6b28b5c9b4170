//! Which rules a packet matched on its way to a verdict: what is counted, logged and cached.
//!
//! A [`Path`] has room for [`PATH_MAX`] matches. A longer one is not cached: its first rules are
//! in the path, the others are counted at once by the [`Recorder`] that met them, so that the
//! counters are exact either way.

use arrayvec::ArrayVec;

use crate::counters::{Counts, RuleCounters};
use crate::ids::RuleId;
use crate::policy::Action;
use crate::rules::compiled::CompiledRule;
use crate::rules::edits::{Edits, Phase};
use crate::rules::linear::Observer;
use crate::rules::marks::MarkNumbers;

/// How many matched rules a path holds.
pub const PATH_MAX: usize = 64;

/// How many lines one packet writes to the log; matches beyond are counted and not written.
pub const LOGS_MAX: usize = 16;

/// The rules that one packet matched, over several tables, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path {
    rules: ArrayVec<RuleId, PATH_MAX>,
    logs: ArrayVec<RuleId, LOGS_MAX>,
    /// How many of `logs` were written before the packet was routed.
    early_logs: usize,
    edits: Edits,
    phase: Phase,
    fasttrack: bool,
    overflowed: bool,
    residual: bool,
    passing: bool,
    asks_lists: bool,
    asks_label: bool,
    membership: Membership,
}

/// In which lists the addresses of a packet are, as far as those may change: equal ones are in the
/// same lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Membership(u64);

impl Membership {
    /// That of a packet with a further address, whose lists are told by this number; `role` says
    /// which of the addresses it is.
    #[must_use]
    pub const fn with(self, role: u32, lists: u64) -> Self {
        Self(self.0.wrapping_add(lists.rotate_left(role)))
    }
}

impl Path {
    /// An empty path.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty path of a packet that `edits` have been made of.
    pub fn beside(edits: Edits, phase: Phase) -> Self {
        Self {
            edits,
            phase,
            ..Self::default()
        }
    }

    /// Every matched rule in order, the deciding ones among them; a rule that matched twice
    /// through two jumps is there twice.
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }

    /// The matched rules that write a line to the log, or send a copy to a sniffer.
    pub fn logs(&self) -> &[RuleId] {
        &self.logs
    }

    /// How many of [`logs`](Self::logs), the first ones, were matched before routing.
    pub const fn early_logs(&self) -> usize {
        self.early_logs
    }

    /// What the matched rules have changed.
    pub const fn edits(&self) -> &Edits {
        &self.edits
    }

    /// Where the packet stands.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Goes on in `phase`.
    pub const fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Whether a matched rule sets the connection's fasttrack flag.
    pub const fn fasttrack(&self) -> bool {
        self.fasttrack
    }

    /// Whether more rules matched than the path holds.
    pub const fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Notes that the packet itself was asked something.
    pub const fn note_residual(&mut self) {
        self.residual = true;
    }

    /// Whether another packet of the flow may go another way.
    pub const fn is_residual(&self) -> bool {
        self.residual
    }

    /// Notes that what was asked on the way may be answered otherwise for the next packet.
    pub const fn note_passing(&mut self) {
        self.passing = true;
    }

    /// Whether the way holds for one packet only: its outcome is not kept in the flow.
    pub const fn is_passing(&self) -> bool {
        self.passing
    }

    /// Notes in which lists the packet's addresses are, before rules that ask are looked at.
    pub const fn note_membership(&mut self, membership: Membership) {
        self.membership = membership;
    }

    /// In which lists the packet's addresses were.
    pub const fn membership(&self) -> Membership {
        self.membership
    }

    /// Whether a rule was looked at that asks for lists.
    pub const fn asks_lists(&self) -> bool {
        self.asks_lists
    }

    /// Whether a rule was looked at that all holds for but perhaps the connection's label.
    pub const fn asks_label(&self) -> bool {
        self.asks_label
    }

    /// Forgets everything, for the next packet.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Counts one packet of `bytes` bytes for each rule of the path.
    ///
    /// For a packet whose path is not interned; what overflowed has been counted already.
    pub fn count(&self, counters: &RuleCounters, bytes: u64) {
        for rule in &self.rules {
            counters.add(*rule, Counts { packets: 1, bytes });
        }
    }
}

/// Writes down in a path what an evaluation matches, and counts what does not fit there.
#[derive(Debug)]
pub struct Recorder<'a> {
    /// The path to continue.
    pub path: &'a mut Path,
    /// Where overflow is counted.
    pub counters: &'a RuleCounters,
    /// The numbers of marks.
    pub marks: &'a MarkNumbers,
    /// The packet's bytes.
    pub bytes: u64,
}

impl Observer for Recorder<'_> {
    fn asks_lists(&mut self) {
        self.path.asks_lists = true;
    }

    fn asks_label(&mut self, _: RuleId) -> Option<bool> {
        self.path.asks_label = true;
        None
    }

    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        if self.path.rules.try_push(id).is_err() {
            self.path.overflowed = true;
            let one = Counts {
                packets: 1,
                bytes: self.bytes,
            };
            self.counters.add(id, one);
        }
        if rule.log_prefix().is_some() || rule.sniff().is_some() {
            // Full: LOGS_MAX lines are enough for one packet.
            let _ = self.path.logs.try_push(id);
            if self.path.phase == Phase::Early {
                self.path.early_logs = self.path.logs.len();
            }
        }
        if let Action::Edit(edit, _) = rule.action {
            self.path.edits.add(edit, self.path.phase, self.marks);
        }
        self.path.fasttrack |= matches!(rule.action, Action::Fasttrack);
    }
}
