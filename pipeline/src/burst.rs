//! A burst: up to 64 packets on their way through the stages, and a mask of those still alive.

use turnpike_conntrack::ids::{ConnState, FlowRef, HelperId};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::segment::Checksum;

use crate::buffer::Buffer;
use crate::ids::{IfaceId, PortId, RoutingTableId, RuleId};
use crate::nexthop::NextHopId;
use crate::packet::parse::Parsed;
use crate::packet::verify::verify_l4;
use crate::rules::{Edits, Marks};

/// The most packets in one burst.
pub const BURST_MAX: usize = 64;

/// How a packet came to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Received from the wire by this worker.
    Wire,
    /// Received by another worker, which found this one by hash.
    Distributed,
    /// Received by another worker, which found this one to be the connection's owner.
    Steered,
    /// Back from the worker that was found to be the connection's owner and no longer is.
    Returned,
    /// Judged by another worker, and sent here for its connection to be opened where the reply
    /// arrives.
    Opening,
    /// Put together by the slow path from fragments that some worker received.
    Reassembled,
    /// Made by the gateway; tracked like anybody's packet.
    Local,
    /// Made by the gateway about a packet it refused, in the words of that packet's sender.
    Notice,
    /// Made by the gateway to carry a copy of a packet to a sniffer.
    Copy,
}

impl Origin {
    /// Whether the gateway itself sends the packet.
    pub const fn is_local(self) -> bool {
        match self {
            Self::Local | Self::Notice | Self::Copy => true,
            Self::Wire
            | Self::Distributed
            | Self::Steered
            | Self::Returned
            | Self::Opening
            | Self::Reassembled => false,
        }
    }

    /// Whether another worker has held the packet against the raw rules.
    pub const fn is_past_raw(self) -> bool {
        match self {
            Self::Steered | Self::Returned | Self::Opening => true,
            Self::Wire
            | Self::Distributed
            | Self::Reassembled
            | Self::Local
            | Self::Notice
            | Self::Copy => false,
        }
    }
}

/// What connection tracking has said of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Track {
    /// Not looked up, and not to be: raw `notrack`, neighbour discovery, or tracking is off.
    Exempt,
    /// Belongs to this connection, with the state that rules see.
    Known(FlowRef, ConnState),
    /// An ICMP error about this flow; it travels in the flow's direction.
    Related(FlowRef),
    /// No connection was found in the bulk lookup.
    Missed,
    /// It may open a connection, and is being judged as new, or as related if it was announced.
    Opening(ConnState),
    /// Fits no connection and may not open one.
    Invalid,
}

/// Where an accepted packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Not decided yet.
    Undecided,
    /// To the gateway itself.
    Local,
    /// To a neighbour whose link address is known.
    NextHop(NextHopId),
    /// To a neighbour that has to be resolved first.
    Resolve(IfaceId, std::net::IpAddr),
}

/// The place of an opening that came with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpeningId(pub u8);

/// What the stages know of one packet.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// What the parser read.
    pub parsed: Parsed,
    /// The port it came in by; for the gateway's own packets, meaningless.
    pub port: PortId,
    /// The interface it came in by; `None` for the gateway's own packets.
    pub in_interface: Option<IfaceId>,
    /// How it came to this worker.
    pub origin: Origin,
    /// What connection tracking said.
    pub track: Track,
    /// Where it goes.
    pub way: Way,
    /// The rule that decided, when one did.
    pub rule: Option<RuleId>,
    /// What another worker decided of the connection it opens, as the worker keeps it.
    pub opening: Option<OpeningId>,
    /// The helper of its connection.
    pub helper: Option<HelperId>,
    /// What is known of what its connection carries.
    pub layer7: Layer7,
    /// Its marks.
    pub marks: Marks,
    /// The routing table by which its way was found, once it was.
    pub routing_table: Option<RoutingTableId>,
    /// What rules change of it.
    pub edits: Edits,
    /// What [`Meta::checksum`] found, once it has looked.
    pub verified: Option<Checksum>,
}

impl Meta {
    /// Whether the packet's layer-4 checksum is right; summed up once, however often it is asked.
    pub fn checksum<B: Buffer>(&mut self, buf: &B) -> Checksum {
        let parsed = &self.parsed;
        *self.verified.get_or_insert_with(|| verify_l4(buf, parsed))
    }

    /// The connection state that rules and verdict lists see, if it is known yet.
    pub const fn state(&self) -> Option<ConnState> {
        match self.track {
            Track::Exempt => Some(ConnState::Untracked),
            Track::Known(_, state) => Some(state),
            Track::Related(_) => Some(ConnState::Related),
            Track::Invalid => Some(ConnState::Invalid),
            Track::Opening(state) => Some(state),
            Track::Missed => None,
        }
    }
}

/// Up to [`BURST_MAX`] packets; bit `i` of the mask says whether slot `i` is still alive.
#[derive(Debug)]
pub struct Burst<B> {
    slots: [Option<(B, Meta)>; BURST_MAX],
    live: u64,
    used: usize,
}

impl<B> Default for Burst<B> {
    fn default() -> Self {
        Self {
            slots: [const { None }; BURST_MAX],
            live: 0,
            used: 0,
        }
    }
}

impl<B> Burst<B> {
    /// Whether no packet is alive.
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Puts a packet behind the others; gives it back when the burst is full.
    ///
    /// # Errors
    /// The buffer itself, when [`BURST_MAX`] packets have been pushed since the burst was empty.
    pub fn push(&mut self, buf: B, meta: Meta) -> Result<(), B> {
        if self.live == 0 {
            self.used = 0;
        }
        match self.slots.get_mut(self.used) {
            Some(slot) => {
                *slot = Some((buf, meta));
                self.live |= 1 << self.used;
                self.used += 1;
                Ok(())
            }
            None => Err(buf),
        }
    }

    /// The slots alive at the moment of the call, in order.
    pub const fn live(&self) -> Live {
        Live(self.live)
    }

    /// The packet in a live slot.
    pub fn packet(&mut self, slot: usize) -> Option<&mut (B, Meta)> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Takes a packet out: it has come to its end, or goes elsewhere.
    pub fn take(&mut self, slot: usize) -> Option<(B, Meta)> {
        let taken = self.slots.get_mut(slot)?.take();
        self.live &= !(1_u64 << slot);
        taken
    }
}

/// The live slots of a burst, lowest first.
#[derive(Debug, Clone, Copy)]
pub struct Live(u64);

impl Iterator for Live {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_visits_each_set_bit_once_in_order() {
        assert_eq!(Live(0b1010_0001).collect::<Vec<_>>(), [0, 5, 7]);
        assert_eq!(Live(u64::MAX).count(), BURST_MAX);
    }
}
