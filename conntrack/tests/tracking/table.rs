//! The table: what is found, what is counted, what happens when something is full.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{KEY, icmp, other, plain, shared, table, tcp, translated, tuple, udp};
use turnpike_conntrack::entry::{Cached, Deltas, Flags};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{ConnState, Direction, FlowId, FlowRef, Generation, WorkerId};
use turnpike_conntrack::nat::{Mapping, Pools, PortOrder, SourceRequest, choose_source};
use turnpike_conntrack::ports::{PortSpace, Sharing};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::segment::{IcmpQuery, InvalidReason};
use turnpike_conntrack::steering::SteeringClaim;
use turnpike_conntrack::table::{CommitError, NewConnection, Table, Tracked};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::{Capacity, Conntrack, Shared};
use turnpike_conntrack::tuple::{Family, Port, Proto, Tuple, V4, V6};

const T0: Tick = Tick::from_secs(1_000);

fn config() -> TrackingConfig {
    TrackingConfig::default()
}

fn numbered(n: u16) -> Tuple<V4> {
    tuple(Proto::UDP, &format!("10.0.0.2:{n} > 198.51.100.7:53"))
}

fn open(table: &mut Table<V4>, new: NewConnection<V4>, now: Tick) -> FlowId {
    let segment = udp();
    let id = table.commit(new, &segment, now, &config()).expect("room");
    table.check_invariants().expect("invariants");
    id
}

/// Both sides have sent, long enough apart that the connection is assured.
fn assure(table: &mut Table<V4>, id: FlowId, now: Tick) -> Tick {
    let later = now.after(Duration::from_secs(3));
    for direction in [Direction::Reply, Direction::Original] {
        table.track(FlowRef { id, direction }, &udp(), later, &config());
    }
    assert!(table.flags(id).contains(Flags::ASSURED));
    later
}

#[test]
fn a_connection_is_found_under_both_tuples_until_removed() {
    let mut table = table(4);
    let id = open(&mut table, plain(numbered(1)), T0);
    let found = |table: &Table<V4>, key| table.lookup(&key, T0).map(|flow| flow.direction);
    assert_eq!(found(&table, numbered(1)), Some(Direction::Original));
    assert_eq!(found(&table, numbered(1).inverse()), Some(Direction::Reply));
    assert_eq!(found(&table, numbered(2)), None);
    let removals = table.removals();
    let flow = FlowRef {
        id,
        direction: Direction::Original,
    };
    assert!(table.is_current(flow, &numbered(1)) && !table.is_current(flow, &numbered(2)));
    table.end(id, Cause::Flushed);
    table.end(id, Cause::Flushed);
    assert_eq!(found(&table, numbered(1)), None);
    assert_eq!(found(&table, numbered(1).inverse()), None);
    assert_eq!((table.len(), table.removals()), (0, removals + 1));
    assert!(!table.is_current(flow, &numbered(1)));
    assert_eq!(table.track(flow, &udp(), T0, &config()), Tracked::Reopen);
    table.check_invariants().expect("invariants");
}

#[test]
fn bulk_lookup_finds_what_single_lookup_finds() {
    let mut table = table(512);
    for n in (0..300).step_by(2) {
        open(&mut table, plain(numbered(n)), T0);
    }
    let keys: Vec<_> = (0..300)
        .map(|n| {
            if n % 3 == 0 {
                numbered(n).inverse()
            } else {
                numbered(n)
            }
        })
        .collect();
    let mut out = vec![None; keys.len()];
    table.lookup_bulk(&keys, &mut out, T0);
    let single: Vec<_> = keys.iter().map(|key| table.lookup(key, T0)).collect();
    assert_eq!(out, single);
    assert_eq!(out.iter().flatten().count(), 150);
    table.lookup_bulk(&keys, &mut out, T0.after(Duration::from_secs(10)));
    assert!(out.iter().all(Option::is_none));
}

