//! Answers that depend on the traffic so far.
//!
//! What has to be remembered for them is in the program's [`RuleStates`], shared by all workers;
//! time, randomness and what the connection has carried are handed in.

pub mod bucket;
pub mod destinations;
pub mod meters;
pub mod scanners;
pub mod states;

use std::net::IpAddr;

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::random::Random;
use turnpike_conntrack::segment::{ACK, RST};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;

use crate::counters::Counter;
use crate::ids::RuleId;
use crate::packet::parse::Parsed;
use crate::policy::{FlowFields, RateAsk};
use crate::rules::facts::Facts;
use crate::wall::{Wall, Zone};

use meters::Meter;
use scanners::{Attempt, Seen};

pub use states::RuleStates;

/// What answers about the traffic so far are made from.
#[derive(Debug)]
pub struct Rates<'a> {
    /// The time.
    pub now: Tick,
    /// The same by the clock on the wall.
    pub wall: &'a Wall,
    /// Where that hangs.
    pub zone: &'a Zone,
    /// What rules remember.
    pub states: &'a RuleStates,
    /// The key of what workers share.
    pub key: HashKey,
    /// Counts what could not be remembered.
    pub unremembered: &'a Counter,
    /// The worker's generator.
    pub random: &'a mut Random,
    /// What the packet's connection has carried; `None` if it has none.
    pub carried: Option<Carried>,
    /// The meter of the packet's connection, if it is in the table.
    pub meter: Option<&'a mut Meter>,
    /// The packet.
    pub parsed: &'a Parsed,
}

/// What a connection has carried, the packet at hand included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Bytes of IP packets, both directions together.
    pub bytes: u64,
    /// When it was opened, in seconds.
    pub opened: u32,
}

impl Rates<'_> {
    /// Yes, no, or `None` for a packet that lacks what is asked about.
    pub fn answer(&mut self, rule: RuleId, ask: &RateAsk, facts: &Facts) -> Option<bool> {
        let bytes = self.parsed.ip_len;
        match ask {
            RateAsk::Time(hours) => {
                let (weekday, second) = self.zone.local(self.wall.unix_secs(self.now));
                Some(hours.contains(weekday, second))
            }
            RateAsk::ConnectionBytes(volume) => Some(volume.contains(self.carried?.bytes)),
            RateAsk::ConnectionRate(volume) => {
                let carried = self.carried?;
                let rate = match &mut self.meter {
                    Some(meter) => meter.read(carried, bytes, self.now),
                    // The first packet, whose connection is not in the table yet.
                    None => carried.bytes.saturating_mul(8),
                };
                Some(volume.contains(rate))
            }
            RateAsk::Random(percent) => Some(percent_of(self.random.number()) < *percent),
            RateAsk::Nth(nth) => self.states.rule(rule)?.count(*nth),
            RateAsk::Scan(weights) => {
                let attempt = self.attempt(facts)?;
                let (scanners, number) = self.states.scanners(rule)?;
                let name = self.name(number, FlowFields::SRC_ADDRESS, facts);
                let Some(attempt) = attempt else {
                    return Some(false);
                };
                let seen = scanners.note(name, attempt, weights, self.now);
                if seen == Seen::Displacing {
                    self.unremembered.add(1);
                }
                Some(seen == Seen::Scan)
            }
            RateAsk::DestinationLimit(limit) => {
                let (buckets, keeping, number) = self.states.destinations(rule)?;
                let name = self.name(number, limit.fields, facts);
                let taken = buckets.take(name, keeping, bytes, self.now);
                if taken.is_none() {
                    self.unremembered.add(1);
                }
                Some(taken.unwrap_or(false))
            }
            RateAsk::Limit(_) => {
                let (shape, bucket) = self.states.rule(rule)?.limit()?;
                Some(bucket.take(shape, bytes, self.now))
            }
        }
    }

    /// The attempt at a port that the packet is. Nothing inside for a segment that answers or goes
    /// on; nothing at all for a packet that has no port.
    fn attempt(&self, facts: &Facts) -> Option<Option<Attempt>> {
        if ![Proto::TCP, Proto::UDP].contains(&facts.proto) {
            return None;
        }
        let attempt = Attempt {
            proto: facts.proto,
            port: facts.dst_port?,
        };
        let goes_on = self
            .parsed
            .tcp()
            .is_some_and(|tcp| tcp.flags & (ACK | RST) != 0);
        Some((!goes_on).then_some(attempt))
    }

    /// The name, as a keyed hash, of what a rule remembers of packets with these fields in common.
    fn name(&self, rule: u32, fields: FlowFields, facts: &Facts) -> u64 {
        let address = |field, address: IpAddr| match address {
            IpAddr::V4(ip) if fields.contains(field) => (4, u128::from(ip.to_bits())),
            IpAddr::V6(ip) if fields.contains(field) => (6, ip.to_bits()),
            IpAddr::V4(_) | IpAddr::V6(_) => (0, 0),
        };
        let port = |field, port: Option<u16>| {
            let port = port.filter(|_| fields.contains(field));
            u64::from(port.unwrap_or_default())
        };
        let (version, src) = address(FlowFields::SRC_ADDRESS, facts.src);
        let (other, dst) = address(FlowFields::DST_ADDRESS, facts.dst);
        let ports = port(FlowFields::SRC_PORT, facts.src_port) << 16
            | port(FlowFields::DST_PORT, facts.dst_port);
        let of_rule = u64::from(rule) << 8 | version << 4 | other;
        let halves = [src >> 64, src, dst >> 64, dst].map(low);
        let hash = self.key.words(of_rule, ports);
        halves
            .iter()
            .fold(hash, |hash, half| self.key.words(*half, hash))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
const fn low(wide: u128) -> u64 {
    wide as u64
}

/// A number of any size as one from 0 to 99, all equally likely.
fn percent_of(number: u64) -> u8 {
    let scaled = (u128::from(number) * 100) >> 64;
    u8::try_from(scaled).unwrap_or(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_become_even_percents() {
        assert_eq!((percent_of(0), percent_of(u64::MAX)), (0, 99));
        assert_eq!(percent_of(u64::MAX / 2), 49);
        assert_eq!(percent_of(u64::MAX / 2 + 1), 50);
    }
}
