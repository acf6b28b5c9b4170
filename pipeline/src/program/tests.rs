//! Compiling a policy, and what successive programs share.

use super::*;
use crate::ids::{ChainId, PortId};
use crate::policy::{Action, Interface, Match, Matchers, Rule, StateSet, TableKind};
use crate::rules::{Verdict, evaluate};
use crate::testing::{bare, chain, compile, compile_after, gateway, rule};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use turnpike_conntrack::timeouts::Switch;
use turnpike_conntrack::tuple::Proto;

fn named(text: &str) -> Rule {
    Rule {
        text: text.into(),
        ..rule(Action::Passthrough)
    }
}

/// A gateway whose filter/forward holds rules with these canonical texts.
fn forward(texts: &[&str]) -> Policy {
    let rules = texts.iter().map(|t| named(t)).collect();
    let mut policy = gateway();
    policy.filter.chains = vec![chain("input", vec![]), chain("forward", rules)];
    policy
}

fn carried(program: &Program) -> Vec<Option<u32>> {
    let ids = program.rules.iter().map(|(id, _)| program.carried_from(id));
    ids.map(|from| from.map(|r| r.0)).collect()
}

#[test]
fn rules_are_numbered_raw_nat_filter_and_named_by_place() {
    let mut policy = forward(&["a", "b"]);
    policy.raw.chains = vec![chain("prerouting", vec![named("r")])];
    policy.nat.chains = vec![chain("dstnat", vec![]), chain("srcnat", vec![named("n")])];
    let program = compile(&policy);
    let names: Vec<_> = (0..5).map(|n| program.rule_name(RuleId(n))).collect();
    let expected = [
        "raw/prerouting/1 gw.yaml:41",
        "nat/srcnat/1 gw.yaml:41",
        "filter/forward/1 gw.yaml:41",
        "filter/forward/2 gw.yaml:41",
    ];
    assert_eq!(names[..4], expected.map(|n| Some(n.to_owned())));
    assert_eq!(names[4], None);
    let forward = program.rules.chain_named(TableKind::Filter, "forward");
    assert_eq!(forward, Some(ChainId(1)));
    assert_eq!(program.rules.chain_named(TableKind::Nat, "forward"), None);
}

#[test]
fn the_same_text_is_the_same_rule_wherever_it_moved_in_its_chain() {
    let old = compile(&forward(&["a", "b", "c"]));
    assert_eq!(carried(&old), [None, None, None]);
    let new = compile_after(&forward(&["c", "x", "a"]), Some(&old));
    assert_eq!(carried(&new), [Some(2), None, Some(0)]);
}

#[test]
fn of_equal_texts_the_kth_follows_the_kth() {
    let old = compile(&forward(&["a", "b", "a"]));
    let new = compile_after(&forward(&["a", "a", "a", "b"]), Some(&old));
    assert_eq!(carried(&new), [Some(0), Some(2), None, Some(1)]);
}

#[test]
fn the_same_text_in_another_chain_or_table_is_another_rule() {
    let old = compile(&forward(&["a"]));
    let mut policy = gateway();
    policy.raw.chains = vec![chain("prerouting", vec![named("a")])];
    policy.filter.chains = vec![chain("input", vec![named("a")])];
    assert_eq!(carried(&compile_after(&policy, Some(&old))), [None, None]);
}

#[test]
fn counters_follow_a_rule_over_reloads_and_new_rules_start_at_nothing() {
    let one = Counts {
        packets: 1,
        bytes: 100,
    };
    let first = compile(&forward(&["a", "b"]));
    first
        .rule_counters(WorkerId(0))
        .unwrap()
        .add(RuleId(1), one);
    let second = compile_after(&forward(&["x", "b"]), Some(&first));
    let third = compile_after(&forward(&["b", "a"]), Some(&second));
    drop((first, second));
    assert_eq!(third.rule_counts(RuleId(0)), one);
    assert_eq!(third.rule_counts(RuleId(1)), Counts::default());
}

