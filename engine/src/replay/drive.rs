//! The replay itself: one worker and one slow path, stepped by the packets of the captures.

use std::path::PathBuf;
use std::sync::Arc;

use arrayvec::ArrayVec;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::{Capacity, Conntrack, Shared};
use turnpike_pipeline::buffer::{Buffer, HeapBuffer, HeapPool};
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::{FromSlowPath, Outbox, Punt, PuntKind};
use turnpike_pipeline::program::Program;
use turnpike_pipeline::slowpath::{SlowOutbox, SlowPath, SlowPathSetup};
use turnpike_pipeline::wall::Wall;
use turnpike_pipeline::witness::{End, Ending};
use turnpike_pipeline::worker::{Worker, WorkerSetup};

use super::assume::{Assumed, assume};
use super::clock::Clock;
use super::connections;
use super::feed::{Fed, Feed};
use super::follow::Leaving;
use super::ledger::{Ledger, Origin, Recorder};
use super::merge::Merge;
use super::output::{OutputDir, VerdictLine};
use super::report::{Books, CountersReport};
use super::{INPUTS_MAX, InputSummary, ReplayConfig, ReplayError, Resolution, Summary};
use crate::explain::compile;
use crate::pcap::{CaptureFile, Captured, MADE_UP_MAC, Precision, Stamp};

const WORKER: WorkerId = WorkerId(0);

/// See [`super::run`].
pub fn run(config: ReplayConfig) -> Result<Summary, ReplayError> {
    if !(1..=INPUTS_MAX).contains(&config.inputs.len()) {
        return Err(ReplayError::Inputs(config.inputs.len()));
    }
    let program = Arc::new(compile(&config.policy, None));
    let feed = Feed::new(&config, &program)?;
    let files: Vec<CaptureFile> = config
        .inputs
        .iter()
        .map(|input| CaptureFile::open(&input.path))
        .collect::<Result<_, _>>()?;
    // Reads the first packet of each, and with it how fine the stamps are.
    let mut merge = Merge::new(files);
    let precision = merge
        .sources()
        .map(CaptureFile::precision)
        .max()
        .unwrap_or_default();
    let first = merge.next_packet();
    let epoch = first
        .as_ref()
        .map_or(Stamp::default(), |(_, packet)| packet.stamp);

    let mut replay = Replay::new(&config, program, feed, epoch, precision)?;
    let mut fed = vec![0_u64; config.inputs.len()];
    let mut next = first;
    while let Some((input, packet)) = next {
        if let Some(count) = fed.get_mut(input) {
            *count += 1;
        }
        replay.packet(input, packet)?;
        next = merge.next_packet();
    }
    let inputs = merge
        .sources()
        .zip(fed)
        .map(|(file, packets)| InputSummary {
            path: file.path().to_owned(),
            packets,
            passed_over: file.passed().packets,
            passed_link_types: file.passed().link_types.clone(),
            damage: file.damage().map(str::to_owned),
        });
    replay.finish(inputs.collect())
}

/// A packet being decided: frames that leave while it is keep its stamp to the nanosecond.
#[derive(Debug, Clone, Copy, Default)]
struct Current {
    token: u64,
    stamp: Stamp,
}

/// A gateway on the heap and everything around it.
struct Replay {
    program: Arc<Program>,
    worker: Worker<HeapBuffer, Recorder>,
    slow_path: SlowPath<HeapPool, Recorder>,
    worker_counters: Arc<WorkerCounters>,
    slow_counters: Arc<WorkerCounters>,
    resolution: Resolution,
    outbox: Outbox<HeapBuffer>,
    slow_outbox: SlowOutbox<HeapBuffer>,
    recorder: Recorder,
    ledger: Ledger,
    feed: Feed,
    clock: Clock,
    current: Current,
    logged: u64,
    /// The inputs' names, if verdict lines have to tell them.
    files: Option<Vec<String>>,
    output: OutputDir,
}

