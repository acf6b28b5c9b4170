//! Stage 5, `judge`: what becomes of a packet that no cached outcome speaks for.
//!
//! New connections, flows judged by an older program or in another state, ICMP errors, untracked
//! and invalid packets come here one by one, in their order, through
//! mangle prerouting → dstnat → route → (input | forward | output) mangle and filter → mangle
//! postrouting → srcnat → commit.
//!
//! Reads everything; writes the way, the new connection and its cached outcome. Drops by rules
//! (`filter-rule`, `filter-reject`), routes (`no-route`, `ttl-exceeded`, `mtu-exceeded`), for the
//! gateway itself (`no-listener`), and where tables are full; a first SYN while too many handshakes
//! are unfinished (`syn-flood`), before any rule is looked at.

mod announced;
mod open;
mod owner;
mod route;

use std::net::IpAddr;

use arrayvec::ArrayVec;
use turnpike_conntrack::entry::{Deltas, Flags};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{ConnState, FlowRef, HelperId};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::tuple::{Address, Tuple, V4, V6};
use turnpike_helpers::helper::Reader;

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Origin, Track, Way};
use crate::drops::DropReason;
use crate::masquerade::has_lapsed;
use crate::nexthop::CachedWay;
use crate::outbox::{ErrorKind, Outbox, PuntKind};
use crate::outcome::OutcomeId;
use crate::packet::echo;
use crate::packet::rewrite;
use crate::policy::{NatStateSet, TableKind};
use crate::rules::linear::END_OF_CHAIN;
use crate::rules::plan::{Passage, specialise};
use crate::rules::{Decision, Edits, Facts, Marks, Path, Verdict};
use crate::stages::ask::{self, Hook, Judged};
use crate::stages::family::Stack;
use crate::stages::fate::{Fate, settle};
use crate::stages::sample;
use crate::stages::view::View;
use crate::witness::{Waypoint, Witness};
use crate::worker::Core;

use open::{arrive, open};
use owner::look_again;
use route::{Routed, leaves_its_link, route};

pub use open::out_interface;
pub use route::{forwardable, speaks_for_others};

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
    if !meta.origin.is_local() && speaks_for_others(&core.program, incoming.src.to_ip()) {
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
    if lapse::<F, W>(core, meta) {
        match look_again::<F, B, W>(core, buf, meta) {
            Fate::Pass => {}
            fate @ (Fate::Drop(_) | Fate::Refuse(..) | Fate::Reject(_) | Fate::Handover(..)) => {
                return fate;
            }
        }
    }
    core.meets(buf, || Waypoint::Tracked(meta.state()));
    match meta.track {
        Track::Known(flow, state) => {
            let table = F::table(&core.conntrack);
            let pair = table.pair(flow.id);
            let stale = table
                .hot(flow.id)
                .is_outdated(flow.direction, core.program.generation);
            let same_way_in = table.cached(flow).in_interface == in_interface_bits(meta);
            let view = View::of_flow(&pair, flow.direction);
            let judged = judge_whole(core, buf, meta, &view, state, out);
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
            judge_whole(core, buf, meta, &view, ConnState::Related, out).fate
        }
        Track::Missed | Track::Opening(_) => {
            meta.track = Track::Opening(ConnState::New);
            if let Some(opening) = core.opening(meta).and_then(F::opening) {
                return arrive::<F, B, W>(core, buf, meta, opening);
            }
            open::<F, B, W>(core, buf, meta, &incoming, out)
        }
        Track::Exempt | Track::Invalid => {
            // A notice is the gateway's own word about a packet it refused.
            let state = match (meta.origin, meta.track) {
                (Origin::Notice, _) => ConnState::Related,
                (_, Track::Invalid) => ConnState::Invalid,
                (_, _) => ConnState::Untracked,
            };
            judge_whole(core, buf, meta, &View::plain(incoming), state, out).fate
        }
    }
}

