//! What keeps a TCP client hanging: a server that has no room, and never will.
//!
//! Nothing is remembered of a client. Our sequence number is made of its own, so that whatever it
//! acknowledges later says where it began, and what has been taken of its data: nothing.

use super::bare::write_bare;
use super::headers::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use super::parse::{Parsed, Tcp};

/// Writes what the destination of the segment in `head` would answer if it had no room for data: to
/// a SYN that it accepts, to data and to window probes that there is still no room.
///
/// The frame has a blank Ethernet header. `None`, and nothing useful in `out`, for any other
/// segment: what nobody answers to in turn cannot become a loop of answers.
pub fn write_answer(out: &mut Vec<u8>, head: &[u8], parsed: &Parsed) -> Option<()> {
    let numbers = numbers(parsed.tcp()?, parsed.payload_len())?;
    write_bare(out, head, parsed, numbers)
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
