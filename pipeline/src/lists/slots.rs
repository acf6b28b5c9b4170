//! Slots of the member table: words that anybody may read while somebody writes them.
//!
//! A slot has a head of one word (a part of the hash, a sequence number, a phase) and a body. A
//! head is moved to busy by compare-and-swap, and only whoever did so writes the body, so a reader
//! that finds the same head before and after has read words that belong together. The deadline is
//! a word with the low bits of the sequence number in it: it is moved by compare-and-swap without
//! owning the slot, and cannot be moved for what lies there no longer. A member whose deadline is
//! [`DEAD`] is on its way out: nobody gives it another one. Nothing waits.

use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_conntrack::hash::HashKey;

/// Slots that a member may lie in: two cache lines of heads.
pub(super) const PROBE_MAX: usize = 16;
/// Words of a body that do not change while a member lives.
pub(super) const WORDS: usize = 5;
/// The deadline of what never expires, in milliseconds.
pub(super) const NEVER: u64 = (1 << DEADLINE_BITS) - 1;
/// The deadline of what is being removed.
pub(super) const DEAD: u64 = 0;

const DEADLINE_BITS: u32 = 48;
const PRINT_SHIFT: u32 = 40;
const SEQUENCE_ONE: u64 = 1 << 2;
const SEQUENCE: u64 = (1 << PRINT_SHIFT) - SEQUENCE_ONE;
const PHASE: u64 = 3;
const FREE: u64 = 0;
const BUSY: u64 = 1;
const TAKEN: u64 = 2;

/// A slot's head as it was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head(u64);

impl Head {
    pub(super) const fn is_free(self) -> bool {
        self.0 & PHASE == FREE
    }

    pub(super) const fn is_taken(self) -> bool {
        self.0 & PHASE == TAKEN
    }

    pub(super) const fn has_print(self, print: u64) -> bool {
        self.0 >> PRINT_SHIFT == print
    }

    const fn with(self, phase: u64) -> Self {
        Self(self.0 & !PHASE | phase)
    }

    /// The next content, with this part of its hash.
    const fn next(self, print: u64) -> Self {
        let sequence = self.0.wrapping_add(SEQUENCE_ONE) & SEQUENCE;
        Self(print << PRINT_SHIFT | sequence)
    }

    /// The deadline word of this content.
    const fn stamped(self, deadline_ms: u64) -> u64 {
        let sequence = self.0 / SEQUENCE_ONE;
        sequence << DEADLINE_BITS | deadline_ms
    }
}

/// Where a member lies, by its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub(super) print: u64,
    first: usize,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Body {
    words: [AtomicU64; WORDS],
    deadline: AtomicU64,
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    heads: Box<[AtomicU64]>,
    bodies: Box<[Body]>,
    key: HashKey,
}

