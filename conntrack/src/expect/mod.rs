//! Expectations: connections that others have announced, and that are related when they come.
//!
//! A helper reads in a control connection, its *master*, that another connection is about to be
//! opened, and says so to [`Expectations::expect`]. The table is shared by all workers and of fixed
//! size. Workers look into it on a lookup miss only, take no lock and never wait: see `slots`.
//!
//! **Visible before the packet leaves.** `expect` publishes with a release store and ends with a
//! sequentially consistent fence. What announces the connection is sent after `expect` has
//! returned; its answer cannot arrive at any worker before it was sent, and that worker's loads,
//! the one of the length included, come after the stores in the one order that memory has.
//!
//! **Taken once.** A worker finds an expectation when it judges a first packet, and takes it by one
//! compare-and-swap when it enters the connection. Two workers that have found the same one cannot
//! both take it. A packet that the rules refuse takes nothing.
//!
//! **Ends with its master.** When a master ends, what it has announced is found no more, at once
//! (see `masters`). Places and ports of expectations that have ended are given back by the next
//! one that needs the place, or by [`sweep`](Expectations::sweep).

mod codec;
mod kinds;
pub(crate) mod masters;
mod slots;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam::utils::CachePadded;

use crate::hash::HashKey;
use crate::ports::PortClaim;
use crate::time::Tick;
use crate::tuple::{Family, Tuple};

use codec::Content;
pub use codec::Expected;
pub use kinds::{
    Activity, ChildLife, Class, Destination, ExpectError, Expectation, ExpectationCounts,
    Reservation, Source, Uses,
};
use masters::{MASTERS_MAX, Masters};
pub use masters::{MasterId, MasterRef};
use slots::{Head, Phase, Slots};

/// The most expectations at a time.
pub const EXPECTATIONS_MAX: usize = MASTERS_MAX;
/// The most expectations of one master at a time, whatever their classes allow.
pub const MASTER_EXPECTATIONS_MAX: usize = 128;

/// An expectation that was made, named so that a later one in its slot is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpectationId {
    slot: usize,
    head: Head,
}

/// What ended an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fulfilled,
    Expired,
    Orphaned,
    Replaced,
    Withdrawn,
}

#[derive(Debug, Default)]
struct Counters {
    created: AtomicU64,
    matched: AtomicU64,
    refused: AtomicU64,
    ended: [AtomicU64; 5],
}

/// An expectation as the book of its master has it.
#[derive(Debug, Clone, Copy)]
struct Made {
    id: ExpectationId,
    class: u8,
}

/// What a master has announced, oldest first; some of it may have ended since.
type Book = BTreeMap<MasterId, Vec<Made>>;

/// What a taken expectation leaves to the connection that met it.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The master's place, which the connection counts on from now.
    pub(crate) master: u16,
    /// The port it holds from now.
    pub(crate) claim: Option<PortClaim>,
}

/// All expectations of a gateway.
#[derive(Debug)]
pub struct Expectations {
    slots: Slots,
    pub(crate) masters: Masters,
    key: HashKey,
    capacity: usize,
    len: CachePadded<AtomicUsize>,
    counters: CachePadded<Counters>,
    /// For those who make expectations, one at a time; workers never look into it.
    book: Mutex<Book>,
}

impl Expectations {
    /// Room for `capacity` expectations, at least one and at most [`EXPECTATIONS_MAX`], and for as
    /// many masters.
    pub fn new(capacity: usize, key: HashKey) -> Self {
        let capacity = capacity.clamp(1, EXPECTATIONS_MAX);
        Self {
            slots: Slots::new(capacity * 2),
            masters: Masters::new(capacity),
            key,
            capacity,
            len: CachePadded::default(),
            counters: CachePadded::default(),
            book: Mutex::default(),
        }
    }

    /// How many there are, those included that have ended and are not reclaimed yet.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none, so that a miss need not look.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there can be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many connections have announced others, or have children whose master they were.
    pub fn masters(&self) -> usize {
        self.masters.len()
    }

