//! A worker's thread: its queues in, its pipeline, its queues and rings out.
//!
//! One turn reads the clock once, adopts a new program if there is one, answers a few questions,
//! polls every receive queue and ring for a burst each, and empties the outbox after each. No
//! lock is taken but on transmit queues that a small device makes workers share, once per burst.

use std::sync::{Arc, Mutex, PoisonError};

use arrayvec::ArrayVec;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;
use turnpike_pipeline::buffer::Buffer;
use turnpike_pipeline::burst::BURST_MAX;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{IfaceId, PortId};
use turnpike_pipeline::outbox::{Departure, Handover, Outbox};
use turnpike_pipeline::worker::Worker;

use crate::clock::Clock;
use crate::distribute::{Distributor, SAMPLE_INTERVAL, Spread, is_predictable};
use crate::events::Teller;
use crate::exchange::{Exchange, Phase};
use crate::idle::{Idle, Polled};
use crate::load::LoopLoad;
use crate::mailbox::Mailbox;
use crate::mbuf::Mbuf;
use crate::port::{RxQueue, TxQueue};
use crate::publish::Subscription;

/// How often a worker looks after its tables, in microseconds.
const HOUSEKEEPING_US: u64 = 1_000;

/// Messages of the slow path that are taken in one turn.
const MESSAGES_PER_TURN_MAX: usize = 64;

/// A receive queue that a worker polls.
#[derive(Debug)]
pub(crate) struct RxShare {
    port: PortId,
    queue: RxQueue,
    spread: Arc<Spread>,
    /// Packets until the next one is checked.
    until_sample: u32,
}

/// A transmit queue that a worker uses: its own, or one that a small device makes it share.
#[derive(Debug)]
pub(crate) enum TxShare {
    Own(TxQueue),
    Shared(Arc<Mutex<TxQueue>>),
}

/// A port's way out for one worker.
#[derive(Debug)]
pub(crate) struct TxSlot {
    queue: TxShare,
    pending: ArrayVec<Mbuf, BURST_MAX>,
    /// Of each pending frame its interface and length: the device keeps the frames it takes.
    notes: ArrayVec<(IfaceId, usize), BURST_MAX>,
}

impl TxSlot {
    pub fn new(queue: TxShare) -> Self {
        Self {
            queue,
            pending: ArrayVec::new(),
            notes: ArrayVec::new(),
        }
    }

    /// Puts a frame behind the others, making room first if it can; gives it back if it cannot.
    fn add(&mut self, departure: Departure<Mbuf>, worker: &Worker<Mbuf>) -> Result<(), Mbuf> {
        if self.pending.is_full() {
            self.send(worker);
        }
        let note = (departure.interface, departure.buf.frame_len());
        self.pending
            .try_push(departure.buf)
            .map_err(|full| full.element())?;
        self.notes.push(note);
        Ok(())
    }

    /// Sends what is pending; what the device did not take stays.
    fn send(&mut self, worker: &Worker<Mbuf>) {
        match &mut self.queue {
            TxShare::Own(queue) => queue.transmit(&mut self.pending),
            TxShare::Shared(queue) => queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .transmit(&mut self.pending),
        };
        let taken = self.notes.len() - self.pending.len();
        for (interface, bytes) in self.notes.drain(..taken) {
            worker.sent(interface, bytes);
        }
    }
}

/// Everything a worker's thread works with.
pub(crate) struct WorkerLoop {
    pub id: WorkerId,
    pub worker: Worker<Mbuf>,
    pub rx: Vec<RxShare>,
    /// By port number.
    pub tx: Vec<TxSlot>,
    pub exchange: Arc<Exchange>,
    pub program: Subscription,
    pub mailbox: Arc<Mailbox<Worker<Mbuf>>>,
    pub load: Arc<LoopLoad>,
    pub clock: Clock,
    pub idle: Idle,
    pub out: Outbox<Mbuf>,
    /// What goes on although the slow path had no room for it.
    pub unread: Outbox<Mbuf>,
    pub teller: Teller,
}

impl WorkerLoop {
    /// Runs until the gateway ends.
    pub fn run(mut self) {
        let mut housekept = self.clock.now();
        let mut now = housekept;
        loop {
            let phase = self.exchange.phase();
            if phase == Phase::Ending {
                break;
            }
            self.adopt();
            let answered = self.mailbox.serve(&mut self.worker);
            let mut packets = match phase {
                Phase::Running => self.poll_ports(now),
                Phase::Draining | Phase::Ending => 0,
            };
            packets += self.take_over(now);
            packets += self.resume(now);
            if now.as_micros() - housekept.as_micros() >= HOUSEKEEPING_US {
                self.worker.housekeeping(now);
                housekept = now;
            }
            self.tell_events();
            let ended = self.clock.now();
            self.load.turn(packets, now, ended);
            let polled = match packets + answered {
                0 => Polled::Nothing,
                _some => Polled::Work,
            };
            self.idle.after(polled).take();
            now = self.clock.now();
        }
        self.worker.fold();
        self.mailbox.close();
    }

    fn adopt(&mut self) {
        if let Some(program) = self.program.changed() {
            self.worker.adopt(program);
            self.program.confirm();
        }
    }

