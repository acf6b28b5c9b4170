//! What Linux's connection tracking said of recorded packets, and what ours says: SCTP and GRE.
//!
//! The verdicts lie beside the captures, a line per packet: its number, the side it entered on
//! (`c` or `s`), its fate, its connection state, and its protocol and ends. Linux has no say over
//! DCCP, and its UDP-Lite takes right checksums for wrong.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod replays;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use replays::{LAN, config, policy};
use turnpike_engine::replay::{Checksums, run};
use turnpike_pipeline::policy::{Policy, Route, Via};

/// An INIT into an association that an ABORT has ended opens a new one, for the rules to judge.
/// Linux takes it for a packet of the old one.
const INIT_AFTER_ABORT: [usize; 8] = [3, 5, 7, 9, 11, 13, 15, 17];

/// Captures, and the packets of which Linux says established and we say new.
const CAPTURES: [(&str, &str, &[usize]); 9] = [
    (
        "wireshark-wiki",
        "SCTP-INIT-Collision.cap",
        &INIT_AFTER_ABORT,
    ),
    ("wireshark-wiki", "sctp-addip.cap", &[]),
    ("wireshark-wiki", "sctp-test.cap", &[]),
    ("wireshark-wiki", "sctp-www.cap", &[]),
    ("ndpi", "sctp.cap", &[]),
    ("packetlife", "GRE.cap", &[]),
    ("packetlife", "mGRE_ICMP.cap", &[]),
    ("packetlife", "ospf over gre tunnel.cap", &[]),
    ("zeek", "tunnels__gre-erspan3-dot1q.pcap", &[]),
];

/// Where captures are, if there are any: where `TURNPIKE_CAPTURES` says, or beside the repository.
fn captures_dir() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let dir = std::env::var_os("TURNPIKE_CAPTURES").map_or_else(beside, PathBuf::from);
    if dir.join("kernel-verdicts/route").is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: kernel verdicts in {} absent", dir.display());
    None
}

/// Of every packet that Linux looked at: its number, and the state it gave.
struct Oracle {
    states: Vec<(usize, &'static str)>,
    clients: BTreeSet<IpAddr>,
}

fn oracle(path: &Path) -> Oracle {
    let mut oracle = Oracle {
        states: Vec::new(),
        clients: BTreeSet::new(),
    };
    for line in fs::read_to_string(path).unwrap().lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let state = match fields[3] {
            "new" => "new",
            "est/orig" | "est/reply" => "established",
            "rel/orig" | "rel/reply" => "related",
            "invalid" => "invalid",
            _ => continue,
        };
        oracle.states.push((fields[0].parse().unwrap(), state));
        if fields[1] == "c" {
            let ends = fields[4].split(' ').nth(1).unwrap();
            let source = ends.split('>').next().unwrap();
            let (address, _port) = source.rsplit_once(':').unwrap();
            oracle.clients.insert(address.parse().unwrap());
        }
    }
    oracle
}

/// Clients are behind `lan`, everybody else behind `wan`; everything passes, nothing is translated.
fn routing(clients: &BTreeSet<IpAddr>) -> Policy {
    let mut policy = policy();
    for table in [&mut policy.filter, &mut policy.nat] {
        for chain in &mut table.chains {
            chain.rules.clear();
        }
    }
    for client in clients {
        let gateway = match client {
            IpAddr::V4(_) => "192.168.88.254",
            IpAddr::V6(_) => "fd00:88::fe",
        };
        policy.routes.push(Route {
            destination: (*client).into(),
            via: Via::Gateway(LAN, gateway.parse().unwrap()),
        });
    }
    policy
}

#[test]
fn linux_and_we_see_the_same_states_in_recorded_sctp_and_gre() {
    let Some(dir) = captures_dir() else { return };
    let (mut compared, mut differences) = (0, Vec::new());
    for (folder, name, reopened) in CAPTURES {
        let verdicts = format!("{folder}_{}.tsv", name.replace(' ', "_"));
        let oracle = oracle(&dir.join("kernel-verdicts/route").join(verdicts));
        let out = tempfile::tempdir().unwrap();
        let mut config = config(&[("auto", &dir.join(folder).join(name))], out.path());
        config.policy = routing(&oracle.clients);
        config.checksums = Checksums::Fix;
        run(config).unwrap_or_else(|error| panic!("{name}: {error}"));
        let lines = fs::read_to_string(out.path().join("verdicts.jsonl")).unwrap();
        for (index, state) in oracle.states {
            let place = format!(r#""index":{index},"#);
            let line = lines.lines().find(|line| line.contains(&place)).unwrap();
            let wanted = if reopened.contains(&index) {
                "new"
            } else {
                state
            };
            if !line.contains(&format!(r#""connection-state":"{wanted}""#)) {
                differences.push(format!("{name} {index}: {state}, we: {line}"));
            }
            compared += 1;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 200, "{compared}");
}
