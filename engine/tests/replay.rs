//! Replay from outside: captures in, files out.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails like the test itself"
)]

mod replays;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use replays::{
    Packet, START_US, capture, config, files_of, golden, ping, policy, replay, tcp, udp,
};
use turnpike_conntrack::tuple::Proto;
use turnpike_engine::pcap::{
    CaptureError, CaptureFile, CaptureWriter, MADE_UP_MAC, Precision, Stamp,
};
use turnpike_engine::replay::{Checksums, ReplayError, Resolution, run};
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::packet::headers::{TCP_ACK, TCP_SYN};

const HOST: &str = "192.168.88.10:40000";
const SERVER: &str = "198.51.100.7:443";
const OUTSIDE: &str = "203.0.113.2:40000";

fn syn() -> Vec<u8> {
    let syn = TcpSpec {
        flags: TCP_SYN,
        seq: 100,
        ..TcpSpec::default()
    };
    tcp(HOST, SERVER, syn).frame().unwrap()
}

fn syn_ack() -> Vec<u8> {
    let spec = TcpSpec {
        flags: TCP_SYN | TCP_ACK,
        seq: 500,
        ack: 101,
        ..TcpSpec::default()
    };
    tcp(SERVER, OUTSIDE, spec).frame().unwrap()
}

fn ack() -> Vec<u8> {
    let spec = TcpSpec {
        flags: TCP_ACK,
        seq: 101,
        ack: 501,
        ..TcpSpec::default()
    };
    tcp(HOST, SERVER, spec).frame().unwrap()
}

/// A conversation through masquerade, and packets that end in other ways.
fn story() -> [(&'static str, Vec<Packet>); 2] {
    let frame = |craft: Craft| craft.frame().unwrap();
    let telnet = TcpSpec {
        flags: TCP_SYN,
        seq: 9,
        ..TcpSpec::default()
    };
    let lan = vec![
        (0, syn()),
        (30_000, ack()),
        (40_000, frame(ping("192.168.88.10", "192.168.88.1", 8))),
        (
            50_000,
            frame(udp("192.168.88.10:5000", "198.51.100.9:53").ttl(1)),
        ),
        (
            60_000,
            frame(tcp("192.168.88.10:40001", "198.51.100.7:23", telnet)),
        ),
        (
            70_000,
            frame(udp("192.168.88.10:5000", "198.51.100.9:53").payload(b"question")),
        ),
        (80_000, vec![0xff; 10]),
        (90_000, frame(ping("fd00:88::10", "2001:db8:77::7", 128))),
    ];
    let wan = vec![
        (20_000, syn_ack()),
        (25_000, frame(udp("198.51.100.66:1", "203.0.113.2:9"))),
        (
            75_000,
            frame(udp("198.51.100.9:53", "203.0.113.2:5000").payload(b"answer")),
        ),
        (
            76_000,
            frame(udp("198.51.100.9:53", "192.168.88.10:5000").payload(b"guess")),
        ),
    ];
    [("lan", lan), ("wan", wan)]
}

#[test]
fn the_story_of_masquerade_is_told_as_expected() {
    golden("masquerade", &story(), policy());
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["lan", "wan"].map(|name| dir.path().join(format!("{name}.pcap")));
    for ((_, packets), path) in story().iter().zip(&paths) {
        capture(path, packets);
    }
    let runs = ["a", "b"].map(|name| {
        let out = dir.path().join(name);
        for resolution in [Resolution::Assume, Resolution::Learn] {
            let out = out.join(format!("{resolution:?}"));
            let inputs = [("lan", &*paths[0]), ("wan", &*paths[1])];
            let mut config = config(&inputs, &out);
            config.resolution = resolution;
            run(config).unwrap();
        }
        ["Assume", "Learn"].map(|resolution| files_of(&out.join(resolution)))
    });
    assert!(runs[0] == runs[1]);
    assert!(
        runs[0][0] != runs[0][1],
        "learning neighbours changes what is sent"
    );
}

#[test]
fn an_empty_capture_gives_empty_files_for_every_interface() {
    let nothing = replay(&[("lan", &[])], |_| {});
    assert_eq!(nothing.summary.packets, 0);
    for interface in ["lan", "wan", "guest"] {
        assert!(nothing.sent(interface).is_empty());
    }
    assert!(nothing.verdicts().is_empty());
    assert_eq!(nothing.report("connections.json"), serde_json::json!([]));
}

#[test]
fn a_capture_of_both_directions_enters_from_both_sides() {
    let both = replay(
        &[("auto", &[(0, syn()), (10, syn_ack()), (20, ack())])],
        |_| {},
    );
    assert_eq!(both.column("interface"), ["lan", "wan", "lan"]);
    assert_eq!(both.column("out"), ["wan", "lan", "wan"]);
    assert_eq!(
        both.column("connection-state"),
        ["new", "established", "established"]
    );
    assert_eq!(both.summary.undecided, 0);
}

#[test]
fn a_packet_with_no_way_back_enters_by_the_first_interface_and_is_counted() {
    let own = udp("203.0.113.2:1", "198.51.100.9:53").frame().unwrap();
    let lost = replay(&[("auto", &[(0, own), (1, vec![0; 60])])], |_| {});
    assert_eq!(lost.column("interface"), ["lan", "lan"]);
    assert_eq!(lost.summary.undecided, 2);
}

#[test]
fn frames_keep_their_stamps_and_go_to_a_made_up_neighbour() {
    let out = replay(&[("lan", &[(7, syn())])], |_| {}).sent("wan");
    assert_eq!(out[0].stamp, Stamp((START_US + 7) * 1_000));
    assert_eq!(out[0].frame[..6], MADE_UP_MAC.0);
}

#[test]
fn stamps_keep_their_nanoseconds_on_packets_and_on_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("nano.pcap"), dir.path().join("out"));
    let mut writer = CaptureWriter::new(Vec::new(), Precision::Nano).unwrap();
    let stamps = [5, 1_000_000_007].map(Stamp);
    writer.write(stamps[0], &syn()).unwrap();
    let echo = ping("192.168.88.10", "192.168.88.1", 8).frame().unwrap();
    writer.write(stamps[1], &echo).unwrap();
    fs::write(&path, writer.finish().unwrap()).unwrap();
    run(config(&[("lan", &path)], &out)).unwrap();
    let sent = |interface: &str| {
        let mut file = CaptureFile::open(&out.join(interface)).unwrap();
        file.next_packet().unwrap().stamp
    };
    assert_eq!([sent("wan.pcap"), sent("lan.pcap")], stamps);
}

