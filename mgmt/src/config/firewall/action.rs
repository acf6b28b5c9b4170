//! What a rule does, and which options go with which action.

use std::net::{IpAddr, SocketAddr};

use turnpike_pipeline::ids::ChainId;
use turnpike_pipeline::policy::{
    Action, Edit, MarkKind, PortChoice, PortRange, RejectWith, SNIFF_PORT, SameBy, Sniff,
    SniffForm, TableKind, Translation, Unreachable,
};
use turnpike_pipeline::rules::matchers::End;

use super::super::address::Addresses;
use super::super::port::ToPorts;
use super::super::section::{Section, or_report, scalar, word};
use super::super::value::{Switch, Text, number};
use super::rule::Context;
use super::{edits, lists};
use crate::problem::{Problems, did_you_mean};
use crate::yaml::Node;

/// An action by its word, before its options are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Accept,
    Drop,
    Reject,
    Log,
    Passthrough,
    Jump,
    Return,
    NoTrack,
    Fasttrack,
    SrcNat,
    Masquerade,
    DstNat,
    Redirect,
    EndpointIndependent,
    Same,
    Netmap,
    AddToList(End),
    Mark(MarkKind),
    Route,
    ChangeDscp,
    ChangeTtl,
    ChangeHopLimit,
    ChangeMss,
    ClearDf,
    SetPriority,
    StripOptions,
    SniffTzsp,
    SniffPacketCable,
    Tarpit,
}

type Verbs = &'static [(&'static str, Verb)];

const RAW: Verbs = &[
    ("accept", Verb::Accept),
    ("add-dst-to-address-list", Verb::AddToList(End::Dst)),
    ("add-src-to-address-list", Verb::AddToList(End::Src)),
    ("drop", Verb::Drop),
    ("jump", Verb::Jump),
    ("log", Verb::Log),
    ("notrack", Verb::NoTrack),
    ("passthrough", Verb::Passthrough),
    ("return", Verb::Return),
];

const FILTER: Verbs = &[
    ("accept", Verb::Accept),
    ("add-dst-to-address-list", Verb::AddToList(End::Dst)),
    ("add-src-to-address-list", Verb::AddToList(End::Src)),
    ("drop", Verb::Drop),
    ("fasttrack-connection", Verb::Fasttrack),
    ("jump", Verb::Jump),
    ("log", Verb::Log),
    ("passthrough", Verb::Passthrough),
    ("reject", Verb::Reject),
    ("return", Verb::Return),
    ("tarpit", Verb::Tarpit),
];

const MANGLE: Verbs = &[
    ("accept", Verb::Accept),
    ("add-dst-to-address-list", Verb::AddToList(End::Dst)),
    ("add-src-to-address-list", Verb::AddToList(End::Src)),
    ("change-dscp", Verb::ChangeDscp),
    ("change-hop-limit", Verb::ChangeHopLimit),
    ("change-mss", Verb::ChangeMss),
    ("change-ttl", Verb::ChangeTtl),
    ("clear-df", Verb::ClearDf),
    ("jump", Verb::Jump),
    ("log", Verb::Log),
    ("mark-connection", Verb::Mark(MarkKind::Connection)),
    ("mark-packet", Verb::Mark(MarkKind::Packet)),
    ("mark-routing", Verb::Mark(MarkKind::Routing)),
    ("passthrough", Verb::Passthrough),
    ("return", Verb::Return),
    ("route", Verb::Route),
    ("set-priority", Verb::SetPriority),
    ("sniff-pc", Verb::SniffPacketCable),
    ("sniff-tzsp", Verb::SniffTzsp),
    ("strip-ipv4-options", Verb::StripOptions),
];

const NAT: Verbs = &[
    ("accept", Verb::Accept),
    ("add-dst-to-address-list", Verb::AddToList(End::Dst)),
    ("add-src-to-address-list", Verb::AddToList(End::Src)),
    ("dst-nat", Verb::DstNat),
    ("endpoint-independent-nat", Verb::EndpointIndependent),
    ("jump", Verb::Jump),
    ("log", Verb::Log),
    ("masquerade", Verb::Masquerade),
    ("netmap", Verb::Netmap),
    ("passthrough", Verb::Passthrough),
    ("redirect", Verb::Redirect),
    ("return", Verb::Return),
    ("same", Verb::Same),
    ("src-nat", Verb::SrcNat),
];

