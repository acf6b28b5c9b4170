//! The configuration to write: sections of entries, one entry a line.
//!
//! Each line knows which entry it is and which columns its values have, so that an error of the
//! configuration module, which names a line and a column, is an answer about one entry or one
//! value. An entry that is left out stays as a comment with the reason.

use std::fmt::Write;

use super::command::Command;
use super::lex::unprintable;
use super::report::Report;

/// The longest reason in a comment, in characters.
const REASON_MAX: usize = 240;

/// A configuration file in parts.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// Comments at the top.
    pub head: Vec<String>,
    /// In the order in which they are written; those with a common beginning stand together.
    pub sections: Vec<Section>,
    /// Comments at the end.
    pub tail: Vec<String>,
}

/// Entries under one name.
#[derive(Debug, Clone)]
pub struct Section {
    /// The keys that lead here, from the top.
    pub path: Vec<String>,
    /// What it holds.
    pub entries: Vec<Entry>,
    /// Whether it is written with nothing in it.
    pub empty: Empty,
}

/// What a section without entries is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Not written.
    Absent,
    /// An empty list.
    List,
}

/// One line of a section.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The commands that it comes from.
    pub commands: Vec<usize>,
    /// Its name, `None` for an item of a list.
    pub key: Option<String>,
    /// Its value.
    pub body: Body,
    /// What stands before it.
    pub comments: Vec<String>,
    /// Why it is not written.
    pub left_out: Option<String>,
}

/// The value of an entry.
#[derive(Debug, Clone)]
pub enum Body {
    /// One word.
    Word(String),
    /// `[a, b]`
    List(Vec<Element>),
    /// `{ a: b }`
    Mapping(Vec<Field>),
}

/// A word of a list that can be left out by itself.
#[derive(Debug, Clone)]
pub struct Element {
    /// The word.
    pub text: String,
    /// The command that it comes from.
    pub command: usize,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Field {
    /// The key.
    pub key: String,
    /// The value.
    pub value: FieldValue,
    /// What becomes of the entry without it.
    pub part: Part,
}

/// The value of a key.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// One word.
    Word(String),
    /// `[a, b]`
    List(Vec<Element>),
}

/// What an entry is without one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Something else: without this key the entry is left out.
    Essential,
    /// The same but for this; the command that is told.
    Separable(usize),
}

/// An entry, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryAt {
    /// The section.
    pub section: usize,
    /// The entry in it.
    pub entry: usize,
}

/// What one line of the text is.
#[derive(Debug, Clone)]
pub enum Line {
    /// A comment or a blank.
    Nothing,
    /// The keys that lead to these sections.
    Header(Vec<String>),
    /// An entry, with the columns of what can be left out of it.
    Entry(EntryAt, Vec<Piece>),
}

/// A part of a line that can be left out by itself: its columns, from 1, the last one not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// The field, `None` for an element of the body itself.
    pub field: Option<usize>,
    /// The element of its list.
    pub element: Option<usize>,
}

impl Field {
    /// A key without which the entry would be another.
    pub fn essential(key: &str, value: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: FieldValue::Word(value.into()),
            part: Part::Essential,
        }
    }

    /// A key that the entry can do without; `command` is told.
    pub fn separable(key: &str, value: impl Into<String>, command: usize) -> Self {
        Self {
            part: Part::Separable(command),
            ..Self::essential(key, value)
        }
    }
}

impl Entry {
    /// An entry that comes from `commands`.
    pub fn new(key: Option<&str>, body: Body, commands: &[usize]) -> Self {
        Self {
            commands: commands.to_vec(),
            key: key.map(str::to_owned),
            body,
            comments: Vec::new(),
            left_out: None,
        }
    }
}

impl Body {
    /// The commands of the words that can be left out by themselves.
    pub fn commands(&self) -> Vec<usize> {
        let lists: Vec<&Vec<Element>> = match self {
            Self::Word(_) => Vec::new(),
            Self::List(elements) => vec![elements],
            Self::Mapping(fields) => fields
                .iter()
                .filter_map(|f| match &f.value {
                    FieldValue::List(elements) => Some(elements),
                    FieldValue::Word(_) => None,
                })
                .collect(),
        };
        lists.into_iter().flatten().map(|e| e.command).collect()
    }

    /// The value of a key, if it is one word.
    pub fn word(&self, key: &str) -> Option<&str> {
        let Self::Mapping(fields) = self else {
            return None;
        };
        match &fields.iter().find(|f| f.key == key)?.value {
            FieldValue::Word(word) => Some(word),
            FieldValue::List(_) => None,
        }
    }
}

