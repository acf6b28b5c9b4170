//! From parser events to the tree.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as Marked, Tag};

use super::{DEPTH_MAX, Entry, Node, Scalar, Style, TEXT_MAX, Value};
use crate::problem::{Problems, Span};

/// How many undefined aliases one file may have before reading gives up.
const ALIASES_MAX: usize = 64;

/// Reads one YAML document into a tree.
///
/// Every error goes to `problems`; `None` if there is no tree to go on with. A tree may come back
/// beside errors, its bad places being [`Value::Refused`].
pub fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > TEXT_MAX {
        problems.error(
            Span::START,
            format!("the file has more than {TEXT_MAX} bytes; put large lists into a `file:`"),
        );
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events = read_events(text, problems)?;
    let mut builder = Builder {
        events: events.into_iter().peekable(),
        lines: text.lines().collect(),
        problems,
    };
    builder.document()
}

type Spanned = (Event<'static>, Marked);

/// All events of the text. The parser stops at an alias of something unknown (`*wan`), which is
/// the common slip: it is reported, read as a word, and the rest of the file is still checked.
fn read_events(text: &str, problems: &mut Problems) -> Option<Vec<Spanned>> {
    let mut text = Cow::Borrowed(text);
    let mut aliases: Vec<Span> = Vec::new();
    loop {
        let error = match collect(&text) {
            Ok(events) => return Some(refuse_aliases(events, &aliases)),
            Err(error) => error,
        };
        let span = place(error.marker());
        let at = offset(&text, error.marker());
        let alias = error.info().contains("unknown anchor")
            && text.as_bytes().get(at) == Some(&b'*')
            && aliases.len() < ALIASES_MAX;
        if !alias {
            problems.error(span, format!("this is not YAML: {}", error.info()));
            return None;
        }
        problems.error(
            span,
            "an unquoted `*` makes this a YAML alias; quote it: \"*…\"",
        );
        aliases.push(span);
        let mut owned = text.into_owned();
        owned.replace_range(at..=at, "x");
        text = Cow::Owned(owned);
    }
}

fn collect(text: &str) -> Result<Vec<Spanned>, saphyr_parser::ScanError> {
    let mut parser = Parser::new_from_str(text);
    let mut events = Vec::new();
    while let Some(event) = parser.next_event() {
        let (event, span) = event?;
        events.push((owned(event), span));
    }
    Ok(events)
}

/// An alias that was read as a word becomes an alias again: its place holds no value.
fn refuse_aliases(mut events: Vec<Spanned>, aliases: &[Span]) -> Vec<Spanned> {
    for (event, span) in &mut events {
        if aliases.contains(&place(&span.start)) && matches!(event, Event::Scalar(..)) {
            *event = Event::Nothing;
        }
    }
    events
}

fn owned(event: Event<'_>) -> Event<'static> {
    let keep = |tag: Option<Cow<'_, Tag>>| tag.map(|t| Cow::Owned(t.into_owned()));
    match event {
        Event::Scalar(text, style, anchor, tag) => {
            Event::Scalar(Cow::Owned(text.into_owned()), style, anchor, keep(tag))
        }
        Event::SequenceStart(anchor, tag) => Event::SequenceStart(anchor, keep(tag)),
        Event::MappingStart(anchor, tag) => Event::MappingStart(anchor, keep(tag)),
        Event::Alias(id) => Event::Alias(id),
        Event::Nothing => Event::Nothing,
        Event::StreamStart => Event::StreamStart,
        Event::StreamEnd => Event::StreamEnd,
        Event::DocumentStart(explicit) => Event::DocumentStart(explicit),
        Event::DocumentEnd => Event::DocumentEnd,
        Event::SequenceEnd => Event::SequenceEnd,
        Event::MappingEnd => Event::MappingEnd,
    }
}

/// Where in `text` the marker points, in bytes; the parser counts in characters.
fn offset(text: &str, marker: &Marker) -> usize {
    text.char_indices()
        .nth(marker.index())
        .map_or(text.len(), |(at, _)| at)
}

fn place(marker: &Marker) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span {
        line: number(marker.line()),
        column: number(marker.col().saturating_add(1)),
    }
}

struct Builder<'a> {
    events: std::iter::Peekable<std::vec::IntoIter<Spanned>>,
    lines: Vec<&'a str>,
    problems: &'a mut Problems,
}

