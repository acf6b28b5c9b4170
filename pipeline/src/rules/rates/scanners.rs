//! Who has been trying ports: what `psd` remembers of each source.
//!
//! A source is remembered from its first packet to a port on; each further port adds its weight,
//! and once the sum reaches the rule's threshold every packet to a new port is one of a scan. A
//! source that tries no new port for as long as the rule says is forgotten. What is no attempt at
//! a port (a TCP segment with ACK or RST) is passed over. That is how Linux's `psd` counts.
//!
//! All workers share one table of fixed size, without locks: a cache line for each source, with
//! the ports that it has tried, up to [`SCANNED_PORTS_MAX`]; those beyond add weight each time. A
//! source for which there is no place takes that of the one that would be forgotten first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::policy::ScanWeights;

/// Places where a source may lie.
const WAYS: usize = 4;
/// How many sources are remembered, for all rules together: 1 MiB.
pub const SCANNERS_MAX: usize = 1 << 14;
/// How many ports of one source are told apart.
pub const SCANNED_PORTS_MAX: usize = PORT_WORDS * PORTS_PER_WORD;
const PORT_WORDS: usize = 6;
const PORTS_PER_WORD: usize = 3;
/// The bits that a port has in its word: the number, the protocol, and one that is always set.
const PORT_BITS: usize = 21;
/// A place that somebody is about to make a source's.
const CLAIMED: u64 = 1;
/// How often an exchange is tried that others are faster at.
const TRIES_MAX: usize = 1_024;

/// The sources.
#[derive(Debug)]
pub struct Scanners {
    sets: Box<[[Source; WAYS]]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Source {
    /// Fingerprint, and when it is forgotten; zero if the place was never used.
    tag: AtomicU64,
    weight: AtomicU64,
    ports: [AtomicU64; PORT_WORDS],
}

/// A packet that tries a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// TCP or UDP.
    pub proto: Proto,
    /// The port.
    pub port: u16,
}

/// What there was to say of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is one of a scan.
    Scan,
    /// It is not, as far as one can see.
    Nothing,
    /// It is the first of a source, for which another one was forgotten.
    Displacing,
}

impl Default for Scanners {
    fn default() -> Self {
        Self::new(SCANNERS_MAX)
    }
}

impl Scanners {
    /// Room for so many sources.
    fn new(places: usize) -> Self {
        let set = || std::array::from_fn(|_| Source::default());
        let sets = std::iter::repeat_with(set).take(places.div_ceil(WAYS).max(1));
        Self {
            sets: sets.collect(),
        }
    }

    /// The same sources, of which nobody else notes anything; each as it was when it was looked at.
    pub fn apart(&self) -> Self {
        let seen = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        let source = |source: &Source| Source {
            tag: seen(&source.tag),
            weight: seen(&source.weight),
            ports: source.ports.each_ref().map(seen),
        };
        Self {
            sets: self
                .sets
                .iter()
                .map(|set| set.each_ref().map(source))
                .collect(),
        }
    }

    /// Notes an attempt by the source that `hash` is the name of.
    pub fn note(&self, hash: u64, attempt: Attempt, weights: &ScanWeights, now: Tick) -> Seen {
        let Some(set) = self.set(hash) else {
            return Seen::Nothing;
        };
        let (print, now_ms) = (fingerprint(hash), wrapping(now.as_millis()));
        let free_at = wrapping(now.after(delay(weights)).as_millis());
        let tag = u64::from(print) << 32 | u64::from(free_at);
        for _ in 0..TRIES_MAX {
            let tags = || {
                set.iter()
                    .map(|source| (source, source.tag.load(Ordering::SeqCst)))
            };
            let own = tags().find(|(_, tag)| print_of(*tag) == print);
            if let Some((source, old)) = own
                && !is_free(old, now_ms)
            {
                return source.note(old, tag, attempt, weights);
            }
            // Its own place of long ago, a free one, or that of the next to be forgotten.
            let free = || tags().find(|(_, tag)| is_free(*tag, now_ms));
            let next = || {
                let taken = tags().filter(|(_, tag)| *tag != CLAIMED);
                taken.min_by_key(|(_, tag)| wrapping(*tag).wrapping_sub(now_ms))
            };
            let Some((source, old)) = own.or_else(free).or_else(next) else {
                return Seen::Nothing;
            };
            if source.begin(old, tag, attempt, weights) {
                return if is_free(old, now_ms) {
                    Seen::Nothing
                } else {
                    Seen::Displacing
                };
            }
        }
        Seen::Nothing
    }

