//! Making plans: the rules under what is known of a flow.

use super::{Asks, END, PLAN_STEPS_MAX, Step};
use crate::ids::{ChainId, RuleId};
use crate::policy::{Action, Edit, MarkKind, TableKind};
use crate::program::Program;
use crate::rules::classify::Candidates;
use crate::rules::compiled::CompiledRule;
use crate::rules::facts::Facts;
use crate::rules::linear::{Course, JUMP_DEPTH_MAX, Reading, STEPS_MAX, Verdict, course};

/// The chains that a flow's packets go through, with what is known of them there.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// Before routing.
    pub early: (&'a [(TableKind, ChainId)], &'a Facts),
    /// Behind it. The filter's chain decides whether those behind it are gone through.
    pub late: (&'a [(TableKind, ChainId)], &'a Facts),
}

/// Stands for the end of the chain at this depth of jumps until that end is known.
const fn end_of_chain(depth: usize) -> u16 {
    // Depths are at most `JUMP_DEPTH_MAX`; plans are far shorter than these numbers.
    END - 2 - depth as u16
}

/// Stands for the end of a built-in chain that is left by accepting.
const ACCEPTED: u16 = END - 1;

/// Writes the plan of a flow into `steps`, which is empty; the number of steps before routing.
///
/// `None` if it has no plan: it would be too long, or a packet's way depends on its own answers.
pub fn specialise(
    program: &Program,
    passage: &Passage<'_>,
    steps: &mut Vec<Step>,
) -> Option<usize> {
    let mut making = Making {
        program,
        steps,
        facts: *passage.early.1,
        phase_is_early: true,
        decides_the_way: true,
        unsure: [false; MarkKind::ALL.len()],
        conditional: false,
        accepts: false,
        visited: 0,
    };
    let reached = making.sections(passage.early.0)?;
    let before_routing = making.steps.len();
    let marks = making.facts.marks;
    making.facts = Facts {
        marks,
        ..*passage.late.1
    };
    making.phase_is_early = false;
    if reached {
        making.sections(passage.late.0)?;
    }
    Some(before_routing)
}

/// Whether this is the chain behind which the gateway's own packets are routed once more.
fn is_output(table: TableKind, chain: ChainId) -> bool {
    table.built_in_chains().get(usize::from(chain.0)) == Some(&"output")
}

struct Making<'a> {
    program: &'a Program,
    steps: &'a mut Vec<Step>,
    /// What is known, with the marks that are sure.
    facts: Facts,
    phase_is_early: bool,
    /// Whether a packet's way is found behind this chain, with what its rules say about it.
    decides_the_way: bool,
    /// By kind of mark: whether it depends on the packet by now.
    unsure: [bool; MarkKind::ALL.len()],
    /// Whether a packet's own answers decide if this place is reached.
    conditional: bool,
    /// Whether some rule of this built-in chain accepts.
    accepts: bool,
    visited: u32,
}

