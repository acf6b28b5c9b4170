//! A control connection over TCP: both its streams and the helper that reads them.
//!
//! Pure: segments in, and for each what becomes of it. Who makes packets of that is the slow path.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use turnpike_conntrack::ids::Direction;
use turnpike_helpers::helper::{
    Call, Desk, Helper, MESSAGE_MAX, Progress, Refusal, Session, Wanted,
};

use super::shift::{Shifts, is_after};
use super::stream::{Piece, Replacement, Stream};
use crate::packet::headers::{TCP_FIN, TCP_RST, TCP_SYN};

/// A segment, its numbers as each side's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The number of its first byte, or of its SYN.
    pub seq: u32,
    /// What it acknowledges, in the other side's numbers.
    pub ack: Option<u32>,
    /// Its flags.
    pub flags: u8,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What becomes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It goes on with this number, its bytes unchanged.
    Pass(u32),
    /// This goes in its place, with its flags.
    Send(Piece),
    /// It was taken in, and nothing goes on.
    Taken,
    /// It came too early: what is before it has not come.
    Early,
    /// It is dropped.
    Drop(Why),
}

/// Why a segment is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Too much of the connection waits for being acknowledged.
    Backlog,
    /// The helper does not let it through.
    Refused(Refusal),
}

/// Everything that a segment leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// What becomes of it.
    pub step: Step,
    /// What was kept and goes out before it, in either direction.
    pub flushed: Vec<(Direction, Piece)>,
    /// Whether its sender is told in the receiver's name that everything so far has come.
    pub acknowledge: bool,
    /// What the helper has changed, before and after.
    pub changed: Option<(Vec<u8>, Vec<u8>)>,
}

impl Reaction {
    const fn of(step: Step) -> Self {
        Self {
            step,
            flushed: Vec::new(),
            acknowledge: false,
            changed: None,
        }
    }
}

/// A control connection that is read.
#[derive(Debug)]
pub struct Talk {
    /// `None` once it has left.
    helper: Option<Box<dyn Helper>>,
    streams: [Stream; 2],
}

impl Talk {
    /// A connection of which nothing was seen yet.
    pub fn new(helper: Box<dyn Helper>) -> Self {
        Self {
            helper: Some(helper),
            streams: [Stream::default(), Stream::default()],
        }
    }

    /// Whether the helper still reads it.
    pub const fn is_read(&self) -> bool {
        self.helper.is_some()
    }

    /// Whether it can go on without being looked at: nobody reads it and nothing of it is held.
    pub fn is_released(&self) -> bool {
        self.helper.is_none() && self.streams.iter().all(Stream::is_quiet)
    }

    /// How the numbers of both directions change.
    pub fn shifts(&self) -> Shifts {
        let [original, reply] = &self.streams;
        Shifts([original.shift().clone(), reply.shift().clone()])
    }

    /// Whether a segment that came too early is not any more.
    pub const fn is_due(&self, from: Direction, seq: u32) -> bool {
        !is_after(seq, self.stream(from).next())
    }

    /// What a segment of this direction acknowledges to the other's sender.
    pub fn raised(&self, from: Direction, ack: u32) -> u32 {
        self.stream(from.flip()).raised(ack)
    }

    /// What has come of a direction in order, as its sender counts.
    pub const fn next(&self, from: Direction) -> u32 {
        self.stream(from).next()
    }

    /// What the receiver of this direction has as its own next number, as the sender counts it: for
    /// an acknowledgement in its name.
    pub fn answer(&self, from: Direction) -> u32 {
        let back = self.stream(from.flip());
        back.shift().forward(back.position())
    }

    /// What of a direction nobody else has, to be sent again if it gets lost.
    pub fn owned(&self, from: Direction) -> Option<Piece> {
        self.stream(from).owned()
    }

    /// Ends reading: what is kept goes out.
    pub fn leave(&mut self) -> Vec<(Direction, Piece)> {
        self.helper = None;
        [Direction::Original, Direction::Reply]
            .into_iter()
            .filter_map(|from| Some((from, self.stream_mut(from).flush()?)))
            .collect()
    }

