//! Source translation: which external address and port a new connection gets.
//!
//! The port is chosen so that the answer arrives at the worker that judges the first packet: RSS
//! hashes it, and a candidate's hash differs from another's only by its port. Where no such
//! port is free, the connection is opened where the answer does arrive, and its original tuple is
//! steered there. Destination translation needs no search: its caller knows the tuple, and
//! [`steer`] says whether the answer arrives elsewhere.
//!
//! The order, RFC 4787 within what RSS allows: the same port; the same range (below 512, below
//! 1024, above) and parity; the same range; the same range wherever it lands; any port above 1023.
//! An endpoint-independent mapping (`eim`) is for answers from everywhere, so it is not made for
//! where one of them lands, and is steered. Random ports skip the first step.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

use crate::eim::Inside;
use crate::hash::{HashKey, fastrange};
use crate::ids::WorkerId;
use crate::ports::{AddressPorts, PortClaim, PortSpace, Search, Sharing};
use crate::rss::Distribution;
use crate::space::Parity;
use crate::tuple::{Address, Family, Port, Proto, Tuple};

/// The most external addresses that a program may translate to, per family.
pub const NAT_ADDRESSES_MAX: usize = 4096;

/// How many free ports a search for one that lands on its owner looks at: with 64 workers, it fails
/// once in 10^13 times if that many are free.
const OWNER_TRIES: usize = 2048;

/// The external addresses of a program with their ports. Immutable; the ports themselves are shared
/// with the programs before and after it.
#[derive(Debug, Clone, Default)]
pub struct Pools<F: Family> {
    addresses: Vec<(F::Addr, Arc<AddressPorts>)>,
    /// Addresses of earlier programs, whose ports live on as long as a connection holds one.
    retired: Vec<(F::Addr, Weak<AddressPorts>)>,
}

impl<F: Family> Pools<F> {
    /// Pools for `addresses`, at most [`NAT_ADDRESSES_MAX`] different ones (the rest are left
    /// out), with the ports of those that `previous` had, or a program before it whose connections
    /// still hold some.
    pub fn build(previous: Option<&Self>, addresses: impl IntoIterator<Item = F::Addr>) -> Self {
        let mut wanted = BTreeSet::new();
        for address in addresses {
            if wanted.len() == NAT_ADDRESSES_MAX {
                break;
            }
            wanted.insert(address);
        }
        let ports = |address: F::Addr| {
            let kept = previous.and_then(|pools| pools.kept(address));
            (address, kept.unwrap_or_default())
        };
        let retired = previous.map_or_else(Vec::new, |pools| pools.without(&wanted));
        Self {
            addresses: wanted.into_iter().map(ports).collect(),
            retired,
        }
    }

    /// The ports of an address of this program, or of one before it that are still held.
    fn kept(&self, address: F::Addr) -> Option<Arc<AddressPorts>> {
        let retired = || {
            let found = self.retired.iter().find(|(a, _)| *a == address);
            found.and_then(|(_, ports)| ports.upgrade())
        };
        self.ports(address).map(Arc::clone).or_else(retired)
    }

    /// Every address that is not among `wanted`, unless nobody holds its ports any longer.
    fn without(&self, wanted: &BTreeSet<F::Addr>) -> Vec<(F::Addr, Weak<AddressPorts>)> {
        let ending = self
            .addresses
            .iter()
            .map(|(a, ports)| (*a, Arc::downgrade(ports)));
        let all = ending.chain(self.retired.iter().cloned());
        all.filter(|(address, ports)| !wanted.contains(address) && ports.strong_count() > 0)
            .collect()
    }

    /// The ports of `address`; `None` if it is no external address.
    pub fn ports(&self, address: F::Addr) -> Option<&Arc<AddressPorts>> {
        let at = self
            .addresses
            .binary_search_by(|(a, _)| a.cmp(&address))
            .ok()?;
        self.addresses.get(at).map(|(_, ports)| ports)
    }

    /// The addresses with their ports, in order.
    pub fn iter(&self) -> impl Iterator<Item = (F::Addr, &AddressPorts)> {
        self.addresses.iter().map(|(a, ports)| (*a, &**ports))
    }

    /// The addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = F::Addr> {
        self.addresses.iter().map(|(address, _)| *address)
    }
}

/// Whether the answer arrives at another worker than the first packet did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Steer {
    /// It arrives at the same.
    No,
    /// It arrives at another, where the connection is opened; the first direction is steered.
    Yes,
}

