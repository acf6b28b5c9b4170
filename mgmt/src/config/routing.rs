//! `routing-tables` and `routing-rules`: tables beside the main one, and what chooses between them.

use std::net::IpAddr;

use ipnet::IpNet;
use turnpike_pipeline::ids::{MarkId, ROUTING_RULES_MAX, ROUTING_TABLES_MAX, RoutingTableId};
use turnpike_pipeline::policy::{Route, Routing, RoutingAction, RoutingRule, RoutingTable};
use turnpike_pipeline::routing::MAIN;

use super::address::{Prefix, family_name, family_of};
use super::firewall::NO_MARK;
use super::names::Names;
use super::section::{Keys, Section, Word, or_report, scalar, sequence, word};
use super::value::{Name, Switch, Text, choice};
use crate::problem::Problems;
use crate::yaml::{Node, Value};

const TABLE: Keys = Keys {
    of: "a routing table",
    known: &["name", "comment", "disabled"],
    later: &[],
    elsewhere: &[("fib", "every table is one that packets are forwarded by")],
};

const RULE: Keys = Keys {
    of: "a routing rule",
    known: &[
        "src-address",
        "dst-address",
        "routing-mark",
        "interface",
        "action",
        "table",
        "comment",
        "disabled",
    ],
    later: &["min-prefix", "chain"],
    elsewhere: &[],
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Lookup,
    LookupOnly,
    Drop,
    Unreachable,
}

const VERBS: &[(&str, Verb)] = &[
    ("lookup", Verb::Lookup),
    ("lookup-only-in-table", Verb::LookupOnly),
    ("drop", Verb::Drop),
    ("unreachable", Verb::Unreachable),
];

/// Reads `routing-tables:`: names, or mappings with a `name`.
pub fn decode_tables(node: Option<&Node>, names: &mut Names, problems: &mut Problems) {
    let Some(list) = node.and_then(|n| sequence(n, "routing tables", problems)) else {
        return;
    };
    if let Some(node) = list.get(ROUTING_TABLES_MAX) {
        let message = format!("more than {ROUTING_TABLES_MAX} routing tables");
        problems.error(node.span, message);
    }
    for node in list.iter().take(ROUTING_TABLES_MAX) {
        let Some(name_node) = table(node, problems) else {
            continue;
        };
        let Some(Name(name)) = word::<Name>(name_node, problems) else {
            continue;
        };
        let reason = if name == MAIN {
            "is there already: it is asked if nothing else is said; remove the line"
        } else if name == NO_MARK {
            "is the word for no routing mark; choose another name"
        } else if names.routing_tables.contains(&name) {
            "is written twice; keep one"
        } else {
            names.routing_tables.push(name);
            continue;
        };
        problems.error(name_node.span, format!("the table `{name}` {reason}"));
    }
}

/// Where a table's name is written; `None` if it is wrong or disabled.
fn table<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a Node> {
    if !matches!(node.value, Value::Mapping(_)) {
        return Some(node);
    }
    let section = Section::open(node, &TABLE, problems)?;
    section.read("comment", problems, word::<Text>);
    let disabled = section.read("disabled", problems, word::<Switch>);
    let name = section.required("name", "to_isp2", problems)?;
    (disabled != Some(Switch::On)).then_some(name)
}

/// Adds the marks that routing rules ask for to `names`, before firewall rules are read.
pub fn collect_marks(node: Option<&Node>, names: &mut Names) {
    let Some(Value::Sequence(rules)) = node.map(|node| &node.value) else {
        return;
    };
    let entries = rules.iter().filter_map(|rule| match &rule.value {
        Value::Mapping(entries) => Some(entries),
        Value::Scalar(_) | Value::Sequence(_) | Value::Refused => None,
    });
    for entry in entries.flatten() {
        if entry.key != "routing-mark" {
            continue;
        }
        let Value::Scalar(mark) = &entry.value.value else {
            continue;
        };
        names.add_mark(&mark.text);
        names.ruled_marks.push(mark.text.clone());
    }
}

/// Reads `routing-rules:`.
pub fn decode_rules(
    node: Option<&Node>,
    names: &Names,
    problems: &mut Problems,
) -> Vec<RoutingRule> {
    let Some(list) = node.and_then(|n| sequence(n, "routing rules", problems)) else {
        return Vec::new();
    };
    if let Some(node) = list.get(ROUTING_RULES_MAX) {
        let message = format!("more than {ROUTING_RULES_MAX} routing rules");
        problems.error(node.span, message);
    }
    let list = list.iter().take(ROUTING_RULES_MAX);
    list.filter_map(|node| rule(node, names, problems))
        .collect()
}

