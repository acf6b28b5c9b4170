//! SCTP associations and DCCP connections as transcripts (see `play`).
//!
//! SCTP in words: chunks joined by `+`, `tag N` of the common header, `gives N` for the initiate
//! tag, `reflected` for the T bit: `init tag 0 gives 11`, `cookie-echo+data tag 22`.

use crate::play::Play;
use crate::support::segment;
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::segment::{Chunk, ChunkSet, DccpType, L4, SctpSegment, Segment, TagOwner};
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::Proto;

fn chunk(name: &str) -> Chunk {
    match name {
        "init" => Chunk::Init,
        "init-ack" => Chunk::InitAck,
        "cookie-echo" => Chunk::CookieEcho,
        "cookie-ack" => Chunk::CookieAck,
        "shutdown" => Chunk::Shutdown,
        "shutdown-ack" => Chunk::ShutdownAck,
        "shutdown-complete" => Chunk::ShutdownComplete,
        "abort" => Chunk::Abort,
        "error" => Chunk::Error,
        "heartbeat" => Chunk::Heartbeat,
        "heartbeat-ack" => Chunk::HeartbeatAck,
        "data" | "sack" => Chunk::Data,
        other => panic!("chunk {other}"),
    }
}

fn sctp_words(words: &str) -> Segment {
    let mut words = words.split_whitespace();
    let chunks = words.next().expect("chunks").split('+').map(chunk);
    let mut sctp = SctpSegment {
        tag: 0,
        chunks: chunks.fold(ChunkSet::default(), ChunkSet::with),
        initiate_tag: 0,
        owner: TagOwner::Receiver,
    };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse().ok()).expect("a number");
        match word {
            "tag" => sctp.tag = number(),
            "gives" => sctp.initiate_tag = number(),
            "reflected" => sctp.owner = TagOwner::Sender,
            other => panic!("word {other}"),
        }
    }
    segment(L4::Sctp(sctp))
}

fn dccp_words(words: &str) -> Segment {
    let kind = match words {
        "request" => DccpType::Request,
        "response" => DccpType::Response,
        "data" => DccpType::Data,
        "ack" => DccpType::Ack,
        "data-ack" => DccpType::DataAck,
        "close-req" => DccpType::CloseReq,
        "close" => DccpType::Close,
        "reset" => DccpType::Reset,
        "sync" => DccpType::Sync,
        "sync-ack" => DccpType::SyncAck,
        other => panic!("type {other}"),
    };
    segment(L4::Dccp(kind))
}

fn sctp(script: &str) -> Play {
    Play::run(Proto::SCTP, sctp_words, &TrackingConfig::default(), script)
}

/// The opener chose tag 11, the responder 22.
const ASSOCIATED: &str = "
    C>S init tag 0 gives 11 = new cookie-wait
    S>C init-ack tag 11 gives 22 = established cookie-wait
    C>S cookie-echo+data tag 22 = established cookie-echoed
    S>C cookie-ack+sack tag 11 = established established
";

fn associated(script: &str) -> Play {
    sctp(&format!("{ASSOCIATED}{script}"))
}

fn dccp(script: &str) -> Play {
    Play::run(Proto::DCCP, dccp_words, &TrackingConfig::default(), script)
}

#[test]
fn four_packets_establish_and_assure_an_association() {
    let play = associated("C>S data tag 22 = established established");
    assert!(play.has(Flags::ASSURED) && play.has(Flags::SEEN_REPLY));
    assert_eq!(play.timeout_secs(), 210);
}

#[test]
fn an_unanswered_init_lives_for_its_timeout() {
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         wait 2
         C>S init tag 0 gives 11 = new cookie-wait
         wait 2
         C>S init tag 0 gives 11 = new cookie-wait
         wait 3
         gone",
    );
}

#[test]
fn only_init_heartbeat_and_shutdown_ack_open() {
    sctp(
        "C>S data tag 5 = invalid not-opening
         C>S cookie-echo tag 5 = invalid not-opening
         C>S abort tag 5 = invalid not-opening
         C>S init tag 5 gives 11 = invalid sctp-tag
         C>S init tag 0 gives 0 = invalid sctp-tag
         C>S heartbeat tag 0 = invalid sctp-tag",
    );
}

