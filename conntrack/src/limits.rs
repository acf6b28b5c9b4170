//! How many live connections a rule has counted, by block of source addresses.
//!
//! Shared by all workers, of fixed size, without locks: this is what `connection-limit` asks. A
//! counter is one word: 40 bits of keyed fingerprint (rule and block) and 24 of count. It may lie
//! in any of two cache lines' places, and more than once: when two workers begin to count the same
//! thing at once, each has a word of its own. The count is the sum of them. So nothing has to be
//! agreed on, every step is one exchange of one word, and a limit is never overrun; two workers
//! that meet while a count has two words may both be told the higher number, which errs on the
//! safe side.
//!
//! A connection remembers by whom it was counted (`LimitSets`) and is taken off when its entry
//! goes, in whatever way.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Kin;
use crate::hash::{HashKey, fastrange};
use crate::ids::FlowId;
use crate::table::{Table, at};
use crate::tuple::{Address, Family};

/// Places where a counter may lie: two cache lines.
const PROBE_MAX: usize = 16;
/// The fewest places there are, and the most: 32 MiB.
const PLACES: (usize, usize) = (4_096, 1 << 22);
/// The most that one word counts.
const COUNT_MAX: u64 = (1 << 24) - 1;
/// How often an exchange is tried that others are faster at.
const TRIES_MAX: usize = 1_024;

/// The most rules that may count one connection.
pub const LIMITS_PER_CONNECTION_MAX: usize = 16;
/// The most different sets of rules that the connections of one table are counted by.
pub const LIMIT_SETS_MAX: usize = 255;

/// A rule that counts connections, and the blocks it counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limit {
    /// Names the rule: the same rule has the same number over a reload.
    pub rule: u32,
    /// How many bits of an address are one block's; for IPv4 more than 32 are 32.
    pub prefix: u8,
}

/// The counters.
#[derive(Debug)]
pub struct Limits {
    words: Box<[AtomicU64]>,
    key: HashKey,
}

impl Limits {
    /// Room for about `capacity` counters, each of them a rule and a block with live connections.
    pub fn new(capacity: usize, key: HashKey) -> Self {
        let places = (2 * capacity.min(PLACES.1)).clamp(PLACES.0, PLACES.1);
        Self {
            words: std::iter::repeat_with(|| AtomicU64::new(0))
                .take(places.next_multiple_of(PROBE_MAX))
                .collect(),
            key,
        }
    }

    /// The same counts, which nobody else has a hand in.
    #[must_use]
    pub fn apart(&self) -> Self {
        let seen = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        Self {
            words: self.words.iter().map(seen).collect(),
            key: self.key,
        }
    }

    /// Counts one more connection from `source`; how many there are with it. `None`, and nothing
    /// counted, if there is no room.
    pub fn add(&self, limit: Limit, source: IpAddr) -> Option<u32> {
        let hash = self.hash(limit, source);
        let (print, words) = (fingerprint(hash), self.places(hash));
        for _ in 0..TRIES_MAX {
            let seen = |word: &AtomicU64| word.load(Ordering::SeqCst);
            let own = words.iter().position(|word| counts(seen(word), print));
            let vacant = || words.iter().position(|word| seen(word) == 0);
            let mine = own.or_else(vacant)?;
            let old = seen(&words[mine]);
            let new = if old == 0 {
                print << 24 | 1
            } else if !counts(old, print) {
                // Somebody was faster.
                continue;
            } else if old & COUNT_MAX < COUNT_MAX {
                old + 1
            } else {
                return None;
            };
            let taken = words[mine].compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_ok() {
                let others = words.iter().enumerate().filter(|(at, _)| *at != mine);
                let elsewhere = sum(others.map(|(_, word)| word), print);
                return Some(number(new & COUNT_MAX).saturating_add(elsewhere));
            }
        }
        None
    }

    /// How many connections from `source` are counted.
    pub fn count(&self, limit: Limit, source: IpAddr) -> u32 {
        let hash = self.hash(limit, source);
        sum(self.places(hash).iter(), fingerprint(hash))
    }

