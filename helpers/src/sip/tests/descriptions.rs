//! What is announced for descriptions of media, and how they are written anew.

use super::*;
use crate::helper::{Opener, Ports, Refusal};

/// What arrives of a description that the phone sends.
fn offered(phone: &mut Dialogue<Sip>, sdp: &str) -> String {
    let arrived = say(phone, Original, message(INVITE, &["CSeq: 1 INVITE"], sdp));
    body(&arrived).to_owned()
}

fn ports(phone: &Dialogue<Sip>) -> Vec<(u16, Ports, u16)> {
    let made = phone.desk.announced.iter();
    made.map(|made| {
        (
            made.wanted.listener.port(),
            made.wanted.ports,
            made.known_as.port(),
        )
    })
    .collect()
}

#[test]
fn every_line_of_media_is_announced_where_it_is() {
    let mut phone = phone(Transport::Udp);
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nt=0 0\r\n\
        m=audio 6000 RTP/AVP 0\r\nc=IN IP4 10.0.0.2\r\n\
        m=video 6002 RTP/SAVPF 96\r\nc=IN IP4 10.0.0.2\r\na=sendrecv\r\n\
        m=image 6004 udptl t38\r\nc=IN IP4 10.0.0.2";
    let told = "v=0\r\no=- 1 1 IN IP4 203.0.113.2\r\ns=-\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 0\r\nc=IN IP4 203.0.113.2\r\n\
        m=video 40002 RTP/SAVPF 96\r\nc=IN IP4 203.0.113.2\r\na=sendrecv\r\n\
        m=image 40004 udptl t38\r\nc=IN IP4 203.0.113.2";
    assert_eq!(offered(&mut phone, sdp), told);
    let (pair, one) = (Ports::EvenPair, Ports::One);
    let made = [
        (6000, pair, 40_000),
        (6002, pair, 40_002),
        (6004, one, 40_004),
    ];
    assert_eq!(ports(&phone), made);
}

#[test]
fn media_on_hold_and_media_refused_are_not_announced() {
    for (address, line) in [
        ("0.0.0.0", "m=audio 6000 RTP/AVP 0"),
        ("10.0.0.2", "m=audio 0 RTP/AVP 0"),
    ] {
        let mut phone = phone(Transport::Udp);
        let told = offered(&mut phone, &description(address, &[line]));
        let known = address.replace("10.0.0.2", "203.0.113.2");
        assert_eq!(told, description(&known, &[line]));
        assert!(phone.desk.announced.is_empty());
    }
}

#[test]
fn media_elsewhere_are_left_alone() {
    for address in ["10.0.0.3", "198.51.100.7", "239.1.1.1", "192.0.2.1"] {
        let mut phone = phone(Transport::Udp);
        let sdp = description(address, &["m=audio 6000 RTP/AVP 0"]);
        let sdp = sdp.replacen(address, "192.0.2.1", 1);
        assert_eq!(offered(&mut phone, &sdp), sdp, "{address}");
        assert!(phone.desk.announced.is_empty(), "{address}");
    }
}

#[test]
fn media_that_are_not_direct_may_come_from_anybody() {
    let mut phone = open_phone();
    let told = offered(
        &mut phone,
        &description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"]),
    );
    assert_eq!(
        told,
        description("203.0.113.2", &["m=audio 40000 RTP/AVP 0"])
    );
    assert_eq!(only(&phone).wanted.opener, Opener::Anybody);
    offered(
        &mut phone,
        &description("10.0.0.3", &["m=audio 6000 RTP/AVP 0"]),
    );
    assert_eq!(phone.desk.announced[1].wanted.listener, at("10.0.0.3:6000"));
}

#[test]
fn nothing_below_1024_is_announced() {
    let mut phone = phone(Transport::Udp);
    let sdp = description("10.0.0.2", &["m=audio 1023 RTP/AVP 0", "m=x 22 TCP/X *"]);
    assert_eq!(
        offered(&mut phone, &sdp),
        sdp.replacen("10.0.0.2", "203.0.113.2", 1)
    );
    let invite = message(INVITE, &["Contact: <sip:a@10.0.0.2:22>"], "");
    assert_eq!(say(&mut phone, Original, &invite), invite);
    assert!(phone.desk.announced.is_empty());
}

