//! Interfaces as the data path asks for them: by port and VLAN, by list, by address.
//!
//! Built from the configuration and from what the engine found out about its ports. An interface
//! of the configuration keeps its [`IfaceId`]. A port that the engine does not have leaves its
//! interfaces without a receiver; nothing fails.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use turnpike_conntrack::rss::Distribution;

use crate::ids::{IfaceId, InterfaceListId, Mac, PORTS_MAX, PortId};
use crate::policy::{InterfaceList, IpFamily, Policy};

/// What the engine knows about a port of its own.
#[derive(Debug, Clone)]
pub struct PortFacts {
    /// The station address.
    pub mac: Mac,
    /// The largest IP packet the device carries, in bytes.
    pub mtu: u16,
    /// Which worker receives which tuple.
    pub distribution: Arc<Distribution>,
}

/// A logical interface, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The port that carries it.
    pub port: PortId,
    /// The 802.1Q identifier, `None` for untagged frames.
    pub vlan: Option<u16>,
    /// The station address of its port.
    pub mac: Mac,
    /// The largest IP packet it carries, in bytes: no more than its port does.
    pub mtu: u16,
    /// Its configured addresses, each with the prefix that is on the link.
    pub addresses: Box<[IpNet]>,
    /// Its IPv6 link-local address, made from `mac`.
    pub link_local: Ipv6Addr,
}

impl InterfaceFacts {
    /// Its configured addresses of one family that mean something beyond the link, in order.
    pub fn routable(&self, family: IpFamily) -> impl Iterator<Item = IpNet> + Clone {
        let all = self.addresses.iter().copied();
        all.filter(move |net| IpFamily::of(net.addr()) == family && !is_link_local(net.addr()))
    }
}

/// Every interface of a program.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    all: Box<[InterfaceFacts]>,
    by_port: Box<[PortMap]>,
    lists: Box<[ListMembers]>,
    ports: Box<[PortFacts]>,
}

#[derive(Debug, Clone, Default)]
struct PortMap {
    untagged: Option<IfaceId>,
    /// Sorted by VLAN.
    tagged: Vec<(u16, IfaceId)>,
}

#[derive(Debug, Clone)]
struct ListMembers {
    name: Box<str>,
    /// One bit per interface.
    bits: Box<[u64]>,
}

impl Interfaces {
    /// Builds the interfaces of `policy` on the engine's ports; a [`PortId`] is an index into
    /// `ports`.
    pub fn build(policy: &Policy, ports: &[PortFacts]) -> Self {
        let all = policy.interfaces.iter().map(|iface| {
            let port = ports.get(usize::from(iface.port.0));
            let mac = port.map_or(Mac::default(), |p| p.mac);
            InterfaceFacts {
                name: iface.name.as_str().into(),
                port: iface.port,
                vlan: iface.vlan,
                mac,
                mtu: port.map_or(iface.mtu, |p| p.mtu.min(iface.mtu)),
                addresses: iface.addresses.as_slice().into(),
                link_local: link_local(mac),
            }
        });
        let all: Box<[InterfaceFacts]> = all.collect();
        let by_port = port_maps(&all);
        let words = all.len().div_ceil(64);
        let lists = policy.interface_lists.iter();
        Self {
            lists: lists.map(|list| ListMembers::new(list, words)).collect(),
            ports: ports.into(),
            by_port,
            all,
        }
    }

    /// The interface that frames with this tag on this port belong to.
    ///
    /// VLAN 0 is a tag that carries a priority only (802.1Q): the frame counts as untagged.
    pub fn by_tag(&self, port: PortId, vlan: Option<u16>) -> Option<IfaceId> {
        let map = self.by_port.get(usize::from(port.0))?;
        let Some(vlan) = vlan.filter(|vlan| *vlan != 0) else {
            return map.untagged;
        };
        let found = map.tagged.binary_search_by_key(&vlan, |(v, _)| *v).ok()?;
        map.tagged.get(found).map(|(_, id)| *id)
    }

