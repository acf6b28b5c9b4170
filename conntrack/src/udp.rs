//! The UDP tracker: a pair of ports that answer each other.

use std::time::Duration;

use crate::entry::Flags;
use crate::timeouts::Timeouts;

/// A connection is a stream once it has been answered and is older than this.
const STREAM_AGE: Duration = Duration::from_secs(2);

/// Follows one datagram of a connection of this `age`; says how long it may now stay idle.
///
/// One question and one answer (DNS) keep the short timeout; what goes on longer is a
/// stream, which is kept when the table is full.
pub(crate) fn track(flags: &mut Flags, age: Duration, timeouts: &Timeouts) -> Duration {
    if flags.contains(Flags::ASSURED) {
        return timeouts.udp_stream;
    }
    if flags.contains(Flags::SEEN_REPLY) && age >= STREAM_AGE {
        *flags = flags.with(Flags::ASSURED);
        return timeouts.udp_stream;
    }
    timeouts.udp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_a_stream_once_answered_and_two_seconds_old() {
        let timeouts = Timeouts::default();
        let mut flags = Flags::empty();
        let old = Duration::from_secs(5);
        assert_eq!(track(&mut flags, old, &timeouts), timeouts.udp);
        flags = flags.with(Flags::SEEN_REPLY);
        assert_eq!(
            track(&mut flags, Duration::from_secs(1), &timeouts),
            timeouts.udp
        );
        assert!(!flags.contains(Flags::ASSURED));
        assert_eq!(
            track(&mut flags, Duration::from_secs(2), &timeouts),
            timeouts.udp_stream
        );
        assert!(flags.contains(Flags::ASSURED));
    }
}