#[test]
fn a_translated_connection_is_found_by_the_answer_as_it_comes_in() {
    let mut table = table(4);
    let original = tuple(Proto::UDP, "10.0.0.2:5000 > 203.0.113.2:53");
    let reply = tuple(Proto::UDP, "192.168.1.1:5353 > 203.0.113.9:6000");
    let id = open(&mut table, translated(original, reply), T0);
    assert_eq!(table.flags(id).to_string(), "Csd");
    let flow = table.lookup(&reply, T0).expect("the reply");
    assert_eq!(
        flow,
        FlowRef {
            id,
            direction: Direction::Reply
        }
    );
    assert_eq!(
        table.pair(id).outgoing(Direction::Original),
        reply.inverse()
    );
    assert_eq!(
        table.pair(id).outgoing(Direction::Reply),
        original.inverse()
    );
    assert_eq!(table.lookup(&original.inverse(), T0), None);
}

#[test]
fn expiry_is_exact_whether_or_not_the_place_is_reclaimed() {
    let mut table = table(4);
    let id = open(&mut table, plain(numbered(1)), T0);
    let last = T0.after(Duration::from_millis(9_999));
    let over = T0.after(Duration::from_secs(10));
    assert!(table.lookup(&numbered(1), last).is_some());
    assert_eq!(table.lookup(&numbered(1), over), None);
    assert_eq!(table.connection(id, over), None);
    assert_eq!((table.len(), table.expired()), (1, 0));
    // The tuple may be taken again at once.
    open(&mut table, plain(numbered(1)), over);
    assert_eq!((table.len(), table.expired()), (1, 1));
    let later = over.after(Duration::from_millis(10_016));
    assert_eq!(table.expire(later, 100), 1);
    assert_eq!((table.len(), table.expired(), table.evicted()), (0, 2, 0));
}

#[test]
fn a_packet_moves_the_deadline_and_expiry_follows() {
    let mut table = table(4);
    let id = open(&mut table, plain(numbered(1)), T0);
    let flow = FlowRef {
        id,
        direction: Direction::Original,
    };
    let mut now = T0;
    for _ in 0..5 {
        now = now.after(Duration::from_secs(9));
        assert_eq!(table.expire(now, 1_000), 0);
        assert_eq!(
            table.track(flow, &udp(), now, &config()),
            Tracked::Valid(ConnState::New)
        );
        table.check_invariants().expect("invariants");
    }
    assert_eq!(table.expire(now.after(Duration::from_secs(9)), 1_000), 0);
    assert_eq!(
        table.expire(now.after(Duration::from_millis(10_016)), 1_000),
        1
    );
}

#[test]
fn a_deadline_that_comes_nearer_is_not_missed() {
    let mut table = table(4);
    let key = tuple(Proto::TCP, "10.0.0.2:1 > 198.51.100.7:80");
    let id = table
        .commit(plain(key), &tcp("S 100:100(0)"), T0, &config())
        .expect("room");
    let handshake = [
        (Direction::Reply, "S. 900:900(0) ack 101"),
        (Direction::Original, ". 101:101(0) ack 901"),
    ];
    for (direction, words) in handshake {
        table.track(FlowRef { id, direction }, &tcp(words), T0, &config());
    }
    // The wheel comes by and puts the connection a day away; a reset makes it ten seconds.
    let now = T0.after(Duration::from_secs(6));
    assert_eq!(table.expire(now, 1_000), 0);
    let original = FlowRef {
        id,
        direction: Direction::Original,
    };
    table.track(original, &tcp("R 101:101(0)"), now, &config());
    assert_eq!(table.state_name(id), Some("close"));
    assert_eq!(
        table.expire(now.after(Duration::from_millis(10_016)), 1_000),
        1
    );
    table.check_invariants().expect("invariants");
}

