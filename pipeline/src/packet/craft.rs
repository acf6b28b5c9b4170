//! Whole valid frames from a few words, for tests and for packets given in words.
//!
//! ```
//! use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
//! use turnpike_pipeline::packet::headers::TCP_SYN;
//!
//! let frame = Craft::tcp("10.0.0.2:40000".parse()?, "1.1.1.1:443".parse()?, TcpSpec {
//!     flags: TCP_SYN,
//!     ..TcpSpec::default()
//! })
//! .and_then(|craft| craft.ttl(63).frame());
//! assert_eq!(frame.map(|bytes| bytes.len()), Some(54));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

use std::net::{IpAddr, SocketAddr};

use turnpike_conntrack::segment::DccpType;
use turnpike_conntrack::tuple::Proto;

use super::bytes::put_u16;
use super::frame::{Addresses, FrameWriter, IpFields, ethernet};
use super::headers::{DEFAULT_TTL, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN};
use super::parse::VlanId;
use super::sctp;
use crate::ids::Mac;

/// The destination of crafted frames unless told otherwise: a locally administered address.
pub const CRAFT_DST: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// The source of crafted frames unless told otherwise.
pub const CRAFT_SRC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// A frame to be built: everything has a default but addresses and protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Craft {
    dst: Mac,
    src: Mac,
    vlans: Vlans,
    ip: IpSpec,
    l4: L4,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vlans {
    None,
    One(VlanId),
    Two(VlanId, VlanId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IpSpec {
    addresses: Addresses,
    ttl: u8,
    tos: u8,
    id: u16,
    flags: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum L4 {
    Tcp(u16, u16, TcpSpec),
    Udp(u16, u16, UdpChecksum),
    Icmp(IcmpSpec),
    UdpLite(u16, u16, u16),
    Dccp(u16, u16, DccpSpec),
    Sctp(u16, u16, u32),
    Other(Proto),
}

/// The fields of a TCP header other than its ports; the default is all zeros but the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSpec {
    /// Flags, see [`super::headers`].
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window.
    pub window: u16,
    /// Options, padded with zeros to a multiple of four bytes; at most 40 are taken.
    pub options: &'static [u8],
}

impl Default for TcpSpec {
    fn default() -> Self {
        Self {
            flags: 0,
            seq: 0,
            ack: 0,
            window: 0xffff,
            options: &[],
        }
    }
}

/// Whether a UDP datagram carries a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UdpChecksum {
    /// A right one.
    #[default]
    Right,
    /// Zero, "none".
    Zero,
}

/// A DCCP header with long sequence numbers; the default is a Request with a checksum over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DccpSpec {
    /// Packet type.
    pub kind: DccpType,
    /// Checksum coverage, 0 to 15, as it stands in the header.
    pub coverage: u8,
}

impl Default for DccpSpec {
    fn default() -> Self {
        Self {
            kind: DccpType::Request,
            coverage: 0,
        }
    }
}

/// Where an Internet checksum goes, if there is one, and how many bytes it covers.
struct SumPlace {
    at: Option<usize>,
    covered: usize,
}

/// Length of a crafted DCCP header: enough for what any type needs.
const DCCP_LEN: usize = 28;

/// An ICMP or ICMPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IcmpSpec {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier, or the high half of whatever follows the checksum.
    pub id: u16,
    /// Sequence number, or the low half.
    pub seq: u16,
}

impl Craft {
    /// A TCP segment; `None` if the addresses are of two families.
    pub fn tcp(src: SocketAddr, dst: SocketAddr, tcp: TcpSpec) -> Option<Self> {
        Self::new(src.ip(), dst.ip(), L4::Tcp(src.port(), dst.port(), tcp))
    }

    /// A UDP datagram; `None` if the addresses are of two families.
    pub fn udp(src: SocketAddr, dst: SocketAddr) -> Option<Self> {
        let l4 = L4::Udp(src.port(), dst.port(), UdpChecksum::Right);
        Self::new(src.ip(), dst.ip(), l4)
    }

    /// An ICMP or ICMPv6 message, as the addresses have it; `None` if they are of two families.
    pub fn icmp(src: IpAddr, dst: IpAddr, icmp: IcmpSpec) -> Option<Self> {
        Self::new(src, dst, L4::Icmp(icmp))
    }

    /// A UDP-Lite datagram whose checksum covers `coverage` bytes, all if zero; `None` if the
    /// addresses are of two families.
    pub fn udp_lite(src: SocketAddr, dst: SocketAddr, coverage: u16) -> Option<Self> {
        let l4 = L4::UdpLite(src.port(), dst.port(), coverage);
        Self::new(src.ip(), dst.ip(), l4)
    }

