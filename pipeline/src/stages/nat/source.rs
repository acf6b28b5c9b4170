//! Where a new connection seems to come from: src-nat, masquerade, netmap, same, mappings.

use turnpike_conntrack::nat::{
    Mapping, NatError, PortOrder, PortTaken, SourceRequest, choose_free_source, keep_source,
};
use turnpike_conntrack::ports::{PortClaim, Sharing};
use turnpike_conntrack::tuple::{Address, Tuple};

use super::{counterpart, same, single};
use crate::buffer::Buffer;
use crate::burst::{Meta, Way};
use crate::drops::DropReason;
use crate::ids::{IfaceId, RuleId};
use crate::outbox::Outbox;
use crate::policy::{AddressRange, NatStateSet, PortChoice, PortRange, Translation};
use crate::program::Program;
use crate::rules::matchers::End;
use crate::rules::{Decision, Verdict};
use crate::stages::ask::{self, Hook};
use crate::stages::family::Stack;
use crate::stages::view::View;
use crate::witness::Witness;
use crate::worker::Core;

/// A connection's tuple after source translation, and what it holds for it.
pub struct Source<F: Stack> {
    /// The tuple that leaves.
    pub outgoing: Tuple<F>,
    /// The external port held, if one is.
    pub claim: Option<PortClaim>,
    /// Whether its address is whatever the gateway has there.
    pub masqueraded: bool,
}

/// What the rules want a source to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish<F: Stack> {
    /// It stays what it is.
    Stay,
    /// This address, with the port that it came with.
    Exactly(F::Addr),
    /// One of these.
    OneOf(Wanted),
}

/// What a source may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Any of these addresses.
    pub addresses: AddressRange,
    /// Any of these ports; `None` for the one it came with, or any that is free.
    pub ports: Option<PortRange>,
    mapping: Mapping,
    masqueraded: bool,
}

/// Translates the source of a connection that the filter accepted.
pub fn source<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    packet: (&B, &Meta),
    view: &View<F>,
    out_interface: Option<IfaceId>,
    out: &mut Outbox<B>,
) -> Result<Source<F>, DropReason> {
    let meta = packet.1;
    let untranslated = as_it_is(view);
    // By which link its answers come; those of the gateway itself, as if by the one it came by.
    let (hook, link) = match (meta.way, out_interface, meta.in_interface) {
        (Way::Local, _, Some(entry)) => (Hook::NatInput, entry),
        (Way::NextHop(_) | Way::Resolve(..), Some(exit), _) => (Hook::SrcNat, exit),
        (Way::Local | Way::NextHop(_) | Way::Resolve(..) | Way::Undecided, _, _) => {
            return Ok(untranslated);
        }
    };
    let nat_state = if view.incoming == view.outgoing {
        0
    } else {
        NatStateSet::DSTNAT
    };
    let facts = ask::facts(
        &view.outgoing,
        meta,
        out_interface,
        meta.state(),
        NatStateSet(nat_state),
        core.now,
    );
    let decision = ask::once(core, hook, &facts, packet, out);
    match wished(&core.program, view, decision, link)? {
        Wish::Stay => Ok(untranslated),
        Wish::Exactly(src) => netmap(core, view, src),
        Wish::OneOf(wanted) => {
            let order = order(core, decision.rule);
            let chosen = choose(core, view, link, &wanted, order)?;
            Ok(Source {
                masqueraded: wanted.masqueraded,
                ..chosen
            })
        }
    }
}

/// What a decision of the nat table wants the source of a connection to become.
pub fn wished<F: Stack>(
    program: &Program,
    view: &View<F>,
    decision: Decision,
    out_interface: IfaceId,
) -> Result<Wish<F>, DropReason> {
    let Some(to) = decided(view, decision.verdict)? else {
        return Ok(Wish::Stay);
    };
    let (Translation { addresses, ports }, mapping) = match to {
        Decided::Counterpart(to) => {
            let rule = decision.rule.and_then(|id| program.rules.find(id));
            let from = rule.and_then(|rule| rule.asked_range(End::Src));
            let src = counterpart::<F>(to, from, view.outgoing.src);
            return src.map(Wish::Exactly).ok_or(DropReason::NatNoAddress);
        }
        Decided::Chosen(to, mapping) => (to, mapping),
    };
    let towards = view.outgoing.dst.to_ip();
    let own = || {
        let own = program.interfaces.source_address(out_interface, towards);
        own.map(single)
    };
    Ok(Wish::OneOf(Wanted {
        addresses: addresses.or_else(own).ok_or(DropReason::NatNoAddress)?,
        ports,
        mapping,
        masqueraded: addresses.is_none(),
    }))
}

/// What a rule makes of a source.
enum Decided {
    /// One of these, by default an address of the interface it leaves by.
    Chosen(Translation, Mapping),
    /// Its counterpart here.
    Counterpart(AddressRange),
}

