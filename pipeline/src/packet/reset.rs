//! TCP resets in answer to a segment (RFC 9293 section 3.10.7.1).

use super::frame::{Addresses, DONT_FRAGMENT, FrameWriter, IpFields};
use super::headers::{DEFAULT_TTL, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use super::icmp::is_host;
use super::parse::{Fragment, Parsed, Tcp};

/// Writes the reset that the destination of the segment in `head` would answer it with.
///
/// The frame has a blank Ethernet header. `None`, and nothing useful in `out`, if the packet is
/// no whole TCP segment, is a reset itself, or was not sent from one station to one station.
pub fn write_reset(out: &mut Vec<u8>, head: &[u8], parsed: &Parsed) -> Option<()> {
    let tcp = parsed.tcp()?;
    let (src, dst) = (parsed.src_ip(head)?, parsed.dst_ip(head)?);
    let to_one = is_host(src) && is_host(dst) && !parsed.link.dst.is_multicast();
    if tcp.flags & TCP_RST != 0 || parsed.fragment != Fragment::Whole || !to_one {
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
    let (seq, ack, flags) = numbers(tcp, parsed.payload_len());
    let mut frame = FrameWriter::start_blank(out, fields);
    frame
        .push(&tcp.dst.0.to_be_bytes())
        .push(&tcp.src.0.to_be_bytes())
        .push(&seq.to_be_bytes())
        .push(&ack.to_be_bytes())
        .push(&[5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    frame.finish(Some(16))
}

/// Sequence and acknowledgement numbers and flags: where the segment acknowledges something, the
/// reset is what would come next; otherwise it acknowledges all of the segment.
const fn numbers(tcp: Tcp, payload_len: u32) -> (u32, u32, u8) {
    if tcp.flags & TCP_ACK != 0 {
        return (tcp.ack, 0, TCP_RST);
    }
    let syn = if tcp.flags & TCP_SYN != 0 { 1 } else { 0 };
    let fin = if tcp.flags & TCP_FIN != 0 { 1 } else { 0 };
    let len = payload_len.wrapping_add(syn + fin);
    (0, tcp.seq.wrapping_add(len), TCP_RST | TCP_ACK)
}
