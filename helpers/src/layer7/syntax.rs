//! Regular expressions of POSIX's extended syntax, carried over into Vectorscan's.
//!
//! The two agree on most of what is written and differ in what a backslash and `$` mean. What POSIX
//! leaves undefined, and what only looks as if it meant something here (`\b`, `(?:`, `*?`), is
//! refused, with its place. `\xHH` is a byte, as in the patterns that RouterOS takes.

use std::fmt::Write;

/// The most repetitions that can be asked for: `RE_DUP_MAX` of POSIX.
const REPEAT_MAX: u32 = 255;

const NO_NUL: &str = "NUL bytes are taken out before the data is searched, so this never matches";

/// What is wrong with an expression: behind how many of its characters, and why.
pub type Wrong = (usize, String);

/// An expression in Vectorscan's syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The expression.
    pub text: String,
    /// Whether it asks for the end of the data.
    pub asks_end: bool,
}

/// Carries an expression over.
///
/// # Errors
/// What is not in the syntax, or could never match.
pub fn carry(text: &str) -> Result<Carried, Wrong> {
    let mut reader = Reader {
        chars: text.chars().collect(),
        at: 0,
        out: String::with_capacity(2 * text.len()),
        before: Before::Nothing,
        open: Vec::new(),
        asks_end: false,
    };
    while let Some(c) = reader.next() {
        reader.element(c)?;
    }
    if let Some(open) = reader.open.last() {
        return Err((*open, "this `(` is not closed".to_owned()));
    }
    Ok(Carried {
        text: reader.out,
        asks_end: reader.asks_end,
    })
}

/// What stands in front of the place being read, as far as a repetition cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The start of the expression, of a group or of an alternative, or an anchor.
    Nothing,
    /// Something that can be repeated.
    Atom,
    /// A repetition.
    Repetition,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    out: String,
    before: Before,
    /// Where groups that are not closed yet begin.
    open: Vec<usize>,
    asks_end: bool,
}

impl Reader {
    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// An error about the character that was read last.
    fn wrong(&self, reason: impl Into<String>) -> Wrong {
        (self.at.saturating_sub(1), reason.into())
    }

