//! The only door: a frame becomes a [`Parsed`] or a drop reason.
//!
//! Checked here: header lengths, total lengths, option and extension chains, the IPv4 header
//! checksum, and that all headers lie in the head segment. Padding behind the IP packet is cut.
//! Not checked here: layer-4 checksums ([`super::verify`]), and whether addresses make sense.

use turnpike_conntrack::tuple::{Port, Proto};

use super::bytes::{array_at, u8_at, u16_at};
use super::checksum::verify_ipv4_header;
use super::headers::{
    ETHERNET_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN,
    IPV4_LEN, IPV6_LEN, VLAN_LEN,
};
use super::transport::{self, Extent};
use super::{arp, ipv6};
use crate::buffer::Buffer;
use crate::drops::DropReason;
use crate::ids::Mac;

/// What is known about a packet: offsets into its head, and facts as they were received.
///
/// A rewrite changes the buffer, not these facts; what reads addresses and ports through the
/// accessors sees the buffer. Offsets count from the start of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// The Ethernet header.
    pub link: Link,
    /// What the frame carries.
    pub net: Net,
    /// Offset of the IP or ARP header.
    pub l3: u16,
    /// Offset of the layer-4 header, or of a later fragment's data.
    pub l4: u16,
    /// Offset of what follows the layer-4 header; the same as `l4` without one.
    pub payload: u16,
    /// Length of the IP packet in bytes, its header included; zero for ARP.
    pub ip_len: u32,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// The layer-4 protocol, behind any extension headers.
    pub proto: Proto,
    /// Whether it may not be cut into fragments here. IPv6 packets may not, but for whole ones
    /// with a fragment header: they came in pieces (see [`super::reassembly`]).
    pub dont_fragment: bool,
    /// Whether it is a piece of a packet, and which.
    pub fragment: Fragment,
    /// Ports and the like.
    pub transport: Transport,
}

/// The Ethernet header with its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// The outer tag's identifier; `None` without tags or with a priority tag only.
    pub vlan: Option<VlanId>,
    /// The inner tag's identifier.
    pub inner_vlan: Option<VlanId>,
    /// The outer tag's priority (802.1Q), 0 to 7; zero without tags.
    pub priority: u8,
    /// Length of the header in bytes: 14, 18 or 22.
    pub len: u8,
}

/// A VLAN identifier, 1 to 4095.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VlanId(pub u16);

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Net {
    /// A whole Ethernet/IPv4 ARP packet.
    Arp,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether a packet is a piece of a larger one. Offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// It is whole (or an atomic fragment, RFC 6946).
    Whole,
    /// The first piece: it has the layer-4 header.
    First {
        /// The packet's identification.
        id: u32,
    },
    /// A piece with others on both sides.
    Middle {
        /// The packet's identification.
        id: u32,
        /// Where its data belongs.
        offset: u16,
    },
    /// The last piece.
    Last {
        /// The packet's identification.
        id: u32,
        /// Where its data belongs.
        offset: u16,
    },
}

impl Fragment {
    pub(super) const fn new(id: u32, offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First { id },
            (_, true) => Self::Middle { id, offset },
            (_, false) => Self::Last { id, offset },
        }
    }

    /// Where this piece's data belongs, in bytes from the start of the packet's data.
    pub const fn offset(self) -> u16 {
        match self {
            Self::Whole | Self::First { .. } => 0,
            Self::Middle { offset, .. } | Self::Last { offset, .. } => offset,
        }
    }

    /// Whether the layer-4 header is in this piece.
    pub const fn has_transport(self) -> bool {
        match self {
            Self::Whole | Self::First { .. } => true,
            Self::Middle { .. } | Self::Last { .. } => false,
        }
    }

    /// Whether it is a piece at all.
    pub const fn is_fragment(self) -> bool {
        match self {
            Self::Whole => false,
            Self::First { .. } | Self::Middle { .. } | Self::Last { .. } => true,
        }
    }
}

/// What the layer-4 header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A protocol without ports, a later fragment, or ARP.
    Other,
    /// A protocol with ports other than TCP.
    Ports {
        /// Source port.
        src: Port,
        /// Destination port.
        dst: Port,
    },
    /// TCP.
    Tcp(Tcp),
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The 16 bits behind the checksum: the identifier of a query.
        id: u16,
    },
}

/// The fixed part of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// Source port.
    pub src: Port,
    /// Destination port.
    pub dst: Port,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, as it stands even without the flag.
    pub ack: u32,
    /// The flags from CWR (0x80) to FIN (0x01).
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
}

impl Parsed {
    /// The length of the IP packet behind its layer-4 header, in bytes.
    pub fn payload_len(&self) -> u32 {
        (u32::from(self.l3) + self.ip_len).saturating_sub(u32::from(self.payload))
    }

    /// The length of the IP packet from its layer-4 header on, in bytes.
    pub fn l4_len(&self) -> u32 {
        (u32::from(self.l3) + self.ip_len).saturating_sub(u32::from(self.l4))
    }

