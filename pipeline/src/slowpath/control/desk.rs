//! The gateway's side of a helper's desk: ports and expectations for what helpers announce.
//!
//! What a sender names in its own terms becomes an endpoint that the receiver can reach: the
//! address by which the receiver knows the sender, and the same port, or another of the same parity
//! where that one is another's. A pinhole is for the sender's own address alone, and never below
//! port 1024. It is made whether anything is translated or not.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use turnpike_conntrack::expect::{
    Activity, Class, Destination, ExpectError, Expectation, ExpectationId, MasterId, Reservation,
    Source,
};
use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::nat::reserve;
use turnpike_conntrack::ports::PortClaim;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Address, Port, Proto, V4, V6};
use turnpike_helpers::helper::{
    Call, Desk, Opener, Ports, Reader, Refusal, Session, Transport, Wanted,
};

use crate::program::Program;
use crate::stages::family::Stack;

/// What one control connection can have announced and not taken back.
const KNOWN_MAX: usize = 128;
/// The lowest port that is opened.
const PORT_MIN: u16 = 1_024;
/// How many calls can need the same listener; one more takes the place of the oldest.
const NEEDS_MAX: usize = 16;
/// External ports that are tried for one announcement.
const TRIES_MAX: u16 = 2_048;

/// Something that was announced.
#[derive(Debug)]
pub struct Known {
    from: Direction,
    transport: Transport,
    listener: SocketAddr,
    known_as: SocketAddr,
    ports: u16,
    /// A phone takes calls and the requests within one at the same port: it is taken back with the
    /// last of these.
    needs: Vec<Need>,
    expected: Vec<ExpectationId>,
    /// Held until it is announced in full.
    _claim: Option<PortClaim>,
}

/// What a call needs of a listener.
#[derive(Debug, Clone, Copy)]
struct Need {
    call: Call,
    until: Tick,
}

/// A control connection's desk for the time of one reading.
pub struct GatewayDesk<'a> {
    pub session: Session,
    pub master: MasterId,
    pub known: &'a mut Vec<Known>,
    pub program: &'a Program,
    pub shared: &'a Shared,
    pub now: Tick,
    /// How long the control connection is to be kept, if a helper asks for that.
    pub keep: Option<Duration>,
    /// Announced, and refused, since it was made.
    pub announced: u64,
    pub refused: u64,
}

impl Desk for GatewayDesk<'_> {
    fn session(&self) -> &Session {
        &self.session
    }

    fn expect(&mut self, from: Direction, wanted: &Wanted) -> Result<SocketAddr, Refusal> {
        let made =
            self.check(from, wanted)
                .and_then(|()| match self.session.receiver(from).peer.ip() {
                    IpAddr::V4(_) => self.announce::<V4>(from, wanted),
                    IpAddr::V6(_) => self.announce::<V6>(from, wanted),
                });
        match made {
            Ok(_) => self.announced += 1,
            Err(_) => self.refused += 1,
        }
        made
    }

    fn carried(&self, from: Direction, endpoint: SocketAddr) -> Option<SocketAddr> {
        let announced = self.known.iter().rev().find_map(|known| {
            let (named, known_as) = if known.from == from {
                (known.listener, known.known_as)
            } else {
                (known.known_as, known.listener)
            };
            let offset = endpoint.port().checked_sub(named.port())?;
            let is_it = endpoint.ip() == named.ip() && offset < known.ports;
            is_it.then(|| SocketAddr::new(known_as.ip(), known_as.port().wrapping_add(offset)))
        });
        self.session.carried(from, endpoint).or(announced)
    }

    fn withdraw(&mut self, call: Call) {
        let expectations = &self.shared.expectations;
        self.known.retain_mut(|known| {
            let before = known.needs.len();
            known.needs.retain(|need| need.call != call);
            let is_over = before > 0 && known.needs.is_empty();
            if is_over {
                for id in &known.expected {
                    expectations.withdraw(*id);
                }
            }
            !is_over
        });
    }

    fn keep(&mut self, at_least: Duration) {
        self.keep = Some(at_least);
    }

    /// Replacements are collected in front of this desk.
    fn replace(&mut self, _: Range<usize>, _: &[u8]) {}
}

impl<'a> GatewayDesk<'a> {
    /// A desk at which nothing has been done yet.
    pub const fn new(
        (master, session): (MasterId, Session),
        known: &'a mut Vec<Known>,
        (program, shared): (&'a Program, &'a Shared),
        now: Tick,
    ) -> Self {
        Self {
            session,
            master,
            known,
            program,
            shared,
            now,
            keep: None,
            announced: 0,
            refused: 0,
        }
    }

