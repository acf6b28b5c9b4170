//! What a worker hands to the engine after a burst, and what comes back from the slow path.

use std::net::IpAddr;
use std::time::Duration;

use turnpike_conntrack::expect::MasterId;
use turnpike_conntrack::ids::{Direction, WorkerId};
use turnpike_helpers::helper::{Reader, Session};

use crate::counters::PuntCause;
use crate::helping::shift::Shifts;
use crate::ids::{IfaceId, Mac, PortId};
use crate::layer7::streams::Examination;
use crate::log::LogEvent;
use crate::opening::AnyOpening;
use crate::policy::{RejectWith, Sniff};

/// Frames, handovers, punts and log events of one burst; the engine empties it after each call.
#[derive(Debug)]
pub struct Outbox<B> {
    /// Complete frames in order of decision. Who has put one on the wire says so by
    /// [`Worker::sent`](crate::worker::Worker::sent); the others are drops.
    pub tx: Vec<Departure<B>>,
    /// Frames that another worker has to decide.
    pub handover: Vec<(WorkerId, Handover<B>)>,
    /// Packets that need something to be made, and notices about packets already dropped.
    pub punts: Vec<Punt<B>>,
    /// What rules asked to be logged.
    pub logs: Vec<LogEvent>,
}

impl<B> Default for Outbox<B> {
    fn default() -> Self {
        // Generous for one burst, so that the vectors never grow on the data path.
        Self {
            tx: Vec::with_capacity(256),
            handover: Vec::with_capacity(128),
            punts: Vec::with_capacity(128),
            logs: Vec::with_capacity(256),
        }
    }
}

/// A complete frame.
#[derive(Debug)]
pub struct Departure<B> {
    /// The port it leaves by.
    pub port: PortId,
    /// The interface that counts it.
    pub interface: IfaceId,
    /// The frame.
    pub buf: B,
}

/// A received frame for the worker that owns its connection, or is to.
#[derive(Debug)]
pub struct Handover<B> {
    /// The frame as it was received.
    pub buf: B,
    /// The port it was received on; `None` for a packet of the gateway itself.
    pub port: Option<PortId>,
    /// How its owner was found.
    pub found: Found,
    /// The connection to open with it, decided but not entered: with [`Found::ReplyArrives`].
    pub opening: Option<AnyOpening>,
}

/// How a handover's target was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Found {
    /// By hash: the port has fewer queues than there are workers.
    ByHash,
    /// By the steering map, or as the owner of the flow that an ICMP error quotes.
    AsOwner,
    /// By hash, because the worker that was found as the owner no longer has the connection.
    NoLongerOwner,
    /// As the worker at which the reply of a new connection arrives.
    ReplyArrives,
}

impl Found {
    /// Every way, in the order of their numbers.
    pub const ALL: [Self; 4] = [
        Self::ByHash,
        Self::AsOwner,
        Self::NoLongerOwner,
        Self::ReplyArrives,
    ];

    /// The way as metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ByHash => "hash",
            Self::AsOwner => "owner",
            Self::NoLongerOwner => "returned",
            Self::ReplyArrives => "opening",
        }
    }
}

/// A packet for the slow path.
#[derive(Debug)]
pub struct Punt<B> {
    /// The frame.
    pub buf: B,
    /// The worker it comes from, and to which the answer goes.
    pub from: WorkerId,
    /// What is wanted.
    pub kind: PuntKind,
    /// What comes with [`PuntKind::Read`].
    pub control: Option<ToBeRead>,
}

impl<B> Punt<B> {
    /// A packet of this worker for which this is wanted.
    pub const fn new(buf: B, from: WorkerId, kind: PuntKind) -> Self {
        Self {
            buf,
            from,
            kind,
            control: None,
        }
    }
}

/// What the slow path is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PuntKind {
    /// An ARP packet received on an interface.
    Arp(IfaceId),
    /// A neighbour solicitation or advertisement received on an interface.
    Discovery(IfaceId),
    /// A fragment received on a port: hold it until the rest of its packet is here.
    Reassemble(PortId),
    /// Hold this finished packet until the neighbour's link address is known, then send it.
    Resolve(IfaceId, IpAddr),
    /// The packet is for the gateway itself: answer it, or say that nothing listens.
    Local(IfaceId),
    /// Cut this finished packet into fragments that fit the link, for the neighbour with this
    /// link address.
    Fragment(IfaceId, Mac),
    /// The packet, already counted as dropped, deserves an ICMP error.
    Error(IfaceId, ErrorKind),
    /// The packet, already counted as rejected, deserves this answer.
    Reject(IfaceId, RejectWith),
    /// The packet is a copy: send it to this sniffer.
    Sniff(Sniff),
    /// Have this finished packet of a control connection read by its helper, then send it on.
    Read,
}

