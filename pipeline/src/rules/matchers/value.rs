//! What a packet answers to a question, in words for people.

use std::net::IpAddr;

use turnpike_conntrack::labels::Layer7;
use turnpike_helpers::catalogue::protocol_name;
use turnpike_helpers::names::helper_name;

use super::{Ask, Test, Way};
use crate::fib::AddressType;
use crate::ids::IfaceId;
use crate::policy::{IpFamily, MarkKind, NatStateSet};
use crate::program::Program;
use crate::rules::facts::Facts;
use crate::rules::flow_class::class;

impl Test {
    /// What the packet is like in what this test asks about; `None` if it lacks it.
    pub fn value(&self, facts: &Facts, program: &Program) -> Option<String> {
        Some(match &self.ask {
            Ask::Family(_) | Ask::TranslationFamily(_) => match facts.family() {
                IpFamily::V4 => "ipv4".to_owned(),
                IpFamily::V6 => "ipv6".to_owned(),
            },
            Ask::InterfaceAddress(way) => {
                let name = interface(facts, *way, program)?;
                format!("{name}, without an address of its family")
            }
            Ask::Mapping(_) => "no mapping".to_owned(),
            Ask::Protocol(_) => {
                protocol_name(facts.proto).map_or_else(|| facts.proto.0.to_string(), str::to_owned)
            }
            Ask::Interface(way, _) | Ask::InterfaceList(way, _) => interface(facts, *way, program)?,
            Ask::State(_) => facts.state?.name().to_owned(),
            Ask::NatState(_) => nat_state(facts.nat_state).to_owned(),
            Ask::Port(end, _) => facts.port(*end)?.to_string(),
            Ask::EitherPort(_) => format!("{} and {}", facts.src_port?, facts.dst_port?),
            Ask::Icmp(_) => {
                let (kind, code) = facts.icmp?;
                format!("{kind}:{code}")
            }
            Ask::Address(end, _) | Ask::AddressList(end, _) => facts.address(*end).to_string(),
            Ask::AddressType(end, _) => address_type(facts.address(*end), program).to_owned(),
            Ask::Helper(_) => facts
                .helper
                .and_then(helper_name)
                .unwrap_or("none")
                .to_owned(),
            Ask::Label(_) => match facts.layer7 {
                Layer7::Unknown => "unknown".to_owned(),
                Layer7::Unexamined => "not looked at".to_owned(),
                Layer7::Found(label) => program.layer7.name(label).unwrap_or("?").to_owned(),
            },
            Ask::Protection(_) => "none".to_owned(),
            Ask::Mark(asked) => mark(facts, asked.kind, program),
            Ask::RoutingTable(_) => program.routing.name(facts.routing_table?)?.to_owned(),
            Ask::Classifier(asked) => class(facts, asked)?.to_string(),
        })
    }
}

impl Facts {
    /// The interface by which the packet passes this way.
    pub(super) const fn interface(&self, way: Way) -> Option<IfaceId> {
        match way {
            Way::In => self.in_interface,
            Way::Out => self.out_interface,
        }
    }
}

fn interface(facts: &Facts, way: Way, program: &Program) -> Option<String> {
    program
        .interface_name(facts.interface(way)?)
        .map(str::to_owned)
}

const fn nat_state(set: NatStateSet) -> &'static str {
    let src = set.intersects(NatStateSet(NatStateSet::SRCNAT));
    let dst = set.intersects(NatStateSet(NatStateSet::DSTNAT));
    match (src, dst) {
        (false, false) => "none",
        (true, false) => "srcnat",
        (false, true) => "dstnat",
        (true, true) => "srcnat,dstnat",
    }
}

fn address_type(ip: IpAddr, program: &Program) -> &'static str {
    match program.fib.address_type(ip) {
        AddressType::Unicast => "unicast",
        AddressType::Local => "local",
        AddressType::Broadcast => "broadcast",
        AddressType::Multicast => "multicast",
    }
}

fn mark(facts: &Facts, kind: MarkKind, program: &Program) -> String {
    match facts.marks.of(kind) {
        0 => "no-mark".to_owned(),
        number => program.marks.name(number).unwrap_or("?").to_owned(),
    }
}
