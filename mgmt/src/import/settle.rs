//! The document against the configuration module, until that accepts it.
//!
//! What this version of Turnpike can do is known in one place, the configuration module: a
//! document is read as `turnpike check` would, and what is refused is left out, with the reason
//! it gave. A value that an entry can do without goes alone; otherwise the entry goes. An entry is
//! never kept with less in it than decides what it does.

use std::collections::BTreeMap;
use std::path::Path;

use super::ImportError;
use super::command::Command;
use super::document::{Body, Document, Entry, EntryAt, Field, FieldValue, Line, Part, Piece};
use super::report::Report;
use crate::config::{Config, Refused};
use crate::problem::{Problem, Severity};
use crate::yaml::TEXT_MAX;

/// Actions whose loss lets packets go on that RouterOS would have stopped.
const REFUSING: &[&str] = &["drop", "reject", "tarpit"];

/// What stands for a device until somebody names the real one; numbered, as no two may be equal.
pub const PLACEHOLDER: &str = "net_null";
/// The interface of an input that names none.
const MADE_UP: &str = "ether1";

/// The most bytes that are read over and over until nothing is refused.
const READ_MAX: usize = 1 << 30;

/// Why no configuration came of an import: a mistake of the importer's, not of the input's.
#[derive(Debug, Clone, thiserror::Error)]
#[error("what the importer wrote is refused, which is a mistake of its own:\n{0}")]
pub struct Unsettled(pub Box<Refused>);

/// What is refused in one line.
#[derive(Default)]
struct Refusal {
    /// Of the whole entry.
    whole: Vec<String>,
    /// Of parts of it, by place.
    parts: Vec<(Piece, String)>,
}

/// Leaves out of `document` what the configuration module refuses, and returns the text.
///
/// # Errors
/// Something is refused that belongs to no entry, or there is too much of everything.
pub fn settle(
    document: &mut Document,
    commands: &[Command],
    report: &mut Report,
) -> Result<String, ImportError> {
    let mut read = 0;
    loop {
        need_an_interface(document);
        let (text, lines) = document.render(commands, report);
        if text.len() > TEXT_MAX {
            return Err(ImportError::TooLarge(text.len()));
        }
        read += text.len();
        if read > READ_MAX {
            return Err(ImportError::TooEntangled);
        }
        let refused = match Config::parse_all(&text, &report.name, Path::new(".")) {
            Ok(_) => return Ok(text),
            Err(refused) => refused,
        };
        let errors = refused.problems.iter();
        let errors = errors.filter(|p| p.severity == Severity::Error);
        let mut refusals: BTreeMap<EntryAt, Refusal> = BTreeMap::new();
        for problem in errors {
            locate(problem, document, &lines, &mut refusals);
        }
        if refusals.is_empty() {
            return Err(Unsettled(Box::new(refused)).into());
        }
        for (at, refusal) in refusals {
            apply(at, &refusal, document, report);
        }
    }
}

/// A gateway without interfaces is none: one is made up where the input has none.
fn need_an_interface(document: &mut Document) {
    let section = document.section(&["interfaces"]);
    if section.entries.iter().any(|e| e.left_out.is_none()) {
        return;
    }
    let device = Field::essential("device", format!("{PLACEHOLDER}0,no-rx=1"));
    let mut entry = Entry::new(Some(MADE_UP), Body::Mapping(vec![device]), &[]);
    entry
        .comments
        .push("made up: nothing in the input gives an interface, and a gateway has one".to_owned());
    section.entries.push(entry);
}

/// Finds out which entries an error is about.
fn locate(
    problem: &Problem,
    document: &Document,
    lines: &[Line],
    refusals: &mut BTreeMap<EntryAt, Refusal>,
) {
    let index = usize::try_from(problem.span.line).unwrap_or(usize::MAX) - 1;
    let message = reason(&problem.message);
    match lines.get(index) {
        Some(Line::Entry(at, pieces)) => {
            let column = usize::try_from(problem.span.column).unwrap_or(usize::MAX);
            let holds = |p: &&Piece| (p.from..p.to).contains(&column);
            let refusal = refusals.entry(*at).or_default();
            match pieces.iter().find(holds) {
                Some(piece) => refusal.parts.push((*piece, message)),
                None => refusal.whole.push(message),
            }
        }
        Some(Line::Header(path)) => {
            for (section_index, section) in document.sections.iter().enumerate() {
                if !section.path.starts_with(path) {
                    continue;
                }
                for (entry_index, entry) in section.entries.iter().enumerate() {
                    if entry.left_out.is_none() {
                        let at = EntryAt {
                            section: section_index,
                            entry: entry_index,
                        };
                        let refusal = refusals.entry(at).or_default();
                        refusal.whole.push(message.clone());
                    }
                }
            }
        }
        Some(Line::Nothing) | None => {}
    }
}

