//! Calls between two sides, through address translation and without.

use proptest::prelude::*;
use turnpike_conntrack::ids::Direction::{Original, Reply};

use super::*;
use crate::helper::Seen;
use crate::testing::{Announced, Dialogue, before_nat, behind_nat, untranslated};

const START_REQUEST: u16 = 1;
const START_REPLY: u16 = 2;
const STOP_REQUEST: u16 = 3;
const STOP_REPLY: u16 = 4;
const ECHO_REQUEST: u16 = 5;
const OUTGOING_REQUEST: u16 = 7;
const OUTGOING_REPLY: u16 = 8;
const INCOMING_REQUEST: u16 = 9;
const INCOMING_REPLY: u16 = 10;
const INCOMING_CONNECTED: u16 = 11;
const CLEAR_REQUEST: u16 = 12;
const DISCONNECT_NOTIFY: u16 = 13;
const WAN_ERROR: u16 = 14;
const SET_LINK: u16 = 15;

/// A message with its first words behind the head; the rest is made of sevens.
fn message(kind: u16, words: &[u16]) -> Vec<u8> {
    let length = match kind {
        START_REQUEST | START_REPLY => 156,
        OUTGOING_REQUEST => 168,
        OUTGOING_REPLY => 32,
        INCOMING_REQUEST => 220,
        INCOMING_REPLY | SET_LINK => 24,
        INCOMING_CONNECTED => 28,
        DISCONNECT_NOTIFY => 148,
        WAN_ERROR => 40,
        _ => 16,
    };
    let mut bytes = Vec::new();
    for word in [length, 1, 0x1a2b, 0x3c4d, kind, 0] {
        bytes.extend(u16::to_be_bytes(word));
    }
    for word in words {
        bytes.extend(word.to_be_bytes());
    }
    bytes.resize(usize::from(length), 7);
    bytes
}

/// A reply's third word: the result and no error.
const CONNECTED: u16 = 0x0100;
const BUSY: u16 = 0x0400;

fn greeted(session: Session) -> Dialogue<Pptp> {
    let mut dialogue = Dialogue::new(Pptp::new(), session);
    for (from, kind) in [(Original, START_REQUEST), (Reply, START_REPLY)] {
        let greeting = message(kind, &[]);
        assert_eq!(dialogue.say(from, &greeting), Ok(greeting));
    }
    dialogue
}

fn client_hidden() -> Dialogue<Pptp> {
    greeted(behind_nat(Transport::Tcp, 41_366, 1723))
}

/// Both sides are translated: 10.0.0.2 is 203.0.113.2, and 10.9.0.2 is 198.51.100.7.
fn both_hidden() -> Dialogue<Pptp> {
    let at = |text: &str| text.parse::<SocketAddr>().expect("an endpoint");
    greeted(Session {
        transport: Transport::Tcp,
        client: Seen {
            own: at("10.0.0.2:41366"),
            peer: at("198.51.100.7:1723"),
        },
        server: Seen {
            own: at("10.9.0.2:1723"),
            peer: at("203.0.113.2:41366"),
        },
    })
}

/// What the first words are of a message when it has arrived.
fn words<const N: usize>(
    dialogue: &mut Dialogue<Pptp>,
    from: Direction,
    kind: u16,
    said: [u16; N],
) -> [u16; N] {
    let said = message(kind, &said);
    let arrived = dialogue.say(from, &said).expect("nothing is refused");
    assert_eq!(arrived.len(), said.len());
    assert_eq!(arrived[..12], said[..12]);
    assert_eq!(arrived[12 + 2 * N..], said[12 + 2 * N..]);
    std::array::from_fn(|n| u16::from_be_bytes([arrived[12 + 2 * n], arrived[13 + 2 * n]]))
}

fn tunnel(made: &Announced) -> (Direction, String, Option<u16>, String) {
    assert_eq!(made.wanted.transport, Transport::Gre);
    assert_eq!(made.wanted.opener, Opener::Receiver);
    assert_eq!(made.wanted.life, ChildLife::Master);
    (
        made.from,
        made.wanted.listener.to_string(),
        made.wanted.answers_to,
        made.known_as.to_string(),
    )
}

