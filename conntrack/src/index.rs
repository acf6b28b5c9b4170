//! The tuple index: from a hash to the connections that may have the tuple.
//!
//! A bucket is one cache line: ten 16-bit tags, ten values and a link to an overflow bucket. The
//! tag filters all but one in 65,536 wrong candidates, so a miss reads one line and a hit one more.
//! Primary buckets hold six values on average (about 4 % overflow); overflow buckets come from
//! a fixed pool, and an empty pool is an error. Twenty-three bytes per connection in all.

use crate::hash::fastrange;
use crate::ids::{Direction, FlowId, FlowRef};
use crate::memory::filled;
use crate::prefetch::prefetch;

const SLOTS: usize = 10;
/// Values per primary bucket when the table is full.
const LOAD: usize = 6;
/// One overflow bucket for so many primary ones, of which one in 23 needs one.
const OVERFLOW_PART: usize = 14;
const NO_LINK: u32 = u32::MAX;

/// No overflow bucket is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexFull;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// Zero where the slot is free.
    tags: [u16; SLOTS],
    /// Connection number shifted left by one, and the direction.
    values: [u32; SLOTS],
    overflow: u32,
}

const EMPTY: Bucket = Bucket {
    tags: [0; SLOTS],
    values: [0; SLOTS],
    overflow: NO_LINK,
};

impl Bucket {
    /// One bit per slot whose tag is `tag`; written so that the compiler can vectorise it.
    #[inline]
    fn matches(&self, tag: u16) -> u32 {
        let mut mask = 0;
        for (slot, &t) in self.tags.iter().enumerate() {
            mask |= u32::from(t == tag) << slot;
        }
        mask
    }
}

/// The index of one table.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    primary: usize,
    free: u32,
}

impl Index {
    /// An index for both tuples of `connections`.
    pub(crate) fn new(connections: usize) -> Self {
        let primary = (2 * connections).div_ceil(LOAD).max(1);
        let overflow = primary / OVERFLOW_PART + 64;
        let mut buckets = filled(EMPTY, primary + overflow);
        for (next, bucket) in (primary + 1..primary + overflow).zip(&mut buckets[primary..]) {
            bucket.overflow = link(next);
        }
        Self {
            free: link(primary),
            buckets,
            primary,
        }
    }

    /// Asks for the bucket of `hash`.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[fastrange(hash, self.primary)]);
    }

    /// The first value in the primary bucket whose tag fits, to prefetch its entry.
    #[inline]
    pub(crate) fn first(&self, hash: u64) -> Option<FlowRef> {
        let bucket = &self.buckets[fastrange(hash, self.primary)];
        let mask = bucket.matches(tag(hash));
        (mask != 0).then(|| unpack(bucket.values[mask.trailing_zeros() as usize]))
    }

    /// The first value filed under `hash` for which `is` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(FlowRef) -> bool) -> Option<FlowRef> {
        let tag = tag(hash);
        let mut at = fastrange(hash, self.primary);
        loop {
            let bucket = &self.buckets[at];
            let mut mask = bucket.matches(tag);
            while mask != 0 {
                let flow = unpack(bucket.values[mask.trailing_zeros() as usize]);
                if is(flow) {
                    return Some(flow);
                }
                mask &= mask - 1;
            }
            if bucket.overflow == NO_LINK {
                return None;
            }
            at = bucket.overflow as usize;
        }
    }

    /// Files `flow` under `hash`.
    pub(crate) fn insert(&mut self, hash: u64, flow: FlowRef) -> Result<(), IndexFull> {
        let mut at = fastrange(hash, self.primary);
        loop {
            let bucket = &mut self.buckets[at];
            let vacant = bucket.matches(0);
            if vacant != 0 {
                let slot = vacant.trailing_zeros() as usize;
                bucket.tags[slot] = tag(hash);
                bucket.values[slot] = pack(flow);
                return Ok(());
            }
            if bucket.overflow == NO_LINK {
                let fresh = self.free;
                if fresh == NO_LINK {
                    return Err(IndexFull);
                }
                self.free = self.buckets[fresh as usize].overflow;
                self.buckets[fresh as usize].overflow = NO_LINK;
                self.buckets[at].overflow = fresh;
            }
            at = self.buckets[at].overflow as usize;
        }
    }

    /// Takes `flow` out from under `hash`; whether it was there.
    ///
    /// The hole is filled from the last bucket of the chain, and an overflow bucket that becomes
    /// empty goes back to the pool.
    pub(crate) fn remove(&mut self, hash: u64, flow: FlowRef) -> bool {
        let (tag, value) = (tag(hash), pack(flow));
        let mut hole = None;
        let (mut before, mut last) = (None, fastrange(hash, self.primary));
        loop {
            let bucket = &self.buckets[last];
            if hole.is_none() {
                hole = (0..SLOTS)
                    .find(|&s| bucket.tags[s] == tag && bucket.values[s] == value)
                    .map(|slot| (last, slot));
            }
            if bucket.overflow == NO_LINK {
                break;
            }
            before = Some(last);
            last = bucket.overflow as usize;
        }
        let Some((at, slot)) = hole else {
            return false;
        };
        let tail = self.buckets[last];
        if let Some(from) = (0..SLOTS).rev().find(|&s| tail.tags[s] != 0) {
            self.buckets[at].tags[slot] = tail.tags[from];
            self.buckets[at].values[slot] = tail.values[from];
            self.buckets[last].tags[from] = 0;
        }
        if let Some(before) = before
            && self.buckets[last].tags == [0; SLOTS]
        {
            self.buckets[before].overflow = NO_LINK;
            self.buckets[last].overflow = self.free;
            self.free = link(last);
        }
        true
    }

    /// Bytes the index takes.
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    /// How many values are filed, counted one by one.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn count(&self) -> usize {
        let occupied = |b: &Bucket| b.tags.iter().filter(|&&t| t != 0).count();
        self.buckets.iter().map(occupied).sum()
    }
}

