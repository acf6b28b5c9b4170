//! Call signalling and control of media: what is announced, what is told, and what is left alone.

use std::net::SocketAddr;

use turnpike_conntrack::expect::Uses;
use turnpike_conntrack::ids::Direction::{self, Original, Reply};

use super::super::per::Place::{Called, Control, Data, Media, Reports, Told};
use super::super::{CallSignalling, MediaControl};
use super::messages::{FACILITY, RELEASE_COMPLETE, SETUP, at, media, name, q931, signalling, tpkt};
use crate::helper::{MESSAGE_MAX, Opener, Ports, Reader, Refusal, Transport};
use crate::testing::{Dialogue, TestDesk, before_nat, behind_nat, untranslated};

fn call() -> Dialogue<CallSignalling> {
    Dialogue::new(
        CallSignalling::new(),
        behind_nat(Transport::Tcp, 40_000, 1720),
    )
}

fn control() -> Dialogue<MediaControl> {
    Dialogue::new(
        MediaControl::new(),
        behind_nat(Transport::Tcp, 50_001, 12_030),
    )
}

fn announced(desk: &TestDesk) -> Vec<(Direction, SocketAddr, Ports)> {
    let announced = desk.announced.iter();
    announced
        .map(|a| (a.from, a.wanted.listener, a.wanted.ports))
        .collect()
}

/// Bytes, with each of these endpoints told otherwise.
fn with(bytes: &[u8], changes: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (from, to) in changes {
        let (from, to) = (name(at(from)), name(at(to)));
        let found: Vec<usize> = (0..=bytes.len() - from.len())
            .filter(|n| bytes[*n..].starts_with(&from))
            .collect();
        assert!(!found.is_empty(), "{from:?} is not there");
        for n in found {
            bytes[n..n + to.len()].copy_from_slice(&to);
        }
    }
    bytes
}

#[test]
fn where_control_is_to_be_connected_to_is_announced_and_told_by_its_outside_name() {
    let mut call = call();
    let setup = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    let arrived = call.say(Original, &setup).unwrap();
    assert_eq!(
        arrived,
        with(&setup, &[("10.0.0.2:5000", "203.0.113.2:40000")])
    );
    let [a] = call.desk.announced[..] else {
        panic!("{:?}", call.desk.announced)
    };
    assert_eq!((a.from, a.wanted.transport), (Original, Transport::Tcp));
    assert_eq!(
        (a.wanted.uses, a.wanted.opener),
        (Uses::Once, Opener::Receiver)
    );
    assert_eq!(a.wanted.reader, Some(Reader::MediaControl));
}

#[test]
fn media_and_their_reports_are_one_pair() {
    let mut control = control();
    let open = media(&[(Media, "10.0.0.2:5000"), (Reports, "10.0.0.2:5001")]);
    let told = with(
        &open,
        &[
            ("10.0.0.2:5000", "203.0.113.2:40000"),
            ("10.0.0.2:5001", "203.0.113.2:40001"),
        ],
    );
    assert_eq!(control.say(Original, &open).unwrap(), told);
    assert_eq!(
        announced(&control.desk),
        [(Original, at("10.0.0.2:5000"), Ports::EvenPair)]
    );
    assert_eq!(control.desk.announced[0].wanted.transport, Transport::Udp);
}

#[test]
fn reports_alone_keep_the_port_below_for_the_media() {
    let mut control = control();
    let open = media(&[(Reports, "10.0.0.2:5001")]);
    let told = with(&open, &[("10.0.0.2:5001", "203.0.113.2:40001")]);
    assert_eq!(control.say(Original, &open).unwrap(), told);
    let answer = media(&[(Media, "10.0.0.2:5000"), (Reports, "10.0.0.2:5001")]);
    let told = with(
        &answer,
        &[
            ("10.0.0.2:5000", "203.0.113.2:40000"),
            ("10.0.0.2:5001", "203.0.113.2:40001"),
        ],
    );
    assert_eq!(control.say(Original, &answer).unwrap(), told);
    assert_eq!(
        announced(&control.desk),
        [(Original, at("10.0.0.2:5000"), Ports::EvenPair)]
    );
}

#[test]
fn an_odd_port_of_media_and_an_even_one_of_reports_stand_alone() {
    let mut control = control();
    let open = media(&[(Media, "10.0.0.2:5001"), (Reports, "10.0.0.2:5008")]);
    control.say(Original, &open).unwrap();
    assert_eq!(
        announced(&control.desk),
        [
            (Original, at("10.0.0.2:5001"), Ports::One),
            (Original, at("10.0.0.2:5008"), Ports::One)
        ]
    );
}

