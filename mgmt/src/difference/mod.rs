//! What would change if one configuration took the place of another: pure functions of the two.
//!
//! Rules are the same when table, chain and canonical text are, as for their counters; of several
//! equal ones the first is the first, the second the second. Everything but rules is compared as it
//! is written, so that no setting can be forgotten here: `10s` and `0m10s` differ.

mod settings;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use turnpike_pipeline::policy::{Chain, Policy, Rule, TableKind};
use turnpike_pipeline::rules::shadow::shadowed;

use crate::config::Config;
use crate::report::{Difference, ListChange, MovedRule, NeverMatch, RulePlace, Setting};

/// How `new` differs from `old`.
pub fn between(old: &Config, new: &Config) -> Difference {
    let mut difference = Difference {
        settings: settings::changes(&old.tree, &new.tree),
        ..Difference::default()
    };
    rules(&old.policy, &new.policy, &mut difference);
    difference.lists = lists(&old.policy, &new.policy);
    let word =
        |policy: &Policy| Some(if policy.tracking.enabled { "on" } else { "off" }.to_owned());
    if old.policy.tracking.enabled != new.policy.tracking.enabled {
        difference.settings.push(Setting {
            name: "connection tracking is".to_owned(),
            before: word(&old.policy),
            after: word(&new.policy),
        });
    }
    difference
}

/// The rules of a policy that can never match.
pub fn never_match(policy: &Policy) -> Vec<NeverMatch> {
    let shadows = shadowed(policy).found.into_iter();
    let found = shadows.map(|shadow| {
        let place = |(rule, number)| place(shadow.table, shadow.chain, rule, number);
        NeverMatch {
            rule: place(shadow.rule),
            by: place(shadow.by),
        }
    });
    found.collect()
}

fn place(table: TableKind, chain: &str, rule: &Rule, number: usize) -> RulePlace {
    RulePlace {
        table: table.name().to_owned(),
        chain: chain.to_owned(),
        number: u32::try_from(number).unwrap_or(u32::MAX),
        source: rule.source.to_string(),
        text: rule.text.to_string(),
        disabled: rule.disabled,
    }
}

/// Adds what changes in the rules.
fn rules(old: &Policy, new: &Policy, difference: &mut Difference) {
    for table in TableKind::ALL {
        let chains = |policy: &'_ Policy| -> Vec<String> {
            let chains = policy.table(table).chains.iter();
            chains.map(|chain| chain.name.clone()).collect()
        };
        let mut names = chains(new);
        let known: HashSet<String> = names.iter().cloned().collect();
        names.extend(chains(old).into_iter().filter(|name| !known.contains(name)));
        let by_name = |policy: &Policy| -> HashMap<String, Vec<Rule>> {
            let chains = policy.table(table).chains.iter();
            let chains = chains.map(|Chain { name, rules }| (name.clone(), rules.clone()));
            chains.collect()
        };
        let (old, new) = (by_name(old), by_name(new));
        for name in names {
            let of = |chains: &HashMap<String, Vec<Rule>>| {
                chains.get(&name).cloned().unwrap_or_default()
            };
            chain(table, &name, &of(&old), &of(&new), difference);
        }
    }
}

/// Adds what changes in one chain.
fn chain(table: TableKind, name: &str, old: &[Rule], new: &[Rule], difference: &mut Difference) {
    let at = |rule: &Rule, index: usize| place(table, name, rule, index + 1);
    let (from, gone) = pair(old, new);
    for index in gone {
        if let Some(rule) = old.get(index) {
            difference.removed.push(at(rule, index));
        }
    }
    let stay = longest_rising(&from);
    for (index, (rule, from)) in new.iter().zip(&from).enumerate() {
        let Some(from) = *from else {
            difference.added.push(at(rule, index));
            continue;
        };
        if !stay.contains(&index) {
            difference.moved.push(MovedRule {
                from: u32::try_from(from + 1).unwrap_or(u32::MAX),
                to: at(rule, index),
            });
        }
        if old
            .get(from)
            .is_some_and(|old| old.disabled != rule.disabled)
        {
            difference.switched.push(at(rule, index));
        }
    }
}

/// For each new rule the place of the same one among the old, and which old ones are left over.
fn pair(old: &[Rule], new: &[Rule]) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut waiting: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (index, rule) in old.iter().enumerate() {
        waiting.entry(&rule.text).or_default().push_back(index);
    }
    let from = new
        .iter()
        .map(|rule| waiting.get_mut(&*rule.text)?.pop_front())
        .collect();
    let mut gone: Vec<usize> = waiting.into_values().flatten().collect();
    gone.sort_unstable();
    (from, gone)
}

/// The places of as many numbers as can be that rise from one to the next: the rules that need not
/// be moved for the others to stand where they do.
fn longest_rising(from: &[Option<usize>]) -> HashSet<usize> {
    // By length: the place where the shortest-ending row of that length ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    let value = |index: usize| from.get(index).copied().flatten();
    for (index, number) in from.iter().enumerate() {
        let Some(number) = *number else { continue };
        let length = ends.partition_point(|end| value(*end).is_some_and(|end| end < number));
        let previous = length.checked_sub(1).and_then(|length| ends.get(length));
        before.insert(index, previous.copied());
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut stay = HashSet::new();
    let mut last = ends.last().copied();
    while let Some(index) = last {
        stay.insert(index);
        last = before.get(&index).copied().flatten();
    }
    stay
}

/// Address lists whose addresses differ, new ones and those that are gone among them.
fn lists(old: &Policy, new: &Policy) -> Vec<ListChange> {
    let of = |policy: &Policy| -> BTreeMap<String, HashSet<_>> {
        let lists = policy.address_lists.iter();
        let lists = lists.map(|list| {
            let prefixes = list.prefixes.iter().copied().collect();
            (list.name.clone(), prefixes)
        });
        lists.collect()
    };
    let (old, new) = (of(old), of(new));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let none = HashSet::new();
    let changes = names.into_iter().filter_map(|name| {
        let (was, is) = (old.get(name), new.get(name));
        let (was, is) = (was.unwrap_or(&none), is.unwrap_or(&none));
        let change = ListChange {
            name: name.clone(),
            added: is.difference(was).count() as u64,
            removed: was.difference(is).count() as u64,
        };
        ((change.added, change.removed) != (0, 0)).then_some(change)
    });
    changes.collect()
}

#[cfg(test)]
mod tests;
