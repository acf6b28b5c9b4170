//! `turnpike audit` on the configurations that ship and on small ones with a fault each.
//!
//! `BLESS=1 cargo test -p turnpike-mgmt --test audit` rewrites what is expected.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Everything that an audit may advise.
const ADVICE: [&str; 16] = [
    "accept-by-default",
    "after-catch-all",
    "chosen-service",
    "depends-service",
    "duplicate",
    "late-dns-logged",
    "management-address",
    "management-open",
    "nobody-untrusted",
    "open",
    "open-relay",
    "open-resolver",
    "pointless-list",
    "reject-outside",
    "shadowed",
    "source-port-trusted",
];

/// Runs an audit where the files' names are short.
fn audit(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnpike"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit"))
        .arg("audit")
        .args(words)
        .output()
        .unwrap()
}

fn json(words: &[&str]) -> serde_json::Value {
    let out = audit(&[words, &["--json"]].concat());
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The advice given, each with its place, in order.
fn advice(words: &[&str]) -> Vec<(String, String)> {
    let audit = json(words);
    let findings = audit["findings"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|f| (text(&f["advice"]), text(&f["source"])))
        .collect()
}

fn given(words: &[&str], wanted: &str) -> Vec<String> {
    let all = advice(words).into_iter();
    all.filter(|(word, _)| word == wanted)
        .map(|(_, place)| place)
        .collect()
}

/// The services in a row of the table, with their ratings.
fn reached(audit: &serde_json::Value, from: &str, who: &str, to: &str) -> Vec<String> {
    let rows = audit["reachable"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|r| r["from"] == from && r["who"] == who && r["to"] == to);
    let services = row
        .into_iter()
        .flat_map(|r| r["services"].as_array().unwrap());
    services
        .map(|s| {
            let rating = s["rating"].as_str().unwrap_or_default();
            format!("{} {rating}", s["service"].as_str().unwrap())
        })
        .collect()
}

fn cases() -> Vec<(String, PathBuf)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit");
    let mut cases = Vec::new();
    for (folder, prefix) in [
        (here.clone(), ""),
        (here.join("../../../configs"), "../../../configs/"),
    ] {
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(stem) = name.strip_suffix(".yaml") {
                let expected = if prefix.is_empty() {
                    stem.to_owned()
                } else {
                    format!("configs-{stem}")
                };
                cases.push((
                    format!("{prefix}{name}"),
                    here.join(format!("{expected}.expected")),
                ));
            }
        }
    }
    cases.sort();
    cases
}

