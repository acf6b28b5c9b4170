//! The evaluator that defines what rules mean: one after the other, first decision wins.
//!
//! A matching rule is counted and does what its action says. Most actions decide; `log`,
//! `passthrough` and `fasttrack-connection` go on with the next rule; `jump` goes on in another
//! chain and `return`, or that chain's end, behind the jump. The end of a built-in chain accepts.
//! What cannot happen with a checked configuration (a chain that does not exist, jumps nested
//! deeper than [`JUMP_DEPTH_MAX`], more than [`STEPS_MAX`] rules for one packet) drops.

use arrayvec::ArrayVec;

use crate::ids::{ChainId, RULES_MAX, RuleId};
use crate::policy::{Action, PortRange, RejectWith, TableKind, Translation};
use crate::program::Program;
use crate::rules::compiled::CompiledRule;
use crate::rules::facts::Facts;

/// How deep jumps nest; configuration refuses deeper ones, and the evaluator drops.
pub const JUMP_DEPTH_MAX: usize = 16;

/// How many rules and returns one evaluation may take before it drops: every rule, several times.
pub const STEPS_MAX: usize = 4 * RULES_MAX;

/// What a table decides about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes; in the nat table, untranslated.
    Accept,
    /// It ends here, silently.
    Drop,
    /// It ends here, and its sender is told.
    Reject(RejectWith),
    /// raw: it passes and is not tracked.
    NoTrack,
    /// nat: its connection's source becomes one of these.
    SrcNat(Translation),
    /// nat: its connection's source becomes an address of the interface it leaves by.
    Masquerade(Option<PortRange>),
    /// nat: its connection's destination becomes one of these.
    DstNat(Translation),
    /// nat: its connection's destination becomes the gateway itself.
    Redirect(Option<PortRange>),
}

/// A verdict and the rule that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What happens to the packet.
    pub verdict: Verdict,
    /// The rule that decided; `None` when a built-in chain was gone through to its end.
    pub rule: Option<RuleId>,
}

/// What holding one rule against a packet showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Every matcher holds.
    Matched,
    /// The matcher of this name does not.
    Failed(&'static str),
    /// The rule is disabled.
    Disabled,
}

/// Somebody who wants to know how a verdict came about; `()` does not.
pub trait Observer {
    /// A rule was looked at, whether it matched or not.
    fn looked_at(&mut self, rule: RuleId, look: Look) {
        let _ = (rule, look);
    }

    /// A rule matched, be it that it decides or not; called in order, once per match.
    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        let _ = (id, rule);
    }
}

impl Observer for () {}

/// What the evaluator does after a match.
enum Step {
    Next,
    Jump(ChainId),
    Return,
    Decide(Verdict),
}

/// Takes a packet through the rules of a chain and whatever chains those jump to.
pub fn evaluate(
    program: &Program,
    table: TableKind,
    chain: ChainId,
    facts: &Facts,
    observer: &mut impl Observer,
) -> Decision {
    let rules = &program.rules;
    let Some(mut here) = rules.chain(table, chain) else {
        return fail_closed(None);
    };
    let mut callers = ArrayVec::<_, JUMP_DEPTH_MAX>::new();
    let mut last = None;
    for _ in 0..STEPS_MAX {
        let Some(id) = here.next().map(RuleId) else {
            match callers.pop() {
                Some(caller) => here = caller,
                None => return END_OF_CHAIN,
            }
            continue;
        };
        let Some(rule) = rules.find(id) else {
            return fail_closed(last);
        };
        last = Some(id);
        let look = rule.look(facts, program);
        observer.looked_at(id, look);
        if look != Look::Matched {
            continue;
        }
        observer.matched(id, rule);
        match step(&rule.action) {
            Step::Next => {}
            Step::Return => here.start = here.end,
            Step::Decide(verdict) => {
                return Decision {
                    verdict,
                    rule: Some(id),
                };
            }
            Step::Jump(to) => {
                let Some(target) = rules.chain(table, to) else {
                    return fail_closed(last);
                };
                let caller = std::mem::replace(&mut here, target);
                if callers.try_push(caller).is_err() {
                    return fail_closed(last);
                }
            }
        }
    }
    fail_closed(last)
}

const END_OF_CHAIN: Decision = Decision {
    verdict: Verdict::Accept,
    rule: None,
};

/// The answer to what a checked configuration cannot contain.
const fn fail_closed(rule: Option<RuleId>) -> Decision {
    Decision {
        verdict: Verdict::Drop,
        rule,
    }
}

const fn step(action: &Action) -> Step {
    match action {
        Action::Log(_) | Action::Passthrough | Action::Fasttrack => Step::Next,
        Action::Jump(chain) => Step::Jump(*chain),
        Action::Return => Step::Return,
        Action::Accept => Step::Decide(Verdict::Accept),
        Action::Drop => Step::Decide(Verdict::Drop),
        Action::Reject(with) => Step::Decide(Verdict::Reject(*with)),
        Action::NoTrack => Step::Decide(Verdict::NoTrack),
        Action::SrcNat(to) => Step::Decide(Verdict::SrcNat(*to)),
        Action::Masquerade(ports) => Step::Decide(Verdict::Masquerade(*ports)),
        Action::DstNat(to) => Step::Decide(Verdict::DstNat(*to)),
        Action::Redirect(ports) => Step::Decide(Verdict::Redirect(*ports)),
    }
}
