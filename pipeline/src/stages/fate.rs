//! What a stage decides of a packet, and the one place where that is carried out.

use turnpike_conntrack::ids::WorkerId;

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta};
use crate::drops::DropReason;
use crate::outbox::{Found, Handover, Outbox, Punt, PuntKind};
use crate::recent::Headers;
use crate::stages::transmit;
use crate::witness::{End, Ending, Witness};
use crate::worker::Core;

/// What becomes of a packet after a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on to the next stage.
    Pass,
    /// It ends here, silently.
    Drop(DropReason),
    /// It ends here, and the slow path tells its sender.
    Refuse(DropReason, PuntKind),
    /// It ends here because a rule said so, and the slow path tells its sender.
    Reject(PuntKind),
    /// Another worker owns its connection.
    Handover(WorkerId, Found),
}

/// Carries out the fate of the packet in `slot`.
pub fn settle<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    slot: usize,
    fate: Fate,
    out: &mut Outbox<B>,
) {
    match fate {
        Fate::Pass => {}
        Fate::Drop(reason) => {
            if let Some((buf, meta)) = burst.take(slot) {
                let end = end_of(&meta, Ending::Drop);
                let headers = Headers::of(buf.head(), &meta.parsed);
                core.drop_known(buf, headers, reason, end);
            }
        }
        Fate::Refuse(reason, notice) => refuse(core, burst, slot, reason, notice, out),
        Fate::Reject(notice) => {
            refuse(core, burst, slot, DropReason::FilterReject, notice, out);
        }
        Fate::Handover(worker, found) => {
            if let Some((buf, meta)) = burst.take(slot) {
                core.counters.handed_over(found).add(1);
                let handover = Handover {
                    buf,
                    port: (!meta.origin.is_local()).then_some(meta.port),
                    found,
                    opening: core.departing.take(),
                };
                out.handover.push((worker, handover));
            }
        }
    }
}

/// What a verdict list says of a packet with this meta data.
pub fn end_of(meta: &Meta, ending: Ending) -> End {
    End {
        ending,
        reason: None,
        in_interface: meta.in_interface,
        out: None,
        state: meta.state(),
        rule: meta.rule,
    }
}

/// Counts the packet as dropped and sends it on as the material of an answer.
fn refuse<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    slot: usize,
    reason: DropReason,
    notice: PuntKind,
    out: &mut Outbox<B>,
) {
    let Some((buf, meta)) = burst.take(slot) else {
        return;
    };
    let ending = if reason == DropReason::FilterReject {
        Ending::Reject
    } else {
        Ending::Drop
    };
    let end = end_of(&meta, ending);
    core.count_drop(reason, &end, Headers::of(buf.head(), &meta.parsed));
    core.witness.end(
        &buf,
        &End {
            reason: Some(reason),
            ..end
        },
    );
    transmit::punt(core, Punt::new(buf, core.id, notice), out);
}
