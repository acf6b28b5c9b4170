//! `address-lists`: entries by list, both families in one.

use super::super::document::{Body, Empty, Entry, Field};
use super::super::store::{Property, Record};
use super::rules::{MENUS, lists_named};
use super::{Mapper, words};

/// Writes `address-lists:`. A list that rules name and no command fills is there, and empty, as
/// in RouterOS.
pub fn address_lists(mapper: &mut Mapper<'_>) {
    for (menu, _) in MENUS {
        for record in mapper.records(&format!("{menu} firewall address-list")) {
            let named = |list: &&Property| !list.value.text().is_empty();
            let Some(list) = record.property("list").filter(named) else {
                mapper.leave_out(record, "it has no `list`");
                continue;
            };
            let name = mapper.name(list.value.text(), list.command);
            let entry = entry(mapper, record);
            let section = mapper.document.section(&["address-lists", &name]);
            section.empty = Empty::List;
            section.entries.push(entry);
        }
    }
    for (list, command) in lists_named(mapper) {
        let name = mapper.name(&list, command);
        let section = mapper.document.section(&["address-lists", &name]);
        section.empty = Empty::List;
    }
}

fn entry(mapper: &mut Mapper<'_>, record: &Record) -> Entry {
    if let Some(reason) = Mapper::unreadable(record) {
        return mapper.leave_out(record, &reason);
    }
    if let Some(word) = record.alone.first() {
        let reason = format!("`{word}` stands alone, and it is not clear for what");
        return mapper.leave_out(record, &reason);
    }
    let mut fields = Vec::new();
    for property in &record.properties {
        let (key, command) = (property.key.as_str(), property.command);
        let key = match key {
            "src-address" | "dst-address" => {
                let note = format!("`{key}` is read as `address`");
                mapper.report.note(command, note);
                "address"
            }
            other => other,
        };
        let text = property.value.text();
        match key {
            "list" | "comment" | "disabled" | "creation-time" => {}
            "dynamic" if matches!(text, "no" | "false") => {}
            "address" => {
                let prefix = words::prefix(text);
                if prefix != text {
                    let note = format!("{text} is the network {prefix}, as RouterOS reads it");
                    mapper.report.note(command, note);
                }
                fields.push(Field::essential("address", prefix));
            }
            // Turnpike has such a key, and it would open a file of the machine it runs on.
            "file" => return mapper.leave_out(record, "RouterOS has no property `file`"),
            "timeout" => fields.push(Field::essential("timeout", words::duration(text))),
            _ => fields.push(Field::essential(key, text)),
        }
    }
    let mut remarks = Vec::new();
    Mapper::remarks(record, &mut remarks);
    for field in remarks {
        // A disabled entry that counted would be another one.
        match field.key.as_str() {
            "disabled" => fields.push(Field::essential("disabled", "yes")),
            _ => fields.push(field),
        }
    }
    Entry::new(None, Body::Mapping(fields), &record.commands)
}
