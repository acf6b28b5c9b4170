//! Cutting packets and putting them together again.

#![expect(clippy::unwrap_used, reason = "what helps a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::Craft;
use turnpike_pipeline::packet::fragment::{Unfragmentable, fragment};
use turnpike_pipeline::packet::parse::{Fragment, VlanId, parse};
use turnpike_pipeline::packet::reassembly::{
    Ended, FRAGMENT_PIECES_MAX, FRAGMENT_TIMEOUT_V4, FRAGMENT_TIMEOUT_V6, Limits, PieceEnd,
    Reassembler,
};
use turnpike_pipeline::packet::verify::verify_l4;

const INVALID: PieceEnd = PieceEnd::Dropped(DropReason::FragmentInvalid);
const MEMORY: PieceEnd = PieceEnd::Dropped(DropReason::FragmentMemory);
const TIMEOUT: PieceEnd = PieceEnd::Dropped(DropReason::FragmentTimeout);

fn udp4(id: u16, len: usize) -> Vec<u8> {
    let craft = Craft::udp(
        "10.0.0.2:5000".parse().unwrap(),
        "1.1.1.1:53".parse().unwrap(),
    );
    craft.unwrap().id(id).payload_len(len).frame().unwrap()
}

/// A datagram over IPv6 that carries the fragment header of an atomic fragment.
fn udp6(id: u8, len: usize) -> Vec<u8> {
    let craft = Craft::udp(
        "[2001:db8::2]:5000".parse().unwrap(),
        "[2001:db8::1]:53".parse().unwrap(),
    );
    let mut frame = craft
        .unwrap()
        .vlan(VlanId(7))
        .payload_len(len)
        .frame()
        .unwrap();
    frame[18 + 6] = 44;
    let total = u16::from_be_bytes([frame[22], frame[23]]) + 8;
    frame[22..24].copy_from_slice(&total.to_be_bytes());
    frame.splice(18 + 40..18 + 40, [17, 0, 0, 0, 0, 0, 0, id]);
    frame
}

fn cut(frame: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    fragment(frame, mtu, |piece| pieces.push(piece.to_vec())).unwrap();
    pieces
}

/// A reassembler, what came out of it, and how much went in.
struct Bench {
    reassembler: Reassembler<HeapBuffer>,
    ended: Vec<Ended<HeapBuffer>>,
    given: usize,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self {
            reassembler: Reassembler::new(limits),
            ended: Vec::new(),
            given: 0,
        }
    }

    fn insert_at(&mut self, piece: &[u8], now: Tick) -> Option<Vec<u8>> {
        let mut buf = HeapBuffer::new(piece.to_vec(), self.given as u64);
        let parsed = parse(&mut buf).unwrap();
        self.given += 1;
        let whole = self
            .reassembler
            .insert(buf, (PortId(0), &parsed), now, &mut self.ended);
        assert_eq!(self.reassembler.held() + self.ended.len(), self.given);
        whole
    }

    fn insert(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        self.insert_at(piece, Tick::from_secs(1))
    }

    fn ends(&self) -> Vec<PieceEnd> {
        self.ended.iter().map(|e| e.end).collect()
    }
}

#[test]
fn pieces_fit_the_link_and_are_valid_packets() {
    for (frame, mtu, pieces) in [
        (udp4(9, 2992), 1500, 3), // 3000 bytes of data in pieces of 1480
        (udp4(9, 2952), 1500, 2), // exactly two
        (udp4(9, 60), 28, 9),
        (udp6(9, 2888), 1500, 2), // 2896 bytes of data in pieces of 1448
        (udp6(9, 2889), 1500, 3),
    ] {
        let cut = cut(&frame, mtu);
        assert_eq!(cut.len(), pieces);
        for (i, piece) in cut.into_iter().enumerate() {
            let mut buf = HeapBuffer::new(piece, 0);
            let len = buf.frame_len();
            let parsed = parse(&mut buf).unwrap();
            assert!(parsed.ip_len <= u32::from(mtu));
            assert_eq!(buf.frame_len(), len);
            assert_eq!(matches!(parsed.fragment, Fragment::First { id: 9 }), i == 0);
            let last = matches!(parsed.fragment, Fragment::Last { id: 9, .. });
            assert_eq!(last, i == pieces - 1);
        }
    }
}

