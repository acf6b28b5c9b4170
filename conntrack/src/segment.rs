//! What the trackers see of a packet: plain data that the pipeline takes from its headers.

/// Whether the layer-4 checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// It holds, or there is none to check.
    Good,
    /// It does not hold.
    Bad,
}

/// One packet, as the trackers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What the tracker of its protocol needs.
    pub l4: L4,
    /// Bytes behind the layer-4 header.
    pub payload_len: u32,
    /// Bytes of the whole IP packet, for accounting.
    pub len: u32,
    /// Whether the layer-4 checksum holds.
    pub checksum: Checksum,
}

/// Layer 4, by tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp(TcpSegment),
    /// UDP and UDP-Lite.
    Udp,
    /// An ICMP or ICMPv6 query: a request by identifier, or the answer to one.
    Icmp(IcmpQuery),
    /// Everything else; ICMP that is neither query nor error is never a connection.
    Other,
}

/// The two sides of an ICMP query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpQuery {
    /// Echo, timestamp, information or address mask request.
    Request,
    /// The answer to one of them.
    Reply,
}

impl IcmpQuery {
    /// What an ICMP message type of IP version `version` (4 or 6) is, `None` if it is no query.
    pub const fn of_type(version: u8, kind: u8) -> Option<Self> {
        match (version, kind) {
            (4, 8 | 13 | 15 | 17) | (6, 128) => Some(Self::Request),
            (4, 0 | 14 | 16 | 18) | (6, 129) => Some(Self::Reply),
            _ => None,
        }
    }

    /// The request type that message type `kind` belongs to: itself for a request, the type it
    /// answers for a reply, `None` if it is no query. This is what stands in the tuple.
    pub const fn request_type(version: u8, kind: u8) -> Option<u8> {
        match (version, kind) {
            (4, 8 | 13 | 15 | 17) | (6, 128) => Some(kind),
            (4, 0) => Some(8),
            (4, 14) => Some(13),
            (4, 16) => Some(15),
            (4, 18) => Some(17),
            (6, 129) => Some(128),
            _ => None,
        }
    }
}

/// Whether a SYN offered selective acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SackOffer {
    /// The SACK-permitted option was there.
    Permitted,
    /// It was not.
    #[default]
    Absent,
}

/// A TCP header, as far as the tracker reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSegment {
    /// The flag byte: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, meaningless without ACK.
    pub ack: u32,
    /// The window field, unscaled.
    pub window: u16,
    /// The shift of a window-scale option.
    pub scale: Option<u8>,
    /// Whether a SACK-permitted option is there.
    pub sack_permitted: SackOffer,
    /// The highest right edge among SACK blocks.
    pub sack_end: Option<u32>,
}

/// FIN.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// PSH.
pub const PSH: u8 = 0x08;
/// ACK.
pub const ACK: u8 = 0x10;
/// URG.
pub const URG: u8 = 0x20;

/// Why a packet fits no connection and may not open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InvalidReason {
    /// The layer-4 checksum is wrong.
    Checksum,
    /// A combination of TCP flags that no stack sends.
    Flags,
    /// Sequence, acknowledgement or both lie outside the window.
    OutOfWindow,
    /// The TCP state does not allow the segment.
    Transition,
    /// It may not open a connection: no SYN, or an answer without a question.
    NotOpening,
    /// The packet's tracker is not that of the connection's protocol.
    Protocol,
}

impl InvalidReason {
    /// A short name, for logs and traces.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Flags => "tcp-flags",
            Self::OutOfWindow => "out-of-window",
            Self::Transition => "tcp-state",
            Self::NotOpening => "not-opening",
            Self::Protocol => "protocol",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_type_names_the_request_it_answers() {
        for (version, request, reply) in [
            (4, 8, 0),
            (4, 13, 14),
            (4, 15, 16),
            (4, 17, 18),
            (6, 128, 129),
        ] {
            assert_eq!(
                IcmpQuery::of_type(version, request),
                Some(IcmpQuery::Request)
            );
            assert_eq!(IcmpQuery::of_type(version, reply), Some(IcmpQuery::Reply));
            assert_eq!(IcmpQuery::request_type(version, reply), Some(request));
            assert_eq!(IcmpQuery::request_type(version, request), Some(request));
        }
        assert_eq!(IcmpQuery::of_type(4, 3), None);
        assert_eq!(IcmpQuery::request_type(6, 8), None);
    }
}
