//! What only the packet at hand can answer.
//!
//! A packet is seen as it is at that point of its way: what earlier rules have changed counts. What
//! was before it is not seen here, but by [`rates`](super::rates).

use crate::packet::parse::{Net, Parsed};
use crate::policy::PacketAsk;
use crate::rules::edits::{Edits, Phase};

/// The packet at hand.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What the parser read.
    pub parsed: &'a Parsed,
    /// What rules have changed so far.
    pub edits: &'a Edits,
    /// Where it stands.
    pub phase: Phase,
    /// Whether it crosses the gateway, which takes one from its time to live.
    pub forwarded: bool,
}

impl Sight<'_> {
    /// Yes, no, or `None` for a packet that lacks what is asked about.
    pub fn answer(&self, ask: &PacketAsk) -> Option<bool> {
        match ask {
            PacketAsk::Size(first, last) => {
                Some((u32::from(*first)..=u32::from(*last)).contains(&self.parsed.ip_len))
            }
            PacketAsk::Ttl(comparison, number) => Some(comparison.holds(self.ttl()?, *number)),
            PacketAsk::Rate(_) => None,
        }
    }

    /// What the packet is like in what is asked about, for people; `None` if it lacks it.
    pub fn value(&self, ask: &PacketAsk) -> Option<String> {
        match ask {
            PacketAsk::Size(..) => Some(self.parsed.ip_len.to_string()),
            PacketAsk::Ttl(..) => Some(self.ttl()?.to_string()),
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
