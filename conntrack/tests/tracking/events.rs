//! Events: every change is told once, with its cause and the connection as it was.

use std::time::Duration;

use crate::support::{KEY, plain, shared, tcp, tuple, udp};
use turnpike_conntrack::events::{Cause, Change, Event, Journals, NOTES_MAX};
use turnpike_conntrack::ids::{Direction, FlowId, FlowRef, WorkerId};
use turnpike_conntrack::segment::Segment;
use turnpike_conntrack::table::{Connection, Tracked};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::{Capacity, Conntrack};
use turnpike_conntrack::tuple::{Proto, Tuple, V4};
use turnpike_conntrack::walk::AnyConnection;

const T0: Tick = Tick::from_secs(1_000);

fn conntrack(v4: usize) -> Conntrack {
    Conntrack::new(WorkerId(0), Capacity { v4, v6: 16 }, KEY, shared())
}

fn watched(v4: usize) -> Conntrack {
    let mut conntrack = conntrack(v4);
    assert!(conntrack.watch(Some(Journals::default())).is_none());
    conntrack
}

fn take(conntrack: &mut Conntrack, now: Tick) -> Vec<Event> {
    let mut events = Vec::new();
    assert_eq!(conntrack.take_events(now, |event| events.push(event)), 0);
    events
}

fn changes(conntrack: &mut Conntrack) -> Vec<Change> {
    let events = take(conntrack, T0);
    events.iter().map(|event| event.change).collect()
}

fn of_v4(event: &Event) -> &Connection<V4> {
    match &event.connection {
        AnyConnection::V4(connection) => connection,
        AnyConnection::V6(_) => panic!("an IPv6 connection"),
    }
}

fn numbered(n: u16) -> Tuple<V4> {
    tuple(Proto::UDP, &format!("10.0.0.2:{n} > 198.51.100.7:53"))
}

fn open(conntrack: &mut Conntrack, original: Tuple<V4>, first: &Segment) -> FlowId {
    let config = TrackingConfig::default();
    conntrack
        .v4
        .commit(plain(original), first, T0, &config)
        .expect("room")
}

fn track(
    conntrack: &mut Conntrack,
    id: FlowId,
    direction: Direction,
    segment: &Segment,
) -> Tracked {
    let config = TrackingConfig::default();
    let flow = FlowRef { id, direction };
    conntrack.v4.track(flow, segment, T0, &config)
}

#[test]
fn nothing_is_told_while_nobody_watches() {
    let mut conntrack = conntrack(4);
    let id = open(&mut conntrack, numbered(1), &udp());
    conntrack.v4.end(id, Cause::Flushed);
    assert!(!conntrack.is_watched());
    assert_eq!(changes(&mut conntrack), []);
    // Nor is what happened before told to who comes later.
    conntrack.watch(Some(Journals::default()));
    assert_eq!(changes(&mut conntrack), []);
}

#[test]
fn a_connection_is_new_once_and_updated_when_a_flag_changes() {
    let mut conntrack = watched(4);
    let id = open(&mut conntrack, numbered(1), &udp());
    assert_eq!(changes(&mut conntrack), [Change::New]);
    track(&mut conntrack, id, Direction::Original, &udp());
    assert_eq!(changes(&mut conntrack), [], "a packet changes no flag");
    track(&mut conntrack, id, Direction::Reply, &udp());
    let events = take(&mut conntrack, T0);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].change, Change::Update);
    assert_eq!(of_v4(&events[0]).flags.to_string(), "SC");
    assert_eq!(of_v4(&events[0]).packets, [2, 1], "the packet is counted");
    track(&mut conntrack, id, Direction::Reply, &udp());
    assert_eq!(changes(&mut conntrack), [], "the flag was set already");
}

#[test]
fn each_state_of_a_tcp_connection_is_told() {
    let mut conntrack = watched(4);
    let original = tuple(Proto::TCP, "10.0.0.2:4000 > 198.51.100.7:80");
    let id = open(&mut conntrack, original, &tcp("S 100:100(0)"));
    for (direction, segment) in [
        (Direction::Reply, "S. 500:500(0) ack 101"),
        (Direction::Original, ". 101:101(0) ack 501"),
        (Direction::Original, "P. 101:151(50) ack 501"),
        (Direction::Reply, "R. 501:501(0) ack 151"),
    ] {
        let tracked = track(&mut conntrack, id, direction, &tcp(segment));
        assert!(matches!(tracked, Tracked::Valid(_)), "{segment}");
    }
    let events = take(&mut conntrack, T0);
    let states: Vec<_> = events.iter().filter_map(|e| of_v4(e).state).collect();
    let wanted = ["syn-sent", "syn-received", "established", "close"];
    assert_eq!(states, wanted, "the payload changed nothing");
}

#[test]
fn marks_and_fasttrack_are_told_once() {
    let mut conntrack = watched(4);
    let id = open(&mut conntrack, numbered(1), &udp());
    take(&mut conntrack, T0);
    conntrack.v4.set_mark(id, 7);
    conntrack.v4.set_mark(id, 7);
    conntrack.v4.set_fasttracked(id);
    conntrack.v4.set_fasttracked(id);
    let events = take(&mut conntrack, T0);
    let told: Vec<_> = events
        .iter()
        .map(|e| (of_v4(e).mark, of_v4(e).flags.to_string()))
        .collect();
    assert_eq!(told, [(7, "C".to_owned()), (7, "CF".to_owned())]);
}

