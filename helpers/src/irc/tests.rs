//! Offers between clients, through address translation and without.

use std::net::SocketAddr;

use proptest::prelude::*;
use turnpike_conntrack::ids::Direction::{Original, Reply};

use super::*;
use crate::helper::{Refusal, Session};
use crate::testing::{Dialogue, before_nat, behind_nat, untranslated};

/// 10.0.0.2, as one number.
const OWN: u32 = 0x0a00_0002;
/// 203.0.113.2, as one number.
const OUTSIDE: u32 = 0xcb00_7102;

const HELLO: &str = "NICK alice\r\nUSER alice 0 * :Alice\r\n";

fn session() -> Session {
    behind_nat(Transport::Tcp, 40_000, 6667)
}

/// A client that has introduced itself.
fn alice_in(session: Session) -> Dialogue<Irc> {
    let mut dialogue = Dialogue::new(Irc::new(), session);
    assert_eq!(say(&mut dialogue, HELLO), HELLO);
    dialogue
}

fn alice() -> Dialogue<Irc> {
    alice_in(session())
}

fn say(dialogue: &mut Dialogue<Irc>, said: &str) -> String {
    let arrived = dialogue.say(Original, said).expect("nothing is refused");
    String::from_utf8(arrived).expect("text")
}

fn hear(dialogue: &mut Dialogue<Irc>, said: &str) -> String {
    let arrived = dialogue.say(Reply, said).expect("nothing is refused");
    String::from_utf8(arrived).expect("text")
}

fn offer(of: &str) -> String {
    format!("PRIVMSG bob :\x01DCC {of}\x01\r\n")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an endpoint")
}

#[test]
fn an_offered_file_is_announced_and_named_from_outside() {
    let mut alice = alice();
    let arrived = say(&mut alice, &offer(&format!("SEND a.txt {OWN} 5000 1234")));
    assert_eq!(arrived, offer(&format!("SEND a.txt {OUTSIDE} 40000 1234")));
    let [made] = alice.desk.announced[..] else {
        panic!("{:?}", alice.desk.announced);
    };
    assert_eq!(made.from, Original);
    assert_eq!(made.known_as, at("203.0.113.2:40000"));
    assert_eq!(made.wanted.listener, at("10.0.0.2:5000"));
    assert_eq!(made.wanted.transport, Transport::Tcp);
    assert_eq!(made.wanted.opener, Opener::Anybody);
    assert_eq!(made.wanted.uses, Uses::Once);
}

#[test]
fn every_kind_of_offer_and_name_is_understood() {
    for (said, heard) in [
        ("CHAT chat {} 5000", "CHAT chat {} 40000"),
        ("TSEND a {} 5000 1", "TSEND a {} 40000 1"),
        ("SCHAT chat {} 5000", "SCHAT chat {} 40000"),
        ("SEND \"a file\" {} 5000 1", "SEND \"a file\" {} 40000 1"),
        (
            "SEND a 12 34 file {} 5000 1",
            "SEND a 12 34 file {} 40000 1",
        ),
        ("send  a  {}  5000 1 77", "send  a  {}  40000 1 77"),
    ] {
        let fill = |text: &str, address: u32| offer(&text.replace("{}", &address.to_string()));
        let mut alice = alice();
        assert_eq!(say(&mut alice, &fill(said, OWN)), fill(heard, OUTSIDE));
        assert_eq!(alice.desk.announced.len(), 1, "{said}");
    }
}

#[test]
fn tags_senders_and_odd_line_ends_do_not_hide_an_offer() {
    for line in [
        "@label=1;x=y :alice!a@b privmsg bob :\x01DCC CHAT chat {} {}\x01\n",
        "  PRIVMSG   bob   :\x01dcc CHAT chat {} {}\r\n",
        "PRIVMSG bob \x01DCC CHAT chat {} {}\x01 and more\r\n",
    ] {
        let fill = |address: u32, port: u16| {
            let line = line.replacen("{}", &address.to_string(), 1);
            line.replacen("{}", &port.to_string(), 1)
        };
        let mut alice = alice();
        assert_eq!(say(&mut alice, &fill(OWN, 5000)), fill(OUTSIDE, 40_000));
    }
}

