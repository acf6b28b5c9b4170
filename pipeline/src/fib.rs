//! Routing: longest-prefix match over connected prefixes and static routes, both families.
//!
//! For one prefix the strongest claim stands: an own address, a broadcast address, a connected
//! prefix, a static route; among equals the first written. Link-local IPv6 destinations have a
//! meaning on one link only and are never forwarded (RFC 4291, 2.5.6): unless it is one of ours,
//! such an address leads to [`NextHop::Blackhole`]. Groups are the caller's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::joint::JointPrefixMap;

use crate::ids::IfaceId;
use crate::policy::{AddressTypeSet, Interface, Route, Via};

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// One of our own addresses.
    Local,
    /// A station on an interface's link.
    Neighbour {
        /// The interface it is reached by.
        iface: IfaceId,
        /// The router to hand it to; `None` when the destination itself is on the link.
        gateway: Option<IpAddr>,
    },
    /// Every station on a link: the network or broadcast address of a connected IPv4 prefix, or
    /// 255.255.255.255, which belongs to no interface in particular.
    Broadcast(Option<IfaceId>),
    /// Nowhere, and the sender is told.
    Unreachable,
    /// Nowhere, silently.
    Blackhole,
}

/// What kind of address this is from where the gateway stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressType {
    /// A single station elsewhere.
    Unicast,
    /// One of the gateway's own addresses.
    Local,
    /// A broadcast address of a connected prefix, or 255.255.255.255.
    Broadcast,
    /// A group.
    Multicast,
}

impl AddressType {
    /// Whether a rule that asks for one of `set` asks for this type.
    pub const fn is_in(self, set: AddressTypeSet) -> bool {
        set.contains(match self {
            Self::Unicast => AddressTypeSet::UNICAST,
            Self::Local => AddressTypeSet::LOCAL,
            Self::Broadcast => AddressTypeSet::BROADCAST,
            Self::Multicast => AddressTypeSet::MULTICAST,
        })
    }
}

/// The forwarding table of both families.
#[derive(Debug, Clone, Default)]
pub struct Fib {
    hops: JointPrefixMap<IpNet, NextHop>,
}

impl Fib {
    /// Builds the table from the interfaces' addresses, their link-local addresses and the static
    /// routes; an [`IfaceId`] is an index into `interfaces`.
    pub fn build(interfaces: &[Interface], link_locals: &[Ipv6Addr], routes: &[Route]) -> Self {
        let addresses = || {
            (0..)
                .map(IfaceId)
                .zip(interfaces)
                .flat_map(|(id, iface)| iface.addresses.iter().map(move |address| (id, *address)))
        };
        let mut fib = Self::default();
        for (_, address) in addresses() {
            fib.claim(host(address.addr()), NextHop::Local);
        }
        for address in link_locals {
            fib.claim(host(IpAddr::V6(*address)), NextHop::Local);
        }
        let everybody = host(IpAddr::V4(Ipv4Addr::BROADCAST));
        fib.claim(everybody, NextHop::Broadcast(None));
        for (id, address) in addresses() {
            // On /31 both addresses are stations (RFC 3021); on /32 there is no link.
            if let IpNet::V4(net) = address
                && net.prefix_len() < 31
            {
                fib.claim(host(net.network().into()), NextHop::Broadcast(Some(id)));
                fib.claim(host(net.broadcast().into()), NextHop::Broadcast(Some(id)));
            }
        }
        fib.claim(link_local_net(), NextHop::Blackhole);
        for (iface, address) in addresses() {
            if !link_local_net().contains(&address.addr()) {
                fib.claim(
                    address.trunc(),
                    NextHop::Neighbour {
                        iface,
                        gateway: None,
                    },
                );
            }
        }
        for route in routes {
            fib.claim(route.destination.trunc(), route.via.into());
        }
        fib
    }

    /// The way towards `ip`, by the longest prefix that covers it; `None` if none does.
    pub fn lookup(&self, ip: IpAddr) -> Option<NextHop> {
        self.hops.get_lpm(&IpNet::from(ip)).map(|(_, hop)| *hop)
    }

    /// What kind of address `ip` is.
    pub fn address_type(&self, ip: IpAddr) -> AddressType {
        if ip.is_multicast() {
            return AddressType::Multicast;
        }
        match self.lookup(ip) {
            Some(NextHop::Local) => AddressType::Local,
            Some(NextHop::Broadcast(_)) => AddressType::Broadcast,
            Some(NextHop::Neighbour { .. } | NextHop::Unreachable | NextHop::Blackhole) | None => {
                AddressType::Unicast
            }
        }
    }

    /// Enters `hop` for `prefix` unless a stronger or earlier claim stands there.
    fn claim(&mut self, prefix: IpNet, hop: NextHop) {
        if !self.hops.contains_key(&prefix) {
            self.hops.insert(prefix, hop);
        }
    }
}

impl From<Via> for NextHop {
    fn from(via: Via) -> Self {
        match via {
            Via::Gateway(iface, gateway) => Self::Neighbour {
                iface,
                gateway: Some(gateway),
            },
            Via::Interface(iface) => Self::Neighbour {
                iface,
                gateway: None,
            },
            Via::Unreachable => Self::Unreachable,
            Via::Blackhole => Self::Blackhole,
        }
    }
}

/// The prefix that holds this address alone.
fn host(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(a) => Ipv4Net::from(a).into(),
        IpAddr::V6(a) => Ipv6Net::from(a).into(),
    }
}

/// fe80::/10.
fn link_local_net() -> IpNet {
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10).into()
}
