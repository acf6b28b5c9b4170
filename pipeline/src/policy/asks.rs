//! What a rule asks of the very packet at hand, which two packets of one flow may answer
//! differently.
//!
//! The other matchers ask about what a flow's packets have in common, so their answers are
//! remembered with the flow. These are asked again for each packet, once all others hold.

use std::fmt;

use super::headers::HeaderAsk;
use super::payload::PayloadAsk;
use super::rates::RateAsk;

/// A question that only a packet itself can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketAsk {
    /// `packet-size`: the length of the IP packet in bytes, first to last.
    Size(u16, u16),
    /// `ttl`, or `hop-limit` of IPv6: how it compares.
    Ttl(Comparison, u8),
    /// About other fields of its headers.
    Header(HeaderAsk),
    /// About what it carries.
    Payload(PayloadAsk),
    /// How much traffic there was up to this packet.
    Rate(RateAsk),
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `equal`.
    Equal,
    /// `not-equal`.
    NotEqual,
    /// `less-than`.
    Less,
    /// `greater-than`.
    Greater,
}

impl Comparison {
    /// Every comparison.
    pub const ALL: [Self; 4] = [Self::Equal, Self::NotEqual, Self::Less, Self::Greater];

    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::NotEqual => "not-equal",
            Self::Less => "less-than",
            Self::Greater => "greater-than",
        }
    }

    /// Whether `number` compares so with `other`.
    pub fn holds<T: Ord>(self, number: T, other: T) -> bool {
        match self {
            Self::Equal => number == other,
            Self::NotEqual => number != other,
            Self::Less => number < other,
            Self::Greater => number > other,
        }
    }
}

impl PacketAsk {
    /// The property name of the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Size(..) => "packet-size",
            Self::Ttl(..) => "ttl",
            Self::Header(ask) => ask.name(),
            Self::Payload(ask) => ask.name(),
            Self::Rate(ask) => ask.name(),
        }
    }

    /// Whether it means nothing without connection tracking.
    pub const fn needs_tracking(&self) -> bool {
        match self {
            Self::Size(..) | Self::Ttl(..) | Self::Header(_) | Self::Payload(_) => false,
            Self::Rate(ask) => ask.needs_tracking(),
        }
    }
}

/// The value in canonical form, as a rule's text has it.
impl fmt::Display for PacketAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(first, last) if first == last => write!(f, "{first}"),
            Self::Size(first, last) => write!(f, "{first}-{last}"),
            Self::Ttl(comparison, number) => write!(f, "{}:{number}", comparison.name()),
            Self::Header(ask) => write!(f, "{ask}"),
            Self::Payload(ask) => write!(f, "{ask}"),
            Self::Rate(ask) => ask.fmt(f),
        }
    }
}
