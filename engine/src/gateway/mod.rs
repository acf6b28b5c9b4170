//! A running gateway: ports, workers, the slow path, and a handle for management.
//!
//! [`Gateway::start`] opens the ports, lets the caller compile a program for them, and starts the
//! threads. The handle publishes programs, reads counters, asks workers, and stops. Stopping
//! drains: nothing is received any more, what is inside leaves or is counted, then devices close.

mod assembly;
mod available;
mod config;
mod connections;
mod found;
mod status;

use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::tracker::{Capacity, Conntrack, Shared};
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::log::LogEvent;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::Outbox;
use turnpike_pipeline::program::Program;
use turnpike_pipeline::rules::rates::meters::Meters;
use turnpike_pipeline::slowpath::{SlowOutbox, SlowPath, SlowPathSetup};
use turnpike_pipeline::wall::Wall;
use turnpike_pipeline::worker::{Keep, Worker, WorkerSetup};

pub use crate::exchange::RingSizes;
pub use config::{GatewayConfig, PacketMemory, PortSpec, StartError};
pub use connections::{
    AnyConnection, AnyFlow, Cursor, FLUSH_MAX, Page, Survey, Surveyed, Tally, WALK_MAX,
};
pub use found::{AnyGraft, Found};
pub use status::{Expectations, LogLosses, PortStatus, SlowPathStatus, Status, WorkerStatus};

use crate::clock::Clock;
use crate::eal::{Eal, EalConfig};
use crate::events::Teller;
use crate::exchange::{Exchange, Phase};
use crate::hugepages::Memory;
use crate::idle::Idle;
use crate::load::{LoadReading, LoopLoad};
use crate::mailbox::{AskError, Mailbox};
use crate::mbuf::Mbuf;
use crate::mempool::MbufPool;
use crate::port::is_pci;
use crate::publish::{NotAdopted, Publisher, Subscription};
use crate::slowpath::SlowPathLoop;
use crate::worker::WorkerLoop;
use assembly::{Berth, Keys, Pools, SpreadPort, WorkerQueues};

/// How long stopping waits for what is inside to leave.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How often stopping looks whether everything has left.
const DRAIN_LOOK: Duration = Duration::from_millis(2);

/// A running gateway. Stop it with [`Gateway::stop`]; dropping it stops it, too.
#[derive(Debug)]
pub struct Gateway {
    threads: Vec<JoinHandle<()>>,
    workers: Vec<WorkerHandle>,
    slow_path: SlowPathHandle,
    ports: Vec<SpreadPort>,
    facts: Vec<PortFacts>,
    publisher: Arc<Publisher>,
    exchange: Arc<Exchange>,
    shared: Arc<Shared>,
    clock: Clock,
    warnings: Vec<String>,
    memory: Memory,
    pools: Vec<MbufPool>,
    eal: Eal,
}

/// What the handle keeps of a worker.
#[derive(Debug)]
struct WorkerHandle {
    core: usize,
    counters: Arc<WorkerCounters>,
    load: Arc<LoopLoad>,
    mailbox: Arc<Mailbox<Worker<Mbuf>>>,
}

/// What the handle keeps of the slow path.
#[derive(Debug)]
struct SlowPathHandle {
    core: Option<usize>,
    counters: Arc<WorkerCounters>,
    load: Arc<LoopLoad>,
    mailbox: Arc<Mailbox<SlowPath<MbufPool>>>,
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Packet buffers that never came back; zero unless there is a defect.
    pub buffers_lost: usize,
}

/// What all threads are made from.
struct Common {
    publisher: Arc<Publisher>,
    exchange: Arc<Exchange>,
    shared: Arc<Shared>,
    keys: Keys,
    clock: Clock,
    wall: Arc<Wall>,
}

