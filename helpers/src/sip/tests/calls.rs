//! Calls: what they write into their messages, and when they end.

use turnpike_conntrack::expect::Uses;

use super::*;
use crate::helper::{Call, Opener, Ports, Reader};
use crate::testing::{before_nat, untranslated};

const AUDIO: &str = "m=audio 6000 RTP/AVP 0";

#[test]
fn an_invitation_names_the_phone_as_the_server_knows_it() {
    let mut phone = phone(Transport::Udp);
    let arrived = say(
        &mut phone,
        Original,
        invite(&description("10.0.0.2", &[AUDIO])),
    );
    let wanted = message(
        INVITE,
        &[
            "Via: SIP/2.0/UDP 203.0.113.2:35060;branch=z9hG4bK1",
            "From: <sip:alice@203.0.113.2>;tag=1",
            "To: <sip:bob@198.51.100.7>",
            "Call-ID: one@10.0.0.2",
            "CSeq: 1 INVITE",
            "Contact: <sip:alice@203.0.113.2:35060>",
        ],
        &description("203.0.113.2", &["m=audio 40000 RTP/AVP 0"]),
    );
    assert_eq!(arrived, wanted);
    let made = only(&phone);
    assert_eq!(
        (made.from, made.wanted.listener),
        (Original, at("10.0.0.2:6000"))
    );
    assert_eq!(made.wanted.ports, Ports::EvenPair);
    assert_eq!(made.wanted.opener, Opener::Receiver);
    assert_eq!((made.wanted.uses, made.wanted.reader), (Uses::Once, None));
    assert_eq!(phone.desk.kept, Some(Options::default().timeout));
}

#[test]
fn an_answer_names_the_phone_as_it_knows_itself() {
    let mut phone = phone(Transport::Udp);
    say(
        &mut phone,
        Original,
        invite(&description("10.0.0.2", &[AUDIO])),
    );
    let sdp = description("198.51.100.7", &["m=audio 9000 RTP/AVP 0"]);
    let arrived = say(
        &mut phone,
        Reply,
        answer("SIP/2.0 200 OK", "CSeq: 1 INVITE", &sdp),
    );
    assert_eq!(
        field(&arrived, "Via"),
        "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK1"
    );
    assert_eq!(field(&arrived, "From"), "<sip:alice@10.0.0.2>;tag=1");
    assert_eq!(field(&arrived, "Contact"), "<sip:bob@198.51.100.7>");
    assert_eq!(body(&arrived), sdp);
    let told = [(
        "198.51.100.7:9000".to_owned(),
        "198.51.100.7:9000".to_owned(),
    )];
    assert_eq!(announced(&phone, Reply), told);
}

#[test]
fn a_request_for_the_phone_finds_its_way_back() {
    let mut phone = phone(Transport::Udp);
    let bye = message(
        "BYE sip:alice@203.0.113.2:35060;ob SIP/2.0",
        &[
            "v: SIP/2.0/UDP 198.51.100.7;rport",
            "Route: <sip:198.51.100.7;lr>, \"x\" <sip:203.0.113.2:35060;lr>",
            "t: <sip:alice@203.0.113.2:35060>;tag=1",
        ],
        "",
    );
    let arrived = say(&mut phone, Reply, bye);
    assert!(arrived.starts_with("BYE sip:alice@10.0.0.2:5060;ob SIP/2.0\r\n"));
    let route = "<sip:198.51.100.7;lr>, \"x\" <sip:10.0.0.2:5060;lr>";
    assert_eq!(field(&arrived, "Route"), route);
    assert_eq!(field(&arrived, "t"), "<sip:alice@10.0.0.2:5060>;tag=1");
    assert_eq!(field(&arrived, "v"), "SIP/2.0/UDP 198.51.100.7;rport");
}

