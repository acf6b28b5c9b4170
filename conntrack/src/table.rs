//! The flow table: every connection of one worker and family, found by either of its tuples.
//!
//! Fixed size, no allocation after [`Table::new`]. A lookup gives a [`FlowRef`], which stays good
//! until the next call that can remove connections: `commit` (it may evict), `track` when it says
//! [`Tracked::Reopen`], `end` and `expire`. Whoever keeps one across such a call asks
//! [`Table::is_current`], or compares [`Table::removals`].
//!
//! Expiry is exact: a connection past its deadline is not found, whenever its place is reclaimed.
//! `expire` has to be called at least every few days, since deadlines are kept in wrapping
//! milliseconds.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::{Cached, Flags, Hot, Kin, NONE, Warm, remaining};
use crate::events::{Cause, Change, Journal};
use crate::hash::HashKey;
use crate::ids::{ConnState, Direction, FlowId, FlowRef, WorkerId};
use crate::index::Index;
use crate::limits::LimitSets;
use crate::memory::filled;
use crate::ports::PortSpace;
use crate::prefetch::prefetch;
use crate::registry::Registry;
use crate::sctp::Sctp;
use crate::segment::{Checksum, InvalidReason, L4, Segment};
use crate::syn_gate::{SynGate, is_half_open};
use crate::tcp::Tcp;
use crate::tcp_window::TcpWindow;
use crate::time::Tick;
use crate::timeouts::{TrackingConfig, millis};
use crate::tracker::{Shared, Step};
use crate::tuple::{Address, Family, Proto, Tuple, TuplePair};
use crate::wheel::{TICK_MS, Wheel, wrapping};
use crate::{dccp, generic, gre, icmp, states, udp};

pub use crate::commit::{CommitError, NewConnection};
pub use crate::entry::Deltas;
pub use crate::kin::Attention;
pub use crate::walk::Connection;

/// Keys that one pass of a bulk lookup takes.
pub const BULK_MAX: usize = 64;

/// The most connections that a table can hold.
pub const CAPACITY_MAX: usize = 1 << 28;

/// What tracking says about a packet of a known flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// It belongs to the connection and has this state.
    Valid(ConnState),
    /// It does not belong to the connection, which is unchanged.
    Invalid(InvalidReason),
    /// The connection is gone, or was closing and the packet opens a new one: a miss.
    Reopen,
}

/// What a table has counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) evicted: u64,
    pub(crate) expired: u64,
    pub(crate) removals: u64,
}

/// One worker's connections of one family.
#[derive(Debug)]
pub struct Table<F: Family> {
    pub(crate) worker: WorkerId,
    pub(crate) key: HashKey,
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: Index,
    pub(crate) hot: Vec<Hot<F>>,
    pub(crate) warm: Vec<Warm>,
    pub(crate) windows: Vec<TcpWindow>,
    pub(crate) wheel: Wheel,
    pub(crate) registry: Registry,
    /// The first place that was given back; further ones are linked through `Warm::next`.
    pub(crate) free: u32,
    /// Places from here on were never used.
    pub(crate) fresh: u32,
    pub(crate) live: usize,
    /// How many of them are TCP connections whose handshake is not finished.
    pub(crate) half_open: usize,
    pub(crate) gate: SynGate,
    pub(crate) limit_sets: LimitSets,
    /// By which set of limits each connection is counted, if it is.
    pub(crate) limits: Vec<u8>,
    /// Where the next search for something to evict starts.
    pub(crate) hand: u32,
    pub(crate) counts: Counts,
    /// Where changes are noted while somebody watches.
    pub(crate) journal: Option<Box<Journal<F>>>,
}

