//! Putting questions to the rules: facts from a packet, the verdict, and what a match entails.

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::{Address, Family, Tuple};

use crate::buffer::Buffer;
use crate::burst::Meta;
use crate::drops::DropReason;
use crate::ids::{ChainId, IfaceId, RuleId};
use crate::log::{LOG_EVENTS_PER_SECOND_MAX, LogEvent};
use crate::outbox::{Outbox, PuntKind};
use crate::outcome::OutcomeId;
use crate::policy::{NatStateSet, TableKind};
use crate::rules::path::LOGS_MAX;
use crate::rules::{Decision, Facts, Path, Recorder, Verdict, evaluate};
use crate::stages::counting::Asking;
use crate::stages::fate::Fate;
use crate::worker::Core;

/// The built-in chains, as the stages meet them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// raw, for packets from the wire.
    RawPrerouting,
    /// raw, for the gateway's own packets.
    RawOutput,
    /// nat, before routing.
    DstNat,
    /// nat, after the filter.
    SrcNat,
    /// filter, for the gateway itself.
    FilterInput,
    /// filter, across the gateway.
    FilterForward,
    /// filter, for the gateway's own packets.
    FilterOutput,
}

impl Hook {
    /// The table and the chain's place among its built-in chains.
    pub const fn chain(self) -> (TableKind, ChainId) {
        match self {
            Self::RawPrerouting => (TableKind::Raw, ChainId(0)),
            Self::RawOutput => (TableKind::Raw, ChainId(1)),
            Self::DstNat => (TableKind::Nat, ChainId(0)),
            Self::SrcNat => (TableKind::Nat, ChainId(1)),
            Self::FilterInput => (TableKind::Filter, ChainId(0)),
            Self::FilterForward => (TableKind::Filter, ChainId(1)),
            Self::FilterOutput => (TableKind::Filter, ChainId(2)),
        }
    }
}

/// What the filter said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The verdict, and the rule that gave it.
    pub decision: Decision,
    /// The outcome to keep in the flow, [`OutcomeId::NONE`] if there is none.
    pub outcome: OutcomeId,
    /// Whether a matching rule sets the connection's fasttrack flag.
    pub fasttrack: bool,
}

impl Judged {
    /// What becomes of a packet that the filter did not accept; `None` if it did.
    pub fn refusal(&self, meta: &Meta) -> Option<Fate> {
        match self.decision.verdict {
            Verdict::Accept => None,
            Verdict::Reject(with) => Some(match meta.in_interface {
                Some(iface) => Fate::Reject(PuntKind::Reject(iface, with)),
                None => Fate::Drop(DropReason::FilterReject),
            }),
            Verdict::Drop
            | Verdict::NoTrack
            | Verdict::SrcNat(_)
            | Verdict::Masquerade(_)
            | Verdict::DstNat(_)
            | Verdict::Redirect(_)
            | Verdict::EndpointIndependent(_)
            | Verdict::Same(..)
            | Verdict::Netmap(_) => Some(Fate::Drop(DropReason::FilterRule)),
        }
    }
}

/// A packet as the rules see it under `tuple`.
pub fn facts<F: Family>(
    tuple: &Tuple<F>,
    meta: &Meta,
    out_interface: Option<IfaceId>,
    state: Option<ConnState>,
    nat_state: NatStateSet,
) -> Facts {
    let ports = meta.parsed.ports().is_some();
    Facts {
        src: tuple.src.to_ip(),
        dst: tuple.dst.to_ip(),
        proto: tuple.proto,
        src_port: ports.then_some(tuple.src_port.0),
        dst_port: ports.then_some(tuple.dst_port.0),
        icmp: meta.parsed.icmp(),
        in_interface: meta.in_interface,
        out_interface,
        state,
        nat_state,
    }
}

