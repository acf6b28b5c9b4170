//! The Internet checksum: sums over bytes (RFC 1071) and differences between them (RFC 1624).

use turnpike_conntrack::tuple::Proto;

/// A running one's complement sum over bytes that may come in pieces of any length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// Sum of 16-bit words, carries not yet folded in.
    words: u64,
    /// Whether an odd number of bytes has been added: the next byte is the low half of a word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self {
            words: 0,
            odd: false,
        }
    }

    /// The sum of the TCP/UDP pseudo header: addresses, protocol and layer-4 length in bytes.
    pub fn pseudo_header(src: &[u8], dst: &[u8], proto: Proto, len: u32) -> Self {
        let mut sum = Self::new();
        sum.add(src);
        sum.add(dst);
        sum.words += u64::from(proto.0) + u64::from(len >> 16) + u64::from(len & 0xffff);
        sum
    }

    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let part = fold(sum_native(bytes)).to_be();
        // RFC 1071 section 2(B): bytes that start in the middle of a word sum to swapped bytes.
        let part = if self.odd { part.swap_bytes() } else { part };
        self.words += u64::from(part);
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The 16-bit one's complement sum.
    pub fn fold(self) -> u16 {
        fold(self.words)
    }

    /// What goes into a checksum field that was zero while the sum was taken.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Whether bytes that include their checksum field are intact.
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// Sums in native order, four bytes at a time: at most 2^32 words fit before the sum wraps.
fn sum_native(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words
        .iter()
        .map(|w| u64::from(u32::from_ne_bytes(*w)))
        .sum();
    let (pairs, last) = rest.as_chunks::<2>();
    sum += pairs
        .iter()
        .map(|w| u64::from(u16::from_ne_bytes(*w)))
        .sum::<u64>();
    if let [byte] = last {
        sum += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    sum
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the loop leaves sixteen bits"
)]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// What a rewrite adds to a one's complement sum: RFC 1624's `~m + m'` over all changed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Delta(u16);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// The change of one word.
    pub fn of_word(old: u16, new: u16) -> Self {
        Self::from_sum(u64::from(!old) + u64::from(new))
    }

    /// The change of bytes that start at an even offset of what is summed.
    ///
    /// Both have the same, even length; of two unlike lengths only the words of both count.
    pub fn of_words(old: &[u8], new: &[u8]) -> Self {
        let (old, _) = old.as_chunks::<2>();
        let (new, _) = new.as_chunks::<2>();
        let sum = old
            .iter()
            .zip(new)
            .map(|(o, n)| u64::from(!u16::from_be_bytes(*o)) + u64::from(u16::from_be_bytes(*n)))
            .sum();
        Self::from_sum(sum)
    }

    /// Both changes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_sum(u64::from(self.0) + u64::from(other.0))
    }

    /// The change back.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self::from_sum(u64::from(!self.0))
    }

    /// The checksum field after the change.
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + u64::from(self.0))
    }

    /// The delta as one number, to be kept in a flow's entry.
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// The delta that was kept.
    pub fn from_bits(bits: u16) -> Self {
        Self::from_sum(u64::from(bits))
    }

    /// Of the two zeros of one's complement only the positive one is used, so that "no change"
    /// leaves every field as it is.
    fn from_sum(sum: u64) -> Self {
        match fold(sum) {
            0xffff => Self::NONE,
            delta => Self(delta),
        }
    }
}

/// Whether the checksum of an IPv4 header (with its options, nothing behind it) is right.
pub fn verify_ipv4_header(header: &[u8]) -> bool {
    let mut sum = Sum::new();
    sum.add(header);
    sum.is_valid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 as its section 1 says it, without any cleverness.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let mut sum = Sum::new();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_gives_zero() {
        assert_eq!(Delta::of_word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn no_change_leaves_both_zeros_alone() {
        assert_eq!(Delta::of_word(0x1234, 0x1234), Delta::NONE);
        assert_eq!(Delta::NONE.apply(0xffff), 0xffff);
        assert_eq!(Delta::NONE.apply(0x0000), 0x0000);
        assert_eq!(Delta::NONE.inverse(), Delta::NONE);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn pieces_of_any_length_sum_like_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            cuts in proptest::collection::vec(0usize..3000, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().filter(|c| *c <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut sum = Sum::new();
            for pair in cuts.windows(2) {
                sum.add(&bytes[pair[0]..pair[1]]);
            }
            prop_assert_eq!(sum.fold(), by_the_book(&bytes));
        }

        #[test]
        fn incremental_update_equals_recomputing(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..200),
            new in any::<[u8; 8]>(),
            at in 0usize..6,
        ) {
            bytes[0] |= 1; // A packet of nothing but zeros does not exist.
            let old = !by_the_book(&bytes);
            let at = 2 + 2 * at;
            let delta = Delta::of_words(&bytes[at..at + 8], &new);
            bytes[at..at + 8].copy_from_slice(&new);
            let now = delta.apply(old);
            prop_assert_eq!(now, !by_the_book(&bytes));
            prop_assert_eq!(delta.inverse().apply(now), old);
            prop_assert_eq!(delta.and(delta.inverse()), Delta::NONE);
            prop_assert_eq!(Delta::from_bits(delta.to_bits()), delta);
        }
    }
}
