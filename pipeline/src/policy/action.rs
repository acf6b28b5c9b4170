//! What a matching rule does, and what it may choose from.

use std::sync::Arc;
use std::time::Duration;

use super::edits::{Edit, Then};
use super::matchers::AddressRange;
use super::sniff::Sniff;
use crate::ids::{ChainId, ListId};
use crate::rules::matchers::End;

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
    /// The address at one end of the packet is added to a list; the next rule is looked at.
    AddToList(End, ListId, ListTimeout),
    /// mangle: the packet, or its connection, is changed.
    Edit(Edit, Then),
    /// mangle: a copy of the packet is sent to a sniffer; the next rule is looked at.
    Sniff(Sniff),
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

/// `address-list-timeout`: how long an address stays in a list that a rule adds it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListTimeout {
    /// So long after the last packet that added it.
    For(Duration),
    /// `none-dynamic`: as long as the gateway runs.
    NoneDynamic,
    /// `none-static`: the same, and it is shown as one that is meant to stay.
    NoneStatic,
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
    /// `tarpit`: a TCP client is let believe that it is connected, and may never send anything.
    Tarpit,
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
    /// `icmp-not-neighbour` of IPv6; for IPv4 host unreachable.
    NotNeighbour,
    /// `icmp-err-src-routing-header` of IPv6; for IPv4 source route failed.
    SourceRoutingHeader,
    /// `icmp-headers-too-long` of IPv6; for IPv4 administratively prohibited.
    HeadersTooLong,
}
