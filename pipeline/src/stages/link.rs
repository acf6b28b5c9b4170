//! Stage 9, `link`: the last one. A packet gets its Ethernet header and leaves.
//!
//! Reads the way; writes Ethernet addresses and tag. What is for the gateway, or for a neighbour
//! that has to be resolved, or too large for its link, leaves for the slow path, finished but for
//! that. Drops `interface-down` when the interface has gone.

use crate::buffer::{Buffer, NoRoom};
use crate::burst::{Burst, Meta, Way};
use crate::drops::DropReason;
use crate::ids::{IfaceId, Mac};
use crate::nexthop::NextHopId;
use crate::outbox::{Outbox, Punt, PuntKind};
use crate::packet::parse::{Parsed, VlanId, inspect};
use crate::packet::retag::{Tagging, retag};
use crate::packet::rewrite::set_ethernet;
use crate::stages::fate::end_of;
use crate::stages::judge::out_interface;
use crate::stages::transmit;
use crate::witness::{End, Ending, Witness};
use crate::worker::Core;

/// Sends every live packet on its way; the burst is empty afterwards.
pub fn run<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    for slot in burst.live() {
        let Some((buf, meta)) = burst.take(slot) else {
            continue;
        };
        match meta.way {
            Way::NextHop(id) => neighbour(core, buf, meta, id, out),
            Way::Resolve(iface, address) => {
                hold(core, buf, &meta, PuntKind::Resolve(iface, address), out);
            }
            Way::Local => local(core, buf, &meta, out),
            Way::Undecided => {
                core.drop_packet(buf, DropReason::NoRoute, end_of(&meta, Ending::Drop));
            }
        }
    }
}

/// Sends a frame that the slow path finished but for the interface's tag.
pub fn complete<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    interface: IfaceId,
    buf: B,
    out: &mut Outbox<B>,
) {
    let end = End {
        out: Some(interface),
        ..End::bare(Ending::Accept, None)
    };
    match inspect(buf.head(), buf.frame_len()) {
        Ok(parsed) => {
            let mac = parsed.link.dst;
            frame(core, buf, parsed, (interface, mac, None), end, out);
        }
        Err(reason) => core.drop_packet(buf, reason, end),
    }
}

/// Sends a finished packet whose neighbour the slow path has resolved.
pub fn forward<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    interface: IfaceId,
    mac: Mac,
    buf: B,
    out: &mut Outbox<B>,
) {
    let end = End {
        out: Some(interface),
        ..End::bare(Ending::Accept, None)
    };
    match inspect(buf.head(), buf.frame_len()) {
        Ok(parsed) if exceeds(core, &parsed, interface) => {
            let kind = PuntKind::Fragment(interface, mac);
            let from = core.id;
            transmit::punt(core, Punt::new(buf, from, kind), out);
        }
        Ok(parsed) => frame(core, buf, parsed, (interface, mac, None), end, out),
        Err(reason) => core.drop_packet(buf, reason, end),
    }
}

fn neighbour<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: B,
    meta: Meta,
    id: NextHopId,
    out: &mut Outbox<B>,
) {
    let Some(&hop) = core.next_hops.entry(id) else {
        return core.drop_packet(buf, DropReason::NoRoute, end_of(&meta, Ending::Drop));
    };
    let Some(mac) = hop.mac else {
        let kind = PuntKind::Resolve(hop.interface, hop.address);
        return hold(core, buf, &meta, kind, out);
    };
    if exceeds(core, &meta.parsed, hop.interface) {
        let kind = PuntKind::Fragment(hop.interface, mac);
        return hold(core, buf, &meta, kind, out);
    }
    let end = End {
        out: Some(hop.interface),
        ..end_of(&meta, Ending::Accept)
    };
    let priority = tag_priority(&meta);
    let exit = (hop.interface, mac, priority);
    frame(core, buf, meta.parsed, exit, end, out);
}

/// The priority of the tag that rules want the packet to leave with.
fn tag_priority(meta: &Meta) -> Option<u8> {
    let priority = meta.edits.new_priority(&meta.parsed)?;
    Some(priority & 0b111)
}

/// The tags of an interface; `None` if it has gone.
fn tagging<W>(core: &Core<W>, interface: IfaceId, priority: Option<u8>) -> Option<Tagging> {
    let own = core.program.interfaces.find(interface)?;
    Some(match own.vlan {
        None => Tagging::Untagged,
        Some(id) => Tagging::Tagged(VlanId(id), priority),
    })
}

/// Whether the packet has to be cut up for the interface's link.
fn exceeds<W>(core: &Core<W>, parsed: &Parsed, interface: IfaceId) -> bool {
    let mtu = core
        .program
        .interfaces
        .find(interface)
        .map_or(u16::MAX, |i| i.mtu);
    parsed.ip_len > u32::from(mtu)
}

/// Gives a packet that comes back as a frame alone the tag it will leave with, if a rule has given
/// it a priority.
///
/// # Errors
/// The buffer has no room for a tag.
pub fn tag_before<B: Buffer, W>(core: &Core<W>, buf: &mut B, meta: &Meta) -> Result<(), NoRoom> {
    if let (Some(priority), Some(interface)) = (tag_priority(meta), out_interface(core, meta))
        && let Some(tagging) = tagging(core, interface, Some(priority))
        && tagging.differs_from(&meta.parsed)
    {
        retag(buf, &mut { meta.parsed }, tagging)?;
    }
    Ok(())
}

fn hold<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    mut buf: B,
    meta: &Meta,
    kind: PuntKind,
    out: &mut Outbox<B>,
) {
    if tag_before(core, &mut buf, meta).is_err() {
        return core.drop_packet(buf, DropReason::NoBuffer, end_of(meta, Ending::Drop));
    }
    core.witness.end(&buf, &end_of(meta, Ending::Held));
    transmit::punt(core, Punt::new(buf, core.id, kind), out);
}

fn local<B: Buffer, W: Witness<B>>(core: &mut Core<W>, buf: B, meta: &Meta, out: &mut Outbox<B>) {
    let Some(iface) = meta.in_interface else {
        return core.drop_packet(buf, DropReason::NoListener, end_of(meta, Ending::Drop));
    };
    core.witness.end(&buf, &end_of(meta, Ending::Local));
    transmit::punt(core, Punt::new(buf, core.id, PuntKind::Local(iface)), out);
}

/// Writes the Ethernet header of the interface and sends.
fn frame<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    mut buf: B,
    mut parsed: Parsed,
    (interface, mac, priority): (IfaceId, Mac, Option<u8>),
    end: End,
    out: &mut Outbox<B>,
) {
    let own_mac = core.program.interfaces.find(interface).map(|own| own.mac);
    let (Some(own_mac), Some(tagging)) = (own_mac, tagging(core, interface, priority)) else {
        return core.drop_packet(buf, DropReason::InterfaceDown, end);
    };
    if tagging.differs_from(&parsed) && retag(&mut buf, &mut parsed, tagging).is_err() {
        return core.drop_packet(buf, DropReason::NoBuffer, end);
    }
    set_ethernet(buf.head_mut(), mac, own_mac);
    transmit::send(core, interface, buf, &end, out);
}
