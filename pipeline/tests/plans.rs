//! Walking a flow's plan comes to the same as evaluating every rule: same matches in the same
//! order, same decision, same marks, same changes.
//!
//! Rules, flows and what packets answer are chosen by chance, from seeds; the test fails too if
//! chance never met one of the cases that it is about.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

#[path = "sim/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::net::IpAddr;

use random::Random;
use sim::{LAN_IF, WAN_IF, compile, ip, is, open_policy, rule};
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::limits::Limit;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::ids::{ChainId, IfaceId, MarkId, RoutingTableId, RuleId};
use turnpike_pipeline::policy::{
    Action, Chain, ConnectionLimit, Edit, Mark, MarkKind, Match, Matchers, NatStateSet, NewMss,
    NewPriority, PacketAsk, Policy, RejectWith, Rule, TableKind, Then, TtlChange, Unreachable,
};
use turnpike_pipeline::program::Program;
use turnpike_pipeline::rules::linear::END_OF_CHAIN;
use turnpike_pipeline::rules::plan::{PLAN_STEPS_MAX, Passage, Step, specialise, walk};
use turnpike_pipeline::rules::{
    CompiledRule, Decision, Edits, Facts, Marks, Observer, Phase, Verdict, evaluate,
};

const CASES: u64 = 6_000;
const PREROUTING: &[(TableKind, ChainId)] = &[(TableKind::Mangle, ChainId(0))];
const FORWARDING: &[(TableKind, ChainId)] = &[
    (TableKind::Mangle, ChainId(2)),
    (TableKind::Filter, ChainId(1)),
    (TableKind::Mangle, ChainId(4)),
];

fn any_match<T>(random: &mut Random, value: T) -> Match<T> {
    Match {
        value,
        negated: random.chance(30),
    }
}

fn matchers(random: &mut Random) -> Matchers {
    let mut matchers = Matchers::default();
    if random.chance(30) {
        let proto = random.pick(&[Proto::TCP, Proto::UDP]);
        matchers.protocol = Some(any_match(random, proto));
    }
    if random.chance(30) {
        let kind = random.pick(&MarkKind::ALL);
        let mark = random.pick(&[None, Some(MarkId(0)), Some(MarkId(1))]);
        matchers.marks = vec![any_match(random, Mark { kind, mark })];
    }
    if random.chance(10) {
        let table = RoutingTableId(u16::from(random.chance(50)));
        matchers.routing_table = Some(any_match(random, table));
    }
    if random.chance(40) {
        matchers.packet = vec![any_match(random, PacketAsk::Size(0, 100))];
    }
    if random.chance(10) {
        matchers.connection_limit = Some(is(ConnectionLimit {
            count: 5,
            prefix: 32,
        }));
    }
    matchers
}

/// An action of `table`, jumping only to custom chains behind `chain`.
fn action(
    random: &mut Random,
    table: TableKind,
    chain: usize,
    custom: std::ops::Range<usize>,
) -> Action {
    let later = custom.start.max(chain + 1)..custom.end;
    if !later.is_empty() && random.chance(25) {
        let to = later.start + random.below(later.len());
        return Action::Jump(ChainId(u16::try_from(to).unwrap()));
    }
    let then = random.pick(&[Then::GoOn, Then::GoOn, Then::Stop]);
    let mark = random.pick(&[None, Some(MarkId(0)), Some(MarkId(1))]);
    match (table, random.below(8)) {
        (_, 0) => Action::Return,
        (_, 1) => Action::Accept,
        (_, 2) => Action::Passthrough,
        (TableKind::Mangle, 3) => Action::Edit(Edit::Dscp(random.byte() % 64), then),
        (TableKind::Mangle, 4) => {
            Action::Edit(Edit::Ttl(TtlChange::increment(random.byte() % 4)), then)
        }
        (TableKind::Mangle, 5) if random.chance(10) => {
            Action::Edit(Edit::Route(ip("203.0.113.9")), then)
        }
        (TableKind::Mangle, 5) => Action::Edit(
            random.pick(&[
                Edit::Mss(NewMss::FitsPath),
                Edit::Mss(NewMss::AtMost(1_200)),
                Edit::ClearDf,
                Edit::StripOptions,
                Edit::Priority(NewPriority::FromDscp),
                Edit::Priority(NewPriority::Set(3)),
            ]),
            then,
        ),
        (TableKind::Mangle, _) => Action::Edit(Edit::Mark(random.pick(&MarkKind::ALL), mark), then),
        (_, 3) => Action::Drop,
        (_, 4) => Action::Reject(RejectWith::Icmp(Unreachable::Port)),
        (_, 5) => Action::Fasttrack,
        (_, _) => Action::Log("seen".into()),
    }
}

