//! What each question of a rule is answered with.

use super::*;
use crate::policy::{AddressList, InterfaceList, Policy, PortRange, SameBy, Translation};
use crate::testing::{bare, compile, gateway, ip, rule};
use turnpike_conntrack::ids::ConnState;

/// The gateway with one address list and one interface list.
fn program() -> Program {
    compile(&Policy {
        address_lists: vec![AddressList {
            name: "trusted".to_owned(),
            prefixes: vec!["10.5.0.0/16".parse().unwrap()],
            ..AddressList::default()
        }],
        interface_lists: vec![InterfaceList {
            name: "WAN".to_owned(),
            members: vec![IfaceId(1)],
        }],
        ..gateway()
    })
}

fn holds(matchers: Matchers, facts: &Facts) -> bool {
    let asking = Rule {
        matchers,
        ..rule(Action::Accept)
    };
    let program = program();
    Test::of(&asking).iter().all(|t| t.holds(facts, &program))
}

fn tcp(src_port: u16, dst_port: u16) -> Facts {
    Facts {
        src_port: Some(src_port),
        dst_port: Some(dst_port),
        ..bare("10.5.0.1", "8.8.8.8", Proto::TCP)
    }
}

fn icmp(kind: u8, code: u8) -> Facts {
    Facts {
        icmp: Some((kind, code)),
        ..bare("10.5.0.1", "8.8.8.8", Proto::ICMP)
    }
}

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange {
        first: ip(first),
        last: ip(last),
    }
}

/// One matcher: how a rule asks, packets that are so, that are not so, that lack it.
struct Case {
    ask: Box<dyn Fn(bool) -> Matchers>,
    yes: Vec<Facts>,
    no: Vec<Facts>,
    lacking: Vec<Facts>,
}

macro_rules! case {
    ($field:ident: $value:expr, $yes:expr, $no:expr, $lacking:expr) => {
        (
            stringify!($field),
            Case {
                ask: Box::new(move |negated| Matchers {
                    $field: Some(Match {
                        value: $value,
                        negated,
                    }),
                    ..Matchers::default()
                }),
                yes: $yes.into(),
                no: $no.into(),
                lacking: $lacking.into(),
            },
        )
    };
}

fn check(cases: Vec<(&str, Case)>) {
    for (name, case) in cases {
        for facts in &case.yes {
            assert!(holds((case.ask)(false), facts), "{name} of {facts:?}");
            assert!(!holds((case.ask)(true), facts), "!{name} of {facts:?}");
        }
        for facts in &case.no {
            assert!(!holds((case.ask)(false), facts), "{name} of {facts:?}");
            assert!(holds((case.ask)(true), facts), "!{name} of {facts:?}");
        }
        for facts in &case.lacking {
            assert!(!holds((case.ask)(false), facts), "{name} of {facts:?}");
            assert!(!holds((case.ask)(true), facts), "!{name} of {facts:?}");
        }
    }
}

#[test]
fn ports_and_icmp_options_hold_negate_and_need_what_they_ask_about() {
    let ports = || PortSet::new([22..=22, 80..=90]);
    let echo = IcmpOptions {
        kind: 3,
        codes: (1, 4),
    };
    let no_ports = [icmp(8, 0), bare("10.5.0.1", "8.8.8.8", Proto::GRE)];
    check(vec![
        case!(src_port: ports(), [tcp(22, 1), tcp(90, 1)], [tcp(1, 22), tcp(91, 1)], no_ports),
        case!(dst_port: ports(), [tcp(1, 80), tcp(1, 85)], [tcp(22, 1), tcp(1, 79)], no_ports),
        case!(port: ports(), [tcp(1, 80), tcp(80, 1), tcp(22, 80)], [tcp(1, 2)], no_ports),
        case!(icmp_options: echo, [icmp(3, 1), icmp(3, 4)],
            [icmp(3, 0), icmp(3, 5), icmp(8, 1)], [tcp(3, 1)]),
    ]);
}

#[test]
fn addresses_hold_negate_and_need_their_family() {
    let inside = || range("10.5.0.0", "10.5.0.9");
    let from = |src| bare(src, "8.8.8.8", Proto::UDP);
    let to = |dst| bare("9.9.9.9", dst, Proto::UDP);
    let v6 = || [bare("2001:db8::1", "2001:db8::2", Proto::UDP)];
    let local = AddressTypeSet(AddressTypeSet::LOCAL | AddressTypeSet::MULTICAST);
    check(vec![
        case!(src_address: inside(), [from("10.5.0.0"), from("10.5.0.9")],
            [from("10.5.0.10"), to("10.5.0.1")], v6()),
        case!(dst_address: inside(), [to("10.5.0.0"), to("10.5.0.9")],
            [to("10.4.255.255"), from("10.5.0.1")], v6()),
        // A list has no family: what is not in it is outside, whatever it is.
        case!(src_address_list: ListId(0), [from("10.5.7.7")],
            [from("10.6.0.0"), to("10.5.7.7"), v6()[0]], []),
        case!(dst_address_list: ListId(0), [to("10.5.7.7")], [from("10.5.7.7"), v6()[0]], []),
        case!(src_address_type: local, [from("192.168.88.1")],
            [from("192.168.88.2"), to("224.0.0.1")], []),
        case!(dst_address_type: local, [to("192.168.88.1"), to("224.0.0.1")],
            [to("192.168.88.255"), v6()[0]], []),
    ]);
}

