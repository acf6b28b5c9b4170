//! Connections with several messages and streams, and what is no RTSP.

use proptest::prelude::*;
use turnpike_conntrack::ids::Direction::{Original, Reply};

use super::tests::{agree, made, player, request, response, say, session, set_up};
use super::*;
use crate::helper::MESSAGE_MAX;
use crate::testing::Dialogue;

const WAY: &str = "RTP/AVP;unicast;client_port=5000-5001";
const KNOWN: &str = "RTP/AVP;unicast;client_port=40000-40001";

/// A player whose one stream was agreed on.
fn playing() -> Dialogue<Rtsp> {
    let mut d = player();
    say(&mut d, Original, set_up(1, WAY));
    say(
        &mut d,
        Reply,
        agree(1, &format!("{KNOWN};server_port=6000-6001")),
    );
    assert_eq!(made(&d).len(), 2);
    d
}

#[test]
fn a_stream_that_is_refused_or_torn_down_is_taken_back() {
    let mut d = player();
    say(&mut d, Original, set_up(1, WAY));
    say(&mut d, Reply, response("100 Continue", 1, ""));
    assert_eq!(made(&d).len(), 1);
    say(&mut d, Reply, response("401 Unauthorized", 1, ""));
    assert_eq!(made(&d), []);
    for who in [Original, Reply] {
        let mut d = playing();
        say(&mut d, who, request("TEARDOWN", 2, "Session: other\r\n"));
        assert_eq!(made(&d).len(), 2);
        say(&mut d, who, request("TEARDOWN", 2, "Session: W.DR\r\n"));
        assert_eq!(made(&d), []);
    }
}

#[test]
fn one_stream_of_a_session_is_torn_down_by_its_url() {
    let mut d = player();
    for (number, url) in [
        (1, "rtsp://m/a/1"),
        (2, "rtsp://m/a/2"),
        (3, "rtsp://m/a/3"),
    ] {
        let port = 5000 + 2 * number;
        let last = port + 1;
        say(
            &mut d,
            Original,
            format!(
                "SETUP {url} RTSP/1.0\r\nCSeq: {number}\r\n\
                 Transport: RTP/AVP;client_port={port}-{last}\r\n\r\n"
            ),
        );
        say(&mut d, Reply, agree(number, "RTP/AVP;unicast"));
    }
    let end = |url: &str| format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: 9\r\nSession: W.DR\r\n\r\n");
    say(&mut d, Original, end("rtsp://m/a/2"));
    let left: Vec<_> = made(&d).into_iter().map(|made| made.1).collect();
    assert_eq!(left, ["10.0.0.2:5002", "10.0.0.2:5006"]);
    say(&mut d, Original, end("rtsp://m/a"));
    assert_eq!(made(&d), []);
}

#[test]
fn a_stream_that_plays_again_is_announced_again() {
    let mut d = playing();
    let play = request("PLAY", 2, "Session: W.DR\r\n");
    let before = d.desk.announced.clone();
    say(&mut d, Original, &play);
    d.desk.announced.clear();
    say(&mut d, Original, request("PAUSE", 3, "Session: W.DR\r\n"));
    say(&mut d, Original, request("PLAY", 4, "Session: other\r\n"));
    assert_eq!(made(&d), []);
    say(&mut d, Original, &play);
    assert_eq!(d.desk.announced.len(), 2);
    assert_eq!(d.desk.announced[0].wanted, before[0].wanted);
}

#[test]
fn only_the_answer_to_what_the_client_asked_opens_a_port_of_the_server() {
    let way = "RTP/AVP;unicast;server_port=6000-6001";
    let mut d = player();
    say(&mut d, Original, request("OPTIONS", 1, ""));
    say(&mut d, Reply, agree(1, way));
    say(&mut d, Reply, set_up(2, WAY));
    say(&mut d, Original, agree(2, way));
    assert_eq!(made(&d), []);
    say(&mut d, Original, set_up(3, WAY));
    say(&mut d, Reply, agree(4, way));
    assert_eq!(made(&d).len(), 1, "that answers something else");
    say(&mut d, Reply, agree(3, way));
    say(
        &mut d,
        Reply,
        agree(3, "RTP/AVP;unicast;server_port=7000-7001"),
    );
    assert_eq!(made(&d).len(), 2, "an answer comes once");
}