impl Entry {
    /// Every command that something of it comes from.
    pub fn all_commands(&self) -> Vec<usize> {
        let mut commands = self.commands.clone();
        for command in self.body.commands() {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        commands
    }
}

impl Document {
    /// The entries that are written, with the paths of their sections.
    pub fn live(&self) -> impl Iterator<Item = (&[String], &Entry)> {
        self.sections.iter().flat_map(|section| {
            let live = section.entries.iter().filter(|e| e.left_out.is_none());
            live.map(|entry| (section.path.as_slice(), entry))
        })
    }

    /// The section at `path`, made if it is not there.
    pub fn section(&mut self, path: &[&str]) -> &mut Section {
        let place = self.sections.iter().position(|s| s.path == path);
        let place = place.unwrap_or_else(|| {
            self.sections.push(Section {
                path: path.iter().map(|p| (*p).to_owned()).collect(),
                entries: Vec::new(),
                empty: Empty::Absent,
            });
            self.sections.len() - 1
        });
        // It is there: it was found or pushed.
        &mut self.sections[place]
    }

    /// The entry at a place.
    pub fn entry_mut(&mut self, at: EntryAt) -> Option<&mut Entry> {
        self.sections.get_mut(at.section)?.entries.get_mut(at.entry)
    }

    /// The text, and what each of its lines is.
    pub fn render(&self, commands: &[Command], report: &Report) -> (String, Vec<Line>) {
        let mut page = Page {
            commands,
            report,
            text: String::new(),
            lines: Vec::new(),
        };
        for comment in &self.head {
            page.comment(0, comment);
        }
        let mut above: &[String] = &[];
        for (index, section) in self.sections.iter().enumerate() {
            let live = section.entries.iter().any(|e| e.left_out.is_none());
            let shown = live || section.empty == Empty::List;
            if !shown && section.entries.is_empty() {
                continue;
            }
            page.header(section, above, live);
            // What has no live entry opens nothing that the next section could stand in.
            if shown {
                above = &section.path;
            }
            let indent = 2 * section.path.len();
            for (entry_index, entry) in section.entries.iter().enumerate() {
                let at = EntryAt {
                    section: index,
                    entry: entry_index,
                };
                page.entry(at, entry, indent);
            }
        }
        if !self.tail.is_empty() {
            page.push("", Line::Nothing);
        }
        for comment in &self.tail {
            page.comment(0, comment);
        }
        (page.text, page.lines)
    }
}

struct Page<'a> {
    commands: &'a [Command],
    report: &'a Report,
    text: String,
    lines: Vec<Line>,
}

impl Page<'_> {
    fn push(&mut self, text: &str, line: Line) {
        self.text.push_str(text);
        self.text.push('\n');
        self.lines.push(line);
    }

    fn comment(&mut self, indent: usize, text: &str) {
        let plain: String = text
            .chars()
            .map(|c| if unprintable(c) { ' ' } else { c })
            .collect();
        let line = format!("{:indent$}# {plain}", "");
        self.push(line.trim_end(), Line::Nothing);
    }

    /// The keys of `section` that the one before it has not written.
    fn header(&mut self, section: &Section, above: &[String], live: bool) {
        let path = &section.path;
        let common = path.iter().zip(above).take_while(|(a, b)| a == b).count();
        if common == 0 {
            self.push("", Line::Nothing);
        }
        let last = path.len() - 1;
        for (depth, key) in path.iter().enumerate().skip(common) {
            let indent = 2 * depth;
            let key = quoted(key);
            if depth == last && !live {
                match section.empty {
                    Empty::List => {
                        let text = format!("{:indent$}{key}: []", "");
                        self.push(&text, Line::Header(path.clone()));
                    }
                    Empty::Absent => self.comment(indent, &format!("{key}:")),
                }
            } else if live || section.empty == Empty::List {
                let upto = path.iter().take(depth + 1).cloned().collect();
                self.push(&format!("{:indent$}{key}:", ""), Line::Header(upto));
            }
        }
    }

    fn entry(&mut self, at: EntryAt, entry: &Entry, indent: usize) {
        let commands = entry.all_commands();
        for command in commands.iter().filter_map(|c| self.commands.get(*c)) {
            for comment in &command.comments {
                self.comment(indent, comment);
            }
        }
        for comment in &entry.comments {
            self.comment(indent, comment);
        }
        if let Some(reason) = &entry.left_out {
            self.comment(indent, &format!("left out: {}", shortened(reason)));
            for fate in commands.iter().filter_map(|c| self.report.fates.get(*c)) {
                let (line, text) = (fate.line, fate.text.clone());
                self.comment(indent, &format!("  line {line}: {text}"));
            }
            return;
        }
        let mut row = Row {
            text: format!("{:indent$}", ""),
            column: indent + 1,
            pieces: Vec::new(),
        };
        match &entry.key {
            Some(key) => row.add(&format!("{}: ", quoted(key))),
            None => row.add("- "),
        }
        match &entry.body {
            Body::Word(word) => row.add(&quoted(word)),
            Body::List(elements) => row.list(elements, None),
            Body::Mapping(fields) => row.mapping(fields),
        }
        self.push(&row.text, Line::Entry(at, row.pieces));
    }
}

