//! `firewall`: the tables raw, mangle, filter and nat.
//!
//! A table is read in two passes, first for the names of its chains, then for its rules, so that
//! a jump can go to a chain that is written further down.

mod action;
mod asks;
mod chains;
mod edits;
mod fit;
mod labels;
mod lists;
mod matchers;
mod rates;
mod rule;
pub mod shadows;
mod text;
mod translations;

use turnpike_pipeline::ids::RULES_MAX;
use turnpike_pipeline::policy::{Table, TableKind};

use super::names::Names;
use super::section::{Keys, Section, sequence};
use crate::problem::Problems;
use crate::yaml::{Node, Value};

pub use asks::NO_MARK;
pub use text::adding_action;

use chains::ChainNames;
use rule::Draft;

const FIREWALL: Keys = Keys {
    of: "`firewall`",
    known: &["raw", "mangle", "filter", "nat"],
    later: &[],
    elsewhere: &[],
};

/// The four tables.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Before connection tracking.
    pub raw: Table,
    /// Marks and changes.
    pub mangle: Table,
    /// Translation.
    pub nat: Table,
    /// What may pass.
    pub filter: Table,
}

/// Reads `firewall:`; every table has at least its built-in chains.
pub fn decode(node: Option<&Node>, names: &mut Names, problems: &mut Problems) -> Tables {
    let section = node.and_then(|n| Section::open(n, &FIREWALL, problems));
    for kind in TableKind::ALL {
        let node = section.and_then(|s| s.field(kind.name()));
        if let Some(Value::Sequence(rules)) = node.map(|node| &node.value) {
            asks::collect_marks(rules, names);
            lists::collect(rules, names);
        }
    }
    let mut total = 0;
    let mut table = |kind: TableKind| {
        let node = section.and_then(|s| s.field(kind.name()));
        read_table(kind, node, names, &mut total, problems)
    };
    Tables {
        raw: table(TableKind::Raw),
        mangle: table(TableKind::Mangle),
        filter: table(TableKind::Filter),
        nat: table(TableKind::Nat),
    }
}

fn read_table(
    kind: TableKind,
    node: Option<&Node>,
    names: &Names,
    total: &mut usize,
    problems: &mut Problems,
) -> Table {
    let nodes = node
        .and_then(|n| sequence(n, "rules", problems))
        .unwrap_or_default();
    let room = RULES_MAX.saturating_sub(*total);
    if let Some(node) = nodes.get(room) {
        problems.error(
            node.span,
            format!("more than {RULES_MAX} rules; put addresses into an address list"),
        );
    }
    let nodes = nodes.get(..room).unwrap_or(nodes);
    *total += nodes.len();
    let chains = ChainNames::collect(kind, nodes);
    let context = rule::Context {
        kind,
        names,
        chains: &chains,
    };
    let drafts: Vec<Draft<'_>> = nodes
        .iter()
        .filter_map(|node| rule::decode(node, &context, problems))
        .collect();
    chains::check(kind, &chains, &drafts, problems);
    let mut table = Table {
        chains: chains.empty_chains(),
    };
    for draft in drafts {
        if let Some(chain) = table.chains.get_mut(usize::from(draft.chain.0)) {
            chain.rules.push(draft.rule);
        }
    }
    table
}
