//! Translation of a new connection: what the nat table decides, made into tuples.
//!
//! Called by the judge, for the first packet of a connection only. Drops where a translation
//! cannot be: `nat-no-address`, `nat-ports-exhausted`.

use std::net::IpAddr;

use turnpike_conntrack::nat::{NatError, SourceRequest, Steer, choose_source, steer};
use turnpike_conntrack::ports::{PortClaim, Sharing};
use turnpike_conntrack::tuple::{Address, Port, Tuple};

use crate::buffer::Buffer;
use crate::burst::{Meta, Way};
use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::outbox::Outbox;
use crate::policy::{AddressRange, NatStateSet, PortRange, Translation};
use crate::rules::Verdict;
use crate::stages::ask::{self, Hook};
use crate::stages::family::Stack;
use crate::stages::view::View;
use crate::worker::Core;

/// A connection's tuple after destination translation.
pub fn destination<F: Stack, B: Buffer, W>(
    core: &mut Core<W>,
    packet: (&B, &Meta),
    incoming: &Tuple<F>,
    out: &mut Outbox<B>,
) -> Result<Tuple<F>, DropReason> {
    let meta = packet.1;
    let facts = ask::facts(incoming, meta, None, meta.state(), NatStateSet::default());
    let decision = ask::once(core, Hook::DstNat, &facts, packet, out);
    let (addresses, ports) = match decision.verdict {
        Verdict::DstNat(Translation { addresses, ports }) => (addresses, ports),
        Verdict::Redirect(ports) => {
            let own = meta
                .in_interface
                .and_then(|i| own_address(core, i, facts.src));
            let own = own.ok_or(DropReason::NatNoAddress)?;
            (
                Some(AddressRange {
                    first: own,
                    last: own,
                }),
                ports,
            )
        }
        Verdict::Drop => return Err(DropReason::FilterRule),
        Verdict::Accept
        | Verdict::Reject(_)
        | Verdict::NoTrack
        | Verdict::SrcNat(_)
        | Verdict::Masquerade(_) => return Ok(*incoming),
    };
    let mut translated = *incoming;
    if let Some(range) = addresses {
        translated.dst = pick::<F>(range, incoming.src).ok_or(DropReason::NatNoAddress)?;
    }
    if let Some(ports) = ports.filter(|_| incoming.proto.has_ports()) {
        translated.dst_port = pick_port(ports, incoming.dst_port);
    }
    Ok(translated)
}

/// A connection's tuple after source translation, and what it holds for it.
pub struct Source<F: Stack> {
    /// The tuple that leaves.
    pub outgoing: Tuple<F>,
    /// The external port held, if one is.
    pub claim: Option<PortClaim>,
    /// Whether the reply has to be steered to this worker.
    pub steer: Steer,
}

/// Translates the source of a connection that the filter accepted.
pub fn source<F: Stack, B: Buffer, W>(
    core: &mut Core<W>,
    packet: (&B, &Meta),
    view: &View<F>,
    out_interface: Option<IfaceId>,
    out: &mut Outbox<B>,
) -> Result<Source<F>, DropReason> {
    let meta = packet.1;
    let untranslated = as_it_is(core, view, out_interface);
    let Some(out_interface) = out_interface.filter(|_| meta.way != Way::Local) else {
        return Ok(untranslated);
    };
    let nat_state = if view.incoming == view.outgoing {
        0
    } else {
        NatStateSet::DSTNAT
    };
    let facts = ask::facts(
        &view.outgoing,
        meta,
        Some(out_interface),
        meta.state(),
        NatStateSet(nat_state),
    );
    let decision = ask::once(core, Hook::SrcNat, &facts, packet, out);
    let (addresses, ports) = match decision.verdict {
        Verdict::SrcNat(Translation { addresses, ports }) => (addresses, ports),
        Verdict::Masquerade(ports) => {
            let own = own_address(core, out_interface, facts.dst);
            let own = own.ok_or(DropReason::NatNoAddress)?;
            (
                Some(AddressRange {
                    first: own,
                    last: own,
                }),
                ports,
            )
        }
        Verdict::Drop => return Err(DropReason::FilterRule),
        Verdict::Accept
        | Verdict::Reject(_)
        | Verdict::NoTrack
        | Verdict::DstNat(_)
        | Verdict::Redirect(_) => return Ok(untranslated),
    };
    let own = AddressRange {
        first: facts.src,
        last: facts.src,
    };
    translate(core, view, out_interface, addresses.unwrap_or(own), ports)
}