/// One rule; `None` if it is wrong or disabled.
fn rule(node: &Node, names: &Names, problems: &mut Problems) -> Option<RoutingRule> {
    let before = problems.errors();
    let section = Section::open(node, &RULE, problems)?;
    section.read("comment", problems, word::<Text>);
    let disabled = section.read("disabled", problems, word::<Switch>);
    let rule = RoutingRule {
        src_address: prefix(section, "src-address", problems),
        dst_address: prefix(section, "dst-address", problems),
        routing_mark: mark(section, names, problems),
        interface: section.read("interface", problems, |n, problems| {
            names.interface(&scalar(n, problems)?.text, n.span, problems)
        }),
        action: action(section, names, problems)?,
    };
    if let (Some(src), Some(dst)) = (rule.src_address, rule.dst_address)
        && family_of(src.addr()) != family_of(dst.addr())
    {
        let span = section.field("dst-address").map_or(node.span, |n| n.span);
        problems.error(
            span,
            format!(
                "`src-address` is {} and `dst-address` is {}, so the rule can never match; write \
                 two rules",
                family_name(family_of(src.addr())),
                family_name(family_of(dst.addr()))
            ),
        );
    }
    let sound = problems.errors() == before && !section.has_refused();
    (sound && disabled != Some(Switch::On)).then_some(rule)
}

/// An address is a prefix of its own, as in RouterOS.
fn prefix(section: Section<'_>, key: &str, problems: &mut Problems) -> Option<IpNet> {
    section.read(key, problems, |node, problems| {
        let text = &scalar(node, problems)?.text;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(IpNet::from(address));
        }
        or_report(Prefix::read(text), node.span, problems).map(|p| p.0)
    })
}

fn mark(section: Section<'_>, names: &Names, problems: &mut Problems) -> Option<MarkId> {
    let node = section.field("routing-mark")?;
    let name = &scalar(node, problems)?.text;
    let mark = names.mark(name, node.span, problems)?;
    if mark.is_none() {
        let message = "a routing rule asks for a mark; remove `routing-mark` to ask for none";
        problems.error(node.span, message);
    }
    mark
}

/// `action`, by default `lookup`, and the table that it needs.
fn action(section: Section<'_>, names: &Names, problems: &mut Problems) -> Option<RoutingAction> {
    let verb = match section.field("action") {
        Some(node) => {
            let text = &scalar(node, problems)?.text;
            let read = choice(text, "an action of a routing rule", VERBS);
            or_report(read, node.span, problems)?
        }
        None => Verb::Lookup,
    };
    let mut table = || -> Option<RoutingTableId> {
        let node = section.required("table", MAIN, problems)?;
        names.routing_table(&scalar(node, problems)?.text, node.span, problems)
    };
    let action = match verb {
        Verb::Lookup => RoutingAction::Lookup(table()?),
        Verb::LookupOnly => RoutingAction::LookupOnly(table()?),
        Verb::Drop => RoutingAction::Drop,
        Verb::Unreachable => RoutingAction::Unreachable,
    };
    if let (Verb::Drop | Verb::Unreachable, Some(entry)) = (verb, section.entry("table")) {
        let message = "`table` does nothing with an action that asks none; remove it";
        problems.error(entry.key_span, message);
    }
    Some(action)
}

/// The main table's routes, and the tables with theirs.
pub fn sorted(
    names: &Names,
    routes: Vec<(RoutingTableId, Route)>,
    rules: Vec<RoutingRule>,
) -> (Vec<Route>, Routing) {
    let named = |name: &String| RoutingTable {
        name: name.clone(),
        routes: Vec::new(),
    };
    let mut tables: Vec<RoutingTable> = names.routing_tables.iter().map(named).collect();
    let mut main = Vec::new();
    for (table, route) in routes {
        let index = table.0.checked_sub(1).map(usize::from);
        match index.and_then(|index| tables.get_mut(index)) {
            Some(table) => table.routes.push(route),
            None => main.push(route),
        }
    }
    (main, Routing { tables, rules })
}
