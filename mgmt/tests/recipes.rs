//! What the manuals teach, over minutes and hours: each `recipes/NAME.yaml` judges the packets of
//! `NAME.packets`, made into captures and replayed, and `NAME.expected` says what became of each.
//!
//! `BLESS=1 cargo test -p turnpike-mgmt --test recipes` rewrites what is expected. A packet's line
//! is `TIME INTERFACE: PACKET ["PAYLOAD"]`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use turnpike_engine::pcap::{CaptureWriter, Precision, Stamp};
use turnpike_mgmt::config::Config;
use turnpike_mgmt::words::Words;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes")
}

/// When the captures begin.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// A packet of a recipe.
struct Line<'a> {
    text: &'a str,
    at_ns: u64,
    interface: &'a str,
    frame: Vec<u8>,
}

fn line(text: &str) -> Line<'_> {
    let (at, rest) = text.split_once("s ").unwrap_or_else(|| panic!("{text}"));
    let (interface, packet) = rest.split_once(": ").unwrap_or_else(|| panic!("{text}"));
    let (packet, payload) = match packet.split_once(" \"") {
        Some((packet, payload)) => (packet, Some(payload.trim_end_matches('"'))),
        None => (packet, None),
    };
    let words = Words::parse(packet).unwrap_or_else(|e| panic!("{text}: {e}"));
    let frame = match payload {
        None => words.frame(None),
        Some(payload) => {
            let spec = TcpSpec {
                flags: words.flags.unwrap(),
                seq: 1_001,
                ack: 1_001,
                ..TcpSpec::default()
            };
            let craft = Craft::tcp(words.src, words.dst, spec).unwrap();
            craft.payload(payload.as_bytes()).frame()
        }
    };
    let seconds: f64 = at.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    Line {
        text,
        at_ns: std::time::Duration::from_secs_f64(seconds).as_millis() as u64 * 1_000_000,
        interface,
        frame: frame.unwrap(),
    }
}

/// What became of each packet, one a line behind it.
fn replayed(name: &str, packets: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<Line<'_>> = packets
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(line)
        .collect();
    assert!(
        lines.is_sorted_by_key(|line| line.at_ns),
        "{name}: packets in order of time"
    );
    let mut captures = BTreeMap::new();
    let mut places = BTreeMap::new();
    for line in &lines {
        let (writer, count) = captures.entry(line.interface).or_insert_with(|| {
            (
                CaptureWriter::new(Vec::new(), Precision::Micro).unwrap(),
                0u64,
            )
        });
        writer
            .write(Stamp(BEGIN_NS + line.at_ns), &line.frame)
            .unwrap();
        *count += 1;
        places.insert((line.interface.to_owned(), *count), line.text);
    }
    let mut replay = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    let config = directory().join(format!("{name}.yaml"));
    replay.arg("replay").arg("--config").arg(config);
    replay.arg("--out-dir").arg(dir.path().join("out"));
    for (interface, (writer, _)) in captures {
        let path = dir.path().join(format!("{interface}.pcap"));
        fs::write(&path, writer.finish().unwrap()).unwrap();
        replay
            .arg("--in")
            .arg(format!("{interface}={}", path.display()));
    }
    let output = replay.output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    let verdicts = fs::read_to_string(dir.path().join("out/verdicts.jsonl")).unwrap();
    let mut fates: BTreeMap<&str, String> = BTreeMap::new();
    for row in verdicts.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let place = (word("interface"), row["index"].as_u64().unwrap());
        let rule = word("rule");
        // Where the file lies is nothing of the recipe's.
        let rule = rule.split(' ').next().unwrap_or("-");
        let fate = [
            &word("verdict"),
            &word("reason"),
            &word("connection-state"),
            rule,
        ]
        .join(" ");
        fates.entry(places[&place]).or_default().push_str(&fate);
    }
    let mut text = String::new();
    for line in packets.lines() {
        match fates.get(line) {
            Some(fate) => writeln!(text, "{line}\n    {fate}").unwrap(),
            None => writeln!(text, "{line}").unwrap(),
        }
    }
    text
}

#[test]
fn every_recipe_does_over_time_what_its_manual_says() {
    let mut wrong = Vec::new();
    let mut names: Vec<PathBuf> = fs::read_dir(directory())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "packets"));
    names.sort();
    assert!(names.len() >= 4);
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let actual = replayed(name, &fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &actual).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != actual {
            wrong.push(format!("{name}:\n{actual}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in .expected (BLESS=1 rewrites):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_recipe_is_accepted_without_a_warning() {
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let config = Config::load(&path).unwrap_or_else(|r| panic!("{r}"));
            assert_eq!(config.warnings, [], "{}", path.display());
        }
    }
}
