//! Streams and datagrams: where messages begin and end, and what is none.

use proptest::prelude::*;

use super::*;
use crate::helper::{Desk, MESSAGE_MAX};
use crate::testing::before_nat;

const AUDIO: &str = "m=audio 6000 RTP/AVP 0";

/// A conversation: empty lines, two messages at once, a body that matters, one that does not.
fn conversation() -> Vec<(Direction, String)> {
    let offer = invite(&description(
        "10.0.0.2",
        &[AUDIO, "m=video 6003 RTP/AVP 96"],
    ));
    let options = message(
        "OPTIONS sip:198.51.100.7 SIP/2.0",
        &["v: SIP/2.0/TCP 10.0.0.2"],
        "",
    );
    let picture = "X".repeat(300) + "\r\nINVITE sip:evil SIP/2.0\r\n\r\n";
    let text = "MESSAGE sip:b@198.51.100.7 SIP/2.0";
    let fields = ["f: <sip:alice@10.0.0.2>", "c: image/png"];
    let sdp = description("198.51.100.7", &["m=audio 9000 RTP/AVP 0"]);
    let ok = answer("SIP/2.0 200 OK", "CSeq: 1 INVITE", &sdp);
    let mut register = message(
        "REGISTER sip:198.51.100.7 SIP/2.0",
        &["i: r", "CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.2:5070>"],
        "",
    );
    register += "\r\n\r\n";
    vec![
        (Original, format!("\r\n\r\n{options}{offer}")),
        (Reply, format!("SIP/2.0 100 Trying\nl: 0\n\n{ok}")),
        (Original, message(text, &fields, &picture) + &register),
        (
            Reply,
            message("SIP/2.0 200 OK", &["i: r", "CSeq: 5 REGISTER"], ""),
        ),
    ]
}

#[test]
fn messages_may_follow_each_other_without_a_gap() {
    let mut phone = phone(Transport::Tcp);
    let [sent, answered] = phone.converse(&conversation(), &[]);
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.contains("v: SIP/2.0/TCP 203.0.113.2:35060\r\n"));
    assert!(sent.contains("m=audio 40000 RTP/AVP 0\r\n"));
    assert!(
        sent.contains("\r\nINVITE sip:evil SIP/2.0\r\n"),
        "a body passes as it is"
    );
    assert!(sent.contains("Contact: <sip:a@203.0.113.2:40006>"));
    assert!(sent.ends_with("\r\n\r\n\r\n\r\n"));
    let answered = String::from_utf8(answered).unwrap();
    assert!(answered.contains("Via: SIP/2.0/UDP 10.0.0.2:5060"));
    assert_eq!(phone.desk.announced.len(), 5);
    assert!(!phone.left);
}

#[test]
fn a_browsers_form_with_a_message_in_it_is_not_read() {
    // The published attack: a form is sent to port 5060, padded so that a packet begins with this.
    let register = message(
        "REGISTER sip:samy.example;transport=TCP SIP/2.0",
        &[
            "Call-ID: x",
            "CSeq: 7 REGISTER",
            "Contact: <sip:samy@10.0.0.2:3306;transport=TCP>",
        ],
        "",
    );
    let head = "POST /x HTTP/1.1\r\nHost: 198.51.100.7:5060\r\nContent-Length: 9000\r\n\r\n";
    let mut browser = phone(Transport::Tcp);
    say(
        &mut browser,
        Original,
        format!("{head}{}", "_".repeat(1200)),
    );
    assert!(browser.left);
    assert_eq!(say(&mut browser, Original, &register), register);
    assert!(browser.desk.announced.is_empty());
}

#[test]
fn a_browsers_turn_client_with_a_message_in_it_is_not_read() {
    // The second published attack: the name of a user of TURN, over TCP or in a fragment over UDP.
    let register = message("REGISTER sip:x SIP/2.0", &["m: <sip:x@10.0.0.2:3306>"], "");
    let mut allocate = vec![0, 3, 8, 0, 0x21, 0x12, 0xa4, 0x42];
    allocate.resize(1400, b'x');
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut browser = phone(transport);
        let mut bytes = allocate.clone();
        bytes.extend_from_slice(register.as_bytes());
        assert_eq!(browser.say(Original, &bytes).unwrap(), bytes);
        assert_eq!(browser.left, transport == Transport::Tcp);
        assert!(browser.desk.announced.is_empty());
    }
}

#[test]
fn what_is_encrypted_or_another_protocol_is_left_with_its_first_bytes() {
    for first in [
        "\x16\x03\x01\x02",
        "GET / HTTP/1.1\r\n",
        "SIP/2.0 200 OK\r\n",
        "hello\r\n",
    ] {
        let mut client = phone(Transport::Tcp);
        assert_eq!(say(&mut client, Original, first), first);
        assert!(client.left, "{first}");
    }
}

#[test]
fn what_follows_something_else_is_not_read_either() {
    let mut phone = phone(Transport::Tcp);
    let options = message("OPTIONS sip:x SIP/2.0", &["f: <sip:a@10.0.0.2>"], "");
    let arrived = say(&mut phone, Original, format!("{options}junk\r\n{options}"));
    let told = options.replace("10.0.0.2", "203.0.113.2");
    assert_eq!(arrived, format!("{told}junk\r\n{options}"));
    assert_eq!(say(&mut phone, Original, &options), options);
    assert!(phone.left);
}

