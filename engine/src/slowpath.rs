//! The slow path's thread: punts in, messages to workers out.
//!
//! A message that carries a packet and finds its ring full is a counted drop. News of a neighbour
//! must not be lost, or a worker would ask for ever: it waits here until there is room, and only
//! the newest of one neighbour does. What was found of a connection waits, too. News of a control
//! connection must not be lost either, and no packet that was read may overtake it: while some
//! waits, such packets are dropped.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::layer7::streams::Examination;
use turnpike_pipeline::outbox::{FromSlowPath, NeighbourUpdate};
use turnpike_pipeline::slowpath::{SlowOutbox, SlowPath};
use turnpike_pipeline::wall::Wall;

use crate::clock::Clock;
use crate::exchange::{Exchange, Phase};
use crate::idle::{Idle, Polled};
use crate::load::LoopLoad;
use crate::mailbox::Mailbox;
use crate::mbuf::Mbuf;
use crate::mempool::MbufPool;
use crate::publish::Subscription;

/// How often the slow path does what time brings, in microseconds.
const TICK_US: u64 = 10_000;

/// Punts of one worker that are taken in one turn.
const PUNTS_PER_TURN_MAX: usize = 32;

/// News that waits for room in a worker's ring, the newest of each neighbour.
type Waiting = BTreeMap<(WorkerId, IfaceId, IpAddr), NeighbourUpdate>;

/// Everything the slow path's thread works with.
pub(crate) struct SlowPathLoop {
    pub slow: SlowPath<MbufPool>,
    pub counters: Arc<WorkerCounters>,
    pub exchange: Arc<Exchange>,
    pub program: Subscription,
    pub mailbox: Arc<Mailbox<SlowPath<MbufPool>>>,
    pub load: Arc<LoopLoad>,
    pub clock: Clock,
    /// The clock on the wall, which the slow path keeps right for all workers.
    pub wall: Arc<Wall>,
    pub idle: Idle,
    pub out: SlowOutbox<Mbuf>,
    pub waiting: Waiting,
    /// News of control connections that waits for room, in its order.
    pub control_news: VecDeque<(WorkerId, FromSlowPath<Mbuf>)>,
    /// What was found of connections and waits for room: one for each that was looked at, at most.
    pub examined: VecDeque<(WorkerId, Examination)>,
}

impl SlowPathLoop {
    /// Runs until the gateway ends.
    pub fn run(mut self) {
        self.slow.announce(&mut self.out);
        self.flush();
        let mut now = self.clock.now();
        let mut ticked = now;
        loop {
            if self.exchange.phase() == Phase::Ending {
                break;
            }
            self.adopt(now);
            let answered = self.mailbox.serve(&mut self.slow);
            let packets = self.handle_punts(now) + self.slow.read_samples(now, &mut self.out);
            if now.as_micros() - ticked.as_micros() >= TICK_US {
                self.slow.tick(now, &mut self.out);
                self.clock.set(&self.wall);
                ticked = now;
            }
            self.flush();
            let ended = self.clock.now();
            self.load.turn(packets, now, ended);
            let polled = match packets + answered {
                0 => Polled::Nothing,
                _some => Polled::Work,
            };
            self.idle.after(polled).take();
            now = self.clock.now();
        }
        self.mailbox.close();
    }

    fn adopt(&mut self, now: Tick) {
        if let Some(program) = self.program.changed() {
            self.slow.adopt(program, now, &mut self.out);
            self.program.confirm();
        }
    }

    fn handle_punts(&mut self, now: Tick) -> usize {
        let mut handled = 0;
        for ring in self.exchange.punts() {
            for _ in 0..PUNTS_PER_TURN_MAX {
                let Some(punt) = ring.pop() else { break };
                self.slow.handle(punt, now, &mut self.out);
                handled += 1;
            }
        }
        handled
    }

    /// Sends news of control connections that found no room, in its order.
    fn flush_control_news(&mut self) {
        while let Some((worker, news)) = self.control_news.pop_front() {
            let refused = self.exchange.back_to(worker).map(|ring| ring.push(news));
            if let Some(Err(news)) = refused {
                self.control_news.push_front((worker, news));
                break;
            }
        }
    }

    /// Sends what waits and what is new to the workers.
    fn flush(&mut self) {
        while let Some((key, news)) = self.waiting.pop_first() {
            let ring = self.exchange.back_to(key.0);
            if ring.is_some_and(|ring| ring.push(FromSlowPath::Neighbour(news)).is_err()) {
                self.waiting.insert(key, news);
                break;
            }
        }
        self.flush_control_news();
        while let Some((worker, examination)) = self.examined.pop_front() {
            let ring = self.exchange.back_to(worker);
            let message = FromSlowPath::Examined(examination);
            if ring.is_some_and(|ring| ring.push(message).is_err()) {
                self.examined.push_front((worker, examination));
                break;
            }
        }
        for (worker, message) in self.out.to_worker.drain(..) {
            let Some(ring) = self.exchange.back_to(worker) else {
                continue;
            };
            if let FromSlowPath::Neighbour(news) = &message {
                // Older news of this neighbour must not arrive after this.
                self.waiting.remove(&(worker, news.interface, news.address));
            }
            let behind = self.control_news.iter().any(|(to, _)| *to == worker);
            if behind && let FromSlowPath::Control(..) = &message {
                self.control_news.push_back((worker, message));
                continue;
            }
            if behind && let FromSlowPath::Read(..) = &message {
                self.counters.dropped(DropReason::ReturnRingFull).add(1);
                continue;
            }
            match ring.push(message) {
                Ok(()) => {}
                Err(FromSlowPath::Control(master, news)) => {
                    let news = FromSlowPath::Control(master, news);
                    self.control_news.push_back((worker, news));
                }
                Err(FromSlowPath::Neighbour(news)) => {
                    self.waiting
                        .insert((worker, news.interface, news.address), news);
                }
                Err(FromSlowPath::Examined(examination)) => {
                    self.examined.push_back((worker, examination));
                }
                Err(
                    FromSlowPath::Whole(_, buf)
                    | FromSlowPath::Send(_, buf)
                    | FromSlowPath::Forward(_, _, buf)
                    | FromSlowPath::Output(buf)
                    | FromSlowPath::Notice(buf)
                    | FromSlowPath::Copy(buf)
                    | FromSlowPath::Read(_, buf),
                ) => {
                    self.counters.dropped(DropReason::ReturnRingFull).add(1);
                    drop(buf);
                }
            }
        }
    }
}
