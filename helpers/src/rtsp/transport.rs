//! The Transport header: how the media of a stream travel, in what order the client prefers it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::helper::Ports;
use crate::text;

/// The most places that are read in one way.
const PLACES_MAX: usize = 12;
/// The most endpoints in one parameter.
const ENDPOINTS_MAX: usize = 4;

/// Whose a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The client's, whoever says it.
    Client,
    /// The server's.
    Server,
    /// That of who says it.
    Sender,
}

/// A parameter that says where something goes.
#[derive(Debug)]
pub(super) enum Place {
    /// An address.
    Address(Range<usize>),
    /// A port, or two.
    Ports(Range<usize>),
    /// Endpoints in quotes (RTSP 2.0).
    Endpoints(ArrayVec<Endpoint, ENDPOINTS_MAX>),
}

/// An endpoint in quotes.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// What is between the quotes.
    pub(super) at: Range<usize>,
    /// Its address; `None` for that of who says it.
    pub(super) address: Option<IpAddr>,
    /// Its port.
    pub(super) port: u16,
}

/// One way for media to travel, as a range of the header.
#[derive(Debug, Clone)]
pub(super) struct Way {
    at: Range<usize>,
    /// Whether it is datagrams from one to one, rather than within the connection or to a group.
    pub(super) is_direct: bool,
}

/// The ways in a header's value.
pub(super) fn ways(bytes: &[u8], value: Range<usize>) -> impl Iterator<Item = Way> {
    parts(bytes, value, b',').map(|at| {
        let mut is_direct = true;
        let mut is_udp = false;
        for (n, part) in parts(bytes, at.clone(), b';').enumerate() {
            let part = text::of(bytes, part);
            let name = part.split(|byte| *byte == b'=').next();
            let name = name.unwrap_or_default().trim_ascii();
            if n == 0 {
                let lower = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                is_udp = lower.eq_ignore_ascii_case(b"UDP");
                is_direct &= !lower.eq_ignore_ascii_case(b"TCP");
            }
            is_direct &= !name.eq_ignore_ascii_case(b"multicast");
            // AirTunes names channels beside its ports for datagrams.
            is_direct &= is_udp || !name.eq_ignore_ascii_case(b"interleaved");
        }
        Way { at, is_direct }
    })
}

impl Way {
    /// Its parameters that say where something goes, in their order.
    pub(super) fn places(&self, bytes: &[u8]) -> impl Iterator<Item = (Whose, Place)> {
        let places = parts(bytes, self.at.clone(), b';').filter_map(|part| place(bytes, part));
        places.take(PLACES_MAX)
    }
}

fn place(bytes: &[u8], part: Range<usize>) -> Option<(Whose, Place)> {
    let equals = text::of(bytes, part.clone())
        .iter()
        .position(|b| *b == b'=')?;
    let equals = part.start + equals;
    let name = text::of(bytes, text::trimmed(bytes, part.start..equals));
    let value = text::trimmed(bytes, equals + 1..part.end);
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    let named = [
        (
            Whose::Client,
            [&b"client_port"[..], b"destination", b"dest_addr"],
        ),
        (Whose::Server, [&b"server_port"[..], b"source", b"src_addr"]),
    ];
    for (whose, [port, address, endpoints]) in named {
        if is(port) {
            return Some((whose, Place::Ports(unquoted(bytes, value))));
        } else if is(address) {
            return Some((whose, Place::Address(unquoted(bytes, value))));
        } else if is(endpoints) {
            let list = self::endpoints(bytes, value)?;
            return Some((whose, Place::Endpoints(list)));
        }
    }
    // AirTunes: both sides have these.
    let is_more = is(b"control_port") || is(b"timing_port");
    is_more.then_some((Whose::Sender, Place::Ports(value)))
}

/// A list of endpoints; `None` if one cannot be read.
fn endpoints(bytes: &[u8], value: Range<usize>) -> Option<ArrayVec<Endpoint, ENDPOINTS_MAX>> {
    let mut list = ArrayVec::new();
    for part in parts(bytes, value, b'/') {
        let at = unquoted(bytes, text::trimmed(bytes, part));
        let said = std::str::from_utf8(text::of(bytes, at.clone())).ok()?;
        let (address, port) = match said.strip_prefix(':') {
            Some(port) => (None, text::port(port.as_bytes())?),
            None => {
                let endpoint: SocketAddr = said.parse().ok()?;
                (Some(endpoint.ip()), endpoint.port())
            }
        };
        list.try_push(Endpoint { at, address, port }).ok()?;
    }
    Some(list)
}

/// The ports of a parameter: the first and how many, if it is one or two in a row.
pub(super) fn ports(value: &[u8]) -> Option<(u16, Row)> {
    let mut ends = value.splitn(2, |byte| *byte == b'-');
    let first = text::port(ends.next()?.trim_ascii())?;
    let Some(last) = ends.next() else {
        return Some((first, Row::Listener(Ports::One)));
    };
    let last = text::port(last.trim_ascii())?;
    match last.checked_sub(first)? {
        0 => Some((first, Row::Same)),
        1 if first % 2 == 0 => Some((first, Row::Listener(Ports::EvenPair))),
        1 => Some((first, Row::OddPair)),
        _ => None,
    }
}

/// How a row of ports is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    /// One port, or an even one and the next.
    Listener(Ports),
    /// An odd one and the next, which have to be announced apart.
    OddPair,
    /// One, named as the first and the last.
    Same,
}

/// What is between quotes, if there are any.
fn unquoted(bytes: &[u8], value: Range<usize>) -> Range<usize> {
    match text::of(bytes, value.clone()) {
        [b'"', .., b'"'] => value.start + 1..value.end - 1,
        _ => value,
    }
}

/// The parts of a range between separators that are not in quotes.
fn parts(bytes: &[u8], range: Range<usize>, separator: u8) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(range.start);
    std::iter::from_fn(move || {
        let start = next.take()?;
        let mut quoted = false;
        let length = text::of(bytes, start..range.end).iter().position(|byte| {
            quoted ^= *byte == b'"';
            *byte == separator && !quoted
        });
        let end = length.map_or(range.end, |length| start + length);
        next = length.map(|length| start + length + 1);
        Some(start..end)
    })
}
