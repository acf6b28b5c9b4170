//! What becomes of packets in words, and why; `BLESS=1` rewrites the expected text.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use turnpike_mgmt::config::Config;
use turnpike_mgmt::explain::{Earlier, Explanation, Question, Scene, Step};
use turnpike_mgmt::words::{Words, of_frame};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain")
}

fn gateway() -> Config {
    let text = fs::read_to_string(directory().join("gateway.yaml")).unwrap();
    Config::parse(&text, "gateway.yaml", &directory()).unwrap_or_else(|r| panic!("{r}"))
}

/// Explains `interface: packet | earlier | earlier`.
fn ask(scene: &Scene<'_>, line: &str) -> Result<Explanation, String> {
    let (interface, packets) = line.split_once(": ").unwrap();
    let mut packets = packets.split(" | ").map(|text| Words::parse(text).unwrap());
    let packet = packets.next().unwrap();
    let earlier = |packet| Earlier {
        in_interface: None,
        packet,
    };
    scene.explain(&Question {
        in_interface: scene.interface(interface).unwrap(),
        packet,
        after: packets.map(earlier).collect(),
    })
}

#[test]
fn every_packet_is_explained_as_expected() {
    let config = gateway();
    let scene = Scene::new(&config.policy);
    let packets = fs::read_to_string(directory().join("packets.txt")).unwrap();
    let mut actual = String::new();
    for line in packets.lines() {
        match ask(&scene, line) {
            Ok(explanation) => writeln!(actual, "{explanation}").unwrap(),
            Err(why) => writeln!(actual, "{line}\ncannot be had: {why}\n").unwrap(),
        }
    }
    let expected = directory().join("expected.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected, &actual).unwrap();
    }
    assert_eq!(fs::read_to_string(&expected).unwrap_or_default(), actual);
}

#[test]
fn a_question_has_the_same_answer_again_whatever_was_asked_between() {
    let config = gateway();
    let scene = Scene::new(&config.policy);
    let packets = fs::read_to_string(directory().join("packets.txt")).unwrap();
    let all = || -> Vec<_> { packets.lines().map(|line| ask(&scene, line)).collect() };
    assert_eq!(all(), all());
}

/// A gateway on whose input one packet a day passes, that of others is dropped for a knock, and a
/// list has an entry with a timeout.
const REMEMBERING: &str = r#"
interfaces:
  wan: { device: "net_null0", address: [203.0.113.2/24] }
routes: [ { dst-address: 0.0.0.0/0, gateway: 203.0.113.1 } ]
address-lists:
  blocked: [ { address: 198.51.100.9, timeout: 1h } ]
firewall:
  filter:
    - { chain: input, src-address-list: blocked, action: drop, comment: blocked }
    - { chain: input, src-address-list: knocked, action: accept, comment: knocked }
    - { chain: input, protocol: udp, limit: "1/1d,1", action: accept, comment: first }
    - { chain: input, protocol: udp, action: drop, comment: rest }
    - chain: input
      action: add-src-to-address-list
      address-list: knocked
      address-list-timeout: 1h
    - { chain: input, action: drop, comment: no }
"#;

#[test]
fn what_rules_remember_of_one_question_is_not_there_for_the_next() {
    let config =
        Config::parse(REMEMBERING, "t.yaml", Path::new(".")).unwrap_or_else(|r| panic!("{r}"));
    let scene = Scene::new(&config.policy);
    let decided = |line: &str| ask(&scene, line).unwrap().to_string();
    let knock = "wan: tcp 198.51.100.7:4000 > 203.0.113.2:7000 syn";
    let datagram = "wan: udp 198.51.100.8:4000 > 203.0.113.2:53";
    for _ in 0..2 {
        assert!(decided(knock).contains("# no"), "{}", decided(knock));
        assert!(
            decided(datagram).contains("# first"),
            "{}",
            decided(datagram)
        );
    }
    let twice = format!("{knock} | tcp 198.51.100.7:4000 > 203.0.113.2:7000 syn");
    assert!(decided(&twice).contains("# knocked"), "{}", decided(&twice));
    let blocked = decided("wan: tcp 198.51.100.9:4000 > 203.0.113.2:22 syn");
    assert!(blocked.contains("decided by filter/input/1 "), "{blocked}");
}

#[test]
fn every_state_that_is_asked_for_is_the_one_the_rules_see() {
    let config = gateway();
    let scene = Scene::new(&config.policy);
    for (state, seen) in [
        ("new", "new"),
        ("established", "established"),
        ("related", "related"),
        ("invalid", "invalid"),
        ("untracked", "untracked"),
    ] {
        for packet in [
            "tcp 192.168.88.10 > 1.1.1.1:443",
            "udp [2001:db8:88::10]:5000 > [2001:db8::1]:53",
            "icmp 192.168.88.10 > 1.1.1.1",
        ] {
            let line = format!("lan: {packet} state {state}");
            let found = ask(&scene, &line).unwrap().connection_state;
            assert_eq!(found.as_deref(), Some(seen), "{line}");
        }
    }
}

#[test]
fn an_error_about_a_connection_is_related_whether_that_is_translated_or_not() {
    let config = gateway();
    let scene = Scene::new(&config.policy);
    for packet in [
        "icmp 1.1.1.1 > 192.168.88.10 type 3 code 1 state related",
        "icmp 1.1.1.1 > 192.168.88.10 type 11 state related",
        "icmpv6 [2001:db8::1] > [2001:db8:88::10] type 1 state related",
    ] {
        let found = ask(&scene, &format!("wan: {packet}")).unwrap();
        assert_eq!(
            found.connection_state.as_deref(),
            Some("related"),
            "{found}"
        );
    }
}

