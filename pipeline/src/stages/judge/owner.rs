//! Which worker a packet belongs to that no flow here was found for.

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::tuple::Tuple;

use crate::buffer::Buffer;
use crate::burst::{Meta, Origin, Track};
use crate::drops::DropReason;
use crate::outbox::Found;
use crate::packet::quoted::connection_key;
use crate::packet::segment::segment;
use crate::stages::family::Stack;
use crate::stages::fate::Fate;
use crate::stages::track;
use crate::witness::Witness;
use crate::worker::Core;

/// A miss of the bulk lookup, looked at once more: an earlier packet of this burst may have opened
/// the connection, and another worker may own it. Left as a miss, the packet may open one.
pub(super) fn look_again<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
) -> Fate {
    let Some((key, is_error)) = connection_key::<F>(buf.head(), &meta.parsed) else {
        meta.track = Track::Invalid;
        return Fate::Pass;
    };
    if let Some(flow) = F::table(&core.conntrack).lookup(&key, core.now) {
        meta.track = if is_error {
            Track::Related(flow)
        } else {
            track::known::<F, B, W>(core, buf, meta, flow)
        };
        return Fate::Pass;
    }
    if let Some((owner, found)) = elsewhere::<F, W>(core, meta, &key, is_error) {
        return Fate::Handover(owner, found);
    }
    let checksum = meta.checksum(buf);
    let segment = segment(buf.head(), &meta.parsed, checksum);
    let config = core.program.tracking_config;
    let table = F::table_mut(&mut core.conntrack);
    let admitted =
        !is_error && checksum == Checksum::Good && table.admits(&key, &segment, &config).is_ok();
    if !admitted {
        meta.track = Track::Invalid;
    } else if !meta.origin.is_local() && table.holds_back(&key, &segment, core.now, &config) {
        return Fate::Drop(DropReason::SynFlood);
    }
    Fate::Pass
}

/// The other worker that owns the connection of a received packet, or may open one with it.
///
/// A connection is opened where its packets arrive: a packet that was steered to a worker whose
/// connection has ended meanwhile goes back to where it came from, and stays there.
fn elsewhere<F: Stack, W>(
    core: &Core<W>,
    meta: &Meta,
    key: &Tuple<F>,
    is_error: bool,
) -> Option<(WorkerId, Found)> {
    let by_hash = || {
        let port = core.program.interfaces.port(meta.port)?;
        Some(port.distribution.worker(key))
    };
    let (owner, found) = match meta.origin {
        Origin::Wire | Origin::Distributed | Origin::Reassembled => {
            let steering = &core.conntrack.shared().steering;
            let tunnel = || steering.find(&key.without_call());
            let steered = steering
                .find(key)
                .or_else(|| key.has_call().then(tunnel).flatten());
            // Ports hash an ICMP error by its own addresses, so it seldom arrives where its flow
            // lives.
            let owner = steered.or_else(|| is_error.then(by_hash).flatten())?;
            (owner, Found::AsOwner)
        }
        Origin::Steered if !is_error => (by_hash()?, Found::NoLongerOwner),
        Origin::Steered | Origin::Returned | Origin::Local | Origin::Notice => return None,
    };
    (owner != core.id).then_some((owner, found))
}
