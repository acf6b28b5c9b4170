//! Sets of rules of one chain as trees of words that share what they have in common.
//!
//! A [`Row`] is a set of places in a chain. Along one field of a packet two neighbouring sets
//! differ in a rule or two, so all but the changed nodes of their trees are the same ones: a set
//! costs what it changes, not what it holds. Any part without a member is number 0, [`NOBODY`], so
//! that whole parts are passed over at a glance.

use hashbrown::HashMap;

/// Rules in a node: one cache line.
pub const NODE_RULES: usize = 512;
/// Nodes in a branch, and branches in a row.
const BRANCH_NODES: usize = 16;
const ROW_BRANCHES: usize = 8;
/// The most rules of a chain that has an index.
pub const CHAIN_RULES_MAX: usize = NODE_RULES * BRANCH_NODES * ROW_BRANCHES;

/// The number of a part that has no member.
const NOBODY: u32 = 0;

/// 512 rules, one bit each.
pub type Node = [u64; NODE_RULES / 64];

/// A set of rules: the numbers of its branches.
pub type Row = [u32; ROW_BRANCHES];

type Branch = [u32; BRANCH_NODES];

/// The parts of every row of one index.
#[derive(Debug, Clone)]
pub struct Sets {
    nodes: Box<[Node]>,
    branches: Box<[Branch]>,
    /// How many nodes a row has.
    len: usize,
}

impl Sets {
    /// The first node, from `node` on, in which all of `rows` have a member in common, and what
    /// they have in common there.
    pub fn meet(&self, rows: &[&Row], node: usize) -> Option<(usize, Node)> {
        let mut node = node;
        while node < self.len {
            match self.common(rows, node) {
                Ok(common) => return Some((node, common)),
                Err(next) => node = next,
            }
        }
        None
    }

    /// What `rows` have in common in a node; if nothing, the next node that is worth a look.
    fn common(&self, rows: &[&Row], node: usize) -> Result<Node, usize> {
        let (place, within) = (node / BRANCH_NODES, node % BRANCH_NODES);
        let mut common = [u64::MAX; NODE_RULES / 64];
        for row in rows {
            let branch = row.get(place).copied().unwrap_or(NOBODY);
            if branch == NOBODY {
                return Err((place + 1) * BRANCH_NODES);
            }
            let Some(part) = find(&self.branches, branch).and_then(|b| b.get(within)) else {
                return Err(node + 1);
            };
            if *part == NOBODY {
                return Err(node + 1);
            }
            let Some(words) = find(&self.nodes, *part) else {
                return Err(node + 1);
            };
            for (common, word) in common.iter_mut().zip(words) {
                *common &= word;
            }
        }
        if common.iter().all(|word| *word == 0) {
            return Err(node + 1);
        }
        Ok(common)
    }

    /// How much memory the parts take, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.branches)
    }
}

fn find<T>(all: &[T], number: u32) -> Option<&T> {
    all.get(usize::try_from(number).ok()?)
}

/// Makes [`Sets`]: equal parts are kept once.
#[derive(Debug)]
pub struct SetsBuilder {
    nodes: Parts<Node>,
    branches: Parts<Branch>,
    len: usize,
}

/// A set that changes, and the row that it was last.
#[derive(Debug, Clone)]
pub struct Draft {
    nodes: Vec<Node>,
    numbers: Vec<u32>,
    row: Row,
    /// Nodes that have changed since.
    changed: Vec<usize>,
}

impl SetsBuilder {
    /// A builder for sets of the first `rules` numbers.
    pub fn new(rules: usize) -> Self {
        Self {
            nodes: Parts::new([0; NODE_RULES / 64]),
            branches: Parts::new([NOBODY; BRANCH_NODES]),
            len: rules.div_ceil(NODE_RULES),
        }
    }

    /// An empty set.
    pub fn draft(&self) -> Draft {
        Draft {
            nodes: vec![[0; NODE_RULES / 64]; self.len],
            numbers: vec![NOBODY; self.len],
            row: [NOBODY; ROW_BRANCHES],
            changed: Vec::new(),
        }
    }

    /// The row of what a draft holds now.
    pub fn row(&mut self, draft: &mut Draft) -> Row {
        draft.changed.sort_unstable();
        draft.changed.dedup();
        for node in &draft.changed {
            if let (Some(number), Some(words)) =
                (draft.numbers.get_mut(*node), draft.nodes.get(*node))
            {
                *number = self.nodes.number(*words);
            }
        }
        let places = draft.changed.drain(..).map(|node| node / BRANCH_NODES);
        let mut places: Vec<usize> = places.collect();
        places.dedup();
        for place in places {
            let mut branch = [NOBODY; BRANCH_NODES];
            let numbers = draft.numbers.iter().skip(place * BRANCH_NODES);
            for (part, number) in branch.iter_mut().zip(numbers) {
                *part = *number;
            }
            if let Some(at) = draft.row.get_mut(place) {
                *at = self.branches.number(branch);
            }
        }
        draft.row
    }

    /// The sets.
    pub fn finish(self) -> Sets {
        Sets {
            nodes: self.nodes.all.into(),
            branches: self.branches.all.into(),
            len: self.len,
        }
    }
}

impl Draft {
    /// Puts a rule in if it is out, and takes it out if it is in.
    pub fn toggle(&mut self, rule: u32) {
        let Ok(rule) = usize::try_from(rule) else {
            return;
        };
        let (node, bit) = (rule / NODE_RULES, rule % NODE_RULES);
        if let Some(word) = self.nodes.get_mut(node).and_then(|n| n.get_mut(bit / 64)) {
            *word ^= 1 << (bit % 64);
            self.changed.push(node);
        }
    }
}

/// Values by number; equal ones have one number, and the first value's is [`NOBODY`].
#[derive(Debug)]
struct Parts<T> {
    all: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Copy + Eq + std::hash::Hash> Parts<T> {
    fn new(nobody: T) -> Self {
        let mut parts = Self {
            all: Vec::new(),
            numbers: HashMap::new(),
        };
        parts.number(nobody);
        parts
    }

    fn number(&mut self, part: T) -> u32 {
        *self.numbers.entry(part).or_insert_with(|| {
            self.all.push(part);
            u32::try_from(self.all.len() - 1).unwrap_or(NOBODY)
        })
    }
}
