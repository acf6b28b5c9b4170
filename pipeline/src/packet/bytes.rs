//! Reading and writing numbers in a slice without ever falling off its end.

/// The byte at `at`; `None` past the end.
pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The 16 bits at `at` in network order; `None` past the end.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

/// The 32 bits at `at` in network order; `None` past the end.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// The `N` bytes at `at`; `None` past the end.
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes `new` at `at`; nothing is written where it does not fit.
pub fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(place) = at
        .checked_add(new.len())
        .and_then(|end| bytes.get_mut(at..end))
    {
        place.copy_from_slice(new);
    }
}

/// Writes 16 bits at `at` in network order; nothing is written where they do not fit.
pub fn put_u16(bytes: &mut [u8], at: usize, new: u16) {
    put(bytes, at, &new.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let bytes = [1, 2, 3, 4];
        assert_eq!(u16_at(&bytes, 2), Some(0x0304));
        assert_eq!(u16_at(&bytes, 3), None);
        assert_eq!(u32_at(&bytes, 0), Some(0x0102_0304));
        assert_eq!(u32_at(&bytes, usize::MAX), None);
        assert_eq!(u8_at(&bytes, 4), None);
    }

    #[test]
    fn a_write_that_does_not_fit_changes_nothing() {
        let mut bytes = [0; 3];
        put_u16(&mut bytes, 2, 0xffff);
        put_u16(&mut bytes, usize::MAX, 0xffff);
        assert_eq!(bytes, [0; 3]);
        put_u16(&mut bytes, 1, 0xabcd);
        assert_eq!(bytes, [0, 0xab, 0xcd]);
    }
}
