//! Who is told of every packet's end.

use turnpike_conntrack::ids::ConnState;

use crate::drops::DropReason;
use crate::ids::{IfaceId, RuleId};

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
            out: None,
            state: None,
            rule: None,
        }
    }
}

/// Told of every packet's end by workers and the slow path; `()` listens to nothing, at no cost.
pub trait Witness<B> {
    /// The packet in `buf` ended.
    fn end(&mut self, buf: &B, end: &End);
}

impl<B> Witness<B> for () {
    #[inline(always)]
    fn end(&mut self, _buf: &B, _end: &End) {}
}
