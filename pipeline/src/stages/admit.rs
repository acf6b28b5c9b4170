//! Stage 1, `admit`: a frame becomes a packet with checked headers and an interface.
//!
//! Reads the frame; writes [`Meta`]; ARP and neighbour discovery leave for the slow path here.
//! Drops what is malformed (the parser's reasons), tagged for no interface (`vlan-unknown`), for
//! another station (`not-for-us`), or with addresses that cannot be (`martian-source`,
//! `martian-destination`).

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Origin, Track, Way};
use crate::drops::DropReason;
use crate::ids::{IfaceId, PortId};
use crate::outbox::{Outbox, Punt, PuntKind};
use crate::packet::parse::{Net, Parsed, parse};
use crate::witness::{End, Ending, Witness};
use crate::worker::Core;

/// Admits a received frame, or ends it.
pub fn frame<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    mut buf: B,
    port: PortId,
    origin: Origin,
    out: &mut Outbox<B>,
) {
    let length = buf.frame_len();
    let parsed = parse(&mut buf);
    let vlan = parsed.as_ref().ok().and_then(|p| p.link.vlan);
    let interface = core.program.interfaces.by_frame(port, vlan);
    if origin == Origin::Wire {
        let counted = interface.or_else(|| core.program.interfaces.by_frame(port, None));
        core.counters.receive(counted, length);
    }
    let refused = |core: &mut Core<W>, buf: B, reason: DropReason| {
        core.drop_packet(buf, reason, End::bare(Ending::Drop, None));
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
    if parsed.is_neighbour_discovery() {
        return consume(core, buf, PuntKind::Discovery(interface), out);
    }
    let tracked = core.program.tracking.enabled && !parsed.is_link_local_signalling();
    let track = if tracked { Track::Missed } else { Track::Exempt };
    let meta = Meta {
        parsed,
        port,
        in_interface: Some(interface),
        origin,
        track,
        way: Way::Undecided,
        rule: None,
    };
    push(core, burst, buf, meta);
}

/// Admits an IP packet that the gateway made, behind a blank Ethernet header.
pub fn own<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    mut buf: B,
    origin: Origin,
) {
    match parse(&mut buf) {
        Ok(parsed) => {
            let tracked = core.program.tracking.enabled && origin == Origin::Local;
            let meta = Meta {
                parsed,
                port: PortId(0),
                in_interface: None,
                origin,
                track: if tracked { Track::Missed } else { Track::Exempt },
                way: Way::Undecided,
                rule: None,
            };
            push(core, burst, buf, meta);
        }
        Err(reason) => core.drop_packet(buf, reason, End::bare(Ending::Drop, None)),
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
    out.punts.push(Punt { buf, from: core.id, kind });
}

fn addressed_to_us<W>(core: &Core<W>, interface: IfaceId, parsed: &Parsed) -> bool {
    parsed.link.dst.is_multicast()
        || core.program.interfaces.mac(interface) == Some(parsed.link.dst)
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