#[test]
fn an_expired_connection_is_told_with_its_final_counts() {
    let mut conntrack = watched(4);
    let id = open(&mut conntrack, numbered(1), &udp());
    track(&mut conntrack, id, Direction::Original, &udp());
    let later = T0.after(Duration::from_secs(60));
    conntrack.v4.expire(later, 16);
    let events = take(&mut conntrack, later);
    assert_eq!(events[1].change, Change::Destroy(Cause::Expired));
    assert_eq!(events[1].at, later);
    assert_eq!(of_v4(&events[1]).packets, [2, 0]);
    assert_eq!(of_v4(&events[1]).bytes, [200, 0]);
    assert_eq!(of_v4(&events[1]).start_secs, 1_000);
    assert_eq!(of_v4(&events[1]).timeout, Duration::ZERO);
    assert_eq!(of_v4(&events[1]).pair.original, numbered(1));
}

#[test]
fn an_evicted_connection_is_told_before_the_one_it_made_room_for() {
    let mut conntrack = watched(1);
    open(&mut conntrack, numbered(1), &udp());
    open(&mut conntrack, numbered(2), &udp());
    let told = changes(&mut conntrack);
    let wanted = [Change::New, Change::Destroy(Cause::Evicted), Change::New];
    assert_eq!(told, wanted);
}

#[test]
fn what_an_opening_packet_replaces_is_told_as_reopened() {
    let mut conntrack = watched(4);
    let original = tuple(Proto::TCP, "10.0.0.2:4000 > 198.51.100.7:80");
    let id = open(&mut conntrack, original, &tcp("S 100:100(0)"));
    for (direction, segment) in [
        (Direction::Reply, "S. 500:500(0) ack 101"),
        (Direction::Original, ". 101:101(0) ack 501"),
        (Direction::Reply, "R. 501:501(0) ack 101"),
    ] {
        track(&mut conntrack, id, direction, &tcp(segment));
    }
    let again = track(
        &mut conntrack,
        id,
        Direction::Original,
        &tcp("S 9000:9000(0)"),
    );
    assert_eq!(again, Tracked::Reopen);
    let told = changes(&mut conntrack);
    assert_eq!(told.last(), Some(&Change::Destroy(Cause::Reopened)));
}

#[test]
fn whoever_ends_a_connection_says_why_and_it_ends_once() {
    let mut conntrack = watched(4);
    for cause in Cause::ALL {
        let id = open(&mut conntrack, numbered(1), &udp());
        conntrack.v4.end(id, cause);
        conntrack.v4.end(id, cause);
        let told = changes(&mut conntrack);
        assert_eq!(told, [Change::New, Change::Destroy(cause)]);
    }
}

#[test]
fn a_connection_that_does_not_come_to_be_is_not_told() {
    let mut conntrack = watched(4);
    open(&mut conntrack, numbered(1), &udp());
    take(&mut conntrack, T0);
    let config = TrackingConfig::default();
    let clash = conntrack.v4.commit(plain(numbered(1)), &udp(), T0, &config);
    assert!(clash.is_err());
    assert_eq!(changes(&mut conntrack), []);
}

#[test]
fn what_a_full_journal_cannot_hold_is_counted_and_the_rest_told() {
    let mut conntrack = watched(4);
    let id = open(&mut conntrack, numbered(1), &udp());
    for mark in 1..=NOTES_MAX as u32 {
        conntrack.v4.set_mark(id, mark);
    }
    let mut events = Vec::new();
    let lost = conntrack.take_events(T0, |event| events.push(event));
    assert_eq!((events.len(), lost), (NOTES_MAX, 1));
    assert_eq!(of_v4(&events[NOTES_MAX - 1]).mark, NOTES_MAX as u32 - 1);
    let none = conntrack.take_events(T0, |_| ());
    assert_eq!(none, 0, "a loss is counted once");
}

#[test]
fn noting_takes_no_memory() {
    let mut conntrack = watched(64);
    let config = TrackingConfig::default();
    let tuples: Vec<Tuple<V4>> = (1..500).map(numbered).collect();
    let mut told = 0;
    let used = allocation_counter::measure(|| {
        for original in &tuples {
            let id = conntrack
                .v4
                .commit(plain(*original), &udp(), T0, &config)
                .expect("room");
            conntrack.v4.set_mark(id, 9);
        }
        conntrack.take_events(T0, |_| told += 1);
    });
    assert_eq!(used.count_total, 0);
    // 499 were opened and marked, and all but 64 of them evicted.
    assert_eq!(told, 2 * 499 + 499 - 64);
}

#[test]
fn journals_come_back_when_watching_ends() {
    let mut conntrack = watched(4);
    assert!(conntrack.watch(None).is_some());
    assert!(!conntrack.is_watched());
    open(&mut conntrack, numbered(1), &udp());
    assert_eq!(changes(&mut conntrack), []);
}