#[test]
fn what_may_not_be_cut_is_refused() {
    let refused = |frame: &[u8], mtu| {
        let mut taken = 0;
        let result = fragment(frame, mtu, |_| taken += 1);
        (result, taken) == (Err(Unfragmentable), 0)
    };
    let craft = Craft::udp(
        "10.0.0.2:5000".parse().unwrap(),
        "1.1.1.1:53".parse().unwrap(),
    );
    let whole = craft.unwrap().flags(0x4000).payload_len(2000);
    assert!(refused(&whole.frame().unwrap(), 1500));
    assert!(refused(&udp4(1, 100), 27), "no room for eight bytes");
    let mut plain6 = udp6(1, 2000);
    plain6.drain(58..66);
    (plain6[24], plain6[22], plain6[23]) = (17, 7, 0xd8);
    assert!(refused(&plain6, 1500), "IPv6 that did not come in pieces");
    let mut arp = Vec::new();
    turnpike_pipeline::packet::arp::announce(
        &mut arp,
        turnpike_pipeline::packet::arp::Station {
            mac: turnpike_pipeline::ids::Mac::default(),
            ip: [1; 4],
        },
    );
    assert!(refused(&arp, 1500));
    assert_eq!(cut(&udp4(1, 100), 128), [udp4(1, 100)], "it fits");
}

#[test]
fn only_copied_options_are_in_later_pieces() {
    let mut frame = udp4(3, 100);
    // Record route (not copied), a copied option of four bytes, end of options.
    frame.splice(34..34, [7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0]);
    frame[14] = 0x48;
    frame[17] += 12;
    frame[24..26].fill(0);
    let mut sum = turnpike_pipeline::packet::checksum::Sum::new();
    sum.add(&frame[14..46]);
    let sum = sum.checksum().to_be_bytes();
    frame[24..26].copy_from_slice(&sum);
    let pieces = cut(&frame, 80);
    assert_eq!(pieces[0][14], 0x48);
    assert_eq!(pieces[1][14], 0x46);
    assert_eq!(pieces[1][34..38], [0x94, 4, 0, 0]);
    let mut bench = Bench::new(Limits::default());
    let whole: Vec<_> = pieces.iter().filter_map(|p| bench.insert(p)).collect();
    assert_eq!(whole, [frame]);
}

#[test]
fn a_fragment_is_cut_into_smaller_ones() {
    let whole = udp4(3, 3000);
    let mut pieces = Vec::new();
    for piece in cut(&whole, 1500) {
        pieces.extend(cut(&piece, 600));
    }
    assert!(pieces.len() > 5);
    let mut bench = Bench::new(Limits::default());
    let again: Vec<_> = pieces
        .iter()
        .rev()
        .filter_map(|p| bench.insert(p))
        .collect();
    assert_eq!(again, [whole]);
}

#[test]
fn an_overlap_ends_the_packet_and_keeps_later_pieces_out() {
    let pieces = cut(&udp4(3, 3000), 1000);
    let other = cut(&udp4(3, 3000), 800);
    let mut bench = Bench::new(Limits::default());
    assert!(bench.insert(&pieces[0]).is_none());
    assert!(bench.insert(&pieces[2]).is_none());
    assert!(bench.insert(&other[1]).is_none());
    assert_eq!(bench.ends(), [INVALID; 3]);
    assert!(pieces.iter().all(|p| bench.insert(p).is_none()));
    assert_eq!(bench.ends().len(), 3 + pieces.len());
    assert!(bench.ends().iter().all(|e| *e == INVALID));
}