/// A connection that leaves as `view` shows it, and holds no port.
pub fn as_it_is<F: Stack, W>(
    core: &Core<W>,
    view: &View<F>,
    out_interface: Option<IfaceId>,
) -> Source<F> {
    Source {
        outgoing: view.outgoing,
        claim: None,
        steer: steering(core, view, out_interface),
    }
}

/// A connection that leaves by an interface under one of these addresses and ports.
pub fn translate<F: Stack, W>(
    core: &Core<W>,
    view: &View<F>,
    out_interface: IfaceId,
    addresses: AddressRange,
    ports: Option<PortRange>,
) -> Result<Source<F>, DropReason> {
    let request = request::<F>(view, addresses, ports)?;
    let egress = core.program.interfaces.find(out_interface);
    let port = egress.and_then(|e| core.program.interfaces.port(e.port));
    let port = port.ok_or(DropReason::InterfaceDown)?;
    let key = &core.conntrack.shared().key;
    let pools = F::pools(&core.program);
    match choose_source(pools, &request, &port.distribution, core.id, key) {
        Ok(chosen) => Ok(Source {
            outgoing: chosen.tuple,
            claim: chosen.claim,
            steer: chosen.steer,
        }),
        Err(NatError::PortsExhausted) => Err(DropReason::NatPortsExhausted),
        Err(NatError::NoPool) => Err(DropReason::NatNoAddress),
    }
}

/// What is asked of the port pools; `NatNoAddress` if the range is of the other family.
fn request<F: Stack>(
    view: &View<F>,
    addresses: AddressRange,
    ports: Option<PortRange>,
) -> Result<SourceRequest<F>, DropReason> {
    let of_family = |ip| F::Addr::from_ip(ip).ok_or(DropReason::NatNoAddress);
    Ok(SourceRequest {
        tuple: view.outgoing,
        inside: (view.incoming.src, view.incoming.src_port),
        addresses: (of_family(addresses.first)?, of_family(addresses.last)?),
        ports: ports.map(|p| (p.first, p.last)),
        sharing: if view.incoming == view.outgoing {
            Sharing::Shared
        } else {
            Sharing::Exclusive
        },
    })
}

/// Whether replies of a connection would land on another worker if nobody told them.
fn steering<F: Stack, W>(core: &Core<W>, view: &View<F>, out_interface: Option<IfaceId>) -> Steer {
    let interfaces = &core.program.interfaces;
    let port = out_interface
        .and_then(|i| interfaces.find(i))
        .and_then(|i| interfaces.port(i.port));
    port.map_or(Steer::No, |port| {
        steer(&port.distribution, &view.outgoing.inverse(), core.id)
    })
}

/// The gateway's address on an interface, as it speaks to `towards`.
fn own_address<W>(core: &Core<W>, interface: IfaceId, towards: IpAddr) -> Option<IpAddr> {
    core.program.interfaces.source_address(interface, towards)
}

/// One address of the range, always the same for one client.
fn pick<F: Stack>(range: AddressRange, client: F::Addr) -> Option<F::Addr> {
    let first = F::Addr::from_ip(range.first)?.to_bits();
    let last = F::Addr::from_ip(range.last)?.to_bits();
    let offset = match (last - first).checked_add(1) {
        Some(count) => client.to_bits() % count,
        None => client.to_bits(),
    };
    Some(F::Addr::from_bits(first + offset))
}

/// The wanted port if the range has it, else one of the range that follows from it.
fn pick_port(range: PortRange, wanted: Port) -> Port {
    if (range.first..=range.last).contains(&wanted.0) {
        return wanted;
    }
    let count = u32::from(range.last - range.first) + 1;
    let offset = u16::try_from(u32::from(wanted.0) % count).unwrap_or(0);
    Port(range.first + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::tuple::V4;

    #[test]
    fn a_client_always_gets_the_same_address_of_a_range_and_all_are_used() {
        let range = AddressRange {
            first: [10, 0, 0, 1].into(),
            last: [10, 0, 0, 4].into(),
        };
        let picked: Vec<_> = (0..8).map(|n| pick::<V4>(range, [192, 0, 2, n])).collect();
        assert_eq!(picked[..4], picked[4..]);
        let distinct: std::collections::BTreeSet<_> = picked.into_iter().flatten().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_port_inside_the_range_is_kept_and_others_are_folded_into_it() {
        let range = PortRange {
            first: 8000,
            last: 8003,
        };
        assert_eq!(pick_port(range, Port(8002)), Port(8002));
        assert!((8000..=8003).contains(&pick_port(range, Port(81)).0));
        assert_eq!(
            pick_port(
                PortRange {
                    first: 8080,
                    last: 8080
                },
                Port(80)
            ),
            Port(8080)
        );
    }
}
