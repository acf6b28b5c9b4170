//! The buckets of `dst-limit`: one for each rule and each value of what it tells packets apart by.
//!
//! All workers share one table of fixed size, without locks. A bucket is two words: whose it is
//! (32 bits of keyed fingerprint) with the time from which on it may be somebody else's, and what
//! is in it (see [`bucket`](super::bucket)). It may lie in any place of two sets, and goes into the
//! emptier one, so that the table is nearly full before a bucket finds no room. It is free once it
//! is full again, because then it says no more than a new one would, or once it has not been asked
//! for as long as its rule keeps it.
//!
//! Who wants to take from a bucket first makes it his or prolongs it, by an exchange of the first
//! word, and then exchanges the second. So nobody resets what another has just taken from, and
//! when two workers begin a bucket at once, the one that finds another before its own gives its
//! own up. If every place is taken, nothing passes: the limit is as good as exceeded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use turnpike_conntrack::time::Tick;

use super::bucket::Shape;

/// The places of a set: two cache lines.
const WAYS: usize = 8;
/// How many buckets there are, for all rules together: 4 MiB.
pub const DESTINATIONS_MAX: usize = 1 << 18;
/// How often an exchange is tried that others are faster at.
const TRIES_MAX: usize = 1_024;

/// The buckets.
#[derive(Debug)]
pub struct Destinations {
    sets: Box<[[Place; WAYS]]>,
}

#[derive(Debug, Default)]
#[repr(align(16))]
struct Place {
    /// Fingerprint and time; zero if it was never used.
    tag: AtomicU64,
    /// What is in it, as the shape of its rule has it.
    word: AtomicU64,
}

/// How a rule's buckets are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// How they are filled.
    pub shape: Shape,
    /// For how long one is kept that is not asked for.
    pub expire: Duration,
}

impl Default for Destinations {
    fn default() -> Self {
        Self::new(DESTINATIONS_MAX)
    }
}

impl Destinations {
    /// Room for so many buckets.
    fn new(places: usize) -> Self {
        let set = || std::array::from_fn(|_| Place::default());
        let sets = std::iter::repeat_with(set).take(places.div_ceil(WAYS).max(1));
        Self {
            sets: sets.collect(),
        }
    }

    /// The same buckets, which nobody else takes from; each as it was when it was looked at.
    pub fn apart(&self) -> Self {
        let seen = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        let place = |place: &Place| Place {
            tag: seen(&place.tag),
            word: seen(&place.word),
        };
        Self {
            sets: self
                .sets
                .iter()
                .map(|set| set.each_ref().map(place))
                .collect(),
        }
    }

    /// Takes a packet of `bytes` bytes out of the bucket that `hash` is the name of, if there is
    /// enough in it; `None` if there is no room for that bucket.
    pub fn take(&self, hash: u64, keeping: &Keeping, bytes: u32, now: Tick) -> Option<bool> {
        let sets = self.sets(hash)?;
        let print = fingerprint(hash);
        let now_ms = wrapping(now.as_millis());
        for _ in 0..TRIES_MAX {
            let own = seen(sets).find(|(_, _, tag)| print_of(*tag) == print);
            let (at, place, tag) = match own {
                Some(own) => own,
                None => vacant(sets, now_ms)?,
            };
            let word = place.word.load(Ordering::SeqCst);
            // Full, if it is new or has been kept for long enough.
            let content = if is_free(tag, now_ms) { 0 } else { word };
            let taken = keeping.shape.taken(content, bytes, now);
            if taken.is_none() && content == 0 {
                // More than a full one holds.
                return Some(false);
            }
            let next = keeping.tag(print, taken.unwrap_or(content), now);
            let exchange = |word: &AtomicU64, old, new| {
                word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
            };
            if next != tag && !exchange(&place.tag, tag, next) {
                continue;
            }
            let first = || seen(sets).find(|(_, _, tag)| print_of(*tag) == print);
            if own.is_none() && first().is_none_or(|(first, ..)| first != at) {
                exchange(&place.tag, next, 0);
                continue;
            }
            let Some(taken) = taken else {
                return Some(false);
            };
            let still_own = || print_of(place.tag.load(Ordering::SeqCst)) == print;
            if exchange(&place.word, word, taken) && still_own() {
                return Some(true);
            }
        }
        Some(false)
    }

    /// The two sets where a bucket may lie; they may be one.
    fn sets(&self, hash: u64) -> Option<Sets<'_>> {
        let set = |hash: u64| {
            let at = (u128::from(hash) * self.sets.len() as u128) >> 64;
            self.sets.get(usize::try_from(at).ok()?)
        };
        let other = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).swap_bytes();
        Some([set(hash)?, set(other)?])
    }
}

impl Keeping {
    /// The first word of a bucket that was asked for at `now` and whose second word is `word`.
    fn tag(&self, print: u32, word: u64, now: Tick) -> u64 {
        let full_at = self.shape.full_at(word).as_micros().div_ceil(1_000);
        let kept_until = now.after(self.expire).as_millis();
        let free_at = wrapping(full_at.min(kept_until));
        u64::from(print) << 32 | u64::from(free_at)
    }
}

type Sets<'a> = [&'a [Place; WAYS]; 2];

/// Every place, numbered, with its first word as it is now.
fn seen(sets: Sets<'_>) -> impl Iterator<Item = (usize, &Place, u64)> {
    let places = sets.into_iter().flatten().enumerate();
    places.map(|(at, place)| (at, place, place.tag.load(Ordering::SeqCst)))
}

