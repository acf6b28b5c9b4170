//! The SYN gate: a flood of connection attempts does not become a flood of connections.
//!
//! A table counts its half-open TCP connections: those whose handshake is not finished. While they
//! are more than the watermark, a SYN of an unknown flow opens nothing. All that is kept of it is
//! a fingerprint of tuple and sequence number, and a coarse time, in one word of a fixed array. A
//! client that means it repeats its SYN about a second later (RFC 6298), unchanged, and that one
//! is let through. A flood with made-up sources repeats nothing; it costs a hash and one cache
//! line per SYN, before any rule is looked at.
//!
//! A fingerprint is safe for a second and a half, until the first repetition is due; when a line
//! holds nothing else, newcomers are dropped without a trace. So everybody who repeats gets in as
//! long as there are no more SYNs in that time than words, and beyond that a fair share does.
//!
//! Established connections are found in the table and never come here. An attacker who does repeat
//! gets in at half his rate; what he fills then is unassured and the first to be evicted.

use crate::entry::Hot;
use crate::hash::{HashKey, fastrange};
use crate::memory::filled;
use crate::segment::{L4, SYN, Segment};
use crate::table::Table;
use crate::tcp_table::TcpState;
use crate::time::Tick;
use crate::timeouts::TrackingConfig;
use crate::tuple::{Family, Proto, Tuple};

/// Words per cache line: where the fingerprint of one SYN may lie.
const LINE: usize = 8;
/// The fewest lines a gate has, and the most: a million words in 8 MiB. In between there is a word
/// for each place in the table.
const LINES: (usize, usize) = (1 << 10, 1 << 17);
/// The unit of the coarse time, in milliseconds; sixteen bits of it are nearly nine minutes.
const UNIT_MS: u64 = 8;
/// A repetition that comes sooner is a copy, or a flood that sends everything twice.
const REPEAT_MIN: u16 = units(200);
/// A repetition that comes later is a new attempt. Clients repeat after 1, 3 and 7 seconds.
const REPEAT_MAX: u16 = units(8_000);
/// So long a fingerprint is safe from being replaced by another: the first repetition is due.
const SAFE: u16 = units(1_500);

/// The fingerprints of one table.
#[derive(Debug)]
pub(crate) struct SynGate {
    /// Zero, or 48 bits of fingerprint and 16 of time.
    words: Vec<u64>,
}

impl SynGate {
    pub(crate) fn new(capacity: usize) -> Self {
        let lines = (capacity / LINE).clamp(LINES.0, LINES.1);
        Self {
            words: filled(0, lines * LINE),
        }
    }

    /// Whether the SYN with this hash repeats one that was held back; if not, it is remembered as
    /// far as there is room.
    fn repeats(&mut self, hash: u64, now: Tick) -> bool {
        let print = (hash & 0xffff_ffff_ffff).max(1);
        let time = coarse(now);
        let first = fastrange(hash, self.words.len() / LINE) * LINE;
        let line = &mut self.words[first..first + LINE];
        let age = |word: u64| time.wrapping_sub(coarse_of(word));
        let stamped = print << 16 | u64::from(time);
        if let Some(word) = line.iter_mut().find(|word| **word >> 16 == print) {
            let repeated = (REPEAT_MIN..=REPEAT_MAX).contains(&age(*word));
            if repeated {
                *word = 0;
            } else if age(*word) > REPEAT_MAX {
                *word = stamped;
            }
            return repeated;
        }
        let oldest = line.iter_mut().max_by_key(|word| match **word {
            0 => u16::MAX,
            word => age(word),
        });
        if let Some(word) = oldest.filter(|word| **word == 0 || age(**word) >= SAFE) {
            *word = stamped;
        }
        false
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of_val(self.words.as_slice())
    }
}

