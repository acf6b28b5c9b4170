//! Endpoint-independent mappings: one external port of an inside endpoint towards everybody.
//!
//! A mapping is what the owner word of a port says (see `space`): whose it is, how many connections
//! use it, and that it is for everybody. It lives as long as a connection uses it. Its port then
//! is free again, but is remembered: until somebody else needs it, a later connection of the same
//! endpoint finds it again (RFC 4787 REQ-1, beyond the life that REQ-5 asks for).
//!
//! From the outside in, the owner word of the port is all there is to look at. From the inside
//! out, a table of buckets names the ports whose endpoints hash there. A bucket is one word: up to
//! three ports and a tag that every change moves on. All workers make mappings at the same time
//! and without locks; what makes them agree on one is that
//!
//! * who uses a listed port claims it, says that it is mapped, and then moves the bucket's tag on,
//! * who lists a port has done the same, and has seen, in the very word that the list was changed
//!   from, that the endpoint has no other.
//!
//! Both fail, and look again, if anybody changed the bucket meanwhile; so a port that a connection
//! uses stays listed, and no endpoint is given a second one. Only a change that took exactly 65,536
//! others in between would go unseen.
//!
//! An owner word holds an IPv4 endpoint whole and 48 keyed bits of an IPv6 one. For those the
//! endpoint itself is kept beside, and believed only as far as it fits those bits.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::hash::{HashKey, fastrange};
use crate::ports::{AddressPorts, PortClaim, PortSpace, Sharing};
use crate::space::{Owner, PORTS, Space};
use crate::tuple::{Address, Family, Port};

/// Buckets of a port space. With all ports mapped, one endpoint in 2,000 finds its bucket full.
const BUCKETS: usize = 1 << 18;
/// Ports that a bucket lists.
const LISTED_MAX: usize = 3;
/// How often a change of a bucket is tried while others change it, too.
const TRIES_MAX: usize = 256;

/// An inside endpoint, as owner words know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside<F: Family> {
    pub(crate) address: F::Addr,
    pub(crate) port: Port,
    /// All of it for IPv4, 48 keyed bits for IPv6; never zero.
    pub(crate) word: u64,
}

impl<F: Family> Inside<F> {
    pub(crate) fn new((address, port): (F::Addr, Port), key: &HashKey) -> Self {
        let word = if F::Addr::BYTES == 4 {
            let address = u64::try_from(address.to_bits()).unwrap_or(0);
            address << 16 | u64::from(port.0)
        } else {
            key.endpoint(address, port.0) >> 16
        };
        Self {
            address,
            port,
            word: word.max(1),
        }
    }
}

/// A connection's use of a mapping from the outside in.
#[derive(Debug)]
pub struct Inbound<F: Family> {
    /// The inside endpoint that the external port belongs to.
    pub inside: (F::Addr, Port),
    /// The use, which keeps the mapping alive.
    pub claim: PortClaim,
}

/// The mappings of one port space.
#[derive(Debug)]
pub(crate) struct Mappings {
    /// From the low bits up: three ports, zero for none, and the tag.
    buckets: Box<[AtomicU64]>,
    /// By port, once there are IPv6 mappings: the endpoint's address in two words, and its port.
    endpoints: OnceLock<Box<[[AtomicU64; 3]]>>,
}

impl Mappings {
    pub(crate) fn new() -> Self {
        let zeros = std::iter::repeat_with(|| AtomicU64::new(0));
        Self {
            buckets: zeros.take(BUCKETS).collect(),
            endpoints: OnceLock::new(),
        }
    }

    /// Keeps the endpoint of a port, if the owner word cannot. The caller holds a claim on it.
    fn keep<F: Family>(&self, port: u16, inside: &Inside<F>) {
        if F::Addr::BYTES == 4 {
            return;
        }
        let endpoints = self.endpoints.get_or_init(|| {
            let none = std::iter::repeat_with(|| [const { AtomicU64::new(0) }; 3]);
            none.take(PORTS).collect()
        });
        let words = endpoint_words::<F>(inside.address, inside.port);
        for (kept, word) in endpoints[usize::from(port)].iter().zip(words) {
            kept.store(word, Ordering::SeqCst);
        }
    }

    /// The endpoint of a port whose owner word this is; `None` if what is kept does not fit it.
    fn endpoint<F: Family>(&self, port: u16, owner: Owner, key: &HashKey) -> Option<Inside<F>> {
        let word = owner.inside();
        let (address, number) = if F::Addr::BYTES == 4 {
            (u128::from(word >> 16), word & 0xffff)
        } else {
            let kept = &self.endpoints.get()?[usize::from(port)];
            let [high, low, number] = [0, 1, 2].map(|n: usize| kept[n].load(Ordering::SeqCst));
            (u128::from(high) << 64 | u128::from(low), number)
        };
        let number = Port(u16::try_from(number).ok()?);
        let inside = Inside::new((F::Addr::from_bits(address), number), key);
        (inside.word == word).then_some(inside)
    }
}

