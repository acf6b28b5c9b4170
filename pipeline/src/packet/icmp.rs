//! ICMP and ICMPv6 errors about a packet (RFC 792, RFC 1812 section 4.3, RFC 4443).

use std::net::IpAddr;

use turnpike_conntrack::tuple::Proto;

use super::frame::{Addresses, DONT_FRAGMENT, FrameWriter, IpFields};
use super::headers::{
    DEFAULT_TTL, ICMP_LEN, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE, ICMPV6_PACKET_TOO_BIG,
    ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE, IPV4_LEN, IPV6_LEN,
};
use super::parse::{Net, Parsed};
use super::tuple::IcmpRole;
use super::verify::for_range;
use crate::buffer::Buffer;
use crate::policy::Unreachable;

/// The longest ICMP error, its IP header included (RFC 1812 section 4.3.2.3).
pub const ERROR_LEN_MAX_V4: usize = 576;
/// The longest ICMPv6 error, its IP header included (RFC 4443 section 2.4(c)).
pub const ERROR_LEN_MAX_V6: usize = 1280;

/// ICMP errors go with precedence "internetwork control" (RFC 1812 section 4.3.2.5).
const ERROR_TOS: u8 = 0xc0;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// It cannot be delivered.
    Unreachable(Unreachable),
    /// It is larger than the next link takes: "fragmentation needed", "packet too big".
    TooBig {
        /// The largest IP packet the next link takes, in bytes.
        mtu: u32,
    },
    /// Its time to live ran out.
    TtlExceeded,
    /// Its other fragments did not come in time.
    ReassemblyTimeExceeded,
}

impl IcmpError {
    /// Type, code and the 32 bits behind the checksum, for ICMP.
    const fn v4(self) -> (u8, u8, u32) {
        match self {
            Self::Unreachable(kind) => (ICMP_UNREACHABLE, unreachable_code_v4(kind), 0),
            Self::TooBig { mtu } => (ICMP_UNREACHABLE, 4, if mtu > 0xffff { 0xffff } else { mtu }),
            Self::TtlExceeded => (ICMP_TIME_EXCEEDED, 0, 0),
            Self::ReassemblyTimeExceeded => (ICMP_TIME_EXCEEDED, 1, 0),
        }
    }

    /// Type, code and the 32 bits behind the checksum, for ICMPv6.
    const fn v6(self) -> (u8, u8, u32) {
        match self {
            Self::Unreachable(kind) => (ICMPV6_UNREACHABLE, unreachable_code_v6(kind), 0),
            Self::TooBig { mtu } => (ICMPV6_PACKET_TOO_BIG, 0, mtu),
            Self::TtlExceeded => (ICMPV6_TIME_EXCEEDED, 0, 0),
            Self::ReassemblyTimeExceeded => (ICMPV6_TIME_EXCEEDED, 1, 0),
        }
    }
}

const fn unreachable_code_v4(kind: Unreachable) -> u8 {
    match kind {
        Unreachable::Network => 0,
        // RFC 7915 section 5.2 translates IPv6's code 2 to this one.
        Unreachable::Host | Unreachable::NotNeighbour => 1,
        Unreachable::Protocol => 2,
        Unreachable::Port => 3,
        Unreachable::SourceRoutingHeader => 5,
        Unreachable::NetProhibited => 9,
        Unreachable::HostProhibited => 10,
        Unreachable::AdminProhibited | Unreachable::HeadersTooLong => 13,
    }
}

const fn unreachable_code_v6(kind: Unreachable) -> u8 {
    match kind {
        Unreachable::Network => 0,
        Unreachable::Host => 3,
        Unreachable::Protocol | Unreachable::Port => 4,
        Unreachable::NetProhibited | Unreachable::HostProhibited | Unreachable::AdminProhibited => {
            1
        }
        Unreachable::NotNeighbour => 2,
        // RFC 6550 section 20.18 and RFC 8883 section 5.
        Unreachable::SourceRoutingHeader => 7,
        Unreachable::HeadersTooLong => 8,
    }
}

/// Whether the packet in `head` may be answered with `error`.
///
/// Never answered: ICMP errors and unknown ICMP messages, fragments other than the first,
/// anything sent to or from a group or a broadcast address (on the link too), from no address or
/// from loopback. "Packet too big" alone may answer an IPv6 multicast (RFC 4443 section 2.4(e)).
/// Directed broadcasts are the caller's to know.
pub fn may_answer(head: &[u8], parsed: &Parsed, error: IcmpError) -> bool {
    let (Some(src), Some(dst)) = (parsed.src_ip(head), parsed.dst_ip(head)) else {
        return false;
    };
    let answerable = match parsed.icmp_role() {
        Some(IcmpRole::Error | IcmpRole::Other) => false,
        Some(IcmpRole::Request | IcmpRole::Reply { .. }) | None => true,
    };
    let group_allowed = match error {
        IcmpError::TooBig { .. } => parsed.net == Net::V6,
        IcmpError::Unreachable(_) | IcmpError::TtlExceeded | IcmpError::ReassemblyTimeExceeded => {
            false
        }
    };
    let to_one = !is_group(dst) && !parsed.link.dst.is_multicast();
    answerable && parsed.fragment.has_transport() && is_host(src) && (to_one || group_allowed)
}

/// Whether an address names many stations.
fn is_group(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}

/// Whether an address can name one other station: RFC 1812 section 4.3.2.7's list, inverted.
pub(super) fn is_host(ip: IpAddr) -> bool {
    let reserved = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.octets()[0] >= 240,
        IpAddr::V6(_) => false,
    };
    !(reserved || is_group(ip) || ip.is_unspecified() || ip.is_loopback())
}

/// Writes the error that `from` sends to the source of the packet in `buf`.
///
/// The frame has a blank Ethernet header and quotes as much of the packet as fits. `None`, and
/// nothing useful in `out`, unless [`may_answer`] and `from` is of the packet's family.
pub fn write_error<B: Buffer>(
    out: &mut Vec<u8>,
    from: IpAddr,
    buf: &B,
    parsed: &Parsed,
    error: IcmpError,
) -> Option<()> {
    if !may_answer(buf.head(), parsed, error) {
        return None;
    }
    let addresses = Addresses::new(from, parsed.src_ip(buf.head())?)?;
    let (proto, tos, (kind, code, rest), room) = match addresses {
        Addresses::V4 { .. } => (
            Proto::ICMP,
            ERROR_TOS,
            error.v4(),
            ERROR_LEN_MAX_V4 - IPV4_LEN - ICMP_LEN,
        ),
        Addresses::V6 { .. } => (
            Proto::ICMPV6,
            0,
            error.v6(),
            ERROR_LEN_MAX_V6 - IPV6_LEN - ICMP_LEN,
        ),
    };
    let fields = IpFields {
        addresses,
        proto,
        ttl: DEFAULT_TTL,
        tos,
        id: 0,
        flags: DONT_FRAGMENT,
    };
    let mut frame = FrameWriter::start_blank(out, fields);
    frame.push(&[kind, code, 0, 0]).push(&rest.to_be_bytes());
    let quote = room.min(parsed.ip_len as usize);
    for_range(buf, usize::from(parsed.l3), quote, |bytes| {
        frame.push(bytes);
    });
    frame.finish(Some(2))
}