#[test]
fn time_wraps_without_a_connection_noticing() {
    let mut table = table(4);
    let start = Tick::from_millis(u64::from(u32::MAX) - 3_000);
    open(&mut table, plain(numbered(1)), start);
    let found = |ms| table.lookup(&numbered(1), start.after(Duration::from_millis(ms)));
    assert!(found(9_999).is_some());
    assert!(found(10_000).is_none());
    assert_eq!(
        table.expire(start.after(Duration::from_millis(10_016)), 100),
        1
    );
}

#[test]
fn states_follow_the_directions_seen() {
    let mut table = table(4);
    let id = open(&mut table, plain(numbered(1)), T0);
    let original = FlowRef {
        id,
        direction: Direction::Original,
    };
    let reply = FlowRef {
        id,
        direction: Direction::Reply,
    };
    let mut track = |flow| table.track(flow, &udp(), T0, &config());
    assert_eq!(track(original), Tracked::Valid(ConnState::New));
    assert_eq!(track(reply), Tracked::Valid(ConnState::Established));
    assert_eq!(track(original), Tracked::Valid(ConnState::Established));
    let connection = table.connection(id, T0).expect("a connection");
    assert_eq!((connection.packets, connection.bytes), ([3, 1], [300, 100]));
    assert_eq!(connection.flags.to_string(), "SC");
}

#[test]
fn a_datagram_stream_is_assured_and_lives_longer() {
    let mut table = table(4);
    let id = open(&mut table, plain(numbered(1)), T0);
    let now = assure(&mut table, id, T0);
    let connection = table.connection(id, now).expect("a connection");
    assert_eq!(connection.timeout, config().timeouts.udp_stream);
    assert_eq!((connection.state, connection.start_secs), (None, 1_000));
}

#[test]
fn queries_are_connections_by_identifier_and_answers_open_none() {
    let mut table = table(4);
    let ping = tuple(Proto::ICMP, "10.0.0.2:77 > 198.51.100.7:8");
    let (request, answer) = (icmp(IcmpQuery::Request), icmp(IcmpQuery::Reply));
    assert_eq!(
        table.admits(&ping.inverse(), &answer, &config()),
        Err(InvalidReason::NotOpening)
    );
    assert_eq!(table.admits(&ping, &request, &config()), Ok(()));
    let id = table
        .commit(plain(ping), &request, T0, &config())
        .expect("room");
    let flow = table
        .lookup(&ping.inverse(), T0)
        .expect("the answer's flow");
    assert_eq!(
        flow,
        FlowRef {
            id,
            direction: Direction::Reply
        }
    );
    let tracked = table.track(flow, &answer, T0, &config());
    assert_eq!(tracked, Tracked::Valid(ConnState::Established));
}

#[test]
fn other_protocols_are_connections_of_two_addresses() {
    let mut table = table(4);
    let esp = tuple(Proto(50), "10.0.0.2:0 > 198.51.100.7:0");
    assert_eq!(table.admits(&esp, &other(), &config()), Ok(()));
    let id = table
        .commit(plain(esp), &other(), T0, &config())
        .expect("room");
    let connection = table.connection(id, T0).expect("a connection");
    assert_eq!(connection.timeout, config().timeouts.generic);
    let icmp = tuple(Proto::ICMP, "10.0.0.2:0 > 198.51.100.7:0");
    assert_eq!(
        table.admits(&icmp, &other(), &config()),
        Err(InvalidReason::NotOpening)
    );
}

#[test]
fn a_packet_of_another_tracker_is_invalid() {
    let mut table = table(4);
    let id = open(&mut table, plain(numbered(1)), T0);
    let flow = FlowRef {
        id,
        direction: Direction::Original,
    };
    let tracked = table.track(flow, &tcp("S 1:1(0)"), T0, &config());
    assert_eq!(tracked, Tracked::Invalid(InvalidReason::Protocol));
    let tcp_key = tuple(Proto::TCP, "10.0.0.2:1 > 198.51.100.7:80");
    let admitted = table.admits(&tcp_key, &udp(), &config());
    assert_eq!(admitted, Err(InvalidReason::Protocol));
}

