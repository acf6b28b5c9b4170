//! Layer 7: what a program looks for in connections, and what that came to.
//!
//! A program with a rule that asks for a label has patterns to look for, one for each protocol that
//! some enabled rule asks for, in the order of those rules. Workers copy the first payloads of the
//! connections that such a rule could match ([`samples`]), the slow path reads the copies
//! ([`streams`]), and tells the connection's worker what it has found.
//!
//! What is compiled stays while the same is looked for, over any number of programs.

pub mod samples;
pub mod streams;

use std::sync::{Arc, Mutex, PoisonError};

use turnpike_conntrack::ids::{LabelId, WorkerId};
use turnpike_helpers::layer7::{Pattern, Patterns};

use crate::counters::{Counter, Gauge};
use crate::ids::Layer7Id;
use crate::layer7::samples::Samples;
use crate::policy::Layer7Protocol;
use crate::rules::Rules;
use crate::rules::marks::MarkNumbers;

/// The most protocols of one configuration.
pub const PROTOCOLS_MAX: usize = 1_024;

/// A program's side of layer 7.
#[derive(Debug, Default)]
pub struct Layer7Program {
    labels: MarkNumbers,
    sought: Option<Arc<Sought>>,
    refused: Option<String>,
    /// By worker; empty as long as no program has looked for anything.
    samples: Box<[Arc<Samples>]>,
    counters: Arc<Layer7Counters>,
    /// How often each protocol was found, by [`Layer7Id`].
    found: Box<[Arc<Counter>]>,
}

/// What is looked for: patterns in the order in which they win, and the label of each.
#[derive(Debug)]
pub struct Sought {
    patterns: Arc<Patterns>,
    labels: Box<[LabelId]>,
    protocols: Box<[Layer7Id]>,
}

impl Sought {
    /// The patterns.
    pub const fn patterns(&self) -> &Arc<Patterns> {
        &self.patterns
    }

    /// The label of a pattern, by its place.
    pub fn label(&self, place: usize) -> Option<LabelId> {
        self.labels.get(place).copied()
    }

    /// The protocols, in the order of their patterns.
    pub fn protocols(&self) -> &[Layer7Id] {
        &self.protocols
    }
}

/// What the slow path counts of layer 7, over every reload.
#[derive(Debug, Default)]
pub struct Layer7Counters {
    /// Connections that were begun with.
    pub opened: Counter,
    /// Packets of them that were read.
    pub packets: Counter,
    /// Bytes of payload that were read.
    pub bytes: Counter,
    /// Connections that got a label.
    pub found: Counter,
    /// Connections in which nothing was found.
    pub unknown: Counter,
    /// Connections that fell silent before anything was found.
    pub silent: Counter,
    /// Connections that were not looked at, or not to the end, for want of room.
    pub unexamined: Counter,
    /// Connections being looked at.
    pub open: Gauge,
    /// Bytes that those take.
    pub open_bytes: Gauge,
}

/// Patterns that were compiled before, so that policies with equal ones share them.
#[derive(Debug, Clone, Default)]
pub struct Compiled(Arc<Mutex<Option<Arc<Patterns>>>>);

impl Compiled {
    /// The patterns, compiled now unless these were before.
    fn patterns(&self, wanted: &[Pattern]) -> Result<Arc<Patterns>, String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(patterns) = kept.as_ref().filter(|kept| kept.all() == wanted) {
            return Ok(Arc::clone(patterns));
        }
        let patterns = Arc::new(Patterns::compile(wanted.to_vec())?);
        *kept = Some(Arc::clone(&patterns));
        Ok(patterns)
    }
}

/// What a policy says of layer 7.
#[derive(Debug, Clone, Default)]
pub struct Layer7Policy {
    /// The protocols; a [`Layer7Id`] is an index here.
    pub protocols: Vec<Layer7Protocol>,
    compiled: Compiled,
}

impl Layer7Policy {
    /// A policy with these protocols.
    pub fn new(protocols: Vec<Layer7Protocol>) -> Self {
        Self {
            protocols,
            compiled: Compiled::default(),
        }
    }
}

impl PartialEq for Layer7Policy {
    fn eq(&self, other: &Self) -> bool {
        self.protocols == other.protocols
    }
}

impl Eq for Layer7Policy {}

