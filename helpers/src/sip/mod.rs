//! SIP (RFC 3261) with session descriptions (RFC 8866), over TCP and UDP.
//!
//! Phones write the addresses at which they are ready into what they say. Those that are the
//! sender's own are carried over into what the receiver knows, and what is to come in to them is
//! announced: media of a call (RTP with its RTCP, T.38, others), requests to a contact at another
//! port, calls for a contact that has been registered.
//!
//! Promises: media are announced to the receiver of the message only (unless `sip-direct-media` is
//! off), registered contacts to their registrar only, all at the sender's own address from port
//! 1024 on. What belongs to a call is taken back when the call ends. Who helps itself is left
//! alone: descriptions with ICE, and endpoints that write the address by which they are known.
//! Names are never changed, nor is what cannot be read.
//!
//! A stream is read from its first byte or not at all: a client that does not begin with a request
//! of SIP is left alone, and so is everything behind the first thing that is none. This is how a
//! browser is told from a phone, whose form may hold a REGISTER at the border of a packet (NAT
//! slipstreaming). Datagrams are judged one by one, and only as a whole.
//!
//! A body is kept back only if it describes media; others, whatever their length, pass.

mod body;
mod calls;
mod media;
mod message;
mod rewrite;
mod sdp;
#[cfg(test)]
mod tests;
mod uri;

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::Direction;

pub use calls::{CALLS_MAX, REGISTERED_MAX, REGISTRATIONS_MAX};
pub use sdp::MEDIA_MAX;

use crate::helper::{Desk, Helper, MESSAGE_MAX, Progress, Transport};
use crate::text;
use calls::{CallId, Calls, Registrations};
use media::{Context, Edits};
use message::{Field, Fields, Head, Length, Method, Start};
use rewrite::{Contacts, Rewriting};

/// What may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// `sip-direct-media`: media go between the two ends of the signalling only.
    pub direct_media: bool,
    /// `sip-timeout`: for how long signalling may be silent before it is forgotten.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct_media: true,
            timeout: Duration::from_secs(3600),
        }
    }
}

/// A reader of one connection that carries SIP.
#[derive(Debug, Clone)]
pub struct Sip {
    options: Options,
    /// How far each side's stream has been read.
    reading: [Reading; 2],
    /// Whether a side has said something in SIP.
    has_spoken: [bool; 2],
    /// Whether a side has written the address by which the other one knows it.
    is_aware: [bool; 2],
    /// Whether something was seen that is not SIP.
    has_ended: bool,
    calls: Calls,
    registrations: Registrations,
}

/// How far a stream has been read, counted from the first byte that is not done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The first line of a message, which has no end among so many bytes.
    Line(usize),
    /// Its header, which has no end among so many bytes.
    Head(usize),
    /// A body that has to be there whole, behind so long a header.
    Body { head: usize, body: usize },
    /// So much of a body that is let through.
    Passing(usize),
}

/// What reading on has come to.
enum Step {
    /// It is done with what is in front of this.
    Done(usize),
    /// More bytes are needed.
    Wait,
    /// This is not SIP.
    Foreign,
}

/// A hash of what belongs together (FNV-1a): it only has to be the same for the same bytes.
struct Hash(u32);

