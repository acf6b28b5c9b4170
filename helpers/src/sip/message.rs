//! A SIP message: its first line, its header fields, and what they say that matters here.
//!
//! Nothing is copied: everything found is a range of the bytes that were read. Names are known in
//! their long and compact forms, values may be folded over several lines, and lines may end with a
//! line feed alone.

use std::ops::Range;

use crate::text;

/// The longest name of a method.
const METHOD_MAX: usize = 32;
/// What the first line of a response begins with, and that of a request ends with.
const VERSION: &[u8] = b"SIP/2.0";

/// What a request asks for, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Invite,
    Ack,
    Prack,
    Update,
    Bye,
    Cancel,
    Register,
    /// One that belongs to a dialog or makes one, without media.
    Dialog,
    Other,
}

const METHODS: [(&[u8], Method); 11] = [
    (b"INVITE", Method::Invite),
    (b"ACK", Method::Ack),
    (b"PRACK", Method::Prack),
    (b"UPDATE", Method::Update),
    (b"BYE", Method::Bye),
    (b"CANCEL", Method::Cancel),
    (b"REGISTER", Method::Register),
    (b"SUBSCRIBE", Method::Dialog),
    (b"NOTIFY", Method::Dialog),
    (b"REFER", Method::Dialog),
    (b"INFO", Method::Dialog),
];

impl Method {
    fn of(name: &[u8]) -> Self {
        let known = METHODS
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        known.map_or(Self::Other, |(_, method)| *method)
    }

    /// Whether descriptions of media in it, or in what answers it, are for a call.
    pub(super) const fn has_media(self) -> bool {
        matches!(self, Self::Invite | Self::Ack | Self::Prack | Self::Update)
    }

    /// Whether its contact is where the other side sends requests of the dialog to.
    pub(super) const fn has_target(self) -> bool {
        self.has_media() || matches!(self, Self::Dialog)
    }
}

/// The first line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Request { method: Method, uri: Range<usize> },
    Response { status: u16 },
}

/// The first line in a range, if it is one of SIP.
pub(super) fn start(bytes: &[u8], line: Range<usize>) -> Option<Start> {
    let (first, rest) = text::word(bytes, line)?;
    let word = text::of(bytes, first);
    if word.eq_ignore_ascii_case(VERSION) {
        let (code, _) = text::word(bytes, rest)?;
        let status = text::number(text::of(bytes, code))?;
        let status = u16::try_from(status).ok()?;
        return (100..700)
            .contains(&status)
            .then_some(Start::Response { status });
    }
    let (uri, rest) = text::word(bytes, rest)?;
    let (version, rest) = text::word(bytes, rest)?;
    let is_request = word.len() <= METHOD_MAX
        && word.iter().all(|byte| is_token(*byte))
        && text::of(bytes, version).eq_ignore_ascii_case(VERSION)
        && text::word(bytes, rest).is_none();
    is_request.then(|| Start::Request {
        method: Method::of(word),
        uri,
    })
}

/// Whether the first line can become one of SIP, as far as it has come.
pub(super) fn can_start(line: &[u8]) -> bool {
    let front = line.get(..=METHOD_MAX).unwrap_or(line);
    let word = front.split(|byte| *byte == b' ').next().unwrap_or_default();
    if word.contains(&b'/') {
        let enough = word.len().min(VERSION.len());
        return text::starts_with(VERSION, text::of(word, 0..enough))
            && word.len() <= VERSION.len();
    }
    word.len() <= METHOD_MAX && word.iter().all(|byte| is_token(*byte))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Where the body begins, behind the empty line, if that is there. Looks from `at` on.
pub(super) fn end_of_head(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = at;
    while let Some(feed) = text::of(bytes, next..bytes.len())
        .iter()
        .position(|byte| *byte == b'\n')
    {
        next += feed + 1;
        match text::of(bytes, next..bytes.len()) {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => {}
        }
    }
    None
}

/// A header field that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Via,
    Contact,
    /// Where requests go or have gone through.
    Route,
    /// Whom something is about: an address with which one is named rather than reached.
    Identity,
    CallId,
    CSeq,
    ContentLength,
    ContentType,
    ContentEncoding,
    Expires,
    Other,
}

