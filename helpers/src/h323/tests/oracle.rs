//! What the walk finds, held against what tshark finds: in messages made at random, and in recorded
//! ones.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use turnpike_conntrack::ids::Direction;

use super::super::per::{Named, Place, Stop, Type, find};
use super::super::{h225, h245, q931 as header, ras};
use super::captures::recording;
use super::generate::{Dice, Encoding, places};
use super::messages::{SETUP, q931, tpkt};

/// The fields in which tshark shows the address of an endpoint.
const ADDRESSES: [&str; 12] = [
    "h225.ipV4",
    "h225.ipV6",
    "h225.src_route_ipV4",
    "h225.h245Ip",
    "h225.h245Ip6",
    "h225.h245IpSourceRoute_ip",
    "h225.ip",
    "h245.ip4_network",
    "h245.ip6_network",
    "h245.network",
    "h245.mip4_network",
    "h245.mip6_network",
];

/// A frame, and where its addresses stand in it.
pub struct Shown {
    pub frame: Vec<u8>,
    pub addresses: BTreeSet<(usize, usize)>,
    pub malformed: bool,
    /// Where the payload of TCP or UDP stands.
    pub payload: Range<usize>,
    /// Whether it was seen to be H.323.
    pub dissected: bool,
}

/// What tshark shows of a capture: `None` if there is no tshark.
pub fn shown(capture: &Path, arguments: &[&str]) -> Option<Vec<Shown>> {
    let output = Command::new("tshark")
        .args(["-T", "jsonraw", "-r"])
        .arg(capture)
        .args(arguments)
        .output()
        .ok()?;
    Some(read_shown(&String::from_utf8_lossy(&output.stdout)))
}

fn read_shown(json: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut lines = json.lines().map(|l| l.trim().trim_end_matches(','));
    while let Some(line) = lines.next() {
        if line.starts_with("\"_ws.malformed") {
            all.last_mut().unwrap().malformed = true;
        }
        let Some(name) = line.strip_suffix("_raw\": [") else {
            continue;
        };
        let name = name.trim_start_matches('"');
        let value = lines.next().unwrap().trim_matches('"').to_owned();
        let mut number = || lines.next().unwrap().parse::<usize>();
        if name == "frame" {
            let octet = |n: usize| u8::from_str_radix(&value[n..n + 2], 16).unwrap();
            all.push(Shown {
                frame: (0..value.len()).step_by(2).map(octet).collect(),
                addresses: BTreeSet::new(),
                malformed: false,
                payload: 0..0,
                dissected: false,
            });
        } else if name == "tcp.payload" || name == "udp.payload" {
            let (at, len) = (number().unwrap(), number().unwrap());
            all.last_mut().unwrap().payload = at..at + len;
        } else if name == "h225" || name == "h245" {
            all.last_mut().unwrap().dissected = true;
        } else if ADDRESSES.contains(&name) {
            let (at, len) = (number().unwrap(), number().unwrap());
            all.last_mut().unwrap().addresses.insert((at, len));
        }
    }
    all
}

/// Packets of IPv4 in a file of their own.
fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |n: u32| n.to_le_bytes();
    let mut file = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 101]
        .map(word)
        .concat();
    for (second, packet) in (0..).zip(packets) {
        let len = packet.len() as u32;
        file.extend([second, 0, len, len].map(word).concat());
        file.extend(packet);
    }
    file
}

/// A packet from 10.0.0.2 to 10.0.0.3; ports, and so connections, are its own.
fn packet(protocol: u8, number: u16, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = (20 + header.len() + payload.len()) as u16;
    let [high, low] = len.to_be_bytes();
    let [id_high, id_low] = number.to_be_bytes();
    let ip = [
        0x45, 0, high, low, id_high, id_low, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 3,
    ];
    [&ip, header, payload].concat()
}

fn datagram(number: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [(20_000 + number).to_be_bytes(), 1719_u16.to_be_bytes()].concat();
    let len = (8 + payload.len()) as u16;
    packet(
        17,
        number,
        &[&ports[..], &len.to_be_bytes(), &[0, 0]].concat(),
        payload,
    )
}

fn segment(number: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [(20_000 + number).to_be_bytes(), 1720_u16.to_be_bytes()].concat();
    let rest = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
    packet(6, number, &[&ports[..], &rest].concat(), payload)
}