/// The tag of a hash: its low bits, where the bucket takes the high ones; never zero.
fn tag(hash: u64) -> u16 {
    let low = u16::try_from(hash & 0xffff).unwrap_or(0);
    if low == 0 { 1 } else { low }
}

fn pack(flow: FlowRef) -> u32 {
    flow.id.0 << 1 | u32::from(flow.direction == Direction::Reply)
}

fn unpack(value: u32) -> FlowRef {
    FlowRef {
        id: FlowId(value >> 1),
        direction: if value & 1 == 0 {
            Direction::Original
        } else {
            Direction::Reply
        },
    }
}

/// A bucket number as buckets keep it; `Table::new` bounds the number of buckets far below 2^32.
fn link(bucket: usize) -> u32 {
    u32::try_from(bucket).unwrap_or(NO_LINK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(n: u32) -> FlowRef {
        unpack(n)
    }

    #[test]
    fn a_bucket_is_a_cache_line_and_the_index_stays_under_24_bytes_per_connection() {
        assert_eq!(size_of::<Bucket>(), 64);
        let index = Index::new(100_000);
        assert!(index.bytes() / 100_000 < 24, "{}", index.bytes());
    }

    #[test]
    fn one_bucket_takes_more_than_it_has_slots_and_gives_them_all_back() {
        let mut index = Index::new(1_000);
        // One bucket, many tags: the high bits are the same.
        for n in 0..200 {
            assert_eq!(index.insert(u64::from(n % 50), flow(n)), Ok(()));
        }
        assert_eq!(index.count(), 200);
        for n in 0..200 {
            assert_eq!(
                index.find(u64::from(n % 50), |f| f == flow(n)),
                Some(flow(n))
            );
        }
        for n in (0..200).step_by(3).chain((0..200).filter(|n| n % 3 != 0)) {
            assert!(index.remove(u64::from(n % 50), flow(n)));
            assert!(!index.remove(u64::from(n % 50), flow(n)));
        }
        assert_eq!(index.count(), 0);
        let fresh = Index::new(1_000);
        let pool = |index: &Index| {
            let (mut n, mut at) = (0, index.free);
            while at != NO_LINK {
                n += 1;
                at = index.buckets[at as usize].overflow;
            }
            n
        };
        assert_eq!(pool(&index), pool(&fresh));
    }

    #[test]
    fn an_empty_overflow_pool_is_an_error_and_changes_nothing() {
        let mut index = Index::new(1);
        let mut filed = 0u32;
        while index.insert(7, flow(filed)).is_ok() {
            filed += 1;
        }
        assert_eq!(filed, 10 + 64 * 10);
        assert_eq!(index.insert(7, flow(filed)), Err(IndexFull));
        assert_eq!(index.count(), filed as usize);
        assert!(index.remove(7, flow(3)));
        assert_eq!(index.insert(7, flow(filed)), Ok(()));
    }
}
