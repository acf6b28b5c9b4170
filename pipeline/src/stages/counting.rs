//! What a connection that is being opened has been counted for.
//!
//! A rule with a `connection-limit` counts a new connection while it is judged, before it exists.
//! What was counted is kept here until the connection is in the table, which takes it off again
//! when the connection goes; if it does not come to that, it is taken off at once. Packets that
//! open nothing are not counted: for them the rule compares with the connections there are.

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::limits::{LIMITS_PER_CONNECTION_MAX, Limit, Limits};
use turnpike_conntrack::random::Random;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Shared;

use crate::buffer::Buffer;
use crate::burst::Meta;
use crate::counters::Counter;
use crate::ids::{IfaceId, ListId, RuleId};
use crate::lists::Lists;
use crate::policy::{ListTimeout, PacketAsk};
use crate::program::Program;
use crate::rules::rates::meters::Meter;
use crate::rules::{Carried, CompiledRule, Facts, Hellos, Look, Observer, Rates, Recorder, Sight};
use crate::stages::family::Stack;
use crate::wall::Wall;
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
pub struct Asking<'a, B> {
    /// Writes down what matches.
    pub recorder: Recorder<'a>,
    /// The packet.
    pub packet: (&'a B, &'a Meta),
    /// Whether it crosses the gateway.
    pub forwarded: bool,
    /// The interface it leaves by, once that is known.
    pub out_interface: Option<IfaceId>,
    /// The counters of all workers.
    pub limits: &'a Limits,
    /// What the packet opens.
    pub counting: &'a mut Counting,
    /// What earlier packets have brought of TLS ClientHellos.
    pub hellos: &'a mut Hellos,
    /// The time.
    pub now: Tick,
    /// The same by the clock on the wall.
    pub wall: &'a Wall,
    /// The program, with what its rules remember.
    pub program: &'a Program,
    /// The key of what workers share.
    pub key: HashKey,
    /// Counts what could not be remembered.
    pub unremembered: &'a Counter,
    /// The worker's generator.
    pub random: &'a mut Random,
    /// What the packet's connection has carried.
    pub carried: Option<Carried>,
    /// The meter of the packet's connection.
    pub meter: Option<&'a mut Meter>,
    /// Where addresses are added.
    pub lists: &'a Lists,
    /// Counts addresses that there was no room for.
    pub members_refused: &'a Counter,
}

impl<B: Buffer> Asking<'_, B> {
    /// The packet as it stands.
    pub fn sight(&mut self) -> Sight<'_, B> {
        let path = &*self.recorder.path;
        let (buf, meta) = self.packet;
        Sight {
            buf,
            hellos: self.hellos,
            now: self.now,
            origin: meta.origin,
            parsed: &meta.parsed,
            edits: path.edits(),
            phase: path.phase(),
            forwarded: self.forwarded,
            path_mtu: self
                .program
                .interfaces
                .mtu_between(meta.in_interface, self.out_interface),
        }
    }

    /// The traffic up to the packet.
    fn rates(&mut self) -> Rates<'_> {
        Rates {
            now: self.now,
            wall: self.wall,
            zone: &self.program.zone,
            states: &self.program.states,
            key: self.key,
            unremembered: self.unremembered,
            random: &mut *self.random,
            carried: self.carried,
            meter: self.meter.as_deref_mut(),
            parsed: &self.packet.1.parsed,
        }
    }
}

impl<B: Buffer> Observer for Asking<'_, B> {
    fn looked_at(&mut self, rule: RuleId, look: Look, facts: &Facts) {
        self.recorder.looked_at(rule, look, facts);
    }

    fn matched(&mut self, id: RuleId, rule: &CompiledRule) {
        self.recorder.matched(id, rule);
    }

    fn asks_lists(&mut self) {
        self.recorder.asks_lists();
    }

    fn asks_label(&mut self, rule: RuleId) -> Option<bool> {
        self.recorder.asks_label(rule)
    }

    fn add_to_list(&mut self, list: ListId, address: IpAddr, timeout: ListTimeout) {
        // The next packet adds it again, or it would not stay as long as packets come.
        self.recorder.path.note_residual();
        if self.lists.add(list, address, timeout, self.now).is_err() {
            self.members_refused.add(1);
        }
    }

    fn packet(&mut self, rule: RuleId, ask: &PacketAsk, facts: &Facts) -> Option<bool> {
        self.recorder.path.note_residual();
        match ask {
            PacketAsk::Rate(ask) => self.rates().answer(rule, ask, facts),
            PacketAsk::Size(..)
            | PacketAsk::Ttl(..)
            | PacketAsk::Header(_)
            | PacketAsk::Payload(_) => self.sight().answer(ask),
        }
    }

    fn connections(&mut self, limit: Limit, source: IpAddr) -> u32 {
        // Connections come and go between two packets of a flow.
        self.recorder.path.note_residual();
        self.counting.connections(limit, source, self.limits)
    }
}
