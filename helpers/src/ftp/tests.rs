use super::*;
use crate::helper::{Session, Transport};
use crate::testing::{Dialogue, before_nat, behind_nat, untranslated};
use proptest::prelude::*;

use Direction::{Original, Reply};

fn inside_client() -> Dialogue<Ftp> {
    begun(behind_nat(Transport::Tcp, 40_000, 21))
}

fn inside_server() -> Dialogue<Ftp> {
    begun(before_nat(Transport::Tcp, 40_000, 21))
}

/// A dialogue that has got past its first words.
fn begun(session: Session) -> Dialogue<Ftp> {
    let mut talk = Dialogue::new(Ftp::new(), session);
    for (from, line) in [
        (Reply, "220 ready\r\n"),
        (Original, "USER anonymous\r\n"),
        (Reply, "230-Welcome\r\n 227 (1,2,3,4,5,6)\r\n230 in\r\n"),
    ] {
        assert_eq!(talk.say(from, line).unwrap(), line.as_bytes());
    }
    talk
}

fn said(talk: &mut Dialogue<Ftp>, from: Direction, line: &str) -> String {
    String::from_utf8(talk.say(from, line).unwrap()).unwrap()
}

#[test]
fn an_active_client_is_announced_under_its_outside_address() {
    let mut talk = inside_client();
    let arrived = said(&mut talk, Original, "PORT 10,0,0,2,195,80\r\nLIST\r\n");
    assert_eq!(arrived, "PORT 203,0,113,2,156,64\r\nLIST\r\n");
    let [announced] = &talk.desk.announced[..] else {
        panic!("one connection is announced")
    };
    assert_eq!(announced.wanted.listener, "10.0.0.2:50000".parse().unwrap());
    assert_eq!(announced.from, Original);
    assert_eq!(
        (announced.wanted.opener, announced.wanted.uses),
        (Opener::Receiver, Uses::Once)
    );
}

#[test]
fn an_active_client_of_ipv6_says_eprt() {
    let client = "[fd00::2]:40000".parse().unwrap();
    let server = "[2001:db8::7]:21".parse().unwrap();
    let mut session = untranslated(Transport::Tcp, client, server);
    session.server.peer = "[2001:db8::99]:40000".parse().unwrap();
    let mut talk = begun(session);
    let arrived = said(&mut talk, Original, "eprt |2|fd00::2|50000|\r\n");
    assert_eq!(arrived, "eprt |2|2001:db8::99|40000|\r\n");
}

#[test]
fn a_passive_server_is_announced_under_its_outside_address() {
    let mut talk = inside_server();
    said(&mut talk, Original, "PASV\r\n");
    let arrived = said(
        &mut talk,
        Reply,
        "227 Entering Passive Mode (10,0,0,2,195,80).\r\n",
    );
    assert_eq!(
        arrived,
        "227 Entering Passive Mode (203,0,113,2,156,64).\r\n"
    );
    assert_eq!(talk.desk.announced[0].from, Reply);
    said(&mut talk, Original, "EPSV\r\n");
    let arrived = said(&mut talk, Reply, "229 Extended (|||50002|)\r\n");
    assert_eq!(arrived, "229 Extended (|||40002|)\r\n");
    assert_eq!(
        talk.desk.announced[1].wanted.listener,
        "10.0.0.2:50002".parse().unwrap()
    );
}

#[test]
fn a_server_that_names_its_outside_address_means_itself() {
    let mut talk = inside_server();
    said(&mut talk, Original, "PASV\r\n");
    let line = "227 Entering Passive Mode (203,0,113,2,156,64)\r\n";
    assert_eq!(
        said(&mut talk, Reply, line),
        line,
        "it is known by that port"
    );
    assert_eq!(
        talk.desk.announced[0].wanted.listener,
        "10.0.0.2:40000".parse().unwrap()
    );
}

#[test]
fn without_translation_nothing_is_changed_and_all_is_announced() {
    let at = |text: &str| text.parse().unwrap();
    let session = untranslated(Transport::Tcp, at("10.0.0.2:40000"), at("10.9.9.9:21"));
    let mut talk = begun(session);
    for (from, line) in [
        (Original, "PORT 10,0,0,2,195,80\r\n"),
        (Original, "EPRT !1!10.0.0.2!50001!\r\n"),
        (Original, "PASV\r\nEPSV\r\n"),
        (Reply, "227 =10,9,9,9,195,82\r\n"),
        (Reply, "229 ok (|||50003|)\r\n"),
    ] {
        assert_eq!(said(&mut talk, from, line), line);
    }
    let ports = talk.desk.announced.iter().map(|a| a.known_as.port());
    assert_eq!(ports.collect::<Vec<_>>(), [50_000, 50_001, 50_002, 50_003]);
}

/// A desk that refuses like the gateway's: the test's own gives everybody a port.
fn refusing(refusal: Refusal) -> Dialogue<Ftp> {
    let mut talk = inside_client();
    talk.desk.refuse = Some(refusal);
    talk
}

#[test]
fn what_names_somebody_else_or_a_service_passes_as_it_is_and_opens_nothing() {
    for refusal in [Refusal::ForeignAddress, Refusal::LowPort] {
        let mut talk = refusing(refusal);
        let line = "PORT 192,0,2,9,0,22\r\n";
        assert_eq!(said(&mut talk, Original, line), line);
        assert!(talk.desk.announced.is_empty());
    }
}