/// Whether an answer that carries `reply`, on a port that distributes like this, arrives at another
/// worker than `me`.
pub fn steer<F: Family>(distribution: &Distribution, reply: &Tuple<F>, me: WorkerId) -> Steer {
    if distribution.worker(reply) == me {
        Steer::No
    } else {
        Steer::Yes
    }
}

/// What a new connection asks of source translation.
#[derive(Debug, Clone, Copy)]
pub struct SourceRequest<F: Family> {
    /// The packet's tuple, its destination translated already.
    pub tuple: Tuple<F>,
    /// The source it came in with.
    pub inside: (F::Addr, Port),
    /// First and last address to choose from; one inside address keeps to one of them.
    pub addresses: (F::Addr, F::Addr),
    /// First and last port to choose from, if the rule says.
    pub ports: Option<(u16, u16)>,
    /// Exclusive if the destination is translated too.
    pub sharing: Sharing,
    /// For whom the port is.
    pub mapping: Mapping,
    /// Which port is tried first.
    pub order: PortOrder,
}

/// For whom an external port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mapping {
    /// For the connection; others of its inside endpoint share it where they can.
    #[default]
    PerConnection,
    /// For the inside endpoint, towards every destination (RFC 4787 REQ-1).
    EndpointIndependent,
}

/// Which port is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PortOrder {
    /// The one that the packet came with.
    #[default]
    Preserve,
    /// The first free one from where this random number points to.
    Random(u64),
}

/// A source translation.
#[derive(Debug)]
pub struct Translated<F: Family> {
    /// The tuple that leaves; its inverse is the reply tuple.
    pub tuple: Tuple<F>,
    /// The claim on the port; `None` for protocols without ports.
    pub claim: Option<PortClaim>,
    /// Whether the answer arrives at another worker.
    pub steer: Steer,
}

/// Why there is no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatError {
    /// Every port that could be given is in use.
    PortsExhausted,
    /// The address is not one of the program's external addresses.
    NoPool,
}

/// Chooses the external address and port of a new connection that `me` judges and whose answers
/// come in on a port with this `distribution`; `key` is the one that all workers share.
pub fn choose_source<F: Family>(
    pools: &Pools<F>,
    request: &SourceRequest<F>,
    distribution: &Distribution,
    me: WorkerId,
    key: &HashKey,
) -> Result<Translated<F>, NatError> {
    choose_free_source(pools, request, distribution, me, key, |_| false)
}

/// The same, passing over what is `taken`: reply tuples that arrive at `me` and that a connection
/// has whose port nobody claimed, since its source is not translated.
pub fn choose_free_source<F: Family>(
    pools: &Pools<F>,
    request: &SourceRequest<F>,
    distribution: &Distribution,
    me: WorkerId,
    key: &HashKey,
    taken: impl Fn(&Tuple<F>) -> bool,
) -> Result<Translated<F>, NatError> {
    let address = choose_address::<F>(request, key);
    let ports = pools.ports(address).ok_or(NatError::NoPool)?;
    let mut tuple = Tuple {
        src: address,
        ..request.tuple
    };
    // A tunnel has no call id to choose.
    let space =
        PortSpace::of(tuple.proto).filter(|_| tuple.proto != Proto::GRE || tuple.has_call());
    let Some(space) = space else {
        let steer = steer(distribution, &tuple.inverse(), me);
        return Ok(Translated {
            tuple,
            claim: None,
            steer,
        });
    };
    let reply = tuple.inverse();
    let taken = |port| {
        taken(&Tuple {
            dst_port: Port(port),
            ..reply
        })
    };
    let landing = Landing::new(distribution, &reply, me);
    let Some(claim) = choose_port(ports, space, request, landing, key, &taken) else {
        ports.count_exhausted(space);
        return Err(NatError::PortsExhausted);
    };
    tuple.src_port = claim.port();
    let steer = steer(distribution, &tuple.inverse(), me);
    Ok(Translated {
        tuple,
        claim: Some(claim),
        steer,
    })
}

/// The port is another inside endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortTaken;

/// Claims the source endpoint that a connection of `inside` leaves with, where its address is one
/// whose ports are given out; `None` for others, whose ports nobody else is given.
pub fn keep_source<F: Family>(
    pools: &Pools<F>,
    outgoing: &Tuple<F>,
    inside: (F::Addr, Port),
    key: &HashKey,
) -> Result<Option<PortClaim>, PortTaken> {
    let (Some(ports), Some(space)) = (pools.ports(outgoing.src), PortSpace::of(outgoing.proto))
    else {
        return Ok(None);
    };
    let inside = Inside::<F>::new(inside, key);
    let claim = ports.claim(space, outgoing.src_port.0, inside.word, Sharing::Shared);
    claim.map(Some).ok_or(PortTaken)
}

