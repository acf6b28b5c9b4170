//! Who is told of every packet's end, and, if they follow packets, of what they meet on their way.

use std::net::IpAddr;

use turnpike_conntrack::ids::ConnState;

use crate::drops::DropReason;
use crate::ids::{IfaceId, RoutingTableId, RuleId};
use crate::rules::{Decision, Facts, Look};
use crate::stages::ask::Hook;

/// How a packet ended, in the words of a verdict list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It left by an interface.
    Accept,
    /// It was dropped.
    Drop,
    /// It was dropped and its sender told, because a rule said so.
    Reject,
    /// It waits: for a neighbour, or for the rest of its fragments. Another end follows.
    Held,
    /// It was for the gateway, which answers it.
    Local,
    /// It was for the gateway's own machinery: ARP, neighbour discovery.
    Consumed,
}

impl Ending {
    /// The word in verdict files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Held => "held",
            Self::Local => "local",
            Self::Consumed => "consumed",
        }
    }
}

/// Everything a verdict list says of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub ending: Ending,
    /// Why, if it was dropped or rejected.
    pub reason: Option<DropReason>,
    /// The interface it came in by, if that was found and it is not the gateway's own.
    pub in_interface: Option<IfaceId>,
    /// The interface it left by.
    pub out: Option<IfaceId>,
    /// Its connection state, if it came that far.
    pub state: Option<ConnState>,
    /// The rule that decided, if one did.
    pub rule: Option<RuleId>,
}

impl End {
    /// The end of a packet that no rule and no connection was asked about.
    pub const fn bare(ending: Ending, reason: Option<DropReason>) -> Self {
        Self {
            ending,
            reason,
            in_interface: None,
            out: None,
            state: None,
            rule: None,
        }
    }

    /// The same of a packet that came in by this interface.
    pub const fn of_entrance(self, in_interface: Option<IfaceId>) -> Self {
        Self {
            in_interface,
            ..self
        }
    }
}

/// Something that a followed packet met on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waypoint {
    /// Connection tracking has looked at it; `None` if no connection was found and it may open
    /// one.
    Tracked(Option<ConnState>),
    /// A chain is asked, which sees it so.
    Asked(Hook, Facts),
    /// A rule was held against it.
    Looked(Looked),
    /// The chain has decided.
    Decided(Hook, Decision),
    /// The way to this address was found by a routing table: out by the interface; `None` for the
    /// gateway itself.
    Routed(IpAddr, Option<IfaceId>, RoutingTableId),
}

/// What came of holding a rule against a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The rule.
    pub rule: RuleId,
    /// Whether it matched, and which matcher did not.
    pub look: Look,
    /// What the packet answered to the matcher that did not hold; `None` if it lacks what was
    /// asked about, or if all held.
    pub value: Option<String>,
}

/// Told of every packet's end by workers and the slow path; `()` listens to nothing, at no cost.
pub trait Witness<B> {
    /// Whether it wants to hear what packets meet on their way. Then every packet is held against
    /// the rules, whatever was decided for its flow before.
    const FOLLOWS: bool = false;

    /// The packet in `buf` ended.
    fn end(&mut self, buf: &B, end: &End);

    /// The packet in `buf` met something; called in order, and only if [`FOLLOWS`](Self::FOLLOWS).
    fn meets(&mut self, buf: &B, waypoint: Waypoint) {
        let _ = (buf, waypoint);
    }
}

impl<B> Witness<B> for () {
    #[inline(always)]
    fn end(&mut self, _buf: &B, _end: &End) {}
}