/// Ends the packet's connection if the gateway has lost the address that it goes out with: whether
/// the packet has none any more.
fn lapse<F: Stack, W>(core: &mut Core<W>, meta: &mut Meta) -> bool {
    let (Track::Known(flow, _) | Track::Related(flow)) = meta.track else {
        return false;
    };
    let table = F::table(&core.conntrack);
    let address = table.pair(flow.id).reply.dst;
    if !has_lapsed(&core.program, table.flags(flow.id), address) {
        return false;
    }
    F::table_mut(&mut core.conntrack).end(flow.id, Cause::AddressGone);
    meta.track = Track::Missed;
    true
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

    /// Whether rules refuse every packet of the flow, and not this one for what it is itself.
    fn is_refused_by_rule(&self) -> bool {
        let of_flow = self.filter.is_some_and(|judged| !judged.residual);
        of_flow
            && matches!(
                self.fate,
                Fate::Drop(DropReason::FilterRule) | Fate::Reject(_)
            )
    }
}

/// Judges a packet whose translation is decided: from its entrance to where it leaves.
fn judge_whole<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    view: &View<F>,
    state: ConnState,
    out: &mut Outbox<B>,
) -> Judgement {
    let mut path = Path::new();
    ask::note_lists(core, view, &mut path);
    let packet = (buf, &mut *meta);
    if let Err(fate) = prerouting(core, packet, &view.incoming, state, &mut path, out) {
        ask::count_way(core, &path, meta);
        return Judgement::ended(fate);
    }
    let judgement = judge(core, (buf, &mut *meta), view, state, &mut path, out);
    sample::want::<F, W>(core, meta, &path);
    judgement
}

/// Takes a packet from the wire through mangle's prerouting chain, as it came.
fn prerouting<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (buf, meta): (&B, &mut Meta),
    incoming: &Tuple<F>,
    state: ConnState,
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Result<(), Fate> {
    meta.marks = Marks {
        connection: connection_mark::<F, W>(core, meta),
        ..Marks::default()
    };
    meta.edits = Edits::default();
    meta.routing_table = None;
    meta.helper = helper::<F, W>(core, meta);
    meta.layer7 = layer7::<F, W>(core, meta);
    if !core.program.has_mangle_rules || meta.origin.is_local() {
        return Ok(());
    }
    let nat_state = known_nat_state::<F, W>(core, meta);
    let facts = ask::facts(incoming, meta, None, Some(state), nat_state, core.now);
    mangle(core, Hook::ManglePrerouting, &facts, (buf, meta), path, out)
}

/// Holds a packet against one chain of mangle.
fn mangle<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    hook: Hook,
    facts: &Facts,
    (buf, meta): (&B, &mut Meta),
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Result<(), Fate> {
    if !core.program.has_mangle_rules {
        return Ok(());
    }
    let decision = ask::step(core, hook, facts, (buf, &mut *meta), path, out);
    if decision.verdict == Verdict::Drop {
        // mangle drops nothing but what cannot be evaluated.
        meta.rule = decision.rule;
        return Err(Fate::Drop(DropReason::FilterRule));
    }
    Ok(())
}

/// Routes and filters a packet whose destination translation is decided.
fn judge<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (buf, meta): (&B, &mut Meta),
    view: &View<F>,
    state: ConnState,
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Judgement {
    match routed_and_asked(core, (buf, &mut *meta), view, state, path, out) {
        Ok(judgement) => judgement,
        Err(fate) => {
            ask::count_way(core, path, meta);
            Judgement::ended(fate)
        }
    }
}

