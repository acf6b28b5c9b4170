//! The fast evaluator held to the linear one: whatever the rules, whatever the packet.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::limits::Limit;
use turnpike_conntrack::tuple::Proto;

use crate::ids::{ChainId, RuleId};
use crate::policy::{Action, Match, Matchers, PacketAsk, Rule, TableKind};
use crate::program::Program;
use crate::rules::classify::dimension::{self, Dimension};
use crate::rules::classify::made_up::Chance;
use crate::rules::classify::spans::SPANS_MAX;
use crate::rules::classify::{evaluate, linear};
use crate::rules::compiled::CompiledRule;
use crate::rules::matchers::Ask;
use crate::rules::{Decision, Facts, Look, Observer, Path, Recorder, Verdict};
use crate::testing::{bare, chain, compile, gateway, rule};

/// Everything an evaluation tells.
struct Seen<'p> {
    program: &'p Program,
    path: Path,
    /// What was asked or told, in order.
    told: Vec<Told>,
    looks: Vec<(RuleId, Look)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Matched(RuleId),
    Packet(RuleId, PacketAsk),
    Connections(Limit, IpAddr),
}

impl<'p> Seen<'p> {
    fn new(program: &'p Program) -> Self {
        Self {
            program,
            path: Path::new(),
            told: Vec::new(),
            looks: Vec::new(),
        }
    }
}

impl Observer for Seen<'_> {
    fn looked_at(&mut self, rule: RuleId, look: Look, _: &Facts) {
        self.looks.push((rule, look));
    }

    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        self.told.push(Told::Matched(id));
        let mut recorder = Recorder {
            path: &mut self.path,
            counters: self.program.rule_counters(WorkerId(0)).unwrap(),
            marks: &self.program.marks,
            bytes: 1,
        };
        recorder.matched(id, rule);
    }

    fn packet(&mut self, rule: RuleId, ask: &PacketAsk, _: &Facts) -> Option<bool> {
        self.told.push(Told::Packet(rule, ask.clone()));
        [None, Some(true), Some(false), Some(true)][usize::try_from(rule.0).unwrap() % 4]
    }

    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        self.told.push(Told::Connections(limit, source));
        limit.rule % 3
    }
}

/// Takes a packet through a chain in both ways, which have to be the same; what the linear one saw.
fn both<'p>(
    program: &'p Program,
    (table, chain): (TableKind, ChainId),
    facts: &Facts,
) -> (Decision, Seen<'p>) {
    let (mut slow, mut fast) = (Seen::new(program), Seen::new(program));
    let decision = linear::evaluate(program, table, chain, facts, &mut slow);
    let quick = evaluate(program, table, chain, facts, &mut fast);
    let place = (table, chain, facts);
    assert_eq!(quick, decision, "the verdict and its rule in {place:?}");
    assert_eq!(
        fast.told, slow.told,
        "what is asked and matches in {place:?}"
    );
    assert_eq!(
        fast.path, slow.path,
        "what is logged and changed in {place:?}"
    );
    let mut slow_looks = slow.looks.iter();
    for look in &fast.looks {
        assert!(
            slow_looks.any(|l| l == look),
            "{look:?} out of order in {place:?}"
        );
    }
    for (id, look) in &fast.looks {
        let rule = program.rules.find(*id).unwrap();
        if let Look::Failed(name) = look
            && program.rules.index(rule.table, rule.chain).is_some()
        {
            assert!(
                !is_told_apart(rule, name),
                "{rule} was looked at for its {name} in {place:?}"
            );
        }
    }
    (decision, slow)
}

/// Whether an index knows exactly for which packets this question of a rule holds.
fn is_told_apart(rule: &CompiledRule, name: &str) -> bool {
    rule.tests()
        .iter()
        .filter(|test| test.name() == name)
        .all(|test| {
            let asked = dimension::asked(test, &[]);
            let ports = if let Ask::Port(_, ports) = &test.ask {
                ports.0.len()
            } else {
                0
            };
            !asked.is_empty() && ports < SPANS_MAX
        })
        && !LAST.contains(&name)
}

/// What has been reached so far, by name.
#[derive(Debug, Default)]
struct Reached(BTreeSet<String>);

impl Reached {
    fn note(&mut self, what: impl Into<String>) {
        self.0.insert(what.into());
    }