/// A port of `ports` for a connection whose answer is best to land as `landing` says.
fn choose_port<F: Family>(
    ports: &Arc<AddressPorts>,
    space: PortSpace,
    request: &SourceRequest<F>,
    landing: Landing<'_>,
    key: &HashKey,
    taken: &impl Fn(u16) -> bool,
) -> Option<PortClaim> {
    let inside = Inside::<F>::new(request.inside, key);
    let (start, preserve) = match request.order {
        PortOrder::Preserve => (key.words(key.tuple(&request.tuple), 1), true),
        PortOrder::Random(number) => (number, false),
    };
    let mut search = PortSearch {
        ports,
        space,
        preserved: request.tuple.src_port.0,
        preserve,
        start,
        inside: inside.word,
        sharing: request.sharing,
        landing: None,
    };
    match request.mapping {
        Mapping::PerConnection => {
            search.landing = Some(landing);
            search.run::<F>(request.ports, taken)
        }
        Mapping::EndpointIndependent => {
            search.sharing = Sharing::Shared;
            let (first, last) = request.ports.unwrap_or((1, u16::MAX));
            let choose = || search.run::<F>(request.ports, taken);
            ports.map(space, inside, &(first..=last), key, choose)
        }
    }
}

/// Claims `external`, an address of the pools and a port, for a connection that is announced: it is
/// to come to the `inside` endpoint, or from there. That endpoint may use the port as well, nobody
/// else can; `None` if somebody does, or if the address is not one of the pools'.
pub fn reserve<F: Family>(
    pools: &Pools<F>,
    proto: Proto,
    external: (F::Addr, Port),
    inside: (F::Addr, Port),
    key: &HashKey,
) -> Option<PortClaim> {
    let (address, port) = external;
    let ports = pools.ports(address)?;
    let inside = Inside::<F>::new(inside, key).word;
    ports.claim(PortSpace::of(proto)?, port.0, inside, Sharing::Shared)
}

/// Another source port for a connection whose source is not translated and whose `reply` tuple a
/// live one has: of the same range, so that the answer still arrives at `me`, and not `taken`.
///
/// `None` for protocols without ports, for SCTP (its checksum covers them), and if there is none
/// within a bounded search.
pub fn other_source_port<F: Family>(
    reply: &Tuple<F>,
    distribution: &Distribution,
    me: WorkerId,
    key: &HashKey,
    taken: impl Fn(&Tuple<F>) -> bool,
) -> Option<Port> {
    let range = match PortSpace::of(reply.proto)? {
        PortSpace::Sctp | PortSpace::Gre => return None,
        PortSpace::Icmp => 0..=u16::MAX,
        PortSpace::Tcp | PortSpace::Udp | PortSpace::Dccp | PortSpace::UdpLite => {
            range_of(reply.dst_port.0)
        }
    };
    let width = usize::from(range.end() - range.start()) + 1;
    let start = fastrange(key.words(key.tuple(reply), 2), width);
    let landing = Landing::new(distribution, reply, me);
    (0..OWNER_TRIES.min(width))
        .filter_map(|n| u16::try_from((start + n) % width).ok())
        .map(|offset| range.start() + offset)
        .filter(|port| landing.is_right::<F>(*port))
        .map(Port)
        .find(|port| {
            !taken(&Tuple {
                dst_port: *port,
                ..*reply
            })
        })
}

/// One address of the range, always the same for one inside address.
fn choose_address<F: Family>(request: &SourceRequest<F>, key: &HashKey) -> F::Addr {
    let (first, last) = (request.addresses.0.to_bits(), request.addresses.1.to_bits());
    let span = last.saturating_sub(first);
    if span == 0 {
        return request.addresses.0;
    }
    let hash = u128::from(key.endpoint(request.inside.0, 0));
    let offset = if span == u128::MAX {
        hash
    } else {
        hash % (span + 1)
    };
    F::Addr::from_bits(first + offset)
}

/// Which ports make the answer land on its owner.
struct Landing<'a> {
    distribution: &'a Distribution,
    me: WorkerId,
    /// The reply's hash without its destination port.
    base: u32,
    by_port: bool,
}

