//! Listing and ending connections of a running gateway.
//!
//! A worker's table is walked by its worker, between bursts, a bounded piece at a time.

use turnpike_conntrack::ids::{FlowId, WorkerId};
use turnpike_conntrack::tuple::{V4, V6};
use turnpike_conntrack::walk::Connection;

use super::Gateway;
use crate::mailbox::AskError;

/// Places of a table that are looked at between two bursts.
pub const WALK_MAX: usize = 1_024;

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

/// Which connection to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyFlow {
    /// Of the IPv4 table.
    V4(FlowId),
    /// Of the IPv6 table.
    V6(FlowId),
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
        self.ask_worker(worker, move |worker| {
            let tables = worker.conntrack();
            let mut connections = Vec::new();
            let mut keep = |connection: AnyConnection| {
                if filter(&connection) {
                    connections.push(connection);
                }
            };
            let next = match cursor {
                Cursor::V4(at) => {
                    let next = tables
                        .v4
                        .walk(at, WALK_MAX, now, |c| keep(AnyConnection::V4(c)));
                    Some(next.map_or(Cursor::V6(0), Cursor::V4))
                }
                Cursor::V6(at) => {
                    let next = tables
                        .v6
                        .walk(at, WALK_MAX, now, |c| keep(AnyConnection::V6(c)));
                    next.map(Cursor::V6)
                }
            };
            Page { connections, next }
        })
    }

    /// How many connections each family of a worker holds: IPv4, IPv6.
    pub fn connection_counts(&self, worker: WorkerId) -> Result<(usize, usize), AskError> {
        self.ask_worker(worker, |worker| {
            (worker.conntrack().v4.len(), worker.conntrack().v6.len())
        })
    }

    /// Ends a connection of a worker. Nothing is sent to its ends.
    ///
    /// A place is used again when its connection has ended, so what is ended may be a newer one if
    /// the listing is old.
    pub fn end_connection(&self, worker: WorkerId, flow: AnyFlow) -> Result<(), AskError> {
        self.ask_worker(worker, move |worker| match flow {
            AnyFlow::V4(id) => worker.conntrack_mut().v4.remove(id),
            AnyFlow::V6(id) => worker.conntrack_mut().v6.remove(id),
        })
    }
}
