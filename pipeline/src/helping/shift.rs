//! Sequence fix-up: how numbers of a stream change where a helper has changed its length.
//!
//! One [`Shift`] is for one direction. Its sender counts its own bytes; its receiver counts those
//! that arrived. What has been replaced and is not acknowledged yet stands in a short list; what
//! has been is folded into one number, so that a stream of any length is followed, over the wrap.

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::Direction;

/// Replacements of one direction that can be unacknowledged at a time.
pub const REPLACED_MAX: usize = 16;

/// Whether sequence number `a` comes after `b`, over the wrap.
pub const fn is_after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// The later of two sequence numbers.
pub const fn later(a: u32, b: u32) -> u32 {
    if is_after(a, b) { a } else { b }
}

/// The earlier of two sequence numbers.
pub const fn earlier(a: u32, b: u32) -> u32 {
    if is_after(a, b) { b } else { a }
}

/// A part of a stream that has another length for its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Replaced {
    /// Where it begins, as its sender counts.
    at: u32,
    /// Its length as it was sent, at least one.
    old: u32,
    /// Its length as it arrives.
    new: u32,
}

/// How the numbers of one direction differ between its sender and its receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shift {
    /// What all acknowledged replacements have added, modulo 2^32.
    base: u32,
    /// The others, in the order of the stream.
    pending: ArrayVec<Replaced, REPLACED_MAX>,
}

impl Shift {
    /// Whether another replacement can be noted.
    pub fn is_full(&self) -> bool {
        self.pending.is_full()
    }

    /// Whether numbers are the same on both sides, now and before.
    pub fn is_none(&self) -> bool {
        self.base == 0 && self.pending.is_empty()
    }

    /// Whether everything replaced has been acknowledged.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Notes that `old` bytes, one at least, from `at` on become `new` bytes; behind everything
    /// noted so far. `false`, and nothing noted, if there is no room.
    pub fn replace(&mut self, at: u32, old: u32, new: u32) -> bool {
        old == new || self.pending.try_push(Replaced { at, old, new }).is_ok()
    }

    /// A sender's number as its receiver counts. A number inside a replaced part is that of where
    /// the part begins.
    pub fn forward(&self, seq: u32) -> u32 {
        let mut added = self.base;
        for part in &self.pending {
            let end = part.at.wrapping_add(part.old);
            if is_after(end, seq) {
                if is_after(seq, part.at) {
                    return part.at.wrapping_add(added);
                }
                break;
            }
            added = added.wrapping_add(part.new.wrapping_sub(part.old));
        }
        seq.wrapping_add(added)
    }

    /// A number that the receiver acknowledges, as the sender counts. A part of which something is
    /// missing is not acknowledged at all.
    pub fn back(&self, ack: u32) -> u32 {
        let mut added = self.base;
        for part in &self.pending {
            let begin = part.at.wrapping_add(added);
            let end = begin.wrapping_add(part.new);
            if is_after(end, ack) {
                if is_after(ack, begin) {
                    return part.at;
                }
                break;
            }
            added = added.wrapping_add(part.new.wrapping_sub(part.old));
        }
        ack.wrapping_sub(added)
    }

    /// A block of a selective acknowledgement, as the sender counts; `None` if nothing whole is
    /// left of it.
    pub fn back_block(&self, (left, right): (u32, u32)) -> Option<(u32, u32)> {
        let left = self.back_up(left);
        let right = self.back(right);
        is_after(right, left).then_some((left, right))
    }

    /// The same as [`back`](Self::back), with the end of a part for a number inside it.
    fn back_up(&self, seq: u32) -> u32 {
        let mut added = self.base;
        for part in &self.pending {
            let begin = part.at.wrapping_add(added);
            if !is_after(seq, begin) {
                break;
            }
            if is_after(begin.wrapping_add(part.new), seq) {
                return part.at.wrapping_add(part.old);
            }
            added = added.wrapping_add(part.new.wrapping_sub(part.old));
        }
        seq.wrapping_sub(added)
    }

    /// Folds the parts that the receiver has acknowledged up to `ack`, as the sender counts;
    /// whether there were any.
    pub fn settle(&mut self, ack: u32) -> bool {
        let done = |part: &&Replaced| !is_after(part.at.wrapping_add(part.old), ack);
        let count = self.pending.iter().take_while(done).count();
        for part in self.pending.drain(..count) {
            let added = part.new.wrapping_sub(part.old);
            self.base = self.base.wrapping_add(added);
        }
        count > 0
    }
}

