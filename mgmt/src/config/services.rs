//! `services`: the gateway's own listeners.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::address::Prefix;
use super::section::{Keys, Section, Word, items, or_report, scalar, word};
use super::value::{Switch, Text, number};
use crate::problem::Problems;
use crate::yaml::Node;

/// The management socket where none is written.
pub const SOCKET_DEFAULT: &str = "/run/turnpike/api.sock";
/// The port of the metrics listener where none is written.
pub const METRICS_PORT_DEFAULT: u16 = 9477;
/// The longest path that a Unix socket can have, in bytes.
pub const SOCKET_PATH_MAX: usize = 107;

const SERVICES: Keys = Keys {
    of: "`services`",
    known: &["api", "metrics"],
    later: &["api-ssl"],
    elsewhere: &[],
};

const API: Keys = Keys {
    of: "`api`",
    known: &["socket", "comment"],
    later: &["disabled", "max-sessions"],
    elsewhere: &[],
};

const METRICS: Keys = Keys {
    of: "`metrics`",
    known: &["port", "address", "disabled", "comment"],
    later: &["certificate", "tls-version", "vrf", "max-sessions"],
    elsewhere: &[],
};

/// The listeners to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicesConfig {
    /// The path of the management socket.
    pub socket: PathBuf,
    /// The metrics listener, `None` if there is to be none.
    pub metrics: Option<MetricsConfig>,
}

/// The metrics listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The TCP port of the host.
    pub port: u16,
    /// The prefixes that may ask; loopback where none is written.
    pub allowed: Vec<IpNet>,
}

impl MetricsConfig {
    /// Whether `peer` may ask; an IPv4 address inside IPv6 counts as the IPv4 address.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.allowed.iter().any(|net| net.contains(&peer))
    }
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            socket: SOCKET_DEFAULT.into(),
            metrics: None,
        }
    }
}

/// Reads `services:`.
pub fn decode(node: Option<&Node>, problems: &mut Problems) -> ServicesConfig {
    let mut out = ServicesConfig::default();
    let Some(section) = node.and_then(|n| Section::open(n, &SERVICES, problems)) else {
        return out;
    };
    if let Some(api) = section.read("api", problems, |n, p| Section::open(n, &API, p)) {
        api.read("comment", problems, word::<Text>);
        if let Some(socket) = api.read("socket", problems, socket) {
            out.socket = socket;
        }
    }
    out.metrics = section.read("metrics", problems, metrics);
    out
}

fn socket(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let text = &scalar(node, problems)?.text;
    let good = text.starts_with('/') && text.len() <= SOCKET_PATH_MAX && !text.contains('\0');
    if !good {
        problems.error(
            node.span,
            format!(
                "`{text}` cannot be a socket's path; write an absolute path of at most \
                 {SOCKET_PATH_MAX} bytes, for example {SOCKET_DEFAULT}"
            ),
        );
    }
    good.then(|| PathBuf::from(text))
}

fn metrics(node: &Node, problems: &mut Problems) -> Option<MetricsConfig> {
    let section = Section::open(node, &METRICS, problems)?;
    section.read("comment", problems, word::<Text>);
    let disabled = section.read("disabled", problems, word::<Switch>);
    let port = section.read("port", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        or_report(number(text, 1, 65_535), n.span, problems).and_then(|n| u16::try_from(n).ok())
    });
    let mut allowed = Vec::new();
    match section.field("address") {
        Some(node) => {
            for item in items(node, problems).unwrap_or_default() {
                let read = prefix_or_host(item.text);
                allowed.extend(or_report(read, item.span, problems));
            }
            if allowed.is_empty() && problems.errors() == 0 {
                problems.warning(node.span, "nobody may ask for metrics: `address` is empty");
            }
        }
        None => allowed.extend(
            ["127.0.0.0/8", "::1/128"]
                .iter()
                .filter_map(|net| net.parse::<IpNet>().ok()),
        ),
    }
    (disabled != Some(Switch::On)).then(|| MetricsConfig {
        port: port.unwrap_or(METRICS_PORT_DEFAULT),
        allowed,
    })
}

fn prefix_or_host(text: &str) -> Result<IpNet, String> {
    text.parse::<IpAddr>()
        .map(IpNet::from)
        .or_else(|_| Prefix::read(text).map(|p| p.0))
}
