//! Changes of header fields that rules ask for; checksums follow by difference.

use super::bytes::{put, u8_at};
use super::checksum::Delta;
use super::parse::{Net, Parsed};
use super::rewrite::apply;
use crate::policy::TtlChange;

/// Makes the time to live, or hop limit, what `change` makes of it.
pub fn change_ttl(head: &mut [u8], parsed: &Parsed, change: TtlChange) {
    if change == TtlChange::NONE {
        return;
    }
    let l3 = usize::from(parsed.l3);
    let at = match parsed.net {
        Net::Arp => return,
        Net::V4 => l3 + 8,
        Net::V6 => l3 + 7,
    };
    let Some(old) = u8_at(head, at) else { return };
    let new = change.of(old);
    put(head, at, &[new]);
    if parsed.net == Net::V4 {
        // The time to live is the high half of its word.
        let word = |ttl: u8| u16::from(ttl) << 8;
        apply(head, l3 + 10, Delta::of_word(word(old), word(new)));
    }
}

/// Sets the upper six bits of the type of service, or traffic class; the lower two are the
/// congestion bits (RFC 3168) and stay.
pub fn set_dscp(head: &mut [u8], parsed: &Parsed, dscp: u8) {
    let l3 = usize::from(parsed.l3);
    match parsed.net {
        Net::Arp => {}
        Net::V4 => {
            let Some(old) = u8_at(head, l3 + 1) else {
                return;
            };
            let new = dscp << 2 | old & 0b11;
            put(head, l3 + 1, &[new]);
            apply(head, l3 + 10, Delta::of_word(old.into(), new.into()));
        }
        Net::V6 => {
            // Four bits in the first byte, two in the second.
            let (Some(first), Some(second)) = (u8_at(head, l3), u8_at(head, l3 + 1)) else {
                return;
            };
            put(head, l3, &[first & 0xf0 | dscp >> 2]);
            put(head, l3 + 1, &[second & 0x3f | dscp << 6]);
        }
    }
}
