//! Opening a connection: translated, judged, and only then entered in the table, here or at the
//! worker where its reply arrives.

use turnpike_conntrack::entry::{Flags, NONE};
use turnpike_conntrack::expect::Expected;
use turnpike_conntrack::ids::{ConnState, Direction, FlowRef, WorkerId};
use turnpike_conntrack::nat::other_source_port;
use turnpike_conntrack::steering::{SteeringClaim, SteeringError};
use turnpike_conntrack::table::{CommitError, NewConnection};
use turnpike_conntrack::tuple::{Address, Tuple, TuplePair};
use turnpike_helpers::helper::Reader;

use super::owner::{distribution, home};
use super::route::route;
use super::{accepted, announced, helper_of, judge, keep_deltas, nat_state, prerouting, remember};
use crate::buffer::Buffer;
use crate::burst::{Meta, Track, Way};
use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::masquerade::has_lapsed;
use crate::opening::Opening;
use crate::outbox::{Found, Outbox};
use crate::packet::segment::segment;
use crate::policy::NatStateSet;
use crate::rules::Path;
use crate::stages::ask;
use crate::stages::control;
use crate::stages::family::Stack;
use crate::stages::fate::Fate;
use crate::stages::nat;
use crate::stages::view::View;
use crate::witness::Witness;
use crate::worker::Core;

/// A packet that may open a connection: translated, judged, and only then entered in the table.
///
/// What rules count it for is the connection's from then on, or taken off again.
pub(super) fn open<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    incoming: &Tuple<F>,
    out: &mut Outbox<B>,
) -> Fate {
    core.begin_opening(incoming.src.to_ip());
    let fate = translate_and_judge(core, buf, meta, incoming, out);
    let uncountable = core.counting.is_uncountable();
    core.end_opening();
    if uncountable && fate != Fate::Pass {
        return Fate::Drop(DropReason::ConnectionLimitFull);
    }
    fate
}

fn translate_and_judge<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    incoming: &Tuple<F>,
    out: &mut Outbox<B>,
) -> Fate {
    let expected = announced::meets(core, meta, incoming);
    let mut view = View::plain(match &expected {
        Some(expected) => expected.opened(incoming),
        // What nobody announced is a tunnel, not a call.
        None => incoming.without_call(),
    });
    let state = match expected {
        Some(_) => ConnState::Related,
        None => ConnState::New,
    };
    meta.track = Track::Opening(state);
    meta.helper = helper_of(expected.and_then(|expected| expected.helper));
    let mut path = Path::new();
    ask::note_lists(core, &view, &mut path);
    let packet = (buf, &mut *meta);
    if let Err(fate) = prerouting(core, packet, &view.incoming, state, &mut path, out) {
        ask::count_way(core, &path, meta);
        return fate;
    }
    let (packet, met) = ((buf, &*meta), expected.as_ref());
    view.outgoing = match announced::destination(core, packet, &view.incoming, met, out) {
        Ok(tuple) => tuple,
        Err(reason) => {
            ask::count_way(core, &path, meta);
            return Fate::Drop(reason);
        }
    };
    ask::note_translated(core, &view, &mut path);
    let reader = control::reader::<F, W>(core, &view.outgoing);
    meta.helper = meta.helper.or(reader.and_then(Reader::helper_id));
    let judgement = judge(core, (buf, meta), &view, state, &mut path, out);
    if judgement.fate != Fate::Pass {
        return judgement.fate;
    }
    let (packet, leaves) = ((buf, &*meta), out_interface(core, meta));
    let source = match announced::source(core, packet, &view, leaves, met, out) {
        Ok(source) => source,
        Err(reason) => return Fate::Drop(reason),
    };
    if core.counting.is_uncountable() {
        return Fate::Drop(DropReason::ConnectionLimitFull);
    }
    let fasttrack = judgement.filter.is_some_and(|judged| judged.fasttrack);
    let mut opening = opening(core, meta, &view, (source, expected), fasttrack);
    opening.wants_label = path.asks_label();
    let home = home(
        core,
        meta,
        out_interface(core, meta),
        &opening.new.pair.reply,
    );
    if home != core.id {
        return depart(core, opening, home);
    }
    if !core.has_room_for_limits::<F>() {
        return Fate::Drop(DropReason::ConnectionLimitFull);
    }
    match enter::<F, B, W>(core, buf, meta, opening) {
        Ok(flow) => {
            let translated = nat_state::<F, W>(core, flow) != NatStateSet::default();
            if translated && core.program.asks_nat_state {
                // It was judged before it was translated; the next packet sees that it is.
                keep_deltas::<F, W>(core, flow);
            } else {
                remember::<F, W>(core, meta, flow, state, &judgement);
            }
            Fate::Pass
        }
        Err(reason) => Fate::Drop(reason),
    }
}

/// What a judged packet opens.
fn opening<F: Stack, W>(
    core: &Core<W>,
    meta: &Meta,
    view: &View<F>,
    (source, expected): (nat::Source<F>, Option<Expected<F>>),
    fasttrack: bool,
) -> Opening<F> {
    let rule = meta.rule.and_then(|rule| core.program.lasting.number(rule));
    Opening {
        new: NewConnection {
            pair: TuplePair {
                original: view.incoming,
                reply: source.outgoing.inverse(),
            },
            expected,
            helper: control::reader::<F, W>(core, &view.outgoing).and_then(Reader::number),
            claim: source.claim,
            mapping: nat::mapping(core, view),
            steered: None,
            generation: core.program.generation,
            rule: rule.unwrap_or(NONE),
        },
        fasttrack,
        masqueraded: source.masqueraded,
        mark: meta.marks.connection,
        edits: meta.edits,
        wants_label: false,
        counted: None,
    }
}

