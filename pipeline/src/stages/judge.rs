//! Stage 5, `judge`: what becomes of a packet that no cached outcome speaks for.
//!
//! New connections, flows judged by an older program or in another state, ICMP errors, untracked
//! and invalid packets come here one by one, in their order, through
//! dstnat → route → (input | forward | output) filter → srcnat → commit.
//!
//! Reads everything; writes the way, the new connection and its cached outcome. Drops by rules
//! (`filter-rule`, `filter-reject`), routes (`no-route`, `ttl-exceeded`, `mtu-exceeded`), for the
//! gateway itself (`no-listener`), and where tables are full.

use std::net::IpAddr;

use turnpike_conntrack::entry::{Deltas, Flags};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{ConnState, Direction, FlowRef, WorkerId};
use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::table::{CommitError, NewConnection};
use turnpike_conntrack::tuple::{Address, Tuple, TuplePair, V4, V6};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Origin, Track, Way};
use crate::drops::DropReason;
use crate::fib::NextHop;
use crate::ids::IfaceId;
use crate::nexthop::{CachedWay, Lookup};
use crate::outbox::{ErrorKind, Found, Outbox, PuntKind};
use crate::packet::echo;
use crate::packet::quoted::connection_key;
use crate::packet::rewrite;
use crate::packet::segment::segment;
use crate::policy::NatStateSet;
use crate::stages::ask::{self, Hook, Judged};
use crate::stages::family::Stack;
use crate::stages::fate::{Fate, settle};
use crate::stages::view::View;
use crate::stages::{nat, track};
use crate::witness::Witness;
use crate::worker::Core;

/// Judges every live packet whose way is still open.
pub fn run<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        if meta.way != Way::Undecided {
            continue;
        }
        let fate = match meta.parsed.version() {
            Some(4) => packet::<V4, B, W>(core, buf, meta, out),
            Some(_) => packet::<V6, B, W>(core, buf, meta, out),
            None => Fate::Drop(DropReason::EthertypeUnknown),
        };
        settle(core, burst, slot, fate, out);
    }
}

fn packet<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    out: &mut Outbox<B>,
) -> Fate {
    if let Track::Known(flow, _) | Track::Related(flow) = meta.track
        && !core.is_still::<F, B>(flow, buf, meta)
    {
        meta.track = Track::Missed;
    }
    let Some(incoming) = meta.parsed.tuple::<F>(buf.head()) else {
        return Fate::Drop(DropReason::IpTruncated);
    };
    if !meta.origin.is_local() && speaks_for_others(core, incoming.src.to_ip()) {
        return Fate::Drop(DropReason::MartianSource);
    }
    if meta.track == Track::Missed {
        match look_again::<F, B, W>(core, buf, meta) {
            Fate::Pass => {}
            fate @ (Fate::Drop(_) | Fate::Refuse(..) | Fate::Reject(_) | Fate::Handover(..)) => {
                return fate;
            }
        }
    }
    match meta.track {
        Track::Known(flow, state) => {
            let table = F::table(&core.conntrack);
            let pair = table.pair(flow.id);
            let stale = table
                .hot(flow.id)
                .is_outdated(flow.direction, core.program.generation);
            let same_way_in = table.cached(flow).in_interface == in_interface_bits(meta);
            let view = View::of_flow(&pair, flow.direction);
            let judged = judge(core, buf, meta, &view, state, out);
            if judged.is_refused_by_rule() && stale && same_way_in {
                // What the new rules forbid ends here (reload): the entry goes, nothing is sent. A
                // packet from another interface than the flow's cannot end it.
                F::table_mut(&mut core.conntrack).end(flow.id, Cause::Reload);
            } else {
                remember::<F, W>(core, meta, flow, state, &judged);
            }
            judged.fate
        }
        Track::Related(flow) => {
            let pair = F::table(&core.conntrack).pair(flow.id);
            let view = View::of_error(incoming, &pair, flow.direction);
            judge(core, buf, meta, &view, ConnState::Related, out).fate
        }
        Track::Missed | Track::Opening => {
            meta.track = Track::Opening;
            open::<F, B, W>(core, buf, meta, View::plain(incoming), out)
        }
        Track::Exempt | Track::Invalid => {
            // A notice is the gateway's own word about a packet it refused.
            let state = match (meta.origin, meta.track) {
                (Origin::Notice, _) => ConnState::Related,
                (_, Track::Invalid) => ConnState::Invalid,
                (_, _) => ConnState::Untracked,
            };
            judge(core, buf, meta, &View::plain(incoming), state, out).fate
        }
    }
}

