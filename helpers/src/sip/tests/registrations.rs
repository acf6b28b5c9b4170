//! Registrations: who can be called, by whom, and for how long.

use std::time::Duration;

use turnpike_conntrack::expect::Uses;

use super::*;
use crate::helper::{Opener, Reader};

/// A request to be registered.
fn register(id: &str, cseq: u32, contact: &str) -> String {
    message(
        "REGISTER sip:198.51.100.7 SIP/2.0",
        &[
            "Via: SIP/2.0/UDP 10.0.0.2:5060",
            &format!("Call-ID: {id}"),
            &format!("CSeq: {cseq} REGISTER"),
            &format!("Contact: {contact}"),
        ],
        "",
    )
}

/// The registrar's answer.
fn granted(first: &str, id: &str, cseq: u32, contacts: &[&str]) -> String {
    let mut fields = vec![format!("Call-ID: {id}"), format!("CSeq: {cseq} REGISTER")];
    fields.extend(contacts.iter().map(|contact| format!("Contact: {contact}")));
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    message(first, &fields, "")
}

const OWN: &str = "<sip:alice@10.0.0.2>";
const KNOWN: &str = "<sip:alice@203.0.113.2:35060>";
const OK: &str = "SIP/2.0 200 OK";

#[test]
fn a_registered_contact_can_be_called_by_its_registrar_for_as_long_as_that_says() {
    let mut phone = phone(Transport::Udp);
    let arrived = say(&mut phone, Original, register("r", 1, OWN));
    assert_eq!(field(&arrived, "Contact"), KNOWN);
    assert!(phone.desk.announced.is_empty(), "not before it is granted");
    let contacts = [
        "<sip:bob@192.0.2.9>;expires=9",
        &format!("{KNOWN};expires=7200"),
    ];
    let arrived = say(&mut phone, Reply, granted(OK, "r", 1, &contacts));
    assert!(arrived.contains("Contact: <sip:alice@10.0.0.2:5060>;expires=7200\r\n"));
    assert!(arrived.contains("Contact: <sip:bob@192.0.2.9>;expires=9\r\n"));
    let made = only(&phone);
    assert_eq!(
        (made.from, made.wanted.listener),
        (Original, at("10.0.0.2:5060"))
    );
    assert_eq!(made.known_as, at("203.0.113.2:35060"));
    assert_eq!(
        (made.wanted.opener, made.wanted.uses),
        (Opener::Receiver, Uses::UntilTimeout)
    );
    assert_eq!(made.wanted.class.timeout, Duration::from_secs(7200));
    assert_eq!(made.wanted.reader, Some(Reader::Sip));
    assert_eq!(phone.desk.kept, Some(Duration::from_secs(7200)));
}

#[test]
fn a_contact_at_another_port_is_announced_when_it_is_asked_for() {
    let mut phone = phone(Transport::Udp);
    let arrived = say(
        &mut phone,
        Original,
        register("r", 1, "<sip:a@10.0.0.2:5070>;expires=60"),
    );
    assert_eq!(
        field(&arrived, "Contact"),
        "<sip:a@203.0.113.2:40000>;expires=60"
    );
    say(&mut phone, Reply, granted("SIP/2.0 401 Who?", "r", 1, &[]));
    assert_eq!(
        phone.desk.announced.len(),
        1,
        "it will ask again, with a password"
    );
    say(
        &mut phone,
        Original,
        register("r", 2, "<sip:a@10.0.0.2:5070>;expires=60"),
    );
    say(&mut phone, Reply, granted("SIP/2.0 403 No", "r", 1, &[]));
    assert_eq!(
        phone.desk.announced.len(),
        1,
        "that was the answer to another question"
    );
    say(&mut phone, Reply, granted("SIP/2.0 403 No", "r", 2, &[]));
    assert!(phone.desk.announced.is_empty());
}

#[test]
fn a_registrar_that_lists_nothing_has_agreed() {
    let mut phone = phone(Transport::Udp);
    say(
        &mut phone,
        Original,
        register("r", 1, "<sip:alice@10.0.0.2>;expires=300"),
    );
    say(&mut phone, Reply, granted(OK, "r", 1, &[]));
    assert_eq!(only(&phone).wanted.class.timeout, Duration::from_secs(300));
}

#[test]
fn a_registration_ends_when_it_is_taken_back() {
    for gone in ["*", "<sip:alice@10.0.0.2>;expires=0"] {
        let mut phone = phone(Transport::Udp);
        for (id, cseq) in [("line1", 1), ("line2", 1)] {
            say(&mut phone, Original, register(id, cseq, OWN));
            say(&mut phone, Reply, granted(OK, id, cseq, &[KNOWN]));
        }
        let (last, none) = (granted(OK, "line2", 2, &[]), granted(OK, "line1", 2, &[]));
        say(&mut phone, Original, register("line1", 2, gone));
        say(&mut phone, Reply, none);
        assert_eq!(phone.desk.announced.len(), 1, "the other line still has it");
        say(&mut phone, Original, register("line2", 2, gone));
        say(&mut phone, Reply, last);
        assert!(phone.desk.announced.is_empty(), "{gone}");
        assert_eq!(phone.desk.kept, Some(Options::default().timeout));
    }
}

#[test]
fn only_what_was_asked_for_is_granted() {
    let mut phone = phone(Transport::Udp);
    say(&mut phone, Reply, granted(OK, "r", 1, &[KNOWN]));
    say(&mut phone, Original, register("r", 1, OWN));
    say(&mut phone, Reply, granted(OK, "r", 7, &[KNOWN]));
    say(&mut phone, Reply, granted(OK, "q", 1, &[KNOWN]));
    let other = [
        "<sip:a@203.0.113.2:22>",
        "<sip:a@10.0.0.9>",
        "<sip:a@198.51.100.7>",
    ];
    say(&mut phone, Reply, granted(OK, "r", 1, &other));
    assert!(phone.desk.announced.is_empty());
}

#[test]
fn who_registers_others_opens_nothing_for_their_addresses() {
    let mut phone = phone(Transport::Udp);
    let third = register("r", 1, "<sip:bob@10.0.0.3>, <sip:bob@10.0.0.2:5070>");
    let third = third.replace("CSeq", "To: <sip:bob@198.51.100.7>\r\nCSeq");
    let arrived = say(&mut phone, Original, third);
    let told = "<sip:bob@10.0.0.3>, <sip:bob@203.0.113.2:40000>";
    assert_eq!(field(&arrived, "Contact"), told);
    assert_eq!(only(&phone).wanted.listener, at("10.0.0.2:5070"));
}

#[test]
fn a_registration_for_streams_from_a_datagram_is_one_of_its_own() {
    let mut phone = phone(Transport::Udp);
    let arrived = say(
        &mut phone,
        Original,
        register("r", 1, "<sip:a@10.0.0.2;transport=tcp>"),
    );
    assert_eq!(
        field(&arrived, "Contact"),
        "<sip:a@203.0.113.2:40000;transport=tcp>"
    );
    assert_eq!(only(&phone).wanted.transport, Transport::Tcp);
}

#[test]
fn a_registration_lasts_a_day_at_most() {
    let mut phone = phone(Transport::Udp);
    say(&mut phone, Original, register("r", 1, OWN));
    say(
        &mut phone,
        Reply,
        granted(OK, "r", 1, &[&format!("{KNOWN};expires=4294967295")]),
    );
    assert_eq!(
        only(&phone).wanted.class.timeout,
        super::super::REGISTERED_MAX
    );
}
