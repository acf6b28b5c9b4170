//! Control connections: every packet of one comes here, in order, is shown to its helper, and goes
//! back to its worker finished.
//!
//! What a packet announces is in the table of expectations when it is sent on, because the sending
//! comes after it. What a helper changes is made to fit again: numbers, lengths, checksums and the
//! largest packet. A packet that comes too early waits here for those before it, and counts as held.

mod desk;
mod record;
mod segments;

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use turnpike_conntrack::expect::MasterId;
use turnpike_conntrack::ids::{Direction, WorkerId};
use turnpike_conntrack::segment::{ACK, PSH, SYN};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::helper::{Helper, Progress, Reader, Session, Transport};

use crate::buffer::{Buffer, BufferPool};
use crate::counters::HelperCounters;
use crate::drops::DropReason;
use crate::helping::shift::Shifts;
use crate::helping::stream::Piece;
use crate::helping::talk::{Collecting, Reaction, Segment, Step, Talk, Why, edited};
use crate::ids::IfaceId;
use crate::outbox::{ControlNews, FromSlowPath, ToBeRead};
use crate::packet::numbers::{Numbers, set_numbers};
use crate::packet::parse::{Net, Parsed, inspect};
use crate::program::Program;
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::{End, Ending, Witness};

use desk::{GatewayDesk, Known};
use record::Record;
use segments::{Headers, Made, flags_of};

pub use record::{RECORDED_MAX, Rewrite};

/// Control connections that can be read at a time.
pub const CONTROLS_MAX: usize = 16_384;
/// Packets of one that wait for those before them, and of all.
pub const EARLY_MAX: usize = 32;
/// See [`EARLY_MAX`].
pub const EARLY_IN_ALL_MAX: usize = 4_096;
/// How often connections that have ended are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often what only the gateway has is sent before it is given up.
const SENT_AGAIN_MAX: u8 = 8;
/// A packet of this size goes through everywhere (RFC 791, RFC 8200): what replaces a shorter one
/// may be as long.
const fn passes_everywhere(net: Net) -> usize {
    match net {
        Net::V4 | Net::Arp => 576,
        Net::V6 => 1_280,
    }
}

/// Every control connection that is read.
#[derive(Debug)]
pub(super) struct Controls<B> {
    open: HashMap<MasterId, Control<B>>,
    /// Packets that wait for those before them.
    early: usize,
    record: Record,
    swept: Tick,
}

impl<B> Default for Controls<B> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            early: 0,
            record: Record::default(),
            swept: Tick::default(),
        }
    }
}

impl<B> Controls<B> {
    /// Packets that wait here.
    pub(super) const fn held(&self) -> usize {
        self.early
    }
}

/// One control connection.
#[derive(Debug)]
struct Control<B> {
    reader: Reader,
    session: Session,
    worker: WorkerId,
    reading: Reading,
    known: Vec<Known>,
    early: Vec<Early<B>>,
    /// Of each direction where its packets go, and the headers of its last one.
    last: [Option<Last>; 2],
    /// How its numbers are shifted, as its worker knows.
    told: Shifts,
    /// Whether its worker knows that nobody reads it.
    unread: bool,
    /// What only the gateway had when it was last looked at, and how often it was sent again.
    again: [(u32, u8); 2],
}

#[derive(Debug)]
enum Reading {
    Stream(Box<Talk>),
    /// `None` once the helper has left.
    Datagrams(Option<Box<dyn Helper>>),
}

/// A direction's last packet.
#[derive(Debug, Clone)]
struct Last {
    way: (IfaceId, IpAddr),
    headers: Headers,
    /// What it acknowledged, as its sender counts.
    ack: u32,
}

/// A packet that waits for those before it.
#[derive(Debug)]
struct Early<B> {
    from: Direction,
    seq: u32,
    buf: B,
    parsed: Parsed,
}

/// A packet under way here.
struct Packet<B> {
    from: Direction,
    buf: B,
    parsed: Parsed,
}

