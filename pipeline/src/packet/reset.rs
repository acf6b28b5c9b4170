//! TCP resets in answer to a segment (RFC 9293 section 3.10.7.1).

use super::bare::write_bare;
use super::headers::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use super::parse::{Parsed, Tcp};

/// Writes the reset that the destination of the segment in `head` would answer it with.
///
/// The frame has a blank Ethernet header. `None`, and nothing useful in `out`, if the packet is
/// no whole TCP segment, is a reset itself, or was not sent from one station to one station.
pub fn write_reset(out: &mut Vec<u8>, head: &[u8], parsed: &Parsed) -> Option<()> {
    let tcp = parsed.tcp().filter(|tcp| tcp.flags & TCP_RST == 0)?;
    write_bare(out, head, parsed, numbers(tcp, parsed.payload_len()))
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