    /// The ICMP or ICMPv6 type and code, if it is such a message.
    pub const fn icmp(&self) -> Option<(u8, u8)> {
        match self.transport {
            Transport::Icmp { kind, code, .. } => Some((kind, code)),
            Transport::Other | Transport::Ports { .. } | Transport::Tcp(_) => None,
        }
    }

    /// Source and destination port, if the packet has them.
    pub const fn ports(&self) -> Option<(Port, Port)> {
        match self.transport {
            Transport::Ports { src, dst } => Some((src, dst)),
            Transport::Tcp(tcp) => Some((tcp.src, tcp.dst)),
            Transport::Other | Transport::Icmp { .. } => None,
        }
    }

    /// The TCP header, if it has one.
    pub const fn tcp(&self) -> Option<Tcp> {
        match self.transport {
            Transport::Tcp(tcp) => Some(tcp),
            Transport::Other | Transport::Ports { .. } | Transport::Icmp { .. } => None,
        }
    }
}

/// Checks a frame and cuts the padding behind its IP packet.
///
/// # Errors
///
/// The reason to drop the frame; it is then unchanged.
pub fn parse<B: Buffer>(buf: &mut B) -> Result<Parsed, DropReason> {
    let parsed = inspect(buf.head(), buf.frame_len())?;
    match parsed.net {
        Net::Arp => {}
        Net::V4 | Net::V6 => buf.truncate(usize::from(parsed.l3) + parsed.ip_len as usize),
    }
    Ok(parsed)
}

/// Checks a frame of `frame_len` bytes of which `head` is the first segment, and changes nothing.
///
/// # Errors
///
/// The reason to drop the frame.
pub fn inspect(head: &[u8], frame_len: usize) -> Result<Parsed, DropReason> {
    let (link, ethertype) = link(head).ok_or(DropReason::EthernetTruncated)?;
    let frame = Frame {
        head,
        len: frame_len.max(head.len()),
        link,
        l3: usize::from(link.len),
    };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(&frame),
        ETHERTYPE_IPV6 => ipv6(&frame),
        ETHERTYPE_ARP => arp_packet(&frame),
        _ => Err(DropReason::EthertypeUnknown),
    }
}

struct Frame<'a> {
    head: &'a [u8],
    len: usize,
    link: Link,
    l3: usize,
}

/// The Ethernet header and the type behind its tags; a third tag is left as the type.
fn link(head: &[u8]) -> Option<(Link, u16)> {
    let mut link = Link {
        dst: Mac(array_at(head, 0)?),
        src: Mac(array_at(head, 6)?),
        vlan: None,
        inner_vlan: None,
        priority: 0,
        len: 14,
    };
    let outer = u16_at(head, ETHERNET_LEN - 2)?;
    if !matches!(outer, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
        return Some((link, outer));
    }
    let tag = u16_at(head, ETHERNET_LEN)?;
    link.vlan = vlan_id(tag);
    link.priority = (tag >> 13) as u8;
    link.len = 18;
    let inner = u16_at(head, ETHERNET_LEN + VLAN_LEN - 2)?;
    if inner != ETHERTYPE_VLAN {
        return Some((link, inner));
    }
    link.inner_vlan = vlan_id(u16_at(head, ETHERNET_LEN + VLAN_LEN)?);
    link.len = 22;
    Some((link, u16_at(head, ETHERNET_LEN + 2 * VLAN_LEN - 2)?))
}

/// Identifier zero means "no VLAN, only a priority" (802.1Q).
const fn vlan_id(tag: u16) -> Option<VlanId> {
    match tag & 0x0fff {
        0 => None,
        id => Some(VlanId(id)),
    }
}

fn arp_packet(frame: &Frame<'_>) -> Result<Parsed, DropReason> {
    arp::read_at(frame.head, frame.l3).ok_or(DropReason::ArpMalformed)?;
    let l3 = offset(frame.l3)?;
    Ok(Parsed {
        link: frame.link,
        net: Net::Arp,
        l3,
        l4: l3,
        payload: l3,
        ip_len: 0,
        ttl: 0,
        tos: 0,
        proto: Proto(0),
        dont_fragment: true,
        fragment: Fragment::Whole,
        transport: Transport::Other,
    })
}

