//! A worker: one core's pipeline, and everything it owns.
//!
//! This file is the list of stages. A burst comes in by [`Worker::receive`] (from the wire),
//! [`Worker::take_over`] (from another worker) or [`Worker::resume`] (from the slow path); each
//! puts its packets into a [`Burst`] and runs the same stages over it. What has to leave the
//! worker is put into the [`Outbox`], which the engine empties.

use std::sync::Arc;

use arrayvec::ArrayVec;
use turnpike_conntrack::events::Event;
use turnpike_conntrack::ids::{FlowRef, Generation, WorkerId};
use turnpike_conntrack::random::Random;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Conntrack;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::buffer::Buffer;
use crate::burst::{BURST_MAX, Burst, Meta, OpeningId, Origin};
use crate::counters::WorkerCounters;
use crate::drops::DropReason;
use crate::helping::copies::Copies;
use crate::ids::{IfaceId, PortId};
use crate::log::Budget;
use crate::masquerade::{Sweep, addresses_went};
use crate::nexthop::{Neighbours, NextHops};
use crate::opening::AnyOpening;
use crate::outbox::{Found, FromSlowPath, Handover, Outbox, Punt};
use crate::outcome::{OUTCOMES_MAX, Outcomes};
use crate::packet::quoted::connection_key;
use crate::plans::{PLANS_MAX, Plans};
use crate::program::Program;
use crate::recent::{Dropped, Headers};
use crate::rules::Hellos;
use crate::rules::rates::meters::Meters;
use crate::stages;
use crate::stages::counting::Counting;
use crate::wall::Wall;
use crate::witness::{End, Ending, Waypoint, Witness};

/// The most entries that one turn of housekeeping looks at.
const EXPIRE_BUDGET: usize = 256;

/// With how many fix-ups of sequence numbers those of ended connections are first looked for.
const SHIFTS_SWEPT_AT: usize = 256;

/// What a worker is made from.
#[derive(Debug)]
pub struct WorkerSetup {
    /// Which worker it is.
    pub id: WorkerId,
    /// The program it starts with.
    pub program: Arc<Program>,
    /// Its connections, empty.
    pub conntrack: Conntrack,
    /// Its counters; others only read them.
    pub counters: Arc<WorkerCounters>,
    /// Whether neighbours have to be resolved.
    pub neighbours: Neighbours,
    /// Whether what rules say of a flow is kept.
    pub keep: Keep,
    /// The clock on the wall; whoever runs the worker keeps it right.
    pub wall: Arc<Wall>,
}

/// Whether a worker keeps what rules say of a flow; it comes to the same, at another price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It does.
    #[default]
    Outcomes,
    /// It asks every rule for every packet: what tests compare with.
    Nothing,
}

/// A worker's state apart from the burst under way; what the stages work with.
#[derive(Debug)]
pub struct Core<W> {
    pub(crate) id: WorkerId,
    pub(crate) now: Tick,
    pub(crate) program: Arc<Program>,
    pub(crate) conntrack: Conntrack,
    /// How many connections had been removed when the burst was tracked.
    pub(crate) removals: u64,
    pub(crate) outcomes: Outcomes,
    pub(crate) plans: Plans,
    pub(crate) next_hops: NextHops,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) log_budget: Budget,
    pub(crate) wall: Arc<Wall>,
    /// How fast the connections of either table are, while rules ask.
    pub(crate) meters: (Meters, Meters),
    /// For ports that nobody is to guess, and for rules.
    pub(crate) random: Random,
    /// The connection that the packet being handed over is to open.
    pub(crate) departing: Option<AnyOpening>,
    /// What came with the packets of this burst whose connections are to be opened here.
    arriving: ArrayVec<Option<AnyOpening>, BURST_MAX>,
    /// Through either table, after an address has gone.
    sweeps: (Sweep, Sweep),
    /// Where the next sweep of list members goes on.
    swept_members: usize,
    pub(crate) counting: Counting,
    pub(crate) hellos: Hellos,
    /// How numbers of connections are shifted whose length a helper has changed.
    pub(crate) shifts: Copies,
    /// With how many of them those of ended connections are looked for.
    shifts_swept_at: usize,
    pub(crate) witness: W,
}

impl<W> Core<W> {
    /// Remembers which flows stand, before a burst's packets are given theirs.
    pub(crate) fn mark_flows(&mut self) {
        self.removals = self.conntrack.v4.removals() + self.conntrack.v6.removals();
    }

