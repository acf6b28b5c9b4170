//! Slots of the expectation table: words that anybody may read while somebody writes them.
//!
//! Each slot has a head of one word: a part of the hash, a sequence number and a [`Phase`]. Whoever
//! moves a head to `Busy` by compare-and-swap owns the slot until the next store to it, and only
//! the owner writes the words. Every change of content changes the sequence number. Words are
//! stored with release and loaded with acquire, so a reader that has seen a word of a later
//! content sees a later head too: a head that has not moved says that all words read in between
//! belong together. There are no locks and nothing waits; a slot that is busy is passed by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::atomic::AtomicCell;

use crate::hash::fastrange;
use crate::ports::AddressPorts;

/// Words per slot.
pub(crate) const WORDS: usize = 12;
/// Slots that an expectation may lie in.
pub(crate) const PROBE_MAX: usize = 32;
/// Heads per cache line.
const LINE: usize = 8;

const PRINT_SHIFT: u32 = 40;
const SEQUENCE_ONE: u64 = 1 << 2;
const SEQUENCE: u64 = (1 << PRINT_SHIFT) - SEQUENCE_ONE;

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    /// Somebody is writing it, or has taken it.
    Busy,
    /// It holds what is not to be found yet.
    Inactive,
    Active,
}

/// A slot's head as it was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Head(u64);

impl Head {
    pub(crate) const fn phase(self) -> Phase {
        match self.0 & 3 {
            0 => Phase::Free,
            1 => Phase::Busy,
            2 => Phase::Inactive,
            _ => Phase::Active,
        }
    }

    /// Whether it holds an expectation.
    pub(crate) const fn is_taken(self) -> bool {
        match self.phase() {
            Phase::Inactive | Phase::Active => true,
            Phase::Free | Phase::Busy => false,
        }
    }

    pub(crate) const fn has_print(self, print: u32) -> bool {
        self.0 >> PRINT_SHIFT == print as u64
    }

    /// The same content in another phase.
    pub(crate) const fn with(self, phase: Phase) -> Self {
        let phase = match phase {
            Phase::Free => 0,
            Phase::Busy => 1,
            Phase::Inactive => 2,
            Phase::Active => 3,
        };
        Self(self.0 & !3 | phase)
    }

    /// Whether both are of the same content, whatever the phase.
    pub(crate) const fn same_content(self, other: Self) -> bool {
        self.0 & !3 == other.0 & !3
    }

    /// The next content, with this part of its hash.
    fn next(self, print: u32, phase: Phase) -> Self {
        let sequence = self.0.wrapping_add(SEQUENCE_ONE) & SEQUENCE;
        Self(u64::from(print) << PRINT_SHIFT | sequence).with(phase)
    }
}

/// Where an expectation lies, by the hash of its destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home {
    pub(crate) print: u32,
    first: usize,
}

#[derive(Default)]
#[repr(align(128))]
struct Body {
    words: [AtomicU64; WORDS],
    /// The address one of whose ports the expectation holds. Only the slot's owner touches it.
    ports: AtomicCell<Option<Arc<AddressPorts>>>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.words).finish()
    }
}

/// All slots.
#[derive(Debug)]
pub(crate) struct Slots {
    heads: Box<[AtomicU64]>,
    bodies: Box<[Body]>,
}