fn tunnels(dialogue: &Dialogue<Pptp>) -> Vec<(Direction, String, Option<u16>, String)> {
    dialogue.desk.announced.iter().map(tunnel).collect()
}

#[test]
fn an_outgoing_call_is_announced_both_ways_with_the_identifiers_each_side_knows() {
    let mut d = client_hidden();
    assert_eq!(
        words(&mut d, Original, OUTGOING_REQUEST, [7, 1]),
        [40_000, 1]
    );
    let asked = (
        Original,
        "10.0.0.2:7".into(),
        None,
        "203.0.113.2:40000".into(),
    );
    assert_eq!(tunnels(&d), [asked]);
    let reply = words(&mut d, Reply, OUTGOING_REPLY, [9, 40_000, CONNECTED]);
    assert_eq!(reply, [9, 7, CONNECTED]);
    let server = "198.51.100.7:9".to_owned();
    assert_eq!(
        tunnels(&d),
        [
            (Reply, server.clone(), Some(40_000), server),
            (
                Original,
                "10.0.0.2:7".into(),
                Some(9),
                "203.0.113.2:40000".into()
            ),
        ]
    );
}

#[test]
fn a_server_that_is_hidden_gets_an_identifier_for_outside_too() {
    let mut d = greeted(before_nat(Transport::Tcp, 41_366, 1723));
    assert_eq!(words(&mut d, Original, OUTGOING_REQUEST, [7]), [7]);
    let reply = words(&mut d, Reply, OUTGOING_REPLY, [9, 7, CONNECTED]);
    assert_eq!(reply, [40_000, 7, CONNECTED]);
    assert_eq!(
        tunnels(&d),
        [
            (
                Reply,
                "10.0.0.2:9".into(),
                Some(7),
                "203.0.113.2:40000".into()
            ),
            (
                Original,
                "198.51.100.7:7".into(),
                Some(40_000),
                "198.51.100.7:7".into()
            ),
        ]
    );
}

#[test]
fn an_incoming_call_is_placed_by_the_other_side() {
    let mut d = both_hidden();
    assert_eq!(words(&mut d, Reply, INCOMING_REQUEST, [3]), [40_000]);
    let reply = words(&mut d, Original, INCOMING_REPLY, [4, 40_000, CONNECTED]);
    assert_eq!(reply, [40_002, 3, CONNECTED]);
    assert_eq!(words(&mut d, Reply, INCOMING_CONNECTED, [40_002]), [4]);
    assert_eq!(
        tunnels(&d),
        [
            (
                Original,
                "10.0.0.2:4".into(),
                Some(40_000),
                "203.0.113.2:40002".into()
            ),
            (
                Reply,
                "10.9.0.2:3".into(),
                Some(40_002),
                "198.51.100.7:40000".into()
            ),
        ]
    );
}

#[test]
fn every_message_that_carries_an_identifier_arrives_with_the_right_one() {
    let mut d = both_hidden();
    words(&mut d, Original, OUTGOING_REQUEST, [7]);
    words(&mut d, Reply, OUTGOING_REPLY, [9, 40_000, CONNECTED]);
    // Those that name the receiver's identifier.
    for kind in [SET_LINK, WAN_ERROR, INCOMING_CONNECTED] {
        assert_eq!(words(&mut d, Original, kind, [40_002]), [9], "{kind}");
        assert_eq!(words(&mut d, Reply, kind, [40_000]), [7], "{kind}");
        assert_eq!(words(&mut d, Reply, kind, [40_001]), [40_001], "{kind}");
    }
    // Those that name the sender's own, or the receiver's as some do.
    assert_eq!(words(&mut d, Original, CLEAR_REQUEST, [7]), [40_000]);
    assert_eq!(words(&mut d, Original, CLEAR_REQUEST, [40_002]), [9]);
    assert_eq!(words(&mut d, Reply, DISCONNECT_NOTIFY, [9]), [40_002]);
    // Identifiers of calls that are over are nobody's.
    assert_eq!(words(&mut d, Reply, SET_LINK, [40_000]), [40_000]);
}

