//! The SCTP tracker: the state table and the verification tags (RFC 9260, 8.5).
//!
//! Each side chooses the tag that packets to it must carry. A new tag that INIT or INIT-ACK brings
//! into a living association is only on offer: an INIT carries no tag, so anybody can send one.
//! It comes into force with the COOKIE-ECHO that carries it, which only the real peer can send.
//!
//! Multi-homing is not followed: a second path is another connection, opened by its HEARTBEAT.

use std::time::Duration;

use crate::entry::Flags;
use crate::ids::Direction;
use crate::sctp_table::{SctpState, To, transition};
use crate::segment::{Chunk, InvalidReason, SctpSegment, TagOwner};
use crate::tcp_window::TcpWindow;
use crate::timeouts::Timeouts;
use crate::tracker::Step;

/// What the tracker reads and writes of an entry.
pub(crate) struct Sctp<'a> {
    pub(crate) state: &'a mut u8,
    pub(crate) flags: &'a mut Flags,
    pub(crate) memory: &'a mut TcpWindow,
}

/// The tags of an association; zero is "not known yet", no endpoint chooses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tags {
    /// What packets of each direction carry.
    valid: [u32; 2],
    /// What they will carry once a cookie is echoed under it.
    offered: [u32; 2],
}

impl Tags {
    fn load(memory: &TcpWindow) -> Self {
        let [a, b, c, d] = memory.lent();
        Self {
            valid: [a, b],
            offered: [c, d],
        }
    }

    fn store(self) -> TcpWindow {
        let ([a, b], [c, d]) = (self.valid, self.offered);
        TcpWindow::lend([a, b, c, d])
    }

    /// The sender of a packet of `direction` has chosen the tag of the packets to it.
    fn chosen(&mut self, direction: Direction, tag: u32) {
        let towards = direction.flip().index();
        if self.valid[towards] == 0 {
            self.valid[towards] = tag;
        } else if self.valid[towards] != tag {
            self.offered[towards] = tag;
        }
    }

    /// Puts what is on offer in force.
    fn accept(&mut self) {
        for (valid, offered) in self.valid.iter_mut().zip(&mut self.offered) {
            if *offered != 0 {
                *valid = *offered;
                *offered = 0;
            }
        }
    }

    /// Whether a packet of `direction` that carries `chunk` in `state` has the right tag.
    fn fit(
        &self,
        state: SctpState,
        direction: Direction,
        chunk: Chunk,
        sctp: &SctpSegment,
    ) -> bool {
        let valid = self.valid[direction.index()];
        let offered = self.offered[direction.index()];
        let reflected = self.valid[direction.flip().index()];
        let tag = sctp.tag;
        match chunk {
            Chunk::Init => tag == 0 && sctp.initiate_tag != 0,
            _ if tag == 0 => false,
            Chunk::InitAck => sctp.initiate_tag != 0 && (tag == valid || tag == offered),
            Chunk::CookieEcho => tag == valid || tag == offered,
            Chunk::Abort => match sctp.owner {
                TagOwner::Receiver => tag == valid || tag == offered,
                TagOwner::Sender => tag == reflected,
            },
            Chunk::ShutdownComplete => match sctp.owner {
                TagOwner::Receiver => tag == valid,
                TagOwner::Sender => tag == reflected,
            },
            // The opener may have begun anew before it was answered.
            Chunk::CookieAck if state == SctpState::CookieEchoed => tag == valid || tag == offered,
            // The first sign of life of a side whose tag nobody has said.
            Chunk::Heartbeat | Chunk::HeartbeatAck if valid == 0 => true,
            Chunk::CookieAck
            | Chunk::Shutdown
            | Chunk::ShutdownAck
            | Chunk::Error
            | Chunk::Heartbeat
            | Chunk::HeartbeatAck
            | Chunk::Data => tag == valid,
        }
    }

    /// Whether a packet of `direction` carries a tag that is not in force: an ABORT then answers an
    /// INIT that was sent into a living association, and ends that attempt only.
    fn is_on_offer(&self, direction: Direction, sctp: &SctpSegment) -> bool {
        sctp.owner == TagOwner::Receiver && sctp.tag != self.valid[direction.index()]
    }

    /// Learns from a packet of `direction` that has the right tag.
    fn learn(&mut self, direction: Direction, chunk: Chunk, sctp: &SctpSegment) {
        let d = direction.index();
        match chunk {
            Chunk::Init | Chunk::InitAck => self.chosen(direction, sctp.initiate_tag),
            Chunk::CookieEcho => {
                if sctp.tag == self.offered[d] {
                    self.accept();
                }
            }
            Chunk::CookieAck | Chunk::Heartbeat | Chunk::HeartbeatAck => self.valid[d] = sctp.tag,
            Chunk::Shutdown
            | Chunk::ShutdownAck
            | Chunk::ShutdownComplete
            | Chunk::Abort
            | Chunk::Error
            | Chunk::Data => {}
        }
    }
}

