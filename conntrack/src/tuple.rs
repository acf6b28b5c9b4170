//! Tuples: what names one flow of a connection, generic over the address family.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ids::Direction;
use crate::table::Table;
use crate::tracker::Conntrack;

/// An IP protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Proto(pub u8);

impl Proto {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// Generic routing encapsulation.
    pub const GRE: Self = Self(47);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Stream control transmission protocol.
    pub const SCTP: Self = Self(132);
    /// Datagram congestion control protocol.
    pub const DCCP: Self = Self(33);
    /// UDP-Lite.
    pub const UDPLITE: Self = Self(136);

    /// Whether the first four bytes after the IP header are source and destination ports.
    pub const fn has_ports(self) -> bool {
        matches!(
            self,
            Self::TCP | Self::UDP | Self::SCTP | Self::DCCP | Self::UDPLITE
        )
    }
}

/// A transport port in host order, or what stands in its place (see [`Tuple`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Port(pub u16);

/// IPv4 or IPv6: an address type and which of a worker's two tables holds its connections.
pub trait Family: Debug + Clone + Copy + PartialEq + Eq + Hash + Default + 'static {
    /// An address in network byte order.
    type Addr: Address;
    /// How table entries are aligned: a type without size that carries the alignment.
    type Align: Debug + Clone + Copy + Default + 'static;
    /// 4 or 6.
    const VERSION: u8;

    /// This family's table of a worker.
    fn table(conntrack: &Conntrack) -> &Table<Self>;
    /// This family's table of a worker, to change.
    fn table_mut(conntrack: &mut Conntrack) -> &mut Table<Self>;
}

/// Alignment of an IPv4 entry: it is exactly one cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub struct CacheLine;

/// Alignment of an IPv6 entry, which is not a whole number of cache lines.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
pub struct Quarter;

/// An address of one family, in network byte order.
pub trait Address: Debug + Copy + Eq + Ord + Hash + Default + Send + Sync + 'static {
    /// Its width in bytes.
    const BYTES: usize;

    /// The address as the standard library has it.
    fn to_ip(self) -> IpAddr;
    /// Takes an address of this family; `None` for one of the other.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// The address as a number, most significant byte first on the wire.
    fn to_bits(self) -> u128;
    /// The address from its number; bits above its width are ignored.
    fn from_bits(bits: u128) -> Self;
    /// The bytes on the wire.
    fn as_bytes(&self) -> &[u8];
}

/// IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct V4;

/// IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct V6;

impl Family for V4 {
    type Addr = [u8; 4];
    type Align = CacheLine;
    const VERSION: u8 = 4;

    fn table(conntrack: &Conntrack) -> &Table<Self> {
        &conntrack.v4
    }

    fn table_mut(conntrack: &mut Conntrack) -> &mut Table<Self> {
        &mut conntrack.v4
    }
}

impl Family for V6 {
    type Addr = [u8; 16];
    type Align = Quarter;
    const VERSION: u8 = 6;

    fn table(conntrack: &Conntrack) -> &Table<Self> {
        &conntrack.v6
    }

    fn table_mut(conntrack: &mut Conntrack) -> &mut Table<Self> {
        &mut conntrack.v6
    }
}

impl Address for [u8; 4] {
    const BYTES: usize = 4;

    fn to_ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(a) => Some(a.octets()),
            IpAddr::V6(_) => None,
        }
    }

    fn to_bits(self) -> u128 {
        u128::from(u32::from_be_bytes(self))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits are the address"
    )]
    fn from_bits(bits: u128) -> Self {
        (bits as u32).to_be_bytes()
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl Address for [u8; 16] {
    const BYTES: usize = 16;

    fn to_ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(a) => Some(a.octets()),
        }
    }

    fn to_bits(self) -> u128 {
        u128::from_be_bytes(self)
    }

    fn from_bits(bits: u128) -> Self {
        bits.to_be_bytes()
    }

    fn as_bytes(&self) -> &[u8] {
        self
    }
}

/// What names one flow: addresses, protocol and two 16-bit numbers.
///
/// TCP, UDP, UDP-Lite, DCCP and SCTP put their ports there. ICMP and ICMPv6 queries put their
/// identifier on the asking side and the request's type on the answering side, so that an echo
/// request is `(id, 8)` and its reply `(8, id)`: translation of an identifier is translation of a
/// source port, and a request inverts into its reply like everything else. GRE puts the call ids
/// of its two ends there, see [`Tuple::key`]. Protocols without either have zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C)]
pub struct Tuple<F: Family> {
    /// Source address.
    pub src: F::Addr,
    /// Destination address.
    pub dst: F::Addr,
    /// Source port.
    pub src_port: Port,
    /// Destination port.
    pub dst_port: Port,
    /// IP protocol.
    pub proto: Proto,
}

impl<F: Family> Tuple<F> {
    /// The tuple of the answer: source and destination exchanged.
    pub fn inverse(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            proto: self.proto,
        }
    }

    /// What of the tuple a packet shows, and a connection is found by: all of it but for GRE.
    ///
    /// A GRE packet of version 1 carries its receiver's call id only, which stands in the place of
    /// the destination port. The sender's is known from the control channel; it stands in the place
    /// of the source port, so that each flow leaves as the inverse of the other like everything
    /// else, and is not compared. A packet's own tuple has zero there. Without call ids both are
    /// zero, and the connection is the tunnel between two addresses.
    #[must_use]
    pub fn key(&self) -> Self {
        let src_port = if self.proto == Proto::GRE {
            Port(0)
        } else {
            self.src_port
        };
        Self { src_port, ..*self }
    }

    /// Whether it names a GRE call rather than a tunnel.
    pub fn has_call(&self) -> bool {
        self.proto == Proto::GRE && (self.src_port.0 | self.dst_port.0) != 0
    }

    /// The tuple that a packet opens a connection with if nobody announced it: its own, but a GRE
    /// call is then nothing but a tunnel, because its two directions cannot be told to belong
    /// together otherwise.
    #[must_use]
    pub fn without_call(&self) -> Self {
        if self.has_call() {
            Self {
                src_port: Port(0),
                dst_port: Port(0),
                ..*self
            }
        } else {
            *self
        }
    }
}

/// The two tuples of a connection.
///
/// The reply tuple is what an answer carries when it comes in from the wire. Without translation
/// it is the inverse of the original; with it, a packet in one direction leaves as the inverse of
/// the other direction's tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct TuplePair<F: Family> {
    /// As the first packet came in.
    pub original: Tuple<F>,
    /// As the answer comes in.
    pub reply: Tuple<F>,
}

impl<F: Family> TuplePair<F> {
    /// The tuple that packets of `direction` carry when they come in.
    pub fn incoming(&self, direction: Direction) -> &Tuple<F> {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// The tuple that packets of `direction` carry when they leave.
    pub fn outgoing(&self, direction: Direction) -> Tuple<F> {
        self.incoming(direction.flip()).inverse()
    }
}
