//! Packets explained by a gateway that runs, with what it knows by then.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests want more of it")]
mod lab;

use std::fs;
use std::time::{Duration, Instant};

use lab::{CONFIG, Gateway, Lab, stderr};
use serde_json::Value;
use turnpike_mgmt::words::Words;

/// What has come in by `lan` before anything is asked: a knock, a packet that uses up a limit, and
/// two of one connection, of which the first gives it a mark.
const BEFORE: [&str; 4] = [
    "udp 192.168.88.10:4000 > 192.168.88.1:7000",
    "udp 192.168.88.12:4000 > 192.168.88.1:53",
    "udp 192.168.88.10:5000 > 1.1.1.1:53",
    "udp 192.168.88.10:5000 > 1.1.1.1:53",
];

const RULES: &str = r#"firewall:
  mangle:
    - chain: prerouting
      protocol: udp
      dst-port: 53
      action: mark-connection
      new-connection-mark: dns
  filter:
    - chain: input
      protocol: udp
      dst-port: 7000
      action: add-src-to-address-list
      address-list: knocked
      address-list-timeout: 1h
    - { chain: input, protocol: udp, dst-port: 53, limit: "1/1d,1", action: accept, comment: first }
    - { chain: input, protocol: udp, dst-port: 53, action: drop, comment: rest }
    - { chain: input, protocol: udp, dst-port: 54, limit: "1/1d,1", action: accept, comment: spare }
    - chain: forward
      connection-state: "established,related"
      action: accept
      comment: known
    - chain: forward
      protocol: udp
      dst-port: 53
      connection-limit: "1,32"
      action: drop
      comment: many
    - { chain: forward, src-address-list: knocked, action: accept, comment: let-in }
    - { chain: forward, action: drop, comment: no }
"#;

/// A capture of these packets, for the first device of this kind.
fn capture(packets: &[&str]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    file.extend([0; 8]);
    file.extend([0xff, 0xff, 0, 0, 1, 0, 0, 0]);
    for packet in packets {
        let mut frame = Words::parse(packet).unwrap().frame(None).unwrap();
        frame[..6].copy_from_slice(b"\x02pcap\0");
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        file.extend([0; 8]);
        file.extend([len, len].concat());
        file.extend(frame);
    }
    file
}

/// A gateway that has seen [`BEFORE`].
fn started() -> (Lab, Gateway) {
    let lab = Lab::new();
    let (rx, tx) = (
        lab.dir.path().join("rx.pcap"),
        lab.dir.path().join("tx.pcap"),
    );
    fs::write(&rx, capture(&BEFORE)).unwrap();
    let device = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        rx.display(),
        tx.display()
    );
    let config = CONFIG.replace("net_null0,no-rx=1", &device);
    let (head, rest) = config.split_once("firewall:\n").unwrap();
    let (_, nat) = rest.split_once("  nat:\n").unwrap();
    lab.write(&format!("{head}{RULES}  nat:\n{nat}"));
    let gateway = lab.start();
    let began = Instant::now();
    while open(&lab) != 1 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{}\n{}",
            lab.json(&["connections"]),
            lab.json(&["trace", "--drops"])
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    (lab, gateway)
}

/// How many connections there are.
fn open(lab: &Lab) -> usize {
    let listed = lab.json(&["connections"]);
    listed["connections"].as_array().unwrap().len()
}

fn explain(lab: &Lab, interface: &str, packet: &str) -> Value {
    lab.json(&["explain", "--running", "--in", interface, packet])
}

/// The comment of the rule that decided.
fn decided(explained: &Value) -> &str {
    explained["explanation"]["rule"]["comment"]
        .as_str()
        .unwrap_or("none")
}

#[test]
fn a_packet_of_a_live_connection_meets_it_in_either_direction_with_translation_and_mark() {
    let (lab, _gateway) = started();
    let out = explain(&lab, "lan", "udp 192.168.88.10:5000 > 1.1.1.1:53");
    assert_eq!(out["connection"]["src-address"], "192.168.88.10:5000");
    assert_eq!(out["connection"]["orig"]["packets"], 2, "{out}");
    assert_eq!(out["explanation"]["nat-src"], "203.0.113.2:5000");
    assert_eq!(decided(&out), "let-in");
    let back = explain(&lab, "wan", "udp 1.1.1.1:53 > 203.0.113.2:5000");
    assert_eq!(back["connection"]["id"], out["connection"]["id"]);
    assert_eq!(back["explanation"]["connection-state"], "established");
    assert_eq!(back["explanation"]["nat-dst"], "192.168.88.10:5000");
    assert_eq!(decided(&back), "known");
    let text = back["text"].as_str().unwrap();
    assert!(text.contains("connection-mark dns"), "{text}");
    assert!(text.contains("admitted by filter/forward/3"), "{text}");
    let kept = |out: &Value| out["standing"].as_str().unwrap().to_owned();
    assert!(kept(&out).starts_with("its plan is kept"), "{out}");
    assert!(kept(&back).starts_with("nothing is kept"), "{back}");
    assert!(lab.ask(&["reload"]).status.success());
    let later = explain(&lab, "lan", "udp 192.168.88.10:5000 > 1.1.1.1:53");
    assert!(
        kept(&later).starts_with("judged by generation 1:"),
        "{later}"
    );
    let stranger = explain(&lab, "wan", "udp 1.1.1.2:53 > 203.0.113.2:5000");
    assert_eq!(stranger["connection"], Value::Null);
    assert_ne!(decided(&stranger), "known");
}

