//! One-sided captures through source translation, judged as Linux judged them.
//!
//! Beside the captures are verdicts of the kernel's connection tracking, taken with one packet at a
//! time through a router that masquerades, the other side's packets carried over as `--follow-nat`
//! does it. Where the captures are absent, this is skipped.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails like the test itself"
)]

mod replays;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use replays::{LAN, WAN, config, policy};
use turnpike_conntrack::timeouts::{TIMEOUT_MAX, Timeouts};
use turnpike_engine::pcap::CaptureFile;
use turnpike_engine::replay::{Checksums, Sides, run};
use turnpike_pipeline::policy::{Policy, Route, ServicePorts, Via};

/// Protocol, and both ends in order: the same for both directions.
type Flow = (u8, [(IpAddr, u16); 2]);

/// What the kernel said of one packet.
#[derive(Debug)]
struct Judged {
    /// `new`, `est`, `rel`, `invalid`; `DROP` for what was not forwarded.
    verdict: String,
    proto: u8,
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    from_client: bool,
}

impl Judged {
    fn of_line(line: &str) -> Option<(u64, Self)> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [number, side, verdict, state, what] = columns[..] else {
            return None;
        };
        let (proto, ends) = what.split_once(' ')?;
        let (src, dst) = ends.split(' ').next()?.split_once('>')?;
        let verdict = match verdict {
            "fwd" => state.split('/').next()?,
            other => other.split(' ').next()?,
        };
        let judged = Self {
            verdict: verdict.to_owned(),
            proto: proto.parse().ok()?,
            src: end(src)?,
            dst: end(dst)?,
            from_client: side == "c",
        };
        Some((number.parse().ok()?, judged))
    }

    fn flow(&self) -> Flow {
        (self.proto, [self.src.min(self.dst), self.src.max(self.dst)])
    }
}

fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    Some((address.parse().ok()?, port.parse().ok()?))
}

/// The verdicts of one capture, by the number of the IP packet.
fn judged(tsv: &Path) -> BTreeMap<u64, Judged> {
    let text = fs::read_to_string(tsv).unwrap();
    text.lines().filter_map(Judged::of_line).collect()
}

/// The router of the rig: the clients' addresses behind `lan`, the others behind `wan`,
/// masquerade, no filter; nothing times out, as nothing did while the kernel was asked.
fn router(judged: &BTreeMap<u64, Judged>) -> Policy {
    let mut router = policy();
    // Numbers that a helper shifts are not followed into the other side's packets yet, so no helper
    // reads here; what only an expectation lets in is counted apart below.
    router.service_ports = ServicePorts::none();
    let addresses = [
        ["192.0.2.1/32", "2001:db8:ffff::1/128"],
        ["192.0.2.254/32", "2001:db8:ffff::254/128"],
    ];
    router.interfaces.truncate(2);
    for (interface, addresses) in router.interfaces.iter_mut().zip(addresses) {
        interface.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        interface.mtu = 9_000;
    }
    let ends = judged.values().flat_map(|packet| {
        let (near, far) = if packet.from_client {
            (LAN, WAN)
        } else {
            (WAN, LAN)
        };
        [(packet.src.0, near), (packet.dst.0, far)]
    });
    let ends: BTreeSet<_> = ends.map(|(ip, iface)| (ip, iface.0)).collect();
    router.routes = ends
        .into_iter()
        .map(|(ip, iface)| Route {
            destination: ip.into(),
            via: Via::Interface(turnpike_pipeline::ids::IfaceId(iface)),
        })
        .collect();
    for chain in &mut router.filter.chains {
        chain.rules.clear();
    }
    let max = TIMEOUT_MAX;
    router.tracking.timeouts = Timeouts {
        tcp_syn_sent: max,
        tcp_syn_received: max,
        tcp_established: max,
        tcp_fin_wait: max,
        tcp_close_wait: max,
        tcp_last_ack: max,
        tcp_time_wait: max,
        tcp_close: max,
        tcp_max_retrans: max,
        tcp_unacked: max,
        udp: max,
        udp_stream: max,
        udplite: max,
        udplite_stream: max,
        sctp_closed: max,
        sctp_cookie_wait: max,
        sctp_cookie_echoed: max,
        sctp_established: max,
        sctp_shutdown_sent: max,
        sctp_shutdown_recd: max,
        sctp_shutdown_ack_sent: max,
        sctp_heartbeat_sent: max,
        dccp_request: max,
        dccp_respond: max,
        dccp_partopen: max,
        dccp_open: max,
        dccp_closereq: max,
        dccp_closing: max,
        dccp_timewait: max,
        gre: max,
        gre_stream: max,
        icmp: max,
        generic: max,
    };
    router
}

