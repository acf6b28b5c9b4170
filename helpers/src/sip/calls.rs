//! What a control connection remembers of its calls and registrations.
//!
//! Both tables are small and forget the oldest: then an announcement ends by its time instead of by
//! its call.

use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::Direction;

use super::rewrite::{Binding, Listener};
use crate::helper::{Call, Desk};

/// The most calls of one control connection that are remembered.
pub const CALLS_MAX: usize = 64;
/// The most registrations of one control connection that are remembered.
pub const REGISTRATIONS_MAX: usize = 32;
/// The longest time for which a registration keeps its contact reachable.
pub const REGISTERED_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a message belongs to: its Call-ID, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallId(pub(super) u32);

impl CallId {
    /// What is announced for its media.
    pub(super) const fn media(self) -> Call {
        Call(self.0 & !1)
    }

    /// What is announced for its signalling.
    pub(super) const fn signalling(self) -> Call {
        Call(self.0 | 1)
    }

    /// Takes back what was announced for it.
    pub(super) fn withdraw(self, desk: &mut dyn Desk) {
        desk.withdraw(self.media());
        desk.withdraw(self.signalling());
    }
}

/// A call that one side has invited to.
#[derive(Debug, Clone, Copy)]
struct Invited {
    id: CallId,
    from: Direction,
    /// The number of the last invitation.
    cseq: u64,
    is_established: bool,
}

/// The calls of a control connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(ArrayVec<Invited, CALLS_MAX>);

impl Calls {
    fn find(&mut self, id: CallId) -> Option<&mut Invited> {
        self.0.iter_mut().find(|call| call.id == id)
    }

    /// One side invites, for the first time or again.
    pub(super) fn invited(&mut self, id: CallId, from: Direction, cseq: u64) {
        if let Some(call) = self.find(id) {
            if !call.is_established {
                (call.from, call.cseq) = (from, cseq);
            }
            return;
        }
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push(Invited {
            id,
            from,
            cseq,
            is_established: false,
        });
    }

    /// The invitation was accepted.
    pub(super) fn accepted(&mut self, id: CallId) {
        if let Some(call) = self.find(id) {
            call.is_established = true;
        }
    }

    /// An invitation was not accepted: whether the call has ended with it. One that was answered
    /// before goes on, and so does one that has been asked for again since.
    pub(super) fn failed(&mut self, id: CallId, from: Direction, cseq: u64) -> bool {
        let ended = self
            .find(id)
            .is_some_and(|call| !call.is_established && (call.from, call.cseq) == (from, cseq));
        if ended {
            self.ended(id);
        }
        ended
    }

    /// The call has ended.
    pub(super) fn ended(&mut self, id: CallId) {
        self.0.retain(|call| call.id != id);
    }
}

/// A registration that is being asked for.
#[derive(Debug, Clone)]
struct Asked {
    id: CallId,
    cseq: u64,
    bindings: ArrayVec<Binding, 2>,
}

/// A registration that was granted.
#[derive(Debug, Clone, Copy)]
struct Granted {
    id: CallId,
    listener: Listener,
    lifetime: Duration,
}

/// The registrations of a control connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Registrations {
    /// By the direction of the request.
    asked: [Option<Asked>; 2],
    granted: ArrayVec<Granted, REGISTRATIONS_MAX>,
}

impl Registrations {
    /// The longest of those that hold.
    pub(super) fn longest(&self) -> Duration {
        let lifetimes = self.granted.iter().map(|granted| granted.lifetime);
        lifetimes.max().unwrap_or_default()
    }

    /// One side asks to be registered.
    pub(super) fn ask(&mut self, id: CallId, from: Direction, cseq: u64, bindings: &[Binding]) {
        let bindings = bindings.iter().copied().take(2).collect();
        let asked = Asked { id, cseq, bindings };
        self.slot(from).replace(asked);
    }

    const fn slot(&mut self, from: Direction) -> &mut Option<Asked> {
        let [original, reply] = &mut self.asked;
        match from {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// Takes the question that this answers.
    fn answered(&mut self, id: CallId, from: Direction, cseq: u64) -> Option<Asked> {
        let slot = self.slot(from);
        if slot.as_ref()?.id != id || slot.as_ref()?.cseq != cseq {
            return None;
        }
        slot.take()
    }

    /// The registrar grants what `from` has asked for. The bindings are those that it lists;
    /// `None` if it lists nothing, and so has agreed.
    pub(super) fn grant(
        &mut self,
        (id, cseq): (CallId, u64),
        from: Direction,
        listed: Option<&[Binding]>,
        desk: &mut dyn Desk,
    ) {
        let Some(asked) = self.answered(id, from, cseq) else {
            return;
        };
        let bindings = listed.unwrap_or(&asked.bindings);
        let live = |listener: &Listener| {
            let mut bindings = bindings.iter();
            bindings.any(|binding| binding.listener == *listener && binding.expires > 0)
        };
        while let Some(at) = self
            .granted
            .iter()
            .position(|granted| granted.id == id && !live(&granted.listener))
        {
            let granted = self.granted.remove(at);
            self.release(granted.listener, desk);
        }
        for binding in bindings.iter().filter(|binding| binding.expires > 0) {
            let lifetime = Duration::from_secs(binding.expires).min(REGISTERED_MAX);
            let listener = binding.listener;
            self.granted
                .retain(|granted| granted.id != id || granted.listener != listener);
            if self.granted.is_full() {
                self.granted.remove(0);
            }
            self.granted.push(Granted {
                id,
                listener,
                lifetime,
            });
            let _ = listener.announce(from, listener.call(), lifetime, desk);
        }
    }

    /// The registrar refuses what `from` has asked for.
    pub(super) fn refuse(
        &mut self,
        (id, cseq): (CallId, u64),
        from: Direction,
        desk: &mut dyn Desk,
    ) {
        if let Some(asked) = self.answered(id, from, cseq) {
            for binding in &asked.bindings {
                self.release(binding.listener, desk);
            }
        }
    }

    /// Takes an announcement back that no registration needs any more.
    fn release(&self, listener: Listener, desk: &mut dyn Desk) {
        let is_needed = self
            .granted
            .iter()
            .any(|granted| granted.listener == listener);
        if !is_needed {
            desk.withdraw(listener.call());
        }
    }
}
