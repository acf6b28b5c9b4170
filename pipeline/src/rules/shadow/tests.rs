//! What is said never to match never does: held against the evaluator.

use super::*;
use crate::ids::{ChainId, ListId};
use crate::policy::{
    AddressList, ConnectionLimit, InterfaceList, NatStateSet, PortRange, RejectWith, Translation,
};
use crate::rules::{Facts, Observer, evaluate};
use crate::testing::{bare, chain, compile, gateway, ip, rule};
use proptest::prelude::*;
use std::collections::BTreeMap;
use turnpike_conntrack::tuple::Proto;

fn is<T>(value: T) -> Option<Match<T>> {
    Some(Match {
        value,
        negated: false,
    })
}

fn not<T>(value: T) -> Option<Match<T>> {
    Some(Match {
        value,
        negated: true,
    })
}

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange {
        first: ip(first),
        last: ip(last),
    }
}

fn asking(matchers: Matchers, action: Action) -> Rule {
    Rule {
        matchers,
        ..rule(action)
    }
}

/// The gateway with these rules in filter/forward, an address list, and two interface lists.
fn policy(rules: Vec<Rule>) -> Policy {
    let mut policy = gateway();
    let list = |name: &str, members: &[u16]| InterfaceList {
        name: name.to_owned(),
        members: members.iter().copied().map(IfaceId).collect(),
    };
    policy.interface_lists = vec![list("LAN", &[0]), list("INSIDE", &[0, 2])];
    policy.address_lists = vec![AddressList {
        name: "trusted".to_owned(),
        prefixes: vec!["10.0.0.0/30".parse().unwrap()],
        ..AddressList::default()
    }];
    let custom = vec![rule(Action::Passthrough)];
    policy.filter.chains = vec![
        chain("input", vec![]),
        chain("forward", rules),
        chain("output", vec![]),
        chain("custom", custom),
    ];
    policy
}

/// Places of the rules of filter/forward that can never match, and of what shadows them.
fn found(rules: Vec<Rule>) -> Vec<(usize, usize)> {
    let policy = policy(rules);
    let shadows = shadowed(&policy);
    assert_eq!(shadows.unlooked, 0);
    shadows.found.iter().map(|s| (s.rule.1, s.by.1)).collect()
}

/// Whether an accept that asks `earlier` shadows one that asks `later`.
fn shades(earlier: Matchers, later: Matchers) -> bool {
    let rules = vec![
        asking(earlier, Action::Accept),
        asking(later, Action::Accept),
    ];
    found(rules) == [(2, 1)]
}

macro_rules! asks {
    ($($field:ident: $value:expr),* $(,)?) => {
        Matchers { $($field: $value,)* ..Matchers::default() }
    };
}

#[test]
fn a_rule_behind_one_that_takes_everything_is_shadowed() {
    let all = || rule(Action::Drop);
    let policy = policy(vec![rule(Action::Passthrough), all(), all(), all()]);
    let shadows = shadowed(&policy);
    let places: Vec<_> = shadows.found.iter().map(|s| (s.rule.1, s.by.1)).collect();
    assert_eq!(places, [(3, 2), (4, 2)]);
    assert!(shadows.found.iter().all(Shadowed::is_behind_catch_all));
    assert_eq!(shadows.found[0].chain, "forward");
}

