//! The chains of a table: their names, who jumps where, and what that allows a rule to ask.

use std::collections::BTreeSet;

use turnpike_pipeline::ids::ChainId;
use turnpike_pipeline::policy::{Action, Chain, Edit, MarkKind, TableKind};
use turnpike_pipeline::rules::linear::JUMP_DEPTH_MAX;

use super::super::section::Word;
use super::super::value::Name;
use super::rule::Draft;
use super::translations;
use crate::problem::{Problems, Span, did_you_mean};
use crate::yaml::{Node, Value};

/// The most chains of a table.
pub const CHAINS_MAX: usize = 4_096;

/// Every name that is a built-in chain somewhere.
const BUILT_IN: &[&str] = &[
    "prerouting",
    "input",
    "forward",
    "output",
    "postrouting",
    "dstnat",
    "srcnat",
];

/// The chains of one table by name.
pub struct ChainNames {
    kind: TableKind,
    names: Vec<String>,
}

impl ChainNames {
    /// The built-in chains and every other that some rule is in.
    pub fn collect(kind: TableKind, rules: &[Node]) -> Self {
        let mut names: Vec<String> = kind
            .built_in_chains()
            .iter()
            .map(|n| (*n).to_owned())
            .collect();
        let mut seen: BTreeSet<String> = names.iter().cloned().collect();
        for rule in rules {
            let Value::Mapping(entries) = &rule.value else {
                continue;
            };
            let chain = entries.iter().find(|e| e.key == "chain");
            let Some(Value::Scalar(name)) = chain.map(|e| &e.value.value) else {
                continue;
            };
            let custom = !BUILT_IN.contains(&name.text.as_str()) && names.len() < CHAINS_MAX;
            if custom && seen.insert(name.text.clone()) {
                names.push(name.text.clone());
            }
        }
        Self { kind, names }
    }

    /// The chain that a rule is in.
    ///
    /// # Errors
    /// A built-in chain of another table, or what cannot be a name.
    pub fn find(&self, name: &str) -> Result<ChainId, String> {
        if let Some(id) = self.id(name) {
            if id.0 as usize >= self.kind.built_in_chains().len() {
                Name::read(name)?;
            }
            return Ok(id);
        }
        let table = self.kind.name();
        let own = self.kind.built_in_chains().join(", ");
        if self.kind == TableKind::Nat && matches!(name, "input" | "output") {
            return Err(format!(
                "nat's chain `{name}` is not supported by this version of Turnpike; it has {own}"
            ));
        }
        if BUILT_IN.contains(&name) {
            return Err(format!(
                "{table} has no chain `{name}`; it has {own} and those you name yourself"
            ));
        }
        Err(format!("more than {CHAINS_MAX} chains in {table}"))
    }

    /// The chain that a rule jumps to: a custom one.
    ///
    /// # Errors
    /// A built-in chain, or one that no rule is in.
    pub fn jump_target(&self, name: &str) -> Result<ChainId, String> {
        let built_in = self.kind.built_in_chains().len();
        match self.id(name) {
            Some(id) if usize::from(id.0) >= built_in => Ok(id),
            Some(_) => Err(format!(
                "`{name}` is a built-in chain and cannot be jumped to; name a chain of your own"
            )),
            None => {
                let custom = self.names.iter().skip(built_in).map(String::as_str);
                let near = did_you_mean(name, custom);
                Err(format!(
                    "no rule of {} is in a chain `{name}`{near}; add one, or correct the name",
                    self.kind.name()
                ))
            }
        }
    }

    /// The chain's name.
    pub fn name(&self, id: ChainId) -> &str {
        self.names
            .get(usize::from(id.0))
            .map_or("?", String::as_str)
    }

    /// The chains without their rules, in the order of their identifiers.
    pub fn empty_chains(&self) -> Vec<Chain> {
        let chain = |name: &String| Chain {
            name: name.clone(),
            rules: Vec::new(),
        };
        self.names.iter().map(chain).collect()
    }

    fn id(&self, name: &str) -> Option<ChainId> {
        let index = self.names.iter().position(|n| n == name)?;
        u16::try_from(index).ok().map(ChainId)
    }
}