impl Layer7Program {
    /// What a program with these rules looks for.
    pub fn build(
        policy: &Layer7Policy,
        rules: &Rules,
        workers: usize,
        previous: Option<&Self>,
    ) -> Self {
        let names: Vec<String> = policy.protocols.iter().map(|p| p.name.clone()).collect();
        let labels = MarkNumbers::build(&names, previous.map(|p| &p.labels));
        let mut built = Self {
            found: found_before(policy, &labels, previous),
            counters: previous.map_or_else(Arc::default, |p| Arc::clone(&p.counters)),
            samples: previous.map_or_else(Box::default, |p| p.samples.clone()),
            labels,
            sought: None,
            refused: None,
        };
        match built.seek(policy, rules, previous) {
            Ok(sought) => built.sought = sought,
            Err(reason) => built.refused = Some(reason),
        }
        if built.sought.is_some() && built.samples.is_empty() {
            built.samples = (0..workers).map(|_| Arc::default()).collect();
        }
        built
    }

    /// The same with the labels of `live` as its numbers, and nothing else of it.
    pub fn build_apart(policy: &Layer7Policy, rules: &Rules, workers: usize, live: &Self) -> Self {
        let numbers = Self {
            labels: live.labels.clone(),
            ..Self::default()
        };
        Self::build(policy, rules, workers, Some(&numbers))
    }

    fn seek(
        &self,
        policy: &Layer7Policy,
        rules: &Rules,
        previous: Option<&Self>,
    ) -> Result<Option<Arc<Sought>>, String> {
        let mut asked: Vec<Layer7Id> = Vec::new();
        for (_, rule) in rules.iter().filter(|(_, rule)| !rule.disabled) {
            for protocol in rule.asked_protocols() {
                if !asked.contains(&protocol) {
                    asked.push(protocol);
                }
            }
        }
        let known = asked.into_iter().filter_map(|id| {
            let protocol = policy.protocols.get(usize::from(id.0))?;
            Some((id, self.label(id)?, protocol.pattern.clone()))
        });
        let (mut protocols, mut labels, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        for (id, label, pattern) in known {
            protocols.push(id);
            labels.push(label);
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            return Ok(None);
        }
        let before = previous.and_then(|p| p.sought.as_ref());
        let same = before.filter(|s| s.patterns.all() == patterns);
        let compiled = match same {
            Some(sought) if *sought.labels == *labels && *sought.protocols == *protocols => {
                return Ok(Some(Arc::clone(sought)));
            }
            Some(sought) => Arc::clone(&sought.patterns),
            None => policy.compiled.patterns(&patterns)?,
        };
        Ok(Some(Arc::new(Sought {
            patterns: compiled,
            labels: labels.into(),
            protocols: protocols.into(),
        })))
    }

    /// What is looked for; `None` if no rule asks for a label.
    pub const fn sought(&self) -> Option<&Arc<Sought>> {
        self.sought.as_ref()
    }

    /// Why what rules ask for cannot be looked for, if that is so.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Where a worker leaves its samples; `None` if no rule asks for a label.
    pub fn samples_of(&self, worker: WorkerId) -> Option<&Arc<Samples>> {
        self.sought.as_ref()?;
        self.samples.get(usize::from(worker.0))
    }

    /// Where workers have left samples, by worker.
    pub fn samples(&self) -> &[Arc<Samples>] {
        &self.samples
    }

    /// What is counted.
    pub fn counters(&self) -> &Layer7Counters {
        &self.counters
    }

    /// How often a protocol was found.
    pub fn found(&self, protocol: Layer7Id) -> Option<&Counter> {
        Some(self.found.get(usize::from(protocol.0))?)
    }

    /// The label of a protocol.
    pub fn label(&self, protocol: Layer7Id) -> Option<LabelId> {
        let number = self.labels.number_at(protocol.0.into());
        LabelId::new(u16::try_from(number).ok()?)
    }

    /// The protocol that a label stands for, by name.
    pub fn name(&self, label: LabelId) -> Option<&str> {
        self.labels.name(label.number().into())
    }

    /// The label of a protocol of this name, if any program had it.
    pub fn named(&self, name: &str) -> Option<LabelId> {
        LabelId::new(u16::try_from(self.labels.named(name)?).ok()?)
    }
}

/// Counters of protocols: one that a program before had, by name, goes on.
fn found_before(
    policy: &Layer7Policy,
    labels: &MarkNumbers,
    previous: Option<&Layer7Program>,
) -> Box<[Arc<Counter>]> {
    let before = |place: usize| {
        let previous = previous?;
        let ours = labels.number_at(place);
        let mut places = 0..previous.found.len();
        let at = places.find(|at| previous.labels.number_at(*at) == ours)?;
        previous.found.get(at).map(Arc::clone)
    };
    let places = 0..policy.protocols.len();
    places
        .map(|place| before(place).unwrap_or_default())
        .collect()
}
