//! Plans: what is left of the rules for one flow once all that its packets have in common is known.
//!
//! A flow that reaches a question only the packet at hand can answer keeps a plan instead of an
//! outcome: the rules that may still match, in order, each with where to go on if it does and if
//! it does not. Jumps are gone, and so are rules that cannot match. Each packet [`walk`]s the few
//! steps of its flow's plan; that comes to the same as evaluating all rules anew, with the same
//! matches in the same order ([`evaluate`](super::evaluate) is what defines it).
//!
//! A plan holds as long as an outcome would: see the stage that applies it.

mod specialise;

use std::ops::Range;

use crate::ids::RuleId;
use crate::policy::{Action, Edit, TableKind};
use crate::program::Program;
use crate::rules::compiled::CompiledRule;
use crate::rules::facts::Facts;
use crate::rules::linear::{Decision, Observer, decided};
use crate::rules::look::residual_holds;
use crate::rules::matchers::Test;

pub use specialise::{Passage, specialise};

/// The most steps of one plan; a flow that would need more is evaluated in full each time.
pub const PLAN_STEPS_MAX: usize = 512;

/// Where a walk is through: no step has this place.
const END: u16 = u16::MAX;

/// A rule that may match, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    rule: RuleId,
    asks: Asks,
    /// The step behind a match, always a later one.
    yes: u16,
    /// The step if it does not match.
    no: u16,
}

impl Step {
    /// The rule.
    pub const fn rule(&self) -> RuleId {
        self.rule
    }
}

/// What a step still has to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Asks {
    /// Marks that an earlier step may or may not have set.
    marks: bool,
    /// Lists of addresses, whose members come and go.
    lists: bool,
    /// The packet itself, and counters of connections.
    packet: bool,
}

impl Asks {
    const fn nothing(self) -> bool {
        !self.marks && !self.lists && !self.packet
    }
}

/// Takes a packet through the steps in `span`; `None` if no rule of the filter decided.
///
/// `facts` are those that the plan was made for, with the marks of now; rules may set others.
pub fn walk(
    program: &Program,
    steps: &[Step],
    span: Range<usize>,
    facts: &mut Facts,
    observer: &mut impl Observer,
) -> Option<Decision> {
    let mut decision = None;
    let mut at = span.start;
    while span.contains(&at) {
        let Step {
            rule: id,
            asks,
            yes,
            no,
        } = *steps.get(at)?;
        let rule = program.rules.find(id)?;
        if !holds(program, (id, rule), asks, facts, observer) {
            at = usize::from(no);
            continue;
        }
        observer.matched(id, rule);
        if let Action::Edit(Edit::Mark(kind, mark), _) = rule.action {
            facts.marks.set(kind, program.marks.number(mark));
        }
        if let Action::AddToList(end, list, timeout) = rule.action {
            observer.add_to_list(list, facts.address(end), timeout);
        }
        if rule.table == TableKind::Filter
            && let Some(verdict) = decided(&rule.action)
        {
            let rule = Some(id);
            decision = Some(Decision { verdict, rule });
        }
        at = usize::from(yes);
    }
    decision
}

fn holds(
    program: &Program,
    (id, rule): (RuleId, &CompiledRule),
    asks: Asks,
    facts: &Facts,
    observer: &mut impl Observer,
) -> bool {
    let is_left =
        |test: &Test| asks.marks && test.mark_kind().is_some() || asks.lists && test.asks_lists();
    let mut left = rule.tests().iter().filter(|test| is_left(test));
    (asks.nothing() || left.all(|test| test.holds(facts, program)))
        && (!asks.packet || residual_holds(program, (id, rule), facts, observer).is_ok())
}
