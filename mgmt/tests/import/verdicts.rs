//! What the imported examples do with packets: each line of `golden/NAME.packets` is a packet and
//! the verdict that RouterOS's manual gives it, run through a replay of the imported file.
//!
//! A line is `[@N] INTERFACE PROTO SRC > DST [syn|ack|type N …] = VERDICT [OUT [SRC > DST]]`; one
//! with `@N` counts only where the command on line N of the export was carried over. `wait 5s`
//! lets time pass.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use turnpike_engine::pcap::{CaptureFile, CaptureWriter, Precision, Stamp};
use turnpike_mgmt::import::{Report, routeros};
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::packet::headers::{TCP_ACK, TCP_SYN};
use turnpike_pipeline::packet::parse::inspect;

use super::{examples, golden};

/// One line of a table.
struct Line<'a> {
    text: &'a str,
    at_ms: u64,
    interface: &'a str,
    frame: Vec<u8>,
    verdict: &'a str,
    out: Option<&'a str>,
    ends: Option<String>,
}

#[test]
fn packets_meet_what_the_manual_says() {
    let mut shown = 0;
    let mut wrong = Vec::new();
    for (name, text) in examples() {
        let imported = routeros(&text, &name).unwrap();
        let table = fs::read_to_string(golden(&format!("{name}.packets"))).unwrap();
        let lines = read(&table, &imported.report);
        assert!(lines.len() >= 4, "{name}");
        shown += lines.len();
        wrong.extend(play(&name, &imported.yaml, &lines));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shown >= 60, "{shown} packets");
}

/// The lines whose commands were carried over.
fn read<'a>(table: &'a str, report: &Report) -> Vec<Line<'a>> {
    let mut at_ms = 0;
    let mut lines = Vec::new();
    for text in table
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        at_ms += 10;
        if let Some(seconds) = text.strip_prefix("wait ") {
            let seconds: u64 = seconds.trim_end_matches('s').parse().unwrap();
            at_ms += seconds * 1_000;
            continue;
        }
        let mut rest = text;
        if let Some(needs) = text.strip_prefix('@') {
            let (line, packet) = needs.split_once(' ').unwrap();
            let line: u32 = line.parse().unwrap();
            let fate = report.fates.iter().find(|f| f.line == line);
            if !fate.unwrap().left_out.is_empty() {
                eprintln!("skipped: not carried over yet: {text}");
                continue;
            }
            rest = packet;
        }
        lines.push(line(text, rest, at_ms));
    }
    lines
}

fn line<'a>(text: &'a str, packet: &'a str, at_ms: u64) -> Line<'a> {
    let (packet, answer) = packet.split_once(" = ").unwrap_or_else(|| panic!("{text}"));
    let mut words = packet.split_whitespace();
    let interface = words.next().unwrap();
    let mut answer = answer.splitn(3, ' ');
    let words: Vec<&str> = words.collect();
    Line {
        text,
        at_ms,
        interface,
        frame: craft(&words)
            .unwrap_or_else(|| panic!("{text}"))
            .frame()
            .unwrap(),
        verdict: answer.next().unwrap(),
        out: answer.next(),
        ends: answer.next().map(str::to_owned),
    }
}

