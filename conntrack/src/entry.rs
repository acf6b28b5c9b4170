//! What is kept per connection, split by how often it is touched.
//!
//! [`Hot`] is what a lookup compares and the fast path reads: one cache line for IPv4. [`Warm`] is
//! what every packet counts and expiry links. `TcpWindow` is
//! read by TCP segments only. Sizes are asserted in tests: 168 bytes in all for IPv4.

use crate::ids::{ConnState, Direction, Generation};
use crate::tuple::{Family, Port, Proto, Tuple, TuplePair};

/// No entry, no rule: the end of a list of numbers.
pub const NONE: u32 = u32::MAX;
/// No claim.
pub(crate) const NO_CLAIM: u16 = u16::MAX;

/// What is true of a connection, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Flags(u16);

impl Flags {
    /// A packet of the reply direction was seen.
    pub const SEEN_REPLY: Self = Self(1);
    /// Not evicted when the table is full: both sides have agreed that it exists.
    pub const ASSURED: Self = Self(1 << 1);
    /// In the table; every live entry is.
    pub const CONFIRMED: Self = Self(1 << 2);
    /// Closed by a reset or by both FINs, waiting for its timeout.
    pub const DYING: Self = Self(1 << 3);
    /// A rule fasttracked it.
    pub const FASTTRACKED: Self = Self(1 << 4);
    /// Its source is translated.
    pub const SRCNAT: Self = Self(1 << 5);
    /// Its destination is translated.
    pub const DSTNAT: Self = Self(1 << 6);
    /// Another connection announced it.
    pub const EXPECTED: Self = Self(1 << 7);
    /// Its original tuple is in the steering map.
    pub const STEERED: Self = Self(1 << 8);
    /// Its source is translated to whatever address the gateway has there: it ends with that one.
    pub const MASQUERADED: Self = Self(1 << 9);
    // Bits 10 and 11: an outdated judgement per direction, see `Hot::is_outdated`.
    // Bits 12..16: the cached connection state per direction, see `Hot::cached`.

    /// No flag.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The state that a valid packet of `direction` has in a connection with these flags.
    pub const fn state(self, direction: Direction) -> ConnState {
        match direction {
            Direction::Reply => ConnState::Established,
            Direction::Original if self.contains(Self::SEEN_REPLY) => ConnState::Established,
            Direction::Original if self.contains(Self::EXPECTED) => ConnState::Related,
            Direction::Original => ConnState::New,
        }
    }

    /// These flags and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// RouterOS's letters for the flags that are set, in the order `S A C D F s d E`.
    pub fn letters(self) -> impl Iterator<Item = char> {
        [
            (Self::SEEN_REPLY, 'S'),
            (Self::ASSURED, 'A'),
            (Self::CONFIRMED, 'C'),
            (Self::DYING, 'D'),
            (Self::FASTTRACKED, 'F'),
            (Self::SRCNAT, 's'),
            (Self::DSTNAT, 'd'),
            (Self::EXPECTED, 'E'),
        ]
        .into_iter()
        .filter(move |(flag, _)| self.contains(*flag))
        .map(|(_, letter)| letter)
    }
}

impl std::fmt::Display for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.letters().try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// Checksum differences that a direction's translation makes, as one's-complement words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Deltas {
    /// For the IPv4 header checksum.
    pub l3: u16,
    /// For the checksum of layer 4.
    pub l4: u16,
}

impl Deltas {
    /// Those of the other direction: what one adds to a sum, the other takes away.
    #[must_use]
    pub fn inverse(self) -> Self {
        // Of the two zeros of one's complement only the positive one stands for "no change".
        let negated = |delta: u16| if delta == 0 { 0 } else { !delta };
        Self {
            l3: negated(self.l3),
            l4: negated(self.l4),
        }
    }
}

/// What the pipeline remembers of the last full evaluation of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cached {
    /// Who judged it; zero if nobody did, and then the rest means nothing.
    pub generation: Generation,
    /// As what it was judged. Invalid and untracked packets have no flow, so neither is kept:
    /// storing one forgets the flow's judgement instead.
    pub state: ConnState,
    /// The interface the judged packet came in by.
    pub in_interface: u16,
    /// The pipeline's number for the outcome.
    pub outcome: u32,
    /// The pipeline's number for the next hop.
    pub next_hop: u32,
    /// What the translation does to checksums.
    pub deltas: Deltas,
}

