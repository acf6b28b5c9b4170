//! What a rule asks of the headers of the packet at hand.

use std::fmt;

use crate::ids::Mac;
use crate::packet::headers::{
    TCP_ACK, TCP_CWR, TCP_ECE, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG,
};

/// A question about a packet's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeaderAsk {
    /// `dscp`: the upper six bits of the type of service, or traffic class.
    Dscp(u8),
    /// `tcp-flags`.
    TcpFlags(TcpFlags),
    /// `tcp-mss`: what the segment says its sender takes, first to last; few but SYNs say it.
    TcpMss(u16, u16),
    /// `src-mac-address`: who sent it on the link it came in by.
    SrcMac(Mac),
    /// `fragment`.
    Fragment(Piece),
    /// `ipv4-options`.
    Ipv4Options(Ipv4Options),
    /// `headers`: the extension headers of an IPv6 packet, and what they lead to.
    Headers(HeaderSet, Extent),
    /// `ingress-priority`: that of the VLAN tag it came with; zero without one.
    IngressPriority(u8),
    /// `priority`: what it has now.
    Priority(u8),
}

impl HeaderAsk {
    /// The property name of the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dscp(_) => "dscp",
            Self::TcpFlags(_) => "tcp-flags",
            Self::TcpMss(..) => "tcp-mss",
            Self::SrcMac(_) => "src-mac-address",
            Self::Fragment(_) => "fragment",
            Self::Ipv4Options(_) => "ipv4-options",
            Self::Headers(..) => "headers",
            Self::IngressPriority(_) => "ingress-priority",
            Self::Priority(_) => "priority",
        }
    }
}

/// The value in canonical form, as a rule's text has it.
impl fmt::Display for HeaderAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dscp(number) | Self::IngressPriority(number) | Self::Priority(number) => {
                write!(f, "{number}")
            }
            Self::TcpFlags(flags) => write!(f, "{flags}"),
            Self::TcpMss(first, last) if first == last => write!(f, "{first}"),
            Self::TcpMss(first, last) => write!(f, "{first}-{last}"),
            Self::SrcMac(mac) => write!(f, "{mac}"),
            Self::Fragment(Piece::Later) => f.write_str("yes"),
            Self::Fragment(Piece::WholeOrFirst) => f.write_str("no"),
            Self::Ipv4Options(options) => f.write_str(options.name()),
            Self::Headers(set, Extent::Exact) => write!(f, "{set}"),
            Self::Headers(set, Extent::Contains) => write!(f, "{set}:contains"),
        }
    }
}

/// Flags that must be set and flags that must be clear; the others may be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags {
    /// Those that must be set.
    pub set: u8,
    /// Those that must be clear.
    pub clear: u8,
}

impl TcpFlags {
    /// Every flag with its name.
    pub const NAMES: [(&str, u8); 8] = [
        ("fin", TCP_FIN),
        ("syn", TCP_SYN),
        ("rst", TCP_RST),
        ("psh", TCP_PSH),
        ("ack", TCP_ACK),
        ("urg", TCP_URG),
        ("ece", TCP_ECE),
        ("cwr", TCP_CWR),
    ];

    /// Whether a segment with `flags` is meant.
    pub const fn hold(self, flags: u8) -> bool {
        flags & self.set == self.set && flags & self.clear == 0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, bit) in Self::NAMES {
            let bang = match (self.set & bit != 0, self.clear & bit != 0) {
                (true, _) => "",
                (false, true) => "!",
                (false, false) => continue,
            };
            write!(f, "{comma}{bang}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// Which pieces of a packet are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Piece {
    /// A fragment that is not the first.
    Later,
    /// A whole packet, or its first fragment.
    WholeOrFirst,
}

/// What is asked about the options of an IPv4 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ipv4Options {
    /// There is one, padding aside.
    Any,
    /// There is none, padding aside.
    None,
    /// One of these is there.
    With(Ipv4OptionSet),
    /// None of these is there.
    Without(Ipv4OptionSet),
}

/// Options of an IPv4 header, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ipv4OptionSet(pub u8);

impl Ipv4OptionSet {
    /// Loose source routing.
    pub const LOOSE_SOURCE_ROUTING: Self = Self(1);
    /// Strict source routing.
    pub const STRICT_SOURCE_ROUTING: Self = Self(2);
    /// Source routing of either kind.
    pub const SOURCE_ROUTING: Self = Self(3);
    /// Record route.
    pub const RECORD_ROUTE: Self = Self(4);
    /// Timestamp.
    pub const TIMESTAMP: Self = Self(8);
    /// Router alert.
    pub const ROUTER_ALERT: Self = Self(16);
    /// Any other.
    pub const OTHER: Self = Self(32);