impl Replay {
    fn new(
        config: &ReplayConfig,
        program: Arc<Program>,
        feed: Feed,
        epoch: Stamp,
        precision: Precision,
    ) -> Result<Self, ReplayError> {
        let names = program.interfaces.iter().map(|(_, facts)| &*facts.name);
        let output = OutputDir::create(&config.out_dir, names, precision, &config.inputs)?;
        let recorder = Recorder::default();
        // An empty table has room for all that a configuration may hold.
        program.lists.enter(None, Tick::default());
        let worker_counters = Arc::<WorkerCounters>::default();
        let slow_counters = Arc::<WorkerCounters>::default();
        let shared = Arc::new(Shared::new(config.max_entries, key(config)));
        let setup = WorkerSetup {
            id: WORKER,
            program: Arc::clone(&program),
            conntrack: conntrack(config, &shared),
            counters: Arc::clone(&worker_counters),
            neighbours: match config.resolution {
                Resolution::Assume => Neighbours::Assume(MADE_UP_MAC),
                Resolution::Learn => Neighbours::Learn,
            },
            keep: config.keep,
            wall: Arc::new(Wall::new(epoch.unix_micros())),
        };
        let slow_setup = SlowPathSetup {
            pool: HeapPool,
            program: Arc::clone(&program),
            counters: Arc::clone(&slow_counters),
            workers: 1,
            seed: config.seed,
            shared,
        };
        let name = |path: &PathBuf| path.display().to_string();
        let files = || {
            config
                .inputs
                .iter()
                .map(|input| name(&input.path))
                .collect()
        };
        Ok(Self {
            worker: Worker::new(setup, recorder.clone()),
            slow_path: SlowPath::new(slow_setup, recorder.clone()),
            worker_counters,
            slow_counters,
            resolution: config.resolution,
            outbox: Outbox::default(),
            slow_outbox: SlowOutbox::default(),
            recorder,
            ledger: Ledger::default(),
            files: feed.is_shared().then(files),
            feed,
            clock: Clock::new(epoch),
            current: Current::default(),
            logged: 0,
            output,
            program,
        })
    }

    /// Lets time pass up to a packet, and feeds it.
    fn packet(&mut self, input: usize, packet: Captured) -> Result<(), ReplayError> {
        let Captured {
            stamp,
            index,
            frame,
        } = packet;
        for turn in self.clock.until(stamp) {
            self.clock.set(turn);
            self.turn(turn)?;
        }
        let token = self.current.token + 1;
        let Fed {
            interface,
            port,
            frame,
        } = self.feed.prepare(input, frame, &self.program);
        self.ledger.open(
            token,
            Origin {
                interface,
                index,
                input,
            },
        );
        self.current = Current { token, stamp };
        let mut frames = ArrayVec::new();
        frames.push(HeapBuffer::new(frame, token));
        self.worker
            .receive(port, &mut frames, self.clock.now(), &mut self.outbox);
        self.settle()
    }

    /// One turn of housekeeping; what has expired is gone after it, however much it is.
    fn turn(&mut self, now: Tick) -> Result<(), ReplayError> {
        let mut before = usize::MAX;
        while self.connections() < before {
            before = self.connections();
            self.worker.housekeeping(now);
        }
        self.slow_path.tick(now, &mut self.slow_outbox);
        self.settle()
    }

    fn connections(&self) -> usize {
        let conntrack = self.worker.conntrack();
        conntrack.v4.len() + conntrack.v6.len()
    }

    /// Carries messages between worker and slow path until both have nothing more to say.
    fn settle(&mut self) -> Result<(), ReplayError> {
        let now = self.clock.now();
        loop {
            self.logged += self.outbox.logs.drain(..).count() as u64;
            for departure in std::mem::take(&mut self.outbox.tx) {
                let bytes = departure.buf.frame_len();
                self.worker.sent(departure.interface, bytes);
                let leaving = Leaving {
                    interface: departure.interface,
                    frame: departure.buf.head(),
                    now,
                };
                let conntrack = self.worker.conntrack();
                self.feed.left(leaving, conntrack, &self.program);
                self.sent(departure.interface, &departure.buf)?;
            }
            for (_, handover) in std::mem::take(&mut self.outbox.handover) {
                let mut frames = ArrayVec::new();
                frames.push(handover);
                self.worker.take_over(&mut frames, now, &mut self.outbox);
            }
            for punt in std::mem::take(&mut self.outbox.punts) {
                self.punted(punt, now);
            }
            for (_, message) in std::mem::take(&mut self.slow_outbox.to_worker) {
                self.returned(message, now);
            }
            self.slow_path.read_samples(now, &mut self.slow_outbox);
            self.write_verdicts()?;
            if self.is_quiet() {
                return Ok(());
            }
        }
    }

    fn write_verdicts(&mut self) -> Result<(), ReplayError> {
        let (program, output) = (&self.program, &mut self.output);
        let files = self.files.as_deref();
        self.ledger.settle(&self.recorder, |origin, end| {
            let name = |id: IfaceId| program.interface_name(id);
            output.verdict(&VerdictLine {
                interface: name(origin.interface).unwrap_or_default(),
                index: origin.index,
                verdict: end.ending.name(),
                reason: end.reason.map(|r| r.label()),
                out: end.out.and_then(name),
                connection_state: end.state.map(|s| s.name()),
                rule: end.rule.and_then(|r| program.rule_name(r)),
                file: files.and_then(|f| f.get(origin.input)).map(String::as_str),
            })
        })
    }

