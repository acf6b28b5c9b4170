//! Cutting a packet into fragments for a link that takes no larger ones.
//!
//! IPv4 as RFC 791 section 3.2 has it. IPv6 only where the packet came in fragments and was
//! reassembled here: it then still carries its fragment header, and with it the identification.

use arrayvec::ArrayVec;

use super::bytes::{array_at, put, put_u16, u16_at};
use super::checksum::Sum;
use super::headers::{IPV4_LEN, IPV6_LEN};
use super::ipv6::{FRAGMENT_LEN, walk};
use super::parse::{Net, Parsed, inspect};

/// The packet may not be cut, or the link takes less than a header and eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unfragmentable;

/// The longest IPv4 header.
const IPV4_HEADER_MAX: usize = 60;
const MORE_V4: u16 = 0x2000;
const MORE_V6: u16 = 0x0001;

/// Hands the frame to `take` in pieces whose IP packets are at most `mtu` bytes, in order.
///
/// Each piece is a frame with the Ethernet header of the whole. A packet that fits is handed on as
/// it is.
///
/// # Errors
///
/// [`Unfragmentable`] if the packet may not be cut or is not valid; nothing was taken.
pub fn fragment(frame: &[u8], mtu: u16, mut take: impl FnMut(&[u8])) -> Result<(), Unfragmentable> {
    let parsed = inspect(frame, frame.len()).map_err(|_| Unfragmentable)?;
    let end = usize::from(parsed.l3) + parsed.ip_len as usize;
    if parsed.net != Net::Arp && parsed.ip_len <= u32::from(mtu) {
        take(frame.get(..end).ok_or(Unfragmentable)?);
        return Ok(());
    }
    if parsed.dont_fragment {
        return Err(Unfragmentable);
    }
    let cut = match parsed.net {
        Net::Arp => None,
        Net::V4 => Cut::ipv4(frame, &parsed),
        Net::V6 => Cut::ipv6(frame, &parsed),
    }
    .ok_or(Unfragmentable)?;
    let data = frame.get(cut.data_at..end).ok_or(Unfragmentable)?;
    cut.pieces(data, usize::from(mtu), take)
}

/// How a packet is cut.
struct Cut<'a> {
    net: Net,
    l3: usize,
    /// Ethernet and IP headers of the first piece.
    first: &'a [u8],
    /// The same for later pieces: without the IPv4 options that are not copied.
    later: ArrayVec<u8, { 22 + IPV4_HEADER_MAX }>,
    /// Offset of what is cut, in the frame.
    data_at: usize,
    /// Where the data belongs, in bytes: not zero if the packet is a fragment itself.
    base: usize,
    /// Whether other fragments follow the last piece.
    more_behind: bool,
}

impl<'a> Cut<'a> {
    fn ipv4(frame: &'a [u8], parsed: &Parsed) -> Option<Self> {
        let l3 = usize::from(parsed.l3);
        let data_at = usize::from(parsed.l4);
        let field = u16_at(frame, l3 + 6)?;
        let mut later = ArrayVec::new();
        later
            .try_extend_from_slice(frame.get(..l3 + IPV4_LEN)?)
            .ok()?;
        copied_options(frame.get(l3 + IPV4_LEN..data_at)?, &mut later)?;
        Some(Self {
            net: Net::V4,
            l3,
            first: frame.get(..data_at)?,
            later,
            data_at,
            base: usize::from(parsed.fragment.offset()),
            more_behind: field & MORE_V4 != 0,
        })
    }

    fn ipv6(frame: &'a [u8], parsed: &Parsed) -> Option<Self> {
        let l3 = usize::from(parsed.l3);
        let header_at = l3 + walk(frame.get(l3..)?).ok()?.fragment_at?;
        let data_at = header_at + FRAGMENT_LEN;
        Some(Self {
            net: Net::V6,
            l3,
            first: frame.get(..data_at)?,
            later: ArrayVec::new(),
            data_at,
            base: 0,
            more_behind: false,
        })
    }

    fn pieces(
        &self,
        data: &[u8],
        mtu: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Unfragmentable> {
        let longest = self.first.len().max(self.later.len()) - self.l3;
        let room = mtu.saturating_sub(longest) & !7;
        if room == 0 {
            return Err(Unfragmentable);
        }
        let mut out = Vec::with_capacity(self.l3 + mtu);
        let mut offset = 0;
        for chunk in data.chunks(room) {
            let header = match self.net {
                Net::V4 if offset > 0 => self.later.as_slice(),
                Net::Arp | Net::V4 | Net::V6 => self.first,
            };
            out.clear();
            out.extend_from_slice(header);
            out.extend_from_slice(chunk);
            let more = offset + chunk.len() < data.len() || self.more_behind;
            self.seal(&mut out, header.len(), self.base + offset, more);
            take(&out);
            offset += chunk.len();
        }
        Ok(())
    }

    /// Writes length, offset and flags of one piece, and the IPv4 checksum.
    fn seal(&self, out: &mut [u8], header_len: usize, offset: usize, more: bool) {
        // Pieces are shorter than the packet they are cut from, and so are their offsets.
        let ip_len = u16::try_from(out.len() - self.l3).unwrap_or(u16::MAX);
        let offset = u16::try_from(offset).unwrap_or(u16::MAX) & 0xfff8;
        match self.net {
            Net::Arp => {}
            Net::V4 => {
                let flag = if more { MORE_V4 } else { 0 };
                put_u16(out, self.l3 + 2, ip_len);
                put_u16(out, self.l3 + 6, offset >> 3 | flag);
                let words = (header_len - self.l3) / 4;
                put(out, self.l3, &[0x40 | u8::try_from(words).unwrap_or(15)]);
                seal_ipv4(out, self.l3, header_len);
            }
            Net::V6 => {
                let flag = if more { MORE_V6 } else { 0 };
                let payload = ip_len.saturating_sub(IPV6_LEN as u16);
                put_u16(out, self.l3 + 4, payload);
                put_u16(out, header_len - FRAGMENT_LEN + 2, offset | flag);
            }
        }
    }
}

/// Writes the checksum of the IPv4 header between two offsets.
pub(super) fn seal_ipv4(frame: &mut [u8], l3: usize, end: usize) {
    put_u16(frame, l3 + 10, 0);
    let mut sum = Sum::new();
    sum.add(frame.get(l3..end).unwrap_or_default());
    put_u16(frame, l3 + 10, sum.checksum());
}

/// Appends the options that every fragment carries (the copied flag, RFC 791 section 3.1).
fn copied_options<const N: usize>(options: &[u8], out: &mut ArrayVec<u8, N>) -> Option<()> {
    let start = out.len();
    let mut rest = options;
    while let [kind, ..] = rest {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(array_at::<2>(rest, 0)?[1]),
        };
        let (option, after) = rest.split_at_checked(len.max(1))?;
        if kind & 0x80 != 0 {
            out.try_extend_from_slice(option).ok()?;
        }
        rest = after;
    }
    while (out.len() - start) % 4 != 0 {
        out.try_push(0).ok()?;
    }
    Some(())
}
