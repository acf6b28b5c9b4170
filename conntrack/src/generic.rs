//! The tracker of every other protocol: two addresses and a protocol number.

use std::time::Duration;

use crate::segment::InvalidReason;
use crate::timeouts::Timeouts;
use crate::tuple::Proto;

/// Whether a packet of `proto` may open a connection: ICMP that asks nothing may not, and what
/// has a tracker of its own comes to that one.
pub(crate) fn admits(proto: Proto) -> Result<(), InvalidReason> {
    match proto {
        Proto::ICMP | Proto::ICMPV6 => Err(InvalidReason::NotOpening),
        Proto::TCP | Proto::UDP | Proto::UDPLITE | Proto::SCTP | Proto::DCCP | Proto::GRE => {
            Err(InvalidReason::Protocol)
        }
        _ => Ok(()),
    }
}

/// How long a connection may stay idle after any packet.
pub(crate) fn timeout(timeouts: &Timeouts) -> Duration {
    timeouts.generic
}