    /// A DCCP packet; `None` if the addresses are of two families.
    pub fn dccp(src: SocketAddr, dst: SocketAddr, dccp: DccpSpec) -> Option<Self> {
        Self::new(src.ip(), dst.ip(), L4::Dccp(src.port(), dst.port(), dccp))
    }

    /// An SCTP packet with this verification tag, whose payload is its chunks; `None` if the
    /// addresses are of two families.
    pub fn sctp(src: SocketAddr, dst: SocketAddr, tag: u32) -> Option<Self> {
        Self::new(src.ip(), dst.ip(), L4::Sctp(src.port(), dst.port(), tag))
    }

    /// A packet whose payload is of protocol `proto` and taken as it is; `None` if the addresses
    /// are of two families.
    pub fn other(src: IpAddr, dst: IpAddr, proto: Proto) -> Option<Self> {
        Self::new(src, dst, L4::Other(proto))
    }

    fn new(src: IpAddr, dst: IpAddr, l4: L4) -> Option<Self> {
        Some(Self {
            dst: CRAFT_DST,
            src: CRAFT_SRC,
            vlans: Vlans::None,
            ip: IpSpec {
                addresses: Addresses::new(src, dst)?,
                ttl: DEFAULT_TTL,
                tos: 0,
                id: 0,
                flags: 0,
            },
            l4,
            payload: Vec::new(),
        })
    }

    /// With these Ethernet addresses.
    #[must_use]
    pub const fn macs(mut self, dst: Mac, src: Mac) -> Self {
        self.dst = dst;
        self.src = src;
        self
    }

    /// With an 802.1Q tag.
    #[must_use]
    pub const fn vlan(mut self, id: VlanId) -> Self {
        self.vlans = Vlans::One(id);
        self
    }

    /// With an 802.1ad tag and an 802.1Q tag inside it.
    #[must_use]
    pub const fn qinq(mut self, outer: VlanId, inner: VlanId) -> Self {
        self.vlans = Vlans::Two(outer, inner);
        self
    }

    /// With this time to live or hop limit; the default is 64.
    #[must_use]
    pub const fn ttl(mut self, ttl: u8) -> Self {
        self.ip.ttl = ttl;
        self
    }

    /// With this type of service or traffic class; the default is zero.
    #[must_use]
    pub const fn tos(mut self, tos: u8) -> Self {
        self.ip.tos = tos;
        self
    }

    /// With this IPv4 identification.
    #[must_use]
    pub const fn id(mut self, id: u16) -> Self {
        self.ip.id = id;
        self
    }

    /// With these IPv4 flags and fragment offset, as they stand in the header.
    #[must_use]
    pub const fn flags(mut self, flags: u16) -> Self {
        self.ip.flags = flags;
        self
    }

    /// With or without a UDP checksum; other protocols always have theirs.
    #[must_use]
    pub const fn udp_checksum(mut self, checksum: UdpChecksum) -> Self {
        if let L4::Udp(src, dst, _) = self.l4 {
            self.l4 = L4::Udp(src, dst, checksum);
        }
        self
    }

    /// With these bytes behind the layer-4 header.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// With `len` bytes of a pattern behind the layer-4 header.
    #[must_use]
    pub fn payload_len(mut self, len: usize) -> Self {
        self.payload = (0..len).map(|i| (i % 251) as u8).collect();
        self
    }

    /// The frame; `None` if it is longer than an IP packet can be.
    pub fn frame(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(128 + self.payload.len());
        self.link(&mut out);
        let fields = IpFields {
            addresses: self.ip.addresses,
            proto: self.proto(),
            ttl: self.ip.ttl,
            tos: self.ip.tos,
            id: self.ip.id,
            flags: self.ip.flags,
        };
        let mut frame = FrameWriter::resume(&mut out, fields);
        let sum = self.push_header(&mut frame)?;
        frame.push(&self.payload);
        frame.finish_covering(sum.at, sum.covered)?;
        if let L4::Sctp(..) = self.l4 {
            let at = out.len() - self.payload.len() - sctp::HEADER_LEN;
            sctp::seal(out.get_mut(at..)?);
        }
        Some(out)
    }

