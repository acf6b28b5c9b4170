//! A gateway of N workers and its slow path, stepped on one thread with a clock of its own.
//!
//! Ports: `lan` (192.168.88.1/24, fd00:88::1/64) and `wan` (203.0.113.2/24, 2001:db8:113::2/64),
//! a default route by 203.0.113.1 and 2001:db8:113::1. Frames go in with [`Sim::inject`]; what
//! comes out waits in [`Sim::sent`].

#![expect(
    dead_code,
    reason = "each test binary uses its own part of the harness"
)]

pub mod packets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::{Capacity, Conntrack, Shared};
use turnpike_pipeline::buffer::{Buffer, HeapBuffer, HeapPool};
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{IfaceId, Mac, PortId, RuleId};
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::log::LogEvent;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::{Handover, Outbox};
use turnpike_pipeline::policy::{
    Action, Chain, Interface, Match, Matchers, Policy, PortChoice, Route, Rule, Source, StateSet,
    Table, TableKind, Via,
};
use turnpike_pipeline::program::{CompileContext, Program};
use turnpike_pipeline::slowpath::{SlowOutbox, SlowPath, SlowPathSetup};
use turnpike_pipeline::wall::Wall;
use turnpike_pipeline::witness::{End, Witness};
use turnpike_pipeline::worker::{Keep, Worker, WorkerSetup};

pub const LAN: PortId = PortId(0);
pub const WAN: PortId = PortId(1);
pub const LAN_IF: IfaceId = IfaceId(0);
pub const WAN_IF: IfaceId = IfaceId(1);
pub const LAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const WAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub const HOST_MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);
pub const PEER_MAC: Mac = Mac([2, 0, 0, 0, 2, 1]);

/// A key with its bits spread, as a random one has them.
const KEY: HashKey = HashKey([
    0x0123_4567_89ab_cdef,
    0x1032_5476_98ba_dcfe,
    0x5555_aaaa_3333_cccc,
    0x0f1e_2d3c_4b5a_6978,
]);

/// Ends of packets that tests injected, with the token they were injected under, and how many
/// packets, made ones too, each rule has decided.
#[derive(Debug, Default)]
pub struct Ends(pub Vec<(u64, End)>, pub BTreeMap<u32, u64>);

impl Witness<HeapBuffer> for Ends {
    fn end(&mut self, buf: &HeapBuffer, end: &End) {
        if let Some(rule) = end.rule {
            *self.1.entry(rule.0).or_default() += 1;
        }
        if buf.token() != 0 {
            self.0.push((buf.token(), *end));
        }
    }
}

pub struct Sim {
    pub workers: Vec<Worker<HeapBuffer, Ends>>,
    pub slow: SlowPath<HeapPool, Ends>,
    pub counters: Vec<Arc<WorkerCounters>>,
    pub slow_counters: Arc<WorkerCounters>,
    pub program: Arc<Program>,
    pub shared: Arc<Shared>,
    pub wall: Arc<Wall>,
    pub now: Tick,
    pub sent: Vec<(PortId, Vec<u8>)>,
    pub logged: Vec<LogEvent>,
    /// Whether the ring to the slow path has no room.
    pub ring_full: bool,
    /// Whether the slow path has no time for samples.
    pub samples_wait: bool,
    next_token: u64,
}

impl Sim {
    /// A gateway with neighbours assumed to have [`PEER_MAC`].
    pub fn new(policy: &Policy, workers: u8) -> Self {
        Self::with_neighbours(policy, workers, Neighbours::Assume(PEER_MAC), 1_000)
    }

    pub fn with_neighbours(
        policy: &Policy,
        workers: u8,
        neighbours: Neighbours,
        entries: usize,
    ) -> Self {
        Self::keeping(policy, workers, (neighbours, entries), Keep::Outcomes)
    }

    /// The same, with workers that keep what rules say of a flow, or do not.
    pub fn keeping(
        policy: &Policy,
        workers: u8,
        (neighbours, entries): (Neighbours, usize),
        keep: Keep,
    ) -> Self {
        let program = Arc::new(compile(policy, workers, None));
        let shared = Arc::new(Shared::new(4_096, KEY));
        let counters: Vec<_> = (0..workers)
            .map(|_| Arc::new(WorkerCounters::default()))
            .collect();
        let wall = Arc::new(Wall::default());
        let make = |id: u8| {
            let capacity = Capacity {
                v4: entries,
                v6: entries,
            };
            let key = HashKey([5, 6, 7, 8]);
            let setup = WorkerSetup {
                id: WorkerId(id),
                program: Arc::clone(&program),
                conntrack: Conntrack::new(WorkerId(id), capacity, key, Arc::clone(&shared)),
                counters: Arc::clone(&counters[usize::from(id)]),
                neighbours,
                keep,
                wall: Arc::clone(&wall),
            };
            Worker::new(setup, Ends::default())
        };
        let slow_counters = Arc::new(WorkerCounters::default());
        let slow = SlowPathSetup {
            pool: HeapPool,
            program: Arc::clone(&program),
            counters: Arc::clone(&slow_counters),
            workers,
            seed: 1,
            shared: Arc::clone(&shared),
        };
        Self {
            workers: (0..workers).map(make).collect(),
            slow: SlowPath::new(slow, Ends::default()),
            wall,
            counters,
            slow_counters,
            program,
            shared,
            now: Tick::from_secs(1),
            sent: Vec::new(),
            logged: Vec::new(),
            ring_full: false,
            samples_wait: false,
            next_token: 0,
        }
    }

