//! Connections taken over by another table, as they stand.

use std::time::Duration;

use crate::support::{plain, table, tcp, translated, tuple, udp};
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::{ConnState, Direction, FlowRef};
use turnpike_conntrack::table::Tracked;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::Proto;

const T0: Tick = Tick::from_secs(1_000);

#[test]
fn a_graft_goes_on_where_the_connection_is_and_leaves_that_alone() {
    let config = TrackingConfig::default();
    let (mut live, mut beside) = (table(4), table(4));
    let opening = tuple(Proto::TCP, "10.0.0.2:5000 > 198.51.100.7:80");
    let syn = tcp("S 100:100(0) win 1000");
    let id = live
        .commit(plain(opening), &syn, T0, &config)
        .expect("room");
    let flow = |direction| FlowRef { id, direction };
    live.track(
        flow(Direction::Reply),
        &tcp("S. 500:500(0) ack 101 win 1000"),
        T0,
        &config,
    );
    live.track(
        flow(Direction::Original),
        &tcp(". 101:101(0) ack 501 win 1000"),
        T0,
        &config,
    );
    live.set_mark(id, 7);
    let graft = live.graft(id, T0).expect("it lives");
    assert_eq!(graft.next_numbers(Direction::Original), Some((101, 501)));
    assert_eq!(graft.next_numbers(Direction::Reply), Some((501, 101)));
    let later = T0.after(Duration::from_secs(5));
    let taken = beside.take_in(&graft, later).expect("room");
    beside.check_invariants().expect("invariants");
    assert_eq!(
        (beside.mark(taken), beside.state_name(taken)),
        (7, Some("established"))
    );
    let back = beside
        .lookup(&opening.inverse(), later)
        .expect("it is found");
    assert_eq!(back.direction, Direction::Reply);
    let before = live.connection(id, T0);
    let fits = tcp("P. 501:601(100) ack 101 win 1000");
    let tracked = beside.track(back, &fits, later, &config);
    assert_eq!(tracked, Tracked::Valid(ConnState::Established));
    let stray = tcp("P. 90501:90601(100) ack 101 win 1000");
    assert!(matches!(
        beside.track(back, &stray, later, &config),
        Tracked::Invalid(_)
    ));
    assert_eq!(live.connection(id, T0), before);
    live.check_invariants().expect("invariants");
}

#[test]
fn a_graft_ends_when_its_connection_does_and_takes_no_claims_along() {
    let config = TrackingConfig::default();
    let (mut live, mut beside) = (table(4), table(1));
    let opening = tuple(Proto::UDP, "10.0.0.2:5000 > 198.51.100.7:53");
    let reply = tuple(Proto::UDP, "198.51.100.7:53 > 203.0.113.2:5000");
    let new = translated(opening, reply);
    let id = live.commit(new, &udp(), T0, &config).expect("room");
    let graft = live.graft(id, T0).expect("it lives");
    assert_eq!(graft.next_numbers(Direction::Original), None);
    let taken = beside.take_in(&graft, T0).expect("room");
    assert!(beside.flags(taken).contains(Flags::SRCNAT));
    let over = T0.after(config.timeouts.udp);
    assert!(beside.lookup(&reply, over).is_none());
    assert!(live.graft(id, over).is_none());
    // What is full makes room, as for any connection.
    let other = tuple(Proto::UDP, "10.0.0.2:5001 > 198.51.100.7:53");
    beside
        .commit(plain(other), &udp(), over, &config)
        .expect("room");
    beside.check_invariants().expect("invariants");
}
