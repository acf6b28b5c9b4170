//! Stage 8, `control`: control connections leave for the slow path, where helpers read them.
//!
//! Reads what is to be done for the connection besides the usual, which for most is nothing;
//! writes sequence and acknowledgement numbers of connections whose length a helper has changed.
//! A packet that a helper is to read leaves finished but for its link header, and comes back by
//! [`resume`]. Drops nothing: where there is no room to have a connection read, it goes unread.

use std::net::IpAddr;

use turnpike_conntrack::expect::MasterId;
use turnpike_conntrack::ids::FlowRef;
use turnpike_conntrack::segment::{ACK, FIN, L4, RST, SYN, Segment};
use turnpike_conntrack::table::Attention;
use turnpike_conntrack::tuple::{Address, Port, Proto, Tuple, TuplePair, V4, V6};
use turnpike_helpers::helper::{Reader, Seen, Session, Transport};

use crate::buffer::Buffer;
use crate::burst::{Burst, Meta, Track, Way};
use crate::drops::DropReason;
use crate::helping::shift::Shifts;
use crate::ids::IfaceId;
use crate::nexthop::Lookup;
use crate::outbox::{ControlNews, Outbox, Punt, PuntKind, ToBeRead};
use crate::packet::numbers::{Numbers, set_numbers, set_selective};
use crate::packet::parse::{Tcp, inspect};
use crate::policy::WhenFull;
use crate::stages::family::Stack;
use crate::stages::fate::end_of;
use crate::stages::{link, transmit};
use crate::witness::{End, Ending, Witness};
use crate::worker::Core;

/// Looks after the live packets of control connections.
pub fn run<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    burst: &mut Burst<B>,
    out: &mut Outbox<B>,
) {
    for slot in burst.live() {
        let Some((buf, meta)) = burst.packet(slot) else {
            continue;
        };
        let Track::Known(flow, _) = meta.track else {
            continue;
        };
        let wanted = match meta.parsed.version() {
            Some(4) => packet::<V4, B, W>(core, buf, meta, flow),
            Some(_) => packet::<V6, B, W>(core, buf, meta, flow),
            None => None,
        };
        if let Some(wanted) = wanted
            && let Some((mut buf, meta)) = burst.take(slot)
        {
            if link::tag_before(core, &mut buf, &meta).is_err() {
                core.drop_packet(buf, DropReason::NoBuffer, end_of(&meta, Ending::Drop));
                continue;
            }
            core.witness.end(&buf, &end_of(&meta, Ending::Held));
            let punt = Punt {
                control: Some(wanted),
                ..Punt::new(buf, core.id, PuntKind::Read)
            };
            transmit::punt(core, punt, out);
        }
    }
}

fn packet<F: Stack, B: Buffer, W>(
    core: &mut Core<W>,
    buf: &mut B,
    meta: &Meta,
    flow: FlowRef,
) -> Option<ToBeRead> {
    let attention = F::table(&core.conntrack).attention(flow.id);
    if !attention.is_due() {
        return None;
    }
    if attention.is_shifted() {
        shift::<F, B, W>(core, buf, meta, (flow, attention));
    }
    if !attention.is_read() {
        return None;
    }
    let way = match meta.way {
        Way::NextHop(id) => {
            let hop = core.next_hops.entry(id)?;
            (hop.interface, hop.address)
        }
        Way::Resolve(interface, address) => (interface, address),
        Way::Local | Way::Undecided => return None,
    };
    let table = F::table_mut(&mut core.conntrack);
    let reader = table.helper(flow.id).and_then(Reader::numbered);
    let Some((reader, master)) = reader.zip(table.announce(flow.id)) else {
        table.end_reading(flow.id);
        return None;
    };
    let session = session(&table.pair(flow.id))?;
    Some(ToBeRead {
        master,
        reader,
        from: flow.direction,
        session,
        way,
    })
}

/// Carries a packet's numbers over: what it acknowledges into those of its receiver, and its own
/// too, unless its helper is to read it first.
fn shift<F: Stack, B: Buffer, W>(
    core: &Core<W>,
    buf: &mut B,
    meta: &Meta,
    (flow, attention): (FlowRef, Attention),
) {
    let Some((tcp, shifts)) = meta.parsed.tcp().zip(core.shifts.of::<F>(flow.id)) else {
        return;
    };
    let [own, other] = shifts.seen_from(flow.direction);
    let seq = if attention.is_read() {
        tcp.seq
    } else {
        let len = meta.parsed.payload_len();
        own.forward(tcp.seq.wrapping_add(len)).wrapping_sub(len)
    };
    let ack = if tcp.flags & ACK == 0 {
        tcp.ack
    } else {
        other.back(tcp.ack)
    };
    let head = buf.head_mut();
    set_numbers(head, &meta.parsed, Numbers { seq, ack });
    set_selective(head, &meta.parsed, |block| {
        other.back_block(block).unwrap_or((ack, ack))
    });
}

/// A received segment of a shifted connection, with what it acknowledges in its receiver's numbers,
/// as the tracker has to see it.
pub fn as_sent<F: Stack, W>(core: &Core<W>, flow: FlowRef, mut segment: Segment) -> Segment {
    if let L4::Tcp(tcp) = &mut segment.l4
        && let Some(shifts) = core.shifts.of::<F>(flow.id)
    {
        let [_, other] = shifts.seen_from(flow.direction);
        tcp.ack = other.back(tcp.ack);
        tcp.sack_end = tcp.sack_end.map(|end| other.back(end));
    }
    segment
}

