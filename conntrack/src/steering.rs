//! The steering map: which worker owns a connection whose first direction arrives at another.
//!
//! A connection lives where its reply arrives, so that all that could have one reply tuple meet in
//! one table. Where its original tuple arrives elsewhere, the worker there puts that tuple into
//! this map before it hands the packet over: from then on the tuple is spoken for.
//!
//! Shared by all workers, of fixed size, without locks. A slot is one word: 56 bits of keyed
//! fingerprint and the owner. Workers read it on a lookup miss only. Two tuples with
//! the same fingerprint cannot both be in it, so an answer is never ambiguous. A tuple that is not
//! in a map of `n` is taken for one that is with probability `n / 2^56`: with ten million steered
//! connections, once in seven thousand million misses. Such a packet makes a detour to a worker
//! that does not know it, or its connection is refused as a clash; nothing goes to a stranger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

use crate::hash::{HashKey, fastrange};
use crate::ids::WorkerId;
use crate::tracker::Shared;
use crate::tuple::{Family, Tuple};

/// Slots that a fingerprint may lie in.
const PROBE_MAX: usize = 32;
/// Slots per cache line.
const LINE: usize = 8;

/// Why a tuple was not taken into the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteeringError {
    /// No free slot where the tuple may lie.
    Full,
    /// The tuple, or one with the same fingerprint, is in the map.
    Occupied,
}

/// The map.
#[derive(Debug)]
pub struct Steering {
    slots: Box<[AtomicU64]>,
    key: HashKey,
    len: CachePadded<AtomicUsize>,
}