/// Options that only some actions take.
const OPTIONS: &[&str] = &[
    "address-list",
    "address-list-timeout",
    "jump-target",
    "new-connection-mark",
    "new-dscp",
    "new-hop-limit",
    "new-mss",
    "new-packet-mark",
    "new-priority",
    "new-routing-mark",
    "new-ttl",
    "passthrough",
    "randomise-ports",
    "reject-with",
    "route-dst",
    "same-not-by-dst",
    "sniff-id",
    "sniff-target",
    "sniff-target-port",
    "to-addresses",
    "to-ports",
];

impl Verb {
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Jump => &["jump-target"],
            Self::Reject => &["reject-with"],
            Self::SrcNat | Self::EndpointIndependent => {
                &["randomise-ports", "to-addresses", "to-ports"]
            }
            Self::DstNat => &["to-addresses", "to-ports"],
            Self::Same => &[
                "randomise-ports",
                "same-not-by-dst",
                "to-addresses",
                "to-ports",
            ],
            Self::AddToList(_) => &["address-list", "address-list-timeout"],
            Self::Netmap => &["to-addresses"],
            Self::Masquerade => &["randomise-ports", "to-ports"],
            Self::Redirect => &["to-ports"],
            Self::Mark(MarkKind::Connection) => &["new-connection-mark", "passthrough"],
            Self::Mark(MarkKind::Packet) => &["new-packet-mark", "passthrough"],
            Self::Mark(MarkKind::Routing) => &["new-routing-mark", "passthrough"],
            Self::Route => &["passthrough", "route-dst"],
            Self::ChangeDscp => &["new-dscp", "passthrough"],
            Self::ChangeTtl => &["new-ttl", "passthrough"],
            Self::ChangeHopLimit => &["new-hop-limit", "passthrough"],
            Self::ChangeMss => &["new-mss", "passthrough"],
            Self::SetPriority => &["new-priority", "passthrough"],
            Self::ClearDf | Self::StripOptions => &["passthrough"],
            Self::SniffTzsp => &["sniff-target", "sniff-target-port"],
            Self::SniffPacketCable => &["sniff-id", "sniff-target", "sniff-target-port"],
            Self::Accept
            | Self::Drop
            | Self::Tarpit
            | Self::Log
            | Self::Passthrough
            | Self::Return
            | Self::NoTrack
            | Self::Fasttrack => &[],
        }
    }
}

/// Reads `action` and its options.
pub fn decode(
    section: Section<'_>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Action> {
    let Some(node) = section.field("action") else {
        let has_action = section.entry("action").is_some();
        if !has_action {
            problems.error(
                section.span(),
                "`action` is missing; RouterOS would take accept, so write `action: accept` if \
                 that is meant",
            );
        }
        return None;
    };
    let word = &scalar(node, problems)?.text;
    let verb = or_report(verb(word, context.kind), node.span, problems)?;
    for option in OPTIONS {
        if let Some(entry) = section.entry(option)
            && !verb.takes().contains(option)
        {
            problems.error(
                entry.key_span,
                format!("`{option}` does nothing with `action: {word}`; remove it"),
            );
        }
    }
    match verb {
        Verb::Accept => Some(Action::Accept),
        Verb::Drop => Some(Action::Drop),
        Verb::Passthrough => Some(Action::Passthrough),
        Verb::Return => Some(Action::Return),
        Verb::NoTrack => Some(Action::NoTrack),
        Verb::Fasttrack => Some(Action::Fasttrack),
        Verb::Log => {
            let prefix = section.read("log-prefix", problems, super::super::section::word::<Text>);
            Some(Action::Log(prefix.unwrap_or_default().0.into()))
        }
        Verb::Tarpit => Some(Action::Reject(RejectWith::Tarpit)),
        Verb::SniffTzsp => sniff(section, SniffForm::Tzsp, problems),
        Verb::SniffPacketCable => {
            let stream = section.read("sniff-id", problems, sniff_id).unwrap_or(0);
            sniff(section, SniffForm::PacketCable(stream), problems)
        }
        Verb::Reject => reject(section, problems).map(Action::Reject),
        Verb::Jump => jump(section, context, problems).map(Action::Jump),
        Verb::SrcNat => translation(section, Needs::Addresses, problems).map(Action::SrcNat),
        Verb::DstNat => translation(section, Needs::Something, problems).map(Action::DstNat),
        Verb::EndpointIndependent => {
            translation(section, Needs::Nothing, problems).map(Action::EndpointIndependent)
        }
        Verb::Same => same(section, problems),
        Verb::Netmap => translation(section, Needs::Addresses, problems)
            .and_then(|to| to.addresses)
            .map(Action::Netmap),
        Verb::Masquerade => Some(Action::Masquerade(to_ports(section, problems))),
        Verb::Redirect => Some(Action::Redirect(to_ports(section, problems))),
        Verb::AddToList(end) => lists::adding(section, end, context, problems),
        Verb::Mark(kind) => edits::mark(section, kind, context, problems),
        Verb::Route => edits::route(section, context, problems),
        Verb::ChangeDscp => edits::dscp(section, problems),
        Verb::ChangeTtl => edits::ttl(section, "new-ttl", problems),
        Verb::ChangeHopLimit => edits::ttl(section, "new-hop-limit", problems),
        Verb::ChangeMss => edits::mss(section, problems),
        Verb::SetPriority => edits::priority(section, problems),
        Verb::ClearDf => Some(edits::changing(section, Edit::ClearDf, problems)),
        Verb::StripOptions => Some(edits::changing(section, Edit::StripOptions, problems)),
    }
}

