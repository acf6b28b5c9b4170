//! Media of a call: announces what a description asks for, and writes the description anew.
//!
//! Each line of media that lies at the sender's own address is announced, with its RTCP. What the
//! desk refuses is not told: its line is left as it is if it stands alone, and is told as rejected
//! (port 0) if the address that it shares with others has to change.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use arrayvec::{ArrayString, ArrayVec};
use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use super::sdp::{self, Description, Kind, MEDIA_MAX, Media, Place};
use crate::helper::{Call, Desk, Opener, Ports, Transport, Wanted};

/// What a control connection may have of announced media that have not come yet.
pub(super) const MEDIA: Class = Class {
    number: 2,
    max_expected: 96,
    timeout: Duration::from_secs(300),
};
/// The most ports, or pairs, of one line of media.
const COUNT_MAX: u64 = 4;
/// The lowest port to which media are let in.
pub(super) const PORT_MIN: u16 = 1024;
/// The most replacements in one description: origin, session, and those of each line.
const EDITS_MAX: usize = 2 + MEDIA_MAX * 5;

/// A replacement.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) with: ArrayString<64>,
}

/// Replacements in a description.
pub(super) type Edits = ArrayVec<Edit, EDITS_MAX>;

/// What a description is read with.
pub(super) struct Context<'a> {
    pub(super) from: Direction,
    pub(super) call: Call,
    /// Whether media are let in from the receiver only.
    pub(super) is_direct: bool,
    /// Whether the description answers another one.
    pub(super) is_answer: bool,
    pub(super) desk: &'a mut dyn Desk,
}

/// What becomes of a line of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is left as it is.
    Kept,
    /// It has no port, or waits: there is nothing to announce.
    Idle,
    /// The receiver knows it by this endpoint.
    Known(SocketAddr),
    /// It is not announced.
    Refused,
}

/// Announces what the description in a range asks for. Replacements come back in order.
pub(super) fn announce(bytes: &[u8], range: Range<usize>, context: &mut Context<'_>) -> Edits {
    let mut edits = Edits::new();
    let Some(description) = sdp::read(bytes, range) else {
        return edits;
    };
    if context.knows_itself(&description) {
        return edits;
    }
    let fates: ArrayVec<Fate, MEDIA_MAX> = description
        .media
        .iter()
        .map(|media| context.media(bytes, &description, media, &mut edits))
        .collect();
    let shared = context.shared(&description, &fates);
    if let (Place::At(written), Some(new)) = (&description.place, shared) {
        edit(
            &mut edits,
            bytes,
            written.range.clone(),
            format_args!("{new}"),
        );
        let refused = description.media.iter().zip(&fates);
        for (media, _) in refused.filter(|(media, fate)| {
            **fate == Fate::Refused && media.place == Place::Inherited && new != written.ip
        }) {
            edit(
                &mut edits,
                bytes,
                media.ports_range.clone(),
                format_args!("0"),
            );
        }
    }
    if let Some(origin) = &description.origin
        && let Some(new) = context.carried_address(origin.ip)
    {
        edit(
            &mut edits,
            bytes,
            origin.range.clone(),
            format_args!("{new}"),
        );
    }
    edits.sort_unstable_by_key(|edit| (edit.range.start, edit.range.end));
    edits
}

/// Notes a replacement, if it changes anything.
fn edit(edits: &mut Edits, bytes: &[u8], range: Range<usize>, with: std::fmt::Arguments<'_>) {
    let mut text = ArrayString::new();
    let fits = std::fmt::Write::write_fmt(&mut text, with).is_ok();
    if fits && bytes.get(range.clone()) != Some(text.as_bytes()) {
        let with = text;
        // There is room for all that a description can ask for.
        let _ = edits.try_push(Edit { range, with });
    }
}

