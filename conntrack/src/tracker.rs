//! One worker's connection tracking: a table per family, and what workers share.

use std::sync::Arc;
use std::time::Duration;

use crate::expect::Expectations;
use crate::hash::HashKey;
use crate::ids::WorkerId;
use crate::limits::Limits;
use crate::segment::InvalidReason;
use crate::steering::Steering;
use crate::table::Table;
use crate::time::Tick;
use crate::tuple::{V4, V6};

/// The least room for expectations.
const EXPECTATIONS_MIN: usize = 64;
/// Connections there are room for, per source that a rule counts the connections of.
const CONNECTIONS_PER_LIMIT: usize = 8;

/// What all workers share. Made once, when the gateway starts.
#[derive(Debug)]
pub struct Shared {
    /// Whose connection it is when the answer arrives elsewhere.
    pub steering: Steering,
    /// Connections that others have announced.
    pub expectations: Expectations,
    /// How many connections each rule with a `connection-limit` has counted.
    pub limits: Limits,
    /// The key of whatever workers must agree on.
    pub key: HashKey,
}

impl Shared {
    /// What workers share, with room to steer about `steered` connections, to expect one for
    /// every 64 of them, and to count the connections of an eighth as many sources.
    pub fn new(steered: usize, key: HashKey) -> Self {
        Self {
            steering: Steering::new(steered, key),
            expectations: Expectations::new((steered / 64).max(EXPECTATIONS_MIN), key),
            limits: Limits::new(steered / CONNECTIONS_PER_LIMIT, key),
            key,
        }
    }

    /// What a gateway of its own shares that is to count as this one does: the same key and the
    /// same counts, nothing steered and nothing announced.
    #[must_use]
    pub fn apart(&self, steered: usize) -> Self {
        Self {
            limits: self.limits.apart(),
            ..Self::new(steered, self.key)
        }
    }
}

/// How many connections one worker can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// IPv4 connections.
    pub v4: usize,
    /// IPv6 connections.
    pub v6: usize,
}

impl Capacity {
    /// One worker's part of `total` connections over `workers` workers: three quarters are for IPv4
    /// and one for IPv6, and each table has at least 16.
    pub fn share(total: usize, workers: usize) -> Self {
        let each = total / workers.max(1);
        Self {
            v4: (each - each / 4).max(16),
            v6: (each / 4).max(16),
        }
    }
}

/// One worker's connections. Only this worker reads or writes them.
#[derive(Debug)]
pub struct Conntrack {
    /// IPv4 connections.
    pub v4: Table<V4>,
    /// IPv6 connections.
    pub v6: Table<V6>,
    shared: Arc<Shared>,
    /// Where the next sweep of expectations goes on.
    swept: usize,
}

impl Conntrack {
    /// Empty tables of `capacity` for `worker`, hashed under `key`. All memory is taken here.
    pub fn new(worker: WorkerId, capacity: Capacity, key: HashKey, shared: Arc<Shared>) -> Self {
        Self {
            v4: Table::new(worker, capacity.v4, key, Arc::clone(&shared)),
            v6: Table::new(worker, capacity.v6, key, Arc::clone(&shared)),
            shared,
            swept: 0,
        }
    }

    /// Reclaims expectations that have ended, looking at a share of `budget` places.
    pub fn sweep_expectations(&mut self, now: Tick, budget: usize) {
        let expectations = &self.shared.expectations;
        self.swept = expectations.sweep(self.swept, budget, now);
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// What a tracker says about a packet of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It belongs to the connection, which may now stay idle for so long; for no time at all, and
    /// the connection ends with it.
    Keep(Duration),
    /// It passes, and the connection lives no longer for it.
    Ignored,
    /// It does not belong to the connection.
    Invalid(InvalidReason),
    /// It does not either, and makes it doubtful that the connection lives: it may stay idle for
    /// so long at the most.
    Doubtful(InvalidReason, Duration),
    /// It opens a new connection in this one's place.
    Reopen,
}
