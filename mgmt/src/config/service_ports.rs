//! `service-ports`: the protocol helpers, their ports, and what RouterOS has of options.
//!
//! What is not written is as RouterOS has it. UDP-Lite, DCCP and SCTP are listed by RouterOS, too;
//! they are trackers here and there, and come and go with connection tracking.

use std::time::Duration;

use turnpike_helpers::helper::Reader;
use turnpike_helpers::readers::Options;
use turnpike_pipeline::policy::{ServicePort, ServicePorts, WhenFull};

use super::port::port_set;
use super::section::{Keys, Section, items, mapping, or_report, scalar, word};
use super::value::{Switch, choice};
use crate::problem::{Problems, did_you_mean};
use crate::yaml::{Entry, Node};

/// The most ports of one helper.
const PORTS_MAX: usize = 64;
/// The least and most that a registration may be kept.
const TIMEOUT_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// What has no helper: its tracker knows all there is to know.
const TRACKERS: [&str; 3] = ["udplite", "dccp", "sctp"];

const HELPER: Keys = Keys {
    of: "a helper",
    known: &["ports", "disabled", "when-full", "comment"],
    later: &[],
    elsewhere: &[
        ("sip-direct-media", "only `sip` has it"),
        ("sip-timeout", "only `sip` has it"),
    ],
};

const SIP: Keys = Keys {
    of: "`sip`",
    known: &[
        "ports",
        "disabled",
        "when-full",
        "comment",
        "sip-direct-media",
        "sip-timeout",
    ],
    later: &[],
    elsewhere: &[],
};

const TRACKER: Keys = Keys {
    of: "a tracker",
    known: &["disabled", "comment"],
    later: &[],
    elsewhere: &[("ports", "trackers go by the protocol, on all ports")],
};

/// Reads `service-ports:`.
pub fn decode(node: Option<&Node>, problems: &mut Problems) -> ServicePorts {
    let mut out = ServicePorts::default();
    let entries = node.and_then(|node| mapping(node, "`service-ports`", problems));
    for entry in entries.unwrap_or_default() {
        if TRACKERS.contains(&entry.key.as_str()) {
            tracker(entry, problems);
            continue;
        }
        let helpers = &mut out.helpers;
        match helpers.iter_mut().find(|helper| helper.helper == entry.key) {
            Some(helper) => decode_helper(entry, helper, &mut out.options, problems),
            None => {
                let known = helpers.iter().map(|helper| helper.helper).chain(TRACKERS);
                let names: Vec<&str> = known.collect();
                let near = did_you_mean(&entry.key, names.iter().copied());
                let hint = if near.is_empty() {
                    format!("; there are {}", names.join(", "))
                } else {
                    near
                };
                let message = format!("there is no helper `{}`{hint}", entry.key);
                problems.error(entry.key_span, message);
            }
        }
    }
    out
}

fn decode_helper(
    entry: &Entry,
    helper: &mut ServicePort,
    options: &mut Options,
    problems: &mut Problems,
) {
    let keys = if helper.helper == "sip" {
        &SIP
    } else {
        &HELPER
    };
    let Some(section) = Section::open(&entry.value, keys, problems) else {
        return;
    };
    if let Some(disabled) = section.read("disabled", problems, word::<Switch>) {
        helper.disabled = disabled.is_on();
    }
    if let Some(ports) = section.read("ports", problems, ports) {
        helper.ports = with_readers(helper.helper, &ports);
    }
    if let Some(when_full) = section.read("when-full", problems, when_full) {
        helper.when_full = when_full;
    }
    if let Some(direct) = section.read("sip-direct-media", problems, word::<Switch>) {
        options.sip_direct_media = direct.is_on();
    }
    if let Some(timeout) = section.read("sip-timeout", problems, timeout) {
        options.sip_timeout = timeout;
    }
}

