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

    /// A table of static routes alone.
    pub fn of_routes(routes: &[Route]) -> Self {
        let mut fib = Self::default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PortId;
    use crate::testing::{gateway, ip};
    use proptest::prelude::*;

    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);

    fn route(destination: &str, via: Via) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            via,
        }
    }

    fn fib(routes: &[Route]) -> Fib {
        Fib::build(&gateway().interfaces, &[LINK_LOCAL], routes)
    }

    fn on_link(id: u16) -> Option<NextHop> {
        Some(NextHop::Neighbour {
            iface: IfaceId(id),
            gateway: None,
        })
    }

    #[test]
    fn own_addresses_are_local_and_their_neighbours_on_the_link() {
        let fib = fib(&[]);
        for own in ["192.168.88.1", "203.0.113.2", "10.20.0.1", "2001:db8:88::1"] {
            assert_eq!(fib.lookup(ip(own)), Some(NextHop::Local), "{own}");
        }
        assert_eq!(fib.lookup(ip("192.168.88.2")), on_link(0));
        assert_eq!(fib.lookup(ip("10.20.255.254")), on_link(2));
        assert_eq!(fib.lookup(ip("2001:db8:ffff::1")), on_link(1));
        assert_eq!(fib.lookup(ip("8.8.8.8")), None);
        assert_eq!(fib.lookup(ip("2001:db8::1")), None);
    }

    #[test]
    fn both_ends_of_a_connected_prefix_are_broadcast() {
        let fib = fib(&[]);
        let lan = Some(NextHop::Broadcast(Some(IfaceId(0))));
        assert_eq!(fib.lookup(ip("192.168.88.0")), lan);
        assert_eq!(fib.lookup(ip("192.168.88.255")), lan);
        assert_eq!(fib.lookup(ip("10.20.0.255")), on_link(2));
        let everybody = Some(NextHop::Broadcast(None));
        assert_eq!(fib.lookup(ip("255.255.255.255")), everybody);
    }

    #[test]
    fn a_point_to_point_prefix_has_no_broadcast_address() {
        let mut interfaces = gateway().interfaces;
        interfaces[0].addresses = ["10.0.0.0/31", "10.0.9.9/32"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let fib = Fib::build(&interfaces, &[], &[]);
        assert_eq!(fib.lookup(ip("10.0.0.0")), Some(NextHop::Local));
        assert_eq!(fib.lookup(ip("10.0.0.1")), on_link(0));
        assert_eq!(fib.lookup(ip("10.0.9.9")), Some(NextHop::Local));
        assert_eq!(fib.lookup(ip("10.0.9.8")), None);
    }

    #[test]
    fn the_longest_prefix_wins_and_connected_beats_static() {
        let gateway = ip("203.0.113.1");
        let fib = fib(&[
            route("0.0.0.0/0", Via::Gateway(IfaceId(1), gateway)),
            route("10.0.0.0/8", Via::Blackhole),
            route("10.9.0.0/16", Via::Unreachable),
            route("10.9.9.0/24", Via::Interface(IfaceId(2))),
            route("192.168.88.0/24", Via::Blackhole),
            route("10.0.0.0/8", Via::Unreachable),
        ]);
        let by_gateway = Some(NextHop::Neighbour {
            iface: IfaceId(1),
            gateway: Some(gateway),
        });
        assert_eq!(fib.lookup(ip("8.8.8.8")), by_gateway);
        assert_eq!(fib.lookup(ip("10.1.1.1")), Some(NextHop::Blackhole));
        assert_eq!(fib.lookup(ip("10.9.1.1")), Some(NextHop::Unreachable));
        assert_eq!(fib.lookup(ip("10.9.9.1")), on_link(2));
        assert_eq!(fib.lookup(ip("192.168.88.2")), on_link(0));
        assert_eq!(fib.lookup(ip("2001:db8::1")), None);
    }

    #[test]
    fn link_local_addresses_are_ours_or_go_nowhere() {
        let mut interfaces = gateway().interfaces;
        interfaces[0].addresses.push("fe80::5/64".parse().unwrap());
        let default = route("::/0", Via::Interface(IfaceId(1)));
        let fib = Fib::build(&interfaces, &[LINK_LOCAL], &[default]);
        assert_eq!(fib.lookup(IpAddr::V6(LINK_LOCAL)), Some(NextHop::Local));
        assert_eq!(fib.lookup(ip("fe80::5")), Some(NextHop::Local));
        assert_eq!(fib.lookup(ip("fe80::6")), Some(NextHop::Blackhole));
        assert_eq!(fib.lookup(ip("febf::1")), Some(NextHop::Blackhole));
        assert_eq!(fib.lookup(ip("fec0::1")), on_link(1));
    }

    #[test]
    fn every_address_has_one_of_four_types() {
        let fib = fib(&[]);
        let types = [
            ("192.168.88.1", AddressType::Local),
            ("2001:db8:88::1", AddressType::Local),
            ("192.168.88.255", AddressType::Broadcast),
            ("255.255.255.255", AddressType::Broadcast),
            ("224.0.0.1", AddressType::Multicast),
            ("ff02::1", AddressType::Multicast),
            ("192.168.88.7", AddressType::Unicast),
            ("8.8.8.8", AddressType::Unicast),
        ];
        for (address, expected) in types {
            assert_eq!(fib.address_type(ip(address)), expected, "{address}");
            for (bit, kind) in [
                (AddressTypeSet::UNICAST, AddressType::Unicast),
                (AddressTypeSet::LOCAL, AddressType::Local),
                (AddressTypeSet::BROADCAST, AddressType::Broadcast),
                (AddressTypeSet::MULTICAST, AddressType::Multicast),
            ] {
                let is_in = expected.is_in(AddressTypeSet(bit));
                assert_eq!(is_in, expected == kind, "{address}");
            }
        }
    }

    /// What the table should say, by trying every claim: longest prefix, then strength, then order.
    fn scan(interfaces: &[Interface], routes: &[Route], to: IpAddr) -> Option<NextHop> {
        let mut claims: Vec<(IpNet, u8, NextHop)> = Vec::new();
        for (n, iface) in (0..).zip(interfaces) {
            for net in &iface.addresses {
                claims.push((host(net.addr()), 4, NextHop::Local));
                if net.addr().is_ipv4() && net.max_prefix_len() - net.prefix_len() > 1 {
                    let hop = NextHop::Broadcast(Some(IfaceId(n)));
                    claims.push((host(net.network()), 2, hop));
                    claims.push((host(net.broadcast()), 2, hop));
                }
                claims.push((*net, 1, on_link(n).unwrap()));
            }
        }
        claims.extend(routes.iter().map(|r| (r.destination, 0, r.via.into())));
        claims.push((host(ip("255.255.255.255")), 3, NextHop::Broadcast(None)));
        claims.push((link_local_net(), 3, NextHop::Blackhole));
        claims.reverse();
        let covering = claims.iter().filter(|(net, _, _)| net.contains(&to));
        let best = covering.max_by_key(|(net, strength, _)| (net.prefix_len(), *strength));
        best.map(|(_, _, hop)| *hop)
    }

    prop_compose! {
        fn near_net()(v6: bool, bits in 0u32..256, len in 0u8..=32) -> IpNet {
            match v6 {
                true => {
                    let wide = u128::from(bits >> 4) << 124 | u128::from(bits & 15);
                    IpNet::new(Ipv6Addr::from(wide).into(), len * 4).unwrap()
                }
                false => {
                    let narrow = bits >> 4 << 28 | bits & 15;
                    IpNet::new(Ipv4Addr::from(narrow).into(), len).unwrap()
                }
            }
        }
    }

    prop_compose! {
        fn near_interface()(
            addresses in proptest::collection::vec(near_net(), 0..3),
        ) -> Interface {
            Interface {
                name: String::new(),
                port: PortId(0),
                vlan: None,
                // Configured link-local addresses have a test of their own.
                addresses: addresses
                    .into_iter()
                    .filter(|net| !link_local_net().contains(&net.addr()))
                    .collect(),
                mtu: 1500,
            }
        }
    }

    proptest! {
        #[test]
        fn lookup_is_what_a_scan_over_every_claim_says(
            interfaces in proptest::collection::vec(near_interface(), 0..4),
            nets in proptest::collection::vec(near_net(), 0..8),
            probes in proptest::collection::vec(near_net(), 1..40),
        ) {
            let vias = [
                Via::Blackhole,
                Via::Unreachable,
                Via::Interface(IfaceId(7)),
                Via::Gateway(IfaceId(8), ip("192.0.2.1")),
            ];
            let routes: Vec<Route> = nets.iter().zip(vias.iter().cycle())
                .map(|(net, via)| Route { destination: net.trunc(), via: *via })
                .collect();
            let fib = Fib::build(&interfaces, &[], &routes);
            for probe in probes {
                let to = probe.addr();
                prop_assert_eq!(fib.lookup(to), scan(&interfaces, &routes, to), "{}", to);
            }
        }
    }
}
