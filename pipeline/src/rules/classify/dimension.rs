//! The fields of a packet that candidates are chosen by, and what a test says about them.
//!
//! What is not told here (address lists, address types, marks, either port …) any rule may hold
//! for; whether it does is asked of the rule itself.

use std::net::IpAddr;

use crate::ids::IfaceId;
use crate::policy::{AddressRange, InterfaceList, IpFamily, PortSet};
use crate::rules::classify::spans::Spans;
use crate::rules::facts::Facts;
use crate::rules::matchers::{Ask, End, Test, Way};

/// One field, its values as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Destination port.
    DstPort,
    /// Source address of an IPv4 packet.
    Src4,
    /// Destination address of an IPv4 packet.
    Dst4,
    /// Source address of an IPv6 packet.
    Src6,
    /// Destination address of an IPv6 packet.
    Dst6,
    /// Source port.
    SrcPort,
    /// ICMP type and code, the type above the code.
    Icmp,
    /// IP protocol.
    Protocol,
    /// In-interface.
    In,
    /// Out-interface.
    Out,
    /// Connection state.
    State,
    /// How the connection is translated.
    NatState,
}

/// How many [`Dimension`]s there are.
pub const DIMENSIONS: usize = Dimension::ALL.len();

/// What a packet has for a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// This value.
    Is(u128),
    /// None: a test that asks for one does not hold, negated or not.
    Lacking,
    /// The dimension is of the other family, and says nothing about this packet.
    OtherFamily,
}

impl Dimension {
    /// Every dimension, those first that tell most rules apart.
    pub const ALL: [Self; 12] = [
        Self::DstPort,
        Self::Src4,
        Self::Dst4,
        Self::Src6,
        Self::Dst6,
        Self::SrcPort,
        Self::Icmp,
        Self::Protocol,
        Self::In,
        Self::Out,
        Self::State,
        Self::NatState,
    ];

    /// The largest value.
    pub const fn last(self) -> u128 {
        match self {
            Self::Src6 | Self::Dst6 => u128::MAX,
            Self::Src4 | Self::Dst4 => u32::MAX as u128,
            Self::DstPort | Self::SrcPort | Self::Icmp | Self::In | Self::Out => u16::MAX as u128,
            Self::Protocol | Self::State | Self::NatState => u8::MAX as u128,
        }
    }

    /// The value of a packet.
    pub fn of(self, facts: &Facts) -> Value {
        match self {
            Self::DstPort => Value::some(facts.dst_port),
            Self::SrcPort => Value::some(facts.src_port),
            Self::Src4 => Value::v4(facts.src),
            Self::Dst4 => Value::v4(facts.dst),
            Self::Src6 => Value::v6(facts.src),
            Self::Dst6 => Value::v6(facts.dst),
            Self::Icmp => Value::some(
                facts
                    .icmp
                    .map(|(kind, code)| u16::from_be_bytes([kind, code])),
            ),
            Self::Protocol => Value::Is(facts.proto.0.into()),
            Self::In => Value::some(facts.in_interface.map(|iface| iface.0)),
            Self::Out => Value::some(facts.out_interface.map(|iface| iface.0)),
            Self::State => Value::some(facts.state.map(|state| state as u8)),
            Self::NatState => Value::Is(facts.nat_state.0.into()),
        }
    }

    const fn address(end: End, family: IpFamily) -> Self {
        match (end, family) {
            (End::Src, IpFamily::V4) => Self::Src4,
            (End::Dst, IpFamily::V4) => Self::Dst4,
            (End::Src, IpFamily::V6) => Self::Src6,
            (End::Dst, IpFamily::V6) => Self::Dst6,
        }
    }

    const fn port(end: End) -> Self {
        match end {
            End::Src => Self::SrcPort,
            End::Dst => Self::DstPort,
        }
    }

    const fn interface(way: Way) -> Self {
        match way {
            Way::In => Self::In,
            Way::Out => Self::Out,
        }
    }
}

