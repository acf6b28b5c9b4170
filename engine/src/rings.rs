//! Bounded rings between threads.
//!
//! A ring never blocks and never grows. What does not fit comes back to the caller, who counts it.

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;

/// The fewest entries a ring can have.
pub const RING_MIN: usize = 2;

/// The most entries a ring can have.
pub const RING_MAX: usize = 1 << 20;

/// A bounded first-in-first-out ring that any thread may push to.
///
/// One thread takes out of it; items of one pusher come out in the order they were pushed.
#[derive(Debug)]
pub struct Ring<T> {
    queue: ArrayQueue<T>,
}

impl<T> Ring<T> {
    /// A ring for `entries` items, brought into [`RING_MIN`]`..=`[`RING_MAX`].
    pub fn new(entries: usize) -> Self {
        Self {
            queue: ArrayQueue::new(entries.clamp(RING_MIN, RING_MAX)),
        }
    }

    /// Puts an item in; gives it back when the ring is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item)
    }

    /// Takes one item out.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Fills `into` up with items; returns how many were added.
    pub fn pop_burst<const N: usize>(&self, into: &mut ArrayVec<T, N>) -> usize {
        let before = into.len();
        while !into.is_full() {
            match self.queue.pop() {
                Some(item) => into.push(item),
                None => break,
            }
        }
        into.len() - before
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many items fit.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_full_ring_gives_the_item_back() {
        let ring = Ring::new(2);
        assert_eq!(ring.push(1), Ok(()));
        assert_eq!(ring.push(2), Ok(()));
        assert_eq!(ring.push(3), Err(3));
        assert_eq!(ring.pop(), Some(1));
        assert_eq!(ring.push(3), Ok(()));
    }

    #[test]
    fn a_burst_takes_no_more_than_there_is_room_for() {
        let ring = Ring::new(8);
        for n in 0..6 {
            ring.push(n).unwrap();
        }
        let mut burst: ArrayVec<i32, 4> = ArrayVec::new();
        burst.push(-1);
        assert_eq!(ring.pop_burst(&mut burst), 3);
        assert_eq!(burst.as_slice(), [-1, 0, 1, 2]);
        assert_eq!(ring.len(), 3);
    }

    #[test]
    fn sizes_are_brought_into_range() {
        assert_eq!(Ring::<u8>::new(0).capacity(), RING_MIN);
        assert_eq!(Ring::<u8>::new(usize::MAX).capacity(), RING_MAX);
    }

    #[test]
    fn every_item_of_two_pushers_arrives_once_and_in_their_order() {
        let ring = Ring::new(64);
        let mut next = [0_u32; 2];
        thread::scope(|scope| {
            for who in 0..2_usize {
                let ring = &ring;
                scope.spawn(move || {
                    for n in 0..2_000_u32 {
                        let mut item = (who, n);
                        while let Err(back) = ring.push(item) {
                            item = back;
                            thread::yield_now();
                        }
                    }
                });
            }
            while next != [2_000, 2_000] {
                match ring.pop() {
                    Some((who, n)) => {
                        assert_eq!(n, next[who]);
                        next[who] += 1;
                    }
                    None => thread::yield_now(),
                }
            }
        });
        assert!(ring.is_empty());
    }
}