    fn is_quiet(&self) -> bool {
        let Outbox {
            tx,
            handover,
            punts,
            logs,
        } = &self.outbox;
        let worker = tx.is_empty() && handover.is_empty() && punts.is_empty() && logs.is_empty();
        worker && self.slow_outbox.to_worker.is_empty()
    }

    fn sent(&mut self, interface: IfaceId, buf: &HeapBuffer) -> Result<(), ReplayError> {
        let (current, now) = (self.current.stamp, self.clock.stamp());
        // What leaves because of the packet being decided has its stamp, to the nanosecond.
        let stamp = if buf.token() == self.current.token {
            current
        } else {
            current.max(now)
        };
        self.output
            .sent(usize::from(interface.0), stamp, buf.head())
    }

    fn punted(&mut self, punt: Punt<HeapBuffer>, now: Tick) {
        let (token, kind) = (punt.buf.token(), punt.kind);
        let noted = self.recorder.len();
        self.slow_path.handle(punt, now, &mut self.slow_outbox);
        match kind {
            PuntKind::Reassemble(_) => self.follow_whole(noted),
            // A packet that was cut up has left, though not as itself.
            PuntKind::Fragment(interface, _) if !self.recorder.has_ended(token) => {
                let end = End {
                    out: Some(interface),
                    ..End::bare(Ending::Accept, None)
                };
                self.recorder.note(token, end);
            }
            PuntKind::Fragment(..)
            | PuntKind::Arp(_)
            | PuntKind::Discovery(_)
            | PuntKind::Resolve(..)
            | PuntKind::Local(_)
            | PuntKind::Error(..)
            | PuntKind::Reject(..)
            | PuntKind::Sniff(_)
            | PuntKind::Read => {}
        }
    }

    /// If a packet has just become whole, its fragments share its fate; `noted` ends were there
    /// before.
    fn follow_whole(&mut self, noted: usize) {
        if let Some((_, FromSlowPath::Whole(_, buf))) = self.slow_outbox.to_worker.last_mut()
            && buf.token() == 0
        {
            let token = self.ledger.join(self.recorder.withdraw_consumed(noted));
            *buf = HeapBuffer::new(std::mem::take(buf).into_bytes(), token);
        }
    }

    /// A message of the slow path for the worker.
    fn returned(&mut self, message: FromSlowPath<HeapBuffer>, now: Tick) {
        let assumed = match self.resolution {
            Resolution::Assume => assume(message, WORKER),
            Resolution::Learn => Assumed::Pass(message),
        };
        match assumed {
            Assumed::Pass(message) => self.worker.resume(message, now, &mut self.outbox),
            Assumed::Answered(punt) => self.slow_path.handle(punt, now, &mut self.slow_outbox),
            Assumed::Dropped => {}
        }
    }

    /// Writes the reports.
    fn finish(mut self, inputs: Vec<InputSummary>) -> Result<Summary, ReplayError> {
        self.worker.fold();
        let parts = [&*self.worker_counters, &*self.slow_counters];
        let summary = Summary {
            packets: self.current.token,
            verdicts: self.ledger.verdicts(),
            unexplained: self.ledger.unexplained(),
            undecided: self.feed.undecided(),
            carried: self.feed.carried(),
            books: Books::of(parts),
            inputs,
        };
        let counters = CountersReport::new(&summary, &self.program, &parts, self.logged);
        self.output.report("counters.json", &counters)?;
        let conntrack = self.worker.conntrack();
        let connections = connections::list(conntrack, &self.program, self.clock.now());
        self.output.report("connections.json", &connections)?;
        self.output.finish()?;
        Ok(summary)
    }
}

/// The key of every hash: whatever is random comes from the seed.
fn key(config: &ReplayConfig) -> HashKey {
    // SplitMix64's increment spreads the seed over the words of the key.
    let word = |n: u64| {
        config
            .seed
            .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    };
    HashKey([word(1), word(2), word(3), word(4)])
}

/// The connection tables.
fn conntrack(config: &ReplayConfig, shared: &Arc<Shared>) -> Conntrack {
    let capacity = Capacity::share(config.max_entries, 1);
    Conntrack::new(WORKER, capacity, key(config), Arc::clone(shared))
}