#[test]
fn what_the_desk_refuses_is_not_told() {
    let mut phone = phone(Transport::Udp);
    phone.desk.refuse = Some(Refusal::Full);
    let sdp = description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"]);
    assert_eq!(
        offered(&mut phone, &sdp),
        sdp.replacen("10.0.0.2", "203.0.113.2", 1)
    );
}

#[test]
fn a_refused_line_beside_an_announced_one_is_told_as_rejected() {
    let mut phone = phone(Transport::Udp);
    let sdp = description(
        "10.0.0.2",
        &["m=audio 6000 RTP/AVP 0", "m=video 1000 RTP/AVP 96"],
    );
    let told = ["m=audio 40000 RTP/AVP 0", "m=video 0 RTP/AVP 96"];
    assert_eq!(offered(&mut phone, &sdp), description("203.0.113.2", &told));
}

#[test]
fn rtcp_lies_where_its_line_says() {
    let mut phone = phone(Transport::Udp);
    let own = ["m=audio 6000 RTP/AVP 0", "a=rtcp:6009 IN IP4 10.0.0.2"];
    let told = ["m=audio 40000 RTP/AVP 0", "a=rtcp:40002 IN IP4 203.0.113.2"];
    let arrived = offered(&mut phone, &description("10.0.0.2", &own));
    assert_eq!(arrived, description("203.0.113.2", &told));
    assert_eq!(
        ports(&phone),
        [(6000, Ports::One, 40_000), (6009, Ports::One, 40_002)]
    );
}

#[test]
fn rtcp_beside_rtp_stays_beside_it() {
    let mut phone = phone(Transport::Udp);
    let own = ["m=audio 6000 RTP/AVP 0", "a=rtcp:6001"];
    let told = ["m=audio 40000 RTP/AVP 0", "a=rtcp:40001"];
    let arrived = offered(&mut phone, &description("10.0.0.2", &own));
    assert_eq!(arrived, description("203.0.113.2", &told));
    assert_eq!(ports(&phone), [(6000, Ports::EvenPair, 40_000)]);
}

#[test]
fn rtcp_at_the_port_of_rtp_follows_it() {
    let mut phone = phone(Transport::Udp);
    let own = ["m=audio 6000 RTP/AVP 0", "a=rtcp:6000", "a=rtcp-mux"];
    let told = ["m=audio 40000 RTP/AVP 0", "a=rtcp:40000", "a=rtcp-mux"];
    let arrived = offered(&mut phone, &description("10.0.0.2", &own));
    assert_eq!(arrived, description("203.0.113.2", &told));
    assert_eq!(ports(&phone), [(6000, Ports::One, 40_000)]);
}

#[test]
fn an_answer_that_shares_its_port_needs_one_and_an_offer_two() {
    let sdp = description("10.0.0.2", &["m=audio 6000 RTP/AVP 0", "a=rtcp-mux"]);
    let mut phone = phone(Transport::Udp);
    offered(&mut phone, &sdp);
    assert_eq!(ports(&phone), [(6000, Ports::EvenPair, 40_000)]);
    let ok = message("SIP/2.0 200 OK", &["CSeq: 1 INVITE"], &sdp);
    say(&mut phone, Original, ok);
    assert_eq!(ports(&phone), [(6000, Ports::One, 40_000)]);
}

#[test]
fn rtcp_of_an_odd_port_is_told_in_a_line_of_its_own() {
    let mut phone = phone(Transport::Udp);
    let own = [
        "m=audio 6001 RTP/AVP 0",
        "a=sendrecv",
        "m=image 0 udptl t38",
    ];
    let told = [
        "m=audio 40000 RTP/AVP 0",
        "a=sendrecv",
        "a=rtcp:40002",
        "m=image 0 udptl t38",
    ];
    let arrived = offered(&mut phone, &description("10.0.0.2", &own));
    assert_eq!(arrived, description("203.0.113.2", &told));
    assert_eq!(
        ports(&phone),
        [(6001, Ports::One, 40_000), (6002, Ports::One, 40_002)]
    );
}

#[test]
fn pairs_that_follow_each_other_still_do() {
    let mut phone = phone(Transport::Udp);
    let arrived = offered(
        &mut phone,
        &description("10.0.0.2", &["m=audio 6000/2 RTP/AVP 0"]),
    );
    assert_eq!(
        arrived,
        description("203.0.113.2", &["m=audio 40000/2 RTP/AVP 0"])
    );
    assert_eq!(ports(&phone).len(), 2);
}