#[test]
fn bodies_and_data_are_skipped_and_not_kept_back() {
    let hidden = set_up(7, WAY);
    let length = hidden.len();
    let with_body = format!(
        "ANNOUNCE rtsp://m/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: {length}\r\n\r\n{hidden}"
    );
    let mut d = player();
    assert_eq!(say(&mut d, Original, &with_body), with_body);
    assert_eq!(made(&d), []);
    assert_eq!(say(&mut d, Original, set_up(8, WAY)), set_up(8, KNOWN));

    let mut data = vec![b'$', 1, 0x01, 0x2c];
    data.extend_from_slice(&hidden.as_bytes()[..hidden.len().min(300)]);
    data.resize(4 + 300, b'x');
    for from in [Original, Reply] {
        let mut d = playing();
        for piece in [&data[..4], &data[4..100], &data[100..], b"\r\n\r\n"] {
            assert_eq!(d.say(from, piece), Ok(piece.to_vec()));
        }
        assert_eq!(
            d.say(from, &data[..3]),
            Ok(vec![]),
            "how long it is comes next"
        );
        assert_eq!(d.say(from, &data[3..]), Ok(data.clone()));
        assert_eq!(made(&d).len(), 2);
    }
}

#[test]
fn many_streams_in_one_piece_are_told_apart_and_bounded() {
    let mut d = player();
    let ask = |n: u32| {
        set_up(
            n,
            &format!("RTP/AVP;client_port={}-{}", 5000 + 2 * n, 5001 + 2 * n),
        )
    };
    let all: String = (0..20).map(ask).collect();
    let arrived = say(&mut d, Original, &all);
    for n in 0..20 {
        let known = 40_000 + 2 * n;
        assert!(
            arrived.contains(&format!("client_port={known}-{}\r", known + 1)),
            "{n}"
        );
    }
    assert_eq!(
        (d.helper.streams.len(), made(&d).len()),
        (STREAMS_MAX, STREAMS_MAX)
    );
    // One message does not announce without end either.
    let many = vec!["RTP/AVP;client_port=7000;client_port=7002;client_port=7004"; 20].join(",");
    let mut d = player();
    say(&mut d, Original, set_up(1, &many));
    assert!(made(&d).len() <= LISTENERS_MAX);
}

#[test]
fn a_browser_that_hides_a_request_in_its_own_is_left_alone() {
    let hidden = set_up(1, WAY);
    for first in [
        "POST /x HTTP/1.1",
        "SETUP /x HTTP/1.1",
        "GET /a HTTP/1.0",
        "OPTIONS * RTSP",
    ] {
        let head = format!("{first}\r\nHost: m:554\r\n\r\n");
        for pieces in [vec![format!("{head}{hidden}")], vec![head, hidden.clone()]] {
            let mut browser = player();
            for piece in pieces {
                assert_eq!(say(&mut browser, Original, &piece), piece);
            }
            assert!(browser.left, "{first}");
            assert_eq!(made(&browser), []);
        }
    }
}

#[test]
fn what_cannot_be_a_message_is_left_at_once() {
    for first in [
        "\x16",
        "$",
        "\r",
        "a:",
        "SSH-2.0-x\r\n",
        "\0\x03",
        "RTSP/1.0 abc\r\n",
        "\n",
    ] {
        let mut d = player();
        assert_eq!(say(&mut d, Original, first), first);
        assert!(d.left, "{first:?}");
    }
    let long = format!("SETUP rtsp://m/{} RTSP/1.0\r\n", "x".repeat(9000));
    let mut d = player();
    assert_eq!(say(&mut d, Original, &long), long);
    assert!(d.left && long.len() < MESSAGE_MAX);
}

