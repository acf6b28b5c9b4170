//! What only the packet at hand can answer.
//!
//! A packet is seen as it is at that point of its way: what earlier rules have changed counts. What
//! was before it is not seen here, but by [`rates`](super::rates).

use turnpike_conntrack::time::Tick;

use crate::buffer::Buffer;
use crate::burst::Origin;
use crate::packet::parse::{Net, Parsed};
use crate::policy::PacketAsk;
use crate::rules::edits::{Edits, Phase};
use crate::rules::hellos::Hellos;

/// The packet at hand.
#[derive(Debug)]
pub struct Sight<'a, B> {
    /// Its bytes, as they were received.
    pub buf: &'a B,
    /// What earlier packets have brought of TLS ClientHellos.
    pub hellos: &'a mut Hellos,
    /// When it is looked at.
    pub now: Tick,
    /// How it came.
    pub origin: Origin,
    /// What the parser read.
    pub parsed: &'a Parsed,
    /// What rules have changed so far.
    pub edits: &'a Edits,
    /// Where it stands.
    pub phase: Phase,
    /// Whether it crosses the gateway, which takes one from its time to live.
    pub forwarded: bool,
    /// What the links carry by which it came and, once that is known, leaves.
    pub path_mtu: Option<u16>,
}

impl<B: Buffer> Sight<'_, B> {
    /// Yes, no, or `None` for a packet that lacks what is asked about.
    pub fn answer(&mut self, ask: &PacketAsk) -> Option<bool> {
        match ask {
            PacketAsk::Size(first, last) => {
                Some((u32::from(*first)..=u32::from(*last)).contains(&self.parsed.ip_len))
            }
            PacketAsk::Ttl(comparison, number) => Some(comparison.holds(self.ttl()?, *number)),
            PacketAsk::Header(ask) => self.header(*ask),
            PacketAsk::Payload(ask) => self.payload(ask),
            PacketAsk::Rate(_) => None,
        }
    }

    /// What the packet is like in what is asked about, for people; `None` if it lacks it.
    pub fn value(&mut self, ask: &PacketAsk) -> Option<String> {
        match ask {
            PacketAsk::Size(..) => Some(self.parsed.ip_len.to_string()),
            PacketAsk::Ttl(..) => Some(self.ttl()?.to_string()),
            PacketAsk::Header(ask) => self.header_value(*ask),
            PacketAsk::Payload(ask) => self.payload_value(ask),
            PacketAsk::Rate(_) => None,
        }
    }

    /// The time to live, or hop limit.
    fn ttl(&self) -> Option<u8> {
        match self.parsed.net {
            Net::Arp => None,
            Net::V4 | Net::V6 => {
                let early = self.edits.ttl_early.of(self.parsed.ttl);
                Some(match self.phase {
                    Phase::Early => early,
                    Phase::Late => {
                        let routed = early.saturating_sub(u8::from(self.forwarded));
                        self.edits.ttl_late.of(routed)
                    }
                })
            }
        }
    }
}
