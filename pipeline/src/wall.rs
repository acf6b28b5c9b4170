//! The time of day: what turns a tick into an hour and a weekday.
//!
//! The pipeline has no clock. It is told when its ticks began by the clock on the wall, and by how
//! much the time zone is off; whoever runs it keeps the former right.

use std::sync::atomic::{AtomicI64, Ordering};

use turnpike_conntrack::time::Tick;

/// Seconds of a day.
pub const DAY_SECS: u32 = 86_400;

/// When ticks began: microseconds since 1970 (UTC) at tick zero.
#[derive(Debug, Default)]
pub struct Wall(AtomicI64);

impl Wall {
    /// A wall clock that showed `unix_us` at tick zero.
    pub const fn new(unix_us: i64) -> Self {
        Self(AtomicI64::new(unix_us))
    }

    /// Sets it right: it shows `unix_us` at `now`.
    pub fn set(&self, unix_us: i64, now: Tick) {
        self.0
            .store(unix_us.saturating_sub(signed(now)), Ordering::Relaxed);
    }

    /// Seconds since 1970 (UTC) at `now`.
    pub fn unix_secs(&self, now: Tick) -> i64 {
        let unix_us = self.0.load(Ordering::Relaxed).saturating_add(signed(now));
        unix_us.div_euclid(1_000_000)
    }
}

fn signed(now: Tick) -> i64 {
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// A time zone: how far it is ahead of UTC, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zone {
    /// Seconds since 1970 (UTC), rising, and the seconds that it is ahead from then on; before the
    /// first, and without any, it is UTC.
    pub changes: Box<[(i64, i32)]>,
}

impl Zone {
    /// The weekday and the second of the day at `unix_secs`. Sunday is 0.
    pub fn local(&self, unix_secs: i64) -> (u8, u32) {
        let begun = self
            .changes
            .partition_point(|(since, _)| *since <= unix_secs);
        let change = begun.checked_sub(1).and_then(|at| self.changes.get(at));
        let ahead = change.map_or(0, |(_, ahead)| *ahead);
        let local = unix_secs.saturating_add(ahead.into());
        let day = i64::from(DAY_SECS);
        // 1970 began on a Thursday.
        let weekday = (local.div_euclid(day) + 4).rem_euclid(7);
        (
            u8::try_from(weekday).unwrap_or_default(),
            u32::try_from(local.rem_euclid(day)).unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_goes_on_with_the_ticks_and_can_be_set_right() {
        let wall = Wall::new(1_700_000_000_000_000);
        assert_eq!(wall.unix_secs(Tick::from_secs(5)), 1_700_000_005);
        wall.set(1_700_000_100_500_000, Tick::from_secs(10));
        assert_eq!(wall.unix_secs(Tick::from_secs(11)), 1_700_000_101);
        assert_eq!(Wall::new(-1).unix_secs(Tick::default()), -1);
    }

    #[test]
    fn weekday_and_second_follow_the_zone_over_a_change() {
        // Tuesday, 14 November 2023, 22:13:20 UTC.
        let at = 1_700_000_000;
        assert_eq!(Zone::default().local(at), (2, 80_000));
        let zone = Zone {
            changes: [(i64::MIN, 3_600), (at + 10, 7_200)].into(),
        };
        assert_eq!(zone.local(at), (2, 83_600));
        assert_eq!(zone.local(at + 9), (2, 83_609));
        assert_eq!(zone.local(at + 10), (3, 87_210 - 86_400));
        assert_eq!(
            Zone::default().local(-1),
            (3, 86_399),
            "New Year's Eve of 1969"
        );
    }
}
