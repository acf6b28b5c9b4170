//! Rules of the tables raw, mangle, filter and nat, of both families.

use std::collections::BTreeSet;

use super::super::document::{Body, Entry, Field};
use super::super::lex::Value;
use super::super::store::{Property, Record};
use super::Mapper;
use super::words;

/// The tables in the order in which a packet meets them.
pub const TABLES: &[&str] = &["raw", "mangle", "filter", "nat"];
/// The two menus that have them, and the family of their rules.
pub const MENUS: &[(&str, &str)] = &[("ip", "ipv4"), ("ipv6", "ipv6")];

/// Properties that mean nothing off a RouterBOARD; their values change no verdict.
const WITHOUT_MEANING: &[(&str, &str)] =
    &[("hw-offload", "nothing is offloaded to a switch chip here")];

/// Keys that name an interface or a list of them, by what comes behind a `!`.
const INTERFACES: &[&str] = &["in-interface", "out-interface"];
const LISTS: &[&str] = &[
    "address-list",
    "dst-address-list",
    "in-interface-list",
    "out-interface-list",
    "src-address-list",
];

/// Options of actions, written behind the action. What is not here is written before it.
const BEHIND_THE_ACTION: &[&str] = &[
    "address-list",
    "address-list-timeout",
    "jump-target",
    "new-",
    "passthrough",
    "randomise-ports",
    "reject-with",
    "route-dst",
    "same-not-by-dst",
    "sniff-",
    "to-",
];

/// The address lists that rules name, with the first command that does.
pub fn lists_named(mapper: &Mapper<'_>) -> Vec<(String, usize)> {
    let keys = ["address-list", "dst-address-list", "src-address-list"];
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for property in every_rule(mapper).flat_map(|r| &r.properties) {
        let (_, name) = words::negation(property.value.text());
        let new = keys.contains(&property.key.as_str()) && !name.is_empty();
        if new && seen.insert(name.to_owned()) {
            found.push((name.to_owned(), property.command));
        }
    }
    found
}

/// The interfaces that rules name, with the command that does.
pub fn interfaces_named<'a>(
    mapper: &Mapper<'a>,
) -> impl Iterator<Item = (&'a str, usize)> + use<'a> {
    let properties = every_rule(mapper).flat_map(|r| &r.properties);
    properties
        .filter(|p| INTERFACES.contains(&p.key.as_str()))
        .map(|p| (words::negation(p.value.text()).1, p.command))
}

fn every_rule<'a>(mapper: &Mapper<'a>) -> impl Iterator<Item = &'a Record> + use<'a> {
    let store = mapper.store;
    let menus = MENUS.iter().flat_map(|(menu, _)| {
        TABLES
            .iter()
            .map(move |table| format!("{menu} firewall {table}"))
    });
    menus.flat_map(|menu| store.records(&menu))
}

/// Writes `firewall:`.
pub fn map(mapper: &mut Mapper<'_>) {
    for table in TABLES {
        let mut entries = Vec::new();
        for (menu, family) in MENUS {
            for record in mapper.records(&format!("{menu} firewall {table}")) {
                entries.push(rule(mapper, family, record));
            }
        }
        if !entries.is_empty() {
            mapper.document.section(&["firewall", table]).entries = entries;
        }
    }
}

fn rule(mapper: &mut Mapper<'_>, family: &str, record: &Record) -> Entry {
    if let Some(reason) = Mapper::unreadable(record) {
        return mapper.leave_out(record, &reason);
    }
    let action = match action(mapper, record) {
        Ok(action) => action,
        Err(reason) => return mapper.leave_out(record, &reason),
    };
    let mut chain = Vec::new();
    let mut asks = Vec::new();
    let mut options = Vec::new();
    let mut decided = false;
    for property in &record.properties {
        if is_nothing(property) {
            continue;
        }
        if let Some((_, why)) = WITHOUT_MEANING.iter().find(|(k, _)| *k == property.key) {
            let note = format!("`{}`: {why}", property.key);
            mapper.report.note(property.command, note);
            continue;
        }
        if property.key == "family" {
            return mapper.leave_out(record, "RouterOS has no property `family`");
        }
        let (key, value) = written(mapper, property);
        decided |= matches!(key, "src-address" | "dst-address" | "to-addresses")
            && words::has_family(&value);
        let field = Field::essential(key, value);
        let option = BEHIND_THE_ACTION
            .iter()
            .any(|o| key == *o || (o.ends_with('-') && key.starts_with(o)));
        match key {
            "action" | "comment" | "disabled" | "log" | "log-prefix" => {}
            "chain" => chain.push(field),
            _ if option => options.push(field),
            _ => asks.push(field),
        }
    }
    let mut fields = chain;
    if !decided {
        fields.push(Field::essential("family", family));
    }
    fields.append(&mut asks);
    fields.push(Field::essential("action", action));
    fields.append(&mut options);
    logging(record, &mut fields);
    remarks(record, &mut fields);
    Entry::new(None, Body::Mapping(fields), &record.commands)
}