    /// Puts a frame on a port, lets the gateway work until it is quiet, returns what it sent.
    pub fn inject(&mut self, port: PortId, frame: Vec<u8>) -> Vec<(PortId, Vec<u8>)> {
        self.inject_burst(port, vec![frame])
    }

    /// The same for several frames received in one burst by worker 0's queue.
    pub fn inject_burst(&mut self, port: PortId, frames: Vec<Vec<u8>>) -> Vec<(PortId, Vec<u8>)> {
        let mut out = Outbox::default();
        let mut mine = ArrayVec::new();
        for frame in frames {
            self.next_token += 1;
            mine.push(HeapBuffer::new(frame, self.next_token));
        }
        self.workers[0].distribute(port, &mut mine, &mut out);
        self.workers[0].receive(port, &mut mine, self.now, &mut out);
        self.settle(WorkerId(0), &mut out);
        std::mem::take(&mut self.sent)
    }

    /// Lets time pass; workers and slow path do what is due.
    pub fn advance(&mut self, millis: u64) -> Vec<(PortId, Vec<u8>)> {
        self.now = Tick::from_micros(self.now.as_micros() + millis * 1_000);
        for worker in &mut self.workers {
            worker.housekeeping(self.now);
        }
        let mut slow_out = SlowOutbox::default();
        self.slow.tick(self.now, &mut slow_out);
        self.deliver(slow_out);
        std::mem::take(&mut self.sent)
    }

    /// Publishes another policy, as a reload does.
    pub fn reload(&mut self, policy: &Policy) {
        self.reload_and_see(policy);
    }

    /// The same; what is sent because of it.
    pub fn reload_and_see(&mut self, policy: &Policy) -> Vec<(PortId, Vec<u8>)> {
        let workers = u8::try_from(self.workers.len()).unwrap();
        let program = Arc::new(compile(policy, workers, Some(&self.program)));
        for worker in &mut self.workers {
            worker.adopt(Arc::clone(&program));
        }
        let mut out = SlowOutbox::default();
        self.slow.adopt(Arc::clone(&program), self.now, &mut out);
        self.program = program;
        self.deliver(out);
        std::mem::take(&mut self.sent)
    }

    /// How the last injected packet ended, the latest word on it.
    pub fn last_end(&mut self) -> End {
        let token = self.next_token;
        self.ends_of(token).pop().expect("the packet has ended")
    }

    /// How the last injected packet ended first: held, if it was.
    pub fn first_end(&mut self) -> End {
        let token = self.next_token;
        *self.ends_of(token).first().expect("the packet has ended")
    }

    /// Every end of the packet with this token: a held one has two.
    pub fn ends_of(&mut self, token: u64) -> Vec<End> {
        let mut all: Vec<End> = Vec::new();
        for worker in &mut self.workers {
            all.extend(
                worker
                    .witness_mut()
                    .0
                    .iter()
                    .filter(|e| e.0 == token)
                    .map(|e| e.1),
            );
        }
        all.extend(
            self.slow
                .witness_mut()
                .0
                .iter()
                .filter(|e| e.0 == token)
                .map(|e| e.1),
        );
        all
    }

    /// What a rule counted, with what workers have not folded yet.
    pub fn rule_packets(&mut self, rule: u32) -> u64 {
        for worker in &mut self.workers {
            worker.fold();
        }
        self.program.rule_counts(RuleId(rule)).packets
    }

    pub fn connections(&self) -> usize {
        self.workers
            .iter()
            .map(|w| w.conntrack().v4.len() + w.conntrack().v6.len())
            .sum()
    }

