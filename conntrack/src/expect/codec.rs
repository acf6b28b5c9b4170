//! What an expectation is, as words of its slot.
//!
//! Reading never fails: words that do not belong together, because somebody wrote meanwhile, make
//! some content or other, and the slot's head says that it is to be thrown away.

use std::sync::Arc;

use super::masters::MasterId;
use super::slots::WORDS;
use super::{
    Activity, ChildLife, Class, Destination, ExpectError, Expectation, ExpectationId, Source, Uses,
};
use crate::hash::HashKey;
use crate::ids::HelperId;
use crate::ports::{AddressPorts, PortClaim, PortSpace};
use crate::time::Tick;
use crate::tuple::{Address, Family, Port, Proto, Tuple};

const DESTINATION: usize = 0;
const SOURCE: usize = 2;
const NEW_DESTINATION: usize = 4;
const NEW_SOURCE: usize = 6;
/// Ports: destination, source, new destination, new source.
const PORTS: usize = 8;
/// Everything small, packed into one word.
const ATTRIBUTES: usize = 9;
/// The word of the master: place and stamp.
pub(super) const MASTER: usize = 10;
/// The word of the deadline, in microseconds; it may change while the rest stays.
pub(super) const DEADLINE: usize = 11;

/// Which port an expectation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    Nothing,
    Destination,
    Source,
}

/// An expectation without the port it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content<F: Family> {
    pub(super) master: MasterId,
    pub(super) deadline: Tick,
    /// Only for making the slot: a slot's head says it from then on.
    pub(super) activity: Activity,
    version: u8,
    proto: Proto,
    destination: (F::Addr, Port),
    source: Option<F::Addr>,
    source_port: Option<Port>,
    uses: Uses,
    helper: Option<HelperId>,
    life: ChildLife,
    new_destination: Destination<F>,
    new_source: Source<F>,
    reserved: Reserved,
}

/// An expectation that a packet meets, as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<F: Family> {
    /// Where the connection really goes.
    pub new_destination: Destination<F>,
    /// Under which source it leaves.
    pub new_source: Source<F>,
    pub(super) id: ExpectationId,
    pub(super) master: MasterId,
    pub(super) uses: Uses,
    source_port: Option<Port>,
    /// The helper of the announced connection.
    pub helper: Option<HelperId>,
    pub(crate) life: ChildLife,
    reserved: Reserved,
}

impl<F: Family> Expected<F> {
    pub(super) fn new(content: &Content<F>, id: ExpectationId) -> Self {
        Self {
            new_destination: content.new_destination,
            new_source: content.new_source,
            id,
            master: content.master,
            uses: content.uses,
            source_port: content.source_port,
            helper: content.helper,
            life: content.life,
            reserved: content.reserved,
        }
    }

    /// The tuple of the connection that a packet with `tuple` opens: a GRE call has its sender's
    /// call id too, which no packet of it shows.
    #[must_use]
    pub fn opened(&self, tuple: &Tuple<F>) -> Tuple<F> {
        let unseen = self.source_port.filter(|_| tuple.has_call());
        Tuple {
            src_port: unseen.unwrap_or(tuple.src_port),
            ..*tuple
        }
    }

    /// Whether the port that it holds is the destination's, and not that of the source.
    pub(crate) fn holds_destination(&self) -> bool {
        self.reserved == Reserved::Destination
    }
}

/// The hash that decides where an expectation lies.
pub(super) fn hash<F: Family>(key: &HashKey, proto: Proto, address: F::Addr, port: Port) -> u64 {
    let kind = u64::from(F::VERSION) << 8 | u64::from(proto.0);
    key.words(key.endpoint(address, port.0), kind)
}

impl<F: Family> Content<F> {
    /// What is to be kept of a new expectation, and the port it holds.
    pub(super) fn of(
        new: Expectation<F>,
        master: MasterId,
        class: &Class,
        now: Tick,
    ) -> Result<(Self, Option<PortClaim>), ExpectError> {
        let endpoint = match new.new_source {
            Source::Endpoint(_, port) => Some(port),
            Source::Rules | Source::Keep | Source::Address(_) => None,
        };
        let checked = new
            .reservation
            .checked(new.proto, new.destination.1, endpoint);
        let (reserved, claim) = checked.ok_or(ExpectError::Reservation)?;
        let content = Self {
            master,
            deadline: now.after(class.timeout),
            activity: new.activity,
            version: F::VERSION,
            proto: new.proto,
            destination: new.destination,
            source: new.source,
            source_port: new.source_port,
            uses: new.uses,
            helper: new.helper,
            life: new.life,
            new_destination: new.new_destination,
            new_source: new.new_source,
            reserved,
        };
        Ok((content, claim))
    }

    pub(super) fn hash(&self, key: &HashKey) -> u64 {
        let (address, port) = self.destination;
        hash::<F>(key, self.proto, address, port)
    }

    /// Whether the first packet of a connection is what it waits for.
    pub(super) fn is_met_by(&self, tuple: &Tuple<F>) -> bool {
        self.version == F::VERSION
            && self.proto == tuple.proto
            && self.destination == (tuple.dst, tuple.dst_port)
            && self.source.is_none_or(|source| source == tuple.src)
            && self.shown_port().is_none_or(|port| port == tuple.src_port)
    }

    /// The source port as far as a packet shows it: one of a GRE call does not.
    fn shown_port(&self) -> Option<Port> {
        self.source_port.filter(|_| self.proto != Proto::GRE)
    }

