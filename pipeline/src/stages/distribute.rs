//! Software distribution: which worker a frame belongs to, where the device does not say.
//!
//! The same hash and table as the device would use, so that a port chosen for translation brings
//! its replies to the same worker either way. ICMP errors go by the flow they quote. Fragments stay
//! where they are: their packet is put together by the slow path, which asks the hash then.

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::buffer::Buffer;
use crate::burst::BURST_MAX;
use crate::ids::PortId;
use crate::outbox::{Found, Handover, Outbox};
use crate::packet::parse::{Parsed, inspect};
use crate::packet::quoted::quoted;
use crate::stages::admit::{count_received, interface_of};
use crate::worker::Core;

/// Hands over the frames of a received burst that belong to other workers.
pub fn run<B: Buffer, W>(
    core: &Core<W>,
    port: PortId,
    frames: &mut ArrayVec<B, BURST_MAX>,
    out: &mut Outbox<B>,
) {
    let mut kept = ArrayVec::<B, BURST_MAX>::new();
    for buf in frames.drain(..) {
        let parsed = inspect(buf.head(), buf.frame_len()).ok();
        let owner = parsed
            .as_ref()
            .map_or(core.id, |parsed| owner(core, port, &buf, parsed));
        if owner == core.id {
            kept.push(buf);
            continue;
        }
        let interface = parsed.and_then(|parsed| interface_of(core, port, &parsed));
        count_received(core, port, interface, buf.frame_len());
        core.counters.handed_over(Found::ByHash).add(1);
        out.handover.push((
            owner,
            Handover {
                buf,
                port: Some(port),
                found: Found::ByHash,
                opening: None,
            },
        ));
    }
    *frames = kept;
}

/// The worker that a frame received on `port` belongs to; what has no flow stays where it is.
pub fn owner_of<B: Buffer, W>(core: &Core<W>, port: PortId, frame: &B) -> WorkerId {
    match inspect(frame.head(), frame.frame_len()) {
        Ok(parsed) => owner(core, port, frame, &parsed),
        Err(_) => core.id,
    }
}

fn owner<B: Buffer, W>(core: &Core<W>, port: PortId, frame: &B, parsed: &Parsed) -> WorkerId {
    let facts = core.program.interfaces.port(port);
    facts
        .filter(|_| !parsed.fragment.is_fragment())
        .and_then(|port| owner_by_hash(&port.distribution, frame.head(), parsed))
        .unwrap_or(core.id)
}

/// The worker that a whole packet belongs to; `None` for what has no flow.
pub fn owner_by_hash(
    distribution: &Distribution,
    head: &[u8],
    parsed: &Parsed,
) -> Option<WorkerId> {
    match parsed.version()? {
        4 => of_family::<V4>(distribution, head, parsed),
        _ => of_family::<V6>(distribution, head, parsed),
    }
}

fn of_family<F: Family>(
    distribution: &Distribution,
    head: &[u8],
    parsed: &Parsed,
) -> Option<WorkerId> {
    let tuple = match quoted::<F>(head, parsed) {
        Some(quote) => quote.tuple,
        None => parsed.tuple::<F>(head)?,
    };
    Some(distribution.worker(&tuple))
}