    /// Whether the sender may announce this at all.
    fn check(&self, from: Direction, wanted: &Wanted) -> Result<(), Refusal> {
        if wanted.listener.ip() != self.session.sender(from).own.ip() {
            return Err(Refusal::ForeignAddress);
        }
        if wanted.transport != Transport::Gre && wanted.listener.port() < PORT_MIN {
            return Err(Refusal::LowPort);
        }
        Ok(())
    }

    fn announce<F: Stack>(
        &mut self,
        from: Direction,
        wanted: &Wanted,
    ) -> Result<SocketAddr, Refusal> {
        let outside = self.session.receiver(from).peer.ip();
        let count = match wanted.ports {
            Ports::One => 1,
            Ports::EvenPair => 2,
        };
        let same = |known: &Known| {
            known.from == from
                && known.transport == wanted.transport
                && known.listener == wanted.listener
                && known.ports == count
        };
        let before = self.known.iter().position(same);
        let preferred = match before.and_then(|at| self.known.get(at)) {
            Some(known) => known.known_as.port(),
            None => self.usual_port(from, wanted),
        };
        // The sender's own end is known already, and by one port only.
        let is_free = outside != wanted.listener.ip() && !self.is_own_end(from, wanted);
        let needs = self.needs(before, wanted);
        let class = self.class(&needs, wanted);
        let mut refusal = Refusal::NoPort;
        for port in candidates(preferred, count, is_free) {
            match self.place::<F>(from, wanted, &class, (outside, port), count) {
                Ok((expected, claim)) => {
                    let known_as = SocketAddr::new(outside, port);
                    let known = Known {
                        from,
                        transport: wanted.transport,
                        listener: wanted.listener,
                        known_as,
                        ports: count,
                        needs,
                        expected,
                        _claim: claim,
                    };
                    self.remember(before, known);
                    return Ok(known_as);
                }
                Err(Refusal::NoPort) => {}
                Err(other) => {
                    refusal = other;
                    break;
                }
            }
        }
        Err(refusal)
    }

    /// Who needs the listener: this announcement, and other calls that have announced it before.
    fn needs(&self, before: Option<usize>, wanted: &Wanted) -> Vec<Need> {
        let before = before.and_then(|at| self.known.get(at));
        let before = before.into_iter().flat_map(|known| &known.needs).copied();
        let others = before.filter(|need| need.call != wanted.call && need.until > self.now);
        let mut needs: Vec<Need> = others.collect();
        if needs.len() >= NEEDS_MAX {
            needs.remove(0);
        }
        needs.push(Need {
            call: wanted.call,
            until: self.now.after(wanted.class.timeout),
        });
        needs
    }

    /// The class of what is wanted, with time enough for whoever needs it longest.
    fn class(&self, needs: &[Need], wanted: &Wanted) -> Class {
        let until = needs.iter().map(|need| need.until).max();
        Class {
            timeout: until.unwrap_or(self.now).since(self.now),
            ..wanted.class
        }
    }

    /// The port that is tried first: the listener's own, or what it was translated to, if it is the
    /// end of the control connection.
    fn usual_port(&self, from: Direction, wanted: &Wanted) -> u16 {
        if self.is_own_end(from, wanted) {
            self.session.receiver(from).peer.port()
        } else {
            wanted.listener.port()
        }
    }

    fn is_own_end(&self, from: Direction, wanted: &Wanted) -> bool {
        let own = self.session.sender(from).own;
        wanted.listener == own && wanted.transport == self.session.transport
    }

    fn remember(&mut self, before: Option<usize>, known: Known) {
        if let Some(at) = before {
            self.known.remove(at);
        } else if self.known.len() >= KNOWN_MAX {
            self.known.remove(0);
        }
        self.known.push(known);
    }

    /// Makes the expectations for one external port, or two; `NoPort` if it is another's.
    fn place<F: Stack>(
        &self,
        from: Direction,
        wanted: &Wanted,
        class: &Class,
        (outside, port): (IpAddr, u16),
        count: u16,
    ) -> Result<(Vec<ExpectationId>, Option<PortClaim>), Refusal> {
        let mut made = Vec::new();
        let mut waiting = None;
        for n in 0..count {
            let listener = SocketAddr::new(wanted.listener.ip(), wanted.listener.port() + n);
            let external = SocketAddr::new(outside, port + n);
            let expected = self
                .reserved::<F>(wanted, external, listener)
                .and_then(|claim| {
                    if wanted.transport == Transport::Gre && wanted.answers_to.is_none() {
                        waiting = claim;
                        return Ok(());
                    }
                    let new = self.expectation::<F>(from, wanted, (external, listener), claim)?;
                    let expectations = &self.shared.expectations;
                    let id = expectations.expect(self.master, class, new, self.now);
                    made.push(id.map_err(refused)?);
                    Ok(())
                });
            if let Err(refusal) = expected {
                for id in made {
                    self.shared.expectations.withdraw(id);
                }
                return Err(refusal);
            }
        }
        Ok((made, waiting))
    }

