//! A worker's whole pipeline, and its parts: established packets, new connections, parsing.

use std::hint::black_box;

use arrayvec::ArrayVec;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use turnpike_benches::rules::{Attempts, realistic};
use turnpike_benches::{InlineBuffer, LAN, Rig, attempt, outward};
use turnpike_pipeline::burst::BURST_MAX;
use turnpike_pipeline::packet::parse::parse;

type Frames = ArrayVec<InlineBuffer, BURST_MAX>;

/// One packet of each of these connections.
fn burst(connections: impl Iterator<Item = u32>) -> Frames {
    connections.filter_map(outward).take(BURST_MAX).collect()
}

fn established(c: &mut Criterion) {
    let mut group = c.benchmark_group("established");
    group.throughput(Throughput::Elements(BURST_MAX as u64));
    for connections in [1_000_u32, 60_000] {
        let mut rig = Rig::new(connections as usize, 50);
        let opened = (0..connections).filter_map(|n| rig.open(n)).count();
        assert_eq!(opened, connections as usize, "every connection is open");
        let mut next = 0;
        group.bench_function(format!("{connections} connections"), |b| {
            b.iter_batched_ref(
                || {
                    next = (next + 7_919) % connections;
                    burst((0..64).map(|n| (next + n * 101) % connections))
                },
                |frames| black_box(rig.run(LAN, frames)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn new_connections(c: &mut Criterion) {
    let mut group = c.benchmark_group("new");
    group.throughput(Throughput::Elements(BURST_MAX as u64));
    for rules in [10_usize, 1_000] {
        group.bench_function(format!("{rules} rules"), |b| {
            b.iter_batched(
                || (Rig::new(64, rules), burst(0..64)),
                |(mut rig, mut frames)| black_box(rig.run(LAN, &mut frames)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// What a SYN costs that opens a connection, and one that is held back because too many handshakes
/// are unfinished: the gate has to be far cheaper than what it saves.
fn attempts(c: &mut Criterion) {
    let syns = |from: u32| -> Frames { (from..).filter_map(attempt).take(BURST_MAX).collect() };
    let mut group = c.benchmark_group("syn");
    group.throughput(Throughput::Elements(BURST_MAX as u64));
    for rules in [10, 100, 1_000, 10_000] {
        let mut attempts = Attempts::under(&realistic(rules));
        group.bench_function(format!("opens, {rules} rules"), |b| {
            b.iter_custom(|bursts| (0..bursts).map(|_| attempts.burst()).sum());
        });
    }
    let mut rig = Rig::sized(1 << 16, 1_000);
    let mut next = 0;
    for _ in 0..1 << 8 {
        rig.run(LAN, &mut syns(next));
        next += 64;
    }
    assert_eq!(rig.table().half_open(), 1 << 14, "the gate is closed");
    group.bench_function("held back", |b| {
        b.iter_batched_ref(
            || {
                next += 64;
                syns(next)
            },
            |frames| black_box(rig.run(LAN, frames)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    let Some(mut frame) = outward(1) else { return };
    group.bench_function("udp over ipv4", |b| b.iter(|| black_box(parse(&mut frame))));
    group.finish();
}

criterion_group!(benches, established, new_connections, attempts, parsing);
criterion_main!(benches);
