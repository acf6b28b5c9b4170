//! What a rule asks of a packet, question by question.
//!
//! A [`Test`] is one question. Its answer is yes, no, or nothing when the packet lacks what is
//! asked about: a port of an ICMP packet, an out-interface before routing, an IPv4 address of an
//! IPv6 packet. A test holds when the answer is yes, or no for a negated one; without an answer
//! it does not hold, negated or not.

mod label;
mod value;

use turnpike_conntrack::ids::HelperId;
use turnpike_conntrack::tuple::Proto;

use crate::ids::{IfaceId, InterfaceListId, ListId, RoutingTableId};
use crate::policy::{
    Action, AddressRange, AddressTypeSet, Classifier, IcmpOptions, IpFamily, Mark, MarkKind, Match,
    Matchers, NatStateSet, PortSet, Protection, Rule, StateSet,
};
use crate::program::Program;
use crate::rules::external::is_mapped;
use crate::rules::facts::Facts;
use crate::rules::flow_class::is_of_class;
use crate::rules::matchers::label::LabelAsk;

/// One question of a rule, negated or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    pub(super) ask: Ask,
    pub(super) negated: bool,
}

/// Which end of a packet is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Its source.
    Src,
    /// Its destination.
    Dst,
}

/// Which way a packet passes an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Family(IpFamily),
    /// A translation has addresses of one family and does not match packets of the other.
    TranslationFamily(IpFamily),
    /// A translation to an address of an interface needs one of the packet's family there.
    InterfaceAddress(Way),
    /// What comes in needs an endpoint-independent mapping to go in through; for one to be made
    /// going out, addresses of this family were given, or the interface has one.
    Mapping(Option<IpFamily>),
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
    Mark(Mark),
    RoutingTable(RoutingTableId),
    Helper(HelperId),
    Protection(Protection),
    Classifier(Classifier),
    Label(LabelAsk),
}

impl Test {
    /// Every question of a rule, cheap ones first; their order decides nothing but the cost.
    pub fn of(rule: &Rule) -> Box<[Self]> {
        // Taken apart, so that a matcher added to the language cannot be forgotten here.
        let Matchers {
            family,
            connection_state,
            connection_nat_state,
            // Not a question of the packet alone: the evaluator asks it when all others hold.
            connection_limit: _,
            connection_type,
            // Asked by `label::tests`.
            layer7_protocol: _,
            p2p: _,
            layer7_fail: _,
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
            ipsec_policy,
            in_interface,
            out_interface,
            in_interface_list,
            out_interface_list,
            marks,
            routing_table,
            classifier,
            // Asked of each packet anew, see `rules::packet`.
            packet: _,
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
        add(test(connection_type, Ask::Helper));
        add(test(ipsec_policy, |v| Ask::Protection(v.protection)));
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
        for mark in marks {
            add(test(&Some(*mark), Ask::Mark));
        }
        add(test(routing_table, Ask::RoutingTable));
        tests.extend(test(classifier, Ask::Classifier));
        // Behind all others: whether those hold is whether a connection is looked through.
        tests.extend(label::tests(rule));
        tests.into()
    }

    const fn plain(ask: Ask) -> Self {
        Self {
            ask,
            negated: false,
        }
    }

    /// The addresses at `end` that are asked for, if that is the question.
    pub fn asked_range(&self, end: End) -> Option<AddressRange> {
        if let Ask::Address(asked, range) = &self.ask
            && *asked == end
            && !self.negated
        {
            Some(*range)
        } else {
            None
        }
    }

    /// The kind of mark that is asked for, if that is the question.
    pub const fn mark_kind(&self) -> Option<MarkKind> {
        if let Ask::Mark(mark) = &self.ask {
            Some(mark.kind)
        } else {
            None
        }
    }

    /// Whether it asks for a list of addresses, whose members come and go.
    pub const fn asks_lists(&self) -> bool {
        matches!(self.ask, Ask::AddressList(..))
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
            Ask::InterfaceAddress(_) | Ask::Mapping(_) => "action",
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
            Ask::Mark(mark) => mark.kind.matcher(),
            Ask::RoutingTable(_) => "routing-table",
            Ask::Helper(_) => "connection-type",
            Ask::Label(asked) => asked.name(),
            Ask::Protection(_) => "ipsec-policy",
            Ask::Classifier(_) => "per-connection-classifier",
        }
    }

    /// Yes, no, or `None` for a packet that lacks what is asked about.
    fn answer(&self, facts: &Facts, program: &Program) -> Option<bool> {
        match &self.ask {
            Ask::Family(family) | Ask::TranslationFamily(family) => Some(facts.family() == *family),
            Ask::InterfaceAddress(way) => {
                let iface = program.interfaces.find(facts.interface(*way)?)?;
                Some(iface.routable(facts.family()).next().is_some())
            }
            Ask::Mapping(_) if facts.out_interface.is_none() => Some(is_mapped(facts, program)),
            Ask::Mapping(given) => {
                let out = given.map_or(Ask::InterfaceAddress(Way::Out), Ask::TranslationFamily);
                Self::plain(out).answer(facts, program)
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
            Ask::AddressList(end, list) => {
                let address = facts.address(*end);
                Some(program.lists.contains(*list, address, facts.now))
            }
            Ask::AddressType(end, types) => {
                let address_type = program.fib.address_type(facts.address(*end));
                Some(address_type.is_in(*types))
            }
            Ask::Helper(asked) => Some(facts.helper == Some(*asked)),
            Ask::Label(asked) => Some(asked.answer(facts.layer7, self.negated, program)),
            Ask::Protection(asked) => Some(*asked == Protection::None),
            Ask::Mark(asked) => {
                Some(facts.marks.of(asked.kind) == program.marks.number(asked.mark))
            }
            Ask::RoutingTable(asked) => Some(facts.routing_table? == *asked),
            Ask::Classifier(asked) => Some(is_of_class(facts, asked)),
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
        Action::Netmap(range) => Some(Ask::TranslationFamily(range.family())),
        Action::SrcNat(to) | Action::DstNat(to) | Action::Same(to, _) => {
            let range = to.addresses.as_ref()?;
            Some(Ask::TranslationFamily(range.family()))
        }
        Action::Masquerade(_) => Some(Ask::InterfaceAddress(Way::Out)),
        Action::Redirect(_) => Some(Ask::InterfaceAddress(Way::In)),
        Action::EndpointIndependent(to) => {
            Some(Ask::Mapping(to.addresses.map(|range| range.family())))
        }
        Action::Accept
        | Action::Drop
        | Action::Reject(_)
        | Action::Log(_)
        | Action::Passthrough
        | Action::Jump(_)
        | Action::Return
        | Action::NoTrack
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Sniff(_)
        | Action::Edit(..) => None,
    }
}

#[cfg(test)]
mod tests;