#[test]
fn each_method_of_a_call_may_describe_media_and_others_may_not() {
    for (method, describes) in [
        ("INVITE", true),
        ("UPDATE", true),
        ("ACK", true),
        ("PRACK", true),
        ("OPTIONS", false),
        ("MESSAGE", false),
        ("REFER", false),
    ] {
        let mut phone = phone(Transport::Udp);
        let first = format!("{method} sip:bob@198.51.100.7 SIP/2.0");
        let cseq = format!("CSeq: 1 {method}");
        let sdp = description("10.0.0.2", &[AUDIO]);
        let arrived = say(&mut phone, Original, message(&first, &[&cseq], &sdp));
        assert_eq!(
            phone.desk.announced.len(),
            usize::from(describes),
            "{method}"
        );
        assert_eq!(body(&arrived) != sdp, describes, "{method}");
    }
}

#[test]
fn a_call_that_ends_takes_its_announcements_along() {
    let ends = [
        (
            Original,
            message("BYE sip:b@198.51.100.7 SIP/2.0", &["i: one@10.0.0.2"], ""),
        ),
        (
            Reply,
            message("BYE sip:a@203.0.113.2 SIP/2.0", &["i: one@10.0.0.2"], ""),
        ),
        (
            Original,
            message(
                "CANCEL sip:b@198.51.100.7 SIP/2.0",
                &["i: one@10.0.0.2"],
                "",
            ),
        ),
        (Reply, answer("SIP/2.0 486 Busy Here", "CSeq: 1 INVITE", "")),
        (Reply, answer("SIP/2.0 302 Elsewhere", "CSeq: 1 INVITE", "")),
    ];
    for (from, end) in ends {
        let mut phone = phone(Transport::Udp);
        say(
            &mut phone,
            Original,
            invite(&description("10.0.0.2", &[AUDIO])),
        );
        let other = invite(&description("10.0.0.2", &["m=audio 7000 RTP/AVP 0"]));
        let other = other
            .replace("one@", "two@")
            .replace(">\r\nCo", ":5070>\r\nCo");
        say(&mut phone, Original, other);
        assert_eq!(phone.desk.announced.len(), 3);
        say(&mut phone, from, &end);
        let left = [
            ("10.0.0.2:7000", "203.0.113.2:40002"),
            ("10.0.0.2:5070", "203.0.113.2:40004"),
        ];
        let left = left.map(|(own, known)| (own.to_owned(), known.to_owned()));
        assert_eq!(announced(&phone, Original), left, "{end}");
    }
}

#[test]
fn an_error_ends_only_the_invitation_that_it_answers() {
    for (first, cseq) in [
        ("SIP/2.0 180 Ringing", "CSeq: 1 INVITE"),
        ("SIP/2.0 401 Unauthorized", "CSeq: 7 INVITE"),
        ("SIP/2.0 481 Unknown", "CSeq: 1 PRACK"),
    ] {
        let mut phone = phone(Transport::Udp);
        say(
            &mut phone,
            Original,
            invite(&description("10.0.0.2", &[AUDIO])),
        );
        say(&mut phone, Reply, answer(first, cseq, ""));
        assert_eq!(phone.desk.announced.len(), 1, "{first}");
    }
}

#[test]
fn a_call_goes_on_when_it_refuses_to_change() {
    let mut phone = phone(Transport::Udp);
    let first = invite(&description("10.0.0.2", &[AUDIO]));
    say(&mut phone, Original, &first);
    say(
        &mut phone,
        Reply,
        answer("SIP/2.0 200 OK", "CSeq: 1 INVITE", ""),
    );
    say(&mut phone, Original, first.replace("CSeq: 1", "CSeq: 2"));
    say(
        &mut phone,
        Reply,
        answer("SIP/2.0 488 Not Here", "CSeq: 2 INVITE", ""),
    );
    assert_eq!(announced(&phone, Original).len(), 1);
}

