//! The ICMP tracker: queries and their answers, by identifier.

use std::time::Duration;

use crate::segment::{IcmpQuery, InvalidReason};
use crate::timeouts::Timeouts;

/// Whether the message may open a connection: a request may, an answer may not.
pub(crate) fn admits(query: IcmpQuery) -> Result<(), InvalidReason> {
    match query {
        IcmpQuery::Request => Ok(()),
        IcmpQuery::Reply => Err(InvalidReason::NotOpening),
    }
}

/// How long a connection may stay idle after any of its messages. It may be asked and answered many
/// times: ping keeps its identifier.
pub(crate) fn timeout(timeouts: &Timeouts) -> Duration {
    timeouts.icmp
}
