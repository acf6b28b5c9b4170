//! Real captures, where they are at hand: every packet explained, nothing lost, the same twice.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails like the test"
)]

mod replays;

use std::fs;
use std::path::{Path, PathBuf};

use replays::{LAN, config, files_of, is, policy, rule};
use turnpike_engine::pcap::{CaptureError, CaptureFile};
use turnpike_engine::replay::{Checksums, ReplayConfig, ReplayError, Resolution, Summary, run};
use turnpike_pipeline::ids::MarkId;
use turnpike_pipeline::policy::{
    Action, Comparison, Edit, Mark, MarkKind, Matchers, PacketAsk, Policy, Route, Then, TtlChange,
    Via,
};
use turnpike_pipeline::worker::Keep;

/// Where captures are, if there are any: where `TURNPIKE_CAPTURES` says, or beside the repository.
fn captures_dir() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let dir = std::env::var_os("TURNPIKE_CAPTURES").map_or_else(beside, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: captures in {} absent", dir.display());
    None
}

/// Every capture file below a directory, in the order of names.
fn captures(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| {
                ["pcap", "pcapng", "cap", "gz"]
                    .iter()
                    .any(|known| e == *known)
            }) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Private addresses are behind `lan`, everything else behind `wan`.
fn private_inside() -> Policy {
    let mut policy = policy();
    for (inside, gateway) in [
        ("10.0.0.0/8", "192.168.88.254"),
        ("172.16.0.0/12", "192.168.88.254"),
        ("192.168.0.0/16", "192.168.88.254"),
        ("fc00::/7", "fd00:88::fe"),
        ("3ffe::/16", "fd00:88::fe"),
    ] {
        policy.routes.push(Route {
            destination: inside.parse().unwrap(),
            via: Via::Gateway(LAN, gateway.parse().unwrap()),
        });
    }
    policy
}

fn checked(config: ReplayConfig) -> Option<Summary> {
    let path = config.inputs[0].path.clone();
    let verdicts = config.out_dir.join("verdicts.jsonl");
    let summary = match run(config) {
        Ok(summary) => summary,
        Err(ReplayError::Input(
            CaptureError::NotACapture { .. } | CaptureError::LinkType { .. },
        )) => return None,
        Err(other) => panic!("{}: {other}", path.display()),
    };
    let name = path.display();
    assert!(summary.books.add_up(), "{name}: {:?}", summary.books);
    assert_eq!(summary.unexplained, 0, "{name}");
    assert_eq!(summary.books.received, summary.packets, "{name}");
    assert_eq!(
        summary.verdicts.values().sum::<u64>(),
        summary.packets,
        "{name}"
    );
    let lines = fs::read_to_string(verdicts).unwrap();
    // A held packet has a second line once it is decided; every other has one.
    let held = lines
        .lines()
        .filter(|line| line.contains(r#""verdict":"held""#))
        .count() as u64;
    let waiting = summary.verdicts.get("held").copied().unwrap_or(0);
    assert_eq!(
        lines.lines().count() as u64,
        summary.packets + held - waiting,
        "{name}"
    );
    let mut file = CaptureFile::open(&path).unwrap();
    let read = std::iter::from_fn(|| file.next_packet()).count() as u64;
    assert_eq!(summary.packets, read, "{name}");
    Some(summary)
}

#[test]
fn every_capture_is_explained_packet_by_packet_and_replays_the_same() {
    let Some(dir) = captures_dir() else { return };
    let out = tempfile::tempdir().unwrap();
    let (mut files, mut packets, mut refused) = (0_u64, 0_u64, 0_u64);
    for path in captures(&dir) {
        let runs = ["first", "second"].map(|run| {
            let out = out.path().join(run);
            let mut config = config(&[("auto", &path)], &out);
            config.policy = private_inside();
            config.checksums = Checksums::Fix;
            (checked(config), out)
        });
        let [(Some(summary), first), (Some(_), second)] = runs else {
            refused += 1;
            continue;
        };
        files += 1;
        packets += summary.packets;
        assert!(
            files_of(&first) == files_of(&second),
            "{} differs",
            path.display()
        );
    }
    println!("{files} captures, {packets} packets, {refused} of other kinds");
    assert!(packets > 0, "no capture could be replayed");
}

/// Rules of every kind: constant, of single packets, marking, changing, translating.
fn rules_of_all_kinds() -> Policy {
    let mut policy = private_inside();
    policy.marks = vec!["small".to_owned(), "seen".to_owned()];
    let [small, seen] = [Some(MarkId(0)), Some(MarkId(1))];
    let marked = |kind, mark| Matchers {
        marks: vec![is(Mark { kind, mark })],
        ..Matchers::default()
    };
    let asking = |ask| Matchers {
        packet: vec![is(ask)],
        ..Matchers::default()
    };
    let edit = |edit| Action::Edit(edit, Then::GoOn);
    let mut line = 0;
    let mut rule = |matchers, action| {
        line += 1;
        rule(line, matchers, action, "")
    };
    let all = Matchers::default;
    let tiny = asking(PacketAsk::Size(0, 64));
    policy.mangle.chains[0].rules = vec![
        rule(tiny, edit(Edit::Mark(MarkKind::Packet, small))),
        rule(
            marked(MarkKind::Connection, None),
            edit(Edit::Mark(MarkKind::Connection, seen)),
        ),
    ];
    policy.mangle.chains[2].rules = vec![rule(
        marked(MarkKind::Packet, small),
        edit(Edit::Ttl(TtlChange::increment(1))),
    )];
    policy.mangle.chains[4].rules = vec![rule(all(), edit(Edit::Dscp(10)))];
    policy.filter.chains[1].rules = vec![
        rule(asking(PacketAsk::Ttl(Comparison::Less, 5)), Action::Drop),
        rule(asking(PacketAsk::Size(1_400, 1_500)), Action::Passthrough),
        rule(all(), Action::Accept),
    ];
    policy
}

/// What a flow keeps of its judgement, an outcome or a plan, changes no byte, verdict or counter.
#[test]
fn every_capture_comes_to_the_same_with_outcomes_and_without() {
    let Some(dir) = captures_dir() else { return };
    let out = tempfile::tempdir().unwrap();
    let mut packets = 0;
    for path in captures(&dir) {
        let runs = [Keep::Outcomes, Keep::Nothing].map(|keep| {
            let out = out.path().join(format!("{keep:?}"));
            let mut config = config(&[("auto", &path)], &out);
            config.policy = rules_of_all_kinds();
            config.checksums = Checksums::Fix;
            config.keep = keep;
            (checked(config), out)
        });
        let [(Some(summary), kept), (Some(_), judged)] = runs else {
            continue;
        };
        packets += summary.packets;
        let same = files_of(&kept) == files_of(&judged);
        assert!(same, "{} differs", path.display());
    }
    assert!(packets > 0, "no capture could be replayed");
}

#[test]
fn every_capture_is_explained_without_assumptions_too() {
    let Some(dir) = captures_dir() else { return };
    let out = tempfile::tempdir().unwrap();
    for path in captures(&dir) {
        let mut config = config(&[("lan", &path)], out.path());
        config.policy = private_inside();
        config.resolution = Resolution::Learn;
        checked(config);
    }
}