    /// Takes off one connection that `add` has counted.
    pub fn take_off(&self, limit: Limit, source: IpAddr) {
        let hash = self.hash(limit, source);
        let (print, words) = (fingerprint(hash), self.places(hash));
        for _ in 0..TRIES_MAX {
            for word in words {
                let old = word.load(Ordering::SeqCst);
                if !counts(old, print) {
                    continue;
                }
                let new = if old & COUNT_MAX == 1 { 0 } else { old - 1 };
                let taken = word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
                if taken.is_ok() {
                    return;
                }
            }
        }
    }

    /// Everything that is counted, all rules and blocks together.
    pub fn total(&self) -> u64 {
        let each = self.words.iter().map(|w| w.load(Ordering::Relaxed));
        each.map(|word| word & COUNT_MAX).sum()
    }

    fn hash(&self, limit: Limit, source: IpAddr) -> u64 {
        let (bits, width, version) = match source {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32, 4),
            IpAddr::V6(ip) => (ip.to_bits(), 128, 6),
        };
        let below = width - u32::from(limit.prefix).min(width);
        let block = bits & u128::MAX.checked_shl(below).unwrap_or(0);
        let [high, low] = [block >> 64, block & u128::from(u64::MAX)].map(half);
        let rule = self.key.words(u64::from(limit.rule), version);
        self.key.words(self.key.words(rule, high), low)
    }

    fn places(&self, hash: u64) -> &[AtomicU64] {
        let first = fastrange(hash, self.words.len() / PROBE_MAX) * PROBE_MAX;
        &self.words[first..first + PROBE_MAX]
    }
}

/// The low half of a number that has no other.
fn half(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

fn fingerprint(hash: u64) -> u64 {
    (hash & 0xff_ffff_ffff).max(1)
}

/// Whether the word counts what has this fingerprint. A word that counts nothing is zero.
fn counts(word: u64, print: u64) -> bool {
    word >> 24 == print
}

fn sum<'a>(words: impl Iterator<Item = &'a AtomicU64>, print: u64) -> u32 {
    let each = words.map(|word| word.load(Ordering::SeqCst));
    let ours = each.filter(|word| counts(*word, print));
    ours.fold(0, |sum, word| number(word & COUNT_MAX).saturating_add(sum))
}

fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The sets of rules that the connections of one table are counted by. For each connection the
/// number of its set is kept in one byte, which means something while it is `COUNTED`.
#[derive(Debug)]
pub(crate) struct LimitSets {
    sets: Box<[LimitSet]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LimitSet {
    limits: [Limit; LIMITS_PER_CONNECTION_MAX],
    len: usize,
    connections: u32,
}

impl LimitSet {
    fn limits(&self) -> &[Limit] {
        &self.limits[..self.len]
    }
}

impl LimitSets {
    pub(crate) fn new() -> Self {
        Self {
            sets: vec![LimitSet::default(); LIMIT_SETS_MAX].into(),
        }
    }

    /// Where the set of `limits` is, or has room.
    fn place_of(&self, limits: &[Limit]) -> Option<usize> {
        let used = |set: &LimitSet| set.connections > 0;
        let is_it = |set: &LimitSet| used(set) && set.limits() == limits;
        let known = self.sets.iter().position(is_it);
        known
            .or_else(|| self.sets.iter().position(|set| !used(set)))
            .filter(|_| limits.len() <= LIMITS_PER_CONNECTION_MAX)
    }

    /// The number of the set of `limits`, which has one more connection now; `None` without room.
    fn hold(&mut self, limits: &[Limit]) -> Option<u8> {
        let place = self.place_of(limits)?;
        let set = &mut self.sets[place];
        set.limits[..limits.len()].copy_from_slice(limits);
        set.len = limits.len();
        set.connections += 1;
        u8::try_from(place + 1).ok()
    }