#[test]
fn many_calls_at_a_time_are_told_apart() {
    let mut d = both_hidden();
    for n in 0..20 {
        let [known] = words(&mut d, Original, OUTGOING_REQUEST, [n]);
        let [server, own, _] = words(&mut d, Reply, OUTGOING_REPLY, [100 + n, known, CONNECTED]);
        assert_eq!((own, server), (n, known + 2));
    }
    for n in 0..20 {
        let known = 40_000 + 4 * n;
        assert_eq!(words(&mut d, Reply, SET_LINK, [known]), [n]);
        assert_eq!(words(&mut d, Original, SET_LINK, [known + 2]), [100 + n]);
    }
    assert_eq!(d.desk.announced.len(), 40);
    words(&mut d, Reply, DISCONNECT_NOTIFY, [105]);
    assert_eq!(d.desk.announced.len(), 38);
}

#[test]
fn the_identifier_nought_is_one_like_any_other() {
    let mut d = client_hidden();
    assert_eq!(words(&mut d, Original, OUTGOING_REQUEST, [0]), [40_000]);
    let reply = words(&mut d, Reply, OUTGOING_REPLY, [0, 40_000, CONNECTED]);
    assert_eq!(reply, [0, 0, CONNECTED]);
    assert_eq!(words(&mut d, Original, CLEAR_REQUEST, [0]), [40_000]);
    assert_eq!(words(&mut d, Reply, DISCONNECT_NOTIFY, [0]), [0]);
    assert_eq!(d.desk.announced, []);
}

#[test]
fn an_identifier_that_equals_a_port_of_the_connection_is_not_taken_for_it() {
    let mut d = client_hidden();
    assert_eq!(
        words(&mut d, Original, OUTGOING_REQUEST, [41_366]),
        [40_000]
    );
    let reply = words(&mut d, Reply, OUTGOING_REPLY, [1723, 40_000, CONNECTED]);
    assert_eq!(reply, [1723, 41_366, CONNECTED]);
}

#[test]
fn a_call_that_is_refused_cleared_or_disconnected_is_taken_back() {
    let mut d = client_hidden();
    words(&mut d, Original, OUTGOING_REQUEST, [7]);
    assert_eq!(
        words(&mut d, Reply, OUTGOING_REPLY, [0, 40_000, BUSY]),
        [0, 7, BUSY]
    );
    assert_eq!(d.desk.announced, []);

    let [known] = words(&mut d, Original, OUTGOING_REQUEST, [7]);
    words(&mut d, Reply, OUTGOING_REPLY, [9, known, CONNECTED]);
    words(&mut d, Original, CLEAR_REQUEST, [7]);
    assert_eq!(d.desk.announced, [], "the client clears it");
    assert_eq!(
        words(&mut d, Reply, SET_LINK, [known]),
        [7],
        "until the server agrees"
    );

    let [known] = words(&mut d, Original, OUTGOING_REQUEST, [8]);
    words(&mut d, Reply, OUTGOING_REPLY, [10, known, CONNECTED]);
    assert_eq!(d.desk.announced.len(), 2);
    words(&mut d, Reply, DISCONNECT_NOTIFY, [10]);
    assert_eq!(d.desk.announced, [], "the server drops it");
}

#[test]
fn a_call_that_is_cleared_before_it_is_taken_up_is_not_announced() {
    let mut d = client_hidden();
    words(&mut d, Original, OUTGOING_REQUEST, [7]);
    words(&mut d, Original, CLEAR_REQUEST, [7]);
    let reply = words(&mut d, Reply, OUTGOING_REPLY, [9, 40_000, CONNECTED]);
    assert_eq!(reply, [9, 7, CONNECTED]);
    assert_eq!(d.desk.announced, []);
    words(&mut d, Reply, DISCONNECT_NOTIFY, [9]);
    assert!(d.helper.calls.is_empty());
}

#[test]
fn a_reply_that_cannot_be_announced_is_refused_where_either_side_is_hidden() {
    let mut d = client_hidden();
    words(&mut d, Original, OUTGOING_REQUEST, [7]);
    d.desk.refuse = Some(Refusal::Full);
    let reply = message(OUTGOING_REPLY, &[9, 40_000, CONNECTED]);
    assert_eq!(d.say(Reply, &reply), Err(Refusal::Full));
    d.desk.refuse = None;
    words(&mut d, Reply, OUTGOING_REPLY, [9, 40_000, CONNECTED]);
    assert_eq!(d.desk.announced.len(), 2, "it is sent again");
}

