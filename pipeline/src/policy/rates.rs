//! What a rule asks of the traffic up to the packet at hand: how much there was of it.
//!
//! The answers depend on what came before, so they are given for each packet anew. A rule asks
//! for a packet's place in a count ([`RateAsk::keeps_count`]) once everything else of it holds:
//! only packets that the rest of a rule holds for use up what it allows.

use std::fmt;
use std::time::Duration;

use super::fields::FlowFields;
use crate::wall::DAY_SECS;

/// A question about the traffic up to the packet at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateAsk {
    /// `time`: on these days at these hours.
    Time(Hours),
    /// `connection-bytes`: what the connection has carried in both directions, this packet
    /// included.
    ConnectionBytes(Volume),
    /// `connection-rate`: how fast the connection is, in bits per second, both directions together.
    ConnectionRate(Volume),
    /// `random`: in how many of a hundred cases, 1 to 99.
    Random(u8),
    /// `nth`: which packet of every so many.
    Nth(Nth),
    /// `psd`: one of the attempts of a scan for ports.
    Scan(ScanWeights),
    /// `dst-limit`: within this rate, those packets together that have some fields in common.
    DestinationLimit(DestinationLimit),
    /// `limit`: within this rate, all packets of the rule together.
    Limit(RateLimit),
}

impl RateAsk {
    /// The property name of the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Time(_) => "time",
            Self::ConnectionBytes(_) => "connection-bytes",
            Self::ConnectionRate(_) => "connection-rate",
            Self::Random(_) => "random",
            Self::Nth(_) => "nth",
            Self::Scan(_) => "psd",
            Self::DestinationLimit(_) => "dst-limit",
            Self::Limit(_) => "limit",
        }
    }

    /// Whether it means nothing without connection tracking.
    pub const fn needs_tracking(&self) -> bool {
        match self {
            Self::ConnectionBytes(_) | Self::ConnectionRate(_) => true,
            Self::Time(_)
            | Self::Random(_)
            | Self::Nth(_)
            | Self::Scan(_)
            | Self::DestinationLimit(_)
            | Self::Limit(_) => false,
        }
    }

    /// Whether asking changes what the next packet is answered.
    pub const fn keeps_count(&self) -> bool {
        match self {
            Self::Time(_)
            | Self::ConnectionBytes(_)
            | Self::ConnectionRate(_)
            | Self::Random(_) => false,
            Self::Nth(_) | Self::Scan(_) | Self::DestinationLimit(_) | Self::Limit(_) => true,
        }
    }
}

/// The value in canonical form, as a rule's text has it.
impl fmt::Display for RateAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(hours) => hours.fmt(f),
            Self::ConnectionBytes(volume) | Self::ConnectionRate(volume) => volume.fmt(f),
            Self::Random(percent) => percent.fmt(f),
            Self::Nth(nth) => write!(f, "{},{}", nth.every, nth.packet),
            Self::Scan(weights) => weights.fmt(f),
            Self::DestinationLimit(limit) => limit.fmt(f),
            Self::Limit(limit) => limit.fmt(f),
        }
    }
}

/// An amount from first to last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Volume {
    /// The least.
    pub first: u64,
    /// The most; `None` for no end.
    pub last: Option<u64>,
}

impl Volume {
    /// Whether so much is in the range.
    pub fn contains(&self, amount: u64) -> bool {
        self.first <= amount && self.last.is_none_or(|last| amount <= last)
    }
}

/// `first-last`, with a zero for no end.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last.unwrap_or_default())
    }
}

/// One packet of every so many that the rule is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nth {
    /// How many make a round; not zero.
    pub every: u32,
    /// Which of them it is, from 1 to `every`.
    pub packet: u32,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateUnit {
    /// Packets.
    Packet,
    /// Bits of IP packets, headers included.
    Bit,
}

impl RateUnit {
    /// Every unit.
    pub const ALL: [Self; 2] = [Self::Packet, Self::Bit];

    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Bit => "bit",
        }
    }
}

/// A rate, and how much may come at once: a bucket that holds `burst` and is refilled with `rate`
/// in each `per`, evenly. It is full in the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// How much comes in, in each `per`; not zero.
    pub rate: u64,
    /// The time that `rate` is for; not zero.
    pub per: Duration,
    /// How much there can be; not zero.
    pub burst: u64,
    /// What is counted.
    pub unit: RateUnit,
}

/// `rate/time,burst:unit`, without a time of one second.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rate)?;
        if self.per != Duration::from_secs(1) {
            write!(f, "/{}", Span(self.per))?;
        }
        write!(f, ",{}:{}", self.burst, self.unit.name())
    }
}