/// A line while it is written.
struct Row {
    text: String,
    /// The column of the next character.
    column: usize,
    pieces: Vec<Piece>,
}

impl Row {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn list(&mut self, elements: &[Element], field: Option<usize>) {
        self.add("[");
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                self.add(", ");
            }
            let from = self.column;
            self.add(&quoted(&element.text));
            self.pieces.push(Piece {
                from,
                to: self.column,
                field,
                element: Some(index),
            });
        }
        self.add("]");
    }

    fn mapping(&mut self, fields: &[Field]) {
        self.add("{ ");
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                self.add(", ");
            }
            let from = self.column;
            self.add(&quoted(&field.key));
            self.add(": ");
            match &field.value {
                FieldValue::Word(word) => self.add(&quoted(word)),
                FieldValue::List(elements) => self.list(elements, Some(index)),
            }
            // Behind those of its elements: the first that holds a column is the narrowest.
            self.pieces.push(Piece {
                from,
                to: self.column,
                field: Some(index),
                element: None,
            });
        }
        self.add(" }");
    }
}

/// `text` as a YAML scalar: as it is where that reads the same, else in double quotes.
pub fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let other = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "on" | "off" | "y" | "n"
    );
    if begins && text.bytes().all(plain) && !other {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        // Writing into a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c if unprintable(c) => write!(out, "\\u{:04X}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

/// A reason as short as a comment needs it; the report has all of it.
fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_MAX) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_read_otherwise_is_quoted() {
        for text in ["accept", "10.0.0.0/8", "8728", "yes", "ether1", "1h30m"] {
            assert_eq!(quoted(text), text);
        }
        for text in [
            "",
            "!lan",
            "22,80",
            "a b",
            "2001:db8::1",
            "null",
            "true",
            "*",
            "-x",
            "a#b",
            "%",
            "é",
        ] {
            assert_eq!(quoted(text), format!("\"{text}\""));
        }
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000A\"");
    }

    #[test]
    fn lines_and_columns_lead_back_to_what_was_written() {
        let mut document = Document::default();
        let fields = vec![
            Field::essential("chain", "input"),
            Field::separable("comment", "é, x", 0),
            Field::essential("action", "drop"),
        ];
        let mut out = Entry::new(None, Body::Word("x".to_owned()), &[]);
        out.left_out = Some("why".to_owned());
        document.section(&["firewall", "filter"]).entries =
            vec![out, Entry::new(None, Body::Mapping(fields), &[0])];
        let report = Report::new("t", &[]);
        let (text, lines) = document.render(&[], &report);
        assert_eq!(
            text,
            "\nfirewall:\n  filter:\n    # left out: why\n    - { chain: input, comment: \"é, x\", \
             action: drop }\n"
        );
        let Line::Entry(at, pieces) = &lines[4] else {
            panic!("{lines:?}");
        };
        assert_eq!((at.section, at.entry), (0, 1));
        let shown: Vec<String> = pieces
            .iter()
            .map(|p| {
                let line = text.lines().nth(4).unwrap();
                let piece = line.chars().skip(p.from - 1).take(p.to - p.from);
                piece.collect()
            })
            .collect();
        assert_eq!(shown, ["chain: input", "comment: \"é, x\"", "action: drop"]);
    }

    #[test]
    fn a_section_of_which_nothing_is_left_is_all_comment() {
        let mut document = Document::default();
        let mut out = Entry::new(None, Body::Word("x".to_owned()), &[]);
        out.left_out = Some("why".to_owned());
        document.section(&["firewall", "mangle"]).entries = vec![out];
        document.section(&["address-lists", "a"]).empty = Empty::List;
        let (text, _) = document.render(&[], &Report::new("t", &[]));
        assert_eq!(
            text,
            "\n  # mangle:\n    # left out: why\n\naddress-lists:\n  a: []\n"
        );
    }
}
