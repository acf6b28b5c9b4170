//! Recorded sessions: what the readers make of them, against what the kernel of Linux made of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use turnpike_conntrack::ids::Direction::{self, Original, Reply};

use super::super::{CallSignalling, MediaControl, Registration};
use crate::helper::{Desk, Helper, Ports, Progress, Reader, Seen, Session, Transport};
use crate::testing::{Dialogue, Gives};

/// Bytes that one end of a connection has sent in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// A recording, if it is at hand.
pub fn recording(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let folder = std::env::var_os("TURNPIKE_CAPTURES").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    let there = path.exists() && Command::new("tshark").arg("--version").output().is_ok();
    if !there {
        println!("skipped: {name}, which is not here, or tshark");
    }
    there.then_some(path)
}

/// What is said in a recording over TCP or to a gatekeeper, in order, without repetitions.
fn said(capture: &Path) -> Vec<Said> {
    const FIELDS: [&str; 8] = [
        "ip.src",
        "ip.dst",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        "tcp.payload",
        "udp.payload",
    ];
    let fresh = "tcp.len > 0 && !tcp.analysis.retransmission && !tcp.analysis.keep_alive";
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-Y", &format!("({fresh}) || udp.port == 1719")])
        .args(["-T", "fields"])
        .args(FIELDS.iter().flat_map(|f| ["-e", *f]))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(read_said).collect()
}

fn read_said(line: &str) -> Said {
    let fields: Vec<&str> = line.split('\t').collect();
    let [src, dst, tcp_src, tcp_dst, udp_src, udp_dst, tcp, udp] = fields[..] else {
        panic!("{line}");
    };
    let end = |ip: &str, tcp: &str, udp: &str| format!("{ip}:{tcp}{udp}").parse().unwrap();
    let hex = format!("{tcp}{udp}");
    let octet = |n: usize| u8::from_str_radix(&hex[n..n + 2], 16).unwrap();
    Said {
        from: end(src, tcp_src, udp_src),
        to: end(dst, tcp_dst, udp_dst),
        bytes: (0..hex.len()).step_by(2).map(octet).collect(),
    }
}

/// Any of the readers.
#[derive(Debug)]
struct Any(Box<dyn Helper>);

impl Any {
    /// The reader of a connection that calls this one.
    fn of(reader: Reader) -> Self {
        if reader == Reader::CallSignalling {
            Self(Box::new(CallSignalling::new()))
        } else if reader == Reader::Registration {
            Self(Box::new(Registration::new()))
        } else {
            assert_eq!(reader, Reader::MediaControl);
            Self(Box::new(MediaControl::new()))
        }
    }
}

impl Helper for Any {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        self.0.read(from, bytes, desk)
    }
}

/// How bytes are handed to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    AsSent,
    ByteByByte,
}

/// What was announced: where, how many ports, and who reads the connection.
type Announcement = (SocketAddr, Ports, Option<Reader>);

/// A recording through the gateway: what was announced, in order, and by who says it, what arrives.
#[derive(Default)]
struct Through {
    announced: Vec<Announcement>,
    arrived: BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>,
}