    fn decision(&mut self, table: TableKind, decision: Decision, seen: &Seen<'_>) {
        self.note(table.name());
        self.note(verdict_name(decision.verdict));
        if decision.rule.is_none() {
            self.note("end of chain");
        }
        for (id, look) in &seen.looks {
            let rule = seen.program.rules.find(*id).unwrap();
            match look {
                Look::Disabled => self.note("disabled"),
                Look::Failed(name) => self.note(format!("{name} fails")),
                Look::Matched => {
                    for test in rule.tests() {
                        let not = if test.negated { "!" } else { "" };
                        self.note(format!("{not}{} holds", test.name()));
                    }
                    if let Action::Jump(_) = rule.action {
                        self.note("jump");
                    } else if let Action::Return = rule.action {
                        self.note("return");
                    } else if let Action::Edit(..) = rule.action {
                        self.note("edit");
                    }
                }
            }
        }
    }

    fn axes(&mut self, program: &Program) {
        for table in TableKind::ALL {
            for index in (0..5).filter_map(|n| program.rules.index(table, ChainId(n))) {
                let axes = index.axes.iter();
                self.0
                    .extend(axes.map(|axis| format!("{:?}", axis.dimension())));
            }
        }
    }
}

const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Drop => "drop",
        Verdict::Reject(_) => "reject",
        Verdict::NoTrack => "notrack",
        Verdict::SrcNat(_) => "src-nat",
        Verdict::Masquerade(_) => "masquerade",
        Verdict::DstNat(_) => "dst-nat",
        Verdict::Redirect(_) => "redirect",
        Verdict::EndpointIndependent(_) => "endpoint-independent-nat",
        Verdict::Same(..) => "same",
        Verdict::Netmap(_) => "netmap",
    }
}

/// What a rule asks, negated or not.
const ASKED: [&str; 26] = [
    "protocol",
    "in-interface",
    "out-interface",
    "in-interface-list",
    "out-interface-list",
    "connection-state",
    "connection-nat-state",
    "connection-type",
    "layer7-protocol",
    "p2p",
    "ipsec-policy",
    "dst-port",
    "src-port",
    "port",
    "icmp-options",
    "src-address",
    "dst-address",
    "src-address-list",
    "dst-address-list",
    "src-address-type",
    "dst-address-type",
    "connection-mark",
    "packet-mark",
    "routing-mark",
    "routing-table",
    "per-connection-classifier",
];

/// What is asked behind the others.
const LAST: [&str; 3] = ["packet-size", "ttl", "connection-limit"];

/// Everything that the tests have to have reached: verdicts and ways through chains, and each
/// matcher as it holds, holds negated, and fails.
fn to_reach() -> BTreeSet<String> {
    let ways = [
        "accept",
        "drop",
        "reject",
        "notrack",
        "src-nat",
        "masquerade",
        "dst-nat",
        "redirect",
        "endpoint-independent-nat",
        "same",
        "netmap",
        "end of chain",
        "disabled",
        "jump",
        "return",
        "edit",
        "raw",
        "mangle",
        "nat",
        "filter",
    ];
    // Of these a rule asks without being able to negate it.
    let plain = ["family", "to-addresses", "action"];
    let mut all: BTreeSet<String> = ways.map(str::to_owned).into();
    all.extend(
        plain
            .iter()
            .chain(&ASKED)
            .map(|name| format!("{name} holds")),
    );
    all.extend(ASKED.iter().map(|name| format!("!{name} holds")));
    all.extend(
        plain
            .iter()
            .chain(&ASKED)
            .chain(&LAST)
            .map(|name| format!("{name} fails")),
    );
    all.extend(
        Dimension::ALL
            .iter()
            .map(|dimension| format!("{dimension:?}")),
    );
    all
}

/// So many packets through every chain of a made-up program, noting what is reached.
fn agree(seed: u64, sizes: &[usize], packets: usize, reached: &mut Reached) {
    let mut chance = Chance(seed);
    let program = compile(&chance.policy(sizes));
    reached.axes(&program);
    for _ in 0..packets {
        let facts = chance.facts();
        for table in TableKind::ALL {
            let chain = ChainId(chance.pick(&[0, 0, 0, 1, 2, 3, 4]));
            let (decision, seen) = both(&program, (table, chain), &facts);
            reached.decision(table, decision, &seen);
        }
    }
}

