//! The slow path: whatever needs a packet to be made, or to wait.
//!
//! Workers only forward. What they punt comes here: ARP and neighbour discovery, fragments,
//! packets whose neighbour has to be resolved, echo requests to the gateway, packets too large for
//! their link, notices about dropped packets whose sender is to be told, and control connections,
//! which helpers read. One thread runs it in
//! the engine; replay runs it inline. Everything it makes goes back to a worker and leaves through
//! that worker's stages.

pub mod control;
pub mod limit;
pub mod neighbours;

mod answers;
mod labelling;
mod pieces;
mod resolution;
mod sniffers;

use std::sync::Arc;

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Shared;

use crate::buffer::{Buffer, BufferPool};
use crate::counters::WorkerCounters;
use crate::drops::DropReason;
use crate::layer7::streams::Streams;
use crate::outbox::{ErrorKind, FromSlowPath, Punt, PuntKind};
use crate::packet::reassembly::{Limits, Reassembler};
use crate::program::Program;
use crate::recent::{Dropped, Headers};
use crate::slowpath::answers::Words;
use crate::slowpath::control::Controls;
use crate::slowpath::limit::AnswerLimit;
use crate::slowpath::neighbours::{Event, Held, NeighbourTable};
use crate::witness::{End, Ending, Witness};

/// What the slow path sends to workers; the engine empties it after each call.
#[derive(Debug)]
pub struct SlowOutbox<B> {
    /// Messages in order, each with the worker it is for.
    pub to_worker: Vec<(WorkerId, FromSlowPath<B>)>,
}

impl<B> Default for SlowOutbox<B> {
    fn default() -> Self {
        Self {
            to_worker: Vec::new(),
        }
    }
}

/// What a slow path is made from.
#[derive(Debug)]
pub struct SlowPathSetup<P> {
    /// Where the packets it makes come from.
    pub pool: P,
    /// The program it starts with.
    pub program: Arc<Program>,
    /// Its counters; others only read them.
    pub counters: Arc<WorkerCounters>,
    /// How many workers have to hear of a neighbour.
    pub workers: u8,
    /// Decides which answered addresses share a rate limit.
    pub seed: u64,
    /// What all workers share: the expectations of helpers.
    pub shared: Arc<Shared>,
}

