//! The packet that an ICMP error quotes.

use turnpike_conntrack::tuple::{Family, Proto, Tuple};

use super::bytes::{array_at, u8_at, u16_at};
use super::headers::{ICMP_LEN, IPV4_LEN, IPV6_LEN};
use super::ipv6;
use super::parse::{Fragment, Parsed};
use super::tuple::{IcmpRole, is_icmp_of, tuple_of};

/// The least of a layer-4 header that an error must quote (RFC 792).
const L4_MIN: usize = 8;

/// A quoted packet whose connection can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quoted<F: Family> {
    /// Its tuple as quoted: the packet as it was when the error was made.
    pub tuple: Tuple<F>,
    /// Offset of its IP header in the frame.
    pub l3: u16,
    /// Offset of its layer-4 header in the frame; at least eight bytes of it are in the head.
    pub l4: u16,
    /// Offset of the end of what is quoted and in the head.
    pub end: u16,
}

impl<F: Family> Quoted<F> {
    /// How long the quoted packet was from its layer-4 header on, in bytes, before it was cut:
    /// what its own header says. `None` for the first piece of a fragmented one.
    pub(super) fn l4_len(&self, head: &[u8]) -> Option<usize> {
        let (l3, l4) = (usize::from(self.l3), usize::from(self.l4));
        let ip = head.get(l3..usize::from(self.end))?;
        let total = if F::VERSION == 4 {
            if u16_at(ip, 6)? & 0x2000 != 0 {
                return None;
            }
            usize::from(u16_at(ip, 2)?)
        } else {
            if ipv6::walk(ip).ok()?.fragment.is_fragment() {
                return None;
            }
            IPV6_LEN + usize::from(u16_at(ip, 4)?)
        };
        total.checked_sub(l4 - l3)
    }
}

/// The packet quoted by the ICMP error in `head`.
///
/// `None` if the packet is no error of this family, or what it quotes is cut before the ports, is
/// a later fragment, or is an error itself.
pub fn quoted<F: Family>(head: &[u8], parsed: &Parsed) -> Option<Quoted<F>> {
    let is_error = parsed.icmp_role() == Some(IcmpRole::Error);
    if parsed.version() != Some(F::VERSION) || !is_error {
        return None;
    }
    let l3 = usize::from(parsed.l4) + ICMP_LEN;
    let end = head
        .len()
        .min(usize::from(parsed.l3) + parsed.ip_len as usize);
    let ip = head.get(l3..end)?;
    let (l4_at, proto) = if F::VERSION == 4 {
        ipv4(ip)?
    } else {
        ipv6_chain(ip)?
    };
    let l4 = ip.get(l4_at..)?;
    if l4.len() < L4_MIN || is_error_message::<F>(l4, proto) {
        return None;
    }
    Some(Quoted {
        tuple: tuple_of(ip, Some(l4), proto)?,
        l3: u16::try_from(l3).ok()?,
        l4: u16::try_from(l3 + l4_at).ok()?,
        end: u16::try_from(end).ok()?,
    })
}

/// The tuple under which the connection of the packet in `head` is found: its own, or for an ICMP
/// error that of the answer to the packet it quotes. The other value says whether it quotes one.
pub fn connection_key<F: Family>(head: &[u8], parsed: &Parsed) -> Option<(Tuple<F>, bool)> {
    match quoted::<F>(head, parsed) {
        Some(quote) => Some((quote.tuple.inverse(), true)),
        None => Some((parsed.tuple::<F>(head)?, false)),
    }
}

/// Offset of the layer-4 header and the protocol of a quoted IPv4 packet.
fn ipv4(ip: &[u8]) -> Option<(usize, Proto)> {
    let [version, _, _, _, _, _, f0, f1, _, proto] = array_at::<10>(ip, 0)?;
    let header_len = 4 * usize::from(version & 0x0f);
    let later_fragment = u16::from_be_bytes([f0, f1]) & 0x1fff != 0;
    if version >> 4 != 4 || header_len < IPV4_LEN || later_fragment {
        return None;
    }
    Some((header_len, Proto(proto)))
}

fn ipv6_chain(ip: &[u8]) -> Option<(usize, Proto)> {
    if u8_at(ip, 0)? >> 4 != 6 {
        return None;
    }
    let walk = ipv6::walk(ip).ok()?;
    match walk.fragment {
        Fragment::Whole | Fragment::First { .. } => Some((walk.end, walk.proto)),
        Fragment::Middle { .. } | Fragment::Last { .. } => None,
    }
}

fn is_error_message<F: Family>(l4: &[u8], proto: Proto) -> bool {
    let kind = l4.first().copied().unwrap_or_default();
    is_icmp_of::<F>(proto) && IcmpRole::of(proto, kind) == Some(IcmpRole::Error)
}