    /// The connection with this name, `None` if it has ended.
    pub fn connection(&self, master: MasterId) -> Option<MasterRef> {
        let connection = self.masters.connection(master.place);
        connection.filter(|_| self.masters.is_live(master))
    }

    /// What has become of them.
    pub fn counts(&self) -> ExpectationCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [fulfilled, expired, orphaned, replaced, withdrawn] =
            self.counters.ended.each_ref().map(read);
        ExpectationCounts {
            created: read(&self.counters.created),
            matched: read(&self.counters.matched),
            refused: read(&self.counters.refused),
            fulfilled,
            expired,
            orphaned,
            replaced,
            withdrawn,
        }
    }

    /// Announces a connection. When this has returned, every worker finds it.
    ///
    /// One of the same master and class that the same packets would meet is replaced, and so is the
    /// oldest of its class if there are too many. Any other that the same packet could meet is
    /// left as it is, and nothing is expected.
    pub fn expect<F: Family>(
        &self,
        master: MasterId,
        class: &Class,
        new: Expectation<F>,
        now: Tick,
    ) -> Result<ExpectationId, ExpectError> {
        let made = self.make(master, class, new, now);
        let counter = match made {
            Ok(_) => &self.counters.created,
            Err(_) => &self.counters.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        made
    }

    fn make<F: Family>(
        &self,
        master: MasterId,
        class: &Class,
        new: Expectation<F>,
        now: Tick,
    ) -> Result<ExpectationId, ExpectError> {
        let (content, claim) = Content::of(new, master, class, now)?;
        let mut book = self.book();
        if book.len() >= self.masters.capacity() {
            book.retain(|master, _| self.masters.is_live(*master));
        }
        let mine = book.entry(master).or_default();
        mine.retain(|made| self.is_alive(made.id, now));
        let of_class = |made: &&Made| made.class == class.number;
        let twin = mine.iter().find(|made| {
            made.class == class.number && self.content(made.id.slot).is_same_match(&content)
        });
        let oldest = mine.iter().find(of_class);
        let in_class = mine.iter().filter(of_class).count();
        let crowded = in_class >= usize::from(class.max_expected.max(1));
        let leaving = twin.or(oldest.filter(|_| crowded)).map(|made| made.id);
        let staying = mine.len() - usize::from(leaving.is_some());
        if staying >= MASTER_EXPECTATIONS_MAX {
            return Err(ExpectError::Full);
        }
        let at = self.place(&content, leaving, now)?;
        if self.len() - usize::from(leaving.is_some()).min(self.len()) >= self.capacity {
            return Err(ExpectError::Full);
        }
        if !self.masters.retain(master) {
            return Err(ExpectError::MasterGone);
        }
        let id = self.fill(at, &content, claim)?;
        if let Some(leaving) = leaving {
            self.end(leaving, End::Replaced);
            mine.retain(|made| made.id != leaving);
        }
        mine.push(Made {
            id,
            class: class.number,
        });
        Ok(id)
    }

    /// A free slot for `content`, unless a packet could meet another expectation as well.
    fn place<F: Family>(
        &self,
        content: &Content<F>,
        leaving: Option<ExpectationId>,
        now: Tick,
    ) -> Result<usize, ExpectError> {
        let home = self.slots.home(content.hash(&self.key));
        let mut free = None;
        for at in self.slots.places(home) {
            let head = self.slots.head(at);
            let id = ExpectationId { slot: at, head };
            let alive = head.is_taken() && self.is_alive(id, now);
            // What is over may be free now, or still in the hands of who ends it.
            match self.slots.head(at).phase() {
                Phase::Free => free = free.or(Some(at)),
                Phase::Inactive | Phase::Active if alive => {
                    let other = self.content::<F>(at);
                    let replaced = leaving.is_some_and(|l| l.slot == at);
                    if !replaced && head.has_print(home.print) && other.overlaps(content) {
                        return Err(ExpectError::Clash);
                    }
                }
                Phase::Busy | Phase::Inactive | Phase::Active => {}
            }
        }
        free.ok_or(ExpectError::Full)
    }

    /// Puts `content` into a free slot; its master is counted on already.
    fn fill<F: Family>(
        &self,
        at: usize,
        content: &Content<F>,
        claim: Option<PortClaim>,
    ) -> Result<ExpectationId, ExpectError> {
        let free = self.slots.head(at);
        if free.phase() != Phase::Free || !self.slots.seize(at, free) {
            self.masters.release(content.master.place);
            return Err(ExpectError::Full);
        }
        let print = self.slots.home(content.hash(&self.key)).print;
        let phase = match content.activity {
            Activity::Active => Phase::Active,
            Activity::Inactive => Phase::Inactive,
        };
        let ports = claim.and_then(PortClaim::keep).map(|(ports, _, _)| ports);
        self.len.fetch_add(1, Ordering::Relaxed);
        let words = content.words();
        let head = self.slots.publish(at, free, (print, phase), &words, ports);
        Ok(ExpectationId { slot: at, head })
    }

    /// The expectation that the first packet of a connection meets.
    pub fn find<F: Family>(&self, tuple: &Tuple<F>, now: Tick) -> Option<Expected<F>> {
        if self.is_empty() {
            return None;
        }
        let hash = codec::hash::<F>(&self.key, tuple.proto, tuple.dst, tuple.dst_port);
        let home = self.slots.home(hash);
        self.slots.places(home).find_map(|at| {
            let head = self.slots.head(at);
            if head.phase() != Phase::Active || !head.has_print(home.print) {
                return None;
            }
            let content = Content::<F>::from_words(&self.slots.read_as(at, head)?);
            let met = content.is_met_by(tuple)
                && content.deadline > now
                && self.masters.is_live(content.master);
            let id = ExpectationId { slot: at, head };
            met.then(|| Expected::new(&content, id))
        })
    }

    /// Takes what [`find`](Self::find) has found; `None` if it has gone meanwhile.
    pub(crate) fn take<F: Family>(&self, expected: &Expected<F>) -> Option<Taken> {
        let ExpectationId { slot, head } = expected.id;
        let master = expected.master;
        match expected.uses {
            Uses::UntilTimeout => {
                let mine = self.slots.head(slot) == head && self.masters.retain(master);
                if !mine {
                    return None;
                }
                self.counters.matched.fetch_add(1, Ordering::Relaxed);
                Some(Taken {
                    master: master.place,
                    claim: None,
                })
            }
            Uses::Once => {
                if !self.slots.seize(slot, head) {
                    return None;
                }
                if self.masters.has_ended(master.place) {
                    self.vacate(slot, head, End::Orphaned);
                    return None;
                }
                let claim = self.claim(slot);
                self.counters.matched.fetch_add(1, Ordering::Relaxed);
                self.leave(slot, head, End::Fulfilled);
                Some(Taken {
                    master: master.place,
                    claim,
                })
            }
        }
    }

    /// Lets an inactive expectation be met, until `deadline`; whether it was still there.
    pub fn activate(&self, id: ExpectationId, deadline: Tick) -> bool {
        let _makers = self.book();
        self.set_deadline(id, deadline)
            && (self
                .slots
                .change(id.slot, id.head.with(Phase::Inactive), Phase::Active)
                || self.slots.head(id.slot) == id.head.with(Phase::Active))
    }

    /// Lets an expectation wait until `deadline`; whether it was still there.
    pub fn refresh(&self, id: ExpectationId, deadline: Tick) -> bool {
        let _makers = self.book();
        self.set_deadline(id, deadline)
    }

    /// Slots change hands only while the book is held, so the word is this expectation's, or
    /// nobody's.
    fn set_deadline(&self, id: ExpectationId, deadline: Tick) -> bool {
        let is_there = || {
            let head = self.slots.head(id.slot);
            head.is_taken() && head.same_content(id.head)
        };
        if !is_there() {
            return false;
        }
        let deadline = deadline.as_micros();
        self.slots.set_word(id.slot, codec::DEADLINE, deadline);
        is_there()
    }

    /// Ends an expectation; whether it was still there.
    pub fn withdraw(&self, id: ExpectationId) -> bool {
        self.end(id, End::Withdrawn)
    }

    /// Reclaims those that have timed out or lost their master, looking at `budget` slots from
    /// `from` on; where to go on.
    pub fn sweep(&self, from: usize, budget: usize, now: Tick) -> usize {
        if self.is_empty() {
            return from;
        }
        let slots = self.slots.len();
        for n in 0..budget.min(slots) {
            let slot = (from + n) % slots;
            let head = self.slots.head(slot);
            if head.is_taken() {
                self.is_alive(ExpectationId { slot, head }, now);
            }
        }
        (from + budget) % slots
    }

    /// Whether an expectation can be met, now or later. One that cannot any more is ended.
    fn is_alive(&self, id: ExpectationId, now: Tick) -> bool {
        let ExpectationId { slot, .. } = id;
        let head = self.slots.head(slot);
        if !head.is_taken() || !head.same_content(id.head) {
            return false;
        }
        let master = codec::master(self.slots.word(slot, codec::MASTER));
        let over = || Tick::from_micros(self.slots.word(slot, codec::DEADLINE)) <= now;
        let end = if !self.masters.is_live(master) {
            End::Orphaned
        } else if over() {
            End::Expired
        } else {
            return true;
        };
        if !self.slots.seize(slot, head) {
            return false;
        }
        // A refresh may have come in between.
        if end == End::Expired && !over() {
            self.slots.restore(slot, head);
            return true;
        }
        self.vacate(slot, head, end);
        false
    }

    /// Ends an expectation whatever its phase; whether it was still there.
    fn end(&self, id: ExpectationId, end: End) -> bool {
        [Phase::Active, Phase::Inactive].into_iter().any(|phase| {
            let head = id.head.with(phase);
            let seized = self.slots.seize(id.slot, head);
            if seized {
                self.vacate(id.slot, head, end);
            }
            seized
        })
    }

    /// Empties a slot that the caller owns: port and master are given back.
    fn vacate(&self, slot: usize, head: Head, end: End) {
        let words = self.slots.read(slot);
        let ports = self.slots.take_ports(slot);
        drop(codec::claim(&words, ports));
        let master = codec::master(words.get(codec::MASTER).copied().unwrap_or(0));
        self.masters.release(master.place);
        self.leave(slot, head, end);
    }

    /// Frees a slot that the caller owns and has emptied.
    fn leave(&self, slot: usize, head: Head, end: End) {
        if let Some(counter) = self.counters.ended.get(end as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.slots.free(slot, head);
    }

    /// The port that a slot holds which the caller owns.
    fn claim(&self, slot: usize) -> Option<PortClaim> {
        codec::claim(&self.slots.read(slot), self.slots.take_ports(slot))
    }

    fn content<F: Family>(&self, slot: usize) -> Content<F> {
        Content::from_words(&self.slots.read(slot))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A maker that panicked has left nothing half done that a later one could not prune.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks what holds while nobody else works on the table: no slot is busy, and what was made
    /// is there or has ended.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) -> Result<(), String> {
        let heads = || (0..self.slots.len()).map(|at| self.slots.head(at));
        if heads().any(|head| head.phase() == Phase::Busy) {
            return Err("a slot is busy and nobody works on it".to_owned());
        }
        let taken = heads().filter(|head| head.is_taken()).count();
        if taken != self.len() {
            return Err(format!(
                "{taken} slots are taken, {} are counted",
                self.len()
            ));
        }
        let c = self.counts();
        let gone = c.fulfilled + c.expired + c.orphaned + c.replaced + c.withdrawn;
        if c.created != gone + u64::try_from(taken).unwrap_or(u64::MAX) {
            return Err(format!("{c:?} and {taken} left"));
        }
        Ok(())
    }
}