impl Builder<'_> {
    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        while let Some((event, span)) = self.events.next() {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_some() => {
                    self.problems.error(
                        place(&span.start),
                        "a second document begins here; a configuration is one document",
                    );
                    return root;
                }
                Event::DocumentStart(_) => {
                    if let Some((event, span)) = self.events.next() {
                        root = Some(self.node(event, span, 0, None));
                    }
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {}
            }
        }
        if root.is_none() {
            self.problems
                .error(Span::START, "the file holds no configuration");
        }
        root
    }

    fn node(&mut self, event: Event<'_>, span: Marked, depth: usize, key: Option<&Key>) -> Node {
        let start = place(&span.start);
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, span, refused(anchor, tag.as_deref()), key)
            }
            Event::SequenceStart(anchor, tag) => {
                self.complain(start, refused(anchor, tag.as_deref()));
                self.sequence(depth)
            }
            Event::MappingStart(anchor, tag) => {
                self.complain(start, refused(anchor, tag.as_deref()));
                self.mapping(depth, span.start != span.end)
            }
            Event::Alias(_) => {
                self.problems.error(
                    start,
                    "an unquoted `*` makes this a YAML alias; quote it, or repeat what it stands \
                     for",
                );
                Value::Refused
            }
            // An alias that has been reported, or the end of a document that the parser closes.
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Value::Refused,
        };
        // A block scalar's place is its first line of text; its value begins there.
        Node { span: start, value }
    }

    fn complain(&mut self, span: Span, complaint: Option<String>) {
        if let Some(complaint) = complaint {
            self.problems.error(span, complaint);
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        span: Marked,
        complaint: Option<String>,
        key: Option<&Key>,
    ) -> Value {
        let start = place(&span.start);
        if complaint.is_some() {
            self.complain(start, complaint);
            return Value::Refused;
        }
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        if style == Style::Plain && is_null(text) {
            let message = key.map_or_else(
                || format!("`{text}` is YAML's null; write a value, or quote it"),
                |key| key.missing(text),
            );
            self.problems.error(key.map_or(start, |k| k.span), message);
            return Value::Refused;
        }
        if style == Style::Plain {
            self.warn_of_cut_text(span, key);
        }
        Value::Scalar(Scalar {
            text: text.to_owned(),
            style,
        })
    }

    /// `comment: rule #1` is the comment `rule`: YAML cuts it silently, so it is said.
    fn warn_of_cut_text(&mut self, span: Marked, key: Option<&Key>) {
        let free_text = key.is_some_and(|k| k.name == "comment" || k.name == "log-prefix");
        let rest = self.after(&span.end);
        let cut = rest.trim_start().strip_prefix('#');
        if free_text && cut.is_some_and(|c| c.starts_with(|ch: char| !ch.is_whitespace())) {
            self.problems.warning(
                place(&span.end),
                "what follows ` #` is a YAML comment and not part of the text; quote the text if \
                 it is meant",
            );
        }
    }

    /// The rest of the line behind a place.
    fn after(&self, end: &Marker) -> &str {
        let line = self.lines.get(end.line().saturating_sub(1));
        let at = |l: &&str| l.char_indices().nth(end.col()).map(|(at, _)| at);
        line.and_then(|l| l.get(at(l)?..)).unwrap_or_default()
    }

    fn sequence(&mut self, depth: usize) -> Value {
        let mut items = Vec::new();
        while let Some((event, span)) = self.events.next() {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            if let Some(node) = self.child(event, span, depth, None) {
                items.push(node);
            }
        }
        Value::Sequence(items)
    }

    fn mapping(&mut self, depth: usize, braces: bool) -> Value {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        while let Some((event, span)) = self.events.next() {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let mut key = self.key(event, span, depth);
            if braces {
                key.before = entries.last().and_then(|e| match &e.value.value {
                    Value::Scalar(s) => Some((e.key.clone(), s.text.clone())),
                    Value::Sequence(_) | Value::Mapping(_) | Value::Refused => None,
                });
            }
            key.braces = braces;
            let Some((event, span)) = self.events.next() else {
                break;
            };
            let value = self.child(event, span, depth, Some(&key));
            if key.name.is_empty() {
                continue;
            }
            if let Some(first) = seen.insert(key.name.clone(), key.span.line) {
                self.problems.error(
                    key.span,
                    format!(
                        "`{}` is written twice, first on line {first}; keep one",
                        key.name
                    ),
                );
                continue;
            }
            if let Some(value) = value {
                entries.push(Entry {
                    key: key.name,
                    key_span: key.span,
                    value,
                });
            }
        }
        Value::Mapping(entries)
    }

    /// Reads a key; one that cannot be a name is reported and comes back empty.
    fn key(&mut self, event: Event<'_>, span: Marked, depth: usize) -> Key {
        let start = place(&span.start);
        let colon = self.after(&span.end).starts_with(':');
        let (name, complaint) = if let Event::Scalar(text, _, anchor, tag) = event {
            let complaint = match text.as_ref() {
                "<<" => Some("YAML merge keys are not read; repeat the keys".to_owned()),
                "" if tag.is_none() => Some("a key is missing before `:`".to_owned()),
                _ => refused(anchor, tag.as_deref()),
            };
            (text.into_owned(), complaint)
        } else {
            self.child(event, span, depth, None);
            let complaint = "a key is a word; quote it if it begins with [, { or *";
            (String::new(), Some(complaint.to_owned()))
        };
        let name = if complaint.is_some() {
            String::new()
        } else {
            name
        };
        self.complain(start, complaint);
        Key {
            name,
            span: start,
            before: None,
            braces: false,
            colon,
        }
    }

    fn child(
        &mut self,
        event: Event<'_>,
        span: Marked,
        depth: usize,
        key: Option<&Key>,
    ) -> Option<Node> {
        if depth >= DEPTH_MAX {
            let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
            if opens {
                self.problems.error(
                    place(&span.start),
                    format!("nested deeper than {DEPTH_MAX} levels"),
                );
                self.skip();
                return None;
            }
        }
        Some(self.node(event, span, depth + 1, key))
    }

    /// Passes over the rest of a collection that has been opened.
    fn skip(&mut self) {
        let mut open = 1_usize;
        for (event, _) in self.events.by_ref() {
            match event {
                Event::SequenceStart(..) | Event::MappingStart(..) => open += 1,
                Event::SequenceEnd | Event::MappingEnd => open -= 1,
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::Scalar(..) => {}
            }
            if open == 0 {
                break;
            }
        }
    }
}

