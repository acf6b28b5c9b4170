//! Patterns: what an operator writes, checked.

use std::ffi::CString;
use std::fmt;
use std::sync::Arc;

use hs_sys::{Database, Scanner};

use super::syntax::{Carried, carry};
use super::{BUFFER_MAX, syntax};

/// The longest pattern, in bytes.
pub const PATTERN_MAX: usize = 2_048;

/// A regular expression that can be searched for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    carried: Arc<CString>,
    asks_end: bool,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Behind how many of the pattern's characters it is wrong, if at one place in particular.
    pub at: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "at character {}: {}", at + 1, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Pattern {
    /// Checks a regular expression of POSIX's extended syntax.
    ///
    /// # Errors
    /// What is wrong with it: it is not in that syntax, takes more than one pass to search for, or
    /// would be found in everything.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let everywhere = |reason: String| Fault { at: None, reason };
        if text.len() > PATTERN_MAX {
            return Err(everywhere(format!("it has more than {PATTERN_MAX} bytes")));
        }
        let Carried {
            text: ours,
            asks_end,
        } = carry(text).map_err(at_place)?;
        let ours = CString::new(ours)
            .map_err(|_| everywhere("it has a NUL byte, and the data has none".to_owned()))?;
        let database = Database::compile(std::slice::from_ref(&ours))
            .map(Arc::new)
            .map_err(|refused| everywhere(in_our_words(&refused.reason)))?;
        if matches_everything(&database) {
            return Err(everywhere(
                "it matches whatever a connection carries; say more of what is looked for"
                    .to_owned(),
            ));
        }
        Ok(Self {
            text: text.into(),
            carried: Arc::new(ours),
            asks_end,
        })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expression as Vectorscan takes it.
    pub(super) fn carried(&self) -> &CString {
        &self.carried
    }

    /// Whether it asks for the end of the data.
    pub(super) const fn asks_end(&self) -> bool {
        self.asks_end
    }
}

fn at_place((at, reason): syntax::Wrong) -> Fault {
    Fault {
        at: Some(at),
        reason,
    }
}

/// What Vectorscan objects to, in a sentence that says what would be right where that is known.
fn in_our_words(reason: &str) -> String {
    if reason.contains("empty buffer") {
        return "it matches where there is nothing, so it is found in everything; make something \
                of it mandatory"
            .to_owned();
    }
    if reason.contains("tart anchors") || reason.contains("nd anchors") {
        return "`^` can only stand at the start and `$` at the end".to_owned();
    }
    if reason.contains("can never match") {
        return "it can never match".to_owned();
    }
    format!("it cannot be searched for in one pass: {reason}")
}

/// Whether the pattern is found whatever the data is: in full buffers of any byte, repeated.
///
/// One that is found in each of them asks for nothing but bytes to be there.
fn matches_everything(database: &Arc<Database>) -> bool {
    let Ok(mut scanner) = Scanner::new(database) else {
        return false;
    };
    (1..=u8::MAX).all(|byte| {
        let Ok(mut stream) = scanner.open() else {
            return false;
        };
        let found = scanner.scan(&mut stream, &[byte; BUFFER_MAX]);
        found.is_some() || scanner.scan_end(&stream).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        Pattern::read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_pattern_that_is_found_in_everything_is_refused() {
        for text in ["", ".*", "a*", "^", "(a|)", "^.*$", "$"] {
            let reason = reason(text);
            let why = reason.contains("where there is nothing") || reason.contains("whatever");
            assert!(why, "{text}: {reason}");
        }
        for text in [
            ".",
            ".+",
            "^.",
            "...",
            "[^a]|a",
            ".{255}",
            "[\\x01-\\xff]",
            "a|[^a]{9}",
        ] {
            let reason = reason(text);
            assert!(reason.contains("whatever"), "{text}: {reason}");
        }
        for text in ["a", "[^a]", "^.{4}$", "[\\x01-\\xfe]", "a|[^ab]", "^ssh-"] {
            assert!(Pattern::read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_run_in_one_pass_is_refused_with_the_reason() {
        assert!(reason("(a+)b\\1").starts_with("at character 7: back-references"));
        assert!(
            reason("a^b").contains("`^` can only stand at the start"),
            "{}",
            reason("a^b")
        );
        assert!(reason("a$b").contains("`$`"), "{}", reason("a$b"));
        assert!(reason("((((.{255}){255}){255}){255})b").contains("one pass"));
        assert!(reason(&"a".repeat(PATTERN_MAX + 1)).contains("more than 2048 bytes"));
        assert!(reason("a\0").contains("NUL"), "{}", reason("a\0"));
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        let pattern = Pattern::read("^SSH-[12]\\.").unwrap();
        assert_eq!(pattern.text(), "^SSH-[12]\\.");
        assert_eq!(format!("{pattern:?}"), "Pattern(\"^SSH-[12]\\\\.\")");
    }
}
