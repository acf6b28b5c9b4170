//! Capture files of each format and link type, written here byte by byte and read back.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails like the test itself"
)]

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use turnpike_engine::pcap::{
    CaptureError, CaptureFile, CaptureWriter, Captured, MADE_UP_MAC, Precision, Stamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, n: u16) -> Vec<u8> {
        match self {
            Self::Little => n.to_le_bytes().to_vec(),
            Self::Big => n.to_be_bytes().to_vec(),
        }
    }

    fn u32(self, n: u32) -> Vec<u8> {
        match self {
            Self::Little => n.to_le_bytes().to_vec(),
            Self::Big => n.to_be_bytes().to_vec(),
        }
    }
}

/// A pcap of `packets`: seconds, fraction, data.
fn pcap(order: Order, magic: u32, link: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = order.u32(magic);
    file.extend(order.u16(2));
    file.extend(order.u16(4));
    for word in [0, 0, 65_535, link] {
        file.extend(order.u32(word));
    }
    for (seconds, fraction, data) in packets {
        let length = u32::try_from(data.len()).unwrap();
        for word in [*seconds, *fraction, length, length + 100] {
            file.extend(order.u32(word));
        }
        file.extend_from_slice(data);
    }
    file
}

/// A pcapng block around `body`, padded.
fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(4) - body.len();
    let length = order.u32(u32::try_from(body.len() + padding + 12).unwrap());
    [
        &order.u32(kind)[..],
        &length,
        body,
        &vec![0; padding],
        &length,
    ]
    .concat()
}

fn section(order: Order) -> Vec<u8> {
    let body = [
        order.u32(0x1a2b_3c4d),
        order.u16(1),
        order.u16(0),
        vec![0xff; 8],
    ];
    block(order, 0x0a0d_0d0a, &body.concat())
}

