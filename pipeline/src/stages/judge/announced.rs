//! Connections that others have announced: what an expectation says comes before the nat rules.
//!
//! Asked on a miss only, and the table of expectations is looked into only when there are any. A
//! packet that meets one is related for all rules, the filter's included; what it says of the
//! translation is instead of what the nat table would say.

use turnpike_conntrack::expect::{Destination, Expected, Source};
use turnpike_conntrack::nat::reserve;
use turnpike_conntrack::ports::{PortClaim, PortSpace};
use turnpike_conntrack::tuple::Tuple;

use crate::buffer::Buffer;
use crate::burst::{Meta, Origin, Way};
use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::outbox::Outbox;
use crate::stages::family::Stack;
use crate::stages::nat;
use crate::stages::view::View;
use crate::witness::Witness;
use crate::worker::Core;

/// What the first packet of a connection meets.
pub(super) fn meets<F: Stack, W>(
    core: &Core<W>,
    meta: &Meta,
    incoming: &Tuple<F>,
) -> Option<Expected<F>> {
    match meta.origin {
        Origin::Notice | Origin::Copy | Origin::Opening => None,
        Origin::Wire
        | Origin::Distributed
        | Origin::Steered
        | Origin::Returned
        | Origin::Reassembled
        | Origin::Local => core
            .conntrack
            .shared()
            .expectations
            .find(incoming, core.now),
    }
}

/// The tuple after destination translation.
pub(super) fn destination<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    packet: (&B, &Meta),
    incoming: &Tuple<F>,
    expected: Option<&Expected<F>>,
    out: &mut Outbox<B>,
) -> Result<Tuple<F>, DropReason> {
    match expected.map(|expected| expected.new_destination) {
        Some(Destination::To(dst, dst_port)) => Ok(Tuple {
            dst,
            dst_port,
            ..*incoming
        }),
        Some(Destination::Keep) => Ok(*incoming),
        Some(Destination::Rules) | None => nat::destination(core, packet, incoming, out),
    }
}

/// The tuple after source translation, and what it holds for it.
pub(super) fn source<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    packet: (&B, &Meta),
    view: &View<F>,
    out_interface: Option<IfaceId>,
    expected: Option<&Expected<F>>,
    out: &mut Outbox<B>,
) -> Result<nat::Source<F>, DropReason> {
    let leaves = out_interface.filter(|_| packet.1.way != Way::Local);
    match (expected.map(|expected| expected.new_source), leaves) {
        (Some(Source::Rules) | None, _) => nat::source(core, packet, view, out_interface, out),
        (Some(Source::Address(address)), Some(leaves)) => nat::under(core, view, leaves, address),
        (Some(Source::Endpoint(src, src_port)), Some(_)) => {
            let outgoing = Tuple {
                src,
                src_port,
                ..view.outgoing
            };
            let view = View { outgoing, ..*view };
            let claim = own_port(core, &view)?;
            let as_it_is = nat::as_it_is(&view);
            Ok(nat::Source { claim, ..as_it_is })
        }
        (Some(Source::Keep | Source::Address(_) | Source::Endpoint(..)), _) => {
            Ok(nat::as_it_is(view))
        }
    }
}

/// The connection's own claim on the port that was reserved for its inside endpoint, so that no
/// other endpoint has it, whatever becomes of the reservation.
fn own_port<F: Stack, W>(core: &Core<W>, view: &View<F>) -> Result<Option<PortClaim>, DropReason> {
    let Tuple {
        src,
        src_port,
        proto,
        ..
    } = view.outgoing;
    if PortSpace::of(proto).is_none() {
        return Ok(None);
    }
    let pools = F::pools(&core.program);
    if pools.ports(src).is_none() {
        return Err(DropReason::NatNoAddress);
    }
    let inside = (view.incoming.src, view.incoming.src_port);
    let key = &core.conntrack.shared().key;
    let claim = reserve(pools, proto, (src, src_port), inside, key);
    claim.map(Some).ok_or(DropReason::NatPortsExhausted)
}