    /// One connection less in set `number`, which counted by these.
    fn release(&mut self, number: u8) -> impl Iterator<Item = Limit> {
        let set = usize::from(number)
            .checked_sub(1)
            .and_then(|place| self.sets.get_mut(place));
        let released = set.map(|set| {
            set.connections = set.connections.saturating_sub(1);
            *set
        });
        let LimitSet { limits, len, .. } = released.unwrap_or_default();
        limits.into_iter().take(len)
    }
}

impl<F: Family> Table<F> {
    /// Whether a new connection can be noted to be counted by `limits`.
    pub fn has_room_for_limits(&self, limits: &[Limit]) -> bool {
        limits.is_empty() || self.limit_sets.place_of(limits).is_some()
    }

    /// Notes by which `limits` a connection was counted, with its original source: they are taken
    /// off when it is removed. `false`, and nothing noted, if there is no room.
    #[must_use]
    pub fn note_limits(&mut self, id: FlowId, limits: &[Limit]) -> bool {
        if limits.is_empty() {
            return true;
        }
        let Some(set) = self.limit_sets.hold(limits) else {
            return false;
        };
        self.take_off_limits(id);
        self.limits[at(id)] = set;
        let warm = &mut self.warm[at(id)];
        warm.kin = warm.kin.with(Kin::COUNTED);
        true
    }

    /// Takes a connection off every limit that it was counted by.
    pub(crate) fn take_off_limits(&mut self, id: FlowId) {
        let warm = &mut self.warm[at(id)];
        if !warm.kin.contains(Kin::COUNTED) {
            return;
        }
        warm.kin = warm.kin.without(Kin::COUNTED);
        let set = self.limits[at(id)];
        let source = self.pair(id).original.src.to_ip();
        for limit in self.limit_sets.release(set) {
            self.shared.limits.take_off(limit, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const KEY: HashKey = HashKey([
        0x0123_4567_89ab_cdef,
        0x1032_5476_98ba_dcfe,
        0x5555_aaaa_3333_cccc,
        0x0f1e_2d3c_4b5a_6978,
    ]);

    fn limit(rule: u32, prefix: u8) -> Limit {
        Limit { rule, prefix }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_counts_its_addresses_together_and_no_other() {
        let limits = Limits::new(0, KEY);
        for (block, others, prefix, first, second, outside) in [
            (2, 1, 24, "10.0.0.1", "10.0.0.200", "10.0.1.1"),
            (2, 1, 0, "10.0.0.1", "192.0.2.1", "2001:db8::1"),
            (2, 1, 64, "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"),
            (2, 1, 128, "2001:db8::1", "2001:db8::1", "2001:db8::2"),
            (2, 1, 48, "10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ] {
            let limit = limit(u32::from(prefix), prefix);
            assert_eq!(limits.add(limit, ip(first)), Some(1));
            assert_eq!(limits.add(limit, ip(second)), Some(block));
            assert_eq!(limits.add(limit, ip(outside)), Some(others));
            limits.take_off(limit, ip(first));
            assert_eq!(limits.count(limit, ip(second)), 1);
        }
    }

    #[test]
    fn rules_count_apart_and_what_is_taken_off_leaves_no_trace() {
        let limits = Limits::new(0, KEY);
        for rule in 0..1_000 {
            assert_eq!(limits.add(limit(rule, 32), ip("10.0.0.1")), Some(1));
        }
        assert_eq!(limits.total(), 1_000);
        for rule in 0..1_000 {
            limits.take_off(limit(rule, 32), ip("10.0.0.1"));
        }
        assert!(limits.words.iter().all(|w| w.load(Ordering::SeqCst) == 0));
    }

    #[test]
    fn no_room_for_another_counter_is_an_answer_and_those_there_go_on() {
        let limits = Limits::new(0, KEY);
        let mut inside = 0;
        while limits.add(limit(inside, 32), ip("10.0.0.1")) == Some(1) {
            inside += 1;
        }
        assert!(inside > 1_000, "{inside}");
        assert_eq!(limits.add(limit(0, 32), ip("10.0.0.1")), Some(2));
        assert_eq!(limits.total(), u64::from(inside) + 1);
    }

    #[test]
    fn a_word_that_counts_as_far_as_it_can_refuses() {
        let limits = Limits::new(0, KEY);
        let (rule, source) = (limit(1, 32), ip("10.0.0.1"));
        let hash = limits.hash(rule, source);
        let full = fingerprint(hash) << 24 | COUNT_MAX;
        limits.places(hash)[3].store(full, Ordering::SeqCst);
        assert_eq!(limits.add(rule, source), None);
        limits.take_off(rule, source);
        assert_eq!(limits.add(rule, source), Some(number(COUNT_MAX)));
    }

    #[test]
    fn a_count_in_two_words_is_their_sum() {
        let limits = Limits::new(0, KEY);
        let (rule, source) = (limit(1, 32), ip("10.0.0.1"));
        let hash = limits.hash(rule, source);
        for at in [2, 9] {
            limits.places(hash)[at].store(fingerprint(hash) << 24 | 2, Ordering::SeqCst);
        }
        assert_eq!(limits.add(rule, source), Some(5));
        for left in (0..5).rev() {
            limits.take_off(rule, source);
            assert_eq!(limits.count(rule, source), left);
        }
        assert_eq!(limits.total(), 0);
    }

    #[test]
    fn workers_that_race_never_admit_more_than_the_limit() {
        const MOST: u32 = 3;
        let limits = Limits::new(0, KEY);
        let (live, admitted) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..30_000 {
                        let (rule, source) = (limit(1, 32), ip("10.0.0.1"));
                        let now = limits.add(rule, source).expect("there is room");
                        if now <= MOST {
                            let others = live.fetch_add(1, Ordering::SeqCst);
                            assert!(others < u64::from(MOST), "{others} others");
                            admitted.fetch_add(1, Ordering::Relaxed);
                            live.fetch_sub(1, Ordering::SeqCst);
                        }
                        limits.take_off(rule, source);
                    }
                });
            }
        });
        assert!(admitted.load(Ordering::Relaxed) > 1_000);
        assert_eq!(limits.total(), 0);
    }

