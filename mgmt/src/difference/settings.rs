//! Settings that are written otherwise: two trees compared, rules left out.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::report::Setting;
use crate::yaml::{Entry, Node, Value};

/// How much of a value is shown, in characters.
const SHOWN_MAX: usize = 120;

/// Sections whose changes are told in another way.
const ELSEWHERE: [&str; 1] = ["firewall"];

/// What is written otherwise in `new`, by name.
pub fn changes(old: &Node, new: &Node) -> Vec<Setting> {
    let mut changes = Vec::new();
    let (old, new) = (entries(old), entries(new));
    let told = |entry: &&Entry| !ELSEWHERE.contains(&entry.key.as_str());
    let old: Vec<&Entry> = old.iter().filter(told).collect();
    let new: Vec<&Entry> = new.iter().filter(told).collect();
    mappings("", &old, &new, &mut changes);
    changes
}

fn entries(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Mapping(entries) => entries,
        Value::Scalar(_) | Value::Sequence(_) | Value::Refused => &[],
    }
}

fn mappings(prefix: &str, old: &[&Entry], new: &[&Entry], changes: &mut Vec<Setting>) {
    let by_key: BTreeMap<&str, &Entry> = old.iter().map(|e| (e.key.as_str(), *e)).collect();
    let mut met = Vec::new();
    for entry in new {
        let name = named(prefix, &entry.key);
        let before = by_key.get(entry.key.as_str()).map(|entry| &entry.value);
        values(&name, before, Some(&entry.value), changes);
        met.push(entry.key.as_str());
    }
    for entry in old
        .iter()
        .filter(|entry| !met.contains(&entry.key.as_str()))
    {
        values(
            &named(prefix, &entry.key),
            Some(&entry.value),
            None,
            changes,
        );
    }
}

fn named(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

fn values(name: &str, old: Option<&Node>, new: Option<&Node>, changes: &mut Vec<Setting>) {
    match (old.map(|n| &n.value), new.map(|n| &n.value)) {
        (Some(Value::Mapping(old)), Some(Value::Mapping(new))) => {
            let (old, new): (Vec<_>, Vec<_>) = (old.iter().collect(), new.iter().collect());
            mappings(name, &old, &new, changes);
        }
        (Some(Value::Sequence(old)), Some(Value::Sequence(new))) if holds_mappings(old, new) => {
            items(name, old, new, changes);
        }
        (_, _) => {
            let (before, after) = (old.map(written), new.map(written));
            if before != after {
                changes.push(Setting {
                    name: name.to_owned(),
                    before: before.map(shortened),
                    after: after.map(shortened),
                });
            }
        }
    }
}

fn holds_mappings(old: &[Node], new: &[Node]) -> bool {
    let mut all = old.iter().chain(new);
    all.any(|node| matches!(node.value, Value::Mapping(_)))
}

/// Items of a list that one of the two has more often than the other.
fn items(name: &str, old: &[Node], new: &[Node], changes: &mut Vec<Setting>) {
    let (old, new): (Vec<String>, Vec<String>) = (
        old.iter().map(written).collect(),
        new.iter().map(written).collect(),
    );
    let mut left: Vec<&String> = Vec::new();
    let mut unmet: Vec<&String> = old.iter().collect();
    for item in &new {
        match unmet.iter().position(|other| *other == item) {
            Some(at) => {
                unmet.remove(at);
            }
            None => left.push(item),
        }
    }
    let change = |before: Option<&String>, after: Option<&String>| Setting {
        name: name.to_owned(),
        before: before.cloned().map(shortened),
        after: after.cloned().map(shortened),
    };
    changes.extend(unmet.into_iter().map(|item| change(Some(item), None)));
    changes.extend(left.into_iter().map(|item| change(None, Some(item))));
    // The same items in another order: of a list whose order counts, that is a change.
    let mut sorted = (old.clone(), new.clone());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    if old != new && sorted.0 == sorted.1 {
        let all = |items: &[String]| Some(shortened(format!("[{}]", items.join(", "))));
        changes.push(Setting {
            name: name.to_owned(),
            before: all(&old),
            after: all(&new),
        });
    }
}

/// A value on one line, the same whether it was quoted or not.
fn written(node: &Node) -> String {
    let mut text = String::new();
    write_node(node, &mut text);
    text
}

fn write_node(node: &Node, text: &mut String) {
    match &node.value {
        Value::Scalar(scalar) => text.push_str(&scalar.text),
        Value::Sequence(nodes) => {
            text.push('[');
            for (index, node) in nodes.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_node(node, text);
            }
            text.push(']');
        }
        Value::Mapping(entries) => {
            text.push_str("{ ");
            for (index, entry) in entries.iter().enumerate() {
                // Writing into a string cannot fail.
                let _ = write!(
                    text,
                    "{}{}: ",
                    if index == 0 { "" } else { ", " },
                    entry.key
                );
                write_node(&entry.value, text);
            }
            text.push_str(" }");
        }
        Value::Refused => {}
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