impl Context<'_> {
    fn own(&self) -> IpAddr {
        self.desk.session().sender(self.from).own.ip()
    }

    fn carried_address(&self, address: IpAddr) -> Option<IpAddr> {
        let session = self.desk.session();
        let new = session.carried_address(self.from, address)?;
        (new.is_ipv4() == address.is_ipv4()).then_some(new)
    }

    /// Whether the sender already writes the address by which the receiver knows it.
    fn knows_itself(&self, description: &Description) -> bool {
        let known = self.desk.session().receiver(self.from).peer.ip();
        let places = description.media.iter().map(|media| &media.place);
        known != self.own()
            && places
                .chain([&description.place])
                .any(|place| matches!(place, Place::At(written) if written.ip == known))
    }

    /// What the address of the session becomes, for the media that have none of their own.
    fn shared(&self, description: &Description, fates: &[Fate]) -> Option<IpAddr> {
        let Place::At(written) = &description.place else {
            return None;
        };
        let media = description.media.iter().zip(fates);
        let sharing = media.filter(|(media, _)| media.place == Place::Inherited);
        let known = sharing.clone().find_map(|(_, fate)| match fate {
            Fate::Known(known) => Some(known.ip()),
            Fate::Kept | Fate::Idle | Fate::Refused => None,
        });
        let mut fates = sharing.map(|(_, fate)| fate);
        let all_idle = fates.all(|fate| *fate == Fate::Idle);
        known.or_else(|| self.carried_address(written.ip).filter(|_| all_idle))
    }

    /// Announces a line of media.
    fn media(
        &mut self,
        bytes: &[u8],
        description: &Description,
        media: &Media,
        edits: &mut Edits,
    ) -> Fate {
        let (written, is_its_own) = match (&media.place, &description.place) {
            (Place::At(written), _) => (written, true),
            (Place::Inherited, Place::At(written)) => (written, false),
            (Place::Inherited | Place::Unreadable, _) => return Fate::Kept,
        };
        let fate = self.fate(bytes, media, written.ip, edits);
        let new = match fate {
            Fate::Known(known) => Some(known.ip()),
            Fate::Idle => self.carried_address(written.ip),
            Fate::Kept | Fate::Refused => None,
        };
        if let Some(new) = new.filter(|_| is_its_own) {
            edit(edits, bytes, written.range.clone(), format_args!("{new}"));
        }
        fate
    }

    fn fate(&mut self, bytes: &[u8], media: &Media, ip: IpAddr, edits: &mut Edits) -> Fate {
        if media.port == 0 || ip.is_unspecified() {
            return Fate::Idle;
        }
        let unknown = media.kind == Kind::Unknown || media.opens || media.count > COUNT_MAX;
        if unknown || media.count == 0 || ip.is_multicast() {
            return Fate::Kept;
        }
        let listener = SocketAddr::new(ip, media.port);
        if ip != self.own() {
            // What has been announced before comes back to where it is.
            let known = self.desk.carried(self.from, listener);
            if let Some(known) = known.filter(|known| known.is_ipv4() == ip.is_ipv4()) {
                edit(
                    edits,
                    bytes,
                    media.ports_range.clone(),
                    format_args!("{}", known.port()),
                );
                return Fate::Known(known);
            }
            if self.is_direct {
                return Fate::Kept;
            }
        }
        let known = match media.kind {
            Kind::Rtp => self.rtp(bytes, media, listener, edits),
            Kind::Single(transport) => self.expect(transport, listener, Ports::One),
            Kind::Unknown => None,
        };
        let Some(known) = known else {
            return Fate::Refused;
        };
        let follows = self.rest(media, listener, known);
        let ports = media.ports_range.clone();
        if media.count > 1 && follows {
            let count = media.count;
            edit(
                edits,
                bytes,
                ports,
                format_args!("{}/{count}", known.port()),
            );
        } else {
            edit(edits, bytes, ports, format_args!("{}", known.port()));
        }
        Fate::Known(known)
    }

    /// Announces the further pairs of a line: whether they are known by the ports that follow.
    fn rest(&mut self, media: &Media, listener: SocketAddr, known: SocketAddr) -> bool {
        let (step, ports, transport) = match media.kind {
            Kind::Rtp | Kind::Unknown => (2, Ports::EvenPair, Transport::Udp),
            Kind::Single(transport) => (1, Ports::One, transport),
        };
        let after = |at: SocketAddr, n: u64| {
            let offset = u16::try_from(n * step).ok()?;
            Some(SocketAddr::new(at.ip(), at.port().checked_add(offset)?))
        };
        (1..media.count).all(|n| {
            let next = after(listener, n).and_then(|at| self.expect(transport, at, ports));
            next.is_some() && next == after(known, n)
        })
    }

    /// Announces RTP and its RTCP, which is beside it, at a place of its own, or in it.
    fn rtp(
        &mut self,
        bytes: &[u8],
        media: &Media,
        listener: SocketAddr,
        edits: &mut Edits,
    ) -> Option<SocketAddr> {
        let ip = listener.ip();
        let beside = media.port.checked_add(1);
        let beside = beside.map(|port| SocketAddr::new(ip, port));
        let said = media.rtcp.as_ref().map(|rtcp| match &rtcp.place {
            Place::Inherited => Some(SocketAddr::new(ip, rtcp.port)),
            Place::At(written) => Some(SocketAddr::new(written.ip, rtcp.port)),
            Place::Unreadable => None,
        });
        let unsaid = if media.shares_port && self.is_answer {
            Some(listener)
        } else {
            beside
        };
        let rtcp = said.unwrap_or(unsaid);
        let is_even = media.port.is_multiple_of(2);
        let (known, known_rtcp) = if is_even && rtcp == beside {
            let known = self.expect(Transport::Udp, listener, Ports::EvenPair)?;
            let beside = known.port().checked_add(1)?;
            (known, Some(SocketAddr::new(known.ip(), beside)))
        } else {
            let known = self.expect(Transport::Udp, listener, Ports::One)?;
            let mine = rtcp.filter(|at| *at != listener && (at.ip() == ip || !self.is_direct));
            let other = mine.and_then(|at| self.expect(Transport::Udp, at, Ports::One));
            (known, other.or((rtcp == Some(listener)).then_some(known)))
        };
        if let Some(new) = known_rtcp {
            tell_rtcp(bytes, media, known, new, edits);
        }
        Some(known)
    }

    /// Announces a port, or two.
    fn expect(
        &mut self,
        transport: Transport,
        listener: SocketAddr,
        ports: Ports,
    ) -> Option<SocketAddr> {
        if listener.port() < PORT_MIN {
            return None;
        }
        let wanted = Wanted {
            transport,
            listener,
            ports,
            opener: if self.is_direct {
                Opener::Receiver
            } else {
                Opener::Anybody
            },
            answers_to: None,
            uses: Uses::Once,
            life: ChildLife::Own,
            class: MEDIA,
            reader: None,
            call: self.call,
        };
        let known = self.desk.expect(self.from, &wanted).ok()?;
        (known.is_ipv4() == listener.is_ipv4()).then_some(known)
    }
}

/// Writes where RTCP is: in its own line, or in a new one if it is not beside RTP any more.
fn tell_rtcp(bytes: &[u8], media: &Media, rtp: SocketAddr, new: SocketAddr, edits: &mut Edits) {
    if let Some(rtcp) = &media.rtcp {
        edit(
            edits,
            bytes,
            rtcp.port_range.clone(),
            format_args!("{}", new.port()),
        );
        if let Place::At(written) = &rtcp.place {
            edit(
                edits,
                bytes,
                written.range.clone(),
                format_args!("{}", new.ip()),
            );
        }
    } else if new != rtp && Some(new.port()) != rtp.port().checked_add(1) {
        let ended = media.end == 0 || bytes.get(media.end - 1) == Some(&b'\n');
        let before = if ended { "" } else { "\r\n" };
        let line = format_args!("{before}a=rtcp:{}\r\n", new.port());
        edit(edits, bytes, media.end..media.end, line);
    }
}