#[test]
fn a_program_that_comes_back_goes_on_counting_and_shares_no_number() {
    let counted = |packets| Counts { packets, bytes: 0 };
    let add = |program: &Program, rule, packets| {
        let counters = program.rule_counters(WorkerId(0)).unwrap();
        counters.add(RuleId(rule), counted(packets));
    };
    let marks = |mut policy: Policy, names: &[&str]| {
        policy.marks = names.iter().map(ToString::to_string).collect();
        policy
    };
    let policy = marks(forward(&["a", "b"]), &["one"]);
    let old = compile(&policy);
    add(&old, 0, 1);
    add(&old, 1, 2);
    let tried = compile_after(&marks(forward(&["b", "x"]), &["two"]), Some(&old));
    add(&tried, 0, 10);
    let ports = crate::testing::ports();
    let context = CompileContext {
        generation: Generation(3),
        workers: 1,
        ports: &ports,
        previous: Some(&old),
        key: old.lists.members().key(),
    };
    let back = Program::compile_back(&policy, &context, &tried);
    assert_eq!(back.rule_counts(RuleId(0)), counted(1), "it was not there");
    assert_eq!(back.rule_counts(RuleId(1)), counted(12));
    let wan = [203, 0, 113, 2];
    let (before, after) = (old.pools4.ports(wan), back.pools4.ports(wan));
    assert!(Arc::ptr_eq(before.unwrap(), after.unwrap()));
    let next = compile_after(&marks(forward(&["y"]), &["three"]), Some(&back));
    let taken = tried.lasting.number(RuleId(1));
    assert_ne!(next.lasting.number(RuleId(0)), taken);
    assert_eq!(next.marks.named("three"), Some(3));
    assert_eq!(next.marks.named("two"), Some(2));
}

#[test]
fn each_worker_has_counters_of_its_own_and_readers_see_the_sum() {
    let policy = forward(&["a"]);
    let context = CompileContext {
        generation: Generation(1),
        workers: 2,
        ports: &[],
        previous: None,
        key: HashKey([
            0x0123_4567_89ab_cdef,
            0x1032_5476_98ba_dcfe,
            0x5555_aaaa_3333_cccc,
            0x0f1e_2d3c_4b5a_6978,
        ]),
    };
    let program = Program::compile(&policy, &context);
    for (worker, packets) in [(0, 3), (1, 4)] {
        let counts = Counts { packets, bytes: 0 };
        let counters = program.rule_counters(WorkerId(worker)).unwrap();
        counters.add(RuleId(0), counts);
        assert_eq!(counters.read(RuleId(0)), counts);
    }
    assert!(program.rule_counters(WorkerId(2)).is_none());
    assert_eq!(program.rule_counts(RuleId(0)).packets, 7);
    // One more worker than before starts with nothing; the others go on.
    let more = CompileContext {
        workers: 3,
        previous: Some(&program),
        ..context
    };
    let next = Program::compile(&policy, &more);
    assert_eq!(next.rule_counts(RuleId(0)).packets, 7);
    let third = next.rule_counters(WorkerId(2)).unwrap();
    assert_eq!(third.read(RuleId(0)), Counts::default());
}

#[test]
fn interface_counters_follow_the_name() {
    let old = compile(&gateway());
    let counters = old.interface_counters(WorkerId(0)).unwrap();
    counters.find(IfaceId(1)).unwrap().received.packet(60);
    counters.find(IfaceId(1)).unwrap().sent.packet(40);
    let mut policy = gateway();
    let dmz = Interface {
        name: "dmz".to_owned(),
        port: PortId(1),
        vlan: Some(9),
        addresses: vec![],
        mtu: 1500,
    };
    policy.interfaces.insert(0, dmz);
    let new = compile_after(&policy, Some(&old));
    let counts = |packets, bytes| Counts { packets, bytes };
    assert_eq!(
        new.interface_counts(IfaceId(2)),
        (counts(1, 60), counts(1, 40))
    );
    assert_eq!(new.interface_counts(IfaceId(0)), Default::default());
}

#[test]
fn external_addresses_have_port_pools_which_outlive_a_reload() {
    let mut policy = gateway();
    let old = compile(&policy);
    policy.interfaces[1]
        .addresses
        .push("203.0.113.9/24".parse().unwrap());
    let new = compile_after(&policy, Some(&old));
    let wan = [203, 0, 113, 2];
    let (before, after) = (old.pools4.ports(wan), new.pools4.ports(wan));
    assert!(Arc::ptr_eq(before.unwrap(), after.unwrap()));
    assert!(old.pools4.ports([203, 0, 113, 9]).is_none());
    assert!(new.pools4.ports([203, 0, 113, 9]).is_some());
    let wan6: Ipv6Addr = "2001:db8:ffff::2".parse().unwrap();
    assert!(new.pools6.ports(wan6.octets()).is_some());
}

