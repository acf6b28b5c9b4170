//! RTSP: streams of media whose ports are agreed on over TCP.
//!
//! A client's SETUP names the ports at which it waits for RTP and RTCP, the server's response those
//! it sends from and listens at. Both are announced, each towards the other side, and named in the
//! receiver's terms. What the response says in return of the client is put back into the client's.
//!
//! Promises: only a SETUP of the client's and the response to it open anything, only at the
//! sender's own address and from port 1024 on. Ways that need nothing are left alone: media within
//! the control connection, which are skipped without being kept back, and groups. A stream that is
//! refused, that takes another way, or is torn down is taken back. What does not begin with a
//! request of RTSP, a tunnel through HTTP for one, is left alone.
//! RFC 2326, RFC 7826; the ports of RealNetworks (RDT) and AirTunes are written alike.

mod framing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_streams;
mod transport;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use crate::helper::{Call, Desk, Helper, Opener, Ports, Progress, Session, Transport, Wanted};
use crate::text;

use framing::{Head, Kind, Next};
use transport::{Endpoint, Place, Row, Way, Whose};

/// The most streams of one connection that are known at a time.
pub const STREAMS_MAX: usize = 16;
/// The most listeners of one stream, of both sides.
pub const LISTENERS_MAX: usize = 8;
/// The most ways that are read in one message.
pub const WAYS_MAX: usize = 8;

/// What a connection may have of announcements. Media flow soon after they are agreed on.
const MEDIA: Class = Class {
    number: 1,
    max_expected: 96,
    timeout: Duration::from_secs(180),
};
/// The lowest port that is announced.
const PORT_MIN: u16 = 1024;

/// A reader of one control connection.
#[derive(Debug, Clone, Default)]
pub struct Rtsp {
    /// How many bytes of bodies and data are still to be skipped, by direction.
    skip: [u64; 2],
    has_spoken: [bool; 2],
    /// Whether something was no message, so that nobody knows where the next one begins.
    lost: bool,
    streams: ArrayVec<Stream, STREAMS_MAX>,
    last_call: u32,
}

/// A stream of media.
#[derive(Debug, Clone)]
struct Stream {
    call: Call,
    url: u64,
    session: Option<u64>,
    progress: Setting,
    listeners: ArrayVec<Listener, LISTENERS_MAX>,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// The request with this number is not answered yet.
    Asked(Option<u64>),
    /// Both sides have agreed.
    Agreed,
    /// It has played since.
    Played,
}

/// Where a side can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    from: Direction,
    own: u16,
    known: u16,
    ports: Ports,
}

impl Rtsp {
    /// A reader of a connection that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message of either side.
    fn message(&mut self, from: Direction, bytes: &[u8], head: &Head, desk: &mut dyn Desk) {
        match (from, head.kind) {
            (Direction::Original, Kind::SetUp) => self.set_up(bytes, head, desk),
            (Direction::Original, Kind::Play) => self.play(head, desk),
            (_, Kind::TearDown) => self.tear_down(head, desk),
            (Direction::Reply, Kind::Response(status)) => {
                self.respond(status, bytes, head, desk);
            }
            (Direction::Reply, Kind::SetUp | Kind::Play)
            | (Direction::Original, Kind::Response(_))
            | (_, Kind::Other) => {}
        }
    }

    /// The client asks for a stream.
    fn set_up(&mut self, bytes: &[u8], head: &Head, desk: &mut dyn Desk) {
        if !ways(bytes, head).any(|way| way.is_direct) {
            return;
        }
        self.last_call = self.last_call.wrapping_add(1);
        let mut stream = Stream {
            call: Call(self.last_call),
            url: head.url,
            session: head.session,
            progress: Setting::Asked(head.sequence),
            listeners: ArrayVec::new(),
        };
        for way in ways(bytes, head).filter(|way| way.is_direct) {
            self.carry(Direction::Original, bytes, &way, &mut stream, desk);
        }
        if self.streams.is_full() {
            let oldest = self.streams.remove(0);
            desk.withdraw(oldest.call);
        }
        self.streams.push(stream);
    }

    /// The server answers.
    fn respond(&mut self, status: u16, bytes: &[u8], head: &Head, desk: &mut dyn Desk) {
        let is_answer = |stream: &Stream| match stream.progress {
            Setting::Asked(number) => head.sequence.is_none() || number == head.sequence,
            Setting::Agreed | Setting::Played => false,
        };
        let Some(at) = self
            .streams
            .iter()
            .position(is_answer)
            .filter(|_| status >= 200)
        else {
            return;
        };
        let mut stream = self.streams.remove(at);
        let takes_other_way = ways(bytes, head).any(|way| !way.is_direct);
        if status >= 300 || takes_other_way {
            desk.withdraw(stream.call);
            return;
        }
        for way in ways(bytes, head) {
            self.carry(Direction::Reply, bytes, &way, &mut stream, desk);
        }
        stream.session = head.session.or(stream.session);
        stream.progress = Setting::Agreed;
        self.streams.insert(at, stream);
    }