#[test]
fn a_failed_matcher_says_what_it_asks_and_what_the_packet_has() {
    let config = gateway();
    let scene = Scene::new(&config.policy);
    let found = ask(&scene, "lan: udp 192.168.88.10 > 1.1.1.1:53 len 999").unwrap();
    let rules = found.steps.iter().find_map(|step| match step {
        Step::Chain { chain, rules, .. } if chain == "filter/forward" => Some(rules),
        Step::Chain { .. } | Step::Tracking { .. } | Step::Route { .. } => None,
    });
    let large = rules.unwrap().iter().find(|r| r.name.comment == "Large");
    let failed = large.unwrap().failed.clone().unwrap();
    assert_eq!(failed.matcher, "packet-size");
    assert_eq!(failed.asks.as_deref(), Some("1000-65535"));
    assert_eq!(failed.has.as_deref(), Some("999"));
}

#[test]
fn a_packet_and_its_frame_say_the_same() {
    for text in [
        "tcp 10.0.0.2:40000 > 1.1.1.1:443 syn len 40 ttl 64",
        "tcp 10.0.0.2:40000 > 1.1.1.1:443 fin psh ack len 400 ttl 3",
        "udp [2001:db8::1]:5000 > [2001:db8::2]:53 len 48 ttl 255",
        "udplite 10.0.0.2:5000 > 1.1.1.1:53 len 28 ttl 64",
        "icmp 10.0.0.2 > 1.1.1.1 type 3 code 13 len 28 ttl 64",
        "icmpv6 [2001:db8::1] > [2001:db8::2] type 128 code 0 len 48 ttl 64",
        "ipsec-esp 10.0.0.2 > 1.1.1.1 len 100 ttl 64",
        "254 10.0.0.2 > 1.1.1.1 len 20 ttl 64",
    ] {
        let packet = Words::parse(text).unwrap();
        let frame = packet.frame(None).unwrap();
        assert_eq!(of_frame(&frame).unwrap().to_string(), text);
        assert_eq!(packet.to_string(), text);
    }
}

#[test]
fn what_is_left_out_is_a_first_packet() {
    let shown = |text| Words::parse(text).unwrap().to_string();
    assert_eq!(
        shown("tcp 10.0.0.2 > 1.1.1.1:https"),
        "tcp 10.0.0.2:40000 > 1.1.1.1:443 syn"
    );
    assert_eq!(
        shown("tcp 10.0.0.2>1.1.1.1:443 state established"),
        "tcp 10.0.0.2:40000 > 1.1.1.1:443 ack state established"
    );
    assert_eq!(
        shown("  1 10.0.0.2   > 1.1.1.1 "),
        "icmp 10.0.0.2 > 1.1.1.1 type 8 code 0"
    );
}

#[test]
fn what_is_wrong_is_said_at_its_column() {
    for (text, column, what) in [
        ("", 1, "a protocol is missing"),
        ("udb 1.1.1.1 > 2.2.2.2:5", 1, "did you mean `udp`?"),
        ("256 1.1.1.1 > 2.2.2.2", 1, "out of range"),
        ("icmp [2001:db8::1] > [2001:db8::2]", 1, "`icmpv6`"),
        ("tcp 1.1.1 > 2.2.2.2:5", 5, "is no address"),
        ("tcp 1.1.1.1:http-old > 2.2.2.2:5", 13, "is no port"),
        ("tcp 1.1.1.1:070 > 2.2.2.2:5", 13, "zero"),
        ("tcp 1.1.1.1 < 2.2.2.2:5", 13, "`>` belongs here"),
        (
            "tcp 1.1.1.1 > 2001:db8::1",
            15,
            "in brackets: [2001:db8::1]",
        ),
        ("tcp [2001:db8::1 > 1.1.1.1:5", 5, "is no address"),
        ("tcp 1.1.1.1 > [2001:db8::1]:5", 15, "two families"),
        ("tcp 1.1.1.1 > 2.2.2.2", 22, "tcp has ports"),
        ("gre 1.1.1.1 > 2.2.2.2:5", 15, "gre has no ports"),
        ("udp 1.1.1.1 > 2.2.2.2:5 syn", 25, "only tcp has `syn`"),
        ("tcp 1.1.1.1 > 2.2.2.2:5 syn syn", 29, "twice"),
        ("tcp 1.1.1.1 > 2.2.2.2:5 ttl 5 ttl 5", 31, "twice"),
        ("tcp 1.1.1.1 > 2.2.2.2:5 type 5", 25, "only icmp"),
        (
            "tcp 1.1.1.1 > 2.2.2.2:5 ttl",
            28,
            "a value for `ttl` is missing",
        ),
        ("tcp 1.1.1.1 > 2.2.2.2:5 len 39", 29, "from 40 to"),
        (
            "tcp 1.1.1.1 > 2.2.2.2:5 state open",
            31,
            "no connection state",
        ),
        ("tcp 1.1.1.1 > 2.2.2.2:5 sny", 25, "did you mean `syn`?"),
        ("tcp é > 2.2.2.2:5", 5, "is no address"),
    ] {
        let error = Words::parse(text).unwrap_err();
        assert_eq!(error.column, column, "{text}: {}", error.message);
        assert!(error.message.contains(what), "{text}: {}", error.message);
    }
    assert!(Words::parse(&"x".repeat(400)).is_err());
}
