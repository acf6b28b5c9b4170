//! Mappings with known keys, and the ways to take single values and lists out of nodes.
//!
//! Each function reports what is wrong and returns `None`; the caller goes on, so that one load
//! shows every error. A node that was refused when the YAML was read has been reported already
//! and is passed over silently.

use crate::problem::{Problems, Span, did_you_mean};
use crate::yaml::{Entry, Node, Scalar, Style, Value};

/// The keys that a kind of mapping has.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// What the mapping is, for messages: `an interface`.
    pub of: &'static str,
    /// Those that are understood.
    pub known: &'static [&'static str],
    /// Those that Turnpike will have and this version has not.
    pub later: &'static [&'static str],
    /// Those that belong somewhere else, each with the reason it cannot be here.
    pub elsewhere: &'static [(&'static str, &'static str)],
}

/// A mapping whose keys have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    span: Span,
    entries: &'a [Entry],
    known: &'static [&'static str],
}

impl<'a> Section<'a> {
    /// Takes `node` as a mapping with `keys`; unknown keys are reported.
    pub fn open(node: &'a Node, keys: &Keys, problems: &mut Problems) -> Option<Self> {
        let entries = mapping(node, keys.of, problems)?;
        for entry in entries {
            let key = entry.key.as_str();
            if keys.known.contains(&key) {
                continue;
            }
            let elsewhere = keys.elsewhere.iter().find(|(name, _)| *name == key);
            let message = if keys.later.contains(&key) {
                format!("`{key}` is not supported by this version of Turnpike; remove it")
            } else if let Some((_, reason)) = elsewhere {
                format!("`{key}` cannot be in {}: {reason}", keys.of)
            } else {
                let near = did_you_mean(key, keys.known.iter().copied());
                if near.is_empty() && entry.value.value == Value::Refused {
                    continue;
                }
                let hint = if near.is_empty() {
                    format!("; its keys are {}", keys.known.join(", "))
                } else {
                    near
                };
                format!("unknown key `{key}` in {}{hint}", keys.of)
            };
            problems.error(entry.key_span, message);
        }
        Some(Self {
            span: node.span,
            entries,
            known: keys.known,
        })
    }

    /// Where the mapping begins.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Whether the value of some key was refused when the YAML was read.
    pub fn has_refused(&self) -> bool {
        self.entries.iter().any(|e| e.value.value == Value::Refused)
    }

    /// The entry called `key`, if it is written and belongs here.
    pub fn entry(&self, key: &str) -> Option<&'a Entry> {
        let belongs = self.known.contains(&key);
        self.entries.iter().find(|e| belongs && e.key == key)
    }

    /// The value of `key`, if it is written.
    pub fn field(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|e| &e.value)
    }

    /// The value of `key` read by `read`, `None` if it is not written or was refused.
    pub fn read<T>(
        &self,
        key: &str,
        problems: &mut Problems,
        read: impl FnOnce(&'a Node, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        self.field(key).and_then(|node| read(node, problems))
    }

    /// The value of `key`; an error if it is not written.
    pub fn required(&self, key: &str, example: &str, problems: &mut Problems) -> Option<&'a Node> {
        let field = self.field(key);
        if field.is_none() {
            problems.error(
                self.span,
                format!("`{key}` is missing; write, for example, `{key}: {example}`"),
            );
        }
        field
    }
}

/// A value that is written as one word.
pub trait Word: Sized {
    /// Reads it; the error says what is wrong and what would be right.
    ///
    /// # Errors
    /// A sentence for people, without its place.
    fn read(text: &str) -> Result<Self, String>;
}

/// Takes `node` as one word.
pub fn word<T: Word>(node: &Node, problems: &mut Problems) -> Option<T> {
    let scalar = scalar(node, problems)?;
    or_report(T::read(&scalar.text), node.span, problems)
}

/// Takes `node` as text.
pub fn scalar<'a>(node: &'a Node, problems: &mut Problems) -> Option<&'a Scalar> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar),
        Value::Refused => None,
        Value::Sequence(_) | Value::Mapping(_) => {
            let kind = node.kind();
            problems.error(node.span, format!("one value is expected here, not {kind}"));
            None
        }
    }
}

/// Takes `node` as a mapping of whatever keys; `of` is what it is, for messages.
pub fn mapping<'a>(node: &'a Node, of: &str, problems: &mut Problems) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Mapping(entries) => Some(entries),
        Value::Refused => None,
        Value::Scalar(s) if s.style == Style::Plain && s.text.contains(':') => {
            problems.error(
                node.span,
                format!(
                    "{of} is a mapping; `{}` is one word: write a space after the colon",
                    s.text
                ),
            );
            None
        }
        Value::Scalar(_) | Value::Sequence(_) => {
            let kind = node.kind();
            problems.error(
                node.span,
                format!("{of} is a mapping (`key: value`), not {kind}"),
            );
            None
        }
    }
}

/// Takes `node` as a sequence; `of` is what it holds, for messages.
pub fn sequence<'a>(node: &'a Node, of: &str, problems: &mut Problems) -> Option<&'a [Node]> {
    match &node.value {
        Value::Sequence(items) => Some(items),
        Value::Refused => None,
        Value::Scalar(_) | Value::Mapping(_) => {
            let kind = node.kind();
            problems.error(
                node.span,
                format!("a list of {of} is expected here (`- …` lines or [ … ]), not {kind}"),
            );
            None
        }
    }
}

/// A word of a list, with its place.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The word.
    pub text: &'a str,
    /// Where it begins.
    pub span: Span,
}

/// Takes `node` as a list of words: a sequence, or one text with commas.
pub fn items<'a>(node: &'a Node, problems: &mut Problems) -> Option<Vec<Item<'a>>> {
    match &node.value {
        Value::Scalar(scalar) => Some(split(&scalar.text, node.span.shifted(scalar.lead()))),
        Value::Sequence(nodes) => {
            let found: Vec<Option<Item<'_>>> = nodes
                .iter()
                .map(|n| {
                    scalar(n, problems).map(|s| Item {
                        text: &s.text,
                        span: n.span,
                    })
                })
                .collect();
            found.into_iter().collect()
        }
        Value::Mapping(_) => {
            problems.error(node.span, "a list is expected here, not a mapping");
            None
        }
        Value::Refused => None,
    }
}

/// The parts between commas, each with its place.
pub fn split(text: &str, start: Span) -> Vec<Item<'_>> {
    let mut column = 0;
    text.split(',')
        .map(|part| {
            let lead = part.chars().take_while(|c| c.is_whitespace()).count();
            let item = Item {
                text: part.trim(),
                span: start.shifted(column + lead),
            };
            column += part.chars().count() + 1;
            item
        })
        .collect()
}

/// The value of a result whose error is reported at `span`.
pub fn or_report<T>(result: Result<T, String>, span: Span, problems: &mut Problems) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(message) => {
            problems.error(span, message);
            None
        }
    }
}
