//! Rules that can never match, because an earlier one of their chain takes whatever they ask for.
//!
//! A rule is in the shadow of an earlier one that is enabled, ends the way through the chain, and
//! holds for every packet that the later one holds for. Rules are compared two by two, matcher by
//! matcher; what an earlier rule asks beyond the matchers known here makes it cast no shadow. So
//! what is found is certain, but not all that could be found: two rules that together take all that
//! a third asks for are not, nor is what a jump never lets come back.

use std::net::IpAddr;

use turnpike_conntrack::ids::ConnState;

use crate::ids::{IfaceId, InterfaceListId};
use crate::policy::{
    Action, AddressRange, AddressTypeSet, Chain, IcmpOptions, IpFamily, Match, Matchers, Policy,
    PortSet, Rule, StateSet, TableKind, Then,
};

/// How many pairs of rules are compared before the rest is left alone.
pub const PAIRS_MAX: usize = 64_000_000;

/// A rule that can never match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadowed<'a> {
    /// Its table.
    pub table: TableKind,
    /// Its chain.
    pub chain: &'a str,
    /// The rule, and its place in the chain, from 1.
    pub rule: (&'a Rule, usize),
    /// The rule that takes what it asks for, and its place.
    pub by: (&'a Rule, usize),
}

impl Shadowed<'_> {
    /// Whether the earlier rule takes every packet, so that nothing behind it is ever reached.
    pub fn is_behind_catch_all(&self) -> bool {
        self.by.0.matchers == Matchers::default()
    }
}

/// What an analysis found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadows<'a> {
    /// Rules that can never match, in configuration order.
    pub found: Vec<Shadowed<'a>>,
    /// How many rules were left alone, because there are too many to compare.
    pub unlooked: usize,
}

/// Finds the rules that can never match.
pub fn shadowed(policy: &Policy) -> Shadows<'_> {
    let mut shadows = Shadows::default();
    let mut pairs = PAIRS_MAX;
    for table in TableKind::ALL {
        for chain in &policy.table(table).chains {
            in_chain(policy, table, chain, &mut pairs, &mut shadows);
        }
    }
    shadows
}

fn in_chain<'a>(
    policy: &Policy,
    table: TableKind,
    chain: &'a Chain,
    pairs: &mut usize,
    shadows: &mut Shadows<'a>,
) {
    let mut casting: Vec<Extent<'a>> = Vec::new();
    let mut unsettled = 0;
    for (number, rule) in (1..).zip(&chain.rules) {
        if rule.disabled {
            continue;
        }
        if *pairs < casting.len() {
            shadows.unlooked += 1;
            continue;
        }
        *pairs -= casting.len();
        let extent = Extent::of(policy, rule, number);
        let by = casting.iter().find(|earlier| {
            // A list may have changed meanwhile, for this very packet.
            let lists_are_as_they_were = unsettled <= earlier.number;
            earlier.covers(&extent, lists_are_as_they_were)
        });
        if let Some(by) = by {
            shadows.found.push(Shadowed {
                table,
                chain: &chain.name,
                rule: (rule, number),
                by: (by.rule, by.number),
            });
        } else if ends_the_way(&rule.action) && asks_what_is_known(&rule.matchers) {
            casting.push(extent);
        }
        if !leaves_lists_alone(&rule.action) {
            unsettled = number;
        }
    }
}

/// Whether a packet that matches looks at no later rule of the chain.
const fn ends_the_way(action: &Action) -> bool {
    match action {
        Action::Accept
        | Action::Drop
        | Action::Reject(_)
        | Action::Return
        | Action::NoTrack
        | Action::SrcNat(_)
        | Action::Masquerade(_)
        | Action::DstNat(_)
        | Action::Redirect(_)
        | Action::EndpointIndependent(_)
        | Action::Same(..)
        | Action::Netmap(_)
        | Action::Edit(_, Then::Stop) => true,
        Action::Log(_)
        | Action::Passthrough
        | Action::Jump(_)
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Sniff(_)
        | Action::Edit(_, Then::GoOn) => false,
    }
}

/// Whether an action certainly changes no address list.
const fn leaves_lists_alone(action: &Action) -> bool {
    ends_the_way(action)
        || matches!(
            action,
            Action::Log(_)
                | Action::Passthrough
                | Action::Fasttrack
                | Action::Edit(..)
                | Action::Sniff(_)
        )
}

/// Whether a rule asks nothing but what is compared here.
fn asks_what_is_known(matchers: &Matchers) -> bool {
    let rest = Matchers {
        family: None,
        connection_state: None,
        connection_nat_state: None,
        protocol: None,
        src_address: None,
        dst_address: None,
        src_address_list: None,
        dst_address_list: None,
        src_address_type: None,
        dst_address_type: None,
        src_port: None,
        dst_port: None,
        port: None,
        icmp_options: None,
        in_interface: None,
        out_interface: None,
        in_interface_list: None,
        out_interface_list: None,
        ..matchers.clone()
    };
    rest == Matchers::default()
}