/// One flow's addresses and ports: a tuple without the protocol, which both flows share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
struct Ends<F: Family> {
    src: F::Addr,
    dst: F::Addr,
    src_port: Port,
    dst_port: Port,
}

impl<F: Family> Ends<F> {
    fn of(tuple: &Tuple<F>) -> Self {
        Self {
            src: tuple.src,
            dst: tuple.dst,
            src_port: tuple.src_port,
            dst_port: tuple.dst_port,
        }
    }

    fn tuple(&self, proto: Proto) -> Tuple<F> {
        Tuple {
            src: self.src,
            dst: self.dst,
            src_port: self.src_port,
            dst_port: self.dst_port,
            proto,
        }
    }
}

/// What a lookup compares and the fast path reads.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Hot<F: Family> {
    align: [F::Align; 0],
    ends: [Ends<F>; 2],
    proto: Proto,
    /// The tracker's own state.
    pub(crate) state: u8,
    pub(crate) flags: Flags,
    generation: Generation,
    outcome: [u32; 2],
    next_hop: [u32; 2],
    in_interface: [u16; 2],
    /// When it expires, in wrapping milliseconds.
    pub(crate) deadline: u32,
    pub(crate) mark: u32,
    /// Of the original direction.
    deltas: Deltas,
}

impl<F: Family> Hot<F> {
    /// An entry for `pair` that nobody has judged.
    pub(crate) fn new(
        pair: &TuplePair<F>,
        flags: Flags,
        generation: Generation,
        state: u8,
        deadline: u32,
    ) -> Self {
        Self {
            state,
            deadline,
            ends: [Ends::of(&pair.original), Ends::of(&pair.reply)],
            proto: pair.original.proto,
            flags,
            generation,
            ..Self::default()
        }
    }

    /// Whether packets with the tuple `key` come in by the flow of `direction`.
    pub(crate) fn is(&self, direction: Direction, key: &Tuple<F>) -> bool {
        if self.proto != key.proto {
            return false;
        }
        if key.proto == Proto::GRE {
            return self.tuple(direction).key() == key.key();
        }
        self.ends_of(direction) == &Ends::of(key)
    }

    /// Whether it has reached its deadline, at `now` in wrapping milliseconds.
    pub(crate) fn expired(&self, now_ms: u32) -> bool {
        remaining(self.deadline, now_ms) == 0
    }

