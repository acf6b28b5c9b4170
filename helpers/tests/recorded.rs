//! Recorded control connections: what real clients and servers have said to each other.
//!
//! Each is read as it was, in one piece and with every segment cut at every byte, and once more
//! with the client behind address translation. Skipped, visibly, where there are no captures or no
//! tshark.
#![expect(clippy::expect_used, reason = "a helper of a test fails like the test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use turnpike_conntrack::ids::Direction::{self, Original, Reply};
use turnpike_helpers::helper::{Helper, Seen, Session, Transport};
use turnpike_helpers::irc::Irc;
use turnpike_helpers::pptp::Pptp;
use turnpike_helpers::rtsp::Rtsp;
use turnpike_helpers::testing::{Dialogue, untranslated};

/// What the client is known as where it is translated.
const OUTSIDE: &str = "203.0.113.2";

/// One control connection of a capture.
struct Recorded {
    client: SocketAddr,
    server: SocketAddr,
    segments: Vec<(Direction, Vec<u8>)>,
}

/// What came of reading one.
#[derive(Debug, PartialEq)]
struct Outcome {
    arrived: [Vec<u8>; 2],
    /// Everything that was announced at some time: `client 5000 > 40000`, and whom it answers to.
    announced: Vec<String>,
    /// How much of it was not taken back.
    kept: usize,
    left: bool,
}

fn capture(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let dir = std::env::var_os("TURNPIKE_CAPTURES").map_or_else(beside, PathBuf::from);
    let path = dir.join(file);
    if !path.is_file() {
        eprintln!("skipped: no capture {}", path.display());
        return None;
    }
    Some(path)
}

/// The connection with this number in a capture, put together by tshark: hexadecimal lines, those
/// of the second side behind a tab.
fn recorded(file: &str, number: u32) -> Option<Recorded> {
    let path = capture(file)?;
    let mut tshark = Command::new("tshark");
    tshark.args(["-q", "-z", &format!("follow,tcp,raw,{number}"), "-r"]);
    let Ok(output) = tshark.arg(&path).output() else {
        eprintln!("skipped: no tshark");
        return None;
    };
    let text = String::from_utf8(output.stdout).expect("hexadecimal");
    let node = |n: u8| {
        let prefix = format!("Node {n}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.expect("both ends").parse().expect("an endpoint")
    };
    let turn = |line: &str| {
        let from = if line.starts_with('\t') {
            Reply
        } else {
            Original
        };
        (from, unhex(line.trim()))
    };
    let said = text.lines().skip_while(|line| !line.starts_with("Node 1"));
    let said = said.skip(1).take_while(|line| !line.starts_with('='));
    let mut recorded = Recorded {
        client: node(0),
        server: node(1),
        segments: said.map(turn).collect(),
    };
    // Who speaks first is taken for the first; a server's port shows who it is.
    if recorded.client.port() < recorded.server.port() {
        std::mem::swap(&mut recorded.client, &mut recorded.server);
        for (from, _) in &mut recorded.segments {
            *from = from.flip();
        }
    }
    Some(recorded)
}

fn unhex(line: &str) -> Vec<u8> {
    let digits: Vec<_> = line
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let pairs = digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]);
    pairs
        .map(|byte| u8::try_from(byte).expect("a byte"))
        .collect()
}

/// The session with the client behind address translation.
fn translated(recorded: &Recorded) -> Session {
    let outside = SocketAddr::new(OUTSIDE.parse().expect("an address"), recorded.client.port());
    Session {
        transport: Transport::Tcp,
        client: Seen {
            own: recorded.client,
            peer: recorded.server,
        },
        server: Seen {
            own: recorded.server,
            peer: outside,
        },
    }
}

