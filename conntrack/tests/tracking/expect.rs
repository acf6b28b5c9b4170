//! Connections that others have announced.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{KEY, plain, shared, translated, tuple, udp};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::expect::{
    Activity, ChildLife, Class, Destination, ExpectError, Expectation, ExpectationId, Expectations,
    Expected, MasterId, MasterRef, Reservation, Source, Uses,
};
use turnpike_conntrack::ids::{ConnState, Direction, FlowId, FlowRef, HelperId, WorkerId};
use turnpike_conntrack::nat::{Pools, reserve};
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::segment::{Checksum, Segment};
use turnpike_conntrack::table::{CommitError, NewConnection, Table, Tracked};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, V4, V6};

const T0: Tick = Tick::from_secs(1_000);
const SERVER: [u8; 4] = [198, 51, 100, 7];
const INSIDE: [u8; 4] = [10, 0, 0, 2];
const OUTSIDE: [u8; 4] = [203, 0, 113, 2];

/// One at a time, for ten seconds.
const ONE: Class = Class {
    number: 0,
    max_expected: 1,
    timeout: Duration::from_secs(10),
};
const MANY: Class = Class {
    number: 1,
    max_expected: 3,
    ..ONE
};

/// UDP from anywhere to this port of the outside address.
pub fn to_port(port: u16) -> Expectation<V4> {
    Expectation {
        proto: Proto::UDP,
        destination: (OUTSIDE, Port(port)),
        source: None,
        source_port: None,
        uses: Uses::Once,
        activity: Activity::Active,
        helper: None,
        life: ChildLife::Own,
        new_destination: Destination::To(INSIDE, Port(port)),
        new_source: Source::Keep,
        reservation: Reservation::None,
    }
}

/// The first packet of what `to_port` announces, from the server's port 20.
pub fn first(port: u16) -> Tuple<V4> {
    tuple(Proto::UDP, &format!("198.51.100.7:20 > 203.0.113.2:{port}"))
}

/// The connection that opens with `first` and meets `expected`.
pub fn child(port: u16, expected: Expected<V4>) -> NewConnection<V4> {
    let reply = tuple(Proto::UDP, &format!("10.0.0.2:{port} > 198.51.100.7:20"));
    NewConnection {
        expected: Some(expected),
        ..translated(first(port), reply)
    }
}

/// Two workers, the first with one connection that announces others.
struct Gateway {
    shared: Arc<Shared>,
    tables: [Table<V4>; 2],
    control: FlowId,
    master: MasterId,
    now: Tick,
}

impl Gateway {
    fn new() -> Self {
        let shared = shared();
        let table = |n| Table::new(WorkerId(n), 4, KEY, Arc::clone(&shared));
        let mut tables = [table(0), table(1)];
        let control = commit(&mut tables[0], plain(control(1)), T0).expect("room");
        let master = tables[0].announce(control).expect("a place");
        Self {
            tables,
            control,
            master,
            now: T0,
            shared,
        }
    }

    fn all(&self) -> &Expectations {
        &self.shared.expectations
    }

    fn expect(&self, class: &Class, new: Expectation<V4>) -> Result<ExpectationId, ExpectError> {
        self.all().expect(self.master, class, new, self.now)
    }

    fn find(&self, port: u16) -> Option<Expected<V4>> {
        self.all().find(&first(port), self.now)
    }

    /// The child that opens at a worker.
    fn open(&mut self, worker: usize, port: u16) -> Result<FlowId, CommitError> {
        let expected = self.find(port).expect("announced");
        commit(&mut self.tables[worker], child(port, expected), self.now)
    }

    fn pass(&mut self, secs: u64) {
        self.now = self.now.after(Duration::from_secs(secs));
    }

    fn sweep(&self) {
        self.all().sweep(0, usize::MAX / 2, self.now);
        self.all().check_invariants().expect("sound");
    }
}

fn control(n: u16) -> Tuple<V4> {
    tuple(Proto::UDP, &format!("10.0.0.2:{n} > 198.51.100.7:21"))
}

fn commit(table: &mut Table<V4>, new: NewConnection<V4>, now: Tick) -> Result<FlowId, CommitError> {
    let id = table.commit(new, &udp(), now, &TrackingConfig::default());
    table.check_invariants().expect("sound");
    id
}

fn flow(id: FlowId, direction: Direction) -> FlowRef {
    FlowRef { id, direction }
}

