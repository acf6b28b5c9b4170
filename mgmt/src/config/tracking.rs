//! `connection-tracking`: switches, timeouts and the size of the table.

use std::time::Duration;

use turnpike_conntrack::timeouts::{SYN_FLOOD_WATERMARK, TIMEOUT_MAX, Timeouts};

use super::section::{Keys, Section, or_report, scalar, word};
use super::value::{Switch, choice, number};
use crate::problem::{Problems, Span};
use crate::yaml::Node;

/// How many connections the gateway has room for where nothing is written.
pub const ENTRIES_DEFAULT: usize = 262_144;
/// The least room for connections.
pub const ENTRIES_MIN: usize = 1_024;
/// The most room for connections.
pub const ENTRIES_MAX: usize = 100_000_000;

const TRACKING: Keys = Keys {
    of: "`connection-tracking`",
    known: &[
        "enabled",
        "loose-tcp-tracking",
        "liberal-tcp-tracking",
        "max-entries",
        "syn-flood-watermark",
        "tcp-syn-sent-timeout",
        "tcp-syn-received-timeout",
        "tcp-established-timeout",
        "tcp-fin-wait-timeout",
        "tcp-close-wait-timeout",
        "tcp-last-ack-timeout",
        "tcp-time-wait-timeout",
        "tcp-close-timeout",
        "tcp-max-retrans-timeout",
        "tcp-unacked-timeout",
        "udp-timeout",
        "udp-stream-timeout",
        "udplite-timeout",
        "udplite-stream-timeout",
        "sctp-closed-timeout",
        "sctp-cookie-wait-timeout",
        "sctp-cookie-echoed-timeout",
        "sctp-established-timeout",
        "sctp-shutdown-sent-timeout",
        "sctp-shutdown-recd-timeout",
        "sctp-shutdown-ack-sent-timeout",
        "sctp-heartbeat-sent-timeout",
        "dccp-request-timeout",
        "dccp-respond-timeout",
        "dccp-partopen-timeout",
        "dccp-open-timeout",
        "dccp-closereq-timeout",
        "dccp-closing-timeout",
        "dccp-timewait-timeout",
        "gre-timeout",
        "gre-stream-timeout",
        "icmp-timeout",
        "generic-timeout",
    ],
    later: &[],
    elsewhere: &[],
};

/// `enabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// On once a rule needs it.
    Auto,
    /// Always on.
    Yes,
    /// Off; nothing is translated and every packet is untracked.
    No,
}

/// The section as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// `enabled`.
    pub enabled: Enabled,
    /// Where `enabled` was written.
    pub span: Span,
    /// `loose-tcp-tracking`.
    pub loose_tcp: Switch,
    /// `liberal-tcp-tracking`.
    pub liberal_tcp: Switch,
    /// How long idle connections live.
    pub timeouts: Timeouts,
    /// `syn-flood-watermark`, in percent of a worker's table.
    pub syn_flood_watermark: u8,
    /// `max-entries`, for all workers together.
    pub max_entries: usize,
}

impl Default for Decoded {
    fn default() -> Self {
        Self {
            enabled: Enabled::Auto,
            span: Span::START,
            loose_tcp: Switch::On,
            liberal_tcp: Switch::Off,
            timeouts: Timeouts::default(),
            syn_flood_watermark: SYN_FLOOD_WATERMARK,
            max_entries: ENTRIES_DEFAULT,
        }
    }
}

/// Reads `connection-tracking:`.
pub fn decode(node: Option<&Node>, problems: &mut Problems) -> Decoded {
    let mut out = Decoded::default();
    let Some(section) = node.and_then(|n| Section::open(n, &TRACKING, problems)) else {
        return out;
    };
    if let Some(node) = section.field("enabled") {
        out.span = node.span;
        out.enabled = enabled(node, problems).unwrap_or(out.enabled);
    }
    let loose = section.read("loose-tcp-tracking", problems, word::<Switch>);
    out.loose_tcp = loose.unwrap_or(out.loose_tcp);
    let liberal = section.read("liberal-tcp-tracking", problems, word::<Switch>);
    out.liberal_tcp = liberal.unwrap_or(out.liberal_tcp);
    let entries = section.read("max-entries", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        let read = number(text, ENTRIES_MIN as u64, ENTRIES_MAX as u64);
        or_report(read, n.span, problems).and_then(|n| usize::try_from(n).ok())
    });
    out.max_entries = entries.unwrap_or(out.max_entries);
    let watermark = section.read("syn-flood-watermark", problems, |n, problems| {
        let read = number(&scalar(n, problems)?.text, 1, 100);
        or_report(read, n.span, problems).and_then(|n| u8::try_from(n).ok())
    });
    out.syn_flood_watermark = watermark.unwrap_or(out.syn_flood_watermark);
    timeouts(&section, &mut out.timeouts, problems);
    out
}