#[test]
fn the_end_of_the_control_connection_takes_everything_back() {
    for kind in [STOP_REQUEST, STOP_REPLY] {
        let mut d = client_hidden();
        for id in [7, 8] {
            let [known] = words(&mut d, Original, OUTGOING_REQUEST, [id]);
            words(&mut d, Reply, OUTGOING_REPLY, [id, known, CONNECTED]);
        }
        words(&mut d, Original, kind, []);
        assert_eq!(d.desk.announced, [], "{kind}");
        words(&mut d, Reply, STOP_REPLY, []);
        assert!(d.helper.calls.is_empty());
    }
}

#[test]
fn nothing_is_announced_that_nobody_has_asked_for() {
    for session in [
        behind_nat(Transport::Tcp, 41_366, 1723),
        before_nat(Transport::Tcp, 41_366, 1723),
    ] {
        let mut d = greeted(session);
        for kind in [OUTGOING_REPLY, INCOMING_REPLY] {
            for from in [Original, Reply] {
                assert_eq!(
                    words(&mut d, from, kind, [5, 6, CONNECTED]),
                    [5, 6, CONNECTED]
                );
            }
        }
        assert_eq!(d.desk.announced, []);
        // Nor by answering oneself.
        let [known] = words(&mut d, Original, OUTGOING_REQUEST, [7]);
        words(&mut d, Original, OUTGOING_REPLY, [5, 7, CONNECTED]);
        words(&mut d, Original, OUTGOING_REPLY, [5, known, CONNECTED]);
        assert_eq!(d.desk.announced.len(), 1);
        assert_eq!(d.desk.announced[0].wanted.answers_to, None);
        // Who has asked for a call has no answer to it, be it a refusal.
        let [server, ..] = words(&mut d, Reply, OUTGOING_REPLY, [9, known, CONNECTED]);
        words(&mut d, Original, OUTGOING_REPLY, [7, server, BUSY]);
        assert_eq!(d.desk.announced.len(), 2);
    }
}

#[test]
fn asking_again_changes_nothing_and_an_identifier_in_use_again_is_a_new_call() {
    let mut d = client_hidden();
    assert_eq!(words(&mut d, Original, OUTGOING_REQUEST, [7]), [40_000]);
    assert_eq!(words(&mut d, Original, OUTGOING_REQUEST, [7]), [40_000]);
    words(&mut d, Reply, OUTGOING_REPLY, [9, 40_000, CONNECTED]);
    let again = words(&mut d, Reply, OUTGOING_REPLY, [9, 40_000, CONNECTED]);
    assert_eq!(again, [9, 7, CONNECTED]);
    let other = words(&mut d, Reply, OUTGOING_REPLY, [10, 40_000, CONNECTED]);
    assert_eq!(other, [10, 7, CONNECTED], "it is not announced");
    assert_eq!((d.desk.announced.len(), d.helper.calls.len()), (2, 1));

    let [known] = words(&mut d, Original, OUTGOING_REQUEST, [7]);
    assert_eq!((d.desk.announced.len(), d.helper.calls.len()), (1, 1));
    // The server, too, uses an identifier again without having said that its call is over.
    let [another] = words(&mut d, Original, OUTGOING_REQUEST, [8]);
    words(&mut d, Reply, OUTGOING_REPLY, [9, known, CONNECTED]);
    words(&mut d, Reply, OUTGOING_REPLY, [9, another, CONNECTED]);
    assert_eq!((d.desk.announced.len(), d.helper.calls.len()), (2, 1));
}

#[test]
fn a_request_without_an_identifier_is_refused_only_where_it_could_be_mistaken() {
    let mut d = client_hidden();
    d.desk.refuse = Some(Refusal::NoPort);
    let request = message(OUTGOING_REQUEST, &[7]);
    assert_eq!(d.say(Original, &request), Err(Refusal::NoPort));
    assert!(d.helper.calls.is_empty());
    d.desk.refuse = None;
    assert_eq!(words(&mut d, Original, OUTGOING_REQUEST, [7]), [40_000]);

    let at = |text: &str| text.parse().expect("an endpoint");
    let (client, server) = (at("[2001:db8::2]:41366"), at("[2001:db8::7]:1723"));
    let mut d = greeted(untranslated(Transport::Tcp, client, server));
    d.desk.refuse = Some(Refusal::Full);
    assert_eq!(d.say(Original, &request), Ok(request));
    let reply = words(&mut d, Reply, OUTGOING_REPLY, [9, 7, CONNECTED]);
    assert_eq!(reply, [9, 7, CONNECTED]);
}