/// What a rule asks for, ready to be compared.
struct Extent<'a> {
    rule: &'a Rule,
    number: usize,
    /// The families without which it does not match, as a set of bits.
    families: u8,
    /// Those that it has to have whatever its addresses are.
    asked_families: u8,
    /// The interfaces that it asks for on the way in and out.
    interfaces: [Option<InterfaceSet>; 2],
}

impl<'a> Extent<'a> {
    fn of(policy: &Policy, rule: &'a Rule, number: usize) -> Self {
        let m = &rule.matchers;
        let bit = |family: Option<IpFamily>| family.map_or(0, |family| 1 << family as u8);
        let range = |m: Option<Match<AddressRange>>| bit(m.map(|m| m.value.family()));
        let asked_families = bit(m.family) | bit(translation_family(&rule.action));
        let set = |one, list| InterfaceSet::of(policy, one, list);
        Self {
            rule,
            number,
            families: asked_families | range(m.src_address) | range(m.dst_address),
            asked_families,
            interfaces: [
                set(m.in_interface, m.in_interface_list),
                set(m.out_interface, m.out_interface_list),
            ],
        }
    }

    /// Whether this rule matches every packet that `later` does.
    fn covers(&self, later: &Self, lists_are_as_they_were: bool) -> bool {
        let (a, b) = (&self.rule.matchers, &later.rule.matchers);
        let list = |a, b| match (a, b) {
            (None, _) => true,
            (Some(a), b) => lists_are_as_they_were && b == Some(a),
        };
        // What most rules differ in comes first.
        covers(&a.src_address, &b.src_address, ranges)
            && covers(&a.dst_address, &b.dst_address, ranges)
            && covers(&a.dst_port, &b.dst_port, ports)
            && covers(&a.src_port, &b.src_port, ports)
            && covers(&a.port, &b.port, either_port)
            && covers(&a.protocol, &b.protocol, |a, b| {
                one_of(a, b, |a, b| a == b, |a, b| a != b)
            })
            && covers(&a.connection_state, &b.connection_state, |a, b| {
                within(state_bits(b), state_bits(a))
            })
            && covers(
                &a.connection_nat_state,
                &b.connection_nat_state,
                |a, b| match (a.negated, b.negated) {
                    (false, false) => within(b.value.0, a.value.0),
                    (true, true) => within(a.value.0, b.value.0),
                    (_, _) => false,
                },
            )
            && covers(&a.icmp_options, &b.icmp_options, |a, b| {
                one_of(a, b, |a, b| holds_icmp(*a, *b), |a, b| apart_icmp(*a, *b))
            })
            && list(a.src_address_list, b.src_address_list)
            && list(a.dst_address_list, b.dst_address_list)
            && covers(&a.src_address_type, &b.src_address_type, address_types)
            && covers(&a.dst_address_type, &b.dst_address_type, address_types)
            && within(self.asked_families, later.families)
            && self
                .interfaces
                .iter()
                .zip(&later.interfaces)
                .all(|pair| match pair {
                    (None, _) => true,
                    (Some(a), Some(b)) => b.is_within(a),
                    (Some(_), None) => false,
                })
            && implies(&later.rule.action, &self.rule.action)
    }
}

/// Whether whatever an action asks without saying so holds where `later` is taken.
fn implies(later: &Action, earlier: &Action) -> bool {
    match earlier {
        // They need an address on an interface, or a mapping.
        Action::Masquerade(_) => matches!(later, Action::Masquerade(_)),
        Action::Redirect(_) => matches!(later, Action::Redirect(_)),
        Action::EndpointIndependent(_) => later == earlier,
        // Their family, if they ask for one, is compared with the others.
        Action::SrcNat(_) | Action::DstNat(_) | Action::Same(..) | Action::Netmap(_) => true,
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
        | Action::Edit(..) => true,
    }
}

/// The family of the addresses that an action translates to, without which it does not match.
fn translation_family(action: &Action) -> Option<IpFamily> {
    match action {
        Action::Netmap(range) => Some(range.family()),
        Action::SrcNat(to) | Action::DstNat(to) | Action::Same(to, _) => {
            to.addresses.map(|range| range.family())
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
        | Action::Masquerade(_)
        | Action::Redirect(_)
        | Action::EndpointIndependent(_)
        | Action::AddToList(..)
        | Action::Sniff(_)
        | Action::Edit(..) => None,
    }
}

/// Whether what `a` asks holds where `b` holds: `b` has to ask, or the packet may lack an answer.
fn covers<T>(
    a: &Option<Match<T>>,
    b: &Option<Match<T>>,
    compare: impl FnOnce(&Match<T>, &Match<T>) -> bool,
) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(a), Some(b)) => compare(a, b),
        (Some(_), None) => false,
    }
}