    /// Whether a flow that was found for a packet of this burst is still that packet's.
    ///
    /// Another packet of the burst may have ended the connection or pushed it out of a full table,
    /// and a third may have taken its place.
    pub(crate) fn is_still<F: Family, B: Buffer>(
        &self,
        flow: FlowRef,
        buf: &B,
        meta: &Meta,
    ) -> bool {
        let removals = self.conntrack.v4.removals() + self.conntrack.v6.removals();
        if removals == self.removals {
            return true;
        }
        connection_key::<F>(buf.head(), &meta.parsed)
            .is_some_and(|(key, _)| F::table(&self.conntrack).is_current(flow, &key))
    }

    /// Takes memory for the speeds of connections, if the program asks for them and nobody has
    /// lent any.
    fn provide_meters(&mut self) {
        if self.program.states.needs_meters() && self.meters.0.is_empty() {
            let [v4, v6] = self.places();
            self.meters = (Meters::new(v4), Meters::new(v6));
        }
    }

    fn places(&self) -> [usize; 2] {
        [self.conntrack.v4.capacity(), self.conntrack.v6.capacity()]
    }

    /// Keeps an opening until its packet is judged.
    fn arrive(&mut self, opening: AnyOpening) -> Option<OpeningId> {
        let id = u8::try_from(self.arriving.len()).ok()?;
        self.arriving.try_push(Some(opening)).ok()?;
        Some(OpeningId(id))
    }

    /// Gives back the places of members of address lists that have expired, a bounded piece.
    fn sweep_members(&mut self) {
        let members = self.program.lists.members();
        let from = self.swept_members;
        self.swept_members = members.sweep(from, EXPIRE_BUDGET, self.now, |_| true);
    }

    /// Forgets fix-ups of connections that have ended, once there are many.
    fn sweep_shifts(&mut self) {
        if self.shifts.len() >= self.shifts_swept_at {
            self.shifts.sweep(&self.conntrack);
            self.shifts_swept_at = SHIFTS_SWEPT_AT.max(2 * self.shifts.len());
        }
    }

    /// What another worker decided of the connection that a packet opens.
    pub(crate) fn opening(&mut self, meta: &Meta) -> Option<AnyOpening> {
        let OpeningId(id) = meta.opening?;
        self.arriving.get_mut(usize::from(id))?.take()
    }

    /// Tells a witness that follows packets what this one meets.
    pub(crate) fn meets<B>(&mut self, buf: &B, waypoint: impl FnOnce() -> Waypoint)
    where
        W: Witness<B>,
    {
        if W::FOLLOWS {
            self.witness.meets(buf, waypoint());
        }
    }

    /// Counts a drop, and notes it among the recent ones.
    pub(crate) fn count_drop(&self, reason: DropReason, end: &End, packet: Option<Headers>) {
        self.counters.dropped(reason).add(1);
        self.counters.recent.note(&Dropped {
            at: self.now,
            reason,
            generation: self.program.generation,
            rule: end.rule.and_then(|rule| self.program.lasting.number(rule)),
            in_interface: end.in_interface,
            state: end.state,
            packet,
        });
    }

    /// Ends a packet: counts the drop, tells the witness, gives the buffer back.
    pub(crate) fn drop_packet<B: Buffer>(&mut self, buf: B, reason: DropReason, end: End)
    where
        W: Witness<B>,
    {
        let headers = Headers::read(buf.head(), buf.frame_len());
        self.drop_known(buf, headers, reason, end);
    }

    /// Ends a packet whose headers have been read.
    pub(crate) fn drop_known<B: Buffer>(
        &mut self,
        buf: B,
        headers: Option<Headers>,
        reason: DropReason,
        end: End,
    ) where
        W: Witness<B>,
    {
        self.count_drop(reason, &end, headers);
        self.witness.end(
            &buf,
            &End {
                reason: Some(reason),
                ..end
            },
        );
    }
}

/// One core's pipeline.
#[derive(Debug)]
pub struct Worker<B, W = ()> {
    core: Core<W>,
    burst: Burst<B>,
}

impl<B: Buffer, W: Witness<B>> Worker<B, W> {
    /// A worker with empty tables, telling `witness` of every packet's end.
    pub fn new(setup: WorkerSetup, witness: W) -> Self {
        let WorkerSetup {
            id,
            program,
            conntrack,
            counters,
            neighbours,
            keep,
            wall,
        } = setup;
        let (outcomes, plans) = match keep {
            Keep::Outcomes => (OUTCOMES_MAX, PLANS_MAX),
            Keep::Nothing => (0, 0),
        };
        let random = Random::new(id, conntrack.shared().key);
        let hellos = Hellos::new(conntrack.shared().key);
        let mut core = Core {
            id,
            now: Tick::default(),
            program,
            conntrack,
            removals: 0,
            outcomes: Outcomes::with_limit(outcomes),
            plans: Plans::with_limit(plans),
            next_hops: NextHops::new(neighbours),
            counters,
            log_budget: Budget::default(),
            wall,
            meters: Default::default(),
            random,
            departing: None,
            arriving: ArrayVec::new(),
            sweeps: Default::default(),
            swept_members: 0,
            counting: Counting::default(),
            hellos,
            shifts: Copies::default(),
            shifts_swept_at: SHIFTS_SWEPT_AT,
            witness,
        };
        core.provide_meters();
        Self {
            core,
            burst: Burst::default(),
        }
    }

