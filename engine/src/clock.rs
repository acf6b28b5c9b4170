//! The gateway's clock: microseconds since it started.

use std::time::Instant;

use turnpike_conntrack::time::Tick;

/// A clock that every thread of a gateway shares by copying it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time now. Loops read it once per turn and hand it down.
    pub fn now(self) -> Tick {
        let us = self.start.elapsed().as_micros();
        Tick::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
    }
}
