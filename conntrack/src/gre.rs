//! The GRE tracker: a tunnel between two addresses, or a call between two call ids.
//!
//! Version 1 (PPTP, RFC 2637) carries a call id, but only its receiver's: see
//! [`Tuple::key`](crate::tuple::Tuple::key).

use std::time::Duration;

use crate::entry::Flags;
use crate::ids::Direction;
use crate::timeouts::Timeouts;

/// Follows one packet; says how long the connection may now stay idle. A tunnel that is used in
/// both directions is there on purpose, so it lives longer and is kept when the table is full.
pub(crate) fn track(flags: &mut Flags, from: Direction, timeouts: &Timeouts) -> Duration {
    if from == Direction::Original && !flags.contains(Flags::SEEN_REPLY) {
        return timeouts.gre;
    }
    *flags = flags.with(Flags::ASSURED);
    timeouts.gre_stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_lives_longer_once_both_ends_have_sent() {
        let timeouts = Timeouts::default();
        let mut flags = Flags::empty();
        let first = track(&mut flags, Direction::Original, &timeouts);
        assert_eq!((first, flags), (timeouts.gre, Flags::empty()));
        let answered = track(&mut flags, Direction::Reply, &timeouts);
        assert_eq!((answered, flags), (timeouts.gre_stream, Flags::ASSURED));
        flags = flags.with(Flags::SEEN_REPLY);
        let on = track(&mut flags, Direction::Original, &timeouts);
        assert_eq!(on, timeouts.gre_stream);
    }
}
