//! Numbers that nobody outside can guess, from a key: the only randomness of a worker.

use crate::hash::HashKey;
use crate::ids::WorkerId;

/// A worker's generator. Under the same key it always gives the same numbers.
#[derive(Debug, Clone)]
pub struct Random {
    key: HashKey,
    stream: u64,
    drawn: u64,
}

impl Random {
    /// The generator of `worker` under `key`, which decides everything it will give.
    pub fn new(worker: WorkerId, key: HashKey) -> Self {
        Self {
            key,
            // Away from whatever else is hashed under this key.
            stream: 0x7261_6e64_6f6d_0000 | u64::from(worker.0),
            drawn: 0,
        }
    }

    /// The next number, every bit of it as good as any other.
    pub fn number(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        self.key
            .words(self.key.words(self.drawn, self.stream), self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const KEY: HashKey = HashKey([3, 5, 7, 11]);

    fn numbers(worker: u8, key: HashKey) -> Vec<u64> {
        let mut random = Random::new(WorkerId(worker), key);
        (0..1_000).map(|_| random.number()).collect()
    }

    #[test]
    fn the_key_decides_the_numbers_and_workers_have_different_ones() {
        assert_eq!(numbers(0, KEY), numbers(0, KEY));
        assert_ne!(numbers(0, KEY), numbers(0, HashKey([3, 5, 7, 13])));
        let all: BTreeSet<_> = numbers(0, KEY).into_iter().chain(numbers(1, KEY)).collect();
        assert_eq!(all.len(), 2_000);
    }

    #[test]
    fn each_bit_is_set_about_half_the_time() {
        let numbers = numbers(
            0,
            HashKey([0x243f_6a88_85a3_08d3, 9, 0xa409_3822_299f_31d0, 77]),
        );
        for bit in 0..64 {
            let set = numbers.iter().filter(|n| *n >> bit & 1 == 1).count();
            assert!((400..=600).contains(&set), "bit {bit} is set {set} times");
        }
    }
}
