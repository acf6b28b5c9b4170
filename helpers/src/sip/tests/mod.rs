//! What the reader of SIP makes of conversations.

mod calls;
mod descriptions;
mod registrations;
mod streams;

use std::fmt::Write;
use std::net::SocketAddr;

use turnpike_conntrack::ids::Direction::{self, Original, Reply};

use super::{Options, Sip};
use crate::helper::{Session, Transport};
use crate::testing::{Announced, Dialogue, behind_nat};

/// A phone behind address translation, which has changed its port, and a server.
fn phone(transport: Transport) -> Dialogue<Sip> {
    let mut session = behind_nat(transport, 5060, 5060);
    session.server.peer.set_port(35_060);
    dialogue(session)
}

fn dialogue(session: Session) -> Dialogue<Sip> {
    Dialogue::new(Sip::new(Options::default()), session)
}

/// A phone whose media may come from anywhere.
fn open_phone() -> Dialogue<Sip> {
    let options = Options {
        direct_media: false,
        ..Options::default()
    };
    Dialogue::new(Sip::new(options), behind_nat(Transport::Udp, 5060, 5060))
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A message with a body that is a description if it begins like one.
fn message(first: &str, fields: &[&str], body: &str) -> String {
    let mut text = format!("{first}\r\n");
    for field in fields {
        write!(text, "{field}\r\n").unwrap();
    }
    if body.starts_with("v=") {
        text += "Content-Type: application/sdp\r\n";
    }
    write!(text, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    text
}

/// A description with these lines of media behind the address.
fn description(address: &str, lines: &[&str]) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let mut text = format!("v=0\r\no=- 7 7 IN {family} {address}\r\ns=-\r\n");
    write!(text, "c=IN {family} {address}\r\nt=0 0\r\n").unwrap();
    for line in lines {
        write!(text, "{line}\r\n").unwrap();
    }
    text
}

const INVITE: &str = "INVITE sip:bob@198.51.100.7 SIP/2.0";

/// What is said by one side arrives as text.
fn say(dialogue: &mut Dialogue<Sip>, from: Direction, said: impl AsRef<[u8]>) -> String {
    String::from_utf8(dialogue.say(from, said).unwrap()).unwrap()
}

/// An invitation by the phone, with this description.
fn invite(body: &str) -> String {
    message(
        INVITE,
        &[
            "Via: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1",
            "From: <sip:alice@10.0.0.2>;tag=1",
            "To: <sip:bob@198.51.100.7>",
            "Call-ID: one@10.0.0.2",
            "CSeq: 1 INVITE",
            "Contact: <sip:alice@10.0.0.2>",
        ],
        body,
    )
}

/// An answer to it.
fn answer(first: &str, cseq: &str, body: &str) -> String {
    message(
        first,
        &[
            "Via: SIP/2.0/UDP 203.0.113.2:35060;branch=z9hG4bK1",
            "From: <sip:alice@203.0.113.2>;tag=1",
            "To: <sip:bob@198.51.100.7>;tag=2",
            "Call-ID: one@10.0.0.2",
            cseq,
            "Contact: <sip:bob@198.51.100.7>",
        ],
        body,
    )
}

/// Listeners that were announced by one side, and what they are known as.
fn announced(dialogue: &Dialogue<Sip>, from: Direction) -> Vec<(String, String)> {
    let made = dialogue.desk.announced.iter();
    made.filter(|made| made.from == from)
        .map(|made| (made.wanted.listener.to_string(), made.known_as.to_string()))
        .collect()
}

fn only(dialogue: &Dialogue<Sip>) -> &Announced {
    let [made] = dialogue.desk.announced.as_slice() else {
        panic!("{:?}", dialogue.desk.announced);
    };
    made
}

/// The value of the first field of that name.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// The body, which must be as long as the header says.
fn body(text: &str) -> &str {
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(field(text, "Content-Length"), body.len().to_string());
    body
}
