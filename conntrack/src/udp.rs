//! The UDP tracker: a pair of ports that answer each other.

use std::time::Duration;

use crate::entry::Flags;
use crate::timeouts::Timeouts;
use crate::tuple::Proto;

/// A connection is a stream once it has been answered and is older than this.
const STREAM_AGE: Duration = Duration::from_secs(2);

/// The two timeouts of UDP or UDP-Lite: of a question and its answer, and of a stream.
pub(crate) fn timeouts(proto: Proto, timeouts: &Timeouts) -> (Duration, Duration) {
    if proto == Proto::UDPLITE {
        (timeouts.udplite, timeouts.udplite_stream)
    } else {
        (timeouts.udp, timeouts.udp_stream)
    }
}

/// Follows one datagram of a connection of this `age`; says how long it may now stay idle.
///
/// One question and one answer (DNS) keep the short timeout; what goes on longer is a
/// stream, which is kept when the table is full.
pub(crate) fn track(
    flags: &mut Flags,
    age: Duration,
    (short, stream): (Duration, Duration),
) -> Duration {
    if flags.contains(Flags::ASSURED) {
        return stream;
    }
    if flags.contains(Flags::SEEN_REPLY) && age >= STREAM_AGE {
        *flags = flags.with(Flags::ASSURED);
        return stream;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_a_stream_once_answered_and_two_seconds_old() {
        let all = Timeouts::default();
        for proto in [Proto::UDP, Proto::UDPLITE] {
            let both = timeouts(proto, &all);
            let (short, stream) = both;
            let mut flags = Flags::empty();
            assert_eq!(track(&mut flags, Duration::from_secs(5), both), short);
            flags = flags.with(Flags::SEEN_REPLY);
            assert_eq!(track(&mut flags, Duration::from_secs(1), both), short);
            assert!(!flags.contains(Flags::ASSURED));
            assert_eq!(track(&mut flags, Duration::from_secs(2), both), stream);
            assert!(flags.contains(Flags::ASSURED));
        }
    }

    #[test]
    fn udp_and_udp_lite_have_timeouts_of_their_own() {
        let all = Timeouts::default();
        assert_eq!(timeouts(Proto::UDP, &all), (all.udp, all.udp_stream));
        let lite = (all.udplite, all.udplite_stream);
        assert_eq!(timeouts(Proto::UDPLITE, &all), lite);
        assert_ne!(lite.0, all.udp);
    }
}