#[test]
fn a_repeated_piece_changes_nothing() {
    let whole = udp4(3, 3000);
    let pieces = cut(&whole, 1000);
    let mut bench = Bench::new(Limits::default());
    for piece in &pieces[1..] {
        assert!(bench.insert(piece).is_none());
        assert!(bench.insert(piece).is_none());
    }
    assert_eq!(bench.ends(), vec![INVALID; pieces.len() - 1]);
    assert_eq!(bench.insert(&pieces[0]), Some(whole));
}

/// A piece of its own making: offset in units of eight bytes, data length, more to come or not.
fn piece(units: u16, len: usize, more: u16) -> Vec<u8> {
    let craft = Craft::other([10, 0, 0, 2].into(), [1, 1, 1, 1].into(), Proto(50));
    let craft = craft.unwrap().id(1).flags(units | more);
    craft.payload_len(len).frame().unwrap()
}

#[test]
fn pieces_that_contradict_the_end_end_the_packet() {
    const MORE: u16 = 0x2000;
    let cases: [&[Vec<u8>]; 5] = [
        &[piece(10, 8, 0), piece(11, 8, MORE)], // beyond the end
        &[piece(10, 8, MORE), piece(2, 8, 0)],  // an end before what is there
        &[piece(10, 8, 0), piece(20, 8, 0)],    // two ends
        &[piece(10, 7, MORE)],                  // not a multiple of eight
        &[piece(10, 0, 0)],                     // nothing
    ];
    for case in cases {
        let mut bench = Bench::new(Limits::default());
        assert!(case.iter().all(|p| bench.insert(p).is_none()));
        assert_eq!(bench.ends(), vec![INVALID; case.len()]);
    }
}

#[test]
fn an_overlap_of_eight_bytes_is_enough() {
    for offsets in [[4, 5], [5, 4]] {
        let mut bench = Bench::new(Limits::default());
        for at in offsets {
            assert!(bench.insert(&piece(at, 16, 0x2000)).is_none());
        }
        assert_eq!(bench.ends(), [INVALID; 2]);
    }
    let mut bench = Bench::new(Limits::default());
    for at in [4, 6, 2] {
        assert!(bench.insert(&piece(at, 16, 0x2000)).is_none());
    }
    assert_eq!(bench.ends(), [], "neighbours do not overlap");
}

#[test]
fn the_checksum_of_a_piece_is_nobodys_to_check() {
    for piece in cut(&udp4(3, 3000), 1500) {
        let mut buf = HeapBuffer::new(piece, 0);
        let parsed = parse(&mut buf).unwrap();
        assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
    }
}

#[test]
fn a_packet_longer_than_its_length_field_is_invalid() {
    let mut bench = Bench::new(Limits::default());
    let mut at = 0;
    for units in [2000, 2000, 2000, 2000] {
        let more = if at == 6000 { 0 } else { 0x2000 };
        let len = if more == 0 { 17_520 } else { 16_000 };
        assert!(bench.insert(&piece(at, len, more)).is_none());
        at += units;
    }
    assert_eq!(
        bench.ends(),
        [INVALID; 4],
        "65,520 bytes of data and a header"
    );
}

#[test]
fn what_does_not_come_in_time_is_dropped() {
    let start = Tick::from_secs(100);
    let mut bench = Bench::new(Limits::default());
    bench.insert_at(&cut(&udp4(1, 3000), 1500)[0], start);
    bench.insert_at(&cut(&udp6(1, 3000), 1500)[0], start);
    let just = Duration::from_micros(1);
    let expire = |bench: &mut Bench, now: Tick| {
        bench.reassembler.expire(now, &mut bench.ended);
        bench.ends().len()
    };
    let v4 = start.after(FRAGMENT_TIMEOUT_V4);
    assert_eq!(
        expire(&mut bench, start.after(FRAGMENT_TIMEOUT_V4 - just)),
        0
    );
    assert_eq!(expire(&mut bench, v4), 1);
    assert_eq!(
        expire(&mut bench, start.after(FRAGMENT_TIMEOUT_V6 - just)),
        1
    );
    assert_eq!(expire(&mut bench, start.after(FRAGMENT_TIMEOUT_V6)), 2);
    assert_eq!(bench.ends(), [TIMEOUT; 2]);
    assert_eq!(bench.reassembler.held(), 0);
}

