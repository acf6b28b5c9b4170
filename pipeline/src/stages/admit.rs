//! Stage 1, `admit`: a frame becomes a packet with checked headers and an interface.
//!
//! Reads the frame; writes [`Meta`]; ARP, neighbour discovery and, where connections
//! are tracked, fragments leave for the slow path here.
//! Drops what is malformed (the parser's reasons), tagged for no interface (`vlan-unknown`), for
//! another station (`not-for-us`), or with addresses that cannot be (`martian-source`,
//! `martian-destination`).

use turnpike_conntrack::labels::Layer7;

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, OpeningId, Origin, Track, Way};
use crate::drops::DropReason;
use crate::ids::{IfaceId, PortId};
use crate::outbox::{Outbox, Punt, PuntKind};
use crate::packet::nd::{is_discovery, is_listener_discovery, is_resolution};
use crate::packet::parse::{Net, Parsed, parse};
use crate::rules::{Edits, Marks};
use crate::stages::transmit;
use crate::witness::{End, Ending, Witness};
use crate::worker::Core;

/// Admits a received frame, or ends it.
pub fn frame<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    mut buf: B,
    (port, origin): (PortId, Origin),
    opening: Option<OpeningId>,
    out: &mut Outbox<B>,
) {
    let length = buf.frame_len();
    let parsed = parse(&mut buf);
    let interface = parsed
        .as_ref()
        .ok()
        .and_then(|p| interface_of(core, port, p));
    match origin {
        Origin::Wire => count_received(core, port, interface, length),
        Origin::Distributed
        | Origin::Steered
        | Origin::Returned
        | Origin::Opening
        | Origin::Reassembled
        | Origin::Local
        | Origin::Notice
        | Origin::Copy => {}
    }
    let refused = |core: &mut Core<W>, buf: B, reason: DropReason| {
        let end = End::bare(Ending::Drop, None).of_entrance(interface);
        core.drop_packet(buf, reason, end);
    };
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return refused(core, buf, reason),
    };
    let Some(interface) = interface else {
        return refused(core, buf, DropReason::VlanUnknown);
    };
    if !addressed_to_us(core, interface, &parsed) {
        return refused(core, buf, DropReason::NotForUs);
    }
    if parsed.net == Net::Arp {
        return consume(core, buf, PuntKind::Arp(interface), out);
    }
    if let Err(reason) = plausible(&buf, &parsed) {
        return refused(core, buf, reason);
    }
    if is_resolution(&parsed) {
        return consume(core, buf, PuntKind::Discovery(interface), out);
    }
    if is_discovery(&parsed) || is_listener_discovery(&parsed) {
        // It passes without a rule, and the gateway, neither host nor querier, has no use for it.
        core.counters.consumed.add(1);
        return core.witness.end(&buf, &End::bare(Ending::Consumed, None));
    }
    if parsed.fragment.is_fragment() && core.program.tracking.enabled {
        core.witness.end(&buf, &End::bare(Ending::Held, None));
        let kind = PuntKind::Reassemble(port);
        let from = core.id;
        return transmit::punt(core, Punt::new(buf, from, kind), out);
    }
    let track = if core.program.tracking.enabled {
        Track::Missed
    } else {
        Track::Exempt
    };
    let entrance = (port, Some(interface));
    let meta = fresh(parsed, entrance, (origin, opening), track);
    push(core, burst, buf, meta);
}

/// The interface that a frame's tags belong to; two tags belong to none.
pub fn interface_of<W>(core: &Core<W>, port: PortId, parsed: &Parsed) -> Option<IfaceId> {
    if parsed.link.inner_vlan.is_some() {
        return None;
    }
    core.program
        .interfaces
        .by_tag(port, parsed.link.vlan.map(|id| id.0))
}

/// Counts a frame for its interface; one that belongs to none counts for its port's untagged one.
pub fn count_received<W>(core: &Core<W>, port: PortId, interface: Option<IfaceId>, length: usize) {
    let bytes = length as u64;
    core.counters.received.packet(bytes);
    let interface = interface.or_else(|| core.program.interfaces.by_tag(port, None));
    let counters = core.program.interface_counters(core.id);
    if let Some(cell) = interface.and_then(|i| counters?.find(i)) {
        cell.received.packet(bytes);
    }
}

/// Admits an IP packet that the gateway made, behind a blank Ethernet header.
pub fn own<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    mut buf: B,
    origin: Origin,
    opening: Option<OpeningId>,
) {
    match parse(&mut buf) {
        Ok(parsed) => {
            let tracked = core.program.tracking.enabled && origin == Origin::Local;
            let track = if tracked {
                Track::Missed
            } else {
                Track::Exempt
            };
            let meta = fresh(parsed, (PortId(0), None), (origin, opening), track);
            push(core, burst, buf, meta);
        }
        Err(reason) => core.drop_packet(buf, reason, End::bare(Ending::Drop, None)),
    }
}

/// What is known of a packet that no stage has looked at yet.
fn fresh(
    parsed: Parsed,
    (port, in_interface): (PortId, Option<IfaceId>),
    (origin, opening): (Origin, Option<OpeningId>),
    track: Track,
) -> Meta {
    Meta {
        parsed,
        port,
        in_interface,
        origin,
        track,
        way: Way::Undecided,
        rule: None,
        opening,
        helper: None,
        layer7: Layer7::Unknown,
        marks: Marks::default(),
        edits: Edits::default(),
        routing_table: None,
        verified: None,
    }
}

fn push<B: Buffer, W: Witness<B>>(core: &mut Core<W>, burst: &mut Burst<B>, buf: B, meta: Meta) {
    // Bursts are filled from arrays of BURST_MAX at the most, so there is room; were there none,
    // the packet would be counted rather than lost.
    if let Err(buf) = burst.push(buf, meta) {
        core.drop_packet(buf, DropReason::NoBuffer, End::bare(Ending::Drop, None));
    }
}

fn consume<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: B,
    kind: PuntKind,
    out: &mut Outbox<B>,
) {
    core.witness.end(&buf, &End::bare(Ending::Consumed, None));
    transmit::punt(core, Punt::new(buf, core.id, kind), out);
}

fn addressed_to_us<W>(core: &Core<W>, interface: IfaceId, parsed: &Parsed) -> bool {
    parsed.link.dst.is_multicast()
        || core
            .program
            .interfaces
            .find(interface)
            .is_some_and(|i| i.mac == parsed.link.dst)
}

/// Refuses addresses that no packet on a wire can have (RFC 1122 section 3.2.1.3, RFC 4291).
fn plausible<B: Buffer>(buf: &B, parsed: &Parsed) -> Result<(), DropReason> {
    let (Some(src), Some(dst)) = (parsed.src_ip(buf.head()), parsed.dst_ip(buf.head())) else {
        return Err(DropReason::IpTruncated);
    };
    if src.is_multicast() || src.is_loopback() || src == std::net::Ipv4Addr::BROADCAST {
        return Err(DropReason::MartianSource);
    }
    if dst.is_loopback() || dst.is_unspecified() {
        return Err(DropReason::MartianDestination);
    }
    // An unspecified source asks for an address (DHCP) or probes one (RFC 4862): on the link only.
    let on_link = dst.is_multicast() || dst == std::net::Ipv4Addr::BROADCAST;
    if src.is_unspecified() && !on_link {
        return Err(DropReason::MartianSource);
    }
    Ok(())
}
