//! The messages of a control connection, as far as they name calls.

use std::ops::Range;

use turnpike_conntrack::ids::Direction;

use crate::helper::Desk;

/// What every message has at its third word.
const COOKIE: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// The length of what every message begins with.
const HEAD: usize = 12;
/// The longest message that is taken for one; the longest of the protocol has 220 bytes.
const LENGTH_MAX: usize = 512;
/// What the side that has opened the connection greets with, up to the kind of message.
const CLIENT_GREETING: [u8; 10] = [0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1];
/// What the other side greets with.
const SERVER_GREETING: [u8; 10] = [0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 2];
/// The result of a call that was taken up.
const TAKEN_UP: u8 = 1;

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// A message of this length.
    Whole(usize),
    /// The beginning of one, or nothing.
    Unfinished,
    /// No message.
    Foreign,
}

impl Head {
    /// What `bytes` begin with; the greeting of this side, if it has not greeted yet.
    pub(super) fn read(bytes: &[u8], greeting_of: Option<Direction>) -> Self {
        let greeting = greeting_of.map(|from| match from {
            Direction::Original => &CLIENT_GREETING,
            Direction::Reply => &SERVER_GREETING,
        });
        let begins_with = |at: usize, wanted: &[u8]| {
            let there = bytes.get(at..).unwrap_or_default();
            there
                .iter()
                .zip(wanted)
                .all(|(byte, wanted)| byte == wanted)
        };
        if greeting.is_some_and(|greeting| !begins_with(0, greeting)) || !begins_with(4, &COOKIE) {
            return Self::Foreign;
        }
        let Some(length) = word(bytes, 0).map(usize::from) else {
            return Self::Unfinished;
        };
        if !(HEAD..=LENGTH_MAX).contains(&length) {
            Self::Foreign
        } else if bytes.len() < length {
            Self::Unfinished
        } else {
            Self::Whole(length)
        }
    }
}

/// What an answer to a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The call is taken up.
    TakesUp,
    /// It is not.
    Refuses,
}

/// What a message says of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The sender asks for a call.
    Request {
        /// Its own identifier.
        own: u16,
    },
    /// The sender answers a request.
    Reply {
        /// Its own identifier.
        own: u16,
        /// That of who asked.
        peer: u16,
        /// What it says.
        answer: Answer,
    },
    /// The sender says something of a call.
    About {
        /// The other side's identifier.
        peer: u16,
    },
    /// The sender ends a call.
    Clear {
        /// Its identifier, the sender's own.
        id: u16,
        /// Whether nothing more is said of it.
        last: bool,
    },
    /// The sender ends everything.
    Stop {
        /// Whether nothing more is said.
        last: bool,
    },
}

/// One message in the bytes that are read.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    place: Range<usize>,
}

impl<'a> Message<'a> {
    pub(super) const fn new(bytes: &'a [u8], place: Range<usize>) -> Self {
        Self { bytes, place }
    }

    /// Where the next message begins.
    pub(super) const fn end(&self) -> usize {
        self.place.end
    }

    /// What it says; `None` if that is nothing of calls, or if it is too short to say it.
    pub(super) fn kind(&self) -> Option<Kind> {
        let bytes = self.bytes.get(self.place.clone())?;
        // Management messages have another type, and other kinds.
        if word(bytes, 2)? != 1 {
            return None;
        }
        match word(bytes, 8)? {
            3 => Some(Kind::Stop { last: false }),
            4 => Some(Kind::Stop { last: true }),
            // Outgoing-Call-Request, Incoming-Call-Request.
            7 | 9 => Some(Kind::Request {
                own: word(bytes, 12)?,
            }),
            // Outgoing-Call-Reply, Incoming-Call-Reply.
            8 | 10 => Some(Kind::Reply {
                own: word(bytes, 12)?,
                peer: word(bytes, 14)?,
                answer: match *bytes.get(16)? {
                    TAKEN_UP => Answer::TakesUp,
                    _ => Answer::Refuses,
                },
            }),
            // Incoming-Call-Connected, WAN-Error-Notify, Set-Link-Info.
            11 | 14 | 15 => Some(Kind::About {
                peer: word(bytes, 12)?,
            }),
            // Call-Clear-Request, Call-Disconnect-Notify.
            kind @ (12 | 13) => Some(Kind::Clear {
                id: word(bytes, 12)?,
                last: kind == 13,
            }),
            _ => None,
        }
    }

    /// Changes the identifier that comes first, if it is another.
    pub(super) fn set_first(&self, id: u16, desk: &mut dyn Desk) {
        self.set(HEAD, id, desk);
    }

    /// Changes the one behind it.
    pub(super) fn set_second(&self, id: u16, desk: &mut dyn Desk) {
        self.set(HEAD + 2, id, desk);
    }

    fn set(&self, at: usize, id: u16, desk: &mut dyn Desk) {
        let at = self.place.start + at;
        if word(self.bytes, at).is_some_and(|before| before != id) {
            desk.replace(at..at + 2, &id.to_be_bytes());
        }
    }
}

/// The number of two bytes.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}
