//! Counters that one worker writes and everybody may read.
//!
//! A [`Counter`] has a single writer, so adding is a load and a store: no locked instruction, and
//! the line stays in the writer's cache until somebody looks. What belongs to the process (drops,
//! totals) is in [`WorkerCounters`]; what belongs to a rule or an interface is in cells that the
//! programs share, so that a reload neither loses a packet nor makes a reader see a step back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_helpers::names::HELPER_NAMES;

use crate::drops::DropReason;
use crate::ids::{IfaceId, RuleId};
use crate::outbox::Found;
use crate::recent::Recent;

/// A number that only grows, written by one thread and read by any.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the owning thread may call this, or counts are lost.
    pub fn add(&self, n: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that rises and falls, written by one thread and read by any.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The level now.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Packets and bytes, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Bytes; the place that counts says from which header on.
    pub bytes: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Packets and bytes, counted.
#[derive(Debug, Default)]
pub struct Traffic {
    packets: Counter,
    bytes: Counter,
}

impl Traffic {
    /// Counts one packet of `bytes` bytes.
    pub fn packet(&self, bytes: u64) {
        self.add(Counts { packets: 1, bytes });
    }

    /// Counts several packets at once.
    pub fn add(&self, counts: Counts) {
        self.packets.add(counts.packets);
        self.bytes.add(counts.bytes);
    }

    /// The counts so far; packets and bytes are read one after the other.
    pub fn read(&self) -> Counts {
        Counts {
            packets: self.packets.read(),
            bytes: self.bytes.read(),
        }
    }
}

/// What one worker counts about one interface; bytes are whole frames.
#[derive(Debug, Default)]
pub struct InterfaceCounters {
    /// Received on it.
    pub received: Traffic,
    /// Sent by it.
    pub sent: Traffic,
}

/// One worker's counters of one rule each; bytes are IP packets.
#[derive(Debug)]
pub struct RuleCounters(Cells<Traffic>);

impl RuleCounters {
    /// One cell per rule: that of `previous` where `carry` names the rule it had there.
    pub fn build(carry: &[Option<RuleId>], previous: Option<&Self>) -> Self {
        Self(Cells::build(carry.iter().map(|rule| {
            previous?.0.find(usize::try_from((*rule)?.0).ok()?)
        })))
    }

    /// Counts packets that matched the rule.
    pub fn add(&self, rule: RuleId, counts: Counts) {
        if let Some(cell) = self.cell(rule) {
            cell.add(counts);
        }
    }

    /// What the rule counted so far; nothing for a rule that does not exist.
    pub fn read(&self, rule: RuleId) -> Counts {
        self.cell(rule).map_or(Counts::default(), Traffic::read)
    }

    fn cell(&self, rule: RuleId) -> Option<&Traffic> {
        Some(self.0.find(usize::try_from(rule.0).ok()?)?)
    }
}

/// One worker's counters of one interface each.
#[derive(Debug)]
pub struct PerInterface(Cells<InterfaceCounters>);

impl PerInterface {
    /// One cell per interface: that of `previous` where `carry` names the one it had there.
    pub fn build(carry: &[Option<IfaceId>], previous: Option<&Self>) -> Self {
        Self(Cells::build(
            carry
                .iter()
                .map(|iface| previous?.0.find(usize::from((*iface)?.0))),
        ))
    }

    /// The counters of an interface.
    pub fn find(&self, iface: IfaceId) -> Option<&InterfaceCounters> {
        Some(self.0.find(usize::from(iface.0))?)
    }
}

/// Cells that outlive the program that made them.
#[derive(Debug)]
struct Cells<T>(Box<[Arc<T>]>);

impl<T: Default> Cells<T> {
    fn build<'a>(kept: impl Iterator<Item = Option<&'a Arc<T>>>) -> Self
    where
        T: 'a,
    {
        Self(
            kept.map(|cell| cell.map_or_else(Arc::default, Arc::clone))
                .collect(),
        )
    }

    fn find(&self, index: usize) -> Option<&Arc<T>> {
        self.0.get(index)
    }
}

