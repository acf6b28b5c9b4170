//! Where a new connection goes: dst-nat, redirect, netmap, same, and in through an
//! endpoint-independent mapping.

use turnpike_conntrack::eim::Inbound;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ports::{PortClaim, PortSpace};
use turnpike_conntrack::tuple::{Address, Tuple};

use super::{counterpart, pick, pick_port, same, single};
use crate::buffer::Buffer;
use crate::burst::{Meta, Origin};
use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::outbox::Outbox;
use crate::policy::{AddressRange, NatStateSet, PortRange, Translation};
use crate::program::Program;
use crate::rules::matchers::End;
use crate::rules::{Decision, Verdict};
use crate::stages::ask::{self, Hook};
use crate::stages::family::Stack;
use crate::stages::view::View;
use crate::witness::Witness;
use crate::worker::Core;

/// A connection's tuple after destination translation.
pub fn destination<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    packet: (&B, &Meta),
    incoming: &Tuple<F>,
    out: &mut Outbox<B>,
) -> Result<Tuple<F>, DropReason> {
    let meta = packet.1;
    let (state, nat_state) = (meta.state(), NatStateSet::default());
    let facts = ask::facts(incoming, meta, None, state, nat_state, core.now);
    let decision = ask::once(core, destination_hook(meta.origin), &facts, packet, out);
    let key = &core.conntrack.shared().key;
    destined(&core.program, key, decision, incoming, meta.in_interface)
}

/// Where the destinations of connections are translated: its own packets have a chain of their own.
const fn destination_hook(origin: Origin) -> Hook {
    if origin.is_local() {
        Hook::NatOutput
    } else {
        Hook::DstNat
    }
}

/// The tuple that a decision of the nat table gives to a connection.
pub fn destined<F: Stack>(
    program: &Program,
    key: &HashKey,
    decision: Decision,
    incoming: &Tuple<F>,
    in_interface: Option<IfaceId>,
) -> Result<Tuple<F>, DropReason> {
    match decision.verdict {
        Verdict::DstNat(Translation { addresses, ports }) => translated(incoming, addresses, ports),
        Verdict::Redirect(ports) => {
            let own = in_interface
                .and_then(|i| program.interfaces.source_address(i, incoming.src.to_ip()));
            let own = own.ok_or(DropReason::NatNoAddress)?;
            translated(incoming, Some(single(own)), ports)
        }
        Verdict::Same(Translation { addresses, ports }, by) => {
            let ends = (incoming.src, incoming.dst);
            let chosen = addresses.and_then(|range| same::<F>(range, by, ends));
            let chosen = chosen.ok_or(DropReason::NatNoAddress)?;
            translated(incoming, Some(single(chosen.to_ip())), ports)
        }
        Verdict::Netmap(to) => {
            let rule = decision.rule.and_then(|id| program.rules.find(id));
            let from = rule.and_then(|rule| rule.asked_range(End::Dst));
            let dst = counterpart::<F>(to, from, incoming.dst);
            Ok(Tuple {
                dst: dst.ok_or(DropReason::NatNoAddress)?,
                ..*incoming
            })
        }
        // The rule matches where there is a mapping. One that ended just now lets nobody in.
        Verdict::EndpointIndependent(_) => Ok(inbound(program, key, incoming).map_or(
            *incoming,
            |Inbound { inside, .. }| Tuple {
                dst: inside.0,
                dst_port: inside.1,
                ..*incoming
            },
        )),
        Verdict::Drop => Err(DropReason::FilterRule),
        Verdict::Accept
        | Verdict::Reject(_)
        | Verdict::NoTrack
        | Verdict::SrcNat(_)
        | Verdict::Masquerade(_) => Ok(*incoming),
    }
}

fn translated<F: Stack>(
    incoming: &Tuple<F>,
    addresses: Option<AddressRange>,
    ports: Option<PortRange>,
) -> Result<Tuple<F>, DropReason> {
    let mut translated = *incoming;
    if let Some(range) = addresses {
        translated.dst = pick::<F>(range, incoming.src).ok_or(DropReason::NatNoAddress)?;
    }
    if let Some(ports) = ports.filter(|_| incoming.proto.has_ports()) {
        translated.dst_port = pick_port(ports, incoming.dst_port);
    }
    Ok(translated)
}

/// The use of an endpoint-independent mapping by a connection that goes in through it: its
/// destination is the mapping's external endpoint, and becomes the inside one.
pub fn mapping<F: Stack, W>(core: &Core<W>, view: &View<F>) -> Option<PortClaim> {
    let (from, to) = (&view.incoming, &view.outgoing);
    if (from.dst, from.dst_port) == (to.dst, to.dst_port) {
        return None;
    }
    let found = inbound(&core.program, &core.conntrack.shared().key, from)?;
    (found.inside == (to.dst, to.dst_port)).then_some(found.claim)
}

/// The live mapping whose external endpoint a packet is for. Queries of ICMP have none: a ping to
/// the external address is for the gateway, whoever inside has its identifier in use.
fn inbound<F: Stack>(program: &Program, key: &HashKey, incoming: &Tuple<F>) -> Option<Inbound<F>> {
    let space = PortSpace::of(incoming.proto).filter(|_| incoming.proto.has_ports())?;
    let ports = F::pools(program).ports(incoming.dst)?;
    ports.inbound(space, incoming.dst_port, key)
}
