//! TCP windows from the middle: which sequence and acknowledgement numbers can be genuine.
//!
//! The bounds are those of van Rooij, "Real Stateful TCP Packet Filtering in IP Filter": with what
//! each side has sent, acknowledged and offered, a segment must lie (I) below the right
//! edge its receiver offered, (II) above one receive window of what it sent before, and its
//! acknowledgement (III) not beyond what the other side sent, (IV) not far behind it.
//! All arithmetic is modulo 2^32.

use crate::ids::Direction;
use crate::segment::{ACK, FIN, RST, SYN, SackOffer, TcpSegment};
use crate::tcp_memory::{Memory, NO_SCALE, REPEATS_MAX};
use crate::tcp_table::{Kind, TcpState};
use crate::timeouts::Switch;

/// An acknowledgement may be this far behind, whatever the window: the network may delay it.
const ACK_SLACK: u32 = 66_000;
/// The largest shift (RFC 7323, 2.3).
const SCALE_MAX: u8 = 14;

/// This side offered window scaling.
const SCALING: u8 = 1;
/// This side may be sent selective acknowledgements.
const SACK: u8 = 1 << 1;
/// Its numbers were not seen from the start: do not insist.
const PICKED_UP: u8 = 1 << 2;
/// It has sent what is not acknowledged yet.
const UNACKED: u8 = 1 << 3;
/// `max_ack` is known.
const ACKED: u8 = 1 << 4;
/// Its last segment offered no window.
const CLOSED: u8 = 1 << 5;
/// Both sides opened at once.
const SIMULTANEOUS: u8 = 1 << 6;
/// It has sent a FIN or a reset that fits no window, and nothing fitting was seen since.
const ENDED_OUTSIDE: u8 = 1 << 7;

/// What one side has sent and offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Side {
    /// Behind the last byte it sent.
    pub(crate) end: u32,
    /// Behind the last byte it may send: the other's acknowledgement and window.
    pub(crate) max_end: u32,
    /// The largest window it offered, scaled; zero if nothing was seen of it.
    max_window: u32,
    /// The highest acknowledgement it sent.
    max_ack: u32,
}

/// Whether a segment fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It does.
    In,
    /// It does not, but the connection or the configuration is not strict.
    Tolerated,
    /// It repeats what was said long ago, or overshoots the window by no more than a window: its
    /// receiver drops it and says so, which brings a sender that is out of step back into it
    /// (RFC 9293, 3.10.7.4).
    Stray,
    /// It does not.
    Out,
}

/// The window state of one connection: 40 bytes.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct TcpWindow {
    pub(crate) sides: [Side; 2],
    last: u32,
    /// The shift of the opener in the low half, of the responder in the high half.
    scales: u8,
    flags: [u8; 2],
    memory: u8,
}

/// A segment with what follows from it.
struct Seen<'a> {
    tcp: &'a TcpSegment,
    from: Direction,
    end: u32,
}

impl TcpWindow {
    /// The window after the opener's SYN.
    pub(crate) fn opened(syn: &TcpSegment, len: u32) -> Self {
        let mut window = Self::default();
        let seen = Seen::new(syn, Direction::Original, len);
        window.sides[0] = window.first(&seen);
        window
    }

    /// The window after a segment in mid-connection. What went before is unknown, window
    /// scaling too, so neither side is held to it.
    pub(crate) fn picked_up(tcp: &TcpSegment, len: u32) -> Self {
        let seen = Seen::new(tcp, Direction::Original, len);
        let offered = u32::from(tcp.window).max(1);
        let mut window = Self {
            flags: [SACK | PICKED_UP; 2],
            ..Self::default()
        };
        window.sides[0] = Side {
            end: seen.end,
            max_end: seen.end.wrapping_add(offered),
            max_window: offered,
            max_ack: tcp.ack,
        };
        window.flags[0] |= ACKED | closed(u32::from(tcp.window));
        window
    }

