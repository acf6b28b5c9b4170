//! A bucket that is refilled evenly, in one word.
//!
//! Instead of what a bucket holds, the word says when it will be full again. Taking something
//! moves that moment later by the time that refilling it takes; what would move it further away
//! than it takes to fill an empty bucket is not there. That is one compare-and-swap, and exact:
//! the word counts in parts of a microsecond that the rate divides without a remainder, for rates
//! that leave no more than `RESOLUTION_MAX` to a microsecond once they are cancelled down
//! (`5/1m` is one in 12,000,000 microseconds), and else in parts of that size, rounded so that
//! refilling takes longer.

use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_conntrack::time::Tick;

use crate::policy::{RateLimit, RateUnit};

/// The most parts of a microsecond; 64 bits of them are 35 years.
const RESOLUTION_MAX: u64 = 1 << 14;
/// The longest time in which a bucket fills, in parts.
const CAPACITY_MAX: u64 = 1 << 62;
/// How often an exchange is tried that others are faster at.
const TRIES_MAX: usize = 1_024;

/// How a bucket is filled: a [`RateLimit`] in parts of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Parts of a microsecond.
    resolution: u64,
    /// In which `rate` comes in, in parts.
    per: u128,
    rate: u64,
    /// In which an empty bucket is filled, in parts.
    capacity: u64,
    unit: RateUnit,
}

impl Shape {
    /// The shape of the buckets of `limit`.
    pub fn new(limit: &RateLimit) -> Self {
        let per_us = u64::try_from(limit.per.as_micros()).unwrap_or(u64::MAX);
        let (rate, per_us) = (limit.rate.max(1), per_us.max(1));
        let common = gcd(rate, per_us);
        let (rate, per_us) = (rate / common, per_us / common);
        let resolution = rate.min(RESOLUTION_MAX);
        let mut shape = Self {
            resolution,
            per: u128::from(per_us) * u128::from(resolution),
            rate,
            capacity: 0,
            unit: limit.unit,
        };
        shape.capacity = match limit.unit {
            RateUnit::Packet => shape.refill(1).saturating_mul(limit.burst),
            RateUnit::Bit => shape.refill(limit.burst),
        };
        shape.capacity = shape.capacity.min(CAPACITY_MAX);
        shape
    }

    /// How long refilling `amount` takes, in parts.
    fn refill(&self, amount: u64) -> u64 {
        let parts = (u128::from(amount) * self.per).div_ceil(u128::from(self.rate));
        u64::try_from(parts).unwrap_or(u64::MAX)
    }

    /// How long refilling takes what a packet of `bytes` bytes takes out, in parts.
    fn cost(&self, bytes: u32) -> u64 {
        match self.unit {
            RateUnit::Packet => self.refill(1),
            RateUnit::Bit => self.refill(u64::from(bytes) * 8),
        }
    }

    /// The time in parts.
    fn parts(&self, now: Tick) -> u64 {
        now.as_micros().saturating_mul(self.resolution)
    }

    /// The word of a bucket after a packet of `bytes` bytes has taken its part at `now` from one
    /// whose word is `word`; `None` if there is not enough in it. A full bucket's word is zero.
    pub fn taken(&self, word: u64, bytes: u32, now: Tick) -> Option<u64> {
        let now = self.parts(now);
        let full_at = word.max(now).checked_add(self.cost(bytes))?;
        (full_at - now <= self.capacity).then_some(full_at)
    }

    /// When a bucket with this word is full again.
    pub const fn full_at(&self, word: u64) -> Tick {
        Tick::from_micros(word.div_ceil(self.resolution))
    }
}

