//! The keyed hash of tuples.
//!
//! Keys are attacker-chosen, so the hash is keyed from the operating system's randomness by
//! whoever starts the gateway; tests fix it. It costs two wide multiplications for an IPv4 tuple.

use crate::tuple::{Address, Family, Tuple};

/// The secret of one hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u64; 4]);

impl HashKey {
    /// A 64-bit hash of the part of `tuple` that packets show (see [`Tuple::key`]); the two
    /// families never share a table, so it says nothing of them.
    pub fn tuple<F: Family>(&self, tuple: &Tuple<F>) -> u64 {
        let tuple = &tuple.key();
        let ends = u64::from(tuple.src_port.0) << 32
            | u64::from(tuple.dst_port.0) << 16
            | u64::from(tuple.proto.0);
        if F::Addr::BYTES == 4 {
            let pair = low(tuple.src.to_bits()) << 32 | low(tuple.dst.to_bits());
            self.words(pair, ends)
        } else {
            let [k0, k1, k2, k3] = self.0;
            let (src, dst) = (tuple.src.to_bits(), tuple.dst.to_bits());
            let a = fold(high(src) ^ k0, low(src) ^ k1);
            let b = fold(high(dst) ^ k2, low(dst) ^ k3);
            self.words(a ^ b.rotate_left(32), ends)
        }
    }

    /// A 64-bit hash of two words.
    pub fn words(&self, a: u64, b: u64) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        fold(fold(a ^ k0, b ^ k1) ^ k2, k3 | 1)
    }

    /// A 64-bit hash of an address and a 16-bit number.
    pub(crate) fn endpoint<A: Address>(&self, address: A, number: u16) -> u64 {
        let bits = address.to_bits();
        let front = self.words(high(bits), u64::from(number));
        self.words(low(bits), front)
    }
}

/// The two halves of a wide product, exclusive-ored.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    low(product) ^ high(product)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn low(wide: u128) -> u64 {
    wide as u64
}

fn high(wide: u128) -> u64 {
    low(wide >> 64)
}

/// Maps a hash evenly onto `0..range` by its high bits, for any `range`.
pub(crate) fn fastrange(hash: u64, range: usize) -> usize {
    let scaled = (u128::from(hash) * range as u128) >> 64;
    usize::try_from(scaled).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::{Port, Proto, V4, V6};

    const KEY: HashKey = HashKey([
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
    ]);

    fn v4(n: u32, port: u16) -> Tuple<V4> {
        Tuple {
            src: n.to_be_bytes(),
            dst: [10, 0, 0, 1],
            src_port: Port(port),
            dst_port: Port(80),
            proto: Proto::TCP,
        }
    }

    #[test]
    fn sequential_tuples_spread_evenly_over_any_number_of_buckets() {
        const BUCKETS: usize = 100;
        let mut counts = [0u32; BUCKETS];
        for n in 0..10_000u32 {
            let hash = KEY.tuple(&v4(n / 100, 1024 + (n % 100) as u16));
            counts[fastrange(hash, BUCKETS)] += 1;
        }
        assert!(
            counts.iter().all(|&c| (50..=160).contains(&c)),
            "{counts:?}"
        );
    }

    #[test]
    fn every_field_and_the_key_change_the_hash() {
        let base = v4(7, 9);
        let hash = KEY.tuple(&base);
        let others = [
            Tuple {
                src: [1, 1, 1, 1],
                ..base
            },
            Tuple {
                dst: [1, 1, 1, 1],
                ..base
            },
            Tuple {
                src_port: Port(10),
                ..base
            },
            Tuple {
                dst_port: Port(81),
                ..base
            },
            Tuple {
                proto: Proto::UDP,
                ..base
            },
            base.inverse(),
        ];
        assert!(others.iter().all(|t| KEY.tuple(t) != hash));
        assert_ne!(HashKey([1, 2, 3, 4]).tuple(&base), hash);
    }

    #[test]
    fn low_bits_of_an_ipv6_address_count_as_much_as_high_bits() {
        let mut a = Tuple::<V6>::default();
        let zero = KEY.tuple(&a);
        a.src[15] = 1;
        let low = KEY.tuple(&a);
        a.src[15] = 0;
        a.src[0] = 1;
        let high = KEY.tuple(&a);
        assert!(zero != low && low != high && zero != high);
    }
}