#[test]
fn the_fast_evaluator_is_the_linear_one_and_everything_is_reached() {
    let reached = RefCell::new(Reached::default());
    // A sanitizer asks for few cases; that many reach all there is.
    let cases = Config::default().cases.max(96);
    let mut runner = TestRunner::new(Config::with_cases(cases));
    let run = runner.run(&any::<u64>(), |seed| {
        agree(
            seed,
            &[0, 1, 15, 16, 40, 300],
            24,
            &mut reached.borrow_mut(),
        );
        Ok(())
    });
    run.unwrap();
    assert_eq!(reached.into_inner().0, to_reach());
}

#[test]
fn they_agree_about_ten_thousand_rules() {
    let mut reached = Reached::default();
    agree(20_261_121, &[10_000], 40, &mut reached);
    for way in ["accept", "drop", "jump", "return", "edit", "dst-port fails"] {
        assert!(reached.0.contains(way), "{way} is not reached");
    }
}

/// Rules that ask for a protocol no packet has, around `rule` in the middle.
fn padded(rule: &Rule, before: usize, behind: usize) -> Vec<Rule> {
    let other = Rule {
        matchers: Matchers {
            protocol: Some(Match {
                value: Proto(254),
                negated: false,
            }),
            ..Matchers::default()
        },
        ..crate::testing::rule(Action::Accept)
    };
    let mut rules = vec![other.clone(); before];
    rules.push(rule.clone());
    rules.extend(std::iter::repeat_n(other, behind));
    rules
}

/// Filter chains of these rules, the first one `input`.
fn filter(chains: impl IntoIterator<Item = Vec<Rule>>) -> Program {
    let mut policy = gateway();
    let chains = chains.into_iter().zip(0..);
    policy.filter.chains = chains
        .map(|(rules, n)| chain(&format!("c{n}"), rules))
        .collect();
    compile(&policy)
}

const INPUT: (TableKind, ChainId) = (TableKind::Filter, ChainId(0));

#[test]
fn both_drop_a_packet_that_takes_too_many_steps_by_the_same_rule() {
    let facts = bare("192.168.88.2", "192.168.88.1", Proto::TCP);
    let jump = |to| rule(Action::Jump(ChainId(to)));
    let mut rules = BTreeSet::new();
    for (before, behind) in [(40, 0), (0, 40), (37, 2), (3, 700)] {
        // Each chain jumps to the next often enough that no packet comes to the end.
        let fan = |to| [padded(&jump(to), before, behind), vec![jump(to); 20]].concat();
        let leaf = padded(&rule(Action::Passthrough), before, behind);
        let program = filter([fan(1), fan(2), fan(3), fan(4), leaf]);
        let (decision, _) = both(&program, INPUT, &facts);
        assert_eq!(decision.verdict, Verdict::Drop);
        rules.extend(decision.rule);
    }
    assert!(
        rules.len() > 2,
        "the end comes at different rules: {rules:?}"
    );
}

#[test]
fn both_drop_a_packet_that_jumps_too_deep_or_to_nowhere() {
    let facts = bare("192.168.88.2", "192.168.88.1", Proto::TCP);
    for target in [0, 9] {
        let program = filter([padded(&rule(Action::Jump(ChainId(target))), 33, 33)]);
        let (decision, seen) = both(&program, INPUT, &facts);
        assert_eq!(
            (decision.verdict, decision.rule),
            (Verdict::Drop, Some(RuleId(33)))
        );
        assert!(seen.looks.len() >= 34);
    }
}

#[test]
fn whoever_hears_every_look_hears_of_rules_that_cannot_match() {
    struct Curious(Vec<Look>);
    impl Observer for Curious {
        fn looked_at(&mut self, _: RuleId, look: Look, _: &Facts) {
            self.0.push(look);
        }
        fn hears_every_look(&self) -> bool {
            true
        }
    }
    let program = filter([padded(&rule(Action::Drop), 99, 0)]);
    let facts = bare("192.168.88.2", "192.168.88.1", Proto::TCP);
    let mut curious = Curious(Vec::new());
    evaluate(&program, INPUT.0, INPUT.1, &facts, &mut curious);
    assert_eq!(curious.0.len(), 100);
    let mut seen = Seen::new(&program);
    evaluate(&program, INPUT.0, INPUT.1, &facts, &mut seen);
    assert_eq!(seen.looks, [(RuleId(99), Look::Matched)]);
}
