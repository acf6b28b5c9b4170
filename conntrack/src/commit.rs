//! Opening connections: whether a packet may, and taking a new one into the table.

use std::time::Duration;

use crate::entry::{Flags, Hot, Kin, NO_CLAIM, NONE, Warm};
use crate::events::{Cause, Change};
use crate::expect::masters::NO_MASTER;
use crate::expect::{ChildLife, Expected};
use crate::ids::{Direction, FlowId, FlowRef, Generation, HelperId};
use crate::ports::PortClaim;
use crate::segment::{Checksum, InvalidReason, L4, Segment};
use crate::steering::SteeringClaim;
use crate::syn_gate::is_half_open;
use crate::table::{Table, at};
use crate::tcp_window::TcpWindow;
use crate::time::Tick;
use crate::timeouts::{TrackingConfig, millis};
use crate::tuple::{Address, Family, Proto, Tuple, TuplePair};
use crate::wheel::wrapping;
use crate::{dccp, generic, icmp, sctp, tcp, udp};

/// What a full table spends on the wheel to find something expired.
const RECLAIM_MAX: usize = 32;
/// How many connections a full table looks at to find one to evict.
const EVICT_SCAN_MAX: usize = 64;

/// A connection that is about to exist.
#[derive(Debug)]
pub struct NewConnection<F: Family> {
    /// Both tuples. Where they are not inverse to each other, the connection is translated.
    pub pair: TuplePair<F>,
    /// What it meets: another connection has announced it.
    pub expected: Option<Expected<F>>,
    /// Its helper; that of `expected` comes before it.
    pub helper: Option<HelperId>,
    /// The claim on its external port.
    pub claim: Option<PortClaim>,
    /// Its use of the endpoint-independent mapping that its original destination is.
    pub mapping: Option<PortClaim>,
    /// Its original tuple's place in the steering map, if it arrives at another worker.
    pub steered: Option<SteeringClaim>,
    /// Who judged its first packet.
    pub generation: Generation,
    /// The rule that admitted it, by the number that it keeps over reloads; [`NONE`] if none did.
    pub rule: u32,
}

/// Why a connection was not taken into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitError {
    /// No place, and nothing that could make room within a bounded search.
    TableFull,
    /// The index has no room for its tuples.
    IndexFull,
    /// A live connection has one of its tuples, here or at another worker.
    NatClash,
    /// What it was to meet has been met by another, or has ended with its master.
    ExpectationGone,
}

impl<F: Family> Table<F> {
    /// Whether a packet that belongs to no connection may open one.
    pub fn admits(
        &self,
        tuple: &Tuple<F>,
        segment: &Segment,
        config: &TrackingConfig,
    ) -> Result<(), InvalidReason> {
        if segment.checksum == Checksum::Bad {
            return Err(InvalidReason::Checksum);
        }
        match (segment.l4, tuple.proto) {
            (L4::Tcp(tcp), Proto::TCP) => tcp::admits(&tcp, config),
            (L4::Udp, Proto::UDP | Proto::UDPLITE) => Ok(()),
            (L4::Icmp(query), Proto::ICMP | Proto::ICMPV6) => icmp::admits(query),
            (L4::Sctp(sctp), Proto::SCTP) => sctp::admits(&sctp),
            (L4::Dccp(kind), Proto::DCCP) => dccp::admits(kind),
            (L4::Gre, Proto::GRE) => Ok(()),
            (L4::Other, proto) => generic::admits(proto),
            (L4::Malformed, _) => Err(InvalidReason::Malformed),
            (L4::Tcp(_) | L4::Udp | L4::Icmp(_) | L4::Sctp(_) | L4::Dccp(_) | L4::Gre, _) => {
                Err(InvalidReason::Protocol)
            }
        }
    }

