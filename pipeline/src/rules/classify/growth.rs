//! What a packet costs must not grow with the number of rules, nor memory beyond its bound.
//!
//! Counted, not timed: how many rules are looked at. `benches/benches/rules.rs` has the times.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use turnpike_conntrack::tuple::Proto;

use crate::ids::{ChainId, RuleId};
use crate::policy::{Action, AddressRange, Match, Matchers, PortSet, Rule, TableKind};
use crate::program::Program;
use crate::rules::classify::sets::CHAIN_RULES_MAX;
use crate::rules::classify::{INDEXED_MIN, Index, evaluate};
use crate::rules::{Decision, Facts, Look, Observer, Verdict};
use crate::testing::{bare, chain, compile, gateway, ip, rule};

/// What a packet may have looked at that meets none of the rules but the last.
const LOOKS_MAX: usize = 3;

/// Where packets go that no rule about ports is about.
const ATTEMPTED_PORT: u16 = 61_443;

/// Counts the rules that are looked at.
#[derive(Default)]
struct Looks(usize);

impl Observer for Looks {
    fn looked_at(&mut self, _: RuleId, _: Look, _: &Facts) {
        self.0 += 1;
    }
}

const fn is<T>(value: T) -> Match<T> {
    Match {
        value,
        negated: false,
    }
}

fn drops(matchers: Matchers) -> Rule {
    Rule {
        matchers,
        ..rule(Action::Drop)
    }
}

fn port(n: usize) -> Option<Match<PortSet>> {
    let port = u16::try_from(n % 65_536).unwrap();
    Some(is(PortSet::new([port..=port])))
}

fn address(n: usize) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap()).into()
}

fn address6(n: usize) -> IpAddr {
    Ipv6Addr::from(0x2001_0db8 << 96 | (n as u128) << 64).into()
}

fn range(first: IpAddr, last: IpAddr) -> Option<Match<AddressRange>> {
    Some(is(AddressRange { first, last }))
}

fn host(ip: IpAddr) -> Option<Match<AddressRange>> {
    range(ip, ip)
}

/// What rule `n` of so many asks.
type Set = fn(usize, usize) -> Matchers;

/// Rule sets as people write them, or as programs do.
const SETS: [(&str, Set); 7] = [
    ("ports", |n, _| Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: port(n),
        ..Matchers::default()
    }),
    ("sources", |n, _| Matchers {
        src_address: host(address(n)),
        ..Matchers::default()
    }),
    ("IPv6 destinations", |n, _| Matchers {
        dst_address: host(address6(n)),
        ..Matchers::default()
    }),
    ("sources or ports", |n, _| Matchers {
        src_address: host(address(n)).filter(|_| n % 2 == 0),
        dst_port: port(n).filter(|_| n % 2 == 1),
        ..Matchers::default()
    }),
    // No single field tells more than a hundredth apart.
    ("pairs", |n, of| Matchers {
        src_address: host(address(n / of.isqrt())),
        dst_address: host(address(n % of.isqrt())),
        dst_port: port(ATTEMPTED_PORT.into()),
        ..Matchers::default()
    }),
    ("ranges within ranges, and ports", |n, of| Matchers {
        src_address: range(address(n), address(4 * of - n)),
        dst_port: port(n),
        ..Matchers::default()
    }),
    ("everybody but one, and ports", |n, _| Matchers {
        src_address: Some(Match {
            negated: true,
            ..host(address(n)).unwrap()
        }),
        dst_port: port(n),
        ..Matchers::default()
    }),
];

/// So many rules of a set, and one that accepts everything.
fn chain_of(set: Set, rules: usize) -> Vec<Rule> {
    let mut all: Vec<Rule> = (0..rules - 1).map(|n| drops(set(n, rules))).collect();
    all.push(rule(Action::Accept));
    all
}

fn input(rules: Vec<Rule>) -> Program {
    let mut policy = gateway();
    policy.filter.chains = vec![chain("input", rules)];
    compile(&policy)
}

/// How many rules are looked at.
fn looks(program: &Program, facts: &Facts) -> (Decision, usize) {
    let mut looks = Looks::default();
    let decision = evaluate(program, TableKind::Filter, ChainId(0), facts, &mut looks);
    (decision, looks.0)
}

/// A packet that no rule of a set but the last is about, and others that have parts in common
/// with many.
fn packets(rules: usize) -> [Facts; 4] {
    let tcp = |src, dst, dst_port| Facts {
        src,
        dst,
        src_port: Some(40_000),
        dst_port: Some(dst_port),
        ..bare("10.0.0.0", "10.0.0.0", Proto::TCP)
    };
    let far = ip("198.51.100.1");
    [
        tcp(far, far, ATTEMPTED_PORT),
        tcp(address(rules / 200), far, ATTEMPTED_PORT),
        tcp(address(2 * rules), address(rules / 200), 443),
        tcp(ip("2001:db9::1"), address6(rules / 2), ATTEMPTED_PORT),
    ]
}

