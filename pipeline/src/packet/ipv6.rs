//! The chain of IPv6 extension headers (RFC 8200 section 4).

use turnpike_conntrack::tuple::Proto;

use super::bytes::{array_at, u8_at};
use super::headers::IPV6_LEN;
use super::parse::Fragment;
use crate::policy::HeaderSet;

/// The most extension headers a packet may have.
pub const EXTENSION_HEADERS_MAX: usize = 8;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
const ENCRYPTED: u8 = 50;
pub(super) const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
pub(super) const DESTINATION: u8 = 60;

/// Length of a fragment header.
pub(super) const FRAGMENT_LEN: usize = 8;

/// Where the chain led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// The protocol at its end. For a fragment that is not the first: of the fragmented packet's
    /// first header behind the fragment header.
    pub proto: Proto,
    /// Offset of what follows the last header that was walked, from the IPv6 header.
    pub end: usize,
    /// What the fragment header said.
    pub fragment: Fragment,
    /// Offset of the fragment header, if there is one.
    pub fragment_at: Option<usize>,
}

/// The chain runs off the packet, is too long, or its order cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenChain;

/// Walks the chain of `packet`, which starts at its IPv6 header.
///
/// An encrypted payload or "no next header" ends the walk, and so does a fragment header of a
/// fragment other than the first: what follows it is not a header.
pub(super) fn walk(packet: &[u8]) -> Result<Walk, BrokenChain> {
    let mut walk = Walk {
        proto: Proto(u8_at(packet, 6).ok_or(BrokenChain)?),
        end: IPV6_LEN,
        fragment: Fragment::Whole,
        fragment_at: None,
    };
    for nth in 0..=EXTENSION_HEADERS_MAX {
        let len = match walk.proto.0 {
            HOP_BY_HOP if nth == 0 => options_len(packet, walk.end)?,
            HOP_BY_HOP => return Err(BrokenChain),
            ROUTING | DESTINATION => options_len(packet, walk.end)?,
            FRAGMENT if walk.fragment_at.is_none() => FRAGMENT_LEN,
            FRAGMENT => return Err(BrokenChain),
            AUTHENTICATION => 4 * (usize::from(length_byte(packet, walk.end)?) + 2),
            _ => return Ok(walk),
        };
        let at = walk.end;
        let next = u8_at(packet, at).ok_or(BrokenChain)?;
        if at + len > packet.len() {
            return Err(BrokenChain);
        }
        if walk.proto.0 == FRAGMENT {
            walk.fragment = fragment_of(packet, at)?;
            walk.fragment_at = Some(at);
        }
        walk.proto = Proto(next);
        walk.end = at + len;
        if walk.fragment.offset() != 0 {
            return Ok(walk);
        }
    }
    Err(BrokenChain)
}

/// The headers that `packet` has, which starts at its IPv6 header, and what they lead to.
///
/// A later fragment leads to whatever its packet does, as far as its fragment header says.
pub fn headers_of(packet: &[u8]) -> Option<HeaderSet> {
    let walk = walk(packet).ok()?;
    let mut next = u8_at(packet, 6)?;
    let mut at = IPV6_LEN;
    let mut found = HeaderSet::default();
    while at < walk.end {
        let (header, len) = match next {
            HOP_BY_HOP => (HeaderSet::HOP, options_len(packet, at).ok()?),
            ROUTING => (HeaderSet::ROUTE, options_len(packet, at).ok()?),
            DESTINATION => (HeaderSet::DST, options_len(packet, at).ok()?),
            FRAGMENT => (HeaderSet::FRAG, FRAGMENT_LEN),
            _ => {
                let len = 4 * (usize::from(length_byte(packet, at).ok()?) + 2);
                (HeaderSet::AH, len)
            }
        };
        found = found.and(header);
        next = u8_at(packet, at)?;
        at += len;
    }
    let last = match next {
        ENCRYPTED => HeaderSet::ESP,
        NO_NEXT_HEADER => HeaderSet::NONE,
        _ => HeaderSet::PROTO,
    };
    Some(found.and(last))
}

fn length_byte(packet: &[u8], at: usize) -> Result<u8, BrokenChain> {
    u8_at(packet, at + 1).ok_or(BrokenChain)
}

fn options_len(packet: &[u8], at: usize) -> Result<usize, BrokenChain> {
    Ok(8 * (usize::from(length_byte(packet, at)?) + 1))
}

fn fragment_of(packet: &[u8], at: usize) -> Result<Fragment, BrokenChain> {
    let [_, _, hi, lo, id @ ..] = array_at::<8>(packet, at).ok_or(BrokenChain)?;
    let field = u16::from_be_bytes([hi, lo]);
    Ok(Fragment::new(
        u32::from_be_bytes(id),
        field & 0xfff8,
        field & 1 != 0,
    ))
}
