//! TPKT (RFC 1006, section 6): messages in a stream, each behind its length.
//!
//! A stream is left alone from its first octet on that is no TPKT. What stood before it in the same
//! bytes is done with first, so that nothing is held back that has been read.

use turnpike_conntrack::ids::Direction;

use crate::helper::{MESSAGE_MAX, Progress};

/// Octets of a header: version, reserved, length.
pub const HEADER: usize = 4;
const VERSION: u8 = 3;

/// What begins a stream.
#[derive(Debug)]
enum Next {
    /// A packet of so many octets.
    Packet(usize),
    /// One that is not whole yet, or nothing.
    Unfinished,
    /// No packet, or one that is too long to wait for.
    Foreign,
}

/// Whether what a packet holds can begin a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It can.
    Known,
    /// This is another protocol.
    Foreign,
}

/// Both streams of a connection, as far as they are cut into packets.
#[derive(Debug, Clone, Default)]
pub struct Packets {
    started: [bool; 2],
    /// One of the streams holds something else.
    lost: bool,
}

impl Packets {
    /// Hands whole packets out to `each`, with where their contents stand, until one cannot begin a
    /// stream (only the first of a stream that holds anything is held against that).
    pub fn read(
        &mut self,
        from: Direction,
        bytes: &[u8],
        begins: impl Fn(&[u8]) -> Start,
        mut each: impl FnMut(std::ops::Range<usize>),
    ) -> Progress {
        let mut read = 0;
        while !self.lost {
            let rest = bytes.get(read..).unwrap_or_default();
            match next(rest) {
                Next::Unfinished => return Progress::Read(read),
                Next::Foreign => self.lost = true,
                Next::Packet(len) => {
                    let contents = rest.get(HEADER..len).unwrap_or_default();
                    let fresh = !contents.is_empty() && !self.has_started(from);
                    if fresh && begins(contents) == Start::Foreign {
                        self.lost = true;
                    } else {
                        // A header alone keeps the connection alive and says nothing.
                        if !contents.is_empty() {
                            self.start(from);
                            each(read + HEADER..read + len);
                        }
                        read += len;
                    }
                }
            }
        }
        // What was changed in front is let go first.
        if read == 0 {
            Progress::Leave
        } else {
            Progress::Read(bytes.len())
        }
    }

    fn has_started(&self, from: Direction) -> bool {
        self.started.get(from.index()).is_some_and(|s| *s)
    }

    fn start(&mut self, from: Direction) {
        if let Some(started) = self.started.get_mut(from.index()) {
            *started = true;
        }
    }
}

fn next(bytes: &[u8]) -> Next {
    match *bytes {
        [VERSION, _, high, low, ..] => {
            let len = usize::from(u16::from_be_bytes([high, low]));
            if !(HEADER..=MESSAGE_MAX).contains(&len) {
                Next::Foreign
            } else if len > bytes.len() {
                Next::Unfinished
            } else {
                Next::Packet(len)
            }
        }
        [] | [VERSION] | [VERSION, _] | [VERSION, _, _] => Next::Unfinished,
        [_, ..] => Next::Foreign,
    }
}
