//! GRE: tunnels between two addresses, and calls by their ids.

use crate::support::{KEY, plain, segment, shared, table, translated, tuple};
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{ConnState, Direction, FlowRef, WorkerId};
use turnpike_conntrack::nat::{Mapping, Pools, PortOrder, SourceRequest, choose_source};
use turnpike_conntrack::ports::{PortSpace, Sharing};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::segment::L4;
use turnpike_conntrack::steering::SteeringClaim;
use turnpike_conntrack::table::{CommitError, NewConnection, Table, Tracked};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, V4};

const T0: Tick = Tick::from_secs(1_000);

fn gre(words: &str) -> Tuple<V4> {
    tuple(Proto::GRE, words)
}

/// What a packet of a flow shows: the receiver's call id.
fn shown(tuple: Tuple<V4>) -> Tuple<V4> {
    Tuple {
        src_port: Port(0),
        ..tuple
    }
}

fn track(table: &mut Table<V4>, key: &Tuple<V4>) -> (Direction, Tracked) {
    let flow = table.lookup(key, T0).expect("a connection");
    assert!(table.is_current(flow, key));
    let config = TrackingConfig::default();
    let tracked = table.track(flow, &segment(L4::Gre), T0, &config);
    (flow.direction, tracked)
}

fn commit(table: &mut Table<V4>, new: NewConnection<V4>) -> Result<(), CommitError> {
    let config = TrackingConfig::default();
    let result = table.commit(new, &segment(L4::Gre), T0, &config);
    table.check_invariants().expect("invariants");
    result.map(|_| ())
}

/// Client 10.0.0.2 with call id 7 to server 198.51.100.7 with call id 9; outside, the client's
/// call id is 1007.
fn translated_call() -> NewConnection<V4> {
    translated(
        gre("10.0.0.2:7 > 198.51.100.7:9"),
        gre("198.51.100.7:9 > 203.0.113.2:1007"),
    )
}

#[test]
fn a_tunnel_is_one_connection_whatever_calls_it_carries() {
    let mut table = table(4);
    let tunnel = gre("10.0.0.2:0 > 198.51.100.7:0");
    commit(&mut table, plain(tunnel)).expect("room");
    let (direction, tracked) = track(&mut table, &gre("10.0.0.2:0 > 198.51.100.7:9"));
    assert_eq!(direction, Direction::Original);
    assert_eq!(tracked, Tracked::Valid(ConnState::New));
    let (direction, tracked) = track(&mut table, &gre("198.51.100.7:0 > 10.0.0.2:7"));
    assert_eq!(direction, Direction::Reply);
    assert_eq!(tracked, Tracked::Valid(ConnState::Established));
    track(&mut table, &gre("10.0.0.2:0 > 198.51.100.7:9"));
    let id = table.lookup(&tunnel, T0).expect("the tunnel").id;
    let connection = table.connection(id, T0).expect("the tunnel");
    assert_eq!(connection.timeout.as_secs(), 180);
    assert!(connection.flags.contains(Flags::ASSURED));
    assert_eq!(
        (connection.state, connection.state_word()),
        (None, "established")
    );
}

#[test]
fn a_call_is_found_by_the_receivers_id_in_each_direction() {
    let mut table = table(4);
    commit(&mut table, translated_call()).expect("room");
    let out = gre("10.0.0.2:0 > 198.51.100.7:9");
    let (direction, _) = track(&mut table, &out);
    assert_eq!(direction, Direction::Original);
    let back = gre("198.51.100.7:0 > 203.0.113.2:1007");
    let (direction, tracked) = track(&mut table, &back);
    assert_eq!(direction, Direction::Reply);
    assert_eq!(tracked, Tracked::Valid(ConnState::Established));
    for stranger in [
        gre("10.0.0.2:0 > 198.51.100.7:8"),
        gre("198.51.100.7:0 > 203.0.113.2:7"),
        gre("10.0.0.2:0 > 198.51.100.7:0"),
    ] {
        assert_eq!(table.lookup(&stranger, T0), None, "{stranger:?}");
    }
    let mut found = [None];
    table.lookup_bulk(&[back], &mut found, T0);
    assert!(found[0].is_some());
}