fn ipv4(frame: &Frame<'_>) -> Result<Parsed, DropReason> {
    let ip = frame.head.get(frame.l3..).unwrap_or_default();
    let version = u8_at(ip, 0).ok_or(DropReason::IpTruncated)?;
    if version >> 4 != 4 {
        return Err(DropReason::IpVersion);
    }
    let header_len = 4 * usize::from(version & 0x0f);
    let fixed: [u8; IPV4_LEN] = array_at(ip, 0).ok_or(DropReason::IpTruncated)?;
    if header_len < IPV4_LEN || frame.l3 + header_len > frame.len {
        return Err(DropReason::IpHeaderLength);
    }
    let header = ip.get(..header_len).ok_or(DropReason::IpTruncated)?;
    let [_, tos, t0, t1, i0, i1, f0, f1, ttl, proto, ..] = fixed;
    let total = usize::from(u16::from_be_bytes([t0, t1]));
    if total < header_len || frame.l3 + total > frame.len {
        return Err(DropReason::IpTotalLength);
    }
    if !verify_ipv4_header(header) {
        return Err(DropReason::IpChecksum);
    }
    check_options(header)?;
    let field = u16::from_be_bytes([f0, f1]);
    let id = u32::from(u16::from_be_bytes([i0, i1]));
    let fragment = Fragment::new(id, (field & 0x1fff) << 3, field & 0x2000 != 0);
    IpFacts {
        net: Net::V4,
        total,
        l4: header_len,
        ttl,
        tos,
        proto: Proto(proto),
        dont_fragment: field & 0x4000 != 0,
        fragment,
    }
    .finish(frame)
}

/// Each option but the one-byte kinds has a length that counts itself (RFC 791 section 3.1).
fn check_options(header: &[u8]) -> Result<(), DropReason> {
    let mut rest = header.get(IPV4_LEN..).unwrap_or_default();
    while let [kind, behind @ ..] = rest {
        rest = match kind {
            0 => return Ok(()),
            1 => behind,
            _ => match behind.first() {
                Some(len) if *len >= 2 => {
                    rest.get(usize::from(*len)..).ok_or(DropReason::IpOptions)?
                }
                Some(_) | None => return Err(DropReason::IpOptions),
            },
        };
    }
    Ok(())
}

fn ipv6(frame: &Frame<'_>) -> Result<Parsed, DropReason> {
    let ip = frame.head.get(frame.l3..).unwrap_or_default();
    let version = u8_at(ip, 0).ok_or(DropReason::IpTruncated)?;
    if version >> 4 != 6 {
        return Err(DropReason::IpVersion);
    }
    let fixed: [u8; IPV6_LEN] = array_at(ip, 0).ok_or(DropReason::IpTruncated)?;
    let [v0, v1, _, _, p0, p1, _, hop_limit, ..] = fixed;
    let total = IPV6_LEN + usize::from(u16::from_be_bytes([p0, p1]));
    if frame.l3 + total > frame.len {
        return Err(DropReason::IpTotalLength);
    }
    let packet = ip.get(..total).unwrap_or(ip);
    let walk = ipv6::walk(packet).map_err(|_| DropReason::Ipv6Extension)?;
    IpFacts {
        net: Net::V6,
        total,
        l4: walk.end,
        ttl: hop_limit,
        tos: (v0 << 4) | (v1 >> 4),
        proto: walk.proto,
        dont_fragment: walk.fragment_at.is_none() || walk.fragment.is_fragment(),
        fragment: walk.fragment,
    }
    .finish(frame)
}

/// What both families know before the layer-4 header; offsets count from the IP header.
struct IpFacts {
    net: Net,
    total: usize,
    l4: usize,
    ttl: u8,
    tos: u8,
    proto: Proto,
    dont_fragment: bool,
    fragment: Fragment,
}

impl IpFacts {
    fn finish(self, frame: &Frame<'_>) -> Result<Parsed, DropReason> {
        let ip_len = u32::try_from(self.total).map_err(|_| DropReason::IpTotalLength)?;
        let end = frame.head.len().min(frame.l3 + self.total);
        let bytes = frame
            .head
            .get(frame.l3 + self.l4..end)
            .ok_or(DropReason::IpTruncated)?;
        let l4_len = self.total - self.l4;
        let beyond = usize::from(self.fragment.offset()) + l4_len > usize::from(u16::MAX);
        let (transport, header_len) = match self.fragment {
            Fragment::Whole => transport::read(self.net, self.proto, bytes, Extent::Whole(l4_len))?,
            Fragment::First { .. } => {
                transport::read(self.net, self.proto, bytes, Extent::First(l4_len))?
            }
            Fragment::Middle { .. } | Fragment::Last { .. } if beyond => {
                return Err(DropReason::FragmentInvalid);
            }
            Fragment::Middle { .. } | Fragment::Last { .. } => (Transport::Other, 0),
        };
        Ok(Parsed {
            link: frame.link,
            net: self.net,
            l3: offset(frame.l3)?,
            l4: offset(frame.l3 + self.l4)?,
            payload: offset(frame.l3 + self.l4 + header_len)?,
            ip_len,
            ttl: self.ttl,
            tos: self.tos,
            proto: self.proto,
            dont_fragment: self.dont_fragment,
            fragment: self.fragment,
            transport,
        })
    }
}

/// Headers are bounded far below this; the check keeps the narrow fields honest.
fn offset(at: usize) -> Result<u16, DropReason> {
    u16::try_from(at).map_err(|_| DropReason::IpTruncated)
}
