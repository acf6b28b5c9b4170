//! One direction of a control connection as its helper reads it, and as its receiver gets it.
//!
//! Numbers are those of the sender unless said otherwise. The bytes from `read` to `next` are
//! *kept*: they came in order and the helper is not done with them. They are acknowledged in the
//! receiver's name once it has acknowledged all that went to it before; from then on nobody else
//! has them, so they stay here, as a patch, until the receiver acknowledges them itself. The
//! same holds for whatever was replaced, so that a retransmission is answered with the same bytes,
//! wherever its segments are cut now.

use std::collections::VecDeque;
use std::ops::Range;

use super::shift::{Shift, earlier, is_after, later};

/// Parts of a stream that are held until they are acknowledged.
const PATCHES_MAX: usize = 64;
/// Bytes of them.
const PATCH_BYTES_MAX: usize = 64 * 1024;

/// A replacement: a range of what a helper was shown, and the bytes to go in its place.
pub type Replacement = (Range<usize>, Vec<u8>);

/// A part of the stream that goes out with bytes of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Patch {
    at: u32,
    /// Its length as it was sent, at least one.
    old: u32,
    new: Vec<u8>,
}

impl Patch {
    const fn end(&self) -> u32 {
        self.at.wrapping_add(self.old)
    }
}

/// Whether a direction's sender has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    #[default]
    Open,
    /// A FIN stands behind its last byte.
    Sent,
}

/// A piece of the stream on its way to the receiver, its number as the receiver counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The number of its first byte.
    pub seq: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// Whether its SYN was seen.
    started: bool,
    /// The next byte to come.
    next: u32,
    kept: Vec<u8>,
    patches: VecDeque<Patch>,
    /// What the receiver has acknowledged.
    acked: u32,
    /// What has been acknowledged to the sender.
    granted: u32,
    shift: Shift,
    end: End,
}

impl Stream {
    /// Begins, or begins anew: its first byte has this number.
    pub fn start(&mut self, first: u32) {
        *self = Self {
            started: true,
            next: first,
            acked: first,
            granted: first,
            ..Self::default()
        };
    }

    /// Whether its SYN was seen.
    pub const fn has_started(&self) -> bool {
        self.started
    }

    /// Whether nothing but its SYN was seen.
    pub fn is_fresh(&self) -> bool {
        !self.started
            || self.acked == self.next
                && self.granted == self.next
                && self.is_quiet()
                && self.shift.is_none()
                && self.end == End::Open
    }

    /// Whether nothing is held of it and its numbers move by one difference only.
    pub fn is_quiet(&self) -> bool {
        self.kept.is_empty() && self.patches.is_empty() && self.shift.is_settled() && !self.owns()
    }

    /// Whether bytes have been acknowledged that the receiver has not acknowledged.
    const fn owns(&self) -> bool {
        is_after(self.granted, self.acked)
    }

    /// The next byte to come.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Whether its FIN was seen.
    pub const fn has_ended(&self) -> bool {
        matches!(self.end, End::Sent)
    }

    /// How its numbers change.
    pub const fn shift(&self) -> &Shift {
        &self.shift
    }

    /// The first byte that the helper is not done with.
    fn read(&self) -> u32 {
        self.next.wrapping_sub(length(&self.kept))
    }

    /// The bytes that the helper is not done with.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether no more can be held: nothing may be changed before something is acknowledged.
    pub fn is_crowded(&self) -> bool {
        let bytes: usize = self.patches.iter().map(|patch| patch.new.len()).sum();
        self.shift.is_full() || self.patches.len() >= PATCHES_MAX || bytes > PATCH_BYTES_MAX
    }

    /// The receiver has acknowledged everything before `ack`; whether the shift has settled by it.
    pub fn acknowledged(&mut self, ack: u32) -> bool {
        let end = self.next.wrapping_add(u32::from(self.has_ended()));
        if !self.started || !is_after(ack, self.acked) || is_after(ack, end) {
            return false;
        }
        self.acked = ack;
        while self
            .patches
            .front()
            .is_some_and(|patch| !is_after(patch.end(), ack))
        {
            self.patches.pop_front();
        }
        self.grant();
        self.shift.settle(ack)
    }

    /// Acknowledges what is kept, if all before it was acknowledged; whether there is any.
    fn grant(&mut self) -> bool {
        let may = !self.kept.is_empty() && !is_after(self.read(), self.acked);
        if may {
            self.granted = later(self.granted, self.next);
        }
        may
    }

    /// What a packet of the other direction acknowledges to this one's sender.
    pub fn raised(&self, ack: u32) -> u32 {
        if self.owns() {
            later(ack, self.granted)
        } else {
            ack
        }
    }

    /// The number of a packet without payload: one beyond what went out stays at its end.
    pub fn bare(&self, seq: u32) -> u32 {
        let waits = is_after(seq, self.read()) && !is_after(seq, self.next);
        self.shift.forward(if waits { self.read() } else { seq })
    }

    /// The number of a packet that passes with its payload.
    pub fn passing(&self, seq: u32, len: u32) -> u32 {
        let end = seq.wrapping_add(len);
        self.shift.forward(end).wrapping_sub(len)
    }

    /// Takes bytes in that came in order, in front of a FIN or not.
    pub fn take(&mut self, fresh: &[u8], fin: bool) {
        self.kept.extend_from_slice(fresh);
        self.next = self.next.wrapping_add(length(fresh));
        if fin {
            self.end = End::Sent;
        }
    }