#[test]
fn an_address_in_its_usual_form_keeps_that_form() {
    let mut alice = alice();
    let arrived = say(&mut alice, &offer("CHAT chat 10.0.0.2 5000"));
    assert_eq!(arrived, offer("CHAT chat 203.0.113.2 40000"));
    let six = untranslated(
        Transport::Tcp,
        at("[2001:db8::2]:40000"),
        at("[2001:db8::7]:6667"),
    );
    let mut alice = alice_in(six);
    let said = offer("SEND a 2001:DB8:0::2 5000 1");
    assert_eq!(say(&mut alice, &said), said);
    assert_eq!(alice.desk.announced[0].known_as, at("[2001:db8::2]:5000"));
}

#[test]
fn an_offer_that_names_the_outside_address_is_led_inside() {
    let mut alice = alice();
    let arrived = say(&mut alice, &offer(&format!("SEND a {OUTSIDE} 5000 1")));
    assert_eq!(arrived, offer(&format!("SEND a {OUTSIDE} 40000 1")));
    assert_eq!(alice.desk.announced[0].wanted.listener, at("10.0.0.2:5000"));
}

#[test]
fn a_server_behind_translation_changes_nothing_of_an_offer() {
    let mut bob = alice_in(before_nat(Transport::Tcp, 40_000, 6667));
    let said = offer("CHAT chat 198.51.100.7 5000");
    assert_eq!(say(&mut bob, &said), said);
    assert_eq!(bob.desk.announced[0].known_as, at("198.51.100.7:5000"));
}

#[test]
fn nobody_elses_address_and_no_low_port_is_announced() {
    for of in [
        "SEND a 3232235876 5000 1",
        "CHAT chat 10.0.0.3 5000",
        "SEND a 167772162 1023 1",
        "SEND a 167772162 65536 1",
        "SEND a 167772162 -5 1",
        "SEND a 4462739458 5000 1",
        "SEND a \x02\x03\x04 5000 1",
        "SEND 167772162 5000",
        "SEND",
        "XMIT 167772162 5000",
    ] {
        let mut alice = alice();
        assert_eq!(say(&mut alice, &offer(of)), offer(of));
        assert_eq!(alice.desk.announced, [], "{of}");
    }
}

#[test]
fn what_is_only_talked_about_is_not_announced() {
    for line in [
        "PRIVMSG bob :DCC CHAT chat 167772162 5000\r\n",
        "PRIVMSG bob :say \x01DCC CHAT chat 167772162 5000\x01\r\n",
        "NOTICE bob :\x01DCC CHAT chat 167772162 5000\x01\r\n",
        "PING :\x01DCC CHAT chat 167772162 5000\x01\r\n",
        "QUIT :PRIVMSG bob :\x01DCC CHAT chat 167772162 5000\x01\r\n",
    ] {
        let mut alice = alice();
        assert_eq!(say(&mut alice, line), line);
        assert_eq!(alice.desk.announced, [], "{line}");
    }
}

#[test]
fn what_the_server_passes_on_opens_nothing() {
    for session in [session(), before_nat(Transport::Tcp, 40_000, 6667)] {
        for address in [OWN, OUTSIDE, 0xc633_6407] {
            let mut alice = alice_in(session);
            let line = format!(":eve!e@h PRIVMSG alice :\x01DCC SEND a {address} 5432 1\x01\r\n");
            assert_eq!(hear(&mut alice, &line), line);
            assert_eq!(alice.desk.announced, []);
        }
    }
}

#[test]
fn an_offer_with_port_nought_asks_the_other_side_to_listen() {
    let mut alice = alice();
    let arrived = say(&mut alice, &offer(&format!("SEND a {OWN} 0 1234 7")));
    assert_eq!(arrived, offer(&format!("SEND a {OUTSIDE} 0 1234 7")));
    assert_eq!(alice.desk.announced, []);
    // The answer to such an offer is an offer itself, with the other's token.
    let asked = ":bob!b@h PRIVMSG alice :\x01DCC SEND b 3325256967 0 99 8\x01\r\n";
    assert_eq!(hear(&mut alice, asked), asked);
    let arrived = say(&mut alice, &offer(&format!("SEND b {OWN} 5001 99 8")));
    assert_eq!(arrived, offer(&format!("SEND b {OUTSIDE} 40000 99 8")));
    assert_eq!(alice.desk.announced.len(), 1);
}

