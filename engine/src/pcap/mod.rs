//! Capture files: pcap and pcapng in, Ethernet pcap out.
//!
//! Reading promises that what can be read is read: a file that ends in the middle of a packet, a
//! damaged compressed stream or a block that makes no sense ends the file there, and
//! [`CaptureFile::damage`] says so. Packets cut by the capture's own length limit come out as they
//! were kept. Every packet comes out as an Ethernet frame; link types that cannot be turned into
//! one are refused when the file is opened (pcap) or passed over and counted (pcapng, where each
//! packet has its own).

mod link;
mod reader;
mod writer;

pub use link::{Link, MADE_UP_MAC};
pub use reader::{CaptureError, CaptureFile, Captured, Passed};
pub use writer::CaptureWriter;

/// A time stamp of a capture: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The stamp `count` units after 1970 at `per_second` units a second, moved by
    /// `offset_s` seconds; saturates at both ends of what a stamp can hold.
    pub fn from_units(count: u64, per_second: u64, offset_s: i64) -> Self {
        const NANOS: i128 = 1_000_000_000;
        let whole = i128::from(count) * NANOS / i128::from(per_second.max(1));
        let moved = whole + i128::from(offset_s) * NANOS;
        Self(u64::try_from(moved.max(0)).unwrap_or(u64::MAX))
    }

    /// Whole microseconds from `earlier` to this stamp, zero if `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }

    /// Microseconds since 1970.
    pub fn unix_micros(self) -> i64 {
        i64::try_from(self.0 / 1_000).unwrap_or(i64::MAX)
    }

    /// The stamp moved later by `us` microseconds.
    #[must_use]
    pub const fn plus_micros(self, us: u64) -> Self {
        Self(self.0.saturating_add(us.saturating_mul(1_000)))
    }
}

/// How fine the stamps of a capture file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Precision {
    /// Microseconds, or coarser.
    #[default]
    Micro,
    /// Nanoseconds, or finer.
    Nano,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_any_resolution_become_nanoseconds() {
        assert_eq!(Stamp::from_units(5, 1, 0), Stamp(5_000_000_000));
        assert_eq!(
            Stamp::from_units(1_500_000, 1_000_000, 2),
            Stamp(3_500_000_000)
        );
        assert_eq!(Stamp::from_units(3, 2, 0), Stamp(1_500_000_000));
        assert_eq!(Stamp::from_units(7, 1_000_000_000, 0), Stamp(7));
    }

    #[test]
    fn stamps_saturate_instead_of_wrapping() {
        assert_eq!(Stamp::from_units(u64::MAX, 1, 0), Stamp(u64::MAX));
        assert_eq!(Stamp::from_units(1, 1, -2), Stamp(0));
        assert_eq!(Stamp::from_units(1, 0, 0), Stamp(1_000_000_000));
        assert_eq!(Stamp(5).micros_since(Stamp(9)), 0);
    }
}