    /// Takes a connection, opened by `segment`, into the table under both of its tuples.
    ///
    /// `admits` has to have admitted the segment. On an error nothing is left behind: the claims
    /// are given back, and so is everything else.
    pub fn commit(
        &mut self,
        new: NewConnection<F>,
        segment: &Segment,
        now: Tick,
        config: &TrackingConfig,
    ) -> Result<FlowId, CommitError> {
        let NewConnection {
            pair,
            expected,
            helper,
            claim,
            mapping,
            steered,
            generation,
            rule,
        } = new;
        self.clear_way(&pair, now)?;
        let id = self.make_room(now).ok_or(CommitError::TableFull)?;
        let (state, window, timeout) = open(pair.original.proto, segment, config);
        let mut flags = nat_flags(&pair).with(Flags::CONFIRMED);
        let ties = self.tie(&pair, expected.as_ref(), helper, (claim, mapping))?;
        if expected.is_some() {
            flags = flags.with(Flags::EXPECTED);
        }
        if let Some(steered) = steered {
            steered.keep();
            flags = flags.with(Flags::STEERED);
        }
        let deadline = wrapping(now.as_millis()).wrapping_add(millis(timeout));
        self.hot[at(id)] = Hot::new(&pair, flags, generation, state, deadline);
        self.windows[at(id)] = window;
        // The free list is linked through the entry, so the place is taken before it is written.
        self.take(id);
        self.warm[at(id)] = Warm {
            packets: [1, 0],
            bytes: [u64::from(segment.len), 0],
            start: u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
            seen: wrapping(now.as_millis()),
            rule,
            ..ties
        };
        self.wheel.insert(&mut self.warm, id.0, deadline, now);
        self.live += 1;
        self.count_half_open(false, is_half_open(&self.hot[at(id)]));
        if self.file(id, &pair).is_err() {
            self.remove(id);
            return Err(CommitError::IndexFull);
        }
        self.note(id, Change::New);
        Ok(id)
    }

    /// Whether a live connection has this tuple: one of this table, or one of another worker to
    /// which it is steered. For a tuple that arrives here there is no third place.
    pub fn is_taken(&self, tuple: &Tuple<F>, now: Tick) -> bool {
        let now_ms = wrapping(now.as_millis());
        let live = |flow: FlowRef| {
            let hot = &self.hot[at(flow.id)];
            hot.is(flow.direction, tuple) && !hot.expired(now_ms)
        };
        let here = self.index.find(self.key.tuple(tuple), live);
        here.is_some() || self.shared.steering.find(tuple).is_some()
    }

    /// Removes expired connections that have one of the tuples; an error if a live one has.
    fn clear_way(&mut self, pair: &TuplePair<F>, now: Tick) -> Result<(), CommitError> {
        if pair.original == pair.reply {
            return Err(CommitError::NatClash);
        }
        let now_ms = wrapping(now.as_millis());
        for tuple in [&pair.original, &pair.reply] {
            let hash = self.key.tuple(tuple);
            let hot = &self.hot;
            let found = self
                .index
                .find(hash, |flow| hot[at(flow.id)].is(flow.direction, tuple));
            match found {
                Some(flow) if self.is_over(flow.id, now_ms) => self.reclaim(flow.id),
                Some(_) => return Err(CommitError::NatClash),
                None => {}
            }
        }
        // The original tuple was asked for when its packet came; here it may be this one's own.
        match self.shared.steering.find(&pair.reply) {
            Some(_) => Err(CommitError::NatClash),
            None => Ok(()),
        }
    }

    /// A free place, made by reclaiming or evicting if need be; it stays on the free list.
    pub(crate) fn make_room(&mut self, now: Tick) -> Option<FlowId> {
        if let Some(id) = self.vacant() {
            return Some(id);
        }
        if self.expire(now, RECLAIM_MAX) == 0 {
            self.evict(now);
        }
        self.vacant()
    }

    fn vacant(&self) -> Option<FlowId> {
        if self.free != NONE {
            Some(FlowId(self.free))
        } else if at(FlowId(self.fresh)) < self.capacity() {
            Some(FlowId(self.fresh))
        } else {
            None
        }
    }

    /// Takes the place that `vacant` named.
    pub(crate) fn take(&mut self, id: FlowId) {
        if self.free == id.0 {
            self.free = self.warm[at(id)].next;
        } else {
            self.fresh += 1;
        }
    }

    /// Makes room by a bounded scan that goes on where the last one stopped: the first expired
    /// connection has to go, or else the first unassured one.
    fn evict(&mut self, now: Tick) {
        let now_ms = wrapping(now.as_millis());
        let mut victim = None;
        for _ in 0..EVICT_SCAN_MAX.min(self.capacity()) {
            let id = FlowId(self.hand);
            self.hand = if at(id) + 1 < self.capacity() {
                self.hand + 1
            } else {
                0
            };
            let hot = &self.hot[at(id)];
            if !hot.flags.contains(Flags::CONFIRMED) {
                continue;
            }
            if self.is_over(id, now_ms) {
                return self.reclaim(id);
            }
            if victim.is_none() && !hot.flags.contains(Flags::ASSURED) {
                victim = Some(id);
            }
        }
        if let Some(id) = victim {
            self.end(id, Cause::Evicted);
            self.counts.evicted += 1;
        }
    }