    /// Judges a segment of `len` payload bytes; if it fits, the window moves with it. A segment
    /// that does not fit changes nothing.
    pub(crate) fn check(
        &mut self,
        state: TcpState,
        from: Direction,
        kind: Kind,
        tcp: &TcpSegment,
        len: u32,
        liberal: Switch,
    ) -> Fit {
        let mut next = *self;
        let seen = Seen::new(tcp, from, len);
        let fit = next.advance(state, kind, &seen, liberal);
        if fit != Fit::Out {
            *self = next;
        }
        fit
    }

    fn advance(&mut self, state: TcpState, kind: Kind, seen: &Seen<'_>, liberal: Switch) -> Fit {
        let (s, r) = (seen.from.index(), seen.from.flip().index());
        let tcp = seen.tcp;
        if state == TcpState::SynSent && seen.from == Direction::Reply && tcp.flags & RST != 0 {
            // In syn-sent only a reset that acknowledges the SYN counts (RFC 9293, 3.10.7.3); its
            // sequence number means nothing.
            let answers = tcp.flags & ACK != 0 && tcp.ack == self.sides[r].end;
            return if answers { Fit::In } else { Fit::Out };
        }
        let mut sack = self.sack(seen);
        if self.sides[s].max_window == 0 {
            if tcp.flags & SYN != 0 {
                self.sides[s] = self.first(seen);
                self.settle_scaling();
                if tcp.flags & ACK == 0 {
                    return Fit::In;
                }
            } else {
                self.meet(seen, sack);
            }
        } else if self.restarts(state, seen) {
            self.sides[s] = self.first(seen);
            self.settle_scaling();
            if seen.from == Direction::Reply && tcp.flags & ACK == 0 {
                return Fit::In;
            }
        }
        let mut ack = tcp.ack;
        if tcp.flags & ACK == 0 || (tcp.flags & RST != 0 && tcp.ack == 0) {
            // No acknowledgement, or a reset of a stack that sets the flag and not the number.
            ack = self.sides[r].end;
            sack = ack;
        }
        let (sender, receiver) = (&self.sides[s], &self.sides[r]);
        let fit = Bounds::of(sender, receiver).judge(tcp.seq, seen.end, sack);
        if fit == Fit::In {
            // A reset says nothing of what its sender has sent: the text in it is for people.
            if kind != Kind::Rst {
                self.account(kind, seen, ack, sack);
            }
            return Fit::In;
        }
        if fit == Fit::Stray && after(tcp.seq, self.sides[s].max_end) {
            // Its receiver may take it all the same, and what it then acknowledges was sent.
            self.sides[s].end = seen.end;
            self.flags[s] |= UNACKED;
        }
        if self.flags[s] & PICKED_UP != 0 || (liberal == Switch::On && kind != Kind::Rst) {
            Fit::Tolerated
        } else if kind == Kind::Rst {
            // A reset that is not in the window is nobody's (RFC 5961, 3.2).
            Fit::Out
        } else {
            fit
        }
    }

    /// Moves both sides with a segment that fits.
    fn account(&mut self, kind: Kind, seen: &Seen<'_>, ack: u32, sack: u32) {
        let (s, r) = (seen.from.index(), seen.from.flip().index());
        let tcp = seen.tcp;
        let shift = if tcp.flags & SYN == 0 {
            self.scale(seen.from)
        } else {
            0
        };
        let offered = u32::from(tcp.window) << shift;
        let sender = &mut self.sides[s];
        // A selective acknowledgement lies above `ack`, where the window starts.
        sender.max_window = sender
            .max_window
            .max(offered.wrapping_add(sack.wrapping_sub(ack)));
        let beyond = seen.end.wrapping_sub(sender.max_end);
        if after(seen.end, sender.end) {
            sender.end = seen.end;
            self.flags[s] |= UNACKED;
        }
        if tcp.flags & ACK != 0 && (self.flags[s] & ACKED == 0 || after(tcp.ack, sender.max_ack)) {
            sender.max_ack = tcp.ack;
            self.flags[s] |= ACKED;
        }
        let overran = after(seen.end, sender.max_end);
        let receiver = &mut self.sides[r];
        if receiver.max_window != 0 && overran {
            receiver.max_window = receiver.max_window.saturating_add(beyond);
        }
        let edge = sack.wrapping_add(offered);
        // Condition (I) lets one byte start at the edge, so a closed window can be probed.
        if after(edge, receiver.max_end) {
            receiver.max_end = edge;
        }
        if ack == receiver.end {
            self.flags[r] &= !UNACKED;
        }
        if kind == Kind::Ack {
            self.flags[0] &= !CLOSED;
            self.flags[0] |= closed(offered);
            self.repeat(seen);
        }
    }