/// An interface with options as `(code, value)`, without the end mark that some writers omit.
fn interface(order: Order, link: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [order.u16(link), order.u16(0), order.u32(0)].concat();
    for (code, value) in options {
        body.extend(order.u16(*code));
        body.extend(order.u16(u16::try_from(value.len()).unwrap()));
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(order, 1, &body)
}

fn enhanced(order: Order, interface: u32, count: u64, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let mut body = Vec::new();
    let (high, low) = ((count >> 32) as u32, (count & 0xffff_ffff) as u32);
    for word in [interface, high, low, length, length] {
        body.extend(order.u32(word));
    }
    body.extend_from_slice(data);
    block(order, 6, &body)
}

fn simple(order: Order, data: &[u8]) -> Vec<u8> {
    let length = order.u32(u32::try_from(data.len()).unwrap());
    block(order, 3, &[&length[..], data].concat())
}

fn open(bytes: Vec<u8>) -> Result<CaptureFile, CaptureError> {
    CaptureFile::read_from(Path::new("made.pcap"), Cursor::new(bytes))
}

fn all(bytes: Vec<u8>) -> (Vec<Captured>, CaptureFile) {
    let mut file = open(bytes).unwrap();
    let packets = std::iter::from_fn(|| file.next_packet()).collect();
    (packets, file)
}

fn captured(index: u64, stamp: u64, frame: &[u8]) -> Captured {
    Captured {
        stamp: Stamp(stamp),
        index,
        frame: frame.to_vec(),
    }
}

#[test]
fn pcap_of_both_byte_orders_and_both_precisions_is_read() {
    for order in [Order::Little, Order::Big] {
        let packets: &[(u32, u32, &[u8])] = &[(5, 7, b"first frame"), (6, 8, b"second")];
        let (read, file) = all(pcap(order, 0xa1b2_c3d4, 1, packets));
        let expected = [
            captured(1, 5_000_007_000, b"first frame"),
            captured(2, 6_000_008_000, b"second"),
        ];
        assert_eq!(read, expected);
        assert_eq!((file.damage(), file.precision()), (None, Precision::Micro));

        let (read, file) = all(pcap(order, 0xa1b2_3c4d, 1, packets));
        assert_eq!(read[1], captured(2, 6_000_000_008, b"second"));
        assert_eq!((file.damage(), file.precision()), (None, Precision::Nano));
    }
}

#[test]
fn flags_above_the_link_type_of_a_pcap_are_not_part_of_it() {
    let (read, _) = all(pcap(
        Order::Little,
        0xa1b2_c3d4,
        0x3000_0001,
        &[(1, 0, b"x")],
    ));
    assert_eq!(read, [captured(1, 1_000_000_000, b"x")]);
}

#[test]
fn pcapng_of_both_byte_orders_is_read_with_every_kind_of_stamp() {
    for order in [Order::Little, Order::Big] {
        let offset = match order {
            Order::Little => 100_i64.to_le_bytes(),
            Order::Big => 100_i64.to_be_bytes(),
        };
        let file = [
            section(order),
            interface(order, 1, &[]),
            interface(order, 1, &[(9, &[9])]),
            interface(order, 1, &[(9, &[0x80 | 1]), (14, &offset)]),
            enhanced(order, 0, 3_000_001, b"micro"),
            enhanced(order, 1, 3_000_000_002, b"nano"),
            enhanced(order, 2, 7, b"halves"),
            simple(order, b"unstamped"),
        ];
        let (read, file) = all(file.concat());
        let expected = [
            captured(1, 3_000_001_000, b"micro"),
            captured(2, 3_000_000_002, b"nano"),
            captured(3, 103_500_000_000, b"halves"),
            captured(4, 103_500_000_000, b"unstamped"),
        ];
        assert_eq!(read, expected);
        assert_eq!((file.damage(), file.precision()), (None, Precision::Nano));
    }
}

#[test]
fn a_new_section_forgets_the_interfaces_of_the_last_and_may_change_the_byte_order() {
    let file = [
        section(Order::Little),
        interface(Order::Little, 1, &[]),
        enhanced(Order::Little, 0, 1, b"one"),
        section(Order::Big),
        interface(Order::Big, 101, &[]),
        enhanced(Order::Big, 0, 2, &[0x45, 0]),
    ];
    let (read, file) = all(file.concat());
    assert_eq!(read[0].frame, b"one");
    assert_eq!(read[1].frame[12..], [8, 0, 0x45, 0]);
    assert_eq!(file.damage(), None);
}

#[test]
fn packets_of_link_types_that_cannot_become_ethernet_are_passed_over_and_counted() {
    let o = Order::Little;
    let file = [
        section(o),
        interface(o, 105, &[]),
        interface(o, 1, &[]),
        enhanced(o, 0, 1, b"802.11"),
        enhanced(o, 1, 2, b"frame"),
        enhanced(o, 9, 3, b"of no interface"),
    ];
    let (read, file) = all(file.concat());
    assert_eq!(read, [captured(2, 2_000, b"frame")]);
    assert_eq!(file.passed().packets, 2);
    assert_eq!(file.passed().link_types.iter().collect::<Vec<_>>(), [&105]);
}

#[test]
fn a_pcap_of_such_a_link_type_is_refused() {
    let refused = open(pcap(Order::Little, 0xa1b2_c3d4, 105, &[])).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "made.pcap: link type 105 is not supported; Ethernet, raw IP, Linux cooked and null/loop \
         are"
    );
}

#[test]
fn what_is_no_capture_is_refused() {
    for bytes in [
        &b""[..],
        b"GMBU",
        b"\x0a\x0d\x0d\x0a",
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0],
    ] {
        assert!(matches!(
            open(bytes.to_vec()),
            Err(CaptureError::NotACapture { .. })
        ));
    }
    let absent = CaptureFile::open(Path::new("/nonexistent/x.pcap")).unwrap_err();
    assert!(matches!(absent, CaptureError::Io { .. }));
}