#[test]
fn an_association_shuts_down_and_expires() {
    let play = associated(
        "C>S shutdown tag 22 = established shutdown-sent
         S>C data tag 11 = established shutdown-sent
         S>C shutdown-ack tag 11 = established shutdown-ack-sent
         C>S shutdown-complete tag 22 = established closed",
    );
    assert!(play.has(Flags::DYING));
    assert_eq!(play.timeout_secs(), 10);
    associated(
        "S>C shutdown tag 11 = established shutdown-recd
         C>S shutdown-ack tag 22 = established shutdown-ack-sent
         S>C shutdown-complete tag 11 = established closed
         wait 10
         gone",
    );
}

#[test]
fn every_direction_has_a_tag_of_its_own() {
    associated(
        "C>S data tag 11 = invalid sctp-tag
         S>C data tag 22 = invalid sctp-tag
         C>S shutdown tag 7 = invalid sctp-tag
         C>S data tag 0 = invalid sctp-tag
         C>S data tag 22 = established established",
    );
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         S>C init-ack tag 12 gives 22 = invalid sctp-tag
         S>C init-ack tag 11 gives 0 = invalid sctp-tag
         S>C init-ack tag 11 gives 22 = established cookie-wait
         C>S cookie-echo tag 23 = invalid sctp-tag
         C>S cookie-echo tag 22 = established cookie-echoed
         S>C cookie-ack tag 12 = invalid sctp-tag
         S>C cookie-ack tag 11 = established established",
    );
}

#[test]
fn nothing_but_the_cookie_follows_the_answer() {
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         S>C init-ack tag 11 gives 22 = established cookie-wait
         C>S data tag 22 = invalid state
         S>C data tag 11 = invalid state
         C>S cookie-echo tag 22 = established cookie-echoed
         S>C data tag 11 = established cookie-echoed
         S>C cookie-ack tag 11 = established established",
    );
}

#[test]
fn an_abort_ends_an_association_and_a_blind_one_does_not() {
    associated(
        "S>C abort tag 12 = invalid sctp-tag
         S>C abort tag 22 = invalid sctp-tag
         S>C abort tag 11 reflected = invalid sctp-tag
         S>C abort tag 22 reflected = established closed",
    );
    associated("C>S abort tag 22 = established closed");
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         S>C abort tag 11 = established closed",
    );
}

#[test]
fn a_shutdown_complete_may_reflect_the_tag() {
    let shut = "
        S>C shutdown tag 11 = established shutdown-recd
        C>S shutdown-ack tag 22 = established shutdown-ack-sent
        S>C shutdown-complete tag 22 = invalid sctp-tag
        S>C shutdown-complete tag 22 reflected = established closed";
    associated(shut);
}

#[test]
fn a_shutdown_ack_without_an_association_is_let_through_to_be_completed() {
    sctp(
        "C>S shutdown-ack tag 22 = new shutdown-ack-sent
         S>C shutdown-complete tag 22 reflected = established closed",
    );
}

#[test]
fn an_init_in_a_closed_association_opens_another() {
    associated(
        "C>S abort tag 22 = established closed
         C>S init tag 0 gives 13 = reopen
         C>S init tag 0 gives 13 = new cookie-wait",
    );
    associated(
        "C>S abort tag 22 = established closed
         C>S init tag 9 gives 13 = invalid sctp-tag",
    );
}

#[test]
fn a_restarted_opener_keeps_the_association_under_new_tags() {
    associated(
        "C>S init tag 0 gives 13 = established established
         S>C init-ack tag 13 gives 24 = established established
         S>C data tag 11 = established established
         C>S cookie-echo tag 24 = established established
         S>C cookie-ack tag 13 = established established
         C>S data tag 24 = established established
         S>C data tag 11 = invalid sctp-tag",
    );
}

#[test]
fn a_forged_init_changes_nothing() {
    let play = associated(
        "wait 200
         C>S init tag 0 gives 666 = established established
         S>C init-ack tag 666 gives 25 = established established
         C>S abort tag 25 = established established
         S>C data tag 666 = invalid sctp-tag
         S>C cookie-ack tag 666 = invalid sctp-tag",
    );
    assert_eq!(play.timeout_secs(), 10, "no forged packet keeps it alive");
    associated(
        "C>S init tag 0 gives 666 = established established
         C>S cookie-echo tag 22 = established established
         S>C data tag 11 = established established
         C>S data tag 22 = established established",
    );
}