fn endpoint_words<F: Family>(address: F::Addr, port: Port) -> [u64; 3] {
    let half = |shift: u32| u64::try_from(address.to_bits() >> shift & u128::from(u64::MAX));
    [
        half(64).unwrap_or(0),
        half(0).unwrap_or(0),
        u64::from(port.0),
    ]
}

/// A bucket's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket(u64);

impl Bucket {
    const TAG: u64 = 1 << (16 * LISTED_MAX);

    fn number(inside: u64, key: &HashKey) -> usize {
        fastrange(key.words(inside, 0x6569_6d00), BUCKETS)
    }

    fn port(self, place: usize) -> u16 {
        u16::try_from(self.0 >> (16 * place) & 0xffff).unwrap_or(0)
    }

    /// The ports it lists.
    fn ports(self) -> impl Iterator<Item = u16> {
        let all = (0..LISTED_MAX).map(move |place| self.port(place));
        all.filter(|port| *port != 0)
    }

    /// The same ports under the next tag.
    fn touched(self) -> Self {
        Self(self.0.wrapping_add(Self::TAG))
    }

    /// Under the next tag, with `port` in this place.
    fn with(self, place: usize, port: u16) -> Self {
        let shift = 16 * place;
        Self(self.0 & !(0xffff << shift) | u64::from(port) << shift).touched()
    }
}

/// One space of an address, and one inside endpoint that wants a port of it.
struct Mapper<'a, F: Family> {
    ports: &'a Arc<AddressPorts>,
    kind: PortSpace,
    space: &'a Space,
    key: &'a HashKey,
    inside: Inside<F>,
    bucket: usize,
}

impl<F: Family> Mapper<'_, F> {
    /// A claim on the port that the bucket lists for the endpoint, other than `mine`: on one that
    /// it is mapped to now, else on one that it had before.
    fn listed(&self, seen: Bucket, range: &RangeInclusive<u16>, mine: u16) -> Option<PortClaim> {
        let word = self.inside.word;
        let mappings = self.space.mappings();
        let claim = |port: u16, live: bool| {
            let owner = self.space.owner(port);
            let wanted = owner.inside() == word && owner.is_mapped() == live;
            let same = wanted && mappings.endpoint::<F>(port, owner, self.key) == Some(self.inside);
            let claim = || self.ports.claim(self.kind, port, word, Sharing::Shared);
            same.then(claim).flatten()
        };
        let others = || seen.ports().filter(|p| *p != mine && range.contains(p));
        let mapped = others().find_map(|port| claim(port, true));
        mapped.or_else(|| others().find_map(|port| claim(port, false)))
    }

    /// The bucket with `port` in it: where it is already, or in a place that lists no port of an
    /// endpoint of this bucket, or none that is in use.
    fn listing(&self, seen: Bucket, port: u16) -> Option<Bucket> {
        let place = |wanted: &dyn Fn(u16) -> bool| {
            let mut places = 0..LISTED_MAX;
            places.find(|place| wanted(seen.port(*place)))
        };
        let stale = |listed: u16| {
            let inside = self.space.owner(listed).inside();
            inside == 0 || Bucket::number(inside, self.key) != self.bucket
        };
        let forgotten = |listed: u16| {
            let owner = self.space.owner(listed);
            owner.is_free() && self.space.forget(listed, owner)
        };
        let place = place(&|listed| listed == port)
            .or_else(|| place(&|listed| listed == 0))
            .or_else(|| place(&stale))
            .or_else(|| place(&forgotten))?;
        Some(seen.with(place, port))
    }

    fn change(&self, from: Bucket, to: Bucket) -> bool {
        let bucket = &self.space.mappings().buckets[self.bucket];
        let changed = bucket.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed);
        changed.is_ok()
    }

    fn run(
        &self,
        range: &RangeInclusive<u16>,
        choose: impl Fn() -> Option<PortClaim>,
    ) -> Option<PortClaim> {
        let mappings = self.space.mappings();
        let mut chosen: Option<PortClaim> = None;
        for _ in 0..TRIES_MAX {
            let seen = Bucket(mappings.buckets[self.bucket].load(Ordering::SeqCst));
            let mine = chosen.as_ref().map_or(0, |claim| claim.port().0);
            if let Some(claim) = self.listed(seen, range, mine) {
                self.space.set_mapped(claim.port().0);
                if self.change(seen, seen.touched()) {
                    return Some(claim);
                }
                continue;
            }
            let claim = match chosen.take() {
                Some(claim) => claim,
                None => choose()?,
            };
            let port = claim.port().0;
            mappings.keep(port, &self.inside);
            self.space.set_mapped(port);
            let listing = self.listing(seen, port)?;
            if self.change(seen, listing) {
                return Some(claim);
            }
            chosen = Some(claim);
        }
        None
    }
}

