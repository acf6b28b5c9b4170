//! The timer wheel: finds entries whose deadline has passed, without looking at the others.
//!
//! Four levels of 256 slots; a slot of the lowest is [`TICK_MS`] wide. Entries are linked through
//! [`Warm`], so the wheel owns no memory per entry. A packet only moves its entry's deadline:
//! when the wheel reaches an entry too early, the table puts it back where it belongs now.
//! Deadlines are wrapping 32-bit milliseconds, slots are numbered from the 64-bit clock, so
//! nothing here depends on the wrap.

use crate::entry::{NONE, Warm, remaining};
use crate::time::Tick;

/// The width of the smallest slot.
pub(crate) const TICK_MS: u64 = 16;
const LEVELS: usize = 4;
const SLOTS: usize = 256;
const HORIZON: u64 = (1 << 32) - 1;
/// Set in `prev` of the first entry of a slot; the rest of `prev` is the slot's number then.
const HEAD: u32 = 1 << 31;

/// One table's wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: Box<[u32]>,
    occupied: [[u64; SLOTS / 64]; LEVELS],
    /// The slot time that expiry has reached, in ticks.
    current: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            heads: vec![NONE; LEVELS * SLOTS].into_boxed_slice(),
            occupied: [[0; SLOTS / 64]; LEVELS],
            current: 0,
        }
    }

    /// Links entry `id`, to be reached as soon as its deadline has passed.
    pub(crate) fn insert(&mut self, warm: &mut [Warm], id: u32, deadline: u32, now: Tick) {
        let now_ms = now.as_millis();
        if self.is_empty() {
            self.current = self.current.max(now_ms / TICK_MS);
        }
        let due = (now_ms + u64::from(remaining(deadline, wrapping(now_ms)))) / TICK_MS + 1;
        let due = due.clamp(self.current + 1, self.current + HORIZON);
        let ahead = due - self.current;
        let level = match ahead {
            0..0x100 => 0,
            0x100..0x1_0000 => 1,
            0x1_0000..0x100_0000 => 2,
            _ => 3,
        };
        let slot = level * SLOTS + slot_of(due, level);
        let next = self.heads[slot];
        let entry = &mut warm[id as usize];
        entry.due = wrapping(due * TICK_MS);
        entry.next = next;
        entry.prev = HEAD | u32::try_from(slot).unwrap_or(0);
        if next != NONE {
            warm[next as usize].prev = id;
        }
        self.heads[slot] = id;
        self.mark(slot);
    }

    /// Unlinks entry `id`.
    pub(crate) fn unlink(&mut self, warm: &mut [Warm], id: u32) {
        let Warm { next, prev, .. } = warm[id as usize];
        if next != NONE {
            warm[next as usize].prev = prev;
        }
        if prev & HEAD == 0 {
            warm[prev as usize].next = next;
            return;
        }
        let slot = (prev & !HEAD) as usize;
        self.heads[slot] = next;
        if next == NONE {
            self.clear(slot);
        }
    }

    /// Unlinks and gives back the next entry that the wheel has reached by `now`, spending
    /// `budget` on entries and slots; `None` when there is none or the budget is spent.
    ///
    /// What is given back has not necessarily expired: its deadline may have moved, or it comes
    /// down from a coarser level. The caller links it again then.
    pub(crate) fn reached(
        &mut self,
        warm: &mut [Warm],
        now: Tick,
        budget: &mut usize,
    ) -> Option<u32> {
        let target = now.as_millis() / TICK_MS;
        while *budget > 0 {
            *budget -= 1;
            for level in (0..LEVELS).rev() {
                let below = (1u64 << (8 * level)) - 1;
                if self.current & below == 0 {
                    let id = self.heads[level * SLOTS + slot_of(self.current, level)];
                    if id != NONE {
                        self.unlink(warm, id);
                        return Some(id);
                    }
                }
            }
            if self.current >= target {
                return None;
            }
            self.step(target);
        }
        None
    }

    /// Moves to the next time at which a slot may have to be emptied, at most to `target`.
    fn step(&mut self, target: u64) {
        let lowest = self
            .occupied
            .iter()
            .position(|level| *level != [0; SLOTS / 64]);
        let next = match lowest {
            Some(level) => (self.current | ((1 << (8 * level)) - 1)) + 1,
            None => target,
        };
        self.current = next.min(target);
    }

    fn is_empty(&self) -> bool {
        self.occupied == [[0; SLOTS / 64]; LEVELS]
    }

    fn mark(&mut self, slot: usize) {
        self.occupied[slot / SLOTS][slot % SLOTS / 64] |= 1 << (slot % 64);
    }

    fn clear(&mut self, slot: usize) {
        self.occupied[slot / SLOTS][slot % SLOTS / 64] &= !(1 << (slot % 64));
    }

    /// Every linked entry, in no order, with the links checked on the way.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn linked(&self, warm: &[Warm]) -> Result<Vec<u32>, String> {
        let mut all = Vec::new();
        for (slot, &head) in self.heads.iter().enumerate() {
            let marked = self.occupied[slot / SLOTS][slot % SLOTS / 64] >> (slot % 64) & 1 == 1;
            if marked != (head != NONE) {
                return Err(format!("slot {slot}: occupancy bit is {marked}"));
            }
            let (mut id, mut prev) = (head, HEAD | u32::try_from(slot).unwrap_or(0));
            while id != NONE {
                if warm[id as usize].prev != prev || all.len() > warm.len() {
                    return Err(format!("slot {slot}: entry {id} is linked wrongly"));
                }
                all.push(id);
                prev = id;
                id = warm[id as usize].next;
            }
        }
        Ok(all)
    }
}