impl Gateway {
    /// Opens the ports, has `compile` make a program for them, and starts forwarding.
    ///
    /// A `PortId` of the program is an index into both `config.ports` and the facts.
    pub fn start(
        config: &GatewayConfig,
        compile: impl FnOnce(&[PortFacts]) -> Arc<Program>,
    ) -> Result<Self, StartError> {
        let mut usable: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .iter()
            .map(|core| core.id)
            .collect();
        usable.sort_unstable();
        let workers = config.check(&usable)?;
        let budget = config.budget(workers)?;
        config.fits(&budget)?;
        let keys = Keys::draw()?;
        let started = Eal::start(&EalConfig {
            hugepages: config.hugepages,
            memory_mb: budget.memory_mb,
            pci_devices: config
                .ports
                .iter()
                .map(|port| port.device.clone())
                .filter(|device| is_pci(device))
                .collect(),
        })?;
        let mut pools = Pools::new(&started.eal, started.memory, budget.buffers);
        let wiring = assembly::wire(config, workers, &mut pools)?;
        let slow_pool = pools.on(None)?;
        let program = compile(&wiring.facts);
        let (clock, wall) = (Clock::start(), Arc::<Wall>::default());
        clock.set(&wall);
        // An empty table has room for all that a configuration may hold.
        program.lists.enter(None, clock.now());
        let common = Common {
            // The slow path subscribes behind the workers.
            publisher: Arc::new(Publisher::new(program, usize::from(workers) + 1)),
            exchange: Arc::new(Exchange::new(&config.rings, workers)),
            shared: Arc::new(Shared::new(config.max_connections, keys.shared)),
            keys,
            clock,
            wall,
        };
        let mut crew = Crew::default();
        for (number, queues) in (0..workers).zip(wiring.queues) {
            crew.add_worker(WorkerId(number), config, queues, &common, &started.eal)?;
        }
        let slow_path = crew.add_slow_path(workers, config, slow_pool, &common, &started.eal)?;
        Ok(Self {
            threads: crew.set_off(),
            workers: std::mem::take(&mut crew.workers),
            slow_path,
            ports: wiring.ports,
            facts: wiring.facts,
            publisher: common.publisher,
            exchange: common.exchange,
            shared: common.shared,
            clock: common.clock,
            warnings: started.warnings,
            memory: started.memory,
            pools: pools.into_vec(),
            eal: started.eal,
        })
    }

    /// What should be known about the start and was no reason to refuse: sentences for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The ports as a program is compiled for them.
    pub fn facts(&self) -> &[PortFacts] {
        &self.facts
    }

    /// How many workers there are.
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// The program published last.
    pub fn program(&self) -> Arc<Program> {
        self.publisher.current()
    }

    /// Makes `program` the one that judges, from each worker's next burst on.
    ///
    /// Returns how many of its list entries with a timeout there was no room for.
    pub fn publish(&self, program: Arc<Program>) -> usize {
        self.lend_meters(&program);
        let before = self.publisher.current();
        let refused = program.lists.enter(Some(&before.lists), self.clock.now());
        self.publisher.publish(program);
        refused
    }

    /// The same for a program that comes back: its lists have their members still, so no entry
    /// with a timeout begins anew.
    pub fn publish_back(&self, program: Arc<Program>) {
        self.lend_meters(&program);
        self.publisher.publish(program);
    }

    /// Makes what workers need for a program's questions about the speed of connections, so that
    /// no packet waits for it. A worker that does not answer makes it when it adopts the program.
    fn lend_meters(&self, program: &Program) {
        if !program.needs_meters() {
            return;
        }
        for worker in (0..=u8::MAX).map(WorkerId).take(self.workers.len()) {
            let lacking = self.ask_worker(worker, |worker| worker.meters_lacking());
            let Ok(Some([v4, v6])) = lacking else {
                continue;
            };
            let meters = (Meters::new(v4), Meters::new(v6));
            // Without an answer in time it makes its own.
            let _lent = self.ask_worker(worker, move |worker| worker.lend_meters(meters));
        }
    }

