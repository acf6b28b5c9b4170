//! What the TCP tracker remembers of the segment before: one byte beside a number in the window.

use crate::ids::Direction;

/// Stands for "no window scaling offered" where a shift is kept.
pub(crate) const NO_SCALE: u8 = 15;
/// Repetitions of one segment that are counted.
pub(crate) const REPEATS_MAX: u8 = 15;

/// What is remembered of the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Nothing,
    /// An ACK, and how often it was repeated; `last` is its fingerprint.
    Ack {
        from: Direction,
        repeats: u8,
    },
    /// A SYN that was let through in mid-connection; `last` is its end.
    Syn {
        from: Direction,
        scale: u8,
    },
    /// A responder's ACK that was let through in answer to a SYN; `last` is what it acknowledged.
    Challenge,
}

impl Memory {
    /// In one byte: two bits for what it is, one for the side, four for the number.
    pub(crate) fn pack(self) -> u8 {
        let side = |from: Direction| u8::from(from == Direction::Reply) << 2;
        match self {
            Self::Nothing => 0,
            Self::Ack { from, repeats } => 1 | side(from) | repeats << 4,
            Self::Syn { from, scale } => 2 | side(from) | scale << 4,
            Self::Challenge => 3,
        }
    }

    /// From its byte.
    pub(crate) fn unpack(byte: u8) -> Self {
        let from = if byte & 4 == 0 {
            Direction::Original
        } else {
            Direction::Reply
        };
        let number = byte >> 4;
        match byte & 3 {
            1 => Self::Ack {
                from,
                repeats: number,
            },
            2 => Self::Syn {
                from,
                scale: number,
            },
            3 => Self::Challenge,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_survives_its_packing() {
        for memory in [
            Memory::Nothing,
            Memory::Challenge,
            Memory::Ack {
                from: Direction::Reply,
                repeats: REPEATS_MAX,
            },
            Memory::Ack {
                from: Direction::Original,
                repeats: 3,
            },
            Memory::Syn {
                from: Direction::Reply,
                scale: NO_SCALE,
            },
            Memory::Syn {
                from: Direction::Original,
                scale: 14,
            },
        ] {
            assert_eq!(Memory::unpack(memory.pack()), memory);
        }
    }
}
