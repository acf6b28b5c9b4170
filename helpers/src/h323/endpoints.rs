//! What is done about the endpoints of a message: those where the sender can be reached are
//! announced, and the receiver is told by which endpoint it knows them.
//!
//! Only the sender's own address is announced, ports from 1024 on, and towards the receiver alone.
//! What cannot be announced stays as it was written. An endpoint is always replaced by one of the
//! same family, in place.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use super::per::{Found, Place};
use crate::helper::{Call, Desk, Opener, Ports, Reader, Transport, Wanted};

/// The first port that is announced.
const PORT_MIN: u16 = 1024;
/// How long an announced part of a call waits: as long as a telephone may ring.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(240);
/// Media streams of a connection that wait at a time.
const MEDIA_MAX: u8 = 32;
/// Connections of a connection, of each kind, that wait at a time.
const CONNECTIONS_MAX: u8 = 8;

/// Where a call is to go next outlives the call that was told so.
const NEXT_CALL: Call = Call(u32::MAX);

/// What a message is about, besides its endpoints.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Who says it.
    pub from: Direction,
    /// What is taken back together.
    pub call: Call,
    /// How long a registration holds.
    pub registered_for: Duration,
}

/// Announces what an endpoint is for, and replaces it.
pub fn settle(desk: &mut dyn Desk, about: &About, found: &Found) {
    let Some(known_as) = known_as(desk, about, found.place, found.endpoint) else {
        return;
    };
    if known_as == found.endpoint {
        return;
    }
    match (found.endpoint, known_as) {
        (SocketAddr::V4(_), SocketAddr::V4(to)) => {
            let [a, b, c, d] = to.ip().octets();
            let [high, low] = to.port().to_be_bytes();
            desk.replace(found.at.clone(), &[a, b, c, d, high, low]);
        }
        (SocketAddr::V6(_), SocketAddr::V6(to)) => {
            let mut octets = [0; 18];
            let (ip, port) = octets.split_at_mut(16);
            ip.copy_from_slice(&to.ip().octets());
            port.copy_from_slice(&to.port().to_be_bytes());
            desk.replace(found.at.clone(), &octets);
        }
        // Nothing that is announced changes its family.
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {}
    }
}

/// How the receiver knows an endpoint; `None` if it is not to be replaced.
pub fn known_as(
    desk: &mut dyn Desk,
    about: &About,
    place: Place,
    endpoint: SocketAddr,
) -> Option<SocketAddr> {
    let from = about.from;
    let wanted = match place {
        Place::Told => return told(desk, from, endpoint),
        Place::Registered => wanted(Kind::Registered, about),
        Place::Called => wanted(Kind::Called, about),
        Place::Requests => wanted(Kind::Requests, about),
        Place::Control => wanted(Kind::Control, about),
        Place::Data => wanted(Kind::Data, about),
        Place::Media | Place::Reports => wanted(Kind::Media, about),
    };
    let sender = desk.session().sender(from).own;
    if endpoint.ip() != sender.ip() {
        return desk.carried(from, endpoint);
    }
    let itself = desk.session().transport == wanted.transport && endpoint == sender;
    // A call goes to where calls are taken, which may be announced for longer.
    let before = match place {
        Place::Called => desk.carried(from, endpoint),
        Place::Requests if itself => desk.carried(from, endpoint),
        Place::Requests
        | Place::Registered
        | Place::Control
        | Place::Data
        | Place::Media
        | Place::Reports
        | Place::Told => None,
    };
    if before.is_some() {
        return before;
    }
    let (first, ports) = listener(place, endpoint.port());
    if first < PORT_MIN {
        return None;
    }
    let announced = desk.expect(
        from,
        &Wanted {
            listener: SocketAddr::new(endpoint.ip(), first),
            ports,
            ..wanted
        },
    );
    let mut known_as = announced.ok()?;
    known_as.set_port(known_as.port().checked_add(endpoint.port() - first)?);
    Some(known_as)
}

/// What is only told keeps its port where nothing is known of it.
fn told(desk: &dyn Desk, from: Direction, endpoint: SocketAddr) -> Option<SocketAddr> {
    let address = || desk.session().carried_address(from, endpoint.ip());
    desk.carried(from, endpoint)
        .or_else(|| Some(SocketAddr::new(address()?, endpoint.port())))
}

/// The ports that go with one: RTP has an even one, and RTCP the next (RFC 3550, section 11).
const fn listener(place: Place, port: u16) -> (u16, Ports) {
    match place {
        Place::Media if port.is_multiple_of(2) => (port, Ports::EvenPair),
        Place::Reports if !port.is_multiple_of(2) => (port - 1, Ports::EvenPair),
        Place::Media
        | Place::Reports
        | Place::Told
        | Place::Registered
        | Place::Called
        | Place::Requests
        | Place::Control
        | Place::Data => (port, Ports::One),
    }
}

/// The kinds of connections that H.323 announces; each is a class of its own.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Registered = 1,
    Called = 2,
    Requests = 3,
    Control = 4,
    Data = 5,
    Media = 6,
}

/// What is asked for, but for the listener.
fn wanted(kind: Kind, about: &About) -> Wanted {
    let (transport, uses, reader) = match kind {
        Kind::Registered | Kind::Called => (
            Transport::Tcp,
            Uses::UntilTimeout,
            Some(Reader::CallSignalling),
        ),
        Kind::Requests => (
            Transport::Udp,
            Uses::UntilTimeout,
            Some(Reader::Registration),
        ),
        Kind::Control => (Transport::Tcp, Uses::Once, Some(Reader::MediaControl)),
        // A conference may open several.
        Kind::Data => (Transport::Tcp, Uses::UntilTimeout, None),
        Kind::Media => (Transport::Udp, Uses::Once, None),
    };
    let (max_expected, timeout) = match kind {
        Kind::Registered => (CONNECTIONS_MAX, about.registered_for),
        Kind::Media => (MEDIA_MAX, CALL_TIMEOUT),
        Kind::Called | Kind::Requests | Kind::Control | Kind::Data => {
            (CONNECTIONS_MAX, CALL_TIMEOUT)
        }
    };
    Wanted {
        transport,
        listener: SocketAddr::from(([0, 0, 0, 0], 0)),
        ports: Ports::One,
        opener: Opener::Receiver,
        answers_to: None,
        uses,
        // H.323 may close its signalling while the call goes on.
        life: ChildLife::Own,
        class: Class {
            number: kind as u8,
            max_expected,
            timeout,
        },
        reader,
        call: match kind {
            Kind::Called => NEXT_CALL,
            Kind::Registered | Kind::Requests | Kind::Control | Kind::Data | Kind::Media => {
                about.call
            }
        },
    }
}
