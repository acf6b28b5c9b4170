//! SCTP on the wire: its chunks, and its CRC32c checksum (RFC 9260).
//!
//! The checksum covers the common header and every chunk, but no addresses. A change of ports is
//! carried into it by the difference, because a CRC is linear: the difference of two packets of
//! one length has the difference of their sums, and all that is behind the ports is zero in it.

use crc32c::{crc32c, crc32c_append};
use turnpike_conntrack::segment::{Checksum, Chunk, ChunkSet, SctpSegment, TagOwner};

use super::bytes::{array_at, put, u8_at, u16_at, u32_at};
use super::parse::Parsed;
use super::verify::for_range;
use crate::buffer::Buffer;

/// Length of the common header.
pub(super) const HEADER_LEN: usize = 12;
/// Offset of the checksum in it.
pub(super) const CHECKSUM_AT: usize = 8;
/// Length of what a change of ports changes.
const PORTS_LEN: usize = 4;
/// Length of a chunk's header.
const CHUNK_LEN: usize = 4;
/// Length of INIT and INIT-ACK without parameters.
const INIT_LEN: usize = 20;
/// Chunks that are looked at; what is behind them passes for data. Control chunks stand before
/// data (section 6.10).
const CHUNKS_MAX: usize = 64;
/// The type of AUTH (RFC 4895), the one chunk that may stand before a cookie.
const AUTH: u8 = 15;

/// What connection tracking reads of the packet in `head`; `None` if it is malformed: no chunk, a
/// length that cannot be, or chunks in company they must not have.
pub(super) fn segment(head: &[u8], parsed: &Parsed) -> Option<SctpSegment> {
    let whole = parsed.l4_len() as usize;
    let bytes = head.get(usize::from(parsed.l4)..)?;
    let bytes = bytes.get(..whole).unwrap_or(bytes);
    let mut sctp = SctpSegment {
        tag: u32_at(bytes, 4)?,
        chunks: ChunkSet::default(),
        initiate_tag: 0,
        owner: TagOwner::Receiver,
    };
    let (mut at, mut first) = (HEADER_LEN, true);
    for _ in 0..CHUNKS_MAX {
        if at >= whole && !first {
            return Some(sctp);
        }
        if at + CHUNK_LEN > bytes.len() && at + CHUNK_LEN <= whole {
            break;
        }
        let len = usize::from(u16_at(bytes, at + 2)?);
        let next = at + len.next_multiple_of(4);
        if len < CHUNK_LEN || at + len > whole {
            return None;
        }
        let kind = u8_at(bytes, at)?;
        let chunk = Chunk::of_type(kind);
        let alone = at == HEADER_LEN && next >= whole;
        if (chunk.is_alone() && !alone) || (chunk.is_first() && !first) {
            return None;
        }
        match chunk {
            Chunk::Init | Chunk::InitAck => {
                if len < INIT_LEN {
                    return None;
                }
                sctp.initiate_tag = u32_at(bytes, at + 4)?;
            }
            Chunk::Abort | Chunk::ShutdownComplete => {
                if u8_at(bytes, at + 1)? & 1 != 0 {
                    sctp.owner = TagOwner::Sender;
                }
            }
            Chunk::CookieEcho
            | Chunk::CookieAck
            | Chunk::Shutdown
            | Chunk::ShutdownAck
            | Chunk::Error
            | Chunk::Heartbeat
            | Chunk::HeartbeatAck
            | Chunk::Data => {}
        }
        sctp.chunks = sctp.chunks.with(chunk);
        first &= kind == AUTH;
        at = next;
    }
    // Beyond the head segment, or beyond the chunks that are looked at.
    sctp.chunks = sctp.chunks.with(Chunk::Data);
    Some(sctp)
}

/// Whether the checksum over all segments is right; `None` if there is no header.
pub(super) fn verify<B: Buffer>(buf: &B, parsed: &Parsed) -> Option<Checksum> {
    let l4 = usize::from(parsed.l4);
    let carried = u32::from_le_bytes(array_at(buf.head(), l4 + CHECKSUM_AT)?);
    let mut sum = crc32c(buf.head().get(l4..l4 + CHECKSUM_AT)?);
    sum = crc32c_append(sum, &[0; HEADER_LEN - CHECKSUM_AT]);
    let behind = (parsed.l4_len() as usize).checked_sub(HEADER_LEN)?;
    for_range(buf, l4 + HEADER_LEN, behind, |bytes| {
        sum = crc32c_append(sum, bytes);
    });
    Some(if sum == carried {
        Checksum::Good
    } else {
        Checksum::Bad
    })
}

/// Writes the right checksum into a whole SCTP packet, its common header first; one without a
/// header is left alone.
pub fn seal(packet: &mut [u8]) {
    put(packet, CHECKSUM_AT, &[0; HEADER_LEN - CHECKSUM_AT]);
    let sum = crc32c(packet);
    put(packet, CHECKSUM_AT, &sum.to_le_bytes());
}