    /// Takes frames that this worker received on `port` through the pipeline.
    pub fn receive(
        &mut self,
        port: PortId,
        frames: &mut ArrayVec<B, BURST_MAX>,
        now: Tick,
        out: &mut Outbox<B>,
    ) {
        self.core.now = now;
        for buf in frames.drain(..) {
            stages::admit::frame(
                &mut self.core,
                &mut self.burst,
                buf,
                (port, Origin::Wire),
                None,
                out,
            );
        }
        self.run(out);
    }

    /// Takes frames that other workers received and found to be this worker's.
    pub fn take_over(
        &mut self,
        frames: &mut ArrayVec<Handover<B>, BURST_MAX>,
        now: Tick,
        out: &mut Outbox<B>,
    ) {
        self.core.now = now;
        let (core, burst) = (&mut self.core, &mut self.burst);
        for handover in frames.drain(..) {
            let Handover {
                buf,
                port,
                found,
                opening,
            } = handover;
            core.counters.taken_over.add(1);
            let opening = opening.and_then(|opening| core.arrive(opening));
            let origin = match found {
                Found::ByHash => Origin::Distributed,
                Found::AsOwner => Origin::Steered,
                Found::NoLongerOwner => Origin::Returned,
                Found::ReplyArrives => Origin::Opening,
            };
            match port {
                Some(port) => {
                    stages::admit::frame(core, burst, buf, (port, origin), opening, out);
                }
                None => stages::admit::own(core, burst, buf, Origin::Local, opening),
            }
        }
        self.run(out);
        // What is left came with packets that ended before they were judged.
        self.core.arriving.clear();
    }

    /// Takes what the slow path sends: news of a neighbour, or a packet.
    pub fn resume(&mut self, message: FromSlowPath<B>, now: Tick, out: &mut Outbox<B>) {
        self.core.now = now;
        let core = &mut self.core;
        match message {
            FromSlowPath::Neighbour(news) => core.next_hops.update(&news),
            FromSlowPath::Examined(examination) => stages::sample::learn(core, &examination),
            FromSlowPath::Whole(port, buf) => {
                let origin = Origin::Reassembled;
                stages::admit::frame(core, &mut self.burst, buf, (port, origin), None, out);
            }
            FromSlowPath::Send(interface, buf) => {
                stages::link::complete(core, interface, buf, out);
            }
            FromSlowPath::Forward(interface, mac, buf) => {
                stages::link::forward(core, interface, mac, buf, out);
            }
            FromSlowPath::Output(buf) => {
                stages::admit::own(core, &mut self.burst, buf, Origin::Local, None);
            }
            FromSlowPath::Notice(buf) => {
                stages::admit::own(core, &mut self.burst, buf, Origin::Notice, None);
            }
            FromSlowPath::Copy(buf) => {
                stages::admit::own(core, &mut self.burst, buf, Origin::Copy, None);
            }
            FromSlowPath::Read(way, buf) => stages::control::resume(core, way, buf, out),
            FromSlowPath::Control(master, news) => stages::control::hear(core, master, &news),
        }
        self.run(out);
    }

    /// Takes back a packet of a control connection for which the slow path has no room: it goes on
    /// unread, if its helper's policy and what it is allow that.
    ///
    /// # Errors
    /// The packet, which is to be dropped.
    pub fn pass_unread(&mut self, punt: Punt<B>, out: &mut Outbox<B>) -> Result<(), B> {
        match punt.control {
            Some(wanted) if stages::control::may_pass(&self.core, &wanted, &punt.buf) => {
                stages::control::resume(&mut self.core, wanted.way, punt.buf, out);
                Ok(())
            }
            Some(_) | None => Err(punt.buf),
        }
    }

    /// The stages, in order. Each says in its own file what it reads, what it writes and why it
    /// drops; a packet that ends leaves the burst.
    fn run(&mut self, out: &mut Outbox<B>) {
        let (core, burst) = (&mut self.core, &mut self.burst);
        if burst.is_empty() {
            return;
        }
        core.mark_flows();
        stages::raw::run(core, burst, out);
        stages::track::run::<V4, B, W>(core, burst);
        stages::track::run::<V6, B, W>(core, burst);
        stages::outcome::run::<V4, B, W>(core, burst, out);
        stages::outcome::run::<V6, B, W>(core, burst, out);
        stages::judge::run(core, burst, out);
        stages::sample::run(core, burst);
        stages::rewrite::run(core, burst, out);
        stages::control::run(core, burst, out);
        stages::link::run(core, burst, out);
    }