/// Questions of one kind, the wider one first.
fn wide_and_narrow() -> Vec<(Matchers, Matchers)> {
    let ports = |first, last| is(PortSet::new([first..=last]));
    let states = |states: &[ConnState]| StateSet(states.iter().map(|s| 1 << *s as u8).sum());
    let kinds = |kind, first, last| {
        is(IcmpOptions {
            kind,
            codes: (first, last),
        })
    };
    vec![
        (
            asks!(src_address: is(range("10.0.0.0", "10.0.0.255"))),
            asks!(src_address: is(range("10.0.0.7", "10.0.0.7"))),
        ),
        (
            asks!(dst_address: not(range("10.0.0.7", "10.0.0.7"))),
            asks!(dst_address: not(range("10.0.0.0", "10.0.0.255"))),
        ),
        (
            asks!(dst_port: ports(1, 1_023)),
            asks!(dst_port: ports(80, 90), protocol: is(Proto::TCP)),
        ),
        (
            asks!(src_port: not(PortSet::new([80..=80]))),
            asks!(src_port: ports(81, 90)),
        ),
        (asks!(port: ports(1, 99)), asks!(port: ports(2, 9))),
        (
            asks!(protocol: not(Proto::UDP)),
            asks!(protocol: is(Proto::TCP)),
        ),
        (
            asks!(connection_state: is(states(&[ConnState::New, ConnState::Related]))),
            asks!(connection_state: is(states(&[ConnState::New]))),
        ),
        (
            asks!(connection_nat_state: is(NatStateSet(3))),
            asks!(connection_nat_state: is(NatStateSet(1))),
        ),
        (
            asks!(icmp_options: kinds(3, 0, 255)),
            asks!(icmp_options: kinds(3, 4, 4)),
        ),
        (
            asks!(in_interface_list: is(InterfaceListId(1))),
            asks!(in_interface_list: is(InterfaceListId(0))),
        ),
        (
            asks!(out_interface_list: is(InterfaceListId(1))),
            asks!(out_interface: is(IfaceId(2))),
        ),
        (
            asks!(src_address_type: is(AddressTypeSet(3))),
            asks!(src_address_type: is(AddressTypeSet(1))),
        ),
        (
            asks!(family: Some(IpFamily::V4)),
            asks!(src_address: not(range("10.0.0.7", "10.0.0.7"))),
        ),
        (
            asks!(src_address_list: is(ListId(0))),
            asks!(src_address_list: is(ListId(0)), protocol: is(Proto::TCP)),
        ),
    ]
}

#[test]
fn a_narrower_question_is_shadowed_by_a_wider_one_and_not_the_other_way_round() {
    for (wide, narrow) in wide_and_narrow() {
        assert!(
            shades(wide.clone(), narrow.clone()),
            "{wide:?} / {narrow:?}"
        );
        assert!(
            !shades(narrow.clone(), wide.clone()),
            "{narrow:?} / {wide:?}"
        );
        assert!(shades(Matchers::default(), wide.clone()), "{wide:?}");
        assert!(!shades(wide.clone(), Matchers::default()), "{wide:?}");
    }
}

#[test]
fn what_a_packet_may_lack_is_not_taken_for_covered() {
    // An ICMP packet has no port, so it passes the second rule only.
    let but_80 = asks!(dst_port: not(PortSet::new([80..=80])));
    assert!(!shades(but_80, asks!(protocol: is(Proto::ICMP))));
    // All there are, but a packet of the gateway itself came in by none.
    let inside = asks!(in_interface: not(IfaceId(7)));
    assert!(!shades(inside, Matchers::default()));
}

#[test]
fn only_what_ends_the_way_shadows() {
    let behind = |action| found(vec![rule(action), rule(Action::Drop)]);
    for action in [
        Action::Accept,
        Action::Drop,
        Action::Reject(RejectWith::TcpReset),
        Action::Return,
    ] {
        assert_eq!(behind(action), [(2, 1)]);
    }
    for action in [
        Action::Log("x".into()),
        Action::Passthrough,
        Action::Fasttrack,
        Action::Jump(ChainId(3)),
    ] {
        assert_eq!(behind(action), []);
    }
}

#[test]
fn a_disabled_rule_neither_shadows_nor_is_shadowed() {
    let off = |action| Rule {
        disabled: true,
        ..rule(action)
    };
    assert_eq!(found(vec![off(Action::Drop), rule(Action::Drop)]), []);
    assert_eq!(found(vec![rule(Action::Drop), off(Action::Drop)]), []);
}

