//! What a running gateway says about itself, for status pages and metrics.

use std::sync::Arc;

use turnpike_conntrack::expect::ExpectationCounts;
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_conntrack::time::Tick;
use turnpike_pipeline::counters::WorkerCounters;

use super::Gateway;
use crate::distribute::Distributor;
use crate::hugepages::Memory;
use crate::load::LoadReading;
use crate::port::{Link, PortStats};

/// Announced connections at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectations {
    /// How many are waited for.
    pub waiting: usize,
    /// How many can be.
    pub limit: usize,
    /// What became of them since the start.
    pub counts: ExpectationCounts,
}

/// A gateway at one moment.
#[derive(Debug)]
pub struct Status {
    /// Time since it started.
    pub uptime: Tick,
    /// The program published last.
    pub generation: Generation,
    /// What packet memory is made of.
    pub memory: Memory,
    /// Packet buffers there are.
    pub buffers: usize,
    /// Packet buffers that are in use.
    pub buffers_in_use: usize,
    /// Connections that are found through the steering map.
    pub steered: usize,
    /// Connections that others have announced.
    pub expectations: Expectations,
    /// Events of connections lost because nobody took them in time.
    pub events_lost: u64,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
    /// Its slow path.
    pub slow_path: SlowPathStatus,
    /// Its ports.
    pub ports: Vec<PortStatus>,
}

/// A worker at one moment.
#[derive(Debug)]
pub struct WorkerStatus {
    /// Which worker.
    pub id: WorkerId,
    /// The core it is pinned to.
    pub core: usize,
    /// The program it runs.
    pub generation: Generation,
    /// Its counters, which go on counting.
    pub counters: Arc<WorkerCounters>,
    /// How busy it is.
    pub load: LoadReading,
    /// Frames waiting in the ring of those handed over to it.
    pub handover_waiting: usize,
    /// Packets of its waiting for the slow path.
    pub punts_waiting: usize,
    /// Messages of the slow path waiting for it.
    pub messages_waiting: usize,
}

/// The slow path at one moment.
#[derive(Debug)]
pub struct SlowPathStatus {
    /// The core it is pinned to, if it is.
    pub core: Option<usize>,
    /// The program it runs.
    pub generation: Generation,
    /// Its counters, which go on counting.
    pub counters: Arc<WorkerCounters>,
    /// How busy it is.
    pub load: LoadReading,
}

/// A port at one moment.
#[derive(Debug)]
pub struct PortStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The device string it was opened with.
    pub device: String,
    /// DPDK's driver for it.
    pub driver: String,
    /// Its queues in each direction.
    pub queues: u16,
    /// Who spreads its packets over the workers.
    pub distributor: Distributor,
    /// Sampled packets that arrived elsewhere than predicted.
    pub mismatches: u64,
    /// Its link.
    pub link: Link,
    /// Its device's basic counters.
    pub stats: PortStats,
    /// Its driver's own counters.
    pub extended_stats: Vec<(String, u64)>,
}

/// Packets that a rule wanted logged and that never became a log event that somebody took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogLosses {
    /// Over a worker's budget.
    pub suppressed: u64,
    /// Lost because nobody took them in time.
    pub lost: u64,
}

impl Gateway {
    /// What was not logged so far.
    pub fn log_losses(&self) -> LogLosses {
        let workers = self
            .workers
            .iter()
            .map(|w| w.counters.logs_suppressed.read());
        LogLosses {
            suppressed: workers.sum(),
            lost: self.exchange.logs_lost(),
        }
    }

    /// The gateway at this moment.
    pub fn status(&self) -> Status {
        let adopted = |thread| self.publisher.adopted(thread).unwrap_or_default();
        Status {
            uptime: self.clock.now(),
            generation: self.publisher.current().generation,
            memory: self.memory,
            buffers: self.pools.iter().map(|pool| pool.size()).sum(),
            buffers_in_use: self.eal.buffers_in_use(),
            steered: self.shared.steering.len(),
            expectations: Expectations {
                waiting: self.shared.expectations.len(),
                limit: self.shared.expectations.capacity(),
                counts: self.shared.expectations.counts(),
            },
            events_lost: self.exchange.events_lost(),
            workers: (0..)
                .map(WorkerId)
                .zip(&self.workers)
                .map(|(id, worker)| WorkerStatus {
                    id,
                    core: worker.core,
                    generation: adopted(usize::from(id.0)),
                    counters: Arc::clone(&worker.counters),
                    load: worker.load.read(),
                    handover_waiting: self.exchange.handover_to(id).map_or(0, |ring| ring.len()),
                    punts_waiting: self.exchange.punts_of(id).map_or(0, |ring| ring.len()),
                    messages_waiting: self.exchange.back_to(id).map_or(0, |ring| ring.len()),
                })
                .collect(),
            slow_path: SlowPathStatus {
                core: self.slow_path.core,
                generation: adopted(self.workers.len()),
                counters: Arc::clone(&self.slow_path.counters),
                load: self.slow_path.load.read(),
            },
            ports: self
                .ports
                .iter()
                .map(|spread| PortStatus {
                    name: spread.port.name().to_owned(),
                    device: spread.port.device().to_owned(),
                    driver: spread.port.driver().to_owned(),
                    queues: spread.port.queues(),
                    distributor: spread.spread.distributor(),
                    mismatches: spread.spread.mismatches(),
                    link: spread.port.link(),
                    stats: spread.port.stats(),
                    extended_stats: spread.port.extended_stats(),
                })
                .collect(),
        }
    }
}
