//! What is wrong with a configuration: every problem with its place, collected and sorted.
//!
//! A problem is one sentence that says what is wrong and what would be right. It prints as
//! `file:line:column: error: …`, the form that editors and CI know.

use std::fmt;
use std::sync::Arc;

/// The most problems that are kept; the rest is counted.
pub const PROBLEMS_MAX: usize = 500;

/// A place in a file, both numbers from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Span {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place `columns` to the right on the same line.
    #[must_use]
    pub fn shifted(self, columns: usize) -> Self {
        Self {
            line: self.line,
            column: self
                .column
                .saturating_add(u32::try_from(columns).unwrap_or(u32::MAX)),
        }
    }
}

/// Whether a problem refuses the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, though perhaps not as meant.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong, or looks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Where in it.
    pub span: Span,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}: {}",
            self.file,
            self.span.line,
            self.span.column,
            self.severity.name(),
            self.message
        )
    }
}

/// The problems found so far in one configuration.
#[derive(Debug, Clone)]
pub struct Problems {
    file: Arc<str>,
    found: Vec<Problem>,
    errors: usize,
    dropped: usize,
    max: usize,
}

impl Problems {
    /// No problems yet in the configuration called `file`.
    pub fn new(file: Arc<str>) -> Self {
        Self::keeping(PROBLEMS_MAX, file)
    }

    /// The same, for someone who wants to know of more than anybody reads.
    pub fn keeping(max: usize, file: Arc<str>) -> Self {
        Self {
            file,
            found: Vec::new(),
            errors: 0,
            dropped: 0,
            max,
        }
    }

    /// The configuration's own file name.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Adds an error in the configuration's own file.
    pub fn error(&mut self, span: Span, message: impl Into<String>) {
        self.add(
            Arc::clone(&self.file),
            span,
            Severity::Error,
            message.into(),
        );
    }

    /// Adds an error in a file that the configuration names.
    pub fn error_in(&mut self, file: Arc<str>, span: Span, message: impl Into<String>) {
        self.add(file, span, Severity::Error, message.into());
    }

    /// Adds a warning in the configuration's own file.
    pub fn warning(&mut self, span: Span, message: impl Into<String>) {
        self.add(
            Arc::clone(&self.file),
            span,
            Severity::Warning,
            message.into(),
        );
    }

    /// How many errors were found, those not kept included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// The problems kept, by file (the configuration's own first) and place, and how many more
    /// there were.
    pub fn into_sorted(mut self) -> (Vec<Problem>, usize) {
        let own = Arc::clone(&self.file);
        self.found.sort_by(|a, b| {
            (a.file != own, &a.file, a.span, a.severity, &a.message).cmp(&(
                b.file != own,
                &b.file,
                b.span,
                b.severity,
                &b.message,
            ))
        });
        self.found.dedup();
        (self.found, self.dropped)
    }

    fn add(&mut self, file: Arc<str>, span: Span, severity: Severity, message: String) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => {}
        }
        if self.found.len() >= self.max {
            self.dropped += 1;
            let warning = |kept: &Problem| kept.severity == Severity::Warning;
            // What refuses the file is worth more than what only advises.
            match (severity, self.found.iter().rposition(warning)) {
                (Severity::Error, Some(last)) => self.found.swap_remove(last),
                (Severity::Error | Severity::Warning, _) => return,
            };
        }
        self.found.push(Problem {
            file,
            span,
            severity,
            message,
        });
    }
}

/// ` (did you mean …?)` for the candidate closest to `word`, or nothing if none is close.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |c| format!(" (did you mean `{c}`?)"))
}

/// `text` on one line: control characters, line breaks among them, become question marks.
pub fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(plain).collect()
}

fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORD_MAX: usize = 64;
    if word.len() > WORD_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('_', "-");
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|c| c.len() <= WORD_MAX)
        .map(|c| (distance(&word, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= allowed && *d < c.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let width = b.len() + 1;
    let mut older: Vec<usize> = vec![0; width];
    let mut old: Vec<usize> = (0..width).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, cb) in b.iter().enumerate() {
            let replace = old[j] + usize::from(ca != cb);
            row[j + 1] = replace.min(old[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb;
            if swapped {
                row[j + 1] = row[j + 1].min(older[j - 1] + 1);
            }
        }
        older = std::mem::replace(&mut old, row);
    }
    old[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word_that_was_meant() {
        let keys = ["src-address", "dst-address", "protocol", "src-port"];
        assert_eq!(closest("src-adress", keys), Some("src-address"));
        assert_eq!(closest("src_address", keys), Some("src-address"));
        assert_eq!(closest("protcool", keys), Some("protocol"));
        assert_eq!(closest("colour", keys), None);
        assert_eq!(closest("x", ["y"]), None);
    }

    #[test]
    fn swapping_neighbours_is_one_edit() {
        assert_eq!(distance("drpo", "drop"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn problems_come_out_by_place_and_other_files_come_last() {
        let mut problems = Problems::new("gw.yaml".into());
        let at = |line, column| Span { line, column };
        problems.error_in("list.txt".into(), at(1, 1), "c");
        problems.error(at(9, 1), "b");
        problems.warning(at(2, 5), "a");
        assert_eq!(problems.errors(), 2);
        let (sorted, more) = problems.into_sorted();
        let text: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "gw.yaml:2:5: warning: a",
                "gw.yaml:9:1: error: b",
                "list.txt:1:1: error: c"
            ]
        );
        assert_eq!(more, 0);
    }

    #[test]
    fn an_error_is_kept_whatever_the_number_of_warnings() {
        let mut problems = Problems::new("gw.yaml".into());
        for line in 0..600 {
            problems.warning(Span { line, column: 1 }, "x");
        }
        problems.error(Span { line: 7, column: 1 }, "y");
        let (kept, more) = problems.into_sorted();
        assert_eq!((kept.len(), more), (PROBLEMS_MAX, 101));
        assert!(kept.iter().any(|p| p.severity == Severity::Error));
    }

    #[test]
    fn what_is_not_kept_is_counted() {
        let mut problems = Problems::new("gw.yaml".into());
        for line in 0..600 {
            problems.error(Span { line, column: 1 }, "x");
        }
        assert_eq!(problems.errors(), 600);
        let (kept, more) = problems.into_sorted();
        assert_eq!((kept.len(), more), (PROBLEMS_MAX, 100));
    }
}
