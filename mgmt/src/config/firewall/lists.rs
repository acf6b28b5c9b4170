//! Rules that fill address lists.

use std::time::Duration;

use turnpike_pipeline::policy::{Action, ListTimeout};
use turnpike_pipeline::rules::matchers::End;

use super::super::lists::LISTS_MAX;
use super::super::names::Names;
use super::super::section::{Section, Word, scalar, word};
use super::super::value::Name;
use super::rule::Context;
use crate::problem::Problems;
use crate::yaml::{Node, Value};

/// The key of the list that a rule adds to.
const KEY: &str = "address-list";

/// Reads `address-list` and `address-list-timeout`, by default `none-dynamic`.
pub fn adding(
    section: Section<'_>,
    end: End,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Action> {
    let timeout = section.read("address-list-timeout", problems, word::<ListTimeout>);
    let node = section.required(KEY, "blocked", problems)?;
    let name = &scalar(node, problems)?.text;
    let list = context.names.address_list(name, node.span, problems)?;
    let timeout = timeout.unwrap_or(ListTimeout::NoneDynamic);
    Some(Action::AddToList(end, list, timeout))
}

impl Word for ListTimeout {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "none-dynamic" => Ok(Self::NoneDynamic),
            "none-static" => Ok(Self::NoneStatic),
            _ => match Duration::read(text) {
                Ok(Duration::ZERO) => Err(
                    "no time at all; write, for example, 10m, or none-dynamic for as long as the \
                     gateway runs"
                        .to_owned(),
                ),
                Ok(timeout) => Ok(Self::For(timeout)),
                Err(message) => Err(format!("{message}, or none-dynamic or none-static")),
            },
        }
    }
}

/// The timeout in canonical form.
pub fn show_timeout(timeout: ListTimeout) -> String {
    match timeout {
        ListTimeout::For(timeout) => format!("{}ms", timeout.as_millis()),
        ListTimeout::NoneDynamic => "none-dynamic".to_owned(),
        ListTimeout::NoneStatic => "none-static".to_owned(),
    }
}

/// The names of lists that the rules of a table fill, added to `names`: such a list need not be
/// defined.
pub fn collect(rules: &[Node], names: &mut Names) {
    for rule in rules {
        let Value::Mapping(entries) = &rule.value else {
            continue;
        };
        let filled = entries.iter().filter(|entry| entry.key == KEY);
        for entry in filled {
            let Value::Scalar(name) = &entry.value.value else {
                continue;
            };
            let new = Name::read(&name.text).is_ok()
                && names.address_lists.len() < LISTS_MAX
                && !names.address_lists.contains(&name.text);
            if new {
                names.address_lists.push(name.text.clone());
            }
        }
    }
}
