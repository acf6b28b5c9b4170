//! Who watches connections, and what they have missed.
//!
//! Each watcher has a queue of lines with a fixed size. Whoever publishes never waits for one: a
//! watcher whose queue is full loses lines, is told how many as soon as there is room, and holds
//! up nobody else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::filter::EventFilter;

/// Lines that wait for one watcher.
pub const QUEUE_MAX: usize = 4_096;

/// Makes the line that tells a watcher how many events it has missed.
type LossLine = fn(u64) -> Bytes;

/// Everybody who watches.
#[derive(Debug)]
pub struct Hub {
    watchers: Mutex<Watchers>,
    /// Somebody came, or nobody may come any more.
    news: Condvar,
    lost: AtomicU64,
    queue: usize,
    loss_line: LossLine,
}

#[derive(Debug, Default)]
struct Watchers {
    present: Vec<Watcher>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Watcher {
    number: u64,
    wanted: EventFilter,
    lines: mpsc::Sender<Bytes>,
    /// Events missed since it was last told how many.
    missed: u64,
}

/// A watcher's end: the lines it is sent, until it goes or the hub closes.
#[derive(Debug)]
pub struct Watching {
    number: u64,
    hub: Arc<Hub>,
    lines: mpsc::Receiver<Bytes>,
}

impl Hub {
    /// A hub without watchers, with room for `queue` lines for each.
    pub fn new(queue: usize, loss_line: LossLine) -> Arc<Self> {
        Arc::new(Self {
            watchers: Mutex::default(),
            news: Condvar::new(),
            lost: AtomicU64::new(0),
            queue,
            loss_line,
        })
    }

    /// Lets somebody watch; `None` once the hub is closed.
    pub fn enter(self: &Arc<Self>, wanted: EventFilter) -> Option<Watching> {
        let mut watchers = self.lock();
        if watchers.closed {
            return None;
        }
        let (sender, lines) = mpsc::channel(self.queue);
        let number = watchers.next;
        watchers.next += 1;
        watchers.present.push(Watcher {
            number,
            wanted,
            lines: sender,
            missed: 0,
        });
        self.news.notify_all();
        Some(Watching {
            number,
            hub: Arc::clone(self),
            lines,
        })
    }

    /// Sends a line that stands for so many events to everybody who wants it. It is made when the
    /// first one does.
    pub fn publish(
        &self,
        events: u64,
        wants: impl Fn(&EventFilter) -> bool,
        make: impl Fn() -> Bytes,
    ) {
        let mut line = None;
        for watcher in &mut self.lock().present {
            if wants(&watcher.wanted) {
                let line = line.get_or_insert_with(&make).clone();
                watcher.send(line, events, self);
            }
        }
    }

    /// Tells those who have missed something, where there is room for that.
    pub fn tell_missed(&self) {
        for watcher in &mut self.lock().present {
            watcher.tell_missed(self);
        }
    }

