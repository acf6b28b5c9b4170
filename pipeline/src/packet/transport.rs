//! Layer-4 headers, their lengths checked.

use turnpike_conntrack::tuple::{Port, Proto};

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::headers::{ICMP_LEN, TCP_LEN, UDP_LEN};
use super::parse::{Net, Tcp, Transport};
use super::{dccp, sctp};
use crate::drops::DropReason;

/// How much of a packet's layer-4 part there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it, this many bytes.
    Whole(usize),
    /// The first fragment of it, this many bytes.
    First(usize),
}

/// Reads the header at the start of `bytes`: what the head segment has of the layer-4 part.
///
/// Returns the facts and the header's length.
pub(super) fn read(
    net: Net,
    proto: Proto,
    bytes: &[u8],
    extent: Extent,
) -> Result<(Transport, usize), DropReason> {
    let read = match (net, proto) {
        (_, Proto::TCP) => tcp(bytes),
        (_, Proto::UDP) => udp(bytes, extent),
        (_, Proto::UDPLITE) => udp_lite(bytes, extent),
        (_, Proto::SCTP) => ports(bytes, sctp::HEADER_LEN),
        (_, Proto::DCCP) => dccp::header_len(bytes).and_then(|len| ports(bytes, len)),
        (Net::V4, Proto::ICMP) | (Net::V6, Proto::ICMPV6) => icmp(bytes),
        _ => Some((Transport::Other, 0)),
    };
    read.ok_or(DropReason::L4Truncated)
}

fn tcp(bytes: &[u8]) -> Option<(Transport, usize)> {
    let len = 4 * usize::from(u8_at(bytes, 12)? >> 4);
    if len < TCP_LEN || len > bytes.len() {
        return None;
    }
    let tcp = Tcp {
        src: Port(u16_at(bytes, 0)?),
        dst: Port(u16_at(bytes, 2)?),
        seq: u32_at(bytes, 4)?,
        ack: u32_at(bytes, 8)?,
        flags: u8_at(bytes, 13)?,
        window: u16_at(bytes, 14)?,
    };
    Some((Transport::Tcp(tcp), len))
}

fn ports(bytes: &[u8], len: usize) -> Option<(Transport, usize)> {
    if bytes.len() < len {
        return None;
    }
    let src = Port(u16_at(bytes, 0)?);
    let dst = Port(u16_at(bytes, 2)?);
    Some((Transport::Ports { src, dst }, len))
}

fn udp(bytes: &[u8], extent: Extent) -> Option<(Transport, usize)> {
    let len = usize::from(u16_at(bytes, 4)?);
    let fits = match extent {
        Extent::Whole(all) => len <= all,
        Extent::First(some) => len > some,
    };
    if len < UDP_LEN || !fits {
        return None;
    }
    ports(bytes, UDP_LEN)
}

/// RFC 3828 section 3.1: coverage is zero for all, or at least the header.
fn udp_lite(bytes: &[u8], extent: Extent) -> Option<(Transport, usize)> {
    let coverage = usize::from(u16_at(bytes, 4)?);
    let fits = match extent {
        Extent::Whole(all) => coverage <= all,
        Extent::First(_) => true,
    };
    if (coverage != 0 && coverage < UDP_LEN) || !fits {
        return None;
    }
    ports(bytes, UDP_LEN)
}

fn icmp(bytes: &[u8]) -> Option<(Transport, usize)> {
    let [kind, code, _, _, hi, lo, _, _] = array_at::<ICMP_LEN>(bytes, 0)?;
    let id = u16::from_be_bytes([hi, lo]);
    Some((Transport::Icmp { kind, code, id }, ICMP_LEN))
}