/// Takes a recording through; `translated` is an address and by which one the others know it.
fn through(said: &[Said], translated: (IpAddr, IpAddr), cut: Cut) -> Through {
    let mut through = Through::default();
    let mut dialogues: BTreeMap<_, Dialogue<Any>> = BTreeMap::new();
    let outside = |end: SocketAddr| match end.ip() == translated.0 {
        true => SocketAddr::new(translated.1, end.port()),
        false => end,
    };
    for Said { from, to, bytes } in said {
        // Whoever has taken the connection may speak first.
        let reader_at = |end: &SocketAddr| match end.port() {
            1720 => Some(Reader::CallSignalling),
            1719 => Some(Reader::Registration),
            _ => through
                .announced
                .iter()
                .find(|a| a.0 == *end)
                .and_then(|a| a.2),
        };
        let back = dialogues.contains_key(&(*to, *from));
        let (client, server, direction) = match back || reader_at(to).is_none() {
            true => (*to, *from, Reply),
            false => (*from, *to, Original),
        };
        let Some(reader) = reader_at(&server) else {
            // Nobody has announced it.
            continue;
        };
        let dialogue = dialogues.entry((client, server)).or_insert_with(|| {
            let mut dialogue = Dialogue::new(
                Any::of(reader),
                Session {
                    transport: if reader == Reader::Registration {
                        Transport::Udp
                    } else {
                        Transport::Tcp
                    },
                    client: Seen {
                        own: client,
                        peer: outside(server),
                    },
                    server: Seen {
                        own: server,
                        peer: outside(client),
                    },
                },
            );
            dialogue.desk.gives = Gives::Same;
            dialogue
        });
        let pieces: Vec<&[u8]> = match cut {
            Cut::ByteByByte if server.port() != 1719 => bytes.chunks(1).collect(),
            Cut::ByteByByte | Cut::AsSent => vec![bytes],
        };
        let arrived = through.arrived.entry((*from, *to)).or_default();
        for piece in pieces {
            arrived.extend(dialogue.say(direction, piece).unwrap());
        }
        for a in &dialogue.desk.announced {
            let announced = (a.wanted.listener, a.wanted.ports, a.wanted.reader);
            if !through.announced.contains(&announced) {
                through.announced.push(announced);
            }
        }
    }
    through
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const INSIDE: &str = "10.10.0.2";
const OUTSIDE: &str = "198.51.100.1";

/// Takes both sides' words of a session that a kernel has translated through the readers: what was
/// said inside, and what arrived there, with the kernel's own result beside.
fn against_the_kernel(name: &str, check: impl Fn(&Through, &Through)) {
    let (Some(inside), Some(outside)) = (
        recording(&format!("live-kernel-oracle/{name}-in.pcap")),
        recording(&format!("live-kernel-oracle/{name}-out.pcap")),
    ) else {
        return;
    };
    let translated = (INSIDE.parse().unwrap(), OUTSIDE.parse().unwrap());
    let (inside, outside) = (said(&inside), said(&outside));
    // Who is inside speaks as recorded inside, the others as recorded outside.
    let mut theirs = outside.iter().filter(|s| s.from.ip() != translated.1);
    let session: Vec<Said> = inside
        .iter()
        .map(|said| match said.from.ip() == translated.0 {
            true => said.clone(),
            false => Said {
                bytes: theirs.next().unwrap().bytes.clone(),
                ..said.clone()
            },
        })
        .collect();
    let ours = through(&session, translated, Cut::AsSent);
    let mut kernels = Through::default();
    for said in &outside {
        if said.from.ip() == translated.1 {
            let from = SocketAddr::new(translated.0, said.from.port());
            kernels
                .arrived
                .entry((from, said.to))
                .or_default()
                .extend(&said.bytes);
        }
    }
    for said in inside.iter().filter(|s| s.from.ip() != translated.0) {
        kernels
            .arrived
            .entry((said.from, said.to))
            .or_default()
            .extend(&said.bytes);
    }
    check(&ours, &kernels);
    let cut = through(&session, translated, Cut::ByteByByte);
    assert_eq!(cut.arrived, ours.arrived, "cut into single bytes");
}

#[test]
fn a_call_with_a_control_channel_arrives_as_from_the_kernel() {
    against_the_kernel("h323", |ours, kernels| {
        assert_eq!(ours.arrived, kernels.arrived);
        let media = |listener| (at(listener), Ports::EvenPair, None);
        assert_eq!(
            ours.announced,
            [
                (
                    at("198.51.100.2:12030"),
                    Ports::One,
                    Some(Reader::MediaControl)
                ),
                media("10.10.0.2:21072"),
                media("198.51.100.2:23040"),
            ]
        );
    });
}

#[test]
fn a_call_with_tunnelled_control_arrives_as_from_the_kernel() {
    against_the_kernel("h323tun", |ours, kernels| {
        assert_eq!(ours.arrived, kernels.arrived);
        let media = |listener| (at(listener), Ports::EvenPair, None);
        let announced = ["198.51.100.2:23038", "10.10.0.2:21064"].map(media);
        assert_eq!(ours.announced, announced);
    });
}

#[test]
fn a_fast_start_is_translated_where_the_kernel_leaves_the_inside_address() {
    against_the_kernel("h323fs", |ours, kernels| {
        let inside = [10, 10, 0, 2];
        let count = |bytes: &[u8]| bytes.windows(4).filter(|w| *w == inside).count();
        let setup = (at("10.10.0.2:12030"), at("198.51.100.2:1720"));
        assert_eq!(count(&kernels.arrived[&setup]), 3);
        assert_eq!(count(&ours.arrived[&setup]), 0);
        for (ends, arrived) in &ours.arrived {
            if *ends != setup {
                assert_eq!(arrived, &kernels.arrived[ends], "{ends:?}");
            }
        }
    });
}

/// Recordings of which only one side of a gateway is known.
#[test]
fn after_translation_nobody_is_told_an_inside_address() {
    let sessions = [
        ("ndpi/h323.pcap", "10.1.3.143", 3),
        ("ndpi/h323.pcap", "10.1.6.18", 3),
        ("ndpi/h323.pcap", "17.2.0.124", 1),
        ("ndpi/h323.pcap", "10.47.208.204", 2),
        ("wireshark-wiki/rtp_example.raw.gz", "10.1.3.143", 3),
    ];
    for (name, inside, announcements) in sessions {
        let Some(path) = recording(name) else {
            continue;
        };
        let inside: IpAddr = inside.parse().unwrap();
        let IpAddr::V4(address) = inside else {
            unreachable!()
        };
        let mut session = said(&path);
        session.retain(|s| s.from.ip() == inside || s.to.ip() == inside);
        let ours = through(&session, (inside, at("203.0.113.2:0").ip()), Cut::AsSent);
        assert_eq!(
            ours.announced.len(),
            announcements,
            "{name} {inside}: {:?}",
            ours.announced
        );
        for (ends, arrived) in &ours.arrived {
            let told = arrived.windows(4).any(|w| w == address.octets());
            assert!(!told || ends.0.ip() != inside, "{name}: {ends:?}");
        }
        let cut = through(
            &session,
            (inside, at("203.0.113.2:0").ip()),
            Cut::ByteByByte,
        );
        assert_eq!(cut.arrived, ours.arrived, "{name} cut into single bytes");
    }
}
