//! What a rule asks of a packet, question by question.
//!
//! A [`Test`] is one question. Its answer is yes, no, or nothing when the packet lacks what is
//! asked about: a port of an ICMP packet, an out-interface before routing, an IPv4 address of an
//! IPv6 packet. A test holds when the answer is yes, or no for a negated one; without an answer
//! it does not hold, negated or not.

use std::net::IpAddr;

use turnpike_conntrack::tuple::Proto;

use crate::ids::{IfaceId, InterfaceListId, ListId};
use crate::interfaces::Interfaces;
use crate::policy::{
    Action, AddressRange, AddressTypeSet, IcmpOptions, IpFamily, Match, Matchers, NatStateSet,
    PortSet, Rule, StateSet,
};
use crate::program::Program;
use crate::rules::facts::Facts;

/// One question of a rule, negated or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    ask: Ask,
    negated: bool,
}

/// Which end of a packet is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Src,
    Dst,
}

/// Which way a packet passes an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    Family(IpFamily),
    /// A translation has addresses of one family and does not match packets of the other.
    TranslationFamily(IpFamily),
    /// A translation to an address of an interface needs one of the packet's family there.
    InterfaceAddress(Way),
    Protocol(Proto),
    Interface(Way, IfaceId),
    InterfaceList(Way, InterfaceListId),
    State(StateSet),
    NatState(NatStateSet),
    Port(End, PortSet),
    EitherPort(PortSet),
    Icmp(IcmpOptions),
    Address(End, AddressRange),
    AddressList(End, ListId),
    AddressType(End, AddressTypeSet),
}

impl Test {
    /// Every question of a rule, cheap ones first; their order decides nothing but the cost.
    pub fn of(rule: &Rule) -> Box<[Self]> {
        // Taken apart, so that a matcher added to the language cannot be forgotten here.
        let Matchers {
            family,
            connection_state,
            connection_nat_state,
            protocol,
            src_address,
            dst_address,
            src_address_list,
            dst_address_list,
            src_address_type,
            dst_address_type,
            src_port,
            dst_port,
            port,
            icmp_options,
            in_interface,
            out_interface,
            in_interface_list,
            out_interface_list,
        } = &rule.matchers;
        let mut tests = Vec::new();
        tests.extend(family.map(|f| Self::plain(Ask::Family(f))));
        tests.extend(implied(&rule.action).map(Self::plain));
        let mut add = |test: Option<Self>| tests.extend(test);
        add(test(protocol, Ask::Protocol));
        add(test(connection_state, Ask::State));
        add(test(in_interface, |v| Ask::Interface(Way::In, v)));
        add(test(out_interface, |v| Ask::Interface(Way::Out, v)));
        add(test(in_interface_list, |v| Ask::InterfaceList(Way::In, v)));
        add(test(out_interface_list, |v| {
            Ask::InterfaceList(Way::Out, v)
        }));
        add(test(connection_nat_state, Ask::NatState));
        add(test(dst_port, |v| Ask::Port(End::Dst, v)));
        add(test(src_port, |v| Ask::Port(End::Src, v)));
        add(test(port, Ask::EitherPort));
        add(test(icmp_options, Ask::Icmp));
        add(test(src_address, |v| Ask::Address(End::Src, v)));
        add(test(dst_address, |v| Ask::Address(End::Dst, v)));
        add(test(src_address_list, |v| Ask::AddressList(End::Src, v)));
        add(test(dst_address_list, |v| Ask::AddressList(End::Dst, v)));
        add(test(src_address_type, |v| Ask::AddressType(End::Src, v)));
        add(test(dst_address_type, |v| Ask::AddressType(End::Dst, v)));
        tests.into()
    }

    const fn plain(ask: Ask) -> Self {
        Self {
            ask,
            negated: false,
        }
    }

    /// Whether the packet passes this test.
    pub fn holds(&self, facts: &Facts, program: &Program) -> bool {
        self.answer(facts, program)
            .is_some_and(|answer| answer != self.negated)
    }