const FIELDS: [(&[u8], Field); 31] = [
    (b"via", Field::Via),
    (b"v", Field::Via),
    (b"contact", Field::Contact),
    (b"m", Field::Contact),
    (b"route", Field::Route),
    (b"record-route", Field::Route),
    (b"path", Field::Route),
    (b"service-route", Field::Route),
    (b"refer-to", Field::Route),
    (b"r", Field::Route),
    (b"from", Field::Identity),
    (b"f", Field::Identity),
    (b"to", Field::Identity),
    (b"t", Field::Identity),
    (b"reply-to", Field::Identity),
    (b"referred-by", Field::Identity),
    (b"b", Field::Identity),
    (b"p-asserted-identity", Field::Identity),
    (b"p-preferred-identity", Field::Identity),
    (b"remote-party-id", Field::Identity),
    (b"diversion", Field::Identity),
    (b"call-id", Field::CallId),
    (b"i", Field::CallId),
    (b"cseq", Field::CSeq),
    (b"content-length", Field::ContentLength),
    (b"l", Field::ContentLength),
    (b"content-type", Field::ContentType),
    (b"c", Field::ContentType),
    (b"content-encoding", Field::ContentEncoding),
    (b"e", Field::ContentEncoding),
    (b"expires", Field::Expires),
];

impl Field {
    fn of(name: &[u8]) -> Self {
        let known = FIELDS
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        known.map_or(Self::Other, |(_, field)| *field)
    }
}

/// The header fields of a range, in order.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8], range: Range<usize>) -> Self {
        Self {
            bytes,
            at: range.start,
            end: range.end.min(bytes.len()),
        }
    }

    /// The next line, without its end; the last one may have none.
    fn line(&self, at: usize) -> Option<(Range<usize>, usize)> {
        if at >= self.end {
            return None;
        }
        let within = text::of(self.bytes, 0..self.end);
        text::line(within, at).or(Some((at..self.end, self.end)))
    }
}

impl Iterator for Fields<'_> {
    type Item = (Field, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, mut next) = self.line(self.at)?;
        let mut whole = line.clone();
        while matches!(self.bytes.get(next), Some(b' ' | b'\t')) {
            let Some((folded, behind)) = self.line(next) else {
                break;
            };
            (whole.end, next) = (folded.end, behind);
        }
        self.at = next;
        let colon = text::of(self.bytes, line)
            .iter()
            .position(|byte| *byte == b':');
        let Some(colon) = colon.map(|colon| whole.start + colon) else {
            return Some((Field::Other, whole));
        };
        let name = text::trimmed(self.bytes, whole.start..colon);
        let value = text::trimmed(self.bytes, colon + 1..whole.end);
        Some((Field::of(text::of(self.bytes, name)), value))
    }
}

/// What a message says of the length of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Unsaid,
    Said(usize),
    /// It is no number, or said twice and differently.
    Contradictory,
}

/// Everything before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) start: Start,
    /// The header fields.
    pub(super) fields: Range<usize>,
    /// Where the body begins.
    pub(super) end: usize,
    pub(super) call_id: Option<Range<usize>>,
    pub(super) cseq: Option<(u64, Method)>,
    pub(super) length: Length,
    pub(super) content_type: Option<Range<usize>>,
    pub(super) is_encoded: bool,
    pub(super) expires: Option<u64>,
}

impl Head {
    /// The head in a range, if it begins like one.
    pub(super) fn read(bytes: &[u8], range: Range<usize>) -> Option<Self> {
        let within = text::of(bytes, 0..range.end);
        let (line, next) = text::line(within, range.start)?;
        let mut head = Self {
            start: start(bytes, line)?,
            fields: next..range.end,
            end: range.end,
            call_id: None,
            cseq: None,
            length: Length::Unsaid,
            content_type: None,
            is_encoded: false,
            expires: None,
        };
        for (field, value) in Fields::of(bytes, head.fields.clone()) {
            head.take(bytes, field, value);
        }
        Some(head)
    }