#[test]
fn a_live_tuple_is_not_taken_twice() {
    let mut table = table(4);
    open(&mut table, plain(numbered(1)), T0);
    let clash = |table: &mut Table<V4>, new| table.commit(new, &udp(), T0, &config()).err();
    assert_eq!(
        clash(&mut table, plain(numbered(1))),
        Some(CommitError::NatClash)
    );
    let elsewhere = translated(numbered(2), numbered(1).inverse());
    assert_eq!(clash(&mut table, elsewhere), Some(CommitError::NatClash));
    let land = tuple(Proto::UDP, "10.0.0.2:7 > 10.0.0.2:7");
    assert_eq!(clash(&mut table, plain(land)), Some(CommitError::NatClash));
    assert_eq!(table.len(), 1);
    table.check_invariants().expect("invariants");
}

#[test]
fn a_full_table_reclaims_what_has_expired_first() {
    let mut table = table(3);
    for n in 0..3 {
        open(
            &mut table,
            plain(numbered(n)),
            T0.after(Duration::from_secs(u64::from(n) * 4)),
        );
    }
    let now = T0.after(Duration::from_secs(11));
    open(&mut table, plain(numbered(9)), now);
    assert_eq!((table.len(), table.expired(), table.evicted()), (3, 1, 0));
    assert!(table.lookup(&numbered(1), now).is_some());
    assert!(table.lookup(&numbered(2), now).is_some());
}

#[test]
fn a_full_table_evicts_the_unassured_and_keeps_the_assured() {
    let mut table = table(3);
    let kept = open(&mut table, plain(numbered(0)), T0);
    let now = assure(&mut table, kept, T0);
    open(&mut table, plain(numbered(1)), now);
    open(&mut table, plain(numbered(2)), now);
    for n in 3..20 {
        open(&mut table, plain(numbered(n)), now);
        assert!(table.lookup(&numbered(n), now).is_some());
        assert!(table.lookup(&numbered(0), now).is_some());
    }
    assert_eq!((table.len(), table.evicted()), (3, 17));
}

#[test]
fn a_table_full_of_assured_connections_refuses_and_gives_the_port_back() {
    let mut table = table(2);
    let mut now = T0;
    for n in 0..2 {
        let id = open(&mut table, plain(numbered(n)), now);
        now = assure(&mut table, id, now);
    }
    let pools = Pools::<V4>::build(None, [[203, 0, 113, 2]]);
    let new = masquerade(&pools, numbered(5), WorkerId(0));
    assert_eq!(in_use(&pools), 1);
    let error = table.commit(new, &udp(), now, &config()).err();
    assert_eq!(error, Some(CommitError::TableFull));
    assert_eq!((in_use(&pools), table.len(), table.evicted()), (0, 2, 0));
    table.check_invariants().expect("invariants");
}

fn masquerade(pools: &Pools<V4>, original: Tuple<V4>, me: WorkerId) -> NewConnection<V4> {
    let outside = pools.addresses().next().expect("an address");
    let request = SourceRequest {
        tuple: original,
        inside: (original.src, original.src_port),
        addresses: (outside, outside),
        ports: None,
        sharing: Sharing::Shared,
        mapping: Mapping::PerConnection,
        order: PortOrder::Preserve,
    };
    let distribution = Distribution::software(2);
    let chosen = choose_source(pools, &request, &distribution, me, &KEY).expect("a port");
    NewConnection {
        claim: chosen.claim,
        ..translated(original, chosen.tuple.inverse())
    }
}

fn in_use(pools: &Pools<V4>) -> usize {
    pools
        .addresses()
        .filter_map(|a| pools.ports(a))
        .map(|p| p.in_use(PortSpace::Udp))
        .sum()
}