/// The fix-ups of both directions of a connection, original first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shifts(pub [Shift; 2]);

impl Shifts {
    /// That of a packet's own direction, and that of the one it acknowledges.
    pub const fn seen_from(&self, from: Direction) -> [&Shift; 2] {
        let Self([original, reply]) = self;
        match from {
            Direction::Original => [original, reply],
            Direction::Reply => [reply, original],
        }
    }

    /// Whether no number differs.
    pub fn are_none(&self) -> bool {
        self.0.iter().all(Shift::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes 100..110 became 13, and 120..130 became 4.
    fn shift(base: u32) -> Shift {
        let mut shift = Shift::default();
        assert!(shift.replace(base.wrapping_add(100), 10, 13));
        assert!(shift.replace(base.wrapping_add(120), 10, 4));
        shift
    }

    #[test]
    fn numbers_move_by_what_was_replaced_before_them() {
        for base in [0, u32::MAX - 115, 1 << 31] {
            let (shift, at) = (shift(base), |n: u32| base.wrapping_add(n));
            for (sent, arrives) in [(0, 0), (100, 100), (105, 100), (110, 113), (119, 122)] {
                assert_eq!(shift.forward(at(sent)), at(arrives), "{sent}");
            }
            for (sent, arrives) in [(120, 123), (129, 123), (130, 127), (200, 197)] {
                assert_eq!(shift.forward(at(sent)), at(arrives), "{sent}");
            }
            for (ack, seen) in [(99, 99), (100, 100), (112, 100), (113, 110), (123, 120)] {
                assert_eq!(shift.back(at(ack)), at(seen), "{ack}");
            }
            for (ack, seen) in [(126, 120), (127, 130), (197, 200)] {
                assert_eq!(shift.back(at(ack)), at(seen), "{ack}");
            }
        }
    }

    #[test]
    fn a_block_covers_whole_parts_only() {
        let shift = shift(0);
        assert_eq!(shift.back_block((105, 130)), Some((110, 133)));
        assert_eq!(shift.back_block((113, 125)), Some((110, 120)));
        assert_eq!(shift.back_block((101, 112)), None);
        assert_eq!(shift.back_block((100, 113)), Some((100, 110)));
    }

    #[test]
    fn what_is_acknowledged_is_one_number_from_then_on() {
        let mut shift = shift(0);
        assert!(!shift.settle(109));
        assert!(shift.settle(110));
        assert_eq!((shift.forward(115), shift.back(118)), (118, 115));
        assert!(shift.settle(500) && shift.is_settled() && !shift.is_none());
        assert_eq!((shift.forward(500), shift.back(497)), (497, 500));
    }

    #[test]
    fn a_part_that_vanishes_is_acknowledged_with_what_is_before_it() {
        let mut shift = Shift::default();
        assert!(shift.replace(100, 10, 0));
        assert_eq!((shift.forward(100), shift.forward(110)), (100, 100));
        assert_eq!((shift.back(99), shift.back(100)), (99, 110));
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let mut shift = Shift::default();
        for n in 0..u32::try_from(REPLACED_MAX).unwrap() {
            assert!(shift.replace(n * 10, 2, 3));
        }
        assert!(shift.is_full() && !shift.replace(1_000, 2, 3));
        assert!(shift.replace(1_000, 3, 3), "no length changed");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn going_forward_and_back_comes_to_the_same_place_outside_of_parts(
            start in any::<u32>(),
            parts in proptest::collection::vec((1..20_u32, 1..20_u32, 0..20_u32), 1..10),
            settled in 0..400_u32,
        ) {
            let (mut shift, mut at, mut inside) = (Shift::default(), 0, Vec::new());
            for (gap, old, new) in parts {
                at += gap;
                prop_assert!(shift.replace(start.wrapping_add(at), old, new));
                inside.extend(at + 1..at + old);
                if new == 0 {
                    inside.push(at);
                }
                at += old;
            }
            shift.settle(start.wrapping_add(settled.min(at)));
            for n in settled.min(at)..at + 30 {
                if !inside.contains(&n) {
                    let seq = start.wrapping_add(n);
                    prop_assert_eq!(shift.back(shift.forward(seq)), seq);
                }
            }
        }
    }
}
