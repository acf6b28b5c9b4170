//! The DCCP tracker: the state table and its timeouts.

use std::time::Duration;

use crate::dccp_table::{DccpState, To, transition};
use crate::entry::Flags;
use crate::ids::Direction;
use crate::segment::{DccpType, InvalidReason};
use crate::timeouts::Timeouts;
use crate::tracker::Step;

/// Whether a packet of this type may open a connection: only a Request.
pub(crate) fn admits(kind: DccpType) -> Result<(), InvalidReason> {
    match kind {
        DccpType::Request => Ok(()),
        DccpType::Response
        | DccpType::Data
        | DccpType::Ack
        | DccpType::DataAck
        | DccpType::CloseReq
        | DccpType::Close
        | DccpType::Reset
        | DccpType::Sync
        | DccpType::SyncAck => Err(InvalidReason::NotOpening),
    }
}

/// State and timeout of a connection that a Request opens.
pub(crate) fn open(timeouts: &Timeouts) -> (u8, Duration) {
    (DccpState::Request as u8, timeouts.dccp_request)
}

/// Judges a packet and follows it.
pub(crate) fn track(
    state: &mut u8,
    flags: &mut Flags,
    from: Direction,
    kind: DccpType,
    timeouts: &Timeouts,
) -> Step {
    let old = DccpState::from_number(*state);
    let new = match transition(old, from, kind) {
        To::Go(new) => new,
        To::Ignore => return Step::Ignored,
        To::Invalid => return Step::Invalid(InvalidReason::State),
        To::Reopen => return Step::Reopen,
    };
    *state = new as u8;
    if old == DccpState::Partopen && new == DccpState::Open {
        *flags = flags.with(Flags::ASSURED);
    }
    *flags = if new == DccpState::Timewait {
        flags.with(Flags::DYING)
    } else {
        flags.without(Flags::DYING)
    };
    Step::Keep(timeout(new, timeouts))
}

fn timeout(state: DccpState, timeouts: &Timeouts) -> Duration {
    match state {
        DccpState::Request => timeouts.dccp_request,
        DccpState::Respond => timeouts.dccp_respond,
        DccpState::Partopen => timeouts.dccp_partopen,
        DccpState::Open => timeouts.dccp_open,
        DccpState::Closereq => timeouts.dccp_closereq,
        DccpState::Closing => timeouts.dccp_closing,
        DccpState::Timewait => timeouts.dccp_timewait,
    }
}