#[test]
fn a_stream_whose_lengths_contradict_each_other_is_left() {
    for lengths in ["l: 4\r\nl: 5", "l: x", "l: -1"] {
        let mut phone = phone(Transport::Tcp);
        let text = format!("OPTIONS sip:x SIP/2.0\r\n{lengths}\r\n\r\n");
        say(&mut phone, Original, text);
        assert!(phone.left, "{lengths}");
    }
}

#[test]
fn no_more_than_the_longest_message_is_kept_back() {
    let endless = [
        "A".repeat(MESSAGE_MAX + 1),
        format!("{INVITE}\r\nx: {}", "y".repeat(MESSAGE_MAX)),
    ];
    for text in endless {
        let mut phone = phone(Transport::Tcp);
        phone.converse(&[(Original, text)], &[1000]);
        assert!(phone.left);
    }
    let mut phone = phone(Transport::Tcp);
    let long = "a=x\r\n".repeat(MESSAGE_MAX / 5);
    let text = invite(&(description("10.0.0.2", &[AUDIO]) + &long));
    let options = message("OPTIONS sip:x SIP/2.0", &["f: <sip:a@10.0.0.2>"], "");
    let [sent, _] = phone.converse(&[(Original, text + &options)], &[700]);
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.contains("Contact: <sip:alice@203.0.113.2:35060>"));
    assert!(
        sent.contains("m=audio 6000"),
        "too long a description passes"
    );
    assert!(sent.ends_with("f: <sip:a@203.0.113.2>\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn datagrams_that_keep_the_way_open_are_not_the_end_of_it() {
    let mut phone = phone(Transport::Udp);
    let stun = [0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8];
    for filler in [b"\0\0\0\0", b"\r\n\r\n", &b"jaK"[..], b"", &stun] {
        assert_eq!(phone.say(Original, filler).unwrap(), filler);
        assert!(!phone.left, "{filler:?}");
    }
    say(
        &mut phone,
        Original,
        invite(&description("10.0.0.2", &[AUDIO])),
    );
    assert_eq!(phone.desk.announced.len(), 1);
    let noise = "something that is no message at all";
    assert_eq!(say(&mut phone, Original, noise), noise);
    assert!(!phone.left, "it has spoken SIP before");
}

#[test]
fn datagrams_that_never_were_sip_are_left() {
    let mut other = phone(Transport::Udp);
    say(&mut other, Original, "something that is no message at all");
    assert!(other.left);
}

#[test]
fn a_datagram_without_a_length_ends_with_its_body() {
    let mut phone = phone(Transport::Udp);
    let sdp = description("10.0.0.2", &[AUDIO]);
    let text = format!("\r\n{INVITE}\nc: application/sdp\nCSeq: 1 INVITE\n\n{sdp}");
    let arrived = say(&mut phone, Original, &text);
    assert_eq!(phone.desk.announced.len(), 1);
    let told = sdp
        .replace("10.0.0.2", "203.0.113.2")
        .replace("6000", "40000");
    assert!(arrived.ends_with(&told));
}

#[test]
fn a_datagram_that_is_shorter_than_it_says_describes_nothing() {
    for length in ["9999", "bad", "-3"] {
        let mut phone = phone(Transport::Udp);
        let sdp = description("10.0.0.2", &[AUDIO]);
        let text = format!("{INVITE}\r\nf: <sip:a@10.0.0.2>\r\nl: {length}\r\n\r\n{sdp}");
        let arrived = say(&mut phone, Original, &text);
        assert_eq!(arrived, text.replacen("10.0.0.2", "203.0.113.2", 1));
        assert!(phone.desk.announced.is_empty());
    }
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_output(
        lengths in proptest::collection::vec(1..90_usize, 1..9),
    ) {
        let mut whole = phone(Transport::Tcp);
        let arrived = whole.converse(&conversation(), &[]);
        let mut cut = phone(Transport::Tcp);
        prop_assert_eq!(cut.converse(&conversation(), &lengths), arrived);
        prop_assert_eq!(cut.desk.announced, whole.desk.announced);
    }

    #[test]
    fn any_bytes_never_panic_and_open_nothing_else(
        is_stream in any::<bool>(),
        is_server in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        lengths in proptest::collection::vec(1..2000_usize, 1..9),
    ) {
        let transport = if is_stream { Transport::Tcp } else { Transport::Udp };
        let mut dialogue = if is_server {
            dialogue(before_nat(transport, 5060, 5060))
        } else {
            phone(transport)
        };
        let mut turns: Vec<_> = conversation()
            .into_iter()
            .map(|(from, said)| (from, said.into_bytes()))
            .collect();
        for (at, byte) in changes {
            let turn = at.index(turns.len());
            let place = at.index(turns[turn].1.len());
            turns[turn].1[place] = byte;
        }
        turns.push((Original, noise));
        dialogue.converse(&turns, &lengths);
        for made in &dialogue.desk.announced {
            let own = dialogue.desk.session().sender(made.from).own.ip();
            prop_assert_eq!(made.wanted.listener.ip(), own);
            prop_assert!(made.wanted.listener.port() >= 1024);
            prop_assert_eq!(made.wanted.opener, crate::helper::Opener::Receiver);
        }
    }
}
