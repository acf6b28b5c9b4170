//! What a rule asks of a packet, as checked values.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use turnpike_conntrack::ids::{ConnState, HelperId};
use turnpike_conntrack::tuple::Proto;

use super::asks::PacketAsk;
use super::edits::MarkKind;
use super::fields::Classifier;
use super::layer7::{Layer7Fail, PeerToPeer};
use crate::ids::{IfaceId, InterfaceListId, Layer7Id, ListId, MarkId, RoutingTableId};

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
///
/// Each question but those in `packet` has the same answer for all packets of a flow in one state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matchers {
    /// `family`: this address family only.
    pub family: Option<IpFamily>,
    /// `connection-state`: one of these states.
    pub connection_state: Option<Match<StateSet>>,
    /// `connection-nat-state`: translated in one of these ways.
    pub connection_nat_state: Option<Match<NatStateSet>>,
    /// `connection-type`: this helper has announced it, or reads it.
    pub connection_type: Option<Match<HelperId>>,
    /// `layer7-protocol`: what its connection carries was found to be this.
    pub layer7_protocol: Option<Match<Layer7Id>>,
    /// `p2p`: it was found to be one of a group.
    pub p2p: Option<Match<PeerToPeer>>,
    /// `layer7-fail`: what the two above make of a connection that could not be looked at.
    pub layer7_fail: Option<Layer7Fail>,
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
    /// `ipsec-policy`.
    pub ipsec_policy: Option<Match<IpsecPolicy>>,
    /// `connection-mark`, `packet-mark` and `routing-mark`, at most one of a kind.
    pub marks: Vec<Match<Mark>>,
    /// `routing-table`: the one by which the packet's way was found.
    pub routing_table: Option<Match<RoutingTableId>>,
    /// `per-connection-classifier`.
    pub classifier: Option<Match<Classifier>>,
    /// What only the packet at hand can answer, in the order in which it is asked.
    pub packet: Vec<Match<PacketAsk>>,
}

/// `ipsec-policy`: whether a packet came, or will leave, under IPsec; none does, for no tunnel ends
/// at this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpsecPolicy {
    /// Whether it came, or will leave.
    pub side: IpsecSide,
    /// What is asked for.
    pub protection: Protection,
}

/// Which way a packet passes IPsec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpsecSide {
    /// `in`.
    In,
    /// `out`.
    Out,
}

/// Whether a packet is protected by IPsec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protection {
    /// `ipsec`.
    Ipsec,
    /// `none`.
    None,
}

/// A mark that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// What carries it.
    pub kind: MarkKind,
    /// Which; `None` is `no-mark`.
    pub mark: Option<MarkId>,
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
