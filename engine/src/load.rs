//! How busy a loop is: written by its thread, read by anybody.

use turnpike_conntrack::time::Tick;
use turnpike_pipeline::counters::{Counter, Gauge};

/// What a loop says about itself, since it started.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LoopLoad {
    turns: Counter,
    busy_turns: Counter,
    busy_us: Counter,
    largest_burst: Gauge,
}

/// A reading of [`LoopLoad`]; the load over a while is the difference of two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReading {
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Microseconds spent in such turns.
    pub busy_us: u64,
    /// The most packets found in one turn.
    pub largest_burst: u64,
}

impl LoopLoad {
    /// Takes note of a turn that began at `began` and handled `packets` packets by `ended`.
    pub(crate) fn turn(&self, packets: usize, began: Tick, ended: Tick) {
        self.turns.add(1);
        if packets == 0 {
            return;
        }
        let packets = packets as u64;
        self.busy_turns.add(1);
        self.busy_us
            .add(ended.as_micros().saturating_sub(began.as_micros()));
        if packets > self.largest_burst.read() {
            self.largest_burst.set(packets);
        }
    }

    /// The counters now.
    pub fn read(&self) -> LoadReading {
        LoadReading {
            turns: self.turns.read(),
            busy_turns: self.busy_turns.read(),
            busy_us: self.busy_us.read(),
            largest_burst: self.largest_burst.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_turns_with_packets_count_as_busy() {
        let load = LoopLoad::default();
        let at = Tick::from_micros;
        load.turn(0, at(0), at(5));
        load.turn(32, at(5), at(15));
        load.turn(4, at(15), at(18));
        let expected = LoadReading {
            turns: 3,
            busy_turns: 2,
            busy_us: 13,
            largest_burst: 32,
        };
        assert_eq!(load.read(), expected);
    }
}