/// Whether a received packet's source is the gateway, or everybody on one of its links.
///
/// A cached outcome needs no such question: it holds for packets of the interface it was judged
/// for, and those of the gateway's own connections came in by none.
fn speaks_for_others<W>(core: &Core<W>, source: IpAddr) -> bool {
    match core.program.fib.lookup(source) {
        Some(NextHop::Local | NextHop::Broadcast(_)) => true,
        Some(NextHop::Neighbour { .. } | NextHop::Unreachable | NextHop::Blackhole) | None => false,
    }
}

/// A miss of the bulk lookup, looked at once more: an earlier packet of this burst may have opened
/// the connection, and another worker may own it. Left as a miss, the packet may open one.
fn look_again<F: Stack, B: Buffer, W: Witness<B>>(
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
    if let Some((owner, found)) = elsewhere::<F, W>(core, meta, &key, is_error) {
        return Fate::Handover(owner, found);
    }
    let checksum = meta.checksum(buf);
    let segment = segment(buf.head(), &meta.parsed, checksum);
    let table = F::table(&core.conntrack);
    let admitted = !is_error
        && checksum == Checksum::Good
        && table
            .admits(&key, &segment, &core.program.tracking_config)
            .is_ok();
    if !admitted {
        meta.track = Track::Invalid;
    }
    Fate::Pass
}

/// The other worker that owns the connection of a received packet, or may open one with it.
///
/// A connection is opened where its packets arrive: a packet that was steered to a worker whose
/// connection has ended meanwhile goes back to where it came from, and stays there.
fn elsewhere<F: Stack, W>(
    core: &Core<W>,
    meta: &Meta,
    key: &Tuple<F>,
    is_error: bool,
) -> Option<(WorkerId, Found)> {
    let by_hash = || {
        let port = core.program.interfaces.port(meta.port)?;
        Some(port.distribution.worker(key))
    };
    let (owner, found) = match meta.origin {
        Origin::Wire | Origin::Distributed | Origin::Reassembled => {
            let steered = core.conntrack.shared().steering.find(key);
            // Ports hash an ICMP error by its own addresses, so it seldom arrives where its flow
            // lives.
            let owner = steered.or_else(|| is_error.then(by_hash).flatten())?;
            (owner, Found::AsOwner)
        }
        Origin::Steered if !is_error => (by_hash()?, Found::NoLongerOwner),
        Origin::Steered | Origin::Returned | Origin::Local | Origin::Notice => return None,
    };
    (owner != core.id).then_some((owner, found))
}

/// What judging a packet came to, and what is worth remembering of it.
struct Judgement {
    fate: Fate,
    way: CachedWay,
    filter: Option<Judged>,
}

impl Judgement {
    const fn ended(fate: Fate) -> Self {
        Self {
            fate,
            way: CachedWay::Unknown,
            filter: None,
        }
    }

    fn is_refused_by_rule(&self) -> bool {
        matches!(
            self.fate,
            Fate::Drop(DropReason::FilterRule) | Fate::Reject(_)
        )
    }
}