fn read<H: Helper>(
    helper: H,
    session: Session,
    segments: &[(Direction, Vec<u8>)],
    piece: usize,
) -> Outcome {
    let mut dialogue = Dialogue::new(helper, session);
    let mut arrived = [Vec::new(), Vec::new()];
    let mut announced = Vec::new();
    for (from, segment) in segments {
        for bytes in segment.chunks(piece) {
            let mut bytes = dialogue.say(*from, bytes).expect("nothing is refused");
            arrived[from.index()].append(&mut bytes);
            for made in &dialogue.desk.announced {
                let who = match made.from {
                    Original => "client",
                    Reply => "server",
                };
                assert_eq!(
                    made.wanted.listener.ip(),
                    session.sender(made.from).own.ip()
                );
                let (own, known) = (made.wanted.listener.port(), made.known_as.port());
                let answers = made.wanted.answers_to;
                let answers = answers.map_or_else(String::new, |id| format!(" for {id}"));
                let line = format!("{who} {own} > {known}{answers}");
                if !announced.contains(&line) {
                    announced.push(line);
                }
            }
        }
    }
    Outcome {
        arrived,
        announced,
        kept: dialogue.desk.announced.len(),
        left: dialogue.left,
    }
}

/// Reads a recorded connection as it was: nothing is changed, however it is cut. What came of it.
fn as_it_was<H: Helper>(new: fn() -> H, file: &str, number: u32) -> Option<(Recorded, Outcome)> {
    let recorded = recorded(file, number)?;
    let session = untranslated(Transport::Tcp, recorded.client, recorded.server);
    let whole = read(new(), session, &recorded.segments, usize::MAX);
    let cut = read(new(), session, &recorded.segments, 1);
    assert_eq!(whole, cut, "{file}");
    for from in [Original, Reply] {
        let said = recorded.segments.iter().filter(|(side, _)| *side == from);
        let said: Vec<u8> = said.flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(said.starts_with(&whole.arrived[from.index()]), "{file}");
    }
    Some((recorded, whole))
}

/// What the client says, read with the client behind translation.
fn clients_side<H: Helper>(new: fn() -> H, recorded: &Recorded) -> Outcome {
    let said = recorded
        .segments
        .iter()
        .filter(|(from, _)| *from == Original);
    let said: Vec<_> = said.cloned().collect();
    let whole = read(new(), translated(recorded), &said, usize::MAX);
    assert_eq!(whole, read(new(), translated(recorded), &said, 1));
    whole
}

#[test]
fn recorded_calls_are_announced_with_both_identifiers() {
    for (file, request, taken_up, kept) in [
        (
            "tcpdump/pptp.pcap",
            "client 0 > 0",
            ["server 0 > 0 for 0", "client 0 > 0 for 0"],
            2,
        ),
        (
            "packetlife/PPTP_negotiation.cap",
            "client 1 > 1",
            ["server 24 > 24 for 1", "client 1 > 1 for 24"],
            2,
        ),
        (
            "ndpi/pptp.pcap",
            "client 0 > 0",
            ["server 11755 > 11755 for 0", "client 0 > 0 for 11755"],
            0,
        ),
        (
            "live-kernel-oracle/pptp-in.pcap",
            "client 40962 > 40962",
            ["server 0 > 0 for 40962", "client 40962 > 40962 for 0"],
            0,
        ),
    ] {
        let Some((recorded, outcome)) = as_it_was(Pptp::new, file, 0) else {
            continue;
        };
        let [server, client] = taken_up;
        assert_eq!(outcome.announced, [request, server, client], "{file}");
        assert_eq!((outcome.kept, outcome.left), (kept, false), "{file}");
        let hidden = clients_side(Pptp::new, &recorded);
        let own = request.split(' ').nth(1).expect("its number");
        assert_eq!(hidden.announced, [format!("client {own} > 40000")]);
    }
}

#[test]
fn a_recorded_call_gets_its_own_identifier_back_through_translation() {
    let Some(recorded) = recorded("live-kernel-oracle/pptp-in.pcap", 0) else {
        return;
    };
    let own = 40_962_u16.to_be_bytes();
    let known = 40_000_u16.to_be_bytes();
    // The server knows the client by the other identifier, and says so in its reply.
    let swap = |bytes: &[u8], from: [u8; 2], to: [u8; 2]| {
        let mut bytes = bytes.to_vec();
        let at = bytes.windows(2).position(|pair| pair == from);
        if let Some(at) = at {
            bytes[at..at + 2].copy_from_slice(&to);
        }
        bytes
    };
    let mut dialogue = Dialogue::new(Pptp::new(), translated(&recorded));
    for (from, segment) in &recorded.segments {
        let (said, heard) = match from {
            Original => (segment.clone(), swap(segment, own, known)),
            Reply => (swap(segment, own, known), segment.clone()),
        };
        assert_eq!(dialogue.say(*from, said), Ok(heard));
    }
}

