//! One rule: its keys, and how its parts come together.

use std::sync::Arc;

use turnpike_pipeline::ids::ChainId;
use turnpike_pipeline::policy::{Action, Rule, Source, TableKind};

use super::super::names::Names;
use super::super::section::{Keys, Section, or_report, scalar, word};
use super::super::value::{Switch, Text};
use super::chains::ChainNames;
use super::{action, fit, matchers, text};
use crate::problem::Problems;
use crate::yaml::Node;

/// What a rule is read against.
pub struct Context<'a> {
    /// The table it is in.
    pub kind: TableKind,
    /// Interfaces and lists.
    pub names: &'a Names,
    /// The chains of the table.
    pub chains: &'a ChainNames,
}

/// A rule with the places of its keys, for what is checked over several rules.
pub struct Draft<'a> {
    /// The chain it is in.
    pub chain: ChainId,
    /// The rule.
    pub rule: Rule,
    /// Its keys as they were written.
    pub section: Section<'a>,
}

/// What the vocabulary has and this version has not.
const LATER: &[&str] = &["to-address"];

macro_rules! rule_keys {
    ($($own:literal),*) => {
        &[
            "chain", "action", "comment", "disabled", "log", "log-prefix", "jump-target", "family",
            "address-list", "address-list-timeout",
            "protocol", "src-address", "dst-address", "src-address-list", "dst-address-list",
            "src-address-type", "dst-address-type", "src-port", "dst-port", "port", "icmp-options",
            "in-interface", "out-interface", "in-interface-list", "out-interface-list",
            "packet-size", "ttl", "hop-limit", "dscp", "tcp-flags", "tcp-mss", "fragment",
            "src-mac-address", "ingress-priority", "priority", "ipv4-options", "headers",
            "content", "tls-host", "ipsec-policy", "limit", "nth", "random",
            "per-connection-classifier", "dst-limit", "psd", "time", $($own),*
        ]
    };
}

const BEFORE_MANGLE: &str = "raw comes before mangle, which marks packets";
const BEFORE_ROUTING: &str = "raw comes before the packet's way is found";
const BEFORE_TRACKING: &str = "raw comes before connection tracking";
const FIRST_PACKET: &str = "nat rules see only the first packet of a connection, which is new";
const UNREAD: &str =
    "nat rules see only the first packet of a connection, before anything of it was looked at";
const TRANSLATES: &str = "only nat rules translate";
const REJECTS: &str = "only filter rules reject";
const COPIES: &str = "only mangle rules send copies to a sniffer";
const CHANGES: &str = "only mangle rules change packets";

const RAW: Keys = Keys {
    of: "a raw rule",
    known: rule_keys!(),
    later: LATER,
    elsewhere: &[
        ("connection-state", BEFORE_TRACKING),
        ("connection-nat-state", BEFORE_TRACKING),
        ("connection-limit", BEFORE_TRACKING),
        ("connection-type", BEFORE_TRACKING),
        ("connection-bytes", BEFORE_TRACKING),
        ("connection-rate", BEFORE_TRACKING),
        ("connection-mark", BEFORE_TRACKING),
        ("layer7-protocol", BEFORE_TRACKING),
        ("layer7-fail", BEFORE_TRACKING),
        ("p2p", BEFORE_TRACKING),
        ("packet-mark", BEFORE_MANGLE),
        ("routing-mark", BEFORE_MANGLE),
        ("routing-table", BEFORE_ROUTING),
        ("new-connection-mark", CHANGES),
        ("new-dscp", CHANGES),
        ("new-hop-limit", CHANGES),
        ("new-mss", CHANGES),
        ("new-packet-mark", CHANGES),
        ("new-priority", CHANGES),
        ("new-routing-mark", CHANGES),
        ("new-ttl", CHANGES),
        ("passthrough", CHANGES),
        ("route-dst", CHANGES),
        ("sniff-id", COPIES),
        ("sniff-target", COPIES),
        ("sniff-target-port", COPIES),
        ("reject-with", REJECTS),
        ("randomise-ports", TRANSLATES),
        ("same-not-by-dst", TRANSLATES),
        ("to-addresses", TRANSLATES),
        ("to-ports", TRANSLATES),
    ],
};

const FILTER: Keys = Keys {
    of: "a filter rule",
    known: rule_keys!(
        "connection-state",
        "connection-nat-state",
        "connection-bytes",
        "connection-rate",
        "connection-limit",
        "connection-type",
        "connection-mark",
        "packet-mark",
        "routing-mark",
        "routing-table",
        "layer7-protocol",
        "layer7-fail",
        "p2p",
        "reject-with"
    ),
    later: LATER,
    elsewhere: &[
        ("new-connection-mark", CHANGES),
        ("new-dscp", CHANGES),
        ("new-hop-limit", CHANGES),
        ("new-mss", CHANGES),
        ("new-packet-mark", CHANGES),
        ("new-priority", CHANGES),
        ("new-routing-mark", CHANGES),
        ("new-ttl", CHANGES),
        ("passthrough", CHANGES),
        ("route-dst", CHANGES),
        ("sniff-id", COPIES),
        ("sniff-target", COPIES),
        ("sniff-target-port", COPIES),
        ("randomise-ports", TRANSLATES),
        ("same-not-by-dst", TRANSLATES),
        ("to-addresses", TRANSLATES),
        ("to-ports", TRANSLATES),
    ],
};

