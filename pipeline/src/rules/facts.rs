//! What the rules can know about one packet.

use std::net::IpAddr;

use turnpike_conntrack::ids::{ConnState, HelperId};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::ids::{IfaceId, RoutingTableId};
use crate::policy::{IpFamily, NatStateSet};
use crate::rules::marks::Marks;
use crate::rules::matchers::End;

/// One packet as the rules see it; what it does not have, or does not have yet, is `None`.
///
/// Addresses and ports are those the packet carries at that point: behind dst-nat the translated
/// destination, before src-nat the original source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// IP protocol.
    pub proto: Proto,
    /// Source port in host order; `None` where the protocol has none or a fragment hides it.
    pub src_port: Option<u16>,
    /// Destination port in host order.
    pub dst_port: Option<u16>,
    /// ICMP or ICMPv6 type and code.
    pub icmp: Option<(u8, u8)>,
    /// Where it came in; `None` for packets of the gateway itself.
    pub in_interface: Option<IfaceId>,
    /// Where it will leave; `None` before routing and for packets to the gateway itself.
    pub out_interface: Option<IfaceId>,
    /// Its connection's state; `None` before connection tracking has seen it.
    pub state: Option<ConnState>,
    /// How its connection is translated; empty where there is none.
    pub nat_state: NatStateSet,
    /// What reads its connection, or has announced it.
    pub helper: Option<HelperId>,
    /// What its connection was found to carry.
    pub layer7: Layer7,
    /// When it is looked at: members of address lists come and go.
    pub now: Tick,
    /// Its marks; those of its own and of its way are none until a rule has set them.
    pub marks: Marks,
    /// The routing table by which its way was found; `None` before routing.
    pub routing_table: Option<RoutingTableId>,
}

impl Facts {
    /// The packet's address family.
    pub const fn family(&self) -> IpFamily {
        IpFamily::of(self.src)
    }

    /// The address at `end`.
    pub const fn address(&self, end: End) -> IpAddr {
        match end {
            End::Src => self.src,
            End::Dst => self.dst,
        }
    }

    /// The port at `end`.
    pub const fn port(&self, end: End) -> Option<u16> {
        match end {
            End::Src => self.src_port,
            End::Dst => self.dst_port,
        }
    }
}