fn timeouts(section: &Section<'_>, t: &mut Timeouts, problems: &mut Problems) {
    for (key, field) in [
        ("tcp-syn-sent-timeout", &mut t.tcp_syn_sent),
        ("tcp-syn-received-timeout", &mut t.tcp_syn_received),
        ("tcp-established-timeout", &mut t.tcp_established),
        ("tcp-fin-wait-timeout", &mut t.tcp_fin_wait),
        ("tcp-close-wait-timeout", &mut t.tcp_close_wait),
        ("tcp-last-ack-timeout", &mut t.tcp_last_ack),
        ("tcp-time-wait-timeout", &mut t.tcp_time_wait),
        ("tcp-close-timeout", &mut t.tcp_close),
        ("tcp-max-retrans-timeout", &mut t.tcp_max_retrans),
        ("tcp-unacked-timeout", &mut t.tcp_unacked),
        ("udp-timeout", &mut t.udp),
        ("udp-stream-timeout", &mut t.udp_stream),
        ("udplite-timeout", &mut t.udplite),
        ("udplite-stream-timeout", &mut t.udplite_stream),
        ("sctp-closed-timeout", &mut t.sctp_closed),
        ("sctp-cookie-wait-timeout", &mut t.sctp_cookie_wait),
        ("sctp-cookie-echoed-timeout", &mut t.sctp_cookie_echoed),
        ("sctp-established-timeout", &mut t.sctp_established),
        ("sctp-shutdown-sent-timeout", &mut t.sctp_shutdown_sent),
        ("sctp-shutdown-recd-timeout", &mut t.sctp_shutdown_recd),
        (
            "sctp-shutdown-ack-sent-timeout",
            &mut t.sctp_shutdown_ack_sent,
        ),
        ("sctp-heartbeat-sent-timeout", &mut t.sctp_heartbeat_sent),
        ("dccp-request-timeout", &mut t.dccp_request),
        ("dccp-respond-timeout", &mut t.dccp_respond),
        ("dccp-partopen-timeout", &mut t.dccp_partopen),
        ("dccp-open-timeout", &mut t.dccp_open),
        ("dccp-closereq-timeout", &mut t.dccp_closereq),
        ("dccp-closing-timeout", &mut t.dccp_closing),
        ("dccp-timewait-timeout", &mut t.dccp_timewait),
        ("gre-timeout", &mut t.gre),
        ("gre-stream-timeout", &mut t.gre_stream),
        ("icmp-timeout", &mut t.icmp),
        ("generic-timeout", &mut t.generic),
    ] {
        if let Some(value) = section.read(key, problems, timeout) {
            *field = value;
        }
    }
}

fn enabled(node: &Node, problems: &mut Problems) -> Option<Enabled> {
    const CHOICES: &[(&str, Enabled)] = &[
        ("auto", Enabled::Auto),
        ("yes", Enabled::Yes),
        ("no", Enabled::No),
        ("true", Enabled::Yes),
        ("false", Enabled::No),
    ];
    let text = &scalar(node, problems)?.text;
    or_report(choice(text, "a way to track", CHOICES), node.span, problems)
}

fn timeout(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let value = word::<Duration>(node, problems)?;
    if value < Duration::from_secs(1) || value > TIMEOUT_MAX {
        let days = TIMEOUT_MAX.as_secs() / 86_400;
        problems.error(
            node.span,
            format!("a timeout is between 1s and {days}d; write one in that range"),
        );
        return None;
    }
    Some(value)
}