#[test]
fn each_link_type_becomes_ethernet() {
    let ip = [
        0x45, 0, 0, 20, 0, 0, 0, 0, 1, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let mac = MADE_UP_MAC.0;
    let expected = [&mac[..], &mac, &[8, 0], &ip].concat();
    let cooked = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let cooked_v2 = [8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases: &[(u32, &[u8])] = &[
        (1, &expected[..14]),
        (12, &[]),
        (14, &[]),
        (101, &[]),
        (228, &[]),
        (113, &cooked),
        (276, &cooked_v2),
        (0, &[2, 0, 0, 0]),
        (0, &[0, 0, 0, 2]),
        (108, &[0, 0, 0, 2]),
    ];
    for (link, header) in cases {
        let packet = [header, &ip[..]].concat();
        let (read, _) = all(pcap(Order::Little, 0xa1b2_c3d4, *link, &[(1, 0, &packet)]));
        assert_eq!(read[0].frame, expected, "link type {link}");
    }
}

#[test]
fn gzip_is_unpacked_and_a_cut_stream_is_damage_after_what_could_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pcap.gz");
    // Frames that do not compress, so that a cut of the stream falls among them.
    let frames: Vec<Vec<u8>> = (0_u32..200)
        .map(|i| {
            (0_u32..100)
                .map(|j| (i.wrapping_mul(2_654_435_761) >> (j % 24)) as u8)
                .collect()
        })
        .collect();
    let packets: Vec<(u32, u32, &[u8])> = frames.iter().map(|f| (1, 0, &f[..])).collect();
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer
        .write_all(&pcap(Order::Little, 0xa1b2_c3d4, 1, &packets))
        .unwrap();
    let packed = packer.finish().unwrap();

    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let mut file = CaptureFile::open(&path).unwrap();
        let count = std::iter::from_fn(|| file.next_packet()).count();
        (count, file.damage().map(str::to_owned))
    };
    assert_eq!(read(&packed), (200, None));
    let (count, damage) = read(&packed[..packed.len() / 2]);
    assert!((1..200).contains(&count), "{count} packets of half a file");
    assert_eq!(
        damage,
        Some(format!(
            "the file cannot be read further, after packet {count}"
        ))
    );
}

#[test]
fn a_record_longer_than_any_packet_is_damage() {
    let mut file = pcap(
        Order::Little,
        0xa1b2_c3d4,
        1,
        &[(1, 0, b"good"), (2, 0, b"bad")],
    );
    let length_of_second = 24 + 16 + 4 + 8;
    file[length_of_second..length_of_second + 4].copy_from_slice(&[0xff; 4]);
    file.resize(3 << 20, 0);
    let (read, file) = all(file);
    assert_eq!(read.len(), 1);
    assert_eq!(
        file.damage(),
        Some("a block is longer than any packet can be, after packet 1")
    );
}

#[test]
fn what_is_written_reads_back_the_same() {
    let mut writer = CaptureWriter::new(Vec::new(), Precision::Nano).unwrap();
    let expected: Vec<Captured> = (1..50_u8)
        .map(|i| captured(i.into(), u64::from(i) * 1_000_000_001, &[i; 60]))
        .collect();
    for packet in &expected {
        writer.write(packet.stamp, &packet.frame).unwrap();
    }
    let (read, file) = all(writer.finish().unwrap());
    assert_eq!(read, expected);
    assert_eq!(file.damage(), None);
}

/// A file of each format with three packets, and where each of its blocks ends.
fn three_packets() -> [(Vec<u8>, Vec<usize>); 2] {
    let o = Order::Little;
    let old = pcap(
        o,
        0xa1b2_c3d4,
        1,
        &[(1, 0, b"one"), (2, 0, b"two"), (3, 0, b"three")],
    );
    let blocks = [
        section(o),
        interface(o, 1, &[]),
        enhanced(o, 0, 1, b"one"),
        enhanced(o, 0, 2, b"two"),
        enhanced(o, 0, 3, b"three"),
    ];
    let ends = |lengths: &[usize]| {
        lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect()
    };
    let new_ends = ends(&blocks.each_ref().map(Vec::len));
    [(old, ends(&[24, 19, 19, 21])), (blocks.concat(), new_ends)]
}

#[test]
fn a_file_cut_anywhere_gives_what_is_whole_and_reports_the_cut() {
    for (whole, ends) in three_packets() {
        for length in ends[0]..=whole.len() {
            let (read, file) = all(whole[..length].to_vec());
            let skipped = ends.len() - 3;
            let expected = ends[skipped..].iter().filter(|end| **end <= length).count();
            assert_eq!(read.len(), expected, "cut to {length}");
            assert_eq!(
                file.damage().is_none(),
                ends.contains(&length),
                "cut to {length}"
            );
        }
    }
}

proptest! {
    #[test]
    fn a_garbled_file_never_panics(
        which in 0..2_usize,
        garbles in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut bytes, _) = three_packets()[which].clone();
        for (at, value) in garbles {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(mut file) = open(bytes) {
            // Bounded by construction: each packet takes at least a header off the file.
            prop_assert!(std::iter::from_fn(|| file.next_packet()).count() < 32);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(mut file) = open(bytes) {
            prop_assert!(std::iter::from_fn(|| file.next_packet()).count() < 64);
        }
    }
}
