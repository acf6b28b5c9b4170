//! A desk for tests, and two sides that talk over it.
//!
//! What the gateway does with packets is done here with bytes: each side says something, cut as the
//! test likes, and what arrives at the other side comes back.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use turnpike_conntrack::ids::Direction;

use crate::helper::{
    Call, Desk, Helper, MESSAGE_MAX, Ports, Progress, Refusal, Seen, Session, Transport, Wanted,
};

/// Something that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Who is ready for it.
    pub from: Direction,
    /// What was asked for.
    pub wanted: Wanted,
    /// By which endpoint the other side knows it.
    pub known_as: SocketAddr,
}

/// A desk that gives out ports from 40,000 on and remembers what was done at it.
#[derive(Debug)]
pub struct TestDesk {
    session: Session,
    next_port: u16,
    /// What was announced and not taken back.
    pub announced: Vec<Announced>,
    /// What every announcement is answered with, if not with an endpoint.
    pub refuse: Option<Refusal>,
    /// How long the control connection is to be kept, if that was asked for.
    pub kept: Option<Duration>,
    edits: Vec<(Range<usize>, Vec<u8>)>,
}

impl TestDesk {
    /// A desk for this connection.
    pub const fn new(session: Session) -> Self {
        Self {
            session,
            next_port: 40_000,
            announced: Vec::new(),
            refuse: None,
            kept: None,
            edits: Vec::new(),
        }
    }
}

impl Desk for TestDesk {
    fn session(&self) -> &Session {
        &self.session
    }

    fn expect(&mut self, from: Direction, wanted: &Wanted) -> Result<SocketAddr, Refusal> {
        if let Some(refusal) = self.refuse {
            return Err(refusal);
        }
        let same = |a: &Announced| a.from == from && a.wanted.listener == wanted.listener;
        let known_as = match self.announced.iter().find(|a| same(a)) {
            Some(before) => before.known_as,
            None => {
                let (own, outside) = (
                    self.session.sender(from).own.ip(),
                    self.session.receiver(from).peer.ip(),
                );
                if own == outside {
                    wanted.listener
                } else {
                    let port = self.next_port;
                    self.next_port += 2;
                    SocketAddr::new(outside, port)
                }
            }
        };
        self.announced.retain(|a| !same(a));
        self.announced.push(Announced {
            from,
            wanted: *wanted,
            known_as,
        });
        Ok(known_as)
    }

    fn carried(&self, from: Direction, endpoint: SocketAddr) -> Option<SocketAddr> {
        let announced = self.announced.iter().find_map(|a| {
            let ports = match a.wanted.ports {
                Ports::One => 0,
                Ports::EvenPair => 1,
            };
            let (named, known_as) = if a.from == from {
                (a.wanted.listener, a.known_as)
            } else {
                (a.known_as, a.wanted.listener)
            };
            let offset = endpoint.port().checked_sub(named.port())?;
            (endpoint.ip() == named.ip() && offset <= ports)
                .then(|| SocketAddr::new(known_as.ip(), known_as.port() + offset))
        });
        self.session.carried(from, endpoint).or(announced)
    }

    fn withdraw(&mut self, call: Call) {
        self.announced.retain(|a| a.wanted.call != call);
    }

    fn keep(&mut self, at_least: Duration) {
        self.kept = Some(at_least);
    }

    fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        let end = self.edits.last().map_or(0, |(last, _)| last.end);
        assert!(range.start >= end, "{range:?} is not behind {end}");
        self.edits.push((range, with.to_vec()));
    }
}

/// Two sides and the helper between them.
#[derive(Debug)]
pub struct Dialogue<H> {
    /// The helper.
    pub helper: H,
    /// Its desk.
    pub desk: TestDesk,
    /// Whether the helper has left.
    pub left: bool,
    waiting: [Vec<u8>; 2],
}

impl<H: Helper> Dialogue<H> {
    /// A dialogue that begins.
    pub const fn new(helper: H, session: Session) -> Self {
        Self {
            helper,
            desk: TestDesk::new(session),
            left: false,
            waiting: [Vec::new(), Vec::new()],
        }
    }

