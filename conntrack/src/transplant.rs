//! Connections taken over by another table, as they stand: for finding out what would become of
//! their next packets, which must change nothing where they live.

use crate::entry::{Flags, Hot, Kin, NO_CLAIM, Warm};
use crate::expect::masters::NO_MASTER;
use crate::ids::{Direction, FlowId};
use crate::syn_gate::is_half_open;
use crate::table::{Table, at};
use crate::tcp_window::TcpWindow;
use crate::time::Tick;
use crate::tuple::{Family, Proto};

/// A connection with everything that its tracker knows.
#[derive(Debug, Clone, Copy)]
pub struct Graft<F: Family> {
    hot: Hot<F>,
    warm: Warm,
    window: TcpWindow,
}

impl<F: Family> Graft<F> {
    /// The sequence number that the next segment of `direction` would have, and what it would
    /// acknowledge; `None` for what is no TCP connection.
    pub fn next_numbers(&self, direction: Direction) -> Option<(u32, u32)> {
        let end = |direction: Direction| self.window.sides[direction.index()].end;
        (self.hot.proto() == Proto::TCP).then(|| (end(direction), end(direction.flip())))
    }
}

impl<F: Family> Table<F> {
    /// Takes down a live connection; `None` if it is gone or has expired.
    pub fn graft(&self, id: FlowId, now: Tick) -> Option<Graft<F>> {
        self.connection(id, now)?;
        Some(Graft {
            hot: *self.hot.get(at(id))?,
            warm: *self.warm.get(at(id))?,
            window: *self.windows.get(at(id))?,
        })
    }

    /// Takes in a connection of another table, whose clock is the same. It has no claim on a port
    /// here, counts for no limit and nobody has judged it. `None` if there is no room.
    pub fn take_in(&mut self, graft: &Graft<F>, now: Tick) -> Option<FlowId> {
        let id = self.make_room(now)?;
        let pair = graft.hot.pair();
        let hot = &mut self.hot[at(id)];
        *hot = graft.hot;
        hot.flags = hot.flags.without(Flags::STEERED);
        hot.forget_judgements();
        let deadline = hot.deadline;
        self.windows[at(id)] = graft.window;
        // The free list is linked through the entry, so the place is taken before it is written.
        self.take(id);
        self.warm[at(id)] = Warm {
            claim: NO_CLAIM,
            master: NO_MASTER,
            kin: Kin::default(),
            ..graft.warm
        };
        self.wheel.insert(&mut self.warm, id.0, deadline, now);
        self.live += 1;
        self.count_half_open(false, is_half_open(&self.hot[at(id)]));
        if self.file(id, &pair).is_err() {
            self.remove(id);
            return None;
        }
        Some(id)
    }
}