#[test]
fn an_announced_connection_is_related_until_it_is_answered_whoever_owns_it() {
    let mut gateway = Gateway::new();
    let helper = HelperId::new(4);
    let new = Expectation {
        helper,
        ..to_port(5_000)
    };
    gateway.expect(&ONE, new).expect("room");
    let id = gateway.open(1, 5_000).expect("room");
    let config = TrackingConfig::default();
    let table = &mut gateway.tables[1];
    let mut track = |direction| table.track(flow(id, direction), &udp(), T0, &config);
    assert_eq!(
        track(Direction::Original),
        Tracked::Valid(ConnState::Related)
    );
    assert_eq!(
        track(Direction::Reply),
        Tracked::Valid(ConnState::Established)
    );
    assert_eq!(
        track(Direction::Original),
        Tracked::Valid(ConnState::Established)
    );
    let connection = table.connection(id, T0).expect("a connection");
    let master = MasterRef {
        worker: WorkerId(0),
        version: 4,
        id: gateway.control,
    };
    assert_eq!(connection.master, Some(master));
    assert_eq!(connection.flags.to_string(), "SCdE");
    assert_eq!(connection.helper, helper);
    gateway.tables[0].end(gateway.control, Cause::Flushed);
    let connection = gateway.tables[1].connection(id, T0).expect("it lives on");
    assert_eq!(connection.master, None);
}

#[test]
fn one_connection_takes_an_expectation_and_the_next_finds_none() {
    let mut gateway = Gateway::new();
    gateway.expect(&ONE, to_port(5_000)).expect("room");
    assert_eq!(gateway.find(5_001), None);
    let found = gateway.find(5_000).expect("announced");
    assert_eq!(found.new_destination, Destination::To(INSIDE, Port(5_000)));
    assert_eq!(found.new_source, Source::Keep);
    gateway.open(1, 5_000).expect("room");
    assert_eq!(gateway.find(5_000), None);
    let late = commit(&mut gateway.tables[0], child(5_000, found), T0);
    assert_eq!(late, Err(CommitError::ExpectationGone));
    assert_eq!(gateway.tables[0].len(), 1);
    let counts = gateway.all().counts();
    assert_eq!(
        (counts.created, counts.matched, counts.fulfilled),
        (1, 1, 1)
    );
    gateway.sweep();
}

#[test]
fn one_that_waits_until_its_timeout_is_met_by_many() {
    let mut gateway = Gateway::new();
    let new = Expectation {
        uses: Uses::UntilTimeout,
        ..to_port(5_000)
    };
    gateway.expect(&ONE, new).expect("room");
    for worker in 0..2 {
        gateway.open(worker, 5_000).expect("room");
    }
    assert!(gateway.find(5_000).is_some());
    gateway.pass(10);
    assert_eq!(gateway.find(5_000), None);
    gateway.sweep();
    let counts = gateway.all().counts();
    assert_eq!(
        (counts.matched, counts.fulfilled, counts.expired),
        (2, 0, 1)
    );
    for (at, table) in gateway.tables.iter_mut().enumerate() {
        table.expire(Tick::from_secs(5_000), 100);
        assert!(table.is_empty(), "worker {at}");
    }
    assert_eq!(gateway.all().masters(), 0, "nothing counts on the master");
}

#[test]
fn source_and_port_must_be_the_announced_ones_where_they_are_named() {
    let gateway = Gateway::new();
    let new = Expectation {
        source: Some(SERVER),
        source_port: Some(Port(20)),
        ..to_port(5_000)
    };
    gateway.expect(&ONE, new).expect("room");
    let find = |words: &str| {
        let key = tuple(Proto::UDP, words);
        gateway.all().find(&key, T0).is_some()
    };
    assert!(find("198.51.100.7:20 > 203.0.113.2:5000"));
    assert!(!find("198.51.100.7:21 > 203.0.113.2:5000"));
    assert!(!find("198.51.100.8:20 > 203.0.113.2:5000"));
    let tcp = tuple(Proto::TCP, "198.51.100.7:20 > 203.0.113.2:5000");
    assert_eq!(gateway.all().find(&tcp, T0), None);
}

#[test]
fn the_same_numbers_of_the_other_family_are_not_announced() {
    let gateway = Gateway::new();
    let new = Expectation::<V4> {
        destination: ([0; 4], Port(0)),
        proto: Proto(0),
        ..to_port(1)
    };
    gateway.expect(&ONE, new).expect("room");
    assert!(gateway.all().find(&Tuple::<V4>::default(), T0).is_some());
    assert_eq!(gateway.all().find(&Tuple::<V6>::default(), T0), None);
}

