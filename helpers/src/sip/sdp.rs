//! Session descriptions (SDP, RFC 8866): where media are wanted, and where that is written.
//!
//! A description is read whole or not at all: one with more media than are looked at, or with ICE,
//! whose endpoints find their way themselves, gives nothing.

use std::net::IpAddr;
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::helper::Transport;
use crate::text;

/// The most media of a description; one with more is left alone.
pub const MEDIA_MAX: usize = 16;

/// A numeric address as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) ip: IpAddr,
    pub(super) range: Range<usize>,
}

/// Where media are to be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the whole session is.
    Inherited,
    At(Written),
    /// A name, or an address that cannot be read.
    Unreadable,
}

/// What a line of media needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// RTP, with RTCP beside it.
    Rtp,
    /// One port.
    Single(Transport),
    /// Something whose addresses are written elsewhere, too, or that is unknown.
    Unknown,
}

/// Where RTCP is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rtcp {
    pub(super) port: u16,
    pub(super) port_range: Range<usize>,
    /// The address, if one is written.
    pub(super) place: Place,
}

/// A line of media and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) kind: Kind,
    pub(super) port: u16,
    /// How many ports, or pairs of ports.
    pub(super) count: u64,
    /// Port and count.
    pub(super) ports_range: Range<usize>,
    pub(super) place: Place,
    pub(super) rtcp: Option<Rtcp>,
    /// Whether RTCP may share the port of RTP.
    pub(super) shares_port: bool,
    /// Whether the sender opens the connection itself.
    pub(super) opens: bool,
    /// Where the next line of media begins.
    pub(super) end: usize,
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// The address of who made it.
    pub(super) origin: Option<Written>,
    /// Where media are sent to that say nothing else.
    pub(super) place: Place,
    pub(super) media: ArrayVec<Media, MEDIA_MAX>,
}

/// The description that a range holds.
pub(super) fn read(bytes: &[u8], range: Range<usize>) -> Option<Description> {
    let body = text::of(bytes, 0..range.end);
    let mut description = Description {
        origin: None,
        place: Place::Unreadable,
        media: ArrayVec::new(),
    };
    let mut at = range.start;
    let mut is_first = true;
    while at < body.len() {
        let (line, next) = text::line(body, at).unwrap_or((at..body.len(), body.len()));
        at = next;
        let [kind, b'=', ..] = *text::of(body, line.clone()) else {
            continue;
        };
        if is_first && kind != b'v' {
            return None;
        }
        is_first = false;
        let value = line.start + 2..line.end;
        match kind {
            b'm' => description.media.try_push(media(body, value, next)?).ok()?,
            b'a' if is_ice(text::of(body, value.clone())) => return None,
            _ => description.take(body, kind, value),
        }
        if let Some(media) = description.media.last_mut() {
            media.end = next;
        }
    }
    (!is_first).then_some(description)
}

impl Description {
    fn take(&mut self, body: &[u8], kind: u8, value: Range<usize>) {
        match (kind, self.media.last_mut()) {
            (b'o', None) => {
                self.origin = nth_word(body, value, 5).and_then(|range| written(body, range));
            }
            (b'c', None) => self.place = place(body, value, 2),
            // Further ones are those of other layers of a multicast.
            (b'c', Some(media)) if media.place == Place::Inherited => {
                media.place = place(body, value, 2);
            }
            (b'a', Some(media)) => media.take(body, value),
            _ => {}
        }
    }
}

impl Media {
    fn take(&mut self, body: &[u8], value: Range<usize>) {
        let text = text::of(body, value.clone());
        if text::starts_with(text, b"rtcp:") {
            self.rtcp = rtcp(body, value.start + 5..value.end);
        } else if text::starts_with(text, b"rtcp-mux") {
            self.shares_port = true;
        } else if text::starts_with(text, b"setup:active") {
            self.opens = true;
        }
    }
}

/// `audio 49170/2 RTP/AVP 0`.
fn media(body: &[u8], value: Range<usize>, end: usize) -> Option<Media> {
    let ports_range = nth_word(body, value.clone(), 1)?;
    let ports = text::of(body, ports_range.clone());
    let mut numbers = ports.splitn(2, |byte| *byte == b'/');
    let port = numbers.next().and_then(text::port)?;
    let count = numbers.next().map_or(Some(1), text::number)?;
    let protocol = nth_word(body, value, 2)?;
    Some(Media {
        kind: kind(text::of(body, protocol)),
        port,
        count,
        ports_range,
        place: Place::Inherited,
        rtcp: None,
        shares_port: false,
        opens: false,
        end,
    })
}

