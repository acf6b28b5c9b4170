//! Recorded SIP: what real phones and servers have said to each other.
//!
//! Each conversation is read as it was, where it must not change, and with the client behind
//! address translation, where it must come back as it was. What the kernel's helper made of a call
//! is held against what this one makes. Skipped, visibly, where there are no captures or no tshark.
#![expect(clippy::expect_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use turnpike_conntrack::ids::Direction::{self, Original, Reply};
use turnpike_helpers::helper::{Ports, Seen, Session, Transport};
use turnpike_helpers::sip::{Options, Sip};
use turnpike_helpers::testing::Dialogue;

/// What the client is known as where it is translated.
const OUTSIDE: &str = "203.0.113.2";

/// The captures with SIP over UDP, and what their conversations announce: by whom, how many pairs
/// of ports and how many single ones at a time. MagicJack's is at another port; the others without
/// any have no media at the address of who speaks.
const CAPTURES: [(&str, &str); 26] = [
    (
        "ndpi/FAX-Call-t38-CA-TDM-SIP-FB-1.pcap",
        "client 1+1 server 2+0",
    ),
    ("wireshark-4.0.17/sip.pcapng", "client 0+0 server 0+0"),
    (
        "wireshark-wiki/Asterisk_ZFONE_XLITE.pcap",
        "client 0+1 server 1+0",
    ),
    ("wireshark-wiki/DTMFsipinfo.pcap", "client 6+2 server 0+0"),
    (
        "wireshark-wiki/MagicJack-_short_call.pcap",
        "client 0+0 server 0+0",
    ),
    ("wireshark-wiki/SIP_DTMF2.cap", "client 2+1 server 0+0"),
    (
        "wireshark-wiki/h223-over-rtp.pcap.gz",
        "client 1+0 server 1+0",
    ),
    ("wireshark-wiki/h263-over-rtp.pcap", "client 0+0 server 2+0"),
    (
        "wireshark-wiki/metasploit-sip-invite-spoof.pcap",
        "client 0+0 server 0+0",
    ),
    ("wireshark-wiki/nb6-startup.pcap", "client 0+1 server 0+0"),
    ("wireshark-wiki/nb6-telephone.pcap", "client 1+0 server 0+0"),
    ("wireshark-wiki/sip-rtp-dvi4.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-g711.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-g722.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-g729a.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-gsm.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-ilbc.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-lpc.pcap", "client 1+0 server 1+0"),
    (
        "wireshark-wiki/sip-rtp-opus-hybrid.pcap",
        "client 1+0 server 1+0",
    ),
    ("wireshark-wiki/sip-rtp-opus.pcap", "client 1+0 server 1+0"),
    ("wireshark-wiki/sip-rtp-speex.pcap", "client 1+0 server 1+0"),
    (
        "zeek/sip__invalid-content-length.pcap",
        "client 0+0 server 0+0",
    ),
    (
        "zeek/sip__sip-junk-before-request.pcap",
        "client 0+0 server 0+0",
    ),
    (
        "zeek/sip__sip-long-request-response-paths.pcap",
        "client 0+0 server 0+0",
    ),
    ("zeek/sip__wireshark.pcap", "client 2+1 server 0+0"),
    ("live-kernel-oracle/sip1-in.pcap", "client 1+0 server 1+0"),
];

/// One conversation of a capture.
#[derive(Debug)]
struct Recorded {
    client: SocketAddr,
    server: SocketAddr,
    messages: Vec<(Direction, Vec<u8>)>,
}