    /// Writes the layer-4 header; where its checksum goes, and what that covers.
    fn push_header(&self, frame: &mut FrameWriter<'_>) -> Option<SumPlace> {
        let at = |at| SumPlace {
            at: Some(at),
            covered: usize::MAX,
        };
        let none = SumPlace {
            at: None,
            covered: 0,
        };
        let mut words = |words: [u16; 4]| {
            for word in words {
                frame.push(&word.to_be_bytes());
            }
        };
        Some(match self.l4 {
            L4::Tcp(src, dst, tcp) => {
                push_tcp(frame, src, dst, &tcp);
                at(16)
            }
            L4::Udp(src, dst, checksum) => {
                let len = u16::try_from(self.payload.len() + 8).ok()?;
                words([src, dst, len, 0]);
                match checksum {
                    UdpChecksum::Right => at(6),
                    UdpChecksum::Zero => none,
                }
            }
            L4::Icmp(icmp) => {
                let kind = u16::from_be_bytes([icmp.kind, icmp.code]);
                words([kind, 0, icmp.id, icmp.seq]);
                at(2)
            }
            L4::UdpLite(src, dst, coverage) => {
                words([src, dst, coverage, 0]);
                match coverage {
                    0 => at(6),
                    covered => SumPlace {
                        covered: usize::from(covered),
                        ..at(6)
                    },
                }
            }
            L4::Dccp(src, dst, dccp) => {
                push_dccp(frame, src, dst, dccp);
                match usize::from(dccp.coverage & 0x0f) {
                    0 => at(6),
                    words => SumPlace {
                        covered: DCCP_LEN + 4 * (words - 1),
                        ..at(6)
                    },
                }
            }
            L4::Sctp(src, dst, tag) => {
                frame.push(&src.to_be_bytes()).push(&dst.to_be_bytes());
                frame.push(&tag.to_be_bytes()).push(&[0; 4]);
                none
            }
            L4::Other(_) => none,
        })
    }

    const fn proto(&self) -> Proto {
        match (self.l4, self.ip.addresses) {
            (L4::Tcp(..), _) => Proto::TCP,
            (L4::Udp(..), _) => Proto::UDP,
            (L4::Icmp(_), Addresses::V4 { .. }) => Proto::ICMP,
            (L4::Icmp(_), Addresses::V6 { .. }) => Proto::ICMPV6,
            (L4::UdpLite(..), _) => Proto::UDPLITE,
            (L4::Dccp(..), _) => Proto::DCCP,
            (L4::Sctp(..), _) => Proto::SCTP,
            (L4::Other(proto), _) => proto,
        }
    }

    fn link(&self, out: &mut Vec<u8>) {
        let ip = match self.ip.addresses {
            Addresses::V4 { .. } => ETHERTYPE_IPV4,
            Addresses::V6 { .. } => ETHERTYPE_IPV6,
        };
        ethernet(out, self.dst, self.src, ip);
        let mut tag = |kind: u16, id: VlanId| {
            let at = out.len() - 2;
            put_u16(out, at, kind);
            out.extend(id.0.to_be_bytes());
            out.extend(ip.to_be_bytes());
        };
        match self.vlans {
            Vlans::None => {}
            Vlans::One(id) => tag(ETHERTYPE_VLAN, id),
            Vlans::Two(outer, inner) => {
                tag(ETHERTYPE_QINQ, outer);
                tag(ETHERTYPE_VLAN, inner);
            }
        }
    }
}

fn push_dccp(frame: &mut FrameWriter<'_>, src: u16, dst: u16, dccp: DccpSpec) {
    let words = u8::try_from(DCCP_LEN / 4).unwrap_or_default();
    frame
        .push(&src.to_be_bytes())
        .push(&dst.to_be_bytes())
        .push(&[words, dccp.coverage & 0x0f, 0, 0])
        .push(&[(dccp.kind as u8) << 1 | 1])
        .push(&[0; DCCP_LEN - 9]);
}

fn push_tcp(frame: &mut FrameWriter<'_>, src: u16, dst: u16, tcp: &TcpSpec) {
    let options = tcp.options.get(..40).unwrap_or(tcp.options);
    let padding = options.len().next_multiple_of(4) - options.len();
    let words = (20 + options.len() + padding) / 4;
    let offset = u8::try_from(words << 4).unwrap_or(0xf0);
    frame
        .push(&src.to_be_bytes())
        .push(&dst.to_be_bytes())
        .push(&tcp.seq.to_be_bytes())
        .push(&tcp.ack.to_be_bytes())
        .push(&[offset, tcp.flags])
        .push(&tcp.window.to_be_bytes())
        .push(&[0; 4])
        .push(options)
        .push([0; 4].get(..padding).unwrap_or_default());
}