/// What the rule does. A word alone is taken for it, unless the line is doubtful in other ways:
/// a rule that drops must not become one that accepts.
fn action(mapper: &mut Mapper<'_>, record: &Record) -> Result<String, String> {
    let slipped = record
        .commands
        .iter()
        .filter_map(|c| mapper.report.fates.get(*c))
        .any(|fate| fate.notes.iter().any(|n| n.starts_with("slip: ")));
    let written = record.property("action").filter(|p| !is_nothing(p));
    match (written, &*record.alone) {
        (Some(action), []) => Ok(action.value.text().to_owned()),
        (Some(_), [word, ..]) | (None, [_, word, ..]) => Err(format!(
            "`{word}` stands alone, and it is not clear for what"
        )),
        (None, [word]) if !slipped => {
            let note = format!("`{word}` stands alone; read as action={word}");
            mapper.report.note(record.command(), note);
            Ok(word.clone())
        }
        (None, []) if !slipped => {
            let note = "there is no action; RouterOS takes accept, and so does this rule";
            mapper.report.note(record.command(), note);
            Ok("accept".to_owned())
        }
        (None, [] | [_]) => {
            Err("there is no action, and the line is not whole: it may have named one".to_owned())
        }
    }
}

/// Whether a property is written only to say that it is not asked for.
fn is_nothing(property: &Property) -> bool {
    match &property.value {
        Value::Quoted(text) => text.is_empty(),
        Value::Plain(text) => text.is_empty() && matches!(&*property.key, "comment" | "log-prefix"),
        Value::Script(_) => false,
    }
}

/// A key and its value as Turnpike has them.
fn written<'a>(mapper: &mut Mapper<'_>, property: &'a Property) -> (&'a str, String) {
    let command = property.command;
    let text = property.value.text();
    let (not, value) = words::negation(text);
    let key = property.key.as_str();
    let renamed = match key {
        "ports" => Some("port"),
        "to-address" => Some("to-addresses"),
        _ => None,
    };
    if let Some(to) = renamed {
        let note = format!("`{key}` is read as `{to}`");
        mapper.report.note(command, note);
    }
    let key = renamed.unwrap_or(key);
    let value = match key {
        "src-address" | "dst-address" => {
            let prefix = words::prefix(value);
            if prefix != value {
                let note = format!("{value} is the network {prefix}, as RouterOS reads it");
                mapper.report.note(command, note);
            }
            prefix
        }
        "protocol" => words::protocol(value).to_owned(),
        "address-list-timeout" => words::duration(value),
        "chain" | "jump-target" => mapper.name(value, command),
        "new-routing-mark" | "routing-mark" | "routing-table" => mapper.name(value, command),
        _ if INTERFACES.contains(&key) || LISTS.contains(&key) => mapper.name(value, command),
        _ => value.to_owned(),
    };
    (key, format!("{not}{value}"))
}

fn logging(record: &Record, fields: &mut Vec<Field>) {
    if let Some(log) = record.property("log")
        && !matches!(log.value.text(), "no" | "false")
    {
        fields.push(Field::separable("log", log.value.text(), log.command));
    }
    if let Some(prefix) = record.property("log-prefix").filter(|p| !is_nothing(p)) {
        let text: String = words::line(prefix.value.text());
        fields.push(Field::separable("log-prefix", text, prefix.command));
    }
}

/// `disabled` decides what a rule is; its comment does not.
fn remarks(record: &Record, fields: &mut Vec<Field>) {
    let disabled = record.property("disabled").map(|p| p.value.text());
    if let Some(value) = disabled.filter(|v| !matches!(*v, "no" | "false")) {
        fields.push(Field::essential("disabled", value));
    }
    if let Some(comment) = record.property("comment").filter(|p| !is_nothing(p)) {
        let text = words::text(comment.value.text());
        fields.push(Field::separable("comment", text, comment.command));
    }
}
