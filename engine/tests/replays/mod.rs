//! A small gateway, captures made for it, and the files a replay of them leaves.

#![expect(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_engine::pcap::{CaptureFile, CaptureWriter, Captured, Precision, Stamp};
use turnpike_engine::replay::{
    Checksums, Entry, Input, ReplayConfig, Resolution, Sides, Summary, run,
};
use turnpike_pipeline::ids::{IfaceId, PortId};
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::policy::{
    Action, Chain, Interface, Match, Matchers, Policy, PortChoice, RejectWith, Route, Rule, Source,
    StateSet, Table, TableKind, Unreachable, Via,
};
use turnpike_pipeline::worker::Keep;

pub const LAN: IfaceId = IfaceId(0);
pub const WAN: IfaceId = IfaceId(1);
/// The stamp of the first packet of made captures, in microseconds.
pub const START_US: u64 = 1_700_000_000_000_000;

/// `lan` (192.168.88.1/24, fd00:88::1/64), `wan` (203.0.113.2/24, 2001:db8:113::2/64), `guest`
/// (VLAN 20 on lan's port, 192.168.20.1/24); default routes by `wan`; masquerade out of `wan`;
/// established and what comes from inside may pass, the gateway answers ping.
pub fn policy() -> Policy {
    let iface = |name: &str, port: u8, vlan, addresses: &[&str]| Interface {
        name: name.to_owned(),
        port: PortId(port),
        vlan,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mtu: 1_500,
    };
    let default_route = |destination: &str, gateway: &str| Route {
        destination: destination.parse().unwrap(),
        via: Via::Gateway(WAN, gateway.parse().unwrap()),
    };
    let mut policy = Policy {
        interfaces: vec![
            iface("lan", 0, None, &["192.168.88.1/24", "fd00:88::1/64"]),
            iface("wan", 1, None, &["203.0.113.2/24", "2001:db8:113::2/64"]),
            iface("guest", 0, Some(20), &["192.168.20.1/24"]),
        ],
        routes: vec![
            default_route("0.0.0.0/0", "203.0.113.1"),
            default_route("::/0", "2001:db8:113::1"),
        ],
        raw: table(TableKind::Raw),
        mangle: table(TableKind::Mangle),
        nat: table(TableKind::Nat),
        filter: table(TableKind::Filter),
        ..Policy::default()
    };
    add_rules(&mut policy);
    policy
}

fn add_rules(policy: &mut Policy) {
    let any = Matchers::default;
    let known = [
        ConnState::Established,
        ConnState::Related,
        ConnState::Untracked,
    ];
    let known = Matchers {
        connection_state: states(&known),
        ..any()
    };
    let invalid = Matchers {
        connection_state: states(&[ConnState::Invalid]),
        ..any()
    };
    let ping = Matchers {
        protocol: Some(is(Proto::ICMP)),
        ..any()
    };
    let from_wan = Matchers {
        in_interface: Some(is(WAN)),
        ..any()
    };
    let to_wan = Matchers {
        out_interface: Some(is(WAN)),
        ..any()
    };
    let refuse = Action::Reject(RejectWith::Icmp(Unreachable::AdminProhibited));
    let telnet = Matchers {
        protocol: Some(is(Proto::TCP)),
        dst_port: Some(is(turnpike_pipeline::policy::PortSet::new([23..=23]))),
        ..any()
    };
    let filter: [(usize, Matchers, Action, &str); 7] = [
        (0, known.clone(), Action::Accept, "answers"),
        (0, ping, Action::Accept, "ping"),
        (0, any(), Action::Drop, "nothing else is for the gateway"),
        (1, known, Action::Accept, "answers"),
        (1, invalid, Action::Drop, "fits nothing"),
        (1, telnet, refuse, "no telnet"),
        (1, from_wan, Action::Drop, "nobody opens from outside"),
    ];
    for (line, (chain, matchers, action, comment)) in (1..).zip(filter) {
        policy.filter.chains[chain]
            .rules
            .push(rule(line, matchers, action, comment));
    }
    let masquerade = rule(20, to_wan, Action::Masquerade(None), "");
    policy.nat.chains[1].rules.push(masquerade);
}

fn table(kind: TableKind) -> Table {
    let chain = |name: &&str| Chain {
        name: (*name).to_owned(),
        rules: Vec::new(),
    };
    Table {
        chains: kind.built_in_chains().iter().map(chain).collect(),
    }
}

pub fn rule(line: u32, matchers: Matchers, action: Action, comment: &str) -> Rule {
    Rule {
        text: format!("{matchers:?} {action:?}").into(),
        matchers,
        action,
        log: None,
        comment: comment.into(),
        disabled: false,
        port_choice: PortChoice::Preserved,
        source: Source {
            file: "gw.yaml".into(),
            line,
        },
    }
}

pub const fn is<T>(value: T) -> Match<T> {
    Match {
        value,
        negated: false,
    }
}

fn states(states: &[ConnState]) -> Option<Match<StateSet>> {
    Some(is(states
        .iter()
        .fold(StateSet::default(), |set, state| set.with(*state))))
}

pub fn tcp(src: &str, dst: &str, tcp: TcpSpec) -> Craft {
    Craft::tcp(src.parse().unwrap(), dst.parse().unwrap(), tcp).unwrap()
}

pub fn udp(src: &str, dst: &str) -> Craft {
    Craft::udp(src.parse().unwrap(), dst.parse().unwrap()).unwrap()
}

