//! Putting questions to the rules: facts from a packet, the verdict, and what a match entails.

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Conntrack;
use turnpike_conntrack::tuple::{Address, Family, Tuple};

use crate::buffer::Buffer;
use crate::burst::{Meta, Track};
use crate::ids::{ChainId, IfaceId, RuleId};
use crate::outbox::{Outbox, PuntKind};
use crate::outcome::OutcomeId;
use crate::plans::{Half, Plans};
use crate::policy::{NatStateSet, TableKind};
use crate::program::Program;
use crate::rules::path::{LOGS_MAX, Membership};
use crate::rules::rates::meters::{Meter, Meters};
use crate::rules::{Carried, Decision, Facts, Path, Phase, Recorder, Verdict, evaluate, plan};
use crate::stages::counting::Asking;
use crate::stages::fate::Fate;
use crate::stages::logging::log;
use crate::stages::telling::Telling;
use crate::stages::view::View;
use crate::witness::{Waypoint, Witness};
use crate::worker::Core;

/// The built-in chains, as the stages meet them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// raw, for packets from the wire.
    RawPrerouting,
    /// raw, for the gateway's own packets.
    RawOutput,
    /// mangle, for packets from the wire, before nat and routing.
    ManglePrerouting,
    /// mangle, for the gateway itself.
    MangleInput,
    /// mangle, across the gateway.
    MangleForward,
    /// mangle, for the gateway's own packets.
    MangleOutput,
    /// mangle, for all that leaves, after the filter.
    ManglePostrouting,
    /// nat, before routing.
    DstNat,
    /// nat, after the filter.
    SrcNat,
    /// nat, for the gateway itself, after the filter.
    NatInput,
    /// nat, for the gateway's own packets, before routing.
    NatOutput,
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
            Self::ManglePrerouting => (TableKind::Mangle, ChainId(0)),
            Self::MangleInput => (TableKind::Mangle, ChainId(1)),
            Self::MangleForward => (TableKind::Mangle, ChainId(2)),
            Self::MangleOutput => (TableKind::Mangle, ChainId(3)),
            Self::ManglePostrouting => (TableKind::Mangle, ChainId(4)),
            Self::DstNat => (TableKind::Nat, ChainId(0)),
            Self::SrcNat => (TableKind::Nat, ChainId(1)),
            Self::NatInput => (TableKind::Nat, ChainId(2)),
            Self::NatOutput => (TableKind::Nat, ChainId(3)),
            Self::FilterInput => (TableKind::Filter, ChainId(0)),
            Self::FilterForward => (TableKind::Filter, ChainId(1)),
            Self::FilterOutput => (TableKind::Filter, ChainId(2)),
        }
    }

    /// Whether it is before or behind routing.
    const fn phase(self) -> Phase {
        match self {
            Self::RawPrerouting | Self::ManglePrerouting | Self::DstNat => Phase::Early,
            Self::RawOutput
            | Self::MangleInput
            | Self::MangleForward
            | Self::MangleOutput
            | Self::ManglePostrouting
            | Self::SrcNat
            | Self::NatInput
            | Self::NatOutput
            | Self::FilterInput
            | Self::FilterForward
            | Self::FilterOutput => Phase::Late,
        }
    }

    /// Whether a packet from the wire that is here crosses the gateway.
    const fn is_forwarding(self) -> bool {
        match self {
            Self::MangleForward | Self::FilterForward | Self::ManglePostrouting | Self::SrcNat => {
                true
            }
            Self::RawPrerouting
            | Self::RawOutput
            | Self::ManglePrerouting
            | Self::MangleInput
            | Self::MangleOutput
            | Self::DstNat
            | Self::NatInput
            | Self::NatOutput
            | Self::FilterInput
            | Self::FilterOutput => false,
        }
    }
}

/// The chains behind routing, in order, for a packet that leaves or is for the gateway itself.
pub const fn behind_routing(is_local: bool, leaves: bool) -> &'static [Hook] {
    const OUTPUT: &[Hook] = &[
        Hook::MangleOutput,
        Hook::FilterOutput,
        Hook::ManglePostrouting,
    ];
    match (is_local, leaves) {
        (true, true) => OUTPUT,
        (true, false) => &[Hook::MangleOutput, Hook::FilterOutput],
        (false, false) => &[Hook::MangleInput, Hook::FilterInput],
        (false, true) => &[
            Hook::MangleForward,
            Hook::FilterForward,
            Hook::ManglePostrouting,
        ],
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
    /// Whether the packet itself was asked something: another may fare otherwise.
    pub residual: bool,
}

impl Judged {
    /// What becomes of a packet that the filter did not accept; `None` if it did.
    pub fn refusal(&self, meta: &Meta) -> Option<Fate> {
        let verdict = self.decision.verdict;
        if let (Verdict::Reject(with), Some(iface)) = (verdict, meta.in_interface) {
            return Some(Fate::Reject(PuntKind::Reject(iface, with)));
        }
        verdict.drop_reason().map(Fate::Drop)
    }
}