#[test]
fn a_question_that_is_not_about_the_packet_alone_shadows_nothing() {
    let limit = ConnectionLimit {
        count: 5,
        prefix: 32,
    };
    let limited = asks!(connection_limit: is(limit), protocol: is(Proto::TCP));
    assert!(!shades(limited.clone(), limited.clone()));
    assert!(shades(asks!(protocol: is(Proto::TCP)), limited));
}

#[test]
fn a_list_that_may_have_changed_in_between_shadows_nothing() {
    let listed = || asking(asks!(src_address_list: is(ListId(0))), Action::Drop);
    let jump = || rule(Action::Jump(ChainId(3)));
    assert_eq!(found(vec![listed(), listed()]), [(2, 1)]);
    assert_eq!(found(vec![listed(), jump(), listed()]), []);
    assert_eq!(found(vec![jump(), listed(), listed()]), [(3, 2)]);
}

#[test]
fn a_translation_shadows_only_what_it_applies_to() {
    let to = |address: &str| Translation {
        addresses: Some(range(address, address)),
        ports: None,
    };
    let (v4, v6) = (to("10.0.0.1"), to("2001:db8::1"));
    let src_nat = |to| rule(Action::SrcNat(to));
    assert_eq!(found(vec![src_nat(v4), src_nat(v6)]), []);
    assert_eq!(found(vec![src_nat(v4), src_nat(v4)]), [(2, 1)]);
    assert_eq!(found(vec![src_nat(v4), rule(Action::Accept)]), []);
    let masquerade = || rule(Action::Masquerade(None));
    // Without an address on the interface it does not match.
    assert_eq!(found(vec![masquerade(), src_nat(v4)]), []);
    assert_eq!(found(vec![masquerade(), masquerade()]), [(2, 1)]);
}

#[test]
fn too_many_rules_to_compare_are_left_alone_and_counted() {
    let rules: Vec<Rule> = (0..15_000_u32)
        .map(|n| {
            let address = IpAddr::from(n.to_be_bytes());
            let one = AddressRange {
                first: address,
                last: address,
            };
            asking(asks!(src_address: is(one)), Action::Drop)
        })
        .collect();
    let policy = policy(rules);
    let shadows = shadowed(&policy);
    assert_eq!(shadows.found, []);
    let looked = 15_000 - shadows.unlooked;
    assert!((11_000..12_000).contains(&looked), "{looked}");
}

/// A value of a small world, so that matches happen.
fn matched<T: Clone + std::fmt::Debug + 'static>(
    values: Vec<T>,
) -> impl Strategy<Value = Option<Match<T>>> {
    let some = (prop::sample::select(values), prop::bool::weighted(0.3));
    let some = some.prop_map(|(value, negated)| Match { value, negated });
    prop::option::weighted(0.1, some)
}

const ADDRESSES: [&str; 6] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "192.168.88.1",
    "2001:db8:88::1",
    "2001:db8:88::2",
];

fn some_range() -> Vec<AddressRange> {
    let mut ranges = Vec::new();
    for first in ADDRESSES.map(ip) {
        for last in ADDRESSES.map(ip) {
            if first <= last && IpFamily::of(first) == IpFamily::of(last) {
                ranges.push(AddressRange { first, last });
            }
        }
    }
    ranges
}

fn some_ports() -> Vec<PortSet> {
    vec![
        PortSet::new([0..=0]),
        PortSet::new([1..=2]),
        PortSet::new([2..=2, 65_535..=65_535]),
        PortSet::new([0..=65_535]),
    ]
}

