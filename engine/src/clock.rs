//! The gateway's clock: microseconds since it started.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use turnpike_conntrack::time::Tick;
use turnpike_pipeline::wall::Wall;

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

    /// Sets `wall` right by the system's clock, which somebody may have moved.
    pub fn set(self, wall: &Wall) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let us = since.map_or(0, |since| since.as_micros());
        wall.set(i64::try_from(us).unwrap_or(i64::MAX), self.now());
    }
}
