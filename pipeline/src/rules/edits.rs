//! What rules have changed of one packet so far.

use std::net::IpAddr;

use crate::policy::{Edit, MarkKind, TtlChange};
use crate::rules::marks::{MarkNumbers, Marks};

/// Where a packet stands when a rule changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Before routing: as it came, but for what rules have changed.
    #[default]
    Early,
    /// Behind routing: a forwarded packet's time to live is one less.
    Late,
}

/// The changes that rules make to one packet, in the order of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Edits {
    /// The connection's new mark.
    pub connection_mark: Option<u32>,
    /// The packet's new mark.
    pub packet_mark: Option<u32>,
    /// The new mark of its way.
    pub routing_mark: Option<u32>,
    /// The router that it is handed to, whatever the routing tables say.
    pub router: Option<IpAddr>,
    /// The new DSCP.
    pub dscp: Option<u8>,
    /// The time to live, or hop limit, before the packet is routed.
    pub ttl_early: TtlChange,
    /// The same, behind what forwarding takes off.
    pub ttl_late: TtlChange,
}

impl Edits {
    /// Takes one more change.
    pub fn add(&mut self, edit: Edit, phase: Phase, marks: &MarkNumbers) {
        match (edit, phase) {
            (Edit::Mark(kind, mark), _) => {
                let number = Some(marks.number(mark));
                match kind {
                    MarkKind::Connection => self.connection_mark = number,
                    MarkKind::Packet => self.packet_mark = number,
                    MarkKind::Routing => self.routing_mark = number,
                }
            }
            (Edit::Route(router), _) => self.router = Some(router),
            (Edit::Dscp(dscp), _) => self.dscp = Some(dscp),
            (Edit::Ttl(change), Phase::Early) => self.ttl_early = self.ttl_early.then(change),
            (Edit::Ttl(change), Phase::Late) => self.ttl_late = self.ttl_late.then(change),
        }
    }

    /// The marks that a packet which came with `before` has now.
    #[must_use]
    pub fn marks(&self, before: Marks) -> Marks {
        Marks {
            connection: self.connection_mark.unwrap_or(before.connection),
            packet: self.packet_mark.unwrap_or(before.packet),
            routing: self.routing_mark.unwrap_or(before.routing),
        }
    }

    /// Whether a header has to be rewritten.
    pub fn touch_headers(&self) -> bool {
        self.dscp.is_some() || self.ttl_early != TtlChange::NONE || self.ttl_late != TtlChange::NONE
    }
}
