//! Stage 6, `sample`: the first payloads of connections that some rule may tell apart by them.
//!
//! Reads the connection's state and the payload of packets that go on; writes copies of them for
//! the slow path, which looks through them. The packet itself goes on at once: what its payload
//! shows counts from the packets behind it on. Drops nothing.

use turnpike_conntrack::ids::{Direction, FlowId, FlowRef};
use turnpike_conntrack::labels::Examined;
use turnpike_conntrack::tuple::{Family, Proto, Tuple, V4, V6};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Track};
use crate::layer7::samples::{Sample, Sampled};
use crate::layer7::streams::Examination;
use crate::rules::Path;
use crate::stages::family::Stack;
use crate::worker::Core;

/// Samples the live packets of connections that are looked at.
pub fn run<B: Buffer, W>(core: &mut Core<W>, burst: &mut Burst<B>) {
    if core.program.layer7.sought().is_none() {
        return;
    }
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        let Track::Known(flow, _) = meta.track else {
            continue;
        };
        match meta.parsed.version() {
            Some(4) => packet::<V4, B, W>(core, (buf, meta), flow, Sampled::V4),
            Some(_) => packet::<V6, B, W>(core, (buf, meta), flow, Sampled::V6),
            None => {}
        }
    }
}

fn packet<F: Stack, B: Buffer, W>(
    core: &mut Core<W>,
    (buf, meta): (&B, &Meta),
    flow: FlowRef,
    named: impl FnOnce(FlowId, Tuple<F>) -> Sampled,
) {
    if !F::table(&core.conntrack).is_sampled(flow.id) || !carries(meta) {
        return;
    }
    if !core.is_still::<F, B>(flow, buf, meta) {
        return;
    }
    let Some(samples) = core.program.layer7.samples_of(core.id) else {
        return;
    };
    let table = F::table_mut(&mut core.conntrack);
    let Some(nth) = table.next_sample(flow.id) else {
        return;
    };
    let connection = named(flow.id, table.pair(flow.id).original);
    let taken = samples.offer(|sample| {
        sample.begin(connection, nth);
        copy(buf, meta, sample);
    });
    if !taken {
        table.set_examined(flow.id, Examined::NoRoom);
    }
}

/// Whether a packet has a payload that is looked at.
fn carries(meta: &Meta) -> bool {
    let proto = meta.parsed.proto;
    let searched = [Proto::TCP, Proto::UDP, Proto::ICMP, Proto::ICMPV6];
    meta.parsed.payload_len() > 0 && searched.contains(&proto)
}

/// Copies a packet's payload, over all segments.
fn copy<B: Buffer>(buf: &B, meta: &Meta, sample: &mut Sample) {
    let mut skip = usize::from(meta.parsed.payload);
    let mut left = meta.parsed.payload_len() as usize;
    buf.for_each_segment(|bytes| {
        let before = skip.min(bytes.len());
        skip -= before;
        let here = bytes.get(before..).unwrap_or_default();
        let here = here.get(..left.min(here.len())).unwrap_or_default();
        left -= here.len();
        sample.add(here);
    });
}

/// Has the connection of a packet looked at, if a rule on its way asks for what it carries.
pub fn want<F: Stack, W>(core: &mut Core<W>, meta: &Meta, path: &Path) {
    if let (true, Track::Known(flow, _)) = (path.asks_label(), meta.track) {
        F::table_mut(&mut core.conntrack).want_label(flow.id);
    }
}

/// Takes note of what the slow path has found, if that connection still stands.
pub fn learn<W>(core: &mut Core<W>, examination: &Examination) {
    fn note<F: Family, W>(core: &mut Core<W>, flow: FlowRef, key: &Tuple<F>, examined: Examined) {
        let table = F::table_mut(&mut core.conntrack);
        if table.is_current(flow, key) {
            table.set_examined(flow.id, examined);
        }
    }
    let original = |id| FlowRef {
        id,
        direction: Direction::Original,
    };
    match &examination.connection {
        Sampled::V4(id, key) => note::<V4, W>(core, original(*id), key, examination.examined),
        Sampled::V6(id, key) => note::<V6, W>(core, original(*id), key, examination.examined),
    }
}