fn craft(words: &[&str]) -> Option<Craft> {
    let [proto, src, ">", dst, flags @ ..] = words else {
        return None;
    };
    let ends = || Some((src.parse().ok()?, dst.parse().ok()?));
    let hosts = || -> Option<(IpAddr, IpAddr)> { Some((src.parse().ok()?, dst.parse().ok()?)) };
    let number = |key: &str| -> Option<u8> {
        let at = flags.iter().position(|f| *f == key)?;
        flags.get(at + 1)?.parse().ok()
    };
    let craft = match *proto {
        "tcp" => {
            let (src, dst): (SocketAddr, SocketAddr) = ends()?;
            let (syn, ack) = (flags.contains(&"syn"), flags.contains(&"ack"));
            let spec = TcpSpec {
                flags: if syn { TCP_SYN } else { 0 } | if ack { TCP_ACK } else { 0 },
                seq: if syn {
                    if ack { 500 } else { 100 }
                } else {
                    101
                },
                ack: if ack { if syn { 101 } else { 501 } } else { 0 },
                ..TcpSpec::default()
            };
            Craft::tcp(src, dst, spec)?
        }
        "udp" => {
            let (src, dst) = ends()?;
            Craft::udp(src, dst)?.payload(b"x")
        }
        "icmp" | "icmpv6" => {
            let (src, dst) = hosts()?;
            let spec = IcmpSpec {
                kind: number("type")?,
                id: 7,
                seq: 1,
                ..IcmpSpec::default()
            };
            Craft::icmp(src, dst, spec)?
        }
        _ => return None,
    };
    Some(match number("ttl") {
        Some(ttl) => craft.ttl(ttl),
        None => craft,
    })
}

/// Replays a table through an imported configuration; what came out otherwise.
fn play(name: &str, yaml: &str, lines: &[Line<'_>]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut captures: BTreeMap<&str, CaptureWriter<Vec<u8>>> = BTreeMap::new();
    let mut index: BTreeMap<&str, u64> = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for line in lines {
        let writer = captures
            .entry(line.interface)
            .or_insert_with(|| CaptureWriter::new(Vec::new(), Precision::Micro).unwrap());
        let stamp = Stamp((1_700_000_000_000 + line.at_ms) * 1_000_000);
        writer.write(stamp, &line.frame).unwrap();
        let number = index.entry(line.interface).or_default();
        *number += 1;
        expected.insert((line.interface.to_owned(), *number), line);
    }
    let config = dir.path().join("t.yaml");
    let out_dir = dir.path().join("out");
    fs::write(&config, yaml).unwrap();
    let mut replay = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    replay.arg("replay").arg("--config").arg(&config);
    replay.arg("--out-dir").arg(&out_dir);
    for (interface, writer) in captures {
        let path = dir.path().join(format!("{interface}.pcap"));
        fs::write(&path, writer.finish().unwrap()).unwrap();
        replay
            .arg("--in")
            .arg(format!("{interface}={}", path.display()));
    }
    let output = replay.output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    let verdicts = fs::read_to_string(out_dir.join("verdicts.jsonl")).unwrap();
    let mut wrong = Vec::new();
    for row in verdicts.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let key = (
            row["interface"].as_str().unwrap().to_owned(),
            row["index"].as_u64().unwrap(),
        );
        let line = expected[&key];
        if ended(&row) != line.verdict || row["out"].as_str() != line.out {
            wrong.push(format!("{name}: {}: {row}", line.text));
        }
        if let (Some(ends), Some(out)) = (&line.ends, line.out)
            && !sent(&out_dir.join(format!("{out}.pcap"))).contains(ends)
        {
            wrong.push(format!(
                "{name}: {}: nothing left with these ends",
                line.text
            ));
        }
    }
    wrong
}

/// A packet that a replay has nobody to give to had come as far as the gateway itself.
fn ended(row: &serde_json::Value) -> &str {
    match row["reason"].as_str() {
        Some("no-listener") => "local",
        Some(_) | None => row["verdict"].as_str().unwrap(),
    }
}

/// Source and destination of every frame that an interface sent.
fn sent(path: &std::path::Path) -> Vec<String> {
    let mut file = CaptureFile::open(path).unwrap();
    let mut found = Vec::new();
    while let Some(captured) = file.next_packet() {
        let frame = captured.frame;
        let parsed = inspect(&frame, frame.len()).unwrap();
        let (src, dst) = (
            parsed.src_ip(&frame).unwrap(),
            parsed.dst_ip(&frame).unwrap(),
        );
        found.push(match parsed.ports() {
            Some((s, d)) => format!(
                "{} > {}",
                SocketAddr::new(src, s.0),
                SocketAddr::new(dst, d.0)
            ),
            None => format!("{src} > {dst}"),
        });
    }
    found
}
