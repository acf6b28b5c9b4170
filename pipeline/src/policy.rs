//! The checked configuration as the pipeline understands it: names resolved, values in range.
//!
//! Management reads YAML into a [`Policy`]; compiling one into a `Program` cannot fail. Every rule
//! keeps where it was written and its canonical text, by which counters follow it over a reload.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::timeouts::{SYN_FLOOD_WATERMARK, TrackingConfig};
use turnpike_conntrack::tuple::Proto;

use crate::ids::{ChainId, IfaceId, InterfaceListId, ListId, PortId};

/// Everything a program is compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Logical interfaces; an [`IfaceId`] is an index here.
    pub interfaces: Vec<Interface>,
    /// Named lists of interfaces; an [`InterfaceListId`] is an index here.
    pub interface_lists: Vec<InterfaceList>,
    /// Static routes; routes to connected prefixes follow from the interfaces' addresses.
    pub routes: Vec<Route>,
    /// Named lists of addresses; a [`ListId`] is an index here.
    pub address_lists: Vec<AddressList>,
    /// Connection tracking.
    pub tracking: Tracking,
    /// The raw table.
    pub raw: Table,
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
            TableKind::Nat => &self.nat,
            TableKind::Filter => &self.filter,
        }
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressList {
    /// Its name.
    pub name: String,
    /// Its prefixes; ranges have been split into prefixes.
    pub prefixes: Vec<IpNet>,
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
    /// Translation, judged once per connection.
    Nat,
    /// What may pass.
    Filter,
}

impl TableKind {
    /// Every table, in the order a packet meets them first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Nat, Self::Filter];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    /// The chains that exist without being written, in the order of their [`ChainId`]s.
    pub const fn built_in_chains(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["prerouting", "output"],
            Self::Nat => &["dstnat", "srcnat"],
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
    fn needs_tracking(&self) -> bool {
        self.matchers.connection_state.is_some()
            || self.matchers.connection_nat_state.is_some()
            || self.matchers.connection_limit.is_some()
            || matches!(self.action, Action::Fasttrack)
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

/// A value with RouterOS's `!` in front of it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Match<T> {
    /// What is asked for.
    pub value: T,
    /// Whether it must not be so.
    pub negated: bool,
}

/// What a rule asks of a packet; `None` asks nothing.
///
/// A matcher on something the packet does not have (a port of an ICMP packet, an out-interface in
/// a chain before routing) does not match, negated or not, as in RouterOS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matchers {
    /// `family`: this address family only.
    pub family: Option<IpFamily>,
    /// `connection-state`: one of these states.
    pub connection_state: Option<Match<StateSet>>,
    /// `connection-nat-state`: translated in one of these ways.
    pub connection_nat_state: Option<Match<NatStateSet>>,
    /// `connection-limit`: more connections of the source's block than this.
    pub connection_limit: Option<Match<ConnectionLimit>>,
    /// `protocol`.
    pub protocol: Option<Match<Proto>>,
    /// `src-address`.
    pub src_address: Option<Match<AddressRange>>,
    /// `dst-address`.
    pub dst_address: Option<Match<AddressRange>>,
    /// `src-address-list`.
    pub src_address_list: Option<Match<ListId>>,
    /// `dst-address-list`.
    pub dst_address_list: Option<Match<ListId>>,
    /// `src-address-type`.
    pub src_address_type: Option<Match<AddressTypeSet>>,
    /// `dst-address-type`.
    pub dst_address_type: Option<Match<AddressTypeSet>>,
    /// `src-port`.
    pub src_port: Option<Match<PortSet>>,
    /// `dst-port`.
    pub dst_port: Option<Match<PortSet>>,
    /// `port`: either of them.
    pub port: Option<Match<PortSet>>,
    /// `icmp-options`: type and codes.
    pub icmp_options: Option<Match<IcmpOptions>>,
    /// `in-interface`.
    pub in_interface: Option<Match<IfaceId>>,
    /// `out-interface`.
    pub out_interface: Option<Match<IfaceId>>,
    /// `in-interface-list`.
    pub in_interface_list: Option<Match<InterfaceListId>>,
    /// `out-interface-list`.
    pub out_interface_list: Option<Match<InterfaceListId>>,
}

/// `connection-limit`: holds once the rule has counted more live connections than `count` whose
/// sources have their first `prefix` bits in common with the packet's.
///
/// The rule counts each new connection that all its other matchers hold for, this packet's
/// included, until the connection's entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionLimit {
    /// The most connections that are within the limit.
    pub count: u32,
    /// How many bits of an address make a block; for IPv4 more than 32 are 32.
    pub prefix: u8,
}

impl Match<ConnectionLimit> {
    /// Whether the matcher holds with so many connections.
    pub const fn holds(&self, connections: u32) -> bool {
        (connections > self.value.count) != self.negated
    }
}

/// An address family, named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A set of connection states, one bit per [`ConnState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StateSet(pub u8);

impl StateSet {
    /// The set with `state` added.
    #[must_use]
    pub const fn with(self, state: ConnState) -> Self {
        Self(self.0 | 1 << state as u8)
    }

    /// Whether `state` is in the set.
    pub const fn contains(self, state: ConnState) -> bool {
        self.0 & 1 << state as u8 != 0
    }
}

/// `connection-nat-state`: bit 0 srcnat, bit 1 dstnat; a connection matches if it has any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NatStateSet(pub u8);

