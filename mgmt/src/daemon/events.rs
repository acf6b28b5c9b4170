//! From the workers' events to lines for whoever watches.
//!
//! Workers tell nothing while nobody watches. The first watcher switches them on before it is let
//! in; when the last one has gone, the thread that carries events switches them off.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;
use turnpike_conntrack::events::{Change, Event};
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::walk::AnyConnection;
use turnpike_engine::events::Told;
use turnpike_engine::gateway::Gateway;
use turnpike_pipeline::program::Program;

use super::connections::row_of;
use super::{Daemon, RunError};
use crate::filter::EventFilter;
use crate::logs::now_ms;
use crate::report::{self, EventsLost};
use crate::running::Unanswered;
use crate::watch::{Hub, QUEUE_MAX, Watching};

/// How often events are fetched from the workers while somebody watches.
const LOOK: Duration = Duration::from_millis(5);
/// How long the thread sleeps at most while nobody does.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// Events of one worker that are passed on before it is the next one's turn.
const EVENTS_PER_ROUND_MAX: usize = 8_192;

/// Whether the workers tell what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    Off,
    On,
    /// Not every worker answered when it was told.
    Unsure,
}

/// What carries events.
pub(super) struct Events {
    pub(super) hub: Arc<Hub>,
    telling: Mutex<Telling>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            hub: Hub::new(QUEUE_MAX, |missed| line(&lost(missed, None))),
            telling: Mutex::new(Telling::Off),
        }
    }
}

impl Events {
    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody watch, with the workers telling from before it returns.
    pub(super) fn watch(
        &self,
        gateway: &Gateway,
        wanted: EventFilter,
    ) -> Result<Watching, Unanswered> {
        let marks = &gateway.program().marks;
        let wanted = wanted.under(marks).map_err(Unanswered::Wrong)?;
        let watching = self.hub.enter(wanted).ok_or_else(Unanswered::stopping)?;
        let mut telling = self.telling();
        if *telling != Telling::On {
            *telling = Telling::Unsure;
            for worker in workers(gateway) {
                let on = gateway.watch(worker);
                on.map_err(|e| Unanswered::worker(worker, e))?;
            }
            *telling = Telling::On;
        }
        Ok(watching)
    }

    /// Has the workers tell nothing any more if nobody watches. A worker that does not answer is
    /// asked again next time.
    fn switch_off_if_unwatched(&self, gateway: &Gateway) {
        let mut telling = self.telling();
        if *telling != Telling::Off && self.hub.is_empty() {
            let quiet = workers(gateway).all(|worker| gateway.unwatch(worker).is_ok());
            *telling = if quiet { Telling::Off } else { Telling::Unsure };
        }
    }

    /// Passes on what the workers have told.
    fn pass_on(&self, gateway: &Gateway) {
        let program = gateway.program();
        for worker in workers(gateway) {
            let wall = Wall {
                now: gateway.clock().now(),
                now_ms: now_ms(),
            };
            for _ in 0..EVENTS_PER_ROUND_MAX {
                match gateway.next_event(worker) {
                    Some(Told::Event(event)) => self.hub.publish(
                        1,
                        |wanted| wanted.wants(worker, event.change, &event.connection),
                        || line(&record(worker, &event, wall, &program)),
                    ),
                    Some(Told::Lost(events)) => {
                        let record = lost(events, Some(u16::from(worker.0)));
                        self.hub.publish(events, |_| true, || line(&record));
                    }
                    None => break,
                }
            }
        }
        self.hub.tell_missed();
    }
}

impl Daemon {
    /// Carries events until the gateway stops.
    pub(super) fn carry_events(self: &Arc<Self>) -> Result<thread::JoinHandle<()>, RunError> {
        let daemon = Arc::clone(self);
        let carry = move || {
            while !daemon.stopping.load(Ordering::Relaxed) {
                if let Some(gateway) = daemon.gateway().as_ref() {
                    daemon.events.switch_off_if_unwatched(gateway);
                    daemon.events.pass_on(gateway);
                }
                daemon.events.hub.rest(LOOK, IDLE_LOOK);
            }
        };
        let thread = thread::Builder::new().name("tp-events".into()).spawn(carry);
        thread.map_err(|source| RunError::System {
            what: "no thread for events",
            source,
        })
    }
}

fn workers(gateway: &Gateway) -> impl Iterator<Item = WorkerId> {
    let count = u8::try_from(gateway.worker_count()).unwrap_or(u8::MAX);
    (0..count).map(WorkerId)
}

/// The same moment by the gateway's clock and by the wall's.
#[derive(Debug, Clone, Copy)]
struct Wall {
    now: Tick,
    now_ms: u64,
}

impl Wall {
    /// Milliseconds since 1970.
    fn ms(self, at: Tick) -> u64 {
        let age = self.now.since(at).as_millis();
        self.now_ms
            .saturating_sub(u64::try_from(age).unwrap_or(u64::MAX))
    }
}

fn record(worker: WorkerId, event: &Event, wall: Wall, program: &Program) -> report::Event {
    let start_secs = match &event.connection {
        AnyConnection::V4(connection) => connection.start_secs,
        AnyConnection::V6(connection) => connection.start_secs,
    };
    report::Event {
        event: event.change.name().to_owned(),
        time_ms: wall.ms(event.at),
        cause: match event.change {
            Change::Destroy(cause) => Some(cause.name().to_owned()),
            Change::New | Change::Update => None,
        },
        started_at: wall.ms(Tick::from_secs(u64::from(start_secs))) / 1_000,
        connection: row_of(worker, &event.connection, event.at.as_secs(), program),
    }
}

fn lost(events: u64, worker: Option<u16>) -> EventsLost {
    EventsLost {
        event: "lost".to_owned(),
        time_ms: now_ms(),
        events,
        worker,
    }
}

/// A record as one line of JSON.
fn line(record: &impl Serialize) -> Bytes {
    // Plain data: there is nothing in it that JSON could not say.
    let mut text = serde_json::to_vec(record).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_as_long_ago_by_the_wall_as_by_the_clock() {
        let wall = Wall {
            now: Tick::from_millis(7_500),
            now_ms: 1_700_000_000_000,
        };
        assert_eq!(wall.ms(Tick::from_millis(7_000)), 1_699_999_999_500);
        assert_eq!(wall.ms(Tick::from_millis(9_000)), 1_700_000_000_000);
    }

    #[test]
    fn a_loss_is_a_line_that_says_where() {
        let text = |lost: &EventsLost| String::from_utf8(line(lost).into()).unwrap();
        let at_worker = EventsLost {
            time_ms: 5,
            ..lost(3, Some(1))
        };
        assert_eq!(
            text(&at_worker),
            "{\"event\":\"lost\",\"time-ms\":5,\"events\":3,\"worker\":1}\n"
        );
        assert!(!text(&lost(3, None)).contains("worker"));
    }
}