    const fn stream(&self, from: Direction) -> &Stream {
        let [original, reply] = &self.streams;
        match from {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    const fn stream_mut(&mut self, from: Direction) -> &mut Stream {
        let [original, reply] = &mut self.streams;
        match from {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// Takes a segment in and says what becomes of it.
    pub fn segment(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        desk: &mut dyn Desk,
    ) -> Reaction {
        if let Some(ack) = segment.ack {
            self.stream_mut(from.flip()).acknowledged(ack);
        }
        if segment.flags & TCP_SYN != 0 {
            return self.opening(from, segment);
        }
        if segment.flags & TCP_RST != 0 {
            let flushed = self.stream_mut(from).flush();
            let stream = self.stream(from);
            return Reaction {
                flushed: flushed.map(|piece| (from, piece)).into_iter().collect(),
                ..Reaction::of(Step::Pass(stream.bare(segment.seq)))
            };
        }
        let fin = segment.flags & TCP_FIN != 0;
        if segment.payload.is_empty() && !fin {
            return Reaction::of(Step::Pass(self.stream(from).bare(segment.seq)));
        }
        if !self.stream(from).has_started() {
            // Without its beginning a stream means nothing.
            let flushed = self.leave();
            return Reaction {
                flushed,
                ..Reaction::of(Step::Pass(segment.seq))
            };
        }
        self.data(from, segment, fin, desk)
    }

    fn opening(&mut self, from: Direction, segment: &Segment<'_>) -> Reaction {
        let first = segment.seq.wrapping_add(1);
        let mut flushed = Vec::new();
        if self.stream(from).is_fresh() {
            self.stream_mut(from).start(first);
            if !segment.payload.is_empty() {
                // Data before the handshake is over: nobody knows yet whether it is taken.
                flushed = self.leave();
            }
        }
        let seq = self.stream(from).passing(segment.seq, 0);
        Reaction {
            flushed,
            ..Reaction::of(Step::Pass(seq))
        }
    }

    fn data(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        fin: bool,
        desk: &mut dyn Desk,
    ) -> Reaction {
        let (seq, len) = (segment.seq, length(segment.payload));
        let (read, stream) = (self.is_read(), self.stream(from));
        if !read && stream.is_quiet() {
            let passing = stream.passing(seq, len);
            self.follow(from, seq.wrapping_add(len), fin);
            return Reaction::of(Step::Pass(passing));
        }
        if is_after(seq, stream.next()) {
            return Reaction::of(Step::Early);
        }
        let end = seq.wrapping_add(len);
        // A FIN counts where it stands: one from before is a repetition, or somebody else's.
        let ends = fin && !stream.has_ended() && end == stream.next();
        let is_new = is_after(end, stream.next()) || ends;
        if !is_new || stream.has_ended() {
            return self.again(from, segment, fin);
        }
        self.fresh(from, segment, fin, desk)
    }

    /// Follows a stream that nobody reads.
    fn follow(&mut self, from: Direction, end: u32, fin: bool) {
        let stream = self.stream_mut(from);
        if is_after(end, stream.next()) {
            stream.pass_over(end.wrapping_sub(stream.next()), fin);
        } else if fin {
            stream.pass_over(0, fin);
        }
    }

    /// A segment of which nothing is new.
    fn again(&mut self, from: Direction, segment: &Segment<'_>, fin: bool) -> Reaction {
        let (seq, len) = (segment.seq, length(segment.payload));
        let end = seq.wrapping_add(len);
        let stream = self.stream_mut(from);
        if stream.is_old(end.wrapping_add(u32::from(fin))) {
            return Reaction::of(Step::Pass(stream.passing(seq, len)));
        }
        let read = stream.position();
        match stream.outgoing((seq, segment.payload), read) {
            Some(piece) if !piece.bytes.is_empty() || fin => {
                Reaction::of(sent(stream, segment, piece))
            }
            Some(_) => Reaction {
                acknowledge: stream.grant_silently(read),
                ..Reaction::of(Step::Taken)
            },
            None => Reaction::of(Step::Drop(Why::Backlog)),
        }
    }

    /// A segment whose end is new.
    fn fresh(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        fin: bool,
        desk: &mut dyn Desk,
    ) -> Reaction {
        let stream = self.stream_mut(from);
        if stream.is_crowded() {
            return Reaction::of(Step::Drop(Why::Backlog));
        }
        let known = stream.next().wrapping_sub(segment.seq);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let fresh = segment.payload.get(known..).unwrap_or_default();
        let (before, read_before) = (stream.kept().len(), stream.position());
        stream.take(fresh, fin);
        let (mut count, replaced) = match self.read(from, desk) {
            Ok(read) => read,
            Err(refusal) => {
                self.stream_mut(from).untake(fresh.len(), fin);
                return Reaction::of(Step::Drop(Why::Refused(refusal)));
            }
        };
        let left = self.helper.is_none();
        let stream = self.stream_mut(from);
        if fin || left {
            // Nothing will complete what is not complete now.
            count = stream.kept().len();
        }
        let changed = changed(stream.kept(), count, &replaced);
        stream.done(count, before, &replaced);
        let Some(piece) = stream.outgoing((segment.seq, segment.payload), read_before) else {
            return Reaction::of(Step::Drop(Why::Backlog));
        };
        let mut reaction = if piece.bytes.is_empty() && !fin {
            Reaction {
                acknowledge: stream.grant_silently(read_before),
                ..Reaction::of(Step::Taken)
            }
        } else {
            Reaction::of(sent(stream, segment, piece))
        };
        reaction.changed = changed;
        if left {
            reaction.flushed = self.leave();
        }
        reaction
    }

    /// Shows the helper what it is not done with: how many bytes it is done with now, and what it
    /// replaces of them. One that breaks its promises, or waits for too much, has left.
    fn read(
        &mut self,
        from: Direction,
        desk: &mut dyn Desk,
    ) -> Result<(usize, Vec<Replacement>), Refusal> {
        let [original, reply] = &self.streams;
        let kept = match from {
            Direction::Original => original.kept(),
            Direction::Reply => reply.kept(),
        };
        let all = (kept.len(), Vec::new());
        let Some(helper) = &mut self.helper else {
            return Ok(all);
        };
        let mut at_desk = Collecting::new(desk);
        let progress = helper.read(from, kept, &mut at_desk);
        let replaced = at_desk.replaced;
        match progress {
            Progress::Read(count)
                if fits(&replaced, count, kept.len()) && kept.len() - count <= MESSAGE_MAX =>
            {
                Ok((count, replaced))
            }
            Progress::Read(_) | Progress::Leave => {
                self.helper = None;
                Ok(all)
            }
            Progress::Refuse(refusal) => Err(refusal),
        }
    }
}

/// A packet as it goes out: as it is, if that is the same.
fn sent(stream: &Stream, segment: &Segment<'_>, piece: Piece) -> Step {
    let seq = stream.passing(segment.seq, length(segment.payload));
    if piece.seq == seq && piece.bytes == segment.payload {
        Step::Pass(seq)
    } else {
        Step::Send(piece)
    }
}

/// Whether replacements are in order and within what was read.
fn fits(replaced: &[Replacement], count: usize, len: usize) -> bool {
    let mut at = 0;
    count <= len
        && replaced.iter().all(|(range, _)| {
            let follows = at <= range.start && range.start <= range.end && range.end <= count;
            at = range.end;
            follows
        })
}

/// What was changed, before and after, if anything was.
fn changed(kept: &[u8], count: usize, replaced: &[Replacement]) -> Option<(Vec<u8>, Vec<u8>)> {
    if replaced.is_empty() {
        return None;
    }
    let before = kept.get(..count)?;
    Some((before.to_vec(), edited(before, replaced)))
}

/// Bytes with the replacements made.
pub fn edited(bytes: &[u8], replaced: &[Replacement]) -> Vec<u8> {
    let (mut new, mut at) = (Vec::with_capacity(bytes.len()), 0);
    for (range, with) in replaced {
        new.extend_from_slice(bytes.get(at..range.start).unwrap_or_default());
        new.extend_from_slice(with);
        at = range.end;
    }
    new.extend_from_slice(bytes.get(at..).unwrap_or_default());
    new
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A desk that hands everything on but replacements, which it keeps.
pub struct Collecting<'a> {
    desk: &'a mut dyn Desk,
    /// What is to be replaced.
    pub replaced: Vec<Replacement>,
}

impl<'a> Collecting<'a> {
    /// In front of another desk.
    pub fn new(desk: &'a mut dyn Desk) -> Self {
        Self {
            desk,
            replaced: Vec::new(),
        }
    }
}

impl Desk for Collecting<'_> {
    fn session(&self) -> &Session {
        self.desk.session()
    }

    fn expect(&mut self, from: Direction, wanted: &Wanted) -> Result<SocketAddr, Refusal> {
        self.desk.expect(from, wanted)
    }

    fn carried(&self, from: Direction, endpoint: SocketAddr) -> Option<SocketAddr> {
        self.desk.carried(from, endpoint)
    }

    fn withdraw(&mut self, call: Call) {
        self.desk.withdraw(call);
    }

    fn keep(&mut self, at_least: Duration) {
        self.desk.keep(at_least);
    }

    fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        self.replaced.push((range, with.to_vec()));
    }
}
