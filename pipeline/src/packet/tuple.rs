//! Addresses and tuples, read from the packet as it stands.

use std::net::IpAddr;

use turnpike_conntrack::tuple::{Address, Family, Port, Proto, Tuple};

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::gre;
use super::headers::{ICMP_REDIRECT, ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST};
use super::parse::{Net, Parsed};

/// What an ICMP or ICMPv6 message is to connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpRole {
    /// It asks, and its answer carries the same identifier.
    Request,
    /// It answers a request of type `request`.
    Reply {
        /// The type of the request.
        request: u8,
    },
    /// It is about another packet, which it quotes.
    Error,
    /// Anything else: neighbour and router discovery, multicast listeners, unknown types.
    Other,
}

impl IcmpRole {
    /// The role of a message of type `kind` in a packet of this protocol; `None` if the protocol
    /// is neither ICMP nor ICMPv6.
    pub const fn of(proto: Proto, kind: u8) -> Option<Self> {
        match proto {
            Proto::ICMP => Some(Self::of_icmp(kind)),
            Proto::ICMPV6 => Some(Self::of_icmpv6(kind)),
            _ => None,
        }
    }

    /// RFC 792, RFC 950: echo, timestamp, information and address mask.
    const fn of_icmp(kind: u8) -> Self {
        match kind {
            8 | 13 | 15 | 17 => Self::Request,
            0 => Self::Reply { request: 8 },
            14 | 16 | 18 => Self::Reply { request: kind - 1 },
            3 | 4 | 5 | 11 | 12 => Self::Error,
            _ => Self::Other,
        }
    }

    /// RFC 4443.
    const fn of_icmpv6(kind: u8) -> Self {
        match kind {
            ICMPV6_ECHO_REQUEST => Self::Request,
            ICMPV6_ECHO_REPLY => Self::Reply {
                request: ICMPV6_ECHO_REQUEST,
            },
            1..=4 => Self::Error,
            _ => Self::Other,
        }
    }
}

impl Parsed {
    /// The tuple of the packet in `head`; `None` if it is not of this family.
    ///
    /// Ports are zero for later fragments, for protocols without ports, and for ICMP messages
    /// that are not queries; a GRE call shows its receiver's id (see [`Tuple`]).
    pub fn tuple<F: Family>(&self, head: &[u8]) -> Option<Tuple<F>> {
        if self.version() != Some(F::VERSION) {
            return None;
        }
        let l4 = self
            .fragment
            .has_transport()
            .then(|| head.get(usize::from(self.l4)..).unwrap_or_default());
        tuple_of(head.get(usize::from(self.l3)..)?, l4, self.proto)
    }

    /// The source address of the packet in `head`; `None` for ARP.
    pub fn src_ip(&self, head: &[u8]) -> Option<IpAddr> {
        let l3 = usize::from(self.l3);
        match self.net {
            Net::Arp => None,
            Net::V4 => array_at::<4>(head, l3 + 12).map(IpAddr::from),
            Net::V6 => array_at::<16>(head, l3 + 8).map(IpAddr::from),
        }
    }

    /// The destination address of the packet in `head`; `None` for ARP.
    pub fn dst_ip(&self, head: &[u8]) -> Option<IpAddr> {
        let l3 = usize::from(self.l3);
        match self.net {
            Net::Arp => None,
            Net::V4 => array_at::<4>(head, l3 + 16).map(IpAddr::from),
            Net::V6 => array_at::<16>(head, l3 + 24).map(IpAddr::from),
        }
    }

    /// 4 or 6; `None` for ARP.
    pub const fn version(&self) -> Option<u8> {
        match self.net {
            Net::Arp => None,
            Net::V4 => Some(4),
            Net::V6 => Some(6),
        }
    }

    /// Whether it is an ICMP redirect. ICMPv6's are part of neighbour discovery.
    pub fn is_redirect(&self) -> bool {
        self.proto == Proto::ICMP && matches!(self.icmp(), Some((ICMP_REDIRECT, _)))
    }

    /// What the packet is to connection tracking, if it is an ICMP message of its family.
    pub const fn icmp_role(&self) -> Option<IcmpRole> {
        match self.icmp() {
            Some((kind, _)) => IcmpRole::of(self.proto, kind),
            None => None,
        }
    }
}

/// Offsets of the source and destination address in an IP header of this family.
pub(super) const fn address_offsets<F: Family>() -> (usize, usize) {
    if F::VERSION == 4 { (12, 16) } else { (8, 24) }
}

/// The address at `at`; `None` past the end.
pub(super) fn address_at<F: Family>(bytes: &[u8], at: usize) -> Option<F::Addr> {
    let bits = if F::VERSION == 4 {
        u128::from(u32_at(bytes, at)?)
    } else {
        u128::from_be_bytes(array_at(bytes, at)?)
    };
    Some(F::Addr::from_bits(bits))
}

/// The tuple of the packet whose IP header starts at `ip` and its layer-4 header, if it has one,
/// at `l4`. `None` where a header it needs is cut short.
pub(super) fn tuple_of<F: Family>(ip: &[u8], l4: Option<&[u8]>, proto: Proto) -> Option<Tuple<F>> {
    let (src_at, dst_at) = address_offsets::<F>();
    let (src_port, dst_port) = match l4 {
        Some(l4) => ports_of::<F>(l4, proto)?,
        None => (Port(0), Port(0)),
    };
    Some(Tuple {
        src: address_at::<F>(ip, src_at)?,
        dst: address_at::<F>(ip, dst_at)?,
        src_port,
        dst_port,
        proto,
    })
}

fn ports_of<F: Family>(l4: &[u8], proto: Proto) -> Option<(Port, Port)> {
    if proto.has_ports() {
        return Some((Port(u16_at(l4, 0)?), Port(u16_at(l4, 2)?)));
    }
    if proto == Proto::GRE {
        return Some((Port(0), gre::call_id(l4).unwrap_or_default()));
    }
    if !is_icmp_of::<F>(proto) {
        return Some((Port(0), Port(0)));
    }
    let kind = u8_at(l4, 0)?;
    let id = Port(u16_at(l4, 4)?);
    Some(match IcmpRole::of(proto, kind) {
        Some(IcmpRole::Request) => (id, Port(u16::from(kind))),
        Some(IcmpRole::Reply { request }) => (Port(u16::from(request)), id),
        Some(IcmpRole::Error | IcmpRole::Other) | None => (Port(0), Port(0)),
    })
}

/// Whether `proto` is this family's ICMP: ICMP inside IPv6 is a protocol like any other.
pub(super) fn is_icmp_of<F: Family>(proto: Proto) -> bool {
    match F::VERSION {
        4 => proto == Proto::ICMP,
        _ => proto == Proto::ICMPV6,
    }
}
