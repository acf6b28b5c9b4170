//! YAML as a tree that knows where everything was written.
//!
//! Values stay text: what a word means is decided by whoever asks for it, so `no`, `010` and
//! `22:80` are never turned into something else on the way. What YAML would silently turn into an
//! empty value (a tag, an alias, a null) is an error here and leaves [`Value::Refused`] behind, so
//! that nothing downstream can take it for "not asked for".

mod build;
mod emit;

pub use build::parse;

use crate::problem::Span;

/// The largest configuration file, in bytes.
pub const TEXT_MAX: usize = 16 << 20;
/// The deepest nesting of a configuration.
pub const DEPTH_MAX: usize = 16;

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, whatever it looks like.
    Scalar(Scalar),
    /// Values in order.
    Sequence(Vec<Node>),
    /// Values by name, in the order written, names without repeats.
    Mapping(Vec<Entry>),
    /// Something that has been reported as an error already.
    Refused,
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text without its quotes.
    pub text: String,
    /// How it was written.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As a block after `|` or `>`.
    Block,
}

/// One name in a mapping with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub key: String,
    /// Where the name begins.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// What this node is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Refused => "nothing",
        }
    }
}

impl Scalar {
    /// How many characters stand before the text itself: the opening quote or nothing.
    pub fn lead(&self) -> usize {
        match self.style {
            Style::Quoted => 1,
            Style::Plain | Style::Block => 0,
        }
    }
}