/// The four cases of sets, negated or not: `holds(x, y)` if all of `y` is in `x`, `apart(x, y)` if
/// nothing is in both. That all but `y` is in `x` is not looked into.
fn one_of<T>(
    a: &Match<T>,
    b: &Match<T>,
    holds: impl Fn(&T, &T) -> bool,
    apart: impl Fn(&T, &T) -> bool,
) -> bool {
    match (a.negated, b.negated) {
        (false, false) => holds(&a.value, &b.value),
        (true, false) => apart(&a.value, &b.value),
        (true, true) => holds(&b.value, &a.value),
        (false, true) => false,
    }
}

const fn within(inner: u8, outer: u8) -> bool {
    inner & !outer == 0
}

fn state_bits(m: &Match<StateSet>) -> u8 {
    let all = [
        ConnState::New,
        ConnState::Established,
        ConnState::Related,
        ConnState::Invalid,
        ConnState::Untracked,
    ];
    let all = all
        .iter()
        .fold(StateSet::default(), |set, s| set.with(*s))
        .0;
    if m.negated {
        all & !m.value.0
    } else {
        m.value.0
    }
}

fn address_types(a: &Match<AddressTypeSet>, b: &Match<AddressTypeSet>) -> bool {
    const ALL: u8 = AddressTypeSet::UNICAST
        | AddressTypeSet::LOCAL
        | AddressTypeSet::BROADCAST
        | AddressTypeSet::MULTICAST;
    let bits = |m: &Match<AddressTypeSet>| {
        if m.negated {
            ALL & !m.value.0
        } else {
            m.value.0
        }
    };
    within(bits(b), bits(a))
}

fn ranges(a: &Match<AddressRange>, b: &Match<AddressRange>) -> bool {
    let ends = |range: &AddressRange| -> [IpAddr; 2] { [range.first, range.last] };
    let holds = |outer: &AddressRange, inner: &AddressRange| {
        ends(inner).iter().all(|ip| outer.contains(*ip))
    };
    // A range of the other family has no answer, negated or not.
    let apart = |a: &AddressRange, b: &AddressRange| {
        a.family() == b.family() && (a.last < b.first || b.last < a.first)
    };
    one_of(a, b, holds, apart)
}

fn ports(a: &Match<PortSet>, b: &Match<PortSet>) -> bool {
    one_of(a, b, holds_ports, |a, b| {
        let meets = |x: &(u16, u16), y: &(u16, u16)| x.0 <= y.1 && y.0 <= x.1;
        !a.0.iter().any(|x| b.0.iter().any(|y| meets(x, y)))
    })
}

/// Either of two ports is in the set, or neither is: sets that are apart say nothing.
fn either_port(a: &Match<PortSet>, b: &Match<PortSet>) -> bool {
    one_of(a, b, holds_ports, |_, _| false)
}

/// Whether every port of `inner` is in `outer`, whose ranges are sorted and joined.
fn holds_ports(outer: &PortSet, inner: &PortSet) -> bool {
    let inside = |x: &(u16, u16)| outer.0.iter().any(|y| y.0 <= x.0 && x.1 <= y.1);
    inner.0.iter().all(inside)
}

fn holds_icmp(outer: IcmpOptions, inner: IcmpOptions) -> bool {
    outer.kind == inner.kind && outer.codes.0 <= inner.codes.0 && inner.codes.1 <= outer.codes.1
}

fn apart_icmp(a: IcmpOptions, b: IcmpOptions) -> bool {
    a.kind != b.kind || a.codes.1 < b.codes.0 || b.codes.1 < a.codes.0
}

/// Some of a policy's interfaces.
struct InterfaceSet(Box<[u64]>);

impl InterfaceSet {
    /// Those that pass both questions; `None` if neither is asked.
    fn of(
        policy: &Policy,
        one: Option<Match<IfaceId>>,
        list: Option<Match<InterfaceListId>>,
    ) -> Option<Self> {
        if one.is_none() && list.is_none() {
            return None;
        }
        let members = |list: InterfaceListId| {
            let list = policy.interface_lists.get(usize::from(list.0));
            list.map_or(&[][..], |list| &list.members)
        };
        let mut bits = vec![0_u64; policy.interfaces.len().div_ceil(64)];
        for (id, _) in (0..).map(IfaceId).zip(&policy.interfaces) {
            let is_it = one.is_none_or(|m| (m.value == id) != m.negated);
            let is_member = list.is_none_or(|m| members(m.value).contains(&id) != m.negated);
            if let Some(word) = bits.get_mut(usize::from(id.0) / 64)
                && is_it
                && is_member
            {
                *word |= 1 << (id.0 % 64);
            }
        }
        Some(Self(bits.into()))
    }

    fn is_within(&self, outer: &Self) -> bool {
        self.0.iter().zip(&outer.0).all(|(a, b)| a & !b == 0)
    }
}

#[cfg(test)]
mod tests;