fn fill(random: &mut Random, table: TableKind, chains: &mut Vec<Chain>) {
    let built_in = chains.len();
    for n in 0..random.below(4) {
        chains.push(Chain {
            name: format!("custom-{n}"),
            rules: Vec::new(),
        });
    }
    let custom = built_in..chains.len();
    for (index, chain) in chains.iter_mut().enumerate() {
        for _ in 0..random.below(6) {
            let matchers = matchers(random);
            let mut made = rule(matchers, action(random, table, index, custom.clone()));
            made.disabled = random.chance(5);
            chain.rules.push(made);
        }
    }
}

fn policy(random: &mut Random) -> Policy {
    let mut policy = open_policy();
    policy.marks = vec!["a".to_owned(), "b".to_owned()];
    fill(random, TableKind::Mangle, &mut policy.mangle.chains);
    fill(random, TableKind::Filter, &mut policy.filter.chains);
    policy
}

fn facts(random: &mut Random, marks: Marks, out: Option<IfaceId>) -> Facts {
    Facts {
        src: ip("192.168.88.10"),
        dst: ip("198.51.100.7"),
        proto: random.pick(&[Proto::TCP, Proto::UDP]),
        src_port: Some(4_000),
        dst_port: Some(53),
        icmp: None,
        in_interface: Some(LAN_IF),
        out_interface: out,
        state: Some(ConnState::Established),
        nat_state: NatStateSet::default(),
        helper: None,
        layer7: Layer7::Unknown,
        now: Tick::default(),
        marks,
        routing_table: out.map(|_| RoutingTableId::MAIN),
    }
}

/// Answers for a packet, the same whoever asks, and writes down what matched.
struct Oracle<'a> {
    program: &'a Program,
    answers: u64,
    phase: Phase,
    matched: Vec<RuleId>,
    edits: Edits,
}

impl Oracle<'_> {
    fn bit(&self, rule: RuleId) -> bool {
        self.answers >> (rule.0 % 64) & 1 == 1
    }
}

impl Observer for Oracle<'_> {
    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        self.matched.push(id);
        if let Action::Edit(edit, _) = rule.action {
            self.edits.add(edit, self.phase, &self.program.marks);
        }
    }

    fn packet(&mut self, rule: RuleId, _: &PacketAsk, _: &Facts) -> Option<bool> {
        Some(self.bit(rule))
    }

    fn connections(&mut self, limit: Limit, _: IpAddr) -> u32 {
        let rule = self.program.lasting.rule(limit.rule).unwrap();
        if self.bit(rule) { 9 } else { 1 }
    }
}

fn oracle(program: &Program, answers: u64) -> Oracle<'_> {
    Oracle {
        program,
        answers,
        phase: Phase::Early,
        matched: Vec::new(),
        edits: Edits::default(),
    }
}

/// What a packet comes to: the decision, what matched, what is changed.
type Fate = (Decision, Vec<RuleId>, Edits);

/// By the evaluator, chain by chain, as the stages do it.
fn defined(program: &Program, early: &Facts, late: &Facts, answers: u64) -> Fate {
    let mut oracle = oracle(program, answers);
    let ask = |oracle: &mut Oracle<'_>, (table, chain), facts: &Facts| {
        let marks = oracle.edits.marks(facts.marks);
        evaluate(program, table, chain, &Facts { marks, ..*facts }, oracle)
    };
    ask(&mut oracle, PREROUTING[0], early);
    oracle.phase = Phase::Late;
    ask(&mut oracle, FORWARDING[0], late);
    let decision = ask(&mut oracle, FORWARDING[1], late);
    if decision.verdict == Verdict::Accept {
        ask(&mut oracle, FORWARDING[2], late);
    }
    (decision, oracle.matched, oracle.edits)
}

/// By the steps of a plan, of which `early` come before routing.
fn walked(
    program: &Program,
    (steps, early): (&[Step], usize),
    (before, behind): (&Facts, &Facts),
    answers: u64,
) -> Fate {
    let mut oracle = oracle(program, answers);
    let mut facts = *before;
    walk(program, steps, 0..early, &mut facts, &mut oracle);
    oracle.phase = Phase::Late;
    let marks = facts.marks;
    let mut facts = Facts { marks, ..*behind };
    let decision = walk(program, steps, early..steps.len(), &mut facts, &mut oracle);
    (
        decision.unwrap_or(END_OF_CHAIN),
        oracle.matched,
        oracle.edits,
    )
}