fn some_matchers() -> impl Strategy<Value = Matchers> {
    let family =
        prop::option::weighted(0.1, prop::sample::select(vec![IpFamily::V4, IpFamily::V6]));
    let protocols = vec![Proto::TCP, Proto::ICMP, Proto::GRE];
    let options = [(8, (0, 255)), (8, (0, 0)), (3, (1, 4))];
    let options = options.map(|(kind, codes)| IcmpOptions { kind, codes });
    let types = vec![AddressTypeSet(1), AddressTypeSet(2), AddressTypeSet(3)];
    let sets = (1..32).map(StateSet).collect::<Vec<_>>();
    let nat = (0..4).map(NatStateSet).collect::<Vec<_>>();
    let one = |n: u16| (0..n).map(IfaceId).collect::<Vec<_>>();
    let lists = vec![InterfaceListId(0), InterfaceListId(1)];
    (
        (
            family,
            matched(sets),
            matched(nat),
            matched(protocols),
            matched(some_range()),
            matched(some_range()),
            matched(vec![ListId(0)]),
            matched(vec![ListId(0)]),
        ),
        (
            matched(types.clone()),
            matched(types),
            matched(some_ports()),
            matched(some_ports()),
            matched(some_ports()),
            matched(options.to_vec()),
            matched(one(3)),
            matched(one(3)),
            matched(lists.clone()),
            matched(lists),
        ),
    )
        .prop_map(|(a, b)| Matchers {
            family: a.0,
            connection_state: a.1,
            connection_nat_state: a.2,
            protocol: a.3,
            src_address: a.4,
            dst_address: a.5,
            src_address_list: a.6,
            dst_address_list: a.7,
            src_address_type: b.0,
            dst_address_type: b.1,
            src_port: b.2,
            dst_port: b.3,
            port: b.4,
            icmp_options: b.5,
            in_interface: b.6,
            out_interface: b.7,
            in_interface_list: b.8,
            out_interface_list: b.9,
            ..Matchers::default()
        })
}

/// `rule` with whatever `earlier` asks and it does not.
fn narrowed(rule: Rule, earlier: &Rule) -> Rule {
    let (ours, theirs) = (rule.matchers.clone(), &earlier.matchers);
    let matchers = Matchers {
        family: ours.family.or(theirs.family),
        connection_state: ours.connection_state.or(theirs.connection_state),
        connection_nat_state: ours.connection_nat_state.or(theirs.connection_nat_state),
        protocol: ours.protocol.or(theirs.protocol),
        src_address: ours.src_address.or(theirs.src_address),
        dst_address: ours.dst_address.or(theirs.dst_address),
        src_address_list: ours.src_address_list.or(theirs.src_address_list),
        dst_address_list: ours.dst_address_list.or(theirs.dst_address_list),
        src_address_type: ours.src_address_type.or(theirs.src_address_type),
        dst_address_type: ours.dst_address_type.or(theirs.dst_address_type),
        src_port: ours.src_port.or(theirs.src_port.clone()),
        dst_port: ours.dst_port.or(theirs.dst_port.clone()),
        port: ours.port.or(theirs.port.clone()),
        icmp_options: ours.icmp_options.or(theirs.icmp_options),
        in_interface: ours.in_interface.or(theirs.in_interface),
        out_interface: ours.out_interface.or(theirs.out_interface),
        in_interface_list: ours.in_interface_list.or(theirs.in_interface_list),
        out_interface_list: ours.out_interface_list.or(theirs.out_interface_list),
        ..rule.matchers
    };
    Rule { matchers, ..rule }
}

/// Rules, about half of which ask at least what the one before asks.
fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (some_matchers(), some_action(), any::<bool>());
    prop::collection::vec(rule, 2..8).prop_map(|drafts| {
        let mut rules: Vec<Rule> = Vec::new();
        for (matchers, action, narrow) in drafts {
            let rule = asking(matchers, action);
            let rule = match rules.last() {
                Some(last) if narrow => narrowed(rule, last),
                Some(_) | None => rule,
            };
            rules.push(rule);
        }
        rules
    })
}