/// Routes and filters a packet whose destination translation is decided.
fn judge<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    view: &View<F>,
    state: ConnState,
    out: &mut Outbox<B>,
) -> Judgement {
    let destination = view.outgoing.dst.to_ip();
    let routed = match route(core, meta, destination) {
        Ok(routed) => routed,
        Err(fate) => return Judgement::ended(fate),
    };
    if let Way::NextHop(_) | Way::Resolve(..) = routed.way {
        if leaves_its_link(meta, view.incoming.src.to_ip(), &routed) {
            return Judgement::ended(Fate::Drop(DropReason::MartianSource));
        }
        if let Err(fate) = forwardable(core, meta, routed.out_interface) {
            return Judgement::ended(fate);
        }
    }
    let hook = match (meta.origin.is_local(), routed.way) {
        (true, _) => Hook::FilterOutput,
        (false, Way::Local) => Hook::FilterInput,
        (false, Way::Undecided | Way::NextHop(_) | Way::Resolve(..)) => Hook::FilterForward,
    };
    let nat_state = match meta.track {
        Track::Known(flow, _) | Track::Related(flow) => nat_state::<F, W>(core, flow),
        Track::Opening if view.incoming != view.outgoing => NatStateSet(NatStateSet::DSTNAT),
        Track::Missed | Track::Opening | Track::Exempt | Track::Invalid => NatStateSet::default(),
    };
    let (tuple, egress) = (view.at_filter(), routed.out_interface);
    let facts = ask::facts(&tuple, meta, egress, Some(state), nat_state);
    let judged = ask::filter(core, hook, &facts, (buf, &*meta), out);
    meta.rule = judged.decision.rule;
    let fate = match judged.refusal(meta) {
        Some(fate) => fate,
        None => accepted(meta, &routed, destination),
    };
    let way = match routed.way {
        Way::Local => CachedWay::Local,
        Way::NextHop(id) => CachedWay::NextHop(id),
        Way::Undecided | Way::Resolve(..) => CachedWay::Unknown,
    };
    Judgement {
        fate,
        way,
        filter: Some(judged),
    }
}

/// How a connection is translated.
pub fn nat_state<F: Stack, W>(core: &Core<W>, flow: FlowRef) -> NatStateSet {
    let flags = F::table(&core.conntrack).flags(flow.id);
    let mut set = NatStateSet::default();
    if flags.contains(Flags::SRCNAT) {
        set.0 |= NatStateSet::SRCNAT;
    }
    if flags.contains(Flags::DSTNAT) {
        set.0 |= NatStateSet::DSTNAT;
    }
    set
}

/// An accepted packet goes its way, unless it is for the gateway and nothing there wants it.
fn accepted(meta: &mut Meta, routed: &Routed, destination: IpAddr) -> Fate {
    let heard_by_many = destination.is_multicast() || routed.broadcast;
    // A ping to everybody would be answered by everybody (RFC 1122 section 3.2.2.6).
    let answered = echo::is_request(&meta.parsed) && !heard_by_many;
    if routed.way == Way::Local && !answered {
        return match meta.in_interface {
            // Nobody is told of what fits no connection: a stray segment of a session that is
            // translated would be answered with a reset to that session.
            Some(iface) if !heard_by_many && meta.track != Track::Invalid => {
                let notice = PuntKind::Error(iface, ErrorKind::NoListener);
                Fate::Refuse(DropReason::NoListener, notice)
            }
            Some(_) | None => Fate::Drop(DropReason::NoListener),
        };
    }
    meta.way = routed.way;
    Fate::Pass
}

/// Where a packet goes, before any rule was asked.
struct Routed {
    way: Way,
    out_interface: Option<IfaceId>,
    broadcast: bool,
}

fn route<W>(core: &mut Core<W>, meta: &Meta, destination: IpAddr) -> Result<Routed, Fate> {
    let local = |broadcast| Routed {
        way: Way::Local,
        out_interface: None,
        broadcast,
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
    match core.program.fib.lookup(destination) {
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
            })
        }
        Some(NextHop::Blackhole) => Err(Fate::Drop(DropReason::NoRoute)),
        Some(NextHop::Unreachable) | None => Err(unreachable),
    }
}

