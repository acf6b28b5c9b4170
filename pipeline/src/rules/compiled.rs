//! The rules of a program in one flat list, chain after chain, table after table.

use std::ops::Range;
use std::sync::Arc;

use crate::ids::{ChainId, Layer7Id, RuleId};
use crate::policy::{
    Action, AddressRange, ConnectionLimit, Match, PacketAsk, Policy, PortChoice, Rule, Sniff,
    Source, TableKind,
};
use crate::program::Program;
use crate::rules::classify::Index;
use crate::rules::facts::Facts;
use crate::rules::linear::Look;
use crate::rules::matchers::{End, Test};

/// One rule, ready to be looked at.
#[derive(Debug, Clone)]
pub struct CompiledRule {
    /// Its table.
    pub table: TableKind,
    /// Its chain.
    pub chain: ChainId,
    /// The chain's name.
    pub chain_name: Arc<str>,
    /// Its place in the chain, from 1.
    pub number: u32,
    /// What it does.
    pub action: Action,
    /// `log: yes` beside the action: the prefix of the line.
    pub log: Option<Arc<str>>,
    /// The comment, empty when there is none.
    pub comment: Arc<str>,
    /// Disabled rules keep their place and never match.
    pub disabled: bool,
    /// How a translation of its chooses ports.
    pub port_choice: PortChoice,
    /// Where it was written.
    pub source: Source,
    /// The rule in canonical words.
    pub text: Arc<str>,
    tests: Box<[Test]>,
    asks_lists: bool,
    asks_label: bool,
    packet: Box<[Match<PacketAsk>]>,
    limit: Option<Match<ConnectionLimit>>,
}

impl CompiledRule {
    fn new(
        table: TableKind,
        chain: ChainId,
        chain_name: &Arc<str>,
        number: u32,
        rule: &Rule,
    ) -> Self {
        let tests = Test::of(rule);
        Self {
            table,
            chain,
            chain_name: Arc::clone(chain_name),
            number,
            action: rule.action.clone(),
            log: rule.log.clone(),
            comment: Arc::clone(&rule.comment),
            disabled: rule.disabled,
            port_choice: rule.port_choice,
            source: rule.source.clone(),
            text: Arc::clone(&rule.text),
            asks_lists: !rule.disabled && tests.iter().any(Test::asks_lists),
            asks_label: tests.iter().any(|test| !test.asked_protocols().is_empty()),
            tests,
            packet: rule.matchers.packet.as_slice().into(),
            limit: rule.matchers.connection_limit,
        }
    }

    /// Holds the rule against what a flow's packets have in common: all it asks but for
    /// [`packet_asks`](Self::packet_asks) and its `connection-limit`.
    pub fn look(&self, facts: &Facts, program: &Program) -> Look {
        if self.disabled {
            return Look::Disabled;
        }
        match self.tests.iter().find(|test| !test.holds(facts, program)) {
            Some(failed) => Look::Failed(failed.name()),
            None => Look::Matched,
        }
    }

    /// The prefix of the line that a match writes to the log, `None` if it writes none.
    pub fn log_prefix(&self) -> Option<&Arc<str>> {
        match &self.action {
            Action::Log(prefix) => Some(prefix),
            Action::Accept
            | Action::Drop
            | Action::Reject(_)
            | Action::Passthrough
            | Action::Jump(_)
            | Action::Return
            | Action::NoTrack
            | Action::Fasttrack
            | Action::AddToList(..)
            | Action::Sniff(_)
            | Action::Edit(..)
            | Action::SrcNat(_)
            | Action::Masquerade(_)
            | Action::DstNat(_)
            | Action::Redirect(_)
            | Action::EndpointIndependent(_)
            | Action::Same(..)
            | Action::Netmap(_) => self.log.as_ref(),
        }
    }

    /// Who gets a copy of a packet that matches.
    pub const fn sniff(&self) -> Option<Sniff> {
        if let Action::Sniff(sniff) = self.action {
            Some(sniff)
        } else {
            None
        }
    }

    /// The addresses at one end of a packet that it asks for, if it asks for a range of them.
    pub fn asked_range(&self, end: End) -> Option<AddressRange> {
        self.tests.iter().find_map(|test| test.asked_range(end))
    }

    /// What it asks of each packet anew, all of which has to hold too.
    pub fn packet_asks(&self) -> &[Match<PacketAsk>] {
        &self.packet
    }

    /// Whether it asks for lists of addresses.
    pub const fn asks_lists(&self) -> bool {
        self.asks_lists
    }

    /// Whether it asks for the label of the packet's connection.
    pub const fn asks_label(&self) -> bool {
        self.asks_label
    }