    /// How many watch.
    pub fn len(&self) -> usize {
        self.lock().present.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events watchers have missed because they were slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits: for so long while somebody watches, else until somebody does, or it closes, or
    /// `idle` has passed.
    pub fn rest(&self, watched: Duration, idle: Duration) {
        let watchers = self.lock();
        if watchers.closed || !watchers.present.is_empty() {
            drop(watchers);
            std::thread::sleep(watched);
            return;
        }
        // Why it woke makes no difference: who rests looks again.
        let _woken = self.news.wait_timeout(watchers, idle);
    }

    /// Ends every watcher's lines and lets nobody in any more.
    pub fn close(&self) {
        let mut watchers = self.lock();
        watchers.closed = true;
        watchers.present.clear();
        self.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        // What holds the lock leaves every watcher whole.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    fn send(&mut self, line: Bytes, events: u64, hub: &Hub) {
        self.tell_missed(hub);
        if self.missed > 0 || matches!(self.lines.try_send(line), Err(TrySendError::Full(_))) {
            self.missed = self.missed.saturating_add(events);
            hub.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    fn tell_missed(&mut self, hub: &Hub) {
        if self.missed > 0 && self.lines.try_send((hub.loss_line)(self.missed)).is_ok() {
            self.missed = 0;
        }
    }
}

impl Watching {
    /// The lines it is sent; they end when the hub closes.
    pub fn lines(&mut self) -> &mut mpsc::Receiver<Bytes> {
        &mut self.lines
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = self.hub.lock();
        watchers.present.retain(|w| w.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(queue: usize) -> Arc<Hub> {
        Hub::new(queue, |missed| format!("missed {missed}").into())
    }

    fn publish(hub: &Hub, line: &str) {
        hub.publish(1, |_| true, || line.to_owned().into());
    }

    fn read(watching: &mut Watching) -> Vec<String> {
        let lines = std::iter::from_fn(|| watching.lines().try_recv().ok());
        lines
            .map(|l| String::from_utf8(l.into()).unwrap())
            .collect()
    }

    #[test]
    fn a_slow_watcher_misses_lines_and_another_gets_them_all() {
        let hub = hub(2);
        let mut slow = hub.enter(EventFilter::default()).unwrap();
        let mut quick = hub.enter(EventFilter::default()).unwrap();
        for line in ["a", "b", "c", "d"] {
            publish(&hub, line);
            assert_eq!(read(&mut quick), [line]);
        }
        assert_eq!(read(&mut slow), ["a", "b"]);
        publish(&hub, "e");
        assert_eq!(read(&mut slow), ["missed 2", "e"]);
        assert_eq!(hub.lost(), 2);
    }

    #[test]
    fn a_missed_line_about_several_events_counts_as_so_many() {
        let hub = hub(1);
        let mut slow = hub.enter(EventFilter::default()).unwrap();
        publish(&hub, "a");
        hub.publish(9, |_| true, || "nine".into());
        assert_eq!(read(&mut slow), ["a"]);
        hub.tell_missed();
        assert_eq!(read(&mut slow), ["missed 9"]);
    }

    #[test]
    fn what_was_missed_is_told_without_another_event() {
        let hub = hub(1);
        let mut slow = hub.enter(EventFilter::default()).unwrap();
        for line in ["a", "b"] {
            publish(&hub, line);
        }
        hub.tell_missed();
        assert_eq!(read(&mut slow), ["a"]);
        hub.tell_missed();
        hub.tell_missed();
        assert_eq!(read(&mut slow), ["missed 1"]);
    }

    #[test]
    fn a_line_is_made_only_for_who_wants_it() {
        let hub = hub(2);
        let mut all = hub.enter(EventFilter::default()).unwrap();
        let mut one = EventFilter::default();
        one.ask("event", "new").unwrap();
        let mut new = hub.enter(one.clone()).unwrap();
        hub.publish(1, |wanted| *wanted != one, || "update".into());
        assert_eq!(read(&mut all), ["update"]);
        assert!(read(&mut new).is_empty());
        hub.publish(1, |_| false, || unreachable!("nobody wants it"));
    }

    #[test]
    fn who_goes_is_forgotten_and_a_closed_hub_lets_nobody_in() {
        let hub = hub(2);
        let first = hub.enter(EventFilter::default()).unwrap();
        let mut second = hub.enter(EventFilter::default()).unwrap();
        drop(first);
        assert_eq!(hub.len(), 1);
        publish(&hub, "a");
        hub.close();
        assert_eq!(read(&mut second), ["a"], "what was sent arrives");
        assert!(second.lines().blocking_recv().is_none(), "and then it ends");
        assert!(hub.enter(EventFilter::default()).is_none());
    }

    #[test]
    fn resting_ends_when_somebody_comes() {
        let hub = hub(2);
        let hub = &hub;
        std::thread::scope(|scope| {
            let long = Duration::from_secs(60);
            let resting = scope.spawn(move || hub.rest(Duration::ZERO, long));
            let _watching = hub.enter(EventFilter::default()).unwrap();
            resting.join().unwrap();
        });
    }
}