/// Whether a packet of an address that means something on its own link only would be forwarded to
/// another (RFC 4291 section 2.5.6).
fn leaves_its_link(meta: &Meta, source: IpAddr, routed: &Routed) -> bool {
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
    if meta.parsed.ttl <= 1 {
        let notice = PuntKind::Error(iface, ErrorKind::TimeExceeded);
        return Err(Fate::Refuse(DropReason::TtlExceeded, notice));
    }
    let mtu = out_interface
        .and_then(|i| core.program.interfaces.find(i))
        .map(|i| i.mtu);
    match mtu {
        Some(mtu) if meta.parsed.ip_len > u32::from(mtu) && meta.parsed.dont_fragment => {
            let notice = PuntKind::Error(iface, ErrorKind::TooBig(mtu));
            Err(Fate::Refuse(DropReason::MtuExceeded, notice))
        }
        Some(_) | None => Ok(()),
    }
}

/// Keeps the judgement in the flow, so that its next packet need not be judged.
fn remember<F: Stack, W>(
    core: &mut Core<W>,
    meta: &Meta,
    flow: FlowRef,
    state: ConnState,
    judgement: &Judgement,
) {
    let Some(judged) = &judgement.filter else {
        return;
    };
    let generation = core.program.generation;
    let table = F::table_mut(&mut core.conntrack);
    if judged.fasttrack {
        table.set_fasttracked(flow.id);
    }
    let mut cached = table.cached(flow);
    cached.generation = generation;
    cached.state = state;
    cached.in_interface = in_interface_bits(meta);
    cached.outcome = judged.outcome.0;
    cached.next_hop = judgement.way.to_bits();
    let view = View::of_flow(&table.pair(flow.id), flow.direction);
    let deltas = rewrite::Deltas::between(&view.incoming, &view.outgoing);
    cached.deltas = Deltas {
        l3: deltas.l3.to_bits(),
        l4: deltas.l4.to_bits(),
    };
    table.set_cached(flow, cached);
}

/// The interface as a flow's entry keeps it; the gateway itself is one more.
pub fn in_interface_bits(meta: &Meta) -> u16 {
    meta.in_interface.map_or(u16::MAX, |iface| iface.0)
}

/// A packet that may open a connection: translated, judged, and only then entered in the table.
fn open<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    mut view: View<F>,
    out: &mut Outbox<B>,
) -> Fate {
    let state = ConnState::New;
    if !meta.origin.is_local() {
        view.outgoing = match nat::destination(core, (buf, &*meta), &view.incoming, out) {
            Ok(tuple) => tuple,
            Err(reason) => return Fate::Drop(reason),
        };
    }
    let judgement = judge(core, buf, meta, &view, state, out);
    if judgement.fate != Fate::Pass {
        return judgement.fate;
    }
    let source = match nat::source(core, (buf, &*meta), &view, out_interface(core, meta), out) {
        Ok(source) => source,
        Err(reason) => return Fate::Drop(reason),
    };
    let new = NewConnection {
        pair: TuplePair {
            original: view.incoming,
            reply: source.outgoing.inverse(),
        },
        related: None,
        claim: source.claim,
        steer: source.steer,
        generation: core.program.generation,
        rule: meta.rule.map_or(u32::MAX, |rule| rule.0),
    };
    let checksum = meta.checksum(buf);
    let segment = segment(buf.head(), &meta.parsed, checksum);
    let config = core.program.tracking_config;
    let table = F::table_mut(&mut core.conntrack);
    match table.commit(new, &segment, core.now, &config) {
        Ok(id) => {
            let flow = FlowRef {
                id,
                direction: Direction::Original,
            };
            meta.track = Track::Known(flow, state);
            remember::<F, W>(core, meta, flow, state, &judgement);
            Fate::Pass
        }
        Err(error) => Fate::Drop(match error {
            CommitError::TableFull => DropReason::TableFull,
            CommitError::IndexFull => DropReason::IndexFull,
            CommitError::SteeringFull => DropReason::SteeringFull,
            CommitError::NatClash => DropReason::NatClash,
        }),
    }
}

/// The interface an accepted packet leaves by.
fn out_interface<W>(core: &Core<W>, meta: &Meta) -> Option<IfaceId> {
    match meta.way {
        Way::NextHop(id) => core.next_hops.entry(id).map(|hop| hop.interface),
        Way::Resolve(iface, _) => Some(iface),
        Way::Local | Way::Undecided => None,
    }
}
