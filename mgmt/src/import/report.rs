//! What became of each command: mapped, mapped with a note, or not mapped.

use std::fmt;

use super::command::Command;
use super::lex::unprintable;

/// The longest piece of a command that a message repeats, in characters.
const CUT: usize = 120;

/// What became of every command of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The input as it was named.
    pub name: String,
    /// In the order of the commands.
    pub fates: Vec<Fate>,
    /// What concerns the whole file.
    pub notes: Vec<String>,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The line on which the command begins.
    pub line: u32,
    /// The command on one line.
    pub text: String,
    /// What is not exactly as it was written.
    pub notes: Vec<String>,
    /// Why some of it is missing from a section that Turnpike has.
    pub left_out: Vec<String>,
    /// Why it concerns something that Turnpike is not.
    pub foreign: Vec<String>,
}

/// How many commands ended which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All of them.
    pub commands: usize,
    /// Carried over.
    pub mapped: usize,
    /// Carried over, with something to know.
    pub noted: usize,
    /// Missing from a section that Turnpike has.
    pub left_out: usize,
    /// About something that Turnpike is not.
    pub foreign: usize,
}

impl Report {
    /// A report in which every command is mapped so far.
    pub fn new(name: &str, commands: &[Command]) -> Self {
        let fate = |command: &Command| Fate {
            line: command.line,
            text: command.text.clone(),
            notes: command.slips.iter().map(|s| format!("slip: {s}")).collect(),
            left_out: Vec::new(),
            foreign: Vec::new(),
        };
        Self {
            name: name.to_owned(),
            fates: commands.iter().map(fate).collect(),
            notes: Vec::new(),
        }
    }

    /// Something to know about a command that is carried over.
    pub fn note(&mut self, command: usize, text: impl Into<String>) {
        self.add(command, text.into(), |fate| &mut fate.notes);
    }

    /// A command, or a part of it, is missing from the configuration.
    pub fn left_out(&mut self, command: usize, text: impl Into<String>) {
        self.add(command, text.into(), |fate| &mut fate.left_out);
    }

    /// A command is about something that Turnpike is not.
    pub fn foreign(&mut self, command: usize, text: impl Into<String>) {
        self.add(command, text.into(), |fate| &mut fate.foreign);
    }

    fn add(&mut self, command: usize, text: String, to: impl Fn(&mut Fate) -> &mut Vec<String>) {
        if let Some(texts) = self.fates.get_mut(command).map(to)
            && !texts.contains(&text)
        {
            texts.push(text);
        }
    }

    /// How many commands ended which way; each counts once, the worst way that it ended.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for fate in &self.fates {
            count.commands += 1;
            *match (&*fate.left_out, &*fate.foreign, &*fate.notes) {
                ([_, ..], _, _) => &mut count.left_out,
                ([], [_, ..], _) => &mut count.foreign,
                ([], [], [_, ..]) => &mut count.noted,
                ([], [], []) => &mut count.mapped,
            } += 1;
        }
        count
    }

    /// The line that sums up.
    pub fn summary(&self) -> String {
        let count = self.count();
        format!(
            "{}: {} commands: {} mapped, {} mapped with a note, {} not mapped ({} left out, {} \
             about what Turnpike is not)",
            self.name,
            count.commands,
            count.mapped,
            count.noted,
            count.left_out + count.foreign,
            count.left_out,
            count.foreign
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{}: note: {note}", self.name)?;
        }
        for fate in &self.fates {
            let answers = [
                ("left out", &fate.left_out),
                ("not mapped", &fate.foreign),
                ("note", &fate.notes),
            ];
            for (kind, texts) in answers.into_iter().filter(|(_, texts)| !texts.is_empty()) {
                let (name, line, text) = (&self.name, fate.line, cut(&fate.text));
                writeln!(f, "{name}:{line}: {kind}: {}: `{text}`", texts.join("; "))?;
            }
        }
        writeln!(f, "{}", self.summary())
    }
}

/// `text` without what does not print, and no longer than fits a message.
pub fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if unprintable(c) { ' ' } else { c });
    let mut short: String = plain.take(CUT).collect();
    if text.chars().nth(CUT).is_some() {
        short.push('…');
    }
    short
}