#[test]
fn as_many_rules_are_looked_at_among_ten_thousand_as_among_a_hundred() {
    for (name, set) in SETS {
        for rules in [100, 1_000, 10_000] {
            let program = input(chain_of(set, rules));
            let mut verdicts = Vec::new();
            for facts in packets(rules) {
                let (decision, looked_at) = looks(&program, &facts);
                assert!(
                    looked_at <= LOOKS_MAX,
                    "{name}, {rules} rules: {looked_at} looks"
                );
                verdicts.push(decision.verdict);
            }
            assert_eq!(verdicts[0], Verdict::Accept, "{name}, {rules} rules");
        }
    }
}

#[test]
fn what_is_looked_at_behind_jumps_does_not_grow_either() {
    for rules in [100, 1_000, 10_000] {
        let mut policy = gateway();
        // Everybody goes through one chain, some through the others.
        let jump = |n: u16, dst_port| Rule {
            matchers: Matchers {
                dst_port,
                ..Matchers::default()
            },
            ..rule(Action::Jump(ChainId(n)))
        };
        let mut head: Vec<Rule> = (1..40).map(|n| jump(n, port(n.into()))).collect();
        head.insert(20, jump(40, None));
        head.push(rule(Action::Accept));
        let mut chains = vec![chain("input", head)];
        for n in 1..=40 {
            let mut all = chain_of(SETS[n % SETS.len()].1, rules / 40 + INDEXED_MIN);
            all.pop();
            chains.push(chain(&format!("c{n}"), all));
        }
        policy.filter.chains = chains;
        let (decision, looked_at) = looks(&compile(&policy), &packets(rules)[0]);
        assert_eq!(decision.verdict, Verdict::Accept);
        assert!(looked_at <= LOOKS_MAX, "{rules} rules: {looked_at} looks");
    }
}

#[test]
fn a_chain_has_an_index_from_some_rules_on_and_up_to_the_most_that_fit() {
    let has_index = |rules: usize| {
        let program = input(chain_of(SETS[0].1, rules));
        program.rules.index(TableKind::Filter, ChainId(0)).is_some()
    };
    assert!(!has_index(INDEXED_MIN - 1));
    assert!(has_index(INDEXED_MIN));
    assert!(has_index(CHAIN_RULES_MAX));
    assert!(!has_index(CHAIN_RULES_MAX + 1));
    let nothing_asked = input(vec![rule(Action::Passthrough); 100]);
    assert!(
        nothing_asked
            .rules
            .index(TableKind::Filter, ChainId(0))
            .is_none()
    );
}

#[test]
fn the_last_of_the_most_rules_is_found_and_the_first_behind_them_all_is_not() {
    let program = input(chain_of(SETS[1].1, CHAIN_RULES_MAX));
    for n in [0, 511, 512, 8_191, 8_192, CHAIN_RULES_MAX - 2] {
        let facts = Facts {
            src: address(n),
            ..bare("10.0.0.0", "192.168.88.1", Proto::UDP)
        };
        let (decision, looked_at) = looks(&program, &facts);
        let rule = Some(RuleId(u32::try_from(n).unwrap()));
        assert_eq!((decision.rule, looked_at), (rule, 1));
    }
    let facts = bare("9.0.0.0", "192.168.88.1", Proto::UDP);
    assert_eq!(looks(&program, &facts).1, 1);
}

#[test]
fn the_memory_of_an_index_has_a_bound_per_rule_and_field() {
    let of = |set: Set| {
        let program = input(chain_of(set, CHAIN_RULES_MAX));
        let index = program.rules.index(TableKind::Filter, ChainId(0));
        index.map(Index::bytes).unwrap()
    };
    let distinct = of(SETS[1].1);
    assert!(distinct < 256 * CHAIN_RULES_MAX, "{distinct} bytes");
    // Half of the rules ask for sources, half for ports: no set is small.
    let halves = of(SETS[3].1);
    assert!(halves < 512 * CHAIN_RULES_MAX, "{halves} bytes");
    let everything = of(|n, of| Matchers {
        src_address: range(address(n), address(4 * of - n)),
        dst_address: range(address(7 * n % of), address(2 * of - n)),
        src_port: port(n * 31),
        dst_port: port(n),
        ..Matchers::default()
    });
    assert!(everything < 4 * 384 * CHAIN_RULES_MAX, "{everything} bytes");
}