    fn take(&mut self, bytes: &[u8], field: Field, value: Range<usize>) {
        let text = text::of(bytes, value.clone());
        match field {
            Field::CallId => {
                self.call_id.get_or_insert(value);
            }
            Field::CSeq => {
                let number = text::word(bytes, value);
                let method = number.and_then(|(number, rest)| {
                    let (method, _) = text::word(bytes, rest)?;
                    Some((
                        text::number(text::of(bytes, number))?,
                        Method::of(text::of(bytes, method)),
                    ))
                });
                self.cseq = self.cseq.or(method);
            }
            Field::ContentLength => {
                let said = text::number(text).and_then(|said| usize::try_from(said).ok());
                self.length = match (self.length, said) {
                    (Length::Unsaid, Some(said)) => Length::Said(said),
                    (Length::Said(before), Some(said)) if before == said => Length::Said(said),
                    (Length::Unsaid | Length::Said(_) | Length::Contradictory, _) => {
                        Length::Contradictory
                    }
                };
            }
            Field::ContentType => {
                self.content_type.get_or_insert(value);
            }
            Field::ContentEncoding => {
                self.is_encoded |= !text.is_empty() && !text.eq_ignore_ascii_case(b"identity");
            }
            Field::Expires => self.expires = self.expires.or_else(|| text::number(text)),
            Field::Via | Field::Contact | Field::Route | Field::Identity | Field::Other => {}
        }
    }

    /// What it asks for, or what it answers.
    pub(super) fn method(&self) -> Method {
        match self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => self.cseq.map_or(Method::Other, |(_, method)| method),
        }
    }

    /// Whether it answers with an error, or says where else to ask.
    pub(super) const fn is_failure(&self) -> bool {
        matches!(self.start, Start::Response { status } if status >= 300)
    }

    /// Whether its body may describe media of a call.
    pub(super) fn has_media(&self) -> bool {
        self.method().has_media() && !self.is_failure() && !self.is_encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(Field, &str)> {
        Fields::of(text.as_bytes(), 0..text.len())
            .map(|(field, value)| (field, &text[value]))
            .collect()
    }

    #[test]
    fn first_lines_are_told_from_other_protocols() {
        let first = |line: &str| start(line.as_bytes(), 0..line.len());
        let invite = Start::Request {
            method: Method::Invite,
            uri: 7..16,
        };
        assert_eq!(first("INVITE sip:b@x.y SIP/2.0"), Some(invite));
        let ringing = Start::Response { status: 180 };
        assert_eq!(first("sip/2.0 180 Ringing"), Some(ringing));
        for wrong in [
            "POST / HTTP/1.1",
            "GET sip:b@x.y HTTP/1.1",
            "SIP/2.0 abc",
            "SIP/2.0 99",
            "INVITE SIP/2.0",
            "INVITE sip:b SIP/2.0 x",
            "A/B sip:b SIP/2.0",
        ] {
            assert_eq!(first(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stream_of_something_else_is_seen_at_its_first_odd_byte() {
        for fitting in [
            "",
            "S",
            "SIP/2",
            "SIP/2.0 200",
            "REGISTER sip:x",
            "X-my.own",
        ] {
            assert!(can_start(fitting.as_bytes()), "{fitting}");
        }
        let long = "A".repeat(METHOD_MAX + 1);
        for wrong in ["\x16\x03\x01", "\0", "SIP/3", "<xml", "HTTP/1.1 200", &long] {
            assert!(!can_start(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn fields_are_known_by_both_names_and_may_be_folded() {
        let text =
            "Via : a\r\nv:b\nCONTACT: <sip:c>,\r\n\t<sip:d>\r\nX-Mine: e\r\nno colon\r\nl: 7";
        let found = [
            (Field::Via, "a"),
            (Field::Via, "b"),
            (Field::Contact, "<sip:c>,\r\n\t<sip:d>"),
            (Field::Other, "e"),
            (Field::Other, "no colon"),
            (Field::ContentLength, "7"),
        ];
        assert_eq!(fields(text), found);
    }

    #[test]
    fn a_length_said_twice_must_be_the_same() {
        let length = |fields: &str| {
            let text = format!("OPTIONS sip:x SIP/2.0\r\n{fields}\r\n");
            Head::read(text.as_bytes(), 0..text.len()).map(|head| head.length)
        };
        assert_eq!(length(""), Some(Length::Unsaid));
        let twice = "l: 5\r\nContent-Length:5\r\n";
        assert_eq!(length(twice), Some(Length::Said(5)));
        let smuggled = "l: 5\r\nContent-Length: 6\r\nl: 5\r\n";
        assert_eq!(length(smuggled), Some(Length::Contradictory));
        assert_eq!(length("l: -5\r\n"), Some(Length::Contradictory));
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(end_of_head(b"a\r\nb\r\n\r\nbody", 0), Some(8));
        assert_eq!(end_of_head(b"a\nb\n\nbody", 0), Some(5));
        assert_eq!(end_of_head(b"a\r\nb\r\n\r", 0), None);
    }
}