    /// Takes away the members of lists that the current program has not: once every thread runs it,
    /// and none that has them can come back.
    pub fn forget_gone_lists(&self) {
        self.program().lists.forget_gone(self.clock.now());
    }

    /// Waits until every thread runs the program published last.
    pub fn wait_adopted(&self, timeout: Duration) -> Result<(), NotAdopted> {
        self.publisher.wait_adopted(timeout)
    }

    /// What its workers share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The time by the gateway's clock, as connections and log events have it.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The oldest log event that nobody has taken yet.
    pub fn next_log(&self) -> Option<LogEvent> {
        self.exchange.next_log()
    }

    /// Runs `question` on a worker between two bursts and returns what it returns.
    ///
    /// Packets wait meanwhile, so it must be short.
    pub fn ask_worker<R: Send + 'static>(
        &self,
        worker: WorkerId,
        question: impl FnOnce(&mut Worker<Mbuf>) -> R + Send + 'static,
    ) -> Result<R, AskError> {
        let worker = self
            .workers
            .get(usize::from(worker.0))
            .ok_or(AskError::NoAnswer)?;
        worker.mailbox.ask(question)
    }

    /// Runs `question` on the slow path between two packets and returns what it returns.
    pub fn ask_slow_path<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut SlowPath<MbufPool>) -> R + Send + 'static,
    ) -> Result<R, AskError> {
        self.slow_path.mailbox.ask(question)
    }

    /// Stops: drains, ends the threads, closes the ports, gives DPDK's memory back.
    pub fn stop(mut self) -> Stopped {
        self.end_threads();
        self.ports.clear();
        Stopped {
            buffers_lost: self.eal.buffers_in_use(),
        }
    }

    fn end_threads(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.exchange.enter(Phase::Draining);
        let deadline = Instant::now() + DRAIN_MAX;
        while !self.is_drained(deadline) && Instant::now() < deadline {
            thread::sleep(DRAIN_LOOK);
        }
        self.exchange.enter(Phase::Ending);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; the others still end.
            let _panicked = thread.join();
        }
        // With its thread gone, a worker's counters may be written here.
        self.exchange.clear(|worker| {
            if let Some(worker) = self.workers.get(usize::from(worker.0)) {
                worker.counters.dropped(DropReason::Stopping).add(1);
            }
        });
    }
}

impl Gateway {
    /// Whether nothing is inside any more: the rings are empty, and stay so while every thread
    /// makes a whole turn that finds nothing. A packet in a thread's hands makes its turn a busy
    /// one.
    fn is_drained(&self, deadline: Instant) -> bool {
        if !self.exchange.is_empty() {
            return false;
        }
        let loads = || {
            self.workers
                .iter()
                .map(|w| &w.load)
                .chain([&self.slow_path.load])
        };
        let before: Vec<LoadReading> = loads().map(|load| load.read()).collect();
        // The turn under way, and a whole one.
        let turned =
            |(now, then): (&Arc<LoopLoad>, &LoadReading)| now.read().turns >= then.turns + 2;
        while !loads().zip(&before).all(turned) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(DRAIN_LOOK);
        }
        let idle =
            |(now, then): (&Arc<LoopLoad>, &LoadReading)| now.read().busy_turns == then.busy_turns;
        loads().zip(&before).all(idle) && self.exchange.is_empty()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// Threads that are ready and wait for the word to go.
#[derive(Default)]
struct Crew {
    threads: Vec<JoinHandle<()>>,
    waiting: Vec<mpsc::Sender<()>>,
    workers: Vec<WorkerHandle>,
}

impl Crew {
    fn add_worker(
        &mut self,
        id: WorkerId,
        config: &GatewayConfig,
        queues: WorkerQueues,
        common: &Common,
        eal: &Eal,
    ) -> Result<(), StartError> {
        let number = usize::from(id.0);
        let core = config.workers.get(number).copied().unwrap_or_default();
        let handle = WorkerHandle {
            core,
            counters: Arc::new(WorkerCounters::default()),
            load: Arc::new(LoopLoad::default()),
            mailbox: Arc::new(Mailbox::default()),
        };
        let capacity = Capacity::share(config.max_connections, config.workers.len());
        let (tracking, shared) = (common.keys.tracking, Arc::clone(&common.shared));
        let program = common.publisher.current();
        let subscription = Subscription::new(&common.publisher, number);
        let counters = Arc::clone(&handle.counters);
        let (mailbox, load) = (Arc::clone(&handle.mailbox), Arc::clone(&handle.load));
        let (exchange, clock, idle) = (Arc::clone(&common.exchange), common.clock, config.idle);
        let wall = Arc::clone(&common.wall);
        // Tables are made on the worker's thread, so that their memory is near its core.
        let build = move || WorkerLoop {
            id,
            worker: Worker::new(
                WorkerSetup {
                    id,
                    program,
                    conntrack: Conntrack::new(id, capacity, tracking, shared),
                    counters,
                    neighbours: Neighbours::Learn,
                    keep: Keep::Outcomes,
                    wall,
                },
                (),
            ),
            rx: queues.rx,
            tx: queues.tx,
            exchange,
            program: subscription,
            mailbox,
            load,
            clock,
            idle: Idle::new(idle),
            out: Outbox::default(),
            unread: Outbox::default(),
            teller: Teller::default(),
        };
        self.berth(Berth::of_worker(id, core, eal), build, WorkerLoop::run)?;
        self.workers.push(handle);
        Ok(())
    }