/// What a media protocol needs. Those that name their endpoints in attributes of their own, too
/// (MSRP), are unknown: half a translation would be none.
fn kind(protocol: &[u8]) -> Kind {
    let is_rtp = |name: &[u8]| text::starts_with(name, b"RTP/");
    let mut parts = protocol.split(|byte| *byte == b'/');
    let begins = |name: &[u8]| text::starts_with(protocol, name);
    if is_rtp(protocol) || begins(b"UDP/TLS/RTP/") {
        Kind::Rtp
    } else if begins(b"TCP/") && !parts.any(|part| part.eq_ignore_ascii_case(b"MSRP")) {
        Kind::Single(Transport::Tcp)
    } else if begins(b"udptl") || begins(b"UDP") {
        Kind::Single(Transport::Udp)
    } else {
        Kind::Unknown
    }
}

/// `53020` or `53020 IN IP4 192.0.2.1`.
fn rtcp(body: &[u8], value: Range<usize>) -> Option<Rtcp> {
    let (port_range, rest) = text::word(body, value)?;
    let place = if text::word(body, rest.clone()).is_some() {
        place(body, rest, 2)
    } else {
        Place::Inherited
    };
    Some(Rtcp {
        port: text::port(text::of(body, port_range.clone()))?,
        port_range,
        place,
    })
}

/// `IN IP4 192.0.2.1`, where the address may have a time to live behind it.
fn place(body: &[u8], value: Range<usize>, word: usize) -> Place {
    nth_word(body, value, word)
        .and_then(|range| written(body, range))
        .map_or(Place::Unreadable, Place::At)
}

fn written(body: &[u8], range: Range<usize>) -> Option<Written> {
    let text = text::of(body, range.clone());
    let length = text.iter().position(|byte| *byte == b'/');
    let range = range.start..range.start + length.unwrap_or(text.len());
    let ip = text::address(text::of(body, range.clone()))?;
    Some(Written { ip, range })
}

fn nth_word(body: &[u8], value: Range<usize>, n: usize) -> Option<Range<usize>> {
    let (mut word, mut rest) = text::word(body, value)?;
    for _ in 0..n {
        (word, rest) = text::word(body, rest)?;
    }
    Some(word)
}

fn is_ice(attribute: &[u8]) -> bool {
    [&b"candidate:"[..], b"ice-ufrag:", b"ice-lite"]
        .iter()
        .any(|name| text::starts_with(attribute, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(text: &str) -> Option<Description> {
        read(text.as_bytes(), 0..text.len())
    }

    #[test]
    fn media_lie_where_their_own_line_says_or_that_of_the_session() {
        let text = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\nc=IN IP4 10.0.0.3/127\r\n\
            m=audio 6000/2 RTP/AVP 0\r\na=rtcp:53020 IN IP4 10.0.0.4\r\n\
            m=image 7000 udptl t38\r\nc=IN IP6 ::1\r\nm=x 9 TCP/MSRP *\nc=IN IP4 h.example";
        let found = description(text).expect("a description");
        assert_eq!(found.origin.map(|at| &text[at.range]), Some("10.0.0.2"));
        assert!(matches!(found.place, Place::At(at) if &text[at.range.clone()] == "10.0.0.3"));
        let [audio, image, msrp] = found.media.as_slice() else {
            panic!("three media");
        };
        assert_eq!((audio.port, audio.count, audio.kind), (6000, 2, Kind::Rtp));
        assert_eq!(&text[audio.ports_range.clone()], "6000/2");
        assert_eq!(audio.rtcp.as_ref().map(|rtcp| rtcp.port), Some(53_020));
        assert_eq!(image.kind, Kind::Single(Transport::Udp));
        assert!(matches!(&image.place, Place::At(at) if at.ip.is_ipv6()));
        assert_eq!((msrp.kind, msrp.end), (Kind::Unknown, text.len()));
        assert_eq!(msrp.place, Place::Unreadable);
    }

    #[test]
    fn what_is_no_description_gives_none() {
        assert_eq!(description("m=audio 1 RTP/AVP 0\r\n"), None);
        assert_eq!(description("v=0\r\nm=audio 70000 RTP/AVP 0\r\n"), None);
        assert_eq!(description(""), None);
        let many = "m=audio 6000 RTP/AVP 0\n".repeat(MEDIA_MAX + 1);
        assert_eq!(description(&format!("v=0\n{many}")), None);
    }

    #[test]
    fn ice_finds_its_way_without_help() {
        for line in [
            "a=candidate:1 1 UDP 1 10.0.0.2 6000 typ host",
            "a=ice-ufrag:x",
        ] {
            let text = format!("v=0\nm=audio 6000 RTP/AVP 0\n{line}\n");
            assert_eq!(description(&text), None, "{line}");
        }
    }
}