#[test]
fn a_transfer_is_resumed_with_the_port_that_each_side_knows() {
    let mut alice = alice();
    say(&mut alice, &offer(&format!("SEND a {OWN} 5000 1234")));
    let asks =
        |port: u16| format!(":bob!b@h PRIVMSG alice :\x01DCC RESUME \"a b\" {port} 500\x01\r\n");
    assert_eq!(hear(&mut alice, &asks(40_000)), asks(5000));
    assert_eq!(hear(&mut alice, &asks(40_001)), asks(40_001));
    let accepts = |port: u16| offer(&format!("ACCEPT a 1 b {port} 500"));
    assert_eq!(say(&mut alice, &accepts(5000)), accepts(40_000));
    // A position or a token that looks like a port is none.
    for of in [
        "ACCEPT a 0 5000 5000",
        "ACCEPT a 7000 5000",
        "RESUME a 5000 500",
    ] {
        assert_eq!(say(&mut alice, &offer(of)), offer(of));
    }
    let passed = ":bob!b@h PRIVMSG alice :\x01DCC ACCEPT a 40000 500\x01\r\n";
    assert_eq!(hear(&mut alice, passed), passed);
}

#[test]
fn only_the_latest_offers_are_remembered() {
    let mut alice = alice();
    for port in 5000..5020 {
        say(&mut alice, &offer(&format!("SEND a {OWN} {port} 1")));
    }
    assert_eq!(alice.helper.offers.len(), OFFERS_MAX);
    let calls: Vec<_> = alice.helper.offers.iter().map(|o| o.call.0).collect();
    assert_eq!(calls, (13..=20).collect::<Vec<_>>());
    // The same listener once more is the same offer.
    let arrived = say(&mut alice, &offer(&format!("SEND b {OWN} 5019 1")));
    assert_eq!(arrived, offer(&format!("SEND b {OUTSIDE} 40038 1")));
    assert_eq!(alice.helper.offers.len(), OFFERS_MAX);
}

#[test]
fn what_is_not_announced_is_not_changed() {
    let mut alice = alice();
    alice.desk.refuse = Some(Refusal::NoPort);
    let said = offer(&format!("SEND a {OWN} 5000 1"));
    assert_eq!(say(&mut alice, &said), said);
}

#[test]
fn a_browser_that_hides_an_offer_in_its_request_is_left_alone() {
    // NAT slipstreaming: the page posts a form whose body, at the border of a packet, is an offer.
    let body = format!("{HELLO}{}", offer(&format!("CHAT chat {OWN} 5000")));
    for request in ["POST /x HTTP/1.1", "NICK /x HTTP/1.1", "user /x HTTP/1.1"] {
        let head = format!("{request}\r\nHost: irc.example:6667\r\n\r\n");
        for pieces in [vec![format!("{head}{body}")], vec![head, body.clone()]] {
            let mut browser = Dialogue::new(Irc::new(), session());
            for piece in pieces {
                assert_eq!(say(&mut browser, &piece), piece);
            }
            assert!(browser.left, "{request}");
            assert_eq!(browser.desk.announced, []);
        }
    }
}

#[test]
fn who_does_not_begin_as_a_client_is_left_at_the_first_byte_that_shows_it() {
    for (first, left_after) in [
        ("GET / HTTP/1.1\r\n", 1),
        ("POST", 2),
        ("\x16\x03\x01", 1),
        // A browser's TURN request, whose user name is said to be a line.
        ("\0\x03\0\x40\x21\x12\r\nNICK x\r\n", 1),
        ("PRIVMSG bob", 2),
        ("NICKNAME x", 5),
        ("\r\n", 2),
        ("NICK x\r\nSERVER a.b 1 :x\r\n", 25),
        ("CAP LS\r\nSTARTTLS\r\n", 18),
        ("NICK /x HTTP/1.1\r\nNICK x", 18),
        ("NICK x\r\nHost: y\r\n", 17),
    ] {
        let mut dialogue = Dialogue::new(Irc::new(), session());
        let mut taken = 0;
        while !dialogue.left && taken < first.len() {
            taken += 1;
            say(&mut dialogue, &first[taken - 1..taken]);
        }
        assert_eq!((dialogue.left, taken), (true, left_after), "{first}");
    }
}