fn apply(at: EntryAt, refusal: &Refusal, document: &mut Document, report: &mut Report) {
    let Some(entry) = document.entry_mut(at) else {
        return;
    };
    let mut whole = refusal.whole.clone();
    let mut gone = Vec::new();
    for (piece, message) in &refusal.parts {
        match command_of(&entry.body, piece) {
            Some(command) if refusal.whole.is_empty() => {
                gone.push(*piece);
                match piece.element {
                    Some(_) => report.left_out(command, message.clone()),
                    None => report.note(command, format!("not carried over: {message}")),
                }
            }
            Some(_) | None => whole.push(message.clone()),
        }
    }
    if whole.is_empty() {
        remove(&mut entry.body, gone);
        return;
    }
    whole.dedup();
    let mut reason = whole.join("; ");
    if let Some(consequence) = consequence(&entry.body) {
        reason.push_str(&format!(" ({consequence})"));
    }
    for command in entry.all_commands() {
        report.left_out(command, reason.clone());
    }
    entry.left_out = Some(reason);
}

/// The command to be told if a piece goes alone; `None` if the entry cannot do without it.
fn command_of(body: &Body, piece: &Piece) -> Option<usize> {
    match (body, piece.field, piece.element) {
        (Body::List(elements), None, Some(element)) => elements.get(element).map(|e| e.command),
        (Body::Mapping(fields), Some(field), element) => {
            let field = fields.get(field)?;
            match (&field.value, element, field.part) {
                (FieldValue::List(elements), Some(element), _) => {
                    elements.get(element).map(|e| e.command)
                }
                (_, _, Part::Separable(command)) => Some(command),
                (_, _, Part::Essential) => None,
            }
        }
        (Body::Word(_) | Body::List(_) | Body::Mapping(_), _, _) => None,
    }
}

/// Takes pieces out, the last first, so that the places of the others stay true.
fn remove(body: &mut Body, mut gone: Vec<Piece>) {
    gone.sort_unstable_by_key(|p| std::cmp::Reverse((p.field, p.element)));
    gone.dedup();
    for piece in gone {
        match (&mut *body, piece.field, piece.element) {
            (Body::List(elements), None, Some(element)) if element < elements.len() => {
                elements.remove(element);
            }
            (Body::Mapping(fields), Some(field), element) => {
                remove_from(fields, field, element);
            }
            (Body::Word(_) | Body::List(_) | Body::Mapping(_), _, _) => {}
        }
    }
}

fn remove_from(fields: &mut Vec<Field>, field: usize, element: Option<usize>) {
    let Some(found) = fields.get_mut(field) else {
        return;
    };
    let empty = match (&mut found.value, element) {
        (FieldValue::List(elements), Some(element)) if element < elements.len() => {
            elements.remove(element);
            elements.is_empty()
        }
        (FieldValue::List(_), Some(_)) => false,
        (FieldValue::Word(_) | FieldValue::List(_), _) => true,
    };
    if empty {
        fields.remove(field);
    }
}

/// What the loss of an enabled rule changes for packets that it does not name.
fn consequence(body: &Body) -> Option<String> {
    let disabled = matches!(body.word("disabled"), Some("yes" | "true"));
    let action = body.word("action").filter(|_| !disabled)?;
    if REFUSING.contains(&action) {
        return Some(format!(
            "without it, what `{action}` would have stopped goes on to the next rules"
        ));
    }
    let chain = body.word("jump-target").filter(|_| action == "jump")?;
    Some(format!("without it, packets do not go through `{chain}`"))
}

/// The configuration's message as a reason: what it advises to remove is removed.
fn reason(message: &str) -> String {
    let advice = ["; remove it", "; remove the rule"];
    let found = advice.iter().find_map(|a| message.strip_suffix(a));
    found.unwrap_or(message).to_owned()
}