impl<F: Family> Table<F> {
    /// An empty table for `capacity` connections, at least one and at most [`CAPACITY_MAX`].
    pub fn new(worker: WorkerId, capacity: usize, key: HashKey, shared: Arc<Shared>) -> Self {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        Self {
            worker,
            key,
            shared,
            index: Index::new(capacity),
            hot: filled(Hot::default(), capacity),
            warm: filled(Warm::default(), capacity),
            windows: filled(TcpWindow::default(), capacity),
            wheel: Wheel::new(),
            registry: Registry::new(worker),
            free: NONE,
            fresh: 0,
            live: 0,
            half_open: 0,
            gate: SynGate::new(capacity),
            limit_sets: LimitSets::new(),
            limits: filled(0, capacity),
            hand: 0,
            counts: Counts::default(),
            journal: None,
        }
    }

    /// Looks up each of `keys` and writes what it finds to the same place of `out`; the shorter of
    /// the two decides how many. Memory latency overlaps across up to [`BULK_MAX`] keys, of each of
    /// which two lines are read. `prefetch` asks for what tracking reads.
    pub fn lookup_bulk(&self, keys: &[Tuple<F>], out: &mut [Option<FlowRef>], now: Tick) {
        let now_ms = wrapping(now.as_millis());
        for (keys, out) in keys.chunks(BULK_MAX).zip(out.chunks_mut(BULK_MAX)) {
            let mut hashes = [0; BULK_MAX];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.key.tuple(key);
                self.index.prefetch(*hash);
            }
            for (&hash, _) in hashes.iter().zip(keys) {
                if let Some(flow) = self.index.first(hash) {
                    prefetch(&self.hot[at(flow.id)]);
                }
            }
            for ((&hash, key), found) in hashes.iter().zip(keys).zip(out) {
                *found = self.find(hash, key, now_ms);
            }
        }
    }

    /// Asks for what `track` reads of each flow of `found`, before the first of them is tracked.
    pub fn prefetch(&self, found: &[Option<FlowRef>]) {
        for flow in found.iter().flatten() {
            prefetch(&self.warm[at(flow.id)]);
            if self.hot[at(flow.id)].proto() == Proto::TCP {
                prefetch(&self.windows[at(flow.id)]);
            }
        }
    }

    /// The live flow whose packets come in with `key`; for a GRE call without a connection of its
    /// own, that of the tunnel between the same ends.
    pub fn lookup(&self, key: &Tuple<F>, now: Tick) -> Option<FlowRef> {
        self.find(self.key.tuple(key), key, wrapping(now.as_millis()))
    }

    fn find(&self, hash: u64, key: &Tuple<F>, now_ms: u32) -> Option<FlowRef> {
        let found = self.index.find(hash, |flow| {
            let hot = &self.hot[at(flow.id)];
            hot.is(flow.direction, key) && !hot.expired(now_ms)
        });
        if found.is_none() && key.has_call() {
            // A call that nobody announced belongs to the tunnel between its ends.
            let tunnel = key.without_call();
            return self.find(self.key.tuple(&tunnel), &tunnel, now_ms);
        }
        found
    }

    /// Whether `flow` is still the one whose packets come in with `key`.
    pub fn is_current(&self, flow: FlowRef, key: &Tuple<F>) -> bool {
        let hot = &self.hot[at(flow.id)];
        let is = |key: &Tuple<F>| hot.is(flow.direction, key);
        hot.flags.contains(Flags::CONFIRMED)
            && (is(key) || key.has_call() && is(&key.without_call()))
    }

    /// How many connections were removed in any way so far: as long as it stays the same, every
    /// [`FlowRef`] stays good.
    pub fn removals(&self) -> u64 {
        self.counts.removals
    }

    /// Both tuples of a connection.
    pub fn pair(&self, id: FlowId) -> TuplePair<F> {
        self.hot[at(id)].pair()
    }

    /// What the fast path reads of a connection.
    pub fn hot(&self, id: FlowId) -> &Hot<F> {
        &self.hot[at(id)]
    }

    /// What is true of a connection.
    pub fn flags(&self, id: FlowId) -> Flags {
        self.hot[at(id)].flags
    }

    /// Notes that a rule has fasttracked a connection.
    pub fn set_fasttracked(&mut self, id: FlowId) {
        let before = self.before(id);
        let hot = &mut self.hot[at(id)];
        hot.flags = hot.flags.with(Flags::FASTTRACKED);
        self.note_if_changed(id, before);
    }

    /// Notes that a connection was masqueraded.
    pub fn set_masqueraded(&mut self, id: FlowId) {
        let hot = &mut self.hot[at(id)];
        hot.flags = hot.flags.with(Flags::MASQUERADED);
    }

    /// A connection's mark.
    pub fn mark(&self, id: FlowId) -> u32 {
        self.hot[at(id)].mark
    }

    /// What a connection has carried, in bytes of IP packets of both directions, and when it was
    /// opened, in seconds.
    pub fn carried(&self, id: FlowId) -> (u64, u32) {
        let warm = &self.warm[at(id)];
        let [original, reply] = warm.bytes;
        (original.saturating_add(reply), warm.start)
    }

    /// Sets a connection's mark; another one than before makes both flows forget their judgement.
    pub fn set_mark(&mut self, id: FlowId, mark: u32) {
        let hot = &mut self.hot[at(id)];
        if std::mem::replace(&mut hot.mark, mark) != mark {
            hot.forget_judgements();
            self.note(id, Change::Update);
        }
    }

    /// What was remembered of the flow's last full evaluation.
    pub fn cached(&self, flow: FlowRef) -> Cached {
        self.hot[at(flow.id)].cached(flow.direction)
    }

    /// Remembers a full evaluation of the flow. One by a new generation makes the connection's
    /// other flow forget its own.
    pub fn set_cached(&mut self, flow: FlowRef, cached: Cached) {
        self.hot[at(flow.id)].set_cached(flow.direction, cached);
    }

    /// Remembers what the flow's translation does to checksums, and nothing else of a judgement.
    pub fn set_deltas(&mut self, flow: FlowRef, deltas: Deltas) {
        self.hot[at(flow.id)].set_deltas(flow.direction, deltas);
    }

    /// The name of a connection's state; `None` for protocols whose tracker has none.
    pub fn state_name(&self, id: FlowId) -> Option<&'static str> {
        let hot = &self.hot[at(id)];
        states::name(hot.proto(), hot.state)
    }

    /// The state that a valid packet of `direction` has now.
    pub fn state(&self, flow: FlowRef) -> ConnState {
        self.hot[at(flow.id)].flags.state(flow.direction)
    }

    /// Judges a packet of a known flow by its protocol's tracker; a valid one is counted and moves
    /// the connection's state and deadline.
    pub fn track(
        &mut self,
        flow: FlowRef,
        segment: &Segment,
        now: Tick,
        config: &TrackingConfig,
    ) -> Tracked {
        let hot = &self.hot[at(flow.id)];
        if !hot.flags.contains(Flags::CONFIRMED) || hot.expired(wrapping(now.as_millis())) {
            return Tracked::Reopen;
        }
        if self.is_orphaned(flow.id) {
            self.end(flow.id, Cause::MasterEnded);
            return Tracked::Reopen;
        }
        if segment.checksum == Checksum::Bad {
            return Tracked::Invalid(InvalidReason::Checksum);
        }
        let before = self.before(flow.id);
        let opening = is_half_open(&self.hot[at(flow.id)]);
        let step = self.step(flow, segment, now, config);
        self.count_half_open(opening, is_half_open(&self.hot[at(flow.id)]));
        if self.hot[at(flow.id)].flags.contains(Flags::DYING) {
            // A closed connection only waits for its timeout, and counts no longer, as in Linux.
            self.take_off_limits(flow.id);
        }
        match step {
            Step::Keep(timeout) => self.refresh(flow.id, timeout, now),
            Step::Ignored => {}
            Step::Invalid(reason) => return Tracked::Invalid(reason),
            Step::Doubtful(reason, timeout) => {
                let left = remaining(self.hot[at(flow.id)].deadline, wrapping(now.as_millis()));
                if left > millis(timeout) {
                    self.refresh(flow.id, timeout, now);
                }
                return Tracked::Invalid(reason);
            }
            Step::Reopen => {
                self.end(flow.id, Cause::Reopened);
                return Tracked::Reopen;
            }
        }
        if flow.direction == Direction::Reply {
            let hot = &mut self.hot[at(flow.id)];
            hot.flags = hot.flags.with(Flags::SEEN_REPLY);
        }
        let warm = &mut self.warm[at(flow.id)];
        let d = flow.direction.index();
        warm.seen = wrapping(now.as_millis());
        warm.packets[d] += 1;
        warm.bytes[d] += u64::from(segment.len);
        self.note_if_changed(flow.id, before);
        Tracked::Valid(self.state(flow))
    }

    fn step(
        &mut self,
        flow: FlowRef,
        segment: &Segment,
        now: Tick,
        config: &TrackingConfig,
    ) -> Step {
        let n = at(flow.id);
        let hot = &mut self.hot[n];
        let timeouts = &config.timeouts;
        match (segment.l4, hot.proto()) {
            (L4::Tcp(tcp), Proto::TCP) => {
                let window = &mut self.windows[n];
                let mut tracker = Tcp {
                    state: &mut hot.state,
                    flags: &mut hot.flags,
                    window,
                };
                tracker.track(flow.direction, &tcp, segment.payload_len, config)
            }
            (L4::Udp, proto @ (Proto::UDP | Proto::UDPLITE)) => {
                let age = now.as_secs().saturating_sub(u64::from(self.warm[n].start));
                Step::Keep(udp::track(
                    &mut hot.flags,
                    Duration::from_secs(age),
                    udp::timeouts(proto, timeouts),
                ))
            }
            (L4::Sctp(sctp), Proto::SCTP) => {
                let mut tracker = Sctp {
                    state: &mut hot.state,
                    flags: &mut hot.flags,
                    memory: &mut self.windows[n],
                };
                tracker.track(flow.direction, &sctp, timeouts)
            }
            (L4::Dccp(kind), Proto::DCCP) => {
                let (state, flags) = (&mut hot.state, &mut hot.flags);
                dccp::track(state, flags, flow.direction, kind, timeouts)
            }
            (L4::Gre, Proto::GRE) => Step::Keep(gre::track(&mut hot.flags, timeouts)),
            (L4::Icmp(_), Proto::ICMP | Proto::ICMPV6) => Step::Keep(icmp::timeout(timeouts)),
            (L4::Other, proto) if generic::admits(proto).is_ok() => {
                Step::Keep(generic::timeout(timeouts))
            }
            (L4::Malformed, _) => Step::Invalid(InvalidReason::Malformed),
            (
                L4::Tcp(_)
                | L4::Udp
                | L4::Icmp(_)
                | L4::Sctp(_)
                | L4::Dccp(_)
                | L4::Gre
                | L4::Other,
                _,
            ) => Step::Invalid(InvalidReason::Protocol),
        }
    }

    /// Moves a deadline. The wheel is told only if it would come too late.
    pub(crate) fn refresh(&mut self, id: FlowId, timeout: Duration, now: Tick) {
        let now_ms = wrapping(now.as_millis());
        let left = millis(timeout);
        let deadline = now_ms.wrapping_add(left);
        self.hot[at(id)].deadline = deadline;
        let reached_in = u64::from(remaining(self.warm[at(id)].due, now_ms));
        if reached_in > u64::from(left) + TICK_MS {
            self.wheel.unlink(&mut self.warm, id.0);
            self.wheel.insert(&mut self.warm, id.0, deadline, now);
        }
    }

    /// Ends a connection for `cause`. One that is gone already is left alone.
    pub fn end(&mut self, id: FlowId, cause: Cause) {
        if self.hot[at(id)].flags.contains(Flags::CONFIRMED) {
            self.note(id, Change::Destroy(cause));
            self.remove(id);
        }
    }

    /// Removes a connection, and gives back its port and its place in the steering map. One that
    /// is gone already is left alone.
    pub(crate) fn remove(&mut self, id: FlowId) {
        let hot = self.hot[at(id)];
        if !hot.flags.contains(Flags::CONFIRMED) {
            return;
        }
        self.wheel.unlink(&mut self.warm, id.0);
        self.count_half_open(is_half_open(&hot), false);
        self.take_off_limits(id);
        for direction in [Direction::Original, Direction::Reply] {
            let hash = self.key.tuple(&hot.tuple(direction));
            self.index.remove(hash, FlowRef { id, direction });
        }
        self.hot[at(id)].flags = Flags::empty();
        let (original, reply) = (hot.tuple(Direction::Original), hot.tuple(Direction::Reply));
        if hot.flags.contains(Flags::STEERED) {
            self.shared.steering.remove(&original, self.worker);
        }
        if let Some(space) = PortSpace::of(hot.proto()) {
            let warm = &self.warm[at(id)];
            self.registry.release(warm.claim, space, reply.dst_port);
            if warm.kin.contains(Kin::USES_MAPPING) {
                let address = original.dst.to_bits();
                self.registry
                    .release_mapping(address, space, original.dst_port);
            }
        }
        self.part(id);
        self.warm[at(id)].next = self.free;
        self.free = id.0;
        self.live -= 1;
        self.counts.removals += 1;
    }

    /// Reclaims expired connections, looking at no more than about `budget` of them; how many it
    /// has reclaimed.
    pub fn expire(&mut self, now: Tick, budget: usize) -> usize {
        let now_ms = wrapping(now.as_millis());
        let (mut budget, mut expired) = (budget, 0);
        while let Some(id) = self.wheel.reached(&mut self.warm, now, &mut budget) {
            let hot = &self.hot[id as usize];
            let over = hot.expired(now_ms);
            self.wheel.insert(&mut self.warm, id, hot.deadline, now);
            if over {
                self.reclaim(FlowId(id));
                expired += 1;
            }
        }
        expired
    }

    /// Reclaims the connection that has this tuple, if it is over.
    pub fn reclaim_expired(&mut self, tuple: &Tuple<F>, now: Tick) {
        let now_ms = wrapping(now.as_millis());
        let (hash, hot) = (self.key.tuple(tuple), &self.hot);
        let found = self
            .index
            .find(hash, |flow| hot[at(flow.id)].is(flow.direction, tuple));
        if let Some(flow) = found.filter(|flow| self.is_over(flow.id, now_ms)) {
            self.reclaim(flow.id);
        }
    }

    /// Removes a connection that is over.
    pub(crate) fn reclaim(&mut self, id: FlowId) {
        if self.is_orphaned(id) {
            return self.end(id, Cause::MasterEnded);
        }
        self.end(id, Cause::Expired);
        self.counts.expired += 1;
    }

    /// How many connections there are, those included that expired and are not reclaimed yet.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many connections there can be.
    pub fn capacity(&self) -> usize {
        self.hot.len()
    }

    /// How many live connections had to make room for new ones.
    pub fn evicted(&self) -> u64 {
        self.counts.evicted
    }

    /// How many connections were reclaimed after their deadline.
    pub fn expired(&self) -> u64 {
        self.counts.expired
    }

    /// The memory that entries and index take, in bytes. The SYN gate comes on top of it, with no
    /// more than eight MiB.
    pub fn bytes(&self) -> usize {
        let counted = size_of::<u8>();
        let entry = size_of::<Hot<F>>() + size_of::<Warm>() + size_of::<TcpWindow>() + counted;
        self.capacity() * entry + self.index.bytes()
    }
}

/// A connection's place in the arrays.
pub(crate) fn at(id: FlowId) -> usize {
    id.0 as usize
}
