//! Masters: connections that have announced others, as every worker can ask about them.
//!
//! Only its owner knows whether a connection lives. So a connection that announces others has a
//! place here, taken by its owner and marked when it ends, in one store and before its entry can
//! be used again: from then on nothing it has announced is found any more, however many there are
//! and whichever worker looks. A place is counted for the connection itself, for each of its
//! expectations and for each child, and is given to another master when the last of them is gone.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::ids::{FlowId, WorkerId};

/// The most masters at a time; places are numbered in 16 bits.
pub(crate) const MASTERS_MAX: usize = NO_MASTER as usize;
/// No place: a connection that nobody has announced and that has announced none.
pub(crate) const NO_MASTER: u16 = u16::MAX;

const ENDED: u64 = 1 << 31;
const REFERENCES: u64 = ENDED - 1;

/// A connection that may announce others, named so that a later one in its place is not taken
/// for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterId {
    pub(crate) place: u16,
    pub(crate) stamp: u32,
}

/// Which connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MasterRef {
    /// The worker that owns it.
    pub worker: WorkerId,
    /// Its IP version, 4 or 6: in which of the worker's tables it is.
    pub version: u8,
    /// Its place in that table.
    pub id: FlowId,
}

/// What a place is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) connection: MasterRef,
    /// The place of the connection that has announced this one, or [`NO_MASTER`].
    pub(crate) parent: u16,
}

impl Node {
    fn word(self) -> u64 {
        let MasterRef {
            worker,
            version,
            id,
        } = self.connection;
        let [a, b] = self.parent.to_be_bytes();
        let [c, d, e, f] = id.0.to_be_bytes();
        u64::from_be_bytes([a, b, worker.0, version, c, d, e, f])
    }

    fn of(word: u64) -> Self {
        let [a, b, worker, version, c, d, e, f] = word.to_be_bytes();
        Self {
            connection: MasterRef {
                worker: WorkerId(worker),
                version,
                id: FlowId(u32::from_be_bytes([c, d, e, f])),
            },
            parent: u16::from_be_bytes([a, b]),
        }
    }
}

#[derive(Debug, Default)]
struct Place {
    /// A stamp in the high half; then whether the master has ended, and how many count on it.
    state: AtomicU64,
    node: AtomicU64,
}

/// All places.
#[derive(Debug)]
pub(crate) struct Masters {
    places: Box<[Place]>,
    free: ArrayQueue<u16>,
}

impl Masters {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = u16::try_from(capacity.max(1)).unwrap_or(NO_MASTER);
        let free = ArrayQueue::new(usize::from(capacity));
        let places = (0..capacity).map(|place| {
            // There is room: the queue is as long as there are places.
            let _full = free.push(place);
            Place::default()
        });
        Self {
            places: places.collect(),
            free,
        }
    }

    /// A place for a master, counted once for the connection itself; `None` if all are taken.
    pub(crate) fn register(&self, node: Node) -> Option<MasterId> {
        let at = self.free.pop()?;
        let place = self.places.get(usize::from(at))?;
        let stamp = stamp(place.state.load(Ordering::Acquire));
        place.node.store(node.word(), Ordering::Release);
        let state = u64::from(stamp) << 32 | 1;
        place.state.store(state, Ordering::Release);
        Some(MasterId { place: at, stamp })
    }

    /// The name of the master at a place that the caller counts on.
    pub(crate) fn id(&self, at: u16) -> MasterId {
        MasterId {
            place: at,
            stamp: stamp(self.state(at)),
        }
    }

    /// Counts once more on a master; whether it still lives.
    pub(crate) fn retain(&self, master: MasterId) -> bool {
        let Some(place) = self.places.get(usize::from(master.place)) else {
            return false;
        };
        let mut seen = place.state.load(Ordering::Acquire);
        while lives(seen, master.stamp) {
            let swapped = place.state.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Whether a master lives.
    pub(crate) fn is_live(&self, master: MasterId) -> bool {
        lives(self.state(master.place), master.stamp)
    }

    /// Whether the master at a place that the caller counts on has ended.
    pub(crate) fn has_ended(&self, at: u16) -> bool {
        self.state(at) & ENDED != 0
    }

    /// What a place that the caller counts on was taken for.
    pub(crate) fn node(&self, at: u16) -> Option<Node> {
        let place = self.places.get(usize::from(at))?;
        Some(Node::of(place.node.load(Ordering::Acquire)))
    }

    /// The connection at a place that the caller counts on, if it has not ended.
    pub(crate) fn connection(&self, at: u16) -> Option<MasterRef> {
        let node = self.node(at)?;
        (!self.has_ended(at)).then_some(node.connection)
    }

    /// Ends a master: nothing counts on it anew.
    pub(crate) fn end(&self, at: u16) {
        if let Some(place) = self.places.get(usize::from(at)) {
            place.state.fetch_or(ENDED, Ordering::AcqRel);
        }
    }

    /// Counts once less on the master at a place; the last one gives the place back.
    pub(crate) fn release(&self, at: u16) {
        let Some(place) = self.places.get(usize::from(at)) else {
            return;
        };
        let before = place.state.fetch_sub(1, Ordering::AcqRel);
        if before & REFERENCES == 1 {
            // Nobody counts on it, so nobody else writes here until it is taken again.
            let next = u64::from(stamp(before).wrapping_add(1)) << 32;
            place.state.store(next, Ordering::Release);
            // There is room: the queue is as long as there are places.
            let _full = self.free.push(at);
        }
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How many places there are.
    pub(crate) fn capacity(&self) -> usize {
        self.places.len()
    }

    fn state(&self, at: u16) -> u64 {
        let place = self.places.get(usize::from(at));
        place.map_or(ENDED, |place| place.state.load(Ordering::Acquire))
    }
}

fn stamp(state: u64) -> u32 {
    u32::try_from(state >> 32).unwrap_or(0)
}

fn lives(state: u64, expected: u32) -> bool {
    stamp(state) == expected && state & ENDED == 0 && state & REFERENCES != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> Node {
        Node {
            connection: MasterRef {
                worker: WorkerId(3),
                version: 6,
                id: FlowId(id),
            },
            parent: 77,
        }
    }

    #[test]
    fn a_place_is_given_again_only_when_nothing_counts_on_it() {
        let masters = Masters::new(1);
        let first = masters.register(node(0x0fff_fffe)).unwrap();
        assert_eq!(masters.node(first.place), Some(node(0x0fff_fffe)));
        assert!(masters.retain(first));
        assert!(masters.register(node(2)).is_none(), "all are taken");
        masters.end(first.place);
        masters.release(first.place);
        assert!(!masters.retain(first), "it has ended");
        assert!(masters.register(node(2)).is_none(), "a child is left");
        masters.release(first.place);
        let second = masters.register(node(2)).unwrap();
        assert_eq!(second.place, first.place);
        assert!(masters.is_live(second) && !masters.is_live(first));
        assert!(!masters.retain(first), "the name is of the one before");
        assert_eq!(masters.id(second.place), second);
        masters.release(second.place);
        assert_eq!(masters.len(), 0);
    }
}