/// Makes messages of the type; the walk has to find what was put in, and tshark the same.
fn compare(
    of: &'static Type,
    wrap: impl Fn(u16, &[u8]) -> Vec<u8>,
    name: &str,
    arguments: &[&str],
) {
    const MESSAGES: u16 = 600;
    let mut dice = Dice(20_261_121);
    let mut packets = Vec::new();
    let mut expected = Vec::new();
    let mut seen = BTreeSet::new();
    for number in 0..MESSAGES {
        let mut encoding = Encoding::default();
        encoding.add(of, Place::Told, &mut dice);
        let octets = encoding.octets();
        let found = find(&octets, 0..octets.len(), of).unwrap();
        assert_eq!(
            places(&found.endpoints),
            encoding.endpoints,
            "message {number}"
        );
        seen.extend(found.endpoints.iter().map(|f| f.place as u8));
        let packet = wrap(number, &octets);
        let offset = packet.len() - octets.len();
        let endpoints = encoding.endpoints.iter();
        expected.push(
            endpoints
                .map(|(_, at)| (at.start + offset, at.len() - 2))
                .collect::<BTreeSet<_>>(),
        );
        packets.push(packet);
    }
    assert!(seen.len() > 3, "only {seen:?} were made");
    let file = std::env::temp_dir().join(format!("turnpike-{name}-{}.pcap", std::process::id()));
    std::fs::write(&file, capture(&packets)).unwrap();
    let shown = shown(&file, arguments);
    std::fs::remove_file(&file).unwrap();
    let Some(shown) = shown else {
        println!("skipped: {name} against tshark, which is not here");
        return;
    };
    assert_eq!(shown.len(), packets.len());
    for ((shown, expected), packet) in shown.iter().zip(&expected).zip(&packets) {
        assert_eq!(&shown.frame, packet);
        assert!(!shown.malformed, "{packet:02x?}");
        assert_eq!(&shown.addresses, expected, "{packet:02x?}");
    }
}

#[test]
fn endpoints_of_call_signalling_stand_where_tshark_sees_them() {
    let wrap = |number, message: &[u8]| segment(number, &q931(SETUP, 1, message));
    compare(&h225::USER_INFORMATION, wrap, "signalling", &[]);
}

#[test]
fn endpoints_of_registration_stand_where_tshark_sees_them() {
    compare(&ras::MESSAGE, datagram, "registration", &[]);
}

#[test]
fn endpoints_of_the_control_of_media_stand_where_tshark_sees_them() {
    let wrap = |number, message: &[u8]| segment(number, &tpkt(message));
    compare(
        &h245::MESSAGE,
        wrap,
        "media",
        &["-d", "tcp.port==1720,h245"],
    );
}

/// What the walk finds in a frame: in each whole message of a stream, or in a datagram.
fn found(shown: &Shown) -> BTreeSet<(usize, usize)> {
    let frame = &shown.frame;
    let message = |range: Range<usize>| match header::begins(&frame[range.clone()]) {
        true => header::read(frame, range, Direction::Original)
            .and_then(|message| message.user_information)
            .ok_or(Stop::Unreadable)
            .and_then(|range| find(frame, range, &h225::USER_INFORMATION)),
        false => find(frame, range, &h245::MESSAGE),
    };
    let mut found: Vec<Result<Named, Stop>> = Vec::new();
    let mut at = shown.payload.start;
    match frame[at] {
        3 => {
            while let Some([3, _, high, low]) = frame.get(at..at + 4) {
                let end = at + usize::from(u16::from_be_bytes([*high, *low]));
                found.push(message(at + 4..end));
                at = end;
            }
        }
        // The header came before, alone.
        8 => found.push(message(shown.payload.clone())),
        _ => found.push(find(frame, shown.payload.clone(), &ras::MESSAGE)),
    }
    let found = found.into_iter().flat_map(|f| f.unwrap().endpoints);
    found.map(|f| (f.at.start, f.at.len() - 2)).collect()
}

#[test]
fn endpoints_of_recorded_messages_stand_where_tshark_sees_them() {
    let recordings = [
        ("ndpi/h323.pcap", 20),
        ("wireshark-wiki/rtp_example.raw.gz", 10),
        ("live-kernel-oracle/h323-in.pcap", 10),
        ("live-kernel-oracle/h323fs-in.pcap", 10),
        ("live-kernel-oracle/h323tun-out.pcap", 10),
    ];
    for (name, least) in recordings {
        let Some(path) = recording(name) else {
            continue;
        };
        let frames = shown(&path, &["-Y", "h225 || h245"]).unwrap();
        let sound = frames.iter().filter(|f| f.dissected && !f.malformed);
        let mut compared = 0;
        for frame in sound {
            assert_eq!(
                found(frame),
                frame.addresses,
                "{name}: {:02x?}",
                frame.frame
            );
            compared += 1;
        }
        assert!(compared >= least, "{name}: {compared} messages");
    }
}
