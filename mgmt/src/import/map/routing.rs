//! `routing-tables` and `routing-rules`, from the menus of RouterOS 7 and of 6, where a table is
//! there as soon as something names it.

use super::super::document::{Body, Entry, Field};
use super::super::store::Record;
use super::rules::MENUS;
use super::{Mapper, words};

/// The menus that have routing rules, and whether theirs are of IPv4 alone.
const RULES: &[(&str, bool)] = &[("routing rule", false), ("ip route rule", true)];
/// The table that is always there.
const MAIN: &str = "main";

/// The interfaces that routing rules ask for.
pub fn interfaces_named<'a>(
    mapper: &Mapper<'a>,
) -> impl Iterator<Item = (&'a str, usize)> + use<'a> {
    let store = mapper.store;
    let records = RULES.iter().flat_map(|(menu, _)| store.records(menu));
    let interfaces = records.filter_map(|record| record.property("interface"));
    interfaces
        .map(|p| (p.value.text(), p.command))
        .filter(|(name, _)| !name.is_empty())
}

/// Writes `routing-tables:`: those that are written, and those that are only named.
pub fn tables(mapper: &mut Mapper<'_>) {
    let mut entries = Vec::new();
    let mut written: Vec<String> = Vec::new();
    for record in mapper.records("routing table") {
        if let Some(name) = record.text("name") {
            written.push(name.to_owned());
        }
        entries.push(table(mapper, record));
    }
    for (name, command) in named(mapper) {
        if name == MAIN || name.is_empty() || written.iter().any(|known| known == name) {
            continue;
        }
        written.push(name.to_owned());
        let plain = mapper.name(name, command);
        let note = format!("made the routing table `{plain}`, which only its name is said of");
        mapper.report.note(command, note);
        entries.push(Entry::new(None, Body::Word(plain), &[command]));
    }
    if !entries.is_empty() {
        mapper.document.section(&["routing-tables"]).entries = entries;
    }
}

/// Tables that routes and routing rules name, with the command that does.
fn named<'a>(mapper: &Mapper<'a>) -> Vec<(&'a str, usize)> {
    let store = mapper.store;
    let routes = MENUS.iter().flat_map(|(menu, _)| {
        let records = store.records(&format!("{menu} route")).iter();
        records.filter_map(|r| r.property("routing-table").or(r.property("routing-mark")))
    });
    let rules = RULES.iter().flat_map(|(menu, _)| store.records(menu));
    let asked = rules.filter_map(|record| record.property("table"));
    let properties = routes.chain(asked);
    properties.map(|p| (p.value.text(), p.command)).collect()
}

fn table(mapper: &mut Mapper<'_>, record: &Record) -> Entry {
    if let Some(reason) = Mapper::unreadable(record) {
        return mapper.leave_out(record, &reason);
    }
    let Some(name) = record.property("name") else {
        return mapper.leave_out(record, "it has no `name`");
    };
    if let Some(word) = record.alone.iter().find(|word| *word != "fib") {
        let reason = format!("`{word}` stands alone, and it is not clear for what");
        return mapper.leave_out(record, &reason);
    }
    if record.alone.is_empty() && record.property("fib").is_none() {
        let note = "without `fib` RouterOS forwards nothing by it; here it does";
        mapper.report.note(record.command(), note);
    }
    mapper.passed_over(record, &["name", "fib", "comment", "disabled"]);
    let plain = mapper.name(name.value.text(), name.command);
    let mut remarks = Vec::new();
    Mapper::remarks(record, &mut remarks);
    let body = if remarks.is_empty() {
        Body::Word(plain)
    } else {
        let mut fields = vec![Field::essential("name", plain)];
        fields.append(&mut remarks);
        Body::Mapping(fields)
    };
    Entry::new(None, body, &record.commands)
}

/// Writes `routing-rules:`.
pub fn rules(mapper: &mut Mapper<'_>) {
    let mut entries = Vec::new();
    for (menu, is_ipv4) in RULES {
        for record in mapper.records(menu) {
            entries.push(rule(mapper, record, *is_ipv4));
        }
    }
    if !entries.is_empty() {
        mapper.document.section(&["routing-rules"]).entries = entries;
    }
}

fn rule(mapper: &mut Mapper<'_>, record: &Record, is_ipv4: bool) -> Entry {
    if let Some(reason) = Mapper::unreadable(record) {
        return mapper.leave_out(record, &reason);
    }
    if let Some(word) = record.alone.first() {
        let reason = format!("`{word}` stands alone, and it is not clear for what");
        return mapper.leave_out(record, &reason);
    }
    let mut fields = Vec::new();
    for property in &record.properties {
        let (key, text) = (property.key.as_str(), property.value.text());
        match key {
            "action" | "table" | "comment" | "disabled" => {}
            _ if text.is_empty() => {}
            "src-address" | "dst-address" => {
                fields.push(Field::essential(key, words::prefix(text)));
            }
            "interface" | "routing-mark" => {
                let name = mapper.name(text, property.command);
                fields.push(Field::essential(key, name));
            }
            _ => fields.push(Field::essential(key, text)),
        }
    }
    let has_address = fields.iter().any(|f| f.key.ends_with("-address"));
    if is_ipv4 && !has_address {
        fields.push(Field::essential("dst-address", "0.0.0.0/0"));
    }
    let action = record.text("action").unwrap_or("lookup");
    fields.push(Field::essential("action", action));
    let table = record.property("table");
    match table.filter(|p| !p.value.text().is_empty()) {
        Some(table) => {
            let name = mapper.name(table.value.text(), table.command);
            fields.push(Field::essential("table", name));
        }
        None if action.starts_with("lookup") => fields.push(Field::essential("table", MAIN)),
        None => {}
    }
    if record.is_disabled() {
        fields.push(Field::essential("disabled", "yes"));
    }
    if let Some(comment) = record.property("comment") {
        let text = words::text(comment.value.text());
        fields.push(Field::separable("comment", text, comment.command));
    }
    Entry::new(None, Body::Mapping(fields), &record.commands)
}
