//! Registration, admission and status: for how long what is announced, and what is told.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_conntrack::expect::{ChildLife, Uses};
use turnpike_conntrack::ids::Direction::{self, Original, Reply};

use super::super::Registration;
use super::super::per::Place::{Called, Registered, Requests, Told};
use super::messages::{at, name, registration};
use crate::helper::{Opener, Reader, Transport};
use crate::testing::{Dialogue, behind_nat};

const REQUEST: u64 = 3;
const CONFIRM: u64 = 4;
const REJECT: u64 = 5;
const ADMISSION_REQUEST: u64 = 9;
const ADMISSION_CONFIRM: u64 = 10;
const LOCATION_REQUEST: u64 = 18;

fn gatekeeper() -> Dialogue<Registration> {
    Dialogue::new(Registration::new(), behind_nat(Transport::Udp, 1719, 1719))
}

fn announced(dialogue: &Dialogue<Registration>) -> Vec<(Direction, SocketAddr)> {
    let announced = dialogue.desk.announced.iter();
    announced.map(|a| (a.from, a.wanted.listener)).collect()
}

/// Where calls are taken, and where requests.
fn register() -> Vec<u8> {
    let taken = (Registered, "10.0.0.2:1720");
    registration(REQUEST, &[taken, (Requests, "10.0.0.2:1719")])
}

/// The message with its time to live set, or added as the only addition.
fn holding(message: &[u8], seconds: u16) -> Vec<u8> {
    // No message made here has additions: the bit that says so is the first of the sequence.
    assert_eq!(message[0] & 2, 0);
    let mut message = message.to_vec();
    message[0] |= 2;
    let [high, low] = (seconds - 1).to_be_bytes();
    // Two additions, the second of which is there: three octets, the first of which says two.
    message.extend([0x02, 0x80, 3, 0x40, high, low]);
    message
}

#[test]
fn where_calls_are_taken_is_announced_as_long_as_is_granted() {
    let mut gatekeeper = gatekeeper();
    let arrived = gatekeeper.say(Original, register()).unwrap();
    let told = name(at("203.0.113.2:40000"));
    assert!(arrived.windows(6).any(|w| w == told));
    assert_eq!(announced(&gatekeeper), [(Original, at("10.0.0.2:1720"))]);
    let wanted = gatekeeper.desk.announced[0].wanted;
    assert_eq!(wanted.transport, Transport::Tcp);
    assert_eq!(
        (wanted.uses, wanted.life),
        (Uses::UntilTimeout, ChildLife::Own)
    );
    assert_eq!(wanted.opener, Opener::Receiver);
    assert_eq!(wanted.reader, Some(Reader::CallSignalling));
    assert_eq!(wanted.class.timeout, Duration::from_secs(240));
    assert_eq!(gatekeeper.desk.kept, None);

    let confirm = holding(&registration(CONFIRM, &[]), 60);
    assert_eq!(gatekeeper.say(Reply, &confirm).unwrap(), confirm);
    assert_eq!(announced(&gatekeeper), [(Original, at("10.0.0.2:1720"))]);
    let again = gatekeeper.desk.announced[0];
    assert_eq!(again.wanted.class.timeout, Duration::from_secs(60));
    assert_eq!(again.known_as, at("203.0.113.2:40000"));
    assert_eq!(gatekeeper.desk.kept, Some(Duration::from_secs(60)));
}

#[test]
fn a_repetition_that_leaves_out_where_calls_are_taken_keeps_them() {
    let mut gatekeeper = gatekeeper();
    gatekeeper.say(Original, register()).unwrap();
    let again = holding(&registration(REQUEST, &[(Requests, "10.0.0.2:1719")]), 30);
    gatekeeper.say(Original, again).unwrap();
    let confirm = holding(&registration(CONFIRM, &[]), 30);
    gatekeeper.say(Reply, confirm).unwrap();
    let wanted = gatekeeper.desk.announced[0].wanted;
    assert_eq!(wanted.class.timeout, Duration::from_secs(30));
}

#[test]
fn a_registration_that_is_rejected_or_ends_takes_back_what_it_announced() {
    // The confirmation that a registration has ended has a number and nothing else.
    let unregistered = vec![0x1c, 0, 1];
    for end in [registration(REJECT, &[]), unregistered] {
        let mut gatekeeper = gatekeeper();
        gatekeeper.say(Original, register()).unwrap();
        gatekeeper.say(Reply, &end).unwrap();
        assert_eq!(announced(&gatekeeper), []);
        // And a confirmation of nothing announces nothing.
        gatekeeper.say(Reply, registration(CONFIRM, &[])).unwrap();
        assert_eq!(announced(&gatekeeper), []);
        assert_eq!(gatekeeper.desk.kept, None);
    }
}