#[test]
fn ipv6_and_call_identifiers_are_announced_like_anything_else() {
    let gateway = Gateway::new();
    let (a, b) = ([0x20; 16], [0xfd; 16]);
    let new = Expectation::<V6> {
        proto: Proto::GRE,
        destination: (a, Port(77)),
        source: Some(b),
        source_port: None,
        uses: Uses::Once,
        activity: Activity::Active,
        helper: None,
        life: ChildLife::Master,
        new_destination: Destination::To(b, Port(78)),
        new_source: Source::Endpoint(a, Port(79)),
        reservation: Reservation::None,
    };
    let made = gateway.all().expect(gateway.master, &ONE, new, T0);
    assert!(made.is_ok());
    let key = Tuple::<V6> {
        src: b,
        dst: a,
        src_port: Port(0),
        dst_port: Port(77),
        proto: Proto::GRE,
    };
    let found = gateway.all().find(&key, T0).expect("announced");
    assert_eq!(found.new_destination, Destination::To(b, Port(78)));
    assert_eq!(found.new_source, Source::Endpoint(a, Port(79)));
}

#[test]
fn nothing_is_announced_any_more_when_its_master_has_ended() {
    let mut gateway = Gateway::new();
    gateway.expect(&MANY, to_port(5_000)).expect("room");
    gateway.expect(&MANY, to_port(5_001)).expect("room");
    let found = gateway.find(5_001).expect("announced");
    gateway.tables[0].end(gateway.control, Cause::Flushed);
    assert_eq!(gateway.find(5_000), None);
    let late = commit(&mut gateway.tables[1], child(5_001, found), T0);
    assert_eq!(late, Err(CommitError::ExpectationGone));
    // Another connection takes its place in the table, and is not taken for it.
    let next = commit(&mut gateway.tables[0], plain(control(2)), T0).expect("room");
    assert_eq!(next, gateway.control);
    let refused = gateway.expect(&MANY, to_port(5_002));
    assert_eq!(refused, Err(ExpectError::MasterGone));
    gateway.sweep();
    assert!(gateway.all().is_empty());
    let counts = gateway.all().counts();
    assert_eq!((counts.orphaned, counts.refused), (2, 1));
    assert_eq!(gateway.all().masters(), 0);
}

#[test]
fn a_child_that_belongs_to_its_master_ends_with_it() {
    let mut gateway = Gateway::new();
    let new = |port| Expectation {
        life: ChildLife::Master,
        ..to_port(port)
    };
    for port in [5_000, 5_001, 5_002] {
        gateway.expect(&MANY, new(port)).expect("room");
        gateway.open(1, port).expect("room");
    }
    let config = TrackingConfig::default();
    let table = &mut gateway.tables[1];
    let first_of = |port| first(port);
    let id = table.lookup(&first_of(5_000), T0).expect("it lives");
    assert!(matches!(
        table.track(id, &udp(), T0, &config),
        Tracked::Valid(_)
    ));
    gateway.tables[0].end(gateway.control, Cause::Flushed);
    let table = &mut gateway.tables[1];
    assert_eq!(table.connection(id.id, T0), None, "not listed");
    assert_eq!(table.track(id, &udp(), T0, &config), Tracked::Reopen);
    assert_eq!(table.len(), 2);
    // Its tuple is free for another, and its place is if there is need of one.
    commit(table, plain(first(5_001)), T0).expect("the tuple is free");
    for n in 1..3 {
        commit(table, plain(control(n)), T0).expect("room");
    }
    assert_eq!((table.len(), table.evicted()), (4, 0));
    commit(table, plain(control(3)), T0).expect("the orphan makes room");
    assert_eq!(table.evicted(), 0, "nobody else had to go");
    assert_eq!(gateway.all().masters(), 0);
}

#[test]
fn a_child_may_announce_others_and_both_masters_are_known() {
    let mut gateway = Gateway::new();
    gateway.expect(&ONE, to_port(5_000)).expect("room");
    let middle = gateway.open(1, 5_000).expect("room");
    let master = gateway.tables[1].announce(middle).expect("a place");
    assert_eq!(gateway.tables[1].announce(middle), Some(master));
    let parent = gateway.tables[1].master(middle).map(|m| m.id);
    assert_eq!(parent, Some(gateway.control));
    let made = gateway.all().expect(master, &ONE, to_port(6_000), T0);
    assert!(made.is_ok());
    let last = gateway.open(0, 6_000).expect("room");
    assert_eq!(gateway.tables[0].master(last).map(|m| m.id), Some(middle));
    gateway.tables[1].end(middle, Cause::Flushed);
    assert_eq!(gateway.tables[0].master(last), None);
    gateway.tables[0].end(last, Cause::Flushed);
    assert_eq!(gateway.all().masters(), 1, "the first one lives");
    gateway.tables[0].end(gateway.control, Cause::Flushed);
    assert_eq!(gateway.all().masters(), 0);
}