    /// Counts how often one and the same ACK segment was seen in a row.
    fn repeat(&mut self, seen: &Seen<'_>) {
        let tcp = seen.tcp;
        let print = tcp.seq.rotate_left(7)
            ^ tcp.ack.rotate_left(16).wrapping_mul(0x9e37_79b1)
            ^ seen.end.wrapping_mul(0x85eb_ca6b)
            ^ u32::from(tcp.window);
        let repeats = match self.memory() {
            Memory::Ack { from, repeats } if from == seen.from && self.last == print => {
                (repeats + 1).min(REPEATS_MAX)
            }
            Memory::Ack { .. } | Memory::Syn { .. } | Memory::Challenge | Memory::Nothing => 0,
        };
        self.last = print;
        self.remember(Memory::Ack {
            from: seen.from,
            repeats,
        });
    }

    /// A side of which nothing was seen before, from its SYN; options of the SYN are taken over.
    fn first(&mut self, seen: &Seen<'_>) -> Side {
        let tcp = seen.tcp;
        let s = seen.from.index();
        self.flags[s] &= SIMULTANEOUS;
        if let Some(scale) = tcp.scale {
            self.flags[s] |= SCALING;
            self.set_scale(seen.from, scale.min(SCALE_MAX));
        } else {
            self.set_scale(seen.from, 0);
        }
        if tcp.sack_permitted == SackOffer::Permitted {
            self.flags[s] |= SACK;
        }
        Side {
            end: seen.end,
            max_end: seen.end,
            max_window: u32::from(tcp.window).max(1),
            max_ack: 0,
        }
    }

    /// A side of which nothing was seen before, from a segment without SYN.
    fn meet(&mut self, seen: &Seen<'_>, sack: u32) {
        let (s, r) = (seen.from.index(), seen.from.flip().index());
        let offered = (u32::from(seen.tcp.window) << self.scale(seen.from)).max(1);
        self.sides[s] = Side {
            end: seen.end,
            max_end: seen.end.wrapping_add(offered),
            max_window: offered,
            max_ack: 0,
        };
        let receiver = &mut self.sides[r];
        if receiver.max_window == 0 {
            receiver.end = sack;
            receiver.max_end = sack;
        } else if sack == receiver.end.wrapping_add(1) {
            // The answer to a keep-alive, which is sent one below the next byte.
            receiver.end = sack;
        }
    }

    /// Whether a SYN starts its side over: a retransmission with another number.
    fn restarts(&self, state: TcpState, seen: &Seen<'_>) -> bool {
        let handshake = match seen.from {
            Direction::Original => state == TcpState::SynSent,
            Direction::Reply => state == TcpState::SynReceived,
        };
        handshake && seen.tcp.flags & SYN != 0 && after(seen.end, self.sides[seen.from.index()].end)
    }

    /// Scaling holds only if both sides offered it (RFC 7323, 2.2).
    fn settle_scaling(&mut self) {
        if self.flags[0] & self.flags[1] & SCALING == 0
            && self.sides.iter().all(|side| side.max_window != 0)
        {
            self.scales = 0;
        }
    }

    /// The right edge of what the segment acknowledges, selectively or not.
    fn sack(&self, seen: &Seen<'_>) -> u32 {
        let permitted = self.flags[seen.from.flip().index()] & SACK != 0;
        match seen.tcp.sack_end {
            Some(edge) if permitted && after(edge, seen.tcp.ack) => edge,
            Some(_) | None => seen.tcp.ack,
        }
    }

