//! The connection table: bulk lookups, and insertions, in tables of growing size.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use turnpike_benches::KEY;
use turnpike_benches::table::{NOW, commit, key};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{FlowId, FlowRef, WorkerId};
use turnpike_conntrack::table::{BULK_MAX, Table};
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Tuple, V4};

const SIZES: [u32; 4] = [1_000, 100_000, 1_000_000, 10_000_000];

/// A table of `connections`, all of them in it.
fn filled(connections: u32) -> Table<V4> {
    let shared = Arc::new(Shared::new(16, KEY));
    let mut table = Table::new(WorkerId(0), connections as usize, KEY, shared);
    for n in 0..connections {
        assert!(commit(&mut table, n).is_ok(), "there is room");
    }
    table
}

/// A multiplicative walk: no two bursts ask for neighbouring entries.
fn walk(at: &mut u32, connections: u32) -> [u32; BULK_MAX] {
    std::array::from_fn(|_| {
        *at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *at % connections
    })
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup_bulk");
    group.throughput(Throughput::Elements(BULK_MAX as u64));
    for connections in SIZES {
        let table = filled(connections);
        let mut at = 0;
        let mut found: [Option<FlowRef>; BULK_MAX] = [None; BULK_MAX];
        group.bench_function(format!("{connections} connections"), |b| {
            b.iter(|| {
                let keys: [Tuple<V4>; BULK_MAX] = walk(&mut at, connections).map(key);
                table.lookup_bulk(&keys, &mut found, NOW);
                assert!(found.iter().all(Option::is_some), "every key is there");
                black_box(&found);
            });
        });
    }
    group.finish();
}

/// Each insertion takes the place of a connection that was removed before the clock ran.
fn insertions(c: &mut Criterion) {
    let mut group = c.benchmark_group("insert");
    group.throughput(Throughput::Elements(BULK_MAX as u64));
    for connections in SIZES {
        let mut table = filled(connections);
        let (mut at, mut fresh) = (0, connections);
        group.bench_function(format!("{connections} connections"), |b| {
            b.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    for n in walk(&mut at, connections) {
                        table.end(FlowId(n), Cause::Flushed);
                    }
                    let gone = connections - u32::try_from(table.len()).unwrap_or(0);
                    let start = Instant::now();
                    for _ in 0..gone {
                        fresh = fresh.wrapping_add(1);
                        black_box(commit(&mut table, fresh).is_ok());
                    }
                    // A walk may name a connection twice: the time is for as many as were gone.
                    took += start.elapsed() * u32::try_from(BULK_MAX).unwrap_or(0) / gone.max(1);
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, insertions);
criterion_main!(benches);