#[test]
fn one_more_than_a_class_allows_takes_the_place_of_the_oldest() {
    let gateway = Gateway::new();
    gateway.expect(&ONE, to_port(4_999)).expect("room");
    for port in 5_000..5_005 {
        gateway.expect(&MANY, to_port(port)).expect("room");
    }
    let left: Vec<u16> = (4_990..5_010)
        .filter(|&port| gateway.find(port).is_some())
        .collect();
    assert_eq!(left, [4_999, 5_002, 5_003, 5_004]);
    assert_eq!(gateway.all().counts().replaced, 2);
    gateway.sweep();
}

#[test]
fn no_master_fills_the_table_alone() {
    let gateway = Gateway::new();
    let class = |number| Class {
        number,
        max_expected: 200,
        ..ONE
    };
    let all: Vec<_> = (0..200)
        .map(|n| gateway.expect(&class(u8::try_from(n % 2).unwrap_or(0)), to_port(n)))
        .collect();
    // The table of this test has room for 64.
    assert!(all[..64].iter().all(Result::is_ok));
    assert!(all[64..].iter().all(|made| *made == Err(ExpectError::Full)));
    assert_eq!(gateway.all().counts().refused, 136);
    gateway.sweep();
}

#[test]
fn an_announcement_made_again_replaces_the_first() {
    let mut gateway = Gateway::new();
    let first = gateway.expect(&MANY, to_port(5_000)).expect("room");
    gateway.pass(9);
    let second = Expectation {
        new_destination: Destination::Keep,
        ..to_port(5_000)
    };
    gateway.expect(&MANY, second).expect("room");
    assert_eq!(gateway.all().len(), 1);
    assert!(!gateway.all().withdraw(first), "it is gone");
    gateway.pass(9);
    let found = gateway.find(5_000).expect("it waits anew");
    assert_eq!(found.new_destination, Destination::Keep);
}

#[test]
fn nobody_announces_what_would_be_met_by_anothers_packet() {
    let mut gateway = Gateway::new();
    gateway.expect(&MANY, to_port(5_000)).expect("room");
    let other = commit(&mut gateway.tables[0], plain(control(2)), T0).expect("room");
    let other = gateway.tables[0].announce(other).expect("a place");
    let narrow = || Expectation {
        source: Some(SERVER),
        ..to_port(5_000)
    };
    let by = |master, new| gateway.all().expect(master, &MANY, new, gateway.now);
    assert_eq!(by(other, to_port(5_000)), Err(ExpectError::Clash));
    assert_eq!(by(other, narrow()), Err(ExpectError::Clash));
    assert_eq!(by(gateway.master, narrow()), Err(ExpectError::Clash));
    assert!(by(other, to_port(5_001)).is_ok());
    let apart = Expectation {
        source: Some([192, 0, 2, 1]),
        ..to_port(5_002)
    };
    let (one, two) = (
        Expectation {
            source: Some(SERVER),
            ..to_port(5_002)
        },
        apart,
    );
    assert!(by(other, one).is_ok());
    assert!(by(gateway.master, two).is_ok(), "no packet meets both");
    gateway.pass(10);
    let by = |master, new| gateway.all().expect(master, &MANY, new, gateway.now);
    assert!(by(other, to_port(5_000)).is_ok(), "the first timed out");
}

#[test]
fn an_inactive_one_is_found_from_its_activation_on() {
    let mut gateway = Gateway::new();
    let new = Expectation {
        activity: Activity::Inactive,
        ..to_port(5_000)
    };
    let id = gateway.expect(&ONE, new).expect("room");
    assert_eq!(gateway.find(5_000), None);
    let until = gateway.now.after(Duration::from_secs(60));
    assert!(gateway.all().activate(id, until));
    gateway.pass(59);
    assert!(gateway.find(5_000).is_some());
    assert!(
        gateway
            .all()
            .refresh(id, until.after(Duration::from_secs(60)))
    );
    gateway.pass(59);
    gateway.sweep();
    assert!(gateway.find(5_000).is_some());
    assert!(gateway.all().withdraw(id));
    assert_eq!(gateway.find(5_000), None);
    assert!(!gateway.all().refresh(id, until) && !gateway.all().activate(id, until));
    assert_eq!(gateway.all().counts().withdrawn, 1);
    gateway.sweep();
}

