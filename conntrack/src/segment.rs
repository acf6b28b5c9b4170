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
    /// SCTP.
    Sctp(SctpSegment),
    /// DCCP.
    Dccp(DccpType),
    /// Generic routing encapsulation of any version.
    Gre,
    /// Everything else; ICMP that is neither query nor error is never a connection.
    Other,
    /// A protocol with a tracker whose rules of form the packet breaks.
    Malformed,
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

/// What an SCTP packet carries: its chunks, as far as the tracker tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SctpSegment {
    /// The verification tag of the common header.
    pub tag: u32,
    /// The kinds of its chunks.
    pub chunks: ChunkSet,
    /// The initiate tag of an INIT or INIT-ACK chunk, zero without one.
    pub initiate_tag: u32,
    /// Whose tag an ABORT or SHUTDOWN-COMPLETE carries.
    pub owner: TagOwner,
}

/// The T bit of ABORT and SHUTDOWN-COMPLETE (RFC 9260, 8.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TagOwner {
    /// The receiver's, as in every other chunk.
    #[default]
    Receiver,
    /// The sender's own, reflected: it knows of no association.
    Sender,
}

/// A kind of SCTP chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Chunk {
    /// INIT: opens an association.
    Init = 0,
    /// INIT-ACK: answers it.
    InitAck = 1,
    /// COOKIE-ECHO: the opener's second packet.
    CookieEcho = 2,
    /// COOKIE-ACK: the association is established.
    CookieAck = 3,
    /// SHUTDOWN.
    Shutdown = 4,
    /// SHUTDOWN-ACK.
    ShutdownAck = 5,
    /// SHUTDOWN-COMPLETE.
    ShutdownComplete = 6,
    /// ABORT.
    Abort = 7,
    /// ERROR.
    Error = 8,
    /// HEARTBEAT.
    Heartbeat = 9,
    /// HEARTBEAT-ACK.
    HeartbeatAck = 10,
    /// DATA, SACK and every other chunk.
    Data = 11,
}

impl Chunk {
    /// Every kind, in the order in which those of one packet are looked at: what has to stand
    /// first in a packet (RFC 9260, 6.10) comes first, what ends an association last.
    pub const ALL: [Self; 12] = [
        Self::Init,
        Self::InitAck,
        Self::CookieEcho,
        Self::CookieAck,
        Self::Heartbeat,
        Self::HeartbeatAck,
        Self::Error,
        Self::Data,
        Self::Shutdown,
        Self::ShutdownAck,
        Self::ShutdownComplete,
        Self::Abort,
    ];

    /// The kind of a chunk of type `number` (RFC 9260, 3.2).
    pub const fn of_type(number: u8) -> Self {
        match number {
            1 => Self::Init,
            2 => Self::InitAck,
            4 => Self::Heartbeat,
            5 => Self::HeartbeatAck,
            6 => Self::Abort,
            7 => Self::Shutdown,
            8 => Self::ShutdownAck,
            9 => Self::Error,
            10 => Self::CookieEcho,
            11 => Self::CookieAck,
            14 => Self::ShutdownComplete,
            _ => Self::Data,
        }
    }

    /// Whether it must be the only chunk of its packet (RFC 9260, 6.10).
    pub const fn is_alone(self) -> bool {
        matches!(self, Self::Init | Self::InitAck | Self::ShutdownComplete)
    }

    /// Whether it must be the first chunk of its packet (RFC 9260, 5.1).
    pub const fn is_first(self) -> bool {
        matches!(self, Self::CookieEcho | Self::CookieAck)
    }
}

/// The kinds of chunks that a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChunkSet(u16);

impl ChunkSet {
    /// This set and `chunk`.
    #[must_use]
    pub const fn with(self, chunk: Chunk) -> Self {
        Self(self.0 | 1 << chunk as u8)
    }

    /// Whether `chunk` is in it.
    pub const fn contains(self, chunk: Chunk) -> bool {
        self.0 & 1 << chunk as u8 != 0
    }

    /// Its kinds, in the order of [`Chunk::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Chunk> {
        Chunk::ALL
            .into_iter()
            .filter(move |chunk| self.contains(*chunk))
    }
}

/// A type of DCCP packet (RFC 4340, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DccpType {
    /// The client opens.
    Request = 0,
    /// The server answers.
    Response = 1,
    /// Data.
    Data = 2,
    /// An acknowledgement.
    Ack = 3,
    /// Both.
    DataAck = 4,
    /// The server asks the client to close.
    CloseReq = 5,
    /// The sender closes.
    Close = 6,
    /// The connection is over, however it ended.
    Reset = 7,
    /// Sequence numbers are off.
    Sync = 8,
    /// The answer to that.
    SyncAck = 9,
}

impl DccpType {
    /// Every type, by its number.
    pub const ALL: [Self; 10] = [
        Self::Request,
        Self::Response,
        Self::Data,
        Self::Ack,
        Self::DataAck,
        Self::CloseReq,
        Self::Close,
        Self::Reset,
        Self::Sync,
        Self::SyncAck,
    ];

    /// The type of this number, `None` if it is reserved.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
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
    /// The packet breaks its protocol's rules of form.
    Malformed,
    /// The verification tag is not that of the association.
    Tag,
    /// The state of an SCTP association or DCCP connection does not allow the packet.
    State,
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
            Self::Malformed => "malformed",
            Self::Tag => "sctp-tag",
            Self::State => "state",
            Self::NotOpening => "not-opening",
            Self::Protocol => "protocol",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_chunks_has_what_was_put_in_and_nothing_else() {
        for put in Chunk::ALL {
            let set = ChunkSet::default().with(put);
            assert_eq!(set.iter().collect::<Vec<_>>(), [put]);
        }
        let all = Chunk::ALL
            .into_iter()
            .rev()
            .fold(ChunkSet::default(), ChunkSet::with);
        assert_eq!(all.iter().collect::<Vec<_>>(), Chunk::ALL);
    }

    #[test]
    fn types_of_dccp_are_kept_by_their_numbers() {
        for (number, kind) in (0..).zip(DccpType::ALL) {
            assert_eq!(DccpType::of_number(number), Some(kind));
            assert_eq!(kind as u8, number);
        }
        assert_eq!(DccpType::of_number(10), None);
    }

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
