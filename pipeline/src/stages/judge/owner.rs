//! Which worker a packet belongs to that no flow here was found for.

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::tuple::Tuple;

use crate::buffer::Buffer;
use crate::burst::{Meta, Origin, Track};
use crate::drops::DropReason;
use crate::ids::IfaceId;
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
    match elsewhere::<F, W>(core, meta, &key, is_error) {
        Fate::Pass => {}
        fate @ (Fate::Drop(_) | Fate::Refuse(..) | Fate::Reject(_) | Fate::Handover(..)) => {
            return fate;
        }
    }
    let checksum = meta.checksum(buf);
    let segment = segment(buf.head(), &meta.parsed, checksum);
    let config = core.program.tracking_config;
    let table = F::table_mut(&mut core.conntrack);
    let admitted =
        !is_error && checksum == Checksum::Good && table.admits(&key, &segment, &config).is_ok();
    if !admitted {
        meta.track = Track::Invalid;
    } else if is_gated::<F, W>(core, meta, &key)
        && F::table_mut(&mut core.conntrack).holds_back(&key, &segment, core.now, &config)
    {
        return Fate::Drop(DropReason::SynFlood);
    }
    Fate::Pass
}

/// Whether a flood may hold back the packet that opens a connection: not one that another worker
/// has judged already, whose rules have counted, nor one that a connection has announced.
fn is_gated<F: Stack, W>(core: &Core<W>, meta: &Meta, key: &Tuple<F>) -> bool {
    let expectations = &core.conntrack.shared().expectations;
    !meta.origin.is_local() && meta.opening.is_none() && expectations.find(key, core.now).is_none()
}

/// Hands a packet over to the worker that owns its connection, or where one may be opened.
///
/// A connection is judged where its packets arrive: a packet that was steered to a worker whose
/// connection has ended meanwhile goes back to where it came from, unless that one, or somebody
/// else, has steered it anew.
fn elsewhere<F: Stack, W>(core: &mut Core<W>, meta: &Meta, key: &Tuple<F>, is_error: bool) -> Fate {
    let here = core.id;
    let by_hash = |core: &Core<W>| {
        let port = core.program.interfaces.port(meta.port)?;
        Some(port.distribution.worker(key))
    };
    // A call that nobody knows is a tunnel's.
    let tunnel = key.without_call();
    let find = |core: &Core<W>| {
        let steering = &core.conntrack.shared().steering;
        let of_tunnel = || steering.find(&tunnel).filter(|_| key.has_call());
        steering.find(key).or_else(of_tunnel)
    };
    let mut steered = find(core);
    if steered == Some(here) {
        // This worker has no such connection; an expired one may hold the place still.
        let table = F::table_mut(&mut core.conntrack);
        table.reclaim_expired(key, core.now);
        table.reclaim_expired(&tunnel, core.now);
        steered = find(core);
    }
    let (owner, found) = match meta.origin {
        Origin::Wire | Origin::Distributed | Origin::Reassembled => {
            // Ports hash an ICMP error by its own addresses, so it seldom arrives where its flow
            // lives.
            let owner = steered.or_else(|| by_hash(core).filter(|_| is_error));
            (owner, Found::AsOwner)
        }
        Origin::Returned | Origin::Local => (steered, Found::AsOwner),
        Origin::Steered if is_error => (None, Found::AsOwner),
        Origin::Steered => match steered {
            // Its connection is on the way here behind it, or another tuple has its fingerprint.
            Some(owner) if owner == here => return Fate::Drop(DropReason::NatClash),
            Some(owner) => (Some(owner), Found::AsOwner),
            None => (by_hash(core), Found::NoLongerOwner),
        },
        Origin::Opening | Origin::Notice | Origin::Copy => (None, Found::AsOwner),
    };
    match owner.filter(|owner| *owner != here) {
        Some(owner) => Fate::Handover(owner, found),
        None => Fate::Pass,
    }
}

/// The worker at which the reply to a connection arrives, and where it therefore lives.
///
/// What is for the gateway itself is answered from here; it lives where a packet with its reply
/// tuple would arrive by the way it came, so that equal ones meet.
pub(super) fn home<F: Stack, W>(
    core: &Core<W>,
    meta: &Meta,
    out_interface: Option<IfaceId>,
    reply: &Tuple<F>,
) -> WorkerId {
    distribution(core, meta, out_interface).map_or(core.id, |port| port.worker(reply))
}

/// How the port that the reply comes in by distributes.
pub(super) fn distribution<'a, W>(
    core: &'a Core<W>,
    meta: &Meta,
    out_interface: Option<IfaceId>,
) -> Option<&'a Distribution> {
    let interfaces = &core.program.interfaces;
    let interface = interfaces.find(out_interface.or(meta.in_interface)?)?;
    interfaces
        .port(interface.port)
        .map(|port| &*port.distribution)
}