#[test]
fn a_reserved_port_passes_to_the_child_and_back_when_that_ends() {
    let mut gateway = Gateway::new();
    let pools = Pools::<V4>::build(None, [OUTSIDE]);
    let ports = Arc::clone(pools.ports(OUTSIDE).expect("an external address"));
    let users = |port| ports.users(PortSpace::Udp, Port(port));
    let inside = (INSIDE, Port(5_000));
    let claim = |host: [u8; 4], port| {
        reserve(
            &pools,
            Proto::UDP,
            (OUTSIDE, Port(port)),
            (host, inside.1),
            &KEY,
        )
    };
    let reserved = |port| Expectation {
        reservation: Reservation::Destination(claim(INSIDE, port).expect("free")),
        ..to_port(port)
    };
    gateway.expect(&MANY, reserved(5_000)).expect("room");
    gateway.expect(&MANY, reserved(5_001)).expect("room");
    let wrong = Expectation {
        reservation: reserved(5_002).reservation,
        ..to_port(5_003)
    };
    let refused = gateway.expect(&MANY, wrong);
    assert_eq!(refused, Err(ExpectError::Reservation));
    assert_eq!((users(5_000), users(5_001), users(5_002)), (1, 1, 0));
    assert!(claim([10, 0, 0, 9], 5_000).is_none(), "it is another's");
    let id = gateway.open(1, 5_000).expect("room");
    gateway.sweep();
    assert_eq!((users(5_000), gateway.all().len()), (1, 1));
    gateway.tables[1].end(id, Cause::Flushed);
    assert_eq!(users(5_000), 0);
    gateway.pass(10);
    gateway.sweep();
    assert_eq!(users(5_001), 0, "it timed out");
}

#[test]
fn a_reserved_source_is_held_as_the_connections_own() {
    let mut gateway = Gateway::new();
    let pools = Pools::<V4>::build(None, [OUTSIDE]);
    let external = (OUTSIDE, Port(7_000));
    let claim = reserve(&pools, Proto::UDP, external, (INSIDE, Port(9)), &KEY);
    let new = Expectation {
        destination: (SERVER, Port(30)),
        new_destination: Destination::Keep,
        new_source: Source::Endpoint(OUTSIDE, Port(7_000)),
        reservation: Reservation::Source(claim.expect("free")),
        ..to_port(0)
    };
    gateway.expect(&ONE, new).expect("room");
    let out = tuple(Proto::UDP, "10.0.0.2:9 > 198.51.100.7:30");
    let expected = gateway.all().find(&out, T0);
    let reply = tuple(Proto::UDP, "198.51.100.7:30 > 203.0.113.2:7000");
    let new = NewConnection {
        expected,
        ..translated(out, reply)
    };
    let id = commit(&mut gateway.tables[0], new, T0).expect("room");
    let ports = pools.ports(OUTSIDE).expect("an external address");
    assert_eq!(ports.in_use(PortSpace::Udp), 1);
    gateway.tables[0].end(id, Cause::Flushed);
    assert_eq!(ports.in_use(PortSpace::Udp), 0);
}

#[test]
fn a_connection_knows_when_its_last_packet_came() {
    let mut gateway = Gateway::new();
    let config = TrackingConfig::default();
    let table = &mut gateway.tables[0];
    let id = gateway.control;
    let later = T0.after(Duration::from_millis(2_500));
    let idle = |table: &Table<V4>, now| table.connection(id, now).expect("it lives").idle_ms;
    assert_eq!(idle(table, later), 2_500);
    table.track(flow(id, Direction::Reply), &udp(), later, &config);
    assert_eq!(idle(table, later), 0);
    // A packet that does not belong to it says nothing of it.
    let much_later = later.after(Duration::from_millis(1_300));
    let broken = Segment {
        checksum: Checksum::Bad,
        ..udp()
    };
    let alien = table.track(flow(id, Direction::Original), &broken, much_later, &config);
    assert!(matches!(alien, Tracked::Invalid(_)));
    assert_eq!(idle(table, much_later), 1_300);
}