fn slot_of(tick: u64, level: usize) -> usize {
    usize::try_from(tick >> (8 * level) & 0xff).unwrap_or(0)
}

/// Milliseconds as entries keep them.
#[expect(
    clippy::cast_possible_truncation,
    reason = "wrapping is what is asked for"
)]
pub(crate) fn wrapping(ms: u64) -> u32 {
    ms as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(wheel: &mut Wheel, warm: &mut [Warm], deadlines: &[u32], now: Tick) -> Vec<u32> {
        let (mut out, mut budget) = (Vec::new(), 100_000);
        while let Some(id) = wheel.reached(warm, now, &mut budget) {
            if remaining(deadlines[id as usize], wrapping(now.as_millis())) == 0 {
                out.push(id);
            } else {
                wheel.insert(warm, id, deadlines[id as usize], now);
            }
        }
        assert!(budget > 0);
        out
    }

    #[test]
    fn entries_come_out_within_a_tick_of_their_deadline_across_the_wrap() {
        let start = u64::from(u32::MAX) - 70_000;
        let delays = [
            0u64,
            40,
            100,
            5_000,
            69_000,
            70_001,
            86_400_000,
            2_073_600_000,
        ];
        let mut warm = vec![Warm::default(); delays.len()];
        let deadlines: Vec<u32> = delays.iter().map(|d| wrapping(start + d)).collect();
        let mut wheel = Wheel::new();
        for (id, &deadline) in (0u32..).zip(&deadlines) {
            wheel.insert(&mut warm, id, deadline, Tick::from_millis(start));
        }
        for (id, delay) in (0u32..).zip(delays) {
            if delay > 0 {
                let early = Tick::from_millis(start + delay - 1);
                assert_eq!(drain(&mut wheel, &mut warm, &deadlines, early), []);
            }
            let late = Tick::from_millis(start + delay + TICK_MS);
            assert_eq!(drain(&mut wheel, &mut warm, &deadlines, late), [id]);
        }
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_budget_bounds_one_call_and_the_next_goes_on() {
        let mut warm = vec![Warm::default(); 100];
        let mut wheel = Wheel::new();
        for id in 0..100 {
            wheel.insert(&mut warm, id, 50, Tick::from_millis(0));
        }
        let now = Tick::from_millis(1_000);
        let mut seen = 0;
        for _ in 0..40 {
            let mut budget = 10;
            while wheel.reached(&mut warm, now, &mut budget).is_some() {
                seen += 1;
            }
            assert_eq!(wheel.linked(&warm).unwrap().len(), 100 - seen);
        }
        assert_eq!(seen, 100);
    }

    #[test]
    fn a_clock_that_starts_at_the_epoch_costs_no_walk_from_zero() {
        let mut warm = vec![Warm::default(); 1];
        let mut wheel = Wheel::new();
        let epoch_ms = 1_700_000_000_000;
        wheel.insert(
            &mut warm,
            0,
            wrapping(epoch_ms + 10),
            Tick::from_millis(epoch_ms),
        );
        let mut budget = 4;
        let later = Tick::from_millis(epoch_ms + 32);
        assert_eq!(wheel.reached(&mut warm, later, &mut budget), Some(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn every_entry_comes_out_once_and_never_early(
            delays in proptest::collection::vec(0u32..3_000_000, 1..40),
            unlinked in proptest::collection::vec(any::<bool>(), 40),
            steps in proptest::collection::vec(1u64..400_000, 1..30),
            start in 0u64..10_000_000_000,
        ) {
            let mut warm = vec![Warm::default(); delays.len()];
            let mut wheel = Wheel::new();
            let deadlines: Vec<u32> =
                delays.iter().map(|d| wrapping(start).wrapping_add(*d)).collect();
            let begin = Tick::from_millis(start);
            for id in 0..delays.len() as u32 {
                wheel.insert(&mut warm, id, deadlines[id as usize], begin);
            }
            let mut out: Vec<u32> = Vec::new();
            for (id, gone) in unlinked.iter().enumerate().take(delays.len()) {
                if *gone {
                    wheel.unlink(&mut warm, id as u32);
                    out.push(id as u32);
                }
            }
            let mut now = start;
            for step in steps.into_iter().chain([4_000_000]) {
                now += step;
                for id in drain(&mut wheel, &mut warm, &deadlines, Tick::from_millis(now)) {
                    prop_assert!(start + u64::from(delays[id as usize]) <= now);
                    out.push(id);
                }
                let late = |id: &u32| {
                    !out.contains(id) && start + u64::from(delays[*id as usize]) + TICK_MS <= now
                };
                prop_assert!(!(0..delays.len() as u32).any(|id| late(&id)));
            }
            out.sort_unstable();
            prop_assert_eq!(out, (0..delays.len() as u32).collect::<Vec<_>>());
            prop_assert!(wheel.is_empty());
        }
    }
}
