//! A worker's copy of the neighbours it sends to.
//!
//! The slow path owns the neighbours and tells every worker what changes; a flow caches the
//! [`NextHopId`] of its neighbour, so that sending to it is one array access. An entry keeps its
//! place as long as the program lives: what no longer answers is marked, not removed, and a flow
//! that points at it asks for resolution again.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::ids::{IfaceId, Mac};
use crate::outbox::NeighbourUpdate;

/// The most neighbours a worker keeps; equal to what the slow path resolves at the most.
pub const NEXT_HOPS_MAX: usize = 16_384;

/// A neighbour's place in a worker's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHopId(u16);

/// What a flow's entry can say of its way: a next hop, the gateway itself, or nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CachedWay {
    /// Nothing: the route has to be looked up.
    Unknown,
    /// The gateway itself.
    Local,
    /// This neighbour.
    NextHop(NextHopId),
}

impl CachedWay {
    const UNKNOWN: u16 = u16::MAX;
    const LOCAL: u16 = u16::MAX - 1;

    /// The two bytes kept in the flow's entry.
    pub const fn to_bits(self) -> u16 {
        match self {
            Self::Unknown => Self::UNKNOWN,
            Self::Local => Self::LOCAL,
            Self::NextHop(id) => id.0,
        }
    }

    /// The way that two bytes of an entry stand for.
    pub const fn from_bits(bits: u16) -> Self {
        match bits {
            Self::UNKNOWN => Self::Unknown,
            Self::LOCAL => Self::Local,
            id => Self::NextHop(NextHopId(id)),
        }
    }
}

/// A neighbour as a worker needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The interface whose link it is on.
    pub interface: IfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its link address; `None` while it is not known.
    pub mac: Option<Mac>,
}

/// What the worker knows of a neighbour it wants to send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Its link address is known.
    Known(NextHopId),
    /// The slow path has to resolve it.
    Unknown,
}

/// Whether neighbours have to be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Neighbours {
    /// By ARP and neighbour discovery.
    #[default]
    Learn,
    /// Every neighbour has this link address: replay of captures that hold no resolution.
    Assume(Mac),
}

/// A worker's neighbours.
#[derive(Debug)]
pub struct NextHops {
    by_address: HashMap<(IfaceId, IpAddr), NextHopId>,
    entries: Vec<NextHop>,
    neighbours: Neighbours,
}

impl NextHops {
    /// An empty table.
    pub fn new(neighbours: Neighbours) -> Self {
        Self {
            by_address: HashMap::with_capacity(NEXT_HOPS_MAX),
            entries: Vec::with_capacity(NEXT_HOPS_MAX),
            neighbours,
        }
    }

    /// Finds the neighbour with `address` on `interface`.
    pub fn find(&mut self, interface: IfaceId, address: IpAddr) -> Lookup {
        if let Some(&id) = self.by_address.get(&(interface, address)) {
            return match self.entry(id) {
                Some(NextHop { mac: Some(_), .. }) => Lookup::Known(id),
                Some(NextHop { mac: None, .. }) | None => Lookup::Unknown,
            };
        }
        match self.neighbours {
            Neighbours::Learn => Lookup::Unknown,
            Neighbours::Assume(mac) => self
                .insert(NextHop {
                    interface,
                    address,
                    mac: Some(mac),
                })
                .map_or(Lookup::Unknown, Lookup::Known),
        }
    }

    /// The neighbour in a place.
    pub fn entry(&self, id: NextHopId) -> Option<&NextHop> {
        self.entries.get(usize::from(id.0))
    }

    /// Takes in what the slow path found out.
    pub fn update(&mut self, news: &NeighbourUpdate) {
        let key = (news.interface, news.address);
        if let Some(&id) = self.by_address.get(&key) {
            if let Some(entry) = self.entries.get_mut(usize::from(id.0)) {
                entry.mac = news.mac;
            }
        } else if news.mac.is_some() {
            // A full table leaves the neighbour unknown: its packets keep going by the slow path.
            let _known = self.insert(NextHop {
                interface: news.interface,
                address: news.address,
                mac: news.mac,
            });
        }
    }

    /// Forgets entries that are no longer valid; only when every cached [`NextHopId`] is void,
    /// that is when the generation changes.
    pub fn compact(&mut self) {
        self.entries.retain(|e| e.mac.is_some());
        self.by_address.clear();
        for (place, entry) in self.entries.iter().enumerate() {
            if let Ok(id) = u16::try_from(place) {
                self.by_address
                    .insert((entry.interface, entry.address), NextHopId(id));
            }
        }
    }

    fn insert(&mut self, entry: NextHop) -> Option<NextHopId> {
        if self.entries.len() >= NEXT_HOPS_MAX {
            return None;
        }
        let id = NextHopId(u16::try_from(self.entries.len()).ok()?);
        self.by_address.insert((entry.interface, entry.address), id);
        self.entries.push(entry);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: IfaceId = IfaceId(0);

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn news(last: u8, mac: Option<Mac>) -> NeighbourUpdate {
        NeighbourUpdate {
            interface: LAN,
            address: host(last),
            mac,
        }
    }

    #[test]
    fn a_neighbour_keeps_its_place_when_it_goes_and_comes_back() {
        let mut hops = NextHops::new(Neighbours::Learn);
        hops.update(&news(1, Some(Mac([2; 6]))));
        let Lookup::Known(id) = hops.find(LAN, host(1)) else {
            panic!("just learned")
        };
        hops.update(&news(1, None));
        assert_eq!(hops.find(LAN, host(1)), Lookup::Unknown);
        hops.update(&news(2, Some(Mac([4; 6]))));
        hops.update(&news(1, Some(Mac([6; 6]))));
        assert_eq!(hops.find(LAN, host(1)), Lookup::Known(id));
        assert_eq!(hops.entry(id).and_then(|e| e.mac), Some(Mac([6; 6])));
    }

    #[test]
    fn news_of_an_unknown_neighbour_that_is_gone_takes_no_place() {
        let mut hops = NextHops::new(Neighbours::Learn);
        hops.update(&news(1, None));
        assert_eq!(hops.entries.len(), 0);
    }

    #[test]
    fn a_full_table_leaves_neighbours_unknown() {
        let mut hops = NextHops::new(Neighbours::Assume(Mac([2; 6])));
        for n in 0..NEXT_HOPS_MAX {
            let ip = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            assert!(matches!(hops.find(LAN, ip), Lookup::Known(_)));
        }
        assert_eq!(hops.find(LAN, host(1)), Lookup::Unknown);
    }

    #[test]
    fn compacting_forgets_what_is_no_longer_valid() {
        let mut hops = NextHops::new(Neighbours::Learn);
        hops.update(&news(1, Some(Mac([2; 6]))));
        hops.update(&news(2, Some(Mac([4; 6]))));
        hops.update(&news(1, None));
        hops.compact();
        assert_eq!(hops.entries.len(), 1);
        let Lookup::Known(id) = hops.find(LAN, host(2)) else {
            panic!("still valid")
        };
        assert_eq!(hops.entry(id).map(|e| e.address), Some(host(2)));
    }

    #[test]
    fn ways_survive_their_two_bytes() {
        for way in [
            CachedWay::Unknown,
            CachedWay::Local,
            CachedWay::NextHop(NextHopId(7)),
        ] {
            assert_eq!(CachedWay::from_bits(way.to_bits()), way);
        }
    }
}