const MANGLE: Keys = Keys {
    of: "a mangle rule",
    known: rule_keys!(
        "connection-state",
        "connection-nat-state",
        "connection-bytes",
        "connection-rate",
        "connection-limit",
        "connection-type",
        "connection-mark",
        "packet-mark",
        "routing-mark",
        "routing-table",
        "layer7-protocol",
        "layer7-fail",
        "p2p",
        "new-connection-mark",
        "new-dscp",
        "new-hop-limit",
        "new-mss",
        "new-packet-mark",
        "new-priority",
        "new-routing-mark",
        "new-ttl",
        "passthrough",
        "route-dst",
        "sniff-id",
        "sniff-target",
        "sniff-target-port"
    ),
    later: LATER,
    elsewhere: &[
        ("reject-with", REJECTS),
        ("randomise-ports", TRANSLATES),
        ("same-not-by-dst", TRANSLATES),
        ("to-addresses", TRANSLATES),
        ("to-ports", TRANSLATES),
    ],
};

const NAT: Keys = Keys {
    of: "a nat rule",
    known: rule_keys!(
        "connection-bytes",
        "connection-rate",
        "connection-limit",
        "connection-type",
        "connection-mark",
        "packet-mark",
        "routing-mark",
        "routing-table",
        "randomise-ports",
        "same-not-by-dst",
        "to-addresses",
        "to-ports"
    ),
    later: LATER,
    elsewhere: &[
        ("connection-state", FIRST_PACKET),
        ("connection-nat-state", FIRST_PACKET),
        ("layer7-protocol", UNREAD),
        ("layer7-fail", UNREAD),
        ("p2p", UNREAD),
        ("new-connection-mark", CHANGES),
        ("new-dscp", CHANGES),
        ("new-hop-limit", CHANGES),
        ("new-mss", CHANGES),
        ("new-packet-mark", CHANGES),
        ("new-priority", CHANGES),
        ("new-routing-mark", CHANGES),
        ("new-ttl", CHANGES),
        ("passthrough", CHANGES),
        ("route-dst", CHANGES),
        ("sniff-id", COPIES),
        ("sniff-target", COPIES),
        ("sniff-target-port", COPIES),
        ("reject-with", REJECTS),
    ],
};

/// Reads one rule; `None` if something in it is wrong and has been reported.
pub fn decode<'a>(
    node: &'a Node,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Draft<'a>> {
    let keys = match context.kind {
        TableKind::Raw => &RAW,
        TableKind::Mangle => &MANGLE,
        TableKind::Filter => &FILTER,
        TableKind::Nat => &NAT,
    };
    let before = problems.errors();
    let section = Section::open(node, keys, problems)?;
    let chain = section
        .required("chain", default_chain(context.kind), problems)
        .and_then(|n| chain(n, context, problems));
    let comment = section.read("comment", problems, word::<Text>);
    let disabled = section.read("disabled", problems, word::<Switch>);
    let mut matchers = matchers::decode(section, context.names, problems);
    let action = action::decode(section, context, problems);
    let port_choice = action::port_choice(section, problems);
    let log = logging(section, action.as_ref(), problems);
    fit::check(section, &mut matchers, action.as_ref(), problems);
    if problems.errors() > before || section.has_refused() {
        return None;
    }
    let mut rule = Rule {
        matchers,
        action: action?,
        log,
        comment: comment.unwrap_or_default().0.into(),
        disabled: disabled == Some(Switch::On),
        port_choice,
        source: Source {
            file: Arc::clone(problems.file()),
            line: node.span.line,
        },
        text: "".into(),
    };
    let chain = chain?;
    rule.text = text::canonical(&rule, chain, context).into();
    Some(Draft {
        chain,
        rule,
        section,
    })
}

fn default_chain(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Raw | TableKind::Mangle => "prerouting",
        TableKind::Filter => "forward",
        TableKind::Nat => "srcnat",
    }
}

fn chain(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<ChainId> {
    let text = &scalar(node, problems)?.text;
    or_report(context.chains.find(text), node.span, problems)
}

/// `log` and `log-prefix`; the action `log` keeps its prefix itself.
fn logging(
    section: Section<'_>,
    action: Option<&Action>,
    problems: &mut Problems,
) -> Option<Arc<str>> {
    let log = section.read("log", problems, word::<Switch>);
    let prefix = section.read("log-prefix", problems, word::<Text>);
    let by_action = matches!(action, Some(Action::Log(_)));
    if let (Some(entry), false) = (section.entry("log-prefix"), by_action)
        && log != Some(Switch::On)
    {
        problems.warning(
            entry.key_span,
            "`log-prefix` does nothing without `log: yes`; add it, or remove the prefix",
        );
    }
    if by_action {
        return None;
    }
    (log == Some(Switch::On)).then(|| prefix.unwrap_or_default().0.into())
}
