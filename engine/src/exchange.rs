//! What a gateway's pinned threads share: the rings between them, and the phase of its life.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use turnpike_conntrack::ids::WorkerId;
use turnpike_pipeline::log::LogEvent;
use turnpike_pipeline::outbox::{FromSlowPath, Handover, Punt};

use crate::events::Feed;
use crate::mbuf::Mbuf;
use crate::rings::Ring;

/// How many entries the rings have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSizes {
    /// Frames waiting for a worker that owns them.
    pub handover: usize,
    /// Packets of one worker waiting for the slow path.
    pub punt: usize,
    /// Messages of the slow path waiting for a worker.
    pub back: usize,
    /// Log events waiting to be written.
    pub log: usize,
    /// Events of one worker's connections waiting to be told.
    pub events: usize,
}

impl Default for RingSizes {
    fn default() -> Self {
        Self {
            handover: 2_048,
            punt: 1_024,
            back: 1_024,
            log: 8_192,
            events: 8_192,
        }
    }
}

/// A gateway's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Packets are received and forwarded.
    Running = 0,
    /// Nothing is received any more; what is inside finds its way out.
    Draining = 1,
    /// The threads end.
    Ending = 2,
}

/// The rings of a gateway, and its phase.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// By the worker that takes out.
    handover: Box<[Ring<Handover<Mbuf>>]>,
    /// By the worker that puts in.
    punts: Box<[Ring<Punt<Mbuf>>]>,
    /// By the worker that takes out.
    back: Box<[Ring<FromSlowPath<Mbuf>>]>,
    /// By the worker that tells.
    events: Box<[Feed]>,
    logs: Ring<LogEvent>,
    logs_lost: AtomicU64,
    phase: AtomicU8,
}

impl Exchange {
    pub fn new(sizes: &RingSizes, workers: u8) -> Self {
        Self {
            handover: (0..workers).map(|_| Ring::new(sizes.handover)).collect(),
            punts: (0..workers).map(|_| Ring::new(sizes.punt)).collect(),
            back: (0..workers).map(|_| Ring::new(sizes.back)).collect(),
            events: (0..workers).map(|_| Feed::new(sizes.events)).collect(),
            logs: Ring::new(sizes.log),
            logs_lost: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
        }
    }

    pub fn handover_to(&self, worker: WorkerId) -> Option<&Ring<Handover<Mbuf>>> {
        self.handover.get(usize::from(worker.0))
    }

    pub fn punts_of(&self, worker: WorkerId) -> Option<&Ring<Punt<Mbuf>>> {
        self.punts.get(usize::from(worker.0))
    }

    pub fn punts(&self) -> impl Iterator<Item = &Ring<Punt<Mbuf>>> {
        self.punts.iter()
    }

    pub fn back_to(&self, worker: WorkerId) -> Option<&Ring<FromSlowPath<Mbuf>>> {
        self.back.get(usize::from(worker.0))
    }

    pub fn events_of(&self, worker: WorkerId) -> Option<&Feed> {
        self.events.get(usize::from(worker.0))
    }

    pub fn events_lost(&self) -> u64 {
        self.events.iter().map(Feed::lost).sum()
    }

    /// Keeps a log event for whoever writes the log, or counts it as lost.
    pub fn log(&self, event: LogEvent) {
        if self.logs.push(event).is_err() {
            self.logs_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn next_log(&self) -> Option<LogEvent> {
        self.logs.pop()
    }

    pub fn logs_lost(&self) -> u64 {
        self.logs_lost.load(Ordering::Relaxed)
    }

    /// Whether no packet is in any ring.
    pub fn is_empty(&self) -> bool {
        self.handover.iter().all(Ring::is_empty)
            && self.punts.iter().all(Ring::is_empty)
            && self.back.iter().all(Ring::is_empty)
    }

    /// Frees what is left in the rings and tells of each packet that is not accounted for yet, by
    /// the worker it was from or for. For the end, when no thread runs any more.
    pub fn clear(&self, mut stopped: impl FnMut(WorkerId)) {
        for (worker, ring) in by_worker(&self.handover) {
            while ring.pop().is_some() {
                stopped(worker);
            }
        }
        for (worker, ring) in by_worker(&self.punts) {
            while let Some(punt) = ring.pop() {
                // A notice is about a packet that was counted as dropped already.
                if !punt.kind.is_notice() {
                    stopped(worker);
                }
            }
        }
        for (worker, ring) in by_worker(&self.back) {
            while let Some(message) = ring.pop() {
                match message {
                    FromSlowPath::Neighbour(_)
                    | FromSlowPath::Control(..)
                    | FromSlowPath::Examined(_) => {}
                    FromSlowPath::Whole(..)
                    | FromSlowPath::Send(..)
                    | FromSlowPath::Forward(..)
                    | FromSlowPath::Output(_)
                    | FromSlowPath::Notice(_)
                    | FromSlowPath::Copy(_)
                    | FromSlowPath::Read(..) => stopped(worker),
                }
            }
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ending => Phase::Ending,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }
}

fn by_worker<T>(rings: &[Ring<T>]) -> impl Iterator<Item = (WorkerId, &Ring<T>)> {
    (0..).map(WorkerId).zip(rings)
}
