//! The rings between workers and slow path, emptied in an order that chance decides.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::WorkerId;
use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::burst::BURST_MAX;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::outbox::{FromSlowPath, Handover, Outbox, Punt};
use turnpike_pipeline::slowpath::SlowOutbox;

use crate::random::Random;
use crate::sim::Sim;

/// A frame that the gateway has put on the wire; token zero is a frame that it made.
#[derive(Debug, Clone)]
pub struct Emerged {
    pub port: PortId,
    pub token: u64,
    pub frame: Vec<u8>,
}

/// What is under way inside the gateway.
#[derive(Debug)]
pub struct Rings {
    handovers: Vec<VecDeque<Handover<HeapBuffer>>>,
    punts: VecDeque<Punt<HeapBuffer>>,
    returns: Vec<VecDeque<FromSlowPath<HeapBuffer>>>,
    /// The most that a ring to a worker or to the slow path holds.
    room: usize,
    /// How many frames in a hundred find the transmit queue full.
    lossy: usize,
    /// Packets that were judged, and then found no room on their way to the owner-to-be.
    pub lost_openings: u64,
    pub emerged: Vec<Emerged>,
}

impl Rings {
    pub fn new(workers: usize, room: usize, lossy: usize) -> Self {
        let rings = |_| VecDeque::new();
        Self {
            handovers: (0..workers).map(rings).collect(),
            punts: VecDeque::new(),
            returns: (0..workers).map(|_| VecDeque::new()).collect(),
            room,
            lossy,
            lost_openings: 0,
            emerged: Vec::new(),
        }
    }

    /// Lets worker `at` do something with an outbox, and carries on what it puts there.
    pub fn at_worker(
        &mut self,
        sim: &mut Sim,
        at: usize,
        random: &mut Random,
        work: impl FnOnce(&mut Sim, &mut Outbox<HeapBuffer>),
    ) {
        let mut out = Outbox::default();
        work(sim, &mut out);
        let worker = &mut sim.workers[at];
        for departure in out.tx.drain(..) {
            if random.chance(self.lossy) {
                worker.count_drop(departure.buf, DropReason::TxQueueFull);
                continue;
            }
            worker.sent(departure.interface, departure.buf.frame_len());
            self.emerged.push(Emerged {
                port: departure.port,
                token: departure.buf.token(),
                frame: departure.buf.into_bytes(),
            });
        }
        for (owner, handover) in out.handover.drain(..) {
            let ring = &mut self.handovers[usize::from(owner.0)];
            if ring.len() < self.room {
                ring.push_back(handover);
            } else {
                self.lost_openings += u64::from(handover.opening.is_some());
                worker.count_drop(handover.buf, DropReason::HandoverRingFull);
            }
        }
        for punt in out.punts.drain(..) {
            if self.punts.len() < self.room {
                self.punts.push_back(punt);
            } else if !punt.kind.is_notice() {
                worker.count_drop(punt.buf, DropReason::SlowPathRingFull);
            }
        }
    }

    pub fn at_slow_path(
        &mut self,
        sim: &mut Sim,
        work: impl FnOnce(&mut Sim, &mut SlowOutbox<HeapBuffer>),
    ) {
        let mut out = SlowOutbox::default();
        work(sim, &mut out);
        for (worker, message) in out.to_worker {
            self.returns[usize::from(worker.0)].push_back(message);
        }
    }

    /// How many connections are on their way to the worker that is to own them.
    pub fn openings(&self) -> u64 {
        let all = self.handovers.iter().flatten();
        all.map(|h| u64::from(h.opening.is_some())).sum()
    }

    /// Empties a part of one ring; whether there was anything to do.
    pub fn step(&mut self, sim: &mut Sim, random: &mut Random) -> bool {
        let workers = self.returns.len();
        let waiting: Vec<usize> = (0..=2 * workers)
            .filter(|n| match n.checked_sub(workers) {
                None => !self.handovers[*n].is_empty(),
                Some(w) if w < workers => !self.returns[w].is_empty(),
                Some(_) => !self.punts.is_empty(),
            })
            .collect();
        if waiting.is_empty() {
            return false;
        }
        let ring = random.pick(&waiting);
        let count = 1 + random.below(BURST_MAX);
        let now = sim.now;
        if ring < workers {
            let count = count.min(self.handovers[ring].len());
            let mut burst: ArrayVec<_, BURST_MAX> = self.handovers[ring].drain(..count).collect();
            self.at_worker(sim, ring, random, |sim, out| {
                sim.workers[ring].take_over(&mut burst, now, out);
            });
        } else if ring < 2 * workers {
            let at = ring - workers;
            for _ in 0..count {
                let Some(message) = self.returns[at].pop_front() else {
                    break;
                };
                self.at_worker(sim, at, random, |sim, out| {
                    sim.workers[at].resume(message, now, out);
                });
            }
        } else {
            for _ in 0..count {
                let Some(punt) = self.punts.pop_front() else {
                    break;
                };
                self.at_slow_path(sim, |sim, out| sim.slow.handle(punt, now, out));
            }
        }
        true
    }

    /// Empties everything.
    pub fn settle(&mut self, sim: &mut Sim, random: &mut Random) {
        let mut steps = 0;
        while self.step(sim, random) {
            steps += 1;
            assert!(steps < 100_000, "packets go round in circles: {self:?}");
        }
    }

    /// A burst received by the queue of worker `at`.
    pub fn receive(
        &mut self,
        sim: &mut Sim,
        at: usize,
        port: PortId,
        frames: Vec<HeapBuffer>,
        distribution: Received,
        random: &mut Random,
    ) {
        let now = sim.now;
        let mut burst: ArrayVec<_, BURST_MAX> = frames.into_iter().collect();
        self.at_worker(sim, at, random, |sim, out| {
            let worker = &mut sim.workers[at];
            if distribution == Received::BySoftware {
                worker.distribute(port, &mut burst, out);
            }
            worker.receive(port, &mut burst, now, out);
        });
    }
}

/// Who says which worker a received frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The device: frames are in the right queue, but for errors and fragments.
    ByDevice,
    /// The worker with the only queue.
    BySoftware,
}

/// The worker whose queue a device would put the frame into.
pub fn queue_of(sim: &Sim, port: PortId, frame: &[u8]) -> WorkerId {
    sim.workers[0].owner_of(port, &HeapBuffer::new(frame.to_vec(), 0))
}