    #[test]
    fn equal_sets_share_a_number_and_an_unused_one_is_given_away() {
        let mut sets = LimitSets::new();
        let ab = [limit(1, 32), limit(2, 24)];
        let first = sets.hold(&ab).unwrap();
        assert_eq!(sets.hold(&ab), Some(first));
        assert_ne!(sets.hold(&ab[..1]), Some(first));
        for rule in 0..LIMIT_SETS_MAX as u32 - 2 {
            assert!(sets.hold(&[limit(100 + rule, 32)]).is_some());
        }
        assert_eq!(sets.hold(&[limit(9, 9)]), None);
        assert_eq!(sets.release(first).collect::<Vec<_>>(), ab);
        assert_eq!(sets.hold(&[limit(9, 9)]), None);
        assert_eq!(sets.release(first).count(), 2);
        assert_eq!(sets.hold(&[limit(9, 9)]), Some(first));
        let many = [limit(1, 1); LIMITS_PER_CONNECTION_MAX + 1];
        assert_eq!(sets.hold(&many), None);
        assert_eq!(sets.release(0).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn counts_agree_with_a_model(
            steps in proptest::collection::vec((0u32..3, 0u8..5, any::<bool>()), 1..200),
        ) {
            let limits = Limits::new(0, KEY);
            let mut model: HashMap<(u32, u8), u32> = HashMap::new();
            for (rule, host, up) in steps {
                // Blocks of two addresses.
                let source = IpAddr::from([10, 0, 0, host]);
                let counted = model.entry((rule, host / 2)).or_default();
                if up {
                    *counted += 1;
                    prop_assert_eq!(limits.add(limit(rule, 31), source), Some(*counted));
                } else if *counted > 0 {
                    *counted -= 1;
                    limits.take_off(limit(rule, 31), source);
                }
                prop_assert_eq!(limits.count(limit(rule, 31), source), *counted);
                prop_assert_eq!(limits.total(), u64::from(model.values().sum::<u32>()));
            }
        }
    }
}