impl Recorded {
    /// The conversation's session, with the client known by this address.
    fn session(&self, transport: Transport, outside: IpAddr) -> Session {
        Session {
            transport,
            client: Seen {
                own: self.client,
                peer: self.server,
            },
            server: Seen {
                own: self.server,
                peer: SocketAddr::new(outside, self.client.port()),
            },
        }
    }
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

/// The conversations of a capture over this transport, as tshark tells them apart.
fn recorded(file: &str, transport: &str) -> Option<Vec<Recorded>> {
    let path = capture(file)?;
    let (from, to) = (
        format!("{transport}.srcport"),
        format!("{transport}.dstport"),
    );
    let payload = format!("{transport}.payload");
    let filter = format!("{transport}.port == 5060 && ip && !icmp && {payload}");
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(&path)
        .args(["-Y", &filter, "-T", "fields"]);
    // Of a tunnel, the innermost addresses count.
    tshark.args(["-E", "occurrence=l"]);
    for field in ["ip.src", &from, "ip.dst", &to, &payload] {
        tshark.args(["-e", field]);
    }
    let Ok(output) = tshark.output() else {
        eprintln!("skipped: no tshark");
        return None;
    };
    let text = String::from_utf8(output.stdout).expect("hexadecimal");
    let mut found: BTreeMap<_, Recorded> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [src, sport, dst, dport, bytes] = fields.as_slice() else {
            continue;
        };
        let end = |ip: &str, port: &str| format!("{ip}:{port}").parse::<SocketAddr>();
        let from = end(src, sport).expect("a source");
        let to = end(dst, dport).expect("a destination");
        let key = (from.min(to), from.max(to));
        let conversation = found.entry(key).or_insert_with(|| Recorded {
            client: from,
            server: to,
            messages: Vec::new(),
        });
        let direction = if conversation.client == from {
            Original
        } else {
            Reply
        };
        conversation.messages.push((direction, unhex(bytes)));
    }
    Some(found.into_values().collect())
}

fn unhex(line: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("digits");
    (0..line.len() / 2).map(|n| digits(2 * n)).collect()
}

/// What was announced by a conversation: who, with how many pairs and single ports.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Count([[usize; 2]; 2]);

impl Count {
    fn take(&mut self, dialogue: &Dialogue<Sip>, session: &Session) {
        let mut now = Self::default();
        for made in &dialogue.desk.announced {
            let own = session.sender(made.from).own.ip();
            assert_eq!(made.wanted.listener.ip(), own);
            now.0[made.from.index()][usize::from(made.wanted.ports == Ports::One)] += 1;
        }
        for (most, now) in self.0.iter_mut().flatten().zip(now.0.iter().flatten()) {
            *most = (*most).max(*now);
        }
    }

    fn add(&mut self, other: Self) {
        for (sum, one) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *sum += one;
        }
    }
}

/// Reads a conversation; what arrives, and the most that was announced at a time.
fn read(
    session: Session,
    messages: &[(Direction, Vec<u8>)],
) -> (Vec<Vec<u8>>, Count, Dialogue<Sip>) {
    let mut dialogue = Dialogue::new(Sip::new(Options::default()), session);
    let mut count = Count::default();
    let arrived = messages.iter().map(|(from, bytes)| {
        let arrived = dialogue.say(*from, bytes).expect("nothing is refused");
        count.take(&dialogue, &session);
        arrived
    });
    let arrived = arrived.collect();
    (arrived, count, dialogue)
}

/// Fields in which endpoints are named, without what is for the sender's information only.
fn named(bytes: &[u8]) -> Vec<String> {
    const NAMES: [&str; 10] = [
        "via",
        "v",
        "from",
        "f",
        "to",
        "t",
        "contact",
        "m",
        "route",
        "record-route",
    ];
    let text = String::from_utf8_lossy(bytes);
    let fields = text.lines().take_while(|line| !line.is_empty());
    let fields = fields.filter(|line| {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        NAMES.contains(&name.trim().to_ascii_lowercase().as_str())
    });
    fields
        .map(|line| {
            let parts = line.split(';');
            let telling = |part: &&str| {
                !["received=", "branch="]
                    .iter()
                    .any(|name| part.trim_start().starts_with(name))
            };
            let kept = parts.filter(telling);
            kept.collect::<Vec<_>>().join(";")
        })
        .collect()
}

/// The body, with ports that the reader's desk has chosen put back.
fn described(bytes: &[u8], dialogue: &Dialogue<Sip>) -> String {
    let text = String::from_utf8_lossy(bytes);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let made = dialogue.desk.announced.iter();
    made.fold(body.to_owned(), |body, made| {
        let known = format!(" {} ", made.known_as.port());
        body.replace(&known, &format!(" {} ", made.wanted.listener.port()))
    })
}

/// The message as its sender would write it if it knew the client as `new` instead of `old`.
fn renamed(bytes: &[u8], old: IpAddr, new: &str) -> Vec<u8> {
    String::from_utf8_lossy(bytes)
        .replace(&format!("{old}"), new)
        .into_bytes()
}

