//! What all frames made here share: Ethernet and IP headers in front, a checksum at the end.

use std::net::IpAddr;

use turnpike_conntrack::tuple::Proto;

use super::bytes::{put, put_u16};
use super::checksum::Sum;
use super::headers::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN};
use super::rewrite::ones_for_zero;
use crate::ids::Mac;

/// Source and destination of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
    },
    /// IPv6.
    V6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
    },
}

impl Addresses {
    /// Both addresses; `None` if they are of different families.
    pub const fn new(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 {
                src: src.octets(),
                dst: dst.octets(),
            }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 {
                src: src.octets(),
                dst: dst.octets(),
            }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    const fn ethertype(self) -> u16 {
        match self {
            Self::V4 { .. } => ETHERTYPE_IPV4,
            Self::V6 { .. } => ETHERTYPE_IPV6,
        }
    }

    pub(super) fn pseudo_header(&self, proto: Proto, len: u32) -> Sum {
        match self {
            Self::V4 { src, dst } => Sum::pseudo_header(src, dst, proto, len),
            Self::V6 { src, dst } => Sum::pseudo_header(src, dst, proto, len),
        }
    }
}

/// The fields of an IP header that differ between packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct IpFields {
    pub addresses: Addresses,
    pub proto: Proto,
    pub ttl: u8,
    pub tos: u8,
    /// IPv4 only.
    pub id: u16,
    /// IPv4 only: the flags and fragment offset as they stand in the header.
    pub flags: u16,
}

/// The "don't fragment" bit in [`IpFields::flags`].
pub(super) const DONT_FRAGMENT: u16 = 0x4000;

/// A frame being written into a caller's vector, whose old content is gone.
pub(super) struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    ip: usize,
    l4: usize,
    fields: IpFields,
}

impl<'a> FrameWriter<'a> {
    /// Starts an IP packet behind an Ethernet header from `src` to `dst`.
    pub fn start(out: &'a mut Vec<u8>, dst: Mac, src: Mac, fields: IpFields) -> Self {
        ethernet(out, dst, src, fields.addresses.ethertype());
        Self::resume(out, fields)
    }

    /// Starts an IP packet behind an Ethernet header whose addresses the output path fills in.
    pub fn start_blank(out: &'a mut Vec<u8>, fields: IpFields) -> Self {
        Self::start(out, Mac::default(), Mac::default(), fields)
    }

    /// Starts an IP packet behind what `out` holds.
    pub fn resume(out: &'a mut Vec<u8>, fields: IpFields) -> Self {
        let ip = out.len();
        match fields.addresses {
            Addresses::V4 { src, dst } => {
                out.extend([0x45, fields.tos, 0, 0]);
                out.extend(fields.id.to_be_bytes());
                out.extend(fields.flags.to_be_bytes());
                out.extend([fields.ttl, fields.proto.0, 0, 0]);
                out.extend(src);
                out.extend(dst);
            }
            Addresses::V6 { src, dst } => {
                out.extend([0x60 | fields.tos >> 4, fields.tos << 4, 0, 0, 0, 0]);
                out.extend([fields.proto.0, fields.ttl]);
                out.extend(src);
                out.extend(dst);
            }
        }
        let l4 = out.len();
        Self {
            out,
            ip,
            l4,
            fields,
        }
    }

    /// Adds bytes of the layer-4 part.
    pub fn push(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Writes the lengths and the IPv4 checksum, and the layer-4 checksum at `checksum_at` bytes
    /// into the layer-4 part if there is one. `None`, and an empty frame, if it is too long.
    pub fn finish(self, checksum_at: Option<usize>) -> Option<()> {
        self.finish_covering(checksum_at, usize::MAX)
    }

    /// The same, with a layer-4 checksum that covers only so many bytes.
    pub fn finish_covering(self, checksum_at: Option<usize>, covered: usize) -> Option<()> {
        let l4_len = self.out.len() - self.l4;
        let counted = match self.fields.addresses {
            Addresses::V4 { .. } => l4_len + IPV4_LEN,
            Addresses::V6 { .. } => l4_len,
        };
        let Ok(len) = u16::try_from(counted) else {
            self.out.clear();
            return None;
        };
        if let Some(at) = checksum_at {
            let sum = self.l4_checksum(u32::try_from(l4_len).ok()?, covered);
            put_u16(self.out, self.l4 + at, sum);
        }
        match self.fields.addresses {
            Addresses::V4 { .. } => {
                put_u16(self.out, self.ip + 2, len);
                let mut sum = Sum::new();
                sum.add(self.out.get(self.ip..self.l4)?);
                put_u16(self.out, self.ip + 10, sum.checksum());
            }
            Addresses::V6 { .. } => put_u16(self.out, self.ip + 4, len),
        }
        Some(())
    }

    fn l4_checksum(&self, l4_len: u32, covered: usize) -> u16 {
        let proto = self.fields.proto;
        let mut sum = match (self.fields.addresses, proto) {
            (Addresses::V4 { .. }, Proto::ICMP) => Sum::new(),
            (addresses, _) => addresses.pseudo_header(proto, l4_len),
        };
        let bytes = self.out.get(self.l4..).unwrap_or_default();
        sum.add(bytes.get(..covered).unwrap_or(bytes));
        match proto {
            Proto::UDP | Proto::UDPLITE => ones_for_zero(sum.checksum()),
            _ => sum.checksum(),
        }
    }
}

/// Starts a frame: an Ethernet header without tags.
pub(super) fn ethernet(out: &mut Vec<u8>, dst: Mac, src: Mac, ethertype: u16) {
    out.clear();
    out.resize(ETHERNET_LEN, 0);
    put(out, 0, &dst.0);
    put(out, 6, &src.0);
    put_u16(out, ETHERNET_LEN - 2, ethertype);
}