    /// A burst from each receive queue.
    fn poll_ports(&mut self, now: Tick) -> usize {
        let mut packets = 0;
        let mut frames: ArrayVec<Mbuf, BURST_MAX> = ArrayVec::new();
        for at in 0..self.rx.len() {
            let Some(share) = self.rx.get_mut(at) else {
                break;
            };
            let received = share.queue.receive(&mut frames);
            if received == 0 {
                continue;
            }
            packets += received;
            let port = share.port;
            match share.spread.distributor() {
                Distributor::Nobody => {}
                Distributor::Device => {
                    share.check(&mut frames, &self.worker, self.id);
                }
                Distributor::Software => {
                    self.worker.distribute(port, &mut frames, &mut self.out);
                }
            }
            self.worker.receive(port, &mut frames, now, &mut self.out);
            self.flush();
        }
        packets
    }

    /// A burst of what other workers handed over.
    fn take_over(&mut self, now: Tick) -> usize {
        let mut frames: ArrayVec<Handover<Mbuf>, BURST_MAX> = ArrayVec::new();
        let Some(ring) = self.exchange.handover_to(self.id) else {
            return 0;
        };
        let taken = ring.pop_burst(&mut frames);
        if taken > 0 {
            self.worker.take_over(&mut frames, now, &mut self.out);
            self.flush();
        }
        taken
    }

    /// Some of what the slow path sent.
    fn resume(&mut self, now: Tick) -> usize {
        let mut taken = 0;
        while taken < MESSAGES_PER_TURN_MAX {
            let ring = self.exchange.back_to(self.id);
            let Some(message) = ring.and_then(|ring| ring.pop()) else {
                break;
            };
            self.worker.resume(message, now, &mut self.out);
            taken += 1;
        }
        if taken > 0 {
            self.flush();
        }
        taken
    }

    /// Empties the outbox, and again what goes on because the slow path had no room for it.
    fn flush(&mut self) {
        self.empty_outbox();
        if !self.unread.tx.is_empty() || !self.unread.punts.is_empty() {
            std::mem::swap(&mut self.out, &mut self.unread);
            self.empty_outbox();
        }
    }

    /// Empties the outbox: frames to devices, handovers and punts to rings.
    fn empty_outbox(&mut self) {
        for departure in self.out.tx.drain(..) {
            match self.tx.get_mut(usize::from(departure.port.0)) {
                Some(slot) => {
                    if let Err(refused) = slot.add(departure, &self.worker) {
                        self.worker.count_drop(refused, DropReason::TxQueueFull);
                    }
                }
                None => self
                    .worker
                    .count_drop(departure.buf, DropReason::InterfaceDown),
            }
        }
        for slot in &mut self.tx {
            if slot.pending.is_empty() {
                continue;
            }
            slot.send(&self.worker);
            slot.notes.clear();
            for unsent in slot.pending.drain(..) {
                self.worker.count_drop(unsent, DropReason::TxQueueFull);
            }
        }
        for (owner, handover) in self.out.handover.drain(..) {
            let refused = match self.exchange.handover_to(owner) {
                Some(ring) => ring.push(handover).err(),
                None => Some(handover),
            };
            if let Some(handover) = refused {
                self.worker
                    .count_drop(handover.buf, DropReason::HandoverRingFull);
            }
        }
        for punt in self.out.punts.drain(..) {
            let refused = match self.exchange.punts_of(self.id) {
                // Whoever only looks on leaves room for what cannot do without.
                Some(ring) if punt.kind.is_copy() && ring.len() > ring.capacity() / 2 => Some(punt),
                Some(ring) => ring.push(punt).err(),
                None => Some(punt),
            };
            // A notice is about a packet that was counted as dropped already.
            if let Some(punt) = refused.filter(|punt| !punt.kind.is_notice())
                && let Err(buf) = self.worker.pass_unread(punt, &mut self.unread)
            {
                self.worker.count_drop(buf, DropReason::SlowPathRingFull);
            }
        }
        for event in self.out.logs.drain(..) {
            self.exchange.log(event);
        }
        self.tell_events();
    }

    /// Tells management what happened to connections, if it wants to know.
    fn tell_events(&mut self) {
        let (worker, teller) = (&mut self.worker, &mut self.teller);
        let Some(feed) = self.exchange.events_of(self.id) else {
            return;
        };
        match worker.take_events(|event| teller.tell(feed, event)) {
            Some(unnoted) => {
                teller.lose(feed, unnoted);
                teller.say_what_was_lost(feed);
            }
            None => teller.hush(),
        }
    }
}

impl RxShare {
    pub fn new(port: PortId, queue: RxQueue, spread: Arc<Spread>) -> Self {
        Self {
            port,
            queue,
            spread,
            until_sample: SAMPLE_INTERVAL,
        }
    }

    /// Checks one in [`SAMPLE_INTERVAL`] packets against the software's prediction.
    fn check(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST_MAX>,
        worker: &Worker<Mbuf>,
        id: WorkerId,
    ) {
        let received = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        if self.until_sample > received {
            self.until_sample -= received;
            return;
        }
        self.until_sample = SAMPLE_INTERVAL;
        if let Some(frame) = frames.iter_mut().find(|frame| is_predictable(*frame))
            && worker.owner_of(self.port, frame) != id
        {
            self.spread.distrust();
        }
    }
}
