//! Differences that say all that changes, and no more.

use super::*;
use proptest::prelude::*;
use std::path::Path;
use turnpike_conntrack::ids::Generation;
use turnpike_pipeline::program::{CompileContext, Program};

const HEAD: &str = "\
interfaces:
  lan: { device: net_null0, address: [192.168.88.1/24] }
  wan: { device: net_null1, address: [203.0.113.2/24] }
";

fn config(rest: &str) -> Config {
    Config::parse(&format!("{HEAD}{rest}"), "gw.yaml", Path::new(".")).unwrap()
}

/// A configuration whose rules are told apart by their ports, a disabled one by a `-`.
fn with_rules(ports: &[i32]) -> Config {
    if ports.is_empty() {
        return config("firewall: { filter: [] }");
    }
    let rules = ports.iter().map(|port| {
        let disabled = if *port < 0 { "yes" } else { "no" };
        let port = port.abs();
        format!(
            "    - {{ chain: forward, protocol: tcp, dst-port: {port}, action: accept, \
             disabled: {disabled} }}\n"
        )
    });
    config(&format!(
        "firewall:\n  filter:\n{}",
        rules.collect::<String>()
    ))
}

fn numbers(places: &[RulePlace]) -> Vec<u32> {
    places.iter().map(|place| place.number).collect()
}

#[test]
fn the_same_configuration_differs_in_nothing() {
    let same = with_rules(&[1, 2, 2, 3]);
    assert!(between(&same, &same).is_empty());
}

#[test]
fn rules_come_go_move_and_are_switched() {
    let old = with_rules(&[1, 2, 3, 4, 5]);
    let new = with_rules(&[1, 9, 5, 3, -4]);
    let found = between(&old, &new);
    assert_eq!(numbers(&found.added), [2]);
    assert_eq!(numbers(&found.removed), [2]);
    let moved: Vec<_> = found.moved.iter().map(|m| (m.from, m.to.number)).collect();
    assert_eq!(
        moved,
        [(5, 3)],
        "one rule moves, the others stand where they did"
    );
    assert_eq!(numbers(&found.switched), [5]);
    assert!(found.switched[0].disabled);
    let added = &found.added[0];
    assert_eq!(
        (added.table.as_str(), added.chain.as_str()),
        ("filter", "forward")
    );
    assert_eq!(added.source, "gw.yaml:7");
    assert!(added.text.contains("dst-port=9"), "{}", added.text);
}

#[test]
fn a_comment_is_no_change_and_a_chain_that_goes_takes_its_rules() {
    let rule = |comment: &str| {
        format!(
            "firewall: {{ filter: [ {{ chain: input, action: accept, comment: {comment} }} ] }}"
        )
    };
    let found = between(&config(&rule("a")), &config(&rule("b")));
    assert!(found.is_empty(), "{found:?}");
    let custom = config(
        "firewall: { filter: [ { chain: mine, action: accept }, { chain: input, action: jump, \
         jump-target: mine } ] }",
    );
    assert_eq!(between(&custom, &config("")).removed.len(), 2);
    assert_eq!(between(&config(""), &custom).added.len(), 2);
}