    /// The interface with this identifier.
    pub fn find(&self, id: IfaceId) -> Option<&InterfaceFacts> {
        self.all.get(usize::from(id.0))
    }

    /// Every interface with its identifier, in configuration order.
    pub fn iter(&self) -> impl Iterator<Item = (IfaceId, &InterfaceFacts)> {
        (0..).map(IfaceId).zip(&self.all)
    }

    /// How many interfaces there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the interface is in the list; nothing is in a list that does not exist.
    pub fn is_member(&self, list: InterfaceListId, id: IfaceId) -> bool {
        let word = self
            .lists
            .get(usize::from(list.0))
            .and_then(|list| list.bits.get(usize::from(id.0) / 64));
        word.is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
    }

    /// The name of an interface list.
    pub fn list_name(&self, list: InterfaceListId) -> Option<&str> {
        Some(&self.lists.get(usize::from(list.0))?.name)
    }

    /// What a path carries that comes in by one interface and leaves by another, in bytes, as far
    /// as they are known.
    pub fn mtu_between(&self, entry: Option<IfaceId>, exit: Option<IfaceId>) -> Option<u16> {
        let links = [entry, exit].into_iter().flatten();
        links.filter_map(|link| Some(self.find(link)?.mtu)).min()
    }

    /// What the engine said about a port.
    pub fn port(&self, port: PortId) -> Option<&PortFacts> {
        self.ports.get(usize::from(port.0))
    }

    /// The address to speak to `towards` from when leaving by `id`.
    ///
    /// That is the interface's first address whose prefix covers `towards`, else its first of that
    /// family, else `None`. A link-local destination is spoken to from the link-local address.
    pub fn source_address(&self, id: IfaceId, towards: IpAddr) -> Option<IpAddr> {
        let iface = self.find(id)?;
        if is_link_local(towards) {
            return Some(IpAddr::V6(iface.link_local));
        }
        let mut candidates = iface.routable(IpFamily::of(towards));
        let first = candidates.clone().next()?;
        let covering = candidates.find(|net| net.contains(&towards));
        Some(covering.unwrap_or(first).addr())
    }
}

impl ListMembers {
    fn new(list: &InterfaceList, words: usize) -> Self {
        let mut bits = vec![0u64; words];
        for member in &list.members {
            if let Some(word) = bits.get_mut(usize::from(member.0) / 64) {
                *word |= 1 << (member.0 % 64);
            }
        }
        Self {
            name: list.name.as_str().into(),
            bits: bits.into(),
        }
    }
}

fn port_maps(all: &[InterfaceFacts]) -> Box<[PortMap]> {
    let mut maps = vec![PortMap::default(); PORTS_MAX];
    for (id, iface) in (0..).map(IfaceId).zip(all) {
        let Some(map) = maps.get_mut(usize::from(iface.port.0)) else {
            continue;
        };
        match iface.vlan {
            None => map.untagged = map.untagged.or(Some(id)),
            Some(vlan) => map.tagged.push((vlan, id)),
        }
    }
    for map in &mut maps {
        // Stable, and the first of two equal tags stays: configuration refuses such pairs.
        map.tagged.sort_by_key(|(vlan, _)| *vlan);
        map.tagged.dedup_by_key(|(vlan, _)| *vlan);
    }
    maps.into()
}

/// Whether this is an IPv6 address that means something on one link only.
const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}

