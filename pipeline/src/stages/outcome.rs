//! Stage 4, `outcome`: a flow that was judged before is treated as it was then.
//!
//! Reads the outcome cached in the flow, which holds while generation, connection state and
//! incoming interface are what they were; writes the way and counts the rules that matched, all of
//! them, in one addition. Drops what was decided to be dropped. What does not qualify is left to
//! the judge, uncounted, and so is everything while a witness follows packets.

use turnpike_conntrack::ids::{ConnState, FlowRef};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Track, Way};
use crate::nexthop::CachedWay;
use crate::outbox::Outbox;
use crate::outcome::OutcomeId;
use crate::stages::ask;
use crate::stages::family::Stack;
use crate::stages::fate::{Fate, settle};
use crate::stages::judge::{forwardable, in_interface_bits, nat_state};
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
    let Some(outcome) = core.outcomes.find(id) else {
        return Fate::Pass;
    };
    meta.edits = outcome.edits;
    if out_interface.is_some()
        && let Err(fate) = forwardable(core, meta, out_interface)
    {
        return fate;
    }
    let facts = |core: &Core<W>| {
        let table = F::table(&core.conntrack);
        let view = View::of_flow(&table.pair(flow.id), flow.direction);
        let nat_state = nat_state::<F, W>(core, flow);
        let facts = |tuple, out| ask::facts(tuple, meta, out, Some(state), nat_state);
        [
            facts(&view.incoming, None),
            facts(&view.at_filter(), out_interface),
        ]
    };
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
