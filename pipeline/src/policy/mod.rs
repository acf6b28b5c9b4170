//! The checked configuration as the pipeline understands it: names resolved, values in range.
//!
//! Management reads YAML into a [`Policy`]; compiling one into a `Program` cannot fail. Every rule
//! keeps where it was written and its canonical text, by which counters follow it over a reload.

mod action;
mod asks;
mod edits;
mod fields;
mod headers;
mod layer7;
mod matchers;
mod payload;
mod rates;
mod routing;
mod service_ports;
mod sniff;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use turnpike_conntrack::timeouts::{SYN_FLOOD_WATERMARK, TrackingConfig};

use crate::ids::{IfaceId, PortId};
use crate::wall::Zone;

pub use crate::layer7::Layer7Policy;
pub use action::{
    Action, ListTimeout, PortChoice, PortRange, RejectWith, SameBy, Translation, Unreachable,
};
pub use asks::{Comparison, PacketAsk};
pub use edits::{Edit, MarkKind, NewMss, NewPriority, Then, TtlChange};
pub use fields::{Classifier, FlowFields};
pub use headers::{Extent, HeaderAsk, HeaderSet, Ipv4OptionSet, Ipv4Options, Piece, TcpFlags};
pub use layer7::{Layer7Fail, Layer7Protocol, PeerToPeer};
pub use matchers::{
    AddressRange, AddressTypeSet, ConnectionLimit, IcmpOptions, IpFamily, IpsecPolicy, IpsecSide,
    Mark, Match, Matchers, NatStateSet, PortSet, Protection, StateSet,
};
pub use payload::{CONTENT_MAX, Content, PayloadAsk};
pub use rates::{DestinationLimit, Hours, Nth, RateAsk, RateLimit, RateUnit, ScanWeights, Volume};
pub use routing::{Routing, RoutingAction, RoutingRule, RoutingTable};
pub use service_ports::{ServicePort, ServicePorts, WhenFull};
pub use sniff::{SNIFF_PORT, Sniff, SniffForm};

/// Everything a program is compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Logical interfaces; an [`IfaceId`] is an index here.
    pub interfaces: Vec<Interface>,
    /// Named lists of interfaces; an [`InterfaceListId`](crate::ids::InterfaceListId) is an index
    /// here.
    pub interface_lists: Vec<InterfaceList>,
    /// Static routes; routes to connected prefixes follow from the interfaces' addresses.
    pub routes: Vec<Route>,
    /// Further routing tables, and the rules that choose between them.
    pub routing: Routing,
    /// Named lists of addresses; a [`ListId`](crate::ids::ListId) is an index here.
    pub address_lists: Vec<AddressList>,
    /// Names of marks; a [`MarkId`](crate::ids::MarkId) is an index here.
    pub marks: Vec<String>,
    /// What connections are looked through for.
    pub layer7: Layer7Policy,
    /// Connection tracking.
    pub tracking: Tracking,
    /// The helpers.
    pub service_ports: ServicePorts,
    /// The time zone that rules tell the time in.
    pub zone: Zone,
    /// The raw table.
    pub raw: Table,
    /// The mangle table.
    pub mangle: Table,
    /// The nat table.
    pub nat: Table,
    /// The filter table.
    pub filter: Table,
}

impl Policy {
    /// The table of this kind.
    pub const fn table(&self, kind: TableKind) -> &Table {
        match kind {
            TableKind::Raw => &self.raw,
            TableKind::Mangle => &self.mangle,
            TableKind::Nat => &self.nat,
            TableKind::Filter => &self.filter,
        }
    }

    /// Whether a rule has `connection-nat-state`.
    pub fn asks_nat_state(&self) -> bool {
        let chains = TableKind::ALL
            .into_iter()
            .flat_map(|kind| &self.table(kind).chains);
        let mut rules = chains.flat_map(|chain| &chain.rules);
        rules.any(|rule| rule.matchers.connection_nat_state.is_some())
    }

    /// Whether a rule that is not disabled needs connections to be tracked.
    ///
    /// This is what `connection-tracking: { enabled: auto }` asks: a nat rule does, and so does
    /// a rule that asks for a connection's state or sets its fasttrack flag.
    pub fn needs_tracking(&self) -> bool {
        TableKind::ALL.into_iter().any(|kind| {
            let rules = self.table(kind).chains.iter().flat_map(|c| &c.rules);
            rules
                .filter(|rule| !rule.disabled)
                .any(|rule| kind == TableKind::Nat || rule.needs_tracking())
        })
    }
}

/// A logical interface: a port, or a VLAN on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the configuration.
    pub name: String,
    /// The port that carries it.
    pub port: PortId,
    /// The 802.1Q identifier, `None` for untagged frames.
    pub vlan: Option<u16>,
    /// Its addresses, each with the prefix that is on the link.
    pub addresses: Vec<IpNet>,
    /// The largest IP packet it carries, in bytes.
    pub mtu: u16,
}

