//! Stage 2, `raw`: rules before connection tracking.
//!
//! Reads addresses, ports and the interface; writes the exemption from tracking (`notrack`).
//! Drops by `raw-rule`. A program without raw rules skips it.

use turnpike_conntrack::ids::ConnState;

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Track};
use crate::drops::DropReason;
use crate::outbox::Outbox;
use crate::policy::TableKind;
use crate::rules::Verdict;
use crate::stages::fate::{Fate, settle};
use crate::stages::judge::{self, Hook};
use crate::witness::Witness;
use crate::worker::Core;

/// Runs the raw chain of each live packet's entrance.
pub fn run<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    if core.program.is_empty(TableKind::Raw) {
        return;
    }
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else { continue };
        let fate = packet(core, buf, meta, out);
        settle(core, burst, slot, fate, out);
    }
}

fn packet<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    out: &mut Outbox<B>,
) -> Fate {
    let hook = if meta.origin.is_local() { Hook::RawOutput } else { Hook::RawPrerouting };
    let Some(facts) = judge::facts_as_received(buf, meta, ConnState::Untracked) else {
        return Fate::Drop(DropReason::IpTruncated);
    };
    let judged = judge::ask(core, hook, &facts, buf, meta, out);
    match judged.verdict {
        Verdict::Drop => {
            meta.rule = judged.rule;
            Fate::Drop(DropReason::RawRule)
        }
        Verdict::NoTrack => {
            meta.track = Track::Exempt;
            Fate::Pass
        }
        _ => Fate::Pass,
    }
}