#[test]
fn without_a_port_the_command_is_held_back_and_read_again_when_it_is_repeated() {
    let mut talk = refusing(Refusal::NoPort);
    let line = "PASV\r\nPORT 10,0,0,2,195,80\r\n";
    assert_eq!(talk.say(Original, line), Err(Refusal::NoPort));
    assert_eq!(talk.helper.asked, 0, "it is as if nothing had come");
    talk.desk.refuse = None;
    assert_eq!(
        said(&mut talk, Original, line),
        "PASV\r\nPORT 203,0,113,2,156,64\r\n"
    );
}

#[test]
fn a_browser_that_is_made_to_say_port_opens_nothing() {
    // NAT slipstreaming: a form is sent to port 21, so long that a packet of it begins with PORT.
    let body = "POST / HTTP/1.1\r\nHost: x:21\r\nContent-Length: 3000\r\n\r\n";
    let command = "PORT 10,0,0,2,195,80\r\n";
    let mut talk = Dialogue::new(Ftp::new(), behind_nat(Transport::Tcp, 40_000, 21));
    assert_eq!(said(&mut talk, Original, body), body);
    assert!(talk.left, "this is no FTP");
    assert_eq!(said(&mut talk, Original, command), command);
    // Not even byte by byte, or as the first line.
    for first in [
        "POST / H",
        "PORT 10,0,0,2,195,80\r\n",
        "GET / HTTP/1.1\r\n",
        "\r\nPORT ",
    ] {
        let mut talk = Dialogue::new(Ftp::new(), behind_nat(Transport::Tcp, 40_000, 21));
        for byte in first.bytes() {
            talk.say(Original, [byte]).unwrap();
        }
        assert!(talk.left, "{first}");
        assert!(talk.desk.announced.is_empty());
    }
}

#[test]
fn text_inside_of_a_reply_is_no_reply() {
    let mut talk = inside_server();
    said(&mut talk, Original, "PASV\r\nHELP\r\n");
    let help = "214-Help\r\n227 (10,0,0,2,195,80)\r\n214-227 (10,0,0,2,195,80)\r\n214 End\r\n";
    assert_eq!(said(&mut talk, Reply, help), help);
    assert!(talk.desk.announced.is_empty());
    let passive = "227 (10,0,0,2,195,80)\r\n";
    assert_ne!(said(&mut talk, Reply, passive), passive, "and this is one");
    let unasked = said(&mut talk, Reply, passive);
    assert_eq!(unasked, passive, "nobody has asked for a second");
}

#[test]
fn an_encrypted_connection_is_left() {
    let mut talk = inside_client();
    said(&mut talk, Original, "AUTH TLS\r\n");
    assert!(!talk.left);
    said(&mut talk, Reply, "234 go on\r\n");
    assert!(talk.left);
}

#[test]
fn lines_that_do_not_end_are_left() {
    let mut talk = inside_client();
    talk.say(Original, vec![b'a'; LINE_MAX]).unwrap();
    assert!(!talk.left);
    talk.say(Original, "a").unwrap();
    assert!(talk.left);
}

#[test]
fn malformed_endpoints_are_passed_over() {
    for line in [
        "PORT 10,0,0,2,195\r\n",
        "PORT 10,0,0,256,195,80\r\n",
        "PORT 10,0,0,2,195,80,1\r\n",
        "PORT\r\n",
        "EPRT |2|10.0.0.2|50000|\r\n",
        "EPRT |1|10.0.0.2|70000|\r\n",
        "EPRT |1|10.0.0.2|50000\r\n",
        "EPRT\r\n",
    ] {
        let mut talk = inside_client();
        assert_eq!(said(&mut talk, Original, line), line);
        assert!(talk.desk.announced.is_empty(), "{line}");
    }
}

const SESSION: &[(Direction, &str)] = &[
    (Reply, "220-hello\r\n220 ready\r\n"),
    (Original, "USER a\r\nPASS b\r\n"),
    (Reply, "331 go on\r\n230 in\r\n"),
    (
        Original,
        "PORT 10,0,0,2,195,80\r\nRETR a\r\nPORT 10,0,0,2,195,81\nPASV\r\n",
    ),
    (
        Reply,
        "200 ok\r\n150 data\r\n226 done\r\n227 (198,51,100,7,200,1)\r\n",
    ),
    (Original, "EPRT |1|10.0.0.2|50003|\r\nQUIT\r\n"),
    (Reply, "221 bye\r\n"),
];

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn wherever_the_streams_are_cut_the_same_arrives(
        lengths in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        let session = behind_nat(Transport::Tcp, 40_000, 21);
        let mut whole = Dialogue::new(Ftp::new(), session);
        let mut cut = Dialogue::new(Ftp::new(), session);
        prop_assert_eq!(cut.converse(SESSION, &lengths), whole.converse(SESSION, &[usize::MAX]));
        prop_assert_eq!(&cut.desk.announced, &whole.desk.announced);
        prop_assert_eq!(whole.desk.announced.len(), 4);
    }

    #[test]
    fn any_bytes_are_read_or_left_and_nothing_else_is_touched(
        pieces in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)),
            0..12,
        ),
        near in any::<bool>(),
    ) {
        let mut talk = if near { inside_client() } else {
            Dialogue::new(Ftp::new(), behind_nat(Transport::Tcp, 40_000, 21))
        };
        for (side, bytes) in pieces {
            let from = if side { Original } else { Reply };
            // The dialogue checks that edits lie in what was read.
            let _arrived = talk.say(from, bytes);
        }
    }
}