/// A packet as the rules see it under `tuple`.
pub fn facts<F: Family>(
    tuple: &Tuple<F>,
    meta: &Meta,
    out_interface: Option<IfaceId>,
    state: Option<ConnState>,
    nat_state: NatStateSet,
    now: Tick,
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
        helper: meta.helper,
        layer7: meta.layer7,
        now,
        marks: meta.marks,
        routing_table: meta.routing_table,
    }
}

/// In which lists the addresses that rules see of a flow are, as far as that may change; `None` if
/// they are too many to tell.
///
/// The outcome of a way on which rules asked for lists holds as long as this stays the same.
pub fn membership<F: Family, W>(core: &Core<W>, view: &View<F>) -> Option<Membership> {
    let lists = |address: F::Addr| {
        core.program
            .lists
            .members()
            .lists_of(address.to_ip(), core.now)
    };
    let View { incoming, outgoing } = view;
    let [src, dst] = [lists(incoming.src)?, lists(incoming.dst)?];
    let translated = if outgoing.dst == incoming.dst {
        dst
    } else {
        lists(outgoing.dst)?
    };
    let membership = Membership::default().with(0, src);
    Some(membership.with(21, dst).with(42, translated))
}

/// Notes in which lists the packet's addresses are, before any rule is asked about the way.
pub fn note_lists<F: Family, W>(core: &Core<W>, view: &View<F>, path: &mut Path) {
    if !core.program.asks_lists {
        return;
    }
    match membership(core, view) {
        Some(membership) => path.note_membership(membership),
        None => path.note_passing(),
    }
}

/// The same for a packet whose destination has been translated since.
pub fn note_translated<F: Family, W>(core: &Core<W>, view: &View<F>, path: &mut Path) {
    if view.incoming.dst == view.outgoing.dst {
        return;
    }
    let before = path.membership();
    note_lists(core, view, path);
    // Lists that have changed meanwhile may have been asked for in between.
    if core.program.asks_lists && membership(core, &View::plain(view.incoming)) != Some(before) {
        path.note_passing();
    }
}

/// Asks a table whose answer is not kept in a flow; every match is counted at once.
pub fn once<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    hook: Hook,
    facts: &Facts,
    packet: (&B, &Meta),
    out: &mut Outbox<B>,
) -> Decision {
    let mut path = Path::beside(packet.1.edits, hook.phase());
    let decision = walk(core, hook, facts, packet, &mut path);
    if let Some(counters) = core.program.rule_counters(core.id) {
        path.count(counters, u64::from(packet.1.parsed.ip_len));
    }
    log(core, path.logs(), facts, packet, out);
    decision
}

/// Takes a packet one hook further on its way, which is to be kept as an outcome.
///
/// What it matches is added to `path`, and what that changes to `meta`; nothing is counted before
/// the way is [`settle`]d.
pub fn step<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    hook: Hook,
    facts: &Facts,
    (buf, meta): (&B, &mut Meta),
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Decision {
    let logged = path.logs().len();
    path.enter(hook.phase());
    let decision = walk(core, hook, facts, (buf, &*meta), path);
    meta.edits = *path.edits();
    meta.marks = meta.edits.marks(meta.marks);
    let lines = path.logs().get(logged..).unwrap_or_default();
    log(core, lines, facts, (buf, meta), out);
    decision
}

/// Keeps the way that a packet took as an outcome, which counts this packet and those behind.
pub fn settle<W>(core: &mut Core<W>, decision: Decision, path: &Path, meta: &Meta) -> Judged {
    let outcome = match core.program.rule_counters(core.id) {
        Some(counters) => {
            let bytes = u64::from(meta.parsed.ip_len);
            core.outcomes.settle(decision, path, counters, bytes)
        }
        None => OutcomeId::NONE,
    };
    Judged {
        decision,
        outcome,
        fasttrack: path.fasttrack(),
        residual: path.is_residual(),
    }
}

/// What the packet's connection has carried with it, `None` if it has none. An ICMP error is not
/// part of what it is about.
fn carried(conntrack: &Conntrack, meta: &Meta) -> Option<Carried> {
    let (bytes, opened) = match meta.track {
        Track::Known(flow, _) | Track::Related(flow) => match meta.parsed.version() {
            Some(4) => conntrack.v4.carried(flow.id),
            Some(_) | None => conntrack.v6.carried(flow.id),
        },
        Track::Missed | Track::Opening(_) => (u64::from(meta.parsed.ip_len), 0),
        Track::Exempt | Track::Invalid => return None,
    };
    Some(Carried { bytes, opened })
}

/// The meter of the packet's connection, if it has one.
fn meter<'a>((v4, v6): &'a mut (Meters, Meters), meta: &Meta) -> Option<&'a mut Meter> {
    let (Track::Known(flow, _) | Track::Related(flow)) = meta.track else {
        return None;
    };
    match meta.parsed.version() {
        Some(4) => v4.meter(flow.id),
        Some(_) | None => v6.meter(flow.id),
    }
}