#[test]
fn calls_are_bounded_and_one_that_is_over_makes_room() {
    let mut d = client_hidden();
    let most = u16::try_from(CALLS_MAX).expect("few");
    for id in 0..most {
        words(&mut d, Original, OUTGOING_REQUEST, [id]);
    }
    let request = message(OUTGOING_REQUEST, &[500]);
    assert_eq!(d.say(Original, &request), Err(Refusal::Full));
    words(&mut d, Original, CLEAR_REQUEST, [17]);
    words(&mut d, Original, OUTGOING_REQUEST, [500]);
    assert_eq!(d.helper.calls.len(), CALLS_MAX);
    assert_eq!(d.helper.by_own(Original, 17), None);
}

#[test]
fn what_does_not_begin_with_the_greeting_is_left_at_the_byte_that_shows_it() {
    let good = message(START_REQUEST, &[]);
    for at in 0..10 {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        let mut d = Dialogue::new(Pptp::new(), behind_nat(Transport::Tcp, 41_366, 1723));
        assert_eq!(d.say(Original, &bad[..at]), Ok(vec![]));
        assert!(!d.left);
        d.say(Original, &bad[at..=at]).expect("not refused");
        assert!(d.left, "byte {at}");
    }
    // A server greets with a reply, and nobody begins with a call.
    for (from, kind) in [(Reply, START_REQUEST), (Original, OUTGOING_REQUEST)] {
        let mut d = Dialogue::new(Pptp::new(), behind_nat(Transport::Tcp, 41_366, 1723));
        d.say(from, message(kind, &[7])).expect("not refused");
        assert!(d.left);
    }
}

#[test]
fn a_browser_that_hides_a_call_in_its_request_is_left_alone() {
    let hidden = [message(START_REQUEST, &[]), message(OUTGOING_REQUEST, &[7])].concat();
    let head = b"POST /x HTTP/1.1\r\nHost: h:1723\r\n\r\n".to_vec();
    let mut d = Dialogue::new(Pptp::new(), behind_nat(Transport::Tcp, 41_366, 1723));
    assert_eq!(d.say(Original, &head), Ok(head));
    assert_eq!(d.say(Original, &hidden), Ok(hidden));
    assert!(d.left && d.desk.announced.is_empty());
}

#[test]
fn a_stream_that_loses_its_rhythm_is_left_with_what_was_changed() {
    let mut d = client_hidden();
    let mut said = message(OUTGOING_REQUEST, &[7]);
    said.extend([0, 5, 0, 1, 0x1a]);
    let arrived = d.say(Original, &said).expect("not refused");
    assert_eq!(arrived[12..14], 40_000_u16.to_be_bytes());
    assert_eq!(arrived.len(), said.len());
    d.say(Original, "x").expect("not refused");
    assert!(d.left);
}

#[test]
fn messages_of_other_kinds_and_types_pass() {
    let mut d = client_hidden();
    let mut management = message(OUTGOING_REQUEST, &[7]);
    management[3] = 2;
    let short = [0, 12, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 7, 0, 0].to_vec();
    for said in [
        message(ECHO_REQUEST, &[7]),
        message(77, &[7]),
        management,
        short,
    ] {
        assert_eq!(d.say(Original, &said), Ok(said.clone()));
    }
    assert_eq!(d.desk.announced, []);
}

