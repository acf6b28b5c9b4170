//! External ports of one address: who uses which, shared by all workers without locks.
//!
//! Two different inside endpoints never share a port, and one endpoint may use its port towards
//! several destinations; `space` says how workers agree on that. `eim` makes mappings for all
//! destinations of it.

use std::ops::RangeInclusive;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use crate::ids::WORKERS_MAX;
use crate::space::{Parity, Space};
use crate::tuple::{Port, Proto};

/// Whether other connections of the same inside endpoint may use the port too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// They may: their destinations differ, and so their translated tuples do.
    Shared,
    /// They may not: the destination is translated too, so two connections to different
    /// destinations could become one tuple.
    Exclusive,
}

/// The port spaces of an address: each protocol with ports, or identifiers, has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PortSpace {
    /// TCP ports.
    Tcp = 0,
    /// UDP ports.
    Udp = 1,
    /// Identifiers of ICMP or ICMPv6 queries.
    Icmp = 2,
    /// SCTP ports.
    Sctp = 3,
    /// DCCP ports.
    Dccp = 4,
    /// UDP-Lite ports.
    UdpLite = 5,
    /// GRE call ids.
    Gre = 6,
}

impl PortSpace {
    /// Every space.
    pub const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Udp,
        Self::Icmp,
        Self::Sctp,
        Self::Dccp,
        Self::UdpLite,
        Self::Gre,
    ];

    /// The name of its protocol; one for ICMP and ICMPv6, which no address has both of.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
            Self::UdpLite => "udp-lite",
            Self::Gre => "gre",
        }
    }

    /// The space of a protocol; `None` for one without ports.
    pub const fn of(proto: Proto) -> Option<Self> {
        match proto {
            Proto::TCP => Some(Self::Tcp),
            Proto::UDP => Some(Self::Udp),
            Proto::ICMP | Proto::ICMPV6 => Some(Self::Icmp),
            Proto::SCTP => Some(Self::Sctp),
            Proto::DCCP => Some(Self::Dccp),
            Proto::UDPLITE => Some(Self::UdpLite),
            Proto::GRE => Some(Self::Gre),
            _ => None,
        }
    }
}

/// The external ports of one address, for all protocols.
#[derive(Debug)]
pub struct AddressPorts {
    spaces: [OnceLock<Space>; 7],
    /// For each worker, where its registry keeps this address, plus one. A worker reads and writes
    /// its own only.
    pub(crate) registered: [AtomicU32; WORKERS_MAX],
}

impl Default for AddressPorts {
    fn default() -> Self {
        Self {
            spaces: [const { OnceLock::new() }; 7],
            registered: [const { AtomicU32::new(0) }; WORKERS_MAX],
        }
    }
}

impl AddressPorts {
    pub(crate) fn space(&self, space: PortSpace) -> &Space {
        self.spaces[space as usize].get_or_init(Space::new)
    }

    /// The space, if a port of it was ever asked for.
    pub(crate) fn known(&self, space: PortSpace) -> Option<&Space> {
        self.spaces[space as usize].get()
    }

    /// A claim that was made on the owner word already.
    pub(crate) fn claimed(self: &Arc<Self>, space: PortSpace, port: u16) -> PortClaim {
        PortClaim {
            ports: Some(Arc::clone(self)),
            space,
            port: Port(port),
        }
    }

    /// Notes a connection that found no port.
    pub(crate) fn count_exhausted(&self, space: PortSpace) {
        self.space(space).count_exhausted();
    }

    /// How many ports or identifiers a space has.
    pub const fn size(space: PortSpace) -> usize {
        match space {
            PortSpace::Icmp => 1 << 16,
            // There is no port 0, and call id 0 is none.
            PortSpace::Tcp
            | PortSpace::Udp
            | PortSpace::Sctp
            | PortSpace::Dccp
            | PortSpace::UdpLite
            | PortSpace::Gre => (1 << 16) - 1,
        }
    }

    /// How many connections found no port so far.
    pub fn exhausted(&self, space: PortSpace) -> u64 {
        self.known(space).map_or(0, Space::exhausted)
    }

    /// Claims `port` for `inside` if it is free, or shared and of the same endpoint.
    pub(crate) fn claim(
        self: &Arc<Self>,
        space: PortSpace,
        port: u16,
        inside: u64,
        sharing: Sharing,
    ) -> Option<PortClaim> {
        let claimed = self.space(space).claim(port, inside, sharing);
        claimed.then(|| self.claimed(space, port))
    }

