//! One stream at a time, through address translation and without.

use turnpike_conntrack::ids::Direction::{Original, Reply};

use super::*;
use crate::helper::Refusal;
use crate::testing::{Dialogue, before_nat, behind_nat, untranslated};

pub(super) const CLIENT_PORT: u16 = 48_366;

pub(super) fn session() -> Session {
    behind_nat(crate::helper::Transport::Tcp, CLIENT_PORT, 554)
}

pub(super) fn player() -> Dialogue<Rtsp> {
    Dialogue::new(Rtsp::new(), session())
}

/// The same client, talking to a server that is translated.
fn visitor() -> Dialogue<Rtsp> {
    Dialogue::new(
        Rtsp::new(),
        before_nat(crate::helper::Transport::Tcp, CLIENT_PORT, 554),
    )
}

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().expect("an endpoint")
}

/// What a request looks like.
pub(super) fn request(method: &str, number: u32, headers: &str) -> String {
    format!("{method} rtsp://media.example/a/stream=0 RTSP/1.0\r\nCSeq: {number}\r\n{headers}\r\n")
}

pub(super) fn set_up(number: u32, transport: &str) -> String {
    request("SETUP", number, &format!("Transport: {transport}\r\n"))
}

pub(super) fn response(status: &str, number: u32, headers: &str) -> String {
    format!("RTSP/1.0 {status}\r\nCSeq: {number}\r\nSession: W.DR;timeout=60\r\n{headers}\r\n")
}

pub(super) fn agree(number: u32, transport: &str) -> String {
    response("200 OK", number, &format!("Transport: {transport}\r\n"))
}

pub(super) fn say(d: &mut Dialogue<Rtsp>, from: Direction, said: impl AsRef<[u8]>) -> String {
    let arrived = d.say(from, said).expect("nothing is refused");
    String::from_utf8_lossy(&arrived).into_owned()
}

/// Who is ready where, how many ports, and by which endpoint the other side knows it.
pub(super) fn made(d: &Dialogue<Rtsp>) -> Vec<(Direction, String, Ports, String)> {
    let all = d.desk.announced.iter().map(|made| {
        assert_eq!(made.wanted.opener, Opener::Receiver);
        assert_eq!(made.wanted.transport, crate::helper::Transport::Udp);
        let listener = made.wanted.listener.to_string();
        (
            made.from,
            listener,
            made.wanted.ports,
            made.known_as.to_string(),
        )
    });
    all.collect()
}

#[test]
fn a_player_behind_translation_is_named_from_outside_and_hears_its_own_ports() {
    let mut d = player();
    let arrived = say(
        &mut d,
        Original,
        set_up(3, "RTP/AVP/UDP;unicast;client_port=8748-8749"),
    );
    assert_eq!(
        arrived,
        set_up(3, "RTP/AVP/UDP;unicast;client_port=40000-40001")
    );
    let heard = say(
        &mut d,
        Reply,
        agree(
            3,
            "RTP/AVP;unicast;client_port=40000-40001;server_port=39680-39681;mode=\"PLAY\"",
        ),
    );
    let told = "RTP/AVP;unicast;client_port=8748-8749;server_port=39680-39681;mode=\"PLAY\"";
    assert_eq!(heard, agree(3, told));
    let server = "198.51.100.7:39680".to_owned();
    let client = ("10.0.0.2:8748".to_owned(), "203.0.113.2:40000".to_owned());
    assert_eq!(
        made(&d),
        [
            (Original, client.0, Ports::EvenPair, client.1),
            (Reply, server.clone(), Ports::EvenPair, server),
        ]
    );
}

#[test]
fn a_server_behind_translation_is_named_from_outside() {
    let mut d = visitor();
    let asked = set_up(3, "RTP/AVP;unicast;client_port=8748-8749");
    assert_eq!(say(&mut d, Original, &asked), asked);
    let heard = say(
        &mut d,
        Reply,
        agree(
            3,
            "RTP/AVP;source=10.0.0.2;client_port=8748-8749;server_port=6256-6257",
        ),
    );
    let told = "RTP/AVP;source=203.0.113.2;client_port=8748-8749;server_port=40000-40001";
    assert_eq!(heard, agree(3, told));
    // When it is set up anew, the server hears its own port again.
    let again = "RTP/AVP;client_port=8748-8749;server_port=40000-40001";
    let arrived = say(&mut d, Original, set_up(4, again));
    assert_eq!(
        arrived,
        set_up(4, "RTP/AVP;client_port=8748-8749;server_port=6256-6257")
    );
    // A port of the client's is none of the server's, though they may be equal.
    say(&mut d, Original, set_up(5, "RTP/AVP;unicast"));
    let answer = agree(5, "RTP/AVP;unicast;client_port=40000-40001");
    assert_eq!(say(&mut d, Reply, &answer), answer);
}