/// A conversation with everything in it.
fn conversation() -> Vec<(Direction, Vec<u8>)> {
    let client = [
        message(OUTGOING_REQUEST, &[7]),
        message(OUTGOING_REQUEST, &[8]),
        message(ECHO_REQUEST, &[7]),
    ];
    let server = [
        message(OUTGOING_REPLY, &[9, 40_002, CONNECTED]),
        message(OUTGOING_REPLY, &[10, 40_000, CONNECTED]),
        message(INCOMING_REQUEST, &[11]),
        message(SET_LINK, &[40_000]),
    ];
    vec![
        (Original, message(START_REQUEST, &[])),
        (Reply, message(START_REPLY, &[])),
        (Original, client.concat()),
        (Reply, server.concat()),
        (Original, message(INCOMING_REPLY, &[12, 40_008, CONNECTED])),
        (Reply, message(INCOMING_CONNECTED, &[40_010])),
        (Original, message(CLEAR_REQUEST, &[7])),
        (Reply, message(DISCONNECT_NOTIFY, &[10])),
    ]
}

/// A call as its two sides have it: who asked for it, the identifier that side has and the one that
/// the other was told, and the same of the other once it has taken it up.
type Sides = (Direction, u16, u16, Option<(u16, u16)>);

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_output(
        lengths in proptest::collection::vec(1..90_usize, 1..9),
    ) {
        let mut whole = both_hidden();
        let arrived = whole.converse(&conversation()[2..], &[]);
        prop_assert_eq!(whole.desk.announced.len(), 4);
        let mut cut = both_hidden();
        prop_assert_eq!(cut.converse(&conversation()[2..], &lengths), arrived);
        prop_assert_eq!(cut.desk.announced, whole.desk.announced);
    }

    #[test]
    fn any_bytes_never_panic_and_announce_only_the_two_sides(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        lengths in proptest::collection::vec(1..90_usize, 1..9),
    ) {
        let mut turns = conversation();
        for (at, byte) in changes {
            let turn = at.index(turns.len());
            let place = at.index(turns[turn].1.len().min(20));
            turns[turn].1[place] = byte;
        }
        turns.push((Original, noise));
        let session = behind_nat(Transport::Tcp, 41_366, 1723);
        let mut dialogue = Dialogue::new(Pptp::new(), session);
        dialogue.converse(&turns, &lengths);
        for made in &dialogue.desk.announced {
            let own = session.sender(made.from).own.ip();
            prop_assert_eq!(made.wanted.listener.ip(), own);
            prop_assert_eq!(made.wanted.opener, Opener::Receiver);
        }
        prop_assert!(dialogue.helper.calls.len() <= CALLS_MAX);
    }

    /// Each side keeps a list of its own: who it told what, and what it was told. Whatever the
    /// calls do, no side hears an identifier that it does not know.
    #[test]
    fn every_identifier_that_arrives_means_something_to_its_receiver(
        acts in proptest::collection::vec((any::<bool>(), 0..5_u8, 0..6_u16), 1..60),
    ) {
        let mut d = both_hidden();
        let mut calls: Vec<Sides> = Vec::new();
        let mut free = 1..u16::MAX;
        for (client, act, which) in acts {
            let from = if client { Original } else { Reply };
            let at = usize::from(which).min(calls.len().saturating_sub(1));
            let Some(&(caller, own, told, other)) = calls.get(at).filter(|_| act > 0) else {
                let own = free.next().expect("numbers enough");
                let [told] = words(&mut d, from, OUTGOING_REQUEST, [own]);
                calls.push((from, own, told, None));
                continue;
            };
            match (act, other) {
                (1, None) => {
                    let mine = free.next().expect("numbers enough");
                    let [heard, back, _] =
                        words(&mut d, caller.flip(), OUTGOING_REPLY, [mine, told, CONNECTED]);
                    prop_assert_eq!(back, own);
                    calls[at].3 = Some((mine, heard));
                }
                (2, Some((mine, heard))) => {
                    prop_assert_eq!(words(&mut d, caller, SET_LINK, [heard]), [mine]);
                    prop_assert_eq!(words(&mut d, caller.flip(), WAN_ERROR, [told]), [own]);
                }
                (3, _) => {
                    prop_assert_eq!(words(&mut d, caller, CLEAR_REQUEST, [own]), [told]);
                }
                (4, Some((mine, heard))) => {
                    let notified = words(&mut d, caller.flip(), DISCONNECT_NOTIFY, [mine]);
                    prop_assert_eq!(notified, [heard]);
                    calls.remove(at);
                }
                _ => {}
            }
        }
        prop_assert_eq!(d.helper.calls.len(), calls.len());
    }
}
