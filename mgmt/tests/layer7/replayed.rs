//! A configuration with a pattern of the library, over a capture made here.

use std::fs::{self, File};
use std::path::Path;

use turnpike_engine::pcap::{CaptureWriter, Precision, Stamp};
use turnpike_engine::replay::{Checksums, Entry, Input, ReplayConfig, Resolution, Sides, run};
use turnpike_mgmt::config::Config;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::worker::Keep;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A session of SSH: who sends which flags and data, with sequence and acknowledgement.
const SESSION: [(&str, u8, u32, u32, &[u8]); 6] = [
    ("client", SYN, 100, 0, b""),
    ("server", SYN | ACK, 500, 101, b""),
    ("client", ACK, 101, 501, b""),
    ("server", ACK, 501, 101, b"SSH-2.0-"),
    ("server", ACK, 509, 101, b"OpenSSH_9.2\r\n"),
    ("client", ACK, 101, 522, b"SSH-2.0-x\r\n"),
];

fn capture(path: &Path) {
    let file = File::create(path).unwrap();
    let mut writer = CaptureWriter::new(file, Precision::default()).unwrap();
    for (n, (from, flags, seq, ack, data)) in (1_u64..).zip(SESSION) {
        let (client, server) = ("192.168.88.10:4000", "198.51.100.7:22");
        let (src, dst) = match from {
            "client" => (client, server),
            _server => (server, client),
        };
        let spec = TcpSpec {
            flags,
            seq,
            ack,
            ..TcpSpec::default()
        };
        let craft = Craft::tcp(src.parse().unwrap(), dst.parse().unwrap(), spec);
        let frame = craft.unwrap().payload(data).frame().unwrap();
        writer.write(Stamp(n * 1_000_000), &frame).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_replay_drops_what_comes_behind_the_label_and_shows_it_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ssh.pcap");
    capture(&path);
    let text = "\
interfaces:
  lan: { device: net_null0, address: [192.168.88.1/24] }
  wan: { device: net_null1, address: [203.0.113.2/24] }
routes: [ { dst-address: 0.0.0.0/0, gateway: 203.0.113.1 } ]
layer7-protocols:
  ssh: { file: remote.yaml }
  web: { regexp: \"^get\" }
firewall:
  filter:
    - { chain: forward, layer7-protocol: web, action: accept }
    - { chain: forward, protocol: tcp, layer7-protocol: ssh, action: drop, comment: no shells }
";
    let config = Config::parse(text, "ssh.yaml", &crate::directory()).unwrap();
    let out_dir = dir.path().join("out");
    let summary = run(ReplayConfig {
        policy: config.policy,
        max_entries: 1_024,
        inputs: vec![Input {
            entry: Entry::Auto,
            path,
        }],
        out_dir: out_dir.clone(),
        seed: 1,
        checksums: Checksums::Keep,
        sides: Sides::Both,
        resolution: Resolution::Assume,
        keep: Keep::Outcomes,
    })
    .unwrap();
    assert!(summary.books.add_up());
    let verdicts = fs::read_to_string(out_dir.join("verdicts.jsonl")).unwrap();
    let dropped: Vec<bool> = verdicts
        .lines()
        .map(|line| line.contains("\"filter-rule\"") && line.contains("ssh.yaml:11"))
        .collect();
    // The fourth has all that is looked for, and has passed by then.
    assert_eq!(
        dropped,
        [false, false, false, false, true, true],
        "{verdicts}"
    );
    let connections = fs::read_to_string(out_dir.join("connections.json")).unwrap();
    let shown = connections.replace(' ', "");
    assert!(shown.contains("\"layer7-label\":\"ssh\""), "{connections}");
}
