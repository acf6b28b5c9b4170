//! Which part of a message's body is a session description.

use std::ops::Range;

use super::message::{Field, Fields, Head, end_of_head};
use super::uri::Parameters;
use crate::text;

/// The longest separator of a body's parts (RFC 2046 has up to 70 characters).
const BOUNDARY_MAX: usize = 70;
/// The most parts of a body that are looked at.
const PARTS_MAX: usize = 16;

/// Whether the body may hold a description, so that all of it has to be there.
pub(super) fn is_read(bytes: &[u8], head: &Head) -> bool {
    head.has_media()
        && head.content_type.clone().is_none_or(|range| {
            let kind = text::of(bytes, range);
            is_description(kind) || text::starts_with(kind, b"multipart/")
        })
}

/// The description in a body.
pub(super) fn description(bytes: &[u8], head: &Head, body: Range<usize>) -> Option<Range<usize>> {
    if !is_read(bytes, head) {
        return None;
    }
    let kind = head.content_type.clone();
    let parts = kind.filter(|kind| !is_description(text::of(bytes, kind.clone())));
    match parts {
        None => Some(body),
        Some(kind) => {
            let boundary = Parameters::of(bytes, kind).find_value(b"boundary")?;
            let boundary = text::of(bytes, boundary);
            let unquoted = boundary
                .strip_prefix(b"\"")
                .and_then(|inner| inner.strip_suffix(b"\""));
            part(bytes, unquoted.unwrap_or(boundary), body)
        }
    }
}

fn is_description(kind: &[u8]) -> bool {
    text::starts_with(kind, b"application/sdp")
}

/// The first part that is a description.
fn part(bytes: &[u8], boundary: &[u8], body: Range<usize>) -> Option<Range<usize>> {
    if boundary.is_empty() || boundary.len() > BOUNDARY_MAX {
        return None;
    }
    let within = text::of(bytes, 0..body.end);
    let (mut at, mut found, mut parts) = (body.start, None, 0);
    while let Some((line, next)) = text::line(within, at).or_else(|| last(within, at)) {
        let separates = text::of(within, line.clone())
            .strip_prefix(b"--")
            .is_some_and(|rest| rest.starts_with(boundary));
        if separates {
            // A part without an empty line has no content, and its fields are those of another.
            if let Some(first) = found.filter(|first| *first <= line.start) {
                // The end of the line in front of a separator belongs to that.
                let end = line.start.saturating_sub(1);
                let is_whole = bytes.get(end.saturating_sub(1)) == Some(&b'\r');
                let end = end - usize::from(is_whole);
                return Some(first..end.max(first));
            }
            parts += 1;
            if parts > PARTS_MAX {
                return None;
            }
            found = described(within, next);
        }
        at = next;
    }
    None
}

fn last(within: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    (at < within.len()).then_some((at..within.len(), within.len()))
}

/// Where the content of a part begins, if it is a description.
fn described(within: &[u8], at: usize) -> Option<usize> {
    // Its fields end at the first empty line: look at those in front of it only.
    let first = match text::of(within, at..within.len()) {
        [b'\n', ..] => at + 1,
        [b'\r', b'\n', ..] => at + 2,
        _ => end_of_head(within, at)?,
    };
    Fields::of(within, at..first)
        .any(|(field, value)| {
            field == Field::ContentType && is_description(text::of(within, value))
        })
        .then_some(first)
}
