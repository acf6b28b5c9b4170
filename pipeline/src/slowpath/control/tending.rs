//! Control connections between packets: let go of, forgotten, repeated, no longer to be read.

use std::time::Duration;

use turnpike_conntrack::expect::MasterId;
use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::helper::Transport;

use super::{Control, Reading};
use crate::buffer::BufferPool;
use crate::drops::DropReason;
use crate::outbox::{ControlNews, FromSlowPath};
use crate::program::Program;
use crate::slowpath::{SlowOutbox, SlowPath};
use crate::witness::Witness;

/// How often connections that have ended are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often what only the gateway has is sent before it is given up.
const SENT_AGAIN_MAX: u8 = 8;

impl<P: BufferPool, W: Witness<P::Buf>> SlowPath<P, W> {
    /// Lets go of a connection that nobody reads any more and of which nothing is held.
    pub(super) fn release(
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
    pub(in crate::slowpath) fn tend_controls(&mut self, out: &mut SlowOutbox<P::Buf>) {
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

    pub(super) fn forget(&mut self, control: &mut Control<P::Buf>) {
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
    pub(super) fn send_again(
        &mut self,
        control: &mut Control<P::Buf>,
        out: &mut SlowOutbox<P::Buf>,
    ) {
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
    pub(in crate::slowpath) fn adopt_controls(
        &mut self,
        before: &Program,
        out: &mut SlowOutbox<P::Buf>,
    ) {
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
}