    /// Whether exactly the same packets meet both.
    pub(super) fn is_same_match(&self, other: &Self) -> bool {
        self.has_same_destination(other)
            && (self.source, self.shown_port()) == (other.source, other.shown_port())
    }

    /// Whether some packet meets both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        fn meet<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        self.has_same_destination(other)
            && meet(self.source, other.source)
            && meet(self.shown_port(), other.shown_port())
    }

    fn has_same_destination(&self, other: &Self) -> bool {
        (self.version, self.proto, self.destination)
            == (other.version, other.proto, other.destination)
    }

    pub(super) fn words(&self) -> [u64; WORDS] {
        let zero = (F::Addr::from_bits(0), Port(0));
        let (to_kind, to) = match self.new_destination {
            Destination::Rules => (0, zero),
            Destination::Keep => (1, zero),
            Destination::To(address, port) => (2, (address, port)),
        };
        let (via_kind, via) = match self.new_source {
            Source::Rules => (0, zero),
            Source::Keep => (1, zero),
            Source::Address(address) => (2, (address, Port(0))),
            Source::Endpoint(address, port) => (3, (address, port)),
        };
        let flags = u8::from(self.source.is_none())
            | u8::from(self.source_port.is_none()) << 1
            | u8::from(self.uses == Uses::UntilTimeout) << 2
            | u8::from(self.life == ChildLife::Master) << 3;
        let reserved = match self.reserved {
            Reserved::Nothing => 0,
            Reserved::Destination => 1,
            Reserved::Source => 2,
        };
        let helper = self.helper.map_or(0, HelperId::number);
        let attributes = [
            0,
            helper,
            reserved,
            via_kind,
            to_kind,
            flags,
            self.version,
            self.proto.0,
        ];
        let source = self.source.unwrap_or(zero.0);
        let [d0, d1] = halves(self.destination.0);
        let [s0, s1] = halves(source);
        let [t0, t1] = halves(to.0);
        let [v0, v1] = halves(via.0);
        let ports = [
            self.destination.1,
            self.source_port.unwrap_or_default(),
            to.1,
            via.1,
        ];
        let ports = ports
            .iter()
            .fold(0, |word, port| word << 16 | u64::from(port.0));
        [
            d0,
            d1,
            s0,
            s1,
            t0,
            t1,
            v0,
            v1,
            ports,
            u64::from_be_bytes(attributes),
            u64::from(self.master.place) << 32 | u64::from(self.master.stamp),
            self.deadline.as_micros(),
        ]
    }

    pub(super) fn from_words(words: &[u64; WORDS]) -> Self {
        let at = |n: usize| words.get(n).copied().unwrap_or(0);
        let address = |n| F::Addr::from_bits(u128::from(at(n)) << 64 | u128::from(at(n + 1)));
        let [destination, source, to, via] = ports(at(PORTS));
        let [
            _,
            helper,
            reserved,
            via_kind,
            to_kind,
            flags,
            version,
            proto,
        ] = at(ATTRIBUTES).to_be_bytes();
        Self {
            master: master(at(MASTER)),
            deadline: Tick::from_micros(at(DEADLINE)),
            activity: Activity::Active,
            version,
            proto: Proto(proto),
            destination: (address(DESTINATION), destination),
            source: (flags & 1 == 0).then(|| address(SOURCE)),
            source_port: (flags & 2 == 0).then_some(source),
            uses: if flags & 4 == 0 {
                Uses::Once
            } else {
                Uses::UntilTimeout
            },
            helper: HelperId::new(helper),
            life: if flags & 8 == 0 {
                ChildLife::Own
            } else {
                ChildLife::Master
            },
            new_destination: match to_kind {
                0 => Destination::Rules,
                1 => Destination::Keep,
                _ => Destination::To(address(NEW_DESTINATION), to),
            },
            new_source: match via_kind {
                0 => Source::Rules,
                1 => Source::Keep,
                2 => Source::Address(address(NEW_SOURCE)),
                _ => Source::Endpoint(address(NEW_SOURCE), via),
            },
            reserved: reserved_of(reserved),
        }
    }
}

/// The master's word, read.
pub(super) fn master(word: u64) -> MasterId {
    let [_, _, high, low, a, b, c, d] = word.to_be_bytes();
    MasterId {
        place: u16::from_be_bytes([high, low]),
        stamp: u32::from_be_bytes([a, b, c, d]),
    }
}

/// The port that an expectation holds of an address.
pub(super) fn claim(words: &[u64; WORDS], ports: Option<Arc<AddressPorts>>) -> Option<PortClaim> {
    let at = |n: usize| words.get(n).copied().unwrap_or(0);
    let [_, _, reserved, _, _, _, _, proto] = at(ATTRIBUTES).to_be_bytes();
    let [destination, _, _, via] = self::ports(at(PORTS));
    let port = match reserved_of(reserved) {
        Reserved::Nothing => return None,
        Reserved::Destination => destination,
        Reserved::Source => via,
    };
    Some(PortClaim::of(ports?, PortSpace::of(Proto(proto))?, port))
}

const fn reserved_of(code: u8) -> Reserved {
    match code {
        0 => Reserved::Nothing,
        1 => Reserved::Destination,
        _ => Reserved::Source,
    }
}

fn ports(word: u64) -> [Port; 4] {
    let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
    [[a, b], [c, d], [e, f], [g, h]].map(|bytes| Port(u16::from_be_bytes(bytes)))
}

fn halves<A: Address>(address: A) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address.to_bits().to_be_bytes();
    [
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes(rest),
    ]
}