    fn scale(&self, of: Direction) -> u8 {
        match of {
            Direction::Original => self.scales & 0xf,
            Direction::Reply => self.scales >> 4,
        }
    }

    fn set_scale(&mut self, of: Direction, scale: u8) {
        self.scales = match of {
            Direction::Original => self.scales & 0xf0 | scale,
            Direction::Reply => self.scales & 0x0f | scale << 4,
        };
    }

    fn memory(&self) -> Memory {
        Memory::unpack(self.memory)
    }

    fn remember(&mut self, memory: Memory) {
        self.memory = memory.pack();
    }

    /// Remembers a SYN that was let through in mid-connection.
    pub(crate) fn ignored_syn(&mut self, from: Direction, tcp: &TcpSegment, len: u32) {
        self.last = Seen::new(tcp, from, len).end;
        let scale = tcp.scale.map_or(NO_SCALE, |scale| scale.min(SCALE_MAX));
        self.remember(Memory::Syn { from, scale });
    }

    /// Whether a segment from `from` acknowledges the SYN that was last let through.
    pub(crate) fn answers_ignored_syn(&self, from: Direction, tcp: &TcpSegment) -> bool {
        match self.memory() {
            Memory::Syn { from: asker, .. } => {
                asker != from && tcp.flags & ACK != 0 && tcp.ack == self.last
            }
            Memory::Ack { .. } | Memory::Challenge | Memory::Nothing => false,
        }
    }

    /// Whether an ACK from `from` is the challenge to a SYN that was last let through: it
    /// acknowledges what its sender knew before, and no FIN (RFC 5961, 4.2). Said once.
    pub(crate) fn challenges_ignored_syn(&mut self, from: Direction) -> bool {
        let challenges = matches!(self.memory(), Memory::Syn { from: asker, .. } if asker != from);
        if challenges {
            self.remember(Memory::Nothing);
        }
        challenges
    }

    /// Remembers a responder's ACK that was let through before it had agreed.
    pub(crate) fn challenged(&mut self, tcp: &TcpSegment) {
        self.last = tcp.ack;
        self.remember(Memory::Challenge);
    }

    /// Whether a reset with this number is the opener's answer to that ACK.
    pub(crate) fn answers_challenge(&self, seq: u32) -> bool {
        self.memory() == Memory::Challenge && self.last == seq
    }

    /// Notes a FIN or reset from `from` that fits no window. Whether the other side has sent one
    /// too: then both have ended what is followed here out of step.
    pub(crate) fn ended_outside(&mut self, from: Direction) -> bool {
        self.flags[from.index()] |= ENDED_OUTSIDE;
        self.flags[from.flip().index()] & ENDED_OUTSIDE != 0
    }

    /// Forgets such ends, and what was let through: something else was seen since.
    pub(crate) fn in_step(&mut self) {
        match self.memory() {
            Memory::Syn { .. } | Memory::Challenge => self.remember(Memory::Nothing),
            Memory::Ack { .. } | Memory::Nothing => {}
        }
        self.flags[0] &= !ENDED_OUTSIDE;
        self.flags[1] &= !ENDED_OUTSIDE;
    }

    /// Notes that both sides have opened at once.
    pub(crate) fn opened_at_once(&mut self) {
        self.flags[0] |= SIMULTANEOUS;
    }

    /// Whether both sides have opened at once.
    pub(crate) fn is_simultaneous(&self) -> bool {
        self.flags[0] & SIMULTANEOUS != 0
    }

    /// Starts over from the SYN that was last let through. Its window was not kept: the largest
    /// unscaled one is assumed.
    pub(crate) fn restart_from_ignored_syn(&mut self) {
        let Memory::Syn { from, scale } = self.memory() else {
            return;
        };
        let end = self.last;
        *self = Self::default();
        self.sides[from.index()] = Side {
            end,
            max_end: end,
            max_window: u32::from(u16::MAX),
            max_ack: 0,
        };
        self.flags[from.index()] = SACK;
        if scale != NO_SCALE {
            self.flags[from.index()] |= SCALING;
            self.set_scale(from, scale);
        }
    }

