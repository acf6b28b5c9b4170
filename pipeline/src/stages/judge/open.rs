//! Opening a connection: translated, judged, and only then entered in the table.

use turnpike_conntrack::entry::NONE;
use turnpike_conntrack::ids::{ConnState, Direction, FlowRef};
use turnpike_conntrack::table::{CommitError, NewConnection};
use turnpike_conntrack::tuple::{Address, Tuple, TuplePair};

use super::{announced, judge, remember};
use crate::buffer::Buffer;
use crate::burst::{Meta, Track, Way};
use crate::drops::DropReason;
use crate::ids::IfaceId;
use crate::outbox::Outbox;
use crate::packet::segment::segment;
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
    let fate = enter(core, buf, meta, incoming, out);
    let uncountable = core.opening.is_uncountable();
    core.end_opening();
    if uncountable && fate != Fate::Pass {
        return Fate::Drop(DropReason::ConnectionLimitFull);
    }
    fate
}

fn enter<F: Stack, B: Buffer, W: Witness<B>>(
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
    let (packet, met) = ((buf, &*meta), expected.as_ref());
    view.outgoing = match announced::destination(core, packet, &view.incoming, met, out) {
        Ok(tuple) => tuple,
        Err(reason) => return Fate::Drop(reason),
    };
    let judgement = judge(core, buf, meta, &view, state, out);
    if judgement.fate != Fate::Pass {
        return judgement.fate;
    }
    let (packet, leaves) = ((buf, &*meta), out_interface(core, meta));
    let source = match announced::source(core, packet, &view, leaves, met, out) {
        Ok(source) => source,
        Err(reason) => return Fate::Drop(reason),
    };
    let rule = meta.rule.and_then(|rule| core.program.lasting.number(rule));
    if core.opening.is_uncountable() || !core.has_room_for_limits::<F>() {
        return Fate::Drop(DropReason::ConnectionLimitFull);
    }
    let new = NewConnection {
        pair: TuplePair {
            original: view.incoming,
            reply: source.outgoing.inverse(),
        },
        expected,
        helper: None,
        claim: source.claim,
        mapping: nat::mapping(core, &view),
        steer: source.steer,
        generation: core.program.generation,
        rule: rule.unwrap_or(NONE),
    };
    let checksum = meta.checksum(buf);
    let segment = segment(buf.head(), &meta.parsed, checksum);
    let config = core.program.tracking_config;
    let table = F::table_mut(&mut core.conntrack);
    match table.commit(new, &segment, core.now, &config) {
        Ok(id) => {
            core.note_limits::<F>(id);
            let flow = FlowRef {
                id,
                direction: Direction::Original,
            };
            meta.track = Track::Known(flow, state);
            remember::<F, W>(core, meta, flow, state, &judgement);
            Fate::Pass
        }
        Err(error) => Fate::Drop(match error {
            CommitError::TableFull => DropReason::TableFull,
            CommitError::IndexFull => DropReason::IndexFull,
            CommitError::SteeringFull => DropReason::SteeringFull,
            CommitError::NatClash => DropReason::NatClash,
            CommitError::ExpectationGone => DropReason::ExpectationGone,
        }),
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