pub fn ping(src: &str, dst: &str, kind: u8) -> Craft {
    let icmp = IcmpSpec {
        kind,
        id: 7,
        seq: 1,
        ..IcmpSpec::default()
    };
    Craft::icmp(src.parse().unwrap(), dst.parse().unwrap(), icmp).unwrap()
}

/// A frame, and when it was captured: microseconds after [`START_US`].
pub type Packet = (u64, Vec<u8>);

/// Writes a capture.
pub fn capture(path: &Path, packets: &[Packet]) {
    let mut writer = CaptureWriter::new(Vec::new(), Precision::Micro).unwrap();
    for (at, frame) in packets {
        writer.write(Stamp((START_US + at) * 1_000), frame).unwrap();
    }
    fs::write(path, writer.finish().unwrap()).unwrap();
}

/// What a replay through [`policy`] is told, by the inputs alone.
pub fn config(inputs: &[(&str, &Path)], out_dir: &Path) -> ReplayConfig {
    let input = |(entry, path): &(&str, &Path)| Input {
        entry: match *entry {
            "auto" => Entry::Auto,
            name => Entry::Interface(name.to_owned()),
        },
        path: path.to_path_buf(),
    };
    ReplayConfig {
        policy: policy(),
        max_entries: 4_096,
        inputs: inputs.iter().map(input).collect(),
        out_dir: out_dir.to_owned(),
        seed: 1,
        checksums: Checksums::Keep,
        sides: Sides::Both,
        resolution: Resolution::Assume,
        keep: Keep::Outcomes,
    }
}

/// A replay's directory, read back.
pub struct Replayed {
    pub summary: Summary,
    dir: tempfile::TempDir,
}

/// Replays packets by interface (or `auto`), one capture each, with changes to the configuration.
pub fn replay(inputs: &[(&str, &[Packet])], change: impl FnOnce(&mut ReplayConfig)) -> Replayed {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..inputs.len())
        .map(|n| dir.path().join(format!("{n}.pcap")))
        .collect();
    for ((_, packets), path) in inputs.iter().zip(&paths) {
        capture(path, packets);
    }
    let named: Vec<(&str, &Path)> = inputs
        .iter()
        .zip(&paths)
        .map(|((entry, _), path)| (*entry, &**path))
        .collect();
    let mut config = config(&named, &dir.path().join("out"));
    change(&mut config);
    let summary = run(config).unwrap();
    let replayed = Replayed { summary, dir };
    replayed.check();
    replayed
}

impl Replayed {
    /// What must hold for every replay.
    fn check(&self) {
        assert_eq!(self.summary.unexplained, 0);
        assert!(self.summary.books.add_up(), "{:?}", self.summary.books);
        assert_eq!(
            self.summary.verdicts.values().sum::<u64>(),
            self.summary.packets
        );
    }

    /// Where its files are.
    pub fn out_dir(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// The frames an interface sent.
    pub fn sent(&self, interface: &str) -> Vec<Captured> {
        let path = self
            .dir
            .path()
            .join("out")
            .join(format!("{interface}.pcap"));
        let mut file = CaptureFile::open(&path).unwrap();
        std::iter::from_fn(|| file.next_packet()).collect()
    }

    /// The verdict lines.
    pub fn verdicts(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.dir.path().join("out/verdicts.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// One column of the verdict lines; null is the empty word.
    pub fn column(&self, key: &str) -> Vec<String> {
        let word = |line: &serde_json::Value| line[key].as_str().unwrap_or_default().to_owned();
        self.verdicts().iter().map(word).collect()
    }

    /// A report.
    pub fn report(&self, name: &str) -> serde_json::Value {
        let text = fs::read_to_string(self.dir.path().join("out").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// Every file of a directory.
pub fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|e| {
            (
                e.file_name().into_string().unwrap(),
                fs::read(e.path()).unwrap(),
            )
        })
        .collect()
}

/// Replays packets by interface through `policy`: the files are those kept under
/// `tests/golden/NAME`, which `BLESS=1` rewrites.
pub fn golden(name: &str, story: &[(&str, Vec<Packet>)], policy: Policy) {
    // Paths are relative to the package, where tests run, so that reports are the same anywhere.
    let dir = Path::new("tests/golden").join(name);
    let expected = dir.join("expected");
    let bless = std::env::var_os("BLESS").is_some();
    let inputs: Vec<(&str, PathBuf)> = story
        .iter()
        .map(|(interface, packets)| {
            let path = dir.join(format!("{interface}.pcap"));
            if bless {
                fs::create_dir_all(&expected).unwrap();
                capture(&path, packets);
            }
            (*interface, path)
        })
        .collect();
    let inputs: Vec<(&str, &Path)> = inputs.iter().map(|(i, path)| (*i, &**path)).collect();
    let out = tempfile::tempdir().unwrap();
    let mut config = config(&inputs, out.path());
    config.policy = policy;
    let summary = run(config).unwrap();
    assert!(summary.books.add_up(), "{:?}", summary.books);
    let got = files_of(out.path());
    if bless {
        for (name, bytes) in &got {
            fs::write(expected.join(name), bytes).unwrap();
        }
    }
    let wanted = files_of(&expected);
    assert_eq!(
        got.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &got {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            *bytes == wanted[name],
            "{name} differs; BLESS=1 accepts it:\n{text}"
        );
    }
}