#[test]
fn a_registration_that_says_nothing_of_time_holds_an_hour() {
    let mut gatekeeper = gatekeeper();
    gatekeeper.say(Original, register()).unwrap();
    gatekeeper.say(Reply, registration(CONFIRM, &[])).unwrap();
    let wanted = gatekeeper.desk.announced[0].wanted;
    assert_eq!(wanted.class.timeout, Duration::from_secs(3_600));
}

#[test]
fn a_registration_for_ages_holds_a_day() {
    let mut gatekeeper = gatekeeper();
    gatekeeper.say(Original, register()).unwrap();
    let mut confirm = registration(CONFIRM, &[]);
    confirm[0] |= 2;
    // Four octets of time.
    confirm.extend([0x02, 0x80, 5, 0xc0, 0xff, 0xff, 0xff, 0xf0]);
    gatekeeper.say(Reply, confirm).unwrap();
    assert_eq!(gatekeeper.desk.kept, Some(Duration::from_secs(86_400)));
}

#[test]
fn where_requests_are_taken_is_announced_if_it_is_not_the_connection_itself() {
    let mut gatekeeper = gatekeeper();
    let own = registration(LOCATION_REQUEST, &[(Requests, "10.0.0.2:1719")]);
    let arrived = gatekeeper.say(Original, &own).unwrap();
    let told = name(at("203.0.113.2:1719"));
    assert!(arrived.windows(6).any(|w| w == told));
    assert_eq!(announced(&gatekeeper), []);

    let other = registration(LOCATION_REQUEST, &[(Requests, "10.0.0.2:2719")]);
    let arrived = gatekeeper.say(Original, &other).unwrap();
    let told = name(at("203.0.113.2:40000"));
    assert!(arrived.windows(6).any(|w| w == told));
    let wanted = gatekeeper.desk.announced[0].wanted;
    assert_eq!(wanted.transport, Transport::Udp);
    assert_eq!(wanted.reader, Some(Reader::Registration));
}

#[test]
fn a_gatekeeper_that_takes_calls_itself_is_announced_and_another_host_is_not() {
    let mut gatekeeper = gatekeeper();
    let other = registration(ADMISSION_CONFIRM, &[(Called, "198.51.100.8:1721")]);
    assert_eq!(gatekeeper.say(Reply, &other).unwrap(), other);
    assert_eq!(announced(&gatekeeper), []);
    let own = registration(ADMISSION_CONFIRM, &[(Called, "198.51.100.7:1721")]);
    assert_eq!(gatekeeper.say(Reply, &own).unwrap(), own);
    assert_eq!(announced(&gatekeeper), [(Reply, at("198.51.100.7:1721"))]);
}

#[test]
fn an_answer_to_a_registered_endpoint_is_told_where_that_takes_calls() {
    let mut gatekeeper = gatekeeper();
    gatekeeper.say(Original, register()).unwrap();
    // The endpoint asks whether it may answer, and is told where it is called.
    let request = registration(ADMISSION_REQUEST, &[(Told, "10.0.0.2:1720")]);
    let arrived = gatekeeper.say(Original, &request).unwrap();
    let outside = name(at("203.0.113.2:40000"));
    assert!(arrived.windows(6).any(|w| w == outside));
    let confirm = registration(ADMISSION_CONFIRM, &[(Called, "203.0.113.2:40000")]);
    let arrived = gatekeeper.say(Reply, &confirm).unwrap();
    let inside = name(at("10.0.0.2:1720"));
    assert!(arrived.windows(6).any(|w| w == inside));
    assert_eq!(gatekeeper.desk.announced.len(), 1);
}

#[test]
fn a_datagram_that_is_something_else_ends_reading_at_the_start_and_passes_later() {
    // What a browser can be made to send: STUN, and DNS.
    let stun = [
        0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    let mut fresh = gatekeeper();
    assert_eq!(fresh.say(Original, stun).unwrap(), stun);
    assert!(fresh.left);
    let mut known = gatekeeper();
    known.say(Original, register()).unwrap();
    assert_eq!(known.say(Original, stun).unwrap(), stun);
    assert!(!known.left);
}