fn routed_and_asked<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (buf, meta): (&B, &mut Meta),
    view: &View<F>,
    state: ConnState,
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Result<Judgement, Fate> {
    let destination = view.outgoing.dst.to_ip();
    let ends = (view.incoming.src.to_ip(), destination);
    let mut routed = find_way(core, (buf, &mut *meta), ends)?;
    if let Way::NextHop(_) | Way::Resolve(..) = routed.way {
        if leaves_its_link(meta, view.incoming.src.to_ip(), &routed) {
            return Err(Fate::Drop(DropReason::MartianSource));
        }
        forwardable(core, meta, routed.out_interface)?;
    }
    let nat_state = match meta.track {
        Track::Opening(_) if view.incoming != view.outgoing => NatStateSet(NatStateSet::DSTNAT),
        Track::Known(..)
        | Track::Related(_)
        | Track::Missed
        | Track::Opening(_)
        | Track::Exempt
        | Track::Invalid => known_nat_state::<F, W>(core, meta),
    };
    let tuple = view.at_filter();
    let leaves = routed.out_interface;
    let facts = ask::facts(&tuple, meta, leaves, Some(state), nat_state, core.now);
    let hooks = ask::behind_routing(meta.origin.is_local(), routed.way != Way::Local);
    let way = (hooks, ends, &mut routed);
    let decision = ask_on_the_way(core, way, &facts, (buf, &mut *meta), path, out)?;
    let mark_changed = keep_mark::<F, W>(core, meta, path);
    let mut judged = ask::settle(core, decision, path, meta);
    if path.is_residual() && !mark_changed {
        judged.outcome = plan(core, meta, view, hooks, &facts);
    }
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
    Ok(Judgement {
        fate,
        way,
        filter: Some(judged),
    })
}

/// Finds the way of a packet between these ends, with its routing mark of now.
fn find_way<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (buf, meta): (&B, &mut Meta),
    ends: (IpAddr, IpAddr),
) -> Result<Routed, Fate> {
    let routed = route(core, meta, ends)?;
    meta.routing_table = Some(routed.table);
    core.meets(buf, || {
        Waypoint::Routed(ends.1, routed.out_interface, routed.table)
    });
    Ok(routed)
}

/// Asks mangle and filter for a routed packet, and mangle again for one that leaves.
///
/// The gateway's own packets were routed before any rule saw them: one that mangle's output chain
/// gives a routing mark is routed once more.
fn ask_on_the_way<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (hooks, ends, routed): (&[Hook], (IpAddr, IpAddr), &mut Routed),
    facts: &Facts,
    (buf, meta): (&B, &mut Meta),
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Result<Decision, Fate> {
    let mut filter = END_OF_CHAIN;
    for hook in hooks {
        let facts = Facts {
            marks: meta.marks,
            out_interface: routed.out_interface,
            routing_table: meta.routing_table,
            ..*facts
        };
        match hook.chain().0 {
            TableKind::Filter => {
                filter = ask::step(core, *hook, &facts, (buf, &mut *meta), path, out);
                if filter.verdict != Verdict::Accept {
                    break;
                }
            }
            TableKind::Mangle | TableKind::Raw | TableKind::Nat => {
                mangle(core, *hook, &facts, (buf, &mut *meta), path, out)?;
                if *hook == Hook::MangleOutput && meta.marks.routing != facts.marks.routing {
                    *routed = find_way(core, (buf, &mut *meta), ends)?;
                }
            }
        }
    }
    Ok(filter)
}

/// Makes the plan of a connection's flow that asks something of each of its packets.
fn plan<F: Stack, W>(
    core: &mut Core<W>,
    meta: &Meta,
    view: &View<F>,
    hooks: &[Hook],
    late: &Facts,
) -> OutcomeId {
    let Track::Known(flow, state) = meta.track else {
        return OutcomeId::NONE;
    };
    if meta.origin.is_local() && meta.marks.routing != 0 {
        // Its chains have seen two ways, and a plan knows one.
        return OutcomeId::NONE;
    }
    let marks = Marks {
        connection: F::table(&core.conntrack).mark(flow.id),
        ..Marks::default()
    };
    let nat_state = nat_state::<F, W>(core, flow);
    let early = Facts {
        marks,
        routing_table: None,
        ..ask::facts(&view.incoming, meta, None, Some(state), nat_state, core.now)
    };
    let asked = |hook: &Hook| {
        let (table, chain) = hook.chain();
        let idle = table == TableKind::Mangle && !core.program.has_mangle_rules;
        (!idle).then_some((table, chain))
    };
    let before = [Hook::ManglePrerouting];
    let before = before.iter().filter(|_| !meta.origin.is_local());
    let before: ArrayVec<_, 1> = before.filter_map(asked).collect();
    let behind: ArrayVec<_, 3> = hooks.iter().filter_map(asked).collect();
    let passage = Passage {
        early: (&before, &early),
        late: (&behind, late),
    };
    let program = &core.program;
    core.plans
        .intern(|steps| specialise(program, &passage, steps))
}