impl Steering {
    /// A map for about `capacity` tuples: it has twice as many slots, and at least 64.
    pub fn new(capacity: usize, key: HashKey) -> Self {
        let slots = (capacity.saturating_mul(2).max(64)).next_multiple_of(LINE);
        Self {
            slots: std::iter::repeat_with(|| AtomicU64::new(0))
                .take(slots)
                .collect(),
            key,
            len: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Whether nothing is steered, so that a miss need not look.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tuples are steered.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Steers packets that come in with `tuple` to `owner`.
    pub fn insert<F: Family>(
        &self,
        tuple: &Tuple<F>,
        owner: WorkerId,
    ) -> Result<(), SteeringError> {
        let print = self.fingerprint(tuple);
        let word = print << 8 | u64::from(owner.0);
        let mut mine = None;
        for at in self.places(print) {
            let slot = &self.slots[at];
            let seen = slot.load(Ordering::SeqCst);
            if seen >> 8 == print {
                return Err(SteeringError::Occupied);
            }
            if seen == 0
                && mine.is_none()
                && slot
                    .compare_exchange(0, word, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
            {
                mine = Some(at);
                break;
            }
        }
        let Some(mine) = mine else {
            return Err(SteeringError::Full);
        };
        // Another worker may have taken the same fingerprint into another slot meanwhile. In the
        // one order of these operations at least one of the two sees the other, and gives way.
        let twice = self
            .places(print)
            .any(|at| at != mine && self.slots[at].load(Ordering::SeqCst) >> 8 == print);
        if twice {
            self.give_back(word, mine);
            return Err(SteeringError::Occupied);
        }
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back a word that was put in `mine` beside an equal fingerprint.
    ///
    /// Who removed an equal word meanwhile may have taken this one for it, and a third may have the
    /// place by now: then the other word is the one to take away.
    fn give_back(&self, word: u64, mine: usize) {
        let take = |at: usize| {
            let taken =
                self.slots[at].compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed);
            taken.is_ok()
        };
        if !take(mine) {
            self.places(word >> 8).any(take);
        }
    }

    /// The worker that packets with `tuple` are steered to.
    pub fn find<F: Family>(&self, tuple: &Tuple<F>) -> Option<WorkerId> {
        if self.is_empty() {
            return None;
        }
        let print = self.fingerprint(tuple);
        self.places(print)
            .map(|at| self.slots[at].load(Ordering::Acquire))
            .find(|word| word >> 8 == print)
            .map(|word| WorkerId(word.to_be_bytes()[7]))
    }

    /// Ends steering of `tuple`, if it was steered to `owner`; whether it was.
    pub fn remove<F: Family>(&self, tuple: &Tuple<F>, owner: WorkerId) -> bool {
        self.remove_word(self.word(tuple, owner))
    }

    fn word<F: Family>(&self, tuple: &Tuple<F>, owner: WorkerId) -> u64 {
        self.fingerprint(tuple) << 8 | u64::from(owner.0)
    }

    fn remove_word(&self, word: u64) -> bool {
        for at in self.places(word >> 8) {
            let slot = &self.slots[at];
            if slot
                .compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    /// 56 bits, never zero; the families differ in it.
    fn fingerprint<F: Family>(&self, tuple: &Tuple<F>) -> u64 {
        let hash = self.key.words(self.key.tuple(tuple), u64::from(F::VERSION));
        (hash >> 8).max(1)
    }

    /// The places of a fingerprint: whole cache lines, from one that it decides.
    fn places(&self, print: u64) -> impl Iterator<Item = usize> {
        let slots = self.slots.len();
        let home = fastrange(print << 8, slots / LINE) * LINE;
        (0..PROBE_MAX.min(slots)).map(move |n| (home + n) % slots)
    }
}

/// A tuple's place in the map. Dropping it gives the place back; a committed connection keeps it.
#[derive(Debug)]
pub struct SteeringClaim {
    shared: Option<Arc<Shared>>,
    word: u64,
}

impl SteeringClaim {
    /// Steers packets that come in with `tuple` to `owner`, for as long as the claim is held.
    ///
    /// # Errors
    /// The map is full where the tuple may lie, or the tuple is in it.
    pub fn new<F: Family>(
        shared: &Arc<Shared>,
        tuple: &Tuple<F>,
        owner: WorkerId,
    ) -> Result<Self, SteeringError> {
        shared.steering.insert(tuple, owner)?;
        Ok(Self {
            shared: Some(Arc::clone(shared)),
            word: shared.steering.word(tuple, owner),
        })
    }

    /// Hands over the duty to remove the tuple.
    pub(crate) fn keep(mut self) {
        self.shared = None;
    }
}

impl Drop for SteeringClaim {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.steering.remove_word(self.word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::{Port, Proto, V4, V6};

    const KEY: HashKey = HashKey([3, 5, 7, 11]);

    fn tuple(n: u16) -> Tuple<V4> {
        Tuple {
            src: [192, 0, 2, 1],
            dst: [198, 51, 100, 7],
            src_port: Port(443),
            dst_port: Port(n),
            proto: Proto::TCP,
        }
    }

    #[test]
    fn a_steered_tuple_is_found_until_its_owner_removes_it() {
        let map = Steering::new(16, KEY);
        assert!(map.is_empty());
        assert_eq!(map.find(&tuple(1)), None);
        assert_eq!(map.insert(&tuple(1), WorkerId(0)), Ok(()));
        assert_eq!(map.find(&tuple(1)), Some(WorkerId(0)));
        assert_eq!(map.find(&tuple(2)), None);
        assert_eq!(
            map.insert(&tuple(1), WorkerId(5)),
            Err(SteeringError::Occupied)
        );
        assert!(!map.remove(&tuple(1), WorkerId(5)));
        assert!(map.remove(&tuple(1), WorkerId(0)));
        assert_eq!(map.find(&tuple(1)), None);
        assert!(map.is_empty());
    }

    #[test]
    fn a_claim_that_nobody_keeps_ends_steering() {
        let shared = Arc::new(Shared::new(16, KEY));
        let claim = SteeringClaim::new(&shared, &tuple(1), WorkerId(3)).unwrap();
        assert_eq!(shared.steering.find(&tuple(1)), Some(WorkerId(3)));
        let again = SteeringClaim::new(&shared, &tuple(1), WorkerId(3));
        assert_eq!(again.err(), Some(SteeringError::Occupied));
        drop(claim);
        assert!(shared.steering.is_empty());
        let kept = SteeringClaim::new(&shared, &tuple(1), WorkerId(3)).unwrap();
        kept.keep();
        assert_eq!(shared.steering.find(&tuple(1)), Some(WorkerId(3)));
    }

    #[test]
    fn equal_words_of_the_two_families_are_different_tuples() {
        let map = Steering::new(16, KEY);
        assert_eq!(map.insert(&Tuple::<V4>::default(), WorkerId(1)), Ok(()));
        assert_eq!(map.find(&Tuple::<V6>::default()), None);
    }

    #[test]
    fn a_full_map_is_an_error_and_what_is_in_it_stays() {
        let map = Steering::new(1, KEY);
        let mut inside = Vec::new();
        let mut refused = 0;
        for n in 0..1_000 {
            match map.insert(&tuple(n), WorkerId(9)) {
                Ok(()) => inside.push(n),
                Err(SteeringError::Full) => refused += 1,
                Err(SteeringError::Occupied) => unreachable!("no fingerprint is used twice"),
            }
        }
        assert_eq!((inside.len(), refused, map.len()), (64, 936, 64));
        assert!(
            inside
                .iter()
                .all(|&n| map.find(&tuple(n)) == Some(WorkerId(9)))
        );
        for n in inside {
            assert!(map.remove(&tuple(n), WorkerId(9)));
        }
        assert!(map.is_empty());
    }

    #[test]
    fn a_tuple_behind_a_vacated_slot_is_still_occupied() {
        let map = Steering::new(16, KEY);
        let print = map.fingerprint(&tuple(7));
        let places: Vec<usize> = map.places(print).collect();
        // Another tuple lay before it when it came, and is gone now.
        map.slots[places[1]].store(print << 8 | 5, Ordering::SeqCst);
        let refused = map.insert(&tuple(7), WorkerId(1));
        assert_eq!(refused, Err(SteeringError::Occupied));
        assert_eq!(map.slots[places[0]].load(Ordering::SeqCst), 0);
    }

    #[test]
    fn of_workers_that_race_for_a_tuple_at_most_one_has_it() {
        let map = Steering::new(4, KEY);
        let (holders, won) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for worker in 1..=3 {
                let (map, holders, won) = (&map, &holders, &won);
                scope.spawn(move || {
                    for _ in 0..50_000 {
                        if map.insert(&tuple(7), WorkerId(worker)).is_err() {
                            continue;
                        }
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        won.fetch_add(1, Ordering::Relaxed);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        assert!(map.remove(&tuple(7), WorkerId(worker)));
                    }
                });
            }
        });
        assert!(won.load(Ordering::Relaxed) > 0);
        assert!(map.is_empty());
        assert_eq!(map.find(&tuple(7)), None);
    }
}