/// A limit for each value of some fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DestinationLimit {
    /// What each value's bucket is like.
    pub limit: RateLimit,
    /// The fields that packets of one bucket have in common.
    pub fields: FlowFields,
    /// For how long a bucket is kept that is not asked for; then it is full again.
    pub expire: Duration,
}

/// `rate/time,burst:unit,fields/expire`.
impl fmt::Display for DestinationLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.limited();
        write!(f, "{},{fields}/{}", self.limit, Span(self.expire))
    }
}

/// When attempts at many ports are a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScanWeights {
    /// The sum of weights from which on it is one.
    pub threshold: u32,
    /// The longest time between two attempts of one scan.
    pub delay: Duration,
    /// What a port below 1024 weighs.
    pub low_port: u32,
    /// What any other port weighs.
    pub high_port: u32,
}

/// `threshold,delay,low-port,high-port`.
impl fmt::Display for ScanWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delay = Span(self.delay);
        let (low, high) = (self.low_port, self.high_port);
        write!(f, "{},{delay},{low},{high}", self.threshold)
    }
}

/// A time of day on some days, in the configured time zone.
///
/// Both ends are included. If it ends before it begins it goes over midnight, and each side of
/// midnight is of the day that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hours {
    /// The first second of the day.
    pub first: u32,
    /// The last second of the day.
    pub last: u32,
    /// The weekdays, one bit each; Sunday is bit 0.
    pub days: u8,
}

impl Hours {
    /// The words for weekdays, from Sunday on.
    pub const DAYS: [&'static str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

    /// Whether this second of this weekday is among them.
    pub const fn contains(&self, weekday: u8, second: u32) -> bool {
        let in_day = if self.first <= self.last {
            self.first <= second && second <= self.last
        } else {
            self.first <= second || second <= self.last
        };
        in_day && self.days >> weekday & 1 != 0
    }
}

/// `first-last,day,day`.
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |secs: u32| Span(Duration::from_secs(secs.min(DAY_SECS).into()));
        write!(f, "{}-{}", span(self.first), span(self.last))?;
        let days = (0..).zip(Self::DAYS);
        for (_, day) in days.filter(|(bit, _)| self.days >> bit & 1 != 0) {
            write!(f, ",{day}")?;
        }
        Ok(())
    }
}

/// A duration as RouterOS writes it: `1h30m`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 5] = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1_000, "s"),
            (1, "ms"),
        ];
        let mut left = self.0.as_millis();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, word) in UNITS {
            if left >= unit {
                write!(f, "{}{word}", left / unit)?;
                left %= unit;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_as_routeros_exports_it() {
        let limit = |rate, per, burst, unit| {
            let per = Duration::from_millis(per);
            let limit = RateLimit {
                rate,
                per,
                burst,
                unit,
            };
            RateAsk::Limit(limit).to_string()
        };
        assert_eq!(limit(5, 1_000, 10, RateUnit::Packet), "5,10:packet");
        assert_eq!(limit(5, 60_000, 10, RateUnit::Packet), "5/1m,10:packet");
        assert_eq!(
            limit(8, 90_061_007, 9, RateUnit::Bit),
            "8/1d1h1m1s7ms,9:bit"
        );
    }

    #[test]
    fn time_has_both_ends_and_goes_over_midnight() {
        let hours = |first, last| Hours {
            first,
            last,
            days: 0b000_0110,
        };
        let day = hours(28_800, 57_600);
        assert_eq!(RateAsk::Time(day).to_string(), "8h-16h,mon,tue");
        assert!(day.contains(1, 28_800) && day.contains(2, 57_600));
        assert!(!day.contains(1, 28_799) && !day.contains(1, 57_601) && !day.contains(3, 30_000));
        let night = hours(79_200, 21_600);
        assert!(night.contains(1, 79_200) && night.contains(1, 0) && night.contains(2, 21_600));
        assert!(!night.contains(1, 40_000) && !night.contains(0, 80_000) && !night.contains(3, 0));
        let all = Hours {
            first: 0,
            last: DAY_SECS,
            days: 0x7f,
        };
        assert_eq!(all.to_string(), "0s-1d,sun,mon,tue,wed,thu,fri,sat");
    }

    #[test]
    fn a_volume_without_an_end_ends_with_a_zero() {
        let open = Volume {
            first: 500,
            last: None,
        };
        assert_eq!(open.to_string(), "500-0");
        assert!(open.contains(u64::MAX) && open.contains(500) && !open.contains(499));
        let closed = Volume {
            first: 0,
            last: Some(9),
        };
        assert_eq!(closed.to_string(), "0-9");
        assert!(closed.contains(0) && closed.contains(9) && !closed.contains(10));
    }
}