    /// Whether ports of this address are given to connections.
    pub fn pools(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => self.program.pools4.ports(ip.octets()).is_some(),
            IpAddr::V6(ip) => self.program.pools6.ports(ip.octets()).is_some(),
        }
    }

    /// Both sides of the books: what came in and was made, and what became of it.
    pub fn books(&self) -> (u64, u64) {
        let all = || self.counters.iter().chain([&self.slow_counters]);
        let came = all()
            .map(|c| {
                let made = c.generated.read() + c.copies.read() + c.fragments_made.read();
                c.received.read().packets + made
            })
            .sum();
        let went = all()
            .map(|c| c.sent.read().packets + c.consumed.read() + c.dropped_in_all() + c.held.read())
            .sum();
        (came, went)
    }

    /// Lets the gateway work off what worker `from` has put out, returns what it sent.
    pub fn finish(&mut self, from: u8, out: &mut Outbox<HeapBuffer>) -> Vec<(PortId, Vec<u8>)> {
        self.settle(WorkerId(from), out);
        std::mem::take(&mut self.sent)
    }

    fn settle(&mut self, from: WorkerId, out: &mut Outbox<HeapBuffer>) {
        for departure in out.tx.drain(..) {
            let bytes = departure.buf.frame_len();
            self.workers[usize::from(from.0)].sent(departure.interface, bytes);
            self.sent.push((departure.port, departure.buf.into_bytes()));
        }
        let punts: Vec<_> = out.punts.drain(..).collect();
        let handovers: Vec<_> = out.handover.drain(..).collect();
        self.logged.append(&mut out.logs);
        for (owner, handover) in handovers {
            self.hand_over(owner, handover);
        }
        for punt in punts {
            if self.ring_full {
                let worker = &mut self.workers[usize::from(from.0)];
                let mut unread = Outbox::default();
                if let Err(buf) = worker.pass_unread(punt, &mut unread) {
                    worker.count_drop(buf, DropReason::SlowPathRingFull);
                }
                self.settle(from, &mut unread);
                continue;
            }
            let mut slow_out = SlowOutbox::default();
            self.slow.handle(punt, self.now, &mut slow_out);
            self.deliver(slow_out);
        }
        self.read_samples();
    }

    /// Lets the slow path look through what workers have left for it.
    pub fn read_samples(&mut self) {
        if self.samples_wait {
            return;
        }
        let mut slow_out = SlowOutbox::default();
        self.slow.read_samples(self.now, &mut slow_out);
        self.deliver(slow_out);
    }

    fn hand_over(&mut self, owner: WorkerId, handover: Handover<HeapBuffer>) {
        let mut burst = ArrayVec::new();
        burst.push(handover);
        let mut out = Outbox::default();
        self.workers[usize::from(owner.0)].take_over(&mut burst, self.now, &mut out);
        self.settle(owner, &mut out);
    }

    fn deliver(&mut self, slow_out: SlowOutbox<HeapBuffer>) {
        for (worker, message) in slow_out.to_worker {
            let mut out = Outbox::default();
            self.workers[usize::from(worker.0)].resume(message, self.now, &mut out);
            self.settle(worker, &mut out);
        }
    }
}

pub fn compile(policy: &Policy, workers: u8, previous: Option<&Program>) -> Program {
    let port = |mac| PortFacts {
        mac,
        mtu: 1_500,
        distribution: Arc::new(Distribution::software(workers)),
    };
    let context = CompileContext {
        generation: Generation(previous.map_or(1, |p| p.generation.0 + 1)),
        workers: usize::from(workers),
        // The third is for policies that have one.
        ports: &[port(LAN_MAC), port(WAN_MAC), port(WAN_MAC)],
        previous,
        key: HashKey([
            0x0123_4567_89ab_cdef,
            0x1032_5476_98ba_dcfe,
            0x5555_aaaa_3333_cccc,
            0x0f1e_2d3c_4b5a_6978,
        ]),
    };
    Program::compile(policy, &context)
}

/// The two interfaces and the default routes, without a rule.
pub fn open_policy() -> Policy {
    let iface = |name: &str, port, addresses: [&str; 2]| Interface {
        name: name.to_owned(),
        port,
        vlan: None,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mtu: 1_500,
    };
    let default_route = |destination: &str, gateway: &str| Route {
        destination: destination.parse().unwrap(),
        via: Via::Gateway(WAN_IF, gateway.parse().unwrap()),
    };
    let table = |kind: TableKind| Table {
        chains: kind
            .built_in_chains()
            .iter()
            .map(|name| Chain {
                name: (*name).to_owned(),
                rules: Vec::new(),
            })
            .collect(),
    };
    Policy {
        interfaces: vec![
            iface("lan", LAN, ["192.168.88.1/24", "fd00:88::1/64"]),
            iface("wan", WAN, ["203.0.113.2/24", "2001:db8:113::2/64"]),
        ],
        routes: vec![
            default_route("0.0.0.0/0", "203.0.113.1"),
            default_route("::/0", "2001:db8:113::1"),
        ],
        raw: table(TableKind::Raw),
        mangle: table(TableKind::Mangle),
        nat: table(TableKind::Nat),
        filter: table(TableKind::Filter),
        ..Policy::default()
    }
}

/// The same with masquerade out of `wan`.
pub fn masquerading_policy() -> Policy {
    let mut policy = open_policy();
    let out_wan = Matchers {
        out_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    };
    policy.nat.chains[1]
        .rules
        .push(rule(out_wan, Action::Masquerade(None)));
    policy
}

pub fn rule(matchers: Matchers, action: Action) -> Rule {
    Rule {
        text: format!("{matchers:?} {action:?}").into(),
        matchers,
        action,
        log: None,
        comment: "".into(),
        disabled: false,
        port_choice: PortChoice::Preserved,
        source: Source {
            file: "test".into(),
            line: 1,
        },
    }
}

pub const fn is<T>(value: T) -> Match<T> {
    Match {
        value,
        negated: false,
    }
}

pub fn states(states: &[turnpike_conntrack::ids::ConnState]) -> Option<Match<StateSet>> {
    Some(is(states
        .iter()
        .fold(StateSet::default(), |set, state| set.with(*state))))
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