#[test]
fn data_may_be_connected_to_several_times() {
    let mut control = control();
    let open = media(&[(Data, "10.0.0.2:1503")]);
    let told = with(&open, &[("10.0.0.2:1503", "203.0.113.2:40000")]);
    assert_eq!(control.say(Original, &open).unwrap(), told);
    let wanted = control.desk.announced[0].wanted;
    assert_eq!(
        (wanted.transport, wanted.uses),
        (Transport::Tcp, Uses::UntilTimeout)
    );
    assert_eq!(wanted.reader, None);
}

#[test]
fn what_the_server_names_behind_its_nat_is_told_by_its_outside_name() {
    let session = before_nat(Transport::Tcp, 40_000, 1720);
    let mut call = Dialogue::new(CallSignalling::new(), session);
    let connect = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    let told = with(&connect, &[("10.0.0.2:5000", "203.0.113.2:40000")]);
    assert_eq!(call.say(Reply, &connect).unwrap(), told);
    assert_eq!(
        announced(&call.desk),
        [(Reply, at("10.0.0.2:5000"), Ports::One)]
    );
    // The client calls an address that is the gateway's.
    let setup = signalling(SETUP, &[(Told, "203.0.113.2:1720")]);
    let told = with(&setup, &[("203.0.113.2:1720", "10.0.0.2:1720")]);
    assert_eq!(call.say(Original, &setup).unwrap(), told);
}

#[test]
fn without_translation_listeners_are_announced_and_nothing_is_changed() {
    let session = untranslated(
        Transport::Tcp,
        at("[2001:db8::2]:40000"),
        at("[2001:db8::7]:1720"),
    );
    let mut call = Dialogue::new(CallSignalling::new(), session);
    let setup = signalling(SETUP, &[(Control, "[2001:db8::2]:5000")]);
    assert_eq!(call.say(Original, &setup).unwrap(), setup);
    assert_eq!(
        announced(&call.desk),
        [(Original, at("[2001:db8::2]:5000"), Ports::One)]
    );
}

#[test]
fn ipv6_endpoints_are_replaced_in_place() {
    let mut session = untranslated(
        Transport::Tcp,
        at("[fd00::2]:40000"),
        at("[2001:db8::7]:1720"),
    );
    session.server.peer = at("[2001:db8:1::1]:40000");
    let mut call = Dialogue::new(CallSignalling::new(), session);
    let setup = signalling(SETUP, &[(Control, "[fd00::2]:5000")]);
    let told = with(&setup, &[("[fd00::2]:5000", "[2001:db8:1::1]:40000")]);
    assert_eq!(call.say(Original, &setup).unwrap(), told);
}

#[test]
fn another_hosts_address_and_a_low_port_are_left_alone() {
    for endpoint in [
        "10.0.0.3:5000",
        "10.0.0.2:1023",
        "10.0.0.2:0",
        "0.0.0.0:5000",
    ] {
        let mut call = call();
        let setup = signalling(SETUP, &[(Control, endpoint)]);
        assert_eq!(call.say(Original, &setup).unwrap(), setup, "{endpoint}");
        assert_eq!(announced(&call.desk), [], "{endpoint}");
    }
    let mut control = control();
    let open = media(&[(Reports, "10.0.0.2:1023")]);
    assert_eq!(control.say(Original, &open).unwrap(), open);
    assert_eq!(announced(&control.desk), []);
}

#[test]
fn what_cannot_be_announced_is_told_as_it_was_written() {
    let mut call = call();
    call.desk.refuse = Some(Refusal::NoPort);
    let setup = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    assert_eq!(call.say(Original, &setup).unwrap(), setup);
}

#[test]
fn what_one_side_was_told_is_understood_when_it_repeats_it() {
    let mut control = control();
    let open = media(&[(Reports, "10.0.0.2:5001")]);
    control.say(Original, &open).unwrap();
    let answer = media(&[(Reports, "203.0.113.2:40001")]);
    let told = with(&answer, &[("203.0.113.2:40001", "10.0.0.2:5001")]);
    assert_eq!(control.say(Reply, &answer).unwrap(), told);
    assert_eq!(control.desk.announced.len(), 1);
}

#[test]
fn a_caller_is_told_by_its_outside_address_with_its_own_port() {
    let mut call = call();
    let setup = signalling(SETUP, &[(Told, "10.0.0.2:1720")]);
    let told = with(&setup, &[("10.0.0.2:1720", "203.0.113.2:1720")]);
    assert_eq!(call.say(Original, &setup).unwrap(), told);
    let setup = signalling(SETUP, &[(Told, "10.0.0.2:40000")]);
    let told = with(&setup, &[("10.0.0.2:40000", "203.0.113.2:40000")]);
    assert_eq!(call.say(Original, &setup).unwrap(), told);
    assert_eq!(announced(&call.desk), []);
}

