//! Copies of packets for a sniffer.

use std::net::SocketAddr;

/// The port that sniffers listen on, unless `sniff-target-port` says another.
pub const SNIFF_PORT: u16 = 37_008;

/// Who gets a copy of a packet, and in which form: always as it came in, in a UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sniff {
    /// `sniff-target` and `sniff-target-port`.
    pub to: SocketAddr,
    /// What is in front of the packet.
    pub form: SniffForm,
}

/// What stands in front of a packet's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SniffForm {
    /// `sniff-tzsp`: TZSP's header, and then the whole frame.
    Tzsp,
    /// `sniff-pc`: the stream's number (`sniff-id`), and then the IP packet.
    PacketCable(u32),
}

impl SniffForm {
    /// The action that sends such copies.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Tzsp => "sniff-tzsp",
            Self::PacketCable(_) => "sniff-pc",
        }
    }
}