/// A free place of the set that has more of them.
fn vacant(sets: Sets<'_>, now_ms: u32) -> Option<(usize, &Place, u64)> {
    let free = || seen(sets).filter(|(_, _, tag)| is_free(*tag, now_ms));
    let in_first = free().filter(|(at, ..)| *at < WAYS).count();
    let skipped = if free().count() > 2 * in_first {
        in_first
    } else {
        0
    };
    free().nth(skipped)
}

/// The part of a hash that tells buckets of one set apart; not zero.
fn fingerprint(hash: u64) -> u32 {
    wrapping(hash).max(1)
}

fn print_of(tag: u64) -> u32 {
    wrapping(tag >> 32)
}

/// Whether a place was never used, or its time has come. Times are right for half the circle of
/// 49 days; what nobody has asked for in so long is taken for kept, until it is asked for.
fn is_free(tag: u64, now_ms: u32) -> bool {
    tag == 0 || now_ms.wrapping_sub(wrapping(tag)) <= u32::MAX / 2
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
const fn wrapping(wide: u64) -> u32 {
    wide as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{RateLimit, RateUnit};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn keeping(rate: u64, burst: u64, expire_ms: u64) -> Keeping {
        let shape = Shape::new(&RateLimit {
            rate,
            per: Duration::from_secs(1),
            burst,
            unit: RateUnit::Packet,
        });
        Keeping {
            shape,
            expire: Duration::from_millis(expire_ms),
        }
    }

    /// A hash with its bits spread.
    fn hash(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn burst(table: &Destinations, n: u64, keeping: &Keeping, ms: u64) -> usize {
        let take = |_: &u32| table.take(hash(n), keeping, 1, Tick::from_millis(ms)) == Some(true);
        (0..100).filter(take).count()
    }

    #[test]
    fn each_name_has_a_bucket_of_its_own() {
        let (table, keeping) = (Destinations::new(64), keeping(5, 10, 100_000));
        assert_eq!(
            (burst(&table, 1, &keeping, 0), burst(&table, 2, &keeping, 0)),
            (10, 10)
        );
        assert_eq!(burst(&table, 1, &keeping, 1_000), 5);
        assert_eq!(burst(&table, 2, &keeping, 400), 2);
    }

    #[test]
    fn a_bucket_that_nobody_asks_for_is_full_again_when_it_expires() {
        let (table, keeping) = (Destinations::new(64), keeping(1, 10, 3_000));
        assert_eq!(burst(&table, 1, &keeping, 0), 10);
        assert_eq!(burst(&table, 1, &keeping, 2_999), 2);
        // Asked for a moment ago, so it is kept, and goes on where it was.
        assert_eq!(burst(&table, 1, &keeping, 5_998), 3);
        assert_eq!(burst(&table, 1, &keeping, 8_998), 10, "expired");
    }

    #[test]
    fn without_room_for_a_bucket_there_is_no_answer_until_one_is_full_again() {
        let (table, keeping) = (Destinations::new(WAYS), keeping(1, 2, 100_000));
        let ways = WAYS as u64;
        for n in 0..ways {
            assert_eq!(burst(&table, n, &keeping, 0), 2);
        }
        let take = |ms| table.take(hash(ways), &keeping, 1, Tick::from_millis(ms));
        assert_eq!((take(0), take(1_999)), (None, None));
        assert_eq!(take(2_000), Some(true));
    }

    #[test]
    fn nearly_every_place_is_used_before_a_bucket_finds_no_room() {
        let (table, keeping) = (Destinations::new(4_096), keeping(1, 1, 100_000));
        let mut names = 0..5_000;
        let room = |n: &u64| table.take(hash(*n), &keeping, 1, Tick::default()).is_some();
        let used = names.by_ref().take_while(room).count();
        assert!(used > 3_500, "{used}");
    }

    #[test]
    fn threads_that_begin_the_same_buckets_together_never_get_more_than_there_is() {
        let keeping = keeping(1, 50, 100_000);
        for round in 0..50 {
            let table = Destinations::new(WAYS);
            let names = 6;
            let got: Vec<usize> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        let table = &table;
                        scope.spawn(move || {
                            let mut got = vec![0; names];
                            for n in 0..200 * names {
                                let name = n % names;
                                let hash = hash((round * names + name) as u64);
                                let taken = table.take(hash, &keeping, 1, Tick::from_millis(5));
                                got[name] += usize::from(taken == Some(true));
                            }
                            got
                        })
                    })
                    .collect();
                threads.into_iter().fold(vec![0; names], |sum, thread| {
                    let got = thread.join().unwrap();
                    sum.iter().zip(got).map(|(a, b)| a + b).collect()
                })
            });
            assert_eq!(got, vec![50; names], "round {round}");
        }
    }

    proptest! {
        #[test]
        fn a_table_with_room_is_as_exact_as_a_map(
            steps in proptest::collection::vec((0..30_u64, 0..700_u64, 1..6_u32), 1..300),
            expire_ms in 1..4_000_u64,
        ) {
            let (table, keeping) = (Destinations::new(4_096), keeping(3, 4, expire_ms));
            let mut model: HashMap<u64, (u64, u64)> = HashMap::new();
            let mut now_ms = 0;
            for (name, wait, packets) in steps {
                now_ms += wait;
                let now = Tick::from_millis(now_ms);
                for _ in 0..packets {
                    let (word, asked_ms) = model.get(&name).copied().unwrap_or_default();
                    let word = if now_ms >= asked_ms + expire_ms { 0 } else { word };
                    let taken = keeping.shape.taken(word, 1, now);
                    model.insert(name, (taken.unwrap_or(word), now_ms));
                    let answer = table.take(hash(name), &keeping, 1, now);
                    prop_assert_eq!(answer, Some(taken.is_some()));
                }
            }
        }
    }
}