#[test]
fn a_second_invitation_keeps_the_port_that_was_told() {
    let mut phone = phone(Transport::Udp);
    let first = invite(&description("10.0.0.2", &[AUDIO]));
    let told = say(&mut phone, Original, &first);
    assert_eq!(say(&mut phone, Original, &first), told);
    assert_eq!(phone.desk.announced.len(), 1);
}

#[test]
fn a_contact_at_another_port_is_announced_for_the_dialog() {
    let mut phone = phone(Transport::Tcp);
    let fields = [
        "Call-ID: x",
        "m: \"A, b\" <sip:a@10.0.0.2:5062;transport=tcp>;q=1",
    ];
    let arrived = say(&mut phone, Original, message(INVITE, &fields, ""));
    let told = "\"A, b\" <sip:a@203.0.113.2:40000;transport=tcp>;q=1";
    assert_eq!(field(&arrived, "m"), told);
    let made = only(&phone);
    assert_eq!(made.wanted.transport, Transport::Tcp);
    assert_eq!(made.wanted.reader, Some(Reader::Sip));
    assert_eq!(
        (made.wanted.opener, made.wanted.uses),
        (Opener::Receiver, Uses::UntilTimeout)
    );
    assert_eq!(made.wanted.class.timeout, Options::default().timeout);
    assert_ne!(
        made.wanted.call,
        Call(made.wanted.call.0 & !1),
        "media have the other call"
    );
    for sealed in ["sips:a@10.0.0.2:5072", "sip:a@10.0.0.2:5072;transport=tls"] {
        let fields = [format!("m: <{sealed}>")];
        let arrived = say(&mut phone, Original, message(INVITE, &[&fields[0]], ""));
        assert_eq!(field(&arrived, "m"), format!("<{sealed}>"));
    }
    assert_eq!(phone.desk.announced.len(), 1);
}

#[test]
fn answers_to_another_port_than_the_request_came_from_are_let_in() {
    let mut phone = phone(Transport::Udp);
    let invite = |via: &str| message(INVITE, &[&format!("Via: SIP/2.0/UDP {via}")], "");
    let arrived = say(&mut phone, Original, invite("10.0.0.2:5070;branch=1"));
    assert_eq!(
        field(&arrived, "Via"),
        "SIP/2.0/UDP 203.0.113.2:40000;branch=1"
    );
    assert_eq!(only(&phone).wanted.reader, Some(Reader::Sip));
    let arrived = say(&mut phone, Original, invite("10.0.0.2:5080;rport"));
    assert_eq!(field(&arrived, "Via"), "SIP/2.0/UDP 203.0.113.2:5080;rport");
    assert_eq!(
        phone.desk.announced.len(),
        1,
        "with rport answers come back by themselves"
    );
}

#[test]
fn who_writes_the_address_by_which_it_is_known_is_left_alone() {
    let mut phone = phone(Transport::Udp);
    let aware = message(
        INVITE,
        &[
            "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=1;rport",
            "From: <sip:alice@example.org>;tag=1",
            "Contact: <sip:alice@203.0.113.2:35060;ob>",
        ],
        &description("203.0.113.2", &[AUDIO]),
    );
    assert_eq!(say(&mut phone, Original, &aware), aware);
    let cancel = "CANCEL sip:bob@198.51.100.7 SIP/2.0";
    let cancel = message(
        cancel,
        &["Via: SIP/2.0/UDP 10.0.0.2:5060;branch=1;rport"],
        "",
    );
    assert_eq!(
        say(&mut phone, Original, &cancel),
        cancel,
        "the step is that of its request"
    );
    assert!(phone.desk.announced.is_empty());
}

#[test]
fn what_an_answer_says_of_the_way_stays_for_those_who_asked() {
    let mut phone = phone(Transport::Udp);
    let via =
        "Via: SIP/2.0/UDP 203.0.113.2:35060;rport=35060;received=203.0.113.2;maddr=203.0.113.2";
    let arrived = say(&mut phone, Reply, message("SIP/2.0 200 OK", &[via], ""));
    let told = "SIP/2.0/UDP 10.0.0.2:5060;rport=35060;received=203.0.113.2;maddr=10.0.0.2";
    assert_eq!(field(&arrived, "Via"), told);
}

