//! Stage 2, `raw`: rules before connection tracking.
//!
//! Reads addresses, ports and the interface; writes the exemption from tracking (`notrack`).
//! Drops by `raw-rule`. A program without raw rules skips it, and so does a packet that another
//! worker has held against them before it found the connection's owner.

use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{Family, V4, V6};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Track};
use crate::drops::DropReason;
use crate::outbox::Outbox;
use crate::policy::NatStateSet;
use crate::rules::{Facts, Verdict};
use crate::stages::ask::{self, Hook};
use crate::stages::fate::{Fate, settle};
use crate::witness::Witness;
use crate::worker::Core;

/// Runs the raw chain of each live packet's entrance.
pub fn run<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    if !core.program.has_raw_rules {
        return;
    }
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        if meta.origin.is_past_raw() {
            continue;
        }
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
    let hook = if meta.origin.is_local() {
        Hook::RawOutput
    } else {
        Hook::RawPrerouting
    };
    let facts = match meta.parsed.version() {
        Some(4) => as_received::<V4, B>(buf, meta, core.now),
        Some(_) => as_received::<V6, B>(buf, meta, core.now),
        None => None,
    };
    let Some(facts) = facts else {
        return Fate::Drop(DropReason::IpTruncated);
    };
    let decision = ask::once(core, hook, &facts, (buf, &*meta), out);
    match decision.verdict {
        Verdict::Drop => {
            meta.rule = decision.rule;
            Fate::Drop(DropReason::RawRule)
        }
        Verdict::NoTrack => {
            meta.track = Track::Exempt;
            Fate::Pass
        }
        Verdict::Accept
        | Verdict::Reject(_)
        | Verdict::SrcNat(_)
        | Verdict::Masquerade(_)
        | Verdict::DstNat(_)
        | Verdict::Redirect(_)
        | Verdict::EndpointIndependent(_)
        | Verdict::Same(..)
        | Verdict::Netmap(_) => Fate::Pass,
    }
}

fn as_received<F: Family, B: Buffer>(buf: &B, meta: &Meta, now: Tick) -> Option<Facts> {
    let tuple = meta.parsed.tuple::<F>(buf.head())?;
    let nat_state = NatStateSet::default();
    Some(ask::facts(&tuple, meta, None, None, nat_state, now))
}
