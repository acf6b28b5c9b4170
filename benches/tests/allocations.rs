//! No packet costs an allocation, whatever becomes of it.

use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_benches::{InlineBuffer, LAN, Rig, attempt, outward};

type Frames = ArrayVec<InlineBuffer, 64>;

/// Bursts of one packet of each of these connections.
fn bursts(numbers: std::ops::Range<u32>, frame: fn(u32) -> Option<InlineBuffer>) -> Vec<Frames> {
    let frames: Vec<_> = numbers.filter_map(frame).collect();
    frames
        .chunks(64)
        .map(|c| c.iter().cloned().collect())
        .collect()
}

/// Lets the worker take `bursts`, which must not allocate; how many packets left.
fn run(rig: &mut Rig, bursts: Vec<Frames>) -> usize {
    let mut sent = 0;
    let used = allocation_counter::measure(|| {
        for mut burst in bursts {
            sent += rig.run(LAN, &mut burst);
        }
    });
    assert_eq!(used.count_total, 0);
    sent
}

/// A rig that has seen a packet of each protocol: the port space of an external address is taken
/// when its first port is.
fn warm(places: usize) -> Rig {
    let mut rig = Rig::sized(places, 50);
    for frame in [outward, attempt] {
        for mut burst in bursts(1_000_000..1_000_064, frame) {
            rig.run(LAN, &mut burst);
        }
    }
    rig.wait(Duration::from_secs(60));
    assert!(rig.table().is_empty());
    rig
}

#[test]
fn an_established_packet_allocates_nothing() {
    let mut rig = Rig::new(1_000, 50);
    assert_eq!((0..1_000).filter_map(|n| rig.open(n)).count(), 1_000);
    assert_eq!(run(&mut rig, bursts(0..640, outward)), 640);
}

#[test]
fn a_new_translated_connection_allocates_nothing_nor_does_its_end() {
    let mut rig = warm(4_096);
    assert_eq!(run(&mut rig, bursts(0..3_200, outward)), 3_200);
    assert_eq!(rig.table().len(), 3_200);
    let used = allocation_counter::measure(|| {
        for _ in 0..100 {
            rig.wait(Duration::from_millis(200));
        }
    });
    assert_eq!((rig.table().len(), used.count_total), (0, 0));
    assert_eq!(rig.table().expired(), 3_200 + 128);
}

#[test]
fn a_flood_on_a_full_table_allocates_nothing() {
    let mut rig = warm(1_024);
    run(&mut rig, bursts(0..10_240, outward));
    assert_eq!(rig.table().len(), 1_024);
    assert!(rig.table().evicted() > 9_000, "{}", rig.table().evicted());
}

#[test]
fn a_packet_that_finds_no_port_allocates_nothing() {
    // More connections than the one external address has ports, at a place that has room.
    let mut rig = warm(80_000);
    let sent = run(&mut rig, bursts(0..70_000, outward));
    assert!((60_000..66_000).contains(&sent), "{sent}");
}

#[test]
fn a_syn_that_is_held_back_allocates_nothing() {
    let mut rig = warm(1_024);
    let sent = run(&mut rig, bursts(0..10_240, attempt));
    assert_eq!((sent, rig.table().half_open()), (256, 256));
}
