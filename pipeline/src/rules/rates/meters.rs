//! How fast connections are: what `connection-rate` asks.
//!
//! A worker has a meter for each place of its tables, once its program asks. A meter divides time
//! into windows of a second; a connection is as fast as it was in the last one, or as it has been
//! so far in this one if that is more already. A window begins with a packet, so it is longer than
//! a second for a connection that paused, and tells the average over the pause. What a connection
//! carried before it was first asked about is not known to the meter.

use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::time::Tick;

use super::Carried;

/// How long a window is at least.
const WINDOW_US: u64 = 1_000_000;

/// The meters of one table.
#[derive(Debug, Default)]
pub struct Meters {
    by_place: Vec<Meter>,
}

/// One connection's meter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    /// When the connection was opened, in seconds: another one has another meter's place.
    opened: u32,
    /// When the window began, in microseconds and one more; zero if none has.
    begun: u64,
    /// What the connection had carried before that.
    bytes: u64,
    /// How fast it was in the last window, in bits per second.
    last: u64,
}

impl Meters {
    /// Meters for a table with so many places, all written to.
    pub fn new(places: usize) -> Self {
        Self {
            by_place: vec![Meter::default(); places],
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// The meter of the connection at this place; `None` if there are no meters.
    pub fn meter(&mut self, id: FlowId) -> Option<&mut Meter> {
        self.by_place.get_mut(usize::try_from(id.0).ok()?)
    }
}

impl Meter {
    /// How fast a connection is, in bits per second, to which a packet of `packet` bytes comes at
    /// `now`; that one is among what it has carried.
    pub fn read(&mut self, carried: Carried, packet: u32, now: Tick) -> u64 {
        let before = carried.bytes.saturating_sub(packet.into());
        let begun = now.as_micros().saturating_add(1);
        let elapsed = begun.saturating_sub(self.begun);
        let is_new = self.begun == 0 || self.opened != carried.opened || before < self.bytes;
        if is_new || elapsed >= WINDOW_US {
            let bits = u128::from(before.saturating_sub(self.bytes)) * 8 * u128::from(WINDOW_US);
            let average = bits.checked_div(elapsed.into()).unwrap_or_default();
            *self = Self {
                opened: carried.opened,
                begun,
                bytes: before,
                last: if is_new {
                    0
                } else {
                    u64::try_from(average).unwrap_or(u64::MAX)
                },
            };
        }
        let so_far = carried.bytes.saturating_sub(self.bytes).saturating_mul(8);
        self.last.max(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that carries a packet of so many bytes at each of these milliseconds.
    fn rates(packets: &[(u64, u32)]) -> Vec<u64> {
        let (mut meter, mut bytes) = (Meter::default(), 0);
        let read = packets.iter().map(|(ms, packet)| {
            bytes += u64::from(*packet);
            let carried = Carried { bytes, opened: 1 };
            meter.read(carried, *packet, Tick::from_millis(*ms))
        });
        read.collect()
    }

    #[test]
    fn a_steady_connection_has_its_rate_after_a_second() {
        let packets: Vec<_> = (0..500).map(|n| (5_000 + n * 10, 125)).collect();
        let read = rates(&packets);
        assert_eq!((read[0], read[50], read[99]), (1_000, 51_000, 100_000));
        assert!(read[100..].iter().all(|rate| *rate == 100_000), "{read:?}");
    }

    #[test]
    fn a_pause_makes_a_connection_slow_and_a_burst_makes_it_fast_at_once() {
        assert_eq!(
            rates(&[(0, 1_000), (100, 1_000), (10_000, 1_000), (10_001, 5_000)]),
            [8_000, 16_000, 8_000, 48_000]
        );
        // Ten seconds with 50,000 bytes.
        assert_eq!(rates(&[(0, 50_000), (10_000, 100)])[1], 40_000);
    }

    #[test]
    fn a_new_connection_inherits_nothing_from_the_one_at_its_place_before() {
        let mut meters = Meters::default();
        assert!(meters.meter(FlowId(0)).is_none(), "nobody asks");
        meters = Meters::new(2);
        let mut read = |opened, bytes, packet, ms| {
            let meter = meters.meter(FlowId(1)).unwrap();
            meter.read(Carried { bytes, opened }, packet, Tick::from_millis(ms))
        };
        read(0, 1_000_000, 1_000_000, 0);
        assert_eq!(read(0, 1_000_100, 100, 2_000), 4_000_000);
        assert_eq!(read(2, 5_000_100, 100, 2_001), 800);
        assert_eq!(read(2, 5_000_200, 100, 2_002), 1_600);
    }
}
