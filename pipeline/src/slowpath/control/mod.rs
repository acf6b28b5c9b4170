//! Control connections: every packet of one comes here, in order, is shown to its helper, and goes
//! back to its worker finished.
//!
//! What a packet announces is in the table of expectations when it is sent on, because the sending
//! comes after it. What a helper changes is made to fit again: numbers, lengths, checksums and the
//! largest packet. A packet that comes too early waits here for those before it, and is held.

mod desk;
mod record;
mod segments;
mod sending;
mod tending;

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use turnpike_conntrack::expect::MasterId;
use turnpike_conntrack::ids::{Direction, WorkerId};
use turnpike_conntrack::segment::{ACK, SYN};
use turnpike_conntrack::time::Tick;
use turnpike_helpers::helper::{Helper, Progress, Reader, Session, Transport};

use crate::buffer::{Buffer, BufferPool};
use crate::counters::HelperCounters;
use crate::drops::DropReason;
use crate::helping::shift::Shifts;
use crate::helping::talk::{Collecting, Reaction, Segment, Step, Talk, Why, edited};
use crate::ids::IfaceId;
use crate::outbox::{ControlNews, FromSlowPath, ToBeRead};
use crate::packet::parse::{Parsed, inspect};
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::{End, Ending, Witness};

use desk::{GatewayDesk, Known};
use record::Record;
use segments::Headers;

pub use record::{RECORDED_MAX, Rewrite};

/// Control connections that can be read at a time.
pub const CONTROLS_MAX: usize = 16_384;
/// Packets of one that wait for those before them, and of all.
pub const EARLY_MAX: usize = 32;
/// See [`EARLY_MAX`].
pub const EARLY_IN_ALL_MAX: usize = 4_096;
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
        if !is_start || !enabled {
            return None;
        }
        if self.controls.open.len() >= CONTROLS_MAX {
            self.helper_counters(wanted.reader).unread.add(1);
            return None;
        }
        let helper = wanted.reader.start(&ports.options);
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
        let mut desk = GatewayDesk::new(
            (master, control.session),
            &mut control.known,
            (&self.program, &self.shared),
            self.now,
        );
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
        let mut desk = GatewayDesk::new(
            (master, control.session),
            &mut control.known,
            (&self.program, &self.shared),
            self.now,
        );
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