/// What the verdict of the nat table means for a source; `None` if it stays.
fn decided<F: Stack>(view: &View<F>, verdict: Verdict) -> Result<Option<Decided>, DropReason> {
    let (to, mapping) = match verdict {
        Verdict::SrcNat(to) => {
            let addresses = Some(to.addresses.unwrap_or(single(view.outgoing.src.to_ip())));
            (Translation { addresses, ..to }, Mapping::PerConnection)
        }
        Verdict::Masquerade(ports) => {
            let addresses = None;
            (Translation { addresses, ports }, Mapping::PerConnection)
        }
        Verdict::EndpointIndependent(to) => (to, Mapping::EndpointIndependent),
        Verdict::Same(to, by) => {
            let ends = (view.outgoing.src, view.outgoing.dst);
            let chosen = to.addresses.and_then(|range| same::<F>(range, by, ends));
            let chosen = chosen.ok_or(DropReason::NatNoAddress)?;
            let addresses = Some(single(chosen.to_ip()));
            (Translation { addresses, ..to }, Mapping::PerConnection)
        }
        Verdict::Netmap(to) => return Ok(Some(Decided::Counterpart(to))),
        Verdict::Drop => return Err(DropReason::FilterRule),
        Verdict::Accept
        | Verdict::Reject(_)
        | Verdict::NoTrack
        | Verdict::DstNat(_)
        | Verdict::Redirect(_) => return Ok(None),
    };
    Ok(Some(Decided::Chosen(to, mapping)))
}

/// A connection that leaves as `view` shows it, and holds no port.
pub fn as_it_is<F: Stack>(view: &View<F>) -> Source<F> {
    Source {
        outgoing: view.outgoing,
        claim: None,
        masqueraded: false,
    }
}

/// A connection that leaves by an interface under this address, whatever the rules say.
pub fn under<F: Stack, W>(
    core: &Core<W>,
    view: &View<F>,
    out_interface: IfaceId,
    address: F::Addr,
) -> Result<Source<F>, DropReason> {
    let wanted = Wanted {
        addresses: single(address.to_ip()),
        ports: None,
        mapping: Mapping::PerConnection,
        masqueraded: false,
    };
    choose(core, view, out_interface, &wanted, PortOrder::Preserve)
}

/// Takes an external port from the pools.
fn choose<F: Stack, W>(
    core: &Core<W>,
    view: &View<F>,
    out_interface: IfaceId,
    wanted: &Wanted,
    order: PortOrder,
) -> Result<Source<F>, DropReason> {
    let of_family = |ip| F::Addr::from_ip(ip).ok_or(DropReason::NatNoAddress);
    let request = SourceRequest {
        tuple: view.outgoing,
        inside: (view.incoming.src, view.incoming.src_port),
        addresses: (
            of_family(wanted.addresses.first)?,
            of_family(wanted.addresses.last)?,
        ),
        ports: wanted.ports.map(|p| (p.first, p.last)),
        sharing: if view.incoming == view.outgoing {
            Sharing::Shared
        } else {
            Sharing::Exclusive
        },
        mapping: wanted.mapping,
        order,
    };
    let egress = core.program.interfaces.find(out_interface);
    let port = egress.and_then(|e| core.program.interfaces.port(e.port));
    let port = port.ok_or(DropReason::InterfaceDown)?;
    let key = &core.conntrack.shared().key;
    let pools = F::pools(&core.program);
    let table = F::table(&core.conntrack);
    let taken = |reply: &Tuple<F>| table.is_taken(reply, core.now);
    match choose_free_source(pools, &request, &port.distribution, core.id, key, taken) {
        Ok(chosen) => Ok(Source {
            outgoing: chosen.tuple,
            claim: chosen.claim,
            masqueraded: false,
        }),
        Err(NatError::PortsExhausted) => Err(DropReason::NatPortsExhausted),
        Err(NatError::NoPool) => Err(DropReason::NatNoAddress),
    }
}

/// Gives a connection the source address that is its inside address's own. The port stays; where
/// other rules give out ports of that address too, it is claimed, so that nobody else has it.
fn netmap<F: Stack, W>(
    core: &Core<W>,
    view: &View<F>,
    src: F::Addr,
) -> Result<Source<F>, DropReason> {
    let outgoing = Tuple {
        src,
        ..view.outgoing
    };
    let inside = (view.incoming.src, view.incoming.src_port);
    let key = &core.conntrack.shared().key;
    let claim = keep_source(F::pools(&core.program), &outgoing, inside, key);
    let claim = claim.map_err(|PortTaken| DropReason::NatClash)?;
    Ok(Source {
        outgoing,
        claim,
        masqueraded: false,
    })
}

/// Which port the deciding rule wants tried first.
fn order<W>(core: &mut Core<W>, rule: Option<RuleId>) -> PortOrder {
    let rule = rule.and_then(|id| core.program.rules.find(id));
    match rule.map(|rule| rule.port_choice) {
        Some(PortChoice::Random) => PortOrder::Random(core.random.number()),
        Some(PortChoice::Preserved) | None => PortOrder::Preserve,
    }
}
