//! Whether the parts of one rule fit together: protocols, ports and address families.

use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::policy::{Action, Edit, IpFamily, Match, Matchers, RejectWith, Translation};

use super::super::address::{family_name, family_of};
use super::super::section::Section;
use super::matchers::addresses;
use crate::problem::Problems;
use crate::yaml::Node;

/// Checks one rule and lets its addresses decide its family.
pub fn check(
    section: Section<'_>,
    matchers: &mut Matchers,
    action: Option<&Action>,
    problems: &mut Problems,
) {
    ports_need_a_protocol(section, matchers, problems);
    icmp_options_need_icmp(section, matchers, problems);
    only_tcp_has_them(section, matchers, action, problems);
    decide_family(section, matchers, action, problems);
    icmp_is_of_one_family(section, matchers, problems);
    netmask_fits_the_family(section, matchers, problems);
}

fn ports_need_a_protocol(section: Section<'_>, matchers: &Matchers, problems: &mut Problems) {
    let with_ports = matchers
        .protocol
        .is_some_and(|p| !p.negated && p.value.has_ports());
    // A protocol that was refused is not a second error.
    let refused = section.field("protocol").is_some() && matchers.protocol.is_none();
    if with_ports || refused {
        return;
    }
    for key in ["src-port", "dst-port", "port", "to-ports"] {
        if let Some(entry) = section.entry(key) {
            problems.error(
                entry.key_span,
                format!(
                    "`{key}` needs a protocol that has ports; add, for example, `protocol: tcp`, \
                     and a second rule for udp"
                ),
            );
        }
    }
}

fn icmp_options_need_icmp(section: Section<'_>, matchers: &Matchers, problems: &mut Problems) {
    let icmp = matchers
        .protocol
        .is_some_and(|p| !p.negated && [Proto::ICMP, Proto::ICMPV6].contains(&p.value));
    let refused = section.field("protocol").is_some() && matchers.protocol.is_none();
    if let Some(entry) = section.entry("icmp-options")
        && !icmp
        && !refused
    {
        problems.error(
            entry.key_span,
            "`icmp-options` needs `protocol: icmp` or `protocol: icmpv6`; add it",
        );
    }
}

fn only_tcp_has_them(
    section: Section<'_>,
    matchers: &Matchers,
    action: Option<&Action>,
    problems: &mut Problems,
) {
    let tcp = matchers
        .protocol
        .is_some_and(|p| !p.negated && p.value == Proto::TCP);
    let refused = section.field("protocol").is_some() && matchers.protocol.is_none();
    if tcp || refused {
        return;
    }
    if let (Some(Action::Reject(RejectWith::Tarpit)), Some(node)) =
        (action, section.field("action"))
    {
        problems.error(node.span, "`tarpit` needs `protocol: tcp`; add it");
    }
    for key in ["tcp-flags", "tcp-mss", "new-mss"] {
        if let Some(entry) = section.entry(key) {
            let message = format!("`{key}` needs `protocol: tcp`; add it");
            problems.error(entry.key_span, message);
        }
    }
}

/// What a rule asks that packets of one family alone have.
const OF_ONE_FAMILY: [(&str, IpFamily); 2] =
    [("ipv4-options", IpFamily::V4), ("headers", IpFamily::V6)];

/// A rule that names an address of one family is a rule of that family alone.
fn decide_family(
    section: Section<'_>,
    matchers: &mut Matchers,
    action: Option<&Action>,
    problems: &mut Problems,
) {
    let translated = action
        .and_then(translation)
        .and_then(|t| t.addresses)
        .and_then(|range| {
            let node = section.field("to-addresses")?;
            Some(("to-addresses", node, range.first))
        });
    let router = action.and_then(|action| {
        let Action::Edit(Edit::Route(router), _) = action else {
            return None;
        };
        Some(("route-dst", section.field("route-dst")?, *router))
    });
    let changed = section
        .field("action")
        .filter(|_| action.is_some_and(changes_ipv4))
        .map(|node| ("action", node, IpFamily::V4));
    let headers = OF_ONE_FAMILY
        .into_iter()
        .filter_map(|(key, family)| Some((key, section.field(key)?, family)));
    let written: Vec<(&str, &Node, IpFamily)> = addresses(section, matchers)
        .chain(translated)
        .chain(router)
        .map(|(key, node, ip)| (key, node, family_of(ip)))
        .chain(headers)
        .chain(changed)
        .collect();
    let mut decided: Option<(&str, IpFamily)> = matchers.family.map(|f| ("family", f));
    for (key, node, family) in written {
        match decided {
            Some((by, other)) if other != family => problems.error(
                node.span,
                format!(
                    "`{key}` is {} and `{by}` is {}, so the rule can never match; write two rules",
                    family_name(family),
                    family_name(other)
                ),
            ),
            Some(_) => {}
            None => decided = Some((key, family)),
        }
    }
    matchers.family = decided.map(|(_, family)| family);
}

/// Whether an action changes what only IPv4 has.
fn changes_ipv4(action: &Action) -> bool {
    matches!(action, Action::Edit(Edit::ClearDf | Edit::StripOptions, _))
}

fn translation(action: &Action) -> Option<Translation> {
    match action {
        Action::SrcNat(t)
        | Action::DstNat(t)
        | Action::EndpointIndependent(t)
        | Action::Same(t, _) => Some(*t),
        Action::Netmap(to) => Some(Translation {
            addresses: Some(*to),
            ports: None,
        }),
        Action::Accept
        | Action::Drop
        | Action::Reject(_)
        | Action::Log(_)
        | Action::Passthrough
        | Action::Jump(_)
        | Action::Return
        | Action::NoTrack
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Edit(..)
        | Action::Sniff(_)
        | Action::Masquerade(_)
        | Action::Redirect(_) => None,
    }
}

fn netmask_fits_the_family(section: Section<'_>, matchers: &Matchers, problems: &mut Problems) {
    let limit = matchers.connection_limit.map(|limit| limit.value);
    if let (Some(IpFamily::V4), Some(limit)) = (matchers.family, limit)
        && limit.prefix > 32
        && let Some(node) = section.field("connection-limit")
    {
        problems.error(
            node.span,
            format!(
                "the rule is for IPv4, whose addresses have 32 bits; write \"{},32\" to count \
                 by address",
                limit.count
            ),
        );
    }
}

fn icmp_is_of_one_family(section: Section<'_>, matchers: &Matchers, problems: &mut Problems) {
    let (Some(family), Some(protocol), Some(node)) = (
        matchers.family,
        matchers.protocol,
        section.field("protocol"),
    ) else {
        return;
    };
    let (wrong, right) = match family {
        IpFamily::V4 => (Proto::ICMPV6, "icmp"),
        IpFamily::V6 => (Proto::ICMP, "icmpv6"),
    };
    let plain = Match {
        value: wrong,
        negated: false,
    };
    if protocol == plain {
        problems.error(
            node.span,
            format!(
                "the rule is for {}, where this protocol does not occur; write `protocol: {right}`",
                family_name(family)
            ),
        );
    }
}