/// Checks what needs all rules of a table at once.
pub fn check(kind: TableKind, chains: &ChainNames, drafts: &[Draft<'_>], problems: &mut Problems) {
    let graph = Graph::build(chains.names.len(), drafts);
    refuse_loops(chains, &graph, problems);
    let roots = graph.roots(kind.built_in_chains().len());
    for draft in drafts {
        let roots = roots.get(usize::from(draft.chain.0));
        let roots: Vec<&str> = roots
            .into_iter()
            .flatten()
            .filter_map(|r| chains.names.get(*r).map(String::as_str))
            .collect();
        fits_its_chain(kind, draft, &roots, problems);
    }
    unreached(kind, chains, drafts, &roots, problems);
    fasttrack_without_accept(drafts, problems);
}

struct Graph {
    /// By chain: the chains it jumps to, and where that is written.
    jumps: Vec<Vec<(usize, Span)>>,
}

impl Graph {
    fn build(chains: usize, drafts: &[Draft<'_>]) -> Self {
        let mut jumps = vec![Vec::new(); chains];
        for draft in drafts {
            let Action::Jump(target) = &draft.rule.action else {
                continue;
            };
            let span = draft.section.field("jump-target").map(|n| n.span);
            if let Some(from) = jumps.get_mut(usize::from(draft.chain.0)) {
                from.push((
                    usize::from(target.0),
                    span.unwrap_or_else(|| draft.section.span()),
                ));
            }
        }
        Self { jumps }
    }

    fn from(&self, chain: usize) -> &[(usize, Span)] {
        self.jumps.get(chain).map_or(&[], Vec::as_slice)
    }

    /// By chain: the built-in chains it is reached from.
    fn roots(&self, built_in: usize) -> Vec<BTreeSet<usize>> {
        let mut roots = vec![BTreeSet::new(); self.jumps.len()];
        for root in 0..built_in {
            let mut open = vec![root];
            while let Some(chain) = open.pop() {
                if roots.get_mut(chain).is_some_and(|r| r.insert(root)) {
                    open.extend(self.from(chain).iter().map(|(to, _)| *to));
                }
            }
        }
        roots
    }
}

/// How many jumps deep a chain goes: known, or being found out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Unknown,
    Open,
    Known(usize),
}

fn refuse_loops(chains: &ChainNames, graph: &Graph, problems: &mut Problems) {
    let mut depths = vec![Depth::Unknown; graph.jumps.len()];
    for start in 0..graph.jumps.len() {
        // (chain, next jump to look at, deepest so far), instead of recursion.
        let mut stack = vec![(start, 0_usize, 0_usize)];
        if depths.get(start) != Some(&Depth::Unknown) {
            continue;
        }
        set(&mut depths, start, Depth::Open);
        while let Some((chain, next, deepest)) = stack.pop() {
            let Some(&(to, span)) = graph.from(chain).get(next) else {
                set(&mut depths, chain, Depth::Known(deepest));
                continue;
            };
            match depths.get(to).copied().unwrap_or(Depth::Known(0)) {
                Depth::Open => {
                    problems.error(
                        span,
                        format!(
                            "`{}` jumps into a loop: `{}` leads back to it; remove one of the \
                             jumps",
                            chains.names.get(chain).map_or("?", String::as_str),
                            chains.names.get(to).map_or("?", String::as_str)
                        ),
                    );
                    stack.push((chain, next + 1, deepest));
                }
                Depth::Known(below) => {
                    if below + 1 == JUMP_DEPTH_MAX + 1 {
                        problems.error(
                            span,
                            format!("chains jump more than {JUMP_DEPTH_MAX} deep from here"),
                        );
                    }
                    stack.push((chain, next + 1, deepest.max(below + 1)));
                }
                Depth::Unknown => {
                    stack.push((chain, next, deepest));
                    set(&mut depths, to, Depth::Open);
                    stack.push((to, 0, 0));
                }
            }
        }
    }
}

fn set(depths: &mut [Depth], chain: usize, depth: Depth) {
    if let Some(slot) = depths.get_mut(chain) {
        *slot = depth;
    }
}

/// Whether a chain knows the interface a packet came by, and the one it leaves by.
fn sees(kind: TableKind, chain: &str) -> (bool, bool) {
    match (kind, chain) {
        (TableKind::Raw, "prerouting")
        | (TableKind::Mangle, "prerouting" | "input")
        | (TableKind::Nat, "dstnat" | "input")
        | (TableKind::Filter, "input") => (true, false),
        // Its own packets are translated before they are routed.
        (TableKind::Nat, "output") => (false, false),
        (_, "output") | (TableKind::Nat, "srcnat") => (false, true),
        (TableKind::Raw | TableKind::Mangle | TableKind::Nat | TableKind::Filter, _) => {
            (true, true)
        }
    }
}

fn fits_its_chain(kind: TableKind, draft: &Draft<'_>, roots: &[&str], problems: &mut Problems) {
    if roots.is_empty() {
        return;
    }
    let sides = [
        ("in-interface", "came in by", false),
        ("in-interface-list", "came in by", false),
        ("out-interface", "leaves by", true),
        ("out-interface-list", "leaves by", true),
    ];
    for (key, verb, out) in sides {
        let blind = roots.iter().all(|root| {
            let (sees_in, sees_out) = sees(kind, root);
            !(if out { sees_out } else { sees_in })
        });
        if let (Some(entry), true) = (draft.section.entry(key), blind) {
            problems.error(
                entry.key_span,
                format!(
                    "`{key}` never matches in {}: the interface a packet {verb} is not known \
                     there; remove it",
                    roots.join(" and ")
                ),
            );
        }
    }
    routing_fits(kind, draft, roots, problems);
    translations::check(draft, roots, problems);
}

/// Chains behind which a packet's way is found, or found once more.
const LEADING: &[&str] = &["prerouting", "output"];
/// Chains before a packet's way is found.
const UNROUTED: &[&str] = &["prerouting", "dstnat"];

/// What says where a packet goes has to come before its way is found, and what asks by which table
/// that was, behind it.
fn routing_fits(kind: TableKind, draft: &Draft<'_>, roots: &[&str], problems: &mut Problems) {
    let reached = roots.join(" and ");
    let of = |names: &[&str]| roots.iter().any(|root| names.contains(root));
    let action = &draft.rule.action;
    let useless = matches!(action, Action::Edit(Edit::Mark(MarkKind::Routing, _), _))
        && !of(LEADING)
        || matches!(action, Action::Edit(Edit::Route(_), _)) && !of(&["prerouting"]);
    if let (Some(entry), true) = (draft.section.entry("action"), useless) {
        problems.error(
            entry.value.span,
            format!(
                "a packet's way has been found when it comes to {reached}; do this in prerouting"
            ),
        );
    }
    let blind = kind != TableKind::Raw && roots.iter().all(|root| UNROUTED.contains(root));
    if let (Some(entry), true) = (draft.section.entry("routing-table"), blind) {
        problems.error(
            entry.key_span,
            format!(
                "`routing-table` never matches in {reached}: a packet's way is not found there \
                 yet; remove it, or ask for `routing-mark`"
            ),
        );
    }
}

/// Custom chains that nothing jumps to: a slip if the name is nearly a built-in one.
fn unreached(
    kind: TableKind,
    chains: &ChainNames,
    drafts: &[Draft<'_>],
    roots: &[BTreeSet<usize>],
    problems: &mut Problems,
) {
    let mut said = BTreeSet::new();
    for draft in drafts {
        let index = usize::from(draft.chain.0);
        let reached = roots.get(index).is_some_and(|r| !r.is_empty());
        if reached || !said.insert(index) {
            continue;
        }
        let span = draft.section.field("chain").map(|n| n.span);
        let span = span.unwrap_or_else(|| draft.section.span());
        let name = chains.name(draft.chain);
        let near = did_you_mean(name, kind.built_in_chains().iter().copied());
        if near.is_empty() {
            problems.warning(
                span,
                format!("nothing jumps to the chain `{name}`, so its rules are never looked at"),
            );
        } else {
            problems.error(
                span,
                format!(
                    "nothing jumps to a chain `{name}`{near}; correct the name, or add a jump to it"
                ),
            );
        }
    }
}

/// `fasttrack-connection` lets the packet go on, as in RouterOS: something has to accept it.
fn fasttrack_without_accept(drafts: &[Draft<'_>], problems: &mut Problems) {
    for (index, draft) in drafts.iter().enumerate() {
        if draft.rule.action != Action::Fasttrack || draft.rule.disabled {
            continue;
        }
        let accepted = drafts.iter().skip(index + 1).any(|later| {
            later.chain == draft.chain
                && !later.rule.disabled
                && later.rule.action == Action::Accept
                && later.rule.matchers == draft.rule.matchers
        });
        if !accepted {
            problems.warning(
                draft.section.span(),
                "fasttrack-connection only marks the connection and goes on; add a rule with the \
                 same matchers and `action: accept` after it",
            );
        }
    }
}