#[test]
fn a_call_may_be_forwarded_to_another_port_and_that_outlives_the_call() {
    let mut call = Dialogue::new(
        CallSignalling::new(),
        before_nat(Transport::Tcp, 40_000, 1720),
    );
    let facility = signalling(FACILITY, &[(Called, "10.0.0.2:1730")]);
    let told = with(&facility, &[("10.0.0.2:1730", "203.0.113.2:40000")]);
    assert_eq!(call.say(Reply, &facility).unwrap(), told);
    call.say(Original, q931(RELEASE_COMPLETE, 0x8001, &[]))
        .unwrap();
    assert_eq!(
        announced(&call.desk),
        [(Reply, at("10.0.0.2:1730"), Ports::One)]
    );
    assert_eq!(
        call.desk.announced[0].wanted.reader,
        Some(Reader::CallSignalling)
    );
}

#[test]
fn the_end_of_a_call_takes_back_what_it_announced_and_no_other_calls() {
    let mut call = call();
    let setup = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    call.say(Original, &setup).unwrap();
    // The same number, chosen by the other side, is another call.
    call.say(Reply, q931(RELEASE_COMPLETE, 1, &[])).unwrap();
    assert_eq!(call.desk.announced.len(), 1);
    call.say(Reply, q931(RELEASE_COMPLETE, 0x8001, &[]))
        .unwrap();
    assert_eq!(call.desk.announced.len(), 0);
}

#[test]
fn a_message_inside_of_a_browsers_request_is_left_alone() {
    let setup = signalling(FACILITY, &[(Called, "10.0.0.2:5000")]);
    let post = b"POST / HTTP/1.1\r\nHost: evil.example:1720\r\nContent-Length: 9999\r\n\r\n";
    // What TURN over TCP begins with: an allocation, and a name that is chosen freely.
    let turn = [0, 3, 0, 0x50, 0x21, 0x12, 0xa4, 0x42];
    let tls = [0x16, 3, 1, 2, 0];
    for begin in [&post[..], &turn, &tls] {
        let mut call = call();
        assert_eq!(call.say(Original, begin).unwrap(), begin);
        assert!(call.left);
        assert_eq!(call.say(Original, &setup).unwrap(), setup);
        assert_eq!(announced(&call.desk), []);
    }
    // Somebody who has learnt to begin as TPKT does, and goes on with something else.
    let mut call = call();
    call.say(Original, tpkt(b"GET / HTTP/1.1\r\n")).unwrap();
    assert!(call.left);
}

#[test]
fn a_header_alone_keeps_the_connection_alive_and_one_apart_belongs_to_what_follows() {
    let mut call = call();
    assert_eq!(call.say(Original, [3, 0, 0, 4]).unwrap(), [3, 0, 0, 4]);
    let setup = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    assert_eq!(call.say(Original, &setup[..4]).unwrap(), []);
    let arrived = call.say(Original, &setup[4..]).unwrap();
    assert_eq!(
        arrived,
        with(&setup, &[("10.0.0.2:5000", "203.0.113.2:40000")])
    );
    assert!(!call.left);
}

#[test]
fn what_follows_a_message_and_is_none_is_let_go_with_it_and_ends_reading() {
    let mut call = call();
    let setup = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    let arrived = call.say(Original, [&setup[..], b"HTTP"].concat()).unwrap();
    let told = with(&setup, &[("10.0.0.2:5000", "203.0.113.2:40000")]);
    assert_eq!(arrived, [&told[..], b"HTTP"].concat());
    assert_eq!(call.say(Original, &setup).unwrap(), setup);
    assert!(call.left);
}

#[test]
fn a_message_longer_than_what_is_kept_back_is_not_waited_for() {
    let mut call = call();
    let [high, low] = u16::try_from(MESSAGE_MAX + 1).unwrap().to_be_bytes();
    assert_eq!(call.say(Original, [3, 0, high, low]).unwrap().len(), 4);
    assert!(call.left);
}

#[test]
fn an_unreadable_message_passes_and_opens_nothing() {
    let mut call = call();
    let setup = signalling(SETUP, &[(Control, "10.0.0.2:5000")]);
    // The object identifier is another protocol's.
    let broken = setup
        .windows(6)
        .position(|w| w == [6, 0, 8, 0x91, 0x4a, 0])
        .unwrap();
    let mut other = setup.clone();
    other[broken + 4] ^= 1;
    assert_eq!(call.say(Original, &other).unwrap(), other);
    assert_eq!(announced(&call.desk), []);
    assert!(!call.left);
    call.say(Original, &setup).unwrap();
    assert_eq!(call.desk.announced.len(), 1);
}
