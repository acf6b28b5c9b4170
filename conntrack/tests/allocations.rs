//! Nothing on a packet's path takes memory: a table is as large when it starts as it ever gets.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use turnpike_conntrack::entry::NONE;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_conntrack::nat::{Mapping, Pools, PortOrder, SourceRequest, choose_source};
use turnpike_conntrack::ports::Sharing;
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::segment::{Checksum, L4, Segment};
use turnpike_conntrack::table::{NewConnection, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, TuplePair, V4};

const ROUNDS: u16 = 3_000;

fn key(n: u16) -> Tuple<V4> {
    Tuple {
        src: [10, 0, 0, 2],
        dst: [198, 51, 100, 7],
        src_port: Port(n),
        dst_port: Port(53),
        proto: Proto::UDP,
    }
}

#[test]
fn lookup_track_translate_commit_evict_and_expire_allocate_nothing() {
    let hash_key = HashKey([1, 2, 3, 4]);
    let shared = Arc::new(Shared::new(1_000, hash_key));
    let mut table = Table::<V4>::new(WorkerId(0), 500, hash_key, shared);
    let outside = [203, 0, 113, 2];
    let pools = Pools::<V4>::build(None, [outside]);
    let distribution = Distribution::software(2);
    let config = TrackingConfig::default();
    let segment = Segment {
        l4: L4::Udp,
        payload_len: 10,
        len: 38,
        checksum: Checksum::Good,
    };
    let mut now = Tick::from_secs(1);
    let mut round = |n: u16| {
        now = now.after(Duration::from_millis(7));
        let original = key(n);
        let request = SourceRequest {
            tuple: original,
            inside: (original.src, original.src_port),
            addresses: (outside, outside),
            ports: None,
            sharing: Sharing::Shared,
            mapping: Mapping::PerConnection,
            order: PortOrder::Preserve,
        };
        let chosen =
            choose_source(&pools, &request, &distribution, WorkerId(0), &hash_key).expect("a port");
        let reply = chosen.tuple.inverse();
        let new = NewConnection {
            pair: TuplePair { original, reply },
            expected: None,
            helper: None,
            claim: chosen.claim,
            mapping: None,
            steered: None,
            generation: Generation(1),
            rule: NONE,
        };
        let id = table.commit(new, &segment, now, &config).expect("room");
        let mut found = [None; 2];
        table.lookup_bulk(&[reply, original], &mut found, now);
        for flow in found.into_iter().flatten() {
            assert_eq!(flow.id, id);
            table.track(flow, &segment, now, &config);
        }
        table.expire(now, 4);
        (table.evicted(), table.expired())
    };
    // The port space of an address is taken when its first port is.
    round(1);
    let mut counts = (0, 0);
    let used = measure(|| {
        for n in 2..ROUNDS {
            counts = round(n);
        }
    });
    assert!(counts.0 > 0 || counts.1 > 0, "nothing had to make room");
    assert_eq!(used.count_total, 0);
}
