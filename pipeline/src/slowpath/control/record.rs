//! The last rewrites of helpers, before and after, for people who ask what became of a call.

use std::collections::VecDeque;

use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::time::Tick;
use turnpike_helpers::helper::Session;

/// Rewrites that are remembered.
pub const RECORDED_MAX: usize = 256;
/// Bytes of a message that are remembered, around what was changed.
const TEXT_MAX: usize = 160;
/// How many of them stand before the change.
const BEFORE_MAX: usize = 48;

/// A message that a helper has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// When.
    pub at: Tick,
    /// The helper's name.
    pub helper: &'static str,
    /// The control connection.
    pub session: Session,
    /// Who has sent the message.
    pub from: Direction,
    /// A part of the message as it was sent.
    pub before: Vec<u8>,
    /// The same part as it arrived.
    pub after: Vec<u8>,
}

impl Rewrite {
    /// A change from one message to another.
    pub fn new(
        (helper, session, from): (&'static str, Session, Direction),
        before: &[u8],
        after: &[u8],
        at: Tick,
    ) -> Self {
        let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
        let start = same.saturating_sub(BEFORE_MAX);
        let behind = |bytes: &[u8]| {
            let end = bytes.len().min(start + TEXT_MAX);
            bytes.get(start..end).unwrap_or_default().to_vec()
        };
        Self {
            at,
            helper,
            session,
            from,
            before: behind(before),
            after: behind(after),
        }
    }
}

/// The last rewrites.
#[derive(Debug, Default)]
pub struct Record {
    last: VecDeque<Rewrite>,
}

impl Record {
    /// Remembers one, and forgets the oldest if there are too many.
    pub fn note(&mut self, rewrite: Rewrite) {
        if self.last.len() >= RECORDED_MAX {
            self.last.pop_front();
        }
        self.last.push_back(rewrite);
    }

    /// Those remembered, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Rewrite> {
        self.last.iter()
    }
}