#[test]
fn a_call_leaves_with_the_id_that_its_receiver_knows() {
    let mut table = table(4);
    commit(&mut table, translated_call()).expect("room");
    let flow = table
        .lookup(&gre("10.0.0.2:0 > 198.51.100.7:9"), T0)
        .expect("the call");
    let pair = table.pair(flow.id);
    assert_eq!(pair.outgoing(Direction::Original).dst_port, Port(9));
    assert_eq!(pair.outgoing(Direction::Reply).dst_port, Port(7));
    assert!(table.flags(flow.id).contains(Flags::SRCNAT));
}

#[test]
fn two_calls_and_a_tunnel_between_the_same_ends_are_three_connections() {
    let mut table = table(4);
    for words in [
        "10.0.0.2:7 > 198.51.100.7:9",
        "10.0.0.2:8 > 198.51.100.7:10",
        "10.0.0.2:0 > 198.51.100.7:0",
    ] {
        commit(&mut table, plain(gre(words))).expect("room");
    }
    let same = commit(&mut table, plain(gre("10.0.0.2:99 > 198.51.100.7:9")));
    assert_eq!(
        same,
        Err(CommitError::NatClash),
        "no packet could tell them apart"
    );
    let mut ids: Vec<_> = [9, 10, 11]
        .map(|call| {
            let key = gre(&format!("10.0.0.2:0 > 198.51.100.7:{call}"));
            table.lookup(&key, T0).map(|flow| flow.id)
        })
        .into();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_steered_call_is_found_by_what_its_packets_show() {
    let shared = shared();
    let mut table = Table::<V4>::new(WorkerId(3), 4, KEY, shared.clone());
    let new = translated_call();
    let original = new.pair.original;
    let claim = SteeringClaim::new(&shared, &original, WorkerId(3));
    let new = NewConnection {
        steered: Some(claim.expect("room in the map")),
        ..new
    };
    commit(&mut table, new).expect("room");
    assert_eq!(shared.steering.find(&shown(original)), Some(WorkerId(3)));
    let flow = table.lookup(&shown(original), T0).expect("the call");
    table.end(flow.id, Cause::Flushed);
    assert!(shared.steering.is_empty());
}

#[test]
fn two_clients_with_one_call_id_get_two_and_a_tunnel_needs_none() {
    let pools = Pools::<V4>::build(None, [[203, 0, 113, 2]]);
    let ports = pools.ports([203, 0, 113, 2]).expect("the pool");
    let choose = |words: &str| {
        let tuple = gre(words);
        let request = SourceRequest {
            tuple,
            inside: (tuple.src, tuple.src_port),
            addresses: ([203, 0, 113, 2], [203, 0, 113, 2]),
            ports: None,
            sharing: Sharing::Shared,
            mapping: Mapping::PerConnection,
            order: PortOrder::Preserve,
        };
        choose_source(
            &pools,
            &request,
            &Distribution::software(2),
            WorkerId(0),
            &KEY,
        )
        .expect("an id")
    };
    let first = choose("10.0.0.2:7 > 198.51.100.7:9");
    let second = choose("10.0.0.3:7 > 198.51.100.7:9");
    assert_eq!(first.tuple.src_port, Port(7));
    assert_ne!(second.tuple.src_port, Port(7));
    assert_ne!(second.tuple.src_port, Port(0));
    assert_eq!(ports.in_use(PortSpace::Gre), 2);
    let tunnel = choose("10.0.0.2:0 > 198.51.100.7:0");
    assert_eq!(
        (tunnel.tuple.src_port, tunnel.claim.is_none()),
        (Port(0), true)
    );

    let mut table = table(4);
    let new = NewConnection {
        claim: first.claim,
        ..translated(gre("10.0.0.2:7 > 198.51.100.7:9"), first.tuple.inverse())
    };
    commit(&mut table, new).expect("room");
    drop(second);
    assert_eq!(ports.in_use(PortSpace::Gre), 1);
    let flow = FlowRef {
        id: table
            .lookup(&gre("10.0.0.2:0 > 198.51.100.7:9"), T0)
            .expect("the call")
            .id,
        direction: Direction::Reply,
    };
    table.end(flow.id, Cause::Flushed);
    assert_eq!(
        ports.in_use(PortSpace::Gre),
        0,
        "given back under its own number"
    );
}