/// Sends a packet with the connection it opens to the worker where the reply arrives.
///
/// Its original tuple is spoken for before it leaves, by the one worker where that tuple arrives:
/// whatever comes behind follows, and nothing else can be opened with it.
fn depart<F: Stack, W>(core: &mut Core<W>, mut opening: Opening<F>, home: WorkerId) -> Fate {
    let claim = SteeringClaim::new(core.conntrack.shared(), &opening.new.pair.original, home);
    match claim {
        Ok(claim) => opening.new.steered = Some(claim),
        Err(SteeringError::Full) => return Fate::Drop(DropReason::SteeringFull),
        Err(SteeringError::Occupied) => return Fate::Drop(DropReason::NatClash),
    }
    opening.counted = core.take_counted();
    core.departing = Some(F::any(opening));
    Fate::Handover(home, Found::ReplyArrives)
}

/// Enters a connection that another worker has judged; its rules are counted there.
///
/// No outcome is kept: it would be the other worker's, so the next packet is judged here.
pub(super) fn arrive<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    mut opening: Opening<F>,
) -> Fate {
    meta.rule = core.program.lasting.rule(opening.new.rule);
    meta.edits = opening.edits;
    meta.marks = opening.edits.marks(meta.marks);
    let counted = opening.counted.take();
    core.continue_opening(opening.new.pair.original.src.to_ip(), counted);
    let fate = if core.has_room_for_limits::<F>() {
        settle_in(core, buf, meta, opening)
    } else {
        Fate::Drop(DropReason::ConnectionLimitFull)
    };
    core.end_opening();
    fate
}

fn settle_in<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    opening: Opening<F>,
) -> Fate {
    let new = &opening.new;
    if opening.masqueraded && has_lapsed(&core.program, Flags::MASQUERADED, new.pair.reply.dst) {
        // The other worker has not adopted the program yet that took the address away.
        return Fate::Drop(DropReason::NatNoAddress);
    }
    let source = new.pair.incoming(Direction::Original).src.to_ip();
    let destination = new.pair.outgoing(Direction::Original).dst.to_ip();
    let fate = match route(core, meta, (source, destination)) {
        Ok(routed) => accepted(meta, &routed, destination),
        Err(fate) => fate,
    };
    if fate != Fate::Pass {
        return fate;
    }
    match enter::<F, B, W>(core, buf, meta, opening) {
        Ok(flow) => {
            keep_deltas::<F, W>(core, flow);
            Fate::Pass
        }
        Err(reason) => Fate::Drop(reason),
    }
}

/// Takes a connection into the table of this worker, where its reply arrives.
fn enter<F: Stack, B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    buf: &B,
    meta: &mut Meta,
    opening: Opening<F>,
) -> Result<FlowRef, DropReason> {
    let Opening {
        mut new,
        fasttrack,
        masqueraded,
        mark,
        edits: _,
        wants_label,
        counted: _,
    } = opening;
    give_way(core, meta, &mut new);
    let checksum = meta.checksum(buf);
    let segment = segment(buf.head(), &meta.parsed, checksum);
    let config = core.program.tracking_config;
    let table = F::table_mut(&mut core.conntrack);
    match table.commit(new, &segment, core.now, &config) {
        Ok(id) => {
            let flow = FlowRef {
                id,
                direction: Direction::Original,
            };
            table.set_mark(id, mark);
            if fasttrack {
                table.set_fasttracked(id);
            }
            if masqueraded {
                table.set_masqueraded(id);
            }
            if wants_label {
                table.want_label(id);
            }
            meta.track = Track::Known(flow, table.state(flow));
            control::begin::<F, W>(core, meta, flow, &segment);
            core.note_limits::<F>(id);
            Ok(flow)
        }
        Err(CommitError::TableFull) => Err(DropReason::TableFull),
        Err(CommitError::IndexFull) => Err(DropReason::IndexFull),
        Err(CommitError::NatClash) => Err(DropReason::NatClash),
        Err(CommitError::ExpectationGone) => Err(DropReason::ExpectationGone),
    }
}

/// Gives a connection another source port if a live one has its reply tuple, so that both live.
///
/// That happens when one client reaches one server in two ways, by its own address and by an
/// address that is translated to it, from the same port. Linux changes the port, too. What holds
/// an external port was given one that is free, and an announced connection has its own.
fn give_way<F: Stack, W>(core: &Core<W>, meta: &Meta, new: &mut NewConnection<F>) {
    let table = F::table(&core.conntrack);
    let reply = &new.pair.reply;
    if new.claim.is_some() || new.expected.is_some() || !table.is_taken(reply, core.now) {
        return;
    }
    let taken = |reply: &Tuple<F>| table.is_taken(reply, core.now);
    let key = &core.conntrack.shared().key;
    let other = distribution(core, meta, out_interface(core, meta))
        .and_then(|distribution| other_source_port(reply, distribution, core.id, key, taken));
    if let Some(port) = other {
        new.pair.reply.dst_port = port;
    }
}

/// The interface an accepted packet leaves by.
pub fn out_interface<W>(core: &Core<W>, meta: &Meta) -> Option<IfaceId> {
    match meta.way {
        Way::NextHop(id) => core.next_hops.entry(id).map(|hop| hop.interface),
        Way::Resolve(iface, _) => Some(iface),
        Way::Local | Way::Undecided => None,
    }
}
