//! The clock of a replay: the largest stamp seen.

use std::time::Duration;

use turnpike_conntrack::time::Tick;

use crate::pcap::Stamp;

/// The time between two turns of housekeeping in busy times.
const TURN_US: u64 = 10_000;
/// In a long silence, a turn is this part of the silence so far: an hour takes some hundred turns,
/// and a timer is late by at most that part of the time it waited.
const SILENCE_PART: u64 = 64;
/// The longest turn: deadlines are kept in 32-bit milliseconds, which tell the past from the future
/// as long as nobody looks away for weeks.
const TURN_MAX_US: u64 = 86_400_000_000;

/// Time as the captures tell it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Stamp,
    now: Tick,
}

impl Clock {
    /// A clock that starts at the first packet's stamp.
    pub fn new(epoch: Stamp) -> Self {
        Self {
            epoch,
            now: Tick::default(),
        }
    }

    /// The time.
    pub const fn now(&self) -> Tick {
        self.now
    }

    /// The time as a stamp, to the microsecond.
    pub const fn stamp(&self) -> Stamp {
        self.epoch.plus_micros(self.now.as_micros())
    }

    /// The turns of housekeeping to make until a packet with this stamp is due, the last of them
    /// at its time. A stamp in the past gives none.
    pub fn until(&self, stamp: Stamp) -> Turns {
        let due = Tick::from_micros(stamp.micros_since(self.epoch));
        Turns {
            since: self.now,
            now: self.now,
            due,
        }
    }

    /// Sets the time; it never goes back.
    pub fn set(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }
}

/// Points in time up to the next packet's.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    since: Tick,
    now: Tick,
    due: Tick,
}

impl Iterator for Turns {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        if self.now >= self.due {
            return None;
        }
        let silence = self.now.as_micros() - self.since.as_micros();
        let step = Duration::from_micros((silence / SILENCE_PART).clamp(TURN_US, TURN_MAX_US));
        self.now = self.now.after(step).min(self.due);
        Some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn turns(seconds: u64) -> Vec<Tick> {
        Clock::new(Stamp(7 * SECOND))
            .until(Stamp((7 + seconds) * SECOND))
            .collect()
    }

    #[test]
    fn the_clock_starts_with_the_first_packet_and_never_goes_back() {
        let mut clock = Clock::new(Stamp(7 * SECOND));
        assert_eq!(clock.until(Stamp(7 * SECOND)).next(), None);
        for turn in clock.until(Stamp(9 * SECOND)) {
            clock.set(turn);
        }
        assert_eq!(
            (clock.now(), clock.stamp()),
            (Tick::from_secs(2), Stamp(9 * SECOND))
        );
        assert_eq!(clock.until(Stamp(8 * SECOND)).next(), None);
        clock.set(Tick::from_secs(1));
        assert_eq!(clock.now(), Tick::from_secs(2));
    }

    #[test]
    fn turns_end_at_the_packet_and_are_fine_at_first() {
        assert_eq!(turns(1).last(), Some(&Tick::from_secs(1)));
        assert_eq!(turns(1).first(), Some(&Tick::from_millis(10)));
    }

    #[test]
    fn a_silence_of_years_takes_few_turns() {
        let decade = turns(10 * 365 * 86_400);
        assert!(decade.len() < 5_000, "{} turns", decade.len());
        let longest = decade.windows(2).map(|pair| pair[1].since(pair[0])).max();
        assert_eq!(longest, Some(Duration::from_micros(TURN_MAX_US)));
        assert_eq!(decade.last(), Some(&Tick::from_secs(10 * 365 * 86_400)));
    }
}