/// What a change of ports adds to the checksum of an SCTP packet of `len` bytes, to be
/// exclusive-ored with the field as it stands in the packet.
pub(super) fn ports_difference(old: [u8; PORTS_LEN], new: [u8; PORTS_LEN], len: usize) -> [u8; 4] {
    const ZEROS: [u8; 512] = [0; 512];
    let mut change = old;
    change.iter_mut().zip(new).for_each(|(a, b)| *a ^= b);
    // A register that starts at zero: the library complements before and after.
    let step = |register: u32, bytes: &[u8]| !crc32c_append(!register, bytes);
    let mut register = step(0, &change);
    let mut behind = len.saturating_sub(PORTS_LEN);
    while behind > 0 {
        let zeros = ZEROS.get(..behind).unwrap_or(&ZEROS);
        register = step(register, zeros);
        behind -= zeros.len();
    }
    register.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::craft::Craft;
    use crate::packet::parse::inspect;
    use proptest::prelude::*;
    use turnpike_conntrack::tuple::Proto;

    fn of(chunks: &[u8]) -> Option<SctpSegment> {
        let mut packet = vec![0, 7, 0, 9, 0, 0, 0, 5, 0, 0, 0, 0];
        packet.extend(chunks);
        let craft = Craft::other([10, 0, 0, 2].into(), [10, 0, 0, 3].into(), Proto::SCTP)?;
        let frame = craft.payload(&packet).frame()?;
        let parsed = inspect(&frame, frame.len()).unwrap();
        segment(&frame, &parsed)
    }

    fn kinds(chunks: &[u8]) -> Option<Vec<Chunk>> {
        of(chunks).map(|sctp| sctp.chunks.iter().collect())
    }

    const INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 77, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];

    #[test]
    fn chunks_are_told_with_their_tags() {
        let init = of(&INIT).unwrap();
        assert_eq!((init.tag, init.initiate_tag), (5, 77));
        assert!(init.chunks.contains(Chunk::Init));
        let abort = of(&[6, 1, 0, 4]).unwrap();
        assert_eq!(abort.owner, TagOwner::Sender);
        assert_eq!(of(&[6, 0, 0, 4]).unwrap().owner, TagOwner::Receiver);
        let echo = [10, 0, 0, 5, 9, 0, 0, 0, 0, 3, 0, 4];
        assert_eq!(kinds(&echo).unwrap(), [Chunk::CookieEcho, Chunk::Data]);
        assert_eq!(kinds(&[7, 0, 0, 8, 0, 0, 0, 0]).unwrap(), [Chunk::Shutdown]);
    }

    #[test]
    fn the_padding_of_the_last_chunk_may_be_missing() {
        assert_eq!(kinds(&[4, 0, 0, 5, 1]).unwrap(), [Chunk::Heartbeat]);
    }

    #[test]
    fn a_cookie_stands_first_or_behind_its_authentication() {
        let (echo, auth, sack) = ([10, 0, 0, 4], [15, 0, 0, 4], [3, 0, 0, 4]);
        assert!(kinds(&[auth, echo].concat()).is_some());
        assert!(kinds(&[echo, sack].concat()).is_some());
        assert!(kinds(&[sack, echo].concat()).is_none());
        assert!(kinds(&[sack, [11, 0, 0, 4]].concat()).is_none());
    }

    #[test]
    fn what_cannot_be_is_malformed() {
        let in_company = |alone: &[u8]| [alone, &[3, 0, 0, 4]].concat();
        for bytes in [
            &[][..],
            &[0, 0, 0],
            &[0, 0, 0, 3],
            &[0, 0, 0, 9, 1, 2, 3, 4],
            &[3, 0, 0, 4, 0],
            &INIT[..16],
            &in_company(&INIT),
            &in_company(&[14, 0, 0, 4]),
            &[[3, 0, 0, 4], [14, 0, 0, 4]].concat(),
        ] {
            assert_eq!(of(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn no_more_chunks_are_looked_at_than_the_limit() {
        let mut many = [3, 0, 0, 4].repeat(CHUNKS_MAX);
        many.extend([7, 0, 0, 4]);
        assert_eq!(kinds(&many).unwrap(), [Chunk::Data]);
        assert_eq!(kinds(&many[4..]).unwrap(), [Chunk::Data, Chunk::Shutdown]);
    }

    #[test]
    fn the_published_check_value_holds() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_change_of_ports_by_difference_equals_summing_again(
            mut packet in proptest::collection::vec(any::<u8>(), 12..3_000),
            ports in any::<[u8; 4]>(),
        ) {
            seal(&mut packet);
            let mut summed = packet.clone();
            summed[..4].copy_from_slice(&ports);
            seal(&mut summed);
            let difference = ports_difference(
                packet[..4].try_into().unwrap(), ports, packet.len());
            packet[..4].copy_from_slice(&ports);
            packet[8..12].iter_mut().zip(difference).for_each(|(a, b)| *a ^= b);
            prop_assert_eq!(packet, summed);
        }
    }
}
