//! DCCP on the wire: header length, type, and how far the checksum reaches (RFC 4340).

use turnpike_conntrack::segment::DccpType;

use super::bytes::u8_at;
use super::parse::Parsed;

/// The generic header with 24-bit sequence numbers, and with 48-bit ones.
const SHORT_LEN: usize = 12;
const LONG_LEN: usize = 16;

/// The length of the header at the start of `bytes`, its options included; `None` if it is cut or
/// its data offset cannot be.
pub(super) fn header_len(bytes: &[u8]) -> Option<usize> {
    let len = 4 * usize::from(u8_at(bytes, 4)?);
    let fits = len >= generic_len(u8_at(bytes, 8)?) && len <= bytes.len();
    fits.then_some(len)
}

/// By the byte that holds the type: its last bit says how long sequence numbers are.
const fn generic_len(type_byte: u8) -> usize {
    if type_byte & 1 == 0 {
        SHORT_LEN
    } else {
        LONG_LEN
    }
}

/// The type of the packet in `head`; `None` if it is malformed: a reserved type, short sequence
/// numbers where they may not be, or a header without room for what the type needs.
pub(super) fn kind(head: &[u8], parsed: &Parsed) -> Option<DccpType> {
    let byte = u8_at(head, usize::from(parsed.l4) + 8)?;
    let kind = DccpType::of_number(byte >> 1 & 0x0f)?;
    let header = usize::from(parsed.payload - parsed.l4);
    let generic = generic_len(byte);
    // Behind the generic header: an acknowledgement number as long as the sequence number, with a
    // reserved part, and the service or reset code (section 5).
    let (long_only, more) = match kind {
        DccpType::Data => (false, 0),
        DccpType::Ack | DccpType::DataAck => (false, if generic == LONG_LEN { 8 } else { 4 }),
        DccpType::Request => (true, 4),
        DccpType::Response | DccpType::Reset => (true, 12),
        DccpType::CloseReq | DccpType::Close | DccpType::Sync | DccpType::SyncAck => (true, 8),
    };
    let sound = header >= generic + more && !(long_only && generic == SHORT_LEN);
    (sound && coverage(head, parsed).is_some()).then_some(kind)
}

/// How many bytes the checksum covers; `None` if they are more than there are (section 9.2).
pub(super) fn coverage(head: &[u8], parsed: &Parsed) -> Option<usize> {
    let whole = parsed.l4_len() as usize;
    match u8_at(head, usize::from(parsed.l4) + 5)? & 0x0f {
        0 => Some(whole),
        words => {
            let header = usize::from(parsed.payload - parsed.l4);
            let covered = header + 4 * (usize::from(words) - 1);
            (covered <= whole).then_some(covered)
        }
    }
}