/// Who is to read a connection that is about to be opened: by the port of its server, behind all
/// translation of it, as in Linux.
pub fn reader<F: Stack, W>(core: &Core<W>, outgoing: &Tuple<F>) -> Option<Reader> {
    let Port(port) = outgoing.dst_port;
    core.program.service_ports.reader(outgoing.proto, port)
}

/// Has a connection that was just opened read, if it has a helper that reads such. A stream is read
/// from its start or not at all.
pub fn begin<F: Stack, W>(core: &mut Core<W>, meta: &Meta, flow: FlowRef, segment: &Segment) {
    let table = F::table_mut(&mut core.conntrack);
    let Some(reader) = table.helper(flow.id).and_then(Reader::numbered) else {
        return;
    };
    let (proto, from_start) = match segment.l4 {
        L4::Tcp(tcp) => (Proto::TCP, tcp.flags & SYN != 0 && tcp.flags & ACK == 0),
        L4::Udp => (table.hot(flow.id).proto(), true),
        L4::Icmp(_) | L4::Sctp(_) | L4::Dccp(_) | L4::Gre | L4::Other | L4::Malformed => return,
    };
    let passes = !meta.origin.is_local() && meta.way != Way::Local;
    if passes && from_start && reader.reads(proto) {
        table.begin_reading(flow.id);
    }
}

/// Both views of a connection over TCP or UDP.
fn session<F: Stack>(pair: &TuplePair<F>) -> Option<Session> {
    let transport = match pair.original.proto {
        Proto::TCP => Transport::Tcp,
        Proto::UDP => Transport::Udp,
        _ => return None,
    };
    let seen = |tuple: &Tuple<F>| Seen {
        own: (tuple.src.to_ip(), tuple.src_port.0).into(),
        peer: (tuple.dst.to_ip(), tuple.dst_port.0).into(),
    };
    Some(Session {
        transport,
        client: seen(&pair.original),
        server: seen(&pair.reply),
    })
}

/// Sends a packet that its helper has read.
pub fn resume<B: Buffer, W: Witness<B>>(
    core: &mut Core<W>,
    (interface, address): (IfaceId, IpAddr),
    buf: B,
    out: &mut Outbox<B>,
) {
    let mac = match core.next_hops.find(interface, address) {
        Lookup::Known(id) => core.next_hops.entry(id).and_then(|hop| hop.mac),
        Lookup::Unknown => None,
    };
    match mac {
        Some(mac) => link::forward(core, interface, mac, buf, out),
        None if core.program.interfaces.find(interface).is_none() => {
            core.drop_packet(
                buf,
                DropReason::InterfaceDown,
                End::bare(Ending::Drop, None),
            );
        }
        None => {
            let kind = PuntKind::Resolve(interface, address);
            let from = core.id;
            transmit::punt(core, Punt::new(buf, from, kind), out);
        }
    }
}

/// Whether a packet may go on unread: it is of a connection that nothing translates and whose
/// numbers are the same on both sides, so that nothing in it could have to be changed, and it does
/// not belong to what is read of a stream. Counts it if it may.
pub fn may_pass<B: Buffer, W>(core: &Core<W>, wanted: &ToBeRead, buf: &B) -> bool {
    let ports = &core.program.service_ports;
    let asked = ports.of(wanted.reader).map(|helper| helper.when_full) == Some(WhenFull::Pass);
    let Session { client, server, .. } = &wanted.session;
    let plain = (client.own, client.peer) == (server.peer, server.own);
    let shifted = |attention: Attention| attention.is_shifted();
    let (v4, v6) = (&core.conntrack.v4, &core.conntrack.v6);
    let is_shifted = v4
        .named(wanted.master)
        .is_some_and(|id| shifted(v4.attention(id)))
        || v6
            .named(wanted.master)
            .is_some_and(|id| shifted(v6.attention(id)));
    let unread = inspect(buf.head(), buf.frame_len()).is_ok_and(|parsed| {
        let nothing = |tcp: Tcp| parsed.payload_len() == 0 && tcp.flags & (SYN | FIN | RST) == 0;
        parsed.tcp().is_none_or(nothing)
    });
    let passes = asked && plain && !is_shifted && unread;
    if passes {
        let number = wanted.reader.helper_id().map_or(1, |id| id.number());
        let at = usize::from(number).saturating_sub(1);
        if let Some(counters) = core.counters.helpers.get(at) {
            counters.unread.add(1);
        }
    }
    passes
}

/// Hears what a helper's reading means for a connection.
pub fn hear<W>(core: &mut Core<W>, master: MasterId, news: &ControlNews) {
    hear_of::<V4, W>(core, master, news);
    hear_of::<V6, W>(core, master, news);
}

fn hear_of<F: Stack, W>(core: &mut Core<W>, master: MasterId, news: &ControlNews) {
    let table = F::table_mut(&mut core.conntrack);
    let Some(id) = table.named(master) else {
        return;
    };
    match news {
        ControlNews::Shifted(shifts) => {
            table.set_shifted(id);
            core.shifts.set::<F>(id, Shifts::clone(shifts));
        }
        ControlNews::Unread => table.end_reading(id),
        ControlNews::Keep(at_least) => table.keep(id, *at_least, core.now),
    }
}