    /// Whether a reset from `from` lies below what its receiver has acknowledged already.
    pub(crate) fn reset_is_old(&self, from: Direction, seq: u32) -> bool {
        let r = from.flip().index();
        self.flags[r] & ACKED != 0 && before(seq, self.sides[r].max_ack)
    }

    /// Whether a reset from `from` has exactly the number its receiver waits for, as far as can be
    /// seen from here: acknowledged last, or behind the last byte sent.
    pub(crate) fn reset_is_exact(&self, from: Direction, seq: u32) -> bool {
        let r = from.flip().index();
        self.flags[r] & ACKED == 0
            || seq == self.sides[r].max_ack
            || seq == self.sides[from.index()].end
    }

    /// How often the last ACK segment was repeated.
    pub(crate) fn repeats(&self) -> u8 {
        match self.memory() {
            Memory::Ack { repeats, .. } => repeats,
            Memory::Syn { .. } | Memory::Challenge | Memory::Nothing => 0,
        }
    }

    /// Whether either side has sent what is not acknowledged yet.
    pub(crate) fn unacked(&self) -> bool {
        (self.flags[0] | self.flags[1]) & UNACKED != 0
    }

    /// Whether the last segment offered no window.
    pub(crate) fn closed(&self) -> bool {
        self.flags[0] & CLOSED != 0
    }
}

/// Between which numbers a side's next segment lies.
struct Bounds {
    /// The right edge of what it may send, and the largest window it was offered; zero if unknown.
    max_end: u32,
    offered: u32,
    /// The least end of a segment that is not an old one.
    end_min: u32,
    /// What it may acknowledge: the first byte nobody has sent, and how far behind it may be.
    ack_max: u32,
    ack_min: u32,
}

impl Bounds {
    fn of(sender: &Side, receiver: &Side) -> Self {
        let slack = sender.max_window.max(ACK_SLACK);
        Self {
            max_end: sender.max_end,
            offered: receiver.max_window,
            end_min: sender.end.wrapping_sub(receiver.max_window),
            ack_max: receiver.end,
            ack_min: receiver.end.wrapping_sub(slack),
        }
    }

    fn judge(&self, seq: u32, end: u32, sack: u32) -> Fit {
        let old = self.offered != 0 && before(end, self.end_min);
        let late = before(sack, self.ack_min);
        if after(seq, self.max_end) {
            let overshot = end.wrapping_sub(self.max_end).wrapping_add(1);
            let near = self.offered != 0 && !old && overshot <= self.offered;
            let acknowledges = !late && !after(sack, self.ack_max);
            return if near && acknowledges {
                Fit::Stray
            } else {
                Fit::Out
            };
        }
        if after(sack, self.ack_max) {
            Fit::Out
        } else if old || late {
            Fit::Stray
        } else {
            Fit::In
        }
    }
}

impl<'a> Seen<'a> {
    fn new(tcp: &'a TcpSegment, from: Direction, len: u32) -> Self {
        let controls = u32::from(tcp.flags & SYN != 0) + u32::from(tcp.flags & FIN != 0);
        Self {
            tcp,
            from,
            end: tcp.seq.wrapping_add(len).wrapping_add(controls),
        }
    }
}

/// The flag of a side that offers this window.
fn closed(offered: u32) -> u8 {
    if offered == 0 { CLOSED } else { 0 }
}

/// Whether `a` lies before `b` on the circle of sequence numbers.
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}

/// Whether `a` lies after `b` on the circle of sequence numbers.
fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_compared_on_a_circle() {
        assert!(before(0xffff_fff0, 5) && after(5, 0xffff_fff0));
        assert!(!before(5, 5) && !after(5, 5));
    }

    #[test]
    fn the_window_state_takes_40_bytes() {
        assert_eq!(size_of::<TcpWindow>(), 40);
    }
}
