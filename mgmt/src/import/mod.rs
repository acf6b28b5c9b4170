//! RouterOS configurations as Turnpike's: `/export` output, and commands as manuals have them.
//!
//! In five steps: `lex` reads statements, `command` says what each does to which menu,
//! `store` does it, `map` writes down what the menus then hold, and `settle` leaves out what
//! the configuration module refuses. No command is passed over: each has an answer in the
//! `report`, and what was not carried over stands in the file as a comment. A rule is carried
//! over whole or not at all, since one with less in it would match more.

mod command;
mod document;
mod find;
mod foreign;
mod lex;
mod map;
mod report;
mod settle;
mod store;

pub use document::quoted;
pub use report::{Count, Fate, Report};
pub use settle::Unsettled;

use std::collections::BTreeSet;
use std::mem;

use command::Command;
use document::Document;
use store::Store;

/// The largest input, in bytes.
pub const TEXT_MAX: usize = 16 << 20;

/// What came of an import.
#[derive(Debug, Clone)]
pub struct Imported {
    /// A configuration that `turnpike check` accepts.
    pub yaml: String,
    /// What became of each command.
    pub report: Report,
}

/// Why an input cannot be imported.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImportError {
    /// What came of it is refused, and no part of it can be left out for that.
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    /// What came of it is no file that Turnpike would read.
    #[error("the configuration would have {0} bytes, more than {max}; import less at a time, and \
             address lists into a `file:`", max = crate::yaml::TEXT_MAX)]
    TooLarge(usize),
    /// Leaving out one part makes another one wrong, and so on for too long.
    #[error(
        "too much of it depends on what cannot be carried over; mend what the first lines of \
             a smaller part are told, and import again"
    )]
    TooEntangled,
}

/// Imports `text`, the content of the file called `name`.
///
/// # Errors
/// The configuration is refused as a whole.
pub fn routeros(text: &str, name: &str) -> Result<Imported, ImportError> {
    let (statements, mut behind) = lex::statements(text);
    let mut commands = command::commands(statements, &mut behind);
    let mut report = Report::new(name, &commands);
    let store = Store::build(&commands, &mut report);
    // What stands over the first command is about the file.
    let above = commands.first_mut().map(|c| mem::take(&mut c.comments));
    let mut document = map::document(&store, &mut report);
    settle::settle(&mut document, &commands, &mut report)?;
    empty_lists(&document, &mut report);
    document.head = head(&report, above.unwrap_or_default());
    document.tail = tail(&document, &commands, &report);
    document.tail.append(&mut behind);
    let yaml = settle::settle(&mut document, &commands, &mut report)?;
    Ok(Imported { yaml, report })
}

/// Names the address lists that rules ask for and nothing fills.
fn empty_lists(document: &Document, report: &mut Report) {
    for section in &document.sections {
        let [of, list] = section.path.as_slice() else {
            continue;
        };
        let filled = |(path, entry): (&[String], &document::Entry)| {
            path == section.path.as_slice() || entry.body.word("address-list") == Some(list)
        };
        if of == "address-lists" && !document.live().any(filled) {
            report.notes.push(format!(
                "nothing that was carried over fills the address list `{list}`: rules that name \
                 it find it empty"
            ));
        }
    }
}

/// What the file says about itself at its top.
fn head(report: &Report, mut above: Vec<String>) -> Vec<String> {
    let count = report.count();
    let mut head = vec![
        format!("Imported by turnpike import routeros from {}.", report.name),
        String::new(),
        "An export does not say which devices a gateway has: each interface has a placeholder that"
            .to_owned(),
        "carries nothing (net_null…). Write a PCI address or a vdev in its place.".to_owned(),
    ];
    if count.left_out > 0 {
        head.push(String::new());
        head.push(format!(
            "LEFT OUT: {} of {} commands. Read why, in their places and at the end.",
            count.left_out, count.commands
        ));
    }
    head.extend(report.notes.iter().cloned());
    if !above.is_empty() {
        head.push(String::new());
        head.append(&mut above);
    }
    head
}

/// What has no place in the file, for its end: commands that were not carried over, and comments
/// of commands of which nothing is written.
fn tail(document: &Document, commands: &[Command], report: &Report) -> Vec<String> {
    let entries = document.sections.iter().flat_map(|s| &s.entries);
    let placed: BTreeSet<usize> = entries.flat_map(|e| e.all_commands()).collect();
    let mut tail = Vec::new();
    for (index, (fate, command)) in report.fates.iter().zip(commands).enumerate() {
        let reasons = [&*fate.left_out, &*fate.foreign].concat();
        if placed.contains(&index) || (reasons.is_empty() && command.comments.is_empty()) {
            continue;
        }
        if tail.is_empty() {
            tail.push("Not in this file:".to_owned());
        }
        tail.extend(command.comments.iter().cloned());
        tail.push(format!("line {}: {}", fate.line, fate.text));
        if !reasons.is_empty() {
            tail.push(format!("  {}", reasons.join("; ")));
        }
    }
    tail
}
