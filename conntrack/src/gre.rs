//! The GRE tracker: a tunnel between two addresses, or a call between two call ids.
//!
//! Version 1 (PPTP, RFC 2637) carries a call id, but only its receiver's: see
//! [`Tuple::key`](crate::tuple::Tuple::key).

use std::time::Duration;

use crate::entry::Flags;
use crate::timeouts::Timeouts;

/// Follows one packet; says how long the connection may now stay idle. A tunnel that is used in
/// both directions is there on purpose, so it lives longer and is kept when the table is full.
///
/// The first answer is seen only after it was followed: one alone, as in Linux, is no such use.
pub(crate) fn track(flags: &mut Flags, timeouts: &Timeouts) -> Duration {
    if !flags.contains(Flags::SEEN_REPLY) {
        return timeouts.gre;
    }
    *flags = flags.with(Flags::ASSURED);
    timeouts.gre_stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_lives_longer_once_more_follows_its_first_answer() {
        let timeouts = Timeouts::default();
        let mut flags = Flags::empty();
        assert_eq!(track(&mut flags, &timeouts), timeouts.gre);
        assert_eq!(flags, Flags::empty());
        flags = flags.with(Flags::SEEN_REPLY);
        assert_eq!(track(&mut flags, &timeouts), timeouts.gre_stream);
        assert!(flags.contains(Flags::ASSURED));
    }
}
