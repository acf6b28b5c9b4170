//! Stage 3, `track`: to which connection a packet belongs, and in which state that is.
//!
//! Lookup is in bulk: every key is hashed and its bucket prefetched before any is probed. Then the
//! protocol's tracker sees the packets one by one in their order. Reads tuple, TCP fields and the
//! layer-4 checksum; writes [`Track`] and the connection's own state. Drops nothing: what fits no
//! connection is `invalid`, and rules decide.

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::FlowRef;
use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::table::Tracked;
use turnpike_conntrack::tuple::Tuple;

use crate::buffer::Buffer;
use crate::burst::{BURST_MAX, Burst, Meta, Track};
use crate::packet::quoted::quoted;
use crate::packet::segment::segment;
use crate::packet::tuple::IcmpRole;
use crate::stages::control;
use crate::stages::family::Stack;
use crate::witness::Witness;
use crate::worker::Core;

/// Looks up and tracks the live packets of one family.
pub fn run<F: Stack, B: Buffer, W: Witness<B>>(core: &mut Core<W>, burst: &mut Burst<B>) {
    let mut slots: ArrayVec<usize, BURST_MAX> = ArrayVec::new();
    let mut keys: ArrayVec<Tuple<F>, BURST_MAX> = ArrayVec::new();
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        if meta.track != Track::Missed || meta.parsed.version() != Some(F::VERSION) {
            continue;
        }
        if meta.parsed.icmp_role() == Some(IcmpRole::Error) {
            meta.track = error::<F, B, W>(core, buf, meta);
        } else if let Some(key) = meta.parsed.tuple::<F>(buf.head()) {
            slots.push(slot);
            keys.push(key);
        }
    }
    let mut found: [Option<FlowRef>; BURST_MAX] = [None; BURST_MAX];
    let table = F::table(&core.conntrack);
    table.lookup_bulk(&keys, &mut found, core.now);
    table.prefetch(&found);
    for (slot, flow) in slots.iter().zip(found) {
        let (Some(flow), Some((buf, meta))) = (flow, burst.packet(*slot)) else {
            continue;
        };
        if core.is_still::<F, B>(flow, buf, meta) {
            meta.track = known::<F, B, W>(core, buf, meta, flow);
        }
    }
}

/// Lets the tracker see a packet of a connection that was found.
pub fn known<F: Stack, B: Buffer, W>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    flow: FlowRef,
) -> Track {
    let checksum = meta.checksum(buf);
    let mut segment = segment(buf.head(), &meta.parsed, checksum);
    if F::table(&core.conntrack).attention(flow.id).is_shifted() {
        segment = control::as_sent::<F, W>(core, flow, segment);
    }
    let table = F::table_mut(&mut core.conntrack);
    match table.track(flow, &segment, core.now, &core.program.tracking_config) {
        Tracked::Valid(state) => Track::Known(flow, state),
        Tracked::Invalid(_) => Track::Invalid,
        Tracked::Reopen => Track::Missed,
    }
}

/// Finds the connection that an ICMP error is about.
///
/// The quoted packet is one that left this gateway, or its own: in the words of the side that
/// sent the error, its tuple is the inverse of what that side sends in the same connection. An
/// error is for whoever sent what it quotes: to anybody else, it is about nothing, or anyone who
/// knows of one connection could send to any host what rules take for related.
fn error<F: Stack, B: Buffer, W>(core: &mut Core<W>, buf: &B, meta: &mut Meta) -> Track {
    if meta.checksum(buf) == Checksum::Bad {
        return Track::Invalid;
    }
    let Some(quote) = quoted::<F>(buf.head(), &meta.parsed) else {
        return Track::Invalid;
    };
    let answer = quote.tuple.inverse();
    if meta.parsed.tuple::<F>(buf.head()).map(|outer| outer.dst) != Some(answer.dst) {
        return Track::Invalid;
    }
    match F::table(&core.conntrack).lookup(&answer, core.now) {
        Some(flow) => Track::Related(flow),
        // Perhaps another worker's: the judge asks the steering map and the hash.
        None => Track::Missed,
    }
}
