//! What happens to connections, on its way from the workers to management.
//!
//! Each worker has a ring of its own, so that what one worker tells stays in order. A worker never
//! waits: what does not fit is lost, and the loss is told in its place as soon as there is room.

use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_conntrack::events::Event;

use crate::rings::Ring;

/// One thing that a worker tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// What happened to a connection.
    Event(Event),
    /// How many events there was no room for, at this place.
    Lost(u64),
}

/// A worker's events, waiting for management.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: Ring<Told>,
    lost: AtomicU64,
}

impl Feed {
    /// A feed with room for `entries` events.
    pub fn new(entries: usize) -> Self {
        Self {
            ring: Ring::new(entries),
            lost: AtomicU64::new(0),
        }
    }

    /// Takes out the oldest thing told.
    pub fn next(&self) -> Option<Told> {
        self.ring.pop()
    }

    /// How many events were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The worker's end of its feed.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    /// Events lost since the last loss was told.
    unsaid: u64,
}

impl Teller {
    /// Puts an event into the feed, behind the loss of those before it; or loses it.
    pub fn tell(&mut self, feed: &Feed, event: Event) {
        self.say_what_was_lost(feed);
        if self.unsaid > 0 || feed.ring.push(Told::Event(event)).is_err() {
            self.lose(feed, 1);
        }
    }

    /// Counts events that were lost before they came here.
    pub fn lose(&mut self, feed: &Feed, events: u64) {
        if events > 0 {
            self.unsaid = self.unsaid.saturating_add(events);
            feed.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// Tells what was lost, if there is room for that.
    pub fn say_what_was_lost(&mut self, feed: &Feed) {
        if self.unsaid > 0 && feed.ring.push(Told::Lost(self.unsaid)).is_ok() {
            self.unsaid = 0;
        }
    }

    /// Forgets what it has not said: there is nobody any more to say it to.
    pub fn hush(&mut self) {
        self.unsaid = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use turnpike_conntrack::entry::Flags;
    use turnpike_conntrack::events::Change;
    use turnpike_conntrack::ids::{FlowId, Generation};
    use turnpike_conntrack::labels::Layer7;
    use turnpike_conntrack::time::Tick;
    use turnpike_conntrack::tuple::{TuplePair, V4};
    use turnpike_conntrack::walk::Connection;

    fn event(n: u32) -> Event {
        let connection = Connection::<V4> {
            id: FlowId(n),
            pair: TuplePair::default(),
            state: None,
            flags: Flags::CONFIRMED,
            packets: [1, 0],
            bytes: [60, 0],
            timeout: Duration::from_secs(10),
            start_secs: 0,
            mark: 0,
            generation: Generation(1),
            rule: None,
            master: None,
            helper: None,
            layer7: Layer7::Unknown,
            idle_ms: 0,
        };
        Event {
            change: Change::New,
            at: Tick::from_secs(5),
            connection: connection.into(),
        }
    }

    fn all(feed: &Feed) -> Vec<Told> {
        std::iter::from_fn(|| feed.next()).collect()
    }

    #[test]
    fn a_full_ring_loses_events_and_says_so_in_their_place() {
        let feed = Feed::new(2);
        let mut teller = Teller::default();
        for n in 0..5 {
            teller.tell(&feed, event(n));
        }
        assert_eq!(feed.lost(), 3);
        assert_eq!(all(&feed), [0, 1].map(|n| Told::Event(event(n))));
        teller.tell(&feed, event(5));
        assert_eq!(all(&feed), [Told::Lost(3), Told::Event(event(5))]);
        teller.tell(&feed, event(6));
        assert_eq!(all(&feed), [Told::Event(event(6))], "a loss is told once");
        assert_eq!(feed.lost(), 3);
    }

    #[test]
    fn a_loss_that_takes_the_last_room_loses_the_event_behind_it() {
        let feed = Feed::new(2);
        let mut teller = Teller::default();
        for n in 0..3 {
            teller.tell(&feed, event(n));
        }
        assert_eq!(feed.next(), Some(Told::Event(event(0))));
        teller.tell(&feed, event(3));
        assert_eq!(all(&feed), [Told::Event(event(1)), Told::Lost(1)]);
        teller.say_what_was_lost(&feed);
        assert_eq!(all(&feed), [Told::Lost(1)]);
        assert_eq!(feed.lost(), 2);
    }

    #[test]
    fn what_nobody_heard_is_not_told_to_who_comes_later() {
        let feed = Feed::new(2);
        let mut teller = Teller::default();
        teller.lose(&feed, 4);
        teller.hush();
        teller.tell(&feed, event(0));
        assert_eq!(all(&feed), [Told::Event(event(0))]);
        assert_eq!(feed.lost(), 4);
    }
}
