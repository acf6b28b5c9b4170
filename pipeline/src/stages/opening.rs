//! What a connection that is being opened has been counted for.
//!
//! A rule with a `connection-limit` counts a new connection while it is judged, before it exists.
//! What was counted is kept here until the connection is in the table, which takes it off again
//! when the connection goes; if it does not come to that, it is taken off at once. Packets that
//! open nothing are not counted: for them the rule compares with the connections there are.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::limits::{LIMITS_PER_CONNECTION_MAX, Limit, Limits};

use crate::ids::RuleId;
use crate::rules::{CompiledRule, Look, Observer, Recorder};
use crate::stages::family::Stack;
use crate::worker::Core;

/// The connection that a worker is opening.
#[derive(Debug, Default)]
pub struct Opening {
    /// Its source, while there is one.
    source: Option<IpAddr>,
    counted: ArrayVec<Limit, LIMITS_PER_CONNECTION_MAX>,
    full: bool,
}

impl Opening {
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

impl<W> Core<W> {
    /// Begins to open a connection from `source`.
    pub(crate) fn begin_opening(&mut self, source: IpAddr) {
        self.opening.source = Some(source);
    }

    /// Whether a connection can remember what was counted.
    pub(crate) fn has_room_for_limits<F: Stack>(&self) -> bool {
        F::table(&self.conntrack).has_room_for_limits(&self.opening.counted)
    }

    /// Leaves what was counted to the connection that came of it.
    pub(crate) fn note_limits<F: Stack>(&mut self, id: FlowId) {
        let table = F::table_mut(&mut self.conntrack);
        if table.note_limits(id, &self.opening.counted) {
            self.opening.counted.clear();
        }
    }

    /// Ends the opening, with or without a connection.
    pub(crate) fn end_opening(&mut self) {
        let source = self.opening.source.take();
        self.opening.full = false;
        for limit in self.opening.counted.drain(..) {
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
    /// The counters of all workers.
    pub limits: &'a Limits,
    /// What the packet opens.
    pub opening: &'a mut Opening,
}

impl Observer for Asking<'_> {
    fn looked_at(&mut self, rule: RuleId, look: Look) {
        self.recorder.looked_at(rule, look);
    }

    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        self.recorder.matched(id, rule);
    }

    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        // Connections come and go between two packets of a flow.
        self.recorder.path.note_passing();
        self.opening.connections(limit, source, self.limits)
    }
}