    fn element(&mut self, c: char) -> Result<(), Wrong> {
        match c {
            '(' => {
                self.open.push(self.at - 1);
                self.out.push_str("(?:");
                self.before = Before::Nothing;
                if self.peek() == Some('?') {
                    return Err(self.wrong("`(?` is Perl's; POSIX groups are ( and )"));
                }
            }
            ')' => {
                if self.open.pop().is_none() {
                    return Err(self.wrong("this `)` closes nothing; write \\) for the character"));
                }
                self.out.push(')');
                self.before = Before::Atom;
            }
            '|' => {
                self.out.push('|');
                self.before = Before::Nothing;
            }
            '^' => {
                self.out.push('^');
                self.before = Before::Nothing;
            }
            '$' => {
                self.out.push_str("\\z");
                self.asks_end = true;
                self.before = Before::Nothing;
            }
            '*' | '+' | '?' => {
                self.repeats(c)?;
                self.out.push(c);
            }
            '{' if self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                self.repeats(c)?;
                self.bounds()?;
            }
            '.' => {
                self.out.push('.');
                self.before = Before::Atom;
            }
            '[' => self.bracket()?,
            '\\' => self.escape()?,
            '\0' => return Err(self.wrong(NO_NUL)),
            other => self.literal(other),
        }
        Ok(())
    }

    /// Notes a repetition of what stands before.
    fn repeats(&mut self, sign: char) -> Result<(), Wrong> {
        match self.before {
            Before::Atom => {
                self.before = Before::Repetition;
                Ok(())
            }
            Before::Nothing => Err(self.wrong(format!(
                "nothing stands before `{sign}` that could be repeated; write \\{sign} for the \
                 character"
            ))),
            Before::Repetition => Err(self.wrong(format!(
                "`{sign}` behind a repetition has no meaning in POSIX; group what is repeated"
            ))),
        }
    }

    /// `{n}`, `{n,}` or `{n,m}`, behind its brace.
    fn bounds(&mut self) -> Result<(), Wrong> {
        let start = self.at - 1;
        let first = self.number().unwrap_or_default();
        let mut last = Some(first);
        if self.peek() == Some(',') {
            self.at += 1;
            last = self.number();
        }
        if self.next() != Some('}') {
            return Err((start, "repetitions are {n}, {n,} or {n,m}".to_owned()));
        }
        if first > REPEAT_MAX || last.is_some_and(|last| last > REPEAT_MAX) {
            let reason = format!("nothing is repeated more than {REPEAT_MAX} times");
            return Err((start, reason));
        }
        if last.is_some_and(|last| last < first) {
            let reason = "the repetitions end before they begin".to_owned();
            return Err((start, reason));
        }
        let wanted: String = self.chars[start..self.at].iter().collect();
        self.out.push_str(&wanted);
        Ok(())
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.at += 1;
            number = Some(
                number
                    .unwrap_or(0_u32)
                    .saturating_mul(10)
                    .saturating_add(digit),
            );
        }
        number
    }

    fn literal(&mut self, c: char) {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        if bytes.len() == 1 {
            self.byte(bytes[0]);
        } else {
            // Several bytes are repeated together.
            self.out.push_str("(?:");
            bytes.iter().for_each(|byte| self.byte(*byte));
            self.out.push(')');
        }
        self.before = Before::Atom;
    }

    /// A byte that stands for itself.
    fn byte(&mut self, byte: u8) {
        push_byte(&mut self.out, byte);
    }

    /// What follows a backslash outside of brackets.
    fn escape(&mut self) -> Result<(), Wrong> {
        let Some(c) = self.next() else {
            return Err(self.wrong("a backslash has to stand before something"));
        };
        self.before = Before::Atom;
        match c {
            'x' => match self.hex() {
                Some(0) => return Err(self.wrong(NO_NUL)),
                Some(byte) => self.byte(byte),
                None => return Err(self.wrong("\\x stands before two hexadecimal digits")),
            },
            'n' => self.byte(b'\n'),
            'r' => self.byte(b'\r'),
            't' => self.byte(b'\t'),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                self.out.push('\\');
                self.out.push(c);
            }
            '1'..='9' => {
                return Err(self.wrong(
                    "back-references cannot be searched for in one pass; write out what repeats",
                ));
            }
            'b' | 'B' | '<' | '>' => {
                return Err(self.wrong("borders of words cannot be searched for here"));
            }
            other if other.is_ascii_alphanumeric() => {
                return Err(self.wrong(format!(
                    "`\\{other}` means nothing in POSIX; for a byte write \\xHH"
                )));
            }
            other => self.literal(other),
        }
        Ok(())
    }

    /// Two hexadecimal digits.
    fn hex(&mut self) -> Option<u8> {
        let digit = |at: usize| self.chars.get(at)?.to_digit(16);
        let value = digit(self.at)? * 16 + digit(self.at + 1)?;
        self.at += 2;
        u8::try_from(value).ok()
    }

    /// A bracket expression, behind its bracket.
    fn bracket(&mut self) -> Result<(), Wrong> {
        let start = self.at - 1;
        let unclosed = || (start, "this `[` is not closed".to_owned());
        self.out.push('[');
        if self.peek() == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.next().ok_or_else(unclosed)?;
            if c == ']' && !is_first {
                break;
            }
            is_first = false;
            if c == '[' && matches!(self.peek(), Some(':' | '.' | '=')) {
                self.class()?;
                continue;
            }
            let from = self.member(c)?;
            let is_range = self.peek() == Some('-')
                && self.chars.get(self.at + 1).is_some_and(|next| *next != ']');
            push_byte(&mut self.out, from);
            if is_range {
                self.at += 1;
                let c = self.next().ok_or_else(unclosed)?;
                let to = self.member(c)?;
                if to < from {
                    return Err(self.wrong("the range ends before it begins"));
                }
                self.out.push('-');
                push_byte(&mut self.out, to);
            }
        }
        self.out.push(']');
        self.before = Before::Atom;
        Ok(())
    }

    /// One byte of a bracket expression, whose character was read.
    fn member(&mut self, c: char) -> Result<u8, Wrong> {
        if c == '\\' {
            match self.peek() {
                Some('x') => {
                    self.at += 1;
                    let byte = self.hex();
                    return byte
                        .ok_or_else(|| self.wrong("\\x stands before two hexadecimal digits"));
                }
                Some(next) if next.is_ascii_alphanumeric() || next == ']' => {
                    return Err(self.wrong(
                        "between brackets a backslash is only itself in POSIX; write the \
                         characters, ] first, or \\xHH",
                    ));
                }
                Some(_) | None => {}
            }
        }
        u8::try_from(c)
            .ok()
            .filter(u8::is_ascii)
            .ok_or_else(|| self.wrong("between brackets only bytes can stand; write \\xHH"))
    }

    /// `[:name:]`, behind its first bracket.
    fn class(&mut self) -> Result<(), Wrong> {
        const CLASSES: [&str; 12] = [
            "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "xdigit",
        ];
        let start = self.at - 1;
        let rest: String = self.chars[self.at..].iter().collect();
        let known = CLASSES
            .iter()
            .find(|name| rest.starts_with(&format!(":{name}:]")));
        let Some(name) = known else {
            let reason = format!("classes are [:name:], one of {}", CLASSES.join(", "));
            return Err((start, reason));
        };
        self.at += name.len() + 3;
        // Case does not count, and Vectorscan would take these two at their word.
        let name = match *name {
            "lower" | "upper" => "alpha",
            other => other,
        };
        let _written = write!(self.out, "[:{name}:]");
        Ok(())
    }
}

