//! The TCP tracker: the state table, the window and the timeouts together.

use std::time::Duration;

use crate::entry::Flags;
use crate::ids::Direction;
use crate::segment::{InvalidReason, SYN, TcpSegment};
use crate::tcp_table::{Kind, TcpState, To, transition};
use crate::tcp_window::{Fit, TcpWindow};
use crate::timeouts::{Switch, Timeouts, TrackingConfig};
use crate::tracker::Step;

/// After this many repetitions of one segment the retransmission timeout holds.
const REPEATS: u8 = 3;

/// What the tracker reads and writes of an entry.
pub(crate) struct Tcp<'a> {
    pub(crate) state: &'a mut u8,
    pub(crate) flags: &'a mut Flags,
    pub(crate) window: &'a mut TcpWindow,
}

/// Whether the segment may open a connection: a SYN, or with loose tracking one with ACK alone.
pub(crate) fn admits(tcp: &TcpSegment, config: &TrackingConfig) -> Result<(), InvalidReason> {
    match Kind::of(tcp.flags) {
        None => Err(InvalidReason::Flags),
        Some(Kind::Syn) => Ok(()),
        Some(Kind::Ack) if config.loose_tcp == Switch::On => Ok(()),
        Some(Kind::Ack | Kind::SynAck | Kind::Fin | Kind::Rst) => Err(InvalidReason::NotOpening),
    }
}

/// State, window and timeout of a connection that the segment opens.
pub(crate) fn open(tcp: &TcpSegment, len: u32, timeouts: &Timeouts) -> (u8, TcpWindow, Duration) {
    if tcp.flags & SYN != 0 {
        let window = TcpWindow::opened(tcp, len);
        (TcpState::SynSent as u8, window, timeouts.tcp_syn_sent)
    } else {
        let window = TcpWindow::picked_up(tcp, len);
        let mut timeout = timeouts.tcp_established.min(timeouts.tcp_unacked);
        if window.closed() {
            timeout = timeout.min(timeouts.tcp_max_retrans);
        }
        (TcpState::Established as u8, window, timeout)
    }
}

/// What a reset is to a connection.
enum Reset {
    /// Its number was acknowledged long ago.
    Old,
    /// It answers a SYN or a challenge ACK that was let through, with the number that this named.
    Answer,
    /// It ends the connection, if it is in the window.
    Exact,
    /// Its receiver will challenge it.
    Challenged,
}

