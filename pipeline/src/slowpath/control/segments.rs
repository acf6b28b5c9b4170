//! Segments and datagrams made here for control connections, out of the headers of received ones.

use turnpike_conntrack::segment::{ACK, FIN, PSH, URG};
use turnpike_conntrack::tuple::Proto;

use crate::packet::bytes::{array_at, put, put_u16, u8_at};
use crate::packet::checksum::Sum;
use crate::packet::headers::TCP_LEN;
use crate::packet::parse::{Net, Parsed};

/// A packet's headers, from its link header to the end of its layer-4 header.
#[derive(Debug, Clone)]
pub struct Headers {
    bytes: Vec<u8>,
    parsed: Parsed,
}

/// The options that a segment made here carries, and the largest that any has.
const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const TIMESTAMPS_LEN: usize = 10;

/// What a made segment says besides its payload.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Its number.
    pub seq: u32,
    /// What it acknowledges.
    pub ack: u32,
    /// Its flags.
    pub flags: u8,
}

impl Headers {
    /// Those of the packet in `head`.
    pub fn of(head: &[u8], parsed: &Parsed) -> Self {
        let end = usize::from(parsed.payload).min(head.len());
        Self {
            bytes: head.get(..end).unwrap_or_default().to_vec(),
            parsed: *parsed,
        }
    }

    /// What the headers say, as they were received.
    pub const fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// The longest payload that fits a packet of so many bytes from its IP header on.
    pub fn room(&self, ip_len: usize) -> usize {
        ip_len.saturating_sub(usize::from(self.parsed.payload - self.parsed.l3))
    }

    /// The timestamp that the segment's sender has put on it.
    fn timestamp(&self) -> Option<[u8; 4]> {
        let at = self.option(TIMESTAMPS)?;
        array_at(&self.bytes, at + 2)
    }

    /// Where an option of this kind begins.
    fn option(&self, wanted: u8) -> Option<usize> {
        let mut at = usize::from(self.parsed.l4) + TCP_LEN;
        loop {
            let kind = u8_at(&self.bytes, at)?;
            if kind == wanted {
                return Some(at);
            }
            at += match kind {
                0 => return None,
                NOP => 1,
                _ => usize::from(u8_at(&self.bytes, at + 1)?).max(2),
            };
        }
    }

    /// Writes a segment like this one with other numbers and another payload. What it says of
    /// selective acknowledgements is left out.
    pub fn segment(&self, frame: &mut Vec<u8>, made: Made, payload: &[u8]) {
        frame.clear();
        frame.extend_from_slice(&self.bytes);
        if let Some(at) = self.option(SACK) {
            let len = usize::from(u8_at(frame, at + 1).unwrap_or(0));
            if let Some(option) = frame.get_mut(at..at + len) {
                option.fill(NOP);
            }
        }
        frame.extend_from_slice(payload);
        self.finish_segment(frame, made);
    }

    /// Writes an acknowledgement without payload as the sender of these headers would send it, in
    /// answer to a segment with the headers `to`.
    pub fn acknowledgement(&self, frame: &mut Vec<u8>, made: Made, to: &Self) {
        let l4 = usize::from(self.parsed.l4);
        frame.clear();
        frame.extend_from_slice(self.bytes.get(..l4 + TCP_LEN).unwrap_or_default());
        let mut words: u8 = 5;
        if let Some((own, echo)) = self.timestamp().zip(to.timestamp()) {
            frame.extend([NOP, NOP, TIMESTAMPS, TIMESTAMPS_LEN as u8]);
            frame.extend(own);
            frame.extend(echo);
            words += 3;
        }
        put(frame, l4 + 12, &[words << 4]);
        self.finish_segment(frame, Made { flags: ACK, ..made });
    }

    fn finish_segment(&self, frame: &mut [u8], made: Made) {
        let l4 = usize::from(self.parsed.l4);
        put(frame, l4 + 4, &made.seq.to_be_bytes());
        put(frame, l4 + 8, &made.ack.to_be_bytes());
        put(frame, l4 + 13, &[made.flags]);
        if made.flags & URG == 0 {
            put_u16(frame, l4 + 18, 0);
        }
        self.finish(frame, Proto::TCP, 16);
    }

    /// Writes a datagram like this one with another payload; `None` if it is too long for one. A
    /// checksum of zero stays zero.
    pub fn datagram(&self, frame: &mut Vec<u8>, payload: &[u8]) -> Option<()> {
        let l4 = usize::from(self.parsed.l4);
        frame.clear();
        frame.extend_from_slice(&self.bytes);
        frame.extend_from_slice(payload);
        let len = u16::try_from(payload.len() + 8).ok()?;
        u16::try_from(frame.len() - usize::from(self.parsed.l3)).ok()?;
        put_u16(frame, l4 + 4, len);
        let unsummed = array_at::<2>(frame, l4 + 6) == Some([0, 0]);
        self.finish(frame, Proto::UDP, 6);
        if unsummed {
            put_u16(frame, l4 + 6, 0);
        } else if array_at::<2>(frame, l4 + 6) == Some([0, 0]) {
            put_u16(frame, l4 + 6, 0xffff);
        }
        Some(())
    }

    /// Writes lengths and checksums.
    fn finish(&self, frame: &mut [u8], proto: Proto, checksum_at: usize) {
        let (l3, l4) = (usize::from(self.parsed.l3), usize::from(self.parsed.l4));
        let ip_len = frame.len() - l3;
        // Frames here are no longer than a link takes, or were checked.
        let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let addresses = match self.parsed.net {
            Net::V4 | Net::Arp => {
                put_u16(frame, l3 + 2, short(ip_len));
                put_u16(frame, l3 + 10, 0);
                let mut sum = Sum::new();
                sum.add(frame.get(l3..l4).unwrap_or_default());
                put_u16(frame, l3 + 10, sum.checksum());
                l3 + 12..l3 + 20
            }
            Net::V6 => {
                put_u16(frame, l3 + 4, short(ip_len - 40));
                l3 + 8..l3 + 40
            }
        };
        put_u16(frame, l4 + checksum_at, 0);
        let l4_len = u32::try_from(frame.len() - l4).unwrap_or(u32::MAX);
        let addresses = frame.get(addresses).unwrap_or_default();
        let mut sum = Sum::pseudo_header(addresses, &[], proto, l4_len);
        sum.add(frame.get(l4..).unwrap_or_default());
        put_u16(frame, l4 + checksum_at, sum.checksum());
    }
}

/// The flags of one of several segments that go out in the place of one with these.
pub const fn flags_of(flags: u8, is_first: bool, is_last: bool) -> u8 {
    let mut kept = flags;
    if !is_last {
        kept &= !(FIN | PSH);
    }
    if !is_first {
        kept &= !URG;
    }
    kept
}