impl Making<'_> {
    /// Built-in chains one after the other; whether what comes behind them is ever reached.
    fn sections(&mut self, chains: &[(TableKind, ChainId)]) -> Option<bool> {
        for (table, chain) in chains {
            let start = self.steps.len();
            self.accepts = false;
            self.decides_the_way = self.phase_is_early || is_output(*table, *chain);
            let comes_through = self.chain(*table, *chain, 0)?;
            self.settle(start, ACCEPTED)?;
            if !comes_through && !self.accepts {
                return Some(false);
            }
        }
        Some(true)
    }

    /// The rules of one chain; whether whoever jumped there ever goes on.
    fn chain(&mut self, table: TableKind, chain: ChainId, depth: usize) -> Option<bool> {
        if depth > JUMP_DEPTH_MAX {
            return None;
        }
        let start = self.steps.len();
        let mut comes_through = true;
        let mut returns = false;
        let program = self.program;
        // Marks, which may come to be unsure, are not among what candidates are chosen by.
        let mut rules = Candidates::open(&program.rules, table, chain, &self.facts)?;
        while let Some(id) = self.next(&mut rules)? {
            let rule = program.rules.find(id)?;
            let Some(asks) = self.left_to_ask(rule) else {
                continue;
            };
            let at = self.push(id, asks)?;
            let always = asks.nothing();
            match course(&rule.action) {
                Course::Next => self.note_mark(&rule.action, always)?,
                Course::Jump(to) => {
                    self.conditional |= !always;
                    let comes_back = self.chain(table, to, depth + 1)?;
                    self.redirect(at, |step, here| step.no = here)?;
                    comes_through = comes_back || !always;
                }
                Course::Return => {
                    returns = true;
                    self.redirect(at, |step, _| step.yes = end_of_chain(depth))?;
                    comes_through = !always;
                    self.conditional |= !always;
                }
                Course::Decide(verdict) => {
                    self.note_mark(&rule.action, always)?;
                    let accepts = verdict == Verdict::Accept;
                    self.accepts |= accepts;
                    let target = if accepts { ACCEPTED } else { END };
                    self.redirect(at, |step, _| step.yes = target)?;
                    comes_through = !always;
                    self.conditional |= !always;
                }
            }
            if !comes_through {
                break;
            }
        }
        self.settle(start, end_of_chain(depth))?;
        Some(comes_through || returns)
    }

    /// The next rule that may hold; `None` beyond the limit of rules for one packet.
    fn next(&mut self, rules: &mut Candidates<'_>) -> Option<Option<RuleId>> {
        let from = rules.at();
        let next = rules.next();
        self.visited += rules.at() - from;
        (self.visited <= STEPS_MAX).then_some(next.map(RuleId))
    }

    /// What has to be asked of each packet for the rule to match; `None` if it never does.
    fn left_to_ask(&self, rule: &CompiledRule) -> Option<Asks> {
        let mut asks = Asks {
            marks: false,
            lists: false,
            packet: !rule.packet_asks().is_empty() || rule.limit().is_some(),
        };
        if rule.disabled {
            return None;
        }
        for test in rule.tests() {
            if test
                .mark_kind()
                .is_some_and(|kind| self.unsure[kind as usize])
            {
                asks.marks = true;
            } else if test.asks_lists() {
                asks.lists = true;
            } else if !test.holds(&self.facts, self.program) {
                return None;
            }
        }
        Some(asks)
    }

    /// What a rule's mark means for the rules behind it; `None` if where a packet goes depends on
    /// the packet.
    fn note_mark(&mut self, action: &Action, always: bool) -> Option<()> {
        let Action::Edit(edit, _) = action else {
            return Some(());
        };
        let sure = always && !self.conditional;
        let leads = matches!(edit, Edit::Mark(MarkKind::Routing, _) | Edit::Route(_));
        if !sure && leads && self.decides_the_way {
            return None;
        }
        let Edit::Mark(kind, mark) = edit else {
            return Some(());
        };
        self.unsure[*kind as usize] = !sure;
        if sure {
            self.facts
                .marks
                .set(*kind, self.program.marks.number(*mark));
        }
        Some(())
    }

    fn push(&mut self, rule: RuleId, asks: Asks) -> Option<usize> {
        let at = self.steps.len();
        if at >= PLAN_STEPS_MAX {
            return None;
        }
        let next = u16::try_from(at + 1).ok()?;
        self.steps.push(Step {
            rule,
            asks,
            yes: next,
            no: next,
        });
        Some(at)
    }

    fn redirect(&mut self, at: usize, how: impl FnOnce(&mut Step, u16)) -> Option<()> {
        let here = u16::try_from(self.steps.len()).ok()?;
        how(self.steps.get_mut(at)?, here);
        Some(())
    }

    /// Makes all that went to `stand_in` since `start` go here.
    fn settle(&mut self, start: usize, stand_in: u16) -> Option<()> {
        let here = u16::try_from(self.steps.len()).ok()?;
        for step in self.steps.get_mut(start..)? {
            for target in [&mut step.yes, &mut step.no] {
                if *target == stand_in {
                    *target = here;
                }
            }
        }
        Some(())
    }
}