    /// Files a connection under both of its tuples; nothing is filed on an error.
    pub(crate) fn file(
        &mut self,
        id: FlowId,
        pair: &TuplePair<F>,
    ) -> Result<(), crate::index::IndexFull> {
        for direction in [Direction::Original, Direction::Reply] {
            let hash = self.key.tuple(pair.incoming(direction));
            self.index.insert(hash, FlowRef { id, direction })?;
        }
        Ok(())
    }

    /// Moves both claims into the registry, or none: the number and the bits that the entry keeps.
    fn hold_both(
        &mut self,
        pair: &TuplePair<F>,
        claim: Option<PortClaim>,
        mapping: Option<PortClaim>,
    ) -> Result<(u16, Kin), CommitError> {
        let place = self.hold(claim)?;
        let Some((ports, space, port)) = mapping.and_then(PortClaim::keep) else {
            return Ok((place, Kin::default()));
        };
        let address = pair.original.dst.to_bits();
        match self.registry.hold_mapping(address, ports) {
            Ok(()) => Ok((place, Kin::default().with(Kin::USES_MAPPING))),
            Err(ports) => {
                ports.release(space, port);
                self.registry.release(place, space, pair.reply.dst_port);
                Err(CommitError::TableFull)
            }
        }
    }

    /// What ties a connection to others, as its entry keeps it: the expectation is taken, and ports
    /// are held, its own or else the one that was reserved for it.
    fn tie(
        &mut self,
        pair: &TuplePair<F>,
        expected: Option<&Expected<F>>,
        helper: Option<HelperId>,
        (mut claim, mut mapping): (Option<PortClaim>, Option<PortClaim>),
    ) -> Result<Warm, CommitError> {
        let mut ties = Warm {
            master: NO_MASTER,
            helper: helper.map_or(0, HelperId::number),
            ..Warm::default()
        };
        if let Some(expected) = expected {
            let taken = self.shared.expectations.take(expected);
            let taken = taken.ok_or(CommitError::ExpectationGone)?;
            ties.master = taken.master;
            ties.helper = expected.helper.map_or(ties.helper, HelperId::number);
            if expected.life == ChildLife::Master {
                ties.kin = ties.kin.with(Kin::ENDS_WITH_MASTER);
            }
            let place = if expected.holds_destination() {
                &mut mapping
            } else {
                &mut claim
            };
            *place = place.take().or(taken.claim);
        }
        match self.hold_both(pair, claim, mapping) {
            Ok((claim, kin)) => {
                ties.claim = claim;
                ties.kin = ties.kin.with(kin);
                Ok(ties)
            }
            Err(error) => {
                if ties.master != NO_MASTER {
                    self.shared.expectations.masters.release(ties.master);
                }
                Err(error)
            }
        }
    }

    /// Moves a claim into the registry; the number that the entry keeps for it.
    fn hold(&mut self, claim: Option<PortClaim>) -> Result<u16, CommitError> {
        let Some((ports, space, port)) = claim.and_then(PortClaim::keep) else {
            return Ok(NO_CLAIM);
        };
        self.registry.hold(ports).map_err(|ports| {
            ports.release(space, port);
            CommitError::TableFull
        })
    }
}

/// Tracker state, window and timeout of a connection that `segment` opens.
fn open(proto: Proto, segment: &Segment, config: &TrackingConfig) -> (u8, TcpWindow, Duration) {
    let timeouts = &config.timeouts;
    let stateless = |timeout| (0, TcpWindow::default(), timeout);
    match segment.l4 {
        L4::Tcp(segment_tcp) => tcp::open(&segment_tcp, segment.payload_len, timeouts),
        L4::Udp => stateless(udp::timeouts(proto, timeouts).0),
        L4::Icmp(_) => stateless(icmp::timeout(timeouts)),
        L4::Sctp(sctp) => sctp::open(&sctp, timeouts),
        L4::Dccp(_) => {
            let (state, timeout) = dccp::open(timeouts);
            (state, TcpWindow::default(), timeout)
        }
        L4::Gre => stateless(timeouts.gre),
        L4::Other | L4::Malformed => stateless(generic::timeout(timeouts)),
    }
}

/// Which sides of a connection are translated, as its tuples show.
fn nat_flags<F: Family>(pair: &TuplePair<F>) -> Flags {
    let plain = pair.original.inverse();
    let mut flags = Flags::empty();
    if (plain.dst, plain.dst_port) != (pair.reply.dst, pair.reply.dst_port) {
        flags = flags.with(Flags::SRCNAT);
    }
    if (plain.src, plain.src_port) != (pair.reply.src, pair.reply.src_port) {
        flags = flags.with(Flags::DSTNAT);
    }
    flags
}
