//! A worker's whole pipeline, and its parts: established packets, new connections, parsing.

use std::hint::black_box;

use arrayvec::ArrayVec;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use turnpike_benches::{InlineBuffer, LAN, Rig, outward};
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

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    let Some(mut frame) = outward(1) else { return };
    group.bench_function("udp over ipv4", |b| b.iter(|| black_box(parse(&mut frame))));
    group.finish();
}

criterion_group!(benches, established, new_connections, parsing);
criterion_main!(benches);