    /// Makes `program` the one that judges from the next packet on.
    ///
    /// Every flow is judged again on its next packet, because its generation is no longer this
    /// one's; rules whose text is unchanged go on counting where they were.
    pub fn adopt(&mut self, program: Arc<Program>) {
        let core = &mut self.core;
        if let Some(counters) = core.program.rule_counters(core.id) {
            core.outcomes.clear(counters);
        }
        core.plans.clear();
        if addresses_went(&core.program, &program) {
            core.sweeps = (Sweep::whole(), Sweep::whole());
        }
        core.program = program;
        core.provide_meters();
    }

    /// For how many connections of either family this worker lacks meters.
    pub fn meters_lacking(&self) -> Option<[usize; 2]> {
        let core = &self.core;
        core.meters.0.is_empty().then(|| core.places())
    }

    /// Lends the worker meters, so that it need not make them itself when it adopts a program whose
    /// rules ask how fast connections are. If it has some by now it gives these back.
    pub fn lend_meters(&mut self, meters: (Meters, Meters)) -> Option<(Meters, Meters)> {
        if !self.core.meters.0.is_empty() {
            return Some(meters);
        }
        self.core.meters = meters;
        None
    }

    /// What is done between bursts, each millisecond or so: expiry and what a reload has ended,
    /// both bounded, and rule counters brought up to date.
    pub fn housekeeping(&mut self, now: Tick) {
        self.core.now = now;
        self.core.conntrack.v4.expire(now, EXPIRE_BUDGET);
        self.core.conntrack.v6.expire(now, EXPIRE_BUDGET);
        self.sweep(now);
        self.core.conntrack.sweep_expectations(now, EXPIRE_BUDGET);
        self.core.sweep_members();
        self.core.sweep_shifts();
        self.fold();
    }

    /// Ends connections that go out with an address which a reload has taken away.
    fn sweep(&mut self, now: Tick) {
        let core = &mut self.core;
        let (v4, v6) = &mut core.sweeps;
        v4.go_on(&mut core.conntrack.v4, &core.program, now);
        v6.go_on(&mut core.conntrack.v6, &core.program, now);
    }

    /// Makes the shared rule counters exact at this moment.
    pub fn fold(&mut self) {
        let core = &mut self.core;
        if let Some(counters) = core.program.rule_counters(core.id) {
            core.outcomes.fold(counters);
        }
    }

    /// Which worker the frame belongs to, by the hash of the port that received it.
    pub fn owner_of(&self, port: PortId, frame: &B) -> WorkerId {
        stages::distribute::owner_of(&self.core, port, frame)
    }

    /// Hands frames that the hash gives to other workers over to them; this worker's stay.
    pub fn distribute(
        &mut self,
        port: PortId,
        frames: &mut ArrayVec<B, BURST_MAX>,
        out: &mut Outbox<B>,
    ) {
        stages::distribute::run(&self.core, port, frames, out);
    }

    /// Counts a frame of `bytes` bytes that the engine has put on the wire.
    pub fn sent(&self, interface: IfaceId, bytes: usize) {
        stages::transmit::sent(&self.core, interface, bytes as u64);
    }

    /// Counts a packet that the engine could not pass on.
    pub fn count_drop(&mut self, buf: B, reason: DropReason) {
        self.core
            .drop_packet(buf, reason, End::bare(Ending::Drop, None));
    }

    /// Tells what happened to connections since the last call, and returns how many events there
    /// was no room to keep; `None` if nobody watches.
    pub fn take_events(&mut self, tell: impl FnMut(Event)) -> Option<u64> {
        let core = &mut self.core;
        core.conntrack
            .is_watched()
            .then(|| core.conntrack.take_events(core.now, tell))
    }

    /// This worker's connections.
    pub fn conntrack(&self) -> &Conntrack {
        &self.core.conntrack
    }

    /// The generation of the program that it runs.
    pub fn generation(&self) -> Generation {
        self.core.program.generation
    }

    /// This worker's connections, to end some or to watch them.
    pub fn conntrack_mut(&mut self) -> &mut Conntrack {
        &mut self.core.conntrack
    }

    /// How many outcomes and plans are kept.
    pub fn kept(&self) -> (usize, usize) {
        (self.core.outcomes.len(), self.core.plans.len())
    }

    /// The program that judges now.
    pub fn program(&self) -> &Arc<Program> {
        &self.core.program
    }

    /// Who is told of every packet's end.
    pub fn witness_mut(&mut self) -> &mut W {
        &mut self.core.witness
    }
}
