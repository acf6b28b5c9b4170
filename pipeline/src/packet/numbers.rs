//! A TCP segment's numbers, changed in place; the checksum follows by the difference.

use super::bytes::{put, u16_at};
use super::checksum::Delta;
use super::headers::TCP_LEN;
use super::parse::{Parsed, Transport};
use super::rewrite::apply;

/// Where the numbers stand in a TCP header.
const SEQ_AT: usize = 4;
const ACK_AT: usize = 8;
const CHECKSUM_AT: usize = 16;

/// The option of selective acknowledgements.
const SACK: u8 = 5;

/// A segment's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
}

/// Writes a segment's numbers; nothing happens to another packet.
pub fn set_numbers(head: &mut [u8], parsed: &Parsed, numbers: Numbers) {
    let Transport::Tcp(_) = parsed.transport else {
        return;
    };
    set(head, parsed, SEQ_AT, numbers.seq);
    set(head, parsed, ACK_AT, numbers.ack);
}

/// Changes each block of a segment's selective acknowledgements.
pub fn set_selective(
    head: &mut [u8],
    parsed: &Parsed,
    mut change: impl FnMut((u32, u32)) -> (u32, u32),
) {
    let Transport::Tcp(_) = parsed.transport else {
        return;
    };
    let end = usize::from(parsed.payload - parsed.l4);
    let mut at = TCP_LEN;
    while let Some(len) = option_len(head, parsed, at, end) {
        if byte(head, parsed, at) == Some(SACK) {
            for block in (at + 2..at + len).step_by(8).take((len - 2) / 8) {
                if let (Some(left), Some(right)) =
                    (word(head, parsed, block), word(head, parsed, block + 4))
                {
                    let (left, right) = change((left, right));
                    set(head, parsed, block, left);
                    set(head, parsed, block + 4, right);
                }
            }
        }
        at += len;
    }
}

/// The length of the option at `at`; `None` behind the last one.
fn option_len(head: &[u8], parsed: &Parsed, at: usize, end: usize) -> Option<usize> {
    let kind = byte(head, parsed, at).filter(|_| at < end)?;
    let len = match kind {
        0 => return None,
        1 => 1,
        _ => usize::from(byte(head, parsed, at + 1)?),
    };
    let fits = at + len <= end && (kind == 1 || len >= 2);
    fits.then_some(len)
}

fn byte(head: &[u8], parsed: &Parsed, at: usize) -> Option<u8> {
    head.get(usize::from(parsed.l4) + at).copied()
}

fn word(head: &[u8], parsed: &Parsed, at: usize) -> Option<u32> {
    super::bytes::u32_at(head, usize::from(parsed.l4) + at)
}

/// Writes four bytes of the header, wherever they stand.
fn set(head: &mut [u8], parsed: &Parsed, at: usize, new: u32) {
    let l4 = usize::from(parsed.l4);
    // Checksums are of words: those that the bytes lie in, before and after.
    let words = l4 + at - at % 2;
    let sum = |head: &[u8]| [0, 2, 4].map(|n| u16_at(head, words + n).unwrap_or(0));
    let before = sum(head);
    put(head, l4 + at, &new.to_be_bytes());
    let delta = before
        .iter()
        .zip(sum(head))
        .fold(Delta::NONE, |delta, (old, new)| {
            delta.and(Delta::of_word(*old, new))
        });
    apply(head, l4 + CHECKSUM_AT, delta);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::HeapBuffer;
    use crate::packet::craft::{Craft, TcpSpec};
    use crate::packet::parse::inspect;
    use crate::packet::verify::verify_l4;
    use turnpike_conntrack::segment::Checksum;

    fn changed(options: &'static [u8]) -> Vec<u8> {
        let spec = TcpSpec {
            flags: 0x10,
            seq: 7,
            ack: 8,
            options,
            ..TcpSpec::default()
        };
        let at = |last| std::net::SocketAddr::from(([10, 0, 0, last], 9));
        let craft = Craft::tcp(at(1), at(2), spec).unwrap().payload(b"abc");
        let mut frame = craft.frame().unwrap();
        let parsed = inspect(&frame, frame.len()).unwrap();
        let numbers = Numbers {
            seq: 0xfedc_ba98,
            ack: 0x0102_0304,
        };
        set_numbers(&mut frame, &parsed, numbers);
        set_selective(&mut frame, &parsed, |(l, r)| (l + 1, r + 2));
        let buf = HeapBuffer::new(frame.clone(), 0);
        assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
        let tcp = inspect(&frame, frame.len()).unwrap().tcp().unwrap();
        assert_eq!((tcp.seq, tcp.ack), (numbers.seq, numbers.ack));
        frame[usize::from(parsed.l4) + TCP_LEN..usize::from(parsed.payload)].to_vec()
    }

    #[test]
    fn numbers_and_blocks_are_written_and_the_checksum_stays_right() {
        assert!(changed(&[]).is_empty());
        let one = changed(&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 1, 0]);
        assert_eq!(one, [1, 1, 5, 10, 0, 0, 0, 2, 0, 0, 1, 2]);
        // At an odd place, and behind a timestamp.
        let odd = [1, 5, 10, 0, 0, 0, 1, 0, 0, 1, 0, 0];
        assert_eq!(
            changed(&[1, 5, 10, 0, 0, 0, 1, 0, 0, 1, 0, 0])[..11],
            {
                let mut odd = odd;
                (odd[6], odd[10]) = (2, 2);
                odd
            }[..11]
        );
    }

    #[test]
    fn malformed_options_end_the_search() {
        assert_eq!(changed(&[5, 1, 9, 9]), [5, 1, 9, 9]);
        assert_eq!(changed(&[5, 60, 9, 9]), [5, 60, 9, 9]);
        assert_eq!(changed(&[0, 5, 10, 9]), [0, 5, 10, 9]);
    }
}
