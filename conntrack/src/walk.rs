//! Listing: snapshots of connections, a piece of the table at a time.

use std::time::Duration;

use crate::entry::{Flags, NONE, remaining};
use crate::expect::MasterRef;
use crate::ids::{ConnState, FlowId, Generation, HelperId};
use crate::labels::Layer7;
use crate::table::{Table, at};
use crate::time::Tick;
use crate::tuple::{Family, TuplePair, V4, V6};
use crate::wheel::wrapping;

/// A connection at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<F: Family> {
    /// Its place in the table.
    pub id: FlowId,
    /// Both tuples.
    pub pair: TuplePair<F>,
    /// The name of its tracker's state; `None` for protocols whose tracker has none.
    pub state: Option<&'static str>,
    /// What is true of it.
    pub flags: Flags,
    /// Packets from the opener and from the responder.
    pub packets: [u64; 2],
    /// Bytes of IP packets from the opener and from the responder.
    pub bytes: [u64; 2],
    /// How long it will live without another packet.
    pub timeout: Duration,
    /// When it was opened, in seconds of the caller's clock.
    pub start_secs: u32,
    /// How long ago its last packet came.
    pub idle_ms: u32,
    /// Its mark.
    pub mark: u32,
    /// The generation that judged it last.
    pub generation: Generation,
    /// The rule that admitted it, by the number that it keeps over reloads; `None` if none did.
    pub rule: Option<u32>,
    /// The connection that announced it, if it has not ended.
    pub master: Option<MasterRef>,
    /// Its helper.
    pub helper: Option<HelperId>,
    /// What it was found to carry.
    pub layer7: Layer7,
}

impl<F: Family> Connection<F> {
    /// The tracker's state in a word; of protocols that have none, whether an answer has been
    /// seen. One of [`STATE_NAMES`](crate::states::STATE_NAMES).
    pub fn state_word(&self) -> &'static str {
        self.state.unwrap_or_else(|| {
            if self.flags.contains(Flags::SEEN_REPLY) {
                ConnState::Established.name()
            } else {
                ConnState::New.name()
            }
        })
    }
}

/// A connection of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyConnection {
    /// Over IPv4.
    V4(Connection<V4>),
    /// Over IPv6.
    V6(Connection<V6>),
}

impl AnyConnection {
    /// What it is called when it is to be ended.
    pub fn flow(&self) -> AnyFlow {
        match self {
            Self::V4(connection) => AnyFlow::V4(connection.id),
            Self::V6(connection) => AnyFlow::V6(connection.id),
        }
    }
}

/// A connection of either family by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyFlow {
    /// Of the IPv4 table.
    V4(FlowId),
    /// Of the IPv6 table.
    V6(FlowId),
}

impl From<Connection<V4>> for AnyConnection {
    fn from(connection: Connection<V4>) -> Self {
        Self::V4(connection)
    }
}

impl From<Connection<V6>> for AnyConnection {
    fn from(connection: Connection<V6>) -> Self {
        Self::V6(connection)
    }
}

impl<F: Family> Table<F> {
    /// Shows live connections from place `cursor` on, looking at `limit` places; the cursor for the
    /// next call, `None` at the end. Start with zero.
    ///
    /// Connections that stay through all calls are shown exactly once.
    pub fn walk(
        &self,
        cursor: u32,
        limit: usize,
        now: Tick,
        mut visit: impl FnMut(Connection<F>),
    ) -> Option<u32> {
        let step = u32::try_from(limit.max(1)).unwrap_or(u32::MAX);
        let end = cursor.saturating_add(step).min(self.fresh);
        for id in cursor..end {
            if let Some(connection) = self.connection(FlowId(id), now) {
                visit(connection);
            }
        }
        (end < self.fresh).then_some(end)
    }

    /// A snapshot of a connection; `None` if it is gone or has expired.
    pub fn connection(&self, id: FlowId, now: Tick) -> Option<Connection<F>> {
        let now_ms = wrapping(now.as_millis());
        let (hot, warm) = (self.hot.get(at(id))?, self.warm.get(at(id))?);
        if !hot.flags.contains(Flags::CONFIRMED) || self.is_over(id, now_ms) {
            return None;
        }
        let left = u64::from(remaining(hot.deadline, now_ms));
        let idle_ms = now_ms.wrapping_sub(warm.seen);
        Some(self.snapshot(id, Duration::from_millis(left), idle_ms))
    }

    /// A snapshot of what stands at a place, whether it has expired or not.
    pub(crate) fn snapshot(&self, id: FlowId, timeout: Duration, idle_ms: u32) -> Connection<F> {
        let (hot, warm) = (&self.hot[at(id)], &self.warm[at(id)]);
        Connection {
            id,
            pair: hot.pair(),
            state: self.state_name(id),
            flags: hot.flags(),
            packets: warm.packets,
            bytes: warm.bytes,
            timeout,
            start_secs: warm.start,
            idle_ms,
            mark: hot.mark,
            generation: hot.generation(),
            rule: (warm.rule != NONE).then_some(warm.rule),
            master: self.master(id),
            helper: HelperId::new(warm.helper),
            layer7: self.layer7(id),
        }
    }

    /// Checks what must always hold, at the cost of looking at everything: each live connection is
    /// found under both tuples and is in the wheel once, and places are live, free or never used.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) -> Result<(), String> {
        use crate::ids::{Direction, FlowRef};
        let is_live = |id: u32| self.hot[id as usize].flags.contains(Flags::CONFIRMED);
        let live: Vec<u32> = (0..self.fresh).filter(|&id| is_live(id)).collect();
        if live.len() != self.live {
            return Err(format!(
                "{} are live, {} are counted",
                live.len(),
                self.live
            ));
        }
        for &id in &live {
            for direction in [Direction::Original, Direction::Reply] {
                let flow = FlowRef {
                    id: FlowId(id),
                    direction,
                };
                let hash = self.key.tuple(&self.hot[id as usize].tuple(direction));
                if self.index.find(hash, |found| found == flow).is_none() {
                    return Err(format!(
                        "connection {id} is not found by its {direction:?} tuple"
                    ));
                }
            }
        }
        let half_open = |id: &&u32| crate::syn_gate::is_half_open(&self.hot[**id as usize]);
        let half_open = live.iter().filter(half_open).count();
        if half_open != self.half_open {
            return Err(format!(
                "{half_open} are half-open, {} are counted",
                self.half_open
            ));
        }
        if self.index.count() != 2 * live.len() {
            return Err(format!(
                "{} tuples for {} connections",
                self.index.count(),
                live.len()
            ));
        }
        let mut linked = self.wheel.linked(&self.warm)?;
        linked.sort_unstable();
        if linked != live {
            return Err(format!("the wheel holds {linked:?}, live are {live:?}"));
        }
        let (mut free, mut at) = (0, self.free);
        while at != NONE && free <= self.capacity() {
            if is_live(at) {
                return Err(format!("place {at} is live and free"));
            }
            free += 1;
            at = self.warm[at as usize].next;
        }
        if free + live.len() != self.fresh as usize {
            return Err(format!(
                "{free} free and {} live of {}",
                live.len(),
                self.fresh
            ));
        }
        Ok(())
    }
}
