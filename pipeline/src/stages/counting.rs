//! What a connection that is being opened has been counted for.
//!
//! A rule with a `connection-limit` counts a new connection while it is judged, before it exists.
//! What was counted is kept here until the connection is in the table, which takes it off again
//! when the connection goes; if it does not come to that, it is taken off at once. Packets that
//! open nothing are not counted: for them the rule compares with the connections there are.

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::limits::{LIMITS_PER_CONNECTION_MAX, Limit, Limits};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Shared;

use crate::counters::Counter;
use crate::ids::{ListId, RuleId};
use crate::lists::Lists;
use crate::packet::parse::Parsed;
use crate::policy::{ListTimeout, PacketAsk};
use crate::rules::{CompiledRule, Facts, Look, Observer, Recorder, Sight};
use crate::stages::family::Stack;
use crate::worker::Core;

/// The connection that a worker is opening.
#[derive(Debug, Default)]
pub struct Counting {
    /// Its source, while there is one.
    source: Option<IpAddr>,
    counted: ArrayVec<Limit, LIMITS_PER_CONNECTION_MAX>,
    full: bool,
}

impl Counting {
    /// Whether the connection could not be counted for a rule, and must not be opened.
    pub const fn is_uncountable(&self) -> bool {
        self.full
    }

    /// How many connections `limit` counts. The one being opened is counted, once.
    fn connections(&mut self, limit: Limit, source: IpAddr, limits: &Limits) -> u32 {
        if self.source.is_none() || self.counted.contains(&limit) {
            return limits.count(limit, source);
        }
        if self.counted.is_full() {
            self.full = true;
            return limits.count(limit, source).saturating_add(1);
        }
        match limits.add(limit, source) {
            Some(connections) => {
                self.counted.push(limit);
                connections
            }
            None => {
                self.full = true;
                u32::MAX
            }
        }
    }
}

/// What a connection was counted for on its way to another worker: taken off again wherever the
/// way ends.
#[derive(Debug)]
pub struct Counted {
    limits: ArrayVec<Limit, LIMITS_PER_CONNECTION_MAX>,
    source: IpAddr,
    shared: Arc<Shared>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        for limit in self.limits.drain(..) {
            self.shared.limits.take_off(limit, self.source);
        }
    }
}

impl<W> Core<W> {
    /// Begins to open a connection from `source`.
    pub(crate) fn begin_opening(&mut self, source: IpAddr) {
        self.counting.source = Some(source);
    }

    /// Whether a connection can remember what was counted.
    pub(crate) fn has_room_for_limits<F: Stack>(&self) -> bool {
        F::table(&self.conntrack).has_room_for_limits(&self.counting.counted)
    }

    /// Leaves what was counted to the connection that came of it.
    pub(crate) fn note_limits<F: Stack>(&mut self, id: FlowId) {
        let table = F::table_mut(&mut self.conntrack);
        if table.note_limits(id, &self.counting.counted) {
            self.counting.counted.clear();
        }
    }

    /// What was counted, for a connection that another worker is to enter.
    pub(crate) fn take_counted(&mut self) -> Option<Counted> {
        let limits = std::mem::take(&mut self.counting.counted);
        let source = self.counting.source.filter(|_| !limits.is_empty())?;
        Some(Counted {
            limits,
            source,
            shared: Arc::clone(self.conntrack.shared()),
        })
    }

    /// Goes on with a connection that was counted at another worker.
    pub(crate) fn continue_opening(&mut self, source: IpAddr, counted: Option<Counted>) {
        self.counting.source = Some(source);
        if let Some(mut counted) = counted {
            self.counting.counted = std::mem::take(&mut counted.limits);
        }
    }

    /// Ends the opening, with or without a connection.
    pub(crate) fn end_opening(&mut self) {
        let source = self.counting.source.take();
        self.counting.full = false;
        for limit in self.counting.counted.drain(..) {
            if let Some(source) = source {
                self.conntrack.shared().limits.take_off(limit, source);
            }
        }
    }
}

/// Whom the evaluator tells of a packet: the recorder, and those who count connections.
#[derive(Debug)]
pub struct Asking<'a> {
    /// Writes down what matches.
    pub recorder: Recorder<'a>,
    /// The packet.
    pub parsed: &'a Parsed,
    /// Whether it crosses the gateway.
    pub forwarded: bool,
    /// The counters of all workers.
    pub limits: &'a Limits,
    /// What the packet opens.
    pub counting: &'a mut Counting,
    /// Where addresses are added.
    pub lists: &'a Lists,
    /// Counts addresses that there was no room for.
    pub members_refused: &'a Counter,
    /// The time of the burst.
    pub now: Tick,
}

impl Asking<'_> {
    /// The packet as it stands.
    pub fn sight(&self) -> Sight<'_> {
        let path = &*self.recorder.path;
        Sight {
            parsed: self.parsed,
            edits: path.edits(),
            phase: path.phase(),
            forwarded: self.forwarded,
        }
    }
}

impl Observer for Asking<'_> {
    fn looked_at(&mut self, rule: RuleId, look: Look, facts: &Facts) {
        self.recorder.looked_at(rule, look, facts);
    }

    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        self.recorder.matched(id, rule);
    }

    fn asks_lists(&mut self) {
        self.recorder.asks_lists();
    }

    fn add_to_list(&mut self, list: ListId, address: IpAddr, timeout: ListTimeout) {
        // The next packet adds it again, or it would not stay as long as packets come.
        self.recorder.path.note_residual();
        if self.lists.add(list, address, timeout, self.now).is_err() {
            self.members_refused.add(1);
        }
    }

    fn packet(&mut self, _: RuleId, ask: &PacketAsk, _: &Facts) -> Option<bool> {
        self.recorder.path.note_residual();
        self.sight().answer(ask)
    }

    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        // Connections come and go between two packets of a flow.
        self.recorder.path.note_residual();
        self.counting.connections(limit, source, self.limits)
    }
}
