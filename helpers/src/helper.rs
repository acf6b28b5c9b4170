//! What every protocol helper is: a reader of one control connection.
//!
//! A helper is pure. Bytes that one side has sent come in, in order and once; what comes out are
//! announcements of other connections and replacements of bytes, both made at the [`Desk`] that is
//! handed in. Who sits behind the desk knows about ports, expectations and packets; a helper knows
//! none of them, and no clock.
//!
//! **Views.** The two sides of a translated connection know each other by different addresses. A
//! [`Session`] has both views. What a sender names in its own terms is carried over into those of
//! the receiver by the session (its own ends) or by the desk (what was announced).
//!
//! **Streams.** A TCP helper is called with all bytes that are not done with, from the start of the
//! connection. It says how many of them, from the front, it is done with; the others come again,
//! with more behind them. They are kept back from the receiver meanwhile, and acknowledged in its
//! name, so a helper must not be done with half a message that it may have to change. A helper that
//! sees anything but its protocol leaves: an unknown start is how a browser's request, made to look
//! like a control message further on, is told from a client (NAT slipstreaming).
//!
//! **Datagrams.** A UDP helper is called once for each, with the whole payload.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::{Direction, HelperId};

use crate::names::helper_named;

/// The longest unfinished message that is kept back; a stream with a longer one is left alone.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// Reads one control connection.
pub trait Helper: fmt::Debug + Send {
    /// Reads what the sender of `from` has sent and this helper is not done with.
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress;
}

/// How far a helper has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is done with this many bytes from the front; those behind wait for more.
    Read(usize),
    /// It has no more to do here, or never had: nothing of this connection is kept back, changed
    /// or shown to it from now on, in either direction. What it has announced stays.
    Leave,
    /// What was sent must not reach the receiver: the packet is dropped, with this as its reason.
    Refuse(Refusal),
}

/// What a helper has done with: who talks to whom, and the means to act on it.
pub trait Desk {
    /// Both views of the connection.
    fn session(&self) -> &Session;

    /// Announces a connection that the sender of `from` is ready for, and says by which endpoint
    /// the receiver is to know it. The same listener announced again has the same endpoint.
    ///
    /// # Errors
    /// Why nothing is announced; nothing may be told to the receiver then.
    fn expect(&mut self, from: Direction, wanted: &Wanted) -> Result<SocketAddr, Refusal>;

    /// How the receiver knows what the sender of `from` calls `endpoint`: an end of the connection
    /// itself, or what either side has announced on it. `None` for anything else.
    fn carried(&self, from: Direction, endpoint: SocketAddr) -> Option<SocketAddr>;

    /// Takes back what was announced for this call and has not come yet.
    fn withdraw(&mut self, call: Call);

    /// Asks that the control connection itself is not forgotten for this long, counted from now,
    /// however quiet it is: a registration has been made on it that holds as long, and what was
    /// announced ends with its control connection. The latest word counts.
    fn keep(&mut self, at_least: Duration);

    /// Replaces a part of the bytes being read. Ranges come in order, do not overlap, and lie in
    /// what the helper is done with when it returns.
    fn replace(&mut self, range: Range<usize>, with: &[u8]);
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
    /// Tunnelled packets of a call, whose identifier stands where a port does.
    Gre,
}

/// A connection as one of its sides knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its own endpoint.
    pub own: SocketAddr,
    /// Whom it talks to, as it thinks.
    pub peer: SocketAddr,
}

/// A control connection, as both sides know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    /// What carries it: TCP or UDP.
    pub transport: Transport,
    /// The view of the side that has opened it.
    pub client: Seen,
    /// The view of the side that was opened to.
    pub server: Seen,
}

impl Session {
    /// The view of the side that sends packets of this direction.
    pub const fn sender(&self, from: Direction) -> &Seen {
        match from {
            Direction::Original => &self.client,
            Direction::Reply => &self.server,
        }
    }

    /// The view of the side that packets of this direction arrive at.
    pub const fn receiver(&self, from: Direction) -> &Seen {
        self.sender(from.flip())
    }

    /// How the receiver knows what the sender of `from` calls `endpoint`, if that is one of the
    /// connection's own ends.
    pub fn carried(&self, from: Direction, endpoint: SocketAddr) -> Option<SocketAddr> {
        let (sender, receiver) = (self.sender(from), self.receiver(from));
        if endpoint == sender.own {
            Some(receiver.peer)
        } else if endpoint == sender.peer {
            Some(receiver.own)
        } else {
            None
        }
    }

    /// The same for an address alone.
    pub fn carried_address(&self, from: Direction, address: IpAddr) -> Option<IpAddr> {
        let (sender, receiver) = (self.sender(from), self.receiver(from));
        if address == sender.own.ip() {
            Some(receiver.peer.ip())
        } else if address == sender.peer.ip() {
            Some(receiver.own.ip())
        } else {
            None
        }
    }
}