fn setting(name: &str, before: Option<&str>, after: Option<&str>) -> Setting {
    Setting {
        name: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

#[test]
fn settings_are_named_with_what_they_were_and_are() {
    let old = config(
        "routes: [ { dst-address: 10.0.0.0/8, gateway: 203.0.113.1 }, \
         { dst-address: 11.0.0.0/8, gateway: 203.0.113.1 } ]\n\
         connection-tracking: { udp-timeout: 10s, enabled: yes }\n\
         interface-lists: { WAN: [wan] }\n",
    );
    let new = config(
        "routes: [ { dst-address: 11.0.0.0/8, gateway: 203.0.113.1 }, \
         { dst-address: 12.0.0.0/8, gateway: 203.0.113.9 } ]\n\
         connection-tracking: { udp-timeout: 20s, icmp-timeout: 5s, enabled: yes }\n\
         interface-lists: { WAN: [wan, lan] }\n",
    );
    let route = |to: &str| format!("{{ dst-address: {to} }}");
    let (gone, came) = (
        route("10.0.0.0/8, gateway: 203.0.113.1"),
        route("12.0.0.0/8, gateway: 203.0.113.9"),
    );
    assert_eq!(
        between(&old, &new).settings,
        [
            setting("routes", Some(&gone), None),
            setting("routes", None, Some(&came)),
            setting("connection-tracking.udp-timeout", Some("10s"), Some("20s")),
            setting("connection-tracking.icmp-timeout", None, Some("5s")),
            setting("interface-lists.WAN", Some("[wan]"), Some("[wan, lan]")),
        ]
    );
    let quoted = config("interface-lists: { 'WAN': ['wan'] }\n");
    let plain = config("interface-lists: { WAN: [wan] }\n");
    assert!(between(&quoted, &plain).is_empty(), "quotes say nothing");
}

#[test]
fn tracking_that_rules_switch_on_is_told() {
    let nat = "firewall: { nat: [ { chain: srcnat, out-interface: wan, action: masquerade } ] }";
    let found = between(&config(""), &config(nat));
    let told = setting("connection tracking is", Some("off"), Some("on"));
    assert_eq!(found.settings, [told]);
}

#[test]
fn lists_are_told_by_what_they_hold() {
    let old = config("address-lists: { a: [10.0.0.0/8, 11.0.0.0/8], b: [1.1.1.1], c: [2.2.2.2] }");
    let new = config("address-lists: { a: [11.0.0.0/8, 12.0.0.0/8], b: [1.1.1.1], d: [2.2.2.2] }");
    let change = |name: &str, added, removed| ListChange {
        name: name.to_owned(),
        added,
        removed,
    };
    assert_eq!(
        between(&old, &new).lists,
        [change("a", 1, 1), change("c", 0, 1), change("d", 1, 0)]
    );
}

#[test]
fn a_rule_in_the_shadow_of_another_is_named_with_it() {
    let policy = with_rules(&[1, 2, 1]).policy;
    let found = never_match(&policy);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule.number, found[0].by.number), (3, 1));
    assert_eq!(found[0].rule.source, "gw.yaml:8");
}

/// The old rules with a difference applied: what is removed or moved is taken out, then what is
/// added or moved is put where it belongs.
fn applied(old: &[String], found: &Difference) -> Vec<String> {
    let from: Vec<u32> = found.moved.iter().map(|m| m.from).collect();
    let gone = [numbers(&found.removed), from].concat();
    let stays = |(index, _): &(usize, &String)| !gone.contains(&u32::try_from(index + 1).unwrap());
    let mut rules: Vec<String> = old
        .iter()
        .enumerate()
        .filter(stays)
        .map(|(_, text)| text.clone())
        .collect();
    let moved = found.moved.iter().map(|m| &m.to);
    let mut come: Vec<&RulePlace> = found.added.iter().chain(moved).collect();
    come.sort_by_key(|place| place.number);
    for place in come {
        rules.insert(place.number as usize - 1, place.text.clone());
    }
    rules
}

fn texts(config: &Config) -> Vec<String> {
    let forward = config
        .policy
        .filter
        .chains
        .iter()
        .find(|c| c.name == "forward");
    let rules = forward.unwrap().rules.iter();
    rules.map(|rule| rule.text.to_string()).collect()
}

fn compile(config: &Config, previous: Option<&Program>) -> Program {
    let context = CompileContext {
        generation: Generation(1),
        workers: 1,
        ports: &[],
        previous,
        key: turnpike_conntrack::hash::HashKey([1, 2, 3, 4]),
    };
    Program::compile(&config.policy, &context)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_difference_applied_to_the_old_rules_gives_the_new(
        old in proptest::collection::vec(1..9_i32, 0..12),
        new in proptest::collection::vec(1..9_i32, 0..12),
    ) {
        let (old, new) = (with_rules(&old), with_rules(&new));
        let found = between(&old, &new);
        prop_assert_eq!(applied(&texts(&old), &found), texts(&new));
        prop_assert!(between(&new, &new).is_empty());
        // What is not added is what counters follow.
        let first = compile(&old, None);
        let second = compile(&new, Some(&first));
        let fresh = second.rules.iter().filter(|(id, _)| second.carried_from(*id).is_none());
        let fresh: Vec<u32> = fresh.map(|(_, rule)| rule.number).collect();
        prop_assert_eq!(numbers(&found.added), fresh);
    }
}
