//! RouterOS's command text as statements of words.
//!
//! Any text is read, whatever is wrong with it: what a person would have meant is taken and noted
//! as a slip of the statement, so that whoever uses it can be careful. Work is bounded by the
//! length of the text; a bracket is looked through for at most [`BRACKET_MAX`] characters.

use std::fmt::Write as _;
use std::mem;

/// How far the end of a bracket is looked for.
const BRACKET_MAX: usize = 65_536;

/// Properties that hold a script, whose text may go over several lines.
const SCRIPTS: &[&str] = &[
    "do", "on-down", "on-error", "on-event", "on-up", "script", "source",
];

/// One command as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The line on which it begins, from 1.
    pub line: u32,
    /// Its text on one line, continuations joined.
    pub text: String,
    /// The menu that a prompt in front of it shows, without the prompt's brackets.
    pub prompt: Option<String>,
    /// What it consists of.
    pub words: Vec<Word>,
    /// What was wrong with it and read nevertheless.
    pub slips: Vec<String>,
    /// The `#` lines before it and behind it.
    pub comments: Vec<String>,
}

/// A word, or a property with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The property, `None` for a word that stands alone.
    pub key: Option<String>,
    /// What stands between the property and the value.
    pub relation: Relation,
    /// The word, or the value.
    pub value: Value,
}

/// How a property and its value are held together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `~`, a regular expression
    Like,
}

/// What a word says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, as written without quotes.
    Plain(String),
    /// Text that was in quotes, without them.
    Quoted(String),
    /// What only RouterOS can work out: a variable, or a command in brackets, as written.
    Script(String),
}

impl Value {
    /// The text; what stands in a script's place is what was written.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Quoted(text) | Self::Script(text) => text,
        }
    }
}

/// Every statement of `text`, and the comments behind the last.
pub fn statements(text: &str) -> (Vec<Statement>, Vec<String>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lexer = Lexer::new(&text);
    let mut found = Vec::new();
    while let Some(statement) = lexer.statement() {
        found.push(statement);
    }
    (found, lexer.comments)
}

/// The words of a command in brackets, without them.
pub fn words(text: &str) -> Vec<Word> {
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    while let Some(statement) = lexer.statement() {
        found.extend(statement.words);
    }
    found
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    comments: Vec<String>,
    slips: Vec<String>,
    /// A bracket was not closed: from here on none is looked through beyond its line.
    brackets_end_with_the_line: bool,
}

