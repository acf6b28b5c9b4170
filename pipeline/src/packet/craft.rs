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

use turnpike_conntrack::tuple::Proto;

use super::bytes::put_u16;
use super::frame::{Addresses, FrameWriter, IpFields, ethernet};
use super::headers::{DEFAULT_TTL, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN};
use super::parse::VlanId;
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
        let checksum_at = match self.l4 {
            L4::Tcp(src, dst, tcp) => {
                push_tcp(&mut frame, src, dst, &tcp);
                Some(16)
            }
            L4::Udp(src, dst, checksum) => {
                let len = u16::try_from(self.payload.len() + 8).ok()?;
                for word in [src, dst, len, 0] {
                    frame.push(&word.to_be_bytes());
                }
                match checksum {
                    UdpChecksum::Right => Some(6),
                    UdpChecksum::Zero => None,
                }
            }
            L4::Icmp(icmp) => {
                frame.push(&[icmp.kind, icmp.code, 0, 0]);
                frame
                    .push(&icmp.id.to_be_bytes())
                    .push(&icmp.seq.to_be_bytes());
                Some(2)
            }
            L4::Other(_) => None,
        };
        frame.push(&self.payload);
        frame.finish(checksum_at)?;
        Some(out)
    }

    const fn proto(&self) -> Proto {
        match (self.l4, self.ip.addresses) {
            (L4::Tcp(..), _) => Proto::TCP,
            (L4::Udp(..), _) => Proto::UDP,
            (L4::Icmp(_), Addresses::V4 { .. }) => Proto::ICMP,
            (L4::Icmp(_), Addresses::V6 { .. }) => Proto::ICMPV6,
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