/// Counts a packet for all that it has matched on its way, of which nothing is kept.
pub fn count_way<W>(core: &Core<W>, path: &Path, meta: &Meta) {
    if let Some(counters) = core.program.rule_counters(core.id) {
        path.count(counters, u64::from(meta.parsed.ip_len));
    }
}

/// Takes a packet through half of its flow's plan, as [`step`] does through a chain; `facts` are
/// those of that half, but for the marks. `None` if no rule of the filter decided.
pub fn walk_half<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (id, half): (OutcomeId, Half),
    facts: &Facts,
    (buf, meta): (&B, &mut Meta),
    path: &mut Path,
    out: &mut Outbox<B>,
) -> Option<Decision> {
    let logged = path.logs().len();
    path.enter(match half {
        Half::Early => Phase::Early,
        Half::Late => Phase::Late,
    });
    let mut facts = Facts {
        marks: meta.marks,
        ..*facts
    };
    let forwarded = !meta.origin.is_local() && facts.out_interface.is_some();
    let asked = asking(
        core,
        (buf, meta),
        (forwarded, facts.out_interface),
        path,
        |program, plans, asking| {
            let (steps, span) = plans.half(id, half)?;
            plan::walk(program, steps, span, &mut facts, asking)
        },
    );
    meta.edits = *path.edits();
    meta.marks = meta.edits.marks(meta.marks);
    let lines = path.logs().get(logged..).unwrap_or_default();
    log(core, lines, &facts, (buf, meta), out);
    asked.unwrap_or(Some(REFUSED))
}

fn walk<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    hook: Hook,
    facts: &Facts,
    (buf, meta): (&B, &Meta),
    path: &mut Path,
) -> Decision {
    let (table, chain) = hook.chain();
    let forwarded = hook.is_forwarding() && !meta.origin.is_local();
    core.meets(buf, || Waypoint::Asked(hook, *facts));
    let course = (forwarded, facts.out_interface);
    let asked = asking(core, (buf, meta), course, path, |program, _, asking| {
        evaluate(program, table, chain, facts, asking)
    });
    let decision = asked.unwrap_or(REFUSED);
    core.meets(buf, || Waypoint::Decided(hook, decision));
    decision
}

/// What becomes of packets of a worker that has no counters, which does not happen.
const REFUSED: Decision = Decision {
    verdict: Verdict::Drop,
    rule: None,
};

/// Calls `ask` with all that rules may ask of a packet; `None` without counters to count with.
fn asking<B: Buffer, W: Witness<B>, R>(
    core: &mut Core<W>,
    (buf, meta): (&B, &Meta),
    (forwarded, out_interface): (bool, Option<IfaceId>),
    path: &mut Path,
    ask: impl FnOnce(&Program, &Plans, &mut Telling<'_, B, W>) -> R,
) -> Option<R> {
    let counters = core.program.rule_counters(core.id)?;
    let recorder = Recorder {
        path,
        counters,
        marks: &core.program.marks,
        bytes: u64::from(meta.parsed.ip_len),
    };
    let asking = Asking {
        recorder,
        packet: (buf, meta),
        forwarded,
        out_interface,
        limits: &core.conntrack.shared().limits,
        counting: &mut core.counting,
        hellos: &mut core.hellos,
        now: core.now,
        wall: &core.wall,
        program: &core.program,
        key: core.conntrack.shared().key,
        unremembered: &core.counters.unremembered,
        random: &mut core.random,
        carried: carried(&core.conntrack, meta),
        meter: meter(&mut core.meters, meta),
        lists: &core.program.lists,
        members_refused: &core.counters.members_refused,
    };
    let program = &*core.program;
    let mut telling = Telling::new(asking, program, buf, &mut core.witness);
    Some(ask(program, &core.plans, &mut telling))
}

/// Counts a packet under an outcome kept before, and logs what its rules log; `view` says how
/// rules see it before and behind routing.
///
/// `None`, and nothing counted, if the outcome does not exist any more.
pub fn again<B: Buffer, W>(
    core: &mut Core<W>,
    id: OutcomeId,
    packet: (&B, &Meta),
    view: impl FnOnce(&Core<W>) -> [Facts; 2],
    out: &mut Outbox<B>,
) -> Option<Judged> {
    let outcome = core.outcomes.find(id)?;
    let judged = Judged {
        decision: outcome.decision,
        outcome: id,
        fasttrack: outcome.fasttrack,
        residual: false,
    };
    let logs: ArrayVec<RuleId, LOGS_MAX> = outcome.logs.iter().copied().collect();
    let early_logs = outcome.early_logs;
    core.outcomes.account(id, u64::from(packet.1.parsed.ip_len));
    if !logs.is_empty() {
        let [early, late] = view(core);
        let (before, behind) = logs.split_at_checked(early_logs).unwrap_or((&[], &logs));
        log(core, before, &early, packet, out);
        log(core, behind, &late, packet, out);
    }
    Some(judged)
}
