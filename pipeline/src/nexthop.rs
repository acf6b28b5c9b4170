//! A worker's copy of the neighbours it sends to.
//!
//! The slow path owns the neighbours and tells every worker what changes; a flow caches the
//! [`NextHopId`] of its neighbour, so that sending to it is one array access. The place of a
//! neighbour that no longer answers is given to another one when it is needed; the identifier
//! carries how often that happened, so that a flow which still points there asks again.

use std::collections::VecDeque;
use std::net::IpAddr;

use hashbrown::HashMap;

use crate::ids::{IfaceId, Mac};
use crate::outbox::NeighbourUpdate;

/// The most neighbours a worker keeps; equal to what the slow path resolves at the most.
pub const NEXT_HOPS_MAX: usize = 16_384;

/// A neighbour's place in a worker's table, and which of the place's tenants it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHopId {
    place: u16,
    tenancy: u16,
}

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
    /// No place has the highest number, so these are no identifiers.
    const UNKNOWN: u32 = u32::MAX;
    const LOCAL: u32 = u32::MAX - 1;

    /// The four bytes kept in the flow's entry.
    pub const fn to_bits(self) -> u32 {
        match self {
            Self::Unknown => Self::UNKNOWN,
            Self::Local => Self::LOCAL,
            Self::NextHop(id) => (id.place as u32) << 16 | id.tenancy as u32,
        }
    }

    /// The way that four bytes of an entry stand for.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half of the bits is one number"
    )]
    pub const fn from_bits(bits: u32) -> Self {
        match bits {
            Self::UNKNOWN => Self::Unknown,
            Self::LOCAL => Self::Local,
            bits => Self::NextHop(NextHopId {
                place: (bits >> 16) as u16,
                tenancy: bits as u16,
            }),
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

/// A place and who has it now.
#[derive(Debug)]
struct Place {
    hop: NextHop,
    tenancy: u16,
}

/// A worker's neighbours.
#[derive(Debug)]
pub struct NextHops {
    by_address: HashMap<(IfaceId, IpAddr), u16>,
    places: Vec<Place>,
    /// Places whose neighbour is gone, the longest gone first.
    vacant: VecDeque<u16>,
    neighbours: Neighbours,
}

impl NextHops {
    /// An empty table.
    pub fn new(neighbours: Neighbours) -> Self {
        Self {
            by_address: HashMap::with_capacity(NEXT_HOPS_MAX),
            places: Vec::with_capacity(NEXT_HOPS_MAX),
            vacant: VecDeque::with_capacity(NEXT_HOPS_MAX),
            neighbours,
        }
    }

    /// Finds the neighbour with `address` on `interface`.
    pub fn find(&mut self, interface: IfaceId, address: IpAddr) -> Lookup {
        if let Some(&place) = self.by_address.get(&(interface, address)) {
            return self.id_of(place).map_or(Lookup::Unknown, Lookup::Known);
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

    /// The neighbour with this identifier; `None` once its place has been given to another.
    pub fn entry(&self, id: NextHopId) -> Option<&NextHop> {
        let place = self.places.get(usize::from(id.place))?;
        (place.tenancy == id.tenancy).then_some(&place.hop)
    }

    /// Takes in what the slow path found out.
    pub fn update(&mut self, news: &NeighbourUpdate) {
        let key = (news.interface, news.address);
        match (self.by_address.get(&key).copied(), news.mac) {
            (Some(place), Some(_)) => {
                if let Some(entry) = self.places.get_mut(usize::from(place)) {
                    entry.hop.mac = news.mac;
                }
            }
            (Some(place), None) => {
                self.by_address.remove(&key);
                if let Some(entry) = self.places.get_mut(usize::from(place)) {
                    entry.hop.mac = None;
                    self.vacant.push_back(place);
                }
            }
            (None, Some(_)) => {
                // A full table leaves the neighbour unknown until another one goes: its packets
                // keep going by the slow path, which says again where it is with each of them.
                let _known = self.insert(NextHop {
                    interface: news.interface,
                    address: news.address,
                    mac: news.mac,
                });
            }
            (None, None) => {}
        }
    }

    fn insert(&mut self, hop: NextHop) -> Option<NextHopId> {
        let key = (hop.interface, hop.address);
        let place = if self.places.len() < NEXT_HOPS_MAX {
            self.places.push(Place { hop, tenancy: 0 });
            u16::try_from(self.places.len() - 1).ok()?
        } else {
            let place = self.vacant.pop_front()?;
            let entry = self.places.get_mut(usize::from(place))?;
            *entry = Place {
                hop,
                tenancy: entry.tenancy.wrapping_add(1),
            };
            place
        };
        self.by_address.insert(key, place);
        self.id_of(place)
    }

    fn id_of(&self, place: u16) -> Option<NextHopId> {
        let tenancy = self.places.get(usize::from(place))?.tenancy;
        Some(NextHopId { place, tenancy })
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

    fn numbered(n: usize) -> IpAddr {
        IpAddr::from(u32::try_from(n).unwrap().to_be_bytes())
    }

    #[test]
    fn a_flow_asks_again_when_its_neighbour_is_gone_or_its_place_another_s() {
        let mut hops = NextHops::new(Neighbours::Learn);
        hops.update(&news(1, Some(Mac([2; 6]))));
        let Lookup::Known(id) = hops.find(LAN, host(1)) else {
            panic!("just learned")
        };
        hops.update(&news(1, None));
        assert_eq!(hops.find(LAN, host(1)), Lookup::Unknown);
        assert_eq!(hops.entry(id).and_then(|e| e.mac), None);
        for n in 1..=NEXT_HOPS_MAX {
            hops.update(&NeighbourUpdate {
                interface: LAN,
                address: numbered(n),
                mac: Some(Mac([4; 6])),
            });
        }
        assert_eq!(hops.entry(id), None, "the place was needed for another");
        assert!(matches!(
            hops.find(LAN, numbered(NEXT_HOPS_MAX)),
            Lookup::Known(_)
        ));
    }

    #[test]
    fn neighbours_that_come_and_go_for_ever_never_fill_the_table() {
        let mut hops = NextHops::new(Neighbours::Learn);
        for n in 0..3 * NEXT_HOPS_MAX {
            let mut update = NeighbourUpdate {
                interface: LAN,
                address: numbered(n),
                mac: Some(Mac([2; 6])),
            };
            hops.update(&update);
            assert!(matches!(hops.find(LAN, numbered(n)), Lookup::Known(_)));
            update.mac = None;
            hops.update(&update);
        }
    }

    #[test]
    fn news_of_an_unknown_neighbour_that_is_gone_takes_no_place() {
        let mut hops = NextHops::new(Neighbours::Learn);
        hops.update(&news(1, None));
        assert_eq!(hops.places.len(), 0);
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
    fn ways_survive_their_four_bytes() {
        for way in [
            CachedWay::Unknown,
            CachedWay::Local,
            CachedWay::NextHop(NextHopId {
                place: 7,
                tenancy: 3,
            }),
        ] {
            assert_eq!(CachedWay::from_bits(way.to_bits()), way);
        }
    }
}