#[test]
fn recorded_offers_are_announced_and_named_from_outside() {
    for (file, announced, named) in [
        (
            "zeek/irc-dcc-send.pcapng",
            &["client 59130 > 59130", "client 59214 > 59214"][..],
            &[
                "SEND ssh.trace 3405803778 40000 1320211",
                "CHAT CHAT 3405803778 40002",
            ][..],
        ),
        (
            "live-kernel-oracle/irc-in.pcap",
            &["client 37173 > 37173"],
            &["SEND dccfile.bin 3405803778 40000 20000"],
        ),
        ("zeek/irc-basic.pcap", &[], &[]),
        ("zeek/irc-whitespace.pcap", &[], &[]),
        ("zeek/irc-more-commands.pcap", &[], &[]),
        // All offers are at addresses of others.
        ("zeek/irc-dcc-state-growth.pcapng", &[], &[]),
    ] {
        let Some((recorded, outcome)) = as_it_was(Irc::new, file, 0) else {
            continue;
        };
        assert_eq!(outcome.announced, announced, "{file}");
        assert!(!outcome.left, "{file}");
        let hidden = clients_side(Irc::new, &recorded);
        let [said, _] = &hidden.arrived;
        for named in named {
            let named = format!("\x01DCC {named}\x01\r\n");
            assert!(
                said.windows(named.len()).any(|w| w == named.as_bytes()),
                "{named}"
            );
        }
        assert_eq!(hidden.announced.len(), announced.len());
    }
}

#[test]
fn recorded_clients_that_are_none_of_irc_are_left() {
    for (file, number) in [
        ("zeek/irc-dcc-first-command.pcap", 0),
        ("zeek/tcp__http-on-irc-port-missing-syn.pcapng", 0),
    ] {
        let Some((_, outcome)) = as_it_was(Irc::new, file, number) else {
            continue;
        };
        assert!(outcome.left && outcome.announced.is_empty(), "{file}");
    }
}

#[test]
fn recorded_streams_are_announced_for_both_sides() {
    for (file, number, announced, kept) in [
        (
            "live-kernel-oracle/rtsp-in.pcap",
            0,
            &["client 8748 > 8748", "server 39680 > 39680"][..],
            0,
        ),
        (
            "wireshark-wiki/1920x1080_H.265.pcapng",
            1,
            &["client 52570 > 52570", "server 8226 > 8226"],
            0,
        ),
        (
            "wireshark-wiki/airtunes-1.pcap",
            1,
            &[
                "client 6001 > 6001",
                "client 6002 > 6002",
                "server 6001 > 6001",
                "server 6002 > 6002",
                "server 6000 > 6000",
            ],
            0,
        ),
        (
            "ndpi/rtsp_setup_http.pcapng",
            0,
            &["client 50220 > 50220"],
            1,
        ),
        (
            "ndpi/rtsp.pcap",
            1,
            &[
                "client 55664 > 55664",
                "server 58547 > 58547",
                "server 58548 > 58548",
                "client 55666 > 55666",
                "server 57431 > 57431",
                "server 57432 > 57432",
            ],
            6,
        ),
    ] {
        let Some((recorded, outcome)) = as_it_was(Rtsp::new, file, number) else {
            continue;
        };
        assert_eq!(outcome.announced, announced, "{file}");
        assert_eq!((outcome.kept, outcome.left), (kept, false), "{file}");
        let hidden = clients_side(Rtsp::new, &recorded);
        let clients = announced.iter().filter(|made| made.starts_with("client"));
        assert_eq!(hidden.announced.len(), clients.count(), "{file}");
        let said = String::from_utf8_lossy(&hidden.arrived[0]);
        assert!(said.contains("_port=40000"), "{file}: {said}");
    }
}