/// Asks a table whose answer is not kept in a flow; every match is counted at once.
pub fn once<B: Buffer, W>(
    core: &mut Core<W>,
    hook: Hook,
    facts: &Facts,
    packet: (&B, &Meta),
    out: &mut Outbox<B>,
) -> Decision {
    let (decision, path) = walk(core, hook, facts, packet.1);
    if let Some(counters) = core.program.rule_counters(core.id) {
        path.count(counters, u64::from(packet.1.parsed.ip_len));
    }
    log(core, path.logs(), facts, packet, out);
    decision
}

/// Asks the filter; the answer is kept as an outcome, which counts this packet and those behind.
pub fn filter<B: Buffer, W>(
    core: &mut Core<W>,
    hook: Hook,
    facts: &Facts,
    packet: (&B, &Meta),
    out: &mut Outbox<B>,
) -> Judged {
    let (decision, path) = walk(core, hook, facts, packet.1);
    let outcome = match core.program.rule_counters(core.id) {
        Some(counters) => {
            let bytes = u64::from(packet.1.parsed.ip_len);
            core.outcomes.settle(decision, &path, counters, bytes)
        }
        None => OutcomeId::NONE,
    };
    log(core, path.logs(), facts, packet, out);
    Judged {
        decision,
        outcome,
        fasttrack: path.fasttrack(),
    }
}

fn walk<W>(core: &mut Core<W>, hook: Hook, facts: &Facts, meta: &Meta) -> (Decision, Path) {
    let mut path = Path::new();
    let (table, chain) = hook.chain();
    let decision = match core.program.rule_counters(core.id) {
        Some(counters) => {
            let bytes = u64::from(meta.parsed.ip_len);
            let recorder = Recorder {
                path: &mut path,
                counters,
                bytes,
            };
            let mut asking = Asking {
                recorder,
                limits: &core.conntrack.shared().limits,
                counting: &mut core.counting,
            };
            evaluate(&core.program, table, chain, facts, &mut asking)
        }
        None => evaluate(&core.program, table, chain, facts, &mut ()),
    };
    (decision, path)
}

/// Writes a log event for each of `rules`, as far as the second's budget goes.
pub fn log<B: Buffer, W>(
    core: &mut Core<W>,
    rules: &[RuleId],
    facts: &Facts,
    (_, meta): (&B, &Meta),
    out: &mut Outbox<B>,
) {
    for rule in rules {
        if !core.log_budget.take(core.now, LOG_EVENTS_PER_SECOND_MAX) {
            core.counters.logs_suppressed.add(1);
            continue;
        }
        out.logs.push(LogEvent {
            at: core.now,
            generation: core.program.generation,
            rule: *rule,
            in_interface: facts.in_interface,
            out_interface: facts.out_interface,
            src_mac: meta.parsed.link.src,
            src: (facts.src, facts.src_port),
            dst: (facts.dst, facts.dst_port),
            proto: facts.proto,
            tcp_flags: meta.parsed.tcp().map(|tcp| tcp.flags),
            length: meta.parsed.ip_len,
            state: facts.state.unwrap_or(ConnState::Untracked),
        });
    }
}

/// Counts a packet under an outcome kept before, and logs what its rules log.
///
/// `None`, and nothing counted, if the outcome does not exist any more.
pub fn again<B: Buffer, W>(
    core: &mut Core<W>,
    id: OutcomeId,
    packet: (&B, &Meta),
    view: impl FnOnce(&Core<W>) -> Facts,
    out: &mut Outbox<B>,
) -> Option<Judged> {
    let outcome = core.outcomes.find(id)?;
    let judged = Judged {
        decision: outcome.decision,
        outcome: id,
        fasttrack: outcome.fasttrack,
    };
    let logs: ArrayVec<RuleId, LOGS_MAX> = outcome.logs.iter().copied().collect();
    core.outcomes.account(id, u64::from(packet.1.parsed.ip_len));
    if !logs.is_empty() {
        let facts = view(core);
        log(core, &logs, &facts, packet, out);
    }
    Some(judged)
}