/// The clock in units of the gate, as far as a word keeps it.
fn coarse(now: Tick) -> u16 {
    units(now.as_millis())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "wrapping is what is asked for"
)]
const fn units(ms: u64) -> u16 {
    (ms / UNIT_MS) as u16
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are the time")]
fn coarse_of(word: u64) -> u16 {
    word as u16
}

/// Whether an entry is a TCP connection whose handshake is not finished.
pub(crate) fn is_half_open<F: Family>(hot: &Hot<F>) -> bool {
    hot.proto() == Proto::TCP
        && match TcpState::from_number(hot.state) {
            TcpState::SynSent | TcpState::SynSent2 | TcpState::SynReceived => true,
            TcpState::Established
            | TcpState::FinWait
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::TimeWait
            | TcpState::Close => false,
        }
}

impl<F: Family> Table<F> {
    /// Whether a packet that may open a connection must not do so now: it is a SYN, too many
    /// handshakes are unfinished, and it is not the repetition of one that was held back.
    pub fn holds_back(
        &mut self,
        tuple: &Tuple<F>,
        segment: &Segment,
        now: Tick,
        config: &TrackingConfig,
    ) -> bool {
        let L4::Tcp(tcp) = segment.l4 else {
            return false;
        };
        if tcp.flags & SYN == 0 || self.half_open < self.watermark(config) {
            return false;
        }
        let hash = attempt(&self.key, tuple, tcp.seq);
        !self.gate.repeats(hash, now)
    }

    /// How many half-open connections close the gate.
    fn watermark(&self, config: &TrackingConfig) -> usize {
        let percent = usize::from(config.syn_flood_watermark.min(100));
        (self.capacity() * percent).div_ceil(100)
    }

    /// How many TCP connections there are whose handshake is not finished.
    pub fn half_open(&self) -> usize {
        self.half_open
    }

    /// Follows a connection that may have begun or finished its handshake.
    pub(crate) fn count_half_open(&mut self, before: bool, after: bool) {
        self.half_open += usize::from(after);
        self.half_open -= usize::from(before);
    }
}

/// One attempt to connect: the tuple, and the number it starts to count from.
fn attempt<F: Family>(key: &HashKey, tuple: &Tuple<F>, seq: u32) -> u64 {
    key.words(key.tuple(tuple), u64::from(seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const T0: Tick = Tick::from_secs(1_000);

    fn at(millis: u64) -> Tick {
        T0.after(Duration::from_millis(millis))
    }

    #[test]
    fn a_repetition_counts_between_a_fifth_of_a_second_and_eight() {
        for (wait, counts) in [(0, false), (180, false), (208, true), (7_900, true)] {
            let mut gate = SynGate::new(0);
            assert!(!gate.repeats(77, T0));
            assert_eq!(gate.repeats(77, at(wait)), counts, "{wait} ms");
        }
        // What comes later is a first attempt again, and can itself be repeated.
        let mut gate = SynGate::new(0);
        assert!(!gate.repeats(77, T0));
        assert!(!gate.repeats(77, at(8_100)));
        assert!(gate.repeats(77, at(9_100)));
    }

    #[test]
    fn copies_that_come_too_soon_do_not_put_the_repetition_off() {
        let mut gate = SynGate::new(0);
        for millis in (0..200).step_by(40) {
            assert!(!gate.repeats(77, at(millis)));
        }
        assert!(gate.repeats(77, at(240)));
    }

    #[test]
    fn a_repetition_opens_the_gate_once() {
        let mut gate = SynGate::new(0);
        assert!(!gate.repeats(77, T0));
        assert!(gate.repeats(77, at(1_000)));
        assert!(!gate.repeats(77, at(1_001)));
    }

    #[test]
    fn fingerprints_that_wait_for_their_repetition_are_not_pushed_out() {
        let mut gate = SynGate::new(0);
        // One line: the high bits are the same.
        for n in 1..=LINE as u64 {
            assert!(!gate.repeats(n, T0));
        }
        for n in 100..1_000 {
            assert!(!gate.repeats(n, at(1_000)));
        }
        for n in 1..=4 {
            assert!(gate.repeats(n, at(1_400)), "{n}");
        }
        // Four places are free again, and the four others may go now.
        for n in 2_000..2_008 {
            assert!(!gate.repeats(n, at(1_600)));
        }
        for n in 2_000..2_008 {
            assert!(gate.repeats(n, at(2_600)), "{n}");
        }
        assert!(!gate.repeats(5, at(2_600)));
    }

    #[test]
    fn a_gate_is_never_larger_than_a_million_words() {
        assert_eq!(SynGate::new(1 << 28).bytes(), 8 << 20);
        assert_eq!(SynGate::new(0).bytes(), 64 << 10);
    }
}