/// A named list of interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceList {
    /// Its name.
    pub name: String,
    /// Its members, sorted and without repeats.
    pub members: Vec<IfaceId>,
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By which way.
    pub via: Via,
}

/// The way a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A neighbour on an interface.
    Gateway(IfaceId, IpAddr),
    /// The destination itself is on the interface's link.
    Interface(IfaceId),
    /// Nowhere: the packet is dropped and its sender told.
    Unreachable,
    /// Nowhere: the packet is dropped silently.
    Blackhole,
}

/// A named list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressList {
    /// Its name.
    pub name: String,
    /// Its prefixes; ranges have been split into prefixes.
    pub prefixes: Vec<IpNet>,
    /// Prefixes that are in it for so long after they came into the configuration.
    pub timed: Vec<(IpNet, Duration)>,
    /// Prefixes that are written and `disabled`: they are kept for display and not in it.
    pub disabled: Vec<IpNet>,
    /// Host names whose addresses are in it, as the resolver knows them.
    pub hosts: Vec<String>,
}

/// Connection tracking settings, RouterOS's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracking {
    /// Whether connections are tracked: `auto` has been decided by the rules.
    pub enabled: bool,
    /// Whether a TCP connection may be picked up in the middle.
    pub loose_tcp: bool,
    /// Whether TCP segments outside the window pass as part of the connection.
    pub liberal_tcp: bool,
    /// `syn-flood-watermark`: how much of a worker's table, in percent, unfinished TCP handshakes
    /// may take before the SYN gate closes.
    pub syn_flood_watermark: u8,
    /// How long idle connections live, by protocol and state.
    pub timeouts: turnpike_conntrack::timeouts::Timeouts,
}

impl Tracking {
    /// The settings as the trackers take them.
    pub fn config(&self) -> TrackingConfig {
        TrackingConfig {
            timeouts: self.timeouts,
            loose_tcp: self.loose_tcp.into(),
            liberal_tcp: self.liberal_tcp.into(),
            syn_flood_watermark: self.syn_flood_watermark,
        }
    }
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            enabled: true,
            loose_tcp: true,
            liberal_tcp: false,
            syn_flood_watermark: SYN_FLOOD_WATERMARK,
            timeouts: turnpike_conntrack::timeouts::Timeouts::default(),
        }
    }
}

/// One facility's chains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Built-in chains first, in the order of [`TableKind::built_in_chains`], then custom ones.
    pub chains: Vec<Chain>,
}

/// Which facility a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Before connection tracking.
    Raw,
    /// Marks and changes, around all that follows.
    Mangle,
    /// Translation, judged once per connection.
    Nat,
    /// What may pass.
    Filter,
}

impl TableKind {
    /// Every table, in the order a packet meets them first.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Mangle, Self::Nat, Self::Filter];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    /// The chains that exist without being written, in the order of their
    /// [`ChainId`](crate::ids::ChainId)s.
    pub const fn built_in_chains(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["prerouting", "output"],
            Self::Mangle => &["prerouting", "input", "forward", "output", "postrouting"],
            Self::Nat => &["dstnat", "srcnat", "input", "output"],
            Self::Filter => &["input", "forward", "output"],
        }
    }
}

/// A named sequence of rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its rules, in order; disabled ones are kept for display and never match.
    pub rules: Vec<Rule>,
}

/// One rule: when all matchers hold, the action is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What has to hold.
    pub matchers: Matchers,
    /// What is done.
    pub action: Action,
    /// `log: yes`: matching packets are logged besides the action, with this prefix.
    pub log: Option<Arc<str>>,
    /// The comment, empty when there is none.
    pub comment: Arc<str>,
    /// `disabled: yes`.
    pub disabled: bool,
    /// `randomise-ports`: how a translation of its chooses ports.
    pub port_choice: PortChoice,
    /// Where it was written.
    pub source: Source,
    /// The rule in canonical words: equal text means the same rule over a reload.
    pub text: Arc<str>,
}

impl Rule {
    /// Whether the rule means nothing without connection tracking.
    pub fn needs_tracking(&self) -> bool {
        self.matchers.connection_state.is_some()
            || self.matchers.connection_nat_state.is_some()
            || self.matchers.connection_limit.is_some()
            || self.matchers.connection_type.is_some()
            || self.matchers.layer7_protocol.is_some()
            || self.matchers.p2p.is_some()
            || self
                .matchers
                .marks
                .iter()
                .any(|m| m.value.kind == MarkKind::Connection)
            || self
                .matchers
                .packet
                .iter()
                .any(|m| m.value.needs_tracking())
            || matches!(
                self.action,
                Action::Fasttrack | Action::Edit(Edit::Mark(MarkKind::Connection, _), _)
            )
    }
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
