//! The header of call signalling (Q.931, as H.225.0 section 7 has it): which call a message is
//! about, whether it ends, and where the User-user element stands.

use std::ops::Range;

use turnpike_conntrack::ids::Direction;

use crate::helper::Call;

/// What Q.931 begins with.
const DISCRIMINATOR: u8 = 0x08;
/// The element that holds H.225.0's own message.
const USER_USER: u8 = 0x7e;
/// What that element begins with: its contents are ASN.1.
const ASN1: u8 = 0x05;
/// The kind of message that ends a call.
const RELEASE_COMPLETE: u8 = 0x5a;

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The call, named alike in both directions.
    pub call: Call,
    /// What it does to the call.
    pub effect: Effect,
    /// Where H.225.0's message stands.
    pub user_information: Option<Range<usize>>,
}

/// What a message does to its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It ends.
    Ends,
    /// It goes on.
    GoesOn,
}

/// Whether these octets can begin such a message.
pub fn begins(octets: &[u8]) -> bool {
    matches!(octets, [DISCRIMINATOR, length, ..] if length & 0xf0 == 0)
}

/// Reads the header that stands at `start`, up to `end`; `None` if there is none.
pub fn read(bytes: &[u8], range: Range<usize>, from: Direction) -> Option<Message> {
    let mut rest = Rest {
        octets: bytes.get(range.clone())?,
        at: range.start,
    };
    (rest.octet()? == DISCRIMINATOR).then_some(())?;
    let length = usize::from(rest.octet()? & 0x0f);
    let call = call(rest.several(length)?, from);
    let kind = rest.octet()?;
    let mut message = Message {
        call,
        effect: match kind {
            RELEASE_COMPLETE => Effect::Ends,
            _ => Effect::GoesOn,
        },
        user_information: None,
    };
    while let Some(element) = rest.octet() {
        // Elements from 0x80 on are one octet.
        if element >= 0x80 {
            continue;
        }
        if element == USER_USER {
            let length = u16::from_be_bytes(*rest.several(2)?.first_chunk()?);
            // What claims more than there is holds the rest.
            let length = usize::from(length).min(rest.octets.len());
            let at = rest.at;
            if *rest.several(length)?.first()? == ASN1 {
                message.user_information = Some(at + 1..at + length);
            }
            break;
        }
        let length = usize::from(rest.octet()?);
        rest.several(length)?;
    }
    Some(message)
}

/// The call that a reference names. Its first bit says that it was chosen by the other side, so the
/// references of both sides are kept apart.
fn call(reference: &[u8], from: Direction) -> Call {
    let number = reference
        .iter()
        .fold(0, |number: u32, octet| number << 8 | u32::from(*octet));
    let flag = match reference.len() {
        0 => return Call(0),
        bits => 1_u32 << (bits * 8 - 1).min(31),
    };
    let chooser = if number & flag == 0 {
        from
    } else {
        from.flip()
    };
    let side = match chooser {
        Direction::Original => 0,
        Direction::Reply => flag,
    };
    Call(number & !flag | side)
}

/// Octets from a place on.
struct Rest<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn octet(&mut self) -> Option<u8> {
        self.several(1)?.first().copied()
    }

    fn several(&mut self, number: usize) -> Option<&'a [u8]> {
        let (octets, rest) = self.octets.split_at_checked(number)?;
        self.octets = rest;
        self.at += number;
        Some(octets)
    }
}
