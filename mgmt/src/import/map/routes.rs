//! `routes`: static routes of both families.

use std::net::IpAddr;

use super::super::document::{Body, Entry, Field};
use super::super::store::Record;
use super::rules::MENUS;
use super::{Mapper, words};

/// Words that stand alone in a route and say where it leads.
const NOWHERE: &[&str] = &["blackhole", "prohibit", "unreachable"];
/// Keys of a route that say nothing about where packets go, with RouterOS's defaults.
const DETAILS: &[(&str, &str)] = &[
    ("check-gateway", "none"),
    ("distance", "1"),
    ("pref-src", ""),
    ("scope", "30"),
    ("target-scope", "10"),
];
const PASSED_OVER: &[&str] = &["suppress-hw-offload", "vrf-interface"];

/// The interfaces that routes lead by.
pub fn interfaces_named<'a>(
    mapper: &Mapper<'a>,
) -> impl Iterator<Item = (&'a str, usize)> + use<'a> {
    let store = mapper.store;
    let records = MENUS
        .iter()
        .flat_map(move |(menu, _)| store.records(&format!("{menu} route")));
    records.filter_map(|record| {
        let gateway = record.property("gateway")?;
        let text = without_table(gateway.value.text());
        let name = match text.split_once('%') {
            Some((_, name)) => name,
            None => text,
        };
        let one = name.parse::<IpAddr>().is_err() && !name.contains(',');
        one.then_some((name, gateway.command))
    })
}

/// Writes `routes:`, the nearer of two to one destination first.
pub fn map(mapper: &mut Mapper<'_>) {
    let mut entries: Vec<(u32, Entry)> = Vec::new();
    for (menu, family) in MENUS {
        for record in mapper.records(&format!("{menu} route")) {
            let distance = record.text("distance").and_then(|d| d.parse().ok());
            entries.push((distance.unwrap_or(1), route(mapper, family, record)));
        }
    }
    entries.sort_by_key(|(distance, _)| *distance);
    if !entries.is_empty() {
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        mapper.document.section(&["routes"]).entries = entries;
    }
}

fn route(mapper: &mut Mapper<'_>, family: &str, record: &Record) -> Entry {
    if let Some(reason) = Mapper::unreadable(record) {
        return mapper.leave_out(record, &reason);
    }
    let everything = if family == "ipv4" {
        "0.0.0.0/0"
    } else {
        "::/0"
    };
    let mut fields = vec![match record.property("dst-address") {
        Some(property) => {
            let text = property.value.text();
            let whole = text.contains('/') || text.parse::<IpAddr>().is_err();
            let bits = if family == "ipv4" { 32 } else { 128 };
            let text = if whole {
                words::prefix(text)
            } else {
                format!("{text}/{bits}")
            };
            Field::essential("dst-address", text)
        }
        None => Field::essential("dst-address", everything),
    }];
    for word in &record.alone {
        if !NOWHERE.contains(&word.as_str()) {
            let reason = format!("`{word}` stands alone, and it is not clear for what");
            return mapper.leave_out(record, &reason);
        }
        fields.push(Field::essential("type", word));
    }
    for property in &record.properties {
        let (key, text) = (property.key.as_str(), property.value.text());
        let detail = DETAILS.iter().find(|(name, _)| *name == key);
        match key {
            "dst-address" | "comment" | "disabled" => {}
            "type" if text == "unicast" => {}
            "routing-table" | "routing-mark" if matches!(text, "main" | "") => {}
            "routing-table" | "routing-mark" => {
                let table = mapper.name(text, property.command);
                fields.push(Field::essential("routing-table", table));
            }
            "gateway" => fields.push(Field::essential(
                key,
                gateway(mapper, text, property.command),
            )),
            _ if NOWHERE.contains(&key) => {
                if !matches!(text, "no" | "false") {
                    fields.push(Field::essential("type", key));
                }
            }
            _ if PASSED_OVER.contains(&key) => {
                let note = format!("not carried over: {key}");
                mapper.report.note(property.command, note);
            }
            _ => match detail {
                Some((_, default)) if *default == text => {}
                Some(_) => fields.push(Field::separable(key, text, property.command)),
                None => fields.push(Field::essential(key, text)),
            },
        }
    }
    let mut remarks = Vec::new();
    Mapper::remarks(record, &mut remarks);
    fields.extend(remarks);
    Entry::new(None, Body::Mapping(fields), &record.commands)
}

/// The gateway without `@main`: routers are looked for on the links of the gateway in any case.
fn without_table(gateway: &str) -> &str {
    gateway.strip_suffix("@main").unwrap_or(gateway)
}

/// The gateway, with its interface by the name that it has here.
fn gateway(mapper: &mut Mapper<'_>, text: &str, command: usize) -> String {
    let text = without_table(text);
    match text.split_once('%') {
        Some((address, name)) => format!("{address}%{}", mapper.name(name, command)),
        None if text.parse::<IpAddr>().is_ok() => text.to_owned(),
        None => mapper.name(text, command),
    }
}