impl Slots {
    pub(crate) fn new(slots: usize) -> Self {
        let slots = slots.max(PROBE_MAX).next_multiple_of(LINE);
        Self {
            heads: std::iter::repeat_with(AtomicU64::default)
                .take(slots)
                .collect(),
            bodies: std::iter::repeat_with(Body::default).take(slots).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn home(&self, hash: u64) -> Home {
        Home {
            print: u32::try_from(hash & 0xff_ffff).unwrap_or(0),
            first: fastrange(hash, self.heads.len() / LINE) * LINE,
        }
    }

    /// The slots that belong to a home: whole cache lines of heads.
    pub(crate) fn places(&self, home: Home) -> impl Iterator<Item = usize> {
        let slots = self.heads.len();
        (0..PROBE_MAX).map(move |n| (home.first + n) % slots)
    }

    pub(crate) fn head(&self, at: usize) -> Head {
        let head = self.heads.get(at);
        Head(head.map_or(0, |head| head.load(Ordering::Acquire)))
    }

    /// Makes the caller the slot's owner, if its head is still `seen`.
    pub(crate) fn seize(&self, at: usize, seen: Head) -> bool {
        self.heads.get(at).is_some_and(|head| {
            let busy = seen.with(Phase::Busy);
            head.compare_exchange(seen.0, busy.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Moves a head from one phase to another without owning the slot; whether it did.
    pub(crate) fn change(&self, at: usize, from: Head, phase: Phase) -> bool {
        self.heads.get(at).is_some_and(|head| {
            head.compare_exchange(
                from.0,
                from.with(phase).0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
        })
    }

    /// The words; they belong together if the head is the same before and after.
    pub(crate) fn read(&self, at: usize) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        if let Some(body) = self.bodies.get(at) {
            for (word, cell) in words.iter_mut().zip(&body.words) {
                *word = cell.load(Ordering::Acquire);
            }
        }
        words
    }

    /// The words that a head stands for; `None` if it has moved meanwhile.
    pub(crate) fn read_as(&self, at: usize, head: Head) -> Option<[u64; WORDS]> {
        let words = self.read(at);
        (self.head(at) == head).then_some(words)
    }

    /// One word.
    pub(crate) fn word(&self, at: usize, which: usize) -> u64 {
        let cell = self.bodies.get(at).and_then(|body| body.words.get(which));
        cell.map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    pub(crate) fn set_word(&self, at: usize, which: usize, value: u64) {
        if let Some(cell) = self.bodies.get(at).and_then(|body| body.words.get(which)) {
            cell.store(value, Ordering::Release);
        }
    }

    /// Fills a slot that the caller owns, which was `free` before, and publishes it.
    pub(crate) fn publish(
        &self,
        at: usize,
        free: Head,
        content: (u32, Phase),
        words: &[u64; WORDS],
        ports: Option<Arc<AddressPorts>>,
    ) -> Head {
        let (print, phase) = content;
        let head = free.next(print, phase);
        if let (Some(body), Some(cell)) = (self.bodies.get(at), self.heads.get(at)) {
            for (cell, word) in body.words.iter().zip(words) {
                cell.store(*word, Ordering::Release);
            }
            body.ports.store(ports);
            cell.store(head.0, Ordering::Release);
        }
        head
    }

    /// Takes the address out of a slot that the caller owns.
    pub(crate) fn take_ports(&self, at: usize) -> Option<Arc<AddressPorts>> {
        self.bodies.get(at)?.ports.take()
    }

    /// Frees a slot that the caller owns.
    pub(crate) fn free(&self, at: usize, head: Head) {
        self.store(at, head.next(0, Phase::Free));
    }

    /// Gives a slot that the caller owns back as it was.
    pub(crate) fn restore(&self, at: usize, head: Head) {
        self.store(at, head);
    }

    fn store(&self, at: usize, head: Head) {
        if let Some(cell) = self.heads.get(at) {
            cell.store(head.0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_two_cache_lines_and_handing_over_an_address_takes_no_lock() {
        assert_eq!(size_of::<Body>(), 128);
        assert!(AtomicCell::<Option<Arc<AddressPorts>>>::is_lock_free());
    }

    #[test]
    fn a_head_keeps_print_and_sequence_apart_even_when_the_sequence_wraps() {
        let last = Head(SEQUENCE).with(Phase::Free);
        let next = last.next(0xff_ffff, Phase::Active);
        assert!(next.has_print(0xff_ffff));
        assert_eq!(next.0 & SEQUENCE, 0);
        assert_eq!(next.phase(), Phase::Active);
        assert!(next.same_content(next.with(Phase::Busy)));
        assert!(!next.same_content(next.next(0xff_ffff, Phase::Active)));
    }

    #[test]
    fn what_is_read_under_one_head_was_written_together() {
        use std::sync::atomic::AtomicBool;
        let (slots, done) = (Slots::new(32), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..200_000 {
                    let free = slots.head(0);
                    assert!(slots.seize(0, free));
                    let head = slots.publish(0, free, (5, Phase::Active), &[n; WORDS], None);
                    // Sometimes there is time to read it in peace.
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
                if head.phase() == Phase::Active
                    && let Some(words) = slots.read_as(0, head)
                {
                    let [first, rest @ ..] = words;
                    assert!(rest.iter().all(|word| *word == first), "{words:?}");
                    whole += 1;
                }
            }
            assert!(whole > 0, "never read");
        });
    }

    #[test]
    fn a_slot_is_seized_by_its_present_head_only() {
        let slots = Slots::new(32);
        let free = slots.head(0);
        assert!(slots.seize(0, free));
        assert!(!slots.seize(0, free), "it is busy");
        let first = slots.publish(0, free, (5, Phase::Active), &[7; WORDS], None);
        assert_eq!(slots.read(0), [7; WORDS]);
        assert!(slots.seize(0, first));
        slots.free(0, first);
        let free = slots.head(0);
        assert!(slots.seize(0, free));
        let second = slots.publish(0, free, (5, Phase::Active), &[8; WORDS], None);
        assert!(!slots.seize(0, first), "it holds something else");
        assert!(slots.seize(0, second));
    }
}