impl AddressPorts {
    /// One more use of the port in `range` that `inside` is mapped to. Where there is none, it is
    /// mapped to the port that `choose` claims, for it and as shared.
    ///
    /// `None` if `choose` found none, or if there is no room to keep the mapping.
    pub(crate) fn map<F: Family>(
        self: &Arc<Self>,
        space: PortSpace,
        inside: Inside<F>,
        range: &RangeInclusive<u16>,
        key: &HashKey,
        choose: impl Fn() -> Option<PortClaim>,
    ) -> Option<PortClaim> {
        let mapper = Mapper {
            ports: self,
            kind: space,
            space: self.space(space),
            key,
            inside,
            bucket: Bucket::number(inside.word, key),
        };
        mapper.run(range, choose)
    }

    /// Whether a live mapping has this external port.
    pub fn is_mapped(&self, space: PortSpace, port: Port) -> bool {
        let known = self.known(space);
        known.is_some_and(|space| space.owner(port.0).is_mapped())
    }

    /// The inside endpoint whose mapping has this external port, and one more use of it; `None`
    /// if there is no live mapping. `key` is the one that all workers share.
    pub fn inbound<F: Family>(
        self: &Arc<Self>,
        space: PortSpace,
        port: Port,
        key: &HashKey,
    ) -> Option<Inbound<F>> {
        let known = self.known(space)?;
        let owner = known.owner(port.0);
        if !owner.is_mapped() || !known.join(port.0, owner.inside()) {
            return None;
        }
        let claim = self.claimed(space, port.0);
        // Held now, so what is kept of the endpoint stays as it is.
        let inside = known.mappings().endpoint::<F>(port.0, owner, key)?;
        Some(Inbound {
            inside: (inside.address, inside.port),
            claim,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Search;
    use crate::tuple::V4;

    const KEY: HashKey = HashKey([3, 5, 7, 11]);
    const UDP: PortSpace = PortSpace::Udp;

    fn inside(n: u32) -> Inside<V4> {
        Inside::new((n.to_be_bytes(), Port(7)), &KEY)
    }

    /// Five endpoints that hash to one bucket.
    fn neighbours() -> Vec<Inside<V4>> {
        let home = |n: u32| Bucket::number(inside(n).word, &KEY);
        let wanted = home(1);
        let all = (1..).filter(|n| home(*n) == wanted).take(5);
        all.map(inside).collect()
    }

    fn map(ports: &Arc<AddressPorts>, inside: Inside<V4>) -> Option<PortClaim> {
        let range = 5_000..=5_009;
        let choose = || {
            let search = Search {
                range: range.clone(),
                start: 5_000,
                parity: crate::space::Parity::Any,
                tries: PORTS,
            };
            let sharing = Sharing::Shared;
            ports.claim_free(UDP, &search, inside.word, sharing, |_| true)
        };
        ports.map(UDP, inside, &range, &KEY, choose)
    }

    #[test]
    fn a_full_bucket_makes_room_by_forgetting_and_never_by_taking() {
        let ports = Arc::new(AddressPorts::default());
        let endpoints = neighbours();
        let mut held: Vec<_> = endpoints[..3].iter().map(|e| map(&ports, *e)).collect();
        let numbers: Vec<_> = held.iter().flatten().map(PortClaim::port).collect();
        assert_eq!(numbers, [Port(5_000), Port(5_001), Port(5_002)]);
        assert!(map(&ports, endpoints[3]).is_none());
        assert_eq!(ports.in_use(UDP), 3, "nothing is left behind");
        // The second ends: its place goes to the fourth, and it is forgotten.
        held[1] = None;
        let fourth = map(&ports, endpoints[3]);
        assert!(fourth.is_some());
        for (place, number) in [(0, 5_000), (2, 5_002)] {
            let again = map(&ports, endpoints[place]);
            assert_eq!(again.map(|claim| claim.port()), Some(Port(number)));
        }
        assert!(map(&ports, endpoints[1]).is_none());
        drop(fourth);
        assert!(map(&ports, endpoints[1]).is_some());
    }

    #[test]
    fn a_port_that_somebody_else_has_by_now_leaves_its_place_in_the_bucket() {
        let ports = Arc::new(AddressPorts::default());
        let endpoints = neighbours();
        let stranger = (1..)
            .map(|n| inside(n << 8))
            .find(|e| Bucket::number(e.word, &KEY) != Bucket::number(endpoints[0].word, &KEY))
            .unwrap();
        for endpoint in &endpoints[..3] {
            drop(map(&ports, *endpoint));
        }
        // All three ended on port 5000, one after the other; the stranger takes it.
        let taken = ports.claim(UDP, 5_000, stranger.word, Sharing::Shared);
        assert!(taken.is_some());
        let held: Vec<_> = endpoints[..3].iter().map(|e| map(&ports, *e)).collect();
        assert_eq!(held.iter().flatten().count(), 3);
        let (kind, bucket) = (UDP, Bucket::number(endpoints[0].word, &KEY));
        let word = &ports.space(kind).mappings().buckets[bucket];
        let mut listed: Vec<_> = Bucket(word.load(Ordering::SeqCst)).ports().collect();
        listed.sort_unstable();
        assert_eq!(listed, [5_001, 5_002, 5_003]);
    }
}
