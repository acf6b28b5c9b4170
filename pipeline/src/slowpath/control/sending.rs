//! What goes out of control connections: packets as they are, and those made in their place.

use turnpike_conntrack::ids::{Direction, WorkerId};
use turnpike_conntrack::segment::{ACK, PSH};

use super::segments::{Headers, Made, flags_of};
use super::{Control, Last, Packet};
use crate::buffer::{Buffer, BufferPool};
use crate::drops::DropReason;
use crate::helping::stream::Piece;
use crate::ids::IfaceId;
use crate::outbox::FromSlowPath;
use crate::packet::numbers::{Numbers, set_numbers};
use crate::packet::parse::Net;
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::{End, Ending, Witness};

/// A packet of this size goes through everywhere (RFC 791, RFC 8200): what replaces a shorter one
/// may be as long.
const fn passes_everywhere(net: Net) -> usize {
    match net {
        Net::V4 | Net::Arp => 576,
        Net::V6 => 1_280,
    }
}

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// Sends a packet on as it is but for its numbers.
    pub(super) fn pass(
        &self,
        control: &Control<P::Buf>,
        mut packet: Packet<P::Buf>,
        seq: u32,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Some(last) = control.last(packet.from) else {
            return;
        };
        if let Some(tcp) = packet.parsed.tcp() {
            let ack = raised(control, packet.from, tcp.flags, tcp.ack);
            if (seq, ack) != (tcp.seq, tcp.ack) {
                set_numbers(packet.buf.head_mut(), &packet.parsed, Numbers { seq, ack });
            }
        }
        let message = FromSlowPath::Read(last.way, packet.buf);
        out.to_worker.push((control.worker, message));
    }

    /// Sends a piece of a stream in the place of a packet.
    pub(super) fn replace(
        &mut self,
        control: &Control<P::Buf>,
        packet: Packet<P::Buf>,
        piece: &Piece,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let (Some(last), Some(tcp)) = (control.last(packet.from), packet.parsed.tcp()) else {
            return;
        };
        let last = Last {
            headers: Headers::of(packet.buf.head(), &packet.parsed),
            ..last.clone()
        };
        let made = Made {
            seq: piece.seq,
            ack: raised(control, packet.from, tcp.flags, tcp.ack),
            flags: tcp.flags,
        };
        self.send_segments(control.worker, &last, made, &piece.bytes, out);
        self.end_as_sent(packet.buf, last.way.0);
    }

    /// The end of a packet in whose place others have gone out.
    pub(super) fn end_as_sent(&mut self, buf: P::Buf, interface: IfaceId) {
        let end = End {
            out: Some(interface),
            ..End::bare(Ending::Accept, None)
        };
        self.witness.end(&buf, &end);
        self.consumed(buf);
    }

    /// Sends a piece of a stream that no packet has brought just now.
    pub(super) fn send_piece(
        &mut self,
        control: &Control<P::Buf>,
        from: Direction,
        piece: &Piece,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Some(last) = control.last(from).cloned() else {
            return;
        };
        let flags = ACK | PSH;
        let made = Made {
            seq: piece.seq,
            ack: raised(control, from, flags, last.ack),
            flags,
        };
        self.send_segments(control.worker, &last, made, &piece.bytes, out);
    }

    /// Sends bytes in as many segments as it takes for them to pass.
    pub(super) fn send_segments(
        &mut self,
        worker: WorkerId,
        last: &Last,
        made: Made,
        bytes: &[u8],
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let parsed = last.headers.parsed();
        let came = usize::try_from(parsed.ip_len).unwrap_or(usize::MAX);
        let mtu = self
            .program
            .interfaces
            .find(last.way.0)
            .map(|i| usize::from(i.mtu));
        let longest = came.max(passes_everywhere(parsed.net));
        let longest = mtu.map_or(longest, |mtu| longest.min(mtu));
        let room = last.headers.room(longest).max(1);
        let mut at = 0;
        loop {
            let end = bytes.len().min(at + room);
            let offset = u32::try_from(at).unwrap_or(u32::MAX);
            let one = Made {
                seq: made.seq.wrapping_add(offset),
                flags: flags_of(made.flags, at == 0, end == bytes.len()),
                ..made
            };
            let part = bytes.get(at..end).unwrap_or_default();
            last.headers.segment(&mut self.frame, one, part);
            self.send(worker, |buf| FromSlowPath::Read(last.way, buf), out);
            at = end;
            if at == bytes.len() {
                return;
            }
        }
    }

    /// Tells a sender in its receiver's name that everything it has sent has come.
    pub(super) fn acknowledge(
        &mut self,
        control: &Control<P::Buf>,
        from: Direction,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let (Some(talk), Some(back), Some(to)) = (
            control.talk(),
            control.last(from.flip()).cloned(),
            control.last(from),
        ) else {
            return;
        };
        let made = Made {
            seq: talk.answer(from),
            ack: talk.next(from),
            flags: ACK,
        };
        back.headers
            .acknowledgement(&mut self.frame, made, &to.headers);
        self.send(control.worker, |buf| FromSlowPath::Read(back.way, buf), out);
    }

    pub(super) fn replace_datagram(
        &mut self,
        control: &Control<P::Buf>,
        packet: Packet<P::Buf>,
        payload: &[u8],
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Some(way) = control.last(packet.from).map(|last| last.way) else {
            return;
        };
        let headers = Headers::of(packet.buf.head(), &packet.parsed);
        if headers.datagram(&mut self.frame, payload).is_none() {
            return self.drop_packet(packet.buf, DropReason::HelperRefused);
        }
        self.send(control.worker, |buf| FromSlowPath::Read(way, buf), out);
        self.end_as_sent(packet.buf, way.0);
    }
}

/// What a packet acknowledges, in its receiver's numbers.
fn raised<B>(control: &Control<B>, from: Direction, flags: u8, ack: u32) -> u32 {
    match control.talk() {
        Some(talk) if flags & ACK != 0 => talk.raised(from, ack),
        Some(_) | None => ack,
    }
}