#[test]
fn members_of_lists_and_what_limits_have_left_are_as_they_are_now() {
    let (lab, _gateway) = started();
    let knocked = explain(&lab, "lan", "tcp 192.168.88.10 > 9.9.9.9:22 syn");
    assert_eq!(decided(&knocked), "let-in");
    let other = explain(&lab, "lan", "tcp 192.168.88.11 > 9.9.9.9:22 syn");
    assert_eq!(decided(&other), "no");
    // The one live connection counts for its host's second, and for nobody else's first.
    let second = explain(&lab, "lan", "udp 192.168.88.10:5009 > 1.1.1.1:53");
    assert_eq!(decided(&second), "many");
    let first = explain(&lab, "lan", "udp 192.168.88.14:5009 > 1.1.1.1:53");
    assert_eq!(decided(&first), "no");
    let used_up = explain(&lab, "lan", "udp 192.168.88.11 > 192.168.88.1:53");
    assert_eq!(decided(&used_up), "rest");
    let drops = lab.json(&["trace", "--drops", "--address", "192.168.88.12"]);
    let word = |key: &str| drops[0][key].as_str().unwrap();
    let packet = format!("{} {} > {}", word("protocol"), word("src"), word("dst"));
    let again = explain(&lab, word("in-interface"), &packet);
    assert_eq!(again["explanation"]["verdict"], "drop", "{drops}");
    assert_eq!(decided(&again), "rest", "the limit has let it pass once");
    let after = lab.json(&[
        "explain",
        "--running",
        "--in",
        "lan",
        "--after",
        "udp 192.168.88.11 > 192.168.88.1:7000",
        "tcp 192.168.88.11 > 9.9.9.9:22 syn",
    ]);
    assert_eq!(decided(&after), "let-in");
}

#[test]
fn explaining_changes_nothing_that_runs() {
    let (lab, _gateway) = started();
    let state = || {
        let rules = lab.json(&["rules"]);
        let lists = lab.json(&["lists", "show", "knocked"]);
        let counts = rules["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["packets"].clone());
        let entries = lists["address-lists"][0]["entries"]
            .as_array()
            .unwrap()
            .iter();
        let members: Vec<Value> = entries.map(|e| e["address"].clone()).collect();
        assert!(!members.is_empty(), "{lists}");
        (counts.collect::<Vec<_>>(), members, open(&lab))
    };
    let before = state();
    for _ in 0..3 {
        let out = explain(&lab, "lan", "udp 192.168.88.11 > 192.168.88.1:54");
        assert_eq!(
            decided(&out),
            "spare",
            "the limit is looked at, not taken from"
        );
        explain(&lab, "lan", "udp 192.168.88.13 > 192.168.88.1:7000");
        explain(&lab, "lan", "udp 192.168.88.10:5001 > 1.1.1.1:99");
        explain(&lab, "wan", "udp 1.1.1.1:53 > 203.0.113.2:5000");
    }
    assert_eq!(state(), before);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let (lab, _gateway) = started();
    for (words, said) in [
        (
            &["--in", "dmz", "udp 1.1.1.1 > 2.2.2.2:5"][..],
            "no interface is named `dmz`; there are: lan, wan",
        ),
        (
            &["--in", "lan", "udp 1.1.1.1 > 2.2.2.2:5 state new"][..],
            "leave `state` out",
        ),
        (
            &["--in", "lan", "udp 1.1.1 > 2.2.2.2:5"][..],
            "is no address",
        ),
    ] {
        let out = lab.ask(&[&["explain", "--running"], words].concat());
        assert_eq!(out.status.code(), Some(1));
        assert!(stderr(&out).contains(said), "{}", stderr(&out));
    }
}
