//! The `turnpike` binary: a whole gateway over devices that need no network and no rights.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use lab::{CONFIG, Lab, stderr, turnpike};

fn run_to_end(config: &Path) -> Output {
    turnpike()
        .args(["run", "--config"])
        .arg(config)
        .output()
        .unwrap()
}

#[test]
fn a_gateway_runs_answers_reloads_and_stops_cleanly() {
    let lab = Lab::new();
    let gateway = lab.start();

    let status = lab.json(&["status"]);
    assert_eq!(status["interfaces"][1]["name"], "wan");
    assert_eq!(status["workers"][0]["connections-max"], 2048);
    assert_eq!(lab.generation(), 1);
    let rules = lab.json(&["rules", "--table", "filter"]);
    assert_eq!(rules["rules"][0]["comment"], "Known");
    assert_eq!(rules["rules"][1]["number"], 2);
    let source = rules["rules"][1]["source"].as_str().unwrap();
    assert!(source.ends_with("gw.yaml:10"), "{source}");
    assert_eq!(
        lab.json(&["connections"])["connections"],
        serde_json::json!([])
    );
    assert_eq!(
        lab.json(&["lists", "trusted"])["address-lists"][0]["address"][0],
        "10.0.0.0/8"
    );
    for words in [
        &["status"][..],
        &["rules"],
        &["connections"],
        &["lists"],
        &["log"],
    ] {
        let out = lab.ask(words);
        assert!(out.status.success() && !out.stdout.is_empty(), "{words:?}");
    }

    for words in [
        &["rules", "--table", "bogus"][..],
        &["rules", "--table", "nat", "--chain", "forward"],
        &["connections", "--state", "bogus"],
    ] {
        let out = lab.ask(words);
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        assert!(out.stdout.is_empty(), "{words:?}");
        assert!(stderr(&out).contains("there are: "), "{}", stderr(&out));
    }

    let second = run_to_end(&lab.config());
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another turnpike is running"),
        "{}",
        stderr(&second)
    );

    let reloaded = lab.ask(&["reload"]);
    assert!(reloaded.status.success(), "{}", stderr(&reloaded));
    assert_eq!(lab.generation(), 2);
    gateway.signal("-HUP");
    let began = Instant::now();
    while lab.generation() < 3 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "SIGHUP did not reload"
        );
        std::thread::sleep(Duration::from_millis(20));
    }

    assert_eq!(gateway.stop(), 0, "{}", lab.log());
    assert!(!lab.socket().exists());
    assert!(
        lab.log().ends_with("system: the gateway has stopped\n"),
        "{}",
        lab.log()
    );
}

