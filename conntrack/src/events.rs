//! What happens to connections, noted for whoever watches.
//!
//! Nobody watches by default: then a table has no journal, and noting is one predictable branch.
//! A watcher gives each table a [`Journal`] that it has made itself, takes out what it holds
//! between bursts, and gets the journal back when it has seen enough. A journal has a fixed size:
//! what does not fit is counted, never waited for.

use std::time::Duration;

use crate::entry::{Flags, remaining};
use crate::ids::FlowId;
use crate::table::{Table, at};
use crate::time::Tick;
use crate::tracker::Conntrack;
use crate::tuple::{Family, V4, V6};
use crate::walk::{AnyConnection, Connection};
use crate::wheel::wrapping;

/// Events that a journal holds between two times that it is emptied.
///
/// The most that one burst can make: 64 packets that each open a connection in a full table, for
/// which 32 expired ones and one that is evicted make room.
pub const NOTES_MAX: usize = 4_096;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was idle for longer than its timeout; a closed one ends like this, too.
    Expired,
    /// It was not assured, and the table was full.
    Evicted,
    /// It was closing, and a packet with its tuple opened another one.
    Reopened,
    /// The operator ended it.
    Flushed,
    /// A reloaded rule refuses it.
    Reload,
    /// The address it was masqueraded to is the gateway's no more.
    AddressGone,
    /// It was to end with the connection that announced it, and that one ended.
    MasterEnded,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::Evicted,
        Self::Reopened,
        Self::Flushed,
        Self::Reload,
        Self::AddressGone,
        Self::MasterEnded,
    ];

    /// What events call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Reopened => "reopened",
            Self::Flushed => "flushed",
            Self::Reload => "reload",
            Self::AddressGone => "address-gone",
            Self::MasterEnded => "master-ended",
        }
    }
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It entered the table.
    New,
    /// One of its flags, its tracker's state or its mark is another than before.
    Update,
    /// It left the table.
    Destroy(Cause),
}

impl Change {
    /// What events call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Update => "update",
            Self::Destroy(_) => "destroy",
        }
    }
}

/// A change of a connection, and what the connection was after it, or at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// When, to the turn of the worker's loop.
    pub at: Tick,
    /// The connection.
    pub connection: AnyConnection,
}

#[derive(Debug, Clone, Copy)]
struct Note<F: Family> {
    change: Change,
    connection: Connection<F>,
    /// Its deadline in wrapping milliseconds: a table is not told the time when it changes.
    deadline: u32,
    /// When its last packet came, likewise.
    seen: u32,
}

/// What happened to the connections of one table since it was last asked.
#[derive(Debug)]
pub struct Journal<F: Family> {
    notes: Vec<Note<F>>,
    lost: u64,
}

impl<F: Family> Default for Journal<F> {
    fn default() -> Self {
        Self {
            notes: Vec::with_capacity(NOTES_MAX),
            lost: 0,
        }
    }
}

impl<F: Family> Journal<F> {
    fn note(&mut self, note: Note<F>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        } else {
            self.lost += 1;
        }
    }
}

/// A journal for each of a worker's tables. Making them takes their memory.
#[derive(Debug, Default)]
pub struct Journals {
    v4: Box<Journal<V4>>,
    v6: Box<Journal<V6>>,
}

/// What a tracker can change of a connection, before it did.
pub(crate) type Before = Option<(u8, Flags)>;

impl<F: Family> Table<F> {
    /// What [`Table::note_if_changed`] compares with; nothing if nobody watches.
    pub(crate) fn before(&self, id: FlowId) -> Before {
        self.journal.as_ref()?;
        let hot = &self.hot[at(id)];
        Some((hot.state, hot.flags))
    }

    /// Notes an update if a connection's state or flags are not what they were.
    pub(crate) fn note_if_changed(&mut self, id: FlowId, before: Before) {
        if before.is_some() && before != self.before(id) {
            self.note(id, Change::Update);
        }
    }

    /// Notes what has just happened to a connection, or at its end is just about to.
    pub(crate) fn note(&mut self, id: FlowId, change: Change) {
        if self.journal.is_none() {
            return;
        }
        let note = Note {
            change,
            connection: self.snapshot(id, Duration::ZERO, 0),
            deadline: self.hot[at(id)].deadline,
            seen: self.warm[at(id)].seen,
        };
        if let Some(journal) = &mut self.journal {
            journal.note(note);
        }
    }

    /// Empties the journal, oldest first; how many events there was no room for.
    fn take_notes(&mut self, now: Tick, tell: &mut impl FnMut(Event)) -> u64
    where
        Connection<F>: Into<AnyConnection>,
    {
        let Some(journal) = &mut self.journal else {
            return 0;
        };
        let now_ms = wrapping(now.as_millis());
        for note in journal.notes.drain(..) {
            let left = remaining(note.deadline, now_ms);
            let connection = Connection {
                timeout: Duration::from_millis(u64::from(left)),
                idle_ms: now_ms.wrapping_sub(note.seen),
                ..note.connection
            };
            tell(Event {
                change: note.change,
                at: now,
                connection: connection.into(),
            });
        }
        std::mem::take(&mut journal.lost)
    }
}

impl Conntrack {
    /// Starts noting changes into `journals`, or with `None` stops; gives back what was used so
    /// far.
    pub fn watch(&mut self, journals: Option<Journals>) -> Option<Journals> {
        let (v4, v6) = journals.map(|j| (j.v4, j.v6)).unzip();
        let v4 = std::mem::replace(&mut self.v4.journal, v4);
        let v6 = std::mem::replace(&mut self.v6.journal, v6);
        v4.zip(v6).map(|(v4, v6)| Journals { v4, v6 })
    }

    /// Whether changes are noted.
    pub fn is_watched(&self) -> bool {
        self.v4.journal.is_some()
    }

    /// Tells what was noted since the last call: each family's events in their order, IPv4 first.
    /// How many there was no room to note.
    pub fn take_events(&mut self, now: Tick, mut tell: impl FnMut(Event)) -> u64 {
        self.v4.take_notes(now, &mut tell) + self.v6.take_notes(now, &mut tell)
    }
}