/// One bucket that all workers share.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// The same bucket, which nobody else takes from.
    pub fn apart(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }

    /// Takes out a packet of `bytes` bytes, if there is enough in it.
    pub fn take(&self, shape: &Shape, bytes: u32, now: Tick) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            let Some(taken) = shape.taken(word, bytes, now) else {
                return false;
            };
            let exchanged =
                self.0
                    .compare_exchange_weak(word, taken, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return true,
                Err(other) => word = other,
            }
        }
        false
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn limit(rate: u64, per: Duration, burst: u64, unit: RateUnit) -> RateLimit {
        RateLimit {
            rate,
            per,
            burst,
            unit,
        }
    }

    fn packets(rate: u64, burst: u64) -> RateLimit {
        limit(rate, Duration::from_secs(1), burst, RateUnit::Packet)
    }

    /// A bucket of fractions without rounding: what is in it, times `per` in microseconds.
    struct Model {
        limit: RateLimit,
        content: u128,
        at: u64,
    }

    impl Model {
        fn new(limit: RateLimit) -> Self {
            Self {
                limit,
                content: u128::from(limit.burst) * limit.per.as_micros(),
                at: 0,
            }
        }

        fn take(&mut self, bytes: u32, now: u64) -> bool {
            let full = u128::from(self.limit.burst) * self.limit.per.as_micros();
            let come = u128::from(now - self.at) * u128::from(self.limit.rate);
            self.content = full.min(self.content + come);
            self.at = now;
            let amount = match self.limit.unit {
                RateUnit::Packet => 1,
                RateUnit::Bit => u128::from(bytes) * 8,
            };
            let wanted = amount * self.limit.per.as_micros();
            let enough = self.content >= wanted;
            if enough {
                self.content -= wanted;
            }
            enough
        }
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time_as_the_bucket_is_refilled() {
        let (shape, bucket) = (Shape::new(&packets(5, 10)), Bucket::default());
        let at = |ms| {
            let now = Tick::from_millis(ms);
            (0..20).filter(|_| bucket.take(&shape, 100, now)).count()
        };
        assert_eq!(at(0), 10, "the burst");
        assert_eq!((at(199), at(200), at(201)), (0, 1, 0), "one each 200 ms");
        assert_eq!(at(1_200), 5, "five in a second");
        assert_eq!(at(60_000), 10, "never more than the burst");
    }

    #[test]
    fn a_third_of_a_second_is_exact() {
        let (shape, bucket) = (Shape::new(&packets(3, 1)), Bucket::default());
        let at = |us| bucket.take(&shape, 100, Tick::from_micros(us));
        assert!(at(0) && !at(333_333) && at(333_334));
        // Were time rounded, this would be late by the rest of a microsecond each time.
        assert!(!at(666_667) && at(666_668));
        let (shape, bucket) = (Shape::new(&packets(3, 3)), Bucket::default());
        let thrice = |us| {
            let now = Tick::from_micros(us);
            (0..5).filter(|_| bucket.take(&shape, 1, now)).count()
        };
        assert_eq!((thrice(0), thrice(999_999)), (3, 2));
        assert_eq!((thrice(1_000_000), thrice(2_000_000)), (1, 3));
    }

    #[test]
    fn bits_are_taken_by_the_packet() {
        let bits = limit(8_000, Duration::from_secs(1), 16_000, RateUnit::Bit);
        let (shape, bucket) = (Shape::new(&bits), Bucket::default());
        let take = |bytes, ms| bucket.take(&shape, bytes, Tick::from_millis(ms));
        assert!(take(1_500, 0) && !take(501, 0) && take(500, 0));
        assert!(!take(1, 0) && take(1, 1), "a byte in a millisecond");
        assert!(!take(2_001, 100_000), "more than the bucket holds");
        assert!(take(2_000, 100_000));
    }

    #[test]
    fn a_worker_whose_clock_is_behind_is_given_nothing_for_that() {
        let (shape, bucket) = (Shape::new(&packets(1, 1)), Bucket::default());
        assert!(bucket.take(&shape, 1, Tick::from_secs(9)));
        assert!(!bucket.take(&shape, 1, Tick::from_secs(8)));
        assert!(bucket.take(&shape, 1, Tick::from_secs(10)));
    }

    #[test]
    fn extreme_rates_are_bounded_and_never_faster_than_asked_for() {
        let fast = limit(999_999_999_989, Duration::from_secs(1), 1, RateUnit::Packet);
        let (shape, bucket) = (Shape::new(&fast), Bucket::default());
        assert!(bucket.take(&shape, 1, Tick::from_secs(1)));
        let slow = limit(1, Duration::from_hours(24), u64::MAX, RateUnit::Bit);
        let (shape, bucket) = (Shape::new(&slow), Bucket::default());
        assert!(bucket.take(&shape, 1, Tick::from_secs(1)));
        assert!(bucket.take(&shape, u32::MAX, Tick::from_secs(u64::MAX)) || shape.capacity > 0);
    }

    #[test]
    fn threads_together_never_get_more_than_there_is() {
        let (shape, bucket) = (Shape::new(&packets(1_000, 500)), Bucket::default());
        let got: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let takes = (0..40_000_u64).map(|n| Tick::from_micros(n * 25));
                        takes.filter(|now| bucket.take(&shape, 1, *now)).count()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        // One second: the burst, and a thousand less the one that the last moment completes.
        assert_eq!(got, 500 + 999);
    }

    proptest! {
        #[test]
        fn a_bucket_is_as_exact_as_fractions(
            rate in prop_oneof![1..40_u64, 1..16_000_u64],
            per_ms in prop_oneof![Just(1_000_u64), Just(60_000), 1..5_000_u64],
            burst in prop_oneof![1..8_u64, 1..20_000_u64],
            bits in any::<bool>(),
            steps in proptest::collection::vec((0..400_000_u64, 1..1_500_u32), 1..200),
        ) {
            let unit = if bits { RateUnit::Bit } else { RateUnit::Packet };
            let limit = limit(rate, Duration::from_millis(per_ms), burst, unit);
            let (shape, bucket) = (Shape::new(&limit), Bucket::default());
            let mut model = Model::new(limit);
            let mut now = 0;
            for (wait, bytes) in steps {
                now += wait;
                let expected = model.take(bytes, now);
                prop_assert_eq!(bucket.take(&shape, bytes, Tick::from_micros(now)), expected);
            }
        }

        #[test]
        fn an_uneven_fast_rate_errs_on_the_safe_side(
            rate in 16_385..2_000_000_000_u64,
            burst in 1..1_000_u64,
            steps in proptest::collection::vec(0..3_u64, 1..300),
        ) {
            let limit = packets(rate, burst);
            let (shape, bucket) = (Shape::new(&limit), Bucket::default());
            let (mut now, mut passed) = (0, 0_u128);
            for wait in steps {
                now += wait;
                passed += u128::from(bucket.take(&shape, 1, Tick::from_micros(now)));
                let most = u128::from(burst) + u128::from(now) * u128::from(rate) / 1_000_000;
                prop_assert!(passed <= most);
            }
        }
    }
}
