//! Every name of the vocabulary, seen at work.
//!
//! `names.txt` lists the names by group. For each, `cases/GROUP.yaml` has a case: rules that use
//! the name, packets that they match and packets that they do not. `docs/vocabulary.md` is made of
//! them; `BLESS=1 cargo test -p turnpike-mgmt --test vocabulary` writes it anew. `case.rs` says
//! what a case can hold.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod case;
mod catalogue;
mod elsewhere;
mod names;
mod payloads;
mod play;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use case::{Case, Group};
use turnpike_mgmt::config::Config;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vocabulary")
}

/// Plays the cases of a group; a failure names each that is not as it says.
fn shown(group: &str) {
    let group = Group::read(group);
    let mut wrong = Vec::new();
    for case in &group.cases {
        if let Err(why) = play::play(case) {
            wrong.push(format!("cases/{}.yaml, {}: {why}", group.name, case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! groups {
    ($($test:ident: $group:literal,)*) => {
        const GROUPS: &[&str] = &[$($group),*];
        $(
            #[test]
            fn $test() {
                shown($group);
            }
        )*
    };
}

groups! {
    each_chain_is_shown: "chains",
    each_action_is_shown: "actions",
    each_way_to_reject_is_shown: "reject-with",
    each_option_of_an_action_is_shown: "options",
    each_matcher_is_shown: "matchers",
    each_value_of_a_matcher_is_shown: "values",
    each_setting_of_connection_tracking_is_shown: "tracking",
    each_helper_is_shown: "helpers",
    each_part_of_layer_7_is_shown: "layer7",
    each_service_is_shown: "services",
    each_slip_is_shown: "import",
}

#[test]
fn each_name_has_a_case_and_each_case_is_of_a_name() {
    let listed = names::listed();
    let groups: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
    assert_eq!(groups, GROUPS.iter().copied().collect());
    for (group, names) in &listed {
        let cases: Vec<String> = Group::read(group)
            .cases
            .into_iter()
            .map(|c| c.name)
            .collect();
        let with_case: BTreeSet<&String> = cases.iter().collect();
        assert_eq!(
            with_case.len(),
            cases.len(),
            "{group}: a name has two cases"
        );
        for name in names {
            assert!(
                with_case.contains(name),
                "`{name}` has no case; write one in cases/{group}.yaml"
            );
        }
        for case in with_case {
            assert!(
                names.contains(case),
                "`{case}` of {group} is not in names.txt"
            );
        }
    }
}

#[test]
fn the_table_of_names_is_as_the_cases_have_it() {
    let groups: Vec<Group> = GROUPS.iter().map(|name| Group::read(name)).collect();
    let text = table::written(&groups);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vocabulary.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/vocabulary.md is not as the cases have it; BLESS=1 cargo test -p turnpike-mgmt \
         --test vocabulary"
    );
}

/// A case that claims what is not so has to fail, or the cases show nothing.
#[test]
fn a_case_that_is_not_so_fails() {
    let fails = |text: &str, with: &str| {
        let case: Case = serde_yaml::from_str(text).unwrap();
        let why = play::play(&case).unwrap_err();
        assert!(why.contains(with), "{why}");
    };
    let rule = "filter: [ { chain: forward, protocol: udp, src-port: 5000, action: drop } ]";
    let (yes, no) = (
        "\"lan: udp 192.168.88.10:5000 > 1.1.1.1:53\"",
        "\"lan: udp 192.168.88.10:5001 > 1.1.1.1:53\"",
    );
    let case = |rest: &str| format!("{{ name: src-port, family: ipv4, {rule}, {rest} }}");
    fails(
        &case(&format!("matched: [{no}], unmatched: [{no}]")),
        "does not match",
    );
    fails(
        &case(&format!("matched: [{yes}], unmatched: [{yes}]")),
        "matches",
    );
    fails(&case(&format!("matched: [{yes}]")), "never fails to match");
    fails(&case(&format!("unmatched: [{no}]")), "never matches");
    fails(&case("{}: {}").replace(", {}: {}", ""), "shows nothing");
    let other = "{ name: src-port, filter: [ { chain: forward, action: drop } ], shown-by: [x] }";
    fails(other, "does not use the name");
    fails(&case("refused: no"), "is accepted");
    fails(&case("not-yet: no"), "shows nothing");
    let once = "not-yet: no, once: [\"mgmt/tests/vocabulary/main.rs:no_such_test\"]";
    fails(&case(once), "no test");
    fails(
        &case("shown-by: [\"mgmt/tests/vocabulary/main.rs:no_such_test\"]"),
        "no test",
    );
    let icmp = "\"lan: icmp 192.168.88.10 > 1.1.1.1\"";
    let negated = format!("matched: [{yes}], unmatched: [{no}, {icmp}], negated: src-port");
    fails(&case(&negated), "with `!`");
}

#[test]
fn a_disabled_listener_is_none() {
    let services = |text: &str| {
        let text = format!("interfaces: {{ lan: {{ device: net_null0 }} }}\nservices: {text}\n");
        Config::parse(&text, "t.yaml", Path::new("."))
            .unwrap()
            .services
    };
    assert!(
        services("{ metrics: { port: 9477, disabled: no } }")
            .metrics
            .is_some()
    );
    assert!(
        services("{ metrics: { port: 9477, disabled: yes } }")
            .metrics
            .is_none()
    );
}

/// The defaults that RouterOS documents, and those of our own.
#[test]
fn the_defaults_of_connection_tracking_are_those_of_routeros() {
    let tracking = |text: &str| {
        let text = format!("interfaces: {{ lan: {{ device: net_null0 }} }}\n{text}");
        let config = Config::parse(&text, "t.yaml", Path::new(".")).unwrap();
        format!("{:?}", config.policy.tracking)
    };
    let all = "enabled: auto, loose-tcp-tracking: yes, liberal-tcp-tracking: no, \
               tcp-syn-sent-timeout: 5s, tcp-syn-received-timeout: 5s, \
               tcp-established-timeout: 1d, tcp-fin-wait-timeout: 10s, \
               tcp-close-wait-timeout: 10s, tcp-last-ack-timeout: 10s, \
               tcp-time-wait-timeout: 10s, tcp-close-timeout: 10s, tcp-max-retrans-timeout: 5m, \
               tcp-unacked-timeout: 5m, udp-timeout: 10s, udp-stream-timeout: 3m, \
               icmp-timeout: 10s, generic-timeout: 10m";
    let written = format!("connection-tracking: {{ {all} }}\n");
    assert_eq!(tracking(&written), tracking(""));
    assert_ne!(tracking(&written.replace("5s", "6s")), tracking(""));
}