    fn set(&self, hash: u64) -> Option<&[Source; WAYS]> {
        let at = (u128::from(hash) * self.sets.len() as u128) >> 64;
        self.sets.get(usize::try_from(at).ok()?)
    }
}

impl Source {
    /// Makes the place a source's whose first attempt this is, if it is still as it was.
    fn begin(&self, old: u64, tag: u64, attempt: Attempt, weights: &ScanWeights) -> bool {
        let claim = self
            .tag
            .compare_exchange(old, CLAIMED, Ordering::SeqCst, Ordering::SeqCst);
        if claim.is_err() {
            return false;
        }
        self.weight.store(attempt.weight(weights), Ordering::SeqCst);
        let first = std::iter::once(attempt.bits());
        let words = first.chain(std::iter::repeat(0));
        for (word, bits) in self.ports.iter().zip(words) {
            word.store(bits, Ordering::SeqCst);
        }
        self.tag.store(tag, Ordering::SeqCst);
        true
    }

    /// Notes an attempt of the source whose place this is.
    fn note(&self, old: u64, tag: u64, attempt: Attempt, weights: &ScanWeights) -> Seen {
        let threshold = u64::from(weights.threshold);
        let known = || self.ports.iter().any(|word| holds(word, attempt));
        if known() {
            return Seen::Nothing;
        }
        // Somebody who was faster has prolonged it, or has made it another's.
        let _ = self
            .tag
            .compare_exchange(old, tag, Ordering::SeqCst, Ordering::SeqCst);
        if self.weight.load(Ordering::SeqCst) >= threshold {
            return Seen::Scan;
        }
        for word in &self.ports {
            match keep(word, attempt) {
                Room::Taken => break,
                Room::Held => return Seen::Nothing,
                Room::None => {}
            }
        }
        let more = attempt.weight(weights);
        let before = self.weight.fetch_add(more, Ordering::SeqCst);
        if before.saturating_add(more) >= threshold {
            Seen::Scan
        } else {
            Seen::Nothing
        }
    }
}

impl Attempt {
    fn bits(self) -> u64 {
        let udp = u64::from(self.proto == Proto::UDP);
        1 << 17 | udp << 16 | u64::from(self.port)
    }

    fn weight(self, weights: &ScanWeights) -> u64 {
        let low = self.port < 1_024;
        u64::from(if low {
            weights.low_port
        } else {
            weights.high_port
        })
    }
}

fn delay(weights: &ScanWeights) -> Duration {
    weights.delay.max(Duration::from_millis(1))
}

/// Where the ports of a word are.
fn shifts() -> impl Iterator<Item = usize> {
    (0..PORTS_PER_WORD).map(|n| n * PORT_BITS)
}

fn port_at(word: u64, shift: usize) -> u64 {
    word >> shift & ((1 << PORT_BITS) - 1)
}

/// Whether a word of ports has this one.
fn holds(word: &AtomicU64, attempt: Attempt) -> bool {
    let word = word.load(Ordering::SeqCst);
    shifts().any(|shift| port_at(word, shift) == attempt.bits())
}

/// What became of a port that was to be kept in a word.
enum Room {
    /// It is there now.
    Taken,
    /// It was there already: somebody else has tried it, and has counted it.
    Held,
    /// The word is full of others, for as long as it is this source's.
    None,
}

/// Puts a port into a word that has room. Words are filled in order, so whoever tries the same port
/// meets it in the same one.
fn keep(word: &AtomicU64, attempt: Attempt) -> Room {
    for _ in 0..TRIES_MAX {
        let old = word.load(Ordering::SeqCst);
        if shifts().any(|shift| port_at(old, shift) == attempt.bits()) {
            return Room::Held;
        }
        let Some(shift) = shifts().find(|shift| port_at(old, *shift) == 0) else {
            return Room::None;
        };
        let new = old | attempt.bits() << shift;
        let exchanged = word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
        if exchanged.is_ok() {
            return Room::Taken;
        }
    }
    Room::None
}

/// The part of a hash that tells sources of one set apart; not zero.
fn fingerprint(hash: u64) -> u32 {
    wrapping(hash).max(1)
}

fn print_of(tag: u64) -> u32 {
    wrapping(tag >> 32)
}