    /// The property name of the configuration that this test came from.
    pub const fn name(&self) -> &'static str {
        match &self.ask {
            Ask::Family(_) => "family",
            Ask::TranslationFamily(_) => "to-addresses",
            Ask::InterfaceAddress(_) => "action",
            Ask::Protocol(_) => "protocol",
            Ask::Interface(Way::In, _) => "in-interface",
            Ask::Interface(Way::Out, _) => "out-interface",
            Ask::InterfaceList(Way::In, _) => "in-interface-list",
            Ask::InterfaceList(Way::Out, _) => "out-interface-list",
            Ask::State(_) => "connection-state",
            Ask::NatState(_) => "connection-nat-state",
            Ask::Port(End::Src, _) => "src-port",
            Ask::Port(End::Dst, _) => "dst-port",
            Ask::EitherPort(_) => "port",
            Ask::Icmp(_) => "icmp-options",
            Ask::Address(End::Src, _) => "src-address",
            Ask::Address(End::Dst, _) => "dst-address",
            Ask::AddressList(End::Src, _) => "src-address-list",
            Ask::AddressList(End::Dst, _) => "dst-address-list",
            Ask::AddressType(End::Src, _) => "src-address-type",
            Ask::AddressType(End::Dst, _) => "dst-address-type",
        }
    }

    /// Whether a packet that leaves by `iface` could pass this test, as far as that goes.
    pub(crate) fn admits_out(&self, iface: IfaceId, interfaces: &Interfaces) -> bool {
        match &self.ask {
            Ask::Interface(Way::Out, asked) => (*asked == iface) != self.negated,
            Ask::InterfaceList(Way::Out, list) => {
                interfaces.is_member(*list, iface) != self.negated
            }
            Ask::Family(_)
            | Ask::TranslationFamily(_)
            | Ask::InterfaceAddress(_)
            | Ask::Protocol(_)
            | Ask::Interface(Way::In, _)
            | Ask::InterfaceList(Way::In, _)
            | Ask::State(_)
            | Ask::NatState(_)
            | Ask::Port(..)
            | Ask::EitherPort(_)
            | Ask::Icmp(_)
            | Ask::Address(..)
            | Ask::AddressList(..)
            | Ask::AddressType(..) => true,
        }
    }

    /// Yes, no, or `None` for a packet that lacks what is asked about.
    fn answer(&self, facts: &Facts, program: &Program) -> Option<bool> {
        match &self.ask {
            Ask::Family(family) | Ask::TranslationFamily(family) => Some(facts.family() == *family),
            Ask::InterfaceAddress(way) => {
                let iface = program.interfaces.find(facts.interface(*way)?)?;
                Some(iface.has_address(facts.family()))
            }
            Ask::Protocol(proto) => Some(facts.proto == *proto),
            Ask::Interface(way, asked) => Some(facts.interface(*way)? == *asked),
            Ask::InterfaceList(way, list) => {
                let iface = facts.interface(*way)?;
                Some(program.interfaces.is_member(*list, iface))
            }
            Ask::State(states) => Some(states.contains(facts.state?)),
            Ask::NatState(asked) => Some(asked.intersects(facts.nat_state)),
            Ask::Port(end, ports) => Some(ports.contains(facts.port(*end)?)),
            Ask::EitherPort(ports) => {
                let (src, dst) = (facts.src_port?, facts.dst_port?);
                Some(ports.contains(src) || ports.contains(dst))
            }
            Ask::Icmp(options) => {
                let (kind, code) = facts.icmp?;
                let (first, last) = options.codes;
                Some(kind == options.kind && (first..=last).contains(&code))
            }
            Ask::Address(end, range) => {
                let same_family = range.family() == facts.family();
                same_family.then(|| range.contains(facts.address(*end)))
            }
            Ask::AddressList(end, list) => Some(program.lists.contains(*list, facts.address(*end))),
            Ask::AddressType(end, types) => {
                let address_type = program.fib.address_type(facts.address(*end));
                Some(address_type.is_in(*types))
            }
        }
    }
}

impl Facts {
    const fn address(&self, end: End) -> IpAddr {
        match end {
            End::Src => self.src,
            End::Dst => self.dst,
        }
    }

    const fn port(&self, end: End) -> Option<u16> {
        match end {
            End::Src => self.src_port,
            End::Dst => self.dst_port,
        }
    }

    const fn interface(&self, way: Way) -> Option<IfaceId> {
        match way {
            Way::In => self.in_interface,
            Way::Out => self.out_interface,
        }
    }
}

fn test<T: Clone>(asked: &Option<Match<T>>, ask: impl FnOnce(T) -> Ask) -> Option<Test> {
    asked.as_ref().map(|asked| Test {
        ask: ask(asked.value.clone()),
        negated: asked.negated,
    })
}

/// What an action asks of a packet without saying so.
fn implied(action: &Action) -> Option<Ask> {
    match action {
        Action::SrcNat(to) | Action::DstNat(to) => {
            let range = to.addresses.as_ref()?;
            Some(Ask::TranslationFamily(range.family()))
        }
        Action::Masquerade(_) => Some(Ask::InterfaceAddress(Way::Out)),
        Action::Redirect(_) => Some(Ask::InterfaceAddress(Way::In)),
        Action::Accept
        | Action::Drop
        | Action::Reject(_)
        | Action::Log(_)
        | Action::Passthrough
        | Action::Jump(_)
        | Action::Return
        | Action::NoTrack
        | Action::Fasttrack => None,
    }
}