/// A word while it is read.
#[derive(Default)]
struct Draft {
    key: Option<(String, Relation)>,
    bytes: Vec<u8>,
    quoted: bool,
    script: bool,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            comments: Vec::new(),
            slips: Vec::new(),
            brackets_end_with_the_line: false,
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let from = self.at;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn rest_of_line(&mut self) -> &'a str {
        self.take_while(|c| c != '\n')
    }

    fn statement(&mut self) -> Option<Statement> {
        loop {
            self.take_while(|c| c.is_whitespace() || c == ';');
            if self.peek()? != '#' {
                break;
            }
            let comment = self.rest_of_line();
            self.comment(comment);
        }
        let (from, line) = (self.at, self.line);
        let prompt = self.prompt();
        let mut words = Vec::new();
        let mut behind = None;
        while self.more_words() {
            if self.peek() == Some('#') {
                behind = Some(self.rest_of_line());
                break;
            }
            words.extend(self.word());
        }
        let end = self.at - behind.map_or(0, str::len);
        let text = one_line(self.text.get(from..end).unwrap_or_default());
        if let Some(comment) = behind {
            self.comment(comment);
        }
        Some(Statement {
            line,
            text,
            prompt,
            words,
            slips: mem::take(&mut self.slips),
            comments: mem::take(&mut self.comments),
        })
    }

    fn comment(&mut self, text: &str) {
        let text = text.trim_start_matches('#').trim();
        if !text.is_empty() {
            self.comments.push(text.to_owned());
        }
    }

    /// Passes blanks and continued lines; whether the statement goes on.
    fn more_words(&mut self) -> bool {
        loop {
            self.take_while(|c| c.is_whitespace() && c != '\n');
            if !self.continued() {
                break;
            }
        }
        !matches!(self.peek(), None | Some('\n' | ';'))
    }

    /// Passes a backslash at the end of a line and the blanks that the next begins with.
    fn continued(&mut self) -> bool {
        let Some(rest) = self.rest().strip_prefix('\\') else {
            return false;
        };
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if !rest.get(blanks..).is_some_and(|r| r.starts_with('\n')) {
            return false;
        }
        self.rest_of_line();
        self.bump();
        self.take_while(|c| c == ' ' || c == '\t');
        true
    }

    /// `[admin@MikroTik] /ip firewall filter>`, or a lone `>`.
    fn prompt(&mut self) -> Option<String> {
        let line = self.rest().lines().next().unwrap_or_default();
        if let Some(behind) = line.strip_prefix('>') {
            self.at += line.len() - behind.len();
            return Some(String::new());
        }
        let (who, behind) = line.strip_prefix('[')?.split_once(']')?;
        let (menu, behind) = behind.split_once('>')?;
        let menu = menu.trim().trim_end_matches("<SAFE").trim();
        let whole = who.contains('@') && !who.contains(['=', '"']) && !menu.contains(['=', '"']);
        if !whole {
            return None;
        }
        self.at += line.len() - behind.len();
        // Pasted in safe mode there is another one behind `<SAFE>`.
        self.take_while(|c| c == '>' || c == ' ');
        Some(menu.to_owned())
    }

    /// One word, ended by a blank, a semicolon or the end of the line.
    fn word(&mut self) -> Option<Word> {
        let mut draft = Draft::default();
        let from = self.at;
        loop {
            if self.continued() {
                continue;
            }
            match self.peek() {
                None | Some(';') => break,
                Some(c) if c.is_whitespace() => break,
                Some('"' | '\u{201c}' | '\u{201d}') => self.quoted(&mut draft),
                Some('[' | '(' | '{') => {
                    draft.script = true;
                    let raw = self.bracket();
                    draft.bytes.extend(raw.bytes());
                }
                Some(_) => self.plain(&mut draft),
            }
        }
        if self.at == from {
            self.bump();
        }
        draft.into_word(self.text.get(from..self.at).unwrap_or_default())
    }

    fn plain(&mut self, draft: &mut Draft) {
        let Some(c) = self.bump() else { return };
        let next = self.peek();
        let relation = match (c, next) {
            ('=', _) => Some(Relation::Is),
            ('!', Some('=')) => Some(Relation::IsNot),
            ('~', _) => Some(Relation::Like),
            _ => None,
        };
        if let Some(relation) = relation.filter(|_| draft.can_be_key()) {
            if relation == Relation::IsNot {
                self.bump();
            }
            draft.key = Some((draft.text(), relation));
            draft.bytes.clear();
            return;
        }
        if c == '\\' && next == Some('"') {
            self.bump();
            draft.bytes.push(b'"');
            return;
        }
        draft.script |= c == '$' && next.is_some_and(|c| begins_a_name(c) || c == '"');
        draft.push(c);
    }

    /// What stands in quotes; without a second one, the part of the line that looks meant.
    fn quoted(&mut self, draft: &mut Draft) {
        let opening = self.bump();
        draft.quoted = true;
        if opening != Some('"') {
            self.slip("typographic quotes, read as plain ones".to_owned());
        }
        let many_lines = draft
            .key
            .as_ref()
            .is_some_and(|(key, _)| SCRIPTS.contains(&key.as_str()));
        let (start, line, held) = (self.at, self.line, draft.bytes.len());
        loop {
            match self.peek() {
                Some('"' | '\u{201c}' | '\u{201d}') => {
                    self.bump();
                    return;
                }
                None => break,
                Some('\n') if !many_lines => break,
                Some('\\') => self.escape(draft),
                Some(c) => {
                    self.bump();
                    draft.script |= c == '$' && self.peek().is_some_and(begins_a_name);
                    draft.push(c);
                }
            }
        }
        (self.at, self.line) = (start, line);
        draft.bytes.truncate(held);
        self.unclosed(draft);
    }

    /// Reads up to the next property on the line, or to its end.
    fn unclosed(&mut self, draft: &mut Draft) {
        self.slip("a quote that opens and does not close".to_owned());
        let line = self.rest().lines().next().unwrap_or_default();
        let end = self.at + next_property(line).unwrap_or(line.len());
        while self.at < end {
            match self.peek() {
                Some('\\') => self.escape(draft),
                Some(c) => {
                    self.bump();
                    draft.push(c);
                }
                None => break,
            }
        }
        let text = draft.bytes.trim_ascii_end().len();
        draft.bytes.truncate(text);
    }

    /// A backslash inside quotes and what it stands for.
    fn escape(&mut self, draft: &mut Draft) {
        if self.continued() {
            return;
        }
        self.bump();
        let hex = self.rest().get(..2).filter(|two| {
            two.bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'A'..=b'F'))
        });
        if let Some(byte) = hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            self.at += 2;
            draft.bytes.push(byte);
            return;
        }
        let stands_for = match self.peek() {
            Some(c @ ('"' | '\\' | '$' | '?')) => c,
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some('_') => ' ',
            // RouterOS knows no such escape; in patterns of manuals it is meant for the pattern.
            Some(_) | None => {
                draft.push('\\');
                return;
            }
        };
        self.bump();
        draft.push(stands_for);
    }

    /// A bracket with everything in it, as written; one that does not close ends with the line.
    fn bracket(&mut self) -> String {
        let rest = self.rest();
        let mut depth = 0_usize;
        let mut quoted = false;
        let mut escaped = false;
        for (index, c) in rest.char_indices() {
            let too_far = index > BRACKET_MAX || (c == '\n' && self.brackets_end_with_the_line);
            if too_far {
                break;
            }
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                '[' | '(' | '{' if !quoted => depth += 1,
                ']' | ')' | '}' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && !quoted {
                let end = self.at + index + c.len_utf8();
                return self.raw_until(end);
            }
        }
        self.brackets_end_with_the_line = true;
        self.slip("a bracket that opens and does not close".to_owned());
        let line = rest.lines().next().unwrap_or_default();
        self.raw_until(self.at + line.len())
    }

    fn raw_until(&mut self, end: usize) -> String {
        let from = self.at;
        while self.at < end && self.bump().is_some() {}
        one_line(self.text.get(from..self.at).unwrap_or_default())
    }

    fn slip(&mut self, what: String) {
        if !self.slips.contains(&what) {
            self.slips.push(what);
        }
    }
}