/// The state that a packet opens an association in.
fn opening(sctp: &SctpSegment) -> Result<SctpState, InvalidReason> {
    let chunks = sctp.chunks;
    let state = if chunks.contains(Chunk::Init) {
        if sctp.tag != 0 || sctp.initiate_tag == 0 {
            return Err(InvalidReason::Tag);
        }
        return Ok(SctpState::CookieWait);
    } else if chunks.contains(Chunk::Heartbeat) {
        SctpState::HeartbeatSent
    } else if chunks.contains(Chunk::ShutdownAck) {
        SctpState::ShutdownAckSent
    } else {
        return Err(InvalidReason::NotOpening);
    };
    if sctp.tag == 0 {
        return Err(InvalidReason::Tag);
    }
    Ok(state)
}

/// Whether the packet may open a connection: INIT; HEARTBEAT, which tries another path or one
/// that was forgotten here; SHUTDOWN-ACK, which is repeated until it is answered (8.4).
pub(crate) fn admits(sctp: &SctpSegment) -> Result<(), InvalidReason> {
    opening(sctp).map(|_| ())
}

/// State, tags and timeout of a connection that the packet opens.
pub(crate) fn open(sctp: &SctpSegment, timeouts: &Timeouts) -> (u8, TcpWindow, Duration) {
    let state = opening(sctp).unwrap_or(SctpState::Closed);
    let mut tags = Tags::default();
    if state == SctpState::CookieWait {
        tags.chosen(Direction::Original, sctp.initiate_tag);
    } else {
        tags.valid[Direction::Original.index()] = sctp.tag;
    }
    (state as u8, tags.store(), timeout(state, timeouts))
}

impl Sctp<'_> {
    /// Judges a packet and follows it: its chunks one after the other, all of them or none.
    pub(crate) fn track(
        &mut self,
        from: Direction,
        sctp: &SctpSegment,
        timeouts: &Timeouts,
    ) -> Step {
        let old = SctpState::from_number(*self.state);
        let mut tags = Tags::load(self.memory);
        let (mut state, mut moved) = (old, false);
        for chunk in sctp.chunks.iter() {
            let to = transition(state, from, chunk);
            // Between two associations there is none whose tags count.
            let fits = match to {
                To::Reopen => opening(sctp).is_ok(),
                To::Go(_) | To::Ignore | To::Invalid => tags.fit(state, from, chunk, sctp),
            };
            if !fits {
                return Step::Invalid(InvalidReason::Tag);
            }
            match to {
                To::Invalid => return Step::Invalid(InvalidReason::State),
                To::Reopen => return Step::Reopen,
                To::Ignore => {}
                To::Go(_) if chunk == Chunk::Abort && tags.is_on_offer(from, sctp) => {}
                To::Go(new) => (state, moved) = (new, true),
            }
            tags.learn(from, chunk, sctp);
        }
        *self.memory = tags.store();
        if !moved {
            return Step::Ignored;
        }
        *self.state = state as u8;
        self.settle(old, state, from);
        Step::Keep(timeout(state, timeouts))
    }

    fn settle(&mut self, old: SctpState, new: SctpState, from: Direction) {
        let agreed = matches!(old, SctpState::CookieEchoed | SctpState::HeartbeatSent);
        let answered = from == Direction::Reply || self.flags.contains(Flags::SEEN_REPLY);
        if new == SctpState::Established && agreed && answered {
            *self.flags = self.flags.with(Flags::ASSURED);
        }
        *self.flags = if new == SctpState::Closed {
            self.flags.with(Flags::DYING)
        } else {
            self.flags.without(Flags::DYING)
        };
    }
}

fn timeout(state: SctpState, timeouts: &Timeouts) -> Duration {
    match state {
        SctpState::Closed => timeouts.sctp_closed,
        SctpState::CookieWait => timeouts.sctp_cookie_wait,
        SctpState::CookieEchoed => timeouts.sctp_cookie_echoed,
        SctpState::Established => timeouts.sctp_established,
        SctpState::ShutdownSent => timeouts.sctp_shutdown_sent,
        SctpState::ShutdownRecd => timeouts.sctp_shutdown_recd,
        SctpState::ShutdownAckSent => timeouts.sctp_shutdown_ack_sent,
        SctpState::HeartbeatSent => timeouts.sctp_heartbeat_sent,
    }
}
