//! IRC: the direct connections (DCC) that clients offer each other through a server.
//!
//! A client says to another `DCC SEND name address port size` or `DCC CHAT chat address port`, and
//! the other one connects to it. Who that is, only the server knows: anybody may come, once. With
//! port 0 the roles are reversed, and the answer is an offer like any other.
//!
//! Promises: only what the client itself says in a `PRIVMSG` opens anything, and only to its own
//! address, from port 1024 on. What a server passes on are other people's words. They are looked at
//! for one thing, the port in a request to resume what the client has offered. A client that does
//! not begin by introducing itself as IRC clients do is left alone from its first word on, as are
//! servers among themselves and what is encrypted.
//! RFC 1459, RFC 2812, IRCv3 message tags; CTCP and DCC as clients have them.

mod message;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use crate::helper::{Call, Desk, Helper, Opener, Ports, Progress, Transport, Wanted};
use crate::text;

use message::Dcc;

/// The most offers of one client that are open at a time; one more takes the place of the oldest.
pub const OFFERS_MAX: usize = 8;
/// The longest line that is read: one of 512 bytes behind tags, RFC 1459 and IRCv3.
pub const LINE_MAX: usize = 4096 + 512;

/// What a client may have of offers. Somebody has to click on one before it is taken up.
const OFFERED: Class = Class {
    number: 1,
    max_expected: OFFERS_MAX as u8,
    timeout: Duration::from_secs(300),
};
/// The lowest port that is offered.
const PORT_MIN: u16 = 1024;
/// What a client's first line begins with.
const OPENINGS: [&[u8]; 4] = [b"CAP", b"PASS", b"NICK", b"USER"];
/// What ends the helper's interest: other servers, services, and encryption.
const ENDINGS: [&[u8]; 4] = [b"SERVER", b"SERVICE", b"WEBIRC", b"STARTTLS"];

/// A reader of one connection between an IRC client and its server.
#[derive(Debug, Clone, Default)]
pub struct Irc {
    client: Client,
    /// Whether the next bytes are the rest of a line that does not matter, by direction.
    passing: [bool; 2],
    offers: ArrayVec<Offer, OFFERS_MAX>,
    last_call: u32,
}

/// What the client has said about itself.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    has_spoken: bool,
    nick: bool,
    user: bool,
}

impl Client {
    const fn is_introduced(self) -> bool {
        self.nick && self.user
    }
}

/// Whether a line is IRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Read,
    Foreign,
}

/// A listener that the client has told of.
#[derive(Debug, Clone, Copy)]
struct Offer {
    own: u16,
    known: u16,
    call: Call,
}

impl Irc {
    /// A reader of a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// A line of either side.
    fn says(
        &mut self,
        from: Direction,
        bytes: &[u8],
        line: Range<usize>,
        desk: &mut dyn Desk,
    ) -> Line {
        let too_long = line.len() > LINE_MAX;
        match from {
            Direction::Original if !self.client.is_introduced() => {
                if too_long {
                    return Line::Foreign;
                }
                return self.introduce(text::of(bytes, line));
            }
            Direction::Original if !too_long => self.client_says(bytes, line, desk),
            Direction::Reply if !too_long => self.server_says(bytes, line, desk),
            Direction::Original | Direction::Reply => {}
        }
        Line::Read
    }

    /// A line of the client's, which is introduced.
    fn client_says(&mut self, bytes: &[u8], line: Range<usize>, desk: &mut dyn Desk) {
        if let Some(dcc) = message::dcc(bytes, line) {
            if dcc.is_offer(bytes) {
                self.offer(bytes, &dcc, desk);
            } else if dcc.is(bytes, b"ACCEPT") {
                self.carry_port(Direction::Original, bytes, &dcc, desk);
            }
        }
    }

    /// A line before the client has introduced itself.
    fn introduce(&mut self, line: &[u8]) -> Line {
        let command = if self.client.has_spoken {
            message::command(line)
        } else {
            message::first_word(line).filter(|word| is_one_of(&OPENINGS, word))
        };
        let Some(command) = command else {
            return if self.client.has_spoken {
                Line::Read
            } else {
                Line::Foreign
            };
        };
        let foreign = !command.iter().all(u8::is_ascii_alphabetic)
            || is_one_of(&ENDINGS, command)
            || message::is_http(line);
        if foreign {
            return Line::Foreign;
        }
        self.client.has_spoken = true;
        self.client.nick |= command.eq_ignore_ascii_case(b"NICK");
        self.client.user |= command.eq_ignore_ascii_case(b"USER");
        Line::Read
    }

    /// A line of the server's: somebody may want to resume what the client has offered.
    fn server_says(&self, bytes: &[u8], line: Range<usize>, desk: &mut dyn Desk) {
        if self.offers.is_empty() {
            return;
        }
        if let Some(dcc) = message::dcc(bytes, line)
            && dcc.is(bytes, b"RESUME")
        {
            self.carry_port(Direction::Reply, bytes, &dcc, desk);
        }
    }

