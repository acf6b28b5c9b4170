//! What is said of an announced connection, and what becomes of announcements.

use std::time::Duration;

use super::codec::Reserved;
use crate::ids::HelperId;
use crate::ports::{PortClaim, PortSpace};
use crate::tuple::{Family, Port, Proto};

/// A kind of expectation of one helper: what a helper may have of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Tells the classes of a master apart.
    pub number: u8,
    /// How many one master may have at a time; one more takes the place of the oldest.
    pub max_expected: u8,
    /// How long one waits for its connection.
    pub timeout: Duration,
}

/// What an announced connection is like.
#[derive(Debug)]
pub struct Expectation<F: Family> {
    /// Its protocol.
    pub proto: Proto,
    /// Where its first packet goes to, as it comes in. GRE has its call identifier as the port.
    pub destination: (F::Addr, Port),
    /// Where it comes from; `None` for any address.
    pub source: Option<F::Addr>,
    /// The port it comes from; `None` for any. For GRE the call id that answers carry, as their
    /// receiver knows it: packets do not show it, so any will do, and the connection has it.
    pub source_port: Option<Port>,
    /// How often it is met.
    pub uses: Uses,
    /// Whether it can be met already.
    pub activity: Activity,
    /// The helper of the announced connection, if it needs one itself.
    pub helper: Option<HelperId>,
    /// What ends the announced connection.
    pub life: ChildLife,
    /// Where the announced connection really goes.
    pub new_destination: Destination<F>,
    /// Under which source it leaves.
    pub new_source: Source<F>,
    /// The external port that is kept free for it, if one is.
    pub reservation: Reservation,
}

/// How often an expectation is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Uses {
    /// By one connection.
    Once,
    /// By any number of connections, until it times out or ends with its master.
    UntilTimeout,
}

/// Whether an expectation can be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// It can.
    Active,
    /// Not before [`Expectations::activate`](super::Expectations::activate).
    Inactive,
}

/// What ends a child besides its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildLife {
    /// Nothing: it lives on when its master ends.
    Own,
    /// The end of its master.
    Master,
}

/// The destination of an announced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination<F: Family> {
    /// What the nat rules say.
    Rules,
    /// As it comes in.
    Keep,
    /// This endpoint.
    To(F::Addr, Port),
}

/// The source of an announced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source<F: Family> {
    /// What the nat rules say.
    Rules,
    /// As it comes in.
    Keep,
    /// This external address, its master's for one, with a port that is chosen then.
    Address(F::Addr),
    /// This endpoint; its port has to be free, or reserved for the inside endpoint.
    Endpoint(F::Addr, Port),
}

/// An external port that an expectation holds. It passes on to the connection that meets the
/// expectation, or back when the expectation ends. One that can be met many times keeps it.
#[derive(Debug)]
pub enum Reservation {
    /// None.
    None,
    /// The port of the destination.
    Destination(PortClaim),
    /// The port of [`Source::Endpoint`].
    Source(PortClaim),
}

/// Why nothing is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpectError {
    /// The master has ended.
    MasterGone,
    /// There is no room, in the table or for this master.
    Full,
    /// Another expectation could be met by the same packet.
    Clash,
    /// The reserved port is not the one that the expectation names.
    Reservation,
}

/// What has become of expectations since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpectationCounts {
    /// Made.
    pub created: u64,
    /// Connections that met one.
    pub matched: u64,
    /// Ended because one connection was what they waited for.
    pub fulfilled: u64,
    /// Ended by their timeout.
    pub expired: u64,
    /// Ended with their master.
    pub orphaned: u64,
    /// Ended for a newer one of their master.
    pub replaced: u64,
    /// Ended by their helper.
    pub withdrawn: u64,
    /// Not made, for any [`ExpectError`].
    pub refused: u64,
}

impl Reservation {
    /// Its claim and which port it has to be: `None` if it is another one.
    pub(super) fn checked(
        self,
        proto: Proto,
        destination: Port,
        source: Option<Port>,
    ) -> Option<(Reserved, Option<PortClaim>)> {
        let space = PortSpace::of(proto);
        let (reserved, claim, port) = match self {
            Self::None => return Some((Reserved::Nothing, None)),
            Self::Destination(claim) => (Reserved::Destination, claim, Some(destination)),
            Self::Source(claim) => (Reserved::Source, claim, source),
        };
        let right = port == Some(claim.port()) && space == Some(claim.space());
        right.then_some((reserved, Some(claim)))
    }
}