impl Default for Hash {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

impl Sip {
    /// A reader of a connection that begins.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            reading: [Reading::Line(0); 2],
            has_spoken: [false; 2],
            is_aware: [false; 2],
            has_ended: false,
            calls: Calls::default(),
            registrations: Registrations::default(),
        }
    }

    const fn reading(&mut self, from: Direction) -> &mut Reading {
        let [original, reply] = &mut self.reading;
        match from {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// What one side has sent on a stream.
    fn stream(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let mut at = 0;
        loop {
            match self.step(from, bytes, at, desk) {
                Step::Done(next) => at = next,
                Step::Wait => return Progress::Read(at),
                Step::Foreign if at == 0 => return Progress::Leave,
                Step::Foreign => {
                    // What was read before keeps its replacements; the rest goes as it is.
                    self.has_ended = true;
                    return Progress::Read(bytes.len());
                }
            }
        }
    }

    fn step(&mut self, from: Direction, bytes: &[u8], at: usize, desk: &mut dyn Desk) -> Step {
        let there = bytes.len() - at;
        if there == 0 {
            return Step::Wait;
        }
        match *self.reading(from) {
            Reading::Line(scanned) => self.first_line(from, bytes, at, scanned),
            Reading::Head(scanned) => self.head(from, bytes, at, scanned, desk),
            Reading::Body { head, body } if there < head + body => {
                *self.reading(from) = Reading::Body { head, body };
                Step::Wait
            }
            Reading::Body { head, body } => {
                let begins = at + head;
                let Some(head) = Head::read(bytes, at..begins) else {
                    return Step::Foreign;
                };
                self.message(from, bytes, &head, begins..begins + body, desk);
                *self.reading(from) = Reading::Line(0);
                Step::Done(begins + body)
            }
            Reading::Passing(left) => {
                let passed = left.min(there);
                *self.reading(from) = match left - passed {
                    0 => Reading::Line(0),
                    left => Reading::Passing(left),
                };
                Step::Done(at + passed)
            }
        }
    }

    /// Between messages there may be empty lines, with which connections are kept alive.
    fn first_line(&mut self, from: Direction, bytes: &[u8], at: usize, scanned: usize) -> Step {
        let rest = text::of(bytes, at..bytes.len());
        if scanned == 0 {
            let empty = rest.iter().take_while(|byte| is_line_end(**byte)).count();
            if empty > 0 {
                return Step::Done(at + empty);
            }
        }
        let ended = text::of(rest, scanned..rest.len()).contains(&b'\n');
        if !ended {
            if !message::can_start(rest) || rest.len() >= MESSAGE_MAX {
                return Step::Foreign;
            }
            *self.reading(from) = Reading::Line(rest.len());
            return Step::Wait;
        }
        let line = text::line(bytes, at).and_then(|(line, _)| message::start(bytes, line));
        let opens = from == Direction::Original && !self.has_spoken[from.index()];
        match line {
            Some(Start::Response { .. }) if opens => Step::Foreign,
            Some(Start::Request { .. } | Start::Response { .. }) => {
                self.has_spoken[from.index()] = true;
                *self.reading(from) = Reading::Head(0);
                Step::Done(at)
            }
            None => Step::Foreign,
        }
    }

    /// A header: once it is whole, it is known how long its message is.
    fn head(
        &mut self,
        from: Direction,
        bytes: &[u8],
        at: usize,
        scanned: usize,
        desk: &mut dyn Desk,
    ) -> Step {
        let there = bytes.len() - at;
        // The empty line has up to four bytes, the last of which was not there.
        let Some(end) = message::end_of_head(bytes, at + scanned.saturating_sub(3)) else {
            if there >= MESSAGE_MAX {
                return Step::Foreign;
            }
            *self.reading(from) = Reading::Head(there);
            return Step::Wait;
        };
        let Some(head) = Head::read(bytes, at..end).filter(|_| end - at <= MESSAGE_MAX) else {
            return Step::Foreign;
        };
        let body = match head.length {
            Length::Unsaid => 0,
            Length::Said(body) => body,
            Length::Contradictory => return Step::Foreign,
        };
        let whole = (end - at).saturating_add(body);
        if body > 0 && whole <= MESSAGE_MAX && body::is_read(bytes, &head) {
            let head = end - at;
            *self.reading(from) = Reading::Body { head, body };
            return Step::Done(at);
        }
        self.message(from, bytes, &head, end..end, desk);
        *self.reading(from) = match body {
            0 => Reading::Line(0),
            left => Reading::Passing(left),
        };
        Step::Done(end)
    }

    /// A datagram: a message, or something that keeps the way open.
    fn datagram(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let first = bytes.iter().take_while(|byte| is_line_end(**byte)).count();
        let end = message::end_of_head(bytes, first).unwrap_or(bytes.len());
        let Some(head) = Head::read(bytes, first..end) else {
            let is_client = from == Direction::Original;
            let opens = is_client && !self.has_spoken[from.index()];
            if opens && !keeps_alive(bytes) {
                return Progress::Leave;
            }
            return Progress::Read(bytes.len());
        };
        self.has_spoken[from.index()] = true;
        let body = match head.length {
            Length::Unsaid => end..bytes.len(),
            Length::Said(length) if length <= bytes.len() - end => end..end + length,
            // What is not all there, or has no length, describes nothing.
            Length::Said(_) | Length::Contradictory => end..end,
        };
        self.message(from, bytes, &head, body, desk);
        Progress::Read(bytes.len())
    }

    /// A whole message, but for a body that does not matter.
    fn message(
        &mut self,
        from: Direction,
        bytes: &[u8],
        head: &Head,
        body: Range<usize>,
        desk: &mut dyn Desk,
    ) {
        let mut hash = Hash::default();
        hash.add(text::of(bytes, head.call_id.clone().unwrap_or_default()));
        let id = CallId(hash.0);
        self.follow(id, from, head, desk);
        let edits = self.describe(id, from, bytes, head, body, desk);
        let grown: usize = edits.iter().map(|edit| edit.with.len()).sum();
        let shrunk: usize = edits.iter().map(|edit| edit.range.len()).sum();
        let length = match head.length {
            Length::Said(length) => Some((length + grown).saturating_sub(shrunk)),
            Length::Unsaid | Length::Contradictory => None,
        };
        self.is_aware[from.index()] |= knows_itself(bytes, head, from, desk);
        let mut rewriting = Rewriting {
            bytes,
            head,
            from,
            contacts: self.contacts(id, head),
            is_aware: self.is_aware[from.index()],
            length: length.filter(|_| !edits.is_empty()),
            desk,
            bindings: ArrayVec::new(),
            contacts_seen: 0,
        };
        rewriting.run();
        let (bindings, has_contact) = (rewriting.bindings, rewriting.contacts_seen > 0);
        if let Some((cseq, Method::Register)) = head.cseq {
            let key = (id, cseq);
            let listed = has_contact.then_some(bindings.as_slice());
            match head.start {
                Start::Request { .. } => self.registrations.ask(id, from, cseq, &bindings),
                // It is asked again, with a name and a password, or for longer.
                Start::Response {
                    status: ..200 | 401 | 407 | 423,
                } => {}
                Start::Response { status: 200..300 } => {
                    self.registrations.grant(key, from.flip(), listed, desk);
                }
                Start::Response { .. } => self.registrations.refuse(key, from.flip(), desk),
            }
        }
        desk.keep(self.options.timeout.max(self.registrations.longest()));
        for edit in &edits {
            desk.replace(edit.range.clone(), edit.with.as_bytes());
        }
    }

    /// What becomes of a call by a message.
    fn follow(&mut self, id: CallId, from: Direction, head: &Head, desk: &mut dyn Desk) {
        let (cseq, about) = head.cseq.unwrap_or((0, Method::Other));
        match head.start {
            Start::Request { method, .. } => match method {
                Method::Invite => self.calls.invited(id, from, cseq),
                Method::Bye | Method::Cancel => {
                    self.calls.ended(id);
                    id.withdraw(desk);
                }
                Method::Ack
                | Method::Prack
                | Method::Update
                | Method::Register
                | Method::Dialog
                | Method::Other => {}
            },
            Start::Response { status } if about == Method::Invite => match status {
                ..200 => {}
                200..300 => self.calls.accepted(id),
                _ => {
                    if self.calls.failed(id, from.flip(), cseq) {
                        id.withdraw(desk);
                    }
                }
            },
            Start::Response { .. } => {}
        }
    }

    /// Announces the media that a message describes.
    fn describe(
        &self,
        id: CallId,
        from: Direction,
        bytes: &[u8],
        head: &Head,
        body: Range<usize>,
        desk: &mut dyn Desk,
    ) -> Edits {
        let Some(description) = body::description(bytes, head, body) else {
            return Edits::new();
        };
        let mut context = Context {
            from,
            call: id.media(),
            is_direct: self.options.direct_media,
            is_answer: matches!(head.start, Start::Response { .. }),
            desk,
        };
        media::announce(bytes, description, &mut context)
    }

    /// What the contacts of a message are.
    fn contacts(&self, id: CallId, head: &Head) -> Contacts {
        let method = head.method();
        match head.start {
            Start::Request { .. } if method == Method::Register => Contacts::Registering,
            Start::Response { status: 200..300 } if method == Method::Register => {
                Contacts::Registered
            }
            Start::Request { .. } | Start::Response { status: ..300 } if method.has_target() => {
                Contacts::Dialog(id.signalling(), self.options.timeout)
            }
            Start::Request { .. } | Start::Response { .. } => Contacts::Other,
        }
    }
}

impl Helper for Sip {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        if self.has_ended {
            return Progress::Leave;
        }
        match desk.session().transport {
            Transport::Tcp => self.stream(from, bytes, desk),
            Transport::Udp => self.datagram(from, bytes, desk),
            Transport::Gre => Progress::Leave,
        }
    }
}

