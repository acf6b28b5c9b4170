//! Where a packet goes, and whether it can get there at all: what is asked before any rule.

use std::net::IpAddr;

use crate::burst::{Meta, Way};
use crate::drops::DropReason;
use crate::fib::NextHop;
use crate::ids::{IfaceId, RoutingTableId};
use crate::nexthop::Lookup;
use crate::outbox::{ErrorKind, PuntKind};
use crate::packet::parse::Net;
use crate::program::Program;
use crate::routing::{Found, Sought};
use crate::rules::Phase;
use crate::stages::fate::Fate;
use crate::worker::Core;

/// Where a packet goes, before any rule was asked.
pub(super) struct Routed {
    pub(super) way: Way,
    pub(super) out_interface: Option<IfaceId>,
    pub(super) broadcast: bool,
    /// The routing table that knew.
    pub(super) table: RoutingTableId,
}

/// Finds the way from `source` to `destination`; the packet's end where there is none.
///
/// Its routing mark, and the router that a rule hands it to, are those that it has now.
pub(super) fn route<W>(
    core: &mut Core<W>,
    meta: &Meta,
    (source, destination): (IpAddr, IpAddr),
) -> Result<Routed, Fate> {
    let local = |broadcast| Routed {
        way: Way::Local,
        out_interface: None,
        broadcast,
        table: RoutingTableId::MAIN,
    };
    if destination.is_multicast() {
        return if meta.origin.is_local() {
            Err(Fate::Drop(DropReason::NotUnicast))
        } else {
            Ok(local(true))
        };
    }
    let unreachable = match meta.in_interface {
        Some(iface) => Fate::Refuse(
            DropReason::NoRoute,
            PuntKind::Error(iface, ErrorKind::NoRoute),
        ),
        None => Fate::Drop(DropReason::NoRoute),
    };
    let sought = Sought {
        source,
        destination,
        in_interface: meta.in_interface,
        mark: meta.marks.routing,
        router: meta.edits.router,
    };
    let Found { hop, table } = core.program.routing.find(&core.program.fib, &sought);
    match hop {
        Some(NextHop::Local) if meta.origin.is_local() => Err(Fate::Drop(DropReason::NoListener)),
        Some(NextHop::Local) => Ok(local(false)),
        Some(NextHop::Broadcast(_)) if meta.origin.is_local() => {
            Err(Fate::Drop(DropReason::NotUnicast))
        }
        Some(NextHop::Broadcast(_)) => Ok(local(true)),
        Some(NextHop::Neighbour { iface, gateway }) => {
            let address = gateway.unwrap_or(destination);
            let way = match core.next_hops.find(iface, address) {
                Lookup::Known(id) => Way::NextHop(id),
                Lookup::Unknown => Way::Resolve(iface, address),
            };
            Ok(Routed {
                way,
                out_interface: Some(iface),
                broadcast: false,
                table,
            })
        }
        Some(NextHop::Blackhole) => Err(Fate::Drop(DropReason::NoRoute)),
        Some(NextHop::Unreachable) | None => Err(unreachable),
    }
}

/// Whether a packet of an address that means something on its own link only would be forwarded to
/// another (RFC 4291 section 2.5.6).
pub(super) fn leaves_its_link(meta: &Meta, source: IpAddr, routed: &Routed) -> bool {
    let link_local = match source {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    link_local && !meta.origin.is_local() && meta.in_interface != routed.out_interface
}

/// Whether a packet can cross the gateway: time to live, size, and how its frame was addressed.
pub fn forwardable<W>(
    core: &Core<W>,
    meta: &Meta,
    out_interface: Option<IfaceId>,
) -> Result<(), Fate> {
    if meta.origin.is_local() {
        return Ok(());
    }
    let Some(iface) = meta.in_interface else {
        return Ok(());
    };
    if meta.parsed.link.dst.is_multicast() {
        return Err(Fate::Drop(DropReason::NotUnicast));
    }
    if meta.edits.ttl_early.of(meta.parsed.ttl) <= 1 {
        let notice = PuntKind::Error(iface, ErrorKind::TimeExceeded);
        return Err(Fate::Refuse(DropReason::TtlExceeded, notice));
    }
    let mtu = out_interface
        .and_then(|i| core.program.interfaces.find(i))
        .map(|i| i.mtu);
    // As in Linux, what is allowed behind this question is allowed too late.
    let whole = meta.parsed.dont_fragment
        && !(meta.parsed.net == Net::V4 && meta.edits.df_cleared == Some(Phase::Early));
    match mtu {
        Some(mtu) if meta.parsed.ip_len > u32::from(mtu) && whole => {
            let notice = PuntKind::Error(iface, ErrorKind::TooBig(mtu));
            Err(Fate::Refuse(DropReason::MtuExceeded, notice))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a received packet's source is the gateway, or everybody on one of its links.
///
/// A cached outcome needs no such question: it holds for packets of the interface it was judged
/// for, and those of the gateway's own connections came in by none.
pub fn speaks_for_others(program: &Program, source: IpAddr) -> bool {
    match program.fib.lookup(source) {
        Some(NextHop::Local | NextHop::Broadcast(_)) => true,
        Some(NextHop::Neighbour { .. } | NextHop::Unreachable | NextHop::Blackhole) | None => false,
    }
}