    /// The client lets streams play: those that have played before may have been silent for long.
    fn play(&mut self, head: &Head, desk: &mut dyn Desk) {
        for stream in &mut self.streams {
            if stream.session != head.session {
                continue;
            }
            match stream.progress {
                Setting::Asked(_) => {}
                Setting::Agreed => stream.progress = Setting::Played,
                Setting::Played => {
                    for listener in &stream.listeners {
                        let wanted = listener.wanted(desk.session(), stream.call);
                        // What cannot be announced once more was announced once.
                        let _known = desk.expect(listener.from, &wanted);
                    }
                }
            }
        }
    }

    /// Either side ends one stream of a session, or all of them.
    fn tear_down(&mut self, head: &Head, desk: &mut dyn Desk) {
        let is_one = |stream: &Stream| stream.url == head.url;
        let in_session = |stream: &Stream| head.session.is_none() || stream.session == head.session;
        let names_one = self.streams.iter().any(|s| is_one(s) && in_session(s));
        self.streams.retain(|stream| {
            let ends = in_session(stream) && (is_one(stream) || !names_one);
            if ends {
                desk.withdraw(stream.call);
            }
            !ends
        });
    }

    /// Puts one way for media into the receiver's terms, and announces what the sender is ready
    /// for.
    fn carry(
        &self,
        from: Direction,
        bytes: &[u8],
        way: &Way,
        stream: &mut Stream,
        desk: &mut dyn Desk,
    ) {
        let names_another = way.places(bytes).any(|(whose, place)| {
            is_senders(whose, from) && names_another(desk.session(), from, bytes, &place)
        });
        for (whose, place) in way.places(bytes) {
            let is_senders = is_senders(whose, from);
            if is_senders && names_another {
                continue;
            }
            let terms = Terms {
                from,
                is_senders,
                bytes,
            };
            match place {
                Place::Address(at) => terms.address(at, desk),
                Place::Ports(at) => self.ports(terms, at, stream, desk),
                Place::Endpoints(list) => self.endpoints(terms, &list, stream, desk),
            }
        }
    }

    fn ports(&self, terms: Terms<'_>, at: Range<usize>, stream: &mut Stream, desk: &mut dyn Desk) {
        let Some((first, row)) = transport::ports(text::of(terms.bytes, at.clone())) else {
            return;
        };
        let known = match (terms.is_senders, row) {
            (true, Row::Listener(ports)) => announce(terms.from, first, ports, stream, desk),
            (true, Row::Same) => announce(terms.from, first, Ports::One, stream, desk),
            (true, Row::OddPair) => {
                let mut known = |port| announce(terms.from, port, Ports::One, stream, desk);
                let ends = (known(first), known(first.saturating_add(1)));
                // Two that were announced apart need not be in a row, and are named as one.
                match ends {
                    (Some(known), Some(last)) if known.checked_add(1) == Some(last) => Some(known),
                    _ => None,
                }
            }
            (false, _) => self.known_to_sender(terms.from, first, stream),
        };
        let Some(known) = known.filter(|known| *known != first) else {
            return;
        };
        let written = match row {
            Row::Listener(Ports::One) => text::written(format_args!("{known}")),
            Row::Same => text::written(format_args!("{known}-{known}")),
            Row::Listener(Ports::EvenPair) | Row::OddPair => {
                let last = u32::from(known) + 1;
                text::written(format_args!("{known}-{last}"))
            }
        };
        if let Some(written) = written {
            desk.replace(at, written.as_bytes());
        }
    }

    fn endpoints(
        &self,
        terms: Terms<'_>,
        list: &[Endpoint],
        stream: &mut Stream,
        desk: &mut dyn Desk,
    ) {
        let mut pair = None;
        for (n, endpoint) in list.iter().enumerate() {
            let next = list.get(n + 1);
            let next_port = endpoint.port.checked_add(1);
            let begins_pair = endpoint.port.is_multiple_of(2)
                && next.is_some_and(|next| Some(next.port) == next_port);
            let known = match (terms.is_senders, pair.take()) {
                (false, _) => self.known_to_sender(terms.from, endpoint.port, stream),
                (true, Some(second)) => Some(second),
                (true, None) if begins_pair => {
                    let ports = Ports::EvenPair;
                    let known = announce(terms.from, endpoint.port, ports, stream, desk);
                    pair = known.and_then(|known| known.checked_add(1));
                    known
                }
                (true, None) => announce(terms.from, endpoint.port, Ports::One, stream, desk),
            };
            let Some(port) = known.or((!terms.is_senders).then_some(endpoint.port)) else {
                continue;
            };
            terms.endpoint(endpoint, port, desk);
        }
    }

    /// What the receiver calls the port that the sender knows it by.
    fn known_to_sender(&self, from: Direction, port: u16, stream: &Stream) -> Option<u16> {
        let all = self.streams.iter().rev();
        let mut listeners = std::iter::once(stream)
            .chain(all)
            .flat_map(|s| &s.listeners);
        listeners.find_map(|listener| {
            let offset = port.checked_sub(listener.known)?;
            let is_it = listener.from != from && offset <= listener.more();
            is_it.then(|| listener.own.checked_add(offset)).flatten()
        })
    }
}