#[test]
fn an_external_port_is_held_as_long_as_the_connection_even_if_the_program_forgets_it() {
    let mut table = table(4);
    let pools = Pools::<V4>::build(None, [[203, 0, 113, 2]]);
    let ports = Arc::clone(pools.ports([203, 0, 113, 2]).expect("the pool"));
    let id = open(&mut table, masquerade(&pools, numbered(5), WorkerId(0)), T0);
    assert!(table.flags(id).contains(Flags::SRCNAT));
    drop(pools);
    assert_eq!(ports.in_use(PortSpace::Udp), 1);
    table.expire(T0.after(Duration::from_secs(11)), 100);
    assert_eq!(ports.in_use(PortSpace::Udp), 0);
}

/// A connection whose original tuple arrives at another worker than `owner`.
fn steered(shared: &Arc<Shared>, new: NewConnection<V4>, owner: u8) -> NewConnection<V4> {
    let claim = SteeringClaim::new(shared, &new.pair.original, WorkerId(owner));
    NewConnection {
        steered: Some(claim.expect("room in the map")),
        ..new
    }
}

#[test]
fn steering_lasts_as_long_as_the_connection() {
    let shared = shared();
    let mut table = Table::<V4>::new(WorkerId(3), 4, KEY, Arc::clone(&shared));
    let id = open(&mut table, steered(&shared, plain(numbered(1)), 3), T0);
    assert!(table.flags(id).contains(Flags::STEERED));
    let owner = || shared.steering.find(&numbered(1));
    assert_eq!(owner(), Some(WorkerId(3)));
    assert_eq!(shared.steering.find(&numbered(1).inverse()), None);
    table.end(id, Cause::Flushed);
    assert_eq!(owner(), None);
    assert!(shared.steering.is_empty());
}

#[test]
fn a_reply_tuple_that_is_steered_to_another_connection_is_a_clash() {
    let shared = shared();
    let mut here = Table::<V4>::new(WorkerId(0), 4, KEY, Arc::clone(&shared));
    let mut there = Table::<V4>::new(WorkerId(1), 4, KEY, Arc::clone(&shared));
    // From outside to a published port, and from the publishing address to the same peer.
    let inwards = tuple(Proto::UDP, "198.51.100.7:53 > 203.0.113.2:80");
    let inside = tuple(Proto::UDP, "10.0.0.9:80 > 198.51.100.7:53");
    open(
        &mut there,
        steered(&shared, translated(inwards, inside), 1),
        T0,
    );
    assert!(here.is_taken(&inwards, T0));
    let outwards = translated(tuple(Proto::UDP, "10.0.0.5:80 > 198.51.100.7:53"), inwards);
    let error = here.commit(outwards, &udp(), T0, &config()).err();
    assert_eq!(error, Some(CommitError::NatClash));
    assert!(here.is_empty());
    here.check_invariants().expect("invariants");
}

#[test]
fn a_connection_that_is_refused_leaves_no_claim_behind() {
    let shared = shared();
    let mut table = Table::<V4>::new(WorkerId(0), 4, KEY, Arc::clone(&shared));
    let pools = Pools::<V4>::build(None, [[203, 0, 113, 2]]);
    let reply = plain(numbered(9)).pair.reply;
    open(&mut table, translated(reply, reply.inverse()), T0);
    let new = NewConnection {
        claim: masquerade(&pools, numbered(5), WorkerId(0)).claim,
        ..steered(&shared, translated(numbered(5), reply), 0)
    };
    assert_eq!((shared.steering.len(), in_use(&pools)), (1, 1));
    let error = table.commit(new, &udp(), T0, &config()).err();
    assert_eq!(error, Some(CommitError::NatClash));
    assert_eq!((shared.steering.len(), in_use(&pools)), (0, 0));
    table.check_invariants().expect("invariants");
}

