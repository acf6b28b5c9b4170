//! Listing, counting, ending and watching connections of a running gateway.
//!
//! A worker's table is walked by its worker, between bursts, a bounded piece at a time. Memory
//! that a worker fills is made by who asks.

use arrayvec::ArrayVec;
use turnpike_conntrack::events::{Cause, Journals};
use turnpike_conntrack::ids::{Direction, FlowRef, WorkerId};
use turnpike_conntrack::table::{Connection, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Conntrack;
use turnpike_conntrack::tuple::Family;
use turnpike_pipeline::rehearsal::Entrance;
use turnpike_pipeline::worker::Worker;

pub use turnpike_conntrack::walk::{AnyConnection, AnyFlow};

use super::Gateway;
use crate::events::Told;
use crate::mailbox::AskError;
use crate::mbuf::Mbuf;

/// Places of a table that are looked at between two bursts.
pub const WALK_MAX: usize = 1_024;

/// Places of a table that are looked at between two bursts when what is found is ended, which
/// takes longer than looking.
pub const FLUSH_MAX: usize = 256;

/// Where a walk through a worker's tables goes on; it starts at the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// At this place of the IPv4 table.
    V4(u32),
    /// At this place of the IPv6 table.
    V6(u32),
}

impl Default for Cursor {
    fn default() -> Self {
        Self::V4(0)
    }
}

/// A piece of a worker's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Those that the filter let through.
    pub connections: Vec<AnyConnection>,
    /// Where the next piece begins, `None` at the end.
    pub next: Option<Cursor>,
}

/// How many connections of a piece the filter let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub connections: usize,
    /// Where the next piece begins, `None` at the end.
    pub next: Option<Cursor>,
}

/// A connection with where its packets come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surveyed {
    /// The connection.
    pub connection: AnyConnection,
    /// Where its packets come in, by direction, in the numbers of the program that judged it last.
    pub entrances: [Entrance; 2],
}

/// A piece of a worker's connections, as a rehearsal wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The connections.
    pub connections: Vec<Surveyed>,
    /// Where the next piece begins, `None` at the end.
    pub next: Option<Cursor>,
}

/// Where the packets of a connection come in.
fn entrances(tables: &Conntrack, connection: &AnyConnection) -> [Entrance; 2] {
    [Direction::Original, Direction::Reply].map(|direction| {
        let flow = |id| FlowRef { id, direction };
        Entrance::of(&match connection.flow() {
            AnyFlow::V4(id) => tables.v4.cached(flow(id)),
            AnyFlow::V6(id) => tables.v6.cached(flow(id)),
        })
    })
}

/// Whether the connection that was seen is still there, and not another in its place.
fn is_there<F: Family>(table: &Table<F>, seen: &Connection<F>, now: Tick) -> bool {
    table
        .connection(seen.id, now)
        .is_some_and(|found| (found.pair, found.start_secs) == (seen.pair, seen.start_secs))
}

/// Ends those of `seen` that are still there.
fn end(tables: &mut Conntrack, seen: &[AnyConnection], cause: Cause, now: Tick) -> usize {
    let mut ended = 0;
    for connection in seen {
        match connection {
            AnyConnection::V4(c) if is_there(&tables.v4, c, now) => tables.v4.end(c.id, cause),
            AnyConnection::V6(c) if is_there(&tables.v6, c, now) => tables.v6.end(c.id, cause),
            AnyConnection::V4(_) | AnyConnection::V6(_) => continue,
        }
        ended += 1;
    }
    ended
}

/// Shows `limit` places of the tables from `cursor` on; where the next ones begin.
fn walk(
    tables: &Conntrack,
    cursor: Cursor,
    limit: usize,
    now: Tick,
    mut visit: impl FnMut(AnyConnection),
) -> Option<Cursor> {
    match cursor {
        Cursor::V4(at) => {
            let next = tables.v4.walk(at, limit, now, |c| visit(c.into()));
            Some(next.map_or(Cursor::V6(0), Cursor::V4))
        }
        Cursor::V6(at) => {
            let next = tables.v6.walk(at, limit, now, |c| visit(c.into()));
            next.map(Cursor::V6)
        }
    }
}

/// Ends the connections of a piece that `filter` lets through.
fn flush(
    worker: &mut Worker<Mbuf>,
    cursor: Cursor,
    now: Tick,
    filter: impl Fn(&AnyConnection) -> bool,
) -> Tally {
    let mut found: ArrayVec<AnyFlow, FLUSH_MAX> = ArrayVec::new();
    let tables = worker.conntrack_mut();
    let next = walk(tables, cursor, FLUSH_MAX, now, |connection| {
        if filter(&connection) {
            // There is room for every place that is looked at.
            let _all_fit = found.try_push(connection.flow());
        }
    });
    for flow in &found {
        match *flow {
            AnyFlow::V4(id) => tables.v4.end(id, Cause::Flushed),
            AnyFlow::V6(id) => tables.v6.end(id, Cause::Flushed),
        }
    }
    Tally {
        connections: found.len(),
        next,
    }
}