    /// The option of this type; nothing for padding.
    pub const fn of(kind: u8) -> Self {
        match kind {
            0 | 1 => Self(0),
            7 => Self::RECORD_ROUTE,
            68 => Self::TIMESTAMP,
            131 => Self::LOOSE_SOURCE_ROUTING,
            137 => Self::STRICT_SOURCE_ROUTING,
            148 => Self::ROUTER_ALERT,
            _ => Self::OTHER,
        }
    }
}

/// The options by name; `none` for no option.
impl fmt::Display for Ipv4OptionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            ("loose-source-routing", Self::LOOSE_SOURCE_ROUTING),
            ("strict-source-routing", Self::STRICT_SOURCE_ROUTING),
            ("record-route", Self::RECORD_ROUTE),
            ("timestamp", Self::TIMESTAMP),
            ("router-alert", Self::ROUTER_ALERT),
            ("another", Self::OTHER),
        ];
        let mut comma = "";
        for (name, bit) in names {
            if self.0 & bit.0 != 0 {
                write!(f, "{comma}{name}")?;
                comma = ",";
            }
        }
        if comma.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

impl Ipv4Options {
    /// Every value with its word.
    pub const NAMES: [(&str, Self); 11] = [
        ("any", Self::Any),
        ("none", Self::None),
        (
            "loose-source-routing",
            Self::With(Ipv4OptionSet::LOOSE_SOURCE_ROUTING),
        ),
        (
            "strict-source-routing",
            Self::With(Ipv4OptionSet::STRICT_SOURCE_ROUTING),
        ),
        ("record-route", Self::With(Ipv4OptionSet::RECORD_ROUTE)),
        ("timestamp", Self::With(Ipv4OptionSet::TIMESTAMP)),
        ("router-alert", Self::With(Ipv4OptionSet::ROUTER_ALERT)),
        (
            "no-source-routing",
            Self::Without(Ipv4OptionSet::SOURCE_ROUTING),
        ),
        (
            "no-record-route",
            Self::Without(Ipv4OptionSet::RECORD_ROUTE),
        ),
        (
            "no-router-alert",
            Self::Without(Ipv4OptionSet::ROUTER_ALERT),
        ),
        ("no-timestamp", Self::Without(Ipv4OptionSet::TIMESTAMP)),
    ];

    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, value)| *value == self);
        named.map_or("?", |(name, _)| name)
    }

    /// Whether a header with these options is meant.
    pub const fn hold(self, present: Ipv4OptionSet) -> bool {
        match self {
            Self::Any => present.0 != 0,
            Self::None => present.0 == 0,
            Self::With(asked) => present.0 & asked.0 != 0,
            Self::Without(asked) => present.0 & asked.0 == 0,
        }
    }
}

/// Headers of an IPv6 packet, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HeaderSet(pub u8);

impl HeaderSet {
    /// Hop-by-hop options.
    pub const HOP: Self = Self(1);
    /// Destination options.
    pub const DST: Self = Self(2);
    /// Routing.
    pub const ROUTE: Self = Self(4);
    /// Fragment.
    pub const FRAG: Self = Self(8);
    /// Authentication.
    pub const AH: Self = Self(16);
    /// Encrypted payload; what follows cannot be seen.
    pub const ESP: Self = Self(32);
    /// "No next header": nothing follows.
    pub const NONE: Self = Self(64);
    /// A protocol above IP.
    pub const PROTO: Self = Self(128);

    /// Every header with its name.
    pub const NAMES: [(&str, Self); 8] = [
        ("hop", Self::HOP),
        ("dst", Self::DST),
        ("route", Self::ROUTE),
        ("frag", Self::FRAG),
        ("ah", Self::AH),
        ("esp", Self::ESP),
        ("none", Self::NONE),
        ("proto", Self::PROTO),
    ];

    /// These and those of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for HeaderSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, header) in Self::NAMES {
            if self.contains(header) {
                write!(f, "{comma}{name}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// How the headers of a packet are compared with those that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// They are these and no others.
    Exact,
    /// All of these are among them.
    Contains,
}

impl Extent {
    /// Both, with their words.
    pub const NAMES: [(&str, Self); 2] = [("exact", Self::Exact), ("contains", Self::Contains)];

    /// Whether `present` compares so with `asked`.
    pub fn holds(self, asked: HeaderSet, present: HeaderSet) -> bool {
        match self {
            Self::Exact => present == asked,
            Self::Contains => present.contains(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_options_each_have_one_word_and_each_word_one_meaning() {
        for (name, options) in Ipv4Options::NAMES {
            assert_eq!(options.name(), name);
        }
        let lsrr = Ipv4OptionSet::of(131);
        let holding: Vec<&str> = Ipv4Options::NAMES
            .iter()
            .filter(|(_, options)| options.hold(lsrr))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(
            holding,
            [
                "any",
                "loose-source-routing",
                "no-record-route",
                "no-router-alert",
                "no-timestamp"
            ]
        );
        let padded = Ipv4OptionSet::of(1);
        assert!(Ipv4Options::None.hold(padded) && !Ipv4Options::Any.hold(padded));
        assert!(Ipv4Options::Any.hold(Ipv4OptionSet::of(82)));
    }

    #[test]
    fn tcp_flags_leave_alone_what_they_do_not_name() {
        let flags = TcpFlags {
            set: TCP_SYN,
            clear: TCP_ACK | TCP_RST,
        };
        assert_eq!(flags.to_string(), "syn,!rst,!ack");
        assert!(flags.hold(TCP_SYN) && flags.hold(TCP_SYN | TCP_ECE | TCP_CWR));
        assert!(!flags.hold(TCP_SYN | TCP_ACK) && !flags.hold(TCP_FIN));
    }
}