/// Writes a byte that stands for itself, between brackets or not.
fn push_byte(out: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() {
        out.push(char::from(byte));
    } else {
        let _written = write!(out, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(text: &str) -> String {
        carry(text).map(|carried| carried.text).unwrap()
    }

    #[test]
    fn what_both_syntaxes_have_is_carried_over() {
        for (posix, ours) in [
            ("get (/.*) http", "get\\x20(?:\\x2f.*)\\x20http"),
            ("^a+b?c{2,3}|d", "^a+b?c{2,3}|d"),
            ("\\x16\\x03.", "\\x16\\x03."),
            ("[\\x09-\\x0d -~]", "[\\x09-\\x0d\\x20-\\x7e]"),
            ("[]a-]", "[\\x5da\\x2d]"),
            ("[^]^]", "[^\\x5d\\x5e]"),
            ("[[:digit:].]", "[[:digit:]\\x2e]"),
            ("[[:lower:]]", "[[:alpha:]]"),
            ("[\\.]", "[\\x5c\\x2e]"),
            ("a\\.b\\(", "a\\x2eb\\x28"),
            ("é?", "(?:\\xc3\\xa9)?"),
            ("a{", "a\\x7b"),
            ("{a}", "\\x7ba\\x7d"),
            ("\\s\\d", "\\s\\d"),
        ] {
            assert_eq!(carried(posix), ours, "{posix}");
        }
        let ends = carry("^ab$").unwrap();
        assert_eq!((ends.text.as_str(), ends.asks_end), ("^ab\\z", true));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, reason) in [
            ("a(b", 1, "not closed"),
            ("a)", 1, "closes nothing"),
            ("*a", 0, "nothing stands before `*`"),
            ("^+", 1, "nothing stands before `+`"),
            ("a.*?", 3, "behind a repetition"),
            ("(?:a)", 0, "Perl"),
            ("(a)\\1", 4, "back-references"),
            ("a\\b", 2, "borders of words"),
            ("a\\q", 2, "means nothing"),
            ("a\\", 1, "before something"),
            ("\\x1", 1, "two hexadecimal digits"),
            ("a\\x00", 4, "never matches"),
            ("[a", 0, "not closed"),
            ("a[\\n]", 2, "only itself"),
            ("[z-a]", 3, "ends before it begins"),
            ("[[:word:]]", 1, "classes are"),
            ("[é]", 1, "only bytes"),
            ("a{256}", 1, "more than 255"),
            ("a{3,2}", 1, "end before they begin"),
            ("a{2b}", 1, "repetitions are"),
        ] {
            let (place, why) = carry(text).unwrap_err();
            assert_eq!(place, at, "{text}: {why}");
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
