//! The connection table: lookups in bulk over tables of growing size.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use turnpike_conntrack::commit::NewConnection;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{FlowRef, Generation, WorkerId};
use turnpike_conntrack::segment::{Checksum, L4, Segment};
use turnpike_conntrack::table::Table;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, TuplePair, V4};

const KEY: HashKey = HashKey([1, 2, 3, 4]);
const NOW: Tick = Tick::from_secs(1);
const DATAGRAM: Segment = Segment {
    l4: L4::Udp,
    payload_len: 18,
    len: 46,
    checksum: Checksum::Good,
};

fn tuple(n: u32) -> Tuple<V4> {
    Tuple {
        src: n.to_be_bytes(),
        dst: [198, 51, 100, 7],
        src_port: Port(4_000),
        dst_port: Port(53),
        proto: Proto::UDP,
    }
}

fn filled(connections: u32) -> Table<V4> {
    let shared = Arc::new(Shared::new(16, KEY));
    let mut table = Table::new(WorkerId(0), connections as usize, KEY, shared);
    let config = TrackingConfig::default();
    for n in 0..connections {
        let original = tuple(n);
        let new = NewConnection {
            pair: TuplePair {
                original,
                reply: original.inverse(),
            },
            expected: None,
            helper: None,
            claim: None,
            mapping: None,
            steered: None,
            generation: Generation(1),
            rule: 0,
        };
        assert!(
            table.commit(new, &DATAGRAM, NOW, &config).is_ok(),
            "there is room"
        );
    }
    table
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup_bulk");
    group.throughput(Throughput::Elements(64));
    for connections in [1_000_u32, 100_000, 1_000_000] {
        let table = filled(connections);
        let mut at = 0_u32;
        let mut found: [Option<FlowRef>; 64] = [None; 64];
        group.bench_function(format!("{connections} connections"), |b| {
            b.iter(|| {
                // A multiplicative walk: no two bursts ask for neighbouring entries.
                let keys: [Tuple<V4>; 64] = std::array::from_fn(|_| {
                    at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    tuple(at % connections)
                });
                table.lookup_bulk(&keys, &mut found, NOW);
                assert!(found.iter().all(Option::is_some), "every key is there");
                black_box(&found);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
