//! The lines of IRC, as far as direct connections need them.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::text;

/// The most words of an offer that are looked at; a file's name may have several.
const WORDS_MAX: usize = 32;
/// What stands around a message from client to client (CTCP).
const QUOTE: u8 = 1;
/// What asks somebody to connect to the sender.
const OFFERS: [&[u8]; 6] = [b"SEND", b"CHAT", b"TSEND", b"SSEND", b"SCHAT", b"MOVE"];

/// A message about direct connections, as ranges of words.
#[derive(Debug)]
pub(super) struct Dcc {
    kind: Range<usize>,
    /// The name and what is behind it.
    words: ArrayVec<Range<usize>, WORDS_MAX>,
}

impl Dcc {
    /// Whether it is of this kind.
    pub(super) fn is(&self, bytes: &[u8], kind: &[u8]) -> bool {
        text::of(bytes, self.kind.clone()).eq_ignore_ascii_case(kind)
    }

    /// Whether the sender listens, or asks the receiver to.
    pub(super) fn is_offer(&self, bytes: &[u8]) -> bool {
        OFFERS.iter().any(|kind| self.is(bytes, kind))
    }

    /// The words behind the name's first, each with the one that follows. A name with blanks in it
    /// may stand there without quotes.
    pub(super) fn after_name(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let pairs = self.words.iter().zip(self.words.iter().skip(1)).skip(1);
        pairs.map(|(word, next)| (word.clone(), next.clone()))
    }

    /// Where the port of an offer stands that is resumed: before the position. An offer without
    /// one, with port 0, has its token at the end.
    pub(super) fn resumed(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let number = |word: &Range<usize>| text::number(text::of(bytes, word.clone()));
        let (_name, behind) = self.words.split_first()?;
        match behind {
            [.., nought, _, _] if number(nought) == Some(0) => None,
            [.., port, position] if number(position).is_some() => Some(port.clone()),
            _ => None,
        }
    }
}

/// What a line is made of: its command and what is behind it. Tags and the sender are skipped.
fn parts(bytes: &[u8], line: Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let (mut word, mut rest) = text::word(bytes, line)?;
    for mark in [b'@', b':'] {
        if bytes.get(word.start) == Some(&mark) {
            (word, rest) = text::word(bytes, rest)?;
        }
    }
    Some((word, rest))
}

/// The command of a line, or what there is of it.
pub(super) fn command(line: &[u8]) -> Option<&[u8]> {
    let (command, _) = parts(line, 0..line.len())?;
    Some(text::of(line, command))
}

/// The first word of a line, or what there is of it.
pub(super) fn first_word(line: &[u8]) -> Option<&[u8]> {
    let (word, _) = text::word(line, 0..line.len())?;
    Some(text::of(line, word))
}

/// Whether a line is the request of a browser, whatever it has for a method.
pub(super) fn is_http(line: &[u8]) -> bool {
    let version = line.rsplit(|byte| *byte == b' ').next();
    version.is_some_and(|version| text::starts_with(version, b"HTTP/"))
}

/// The message about direct connections that a line is.
pub(super) fn dcc(bytes: &[u8], line: Range<usize>) -> Option<Dcc> {
    let (command, rest) = parts(bytes, line)?;
    if !text::of(bytes, command).eq_ignore_ascii_case(b"PRIVMSG") {
        return None;
    }
    let (_target, rest) = text::word(bytes, rest)?;
    let (first, rest) = text::word(bytes, rest)?;
    let said = text::of(bytes, first.clone());
    let said = said.strip_prefix(b":").unwrap_or(said);
    if !said.strip_prefix(&[QUOTE])?.eq_ignore_ascii_case(b"DCC") {
        return None;
    }
    let length = text::of(bytes, rest.clone())
        .iter()
        .position(|byte| *byte == QUOTE)
        .unwrap_or(rest.len());
    let (kind, rest) = text::word(bytes, rest.start..rest.start + length)?;
    Some(Dcc {
        kind,
        words: words(bytes, rest),
    })
}

/// The words of an offer. A name in quotes is one.
fn words(bytes: &[u8], mut rest: Range<usize>) -> ArrayVec<Range<usize>, WORDS_MAX> {
    let mut words = ArrayVec::new();
    while let Some((mut word, mut behind)) = text::word(bytes, rest.clone()) {
        if words.is_empty() && bytes.get(word.start) == Some(&b'"') {
            let inside = text::of(bytes, word.start + 1..rest.end);
            if let Some(length) = inside.iter().position(|byte| *byte == b'"') {
                let end = word.start + length + 2;
                (word, behind) = (word.start..end, end..rest.end);
            }
        }
        if words.try_push(word).is_err() {
            break;
        }
        rest = behind;
    }
    words
}

/// Whether a line that begins like this can be a message about direct connections.
pub(super) fn may_be_dcc(start: &[u8]) -> bool {
    let Some((command, rest)) = parts(start, 0..start.len()) else {
        return true;
    };
    let command = text::of(start, command);
    if rest.is_empty() {
        // The word may go on.
        return text::starts_with(b"PRIVMSG", command);
    }
    if !command.eq_ignore_ascii_case(b"PRIVMSG") {
        return false;
    }
    let said = text::word(start, rest).and_then(|(_target, rest)| text::word(start, rest));
    said.is_none_or(|(said, _)| {
        let said = text::of(start, said);
        let said = said.strip_prefix(b":").unwrap_or(said);
        said.is_empty() || said.first() == Some(&QUOTE)
    })
}