#[test]
fn a_walk_in_pieces_shows_every_connection_once() {
    let mut table = table(100);
    for n in 0..50 {
        open(&mut table, plain(numbered(n)), T0);
    }
    for n in (0..50).step_by(5) {
        let id = table.lookup(&numbered(n), T0).expect("a connection").id;
        table.end(id, Cause::Flushed);
    }
    let (mut seen, mut cursor) = (Vec::new(), Some(0));
    while let Some(at) = cursor {
        cursor = table.walk(at, 7, T0, |c| seen.push(c.pair.original.src_port.0));
    }
    let expected: BTreeSet<u16> = (0..50).filter(|n| n % 5 != 0).collect();
    assert_eq!(seen.len(), expected.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn marks_rules_and_judgements_are_kept_and_forgotten_with_the_connection() {
    let mut table = table(1);
    let new = NewConnection {
        rule: 12,
        ..plain(numbered(1))
    };
    let id = open(&mut table, new, T0);
    let flow = FlowRef {
        id,
        direction: Direction::Reply,
    };
    let cached = Cached {
        generation: Generation(3),
        state: ConnState::Established,
        in_interface: 2,
        outcome: 99,
        next_hop: 5,
        deltas: Deltas { l3: 1, l4: 2 },
    };
    assert_eq!(table.cached(flow).generation, Generation(0));
    table.set_mark(id, 7);
    table.set_cached(flow, cached);
    table.set_mark(id, 7);
    table.set_fasttracked(id);
    assert_eq!((table.cached(flow), table.mark(id)), (cached, 7));
    table.set_mark(id, 8);
    assert_eq!(
        table.cached(flow).generation,
        Generation(0),
        "what was judged under another mark is judged again"
    );
    table.set_mark(id, 7);
    let connection = table.connection(id, T0).expect("a connection");
    assert_eq!((connection.mark, connection.rule), (7, Some(12)));
    assert_eq!(connection.flags.to_string(), "CF");
    table.end(id, Cause::Flushed);
    let again = open(&mut table, plain(numbered(2)), T0);
    assert_eq!(again, id);
    assert_eq!(table.cached(flow).generation, Generation(0));
    assert_eq!(
        (table.mark(id), table.flags(id).to_string()),
        (0, "C".to_owned())
    );
    assert_eq!(table.connection(id, T0).and_then(|c| c.rule), None);
}

#[test]
fn memory_stays_within_192_bytes_per_ipv4_connection_and_240_per_ipv6() {
    let v4 = Table::<V4>::new(WorkerId(0), 100_000, KEY, shared());
    assert!(v4.bytes() <= 192 * 100_000, "{}", v4.bytes());
    let v6 = Table::<V6>::new(WorkerId(0), 100_000, KEY, shared());
    assert!(v6.bytes() <= 240 * 100_000, "{}", v6.bytes());
}

#[test]
fn each_family_has_its_own_table() {
    let capacity = Capacity::share(1_000, 2);
    assert_eq!(capacity, Capacity { v4: 375, v6: 125 });
    let mut conntrack = Conntrack::new(WorkerId(0), capacity, KEY, shared());
    assert_eq!(
        (conntrack.v4.capacity(), conntrack.v6.capacity()),
        (375, 125)
    );
    let key = Tuple::<V6> {
        src: [1; 16],
        dst: [2; 16],
        src_port: Port(3),
        dst_port: Port(4),
        proto: Proto::UDP,
    };
    let new = NewConnection::<V6> {
        pair: turnpike_conntrack::tuple::TuplePair {
            original: key,
            reply: key.inverse(),
        },
        expected: None,
        helper: None,
        claim: None,
        mapping: None,
        steered: None,
        generation: Generation(1),
        rule: 0,
    };
    let table = V6::table_mut(&mut conntrack);
    assert!(table.commit(new, &udp(), T0, &config()).is_ok());
    assert!(V6::table(&conntrack).lookup(&key.inverse(), T0).is_some());
    assert_eq!(
        (V4::table(&conntrack).len(), V6::table(&conntrack).len()),
        (0, 1)
    );
}
