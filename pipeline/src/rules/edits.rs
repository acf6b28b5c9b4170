//! What rules have changed of one packet so far.

use std::net::IpAddr;

use crate::packet::headers::{IPV4_LEN, IPV6_LEN, TCP_LEN};
use crate::packet::parse::{Net, Parsed};
use crate::policy::{Edit, MarkKind, NewMss, NewPriority, TtlChange};
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
    /// What a SYN may announce at most.
    pub mss: Option<u16>,
    /// Whether it may announce no more than the links carry that it comes and leaves by.
    pub mss_fits_path: bool,
    /// Where it was first allowed to be cut into fragments.
    pub df_cleared: Option<Phase>,
    /// Whether its IPv4 options become padding.
    pub options_stripped: bool,
    /// Its new priority.
    pub priority: Option<NewPriority>,
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
            (Edit::Mss(NewMss::AtMost(mss)), _) => {
                self.mss = Some(self.mss.map_or(mss, |lower| lower.min(mss)));
            }
            (Edit::Mss(NewMss::FitsPath), _) => self.mss_fits_path = true,
            (Edit::ClearDf, phase) => self.df_cleared = self.df_cleared.or(Some(phase)),
            (Edit::StripOptions, _) => self.options_stripped = true,
            (Edit::Priority(from), _) => self.priority = Some(self.priority_of(from)),
        }
    }

    /// A priority that does not depend on what rules further on make of the DSCP.
    fn priority_of(&self, from: NewPriority) -> NewPriority {
        let taken = |dscp| NewPriority::Set(from.of(dscp, 0));
        match from {
            NewPriority::FromDscp | NewPriority::FromDscpHigh => self.dscp.map_or(from, taken),
            NewPriority::Set(_) | NewPriority::FromIngress => from,
        }
    }

    /// The priority that rules gave to a packet, 0 to 63.
    pub fn new_priority(&self, parsed: &Parsed) -> Option<u8> {
        let from = self.priority?;
        Some(from.of(parsed.tos >> 2, parsed.link.priority))
    }

    /// What a SYN may announce at most, on a path over links of `mtu` bytes.
    pub fn mss_limit(&self, net: Net, mtu: Option<u16>) -> Option<u16> {
        let ip = match net {
            Net::Arp => return None,
            Net::V4 => IPV4_LEN,
            Net::V6 => IPV6_LEN,
        };
        let headers = u16::try_from(ip + TCP_LEN).unwrap_or_default();
        let carried = mtu.filter(|_| self.mss_fits_path);
        let carried = carried.map(|mtu| mtu.saturating_sub(headers));
        match (self.mss, carried) {
            (Some(set), Some(carried)) => Some(set.min(carried)),
            (set, carried) => set.or(carried),
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
        self.dscp.is_some()
            || self.ttl_early != TtlChange::NONE
            || self.ttl_late != TtlChange::NONE
            || self.mss.is_some()
            || self.mss_fits_path
            || self.df_cleared.is_some()
            || self.options_stripped
    }
}