impl NatStateSet {
    /// Source translation.
    pub const SRCNAT: u8 = 1;
    /// Destination translation.
    pub const DSTNAT: u8 = 2;

    /// Whether the two sets have a member in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Address types, one bit each; a packet's address matches if its type is in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AddressTypeSet(pub u8);

impl AddressTypeSet {
    /// A single station elsewhere.
    pub const UNICAST: u8 = 1;
    /// One of the gateway's own addresses.
    pub const LOCAL: u8 = 2;
    /// A broadcast address of a connected prefix, or 255.255.255.255.
    pub const BROADCAST: u8 = 4;
    /// A group.
    pub const MULTICAST: u8 = 8;

    /// Whether the type with this bit is in the set.
    pub const fn contains(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// Addresses from first to last, of one family; a prefix or a single address is one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    /// The first address.
    pub first: IpAddr,
    /// The last address, of the same family and not below the first.
    pub last: IpAddr,
}

impl AddressRange {
    /// Whether `ip` is in the range; an address of the other family never is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        // The order of `IpAddr` puts every IPv4 address before every IPv6 one, and both ends are
        // of one family, so comparing is enough.
        self.first <= ip && ip <= self.last
    }
}

impl From<IpNet> for AddressRange {
    fn from(net: IpNet) -> Self {
        Self {
            first: net.network(),
            last: net.broadcast(),
        }
    }
}

impl AddressRange {
    /// The family of both ends.
    pub const fn family(&self) -> IpFamily {
        IpFamily::of(self.first)
    }
}

/// Ports as sorted, disjoint, inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortSet(pub Box<[(u16, u16)]>);

impl PortSet {
    /// Sorts and joins `ranges`.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let mut sorted: Vec<(u16, u16)> = ranges
            .into_iter()
            .filter(|r| !r.is_empty())
            .map(|r| (*r.start(), *r.end()))
            .collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match joined.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                Some(_) | None => joined.push((first, last)),
            }
        }
        Self(joined.into_boxed_slice())
    }

    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|&(first, last)| (first..=last).contains(&port))
    }
}

/// An ICMP or ICMPv6 type with a range of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IcmpOptions {
    /// The type.
    pub kind: u8,
    /// The codes, first to last; 0 to 255 when none was named.
    pub codes: (u8, u8),
}

/// What a matching rule does. Which tables admit which is checked by management.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The packet passes this table.
    Accept,
    /// The packet ends here, silently.
    Drop,
    /// The packet ends here, and its sender is told.
    Reject(RejectWith),
    /// The packet is logged with this prefix and the next rule looked at.
    Log(Arc<str>),
    /// Nothing but counting; the next rule is looked at.
    Passthrough,
    /// The rules of another chain of this table are looked at.
    Jump(ChainId),
    /// The calling chain goes on behind its jump; in a built-in chain, its end.
    Return,
    /// raw: the packet is not tracked.
    NoTrack,
    /// filter: the connection carries the fasttrack flag; the next rule is looked at.
    Fasttrack,
    /// nat: the source becomes one of these.
    SrcNat(Translation),
    /// nat: the source becomes an address of the interface it leaves by.
    Masquerade(Option<PortRange>),
    /// nat: the destination becomes one of these.
    DstNat(Translation),
    /// nat: the destination becomes the gateway itself.
    Redirect(Option<PortRange>),
    /// nat: in srcnat the source becomes one external endpoint towards everybody, by default at an
    /// address of the interface the packet leaves by; in dstnat what comes for such an endpoint
    /// goes to the inside.
    EndpointIndependent(Translation),
    /// nat: the source, or in dstnat the destination, becomes one of these, the same one for the
    /// same client each time.
    Same(Translation, SameBy),
    /// nat: the source, or in dstnat the destination, becomes its counterpart here: each address of
    /// the range that the rule matches has its own.
    Netmap(AddressRange),
}

/// What decides the address that `same` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SameBy {
    /// Who the client is, and whom it talks to.
    #[default]
    Both,
    /// `same-not-by-dst`: who the client is.
    Client,
}

/// What a translation may choose from; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Translation {
    /// `to-addresses`.
    pub addresses: Option<AddressRange>,
    /// `to-ports`.
    pub ports: Option<PortRange>,
}

/// Which external port a translation tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PortChoice {
    /// The one that the connection came with.
    #[default]
    Preserved,
    /// Any, by chance.
    Random,
}

/// Ports from first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
}

/// How a rejected sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectWith {
    /// ICMP type 3 (or ICMPv6 type 1) with the code this stands for.
    Icmp(Unreachable),
    /// A TCP segment with RST; other protocols get a port unreachable.
    TcpReset,
}

/// The unreachable kinds of both families under RouterOS's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreachable {
    /// `icmp-network-unreachable`; for IPv6 `icmp-no-route`.
    Network,
    /// `icmp-host-unreachable`; for IPv6 `icmp-address-unreachable`.
    Host,
    /// `icmp-protocol-unreachable`; for IPv6 `icmp-port-unreachable`.
    Protocol,
    /// `icmp-port-unreachable`, both families.
    Port,
    /// `icmp-net-prohibited`; for IPv6 `icmp-admin-prohibited`.
    NetProhibited,
    /// `icmp-host-prohibited`; for IPv6 `icmp-admin-prohibited`.
    HostProhibited,
    /// `icmp-admin-prohibited`, both families.
    AdminProhibited,
}