impl Helper for Rtsp {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        if self.lost {
            return Progress::Leave;
        }
        let side = from.index();
        let mut at = 0;
        loop {
            let left = bytes.len() - at;
            let skipped = usize::try_from(self.skip[side]).map_or(left, |skip| skip.min(left));
            self.skip[side] -= skipped as u64;
            at += skipped;
            match framing::next(bytes, at, !self.has_spoken[side]) {
                Next::Data(length) => self.skip[side] = length,
                Next::Blank(length) => at += length,
                Next::Head(head) => {
                    self.message(from, bytes, &head, desk);
                    self.has_spoken[side] = true;
                    self.skip[side] = head.body;
                    at = head.end;
                }
                Next::Unfinished => return Progress::Read(at),
                Next::Foreign if at == 0 => return Progress::Leave,
                Next::Foreign => {
                    // What was changed so far has to go out as it is now.
                    self.lost = true;
                    return Progress::Read(bytes.len());
                }
            }
        }
    }
}

/// The ways that a message names, as many as are read.
fn ways(bytes: &[u8], head: &Head) -> impl Iterator<Item = Way> {
    let values = head.transports.iter();
    let all = values.flat_map(|value| transport::ways(bytes, value.clone()));
    all.take(WAYS_MAX)
}

fn is_senders(whose: Whose, from: Direction) -> bool {
    match whose {
        Whose::Client => from == Direction::Original,
        Whose::Server => from == Direction::Reply,
        Whose::Sender => true,
    }
}

/// Whether a place of the sender's is somebody else's, and is not to be announced therefore.
fn names_another(session: &Session, from: Direction, bytes: &[u8], place: &Place) -> bool {
    let (own, outside) = (
        session.sender(from).own.ip(),
        session.receiver(from).peer.ip(),
    );
    let is_another = |address: IpAddr| address != own && address != outside;
    match place {
        Place::Address(at) => text::address(text::of(bytes, at.clone())).is_none_or(is_another),
        Place::Ports(_) => false,
        Place::Endpoints(list) => list.iter().filter_map(|e| e.address).any(is_another),
    }
}

/// Announces a listener of the sender's: by which port the receiver knows it.
fn announce(
    from: Direction,
    own: u16,
    ports: Ports,
    stream: &mut Stream,
    desk: &mut dyn Desk,
) -> Option<u16> {
    let mut listener = Listener {
        from,
        own,
        known: own,
        ports,
    };
    if own < PORT_MIN || stream.listeners.is_full() {
        return None;
    }
    let wanted = listener.wanted(desk.session(), stream.call);
    listener.known = desk.expect(from, &wanted).ok()?.port();
    if !stream.listeners.contains(&listener) {
        stream.listeners.push(listener);
    }
    Some(listener.known)
}

impl Listener {
    /// How many ports there are behind the first.
    const fn more(self) -> u16 {
        match self.ports {
            Ports::One => 0,
            Ports::EvenPair => 1,
        }
    }

    fn wanted(self, session: &Session, call: Call) -> Wanted {
        Wanted {
            transport: Transport::Udp,
            listener: SocketAddr::new(session.sender(self.from).own.ip(), self.own),
            ports: self.ports,
            opener: Opener::Receiver,
            answers_to: None,
            uses: Uses::Once,
            life: ChildLife::Own,
            class: MEDIA,
            reader: None,
            call,
        }
    }
}

/// Whose terms something is in, and the bytes it stands in.
#[derive(Debug, Clone, Copy)]
struct Terms<'a> {
    from: Direction,
    /// Whether it is the sender's own, or the receiver's as the sender knows it.
    is_senders: bool,
    bytes: &'a [u8],
}

impl Terms<'_> {
    /// How the receiver knows an address of either side.
    fn carried(self, address: IpAddr, session: &Session) -> Option<IpAddr> {
        let (sender, receiver) = (session.sender(self.from), session.receiver(self.from));
        let (here, there) = match self.is_senders {
            true => (sender.own, receiver.peer),
            false => (sender.peer, receiver.own),
        };
        (address == here.ip()).then(|| there.ip())
    }

    fn address(self, at: Range<usize>, desk: &mut dyn Desk) {
        let named = text::address(text::of(self.bytes, at.clone()));
        let carried = named.and_then(|named| self.carried(named, desk.session()));
        let Some(carried) = carried.filter(|carried| Some(*carried) != named) else {
            return;
        };
        if let Some(written) = text::written(format_args!("{carried}")) {
            desk.replace(at, written.as_bytes());
        }
    }

    fn endpoint(self, endpoint: &Endpoint, port: u16, desk: &mut dyn Desk) {
        let address = endpoint.address.map(|address| {
            let carried = self.carried(address, desk.session());
            carried.unwrap_or(address)
        });
        if (address, port) == (endpoint.address, endpoint.port) {
            return;
        }
        let written = match address {
            Some(address) => text::written(format_args!("{}", SocketAddr::new(address, port))),
            None => text::written(format_args!(":{port}")),
        };
        if let Some(written) = written {
            desk.replace(endpoint.at.clone(), written.as_bytes());
        }
    }
}
