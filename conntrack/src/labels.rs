//! What is known of a connection's layer 7: its label, or how far its first data was looked at.
//!
//! An entry has two bytes for it: zero as long as nobody has asked, a label's number once one was
//! found, and between the two how many packets have been sampled, or that there are no more to be.

use crate::ids::{FlowId, LABELS_MAX, LabelId};
use crate::table::{Table, at};
use crate::tuple::Family;

/// The most packets of a connection that are sampled.
pub const SAMPLES_MAX: u8 = 10;

/// Nobody has asked yet.
const UNASKED: u16 = 0;
/// Set while samples are taken; the low bits count them.
const SAMPLING: u16 = 1 << 15;
/// Nothing was found in all that is looked at.
const UNKNOWN: u16 = 1 << 14 | 1;
/// It was not looked at to the end, for want of room.
const UNEXAMINED: u16 = 1 << 14 | 2;

const _: () = assert!(
    LABELS_MAX <= 1 << 14,
    "numbers of labels and states are told apart"
);

/// What is known of a connection's layer 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layer7 {
    /// Nothing: nobody asked, it is being looked at, or nothing was found.
    #[default]
    Unknown,
    /// The protocol it was found to be.
    Found(LabelId),
    /// There was no room to look at it.
    Unexamined,
}

impl Layer7 {
    fn of(state: u16) -> Self {
        match state {
            UNEXAMINED => Self::Unexamined,
            _ => LabelId::new(state).map_or(Self::Unknown, Self::Found),
        }
    }

    /// The label, if one was found.
    pub const fn label(self) -> Option<LabelId> {
        match self {
            Self::Found(label) => Some(label),
            Self::Unknown | Self::Unexamined => None,
        }
    }
}

/// What looking at a connection's first data came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examined {
    /// It is this protocol.
    Found(LabelId),
    /// It is none that anybody looks for.
    Nothing,
    /// There was no room to look at it.
    NoRoom,
}

impl<F: Family> Table<F> {
    /// What is known of a connection's layer 7.
    pub fn layer7(&self, id: FlowId) -> Layer7 {
        Layer7::of(self.warm[at(id)].label)
    }

    /// Which layer-7 protocol a connection was found to be.
    pub fn label(&self, id: FlowId) -> Option<LabelId> {
        self.layer7(id).label()
    }

    /// Has a connection's packets sampled from now on, unless they have been, or it has carried
    /// more packets than are looked at.
    pub fn want_label(&mut self, id: FlowId) {
        let warm = &mut self.warm[at(id)];
        if warm.label == UNASKED {
            let [original, reply] = warm.packets;
            let young = original + reply <= u64::from(SAMPLES_MAX);
            warm.label = if young { SAMPLING } else { UNKNOWN };
        }
    }

    /// Whether a connection's packets are sampled.
    pub fn is_sampled(&self, id: FlowId) -> bool {
        self.warm[at(id)].label & SAMPLING != 0
    }

    /// Counts one more sampled packet of a connection: how many were sampled before it. `None` if
    /// no more are to be. Behind the last, nothing is known of the connection unless it is said.
    pub fn next_sample(&mut self, id: FlowId) -> Option<u8> {
        let state = &mut self.warm[at(id)].label;
        if *state & SAMPLING == 0 {
            return None;
        }
        let before = (*state & !SAMPLING) as u8;
        *state = if before + 1 >= SAMPLES_MAX {
            UNKNOWN
        } else {
            *state + 1
        };
        Some(before)
    }

    /// Notes what looking at a connection's first data came to; none of it is sampled any more. A
    /// label stays whatever is said later, and what was not looked at to the end never becomes what
    /// was.
    pub fn set_examined(&mut self, id: FlowId, examined: Examined) {
        let state = &mut self.warm[at(id)].label;
        let unexamined = *state == UNEXAMINED && examined == Examined::Nothing;
        if unexamined || LabelId::new(*state).is_some() {
            return;
        }
        *state = match examined {
            Examined::Found(label) => label.number(),
            Examined::Nothing => UNKNOWN,
            Examined::NoRoom => UNEXAMINED,
        };
        if examined != Examined::Nothing {
            self.hot[at(id)].forget_judgements();
        }
    }
}
