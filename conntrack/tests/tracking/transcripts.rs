//! TCP connections as transcripts (see `play`), in the words of `support::tcp`.

use crate::play::Play;
use crate::support::tcp;
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::table::Tracked;
use turnpike_conntrack::timeouts::{Switch, TrackingConfig};
use turnpike_conntrack::tuple::Proto;

fn play_with(config: &TrackingConfig, script: &str) -> Play {
    Play::run(Proto::TCP, tcp, config, script)
}

fn play(script: &str) -> Play {
    play_with(&TrackingConfig::default(), script)
}

const HANDSHAKE: &str = "
    C>S S 100:100(0) win 5840 = new syn-sent
    S>C S. 900:900(0) ack 101 win 5000 = established syn-received
    C>S . 101:101(0) ack 901 win 5840 = established established
";

fn after_handshake(script: &str) -> Play {
    play(&format!("{HANDSHAKE}{script}"))
}

#[test]
fn a_handshake_establishes_and_assures() {
    let play = after_handshake("");
    assert!(play.has(Flags::ASSURED) && play.has(Flags::SEEN_REPLY));
    assert_eq!(play.timeout_secs(), 86_400);
}

#[test]
fn an_unanswered_syn_lives_for_its_timeout_however_often_it_is_repeated() {
    let play = play(
        "C>S S 100:100(0) = new syn-sent
         wait 4
         C>S S 100:100(0) = new syn-sent",
    );
    assert_eq!(play.timeout_secs(), 1);
    self::play(
        "C>S S 100:100(0) = new syn-sent
         wait 5
         gone",
    );
}

#[test]
fn a_session_closes_from_both_sides_and_expires() {
    let play = after_handshake(
        "C>S P. 101:201(100) ack 901 win 5840 = established established
         S>C . 901:901(0) ack 201 win 5000 = established established
         C>S F. 201:201(0) ack 901 win 5840 = established fin-wait
         S>C . 901:901(0) ack 202 win 5000 = established close-wait
         S>C F. 901:901(0) ack 202 win 5000 = established last-ack
         C>S . 202:202(0) ack 902 win 5840 = established time-wait",
    );
    assert!(play.has(Flags::DYING));
    assert_eq!(play.timeout_secs(), 10);
    after_handshake(
        "C>S F. 101:101(0) ack 901 = established fin-wait
         S>C F. 901:901(0) ack 102 = established last-ack
         C>S . 102:102(0) ack 902 = established time-wait
         wait 10
         gone",
    );
}

#[test]
fn a_half_closed_connection_still_carries_data() {
    after_handshake(
        "C>S F. 101:101(0) ack 901 win 5840 = established fin-wait
         S>C . 901:901(0) ack 102 win 5000 = established close-wait
         S>C . 901:2361(1460) ack 102 win 5000 = established close-wait
         C>S . 102:102(0) ack 2361 win 5840 = established close-wait
         S>C F. 2361:2361(0) ack 102 win 5000 = established last-ack
         C>S . 102:102(0) ack 2362 win 5840 = established time-wait",
    );
}

#[test]
fn data_beyond_the_offered_window_is_invalid() {
    after_handshake(
        "C>S . 5101:6101(1000) ack 901 = established established
         C>S . 90000:91000(1000) ack 901 = invalid out-of-window
         S>C . 901:1901(1000) ack 101 = established established
         S>C . 90000:90001(1) ack 101 = invalid out-of-window",
    );
}

#[test]
fn data_far_below_the_window_passes_and_moves_nothing() {
    let script = "C>S . 101:5101(5000) ack 901 = established established
         S>C . 901:901(0) ack 5101 win 5000 = established established
         C>S . 5101:10101(5000) ack 901 = established established
         S>C . 901:1901(1000) ack 10101 = established established
         C>S . 101:102(1) ack 1901 = established established";
    // What the old segment acknowledges is not taken for acknowledged.
    assert_eq!(after_handshake(script).timeout_secs(), 300);
    let script = format!("{script}\nC>S . 10101:10101(0) ack 1901 = established established");
    assert_eq!(after_handshake(&script).timeout_secs(), 86_400);
}

