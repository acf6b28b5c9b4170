//! Copies of packets on their way to a sniffer: UDP datagrams that carry them whole.

use std::net::IpAddr;

use turnpike_conntrack::tuple::Proto;

use super::frame::{Addresses, FrameWriter, IpFields};
use super::headers::{DEFAULT_TTL, IPV4_LEN, IPV6_LEN, UDP_LEN};
use super::parse::inspect;
use super::verify::for_range;
use crate::buffer::Buffer;
use crate::policy::{Sniff, SniffForm};

/// TZSP: version 1, a received packet, Ethernet, and the tag that ends the list of tags.
const TZSP: [u8; 5] = [1, 0, 0, 1, 1];

/// The longest IP packet.
const IP_LEN_MAX: usize = 65_535;

/// Writes the datagram that takes the packet in `buf` from `own` to the sniffer.
///
/// The frame has a blank Ethernet header. Over IPv4 it may be cut into fragments, and `id` names
/// it; over IPv6 the copy is cut to what a link of `mtu` bytes carries. `None`, and nothing useful
/// in `out`, if `own` is of another family than the sniffer, or the packet is none.
pub fn write_copy<B: Buffer>(
    out: &mut Vec<u8>,
    (own, mtu): (IpAddr, u16),
    buf: &B,
    sniff: &Sniff,
    id: u16,
) -> Option<()> {
    let parsed = inspect(buf.head(), buf.frame_len()).ok()?;
    let addresses = Addresses::new(own, sniff.to.ip())?;
    let (front, start) = match sniff.form {
        SniffForm::Tzsp => (Front::Tzsp, 0),
        SniffForm::PacketCable(stream) => (Front::Stream(stream.to_be_bytes()), parsed.l3),
    };
    let room = match addresses {
        Addresses::V4 { .. } => IP_LEN_MAX - IPV4_LEN,
        Addresses::V6 { .. } => usize::from(mtu).checked_sub(IPV6_LEN)?,
    };
    let start = usize::from(start);
    let room = room.checked_sub(UDP_LEN + front.bytes().len())?;
    let copied = buf.frame_len().checked_sub(start)?.min(room);
    let length = u16::try_from(UDP_LEN + front.bytes().len() + copied).ok()?;
    let fields = IpFields {
        addresses,
        proto: Proto::UDP,
        ttl: DEFAULT_TTL,
        tos: 0,
        id,
        flags: 0,
    };
    let mut frame = FrameWriter::start_blank(out, fields);
    let port = sniff.to.port();
    for word in [port, port, length, 0] {
        frame.push(&word.to_be_bytes());
    }
    frame.push(front.bytes());
    for_range(buf, start, copied, |bytes| {
        frame.push(bytes);
    });
    frame.finish(Some(6))
}

/// What stands in front of the copy.
enum Front {
    Tzsp,
    Stream([u8; 4]),
}

impl Front {
    const fn bytes(&self) -> &[u8] {
        match self {
            Self::Tzsp => &TZSP,
            Self::Stream(number) => number,
        }
    }
}