#[test]
fn a_vlan_interface_takes_untagged_frames_and_sends_tagged_ones() {
    let out_and_back = [
        (0, udp("192.168.20.5:7", "198.51.100.9:53").frame().unwrap()),
        (9, udp("198.51.100.9:53", "203.0.113.2:7").frame().unwrap()),
    ];
    let guest = replay(&[("auto", &out_and_back)], |_| {});
    assert_eq!(guest.column("interface"), ["guest", "wan"]);
    assert_eq!(guest.sent("wan")[0].frame[12..14], [0x08, 0x00]);
    assert_eq!(guest.sent("guest")[0].frame[12..16], [0x81, 0x00, 0, 20]);
}

#[test]
fn unfinished_checksums_are_fixed_on_request_only() {
    let mut frame = syn();
    let tcp_checksum = 14 + 20 + 16;
    frame[tcp_checksum] ^= 0x55;
    let kept = replay(&[("lan", &[(0, frame.clone())])], |_| {});
    assert_eq!(kept.column("connection-state"), ["invalid"]);
    let fixed = replay(&[("lan", &[(0, frame)])], |c| c.checksums = Checksums::Fix);
    assert_eq!(fixed.column("connection-state"), ["new"]);
}

#[test]
fn without_assumptions_a_packet_waits_for_its_neighbour() {
    let arp_reply = |sender: [u8; 4]| {
        let mut frame = [
            &[2; 6][..],
            &[4; 6],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &[4; 6],
        ]
        .concat();
        frame.extend(sender);
        frame.extend([2; 6]);
        frame.extend([203, 0, 113, 2]);
        frame
    };
    let lan = [(0, syn())];
    let wan = [(50, arp_reply([203, 0, 113, 1]))];
    let learn = |c: &mut turnpike_engine::replay::ReplayConfig| c.resolution = Resolution::Learn;
    let learned = replay(&[("lan", &lan), ("wan", &wan)], learn);
    assert_eq!(learned.column("verdict"), ["held", "consumed", "accept"]);
    assert_eq!(learned.column("connection-state"), ["new", "", "new"]);
    let out = learned.sent("wan");
    assert_eq!(out.len(), 2, "a question and the packet");
    assert_eq!(
        (out[1].frame[..6].to_vec(), out[1].stamp),
        (vec![4; 6], Stamp((START_US + 50) * 1_000))
    );

    let waiting = replay(&[("lan", &lan)], learn);
    assert_eq!(waiting.column("verdict"), ["held"]);
    assert_eq!(
        (waiting.summary.verdicts["held"], waiting.summary.books.held),
        (1, 1)
    );

    let later = [
        (0, syn()),
        (
            60_000_000,
            ping("192.168.88.10", "192.168.88.1", 8).frame().unwrap(),
        ),
    ];
    let given_up = replay(&[("lan", &later)], learn);
    assert_eq!(
        given_up.column("reason")[..2],
        ["", "neighbour-unreachable"]
    );
}

#[test]
fn time_passes_as_in_the_capture() {
    let question = || {
        udp("192.168.88.10:5000", "198.51.100.9:53")
            .frame()
            .unwrap()
    };
    let answer = udp("198.51.100.9:53", "203.0.113.2:5000").frame().unwrap();
    let years = 40 * 365 * 86_400 * 1_000_000;
    let lan = [
        (0, question()),
        (9_000_000, question()),
        (years, question()),
    ];
    let wan = [(years - 1_000_000, answer)];
    let old = replay(&[("lan", &lan), ("wan", &wan)], |_| {});
    let states = old.column("connection-state");
    assert_eq!((&*states[1], &*states[3]), ("new", "new"));
    assert_eq!(
        old.column("verdict"),
        ["accept", "accept", "drop", "accept"]
    );
    assert_eq!(old.report("connections.json").as_array().unwrap().len(), 1);
}