    /// One side says something; what arrives at the other side because of it.
    ///
    /// # Errors
    /// The reason for which the helper refused it.
    ///
    /// # Panics
    /// If the helper breaks a promise of [`Desk::replace`], is done with more than there is, or
    /// keeps a part of a datagram.
    pub fn say(&mut self, from: Direction, bytes: impl AsRef<[u8]>) -> Result<Vec<u8>, Refusal> {
        let mut unread = std::mem::take(&mut self.waiting[from.index()]);
        unread.extend_from_slice(bytes.as_ref());
        if self.left {
            return Ok(unread);
        }
        self.desk.edits.clear();
        let read = match self.helper.read(from, &unread, &mut self.desk) {
            Progress::Read(read) => read,
            Progress::Leave => {
                // What the other side has waiting goes with the next that it says.
                self.left = true;
                return Ok(unread);
            }
            Progress::Refuse(refusal) => return Err(refusal),
        };
        assert!(read <= unread.len(), "done with {read} of {}", unread.len());
        let kept = unread.split_off(read);
        if self.desk.session.transport == Transport::Udp {
            assert!(kept.is_empty(), "a datagram is whole");
        }
        assert!(kept.len() <= MESSAGE_MAX, "{} bytes kept", kept.len());
        self.waiting[from.index()] = kept;
        let mut arrived = Vec::new();
        let mut at = 0;
        for (range, with) in self.desk.edits.drain(..) {
            assert!(range.end <= read, "{range:?} is not done with");
            arrived.extend_from_slice(&unread[at..range.start]);
            arrived.extend_from_slice(&with);
            at = range.end;
        }
        arrived.extend_from_slice(&unread[at..]);
        Ok(arrived)
    }

    /// Both sides take turns, and what they say comes in pieces of these lengths, over and over;
    /// what has arrived from each in the end. What is refused arrives nowhere.
    pub fn converse<B: AsRef<[u8]>>(
        &mut self,
        turns: &[(Direction, B)],
        lengths: &[usize],
    ) -> [Vec<u8>; 2] {
        let mut arrived = [Vec::new(), Vec::new()];
        let mut lengths = lengths.iter().cycle();
        for (from, said) in turns {
            let mut rest = said.as_ref();
            while !rest.is_empty() {
                let length = lengths.next().map_or(rest.len(), |length| *length);
                let (piece, behind) = rest.split_at(length.clamp(1, rest.len()));
                rest = behind;
                if let Ok(mut bytes) = self.say(*from, piece) {
                    arrived[from.index()].append(&mut bytes);
                }
            }
        }
        arrived
    }
}

/// A session whose client is translated: 10.0.0.2, known as 203.0.113.2, and 198.51.100.7.
pub fn behind_nat(transport: Transport, client_port: u16, server_port: u16) -> Session {
    let at = |address: [u8; 4], port| SocketAddr::new(IpAddr::from(address), port);
    let server = at([198, 51, 100, 7], server_port);
    Session {
        transport,
        client: Seen {
            own: at([10, 0, 0, 2], client_port),
            peer: server,
        },
        server: Seen {
            own: server,
            peer: at([203, 0, 113, 2], client_port),
        },
    }
}

/// A session whose server is translated: 198.51.100.7 talks to 203.0.113.2, which is 10.0.0.2.
pub fn before_nat(transport: Transport, client_port: u16, server_port: u16) -> Session {
    let at = |address: [u8; 4], port| SocketAddr::new(IpAddr::from(address), port);
    let client = at([198, 51, 100, 7], client_port);
    Session {
        transport,
        client: Seen {
            own: client,
            peer: at([203, 0, 113, 2], server_port),
        },
        server: Seen {
            own: at([10, 0, 0, 2], server_port),
            peer: client,
        },
    }
}

/// A session that nothing translates.
pub fn untranslated(transport: Transport, client: SocketAddr, server: SocketAddr) -> Session {
    Session {
        transport,
        client: Seen {
            own: client,
            peer: server,
        },
        server: Seen {
            own: server,
            peer: client,
        },
    }
}
