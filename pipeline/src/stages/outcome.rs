//! Stage 4, `outcome`: a flow that was judged before is treated as it was then.
//!
//! Reads the outcome cached in the flow, which holds while generation, connection state, incoming
//! interface and, if rules asked for them, the lists that its addresses are in are what they were;
//! writes the way and counts the rules that matched, all of
//! them, in one addition. Drops what was decided to be dropped. What does not qualify is left to
//! the judge, uncounted, and so is everything while a witness follows packets.

use turnpike_conntrack::ids::{ConnState, FlowRef};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Track, Way};
use crate::ids::IfaceId;
use crate::nexthop::CachedWay;
use crate::outbox::Outbox;
use crate::outcome::OutcomeId;
use crate::plans::{Half, Plans};
use crate::rules::linear::END_OF_CHAIN;
use crate::rules::{Facts, Marks, Path};
use crate::stages::ask::{self, Judged};
use crate::stages::family::Stack;
use crate::stages::fate::{Fate, settle};
use crate::stages::judge::{connection_mark, forwardable, in_interface_bits, keep_mark, nat_state};
use crate::stages::view::View;
use crate::witness::Witness;
use crate::worker::Core;

/// Applies cached outcomes to the live packets of one family.
pub fn run<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        let Track::Known(flow, state) = meta.track else {
            continue;
        };
        let ours = meta.parsed.version() == Some(F::VERSION);
        if !ours || !core.is_still::<F, B>(flow, buf, meta) {
            continue;
        }
        let fate = packet::<F, B, W>(core, buf, meta, flow, state, out);
        settle(core, burst, slot, fate, out);
    }
}

fn packet<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    flow: FlowRef,
    state: ConnState,
    out: &mut Outbox<B>,
) -> Fate {
    let cached = F::table(&core.conntrack).cached(flow);
    let id = OutcomeId(cached.outcome);
    let valid = !W::FOLLOWS
        && !id.is_none()
        && cached.generation == core.program.generation
        && cached.state == state
        && cached.in_interface == in_interface_bits(meta);
    if !valid {
        return Fate::Pass;
    }
    let (way, out_interface) = match CachedWay::from_bits(cached.next_hop) {
        CachedWay::Unknown => return Fate::Pass,
        CachedWay::Local => (Way::Local, None),
        CachedWay::NextHop(id) => match core.next_hops.entry(id) {
            Some(hop) => (Way::NextHop(id), Some(hop.interface)),
            None => return Fate::Pass,
        },
    };
    if Plans::is_plan(id) {
        if core.plans.half(id, Half::Late).is_none() {
            return Fate::Pass;
        }
        return planned::<F, B, W>(
            core,
            (buf, meta),
            (flow, state),
            (id, way, out_interface),
            out,
        );
    }
    let Some(outcome) = core.outcomes.find(id) else {
        return Fate::Pass;
    };
    if let Some(membership) = outcome.membership {
        let view = View::of_flow(&F::table(&core.conntrack).pair(flow.id), flow.direction);
        if ask::membership(core, &view) != Some(membership) {
            return Fate::Pass;
        }
    }
    meta.edits = outcome.edits;
    if out_interface.is_some() && forwardable(core, meta, out_interface).is_err() {
        // The judge says why, and counts the rules that such a packet meets before.
        return Fate::Pass;
    }
    let facts = |core: &Core<W>| facts::<F, W>(core, meta, (flow, state), out_interface);
    let Some(judged) = ask::again(core, id, (buf, &*meta), facts, out) else {
        return Fate::Pass;
    };
    meta.rule = judged.decision.rule;
    match judged.refusal(meta) {
        Some(fate) => fate,
        None => {
            meta.way = way;
            Fate::Pass
        }
    }
}

/// How rules see a packet of the flow, before routing and behind it.
fn facts<F: Stack, W>(
    core: &Core<W>,
    meta: &Meta,
    (flow, state): (FlowRef, ConnState),
    out_interface: Option<IfaceId>,
) -> [Facts; 2] {
    let table = F::table(&core.conntrack);
    let view = View::of_flow(&table.pair(flow.id), flow.direction);
    let nat_state = nat_state::<F, W>(core, flow);
    let facts = |tuple, out| ask::facts(tuple, meta, out, Some(state), nat_state, core.now);
    [
        facts(&view.incoming, None),
        facts(&view.at_filter(), out_interface),
    ]
}

/// Takes a packet through its flow's plan: what is left to ask of each packet is asked of this one.
fn planned<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (buf, meta): (&B, &mut Meta),
    (flow, state): (FlowRef, ConnState),
    (id, way, out_interface): (OutcomeId, Way, Option<IfaceId>),
    out: &mut Outbox<B>,
) -> Fate {
    let mut path = Path::new();
    meta.marks = Marks {
        connection: connection_mark::<F, W>(core, meta),
        ..Marks::default()
    };
    let [early, late] = facts::<F, W>(core, meta, (flow, state), out_interface);
    ask::walk_half(
        core,
        (id, Half::Early),
        &early,
        (buf, &mut *meta),
        &mut path,
        out,
    );
    if out_interface.is_some()
        && let Err(fate) = forwardable(core, meta, out_interface)
    {
        ask::count_way(core, &path, meta);
        return fate;
    }
    let decision = ask::walk_half(
        core,
        (id, Half::Late),
        &late,
        (buf, &mut *meta),
        &mut path,
        out,
    );
    keep_mark::<F, W>(core, meta, &mut path);
    let decision = decision.unwrap_or(END_OF_CHAIN);
    // What a plan's packets match is counted at once: it has no outcome to count it.
    ask::count_way(core, &path, meta);
    let judged = Judged {
        decision,
        outcome: OutcomeId::NONE,
        fasttrack: path.fasttrack(),
        residual: true,
    };
    if judged.fasttrack {
        F::table_mut(&mut core.conntrack).set_fasttracked(flow.id);
    }
    meta.rule = decision.rule;
    match judged.refusal(meta) {
        Some(fate) => fate,
        None => {
            meta.way = way;
            Fate::Pass
        }
    }
}