impl Gateway {
    /// A piece of a worker's connections, from `cursor` on: at the most [`WALK_MAX`] that `filter`
    /// lets through. Connections that live through all calls are seen once.
    pub fn connections(
        &self,
        worker: WorkerId,
        cursor: Cursor,
        filter: impl Fn(&AnyConnection) -> bool + Send + 'static,
    ) -> Result<Page, AskError> {
        let now = self.clock.now();
        let mut connections = Vec::with_capacity(WALK_MAX);
        self.ask_worker(worker, move |worker| {
            let next = walk(worker.conntrack(), cursor, WALK_MAX, now, |connection| {
                if filter(&connection) {
                    connections.push(connection);
                }
            });
            Page { connections, next }
        })
    }

    /// How many of a piece of a worker's connections `filter` lets through, from `cursor` on.
    pub fn count_connections(
        &self,
        worker: WorkerId,
        cursor: Cursor,
        filter: impl Fn(&AnyConnection) -> bool + Send + 'static,
    ) -> Result<Tally, AskError> {
        let now = self.clock.now();
        self.ask_worker(worker, move |worker| {
            let mut connections = 0;
            let next = walk(worker.conntrack(), cursor, WALK_MAX, now, |connection| {
                connections += usize::from(filter(&connection));
            });
            Tally { connections, next }
        })
    }

    /// Ends what `filter` lets through of a piece of a worker's connections, from `cursor` on.
    /// Nothing is sent to their ends.
    pub fn flush_connections(
        &self,
        worker: WorkerId,
        cursor: Cursor,
        filter: impl Fn(&AnyConnection) -> bool + Send + 'static,
    ) -> Result<Tally, AskError> {
        let now = self.clock.now();
        self.ask_worker(worker, move |worker| flush(worker, cursor, now, filter))
    }

    /// A piece of a worker's connections with where their packets come in, from `cursor` on.
    pub fn survey(&self, worker: WorkerId, cursor: Cursor) -> Result<Survey, AskError> {
        let now = self.clock.now();
        let mut connections = Vec::with_capacity(WALK_MAX);
        self.ask_worker(worker, move |worker| {
            let tables = worker.conntrack();
            let next = walk(tables, cursor, WALK_MAX, now, |connection| {
                connections.push(Surveyed {
                    connection,
                    entrances: entrances(tables, &connection),
                });
            });
            Survey { connections, next }
        })
    }

    /// Ends connections of a worker that a reload does not want any more, at most [`FLUSH_MAX`] at
    /// a time: those of `seen` that are still there. Nothing is sent to their ends.
    pub fn end_refused(
        &self,
        worker: WorkerId,
        seen: Vec<AnyConnection>,
    ) -> Result<usize, AskError> {
        let now = self.clock.now();
        let (ended, seen) = self.ask_worker(worker, move |worker| {
            let few = seen.get(..FLUSH_MAX).unwrap_or(&seen);
            let ended = end(worker.conntrack_mut(), few, Cause::Reload, now);
            (ended, seen)
        })?;
        // Given back here, and not on the worker.
        drop(seen);
        Ok(ended)
    }

    /// How many connections each family of a worker holds: IPv4, IPv6.
    pub fn connection_counts(&self, worker: WorkerId) -> Result<(usize, usize), AskError> {
        self.ask_worker(worker, |worker| {
            (worker.conntrack().v4.len(), worker.conntrack().v6.len())
        })
    }

    /// Has a worker tell what happens to its connections, from its next packet on. One that does
    /// so already begins anew.
    pub fn watch(&self, worker: WorkerId) -> Result<(), AskError> {
        self.watch_into(worker, Some(Journals::default()))
    }

    /// Has a worker tell nothing any more.
    pub fn unwatch(&self, worker: WorkerId) -> Result<(), AskError> {
        self.watch_into(worker, None)
    }

    fn watch_into(&self, worker: WorkerId, journals: Option<Journals>) -> Result<(), AskError> {
        let used = self.ask_worker(worker, |w| w.conntrack_mut().watch(journals))?;
        // Given back here, and not on the worker.
        drop(used);
        Ok(())
    }

    /// The oldest thing that a worker told and nobody has taken yet.
    pub fn next_event(&self, worker: WorkerId) -> Option<Told> {
        self.exchange.events_of(worker)?.next()
    }
}