    /// Claims a free port of `search` for which `wanted` holds.
    pub(crate) fn claim_free(
        self: &Arc<Self>,
        space: PortSpace,
        search: &Search,
        inside: u64,
        sharing: Sharing,
        wanted: impl Fn(u16) -> bool,
    ) -> Option<PortClaim> {
        let ports = self.space(space);
        let take = |port| wanted(port) && ports.claim(port, inside, sharing);
        let Search {
            range,
            start,
            parity,
            tries,
        } = search;
        let port = ports.search(range, *start, *parity, *tries, take)?;
        Some(self.claimed(space, port))
    }

    /// Gives one use of `port` back.
    pub(crate) fn release(&self, space: PortSpace, port: Port) {
        self.space(space).release(port.0);
    }

    /// How many connections use `port` now; one that is used exclusively counts as one.
    pub fn users(&self, space: PortSpace, port: Port) -> usize {
        let known = self.known(space);
        known.map_or(0, |space| space.users(port.0))
    }

    /// How many ports of a space are in use.
    pub fn in_use(&self, space: PortSpace) -> usize {
        self.known(space).map_or(0, Space::in_use)
    }
}

/// Where and how far a search for a free port goes.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) range: RangeInclusive<u16>,
    pub(crate) start: u16,
    pub(crate) parity: Parity,
    /// How many free ports may be refused.
    pub(crate) tries: usize,
}

/// One use of an external port. Dropping it gives the port back; a committed connection keeps it.
#[derive(Debug)]
pub struct PortClaim {
    ports: Option<Arc<AddressPorts>>,
    space: PortSpace,
    port: Port,
}

impl PortClaim {
    /// A claim that was handed over by [`keep`](Self::keep).
    pub(crate) const fn of(ports: Arc<AddressPorts>, space: PortSpace, port: Port) -> Self {
        Self {
            ports: Some(ports),
            space,
            port,
        }
    }

    /// The port space.
    pub(crate) const fn space(&self) -> PortSpace {
        self.space
    }

    /// The port, or identifier.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Hands over the duty to give the port back.
    pub(crate) fn keep(mut self) -> Option<(Arc<AddressPorts>, PortSpace, Port)> {
        self.ports
            .take()
            .map(|ports| (ports, self.space, self.port))
    }
}