#[test]
fn a_packet_too_large_for_its_link_is_cut_up_and_accepted() {
    let large = udp("192.168.88.10:5000", "198.51.100.9:53")
        .payload_len(1_400)
        .frame()
        .unwrap();
    let cut = replay(&[("lan", &[(0, large)])], |c| {
        c.policy.interfaces[1].mtu = 600
    });
    assert_eq!(cut.column("verdict"), ["held", "accept"]);
    assert_eq!(cut.column("out"), ["", "wan"]);
    assert_eq!(cut.sent("wan").len(), 3);
}

#[test]
fn fragments_have_the_verdict_of_the_packet_they_become() {
    let piece = |id: u16, flags: u16, payload: &[u8]| {
        let (src, dst) = (
            "192.168.88.10".parse().unwrap(),
            "198.51.100.9".parse().unwrap(),
        );
        let craft = Craft::other(src, dst, Proto::UDP).unwrap();
        craft.id(id).flags(flags).payload(payload).frame().unwrap()
    };
    // UDP 5000 > 53, 24 bytes, no checksum, in two pieces; the last one alone stays alone.
    let head = [0x13, 0x88, 0, 53, 0, 24, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let packets = [
        (0, piece(7, 0x2000, &head)),
        (9, piece(7, 2, &[9; 8])),
        (20, piece(8, 2, &[9; 8])),
    ];
    let fragments = replay(&[("lan", &packets)], |_| {});
    let verdicts = ["held", "held", "accept", "accept", "held"];
    assert_eq!(fragments.column("verdict"), verdicts);
    assert_eq!(fragments.column("out"), ["", "", "wan", "wan", ""]);
    let index: Vec<_> = fragments
        .verdicts()
        .iter()
        .map(|l| l["index"].as_u64())
        .collect();
    assert_eq!(index, [1, 2, 1, 2, 3].map(Some));
    assert_eq!(fragments.column("connection-state")[2], "new");
    let sent = fragments.sent("wan");
    assert_eq!(
        (sent.len(), sent[0].stamp),
        (1, Stamp((START_US + 9) * 1_000))
    );
}

#[test]
fn verdicts_name_their_file_only_where_it_would_not_be_clear() {
    let lan = [(0, syn())];
    let alone = replay(&[("lan", &lan), ("wan", &[(5, syn_ack())])], |_| {});
    assert!(
        alone
            .verdicts()
            .iter()
            .all(|line| line.get("file").is_none())
    );
    let shared = replay(&[("lan", &lan), ("lan", &[(5, ack())])], |_| {});
    let files = shared.column("file");
    assert!(
        files[0].ends_with("/0.pcap") && files[1].ends_with("/1.pcap"),
        "{files:?}"
    );
    let with_auto = replay(&[("lan", &lan), ("auto", &[(5, ack())])], |_| {});
    assert!(
        with_auto
            .verdicts()
            .iter()
            .all(|line| line.get("file").is_some())
    );
}

#[test]
fn a_damaged_capture_is_used_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.pcap");
    capture(&path, &[(0, syn()), (1, ack())]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let summary = run(config(&[("lan", &path)], &dir.path().join("out"))).unwrap();
    assert_eq!((summary.packets, summary.inputs[0].packets), (1, 1));
    let damage = summary.inputs[0].damage.as_deref();
    assert_eq!(
        damage,
        Some("the file ends in the middle of a block, after packet 1")
    );
}

#[test]
fn inputs_that_cannot_be_used_are_said_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcap");
    capture(&path, &[]);
    let with = |inputs: &[(&str, &Path)]| run(config(inputs, &dir.path().join("out"))).unwrap_err();
    assert_eq!(
        with(&[("lann", &path)]).to_string(),
        "no interface is named `lann`; there are: lan, wan, guest"
    );
    assert_eq!(
        with(&[]).to_string(),
        "0 inputs were given; a replay takes between 1 and 64"
    );
    let absent = with(&[("lan", Path::new("/nonexistent/x.pcap"))]);
    assert!(matches!(
        absent,
        ReplayError::Input(CaptureError::Io { .. })
    ));
    let mut no_interface = config(&[("auto", &path)], &dir.path().join("out"));
    no_interface.policy.interfaces.clear();
    assert!(matches!(run(no_interface), Err(ReplayError::NoInterface)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `replay` itself checks that each packet is explained and that the books add up.
    #[test]
    fn garbled_frames_are_explained_too(
        garbles in prop::collection::vec(
            (0..8_usize, any::<prop::sample::Index>(), any::<u8>()),
            1..12,
        ),
        learn in any::<bool>(),
    ) {
        let [(_, mut lan), (_, wan)] = story();
        for (packet, at, value) in garbles {
            let frame = &mut lan[packet].1;
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let garbled = replay(&[("auto", &lan), ("wan", &wan)], |config| {
            if learn {
                config.resolution = Resolution::Learn;
            }
        });
        prop_assert_eq!(garbled.summary.packets, 12);
    }
}