#[test]
fn a_stream_that_loses_its_rhythm_is_left_with_what_was_changed() {
    let mut d = player();
    let arrived = say(&mut d, Original, set_up(1, WAY) + "\x07\x07");
    assert_eq!(arrived, set_up(1, KNOWN) + "\x07\x07");
    say(&mut d, Original, "x");
    assert!(d.left);
    let bad = "OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n";
    let mut d = player();
    assert_eq!(say(&mut d, Original, bad), bad);
    assert!(d.left);
}

/// A conversation with everything in it.
fn conversation() -> Vec<(Direction, Vec<u8>)> {
    let data = [&b"$\x01\x00\x05SETUP"[..], b"\r\n"].concat();
    let both = set_up(
        3,
        "RTP/AVP;unicast;\r\n dest_addr=\"10.0.0.2:6000\"/\":6001\"",
    ) + &set_up(4, "RTP/AVP/TCP;interleaved=0-1,RTP/AVP;client_port=7001");
    let answers = agree(
        3,
        r#"RTP/AVP;dest_addr="203.0.113.2:40002"/":40003";src_addr=":9000""#,
    ) + &response("200 OK", 9, "Content-Length: 7\r\n");
    vec![
        (Original, request("OPTIONS", 1, "").into_bytes()),
        (
            Reply,
            response("200 OK", 1, "Content-Length:\r\n 3\r\n").into_bytes(),
        ),
        (Reply, b"abc".to_vec()),
        (Original, set_up(2, WAY).into_bytes()),
        (
            Reply,
            agree(2, &format!("{KNOWN};server_port=6000-6001")).into_bytes(),
        ),
        (Original, both.into_bytes()),
        (Reply, data.clone()),
        (Reply, answers.into_bytes()),
        (Reply, b"SETUP a".to_vec()),
        (Original, data),
        (
            Original,
            request("TEARDOWN", 8, "Session: none\r\n").into_bytes(),
        ),
    ]
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_output(
        lengths in proptest::collection::vec(1..90_usize, 1..9),
    ) {
        let mut whole = player();
        let arrived = whole.converse(&conversation(), &[]);
        prop_assert_eq!(whole.desk.announced.len(), 5);
        let mut cut = player();
        prop_assert_eq!(cut.converse(&conversation(), &lengths), arrived);
        prop_assert_eq!(cut.desk.announced, whole.desk.announced);
    }

    #[test]
    fn any_bytes_never_panic_and_announce_only_the_two_sides(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        lengths in proptest::collection::vec(1..200_usize, 1..9),
    ) {
        let mut turns = conversation();
        for (at, byte) in changes {
            let turn = at.index(turns.len());
            let place = at.index(turns[turn].1.len());
            turns[turn].1[place] = byte;
        }
        turns.push((Original, noise));
        let mut d = Dialogue::new(Rtsp::new(), session());
        d.converse(&turns, &lengths);
        for made in &d.desk.announced {
            let own = session().sender(made.from).own.ip();
            prop_assert_eq!(made.wanted.listener.ip(), own);
            prop_assert_eq!(made.wanted.opener, Opener::Receiver);
            prop_assert!(made.wanted.listener.port() >= 1024);
        }
        prop_assert!(d.helper.streams.len() <= STREAMS_MAX);
    }

    /// Fragments of the protocol put together at random.
    #[test]
    fn any_transport_is_read_without_a_panic(
        pieces in proptest::collection::vec(0..18_usize, 1..24),
        from_server in any::<bool>(),
    ) {
        const PIECES: [&str; 18] = [
            "RTP/AVP", ";", ",", "=", "client_port", "server_port", "dest_addr", "src_addr",
            "destination", "source", "\"", ":8000", "/", "5000-5001", "10.0.0.2", "40000",
            "\r\n ", "65535",
        ];
        let way: String = pieces.iter().map(|n| PIECES[*n]).collect();
        let mut d = player();
        say(&mut d, Original, set_up(1, WAY));
        let (from, said) = if from_server {
            (Reply, agree(1, &way))
        } else {
            (Original, set_up(2, &way))
        };
        let arrived = say(&mut d, from, &said);
        let lines = |text: &str| text.matches("\r\n").count();
        prop_assert_eq!(lines(&arrived), lines(&said));
    }
}