impl Drop for PortClaim {
    fn drop(&mut self) {
        if let Some(ports) = self.ports.take() {
            ports.release(self.space, self.port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    use crate::space::PORTS;

    const UDP: PortSpace = PortSpace::Udp;

    fn search(range: RangeInclusive<u16>, start: u16, parity: Parity) -> Search {
        Search {
            range,
            start,
            parity,
            tries: PORTS,
        }
    }

    #[test]
    fn a_port_is_shared_by_one_endpoint_and_by_no_other() {
        let ports = Arc::new(AddressPorts::default());
        let first = ports.claim(UDP, 80, 7, Sharing::Shared).unwrap();
        let second = ports.claim(UDP, 80, 7, Sharing::Shared).unwrap();
        assert!(ports.claim(UDP, 80, 8, Sharing::Shared).is_none());
        assert!(ports.claim(UDP, 80, 7, Sharing::Exclusive).is_none());
        assert!(
            ports
                .claim(PortSpace::Tcp, 80, 8, Sharing::Shared)
                .is_some()
        );
        assert_eq!((ports.users(UDP, Port(80)), ports.in_use(UDP)), (2, 1));
        drop(first);
        assert!(ports.claim(UDP, 80, 8, Sharing::Shared).is_none());
        drop(second);
        assert_eq!((ports.users(UDP, Port(80)), ports.in_use(UDP)), (0, 0));
        assert!(ports.claim(UDP, 80, 8, Sharing::Exclusive).is_some());
    }

    #[test]
    fn an_exclusive_port_is_not_shared_even_by_its_endpoint() {
        let ports = Arc::new(AddressPorts::default());
        let alone = ports.claim(UDP, 80, 7, Sharing::Exclusive).unwrap();
        assert!(ports.claim(UDP, 80, 7, Sharing::Shared).is_none());
        assert_eq!(ports.users(UDP, Port(80)), 1);
        drop(alone);
        assert!(ports.claim(UDP, 80, 7, Sharing::Shared).is_some());
    }

    #[test]
    fn a_search_finds_the_last_free_port_and_then_none() {
        let ports = Arc::new(AddressPorts::default());
        let all = search(1000..=1200, 1150, Parity::Any);
        let mut claims: Vec<_> = (0..201)
            .map(|n| {
                ports
                    .claim_free(UDP, &all, n, Sharing::Shared, |_| true)
                    .unwrap()
            })
            .collect();
        assert_eq!(claims[0].port(), Port(1150));
        let mut found: Vec<u16> = claims.iter().map(|c| c.port().0).collect();
        found.sort_unstable();
        assert_eq!(found, (1000..=1200).collect::<Vec<_>>());
        assert!(
            ports
                .claim_free(UDP, &all, 500, Sharing::Shared, |_| true)
                .is_none()
        );
        let freed = claims.remove(77).port();
        let again = ports
            .claim_free(UDP, &all, 500, Sharing::Shared, |_| true)
            .unwrap();
        assert_eq!(again.port(), freed);
    }

    #[test]
    fn a_search_keeps_parity_range_and_the_bound_on_tries() {
        let ports = Arc::new(AddressPorts::default());
        let odd = search(64..=127, 100, Parity::Like(3));
        let claims: Vec<_> =
            std::iter::from_fn(|| ports.claim_free(UDP, &odd, 1, Sharing::Exclusive, |_| true))
                .collect();
        assert_eq!(claims.len(), 32);
        assert!(
            claims
                .iter()
                .all(|c| c.port().0 % 2 == 1 && (64..=127).contains(&c.port().0))
        );
        let asked = std::cell::Cell::new(0);
        let bounded = Search {
            tries: 10,
            ..search(1024..=65535, 2000, Parity::Any)
        };
        let none = ports.claim_free(UDP, &bounded, 1, Sharing::Shared, |_| {
            asked.set(asked.get() + 1);
            false
        });
        assert!(none.is_none());
        assert_eq!(asked.get(), 10);
    }

    #[test]
    fn the_whole_space_can_be_searched() {
        let ports = Arc::new(AddressPorts::default());
        let all = search(0..=65535, 65535, Parity::Any);
        let claims: Vec<_> =
            std::iter::from_fn(|| ports.claim_free(UDP, &all, 1, Sharing::Exclusive, |_| true))
                .collect();
        assert_eq!(claims.len(), PORTS);
    }

    #[test]
    fn workers_that_race_for_ports_never_share_one() {
        let ports = Arc::new(AddressPorts::default());
        std::thread::scope(|scope| {
            for inside in 1..=3u64 {
                let ports = Arc::clone(&ports);
                scope.spawn(move || {
                    for round in 0..20_000u16 {
                        let port = round % 5;
                        let Some(claim) = ports.claim(UDP, port, inside, Sharing::Shared) else {
                            continue;
                        };
                        assert_eq!(ports.space(UDP).owner(port).inside(), inside);
                        drop(claim);
                    }
                });
            }
        });
        assert_eq!(ports.in_use(UDP), 0);
        assert!((0..5).all(|port| ports.users(UDP, Port(port)) == 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn claims_and_releases_agree_with_a_model(
            steps in proptest::collection::vec(
                (0u16..6, 0u64..3, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let ports = Arc::new(AddressPorts::default());
            // port -> (inside, exclusive, claims)
            let mut model: HashMap<u16, (u64, bool, Vec<PortClaim>)> = HashMap::new();
            for (port, inside, exclusive, release) in steps {
                if release {
                    if let Some((_, _, claims)) = model.get_mut(&port) {
                        claims.pop();
                    }
                    model.retain(|_, (_, _, claims)| !claims.is_empty());
                } else {
                    let sharing = if exclusive { Sharing::Exclusive } else { Sharing::Shared };
                    let claim = ports.claim(UDP, port, inside, sharing);
                    let allowed = match model.get(&port) {
                        None => true,
                        Some((owner, alone, _)) => *owner == inside && !alone && !exclusive,
                    };
                    prop_assert_eq!(claim.is_some(), allowed);
                    if let Some(claim) = claim {
                        model.entry(port).or_insert((inside, exclusive, vec![])).2.push(claim);
                    }
                }
                prop_assert_eq!(ports.in_use(UDP), model.len());
                for port in 0..6 {
                    let expected = model.get(&port).map_or(0, |(_, _, claims)| claims.len());
                    prop_assert_eq!(ports.users(UDP, Port(port)), expected);
                }
            }
        }
    }
}