impl<'a> Landing<'a> {
    fn new<F: Family>(distribution: &'a Distribution, reply: &Tuple<F>, me: WorkerId) -> Self {
        let by_port = distribution.hashes_ports(reply.proto);
        let base = distribution.hash(&Tuple {
            dst_port: Port(0),
            ..*reply
        }) ^ if by_port {
            distribution.destination_port::<F>(0)
        } else {
            0
        };
        Self {
            distribution,
            me,
            base,
            by_port,
        }
    }

    fn is_right<F: Family>(&self, port: u16) -> bool {
        let part = if self.by_port {
            self.distribution.destination_port::<F>(port)
        } else {
            0
        };
        self.distribution.worker_of(self.base ^ part) == self.me
    }

    /// Whether some ports may be right: if ports are not hashed, all are or none is.
    fn is_possible<F: Family>(&self) -> bool {
        self.by_port || self.is_right::<F>(0)
    }
}

struct PortSearch<'a> {
    ports: &'a Arc<AddressPorts>,
    space: PortSpace,
    /// The port that the packet came with.
    preserved: u16,
    /// Whether that one is tried first.
    preserve: bool,
    /// A keyed hash: where searches start, so that ports are not given in a guessable order.
    start: u64,
    inside: u64,
    sharing: Sharing,
    /// `None` if it does not matter where answers land.
    landing: Option<Landing<'a>>,
}

impl PortSearch<'_> {
    /// Goes through the steps that the module's comment lists.
    fn run<F: Family>(
        &self,
        given: Option<(u16, u16)>,
        taken: &impl Fn(u16) -> bool,
    ) -> Option<PortClaim> {
        let range = match (given, self.space) {
            (Some((first, last)), _) => first..=last.max(first),
            (None, PortSpace::Icmp) => u16::from(self.landing.is_none())..=u16::MAX,
            (None, PortSpace::Gre) => 1..=u16::MAX,
            (None, _) => range_of(self.preserved),
        };
        self.within::<F>(&range, taken).or_else(|| {
            let other = 1024..=u16::MAX;
            let numbers = matches!(self.space, PortSpace::Icmp | PortSpace::Gre);
            let elsewhere = given.is_none() && !numbers && range != other;
            elsewhere.then(|| self.within::<F>(&other, taken)).flatten()
        })
    }

    fn within<F: Family>(
        &self,
        range: &RangeInclusive<u16>,
        taken: &impl Fn(u16) -> bool,
    ) -> Option<PortClaim> {
        let own = self.preserve && range.contains(&self.preserved);
        let like = Parity::Like(self.preserved);
        let found = match &self.landing {
            Some(landing) if landing.is_possible::<F>() => {
                let right = |port| landing.is_right::<F>(port) && !taken(port);
                let first = (own && right(self.preserved)).then(|| self.preserved());
                first
                    .flatten()
                    .or_else(|| self.free(range, like, OWNER_TRIES, right))
                    .or_else(|| self.free(range, Parity::Any, OWNER_TRIES, right))
            }
            Some(_) => None,
            None => {
                let first = own.then(|| self.preserved()).flatten();
                first.or_else(|| self.free(range, like, usize::MAX, |_| true))
            }
        };
        // Of what lands elsewhere, only the worker there knows what is taken.
        let other = |port| match &self.landing {
            Some(landing) => !landing.is_right::<F>(port) || !taken(port),
            None => true,
        };
        let steered = || {
            let own = own && other(self.preserved);
            own.then(|| self.preserved()).flatten()
        };
        found
            .or_else(steered)
            .or_else(|| self.free(range, Parity::Any, usize::MAX, other))
    }

    fn preserved(&self) -> Option<PortClaim> {
        self.ports
            .claim(self.space, self.preserved, self.inside, self.sharing)
    }

    fn free(
        &self,
        range: &RangeInclusive<u16>,
        parity: Parity,
        tries: usize,
        wanted: impl Fn(u16) -> bool,
    ) -> Option<PortClaim> {
        let width = usize::from(range.end() - range.start()) + 1;
        let offset = u16::try_from(fastrange(self.start, width)).unwrap_or(0);
        let start = range.start() + offset;
        let search = Search {
            range: range.clone(),
            start,
            parity,
            tries,
        };
        self.ports
            .claim_free(self.space, &search, self.inside, self.sharing, wanted)
    }
}

/// The range that a port stays in.
fn range_of(port: u16) -> RangeInclusive<u16> {
    match port {
        0..512 => 1..=511,
        512..1024 => 512..=1023,
        1024.. => 1024..=u16::MAX,
    }
}