#[test]
fn interfaces_hold_negate_and_need_to_be_known() {
    let none = [tcp(1, 2)];
    let arriving = |id| Facts {
        in_interface: Some(IfaceId(id)),
        ..tcp(1, 2)
    };
    let leaving = |id| Facts {
        out_interface: Some(IfaceId(id)),
        ..tcp(1, 2)
    };
    let wan = InterfaceListId(0);
    check(vec![
        case!(in_interface: IfaceId(1), [arriving(1)], [arriving(0)], [none[0], leaving(1)]),
        case!(out_interface: IfaceId(1), [leaving(1)], [leaving(0)], [none[0], arriving(1)]),
        case!(in_interface_list: wan, [arriving(1)], [arriving(0)], [none[0], leaving(1)]),
        case!(out_interface_list: wan, [leaving(1)], [leaving(2)], [none[0], arriving(1)]),
    ]);
}

#[test]
fn connection_state_holds_negates_and_needs_tracking_to_have_been_there() {
    let asked = || {
        StateSet::default()
            .with(ConnState::Established)
            .with(ConnState::Related)
    };
    let state = |state| Facts {
        state: Some(state),
        ..tcp(1, 2)
    };
    let translated = |bits| Facts {
        nat_state: NatStateSet(bits),
        ..tcp(1, 2)
    };
    check(vec![
        case!(connection_state: asked(),
            [state(ConnState::Established), state(ConnState::Related)],
            [state(ConnState::New), state(ConnState::Invalid), state(ConnState::Untracked)],
            [tcp(1, 2)]),
        case!(connection_nat_state: NatStateSet(NatStateSet::DSTNAT),
            [translated(2), translated(3)], [translated(0), translated(1)], []),
        case!(protocol: Proto::TCP, [tcp(1, 2)], [icmp(8, 0)], []),
    ]);
}

#[test]
fn each_connection_state_is_asked_for_alone() {
    for asked in ConnState::ALL {
        for has in ConnState::ALL {
            let matchers = Matchers {
                connection_state: Some(Match {
                    value: StateSet::default().with(asked),
                    negated: false,
                }),
                ..Matchers::default()
            };
            let facts = Facts {
                state: Some(has),
                ..tcp(1, 2)
            };
            assert_eq!(
                holds(matchers, &facts),
                asked == has,
                "{asked:?} of {has:?}"
            );
        }
    }
}

#[test]
fn family_admits_one_family() {
    let of = |family| Matchers {
        family: Some(family),
        ..Matchers::default()
    };
    let v6 = bare("2001:db8::1", "2001:db8::2", Proto::UDP);
    assert!(holds(of(IpFamily::V4), &tcp(1, 2)));
    assert!(!holds(of(IpFamily::V4), &v6));
    assert!(holds(of(IpFamily::V6), &v6));
    assert!(!holds(of(IpFamily::V6), &tcp(1, 2)));
}

#[test]
fn a_rule_without_matchers_holds_for_everything() {
    assert!(holds(Matchers::default(), &icmp(8, 0)));
}

#[test]
fn every_matcher_has_to_hold() {
    let both = Matchers {
        protocol: Some(Match {
            value: Proto::TCP,
            negated: false,
        }),
        dst_port: Some(Match {
            value: PortSet::new([443..=443]),
            negated: false,
        }),
        ..Matchers::default()
    };
    assert!(holds(both.clone(), &tcp(1, 443)));
    assert!(!holds(both.clone(), &tcp(1, 80)));
    let udp = Facts {
        proto: Proto::UDP,
        ..tcp(1, 443)
    };
    assert!(!holds(both, &udp));
}

#[test]
fn a_translation_matches_the_family_of_its_addresses_only() {
    let to = Translation {
        addresses: Some(range("198.51.100.1", "198.51.100.9")),
        ports: None,
    };
    let program = program();
    let v6 = bare("2001:db8::1", "2001:db8::2", Proto::UDP);
    let netmap = Action::Netmap(range("198.51.100.1", "198.51.100.9"));
    let same = Action::Same(to, SameBy::Client);
    for action in [Action::SrcNat(to), Action::DstNat(to), same, netmap] {
        let tests = Test::of(&rule(action));
        assert!(tests.iter().all(|t| t.holds(&tcp(1, 2), &program)));
        let failed = tests.iter().find(|t| !t.holds(&v6, &program));
        assert_eq!(failed.map(Test::name), Some("to-addresses"));
    }
    let ports_only = Translation {
        addresses: None,
        ports: Some(PortRange { first: 1, last: 2 }),
    };
    assert!(Test::of(&rule(Action::DstNat(ports_only))).is_empty());
}

#[test]
fn an_interface_without_an_address_of_the_family_does_not_masquerade_or_redirect() {
    let program = program();
    let v6 = bare("2001:db8::1", "2001:db8::2", Proto::UDP);
    let through = |iface, facts: Facts| Facts {
        in_interface: Some(IfaceId(iface)),
        out_interface: Some(IfaceId(iface)),
        ..facts
    };
    for action in [Action::Masquerade(None), Action::Redirect(None)] {
        let tests = Test::of(&rule(action));
        let holds = |facts: Facts| tests.iter().all(|t| t.holds(&facts, &program));
        // guest has an IPv4 address only, wan has both.
        assert!(holds(through(2, tcp(1, 2))));
        assert!(!holds(through(2, v6)));
        assert!(holds(through(1, v6)));
        assert!(!holds(tcp(1, 2)), "the interface is not known");
    }
}