#[test]
fn the_oldest_makes_room() {
    let limits = Limits {
        queues: 2,
        bytes: 1 << 20,
    };
    let mut bench = Bench::new(limits);
    let packets: Vec<_> = (1..=3).map(|id| udp4(id, 3000)).collect();
    for (id, packet) in packets.iter().enumerate() {
        let now = Tick::from_secs(id as u64);
        assert!(bench.insert_at(&cut(packet, 1600)[0], now).is_none());
    }
    assert_eq!(bench.ends(), [MEMORY]);
    assert_eq!(bench.ended[0].buf.token(), 0);
    let second = cut(&packets[1], 1600);
    assert_eq!(bench.insert(&second[1]).as_ref(), Some(&packets[1]));
    bench
        .reassembler
        .clear(DropReason::Stopping, &mut bench.ended);
    assert_eq!(bench.ended.len(), bench.given);
}

#[test]
fn held_bytes_are_bounded() {
    let limits = Limits {
        queues: 100,
        bytes: 3 * 2048,
    };
    let mut bench = Bench::new(limits);
    for id in 0..10 {
        bench.insert(&cut(&udp4(id, 3000), 600)[0]);
        assert!(bench.reassembler.held() <= 3);
    }
    assert_eq!(bench.ends(), [MEMORY; 7]);
}

#[test]
fn too_many_pieces_end_the_packet() {
    let mut bench = Bench::new(Limits::default());
    for at in 0..=FRAGMENT_PIECES_MAX {
        bench.insert(&piece(2 * at as u16 + 1, 8, 0x2000));
    }
    assert_eq!(bench.ends(), vec![MEMORY; FRAGMENT_PIECES_MAX + 1]);
}

#[test]
fn a_whole_packet_is_no_piece() {
    let mut bench = Bench::new(Limits::default());
    assert!(bench.insert(&udp4(1, 10)).is_none());
    assert_eq!(bench.ends(), [INVALID]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_in_any_order_make_the_packet_again(
        lens in proptest::collection::vec(1300usize..9000, 1..4),
        mtu in 200u16..1300,
        six in any::<bool>(),
        order in any::<u64>(),
    ) {
        let wholes: Vec<_> = lens.iter().zip(1..).map(|(len, id)| {
            if six { udp6(id, *len) } else { udp4(u16::from(id), *len) }
        }).collect();
        let mut pieces: Vec<_> = wholes.iter().flat_map(|w| cut(w, mtu)).collect();
        let mut state = order;
        for i in (1..pieces.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            pieces.swap(i, (state >> 33) as usize % (i + 1));
        }
        let mut bench = Bench::new(Limits::default());
        let mut made: Vec<_> = pieces.iter().filter_map(|p| bench.insert(p)).collect();
        made.sort();
        let mut expected = wholes.clone();
        expected.sort();
        prop_assert_eq!(&made, &expected);
        prop_assert!(bench.ends().iter().all(|e| *e == PieceEnd::Reassembled));
        prop_assert_eq!(bench.reassembler.held(), 0);
        for frame in made {
            let mut buf = HeapBuffer::new(frame, 0);
            let parsed = parse(&mut buf).unwrap();
            prop_assert!(!parsed.dont_fragment);
            prop_assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
        }
    }

    #[test]
    fn random_pieces_never_panic_and_none_is_lost(
        given in proptest::collection::vec((0u16..40, 0usize..60, any::<bool>()), 1..60),
    ) {
        let mut bench = Bench::new(Limits { queues: 3, bytes: 30 * 2048 });
        for (units, len, more) in given {
            let flags = if more { 0x2000 } else { 0 };
            let frame = piece(units, if more { len & !7 } else { len }, flags);
            bench.insert(&frame);
        }
        bench.reassembler.clear(DropReason::Stopping, &mut bench.ended);
        prop_assert_eq!(bench.ended.len(), bench.given);
    }
}