#[test]
fn addresses_are_carried_over_in_both_directions() {
    let mut d = player();
    let arrived = say(
        &mut d,
        Original,
        set_up(
            1,
            "RTP/AVP;unicast;destination=10.0.0.2;client_port=5000-5001",
        ),
    );
    let told = "RTP/AVP;unicast;destination=203.0.113.2;client_port=40000-40001";
    assert_eq!(arrived, set_up(1, told));
    let heard = say(
        &mut d,
        Reply,
        agree(
            1,
            "RTP/AVP;destination=203.0.113.2;source=198.51.100.7;client_port=40000-40001",
        ),
    );
    let told = "RTP/AVP;destination=10.0.0.2;source=198.51.100.7;client_port=5000-5001";
    assert_eq!(heard, agree(1, told));
}

#[test]
fn version_two_names_endpoints_in_quotes() {
    for (said, arrives) in [
        (r#"":8000"/":8001""#, r#"":40000"/":40001""#),
        (
            r#""10.0.0.2:8000"/"10.0.0.2:8001""#,
            r#""203.0.113.2:40000"/"203.0.113.2:40001""#,
        ),
        (r#""203.0.113.2:8000""#, r#""203.0.113.2:40000""#),
        (r#"":8001" / ":9000""#, r#"":40000" / ":40002""#),
    ] {
        let mut d = player();
        let arrived = say(
            &mut d,
            Original,
            set_up(1, &format!("RTP/AVP;dest_addr={said};unicast")),
        );
        assert_eq!(
            arrived,
            set_up(1, &format!("RTP/AVP;dest_addr={arrives};unicast"))
        );
    }
    let mut d = player();
    say(
        &mut d,
        Original,
        set_up(1, r#"RTP/AVP;unicast;dest_addr=":8000"/":8001""#),
    );
    let answer = |dest: &str| {
        agree(
            1,
            &format!("RTP/AVP;dest_addr={dest};src_addr=\"198.51.100.7:9000\"/\":9001\""),
        )
    };
    let heard = say(
        &mut d,
        Reply,
        answer(r#""203.0.113.2:40000"/"203.0.113.2:40001""#),
    );
    assert_eq!(heard, answer(r#""10.0.0.2:8000"/"10.0.0.2:8001""#));
    assert_eq!(made(&d).len(), 2);

    let mut d = visitor();
    say(
        &mut d,
        Original,
        set_up(1, r#"RTP/AVP;unicast;dest_addr=":8000"/":8001""#),
    );
    let heard = say(
        &mut d,
        Reply,
        agree(1, r#"RTP/AVP;src_addr="10.0.0.2:9000"/"10.0.0.2:9001""#),
    );
    let told = r#"RTP/AVP;src_addr="203.0.113.2:40000"/"203.0.113.2:40001""#;
    assert_eq!(heard, agree(1, told));
}

#[test]
fn addresses_of_ipv6_are_announced_too() {
    let (client, server) = (at("[2001:db8::2]:48366"), at("[2001:db8::7]:554"));
    let six = untranslated(crate::helper::Transport::Tcp, client, server);
    for (way, count) in [
        (
            r#"RTP/AVP;unicast;dest_addr="[2001:db8::2]:8000"/"[2001:db8::2]:8001""#,
            1,
        ),
        (
            "RTP/AVP;unicast;destination=2001:DB8::2;client_port=8000-8001",
            1,
        ),
        (r#"RTP/AVP;unicast;dest_addr="[2001:db8::3]:8000""#, 0),
        (
            "RTP/AVP;unicast;destination=2001:db8::3;client_port=8000-8001",
            0,
        ),
    ] {
        let mut d = Dialogue::new(Rtsp::new(), six);
        assert_eq!(say(&mut d, Original, set_up(1, way)), set_up(1, way));
        assert_eq!(made(&d).len(), count, "{way}");
    }
}

#[test]
fn single_and_odd_ports_are_announced_as_they_are() {
    for (said, arrives, announced) in [
        (
            "x-real-rdt/udp;client_port=6970",
            "x-real-rdt/udp;client_port=40000",
            1,
        ),
        (
            "RTP/AVP;client_port=5000-5000",
            "RTP/AVP;client_port=40000-40000",
            1,
        ),
        // Nothing says that two others in a row are free.
        (
            "RTP/AVP;client_port=5001-5002",
            "RTP/AVP;client_port=5001-5002",
            2,
        ),
        (
            "RTP/AVP;client_port=5000-5003",
            "RTP/AVP;client_port=5000-5003",
            0,
        ),
    ] {
        let mut d = player();
        assert_eq!(say(&mut d, Original, set_up(1, said)), set_up(1, arrives));
        assert_eq!(made(&d).len(), announced, "{said}");
    }
    let mut d = visitor();
    say(&mut d, Original, set_up(1, "RTP/AVP;client_port=5001-5002"));
    assert_eq!(
        made(&d).len(),
        2,
        "where nothing is translated they are in a row"
    );
}

#[test]
fn low_ports_and_other_peoples_addresses_are_left_as_they_are() {
    for way in [
        "RTP/AVP;unicast;client_port=1022-1023",
        "RTP/AVP;unicast;client_port=0-1",
        "RTP/AVP;unicast;client_port=65535-65536",
        "RTP/AVP;unicast;client_port=5001-5000",
        "RTP/AVP;unicast;client_port=",
        "RTP/AVP;unicast;destination=10.0.0.3;client_port=5000-5001",
        "RTP/AVP;unicast;client_port=5000-5001;destination=victim.example",
        r#"RTP/AVP;unicast;dest_addr="10.0.0.2:5000"/"10.0.0.3:5001""#,
        r#"RTP/AVP;unicast;dest_addr="victim.example:5000""#,
        r#"RTP/AVP;unicast;dest_addr=":80""#,
    ] {
        let mut d = player();
        assert_eq!(say(&mut d, Original, set_up(1, way)), set_up(1, way));
        assert_eq!(made(&d), [], "{way}");
    }
    let mut d = player();
    d.desk.refuse = Some(Refusal::NoPort);
    let way = "RTP/AVP;unicast;client_port=5000-5001";
    assert_eq!(say(&mut d, Original, set_up(1, way)), set_up(1, way));
}

#[test]
fn media_from_a_third_place_open_nothing_more() {
    let mut d = player();
    say(
        &mut d,
        Original,
        set_up(1, "RTP/AVP;unicast;client_port=5000-5001"),
    );
    let answer = |client: &str| {
        agree(
            1,
            &format!("RTP/AVP;source=192.0.2.9;client_port={client};server_port=6000-6001"),
        )
    };
    assert_eq!(
        say(&mut d, Reply, answer("40000-40001")),
        answer("5000-5001")
    );
    assert_eq!(made(&d).len(), 1);
}

#[test]
fn media_within_the_connection_and_groups_are_left_alone() {
    for way in [
        "RTP/AVP/TCP;unicast;interleaved=0-1",
        "RTP/AVP;unicast;interleaved=0-1;client_port=5000-5001",
        "rtp/avp/tcp;unicast;client_port=5000-5001",
        "RTP/AVP;multicast;client_port=5000-5001",
    ] {
        let mut d = player();
        assert_eq!(say(&mut d, Original, set_up(1, way)), set_up(1, way));
        assert_eq!((made(&d).len(), d.helper.streams.len()), (0, 0), "{way}");
    }
    // Of several ways only those are carried over that need it.
    let ways = |port: &str| {
        format!("RTP/AVP/TCP;interleaved=0-1, RTP/AVP;unicast;client_port={port};mode=\"A,B;C\"")
    };
    let mut d = player();
    let arrived = say(&mut d, Original, set_up(1, &ways("5000-5001")));
    assert_eq!(arrived, set_up(1, &ways("40000-40001")));
    assert_eq!(made(&d).len(), 1);
    let heard = agree(1, "RTP/AVP/TCP;unicast;interleaved=0-1");
    assert_eq!(say(&mut d, Reply, &heard), heard);
    assert_eq!(made(&d), [], "the server takes the other");
}

#[test]
fn the_ports_of_airtunes_are_announced_for_both_sides() {
    let mut d = player();
    let way = |control: u32, timing: u32, more: &str| {
        format!(
            "RTP/AVP/UDP;unicast;interleaved=0-1;mode=record;control_port={control};\
             timing_port={timing}{more}"
        )
    };
    let arrived = say(&mut d, Original, set_up(2, &way(6001, 6002, "")));
    assert_eq!(arrived, set_up(2, &way(40_000, 40_002, "")));
    let answer = agree(2, &way(6011, 6012, ";server_port=6000"));
    assert_eq!(say(&mut d, Reply, &answer), answer);
    assert_eq!(made(&d).len(), 5);
}

#[test]
fn spacing_case_folding_and_bare_line_feeds_are_taken() {
    let mut d = player();
    let said = "Setup rtsp://m/a RTSP/2.0\ncseq:1\ntransport :\n  RTP/AVP ; unicast ;\n\t\
                CLIENT_PORT = 5000 - 5001 ;x\n\n";
    let arrived = said.replace("5000 - 5001", "40000-40001");
    assert_eq!(say(&mut d, Original, said), arrived);
    assert_eq!(made(&d).len(), 1);
}