/// A finished packet of a control connection, and what its helper has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToBeRead {
    /// Its connection.
    pub master: MasterId,
    /// Who reads it.
    pub reader: Reader,
    /// Its direction.
    pub from: Direction,
    /// How both sides know the connection.
    pub session: Session,
    /// Where it goes: the interface, and the neighbour on its link.
    pub way: (IfaceId, IpAddr),
}

impl PuntKind {
    /// Whether the packet is a copy of one that goes on.
    pub const fn is_copy(&self) -> bool {
        matches!(self, Self::Sniff(_))
    }
}

impl PuntKind {
    /// Whether the packet has been counted as dropped already and only its sender is to be told.
    pub const fn is_notice(self) -> bool {
        match self {
            Self::Error(..) | Self::Reject(..) => true,
            Self::Arp(_)
            | Self::Discovery(_)
            | Self::Reassemble(_)
            | Self::Resolve(..)
            | Self::Local(_)
            | Self::Fragment(..)
            | Self::Sniff(_)
            | Self::Read => false,
        }
    }
}

impl PuntKind {
    /// What the worker's counters call it.
    pub const fn cause(self) -> PuntCause {
        match self {
            Self::Arp(_) => PuntCause::Arp,
            Self::Discovery(_) => PuntCause::NeighbourDiscovery,
            Self::Reassemble(_) => PuntCause::Reassemble,
            Self::Resolve(..) => PuntCause::Unresolved,
            Self::Local(_) => PuntCause::Local,
            Self::Fragment(..) => PuntCause::Fragment,
            Self::Error(..) => PuntCause::IcmpError,
            Self::Reject(..) => PuntCause::Reject,
            Self::Sniff(_) => PuntCause::Sniff,
            Self::Read => PuntCause::Helper,
        }
    }
}

/// ICMP errors that forwarding itself gives rise to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Time to live, or hop limit, exceeded in transit.
    TimeExceeded,
    /// Fragmentation needed (packet too big), with the next link's MTU.
    TooBig(u16),
    /// No route to the destination.
    NoRoute,
    /// The neighbour does not answer.
    HostUnreachable,
    /// Nothing listens at the gateway's address.
    NoListener,
}

/// What the slow path sends to a worker.
#[derive(Debug)]
pub enum FromSlowPath<B> {
    /// A neighbour's link address became known, changed, or is no longer valid.
    Neighbour(NeighbourUpdate),
    /// What looking at a connection's first data came to.
    Examined(Examination),
    /// A packet put together from its fragments, to enter as if this port had received it whole.
    Whole(PortId, B),
    /// A frame, finished but for the interface's tag.
    Send(IfaceId, B),
    /// A finished packet whose neighbour is now known: give it its link header and send it.
    Forward(IfaceId, Mac, B),
    /// A packet made here, to enter at `output`, tracked and translated like anybody's.
    Output(B),
    /// A packet made here about a refused one, to enter at `output` as related, untranslated.
    Notice(B),
    /// A packet made here that carries a copy of another, to enter at `output`, untracked.
    Copy(B),
    /// A packet of a control connection, read and finished, for a neighbour on an interface's link.
    Read((IfaceId, IpAddr), B),
    /// News of a control connection, to be heard before the packets behind it are sent.
    Control(MasterId, ControlNews),
}

/// What a helper's reading means for the worker that owns the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlNews {
    /// Its sequence numbers are shifted like this from now on.
    Shifted(Box<Shifts>),
    /// Nobody reads it any more; its numbers go on being shifted.
    Unread,
    /// It may stay idle for so long.
    Keep(Duration),
}

/// News of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NeighbourUpdate {
    /// The interface whose link it is on.
    pub interface: IfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, `None` when it is no longer valid.
    pub mac: Option<Mac>,
}