/// What belongs together among announcements of one control connection, to be taken back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Call(pub u32);

/// A connection that is to be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What carries it.
    pub transport: Transport,
    /// Where the sender says that it can be reached, in its own terms. For GRE the port is the
    /// call identifier that packets towards it carry.
    pub listener: SocketAddr,
    /// How many ports, from the listener's on.
    pub ports: Ports,
    /// Who may open it.
    pub opener: Opener,
    /// For GRE, the call identifier that the listener's own packets carry, as it sends it. `None`
    /// while the other side has not named it: the listener's identifier is given out, and nothing
    /// is let in before it is announced again with one.
    pub answers_to: Option<u16>,
    /// How often it is met.
    pub uses: Uses,
    /// What ends it besides its own end.
    pub life: ChildLife,
    /// How many of its kind there can be at a time, and how long each waits.
    pub class: Class,
    /// Who reads the connection itself.
    pub reader: Option<Reader>,
    /// What it belongs to.
    pub call: Call,
}

/// How many ports a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ports {
    /// One.
    One,
    /// An even one and the next, as RTP and RTCP have.
    EvenPair,
}

/// Who may open an announced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opener {
    /// The receiver of the message, from any port.
    Receiver,
    /// This address, in the receiver's terms, from any port.
    Address(IpAddr),
    /// Anybody.
    Anybody,
}

/// Why something is not announced, or not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The listener is not the sender, and may not be named by it.
    ForeignAddress,
    /// The port is below 1024.
    LowPort,
    /// There is no external port or identifier left.
    NoPort,
    /// There is no room for another expectation.
    Full,
    /// The control connection has ended.
    Ended,
    /// The message contradicts itself, or its protocol.
    Malformed,
}

/// Who reads a connection: a helper has one or several readers, one for each of its protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reader {
    /// FTP's control connection (RFC 959, RFC 2428).
    Ftp = 1,
    /// H.323's call signalling (H.225.0 over Q.931).
    CallSignalling = 2,
    /// IRC, for its direct connections (DCC).
    Irc = 3,
    /// PPTP's control connection (RFC 2637).
    Pptp = 4,
    /// SIP (RFC 3261) with SDP (RFC 8866).
    Sip = 5,
    /// A TFTP request (RFC 1350).
    Tftp = 6,
    /// RTSP (RFC 2326, RFC 7826).
    Rtsp = 7,
    /// H.323's registration, admission and status (H.225.0).
    Registration = 8,
    /// H.323's control of media (H.245).
    MediaControl = 9,
}

impl Reader {
    /// Every reader, in the order of their numbers, which begin with one.
    pub const ALL: [Self; 9] = [
        Self::Ftp,
        Self::CallSignalling,
        Self::Irc,
        Self::Pptp,
        Self::Sip,
        Self::Tftp,
        Self::Rtsp,
        Self::Registration,
        Self::MediaControl,
    ];

    /// The reader that an entry keeps as this number.
    pub fn numbered(number: HelperId) -> Option<Self> {
        let at = usize::from(number.number()).checked_sub(1)?;
        Self::ALL.get(at).copied()
    }

    /// The number that an entry keeps.
    pub const fn number(self) -> Option<HelperId> {
        HelperId::new(self as u8)
    }

    /// The name of its helper.
    pub const fn helper(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::CallSignalling | Self::Registration | Self::MediaControl => "h323",
            Self::Irc => "irc",
            Self::Pptp => "pptp",
            Self::Sip => "sip",
            Self::Tftp => "tftp",
            Self::Rtsp => "rtsp",
        }
    }

    /// Its helper, as rules know it.
    pub fn helper_id(self) -> Option<HelperId> {
        helper_named(self.helper())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_has_a_number_and_a_helper() {
        for reader in Reader::ALL {
            assert_eq!(reader.number().and_then(Reader::numbered), Some(reader));
            assert!(reader.helper_id().is_some(), "{reader:?}");
        }
    }

    #[test]
    fn an_end_is_carried_over_into_the_receivers_terms() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let session = Session {
            transport: Transport::Tcp,
            client: Seen {
                own: at("10.0.0.2:40000"),
                peer: at("198.51.100.7:21"),
            },
            server: Seen {
                own: at("198.51.100.7:21"),
                peer: at("203.0.113.2:50000"),
            },
        };
        let original = |text| session.carried(Direction::Original, at(text));
        assert_eq!(original("10.0.0.2:40000"), Some(at("203.0.113.2:50000")));
        assert_eq!(original("198.51.100.7:21"), Some(at("198.51.100.7:21")));
        assert_eq!(original("10.0.0.2:40001"), None);
        assert_eq!(
            session.carried_address(Direction::Reply, at("203.0.113.2:9").ip()),
            Some(at("10.0.0.2:9").ip())
        );
    }
}