/// The readers of a helper on these ports.
fn with_readers(helper: &str, ports: &[u16]) -> Vec<(Reader, u16)> {
    let readers = Reader::ALL.into_iter().filter(|reader| {
        // What is only ever announced has no port of its own.
        reader.helper() == helper && *reader != Reader::MediaControl
    });
    readers
        .flat_map(|reader| ports.iter().map(move |port| (reader, *port)))
        .collect()
}

fn ports(node: &Node, problems: &mut Problems) -> Option<Vec<u16>> {
    let set = port_set(&items(node, problems)?, problems)?;
    let count: usize = set
        .0
        .iter()
        .map(|(first, last)| usize::from(last - first) + 1)
        .sum();
    if set.contains(0) {
        problems.error(node.span, "there is no port 0; write one from 1 to 65535");
        return None;
    }
    if count > PORTS_MAX {
        let message = format!(
            "a helper has {PORTS_MAX} ports at most, and here are {count}; write those of the \
             servers that are meant"
        );
        problems.error(node.span, message);
        return None;
    }
    Some(
        set.0
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .collect(),
    )
}

fn when_full(node: &Node, problems: &mut Problems) -> Option<WhenFull> {
    let text = &scalar(node, problems)?.text;
    let choices = [("drop", WhenFull::Drop), ("pass", WhenFull::Pass)];
    or_report(choice(text, "policy", &choices), node.span, problems)
}

fn timeout(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let timeout = word::<Duration>(node, problems)?;
    let (least, most) = TIMEOUT_RANGE;
    if !(least..=most).contains(&timeout) {
        problems.error(node.span, "a registration is remembered for 1s to 1d");
        return None;
    }
    Some(timeout)
}

/// A tracker cannot be switched off alone.
fn tracker(entry: &Entry, problems: &mut Problems) {
    let section = Section::open(&entry.value, &TRACKER, problems);
    let node = section.and_then(|section| section.field("disabled"));
    if let Some(node) = node
        && word::<Switch>(node, problems).is_some_and(Switch::is_on)
    {
        let message = format!(
            "`{}` comes and goes with connection tracking; it cannot be disabled alone",
            entry.key
        );
        problems.error(node.span, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::tuple::Proto;

    fn read(text: &str) -> Option<ServicePorts> {
        let mut problems = Problems::new("t".into());
        let tree = crate::yaml::parse(text, &mut problems)?;
        let out = decode(Some(&tree), &mut problems);
        (problems.errors() == 0).then_some(out)
    }

    #[test]
    fn what_is_not_written_is_as_in_routeros() {
        let out = read("ftp: { ports: [21, 2121] }\nirc: { disabled: no }").unwrap();
        assert_eq!(out.reader(Proto::TCP, 2_121), Some(Reader::Ftp));
        assert_eq!(out.reader(Proto::TCP, 6_667), Some(Reader::Irc));
        assert_eq!(out.reader(Proto::UDP, 69), Some(Reader::Tftp));
        assert_eq!(out.reader(Proto::TCP, 554), None);
    }

    #[test]
    fn a_helper_with_several_readers_has_them_on_all_its_ports() {
        let out = read("h323: { ports: \"1719-1720\" }").unwrap();
        assert_eq!(out.reader(Proto::TCP, 1_719), Some(Reader::CallSignalling));
        assert_eq!(out.reader(Proto::UDP, 1_720), Some(Reader::Registration));
    }

    #[test]
    fn options_of_sip_are_its_own() {
        let out = read("sip: { sip-direct-media: no, sip-timeout: 30m }").unwrap();
        assert!(!out.options.sip_direct_media);
        assert_eq!(out.options.sip_timeout, Duration::from_secs(1_800));
        assert!(read("ftp: { sip-timeout: 30m }").is_none());
    }

    #[test]
    fn trackers_may_be_listed_and_not_disabled() {
        assert!(read("sctp: { disabled: no }").is_some());
        assert!(read("sctp: { disabled: yes }").is_none());
        assert!(read("dccp: { ports: [5] }").is_none());
    }
}
