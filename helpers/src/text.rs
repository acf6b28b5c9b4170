//! Small readers of protocols that are made of text: lines, words, numbers and addresses.
//!
//! All work on slices and give back ranges in them, so that what was read can be replaced. None
//! copies, and each takes one pass.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::ops::Range;

use arrayvec::ArrayString;

/// The longest text that can be written in place of another.
pub const WRITTEN_MAX: usize = 128;

/// A text to be put in place of another.
pub type Written = ArrayString<WRITTEN_MAX>;

/// Writes a text, `None` if it is too long.
pub fn written(text: fmt::Arguments<'_>) -> Option<Written> {
    let mut written = Written::new();
    written.write_fmt(text).ok()?;
    Some(written)
}

/// What stands in a range of `bytes`; nothing if that is not all there.
pub fn of(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

/// The line that begins at `at`, without its end (LF, with or without CR), and where the next one
/// begins; `None` if it has no end yet.
pub fn line(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let rest = bytes.get(at..)?;
    let length = rest.iter().position(|byte| *byte == b'\n')?;
    let text = of(rest, 0..length);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Some((at..at + text.len(), at + length + 1))
}

/// Whether this is white space within or around a line.
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The range without the white space at its ends.
pub fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let text = of(bytes, range.clone());
    let Some(first) = text.iter().position(|byte| !is_space(*byte)) else {
        return range.start..range.start;
    };
    let last = text.iter().rposition(|byte| !is_space(*byte));
    range.start + first..range.start + last.map_or(first, |last| last + 1)
}

/// The next word of a range, and what is behind it. Words have spaces or tabs between them.
pub fn word(bytes: &[u8], range: Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let text = of(bytes, range.clone());
    let first = range.start + text.iter().position(|byte| !blank(byte))?;
    let rest = of(bytes, first..range.end);
    let end = first + rest.iter().position(blank).unwrap_or(rest.len());
    Some((first..end, end..range.end))
}

/// A number without sign, as long as it fits.
pub fn number(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    })
}

/// A port as a number.
pub fn port(text: &[u8]) -> Option<u16> {
    number(text)?.try_into().ok()
}

/// An address of either family in its usual form, without brackets.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether `text` begins with `start`, whatever the case.
pub fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_end_with_a_line_feed_and_may_have_a_carriage_return() {
        let bytes = b"one\r\ntwo\n\r\nrest";
        assert_eq!(line(bytes, 0), Some((0..3, 5)));
        assert_eq!(line(bytes, 5), Some((5..8, 9)));
        assert_eq!(line(bytes, 9), Some((9..9, 11)));
        assert_eq!(line(bytes, 11), None);
        assert_eq!(line(bytes, 99), None);
    }

    #[test]
    fn words_are_found_between_blanks() {
        let bytes = b"  one\ttwo ";
        let (one, rest) = word(bytes, 0..bytes.len()).expect("one");
        let (two, rest) = word(bytes, rest).expect("two");
        assert_eq!((of(bytes, one), of(bytes, two)), (&b"one"[..], &b"two"[..]));
        assert_eq!(word(bytes, rest), None);
        assert_eq!(trimmed(bytes, 0..bytes.len()), 2..9);
        assert_eq!(trimmed(bytes, 0..2), 0..0);
    }

    #[test]
    fn numbers_have_digits_only_and_fit() {
        assert_eq!(number(b"0042"), Some(42));
        for wrong in ["", "-1", "+1", "1a", " 1", "18446744073709551616"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!((port(b"65535"), port(b"65536")), (Some(65_535), None));
        assert_eq!(address(b"2001:db8::1"), "2001:db8::1".parse().ok());
        assert_eq!(address(b"10.0.0"), None);
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        assert_eq!(written(format_args!("{}", 7)).as_deref(), Some("7"));
        assert_eq!(written(format_args!("{:200}", 7)), None);
    }

    proptest! {
        #[test]
        fn every_range_lies_in_the_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            start in 0..70_usize,
            len in 0..70_usize,
        ) {
            if let Some((text, next)) = line(&bytes, start) {
                prop_assert!(start <= text.start && text.end < next && next <= bytes.len());
            }
            let range = start.min(bytes.len())..(start + len).clamp(start, bytes.len().max(start));
            let end = range.end;
            let within = trimmed(&bytes, range.clone());
            prop_assert!(range.start <= within.start && within.end <= end);
            if let Some((word, rest)) = word(&bytes, range) {
                prop_assert!(!word.is_empty() && word.end == rest.start && rest.end == end);
            }
        }
    }
}