#[test]
fn a_responder_that_answers_twice_may_be_taken_at_either_word() {
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         S>C init-ack tag 11 gives 22 = established cookie-wait
         S>C init-ack tag 11 gives 23 = established cookie-wait
         C>S cookie-echo tag 23 = established cookie-echoed
         S>C cookie-ack tag 11 = established established
         C>S data tag 22 = invalid sctp-tag
         C>S data tag 23 = established established",
    );
}

#[test]
fn an_opener_that_begins_anew_is_answered_under_its_new_tag() {
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         C>S init tag 0 gives 12 = new cookie-wait
         S>C init-ack tag 12 gives 22 = established cookie-wait
         C>S cookie-echo tag 22 = established cookie-echoed
         S>C cookie-ack tag 12 = established established
         S>C data tag 12 = established established
         S>C data tag 11 = invalid sctp-tag",
    );
}

#[test]
fn two_sides_that_open_at_once_have_one_association() {
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         S>C init tag 0 gives 22 = established cookie-wait
         C>S init-ack tag 22 gives 11 = established cookie-wait
         S>C init-ack tag 11 gives 22 = established cookie-wait
         C>S cookie-echo tag 22 = established cookie-echoed
         S>C cookie-echo tag 11 = established cookie-echoed
         S>C cookie-ack tag 11 = established established
         C>S cookie-ack tag 22 = established established
         C>S data tag 22 = established established",
    );
}

#[test]
fn a_stale_cookie_ends_the_attempt() {
    sctp(
        "C>S init tag 0 gives 11 = new cookie-wait
         S>C init-ack tag 11 gives 22 = established cookie-wait
         C>S cookie-echo tag 22 = established cookie-echoed
         S>C error tag 11 = established closed
         C>S init tag 0 gives 12 = reopen",
    );
}

#[test]
fn a_heartbeat_opens_another_path_once_it_is_answered() {
    let play = sctp(
        "C>S heartbeat tag 22 = new heartbeat-sent
         C>S data tag 22 = new heartbeat-sent
         C>S data tag 23 = invalid sctp-tag
         S>C data tag 11 = invalid sctp-tag
         S>C heartbeat-ack tag 11 = established established
         S>C data tag 11 = established established
         S>C data tag 12 = invalid sctp-tag
         C>S data tag 22 = established established",
    );
    assert!(play.has(Flags::ASSURED));
    sctp(
        "C>S heartbeat tag 22 = new heartbeat-sent
         wait 30
         gone",
    );
}

#[test]
fn a_dccp_connection_opens_carries_and_closes() {
    let play = dccp(
        "C>S request = new request
         S>C response = established respond
         C>S ack = established partopen
         S>C data = established open
         C>S data = established open
         S>C data-ack = established open",
    );
    assert!(play.has(Flags::ASSURED));
    assert_eq!(play.timeout_secs(), 43_200);
    let play = dccp(
        "C>S request = new request
         S>C response = established respond
         C>S data-ack = established partopen
         S>C ack = established open
         S>C close-req = established closereq
         C>S close = established closing
         S>C reset = established timewait",
    );
    assert!(play.has(Flags::DYING));
    assert_eq!(play.timeout_secs(), 240);
}

#[test]
fn only_a_request_opens_and_only_a_response_answers_it() {
    for word in [
        "response",
        "data",
        "ack",
        "data-ack",
        "close-req",
        "close",
        "reset",
        "sync",
    ] {
        dccp(&format!("C>S {word} = invalid not-opening"));
    }
    dccp(
        "C>S request = new request
         S>C request = invalid state
         S>C data = invalid state
         C>S ack = invalid state
         S>C response = established respond
         C>S data = invalid state
         S>C data = invalid state",
    );
}

#[test]
fn a_refused_request_may_be_repeated_as_a_new_connection() {
    dccp(
        "C>S request = new request
         S>C reset = established timewait
         C>S sync = established timewait
         C>S request = reopen
         C>S request = new request
         wait 240
         gone",
    );
}