    /// The protocols that it asks a label for.
    pub fn asked_protocols(&self) -> impl Iterator<Item = Layer7Id> {
        let asked = self.tests.iter().flat_map(Test::asked_protocols);
        asked.copied()
    }

    /// Holds all it asks for but the label against what a flow's packets have in common.
    pub fn holds_but_for_label(&self, facts: &Facts, program: &Program) -> bool {
        let mut tests = self.tests.iter();
        tests.all(|test| !test.asked_protocols().is_empty() || test.holds(facts, program))
    }

    /// Its `connection-limit`, which has to hold too.
    pub const fn limit(&self) -> Option<Match<ConnectionLimit>> {
        self.limit
    }

    /// The questions it asks, all of which have to hold.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }
}

/// `table/chain/N file:line`, which is how people are told about a rule.
impl std::fmt::Display for CompiledRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.table.name();
        write!(
            f,
            "{table}/{}/{} {}",
            self.chain_name, self.number, self.source
        )
    }
}

/// Every rule of a program, by [`RuleId`], and where each chain is.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    all: Box<[CompiledRule]>,
    /// By table, in the order of [`TableKind::ALL`], then by [`ChainId`].
    chains: [Box<[ChainSpan]>; TableKind::ALL.len()],
}

#[derive(Debug, Clone)]
struct ChainSpan {
    name: Arc<str>,
    rules: Range<u32>,
    index: Option<Index>,
}

impl Rules {
    /// Compiles every rule of the policy: raw, nat, filter, chain by chain.
    pub fn build(policy: &Policy) -> Self {
        let mut all: Vec<CompiledRule> = Vec::new();
        let chains = TableKind::ALL.map(|table| {
            let chains = policy.table(table).chains.iter();
            let spans = (0..).map(ChainId).zip(chains).map(|(id, chain)| {
                let name: Arc<str> = chain.name.as_str().into();
                let start = all.len();
                let first = position(&all);
                all.extend(
                    (1..)
                        .zip(&chain.rules)
                        .map(|(number, rule)| CompiledRule::new(table, id, &name, number, rule)),
                );
                ChainSpan {
                    name,
                    rules: first..position(&all),
                    index: Index::build(
                        all.get(start..).unwrap_or_default(),
                        &policy.interface_lists,
                    ),
                }
            });
            spans.collect()
        });
        Self {
            all: all.into(),
            chains,
        }
    }

    /// The rule with this identifier.
    pub fn find(&self, id: RuleId) -> Option<&CompiledRule> {
        self.all.get(usize::try_from(id.0).ok()?)
    }

    /// Every rule with its identifier, in configuration order.
    pub fn iter(&self) -> impl Iterator<Item = (RuleId, &CompiledRule)> {
        (0..).map(RuleId).zip(&self.all)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The identifiers of a chain's rules, as numbers; `None` if there is no such chain.
    pub fn chain(&self, table: TableKind, chain: ChainId) -> Option<Range<u32>> {
        Some(self.span(table, chain)?.rules.clone())
    }

    /// What says which rules of a chain may hold; short chains have none.
    pub fn index(&self, table: TableKind, chain: ChainId) -> Option<&Index> {
        self.span(table, chain)?.index.as_ref()
    }

    /// Every index there is.
    pub fn indexes(&self) -> impl Iterator<Item = &Index> {
        let spans = self.chains.iter().flatten();
        spans.filter_map(|span| span.index.as_ref())
    }

    /// Whether no rule of the table is enabled, so that looking at it would decide nothing.
    pub fn is_idle(&self, table: TableKind) -> bool {
        let mut all = self.all.iter();
        !all.any(|rule| rule.table == table && !rule.disabled)
    }

    /// The name of a chain.
    pub fn chain_name(&self, table: TableKind, chain: ChainId) -> Option<&Arc<str>> {
        Some(&self.span(table, chain)?.name)
    }

    /// The chain of this name in a table.
    pub fn chain_named(&self, table: TableKind, name: &str) -> Option<ChainId> {
        let mut chains = (0..).map(ChainId).zip(&self.chains[table as usize]);
        chains.find(|(_, c)| &*c.name == name).map(|(id, _)| id)
    }

    fn span(&self, table: TableKind, chain: ChainId) -> Option<&ChainSpan> {
        self.chains[table as usize].get(usize::from(chain.0))
    }
}

/// The number of the next rule; configuration admits no more than `RULES_MAX`.
fn position(rules: &[CompiledRule]) -> u32 {
    u32::try_from(rules.len()).unwrap_or(u32::MAX)
}
