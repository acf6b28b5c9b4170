//! The two doors out of a worker, with their counters: the wire, and the slow path.

use crate::buffer::Buffer;
use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::outbox::{Departure, Outbox, Punt};
use crate::witness::{End, Witness};
use crate::worker::Core;

/// Sends a complete frame whose end is known.
pub fn send<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    interface: IfaceId,
    buf: B,
    end: &End,
    out: &mut Outbox<B>,
) {
    let Some(port) = core.program.interfaces.find(interface).map(|i| i.port) else {
        return core.drop_packet(buf, DropReason::InterfaceDown, *end);
    };
    core.witness.end(&buf, end);
    out.tx.push(Departure {
        port,
        interface,
        buf,
    });
}

/// Counts a frame that is on the wire.
pub fn sent<W>(core: &Core<W>, interface: IfaceId, bytes: u64) {
    core.counters.sent.packet(bytes);
    let counters = core.program.interface_counters(core.id);
    if let Some(cell) = counters.and_then(|c| c.find(interface)) {
        cell.sent.packet(bytes);
    }
}

/// Hands a packet to the slow path.
pub fn punt<B: Buffer, W>(core: &mut Core<W>, punt: Punt<B>, out: &mut Outbox<B>) {
    core.counters.punted(punt.kind.cause()).add(1);
    out.punts.push(punt);
}
