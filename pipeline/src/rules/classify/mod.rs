//! The fast evaluator: looks only at rules that can hold.
//!
//! Each chain of some length has an [`Index`]. It knows for every field of a packet which rules may
//! hold for its value; what all fields admit are the candidates, found in order, 512 rules at a
//! time, no further than the verdict. They are then looked at by the loop that defines what rules
//! mean (`linear.rs`), so an index that admits too much costs time and nothing else; it may never
//! admit too little. It promises the same verdict, deciding rule, matches in order and questions to
//! the observer as the linear evaluator, for every packet; `agreement.rs` holds it to that.

#[cfg(test)]
mod agreement;
mod axis;
mod dimension;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod made_up;
mod sets;
mod spans;

use arrayvec::ArrayVec;

use crate::ids::ChainId;
use crate::policy::{InterfaceList, TableKind};
use crate::program::Program;
use crate::rules::classify::axis::Axis;
use crate::rules::classify::dimension::{DIMENSIONS, Dimension, asked};
use crate::rules::classify::sets::{CHAIN_RULES_MAX, NODE_RULES, Node, Row, Sets, SetsBuilder};
use crate::rules::classify::spans::Spans;
use crate::rules::compiled::{CompiledRule, Rules};
use crate::rules::facts::Facts;
use crate::rules::linear::{self, Decision, Observer, Reading};

/// How many rules a chain has at least for an index to be quicker than looking at each.
pub const INDEXED_MIN: usize = 8;

/// Takes a packet through the rules of a chain and whatever chains those jump to.
///
/// An observer that wants to hear of rules that do not match gets the linear evaluator.
pub fn evaluate(
    program: &Program,
    table: TableKind,
    chain: ChainId,
    facts: &Facts,
    observer: &mut impl Observer,
) -> Decision {
    if observer.hears_every_look() {
        return linear::evaluate(program, table, chain, facts, observer);
    }
    linear::read::<Candidates<'_>>(program, table, chain, facts, observer)
}

/// Which rules of one chain may hold, field by field.
#[derive(Debug, Clone)]
pub struct Index {
    axes: Box<[Axis]>,
    sets: Sets,
}

impl Index {
    /// The index of a chain; `None` for a chain that is read as quickly, or as rightly, without.
    pub fn build(rules: &[CompiledRule], lists: &[InterfaceList]) -> Option<Self> {
        if rules.len() < INDEXED_MIN || rules.len() > CHAIN_RULES_MAX {
            return None;
        }
        let mut asked_by_rule: Vec<(u32, Asked)> = Vec::with_capacity(rules.len());
        for (place, rule) in (0..).zip(rules) {
            // Never matches: a member of no set.
            if !rule.disabled {
                asked_by_rule.push((place, Asked::by(rule, lists)));
            }
        }
        let mut sets = SetsBuilder::new(rules.len());
        let axes: Box<[Axis]> = Dimension::ALL
            .into_iter()
            .filter_map(|dimension| {
                let rules = asked_by_rule.iter();
                let rules = rules.map(|(place, asked)| (*place, asked.of(dimension)));
                Axis::build(dimension, rules, &mut sets)
            })
            .collect();
        let sets = sets.finish();
        (!axes.is_empty()).then_some(Self { axes, sets })
    }

    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.sets.bytes() + self.axes.iter().map(Axis::bytes).sum::<usize>()
    }

    fn search(&self, facts: &Facts) -> Search<'_> {
        let axes = self.axes.iter();
        Search {
            sets: &self.sets,
            rows: axes
                .filter_map(|axis| axis.row(axis.dimension().of(facts)))
                .collect(),
            node: None,
            members: Node::default(),
        }
    }
}

/// What one rule asks, by dimension.
struct Asked(ArrayVec<(Dimension, Spans), DIMENSIONS>);

impl Asked {
    fn by(rule: &CompiledRule, lists: &[InterfaceList]) -> Self {
        let mut all = ArrayVec::<(Dimension, Spans), DIMENSIONS>::new();
        for (dimension, spans) in rule.tests().iter().flat_map(|test| asked(test, lists)) {
            match all.iter_mut().find(|(known, _)| *known == dimension) {
                Some((_, known)) => *known = known.and(&spans).coarse(),
                // There is room: each dimension once.
                None => all.push((dimension, spans)),
            }
        }
        Self(all)
    }

    fn of(&self, dimension: Dimension) -> Option<&Spans> {
        let mut all = self.0.iter();
        all.find(|(asked, _)| *asked == dimension)
            .map(|(_, spans)| spans)
    }
}

/// The rules of a chain that may hold for a packet, from one place on.
pub(super) struct Candidates<'p> {
    /// The chain's first rule.
    first: u32,
    /// The first rule not passed yet.
    at: u32,
    /// Behind the chain's last rule.
    end: u32,
    /// `None`: every rule is a candidate.
    search: Option<Search<'p>>,
}

impl<'p> Reading<'p> for Candidates<'p> {
    fn open(rules: &'p Rules, table: TableKind, chain: ChainId, facts: &Facts) -> Option<Self> {
        let range = rules.chain(table, chain)?;
        Some(Self {
            first: range.start,
            at: range.start,
            end: range.end,
            search: rules.index(table, chain).map(|index| index.search(facts)),
        })
    }

    fn at(&self) -> u32 {
        self.at
    }

    fn next(&mut self) -> Option<u32> {
        let next = match &mut self.search {
            None => self.at,
            Some(search) => match search.from(self.at - self.first) {
                Some(place) => self.first + place,
                None => self.end,
            },
        };
        self.at = (next + 1).min(self.end);
        (next < self.end).then_some(next)
    }

    fn leave(&mut self) {
        self.at = self.end;
    }
}

/// A walk over what several rows have in common.
struct Search<'p> {
    sets: &'p Sets,
    rows: ArrayVec<&'p Row, DIMENSIONS>,
    /// The node at hand.
    node: Option<usize>,
    /// What the rows have in common there.
    members: Node,
}

impl Search<'_> {
    /// The first common member from `place` on.
    fn from(&mut self, place: u32) -> Option<u32> {
        let mut place = usize::try_from(place).ok()?;
        loop {
            let mut node = place / NODE_RULES;
            if self.node != Some(node) {
                let (met, members) = self.sets.meet(&self.rows, node)?;
                if met > node {
                    (node, place) = (met, met * NODE_RULES);
                }
                (self.node, self.members) = (Some(node), members);
            }
            match first_member(&self.members, place % NODE_RULES) {
                Some(member) => return u32::try_from(node * NODE_RULES + member).ok(),
                None => place = (node + 1) * NODE_RULES,
            }
        }
    }
}

/// The first bit from `from` on that is set.
fn first_member(node: &Node, from: usize) -> Option<usize> {
    let mut mask = u64::MAX << (from % 64);
    for (n, word) in node.iter().enumerate().skip(from / 64) {
        let rest = word & mask;
        if rest != 0 {
            return Some(n * 64 + usize::try_from(rest.trailing_zeros()).ok()?);
        }
        mask = u64::MAX;
    }
    None
}