/// Why a worker handed a packet to the slow-path core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PuntCause {
    /// An ARP packet.
    Arp,
    /// A neighbour discovery packet.
    NeighbourDiscovery,
    /// A fragment.
    Reassemble,
    /// A packet whose next hop is not resolved.
    Unresolved,
    /// A packet for the gateway itself.
    Local,
    /// A packet that has to be cut up for its link.
    Fragment,
    /// A packet whose sender is told by ICMP why it went no further.
    IcmpError,
    /// A packet that a rule rejected.
    Reject,
    /// A copy for a sniffer.
    Sniff,
    /// A packet of a control connection, for its helper.
    Helper,
}

impl PuntCause {
    /// Every cause, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Arp,
        Self::NeighbourDiscovery,
        Self::Reassemble,
        Self::Unresolved,
        Self::Local,
        Self::Fragment,
        Self::IcmpError,
        Self::Reject,
        Self::Sniff,
        Self::Helper,
    ];

    /// The cause as metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::NeighbourDiscovery => "neighbour-discovery",
            Self::Reassemble => "reassemble",
            Self::Unresolved => "unresolved",
            Self::Local => "local",
            Self::Fragment => "fragment",
            Self::IcmpError => "icmp-error",
            Self::Reject => "reject",
            Self::Sniff => "sniff",
            Self::Helper => "helper",
        }
    }
}

/// What one helper has done.
#[derive(Debug, Default)]
pub struct HelperCounters {
    /// Control connections that it has begun to read.
    pub sessions: Counter,
    /// Control connections that it reads now.
    pub reading: Gauge,
    /// Packets that it was shown.
    pub packets: Counter,
    /// Connections that it has announced.
    pub announced: Counter,
    /// Messages that it has changed.
    pub rewrites: Counter,
    /// Announcements that were refused, for any reason.
    pub refused: Counter,
    /// Packets that went on unread, because the slow path had no room and policy said so.
    pub unread: Counter,
    /// Control connections that turned out to be none of its own, or that it could not read on.
    pub left: Counter,
}

/// What one worker counts from start to stop, over every reload.
///
/// Aligned so that two workers never write to one pair of cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCounters {
    drops: [Counter; DropReason::COUNT],
    punts: [Counter; PuntCause::ALL.len()],
    handed_over: [Counter; Found::ALL.len()],
    /// Frames taken from the wire, of every interface and of none; bytes are whole frames.
    pub received: Traffic,
    /// Frames given to the wire; bytes are whole frames.
    pub sent: Traffic,
    /// Packets that the gateway made itself.
    pub generated: Counter,
    /// Packets that ended here having done their work: ARP, neighbour discovery, echo.
    pub consumed: Counter,
    /// Packets delivered to the host.
    pub to_host: Counter,
    /// Packets that other workers gave to this one.
    pub taken_over: Counter,
    /// Copies made of packets, for sniffers.
    pub copies: Counter,
    /// Fragments made of packets that were too large for their link.
    pub fragments_made: Counter,
    /// Log events that exceeded the budget of their second.
    pub logs_suppressed: Counter,
    /// Addresses that a rule was to add to a list when there was no room.
    pub members_refused: Counter,
    /// ICMP errors and resets that exceeded their limit.
    pub answers_suppressed: Counter,
    /// Packets that a rule with `dst-limit` or `psd` could not remember for want of room, or for
    /// which it had to forget another source.
    pub unremembered: Counter,
    /// What helpers have done, in the order of [`HELPER_NAMES`].
    pub helpers: [HelperCounters; HELPER_NAMES.len()],
    /// Packets waiting for something right now.
    pub held: Gauge,
    /// The last packets that were dropped.
    pub recent: Recent,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            drops: std::array::from_fn(|_| Counter::default()),
            punts: std::array::from_fn(|_| Counter::default()),
            received: Traffic::default(),
            sent: Traffic::default(),
            generated: Counter::default(),
            consumed: Counter::default(),
            to_host: Counter::default(),
            handed_over: std::array::from_fn(|_| Counter::default()),
            taken_over: Counter::default(),
            copies: Counter::default(),
            fragments_made: Counter::default(),
            logs_suppressed: Counter::default(),
            members_refused: Counter::default(),
            answers_suppressed: Counter::default(),
            unremembered: Counter::default(),
            helpers: Default::default(),
            held: Gauge::default(),
            recent: Recent::default(),
        }
    }
}