#[test]
fn a_server_behind_translation_is_named_as_its_clients_know_it() {
    let mut server = dialogue(before_nat(Transport::Udp, 5060, 5060));
    let invite = "INVITE sip:bob@203.0.113.2 SIP/2.0";
    let offer = description("198.51.100.7", &["m=audio 9000 RTP/AVP 0"]);
    let arrived = say(
        &mut server,
        Original,
        message(invite, &["CSeq: 1 INVITE"], &offer),
    );
    assert!(arrived.starts_with("INVITE sip:bob@10.0.0.2 SIP/2.0\r\n"));
    assert_eq!(body(&arrived), offer);
    let fields = [
        "CSeq: 1 INVITE",
        "Contact: <sip:bob@10.0.0.2>",
        "Record-Route: <sip:10.0.0.2;lr>",
    ];
    let sdp = description("10.0.0.2", &[AUDIO]);
    let arrived = say(&mut server, Reply, message("SIP/2.0 200 OK", &fields, &sdp));
    assert_eq!(field(&arrived, "Contact"), "<sip:bob@203.0.113.2>");
    assert_eq!(field(&arrived, "Record-Route"), "<sip:203.0.113.2;lr>");
    let told = description("203.0.113.2", &["m=audio 40000 RTP/AVP 0"]);
    assert_eq!(body(&arrived), told);
}

#[test]
fn without_translation_media_are_announced_and_nothing_changes() {
    let session = untranslated(
        Transport::Udp,
        at("[2001:db8::2]:5060"),
        at("[2001:db8:1::7]:5060"),
    );
    let mut phone = dialogue(session);
    let sdp = description("2001:db8::2", &[AUDIO, "m=video 6002 RTP/AVP 96"]);
    let fields = [
        "Via: SIP/2.0/UDP [2001:db8::2]",
        "Contact: <sip:a@[2001:db8::2]>",
    ];
    let invite = message("INVITE sip:b@[2001:db8:1::7] SIP/2.0", &fields, &sdp);
    assert_eq!(say(&mut phone, Original, &invite), invite);
    assert_eq!(phone.desk.announced.len(), 2);
}

#[test]
fn addresses_of_version_6_are_translated_too() {
    let mut session = untranslated(
        Transport::Udp,
        at("[fd00::2]:5060"),
        at("[2001:db8:1::7]:5060"),
    );
    session.server.peer = at("[2001:db8::1]:6060");
    let mut phone = dialogue(session);
    let fields = [
        "Via: SIP/2.0/UDP [fd00::2]:5060",
        "Contact: <sip:a@[fd00::2]>",
    ];
    let sdp = description("fd00::2", &[AUDIO]);
    let arrived = say(&mut phone, Original, message(INVITE, &fields, &sdp));
    assert_eq!(field(&arrived, "Via"), "SIP/2.0/UDP [2001:db8::1]:6060");
    assert_eq!(field(&arrived, "Contact"), "<sip:a@[2001:db8::1]:6060>");
    assert_eq!(
        body(&arrived),
        description("2001:db8::1", &["m=audio 40000 RTP/AVP 0"])
    );
}

#[test]
fn a_message_with_many_contacts_is_announced_a_few() {
    let mut phone = phone(Transport::Udp);
    let contacts: Vec<_> = (6000..6100)
        .map(|port| format!("<sip:a@10.0.0.2:{port}>"))
        .collect();
    let field = format!("Contact: {}", contacts.join(","));
    for method in ["INVITE", "REGISTER"] {
        let first = format!("{method} sip:b@198.51.100.7 SIP/2.0");
        say(&mut phone, Original, message(&first, &[&field], ""));
        assert_eq!(phone.desk.announced.len(), 8, "{method}");
    }
}