    /// The claim on an external port, where its address is one whose ports are given out and the
    /// listener is not itself there.
    fn reserved<F: Stack>(
        &self,
        wanted: &Wanted,
        external: SocketAddr,
        listener: SocketAddr,
    ) -> Result<Option<PortClaim>, Refusal> {
        if external == listener {
            return Ok(None);
        }
        let pools = F::pools(self.program);
        let (outside, inside) = (endpoint::<F>(external)?, endpoint::<F>(listener)?);
        if pools.ports(outside.0).is_none() {
            return Ok(None);
        }
        let key = &self.shared.key;
        let claim = reserve(pools, proto(wanted.transport), outside, inside, key);
        claim.map(Some).ok_or(Refusal::NoPort)
    }

    fn expectation<F: Stack>(
        &self,
        from: Direction,
        wanted: &Wanted,
        (external, listener): (SocketAddr, SocketAddr),
        claim: Option<PortClaim>,
    ) -> Result<Expectation<F>, Refusal> {
        let opener = match wanted.opener {
            Opener::Receiver => Some(self.session.receiver(from).own.ip()),
            Opener::Address(ip) => Some(ip),
            Opener::Anybody => None,
        };
        let to = endpoint::<F>(listener)?;
        Ok(Expectation {
            proto: proto(wanted.transport),
            destination: endpoint::<F>(external)?,
            source: opener.map(address::<F>).transpose()?,
            source_port: wanted.answers_to.map(|id| Port(self.answered_as(from, id))),
            uses: wanted.uses,
            activity: Activity::Active,
            helper: wanted.reader.and_then(Reader::number),
            life: wanted.life,
            new_destination: if external == listener {
                Destination::Keep
            } else {
                Destination::To(to.0, to.1)
            },
            new_source: self.source::<F>(from, wanted)?,
            reservation: claim.map_or(Reservation::None, Reservation::Destination),
        })
    }

    /// The call identifier that the sender answers to, as its receiver has named it.
    fn answered_as(&self, from: Direction, id: u16) -> u16 {
        let named = SocketAddr::new(self.session.sender(from).peer.ip(), id);
        let carried = self.known.iter().rev().find(|known| {
            known.from != from && known.transport == Transport::Gre && known.known_as == named
        });
        carried.map_or(id, |known| known.listener.port())
    }

    /// Under which source the listener sees who opens the connection: by the address that it knows
    /// its peer by.
    fn source<F: Stack>(&self, from: Direction, wanted: &Wanted) -> Result<Source<F>, Refusal> {
        let (peer, real) = (
            self.session.sender(from).peer.ip(),
            self.session.receiver(from).own.ip(),
        );
        if let Some(id) = wanted.answers_to {
            let kept = peer == real && self.answered_as(from, id) == id;
            return Ok(if kept {
                Source::Keep
            } else {
                Source::Endpoint(address::<F>(peer)?, Port(id))
            });
        }
        if peer == real {
            return Ok(Source::Keep);
        }
        Ok(match wanted.opener {
            Opener::Receiver => Source::Address(address::<F>(peer)?),
            Opener::Address(_) | Opener::Anybody => Source::Rules,
        })
    }
}

/// The external ports to be tried, in order: the usual one, and if it may be another, those behind
/// it of the same parity.
fn candidates(preferred: u16, count: u16, may_differ: bool) -> impl Iterator<Item = u16> {
    let tries = if may_differ { TRIES_MAX } else { 1 };
    let width = u32::from(u16::MAX - PORT_MIN) + 1;
    let offset = u32::from(preferred.saturating_sub(PORT_MIN));
    let low = preferred < PORT_MIN;
    (0..tries)
        .filter_map(move |n| {
            if n == 0 || low {
                // Identifiers of calls may be low.
                return preferred.checked_add(n);
            }
            let port = (offset + 2 * u32::from(n)) % width + u32::from(PORT_MIN);
            u16::try_from(port).ok()
        })
        .filter(move |port| port.checked_add(count - 1).is_some())
}

const fn proto(transport: Transport) -> Proto {
    match transport {
        Transport::Tcp => Proto::TCP,
        Transport::Udp => Proto::UDP,
        Transport::Gre => Proto::GRE,
    }
}

fn address<F: Stack>(ip: IpAddr) -> Result<F::Addr, Refusal> {
    F::Addr::from_ip(ip).ok_or(Refusal::ForeignAddress)
}

fn endpoint<F: Stack>(at: SocketAddr) -> Result<(F::Addr, Port), Refusal> {
    Ok((address::<F>(at.ip())?, Port(at.port())))
}

const fn refused(error: ExpectError) -> Refusal {
    match error {
        ExpectError::MasterGone => Refusal::Ended,
        ExpectError::Full => Refusal::Full,
        ExpectError::Clash | ExpectError::Reservation => Refusal::NoPort,
    }
}