/// Whether a place was never used, or its source is forgotten.
fn is_free(tag: u64, now_ms: u32) -> bool {
    tag == 0 || tag != CLAIMED && now_ms.wrapping_sub(wrapping(tag)).wrapping_sub(1) < u32::MAX / 2
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
const fn wrapping(wide: u64) -> u32 {
    wide as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: ScanWeights = ScanWeights {
        threshold: 21,
        delay: Duration::from_secs(3),
        low_port: 3,
        high_port: 1,
    };

    fn hash(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn tcp(port: u16) -> Attempt {
        Attempt {
            proto: Proto::TCP,
            port,
        }
    }

    fn note(table: &Scanners, source: u64, port: u16, ms: u64) -> bool {
        table.note(hash(source), tcp(port), &WEIGHTS, Tick::from_millis(ms)) == Seen::Scan
    }

    #[test]
    fn seven_low_ports_or_twenty_one_high_ones_are_a_scan() {
        let table = Scanners::new(64);
        let first = |source, from: u16| {
            (0..40)
                .position(|n| note(&table, source, from + n, 0))
                .unwrap()
                + 1
        };
        assert_eq!(first(1, 20), 7);
        assert_eq!(first(2, 30_000), 21);
        // Three low ones and twelve high ones.
        assert!(!(0..3).any(|n| note(&table, 3, 20 + n, 0)));
        assert_eq!(
            (0..40).position(|n| note(&table, 3, 30_000 + n, 0)),
            Some(11)
        );
    }

    #[test]
    fn a_port_counts_once_and_tcp_and_udp_have_different_ones() {
        let table = Scanners::new(64);
        for round in 0..50 {
            assert!(!note(&table, 1, 80, round), "always the same port");
        }
        assert!(!(0..5).any(|n| note(&table, 1, 20 + n, 60)), "18 so far");
        let udp = Attempt {
            proto: Proto::UDP,
            port: 80,
        };
        let now = Tick::from_millis(60);
        assert_eq!(table.note(hash(1), udp, &WEIGHTS, now), Seen::Scan);
        assert!(!note(&table, 1, 80, 60), "a known port is no scan");
        assert!(note(&table, 1, 1, 60), "a new one is");
    }

    #[test]
    fn a_source_that_pauses_for_longer_than_the_delay_is_forgotten() {
        let table = Scanners::new(64);
        for n in 0..30 {
            assert!(
                !note(&table, 1, 20 + n, u64::from(n) * 3_001),
                "slow enough"
            );
        }
        let table = Scanners::new(64);
        let first = (0..30).position(|n| note(&table, 1, 20 + n, u64::from(n) * 3_000));
        assert_eq!(first, Some(6));
    }

    #[test]
    fn a_source_without_a_place_takes_that_of_the_next_to_be_forgotten() {
        let table = Scanners::new(WAYS);
        for source in 0..WAYS as u64 {
            assert!(!(0..6).any(|n| note(&table, source, 20 + n, source * 10)));
        }
        let now = Tick::from_millis(100);
        let new = table.note(hash(99), tcp(1), &WEIGHTS, now);
        assert_eq!(new, Seen::Displacing);
        assert!(!note(&table, 0, 99, 100), "the oldest begins again");
        assert!(note(&table, 2, 99, 100), "others do not");
    }

    #[test]
    fn ports_beyond_those_told_apart_add_weight_each_time() {
        let table = Scanners::new(64);
        let weights = ScanWeights {
            threshold: 100,
            ..WEIGHTS
        };
        let note = |port| {
            let now = Tick::from_millis(0);
            table.note(hash(1), tcp(port), &weights, now) == Seen::Scan
        };
        let told_apart = u16::try_from(SCANNED_PORTS_MAX).unwrap();
        for port in 0..told_apart {
            assert!(!note(30_000 + port) && !note(30_000 + port));
        }
        let repeats = (0..200).position(|_| note(50_000)).unwrap();
        assert_eq!(repeats + 1 + SCANNED_PORTS_MAX, 100);
    }

    #[test]
    fn threads_that_try_the_same_ports_count_each_once() {
        for round in 0..2_000 {
            let table = Scanners::new(64);
            assert!(!note(&table, round, 1, 0));
            let scans: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        let table = &table;
                        let scans = move |port: &u16| note(table, round, *port, 1);
                        scope.spawn(move || (1..=6).filter(scans).count())
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).sum()
            });
            assert_eq!(scans, 0, "six ports weigh 18");
            assert!(note(&table, round, 7, 1));
        }
    }
}