impl WorkerCounters {
    /// The counter of packets dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.drops[reason as usize]
    }

    /// The counter of packets handed to the slow-path core for this cause.
    pub fn punted(&self, cause: PuntCause) -> &Counter {
        &self.punts[cause as usize]
    }

    /// The counter of packets given to another worker that was found like this.
    pub fn handed_over(&self, found: Found) -> &Counter {
        &self.handed_over[found as usize]
    }

    /// Packets given to other workers, however those were found.
    pub fn handed_over_in_all(&self) -> u64 {
        let each = self.handed_over.iter().map(Counter::read);
        each.fold(0, u64::wrapping_add)
    }

    /// Packets dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.drops
            .iter()
            .map(Counter::read)
            .fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drop_reason_and_each_punt_cause_has_its_own_counter() {
        let counters = WorkerCounters::default();
        for (n, reason) in (1..).zip(DropReason::ALL) {
            counters.dropped(*reason).add(n);
        }
        for (n, cause) in (1..).zip(PuntCause::ALL) {
            assert_eq!(cause as u64, n - 1);
            counters.punted(cause).add(n);
        }
        for (n, reason) in (1..).zip(DropReason::ALL) {
            assert_eq!(counters.dropped(*reason).read(), n);
        }
        for (n, cause) in (1..).zip(PuntCause::ALL) {
            assert_eq!(counters.punted(cause).read(), n);
        }
        let all = u64::try_from(DropReason::COUNT).unwrap();
        assert_eq!(counters.dropped_in_all(), all * (all + 1) / 2);
    }

    #[test]
    fn each_way_to_find_an_owner_has_its_own_counter() {
        let counters = WorkerCounters::default();
        for (n, found) in (1..).zip(Found::ALL) {
            assert_eq!(found as u64, n - 1);
            counters.handed_over(found).add(n);
        }
        for (n, found) in (1..).zip(Found::ALL) {
            assert_eq!(counters.handed_over(found).read(), n);
        }
        assert_eq!(counters.handed_over_in_all(), 10);
    }

    #[test]
    fn workers_do_not_share_a_pair_of_cache_lines() {
        assert_eq!(align_of::<WorkerCounters>(), 128);
        assert_eq!(size_of::<WorkerCounters>() % 128, 0);
    }

    #[test]
    fn a_carried_rule_counts_on_in_the_same_cell() {
        let old = RuleCounters::build(&[None, None], None);
        let one = Counts {
            packets: 1,
            bytes: 60,
        };
        old.add(RuleId(1), one);
        let new = RuleCounters::build(&[Some(RuleId(1)), None], Some(&old));
        assert_eq!(new.read(RuleId(0)), one);
        assert_eq!(new.read(RuleId(1)), Counts::default());
        // A worker that still runs the old program counts for the new one, too.
        old.add(RuleId(1), one);
        assert_eq!(
            new.read(RuleId(0)),
            Counts {
                packets: 2,
                bytes: 120
            }
        );
    }

    #[test]
    fn a_rule_that_does_not_exist_counts_nothing() {
        let counters = RuleCounters::build(&[None], None);
        counters.add(
            RuleId(1),
            Counts {
                packets: 1,
                bytes: 1,
            },
        );
        assert_eq!(counters.read(RuleId(1)), Counts::default());
        assert_eq!(counters.read(RuleId(0)), Counts::default());
    }

    #[test]
    fn a_gauge_falls_as_it_rises() {
        let gauge = Gauge::default();
        gauge.set(7);
        gauge.set(3);
        assert_eq!(gauge.read(), 3);
    }
}
