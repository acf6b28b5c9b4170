//! Stage 8, `link`: the last one. A packet gets its Ethernet header and leaves.
//!
//! Reads the way; writes Ethernet addresses and tag. What is for the gateway, or for a neighbour
//! that has to be resolved, or too large for its link, leaves for the slow path, finished but for
//! that. Drops `interface-down` when the interface has gone.

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Way};
use crate::drops::DropReason;
use crate::ids::{IfaceId, Mac};
use crate::nexthop::NextHopId;
use crate::outbox::{Outbox, Punt, PuntKind};
use crate::packet::parse::{Parsed, VlanId, inspect};
use crate::packet::retag::{Tagging, retag};
use crate::packet::rewrite::set_ethernet;
use crate::stages::fate::end_of;
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
            frame(core, buf, parsed, (interface, mac), end, out);
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
            transmit::punt(core, Punt { buf, from, kind }, out);
        }
        Ok(parsed) => frame(core, buf, parsed, (interface, mac), end, out),
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
    frame(core, buf, meta.parsed, (hop.interface, mac), end, out);
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

fn hold<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: B,
    meta: &Meta,
    kind: PuntKind,
    out: &mut Outbox<B>,
) {
    core.witness.end(&buf, &end_of(meta, Ending::Held));
    transmit::punt(
        core,
        Punt {
            buf,
            from: core.id,
            kind,
        },
        out,
    );
}

fn local<B: Buffer, W: Witness<B>>(core: &mut Core<W>, buf: B, meta: &Meta, out: &mut Outbox<B>) {
    let Some(iface) = meta.in_interface else {
        return core.drop_packet(buf, DropReason::NoListener, end_of(meta, Ending::Drop));
    };
    core.witness.end(&buf, &end_of(meta, Ending::Local));
    transmit::punt(
        core,
        Punt {
            buf,
            from: core.id,
            kind: PuntKind::Local(iface),
        },
        out,
    );
}

/// Writes the Ethernet header of the interface and sends.
fn frame<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    mut buf: B,
    mut parsed: Parsed,
    (interface, mac): (IfaceId, Mac),
    end: End,
    out: &mut Outbox<B>,
) {
    let Some(own) = core.program.interfaces.find(interface) else {
        return core.drop_packet(buf, DropReason::InterfaceDown, end);
    };
    let own_mac = own.mac;
    let tagging = own
        .vlan
        .map_or(Tagging::Untagged, |id| Tagging::Tagged(VlanId(id)));
    if tagging.differs_from(&parsed) && retag(&mut buf, &mut parsed, tagging).is_err() {
        return core.drop_packet(buf, DropReason::NoBuffer, end);
    }
    set_ethernet(buf.head_mut(), mac, own_mac);
    transmit::send(core, interface, buf, &end, out);
}