/// What the replay said of each IP packet, in the kernel's words.
fn replayed(capture: &Path, policy: Policy) -> BTreeMap<u64, String> {
    let out = tempfile::tempdir().unwrap();
    let mut config = config(&[("auto", capture)], out.path());
    config.policy = policy;
    config.checksums = Checksums::Fix;
    config.sides = Sides::One;
    config.max_entries = 65_536;
    let summary = run(config).unwrap();
    assert!(summary.books.add_up() && summary.unexplained == 0);
    let mut said = BTreeMap::new();
    let text = fs::read_to_string(out.path().join("verdicts.jsonl")).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let state = line["connection-state"].as_str().unwrap_or("?");
        let word = match line["verdict"].as_str().unwrap() {
            "accept" => match state {
                "established" => "est",
                "related" => "rel",
                other => other,
            },
            // Fragments: the kernel's line is of the moment when they were held.
            _ => "DROP",
        };
        let index = line["index"].as_u64().unwrap();
        said.entry(index).or_insert_with(|| word.to_owned());
    }
    let numbers = ip_numbers(capture);
    said.into_iter()
        .filter_map(|(index, word)| Some((*numbers.get(&index)?, word)))
        .collect()
}

/// The numbers of the IP packets among the packets of a capture.
fn ip_numbers(capture: &Path) -> BTreeMap<u64, u64> {
    let mut file = CaptureFile::open(capture).unwrap();
    let mut numbers = BTreeMap::new();
    while let Some(packet) = file.next_packet() {
        if is_ip(&packet.frame) {
            numbers.insert(packet.index, numbers.len() as u64 + 1);
        }
    }
    numbers
}

fn is_ip(frame: &[u8]) -> bool {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut at = 12;
    while frame.len() > at + 2 && matches!(word(at), 0x8100 | 0x88a8 | 0x9100) {
        at += 4;
    }
    let Some(packet) = frame.get(at + 2..).filter(|p| p.len() >= 20) else {
        return false;
    };
    match (word(at), packet[0] >> 4) {
        (0x0800, 4) => true,
        (0x86dd, 6) => packet.len() >= 40,
        _ => false,
    }
}

fn captures() -> Vec<(PathBuf, PathBuf)> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let dir = std::env::var_os("TURNPIKE_CAPTURES").map_or_else(beside, PathBuf::from);
    let verdicts = dir.join("kernel-verdicts/nat");
    if !verdicts.is_dir() {
        eprintln!(
            "skipped: verdicts of the kernel in {} absent",
            verdicts.display()
        );
        return Vec::new();
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&verdicts).unwrap() {
        let tsv = entry.unwrap().path();
        let name = tsv.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = name.strip_suffix(".tsv") else {
            continue;
        };
        // The first part of the name is the directory.
        let (source, file) = name.split_once('_').unwrap();
        found.push((tsv, dir.join(source).join(file)));
    }
    found.sort();
    found
}

/// Where the two are known to differ, packet by packet, and why.
const KNOWN: [(&str, &[u64], &str); 4] = [
    (
        "wireshark-wiki_MagicJack-_short_call.pcap",
        &[1_320],
        NOTHING_LEFT,
    ),
    (
        "wireshark-wiki_h223-over-rtp.pcap.gz",
        &[2, 29, 31],
        NOTHING_LEFT,
    ),
    (
        "wireshark-wiki_nb6-startup.pcap",
        &[8, 10, 11, 12, 14],
        NOTHING_LEFT,
    ),
    ("zeek_sip__sip-junk-before-request.pcap", &[2], NO_RECORD),
];
/// The rig gives every packet for a client its router's address; a replay follows only what it has
/// seen leave, and a host that has not spoken is reached as captured.
const NOTHING_LEFT: &str = "to a client of which nothing has left yet, and what answers it";
/// The line has no state.
const NO_RECORD: &str = "the kernel's helper mangled the packet beyond reading";
/// Segments of what the capture lost: invalid, so not translated, so for the gateway itself. Linux
/// answered as itself with a reset, which closed the connection and made all that follows new.
const RESET_BY_ROUTER: (&str, u64) = ("zeek_ftp__cwd-navigation.pcap", 715);

fn is_known(capture: &str, number: u64) -> bool {
    let listed = KNOWN
        .iter()
        .any(|(name, numbers, _)| *name == capture && numbers.contains(&number));
    listed || capture == RESET_BY_ROUTER.0 && number >= RESET_BY_ROUTER.1
}

#[test]
fn one_sided_captures_are_judged_as_linux_judged_them() {
    let (mut packets, mut by_helpers, mut known) = (0, 0, 0);
    let mut wrong = Vec::new();
    let captures = captures();
    for (tsv, capture) in &captures {
        let kernel = judged(tsv);
        let ours = replayed(capture, router(&kernel));
        // Connections that a helper expected are for the helpers' own tests.
        let expected = |j: &&Judged| j.verdict == "rel" && ![1, 58].contains(&j.proto);
        let expected: BTreeSet<Flow> = kernel.values().filter(expected).map(Judged::flow).collect();
        let name = tsv.file_stem().unwrap().to_str().unwrap();
        packets += kernel.len();
        for (number, judged) in &kernel {
            let said = ours.get(number).map_or("nothing", |word| word);
            if said == judged.verdict {
            } else if expected.contains(&judged.flow()) {
                by_helpers += 1;
            } else if is_known(name, *number) {
                known += 1;
            } else {
                let what = format!("{said}, not {}: {:?}", judged.verdict, judged.flow());
                wrong.push(format!("{name} {number}: {what}"));
            }
        }
    }
    println!(
        "{} captures, {packets} packets: {by_helpers} differ in connections that helpers \
         expect, {known} for known causes, {} otherwise",
        captures.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(captures.is_empty() || packets > 15_000);
}