const fn verbs(kind: TableKind) -> Verbs {
    match kind {
        TableKind::Raw => RAW,
        TableKind::Mangle => MANGLE,
        TableKind::Filter => FILTER,
        TableKind::Nat => NAT,
    }
}

fn verb(word: &str, kind: TableKind) -> Result<Verb, String> {
    let own = verbs(kind);
    let find = |verbs: Verbs| {
        verbs
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, v)| *v)
    };
    if let Some(verb) = find(own) {
        return Ok(verb);
    }
    let table = kind.name();
    let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
    let mut others = [
        TableKind::Filter,
        TableKind::Raw,
        TableKind::Nat,
        TableKind::Mangle,
    ]
    .iter();
    if let Some(other) = others.find(|other| find(verbs(**other)).is_some()) {
        return Err(format!(
            "`{word}` is an action of {}, not of {table}; write one of {}",
            other.name(),
            names.join(", ")
        ));
    }
    let near = did_you_mean(word, names.iter().copied());
    Err(format!(
        "`{word}` is not an action{near}; {table} has {}",
        names.join(", ")
    ))
}

fn jump(section: Section<'_>, context: &Context<'_>, problems: &mut Problems) -> Option<ChainId> {
    let node = section.required("jump-target", "my-chain", problems)?;
    let text = &scalar(node, problems)?.text;
    or_report(context.chains.jump_target(text), node.span, problems)
}

/// `sniff-target`, and `sniff-target-port` or the port that sniffers listen on.
fn sniff(section: Section<'_>, form: SniffForm, problems: &mut Problems) -> Option<Action> {
    let target = section.required("sniff-target", "192.0.2.9", problems)?;
    let text = &scalar(target, problems)?.text;
    let address = text.parse::<IpAddr>().ok();
    let station = address.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let read = station.ok_or_else(|| {
        format!("`{text}` is not the address of one station; write, for example, 192.0.2.9")
    });
    let address = or_report(read, target.span, problems);
    let port = section.read("sniff-target-port", problems, |node, problems| {
        let read = number(&scalar(node, problems)?.text, 1, 65_535);
        u16::try_from(or_report(read, node.span, problems)?).ok()
    });
    let to = SocketAddr::new(address?, port.unwrap_or(SNIFF_PORT));
    Some(Action::Sniff(Sniff { to, form }))
}

fn sniff_id(node: &Node, problems: &mut Problems) -> Option<u32> {
    let read = number(&scalar(node, problems)?.text, 0, u32::MAX.into());
    u32::try_from(or_report(read, node.span, problems)?).ok()
}