    fn ends_of(&self, direction: Direction) -> &Ends<F> {
        let [original, reply] = &self.ends;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// The protocol of both flows.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// The tuple that packets of `direction` carry when they come in.
    pub fn tuple(&self, direction: Direction) -> Tuple<F> {
        self.ends_of(direction).tuple(self.proto)
    }

    /// Both tuples.
    pub fn pair(&self) -> TuplePair<F> {
        TuplePair {
            original: self.tuple(Direction::Original),
            reply: self.tuple(Direction::Reply),
        }
    }

    /// What is true of the connection.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// The connection mark.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// The generation that judged it last, in either direction.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What was last remembered for `direction`.
    pub fn cached(&self, direction: Direction) -> Cached {
        let d = direction.index();
        let state = self.flags.0 >> state_shift(direction) & 3;
        let (generation, state) = match state {
            1 => (self.generation, ConnState::New),
            2 => (self.generation, ConnState::Established),
            3 => (self.generation, ConnState::Related),
            _ => (Generation(0), ConnState::New),
        };
        Cached {
            generation,
            state,
            in_interface: self.in_interface[d],
            outcome: self.outcome[d],
            next_hop: self.next_hop[d],
            deltas: towards(direction, self.deltas),
        }
    }

    /// Remembers `cached` for `direction`; a new generation makes the other direction forget.
    pub(crate) fn set_cached(&mut self, direction: Direction, cached: Cached) {
        if self.generation != cached.generation {
            self.generation = cached.generation;
            let other = direction.flip();
            if self.flags.0 >> state_shift(other) & 3 != 0 {
                self.flags.0 |= outdated_bit(other);
            }
            self.flags.0 &= !(3 << state_shift(other));
        }
        self.flags.0 &= !outdated_bit(direction);
        let code: u16 = match cached.state {
            ConnState::New => 1,
            ConnState::Established => 2,
            ConnState::Related => 3,
            ConnState::Invalid | ConnState::Untracked => 0,
        };
        let shift = state_shift(direction);
        self.flags.0 = self.flags.0 & !(3 << shift) | code << shift;
        let d = direction.index();
        self.in_interface[d] = cached.in_interface;
        self.outcome[d] = cached.outcome;
        self.next_hop[d] = cached.next_hop;
        self.deltas = towards(direction, cached.deltas);
    }

    /// Makes both directions forget their judgement, as if nobody had judged them.
    pub(crate) fn forget_judgements(&mut self) {
        for direction in [Direction::Original, Direction::Reply] {
            self.flags.0 &= !(3 << state_shift(direction));
        }
    }

    /// Remembers the translation's checksum differences, given as those of `direction`.
    pub(crate) fn set_deltas(&mut self, direction: Direction, deltas: Deltas) {
        self.deltas = towards(direction, deltas);
    }

    /// Whether `direction` was judged, and not since `generation` came.
    pub fn is_outdated(&self, direction: Direction, generation: Generation) -> bool {
        let judged = self.flags.0 >> state_shift(direction) & 3 != 0;
        self.flags.0 & outdated_bit(direction) != 0 || judged && self.generation != generation
    }
}

/// The deltas of the original direction as those of `direction`, or the other way round.
fn towards(direction: Direction, deltas: Deltas) -> Deltas {
    match direction {
        Direction::Original => deltas,
        Direction::Reply => deltas.inverse(),
    }
}

/// Set while a direction's last judgement is by an older program than the other direction's.
const fn outdated_bit(direction: Direction) -> u16 {
    match direction {
        Direction::Original => 1 << 10,
        Direction::Reply => 1 << 11,
    }
}

const fn state_shift(direction: Direction) -> u32 {
    match direction {
        Direction::Original => 12,
        Direction::Reply => 14,
    }
}

/// Milliseconds until `deadline`, zero once it is reached; right as long as no deadline is more
/// than half the circle (24.8 days) away.
pub(crate) fn remaining(deadline: u32, now_ms: u32) -> u32 {
    let left = deadline.wrapping_sub(now_ms);
    if left > u32::MAX / 2 { 0 } else { left }
}

/// What every packet counts, and what expiry and release need.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Warm {
    pub(crate) packets: [u64; 2],
    pub(crate) bytes: [u64; 2],
    /// The next entry in the same wheel slot, or the next free place.
    pub(crate) next: u32,
    /// The entry before, or the slot this is the head of.
    pub(crate) prev: u32,
    /// When the wheel reaches it, in wrapping milliseconds: a wheel tick past the deadline at most.
    pub(crate) due: u32,
    /// When it was opened, in seconds.
    pub(crate) start: u32,
    /// When its last packet came, in wrapping milliseconds.
    pub(crate) seen: u32,
    /// The rule that admitted it, by the number that it keeps over reloads.
    pub(crate) rule: u32,
    /// Where the registry keeps the port space that its external port is claimed from.
    pub(crate) claim: u16,
    /// The place among masters that it counts on: its own if it is one, else its master's.
    pub(crate) master: u16,
    /// What is known of its layer 7, see `labels`; zero if nobody has asked.
    pub(crate) label: u16,
    /// Its helper; zero if none.
    pub(crate) helper: u8,
    pub(crate) kin: Kin,
}

/// What else a connection counts on, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(crate) struct Kin(u8);

impl Kin {
    /// It is a master: its place is its own.
    pub(crate) const MASTER: Self = Self(1);
    /// It ends with its master.
    pub(crate) const ENDS_WITH_MASTER: Self = Self(1 << 1);
    /// It came in through an endpoint-independent mapping: its original destination.
    pub(crate) const USES_MAPPING: Self = Self(1 << 3);
    /// Rules count it for their `connection-limit`.
    pub(crate) const COUNTED: Self = Self(1 << 2);
    /// Its packets are read by its helper.
    pub(crate) const READ: Self = Self(1 << 4);
    /// Its sequence numbers are shifted.
    pub(crate) const SHIFTED: Self = Self(1 << 5);

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp_window::TcpWindow;
    use crate::tuple::{V4, V6};