impl Slots {
    pub(super) fn new(slots: usize, key: HashKey) -> Self {
        let slots = slots.next_multiple_of(PROBE_MAX);
        Self {
            heads: zeroes(slots),
            bodies: std::iter::repeat_with(Body::default).take(slots).collect(),
            key,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Where what is named by these words lies.
    pub(super) fn home(&self, [a, b, c]: [u64; 3]) -> Home {
        let hash = self.key.words(self.key.words(a, b), c);
        let groups = (self.heads.len() / PROBE_MAX) as u128;
        let group = usize::try_from((u128::from(hash) * groups) >> 64).unwrap_or(0);
        Home {
            print: hash & 0xff_ffff,
            first: group * PROBE_MAX,
        }
    }

    pub(super) fn places(home: Home) -> std::ops::Range<usize> {
        home.first..home.first + PROBE_MAX
    }

    pub(super) fn key(&self) -> &HashKey {
        &self.key
    }

    pub(super) fn head(&self, at: usize) -> Head {
        let head = self.heads.get(at);
        Head(head.map_or(BUSY, |head| head.load(Ordering::Acquire)))
    }

    /// Makes the caller the slot's owner, if its head is still `seen`.
    pub(super) fn seize(&self, at: usize, seen: Head) -> bool {
        self.heads.get(at).is_some_and(|head| {
            let busy = seen.with(BUSY).0;
            head.compare_exchange(seen.0, busy, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// The words and the deadline that a head stands for; `None` if it has moved meanwhile.
    pub(super) fn read(&self, at: usize, head: Head) -> Option<([u64; WORDS], u64)> {
        let body = self.bodies.get(at)?;
        let mut words = [0; WORDS];
        for (word, cell) in words.iter_mut().zip(&body.words) {
            *word = cell.load(Ordering::Acquire);
        }
        let deadline = body.deadline.load(Ordering::Acquire) & NEVER;
        (self.head(at) == head).then_some((words, deadline))
    }

    /// Moves a deadline; whether nobody else had moved it or taken the member away.
    pub(super) fn set_deadline(&self, at: usize, head: Head, from: u64, to: u64) -> bool {
        self.bodies.get(at).is_some_and(|body| {
            let (from, to) = (head.stamped(from), head.stamped(to));
            body.deadline
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Writes a slot that the caller owns, which was `seen`, and lets everybody find it.
    pub(super) fn publish(
        &self,
        (at, seen): (usize, Head),
        print: u64,
        words: &[u64; WORDS],
        deadline_ms: u64,
    ) {
        let head = seen.next(print);
        if let (Some(body), Some(cell)) = (self.bodies.get(at), self.heads.get(at)) {
            for (cell, word) in body.words.iter().zip(words) {
                cell.store(*word, Ordering::Release);
            }
            body.deadline
                .store(head.stamped(deadline_ms), Ordering::Release);
            cell.store(head.with(TAKEN).0, Ordering::Release);
        }
    }

    /// Frees a slot that the caller owns, which was `seen`.
    pub(super) fn free(&self, at: usize, seen: Head) {
        if let Some(cell) = self.heads.get(at) {
            cell.store(seen.next(0).with(FREE).0, Ordering::Release);
        }
    }
}

fn zeroes(n: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey([
        0x0123_4567_89ab_cdef,
        0x1032_5476_98ba_dcfe,
        0x5555_aaaa_3333_cccc,
        0x0f1e_2d3c_4b5a_6978,
    ]);

    fn taken(slots: &Slots, words: [u64; WORDS]) -> Head {
        let free = slots.head(0);
        assert!(slots.seize(0, free));
        slots.publish((0, free), 5, &words, 9);
        slots.head(0)
    }

    #[test]
    fn a_body_is_one_cache_line() {
        assert_eq!(size_of::<Body>(), 64);
    }

    #[test]
    fn a_deadline_is_not_moved_for_what_lies_there_no_longer() {
        let slots = Slots::new(1, KEY);
        let first = taken(&slots, [7; WORDS]);
        assert!(slots.set_deadline(0, first, 9, 20));
        assert!(!slots.set_deadline(0, first, 9, 30), "it was moved");
        assert!(slots.seize(0, first));
        slots.free(0, first);
        let second = taken(&slots, [8; WORDS]);
        assert!(!slots.set_deadline(0, first, 9, 30), "another lies there");
        assert_eq!(slots.read(0, second), Some(([8; WORDS], 9)));
        assert_eq!(slots.read(0, first), None);
    }

    #[test]
    fn what_is_read_under_one_head_was_written_together() {
        use std::sync::atomic::AtomicBool;
        let (slots, done) = (Slots::new(1, KEY), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..100_000 {
                    let head = taken(&slots, [n; WORDS]);
                    for _ in 0..n % 256 {
                        std::hint::spin_loop();
                    }
                    assert!(slots.seize(0, head));
                    slots.free(0, head);
                }
                done.store(true, Ordering::Release);
            });
            let mut whole = 0;
            while !done.load(Ordering::Acquire) {
                let head = slots.head(0);
                if head.is_taken()
                    && let Some(([first, rest @ ..], deadline)) = slots.read(0, head)
                {
                    assert!(rest.iter().all(|word| *word == first) && deadline == 9);
                    whole += 1;
                }
            }
            assert!(whole > 0, "never read");
        });
    }
}