impl<B> Control<B> {
    const fn last(&self, from: Direction) -> Option<&Last> {
        let [original, reply] = &self.last;
        match from {
            Direction::Original => original.as_ref(),
            Direction::Reply => reply.as_ref(),
        }
    }

    const fn talk(&self) -> Option<&Talk> {
        match &self.reading {
            Reading::Stream(talk) => Some(talk),
            Reading::Datagrams(_) => None,
        }
    }

    fn is_read(&self) -> bool {
        match &self.reading {
            Reading::Stream(talk) => talk.is_read(),
            Reading::Datagrams(helper) => helper.is_some(),
        }
    }

    fn is_released(&self) -> bool {
        match &self.reading {
            Reading::Stream(talk) => talk.is_released() && self.early.is_empty(),
            Reading::Datagrams(helper) => helper.is_none(),
        }
    }
}

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// Has a packet of a control connection read, and sends on what becomes of it.
    pub(super) fn read_control(
        &mut self,
        wanted: ToBeRead,
        (buf, worker): (P::Buf, WorkerId),
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let parsed = match inspect(buf.head(), buf.frame_len()) {
            Ok(parsed) => parsed,
            Err(reason) => return self.drop_packet(buf, reason),
        };
        let known = self.controls.open.remove(&wanted.master);
        let Some(mut control) = known.or_else(|| self.begin(&wanted, worker, &parsed)) else {
            // Whatever it is, it is not at its start: it goes on unread.
            let news = FromSlowPath::Control(wanted.master, ControlNews::Unread);
            out.to_worker.push((worker, news));
            out.to_worker
                .push((worker, FromSlowPath::Read(wanted.way, buf)));
            return;
        };
        control.worker = worker;
        if let Some(last) = control.last.get_mut(wanted.from.index()) {
            *last = Some(Last {
                way: wanted.way,
                headers: Headers::of(buf.head(), &parsed),
                ack: parsed.tcp().map_or(0, |tcp| tcp.ack),
            });
        }
        self.helper_counters(control.reader).packets.add(1);
        let from = wanted.from;
        let packet = Packet { from, buf, parsed };
        match control.session.transport {
            Transport::Tcp => self.read_segments(wanted.master, &mut control, packet, out),
            Transport::Udp | Transport::Gre => {
                self.read_datagram(wanted.master, &mut control, packet, out);
            }
        }
        self.release(wanted.master, &mut control, out);
        self.controls.open.insert(wanted.master, control);
        self.count_held();
    }

    /// A connection that is read from here on; `None` if it cannot be.
    fn begin(
        &self,
        wanted: &ToBeRead,
        worker: WorkerId,
        parsed: &Parsed,
    ) -> Option<Control<P::Buf>> {
        let is_start = parsed
            .tcp()
            .is_none_or(|tcp| tcp.flags & (SYN | ACK) == SYN);
        let ports = &self.program.service_ports;
        let enabled = ports
            .of(wanted.reader)
            .is_some_and(|helper| !helper.disabled);
        if !is_start || !enabled || self.controls.open.len() >= CONTROLS_MAX {
            return None;
        }
        let helper = wanted.reader.start(&ports.options)?;
        let counters = self.helper_counters(wanted.reader);
        counters.sessions.add(1);
        counters.reading.set(counters.reading.read() + 1);
        Some(Control {
            reader: wanted.reader,
            session: wanted.session,
            worker,
            reading: match wanted.session.transport {
                Transport::Tcp => Reading::Stream(Box::new(Talk::new(helper))),
                Transport::Udp | Transport::Gre => Reading::Datagrams(Some(helper)),
            },
            known: Vec::new(),
            early: Vec::new(),
            last: [None, None],
            told: Shifts::default(),
            unread: false,
            again: [(0, 0); 2],
        })
    }

    /// Takes a segment in, and those that have waited for it.
    fn read_segments(
        &mut self,
        master: MasterId,
        control: &mut Control<P::Buf>,
        packet: Packet<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let mut next = Some(packet);
        while let Some(packet) = next {
            self.read_segment(master, control, packet, out);
            let due = control.early.iter().position(|early| {
                control
                    .talk()
                    .is_some_and(|talk| talk.is_due(early.from, early.seq))
            });
            next = due.map(|at| {
                self.controls.early -= 1;
                let Early {
                    from, buf, parsed, ..
                } = control.early.remove(at);
                Packet { from, buf, parsed }
            });
        }
    }

    fn read_segment(
        &mut self,
        master: MasterId,
        control: &mut Control<P::Buf>,
        packet: Packet<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let (Some(tcp), Reading::Stream(talk)) = (packet.parsed.tcp(), &mut control.reading) else {
            return self.drop_packet(packet.buf, DropReason::HelperRefused);
        };
        let payload = payload(&packet.buf, &packet.parsed);
        let segment = Segment {
            seq: tcp.seq,
            ack: (tcp.flags & ACK != 0).then_some(tcp.ack),
            flags: tcp.flags,
            payload: &payload,
        };
        let mut desk = GatewayDesk {
            session: control.session,
            master,
            known: &mut control.known,
            program: &self.program,
            shared: &self.shared,
            now: self.now,
            keep: None,
            announced: 0,
            refused: 0,
        };
        let reaction = talk.segment(packet.from, &segment, &mut desk);
        let (announced, refused, keep) = (desk.announced, desk.refused, desk.keep);
        self.note_reading(control.reader, (announced, refused));
        self.keep(master, control.worker, keep, out);
        self.react(master, control, packet, reaction, out);
    }

    /// Does what a segment leads to.
    fn react(
        &mut self,
        master: MasterId,
        control: &mut Control<P::Buf>,
        packet: Packet<P::Buf>,
        reaction: Reaction,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let from = packet.from;
        self.tell_shifts(master, control, out);
        if let Some((before, after)) = reaction.changed {
            self.note_rewrite(control, from, &before, &after);
        }
        for (direction, piece) in reaction.flushed {
            self.send_piece(control, direction, &piece, out);
        }
        match reaction.step {
            Step::Pass(seq) => self.pass(control, packet, seq, out),
            Step::Send(piece) => self.replace(control, packet, &piece, out),
            Step::Taken => {
                let end = End::bare(Ending::Consumed, None);
                self.witness.end(&packet.buf, &end);
                self.consumed(packet.buf);
            }
            Step::Early => self.wait(control, packet),
            Step::Drop(Why::Backlog) => self.drop_packet(packet.buf, DropReason::HelperBacklog),
            Step::Drop(Why::Refused(_)) => {
                self.drop_packet(packet.buf, DropReason::HelperRefused);
            }
        }
        if reaction.acknowledge {
            self.acknowledge(control, from, out);
        }
    }

    /// Tells the worker how a connection's numbers are shifted, if that has changed; before any
    /// packet goes that it matters for.
    fn tell_shifts(
        &mut self,
        master: MasterId,
        control: &mut Control<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Some(shifts) = control.talk().map(Talk::shifts) else {
            return;
        };
        if shifts != control.told {
            control.told = shifts.clone();
            let news = ControlNews::Shifted(Box::new(shifts));
            let message = FromSlowPath::Control(master, news);
            out.to_worker.push((control.worker, message));
        }
    }

    fn keep(
        &self,
        master: MasterId,
        worker: WorkerId,
        keep: Option<Duration>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        if let Some(at_least) = keep {
            let message = FromSlowPath::Control(master, ControlNews::Keep(at_least));
            out.to_worker.push((worker, message));
        }
    }

    /// Sends a packet on as it is but for its numbers.
    fn pass(
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
    fn replace(
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
    fn end_as_sent(&mut self, buf: P::Buf, interface: IfaceId) {
        let end = End {
            out: Some(interface),
            ..End::bare(Ending::Accept, None)
        };
        self.witness.end(&buf, &end);
        self.consumed(buf);
    }

    /// Sends a piece of a stream that no packet has brought just now.
    fn send_piece(
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
    fn send_segments(
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
    fn acknowledge(
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

    /// Keeps a packet until those before it have come.
    fn wait(&mut self, control: &mut Control<P::Buf>, packet: Packet<P::Buf>) {
        let Packet { from, buf, parsed } = packet;
        let seq = parsed.tcp().map_or(0, |tcp| tcp.seq);
        let is_known = |early: &Early<P::Buf>| {
            early.from == from
                && early.seq == seq
                && early.parsed.payload_len() == parsed.payload_len()
        };
        if control.early.iter().any(is_known) {
            self.witness.end(&buf, &End::bare(Ending::Consumed, None));
            return self.consumed(buf);
        }
        if control.early.len() >= EARLY_MAX || self.controls.early >= EARLY_IN_ALL_MAX {
            return self.drop_packet(buf, DropReason::HelperBacklog);
        }
        self.controls.early += 1;
        control.early.push(Early {
            from,
            seq,
            buf,
            parsed,
        });
    }

    /// Shows a datagram to its helper.
    fn read_datagram(
        &mut self,
        master: MasterId,
        control: &mut Control<P::Buf>,
        packet: Packet<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        let Reading::Datagrams(reading) = &mut control.reading else {
            return self.drop_packet(packet.buf, DropReason::HelperRefused);
        };
        let Some(helper) = reading else {
            return self.pass(control, packet, 0, out);
        };
        let payload = payload(&packet.buf, &packet.parsed);
        let mut desk = GatewayDesk {
            session: control.session,
            master,
            known: &mut control.known,
            program: &self.program,
            shared: &self.shared,
            now: self.now,
            keep: None,
            announced: 0,
            refused: 0,
        };
        let mut at_desk = Collecting::new(&mut desk);
        let progress = helper.read(packet.from, &payload, &mut at_desk);
        let replaced = std::mem::take(&mut at_desk.replaced);
        let (announced, refused, keep) = (desk.announced, desk.refused, desk.keep);
        match progress {
            Progress::Read(_) if replaced.is_empty() => self.pass(control, packet, 0, out),
            Progress::Read(_) => {
                let after = edited(&payload, &replaced);
                self.note_rewrite(control, packet.from, &payload, &after);
                self.replace_datagram(control, packet, &after, out);
            }
            Progress::Leave => {
                *reading = None;
                self.pass(control, packet, 0, out);
            }
            Progress::Refuse(_) => self.drop_packet(packet.buf, DropReason::HelperRefused),
        }
        self.note_reading(control.reader, (announced, refused));
        self.keep(master, control.worker, keep, out);
    }

    fn replace_datagram(
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

    /// Lets go of a connection that nobody reads any more and of which nothing is held.
    fn release(
        &self,
        master: MasterId,
        control: &mut Control<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
        if !control.unread && control.is_released() {
            control.unread = true;
            let counters = self.helper_counters(control.reader);
            counters.left.add(1);
            counters
                .reading
                .set(counters.reading.read().saturating_sub(1));
            let message = FromSlowPath::Control(master, ControlNews::Unread);
            out.to_worker.push((control.worker, message));
        }
    }

    /// Looks after all control connections, now and then: those that have ended are forgotten, and
    /// what only the gateway has is sent again.
    pub(super) fn tend_controls(&mut self, out: &mut SlowOutbox<P::Buf>) {
        if self.controls.swept.after(SWEEP_EVERY) > self.now {
            return;
        }
        self.controls.swept = self.now;
        let mut open = std::mem::take(&mut self.controls.open);
        open.retain(|master, control| {
            let lives = self.shared.expectations.connection(*master).is_some();
            if lives {
                self.send_again(control, out);
            } else {
                self.forget(control);
            }
            lives
        });
        self.controls.open = open;
        self.count_held();
    }

    fn forget(&mut self, control: &mut Control<P::Buf>) {
        if !control.unread {
            let counters = self.helper_counters(control.reader);
            counters
                .reading
                .set(counters.reading.read().saturating_sub(1));
        }
        for early in control.early.drain(..) {
            self.controls.early -= 1;
            self.drop_packet(early.buf, DropReason::HelperEnded);
        }
    }

    /// Sends again what was acknowledged in the receiver's name and went out, if it has not arrived
    /// since this was looked at last.
    fn send_again(&mut self, control: &mut Control<P::Buf>, out: &mut SlowOutbox<P::Buf>) {
        for from in [Direction::Original, Direction::Reply] {
            let piece = control.talk().and_then(|talk| talk.owned(from));
            let Some(again) = control.again.get_mut(from.index()) else {
                continue;
            };
            let Some(piece) = piece else {
                *again = (0, 0);
                continue;
            };
            let (seq, times) = *again;
            let times = if seq == piece.seq { times } else { 0 };
            *again = (piece.seq, times.saturating_add(1));
            if (1..=SENT_AGAIN_MAX).contains(&times) {
                self.send_piece(control, from, &piece, out);
            }
        }
    }

    /// Stops reading what the new program has nobody for.
    pub(super) fn adopt_controls(&mut self, before: &Program, out: &mut SlowOutbox<P::Buf>) {
        let mut open = std::mem::take(&mut self.controls.open);
        for (master, control) in &mut open {
            let proto = match control.session.transport {
                Transport::Tcp => Proto::TCP,
                Transport::Udp | Transport::Gre => Proto::UDP,
            };
            let port = control.session.server.own.port();
            let (now, then) = (&self.program.service_ports, &before.service_ports);
            if !control.is_read() || now.reads_on(then, control.reader, proto, port) {
                continue;
            }
            let flushed = match &mut control.reading {
                Reading::Stream(talk) => talk.leave(),
                Reading::Datagrams(helper) => {
                    *helper = None;
                    Vec::new()
                }
            };
            for (direction, piece) in flushed {
                self.send_piece(control, direction, &piece, out);
            }
            self.release(*master, control, out);
        }
        self.controls.open = open;
    }

    fn helper_counters(&self, reader: Reader) -> &HelperCounters {
        let number = reader.helper_id().map_or(1, |id| id.number());
        let at = usize::from(number.saturating_sub(1));
        let [first, ..] = &self.counters.helpers;
        self.counters.helpers.get(at).unwrap_or(first)
    }

    fn note_reading(&self, reader: Reader, (announced, refused): (u64, u64)) {
        let counters = self.helper_counters(reader);
        counters.announced.add(announced);
        counters.refused.add(refused);
    }

    fn note_rewrite(
        &mut self,
        control: &Control<P::Buf>,
        from: Direction,
        before: &[u8],
        after: &[u8],
    ) {
        self.helper_counters(control.reader).rewrites.add(1);
        let (helper, session) = (control.reader.helper(), control.session);
        let rewrite = Rewrite::new((helper, session, from), before, after, self.now);
        self.controls.record.note(rewrite);
    }

    /// The last rewrites, oldest first.
    pub fn rewrites(&self) -> impl Iterator<Item = &Rewrite> {
        self.controls.record.iter()
    }

    /// Every control connection that is read now: its reader and both sides' views.
    pub fn control_sessions(&self) -> impl Iterator<Item = (Reader, &Session)> {
        let read = self
            .controls
            .open
            .values()
            .filter(|control| control.is_read());
        read.map(|control| (control.reader, &control.session))
    }
}

/// What a packet acknowledges, in its receiver's numbers.
fn raised<B>(control: &Control<B>, from: Direction, flags: u8, ack: u32) -> u32 {
    match control.talk() {
        Some(talk) if flags & ACK != 0 => talk.raised(from, ack),
        Some(_) | None => ack,
    }
}

/// The bytes behind a packet's layer-4 header.
fn payload<B: Buffer>(buf: &B, parsed: &Parsed) -> Vec<u8> {
    let mut skip = usize::from(parsed.payload);
    let len = usize::try_from(parsed.payload_len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(len.min(usize::from(u16::MAX)));
    buf.for_each_segment(|segment| {
        let part = segment.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(segment.len());
        bytes.extend_from_slice(part);
    });
    bytes.truncate(len);
    bytes
}