    /// Announces what the client offers and tells the receiver where it is.
    fn offer(&mut self, bytes: &[u8], dcc: &Dcc, desk: &mut dyn Desk) {
        let from = Direction::Original;
        let (own, outside) = {
            let session = desk.session();
            (
                session.sender(from).own.ip(),
                session.receiver(from).peer.ip(),
            )
        };
        let is_own = |address: IpAddr| address == own || address == outside;
        let named = dcc.after_name().find_map(|(at, next)| {
            let address = address(text::of(bytes, at.clone())).filter(|a| is_own(*a))?;
            Some((
                at,
                address,
                text::port(text::of(bytes, next.clone()))?,
                next,
            ))
        });
        let Some((address_at, address, port, port_at)) = named else {
            return;
        };
        let known = match port {
            // The other side is asked to offer instead: there is nobody to be let in.
            0 => SocketAddr::new(outside, 0),
            1..PORT_MIN => return,
            PORT_MIN.. => {
                let Some(known) = self.announce(SocketAddr::new(own, port), desk) else {
                    return;
                };
                known
            }
        };
        if known.ip() != address {
            let decimal = text::number(text::of(bytes, address_at.clone())).is_some();
            replace_address(address_at, known.ip(), decimal, desk);
        }
        if known.port() != port {
            replace_port(port_at, known.port(), desk);
        }
    }

    fn announce(&mut self, listener: SocketAddr, desk: &mut dyn Desk) -> Option<SocketAddr> {
        let before = self.offers.iter().find(|o| o.own == listener.port());
        let next = Call(self.last_call.wrapping_add(1));
        let call = before.map_or(next, |offer| offer.call);
        let wanted = Wanted {
            transport: Transport::Tcp,
            listener,
            ports: Ports::One,
            opener: Opener::Anybody,
            answers_to: None,
            uses: Uses::Once,
            life: ChildLife::Own,
            class: OFFERED,
            reader: None,
            call,
        };
        let known = desk.expect(Direction::Original, &wanted).ok()?;
        self.offers.retain(|offer| offer.call != call);
        if self.offers.is_full() {
            self.offers.remove(0);
        }
        if call == next {
            self.last_call = next.0;
        }
        self.offers.push(Offer {
            own: listener.port(),
            known: known.port(),
            call,
        });
        Some(known)
    }

    /// Puts the port of an offer into the receiver's terms, where a transfer is resumed.
    fn carry_port(&self, from: Direction, bytes: &[u8], dcc: &Dcc, desk: &mut dyn Desk) {
        let Some(at) = dcc.resumed(bytes) else {
            return;
        };
        let port = text::port(text::of(bytes, at.clone()));
        let carried = self.offers.iter().rev().find_map(|offer| match from {
            Direction::Original => (Some(offer.own) == port).then_some(offer.known),
            Direction::Reply => (Some(offer.known) == port).then_some(offer.own),
        });
        if let Some(carried) = carried.filter(|carried| Some(*carried) != port) {
            replace_port(at, carried, desk);
        }
    }

    /// Whether the beginning of a line can be anything that is read here.
    fn waits_for(&self, from: Direction, start: &[u8]) -> bool {
        if start.len() > LINE_MAX {
            return false;
        }
        match from {
            Direction::Original => !self.client.is_introduced() || message::may_be_dcc(start),
            Direction::Reply => !self.offers.is_empty() && message::may_be_dcc(start),
        }
    }

    /// Whether the beginning of the client's line shows that it does not speak IRC.
    fn is_foreign(&self, start: &[u8]) -> bool {
        if self.client.is_introduced() {
            return false;
        }
        let is_opening = || {
            message::first_word(start).is_none_or(|word| {
                if start.ends_with(word) {
                    OPENINGS
                        .iter()
                        .any(|opening| text::starts_with(opening, word))
                } else {
                    is_one_of(&OPENINGS, word)
                }
            })
        };
        start.len() > LINE_MAX || !(self.client.has_spoken || is_opening())
    }
}

impl Helper for Irc {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let mut at = 0;
        while let Some((line, next)) = text::line(bytes, at) {
            let passing = std::mem::take(&mut self.passing[from.index()]);
            if !passing && self.says(from, bytes, line, desk) == Line::Foreign {
                // Nothing is changed before the client is introduced, so nothing is undone.
                return Progress::Leave;
            }
            at = next;
        }
        let rest = text::of(bytes, at..bytes.len());
        let start = rest.strip_suffix(b"\r").unwrap_or(rest);
        let passing = self.passing[from.index()];
        if from == Direction::Original && !passing && self.is_foreign(start) {
            return Progress::Leave;
        }
        if passing || !self.waits_for(from, start) {
            self.passing[from.index()] = !rest.is_empty();
            at = bytes.len();
        }
        Progress::Read(at)
    }
}

fn is_one_of(words: &[&[u8]], word: &[u8]) -> bool {
    words.iter().any(|one| one.eq_ignore_ascii_case(word))
}

/// An address as DCC has it: IPv4 as one number, or any in its usual form.
fn address(word: &[u8]) -> Option<IpAddr> {
    match text::number(word) {
        Some(number) => {
            let number = u32::try_from(number).ok()?;
            Some(Ipv4Addr::from_bits(number).into())
        }
        None => text::address(word),
    }
}

fn replace_address(at: Range<usize>, with: IpAddr, decimal: bool, desk: &mut dyn Desk) {
    let written = match with {
        IpAddr::V4(address) if decimal => text::written(format_args!("{}", address.to_bits())),
        IpAddr::V4(_) | IpAddr::V6(_) => text::written(format_args!("{with}")),
    };
    if let Some(written) = written {
        desk.replace(at, written.as_bytes());
    }
}

fn replace_port(at: Range<usize>, with: u16, desk: &mut dyn Desk) {
    if let Some(written) = text::written(format_args!("{with}")) {
        desk.replace(at, written.as_bytes());
    }
}
