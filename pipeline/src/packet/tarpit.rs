//! What keeps a TCP client hanging: a server that has no room, and never will.
//!
//! Nothing is remembered of a client. Our sequence number is made of its own, so that whatever it
//! acknowledges later says where it began, and what has been taken of its data: nothing.

use super::frame::{Addresses, DONT_FRAGMENT, FrameWriter, IpFields};
use super::headers::{DEFAULT_TTL, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use super::icmp::is_host;
use super::parse::{Fragment, Parsed, Tcp};

/// Writes what the destination of the segment in `head` would answer if it had no room for data: to
/// a SYN that it accepts, to data and to window probes that there is still no room.
///
/// The frame has a blank Ethernet header. `None`, and nothing useful in `out`, for any other
/// segment: what nobody answers to in turn cannot become a loop of answers.
pub fn write_answer(out: &mut Vec<u8>, head: &[u8], parsed: &Parsed) -> Option<()> {
    let tcp = parsed.tcp()?;
    let (src, dst) = (parsed.src_ip(head)?, parsed.dst_ip(head)?);
    let to_one = is_host(src) && is_host(dst) && !parsed.link.dst.is_multicast();
    if parsed.fragment != Fragment::Whole || !to_one {
        return None;
    }
    let (seq, ack, flags) = numbers(tcp, parsed.payload_len())?;
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

/// Sequence and acknowledgement numbers and flags of the answer.
fn numbers(tcp: Tcp, payload_len: u32) -> Option<(u32, u32, u8)> {
    match tcp.flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST) {
        TCP_SYN => {
            let next = tcp.seq.wrapping_add(1);
            Some((counterpart(tcp.seq), next, TCP_SYN | TCP_ACK))
        }
        TCP_ACK => {
            let began = counterpart(tcp.ack.wrapping_sub(1));
            let next = began.wrapping_add(1);
            // A probe may be a byte that was acknowledged before, or none (RFC 9293, 3.8.6.1).
            let probes = tcp.seq == began && payload_len <= 1;
            let sends = tcp.seq == next && payload_len > 0;
            (probes || sends).then_some((tcp.ack, next, TCP_ACK))
        }
        _other => None,
    }
}

/// Where we begin towards a client that begins there, and the other way round.
const fn counterpart(number: u32) -> u32 {
    !number
}