    #[test]
    fn an_ipv4_connection_takes_168_bytes_and_an_ipv6_one_216() {
        let window = size_of::<TcpWindow>();
        assert_eq!((size_of::<Hot<V4>>(), align_of::<Hot<V4>>()), (64, 64));
        assert_eq!((size_of::<Warm>(), align_of::<Warm>()), (64, 64));
        assert_eq!(size_of::<Hot<V4>>() + size_of::<Warm>() + window, 168);
        assert_eq!(size_of::<Hot<V6>>() + size_of::<Warm>() + window, 216);
    }

    #[test]
    fn flags_print_as_routeros_letters() {
        let flags = Flags::SEEN_REPLY
            .with(Flags::ASSURED)
            .with(Flags::CONFIRMED)
            .with(Flags::SRCNAT)
            .with(Flags::STEERED);
        assert_eq!(flags.to_string(), "SACs");
        assert_eq!(
            flags
                .without(Flags::SRCNAT)
                .with(Flags::EXPECTED)
                .to_string(),
            "SACE"
        );
    }

    fn cached(generation: u32, state: ConnState, outcome: u32) -> Cached {
        Cached {
            generation: Generation(generation),
            state,
            in_interface: 3,
            outcome,
            next_hop: 9,
            deltas: Deltas { l3: 1, l4: 2 },
        }
    }

    #[test]
    fn each_direction_remembers_its_own_judgement() {
        let mut hot = Hot::<V4> {
            flags: Flags::ASSURED,
            ..Hot::default()
        };
        assert_eq!(hot.cached(Direction::Original).generation, Generation(0));
        hot.set_cached(Direction::Original, cached(4, ConnState::New, 70));
        let back = Cached {
            deltas: Deltas { l3: 1, l4: 2 }.inverse(),
            ..cached(4, ConnState::Established, 71)
        };
        hot.set_cached(Direction::Reply, back);
        assert_eq!(
            hot.cached(Direction::Original),
            cached(4, ConnState::New, 70)
        );
        assert_eq!(hot.cached(Direction::Reply), back);
        assert_eq!(hot.flags.to_string(), "A");
    }

    #[test]
    fn a_new_generation_makes_the_other_direction_forget() {
        let mut hot = Hot::<V4>::default();
        hot.set_cached(Direction::Original, cached(4, ConnState::Established, 70));
        hot.set_cached(Direction::Reply, cached(5, ConnState::Established, 71));
        assert_eq!(hot.cached(Direction::Original).generation, Generation(0));
        assert_eq!(hot.cached(Direction::Reply).generation, Generation(5));
    }

    #[test]
    fn a_judgement_is_outdated_until_its_own_direction_is_judged_again() {
        let mut hot = Hot::<V4>::default();
        let outdated = |hot: &Hot<V4>, direction| hot.is_outdated(direction, Generation(5));
        assert!(!outdated(&hot, Direction::Original), "never judged");
        hot.set_cached(Direction::Original, cached(4, ConnState::Established, 70));
        hot.set_cached(Direction::Reply, cached(4, ConnState::Established, 71));
        assert!(outdated(&hot, Direction::Original) && outdated(&hot, Direction::Reply));
        hot.set_cached(Direction::Original, cached(5, ConnState::Established, 72));
        assert!(!outdated(&hot, Direction::Original));
        assert!(outdated(&hot, Direction::Reply));
        hot.set_cached(Direction::Reply, cached(5, ConnState::Established, 73));
        assert!(!outdated(&hot, Direction::Reply));
    }

    #[test]
    fn a_deadline_is_reached_across_the_wrap_of_milliseconds() {
        assert_eq!(remaining(5, u32::MAX - 4), 10);
        assert_eq!(remaining(u32::MAX - 4, 5), 0);
        assert_eq!(remaining(7, 7), 0);
        assert_eq!(remaining(8, 7), 1);
    }
}