#[test]
fn tracking_settings_reach_the_trackers() {
    let mut policy = gateway();
    policy.tracking.loose_tcp = false;
    policy.tracking.liberal_tcp = true;
    policy.tracking.timeouts.udp = Duration::from_secs(77);
    let config = compile(&policy).tracking_config;
    assert_eq!(config.loose_tcp, Switch::Off);
    assert_eq!(config.liberal_tcp, Switch::On);
    assert_eq!(config.timeouts.udp, Duration::from_secs(77));
    let default = compile(&gateway()).tracking_config;
    assert_eq!(default, TrackingConfig::default());
}

#[test]
fn a_program_without_enabled_raw_rules_says_so() {
    let with = |raw: Rule| {
        let mut policy = forward(&["a"]);
        policy.raw.chains = vec![chain("prerouting", vec![raw])];
        compile(&policy).has_raw_rules
    };
    assert!(!compile(&forward(&["a"])).has_raw_rules);
    assert!(with(named("r")));
    let disabled = Rule {
        disabled: true,
        ..named("r")
    };
    assert!(!with(disabled));
}

#[test]
fn the_prefix_of_a_log_line_is_the_actions_or_the_rules() {
    let mut policy = gateway();
    let logging = Rule {
        log: Some("beside".into()),
        ..rule(Action::Drop)
    };
    let log = rule(Action::Log("action".into()));
    policy.filter.chains = vec![chain("input", vec![log, logging, rule(Action::Drop)])];
    let program = compile(&policy);
    let prefixes: Vec<_> = (0..4).map(|n| program.log_prefix(RuleId(n))).collect();
    assert_eq!(prefixes, [Some("action"), Some("beside"), None, None]);
    assert_eq!(program.interface_name(IfaceId(1)), Some("wan"));
    assert_eq!(program.interface_name(IfaceId(3)), None);
}

#[test]
fn tracking_is_needed_by_nat_by_states_and_by_fasttrack() {
    let with = |rule: Rule| {
        let mut policy = gateway();
        policy.filter.chains = vec![chain("input", vec![rule])];
        policy
    };
    assert!(!gateway().needs_tracking());
    assert!(!with(rule(Action::Drop)).needs_tracking());
    assert!(with(rule(Action::Fasttrack)).needs_tracking());
    let asking = Rule {
        matchers: Matchers {
            connection_state: Some(Match {
                value: StateSet::default(),
                negated: false,
            }),
            ..Matchers::default()
        },
        ..rule(Action::Drop)
    };
    assert!(with(asking.clone()).needs_tracking());
    let disabled = Rule {
        disabled: true,
        ..asking
    };
    assert!(!with(disabled).needs_tracking());
    let mut nat = gateway();
    nat.nat.chains = vec![chain("dstnat", vec![rule(Action::Accept)])];
    assert!(nat.needs_tracking());
}

#[test]
fn ten_thousand_rules_compile_and_the_last_one_decides() {
    let mut rules: Vec<Rule> = (0..9_999).map(|n| named(&format!("rule {n}"))).collect();
    rules.push(rule(Action::Drop));
    let mut policy = gateway();
    policy.filter.chains = vec![chain("input", rules)];
    let old = compile(&policy);
    let new = compile_after(&policy, Some(&old));
    assert_eq!(new.rules.len(), 10_000);
    assert!(
        new.rules
            .iter()
            .all(|(id, _)| new.carried_from(id) == Some(id))
    );
    let facts = bare("192.168.88.2", "192.168.88.1", Proto::TCP);
    let decision = evaluate(&new, TableKind::Filter, ChainId(0), &facts, &mut ());
    assert_eq!(decision.verdict, Verdict::Drop);
    assert_eq!(decision.rule, Some(RuleId(9_999)));
}

proptest! {
    #[test]
    fn carried_rules_pair_up_equal_texts_in_order_and_leave_none_over(
        old in proptest::collection::vec(0u8..4, 0..20),
        new in proptest::collection::vec(0u8..4, 0..20),
    ) {
        let pairs = carry(old.iter().copied().zip(0usize..), new.iter().copied());
        for text in 0..4 {
            let ours: Vec<usize> = (0..old.len()).filter(|i| old[*i] == text).collect();
            let got: Vec<usize> = (0..new.len())
                .filter(|i| new[*i] == text)
                .filter_map(|i| pairs[i])
                .collect();
            let equal = new.iter().filter(|t| **t == text).count();
            prop_assert_eq!(&got, &ours[..equal.min(ours.len())]);
        }
    }
}
