//! Finding the live connection that a packet would belong to, for explaining that packet.

use turnpike_conntrack::ids::{FlowRef, WorkerId};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::transplant::Graft;
use turnpike_conntrack::tuple::{Tuple, V4, V6};
use turnpike_pipeline::packet::parse::inspect;
use turnpike_pipeline::stages::family::Stack;
use turnpike_pipeline::standing::Standing;
use turnpike_pipeline::worker::Worker;

use super::{AnyConnection, Gateway};
use crate::mailbox::AskError;
use crate::mbuf::Mbuf;

/// A connection of either family with everything that its tracker knows.
#[derive(Debug, Clone, Copy)]
pub enum AnyGraft {
    /// Over IPv4.
    V4(Graft<V4>),
    /// Over IPv6.
    V6(Graft<V6>),
}

/// A live connection that a packet would belong to.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The connection.
    pub connection: AnyConnection,
    /// The same, to be entered into another table.
    pub graft: AnyGraft,
    /// For TCP the sequence number that the next segment of the packet's direction would have, and
    /// what it would acknowledge.
    pub next_numbers: Option<(u32, u32)>,
    /// What the packet would be treated by.
    pub standing: Standing,
}

/// The connection that has the tuple, and how its flow stands.
fn find<F: Stack>(
    worker: &Worker<Mbuf>,
    tuple: &Tuple<F>,
    now: Tick,
    any: fn(Graft<F>) -> AnyGraft,
) -> Option<Found>
where
    AnyConnection: From<turnpike_conntrack::table::Connection<F>>,
{
    let table = F::table(worker.conntrack());
    let flow: FlowRef = table.lookup(tuple, now)?;
    let graft = table.graft(flow.id, now)?;
    Some(Found {
        connection: table.connection(flow.id, now)?.into(),
        graft: any(graft),
        next_numbers: graft.next_numbers(flow.direction),
        standing: worker.standing::<F>(flow),
    })
}

impl Gateway {
    /// The live connection of a worker that a frame would belong to, if it came in now; nothing
    /// of it changes. One lookup between two bursts.
    pub fn find_connection(
        &self,
        worker: WorkerId,
        frame: &[u8],
    ) -> Result<Option<Found>, AskError> {
        let Ok(parsed) = inspect(frame, frame.len()) else {
            return Ok(None);
        };
        let now = self.clock.now();
        if let Some(tuple) = parsed.tuple::<V4>(frame) {
            return self.ask_worker(worker, move |w| find(w, &tuple, now, AnyGraft::V4));
        }
        match parsed.tuple::<V6>(frame) {
            Some(tuple) => self.ask_worker(worker, move |w| find(w, &tuple, now, AnyGraft::V6)),
            None => Ok(None),
        }
    }
}
