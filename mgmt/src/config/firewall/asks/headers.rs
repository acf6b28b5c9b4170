//! What a rule asks of the headers of the packet at hand.

use turnpike_pipeline::ids::Mac;
use turnpike_pipeline::policy::{
    Extent, HeaderAsk, HeaderSet, Ipv4Options, Match, PacketAsk, Piece, TcpFlags,
};

use super::super::super::section::{Item, Word, or_report};
use super::super::super::value::{Switch, choice, number};
use super::super::matchers::Reader;
use crate::problem::Problems;

/// The highest DSCP, and the highest priority: both have six bits.
const SIX_BITS: u64 = 63;

/// Reads every question about headers.
pub fn decode(reader: &mut Reader<'_, '_>) -> Vec<Match<PacketAsk>> {
    let asked = [
        reader.one("dscp", |i, p| six_bits(i, p).map(HeaderAsk::Dscp)),
        tcp_flags(reader),
        reader.one("fragment", fragment),
        reader.one("src-mac-address", mac),
        reader.one("ingress-priority", |i, p| {
            six_bits(i, p).map(HeaderAsk::IngressPriority)
        }),
        reader.one("priority", |i, p| six_bits(i, p).map(HeaderAsk::Priority)),
        reader.one("tcp-mss", tcp_mss),
        reader.one("ipv4-options", |i, p| {
            let read = choice(i.text, "a question about options", &Ipv4Options::NAMES);
            or_report(read, i.span, p).map(HeaderAsk::Ipv4Options)
        }),
        reader.set("headers", headers),
    ];
    let asked = asked.into_iter().flatten();
    asked
        .map(|asked| Match {
            value: PacketAsk::Header(asked.value),
            negated: asked.negated,
        })
        .collect()
}

fn six_bits(item: Item<'_>, problems: &mut Problems) -> Option<u8> {
    let read = number(item.text, 0, SIX_BITS);
    let value = or_report(read, item.span, problems)?;
    u8::try_from(value).ok()
}

/// Flags by name, each with a `!` of its own or without.
fn tcp_flags(reader: &mut Reader<'_, '_>) -> Option<Match<HeaderAsk>> {
    let words = reader.words("tcp-flags")?;
    let mut flags = TcpFlags::default();
    for item in words {
        let (name, side) = match item.text.strip_prefix('!') {
            Some(name) => (name, &mut flags.clear),
            None => (item.text, &mut flags.set),
        };
        let read = choice(name, "a TCP flag", &TcpFlags::NAMES);
        *side |= or_report(read, item.span, reader.problems)?;
        if flags.set & flags.clear != 0 {
            let message = format!("`{name}` cannot be both set and clear; name it once");
            return or_report(Err(message), item.span, reader.problems);
        }
    }
    Some(Match {
        value: HeaderAsk::TcpFlags(flags),
        negated: false,
    })
}

/// `a` or `a-b`.
fn tcp_mss(item: Item<'_>, problems: &mut Problems) -> Option<HeaderAsk> {
    let (first, last) = super::range(item, "segment sizes", problems)?;
    Some(HeaderAsk::TcpMss(first, last))
}

fn fragment(item: Item<'_>, problems: &mut Problems) -> Option<HeaderAsk> {
    let switch = or_report(Switch::read(item.text), item.span, problems)?;
    Some(HeaderAsk::Fragment(match switch {
        Switch::On => Piece::Later,
        Switch::Off => Piece::WholeOrFirst,
    }))
}

/// Six bytes in hexadecimal, with colons or dashes.
fn mac(item: Item<'_>, problems: &mut Problems) -> Option<HeaderAsk> {
    let byte = |part: &str| {
        let two = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        two.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let separator = if item.text.contains('-') { '-' } else { ':' };
    let bytes: Option<Vec<u8>> = item.text.split(separator).map(byte).collect();
    let read = bytes
        .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
        .ok_or_else(|| {
            format!(
                "`{}` is not a MAC address; write six bytes, for example \"00:0c:42:01:02:03\"",
                item.text
            )
        });
    or_report(read, item.span, problems).map(|bytes| HeaderAsk::SrcMac(Mac(bytes)))
}

/// Headers by name, and `:exact` or `:contains` behind the last.
fn headers(words: &[Item<'_>], problems: &mut Problems) -> Option<HeaderAsk> {
    let mut set = HeaderSet::default();
    let mut extent = Extent::Exact;
    for (at, item) in words.iter().enumerate() {
        let (name, mode) = match item.text.split_once(':') {
            Some((name, mode)) => (name, Some(mode)),
            None => (item.text, None),
        };
        let read = choice(name, "an IPv6 header", &HeaderSet::NAMES);
        set = set.and(or_report(read, item.span, problems)?);
        let Some(mode) = mode else { continue };
        if at + 1 < words.len() {
            let message = "`:exact` or `:contains` stands behind the last header and is about all \
                           of them; write, for example, headers: \"hop,frag:contains\"";
            return or_report(Err(message.to_owned()), item.span, problems);
        }
        let read = choice(mode, "a way to compare headers", &Extent::NAMES);
        extent = or_report(read, item.span, problems)?;
    }
    Some(HeaderAsk::Headers(set, extent))
}