    fn add_slow_path(
        &mut self,
        workers: u8,
        config: &GatewayConfig,
        pool: MbufPool,
        common: &Common,
        eal: &Eal,
    ) -> Result<SlowPathHandle, StartError> {
        let handle = SlowPathHandle {
            core: config.slow_path_core,
            counters: Arc::new(WorkerCounters::default()),
            load: Arc::new(LoopLoad::default()),
            mailbox: Arc::new(Mailbox::default()),
        };
        let setup = SlowPathSetup {
            pool,
            program: common.publisher.current(),
            counters: Arc::clone(&handle.counters),
            workers,
            seed: common.keys.answers,
            shared: Arc::clone(&common.shared),
        };
        let subscription = Subscription::new(&common.publisher, usize::from(workers));
        let counters = Arc::clone(&handle.counters);
        let (mailbox, load) = (Arc::clone(&handle.mailbox), Arc::clone(&handle.load));
        let (exchange, clock, idle) = (Arc::clone(&common.exchange), common.clock, config.idle);
        let wall = Arc::clone(&common.wall);
        let build = move || SlowPathLoop {
            slow: SlowPath::new(setup, ()),
            counters,
            exchange,
            program: subscription,
            mailbox,
            load,
            clock,
            wall,
            idle: Idle::new(idle),
            out: SlowOutbox::default(),
            examined: Default::default(),
            waiting: Default::default(),
            control_news: Default::default(),
        };
        let berth = Berth {
            name: "tp-slow-path".to_owned(),
            core: config.slow_path_core,
            eal: eal.clone(),
        };
        self.berth(berth, build, SlowPathLoop::run)?;
        Ok(handle)
    }

    fn berth<T: 'static>(
        &mut self,
        berth: Berth,
        build: impl FnOnce() -> T + Send + 'static,
        run: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), StartError> {
        let (go, wait) = mpsc::channel();
        self.threads.push(berth.start(wait, build, run)?);
        self.waiting.push(go);
        Ok(())
    }

    /// Lets all threads go at once.
    fn set_off(&mut self) -> Vec<JoinHandle<()>> {
        for go in self.waiting.drain(..) {
            // A thread that is gone cannot be told; stopping will find that out.
            let _gone = go.send(());
        }
        std::mem::take(&mut self.threads)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // After a failed start: threads end when their word to go cannot come any more.
        self.waiting.clear();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}