#[test]
fn what_overshoots_the_window_by_less_than_a_window_passes_and_may_be_acknowledged() {
    after_handshake(
        "C>S . 101:5101(5000) ack 901 = established established
         C>S . 5102:5202(100) ack 901 = established established
         C>S . 15102:15202(100) ack 901 = invalid out-of-window
         S>C . 901:901(0) ack 5202 = established established",
    );
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_invalid() {
    after_handshake(
        "S>C . 901:901(0) ack 500 = invalid out-of-window
         C>S . 101:101(0) ack 902 = invalid out-of-window
         C>S . 101:101(0) ack 901 = established established",
    );
}

#[test]
fn an_acknowledgement_far_behind_passes_and_moves_nothing() {
    after_handshake(
        "S>C . 901:901(0) ack 4294900000 = established established
         C>S . 5102:5103(1) ack 902 = invalid out-of-window
         S>C . 901:901(0) ack 4294967200 = established established",
    );
}

#[test]
fn rst_outside_window_is_invalid() {
    after_handshake(
        "S>C R 70000:70000(0) = invalid out-of-window
         S>C R 500:500(0) = invalid out-of-window
         C>S . 101:101(0) ack 901 = established established",
    );
}

#[test]
fn rst_in_window_but_not_exact_passes_and_does_not_close() {
    let play = after_handshake("S>C R 1200:1200(0) = established established");
    assert!(!play.has(Flags::DYING));
}

#[test]
fn an_exact_rst_closes() {
    let play = after_handshake(
        "S>C R 901:901(0) = established close
         C>S . 101:101(0) ack 901 = established close",
    );
    assert!(play.has(Flags::DYING));
    assert_eq!(play.timeout_secs(), 10);
}

#[test]
fn rst_behind_data_that_is_not_acknowledged_yet_closes() {
    after_handshake(
        "S>C P. 901:951(50) ack 101 = established established
         S>C R 951:951(0) = established close",
    );
}

#[test]
fn a_refused_connection_is_gone_at_once_and_may_be_tried_again() {
    play(
        "C>S S 100:100(0) = new syn-sent
         S>C R. 0:0(0) ack 101 win 0 = established close
         gone
         C>S S 300:300(0) = new syn-sent",
    );
}

#[test]
fn a_reset_ends_a_connection_that_nobody_has_answered() {
    play(
        "C>S S 100:100(0) = new syn-sent
         C>S R 101:101(0) = new close
         gone",
    );
    play(
        "C>S . 100:100(0) ack 900 = new established
         C>S R 5000:5000(0) = new close
         gone",
    );
}

#[test]
fn an_inexact_reset_closes_what_both_sides_have_not_agreed_on() {
    play(
        "C>S S 100:100(0) = new syn-sent
         S>C S. 900:900(0) ack 101 = established syn-received
         C>S R 500:500(0) = established close",
    );
}

#[test]
fn a_reset_that_answers_a_syn_in_mid_connection_closes() {
    after_handshake(
        "C>S S 70000:70000(0) = established established
         S>C R. 0:0(0) ack 70002 = invalid out-of-window
         S>C R. 0:0(0) ack 70001 = established close",
    );
}

#[test]
fn a_challenge_to_a_first_syn_may_be_answered_with_a_reset() {
    play(
        "C>S S 100:100(0) = new syn-sent
         S>C . 7000:7000(0) ack 66000 = established syn-sent
         C>S R 66001:66001(0) = invalid out-of-window
         C>S R 66000:66000(0) = established close
         C>S S 100:100(0) = reopen",
    );
}

#[test]
fn a_challenge_in_last_ack_acknowledges_no_fin() {
    after_handshake(
        "C>S F. 101:101(0) ack 901 = established fin-wait
         S>C F. 901:901(0) ack 101 = established last-ack
         C>S S 70000:70000(0) = established last-ack
         S>C . 902:902(0) ack 102 = established last-ack
         S>C . 902:902(0) ack 102 = established time-wait",
    );
}

#[test]
fn a_simultaneous_open_is_complete_with_either_acknowledgement() {
    play(
        "C>S S 100:100(0) = new syn-sent
         S>C S 900:900(0) = established syn-sent2
         C>S S. 100:100(0) ack 901 = established syn-received
         S>C . 901:901(0) ack 101 = established established",
    );
}

#[test]
fn what_both_sides_end_out_of_step_does_not_live_for_a_day() {
    let play = after_handshake(
        "C>S F. 70000:70000(0) ack 901 = invalid out-of-window
         C>S R 70001:70001(0) = invalid out-of-window
         S>C F. 90000:90000(0) ack 101 = invalid out-of-window",
    );
    assert_eq!(play.timeout_secs(), 300);
    let calmed = after_handshake(
        "C>S F. 70000:70000(0) ack 901 = invalid out-of-window
         C>S . 101:101(0) ack 901 = established established
         S>C F. 90000:90000(0) ack 101 = invalid out-of-window",
    );
    assert_eq!(calmed.timeout_secs(), 86_400);
}

#[test]
fn a_reset_moves_no_window() {
    after_handshake(
        "C>S R 1000:1500(500) = established established
         S>C . 901:901(0) ack 1500 = invalid out-of-window",
    );
}

#[test]
fn a_refusal_has_to_acknowledge_the_syn() {
    play(
        "C>S S 100:100(0) = new syn-sent
         S>C R. 0:0(0) ack 102 = invalid out-of-window
         S>C R 0:0(0) = invalid out-of-window
         S>C S. 900:900(0) ack 101 = established syn-received",
    );
}

#[test]
fn a_forged_syn_ack_does_not_spoil_the_handshake() {
    play(
        "C>S S 100000:100000(0) = new syn-sent
         S>C S. 7000:7000(0) ack 999999 = invalid out-of-window
         S>C S. 900:900(0) ack 100001 = established syn-received
         C>S . 100001:100001(0) ack 901 = established established",
    );
}

#[test]
fn simultaneous_open_establishes() {
    play(
        "C>S S 100:100(0) = new syn-sent
         S>C S 900:900(0) = established syn-sent2
         C>S S. 100:100(0) ack 901 = established syn-received
         S>C S. 900:900(0) ack 101 = established syn-received
         C>S . 101:101(0) ack 901 = established established",
    );
}

#[test]
fn a_syn_retransmitted_with_another_number_starts_over() {
    play(
        "C>S S 100:100(0) = new syn-sent
         C>S S 5000:5000(0) = new syn-sent
         S>C S. 900:900(0) ack 5001 = established syn-received
         C>S . 5001:5001(0) ack 901 = established established",
    );
}

#[test]
fn syn_in_time_wait_reopens() {
    after_handshake(
        "C>S F. 101:101(0) ack 901 = established fin-wait
         S>C F. 901:901(0) ack 102 = established last-ack
         C>S . 102:102(0) ack 902 = established time-wait
         C>S S 70000:70000(0) = reopen
         C>S S 70000:70000(0) = new syn-sent
         S>C S. 9:9(0) ack 70001 = established syn-received",
    );
}

#[test]
fn a_syn_in_mid_connection_passes_and_the_challenge_resets_it() {
    let play = after_handshake(
        "C>S S 70000:70000(0) = established established
         S>C . 901:901(0) ack 101 = established established
         C>S R 101:101(0) = established close
         C>S S 70000:70000(0) = reopen",
    );
    assert_eq!(play.flow(), None);
}

#[test]
fn a_responder_that_answers_a_syn_in_mid_connection_starts_over() {
    after_handshake(
        "C>S S 70000:70000(0) win 1000 scale 7 = established established
         S>C S. 500:500(0) ack 70001 win 1000 scale 7 = established syn-received
         C>S . 70001:70001(0) ack 501 win 100 = established established
         C>S . 101:101(0) ack 901 = invalid out-of-window
         S>C . 501:13301(12800) ack 70001 win 100 = established established",
    );
}

#[test]
fn a_syn_from_the_responder_in_mid_connection_is_invalid() {
    after_handshake("S>C S 901:901(0) = invalid tcp-state");
}

#[test]
fn loose_tracking_picks_a_connection_up() {
    let play = play(
        "C>S . 5000:5100(100) ack 9000 = new established
         S>C . 9000:10000(1000) ack 5100 = established established
         C>S . 5100:5100(0) ack 10000 win 10 = established established
         S>C . 99000:99001(1) ack 5100 = established established",
    );
    assert!(play.has(Flags::ASSURED));
    assert_eq!(
        self::play("C>S . 5:5(0) ack 9 = new established").timeout_secs(),
        300
    );
}

#[test]
fn loose_tracking_does_not_pick_up_the_rest() {
    play(
        "C>S F. 5000:5000(0) ack 9000 = invalid not-opening
         C>S R 5000:5000(0) = invalid not-opening
         C>S S. 5000:5000(0) ack 9000 = invalid not-opening",
    );
}

#[test]
fn strict_tracking_opens_with_syn_only() {
    let strict = TrackingConfig {
        loose_tcp: Switch::Off,
        ..TrackingConfig::default()
    };
    play_with(
        &strict,
        "C>S . 5000:5100(100) ack 9000 = invalid not-opening
         C>S S 5000:5000(0) = new syn-sent",
    );
}

#[test]
fn liberal_tracking_passes_data_outside_the_window_but_not_resets() {
    let liberal = TrackingConfig {
        liberal_tcp: Switch::On,
        ..TrackingConfig::default()
    };
    play_with(
        &liberal,
        &format!(
            "{HANDSHAKE}
             C>S . 90000:91000(1000) ack 901 = established established
             C>S R 90000:90000(0) = invalid out-of-window"
        ),
    );
}

#[test]
fn flag_combinations_that_nobody_sends_are_invalid() {
    play(
        "C>S - 5000:5000(0) = invalid tcp-flags
         C>S SF 5000:5000(0) = invalid tcp-flags
         C>S SR 5000:5000(0) = invalid tcp-flags
         C>S FPU 5000:5000(0) = invalid tcp-flags",
    );
    after_handshake("C>S F 101:101(0) = invalid tcp-flags");
}

#[test]
fn window_scaling_counts_when_both_sides_offer_it() {
    play(
        "C>S S 100:100(0) win 1000 scale 7 = new syn-sent
         S>C S. 900:900(0) ack 101 win 1000 scale 7 = established syn-received
         C>S . 101:101(0) ack 901 win 1000 = established established
         S>C . 100901:101901(1000) ack 101 win 1000 = established established
         S>C . 256902:256903(1) ack 101 win 1000 = invalid out-of-window",
    );
    play(
        "C>S S 100:100(0) win 1000 scale 7 = new syn-sent
         S>C S. 900:900(0) ack 101 win 1000 = established syn-received
         C>S . 101:101(0) ack 901 win 1000 = established established
         S>C . 100901:101901(1000) ack 101 win 1000 = invalid out-of-window",
    );
}

#[test]
fn a_selective_acknowledgement_moves_the_window() {
    let open = "
        C>S S 100:100(0) win 1000 sack = new syn-sent
        S>C S. 900:900(0) ack 101 win 1000 sack = established syn-received
        C>S . 101:101(0) ack 901 win 1000 = established established
        S>C . 1401:1901(500) ack 101 = established established
    ";
    play(&format!(
        "{open}
         C>S . 101:101(0) ack 901 win 1000 edge 1901 = established established
         S>C . 2801:2901(100) ack 101 = established established"
    ));
    play(&format!(
        "{open}S>C . 2801:2901(100) ack 101 = invalid out-of-window"
    ));
    play(&format!(
        "{open}C>S . 101:101(0) ack 901 win 1000 edge 5000 = invalid out-of-window"
    ));
}

#[test]
fn a_closed_window_takes_a_probe_of_one_byte() {
    after_handshake(
        "S>C . 901:901(0) ack 101 win 0 = established established
         C>S . 101:5101(5000) ack 901 = established established
         S>C . 901:901(0) ack 5101 win 0 = established established
         C>S . 5101:5102(1) ack 901 = established established
         C>S . 10102:10103(1) ack 901 = invalid out-of-window",
    );
}

#[test]
fn keepalives_and_their_answers_pass() {
    after_handshake(
        "C>S . 100:100(0) ack 901 = established established
         S>C . 901:901(0) ack 101 = established established
         S>C . 900:901(1) ack 101 = established established",
    );
}

#[test]
fn data_without_acknowledgement_shortens_the_timeout_until_it_comes() {
    let play = after_handshake("C>S . 101:201(100) ack 901 = established established");
    assert_eq!(play.timeout_secs(), 300);
    let play = after_handshake(
        "C>S . 101:201(100) ack 901 = established established
         S>C . 901:901(0) ack 201 = established established",
    );
    assert_eq!(play.timeout_secs(), 86_400);
    after_handshake(
        "C>S . 101:201(100) ack 901 = established established
         wait 300
         gone",
    );
}

#[test]
fn repeated_segments_bring_the_retransmission_timeout() {
    let mut config = TrackingConfig::default();
    config.timeouts.tcp_unacked = config.timeouts.tcp_established;
    let once = "C>S . 101:201(100) ack 901 = established established\n";
    let play = play_with(&config, &format!("{HANDSHAKE}{}", once.repeat(3)));
    assert_eq!(play.timeout_secs(), 86_400);
    let play = play_with(&config, &format!("{HANDSHAKE}{}", once.repeat(4)));
    assert_eq!(play.timeout_secs(), 300);
}

#[test]
fn sequence_numbers_wrap() {
    play(
        "C>S S 4294967290:4294967290(0) win 5840 = new syn-sent
         S>C S. 4294967295:4294967295(0) ack 4294967291 win 5000 = established syn-received
         C>S . 4294967291:4294967291(0) ack 0 = established established
         C>S . 4294967291:95(100) ack 0 = established established
         S>C . 0:0(0) ack 95 = established established
         S>C . 0:100(100) ack 95 = established established
         C>S R 95:95(0) = established close",
    );
}

#[test]
fn a_wrong_checksum_is_invalid_and_counts_nothing() {
    let mut play = after_handshake("");
    let flow = play.flow().expect("a connection");
    let mut segment = tcp("R. 101:101(0) ack 901");
    segment.checksum = turnpike_conntrack::segment::Checksum::Bad;
    let tracked = play
        .table
        .track(flow, &segment, play.now, &TrackingConfig::default());
    assert_eq!(
        tracked,
        Tracked::Invalid(turnpike_conntrack::segment::InvalidReason::Checksum)
    );
    let connection = play
        .table
        .connection(flow.id, play.now)
        .expect("a connection");
    assert_eq!(connection.packets, [2, 1]);
    assert_eq!(connection.bytes, [80, 40]);
    assert_eq!(connection.state, Some("established"));
}
