//! TCP segments without payload or options, in answer to a segment.

use super::frame::{Addresses, DONT_FRAGMENT, FrameWriter, IpFields};
use super::headers::DEFAULT_TTL;
use super::icmp::is_host;
use super::parse::{Fragment, Parsed};

/// Writes the segment with these numbers (sequence, acknowledgement) and flags, and no room for
/// data, that the destination of the segment in `head` sends back.
///
/// The frame has a blank Ethernet header. `None`, and nothing useful in `out`, if the packet is
/// no whole TCP segment, or was not sent from one station to one station.
pub fn write_bare(
    out: &mut Vec<u8>,
    head: &[u8],
    parsed: &Parsed,
    (seq, ack, flags): (u32, u32, u8),
) -> Option<()> {
    let tcp = parsed.tcp()?;
    let (src, dst) = (parsed.src_ip(head)?, parsed.dst_ip(head)?);
    let to_one = is_host(src) && is_host(dst) && !parsed.link.dst.is_multicast();
    if parsed.fragment != Fragment::Whole || !to_one {
        return None;
    }
    let fields = IpFields {
        addresses: Addresses::new(dst, src)?,
        proto: parsed.proto,
        ttl: DEFAULT_TTL,
        tos: 0,
        id: 0,
        flags: DONT_FRAGMENT,
    };
    let mut frame = FrameWriter::start_blank(out, fields);
    frame
        .push(&tcp.dst.0.to_be_bytes())
        .push(&tcp.src.0.to_be_bytes())
        .push(&seq.to_be_bytes())
        .push(&ack.to_be_bytes())
        .push(&[5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    frame.finish(Some(16))
}