#[test]
fn connections_are_counted_flushed_and_watched_from_the_command_line() {
    let lab = Lab::new();
    let gateway = lab.start();
    assert_eq!(lab.ask(&["connections", "count"]).stdout, b"0\n");
    let counted = lab.json(&["connections", "--count", "--protocol", "tcp"]);
    assert_eq!(counted["count"], 0);
    let flushed = lab.ask(&["connections", "flush", "--dst-port", "ssh"]);
    assert_eq!(flushed.stdout, b"0 connections ended\n");
    assert_eq!(lab.json(&["connections", "flush", "--all"])["flushed"], 0);
    assert!(lab.log().contains("system: 0 connections were flushed"));
    for (words, wanted) in [
        (&["connections", "flush"][..], "all=yes"),
        (&["connections", "watch", "--event", "birth"], "event: "),
        (&["connections", "count", "--flags", "X"], "flags: "),
        (&["connections", "count", "--limit", "1"], "--limit"),
    ] {
        let out = lab.ask(words);
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        assert!(stderr(&out).contains(wanted), "{}", stderr(&out));
    }

    let watching = turnpike()
        .args(["connections", "watch", "--dst-port", "80", "--socket"])
        .arg(lab.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while lab.json(&["status"])["event-watchers"] != 1 {
        assert!(began.elapsed() < Duration::from_secs(10), "nobody watches");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(gateway.stop(), 0, "{}", lab.log());
    let watched = watching.wait_with_output().unwrap();
    assert!(watched.status.success(), "{}", stderr(&watched));
    assert!(stderr(&watched).contains("the gateway has ended the stream"));
}

const FAILING_TEST: &str = "tests: [ { in-interface: wan, packet: \"udp 198.51.100.7 > \
                            192.168.88.10:53\", expect: accept } ]\nservices: {";

#[test]
fn a_refused_reload_changes_nothing_and_says_why() {
    let lab = Lab::new();
    let gateway = lab.start();
    for (from, to, wanted) in [
        ("action: drop", "action: dorp", "gw.yaml:10:"),
        ("workers: [0]", "workers: [1]", "engine.workers"),
        ("net_null1", "net_null2", "interfaces.wan.device"),
        ("2048", "4096", "connection-tracking.max-entries"),
        ("api.sock", "other.sock", "services.api.socket"),
        (
            "services: {",
            FAILING_TEST,
            "gw.yaml:13:10: error: the test fails: the verdict is drop",
        ),
    ] {
        let socket = lab.socket();
        let text = CONFIG.replace("SOCKET", socket.to_str().unwrap());
        lab.write(&text.replace(from, to));
        let out = lab.ask(&["reload"]);
        assert_eq!(out.status.code(), Some(1), "{from}");
        assert!(stderr(&out).contains(wanted), "{from}: {}", stderr(&out));
        assert_eq!(lab.generation(), 1);
    }
    assert_eq!(lab.json(&["status"])["reloads"]["refused"], 6);
    lab.write(CONFIG);
    assert!(lab.ask(&["reload"]).status.success());
    let log = lab.json(&["log"]);
    let said = log["lines"].as_array().unwrap();
    assert!(
        said.iter()
            .any(|l| l["message"].as_str().unwrap().contains("reload refused"))
    );
    drop(gateway);
}

#[test]
fn a_gateway_that_was_killed_leaves_nothing_in_the_way() {
    let lab = Lab::new();
    let mut gateway = lab.start();
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    assert!(lab.socket().exists());
    let again = lab.start();
    assert_eq!(again.stop(), 0);
}

#[test]
fn what_cannot_start_says_so_in_one_sentence() {
    for (from, to, wanted) in [
        (
            "net_null1,no-rx=1",
            "net_af_packet0,iface=no-such-device",
            "no-such-device",
        ),
        (
            "workers: [0]",
            "workers: [4095]",
            "core 4095 does not exist",
        ),
        (
            "hugepages: no",
            "hugepages: no, mbufs: 4096",
            "raise `mbufs`",
        ),
        ("2048", "2047x", "2047x"),
    ] {
        let lab = Lab::new();
        lab.write(&CONFIG.replace(from, to));
        let out = run_to_end(&lab.config());
        let said = stderr(&out);
        assert_eq!(out.status.code(), Some(1), "{from}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(wanted), "{said}");
        assert!(!lab.socket().exists());
    }
}

#[test]
fn check_and_clients_end_with_one_where_something_is_wrong() {
    let lab = Lab::new();
    let check = |path: &Path| turnpike().arg("check").arg(path).output().unwrap();
    let good = check(&lab.config());
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&good.stdout).contains("2 interfaces, 1 route, 3 rules"));
    lab.write("interfaces: {}\n");
    assert_eq!(check(&lab.config()).status.code(), Some(1));
    let nobody = lab.ask(&["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stderr(&nobody).contains("turnpike run"),
        "{}",
        stderr(&nobody)
    );
    assert_eq!(
        turnpike().arg("nonsense").output().unwrap().status.code(),
        Some(2)
    );
}

/// A capture of one UDP packet from a host on the LAN to `to`, for the station `mac`.
fn capture(mac: [u8; 6], to: [u8; 4]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 192, 168, 88, 10];
    ip.extend(to);
    let words = ip.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|w| u32::from(u16::from_be_bytes(*w))).sum();
    let folded = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip.splice(10..12, folded.to_be_bytes());
    let mut frame = mac.to_vec();
    frame.extend([0x02, 0, 0, 0, 0, 0x10, 0x08, 0x00]);
    frame.extend(ip);
    frame.extend([0x13, 0x88, 0x27, 0x0f, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame.resize(60, 0);
    let mut file = Vec::new();
    let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];
    let record: [u32; 4] = [1_000_000, 0, 60, 60];
    for word in header.iter().chain(&record) {
        file.extend(word.to_le_bytes());
    }
    file.extend(frame);
    file
}

#[test]
fn a_packet_from_the_wire_is_logged_counted_and_dropped() {
    let lab = Lab::new();
    let (rx, tx) = (
        lab.dir.path().join("rx.pcap"),
        lab.dir.path().join("tx.pcap"),
    );
    // The address that DPDK gives the first device of this kind.
    fs::write(&rx, capture(*b"\x02pcap\0", [192, 168, 88, 1])).unwrap();
    let device = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        rx.display(),
        tx.display()
    );
    let rule = "  filter:\n    - { chain: input, protocol: udp, dst-port: 9999, action: drop, log: \
                yes, log-prefix: \"probe: \" }\n";
    let text = CONFIG.replace("net_null0,no-rx=1", &device);
    lab.write(&text.replace("  filter:\n", rule));
    let gateway = lab.start();
    let began = Instant::now();
    let logged = |lab: &Lab| {
        let log = lab.json(&["log"]);
        let lines = log["lines"].as_array().unwrap().clone();
        lines
            .iter()
            .find(|l| l["topic"] == "firewall")
            .map(|l| l["message"].as_str().unwrap().to_owned())
    };
    let line = loop {
        if let Some(line) = logged(&lab) {
            break line;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(line.starts_with("probe"), "{line}");
    assert!(
        line.contains("in:lan") && line.contains("192.168.88.10:5000"),
        "{line}"
    );
    let status = lab.json(&["status"]);
    assert_eq!(status["interfaces"][0]["rx"]["packets"], 1, "{status}");
    let drops = status["workers"][0]["drops"].as_array().unwrap();
    let by_rule = drops.iter().find(|d| d["name"] == "filter-rule").unwrap();
    assert_eq!(by_rule["packets"], 1);
    let recent = lab.json(&["trace", "--drops", "--rule", "filter/input/1"]);
    assert_eq!(recent[0]["reason"], "filter-rule", "{recent}");
    assert_eq!(recent[0]["in-interface"], "lan", "{recent}");
    assert_eq!(recent[0]["src"], "192.168.88.10:5000", "{recent}");
    assert_eq!(recent.as_array().unwrap().len(), 1, "{recent}");
    let rules = lab.json(&["rules", "--chain", "input"]);
    assert_eq!(rules["rules"][0]["packets"], 1);
    assert_eq!(rules["rules"][0]["bytes"], 32);
    assert_eq!(gateway.stop(), 0, "{}", lab.log());
}

#[test]
fn a_replay_says_what_became_of_each_packet_and_repeats_itself() {
    let lab = Lab::new();
    let pcap = lab.dir.path().join("in.pcap");
    fs::write(&pcap, capture([2, 0, 0, 0, 0, 1], [198, 51, 100, 7])).unwrap();
    let replay = |out: &str| {
        let dir = lab.dir.path().join(out);
        let done = turnpike()
            .args(["replay", "--config"])
            .arg(lab.config())
            .arg("--in")
            .arg(format!("lan={}", pcap.display()))
            .arg("--out-dir")
            .arg(&dir)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        assert!(String::from_utf8_lossy(&done.stdout).starts_with("1 packets: accept 1\n"));
        [
            "verdicts.jsonl",
            "connections.json",
            "counters.json",
            "wan.pcap",
        ]
        .map(|name| fs::read(dir.join(name)).unwrap())
    };
    let first = replay("one");
    assert_eq!(first, replay("two"));
    let verdict: serde_json::Value = serde_json::from_slice(&first[0]).unwrap();
    assert_eq!(
        (&verdict["verdict"], &verdict["out"]),
        (&"accept".into(), &"wan".into())
    );
    let wrong = turnpike()
        .args(["replay", "--in", "dmz=x", "--out-dir", "y", "--config"])
        .arg(lab.config())
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        stderr(&wrong).contains("error: no interface is named `dmz`"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_packet_of_an_interface_that_is_absent_is_reported_as_that() {
    let lab = Lab::new();
    let block = |kind: u32, body: &[u8]| {
        let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    };
    let section = block(
        0x0a0d_0d0a,
        &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat(),
    );
    let ethernet = block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    // Interface 9, a stamp of zero, four bytes kept of four.
    let packet = block(
        6,
        &[
            &[9, 0, 0, 0][..],
            &[0; 8],
            &[4, 0, 0, 0],
            &[4, 0, 0, 0],
            b"lost",
        ]
        .concat(),
    );
    let pcap = lab.dir.path().join("in.pcapng");
    fs::write(&pcap, [section, ethernet, packet].concat()).unwrap();
    let done = turnpike()
        .args(["replay", "--config"])
        .arg(lab.config())
        .arg("--in")
        .arg(format!("lan={}", pcap.display()))
        .arg("--out-dir")
        .arg(lab.dir.path().join("out"))
        .output()
        .unwrap();
    let said = stderr(&done);
    assert!(done.status.success(), "{said}");
    assert!(
        said.contains("passed over: 1; they name an interface that the file does not describe"),
        "{said}"
    );
    assert!(!said.contains("link type"), "{said}");
}

/// Waits until `found` finds something.
fn until<T>(lab: &Lab, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The configuration with one logged packet waiting on `lan`, and this `logging:`.
fn logging(lab: &Lab, logging: &str) -> String {
    let (rx, tx) = (
        lab.dir.path().join("rx.pcap"),
        lab.dir.path().join("tx.pcap"),
    );
    fs::write(&rx, capture(*b"\x02pcap\0", [192, 168, 88, 1])).unwrap();
    let device = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        rx.display(),
        tx.display()
    );
    let rule = "  filter:\n    - { chain: input, protocol: udp, dst-port: 9999, action: drop, log: \
                yes, log-prefix: \"API Drop: \" }\n";
    let text = CONFIG.replace("net_null0,no-rx=1", &device);
    let text = text.replace("  filter:\n", rule);
    let dir = lab.dir.path().to_str().unwrap();
    format!("{text}logging: {}\n", logging.replace("DIR", dir))
}

#[test]
fn a_logged_packet_is_in_memory_in_the_file_and_in_the_system_log_and_is_found_by_its_text() {
    let lab = Lab::new();
    let daemon = std::os::unix::net::UnixDatagram::bind(lab.dir.path().join("syslog")).unwrap();
    lab.write(&logging(
        &lab,
        "{ targets: [memory, file, syslog], file: { path: DIR/fw.log }, syslog: { socket: \
         DIR/syslog, facility: local0 } }",
    ));
    let gateway = lab.start();
    let lines = |words: &[&str]| lab.json(words)["lines"].as_array().unwrap().clone();
    let found = until(&lab, || {
        let lines = lines(&["log", "--match", "api drop"]);
        lines
            .first()
            .map(|l| l["message"].as_str().unwrap().to_owned())
    });
    assert!(
        found.starts_with(
            "API Drop: input: in:lan out:(unknown 0), connection-state:new src-mac 02:"
        ),
        "{found}"
    );
    assert!(found.contains("proto UDP, 192.168.88.10:5000->192.168.88.1:9999, len 32"));
    assert!(found.contains("rule filter/input/1 "), "{found}");
    assert_eq!(lines(&["log", "--match", "API Accept"]).len(), 0);
    let followed = lab.ask(&["log", "--match", "the gateway is up", "-n", "1"]);
    assert_eq!(followed.stdout.iter().filter(|b| **b == b'\n').count(), 1);
    let file = lab.dir.path().join("fw.log");
    let written = until(&lab, || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().find(|l| l.contains(&found)).map(str::to_owned)
    });
    assert!(written.contains(" firewall: API Drop: "), "{written}");
    let mut bytes = [0; 4_096];
    daemon
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let sent = until(&lab, || {
        let length = daemon.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        text.contains("firewall").then_some(text)
    });
    let pid = gateway.child.id();
    assert_eq!(sent, format!("<134>turnpike[{pid}]: firewall: {found}"));
    assert!(
        !lab.log().contains("API Drop"),
        "standard error is no target"
    );
    // The file was moved away: a reload opens it anew, and the last line is in it.
    fs::rename(&file, lab.dir.path().join("old.log")).unwrap();
    assert!(lab.ask(&["reload"]).status.success());
    until(&lab, || file.exists().then_some(()));
    assert_eq!(gateway.stop(), 0, "{}", lab.log());
    let last = fs::read_to_string(&file).unwrap();
    assert!(
        last.ends_with("system: the gateway has stopped\n"),
        "{last}"
    );
}

#[test]
fn a_log_target_that_fails_is_said_once_and_counted_and_nothing_stops() {
    let lab = Lab::new();
    let failing = "{ targets: [memory, file, syslog], file: { path: /dev/full }, syslog: { socket: \
                   DIR/nobody } }";
    lab.write(&logging(&lab, failing));
    let gateway = lab.start();
    let lost = |target: usize| {
        let status = lab.json(&["status"]);
        status["log"]["targets"][target]["lost"].as_u64().unwrap()
    };
    until(&lab, || (lost(0) >= 2 && lost(1) >= 2).then_some(()));
    let said = |text: &str| {
        lab.json(&["log", "--match", text])["lines"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(said("the log file /dev/full does not take lines"), 1);
    assert_eq!(said("nobody does not take lines"), 1);
    until(&lab, || (said("API Drop") == 1).then_some(()));
    lab.write(&logging(
        &lab,
        "{ targets: [file], file: { path: DIR/fw.log } }",
    ));
    assert!(lab.ask(&["reload"]).status.success());
    until(&lab, || {
        let text = fs::read_to_string(lab.dir.path().join("fw.log")).unwrap_or_default();
        text.contains("system: reloaded as generation 2")
            .then_some(())
    });
    let log = lab.ask(&["log"]);
    assert!(log.status.success() && log.stdout == b"\n", "{log:?}");
    assert!(stderr(&log).contains("does not keep its log in memory"));
    assert_eq!(gateway.stop(), 0, "{}", lab.log());
}