impl Tcp<'_> {
    /// Judges a segment with `len` bytes of payload and follows it.
    pub(crate) fn track(
        &mut self,
        from: Direction,
        tcp: &TcpSegment,
        len: u32,
        config: &TrackingConfig,
    ) -> Step {
        let Some(kind) = Kind::of(tcp.flags) else {
            return Step::Invalid(InvalidReason::Flags);
        };
        let mut old = TcpState::from_number(*self.state);
        let new = match transition(old, from, kind) {
            To::Invalid => return Step::Invalid(InvalidReason::Transition),
            To::Reopen => return Step::Reopen,
            To::Ignore => match self.ignore(old, from, kind, tcp, len) {
                Some(new) => {
                    old = TcpState::SynSent;
                    new
                }
                None => return Step::Ignored,
            },
            To::Go(TcpState::Close) if kind == Kind::Rst => match self.reset(old, from, tcp) {
                Reset::Old => return Step::Invalid(InvalidReason::OutOfWindow),
                Reset::Answer => return self.enter(old, TcpState::Close, kind, config),
                Reset::Exact => TcpState::Close,
                Reset::Challenged => old,
            },
            To::Go(TcpState::TimeWait)
                if old == TcpState::LastAck && self.window.challenges_ignored_syn(from) =>
            {
                return Step::Ignored;
            }
            To::Go(TcpState::SynReceived) if kind == Kind::Ack && self.window.is_simultaneous() => {
                TcpState::Established
            }
            To::Go(new) => new,
        };
        let liberal = config.liberal_tcp;
        match self.window.check(old, from, kind, tcp, len, liberal) {
            Fit::Out => self.outside(from, kind, &config.timeouts),
            Fit::Stray => Step::Ignored,
            Fit::In | Fit::Tolerated => self.enter(old, new, kind, config),
        }
    }

    /// What a reset is to the connection.
    fn reset(&self, old: TcpState, from: Direction, tcp: &TcpSegment) -> Reset {
        let challenged = old == TcpState::SynSent && from == Direction::Original;
        if self.window.answers_ignored_syn(from, tcp)
            || challenged && self.window.answers_challenge(tcp.seq)
        {
            return Reset::Answer;
        }
        if self.window.reset_is_old(from, tcp.seq) {
            return Reset::Old;
        }
        // RFC 5961: a reset that is in the window but not exact makes the receiver send a
        // challenge ACK. It passes, and only the exact one ends the connection.
        let agreed = old == TcpState::Established && self.flags.contains(Flags::ASSURED);
        if !agreed || self.window.reset_is_exact(from, tcp.seq) {
            Reset::Exact
        } else {
            Reset::Challenged
        }
    }

    /// A segment outside the window. Where both sides end what is followed here out of step, the
    /// entry need not stay for days.
    fn outside(&mut self, from: Direction, kind: Kind, timeouts: &Timeouts) -> Step {
        let reason = InvalidReason::OutOfWindow;
        let ends = matches!(kind, Kind::Fin | Kind::Rst) && self.flags.contains(Flags::ASSURED);
        if ends && self.window.ended_outside(from) {
            Step::Doubtful(reason, timeouts.tcp_unacked)
        } else {
            Step::Invalid(reason)
        }
    }

    /// The connection is in state `new` after a segment that belongs to it.
    fn enter(&mut self, old: TcpState, new: TcpState, kind: Kind, config: &TrackingConfig) -> Step {
        *self.state = new as u8;
        self.window.in_step();
        if new == TcpState::SynSent2 {
            self.window.opened_at_once();
        }
        let timeout = self.settle(old, new, &config.timeouts);
        if self.flags.contains(Flags::SEEN_REPLY) {
            return Step::Keep(timeout);
        }
        match kind {
            // Refused, or given up: there was no connection, and nothing is left of it.
            Kind::Rst => Step::Keep(Duration::ZERO),
            // A host that goes on asking for what is not answered must not keep an entry, and the
            // port it holds, for ever.
            Kind::Syn if old == TcpState::SynSent => Step::Ignored,
            Kind::Syn | Kind::SynAck | Kind::Fin | Kind::Ack => Step::Keep(timeout),
        }
    }

    /// A segment that the table ignores. A SYN is remembered, and so is an ACK in answer to one; a
    /// SYN-ACK that answers it shows that the responder agreed, and the connection starts over in
    /// the given state.
    fn ignore(
        &mut self,
        old: TcpState,
        from: Direction,
        kind: Kind,
        tcp: &TcpSegment,
        len: u32,
    ) -> Option<TcpState> {
        if kind == Kind::SynAck && self.window.answers_ignored_syn(from, tcp) {
            self.window.restart_from_ignored_syn();
            return Some(TcpState::SynReceived);
        }
        self.window.in_step();
        match kind {
            Kind::Syn => self.window.ignored_syn(from, tcp, len),
            Kind::Ack if old == TcpState::SynSent => self.window.challenged(tcp),
            Kind::Ack | Kind::SynAck | Kind::Fin | Kind::Rst => {}
        }
        None
    }

    /// Sets flags after a valid segment, and says how long the connection may now stay idle.
    fn settle(&mut self, old: TcpState, new: TcpState, timeouts: &Timeouts) -> Duration {
        let seen_reply = self.flags.contains(Flags::SEEN_REPLY);
        let handshaken = matches!(old, TcpState::SynReceived | TcpState::Established);
        if seen_reply && handshaken && new == TcpState::Established {
            *self.flags = self.flags.with(Flags::ASSURED);
        }
        *self.flags = if matches!(new, TcpState::Close | TcpState::TimeWait) {
            self.flags.with(Flags::DYING)
        } else {
            self.flags.without(Flags::DYING)
        };
        let normal = timeout(new, timeouts);
        let silent = !seen_reply && new == TcpState::Established;
        if self.window.repeats() >= REPEATS {
            normal.min(timeouts.tcp_max_retrans)
        } else if self.window.unacked() || silent {
            normal.min(timeouts.tcp_unacked)
        } else if self.window.closed() {
            normal.min(timeouts.tcp_max_retrans)
        } else {
            normal
        }
    }
}

fn timeout(state: TcpState, timeouts: &Timeouts) -> Duration {
    match state {
        TcpState::SynSent | TcpState::SynSent2 => timeouts.tcp_syn_sent,
        TcpState::SynReceived => timeouts.tcp_syn_received,
        TcpState::Established => timeouts.tcp_established,
        TcpState::FinWait => timeouts.tcp_fin_wait,
        TcpState::CloseWait => timeouts.tcp_close_wait,
        TcpState::LastAck => timeouts.tcp_last_ack,
        TcpState::TimeWait => timeouts.tcp_time_wait,
        TcpState::Close => timeouts.tcp_close,
    }
}