/// fe80::/64 with the modified EUI-64 of the station address (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, g] = mac.0;
    let id = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, g];
    let bits = 0xfe80_u128 << 112 | u128::from(u64::from_be_bytes(id));
    Ipv6Addr::from_bits(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gateway, ip, ports};

    fn interfaces() -> Interfaces {
        let mut policy = gateway();
        policy.interface_lists = vec![InterfaceList {
            name: "INSIDE".to_owned(),
            members: vec![IfaceId(0), IfaceId(2)],
        }];
        Interfaces::build(&policy, &ports())
    }

    #[test]
    fn a_frame_belongs_to_the_interface_of_its_port_and_tag() {
        let interfaces = interfaces();
        let by_tag = |port, vlan| interfaces.by_tag(PortId(port), vlan);
        assert_eq!(by_tag(0, None), Some(IfaceId(0)));
        assert_eq!(by_tag(1, None), Some(IfaceId(1)));
        assert_eq!(by_tag(0, Some(20)), Some(IfaceId(2)));
        assert_eq!(by_tag(0, Some(21)), None);
        assert_eq!(by_tag(1, Some(20)), None);
        assert_eq!(by_tag(2, None), None);
        assert_eq!(by_tag(255, None), None);
    }

    #[test]
    fn a_priority_tag_leaves_the_frame_untagged() {
        assert_eq!(interfaces().by_tag(PortId(0), Some(0)), Some(IfaceId(0)));
    }

    #[test]
    fn many_vlans_on_one_port_are_told_apart() {
        let mut policy = gateway();
        let guest = policy.interfaces[2].clone();
        for vlan in (1..=4094).rev().filter(|v| *v != 20).take(600) {
            let mut more = guest.clone();
            more.vlan = Some(vlan);
            policy.interfaces.push(more);
        }
        let interfaces = Interfaces::build(&policy, &ports());
        for (id, iface) in interfaces.iter() {
            assert_eq!(interfaces.by_tag(iface.port, iface.vlan), Some(id));
        }
        assert_eq!(interfaces.by_tag(PortId(0), Some(1)), None);
    }

    #[test]
    fn an_interface_has_its_ports_station_address_and_no_larger_mtu() {
        let interfaces = interfaces();
        let wan = interfaces.find(IfaceId(1)).unwrap();
        assert_eq!(wan.mac, Mac([0x02, 0, 0, 0, 0, 2]));
        assert_eq!(wan.mtu, 1400);
        assert_eq!(interfaces.find(IfaceId(2)).unwrap().mtu, 1500);
        assert!(interfaces.find(IfaceId(3)).is_none());
    }

    #[test]
    fn membership_in_a_list_is_per_interface() {
        let interfaces = interfaces();
        let inside = InterfaceListId(0);
        let members: Vec<bool> = (0..4)
            .map(|id| interfaces.is_member(inside, IfaceId(id)))
            .collect();
        assert_eq!(members, [true, false, true, false]);
        assert!(!interfaces.is_member(inside, IfaceId(64)));
        assert!(!interfaces.is_member(InterfaceListId(1), IfaceId(0)));
        assert_eq!(interfaces.list_name(inside), Some("INSIDE"));
    }

    #[test]
    fn the_source_address_is_the_one_whose_prefix_covers_the_destination() {
        let mut policy = gateway();
        policy.interfaces[1].addresses = ["198.51.100.9/24", "203.0.113.2/24", "fe80::9/64"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let interfaces = Interfaces::build(&policy, &ports());
        let source = |towards: &str| interfaces.source_address(IfaceId(1), ip(towards));
        assert_eq!(source("203.0.113.77"), Some(ip("203.0.113.2")));
        assert_eq!(source("198.51.100.1"), Some(ip("198.51.100.9")));
        assert_eq!(source("8.8.8.8"), Some(ip("198.51.100.9")));
        assert_eq!(source("2001:db8::1"), None);
        assert_eq!(source("fe80::1"), Some(ip("fe80::ff:fe00:2")));
        assert_eq!(interfaces.source_address(IfaceId(9), ip("8.8.8.8")), None);
    }

    #[test]
    fn the_link_local_address_is_made_from_the_station_address() {
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(link_local(mac).to_string(), "fe80::3656:78ff:fe9a:bcde");
    }
}