impl Value {
    fn some(value: Option<impl Into<u128>>) -> Self {
        value.map_or(Self::Lacking, |value| Self::Is(value.into()))
    }

    fn v4(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::Is(ip.to_bits().into()),
            IpAddr::V6(_) => Self::OtherFamily,
        }
    }

    fn v6(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::OtherFamily,
            IpAddr::V6(ip) => Self::Is(ip.to_bits()),
        }
    }
}

/// For which values a test can hold, dimension by dimension; it may for every value of those that
/// are not named, and for a packet that lacks one.
pub fn asked(test: &Test, lists: &[InterfaceList]) -> Vec<(Dimension, Spans)> {
    let one = |dimension: Dimension, spans: Spans| {
        let holds = if test.negated {
            spans.complement(dimension.last())
        } else {
            spans
        };
        vec![(dimension, holds.coarse())]
    };
    match &test.ask {
        Ask::Family(family) | Ask::TranslationFamily(family) => {
            let holds_for_v4 = (*family == IpFamily::V4) != test.negated;
            let other = if holds_for_v4 {
                IpFamily::V6
            } else {
                IpFamily::V4
            };
            vec![(Dimension::address(End::Src, other), Spans::NONE)]
        }
        Ask::Protocol(proto) => one(Dimension::Protocol, Spans::range(proto.0, proto.0)),
        Ask::Interface(way, iface) => {
            one(Dimension::interface(*way), Spans::range(iface.0, iface.0))
        }
        Ask::InterfaceList(way, list) => {
            let members = lists
                .get(usize::from(list.0))
                .map_or(&[][..], |l| &l.members);
            one(Dimension::interface(*way), interfaces(members))
        }
        Ask::State(states) => one(
            Dimension::State,
            bytes(|state| state < 8 && states.0 >> state & 1 == 1),
        ),
        Ask::NatState(asked) => one(Dimension::NatState, bytes(|state| asked.0 & state != 0)),
        Ask::Port(end, ports) => one(Dimension::port(*end), port_spans(ports)),
        Ask::Icmp(options) => {
            let at = |code| u16::from_be_bytes([options.kind, code]);
            let (first, last) = options.codes;
            one(Dimension::Icmp, Spans::range(at(first), at(last)))
        }
        Ask::Address(end, range) => {
            let family = range.family();
            let other = match family {
                IpFamily::V4 => IpFamily::V6,
                IpFamily::V6 => IpFamily::V4,
            };
            let Some(spans) = address_spans(range) else {
                return Vec::new();
            };
            let mut asked = one(Dimension::address(*end, family), spans);
            asked.push((Dimension::address(*end, other), Spans::NONE));
            asked
        }
        Ask::InterfaceAddress(_)
        | Ask::Mapping(_)
        | Ask::EitherPort(_)
        | Ask::AddressList(..)
        | Ask::AddressType(..)
        | Ask::Helper(_)
        | Ask::Label(_)
        | Ask::Protection(_)
        | Ask::Mark(_)
        | Ask::RoutingTable(_)
        | Ask::Classifier(_) => Vec::new(),
    }
}

fn interfaces(members: &[IfaceId]) -> Spans {
    let mut members: Vec<u128> = members.iter().map(|iface| iface.0.into()).collect();
    members.sort_unstable();
    Spans::ranges(members.into_iter().map(|n| (n, n)))
}

fn port_spans(ports: &PortSet) -> Spans {
    let ranges = ports.0.iter();
    Spans::ranges(ranges.map(|(first, last)| ((*first).into(), (*last).into())))
}

/// `None` for ends of two families, which no checked rule asks for.
fn address_spans(range: &AddressRange) -> Option<Spans> {
    match (range.first, range.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Some(Spans::range(first.to_bits(), last.to_bits()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Some(Spans::range(first.to_bits(), last.to_bits()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn bytes(holds: impl Fn(u8) -> bool) -> Spans {
    let values = (0..=u8::MAX).filter(|value| holds(*value));
    Spans::ranges(values.map(|value| (value.into(), value.into())))
}