/// Whether a request shows that its sender knows by which address it is known.
fn knows_itself(bytes: &[u8], head: &Head, from: Direction, desk: &dyn Desk) -> bool {
    let session = desk.session();
    let known = session.receiver(from).peer.ip();
    if known == session.sender(from).own.ip() || matches!(head.start, Start::Response { .. }) {
        return false;
    }
    let names = |address: IpAddr| address == known;
    let mut fields = Fields::of(bytes, head.fields.clone());
    fields.any(|(field, value)| match field {
        Field::Contact => uri::elements(bytes, value)
            .filter_map(|element| uri::Uri::read(bytes, element.uri))
            .any(|uri| names(uri.host.address)),
        Field::Via
        | Field::Route
        | Field::Identity
        | Field::CallId
        | Field::CSeq
        | Field::ContentLength
        | Field::ContentType
        | Field::ContentEncoding
        | Field::Expires
        | Field::Other => false,
    })
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether a datagram that is no message only keeps the way open: a few bytes of no meaning, or
/// STUN (RFC 5626, 3.5).
fn keeps_alive(bytes: &[u8]) -> bool {
    const FILLER_MAX: usize = 8;
    const STUN: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
    let is_stun = matches!(bytes, [..0x40, _, _, _, a, b, c, d, ..] if [*a, *b, *c, *d] == STUN);
    bytes.len() <= FILLER_MAX || is_stun
}