/// Reads a conversation that nothing translates: what it announces. It must not change.
fn as_it_was(file: &str, recorded: &Recorded) -> Count {
    let session = recorded.session(Transport::Udp, recorded.client.ip());
    let (arrived, count, dialogue) = read(session, &recorded.messages);
    assert!(!dialogue.left, "{file}");
    let said = recorded.messages.iter().map(|(_, bytes)| bytes);
    assert!(said.eq(arrived.iter()), "{file}");
    count
}

/// Reads a conversation whose client is translated, and whose server knows only its outside. No
/// endpoint of the client's gets out, and the server's messages come back as they were.
fn through_translation(file: &str, recorded: &Recorded) {
    let (own, outside) = (recorded.client.ip(), OUTSIDE.parse().expect("an address"));
    if own == recorded.server.ip() {
        return;
    }
    let session = recorded.session(Transport::Udp, outside);
    let outwards = |(from, bytes): &(Direction, Vec<u8>)| match from {
        Original => (*from, bytes.clone()),
        Reply => (*from, renamed(bytes, own, OUTSIDE)),
    };
    let said: Vec<_> = recorded.messages.iter().map(outwards).collect();
    let (arrived, _, _) = read(session, &said);
    for ((from, before), after) in recorded.messages.iter().zip(&arrived) {
        match from {
            Original => {
                let names = named(after).concat();
                let inside = [format!("@{own}>"), format!("UDP {own}")];
                let escaped = inside.iter().any(|inside| names.contains(inside));
                assert!(!escaped, "{file}: {names}");
            }
            Reply => assert_eq!(named(after), named(before), "{file}"),
        }
    }
}

#[test]
fn recorded_conversations_announce_what_they_describe_and_come_back_as_they_were() {
    let mut wrong = Vec::new();
    for (file, wanted) in CAPTURES {
        let Some(conversations) = recorded(file, "udp") else {
            continue;
        };
        let mut sum = Count::default();
        for recorded in &conversations {
            sum.add(as_it_was(file, recorded));
            through_translation(file, recorded);
        }
        let [[a, b], [c, d]] = sum.0;
        let found = format!("client {a}+{b} server {c}+{d}");
        if found != wanted {
            wrong.push(format!("{file}: {found}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The calls that were made through the kernel's helper, seen on both of its sides.
#[test]
fn the_kernels_helper_makes_the_same_of_a_call() {
    for (name, transport) in [("sip1", "udp"), ("bsudp", "udp"), ("bstcp", "tcp")] {
        let side = |side| recorded(&format!("live-kernel-oracle/{name}-{side}.pcap"), transport);
        let (Some(inside), Some(outside)) = (side("in"), side("out")) else {
            continue;
        };
        let carrier = match transport {
            "udp" => Transport::Udp,
            _ => Transport::Tcp,
        };
        for (inside, outside) in inside.iter().zip(&outside) {
            let session = inside.session(carrier, outside.client.ip());
            let both = inside.messages.iter().zip(&outside.messages);
            let said: Vec<_> = both
                .clone()
                .map(|((from, inner), (_, outer))| match from {
                    Original => (*from, inner.clone()),
                    Reply => (*from, outer.clone()),
                })
                .collect();
            let mut dialogue = Dialogue::new(Sip::new(Options::default()), session);
            for ((from, said), ((_, inner), (_, outer))) in said.iter().zip(both) {
                let arrived = dialogue.say(*from, said).expect("nothing is refused");
                let kernels = match from {
                    Original => outer,
                    Reply => inner,
                };
                // The kernel writes the usual port into names, and over TCP leaves steps alone.
                let same = |lines: Vec<String>| {
                    let lines = lines.into_iter().map(|line| line.replace(":5060>", ">"));
                    let over = |line: &String| !line.contains("SIP/2.0/TCP");
                    lines.filter(over).collect::<Vec<_>>()
                };
                if carrier == Transport::Udp {
                    assert_eq!(same(named(&arrived)), same(named(kernels)), "{name}");
                }
                let ours = described(&arrived, &dialogue);
                assert_eq!(ours, described(kernels, &dialogue), "{name}");
            }
        }
    }
}