#[test]
fn a_line_that_cannot_matter_is_not_kept_back() {
    let mut alice = alice();
    for start in [
        "JOIN #a",
        "PRIVMSG bob :hel",
        "PRIVMSG bob :\x01ACT\x01\r\nX",
    ] {
        assert_eq!(say(&mut alice, start), start);
        assert_eq!(say(&mut alice, "\r\n"), "\r\n");
    }
    assert_eq!(
        hear(&mut alice, ":srv 372 alice :- mot"),
        ":srv 372 alice :- mot"
    );
    assert_eq!(hear(&mut alice, "d\r\n:bob PRIV"), "d\r\n:bob PRIV");
    for kept in ["PRIV", "MSG bob", " :", "\x01DCC CHAT chat 167772162 5000"] {
        assert_eq!(say(&mut alice, kept), "", "{kept}");
    }
    let long = "x".repeat(LINE_MAX);
    let arrived = say(&mut alice, &long);
    assert!(arrived.ends_with(&long), "too long a line goes on");
    assert_eq!(say(&mut alice, "\x01\r\n"), "\x01\r\n");
    assert_eq!(alice.desk.announced, []);
}

/// A conversation with everything in it.
fn conversation() -> Vec<(Direction, String)> {
    vec![
        (Original, "CAP LS 302\r\nJOIN :\r\nPASS x\r\n".into()),
        (Reply, ":srv CAP * LS :a b\r\n".into()),
        (Original, HELLO.into()),
        (
            Reply,
            ":srv 001 alice :Hi\n:srv 372 alice :\x01DCC\r\n".into(),
        ),
        (Original, offer(&format!("SEND a.txt {OWN} 5000 1234"))),
        (Original, offer("CHAT chat 10.0.0.2 5001") + "PING 1\r\n"),
        (
            Reply,
            ":b PRIVMSG alice :\x01DCC RESUME a.txt 40000 9\x01\r\n".into(),
        ),
        (Original, offer("ACCEPT a.txt 5000 9")),
        (Original, offer(&format!("SEND p {OWN} 0 1 2"))),
        (
            Reply,
            ":b PRIVMSG alice :\x01DCC SEND p 1 2 3 2\x01\r\n".into(),
        ),
        (
            Original,
            format!("{}\r\nQUIT\r\n", "y".repeat(LINE_MAX + 3)),
        ),
    ]
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_output(
        lengths in proptest::collection::vec(1..90_usize, 1..9),
    ) {
        let mut whole = Dialogue::new(Irc::new(), session());
        let arrived = whole.converse(&conversation(), &[]);
        prop_assert_eq!(whole.desk.announced.len(), 2);
        let mut cut = Dialogue::new(Irc::new(), session());
        prop_assert_eq!(cut.converse(&conversation(), &lengths), arrived);
        prop_assert_eq!(cut.desk.announced, whole.desk.announced);
    }

    #[test]
    fn any_bytes_never_panic_and_open_nothing_else(
        introduced in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        lengths in proptest::collection::vec(1..200_usize, 1..9),
    ) {
        let mut turns: Vec<_> = conversation()
            .into_iter()
            .map(|(from, said)| (from, said.into_bytes()))
            .collect();
        for (at, byte) in changes {
            let turn = at.index(turns.len());
            let place = at.index(turns[turn].1.len());
            turns[turn].1[place] = byte;
        }
        turns.insert(usize::from(introduced) * 4, (Original, noise.clone()));
        turns.push((Reply, noise));
        let mut dialogue = Dialogue::new(Irc::new(), session());
        dialogue.converse(&turns, &lengths);
        for made in &dialogue.desk.announced {
            prop_assert_eq!(made.from, Original);
            prop_assert_eq!(made.wanted.listener.ip(), at("10.0.0.2:1").ip());
            prop_assert!(made.wanted.listener.port() >= 1024);
        }
        prop_assert!(dialogue.helper.offers.len() <= OFFERS_MAX);
    }
}