impl Draft {
    /// Whether what was read so far can be the name of a property.
    fn can_be_key(&self) -> bool {
        let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let whole = !self.bytes.is_empty() && self.bytes.iter().all(name);
        whole && self.key.is_none() && !self.quoted && !self.script
    }

    fn push(&mut self, c: char) {
        self.bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
    }

    /// The bytes as text: UTF-8, or else each a character of ISO 8859-1.
    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone())
            .unwrap_or_else(|_| self.bytes.iter().map(|b| char::from(*b)).collect())
    }

    /// The bytes as text in which each one that is not printed, and the backslash, is an escape.
    fn escaped(&self) -> String {
        let mut text = String::new();
        for byte in &self.bytes {
            match byte {
                b'\\' => text.push_str("\\\\"),
                b' '..=b'~' => text.push(char::from(*byte)),
                _ => {
                    // A text takes whatever is written to it.
                    let _written = write!(text, "\\{byte:02X}");
                }
            }
        }
        text
    }

    fn into_word(self, raw: &str) -> Option<Word> {
        // What packets are searched for are bytes: they stay what they are, written as escapes.
        let bytes = self.key.as_ref().is_some_and(|(key, _)| key == "content");
        let text = if bytes { self.escaped() } else { self.text() };
        let value = if self.script {
            let behind = self.key.as_ref().and_then(|_| raw.split_once(['=', '~']));
            Value::Script(one_line(behind.map_or(raw, |(_, value)| value)))
        } else if self.quoted {
            Value::Quoted(text)
        } else {
            Value::Plain(text)
        };
        let (key, relation) = self
            .key
            .map_or((None, Relation::Is), |(key, r)| (Some(key), r));
        let something = key.is_some() || !value.text().is_empty() || self.quoted;
        something.then_some(Word {
            key,
            relation,
            value,
        })
    }
}

fn begins_a_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '('
}

/// Where, in a line, the blank before the next `property=` is.
fn next_property(line: &str) -> Option<usize> {
    let blanks = line.char_indices().filter(|(_, c)| c.is_whitespace());
    blanks.map(|(index, _)| index).find(|index| {
        let word = line.get(*index..).unwrap_or_default().trim_start();
        let name = word.split('=').next().unwrap_or_default();
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        let whole = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        begins && whole && name.len() < word.len()
    })
}

/// Text on one line: continuations joined, other line breaks and control characters blanks.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split('\n').peekable();
    let mut joined = false;
    while let Some(line) = lines.next() {
        let line = if joined { line.trim_start() } else { line };
        let trimmed = line.trim_end();
        let goes_on = lines.peek().is_some() && trimmed.ends_with('\\');
        if goes_on {
            out.push_str(trimmed.trim_end_matches('\\'));
        } else {
            out.push_str(line);
            if lines.peek().is_some() {
                out.push(' ');
            }
        }
        joined = goes_on;
    }
    let plain = out.chars().map(|c| if unprintable(c) { ' ' } else { c });
    plain.collect::<String>().trim().to_owned()
}

/// Characters that would end a comment or hide in it.
pub fn unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
