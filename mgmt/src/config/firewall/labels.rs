//! What a rule asks of the label of a packet's connection.

use turnpike_pipeline::policy::{Layer7Fail, Match, Matchers, PeerToPeer};

use super::super::names::Names;
use super::super::section::{Item, Section, Word, word};
use super::super::value::choice;
use super::matchers::Reader;
use crate::problem::{Problems, did_you_mean};

/// The groups of `p2p`, which are called what their protocols are; the first has all of them.
const GROUPS: [&str; 10] = [
    "all-p2p",
    "bit-torrent",
    "blubster",
    "direct-connect",
    "edonkey",
    "fasttrack",
    "gnutella",
    "soulseek",
    "warez",
    "winmx",
];

impl Word for Layer7Fail {
    fn read(text: &str) -> Result<Self, String> {
        let words = [Self::Open, Self::Closed].map(|fail| (fail.name(), fail));
        choice(text, "what a rule does when it cannot look", &words)
    }
}

/// Reads `p2p`.
pub fn peer_to_peer(reader: &mut Reader<'_, '_>, names: &Names) -> Option<Match<PeerToPeer>> {
    reader.one("p2p", |item, problems| group(item, names, problems))
}

fn group(item: Item<'_>, names: &Names, problems: &mut Problems) -> Option<PeerToPeer> {
    let Some(group) = GROUPS.into_iter().find(|group| *group == item.text) else {
        let near = did_you_mean(item.text, GROUPS);
        let message = format!(
            "`{}` is no group of peer-to-peer protocols{near}; write one of {}",
            item.text,
            GROUPS.join(", ")
        );
        problems.error(item.span, message);
        return None;
    };
    let members: &[&str] = match GROUPS.split_first() {
        Some((all, members)) if *all == group => members,
        Some(_) | None => &[group],
    };
    let known = members.iter().filter_map(|name| names.layer7_id(name));
    let protocols: Box<[_]> = known.collect();
    if protocols.is_empty() {
        let message = format!(
            "`layer7-protocols:` has no protocol of `{group}`; take those of the library: write \
             layer7-protocols: {{ \"*\": {{ file: layer7/p2p.yaml }} }}"
        );
        problems.error(item.span, message);
        return None;
    }
    Some(PeerToPeer { group, protocols })
}

/// Reads `layer7-fail`, which says something of the matchers that ask for a label.
pub fn fail(
    section: Section<'_>,
    matchers: &Matchers,
    problems: &mut Problems,
) -> Option<Layer7Fail> {
    let fail = section.read("layer7-fail", problems, word::<Layer7Fail>);
    let asks = matchers.layer7_protocol.is_some()
        || matchers.p2p.is_some()
        || section.entry("layer7-protocol").is_some()
        || section.entry("p2p").is_some();
    if let (Some(entry), false) = (section.entry("layer7-fail"), asks) {
        problems.error(
            entry.key_span,
            "`layer7-fail` says what `layer7-protocol` or `p2p` makes of a connection that could \
             not be looked at; add one of them",
        );
    }
    fail
}