#[test]
fn every_audit_says_what_is_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for (file, expected) in cases() {
        let out = audit(&[&file]);
        assert!(out.status.success(), "{out:?}");
        if bless {
            fs::write(&expected, &out.stdout).unwrap();
        } else if fs::read(&expected).unwrap_or_default() != out.stdout {
            wrong.push(String::from_utf8(out.stdout).unwrap());
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in .expected (BLESS=1 rewrites):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn each_advice_is_given_somewhere_and_none_is_given_that_is_not_known() {
    let mut seen = BTreeSet::new();
    for (file, _) in cases() {
        seen.extend(advice(&[&file]).into_iter().map(|(word, _)| word));
    }
    let mut known: BTreeSet<String> = ADVICE.iter().map(|w| (*w).to_owned()).collect();
    known.insert("unsafe-service".to_owned());
    assert_eq!(seen, known);
}

#[test]
fn services_that_strangers_reach_are_judged_by_the_catalogue() {
    let at = |word: &str| given(&["services.yaml"], word);
    assert_eq!(at("unsafe-service"), ["services.yaml:10"]);
    assert_eq!(at("management-open")[0], "services.yaml:11");
    assert_eq!(at("open-resolver"), ["services.yaml:12"]);
    assert_eq!(at("open-relay"), ["services.yaml:13"]);
    assert_eq!(at("chosen-service"), ["services.yaml:14"]);
    assert_eq!(at("depends-service"), ["services.yaml:15"]);
    assert_eq!(at("reject-outside"), ["services.yaml:17"]);
    assert_eq!(at("late-dns-logged"), ["services.yaml:18"]);
    let audit = json(&["services.yaml"]);
    let services = reached(&audit, "wan", "anybody", "gateway");
    assert!(
        services.contains(&"telnet 23/tcp N".to_owned()),
        "{services:?}"
    );
    assert!(services.contains(&"ssh 22/tcp Y".to_owned()));
    assert!(services.contains(&"sip 5060-5061/udp ?".to_owned()));
    assert!(services.contains(&"9999/tcp ".to_owned()));
    assert!(!services.iter().any(|s| s.starts_with("ftp")));
    // What everybody reaches is not said again of whom a rule names.
    let named = reached(&audit, "lan", "192.168.88.9", "gateway");
    assert!(named.contains(&"ftp 21/tcp N".to_owned()), "{named:?}");
    assert!(!named.contains(&"winbox 8291/tcp N".to_owned()));
}

#[test]
fn chains_that_end_without_a_drop_are_open_doors() {
    let findings = json(&["open.yaml"])["findings"].as_array().unwrap().clone();
    let high = findings.iter().filter(|f| f["severity"] == "high");
    let said: Vec<&str> = high.map(|f| f["message"].as_str().unwrap()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("filter/forward ends without a drop"));
    assert!(said[1].contains("filter/input ends without a drop"));
    assert_eq!(given(&["door.yaml"], "open"), ["door.yaml:9"]);
    assert_eq!(
        given(&["door.yaml"], "unsafe-service"),
        Vec::<String>::new()
    );
    // The rule on line 11 says which server is meant.
    assert_eq!(
        given(&["door.yaml"], "chosen-service"),
        Vec::<String>::new()
    );
}

#[test]
fn rules_that_do_nothing_are_found_and_others_are_not() {
    let at = |word: &str| given(&["idle.yaml"], word);
    assert_eq!(at("shadowed"), ["idle.yaml:11", "idle.yaml:13"]);
    assert_eq!(at("duplicate"), ["idle.yaml:14"]);
    assert_eq!(at("after-catch-all"), ["idle.yaml:19"]);
}

#[test]
fn a_trusted_source_port_is_no_trust() {
    let at = |word: &str| given(&["source-port.yaml"], word);
    assert_eq!(at("source-port-trusted"), ["source-port.yaml:9"]);
    assert_eq!(at("open"), Vec::<String>::new());
}

#[test]
fn a_list_that_opens_an_open_door_is_pointed_out_and_another_is_not() {
    assert_eq!(given(&["list.yaml"], "pointless-list"), ["list.yaml:11"]);
    let audit = json(&["list.yaml"]);
    let staff = reached(&audit, "wan", "list staff", "gateway");
    assert_eq!(staff, ["ssh 22/tcp Y"]);
    assert_eq!(
        reached(&audit, "wan", "list knocked", "gateway"),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_packet_or_a_count_decides_is_taken_to_let_in() {
    let audit = json(&["nat.yaml"]);
    let gateway = reached(&audit, "wan", "anybody", "gateway");
    assert_eq!(gateway, ["ntp 123/udp -", "snmp 161/udp N", "2222/tcp "]);
    let inside = reached(&audit, "wan", "anybody", "lan");
    assert_eq!(
        inside,
        ["https 443/tcp -", "ms-rdp 3389/tcp N", "13389/tcp "]
    );
    // Towards a chosen server, https is what it is for; a desktop is not.
    let at = |word: &str| given(&["nat.yaml"], word);
    // What counts is the port that they are led to, too.
    assert_eq!(
        at("unsafe-service"),
        ["nat.yaml:9", "nat.yaml:10", "nat.yaml:21"]
    );
    assert_eq!(at("management-open")[0], "nat.yaml:12");
}

#[test]
fn whoever_is_named_is_untrusted_and_nobody_else() {
    let named = json(&["services.yaml", "--untrusted", "lan"]);
    assert_eq!(named["untrusted"], serde_json::json!(["lan"]));
    assert_eq!(
        json(&["idle.yaml", "--untrusted", "LAN,wan"])["untrusted"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let unknown = audit(&["services.yaml", "--untrusted", "wam"]);
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("did you mean `wan`?"), "{said}");
}

#[test]
fn strict_ends_with_one_where_something_is_high() {
    let code = |words: &[&str]| audit(words).status.code();
    assert_eq!(code(&["open.yaml", "--strict"]), Some(1));
    assert_eq!(code(&["open.yaml"]), Some(0));
    assert_eq!(code(&["inside.yaml", "--strict"]), Some(0));
    assert_eq!(code(&["no-such-file.yaml"]), Some(1));
}
