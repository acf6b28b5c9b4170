//! Globs: `*` for any bytes, `?` for one, `[a-z]` and `[!a-z]` for one of a set, `\` before what is
//! to be itself.
//!
//! Promises: matching takes at most as many steps as pattern and text have bytes, multiplied, and
//! no memory. Upper and lower case are the same.

use std::fmt;

/// The longest pattern, in bytes.
pub const GLOB_MAX: usize = 255;

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    source: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Any bytes, or none.
    Star,
    /// One byte, whichever.
    One,
    /// This byte, in lower case.
    Byte(u8),
    /// A byte that is in one of these ranges, or in none.
    Set(Sense, Box<[(u8, u8)]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    In,
    Out,
}

impl Part {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Star | Self::One => true,
            Self::Byte(own) => *own == byte,
            Self::Set(sense, ranges) => {
                let found = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&byte));
                found == (*sense == Sense::In)
            }
        }
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > GLOB_MAX {
            return Err(format!(
                "a pattern has 1 to {GLOB_MAX} bytes, and this one {}",
                text.len()
            ));
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text.as_bytes();
        while let [byte, behind @ ..] = rest {
            rest = behind;
            let part = match byte {
                b'*' if parts.last() == Some(&Part::Star) => continue,
                b'*' => Part::Star,
                b'?' => Part::One,
                b'[' => {
                    let (set, behind) = set(rest)
                        .ok_or_else(|| format!("a set of `{text}` is not closed; write `]`"))?;
                    rest = behind;
                    set
                }
                b'\\' => {
                    let (byte, behind) = rest
                        .split_first()
                        .ok_or_else(|| format!("nothing follows the last `\\` of `{text}`"))?;
                    rest = behind;
                    Part::Byte(byte.to_ascii_lowercase())
                }
                other => Part::Byte(other.to_ascii_lowercase()),
            };
            parts.push(part);
        }
        Ok(Self {
            source: text.to_ascii_lowercase().into(),
            parts: parts.into(),
        })
    }

    /// Whether `text`, which is in lower case, is what the pattern means, from its first byte to
    /// its last.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where the last star stood, and how far it reaches.
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() || part < self.parts.len() {
            match (self.parts.get(part), text.get(at)) {
                (Some(Part::Star), _) => {
                    star = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(one), Some(byte)) if one.takes(*byte) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                (Some(_) | None, _) => {}
            }
            match star {
                Some((back, reach)) if reach < text.len() => {
                    star = Some((back, reach + 1));
                    (part, at) = (back + 1, reach + 1);
                }
                Some(_) | None => return false,
            }
        }
        true
    }
}

/// The pattern in lower case, otherwise as it was written.
impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// The set whose bracket has just been opened, and what follows it.
fn set(bytes: &[u8]) -> Option<(Part, &[u8])> {
    let (sense, bytes) = match bytes {
        [b'!' | b'^', behind @ ..] => (Sense::Out, behind),
        _ => (Sense::In, bytes),
    };
    // A bracket that closes nothing is a member, so a set is never empty.
    let end = bytes.iter().skip(1).position(|byte| *byte == b']')? + 1;
    let (mut members, behind) = bytes.split_at_checked(end)?;
    let mut ranges = Vec::new();
    while let [low, rest @ ..] = members {
        let (high, rest) = match rest {
            [b'-', high, rest @ ..] => (high, rest),
            _ => (low, rest),
        };
        ranges.push((low.to_ascii_lowercase(), high.to_ascii_lowercase()));
        members = rest;
    }
    Some((Part::Set(sense, ranges.into()), behind.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::read(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn a_star_is_any_bytes_and_a_question_mark_one() {
        for (pattern, yes, no) in [
            ("*.example.org", "www.example.org", "example.org"),
            ("*example.org", "example.org", "example.org.evil"),
            ("*.EXAMPLE.*", "a.b.example.c.d", "example.c"),
            ("w?.a", "w1.a", "w.a"),
            ("*", "", "-"),
            ("*a*b*c", "xxaxxbxxabc", "xxaxxbxxcab"),
            ("[a-c]x[!0-9]", "BxA", "bx0"),
            ("[]]", "]", "["),
            ("\\*.a", "*.a", "b.a"),
        ] {
            assert!(matches(pattern, &yes.to_lowercase()), "{pattern} {yes}");
            assert!(pattern == "*" || !matches(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn a_pattern_that_says_nothing_is_refused() {
        for pattern in ["", "[a", "[", "a\\", &"a".repeat(256)] {
            assert!(Glob::read(pattern).is_err(), "{pattern}");
        }
    }

    /// What the pattern means, by its definition.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => {
                (0..=text.len()).any(|skip| by_definition(rest, &text[skip..]))
            }
            ([b'?', rest @ ..], [_, behind @ ..]) => by_definition(rest, behind),
            ([own, rest @ ..], [byte, behind @ ..]) => own == byte && by_definition(rest, behind),
            ([_, ..], []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab*?]{1,8}", text in "[ab]{0,10}") {
            let expected = by_definition(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(&pattern, &text), expected);
        }

        #[test]
        fn any_pattern_is_read_or_refused(pattern in "\\PC{0,40}", text in "\\PC{0,40}") {
            if let Ok(glob) = Glob::read(&pattern) {
                glob.matches(text.as_bytes());
            }
        }
    }
}