/// The mark of the packet's connection.
pub fn connection_mark<F: Stack, W>(core: &Core<W>, meta: &Meta) -> u32 {
    match meta.track {
        Track::Known(flow, _) | Track::Related(flow) => F::table(&core.conntrack).mark(flow.id),
        Track::Exempt | Track::Missed | Track::Opening(_) | Track::Invalid => 0,
    }
}

/// The helper of the packet's connection; that of one that is being opened is known already.
fn helper<F: Stack, W>(core: &Core<W>, meta: &Meta) -> Option<HelperId> {
    match meta.track {
        Track::Known(flow, _) | Track::Related(flow) => {
            helper_of(F::table(&core.conntrack).helper(flow.id))
        }
        Track::Opening(_) => meta.helper,
        Track::Exempt | Track::Missed | Track::Invalid => None,
    }
}

/// The helper that rules know, of the reader that an entry keeps.
pub fn helper_of(kept: Option<HelperId>) -> Option<HelperId> {
    Reader::numbered(kept?)?.helper_id()
}

/// What is known of what the packet's connection carries.
fn layer7<F: Stack, W>(core: &Core<W>, meta: &Meta) -> Layer7 {
    match meta.track {
        Track::Known(flow, _) | Track::Related(flow) => F::table(&core.conntrack).layer7(flow.id),
        Track::Exempt | Track::Missed | Track::Opening(_) | Track::Invalid => Layer7::Unknown,
    }
}

/// Gives the connection the mark that rules have set on the way; whether that is another one.
///
/// Both directions are judged again under a new mark, so what was decided under the old one is not
/// kept.
pub fn keep_mark<F: Stack, W>(core: &mut Core<W>, meta: &Meta, path: &mut Path) -> bool {
    let Some(mark) = path.edits().connection_mark else {
        return false;
    };
    if mark == connection_mark::<F, W>(core, meta) {
        return false;
    }
    path.note_passing();
    if let Track::Known(flow, _) | Track::Related(flow) = meta.track {
        F::table_mut(&mut core.conntrack).set_mark(flow.id, mark);
    }
    true
}

/// How the packet's connection is translated, if it has one.
fn known_nat_state<F: Stack, W>(core: &Core<W>, meta: &Meta) -> NatStateSet {
    match meta.track {
        Track::Known(flow, _) | Track::Related(flow) => nat_state::<F, W>(core, flow),
        Track::Missed | Track::Opening(_) | Track::Exempt | Track::Invalid => {
            NatStateSet::default()
        }
    }
}

/// How a connection is translated.
pub fn nat_state<F: Stack, W>(core: &Core<W>, flow: FlowRef) -> NatStateSet {
    nat_state_of(F::table(&core.conntrack).flags(flow.id))
}

/// How a connection with these flags is translated.
pub const fn nat_state_of(flags: Flags) -> NatStateSet {
    let mut set = 0;
    if flags.contains(Flags::SRCNAT) {
        set |= NatStateSet::SRCNAT;
    }
    if flags.contains(Flags::DSTNAT) {
        set |= NatStateSet::DSTNAT;
    }
    NatStateSet(set)
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
    table.set_cached(flow, cached);
    keep_deltas::<F, W>(core, flow);
}

/// Keeps what the flow's translation does to checksums.
fn keep_deltas<F: Stack, W>(core: &mut Core<W>, flow: FlowRef) {
    let table = F::table_mut(&mut core.conntrack);
    let view = View::of_flow(&table.pair(flow.id), flow.direction);
    let deltas = rewrite::Deltas::between(&view.incoming, &view.outgoing);
    table.set_deltas(
        flow,
        Deltas {
            l3: deltas.l3.to_bits(),
            l4: deltas.l4.to_bits(),
        },
    );
}

/// The interface as a flow's entry keeps it; the gateway itself is one more.
pub fn in_interface_bits(meta: &Meta) -> u16 {
    meta.in_interface.map_or(u16::MAX, |iface| iface.0)
}