    /// Forgets the last `count` bytes that were taken in, and the FIN with them.
    pub fn untake(&mut self, count: usize, fin: bool) {
        let left = self.kept.len().saturating_sub(count);
        self.next = self
            .next
            .wrapping_sub(length(self.kept.get(left..).unwrap_or_default()));
        self.kept.truncate(left);
        if fin {
            self.end = End::Open;
        }
    }

    /// Passes over bytes that came and that nobody reads.
    pub const fn pass_over(&mut self, count: u32, fin: bool) {
        self.next = self.next.wrapping_add(count);
        if fin {
            self.end = End::Sent;
        }
    }

    /// The helper is done with `count` bytes from the front, of which it has replaced some. Those
    /// that came with earlier packets, `before` of them, are held until they are acknowledged.
    pub fn done(&mut self, count: usize, before: usize, replaced: &[Replacement]) {
        let own = before.min(count);
        let first = replaced.first().map(|(range, _)| range.start);
        let last = replaced.last().map(|(range, _)| range.end);
        let start = if own > 0 { 0 } else { first.unwrap_or(0) };
        let mut end = own.max(last.unwrap_or(0));
        let mut start = start.min(end);
        if start == end && first.is_some() {
            // An insertion is made to replace a byte beside it, so that it has a place.
            if end < count {
                end += 1;
            } else {
                start = start.saturating_sub(1);
            }
        }
        if start < end {
            let new = spliced(&self.kept, start..end, replaced);
            let at = self.read().wrapping_add(narrow(start));
            let old = narrow(end - start);
            self.shift.replace(at, old, length(&new));
            self.patches.push_back(Patch { at, old, new });
        }
        self.kept.drain(..count.min(self.kept.len()));
    }

    /// Ends keeping: what is kept goes out as it is. The piece to send, if there is one.
    pub fn flush(&mut self) -> Option<Piece> {
        let (count, start) = (self.kept.len(), self.read());
        self.done(count, count, &[]);
        let packet = (start, &[][..]);
        let piece = self.assemble(start, self.next, packet)?;
        (count > 0).then_some(piece)
    }

    /// What has to go out for a packet with these bytes: from `read_before` on, if that was kept,
    /// or from what only we have, up to what the helper is done with.
    pub fn outgoing(&self, (seq, payload): (u32, &[u8]), read_before: u32) -> Option<Piece> {
        let mut start = earlier(seq, read_before);
        if self.owns() && !is_after(seq, self.granted) {
            start = self.acked;
        }
        let start = later(start, self.acked);
        let stop = earlier(seq.wrapping_add(length(payload)), self.read());
        self.assemble(start, later(start, stop), (seq, payload))
    }

    /// What we alone have, to be sent again.
    pub fn owned(&self) -> Option<Piece> {
        let stop = earlier(self.granted, self.read());
        let sent = self.owns() && is_after(stop, self.acked);
        sent.then(|| self.assemble(self.acked, stop, (self.acked, &[])))?
    }

    /// Nothing went out for a packet: whether it is acknowledged in the receiver's name.
    pub fn grant_silently(&mut self, read_before: u32) -> bool {
        if is_after(read_before, self.acked) {
            return false;
        }
        self.granted = later(self.granted, self.next);
        true
    }

    /// Whether the receiver has acknowledged everything up to `end`.
    pub const fn is_old(&self, end: u32) -> bool {
        !is_after(end, self.acked)
    }

    /// The first byte that the helper is not done with.
    pub fn position(&self) -> u32 {
        self.read()
    }

    /// The stretch from `start` to `stop`, out of patches and the packet's own bytes; wider where
    /// an end lies inside a patch. `None` if neither has all of it.
    fn assemble(&self, start: u32, stop: u32, (seq, payload): (u32, &[u8])) -> Option<Piece> {
        let around = |at: u32| {
            let inside = |patch: &&Patch| is_after(at, patch.at) && is_after(patch.end(), at);
            self.patches.iter().find(inside)
        };
        let start = around(start).map_or(start, |patch| patch.at);
        let mut bytes = Vec::new();
        let mut at = start;
        for patch in &self.patches {
            if is_after(patch.end(), at) && is_after(stop, patch.at) {
                bytes.extend_from_slice(between(payload, seq, at, patch.at)?);
                bytes.extend_from_slice(&patch.new);
                at = patch.end();
            }
        }
        if is_after(stop, at) {
            bytes.extend_from_slice(between(payload, seq, at, stop)?);
        }
        let seq = self.shift.forward(start);
        Some(Piece { seq, bytes })
    }
}

/// The bytes from one number to another of a payload that begins at `seq`.
fn between(payload: &[u8], seq: u32, from: u32, to: u32) -> Option<&[u8]> {
    if from == to {
        return Some(&[]);
    }
    let offset = |at: u32| usize::try_from(at.wrapping_sub(seq)).ok();
    payload.get(offset(from)?..offset(to)?)
}

/// The bytes of `range` with the replacements, which lie in it, made.
fn spliced(bytes: &[u8], range: Range<usize>, replaced: &[Replacement]) -> Vec<u8> {
    let (mut new, mut at) = (Vec::new(), range.start);
    for (part, with) in replaced {
        new.extend_from_slice(bytes.get(at..part.start).unwrap_or_default());
        new.extend_from_slice(with);
        at = part.end;
    }
    new.extend_from_slice(bytes.get(at..range.end).unwrap_or_default());
    new
}

fn length(bytes: &[u8]) -> u32 {
    narrow(bytes.len())
}

/// Lengths here are those of packets and of what is kept, far below the limit.
fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
