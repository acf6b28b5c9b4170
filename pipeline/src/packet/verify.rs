//! Layer-4 checksums of received packets.

pub use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::tuple::Proto;

use super::bytes::u16_at;
use super::checksum::Sum;
use super::parse::{Net, Parsed};
use super::{dccp, sctp};
use crate::buffer::{Buffer, RxChecksum};

/// Checks TCP, UDP, UDP-Lite, DCCP, SCTP, ICMP and ICMPv6 over all segments, or believes the
/// device.
///
/// Good is also what has no checksum to check: other protocols, fragments, UDP over IPv4 with
/// none. Bad is also one that is missing where the protocol demands it.
///
/// UDP over IPv6 must have a checksum (RFC 8200 section 8.1); UDP-Lite always (RFC 3828).
pub fn verify_l4<B: Buffer>(buf: &B, parsed: &Parsed) -> Checksum {
    match buf.rx_checksum() {
        RxChecksum::Good => return Checksum::Good,
        RxChecksum::Bad => return Checksum::Bad,
        RxChecksum::Unknown => {}
    }
    if parsed.fragment.is_fragment() {
        return Checksum::Good;
    }
    if parsed.proto == Proto::SCTP {
        return sctp::verify(buf, parsed).unwrap_or(Checksum::Bad);
    }
    let Some((sum, len)) = start(buf.head(), parsed) else {
        return Checksum::Good;
    };
    match sum {
        Start::Absent => Checksum::Good,
        Start::Missing => Checksum::Bad,
        Start::At(mut sum) => {
            for_range(buf, usize::from(parsed.l4), len, |bytes| sum.add(bytes));
            if sum.is_valid() {
                Checksum::Good
            } else {
                Checksum::Bad
            }
        }
    }
}

/// What to add the layer-4 bytes to.
enum Start {
    /// The sender took no checksum, and may.
    Absent,
    /// The sender took no checksum and may not, or one over bytes that are not there.
    Missing,
    /// A sum that holds the pseudo header, if there is one.
    At(Sum),
}

/// The sum to start from and how many bytes it covers; `None` for a protocol without a checksum.
fn start(head: &[u8], parsed: &Parsed) -> Option<(Start, usize)> {
    let l4 = usize::from(parsed.l4);
    let l4_len = parsed.l4_len();
    let whole = l4_len as usize;
    match (parsed.net, parsed.proto) {
        (Net::V4, Proto::ICMP) => Some((Start::At(Sum::new()), whole)),
        (_, Proto::TCP) | (Net::V6, Proto::ICMPV6) => {
            Some((Start::At(pseudo(head, parsed, l4_len)?), whole))
        }
        (_, Proto::UDP) => {
            let len = u16_at(head, l4 + 4)?;
            match u16_at(head, l4 + 6)? {
                // Over IPv6 too: tunnels send such packets, and who stands between their ends has
                // to let them pass (RFC 6935, RFC 6936 section 5).
                0 => Some((Start::Absent, 0)),
                _ => Some((
                    Start::At(pseudo(head, parsed, u32::from(len))?),
                    usize::from(len),
                )),
            }
        }
        (_, Proto::UDPLITE) => {
            let coverage = match u16_at(head, l4 + 4)? {
                0 => whole,
                bytes => usize::from(bytes),
            };
            if u16_at(head, l4 + 6)? == 0 {
                return Some((Start::Missing, 0));
            }
            Some((Start::At(pseudo(head, parsed, l4_len)?), coverage))
        }
        (_, Proto::DCCP) => match dccp::coverage(head, parsed) {
            Some(covered) => Some((Start::At(pseudo(head, parsed, l4_len)?), covered)),
            None => Some((Start::Missing, 0)),
        },
        _ => None,
    }
}

fn pseudo(head: &[u8], parsed: &Parsed, len: u32) -> Option<Sum> {
    let l3 = usize::from(parsed.l3);
    let (src, dst) = match parsed.net {
        Net::Arp => return None,
        Net::V4 => (head.get(l3 + 12..l3 + 16)?, head.get(l3 + 16..l3 + 20)?),
        Net::V6 => (head.get(l3 + 8..l3 + 24)?, head.get(l3 + 24..l3 + 40)?),
    };
    Some(Sum::pseudo_header(src, dst, parsed.proto, len))
}

/// Visits `len` bytes of the frame from offset `from` on, piece by piece.
pub(super) fn for_range<B: Buffer>(buf: &B, from: usize, len: usize, mut visit: impl FnMut(&[u8])) {
    let mut skip = from;
    let mut left = len;
    buf.for_each_segment(|segment| {
        let skipped = skip.min(segment.len());
        skip -= skipped;
        let bytes = segment.get(skipped..).unwrap_or_default();
        let taken = bytes.get(..left).unwrap_or(bytes);
        left -= taken.len();
        if !taken.is_empty() {
            visit(taken);
        }
    });
}
