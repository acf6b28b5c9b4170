//! Masters and children: what ties connections to those that have announced them.
//!
//! An entry counts on one place among masters: on its own if it has announced others, and that
//! place names the master before it; else on its master's.

use std::time::Duration;

use crate::entry::{Flags, Kin, remaining};
use crate::expect::masters::{NO_MASTER, Node};
use crate::expect::{MasterId, MasterRef};
use crate::ids::{FlowId, HelperId};
use crate::table::{Table, at};
use crate::time::Tick;
use crate::timeouts::millis;
use crate::tuple::Family;
use crate::wheel::wrapping;

/// What is done for a connection besides the usual: in most cases nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention(Kin);

impl Attention {
    /// Whether anything is.
    pub const fn is_due(self) -> bool {
        self.is_read() || self.is_shifted()
    }

    /// Whether its packets are read by its helper.
    pub const fn is_read(self) -> bool {
        self.0.contains(Kin::READ)
    }

    /// Whether its sequence numbers are shifted.
    pub const fn is_shifted(self) -> bool {
        self.0.contains(Kin::SHIFTED)
    }
}

impl<F: Family> Table<F> {
    /// The name under which a connection announces others, until it ends; `None` if there are too
    /// many that do, or if it is gone.
    ///
    /// It goes with each packet that a helper is to read, so that a helper that comes too late
    /// announces nothing for a connection that has taken the same place.
    pub fn announce(&mut self, id: FlowId) -> Option<MasterId> {
        let hot = self.hot.get(at(id))?;
        if !hot.flags.contains(Flags::CONFIRMED) {
            return None;
        }
        let masters = &self.shared.expectations.masters;
        let warm = &mut self.warm[at(id)];
        if warm.kin.contains(Kin::MASTER) {
            return Some(masters.id(warm.master));
        }
        let connection = MasterRef {
            worker: self.worker,
            version: F::VERSION,
            id,
        };
        let parent = warm.master;
        let master = masters.register(Node { connection, parent })?;
        warm.master = master.place;
        warm.kin = warm.kin.with(Kin::MASTER);
        Some(master)
    }

    /// The connection that has announced this one, if it has not ended.
    pub fn master(&self, id: FlowId) -> Option<MasterRef> {
        let parent = self.parent(id)?;
        self.shared.expectations.masters.connection(parent)
    }

    /// A connection's helper.
    pub fn helper(&self, id: FlowId) -> Option<HelperId> {
        HelperId::new(self.warm[at(id)].helper)
    }

    /// Gives a connection a helper, or takes it away.
    pub fn set_helper(&mut self, id: FlowId, helper: Option<HelperId>) {
        self.warm[at(id)].helper = helper.map_or(0, HelperId::number);
        self.hot[at(id)].forget_judgements();
    }

    /// What is done for a connection besides the usual.
    pub fn attention(&self, id: FlowId) -> Attention {
        Attention(self.warm[at(id)].kin)
    }

    /// Has a connection's packets read by its helper.
    pub fn begin_reading(&mut self, id: FlowId) {
        let warm = &mut self.warm[at(id)];
        warm.kin = warm.kin.with(Kin::READ);
    }

    /// Has them read no more.
    pub fn end_reading(&mut self, id: FlowId) {
        let warm = &mut self.warm[at(id)];
        warm.kin = warm.kin.without(Kin::READ);
    }

    /// Notes that a connection's sequence numbers are shifted from now on.
    pub fn set_shifted(&mut self, id: FlowId) {
        let warm = &mut self.warm[at(id)];
        warm.kin = warm.kin.with(Kin::SHIFTED);
    }

    /// The connection with this name, if it has not ended and is of this table.
    pub fn named(&self, master: MasterId) -> Option<FlowId> {
        let connection = self.shared.expectations.connection(master)?;
        let mine = connection.worker == self.worker && connection.version == F::VERSION;
        mine.then_some(connection.id)
    }

    /// Lets a connection stay idle for `timeout` from now, if it could not be idle that long.
    pub fn keep(&mut self, id: FlowId, timeout: Duration, now: Tick) {
        let left = remaining(self.hot[at(id)].deadline, wrapping(now.as_millis()));
        if self.hot[at(id)].flags.contains(Flags::CONFIRMED) && left < millis(timeout) {
            self.refresh(id, timeout, now);
        }
    }

    /// Whether a connection has reached its end: by its deadline, or because it was to end with a
    /// master that has ended.
    pub(crate) fn is_over(&self, id: FlowId, now_ms: u32) -> bool {
        self.hot[at(id)].expired(now_ms) || self.is_orphaned(id)
    }

    /// Whether a connection that was to end with its master has lost it.
    pub(crate) fn is_orphaned(&self, id: FlowId) -> bool {
        let bound = self.warm[at(id)].kin.contains(Kin::ENDS_WITH_MASTER);
        let masters = &self.shared.expectations.masters;
        bound && self.parent(id).is_some_and(|at| masters.has_ended(at))
    }

    /// The place of the master that has announced a connection.
    fn parent(&self, id: FlowId) -> Option<u16> {
        let warm = &self.warm[at(id)];
        let parent = if warm.kin.contains(Kin::MASTER) {
            self.shared.expectations.masters.node(warm.master)?.parent
        } else {
            warm.master
        };
        (parent != NO_MASTER).then_some(parent)
    }

    /// Parts a connection that is being removed from its master and its children.
    pub(crate) fn part(&mut self, id: FlowId) {
        let warm = self.warm[at(id)];
        if warm.master == NO_MASTER {
            return;
        }
        let parent = self.parent(id);
        let masters = &self.shared.expectations.masters;
        if warm.kin.contains(Kin::MASTER) {
            masters.end(warm.master);
            masters.release(warm.master);
        }
        if let Some(parent) = parent {
            masters.release(parent);
        }
    }
}