#[test]
fn walking_a_plan_is_evaluating_all_rules() {
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    let mut steps = Vec::with_capacity(PLAN_STEPS_MAX);
    for seed in 0..CASES {
        let mut random = Random::new(seed);
        let policy = policy(&mut random);
        let program = compile(&policy, 1, None);
        let before = Marks {
            connection: u32::try_from(random.below(3)).unwrap(),
            ..Marks::default()
        };
        let early = facts(&mut random, before, None);
        let late = Facts {
            out_interface: Some(WAN_IF),
            routing_table: Some(RoutingTableId::MAIN),
            ..early
        };
        let passage = Passage {
            early: (PREROUTING, &early),
            late: (FORWARDING, &late),
        };
        steps.clear();
        let Some(routed_at) = specialise(&program, &passage, &mut steps) else {
            *met.entry("no plan").or_default() += 1;
            continue;
        };
        for _ in 0..8 {
            let answers = random.word();
            let expected = defined(&program, &early, &late, answers);
            let walked = walked(&program, (&steps, routed_at), (&early, &late), answers);
            assert_eq!(
                walked, expected,
                "seed {seed}, answers {answers:#x}, {steps:#?}"
            );
            note(&mut met, &program, &expected);
        }
    }
    for case in [
        "no plan",
        "accept",
        "drop",
        "reject",
        "end of chain",
        "mark",
        "dscp",
        "ttl",
        "limit",
        "question",
        "mark asked",
        "jump",
        "return",
        "log",
        "fasttrack",
        "stop",
    ] {
        let times = met.get(case).copied().unwrap_or_default();
        assert!(
            times >= 50,
            "chance met `{case}` only {times} times: {met:?}"
        );
    }
}

fn note(met: &mut BTreeMap<&str, u64>, program: &Program, (decision, matched, _): &Fate) {
    let mut add = |case| *met.entry(case).or_default() += 1;
    add(match (decision.rule, decision.verdict) {
        (None, _) => "end of chain",
        (_, Verdict::Accept) => "accept",
        (_, Verdict::Reject(_)) => "reject",
        (_, _) => "drop",
    });
    for id in matched {
        let rule = program.rules.find(*id).unwrap();
        if rule.limit().is_some() {
            add("limit");
        }
        if !rule.packet_asks().is_empty() {
            add("question");
        }
        if rule.tests().iter().any(|test| test.mark_kind().is_some()) {
            add("mark asked");
        }
        let action = &rule.action;
        for (case, is_it) in [
            ("stop", matches!(action, Action::Edit(_, Then::Stop))),
            ("mark", matches!(action, Action::Edit(Edit::Mark(..), _))),
            ("dscp", matches!(action, Action::Edit(Edit::Dscp(_), _))),
            ("ttl", matches!(action, Action::Edit(Edit::Ttl(_), _))),
            ("jump", matches!(action, Action::Jump(_))),
            ("return", matches!(action, Action::Return)),
            ("log", matches!(action, Action::Log(_))),
            ("fasttrack", matches!(action, Action::Fasttrack)),
        ] {
            if is_it {
                add(case);
            }
        }
    }
}

#[test]
fn a_flow_that_asks_nothing_of_its_packets_has_a_plan_of_nothing_but_matches() {
    let mut policy = open_policy();
    let forward = &mut policy.filter.chains[1].rules;
    let udp = Matchers {
        protocol: Some(is(Proto::UDP)),
        ..Matchers::default()
    };
    let pass: Rule = rule(Matchers::default(), Action::Passthrough);
    forward.extend([
        rule(udp, Action::Drop),
        pass,
        rule(Matchers::default(), Action::Accept),
    ]);
    let program = compile(&policy, 1, None);
    let facts = Facts {
        proto: Proto::TCP,
        ..facts(&mut Random::new(1), Marks::default(), Some(WAN_IF))
    };
    let passage = Passage {
        early: (PREROUTING, &facts),
        late: (FORWARDING, &facts),
    };
    let mut steps = Vec::new();
    assert_eq!(specialise(&program, &passage, &mut steps), Some(0));
    let rules: Vec<u32> = steps.iter().map(|step| step.rule().0).collect();
    assert_eq!(rules, [1, 2]);
}

#[test]
fn a_flow_whose_way_depends_on_its_packets_has_no_plan() {
    const OUTPUT: &[(TableKind, ChainId)] = &[(TableKind::Mangle, ChainId(3))];
    let mark = Edit::Mark(MarkKind::Routing, Some(MarkId(0)));
    let route = Edit::Route(ip("203.0.113.9"));
    let small = || Matchers {
        packet: vec![is(PacketAsk::Size(0, 100))],
        ..Matchers::default()
    };
    // In which chain, what is done there, and whether a plan is made if only some packets meet it.
    for (chain, edit, planned) in [
        (0, mark, false),
        (0, route, false),
        (2, mark, true),
        (3, mark, false),
        (4, mark, true),
    ] {
        for (matchers, expected) in [(small(), planned), (Matchers::default(), true)] {
            let mut policy = open_policy();
            policy.marks = vec!["a".to_owned()];
            let edit = Action::Edit(edit, Then::GoOn);
            policy.mangle.chains[chain].rules.push(rule(matchers, edit));
            let program = compile(&policy, 1, None);
            let facts = facts(&mut Random::new(1), Marks::default(), Some(WAN_IF));
            let (before, behind) = match chain {
                0 => (PREROUTING, FORWARDING),
                3 => (&[][..], OUTPUT),
                _ => (&[][..], FORWARDING),
            };
            let passage = Passage {
                early: (before, &facts),
                late: (behind, &facts),
            };
            let plan = specialise(&program, &passage, &mut Vec::new());
            assert_eq!(plan.is_some(), expected, "mangle chain {chain}");
        }
    }
}
