//! From what the menus hold to the sections of a configuration.
//!
//! Names and values are rewritten where RouterOS writes the same thing otherwise. Whether this
//! version knows a key, an action or a value is not asked here: [`super::settle`] asks the
//! configuration module.

mod interfaces;
mod lists;
mod routes;
mod routing;
mod rules;
mod settings;
mod words;

use std::collections::BTreeMap;

use super::document::{Body, Document, Entry, Field};
use super::lex::Value;
use super::report::Report;
use super::store::{Record, Store};

/// The document for what `store` holds.
pub fn document(store: &Store, report: &mut Report) -> Document {
    let mut mapper = Mapper {
        store,
        report,
        document: Document::default(),
        renamed: BTreeMap::new(),
    };
    interfaces::map(&mut mapper);
    routing::tables(&mut mapper);
    routes::map(&mut mapper);
    routing::rules(&mut mapper);
    settings::tracking(&mut mapper);
    lists::address_lists(&mut mapper);
    settings::layer7(&mut mapper);
    settings::service_ports(&mut mapper);
    rules::map(&mut mapper);
    settings::services(&mut mapper);
    mapper.document
}

/// The document while it is made.
struct Mapper<'a> {
    store: &'a Store,
    report: &'a mut Report,
    document: Document,
    /// Names that Turnpike writes otherwise.
    renamed: BTreeMap<String, String>,
}

impl<'a> Mapper<'a> {
    /// The items of a menu; the reference is the store's, not the mapper's.
    fn records(&self, menu: &str) -> &'a [Record] {
        self.store.records(menu)
    }

    /// A name as Turnpike can write it; the command is told if it is another.
    fn name(&mut self, name: &str, command: usize) -> String {
        let plain = words::name(name);
        if plain != name && !self.renamed.contains_key(name) {
            self.report
                .note(command, format!("`{name}` is called `{plain}` here"));
            self.renamed.insert(name.to_owned(), plain.clone());
        }
        plain
    }

    /// An entry for an item that is left out, for a reason that the configuration cannot know.
    fn leave_out(&mut self, record: &Record, reason: &str) -> Entry {
        for command in &record.commands {
            self.report.left_out(*command, reason);
        }
        let mut entry = Entry::new(None, Body::Mapping(Vec::new()), &record.commands);
        entry.left_out = Some(reason.to_owned());
        entry
    }

    /// Why an item cannot be written at all.
    fn unreadable(record: &Record) -> Option<String> {
        let script = |value: &Value| matches!(value, Value::Script(_));
        record
            .properties
            .iter()
            .find(|p| script(&p.value))
            .map(|p| {
                format!(
                    "only RouterOS can work out the value of `{}`: {}",
                    p.key,
                    super::report::cut(p.value.text())
                )
            })
    }

    /// `comment` and `disabled`, where they say something.
    fn remarks(record: &Record, fields: &mut Vec<Field>) {
        if let Some(property) = record.property("disabled").filter(|_| record.is_disabled()) {
            fields.push(Field::separable("disabled", "yes", property.command));
        }
        if let Some(property) = record.property("comment") {
            let text = words::text(property.value.text());
            if !text.is_empty() {
                fields.push(Field::separable("comment", text, property.command));
            }
        }
    }

    /// Notes which of an item's properties nobody reads.
    fn passed_over(&mut self, record: &Record, read: &[&str]) {
        let over = record
            .properties
            .iter()
            .filter(|p| !read.contains(&p.key.as_str()));
        let mut by_command: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for property in over {
            by_command
                .entry(property.command)
                .or_default()
                .push(&property.key);
        }
        for (command, keys) in by_command {
            self.report
                .note(command, format!("not carried over: {}", keys.join(", ")));
        }
    }
}