/// The slow path's state.
#[derive(Debug)]
pub struct SlowPath<P: BufferPool, W = ()> {
    pool: P,
    program: Arc<Program>,
    counters: Arc<WorkerCounters>,
    workers: u8,
    neighbours: NeighbourTable<P::Buf>,
    fragments: Reassembler<P::Buf>,
    controls: Controls<P::Buf>,
    shared: Arc<Shared>,
    limit: AnswerLimit,
    streams: Streams,
    events: Vec<Event<P::Buf>>,
    /// Names the next copy of a packet.
    copy_id: u16,
    /// A frame under construction; kept, so that its memory is.
    frame: Vec<u8>,
    now: Tick,
    witness: W,
}

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// A slow path that knows no neighbour.
    pub fn new(setup: SlowPathSetup<P>, witness: W) -> Self {
        let SlowPathSetup {
            pool,
            program,
            counters,
            workers,
            seed,
            shared,
        } = setup;
        Self {
            pool,
            program,
            counters,
            workers,
            neighbours: NeighbourTable::default(),
            fragments: Reassembler::new(Limits::default()),
            controls: Controls::default(),
            shared,
            limit: AnswerLimit::new(seed),
            streams: Streams::default(),
            events: Vec::new(),
            copy_id: 0,
            frame: Vec::with_capacity(2_048),
            now: Tick::default(),
            witness,
        }
    }

    /// Tells every link where the gateway's addresses are: at start, and after a change.
    pub fn announce(&mut self, out: &mut SlowOutbox<P::Buf>) {
        let program = Arc::clone(&self.program);
        for (iface, facts) in program.interfaces.iter() {
            self.announce_interface(iface, facts, out);
        }
    }

    /// Makes `program` the one whose interfaces and routes count. Neighbours that are on none of
    /// its links are forgotten; the others stay.
    pub fn adopt(&mut self, program: Arc<Program>, now: Tick, out: &mut SlowOutbox<P::Buf>) {
        let before = std::mem::replace(&mut self.program, program);
        let program = Arc::clone(&self.program);
        self.neighbours.retain(
            |(iface, _)| {
                let name = |p: &Program| p.interfaces.find(*iface).map(|i| Arc::clone(&i.name));
                name(&program).is_some() && name(&program) == name(&before)
            },
            &mut self.events,
        );
        self.carry_out(now, out);
        self.now = now;
        self.adopt_controls(&before, out);
        for (iface, facts) in program.interfaces.iter() {
            let known = before.interfaces.find(iface).map(|old| &old.addresses);
            if known != Some(&facts.addresses) {
                self.announce_interface(iface, facts, out);
            }
        }
    }

    /// Deals with one punted packet.
    pub fn handle(&mut self, punt: Punt<P::Buf>, now: Tick, out: &mut SlowOutbox<P::Buf>) {
        self.now = now;
        let Punt {
            buf,
            from,
            kind,
            control,
        } = punt;
        match kind {
            PuntKind::Arp(iface) => self.hear_arp(iface, buf, from, now, out),
            PuntKind::Discovery(iface) => self.hear_discovery(iface, buf, from, now, out),
            PuntKind::Reassemble(port) => self.reassemble(port, buf, from, now, out),
            PuntKind::Resolve(iface, address) => {
                let packet = Held { buf, from };
                self.neighbours
                    .want((iface, address), packet, now, &mut self.events);
                self.carry_out(now, out);
            }
            PuntKind::Local(_) => self.answer_echo(buf, from, out),
            PuntKind::Fragment(iface, mac) => self.fragment(buf, from, (iface, mac), out),
            PuntKind::Error(iface, kind) => {
                self.answer_error((&buf, from, iface), kind, Words::Sender, now, out);
            }
            PuntKind::Reject(iface, with) => {
                self.answer_reject((&buf, from, iface), with, now, out);
            }
            PuntKind::Sniff(sniff) => self.send_copy(buf, from, &sniff, out),
            PuntKind::Read => match control {
                Some(wanted) => self.read_control(wanted, (buf, from), out),
                None => self.drop_packet(buf, DropReason::HelperRefused),
            },
        }
    }

    /// Does what time brings; every ten milliseconds is often enough.
    pub fn tick(&mut self, now: Tick, out: &mut SlowOutbox<P::Buf>) {
        self.now = now;
        self.neighbours.tick(now, &mut self.events);
        self.carry_out(now, out);
        self.expire_fragments(now);
        self.tend_controls(out);
        self.streams.expire(now, &self.program.layer7);
    }

    /// The neighbours.
    pub fn neighbours(&self) -> &NeighbourTable<P::Buf> {
        &self.neighbours
    }

    /// Who is told of every packet's end.
    pub fn witness_mut(&mut self) -> &mut W {
        &mut self.witness
    }

    /// Carries out what the neighbours want done.
    fn carry_out(&mut self, now: Tick, out: &mut SlowOutbox<P::Buf>) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Ask(key, last_seen_at) => self.ask(key, last_seen_at, out),
                Event::News(news) => {
                    for worker in 0..self.workers {
                        let message = FromSlowPath::Neighbour(news);
                        out.to_worker.push((WorkerId(worker), message));
                    }
                }
                Event::Release((iface, _), mac, Held { buf, from }) => {
                    out.to_worker
                        .push((from, FromSlowPath::Forward(iface, mac, buf)));
                }
                Event::Refuse((iface, _), Held { buf, from }, reason) => {
                    if reason == DropReason::NeighbourUnreachable {
                        let kind = ErrorKind::HostUnreachable;
                        let about = (&buf, from, iface);
                        self.answer_error(about, kind, Words::Wire, now, out);
                    }
                    self.drop_packet(buf, reason);
                }
            }
        }
        self.events = events;
        self.count_held();
    }

    fn count_held(&self) {
        let held = self.neighbours.held() + self.fragments.held() + self.controls.held();
        self.counters.held.set(held as u64);
    }

    fn drop_packet(&mut self, buf: P::Buf, reason: DropReason) {
        self.counters.dropped(reason).add(1);
        self.counters.recent.note(&Dropped {
            at: self.now,
            reason,
            generation: self.program.generation,
            rule: None,
            in_interface: None,
            state: None,
            packet: Headers::read(buf.head(), buf.frame_len()),
        });
        self.witness
            .end(&buf, &End::bare(Ending::Drop, Some(reason)));
    }

    /// Makes a packet of what stands in `self.frame` and sends it to a worker.
    fn send(
        &mut self,
        to: WorkerId,
        message: impl FnOnce(P::Buf) -> FromSlowPath<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        self.counters.generated.add(1);
        match self.pool.make(&self.frame) {
            Some(buf) => out.to_worker.push((to, message(buf))),
            None => self.counters.dropped(DropReason::NoBuffer).add(1),
        }
    }

    /// Ends a packet that has done its work here.
    fn consumed(&self, buf: P::Buf)
    where
        P::Buf: Buffer,
    {
        self.counters.consumed.add(1);
        drop(buf);
    }
}
