//! `turnpike reload` and its options, on a whole gateway without traffic.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::fs;
use std::time::{Duration, Instant};

use lab::{CONFIG, Lab, stderr, turnpike};

/// The configuration with another last filter rule, and shorter timeouts.
fn changed() -> String {
    CONFIG
        .replace(
            "in-interface: wan, action: drop",
            "in-interface: wan, action: reject",
        )
        .replace("max-entries: 2048", "max-entries: 2048, udp-timeout: 5s")
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let lab = Lab::new();
    let gateway = lab.start();
    let same = lab.ask(&["reload", "--dry-run"]);
    let said = String::from_utf8(same.stdout).unwrap();
    assert!(
        said.contains("  no difference\n0 connections looked at\n"),
        "{said}"
    );

    let other = lab.dir.path().join("other.yaml");
    let socket = lab.socket();
    let text = changed().replace("SOCKET", socket.to_str().unwrap());
    fs::write(&other, &text).unwrap();
    let plan = lab.json(&["reload", "--dry-run", other.to_str().unwrap()]);
    let difference = &plan["difference"];
    assert_eq!(difference["added"].as_array().unwrap().len(), 1);
    assert_eq!(difference["removed"][0]["number"], 2);
    assert_eq!(
        difference["settings"],
        serde_json::json!([{ "name": "connection-tracking.udp-timeout", "after": "5s" }])
    );
    assert_eq!(plan["connections"]["complete"], true);

    // What cannot be reloaded is shown too, and said to be refused.
    let shadowed = "action: drop }\n    - { chain: forward, in-interface: wan, protocol: udp, \
                    action: accept }";
    let text = text.replace("workers: [0]", "workers: [1]");
    fs::write(&other, text.replace("action: reject }", shadowed)).unwrap();
    let out = turnpike()
        .current_dir(lab.dir.path())
        .args(["reload", "--dry-run", "other.yaml", "--socket"])
        .arg(&socket)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        stderr(&out).contains("engine.workers cannot change"),
        "{}",
        stderr(&out)
    );
    for wanted in [
        "  + filter/forward/3 ",
        "  never matches: filter/forward/3 ",
        "  ~ engine.workers: [0] → [1]\n",
        "  0 would be refused if opened now\n",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }

    fs::write(&other, "filter: []").unwrap();
    let wrong = lab.ask(&["reload", "--dry-run", other.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        stderr(&wrong).contains("other.yaml:1:1: error: "),
        "{}",
        stderr(&wrong)
    );
    assert_eq!(lab.generation(), 1);
    assert_eq!(lab.json(&["status"])["reloads"]["refused"], 0);
    drop(gateway);
}

/// Waits until the status says `wanted` of the rolled-back reloads.
fn wait_for_rollbacks(lab: &Lab, wanted: u64) {
    let began = Instant::now();
    while lab.json(&["status"])["reloads"]["rolled-back"] != wanted {
        assert!(began.elapsed() < Duration::from_secs(10), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How many members the list of the configuration has, `None` if there is no such list.
fn members(lab: &Lab) -> Option<u64> {
    let lists = lab.json(&["lists"]);
    let lists = lists["address-lists"].as_array().unwrap();
    let trusted = lists.iter().find(|list| list["name"] == "trusted")?;
    trusted["members"].as_u64()
}

#[test]
fn members_of_a_list_come_back_with_it_and_go_once_it_is_gone_for_good() {
    let lab = Lab::new();
    let gateway = lab.start();
    let added = lab.ask(&["lists", "add", "trusted", "198.51.100.7"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let without = CONFIG.replace("address-lists: { trusted: [10.0.0.0/8] }\n", "");
    lab.write(&without);
    assert!(lab.ask(&["reload", "--confirm", "1s"]).status.success());
    assert_eq!(members(&lab), None);
    wait_for_rollbacks(&lab, 1);
    assert_eq!(members(&lab), Some(1));

    for said in [&["reload"][..], &["reload", "--confirm", "1m"]] {
        lab.write(&without);
        assert!(lab.ask(said).status.success());
        if said.len() > 1 {
            assert!(lab.ask(&["reload", "--confirmed"]).status.success());
        }
        lab.write(CONFIG);
        assert!(lab.ask(&["reload"]).status.success());
        assert_eq!(members(&lab), Some(0), "{said:?}");
        lab.ask(&["lists", "add", "trusted", "198.51.100.7"]);
    }
    assert_eq!(gateway.stop(), 0, "{}", lab.log());
}

fn last_rule(lab: &Lab) -> String {
    let rules = lab.json(&["rules", "--table", "filter"]);
    rules["rules"][1]["action"].as_str().unwrap().to_owned()
}

#[test]
fn a_reload_that_nobody_confirms_is_taken_back() {
    let lab = Lab::new();
    let gateway = lab.start();
    lab.write(&changed());
    let out = lab.ask(&["reload", "--confirm", "2s", "--cut-refused"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("taken back in 2 s"), "{said}");
    assert!(
        !said.contains("ended"),
        "that waits for the confirmation: {said}"
    );
    assert_eq!((lab.generation(), last_rule(&lab).as_str()), (2, "reject"));
    let left = &lab.json(&["status"])["reloads"]["confirm-within-seconds"];
    assert!(left.as_u64().is_some_and(|left| left < 2), "{left}");

    // Nothing else is begun meanwhile, by signal neither, and asking does not confirm.
    let second = lab.ask(&["reload"]);
    assert_eq!(second.status.code(), Some(1));
    let wanted = "generation 2 waits to be confirmed";
    assert!(stderr(&second).contains(wanted), "{}", stderr(&second));
    gateway.signal("-HUP");
    assert!(lab.ask(&["reload", "--dry-run"]).status.success());

    wait_for_rollbacks(&lab, 1);
    assert_eq!((lab.generation(), last_rule(&lab).as_str()), (3, "drop"));
    let reloads = &lab.json(&["status"])["reloads"];
    assert_eq!(
        (&reloads["done"], &reloads["refused"]),
        (&1.into(), &2.into())
    );
    assert!(reloads.get("confirm-within-seconds").is_none());
    assert!(
        lab.log()
            .contains("generation 2 was not confirmed and is taken back")
    );
    let late = lab.ask(&["reload", "--confirmed"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(
        stderr(&late).contains("no reload waits"),
        "{}",
        stderr(&late)
    );
    // The file still holds what was tried.
    assert!(lab.ask(&["reload"]).status.success());
    assert_eq!(last_rule(&lab), "reject");
    assert_eq!(gateway.stop(), 0, "{}", lab.log());
}

#[test]
fn a_reload_that_is_confirmed_stays() {
    let lab = Lab::new();
    let gateway = lab.start();
    lab.write(&changed());
    let args = ["reload", "--confirm", "1s", "--cut-refused"];
    assert!(lab.ask(&args).status.success());
    let out = lab.ask(&["reload", "--confirmed"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.contains("generation 2 stays\n0 connections were ended"),
        "{said}"
    );
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((lab.generation(), last_rule(&lab).as_str()), (2, "reject"));
    assert_eq!(lab.json(&["status"])["reloads"]["rolled-back"], 0);

    lab.write(CONFIG);
    let out = lab.ask(&["reload", "--cut-refused"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("0 connections were ended"), "{said}");
    // A gateway that is stopped meanwhile says what the file is.
    assert!(lab.ask(&["reload", "--confirm", "60s"]).status.success());
    assert_eq!(gateway.stop(), 0);
    let said = "a reload was waiting to be confirmed; the next start reads its file";
    assert!(lab.log().contains(said), "{}", lab.log());
}