#[test]
fn descriptions_with_ice_are_left_alone() {
    let mut phone = phone(Transport::Udp);
    let lines = [
        "m=audio 6000 RTP/AVP 0",
        "a=candidate:1 1 UDP 99 10.0.0.2 6000 typ host",
    ];
    let sdp = description("10.0.0.2", &lines);
    assert_eq!(offered(&mut phone, &sdp), sdp);
    assert!(phone.desk.announced.is_empty());
}

#[test]
fn a_stream_that_is_opened_by_its_sender_is_not_announced() {
    let mut phone = phone(Transport::Udp);
    let active = ["m=app 6000 TCP/BFCP *", "a=setup:active"];
    offered(&mut phone, &description("10.0.0.2", &active));
    assert!(phone.desk.announced.is_empty());
    let passive = ["m=app 6000 TCP/BFCP *", "a=setup:actpass"];
    offered(&mut phone, &description("10.0.0.2", &passive));
    assert_eq!(only(&phone).wanted.transport, Transport::Tcp);
}

#[test]
fn what_comes_back_with_the_phones_own_media_is_carried_back() {
    let mut phone = phone(Transport::Udp);
    offered(
        &mut phone,
        &description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"]),
    );
    let echoed = description("203.0.113.2", &["m=audio 40000 RTP/AVP 0"]);
    let ok = message("SIP/2.0 200 OK", &["CSeq: 1 INVITE"], &echoed);
    let arrived = say(&mut phone, Reply, ok);
    assert_eq!(
        body(&arrived),
        description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"])
    );
}

#[test]
fn a_description_may_be_one_of_several_parts() {
    let mut phone = phone(Transport::Udp);
    let sdp = description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"]);
    let parts = |sdp: &str| {
        format!(
            "--b1\r\nContent-Type: text/plain\r\n\r\nm=audio 1 x\r\n--b1\r\n\
            Content-Disposition: session\r\nc: application/sdp\r\n\r\n{sdp}\r\n--b1--\r\n"
        )
    };
    let fields = [
        "CSeq: 1 INVITE",
        "Content-Type: multipart/mixed;boundary=\"b1\"",
    ];
    let arrived = say(&mut phone, Original, message(INVITE, &fields, &parts(&sdp)));
    let told = description("203.0.113.2", &["m=audio 40000 RTP/AVP 0"]);
    assert_eq!(body(&arrived), parts(&told));
}

#[test]
fn bodies_that_cannot_be_read_are_left_alone() {
    let sdp = description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"]);
    for fields in [["Content-Encoding: gzip"], ["Content-Type: text/plain"]] {
        let mut phone = phone(Transport::Udp);
        let text = message(INVITE, &fields, &sdp);
        assert_eq!(say(&mut phone, Original, &text), text);
        assert!(phone.desk.announced.is_empty());
    }
}

#[test]
fn only_the_first_parts_of_a_body_are_looked_at() {
    let mut phone = phone(Transport::Udp);
    let sdp = description("10.0.0.2", &["m=audio 6000 RTP/AVP 0"]);
    let part = format!("--b1\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b1--");
    let fields = [
        "CSeq: 1 INVITE",
        "Content-Type: multipart/mixed; boundary=b1",
    ];
    for (others, announced) in [(17, 0), (15, 1)] {
        let body = "--b1\r\n".repeat(others) + &part;
        say(&mut phone, Original, message(INVITE, &fields, &body));
        assert_eq!(phone.desk.announced.len(), announced, "{others}");
    }
}

#[test]
fn a_description_with_the_known_address_is_left_alone() {
    for mut phone in [phone(Transport::Udp), open_phone()] {
        let lines = [
            "m=audio 6000 RTP/AVP 0",
            "m=video 6002 RTP/AVP 96",
            "c=IN IP4 10.0.0.2",
        ];
        let sdp = description("203.0.113.2", &lines).replacen("203.0.113.2", "10.0.0.2", 1);
        assert_eq!(offered(&mut phone, &sdp), sdp);
        assert!(phone.desk.announced.is_empty());
    }
}
