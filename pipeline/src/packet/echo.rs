//! Echo replies: the answer to a ping.

use std::net::IpAddr;

use turnpike_conntrack::tuple::Proto;

use super::bytes::u16_at;
use super::frame::{Addresses, DONT_FRAGMENT, FrameWriter, IpFields};
use super::headers::{
    DEFAULT_TTL, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST,
};
use super::icmp::is_host;
use super::parse::{Net, Parsed};
use super::verify::for_range;
use crate::buffer::Buffer;

/// Whether the packet is an echo request, whole, of its family's ICMP.
pub fn is_request(parsed: &Parsed) -> bool {
    let kind = match (parsed.net, parsed.proto) {
        (Net::V4, Proto::ICMP) => ICMP_ECHO_REQUEST,
        (Net::V6, Proto::ICMPV6) => ICMPV6_ECHO_REQUEST,
        _ => return false,
    };
    parsed.icmp() == Some((kind, 0)) && !parsed.fragment.is_fragment()
}

/// Writes the reply that `from` sends to the echo request in `buf`, all of its data returned.
///
/// The frame has a blank Ethernet header. `None`, and nothing useful in `out`, if the packet is
/// no echo request, its source cannot be answered, or `from` is of the other family.
pub fn write_reply<B: Buffer>(
    out: &mut Vec<u8>,
    from: IpAddr,
    buf: &B,
    parsed: &Parsed,
) -> Option<()> {
    let asker = parsed.src_ip(buf.head())?;
    if !is_request(parsed) || !is_host(asker) {
        return None;
    }
    let l3 = usize::from(parsed.l3);
    let (kind, id) = match parsed.net {
        Net::Arp => return None,
        Net::V4 => (ICMP_ECHO_REPLY, u16_at(buf.head(), l3 + 4)?),
        Net::V6 => (ICMPV6_ECHO_REPLY, 0),
    };
    let fields = IpFields {
        addresses: Addresses::new(from, asker)?,
        proto: parsed.proto,
        ttl: DEFAULT_TTL,
        tos: parsed.tos,
        id,
        flags: if parsed.dont_fragment {
            DONT_FRAGMENT
        } else {
            0
        },
    };
    let mut frame = FrameWriter::start_blank(out, fields);
    frame.push(&[kind, 0, 0, 0]);
    // Identifier, sequence number and data come back as they are.
    let behind_checksum = usize::from(parsed.l4) + 4;
    let len = (parsed.l4_len() as usize).saturating_sub(4);
    for_range(buf, behind_checksum, len, |bytes| {
        frame.push(bytes);
    });
    frame.finish(Some(2))
}