/// A key whose value is being read.
struct Key {
    name: String,
    span: Span,
    /// The entry before it in braces, which an unquoted comma may have cut short.
    before: Option<(String, String)>,
    braces: bool,
    /// Whether a colon follows; a word between commas in braces has none.
    colon: bool,
}

impl Key {
    fn missing(&self, text: &str) -> String {
        let name = &self.name;
        if !text.is_empty() {
            return format!(
                "`{name}` is `{text}`, which is YAML's null; quote it if the word is meant, or \
                 leave the key out"
            );
        }
        if self.braces
            && let Some((key, _)) = name.split_once(':')
        {
            let looks_like_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase());
            if looks_like_key {
                return format!("`{name}` has no value; write a space after the colon");
            }
        }
        if self.colon {
            return format!("`{name}` has no value; write one, or leave the key out");
        }
        let begins_like_a_value = name.starts_with(|c: char| c.is_ascii_digit() || c == '!');
        match &self.before {
            Some((before, value)) if begins_like_a_value => format!(
                "`{name}` has no value: in braces a comma ends a value; quote the whole of it: \
                 `{before}: \"{value},{name}\"`"
            ),
            Some((before, value)) => format!(
                "`{name}` has no value; write one, or, if it belongs to `{before}`, quote the \
                 whole: `{before}: \"{value}, {name}\"`"
            ),
            None => format!("`{name}` has no value; write one, or leave the key out"),
        }
    }
}

/// Why a value with this anchor or tag is refused, `None` if it has neither.
fn refused(anchor: usize, tag: Option<&Tag>) -> Option<String> {
    if let Some(tag) = tag {
        let written = match (tag.handle.as_str(), tag.suffix.as_str()) {
            ("" | "!", suffix) => format!("!{}", suffix.trim_start_matches('!')),
            ("tag:yaml.org,2002:", suffix) => format!("!!{suffix}"),
            (handle, suffix) => format!("{handle}{suffix}"),
        };
        return Some(format!(
            "an unquoted `!` makes `{written}` a YAML tag and the value empty; quote it: \
             \"{written}\""
        ));
    }
    (anchor != 0).then(|| {
        "an unquoted `&` makes this a YAML anchor; quote it if it is part of the value, else \
         remove it"
            .to_owned()
    })
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
