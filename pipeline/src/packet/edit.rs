//! Changes of header fields that rules ask for; checksums follow by difference.

use super::bytes::{put, put_u16, u8_at, u16_at};
use super::checksum::Delta;
use super::headers::{IPV4_LEN, TCP_SYN};
use super::parse::{Fragment, Net, Parsed};
use super::rewrite::apply;
use super::tcp::mss_at;
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

/// Lowers the segment size that a SYN announces to `limit`; one that announces none, or less, stays
/// as it is.
pub fn lower_mss(head: &mut [u8], parsed: &Parsed, limit: u16) {
    if parsed.tcp().is_none_or(|tcp| tcp.flags & TCP_SYN == 0) {
        return;
    }
    let l4 = usize::from(parsed.l4);
    let Some((at, old)) = mss_at(head, parsed).and_then(|at| Some((at, u16_at(head, at)?))) else {
        return;
    };
    if old <= limit {
        return;
    }
    put_u16(head, at, limit);
    let delta = if (at - l4).is_multiple_of(2) {
        Delta::of_word(old, limit)
    } else {
        // Over two words of the sum, each byte at the other one's place (RFC 1071 section 2 B).
        Delta::of_word(old.swap_bytes(), limit.swap_bytes())
    };
    apply(head, l4 + 16, delta);
}

/// Allows an IPv4 packet to be cut into fragments.
///
/// One that was never to be cut may have no identification (RFC 6864 section 4.1); it gets the one
/// that `identify` gives, so that fragments of two packets are not taken for one another's.
pub fn clear_df(head: &mut [u8], parsed: &Parsed, identify: impl FnOnce(&[u8]) -> u16) {
    const DONT_FRAGMENT: u16 = 0x4000;
    let l3 = usize::from(parsed.l3);
    let (Net::V4, Some(old)) = (parsed.net, u16_at(head, l3 + 6)) else {
        return;
    };
    if old & DONT_FRAGMENT == 0 {
        return;
    }
    let new = old & !DONT_FRAGMENT;
    put_u16(head, l3 + 6, new);
    apply(head, l3 + 10, Delta::of_word(old, new));
    if parsed.fragment == Fragment::Whole && u16_at(head, l3 + 4) == Some(0) {
        let id = identify(head.get(l3..).unwrap_or_default());
        put_u16(head, l3 + 4, id);
        apply(head, l3 + 10, Delta::of_word(0, id));
    }
}

/// Makes the options of an IPv4 header padding, of which it keeps its length.
pub fn strip_options(head: &mut [u8], parsed: &Parsed) {
    const NO_OPERATION: u8 = 1;
    let l3 = usize::from(parsed.l3);
    if parsed.net != Net::V4 {
        return;
    }
    for at in (l3 + IPV4_LEN..usize::from(parsed.l4)).step_by(2) {
        let Some(old) = u16_at(head, at) else { return };
        let new = u16::from_be_bytes([NO_OPERATION; 2]);
        put_u16(head, at, new);
        apply(head, l3 + 10, Delta::of_word(old, new));
    }
}