const REJECT_WITH: &[(&str, RejectWith)] = &[
    (
        "icmp-network-unreachable",
        RejectWith::Icmp(Unreachable::Network),
    ),
    ("icmp-host-unreachable", RejectWith::Icmp(Unreachable::Host)),
    ("icmp-port-unreachable", RejectWith::Icmp(Unreachable::Port)),
    (
        "icmp-protocol-unreachable",
        RejectWith::Icmp(Unreachable::Protocol),
    ),
    (
        "icmp-net-prohibited",
        RejectWith::Icmp(Unreachable::NetProhibited),
    ),
    (
        "icmp-host-prohibited",
        RejectWith::Icmp(Unreachable::HostProhibited),
    ),
    (
        "icmp-admin-prohibited",
        RejectWith::Icmp(Unreachable::AdminProhibited),
    ),
    ("icmp-no-route", RejectWith::Icmp(Unreachable::Network)),
    (
        "icmp-address-unreachable",
        RejectWith::Icmp(Unreachable::Host),
    ),
    (
        "icmp-not-neighbour",
        RejectWith::Icmp(Unreachable::NotNeighbour),
    ),
    (
        "icmp-err-src-routing-header",
        RejectWith::Icmp(Unreachable::SourceRoutingHeader),
    ),
    (
        "icmp-headers-too-long",
        RejectWith::Icmp(Unreachable::HeadersTooLong),
    ),
    ("tcp-reset", RejectWith::TcpReset),
];

/// `reject-with`, by default as in RouterOS.
fn reject(section: Section<'_>, problems: &mut Problems) -> Option<RejectWith> {
    let Some(node) = section.field("reject-with") else {
        return Some(RejectWith::Icmp(Unreachable::Network));
    };
    let text = scalar(node, problems)?.text.as_str();
    let read = super::super::value::choice(text, "a way to reject", REJECT_WITH);
    or_report(read, node.span, problems)
}

/// The name of a way to reject.
pub fn reject_name(with: RejectWith) -> &'static str {
    REJECT_WITH
        .iter()
        .find(|(_, known)| *known == with)
        .map_or("icmp-network-unreachable", |(name, _)| name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Addresses,
    Something,
    Nothing,
}

fn translation(section: Section<'_>, needs: Needs, problems: &mut Problems) -> Option<Translation> {
    let address_node = match needs {
        Needs::Addresses => section.required("to-addresses", "203.0.113.2", problems),
        Needs::Something | Needs::Nothing => section.field("to-addresses"),
    };
    if address_node.is_none() && section.field("to-ports").is_none() {
        match needs {
            Needs::Addresses => return None,
            Needs::Something => {
                problems.error(
                    section.span(),
                    "dst-nat changes nothing without `to-addresses` or `to-ports`; write one",
                );
                return None;
            }
            Needs::Nothing => {}
        }
    }
    let addresses = address_node.and_then(|n| word::<Addresses>(n, problems));
    if let (Some(addresses), Some(node)) = (addresses, address_node) {
        let unusable = |ip: std::net::IpAddr| ip.is_unspecified() || ip.is_multicast();
        if unusable(addresses.0.first) || unusable(addresses.0.last) {
            problems.error(
                node.span,
                "nothing can be translated to that; write unicast addresses",
            );
        }
    }
    Some(Translation {
        addresses: addresses.map(|a| a.0),
        ports: to_ports(section, problems),
    })
}

fn to_ports(section: Section<'_>, problems: &mut Problems) -> Option<PortRange> {
    section
        .read("to-ports", problems, word::<ToPorts>)
        .map(|p| p.0)
}

fn same(section: Section<'_>, problems: &mut Problems) -> Option<Action> {
    let by = match section.read("same-not-by-dst", problems, word::<Switch>) {
        Some(Switch::On) => SameBy::Client,
        Some(Switch::Off) | None => SameBy::Both,
    };
    let to = translation(section, Needs::Addresses, problems)?;
    Some(Action::Same(to, by))
}

/// `randomise-ports`.
pub fn port_choice(section: Section<'_>, problems: &mut Problems) -> PortChoice {
    match section.read("randomise-ports", problems, word::<Switch>) {
        Some(Switch::On) => PortChoice::Random,
        Some(Switch::Off) | None => PortChoice::Preserved,
    }
}
