//! What mangle rules change: marks of a packet and its connection, and fields of its headers.

use std::net::IpAddr;

use crate::ids::MarkId;

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edit {
    /// `mark-connection`, `mark-packet` or `mark-routing`; `None` is `no-mark`.
    Mark(MarkKind, Option<MarkId>),
    /// `change-dscp`: the upper six bits of the type of service, or traffic class.
    Dscp(u8),
    /// `change-ttl` and `change-hop-limit`.
    Ttl(TtlChange),
    /// `change-mss`: the segment size that a SYN announces is lowered.
    Mss(NewMss),
    /// `clear-df`: an IPv4 packet may be cut into fragments.
    ClearDf,
    /// `strip-ipv4-options`: an IPv4 header's options become padding.
    StripOptions,
    /// `set-priority`: the priority of the VLAN tag that the packet leaves with.
    Priority(NewPriority),
    /// `route`: the packet is handed to this router, whatever the routing tables say.
    Route(IpAddr),
}

impl Edit {
    /// The action that makes it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Mark(kind, _) => kind.action(),
            Self::Dscp(_) => "change-dscp",
            Self::Ttl(_) => "change-ttl",
            Self::Mss(_) => "change-mss",
            Self::ClearDf => "clear-df",
            Self::StripOptions => "strip-ipv4-options",
            Self::Priority(_) => "set-priority",
            Self::Route(_) => "route",
        }
    }
}

/// What a SYN may announce at most; a change never raises it, as in Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NewMss {
    /// This many bytes.
    AtMost(u16),
    /// `clamp-to-pmtu`: what fits the links by which the packet comes and leaves.
    FitsPath,
}

/// Where a packet's new priority is taken from. A VLAN tag has room for its lowest three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NewPriority {
    /// This number, 0 to 63.
    Set(u8),
    /// `from-dscp`: its DSCP.
    FromDscp,
    /// `from-dscp-high-3-bits`: the upper half of its DSCP.
    FromDscpHigh,
    /// `from-ingress`: the tag it came with.
    FromIngress,
}

impl NewPriority {
    /// The words of the configuration; a number stands for itself.
    pub const NAMES: [(&str, Self); 3] = [
        ("from-dscp", Self::FromDscp),
        ("from-dscp-high-3-bits", Self::FromDscpHigh),
        ("from-ingress", Self::FromIngress),
    ];

    /// What it comes to for a packet of this DSCP that came with this tag.
    pub const fn of(self, dscp: u8, ingress: u8) -> u8 {
        match self {
            Self::Set(number) => number,
            Self::FromDscp => dscp,
            Self::FromDscpHigh => dscp >> 3,
            Self::FromIngress => ingress,
        }
    }
}

/// What carries a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkKind {
    /// The connection: it lasts, and both directions have it.
    Connection,
    /// The packet, while it is in the gateway.
    Packet,
    /// The packet's way: which routing table is asked.
    Routing,
}

impl MarkKind {
    /// Every kind, in the order in which properties of rules name them.
    pub const ALL: [Self; 3] = [Self::Connection, Self::Packet, Self::Routing];

    /// The matcher that asks for it.
    pub const fn matcher(self) -> &'static str {
        match self {
            Self::Connection => "connection-mark",
            Self::Packet => "packet-mark",
            Self::Routing => "routing-mark",
        }
    }

    /// The action that sets it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Connection => "mark-connection",
            Self::Packet => "mark-packet",
            Self::Routing => "mark-routing",
        }
    }

    /// The option of that action that names it.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Connection => "new-connection-mark",
            Self::Packet => "new-packet-mark",
            Self::Routing => "new-routing-mark",
        }
    }
}

/// How a time to live, or hop limit, becomes another one: moved, then held between two bounds.
///
/// Any sequence of `set`, `increment` and `decrement` is one such change, see [`TtlChange::then`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TtlChange {
    add: i16,
    low: u8,
    high: u8,
}

impl Default for TtlChange {
    fn default() -> Self {
        Self::NONE
    }
}

impl TtlChange {
    /// No change.
    pub const NONE: Self = Self {
        add: 0,
        low: 0,
        high: u8::MAX,
    };

    /// `set:`.
    pub const fn set(to: u8) -> Self {
        Self {
            add: 0,
            low: to,
            high: to,
        }
    }

    /// `increment:`; 255 is the end.
    pub fn increment(by: u8) -> Self {
        Self {
            add: i16::from(by),
            ..Self::NONE
        }
    }

    /// `decrement:`; zero is the end.
    pub fn decrement(by: u8) -> Self {
        Self {
            add: -i16::from(by),
            ..Self::NONE
        }
    }

    /// What it was made of: what it sets, or else what it adds.
    ///
    /// # Errors
    /// What is added, for a change that sets nothing; that is no failure.
    pub const fn as_step(self) -> Result<u8, i16> {
        if self.low == self.high {
            Ok(self.low)
        } else {
            Err(self.add)
        }
    }

    /// This change and then `next`, as one.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        // Moving beyond what a byte can be moved by changes nothing more.
        let add = (self.add + next.add).clamp(-255, 255);
        Self {
            add,
            low: next.of(self.low),
            high: next.of(self.high),
        }
    }

    /// What becomes of `ttl`.
    pub fn of(self, ttl: u8) -> u8 {
        let moved = (i16::from(ttl) + self.add).clamp(i16::from(self.low), i16::from(self.high));
        u8::try_from(moved).unwrap_or(u8::MAX)
    }
}

/// `passthrough`: whether the next rule is looked at after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Then {
    /// It is.
    #[default]
    GoOn,
    /// The packet is through this chain.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change() -> impl Strategy<Value = (u8, u8)> {
        (0..3_u8, any::<u8>())
    }

    fn build((kind, by): (u8, u8)) -> TtlChange {
        match kind {
            0 => TtlChange::set(by),
            1 => TtlChange::increment(by),
            _decrement => TtlChange::decrement(by),
        }
    }

    fn by_hand((kind, by): (u8, u8), ttl: u8) -> u8 {
        match kind {
            0 => by,
            1 => ttl.saturating_add(by),
            _decrement => ttl.saturating_sub(by),
        }
    }

    proptest! {
        #[test]
        fn changes_one_after_the_other_are_one_change(
            changes in proptest::collection::vec(change(), 0..6),
            ttl: u8,
        ) {
            let whole = changes.iter().fold(TtlChange::NONE, |all, c| all.then(build(*c)));
            let stepwise = changes.iter().fold(ttl, |ttl, c| by_hand(*c, ttl));
            prop_assert_eq!(whole.of(ttl), stepwise);
        }
    }
}