fn some_action() -> impl Strategy<Value = Action> {
    let to = |address: &str, ports| Translation {
        addresses: Some(range(address, address)),
        ports,
    };
    let ports = PortRange { first: 1, last: 9 };
    prop::sample::select(vec![
        Action::Accept,
        Action::Accept,
        Action::Drop,
        Action::Return,
        Action::Passthrough,
        Action::Jump(ChainId(3)),
        Action::Masquerade(None),
        Action::Redirect(None),
        Action::SrcNat(to("10.0.0.1", None)),
        Action::DstNat(to("2001:db8::1", Some(ports))),
        Action::EndpointIndependent(Translation::default()),
    ])
}

fn some_facts() -> impl Strategy<Value = Facts> {
    let states = vec![
        ConnState::New,
        ConnState::Established,
        ConnState::Related,
        ConnState::Invalid,
        ConnState::Untracked,
    ];
    let port = || prop::option::weighted(0.8, prop::sample::select(vec![0, 1, 2, 3, 65_535]));
    let icmp = prop::sample::select(vec![(8, 0), (8, 1), (3, 2), (0, 0)]);
    let interface = || prop::option::weighted(0.8, (0..3_u16).prop_map(IfaceId));
    let protocols = vec![Proto::TCP, Proto::ICMP, Proto::GRE, Proto::UDP];
    (
        (any::<bool>(), 0..4_usize, 0..4_usize),
        prop::sample::select(protocols),
        (port(), port()),
        prop::option::of(icmp),
        (interface(), interface()),
        prop::sample::select(states),
        0..4_u8,
    )
        .prop_map(|(ends, proto, ports, icmp, ways, state, nat)| {
            let (v4, src, dst) = ends;
            let base = if v4 { 0 } else { 4 };
            let wide = if v4 { 4 } else { 2 };
            let (src, dst) = (ADDRESSES[base + src % wide], ADDRESSES[base + dst % wide]);
            Facts {
                src_port: ports.0,
                dst_port: ports.1,
                icmp,
                in_interface: ways.0,
                out_interface: ways.1,
                state: Some(state),
                nat_state: NatStateSet(nat),
                ..bare(src, dst, proto)
            }
        })
}

/// Counts how often each rule matched.
#[derive(Default)]
struct Matches(BTreeMap<u32, usize>);

impl Observer for Matches {
    fn matched(&mut self, id: crate::ids::RuleId, _: &crate::rules::CompiledRule) {
        *self.0.entry(id.0).or_default() += 1;
    }
}

#[test]
fn what_is_said_never_to_match_never_does() {
    use proptest::test_runner::{Config, TestRunner};
    let mut runner = TestRunner::new(Config {
        cases: 1_500,
        failure_persistence: None,
        ..Config::default()
    });
    let packets = prop::collection::vec(some_facts(), 200);
    let (shadows, matches) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let behind_all = std::cell::Cell::new(0);
    runner
        .run(&(some_rules(), packets), |(rules, packets)| {
            let policy = policy(rules);
            let found = shadowed(&policy).found;
            let program = compile(&policy);
            let mut seen = Matches::default();
            for facts in &packets {
                evaluate(&program, TableKind::Filter, ChainId(1), facts, &mut seen);
            }
            for shadow in &found {
                let id = u32::try_from(shadow.rule.1 - 1).unwrap();
                let times = seen.0.get(&id);
                prop_assert_eq!(times, None, "{:?} by {:?}", shadow.rule.0, shadow.by.0);
                behind_all.set(behind_all.get() + usize::from(shadow.is_behind_catch_all()));
            }
            shadows.set(shadows.get() + found.len());
            matches.set(matches.get() + seen.0.values().sum::<usize>());
            Ok(())
        })
        .unwrap();
    // What was never reached has shown nothing.
    let narrow = shadows.get() - behind_all.get();
    assert!(
        narrow > 100,
        "{narrow} in the shadow of a rule that asks something"
    );
    assert!(
        behind_all.get() > 100,
        "{} behind a catch-all",
        behind_all.get()
    );
    assert!(matches.get() > 100_000, "{} matches", matches.get());
}
