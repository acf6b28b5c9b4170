//! What a rule asks of the packet at hand, and of its marks.

mod headers;
mod payload;

use turnpike_pipeline::policy::{Comparison, Mark, MarkKind, Match, PacketAsk};

use super::super::names::Names;
use super::super::section::{Item, or_report};
use super::super::value::{choice, number};
use super::matchers::Reader;
use super::rates;
use crate::problem::Problems;
use crate::yaml::{Node, Value};

/// Reads every question about the packet, in the order in which they are asked: what is cheap
/// first, what keeps count last.
pub fn decode(reader: &mut Reader<'_, '_>) -> Vec<Match<PacketAsk>> {
    let asked = [
        reader.one("packet-size", size),
        reader.one("ttl", ttl),
        reader.one("hop-limit", ttl),
    ];
    let mut asked: Vec<_> = asked.into_iter().flatten().collect();
    asked.extend(headers::decode(reader));
    asked.extend(payload::decode(reader));
    asked.extend(rates::decode(reader));
    asked
}

/// Reads the questions about marks.
pub fn marks(reader: &mut Reader<'_, '_>, names: &Names) -> Vec<Match<Mark>> {
    let asked = MarkKind::ALL.map(|kind| {
        reader.one(kind.matcher(), |item, problems| {
            let mark = names.mark(item.text, item.span, problems)?;
            Some(Mark { kind, mark })
        })
    });
    asked.into_iter().flatten().collect()
}

/// The names of marks that the rules of a table set or ask for, added to `names`.
pub fn collect_marks(rules: &[Node], names: &mut Names) {
    let keys = MarkKind::ALL.map(|kind| [kind.matcher(), kind.option()]);
    for rule in rules {
        let Value::Mapping(entries) = &rule.value else {
            continue;
        };
        for entry in entries {
            let Value::Scalar(text) = &entry.value.value else {
                continue;
            };
            if keys.as_flattened().contains(&entry.key.as_str()) {
                names.add_mark(text.text.trim_start_matches('!'));
            }
        }
    }
}

/// The word for no mark at all.
pub const NO_MARK: &str = "no-mark";

/// `a` or `a-b`.
fn size(item: Item<'_>, problems: &mut Problems) -> Option<PacketAsk> {
    let (first, last) = range(item, "sizes", problems)?;
    Some(PacketAsk::Size(first, last))
}

/// `a` or `a-b`, of 16 bits; `what` they are, for messages.
fn range(item: Item<'_>, what: &str, problems: &mut Problems) -> Option<(u16, u16)> {
    let read = || -> Result<(u16, u16), String> {
        let (first, last) = item.text.split_once('-').unwrap_or((item.text, item.text));
        let bytes = |text| number(text, 0, u64::from(u16::MAX));
        let (first, last) = (bytes(first)?, bytes(last)?);
        if first > last {
            return Err(format!("the {what} `{}` end before they begin", item.text));
        }
        let narrow = |n| u16::try_from(n).map_err(|e: std::num::TryFromIntError| e.to_string());
        Ok((narrow(first)?, narrow(last)?))
    };
    or_report(read(), item.span, problems)
}

/// `equal:64`, `less-than:64` and the like; a number alone is equal.
fn ttl(item: Item<'_>, problems: &mut Problems) -> Option<PacketAsk> {
    let read = || -> Result<PacketAsk, String> {
        let (word, value) = item.text.split_once(':').unwrap_or(("equal", item.text));
        let words = Comparison::ALL.map(|c| (c.name(), c));
        let comparison = choice(word, "a comparison", &words)?;
        let value = number(value, 0, 255)?;
        let value = u8::try_from(value).map_err(|e| e.to_string())?;
        Ok(PacketAsk::Ttl(comparison, value))
    };
    or_report(read(), item.span, problems)
}
