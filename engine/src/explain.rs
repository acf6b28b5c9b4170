//! Following single packets through a gateway of one worker, to tell what becomes of them and why.
//!
//! The stages are those of the engine's workers, over frames on the heap, with the slow path
//! inline and every neighbour at a made-up address, as in a replay; but the worker's witness
//! follows what packets meet. Each gateway has tables of its own: nothing of a running one changes.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::commit::NewConnection;
use turnpike_conntrack::entry::NONE;
use turnpike_conntrack::expect::{
    Activity, ChildLife, Class, Destination, Expectation, Reservation, Source, Uses,
};
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::segment::{Checksum, Segment};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::{Capacity, Conntrack, Shared};
use turnpike_conntrack::tuple::{Tuple, TuplePair, V4, V6};
use turnpike_pipeline::buffer::{Buffer, HeapBuffer, HeapPool};
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::ids::{IfaceId, Mac, PORTS_MAX};
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::{FromSlowPath, Outbox, PuntKind};
use turnpike_pipeline::packet::parse::inspect;
use turnpike_pipeline::packet::segment::segment;
use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::program::{CompileContext, Program};
use turnpike_pipeline::slowpath::{SlowOutbox, SlowPath, SlowPathSetup};
use turnpike_pipeline::stages::family::Stack;
use turnpike_pipeline::wall::Wall;
use turnpike_pipeline::witness::{End, Ending, Waypoint, Witness};
use turnpike_pipeline::worker::{Keep, Worker, WorkerSetup};

use crate::clock::Clock;
use crate::gateway::AnyGraft;
use crate::pcap::MADE_UP_MAC;
use crate::replay::assume::{Assumed, assume};
use crate::replay::follow::behind;
use crate::replay::frame;

const WORKER: WorkerId = WorkerId(0);

/// The most connections of a gateway that only explains.
const CONNECTIONS_MAX: usize = 4_096;

/// Where everything random starts: the same question has the same answer.
const KEY: HashKey = HashKey([
    0x7475_726e_7069_6b65,
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
]);

/// A policy's program on made-up ports, whose connections go on from `previous`.
pub fn compile(policy: &Policy, previous: Option<&Program>) -> Program {
    let generation = previous.map_or(1, |previous| previous.generation.0.wrapping_add(1).max(1));
    let ports = made_up_ports(policy);
    let context = CompileContext {
        generation: Generation(generation),
        workers: 1,
        ports: &ports,
        previous,
        key: KEY,
    };
    Program::compile(policy, &context)
}

/// The program of a running gateway once more, on made-up ports, with copies of what it remembers
/// at `now`; `policy` is what `live` was compiled from.
pub fn compile_apart(policy: &Policy, live: &Program, now: Tick) -> Program {
    let ports = made_up_ports(policy);
    let context = CompileContext {
        generation: live.generation,
        workers: 1,
        ports: &ports,
        previous: None,
        key: KEY,
    };
    Program::compile_apart(policy, &context, live, now)
}

fn made_up_ports(policy: &Policy) -> Vec<PortFacts> {
    let last = policy.interfaces.iter().map(|iface| iface.port.0).max();
    (0..=last.unwrap_or(0))
        .take(PORTS_MAX)
        .map(|port| PortFacts {
            mac: Mac([0x02, 0x74, 0x70, 0, 1, port]),
            mtu: u16::MAX,
            distribution: Arc::new(Distribution::software(1)),
        })
        .collect()
}

/// A frame that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The interface it left by.
    pub interface: IfaceId,
    /// The frame.
    pub frame: Vec<u8>,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Followed {
    /// What it met on its way.
    pub waypoints: Vec<Waypoint>,
    /// How it ended.
    pub end: Option<End>,
    /// The packet as it left; several if it had to be cut up.
    pub left: Vec<Sent>,
    /// What the gateway sent because of it.
    pub answers: Vec<Sent>,
}

fn tuple<F: Stack>(frame: &[u8]) -> Option<Tuple<F>> {
    inspect(frame, frame.len()).ok()?.tuple::<F>(frame)
}

fn segment_of(frame: &[u8]) -> Option<Segment> {
    let parsed = inspect(frame, frame.len()).ok()?;
    Some(segment(frame, &parsed, Checksum::Good))
}

/// What the worker and the slow path tell of the packet that is followed.
#[derive(Debug, Clone, Default)]
struct Follower(Rc<RefCell<Followed>>);

/// The token of the packet that is followed; those that the gateway makes have none.
const FOLLOWED: u64 = 1;

impl Witness<HeapBuffer> for Follower {
    const FOLLOWS: bool = true;

    fn end(&mut self, buf: &HeapBuffer, end: &End) {
        if buf.token() != FOLLOWED {
            return;
        }
        let mut followed = self.0.borrow_mut();
        let before = followed.end;
        // What was known when the packet was held still holds when it is let go.
        followed.end = Some(End {
            state: end.state.or(before.and_then(|before| before.state)),
            rule: end.rule.or(before.and_then(|before| before.rule)),
            ..*end
        });
    }

    fn meets(&mut self, buf: &HeapBuffer, waypoint: Waypoint) {
        if buf.token() == FOLLOWED {
            self.0.borrow_mut().waypoints.push(waypoint);
        }
    }
}

/// A gateway that packets are sent through one by one.
#[derive(Debug)]
pub struct Explainer {
    program: Arc<Program>,
    worker: Worker<HeapBuffer, Follower>,
    slow_path: SlowPath<HeapPool, Follower>,
    follower: Follower,
    outbox: Outbox<HeapBuffer>,
    slow_outbox: SlowOutbox<HeapBuffer>,
    now: Tick,
    /// Whether the packet is being cut up, so that what leaves are its parts.
    in_parts: bool,
}

impl Explainer {
    /// A gateway without connections.
    pub fn new(program: Arc<Program>) -> Self {
        let now = Tick::from_secs(1);
        // Entries with a timeout are there, as right after a start.
        program.lists.enter(None, now);
        let shared = Shared::new(CONNECTIONS_MAX, KEY);
        Self::at(program, shared, now, Clock::start())
    }

    /// A gateway without connections that goes by the clock and the counts of a running one, whose
    /// program `program` is a copy of.
    pub fn beside(program: Arc<Program>, running: &Shared, clock: Clock) -> Self {
        let shared = running.apart(CONNECTIONS_MAX);
        Self::at(program, shared, clock.now(), clock)
    }

    fn at(program: Arc<Program>, shared: Shared, now: Tick, clock: Clock) -> Self {
        let follower = Follower::default();
        let key = shared.key;
        let shared = Arc::new(shared);
        let capacity = Capacity::share(CONNECTIONS_MAX, 1);
        // What is explained happens now, for rules that ask for the time of day.
        let wall = Arc::<Wall>::default();
        clock.set(&wall);
        let setup = WorkerSetup {
            id: WORKER,
            program: Arc::clone(&program),
            conntrack: Conntrack::new(WORKER, capacity, key, Arc::clone(&shared)),
            counters: Arc::default(),
            neighbours: Neighbours::Assume(MADE_UP_MAC),
            keep: Keep::Nothing,
            wall,
        };
        let slow_setup = SlowPathSetup {
            pool: HeapPool,
            program: Arc::clone(&program),
            counters: Arc::<WorkerCounters>::default(),
            workers: 1,
            seed: 1,
            shared,
        };
        Self {
            worker: Worker::new(setup, follower.clone()),
            slow_path: SlowPath::new(slow_setup, follower.clone()),
            follower,
            outbox: Outbox::default(),
            slow_outbox: SlowOutbox::default(),
            now,
            in_parts: false,
            program,
        }
    }

    /// Goes on with another program, as after a reload.
    pub fn adopt(&mut self, program: Arc<Program>) {
        self.slow_path
            .adopt(Arc::clone(&program), self.now, &mut self.slow_outbox);
        self.worker.adopt(Arc::clone(&program));
        self.program = program;
        // What it announces is about no packet.
        self.settle();
        self.follower.0.take();
    }

    /// The program in effect.
    pub const fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The time.
    pub const fn now(&self) -> Tick {
        self.now
    }

    /// The interface behind which an address is, by the route to it.
    pub fn entrance(&self, address: IpAddr) -> Option<IfaceId> {
        behind(&self.program, address)
    }

    /// Enters an untranslated connection by hand, as if it had been opened by `first` and `answer`
    /// had come back; `None` if those frames open none.
    pub fn enter(&mut self, first: &[u8], answer: &[u8]) -> Option<()> {
        let is_v4 = inspect(first, first.len()).ok()?.version() == Some(4);
        if is_v4 {
            self.enter_into::<V4>(first, answer)
        } else {
            self.enter_into::<V6>(first, answer)
        }
    }

    fn enter_into<F: Stack>(&mut self, first: &[u8], answer: &[u8]) -> Option<()> {
        let (opening, seen) = (tuple::<F>(first)?, segment_of(first)?);
        let pair = TuplePair {
            original: opening,
            reply: opening.inverse(),
        };
        let new = NewConnection {
            pair,
            expected: None,
            helper: None,
            claim: None,
            mapping: None,
            steered: None,
            generation: self.program.generation,
            rule: NONE,
        };
        let (now, config) = (self.now, self.program.tracking_config);
        let table = F::table_mut(self.worker.conntrack_mut());
        table.commit(new, &seen, now, &config).ok()?;
        let back = table.lookup(&tuple::<F>(answer)?, now)?;
        table.track(back, &segment_of(answer)?, now, &config);
        Some(())
    }

    /// Enters a connection of a running gateway as it stands there; `None` if there is no room.
    pub fn take_in(&mut self, graft: &AnyGraft) -> Option<()> {
        let now = self.now;
        let conntrack = self.worker.conntrack_mut();
        let taken = match graft {
            AnyGraft::V4(graft) => conntrack.v4.take_in(graft, now),
            AnyGraft::V6(graft) => conntrack.v6.take_in(graft, now),
        };
        taken.map(drop)
    }

    /// Lets the connection that `master` belongs to announce the one that `child` would open;
    /// `None` if there is no such connection, or it cannot.
    pub fn announce(&mut self, master: &[u8], child: &[u8]) -> Option<()> {
        let is_v4 = inspect(child, child.len()).ok()?.version() == Some(4);
        if is_v4 {
            self.announce_in::<V4>(master, child)
        } else {
            self.announce_in::<V6>(master, child)
        }
    }

    fn announce_in<F: Stack>(&mut self, master: &[u8], child: &[u8]) -> Option<()> {
        let (master, child, now) = (tuple::<F>(master)?, tuple::<F>(child)?, self.now);
        let conntrack = self.worker.conntrack_mut();
        let table = F::table_mut(conntrack);
        let flow = table.lookup(&master, now)?;
        let master = table.announce(flow.id)?;
        let class = Class {
            number: 0,
            max_expected: 1,
            timeout: Duration::from_secs(60),
        };
        let expectation = Expectation::<F> {
            proto: child.proto,
            destination: (child.dst, child.dst_port),
            source: Some(child.src),
            source_port: Some(child.src_port),
            uses: Uses::Once,
            activity: Activity::Active,
            helper: None,
            life: ChildLife::Own,
            new_destination: Destination::Rules,
            new_source: Source::Rules,
            reservation: Reservation::None,
        };
        let expectations = &conntrack.shared().expectations;
        expectations.expect(master, &class, expectation, now).ok()?;
        Some(())
    }

    /// Lets time pass.
    pub fn wait(&mut self, pause: Duration) {
        self.now = self.now.after(pause);
        self.worker.housekeeping(self.now);
        self.slow_path.tick(self.now, &mut self.slow_outbox);
        self.settle();
        self.follower.0.take();
    }

    /// Sends a frame in by an interface, to whatever station it is addressed, and says what became
    /// of it.
    pub fn send(&mut self, interface: IfaceId, mut bytes: Vec<u8>) -> Followed {
        let Some(facts) = self.program.interfaces.find(interface) else {
            return Followed::default();
        };
        frame::address_to(&mut bytes, facts.mac);
        if let Some(vlan) = facts.vlan {
            frame::tag(&mut bytes, vlan);
        }
        let mut frames = ArrayVec::new();
        frames.push(HeapBuffer::new(bytes, FOLLOWED));
        let port = facts.port;
        self.in_parts = false;
        self.worker
            .receive(port, &mut frames, self.now, &mut self.outbox);
        self.settle();
        self.follower.0.take()
    }

    /// Carries messages between worker and slow path until both have nothing more to say.
    fn settle(&mut self) {
        while !self.is_quiet() {
            self.outbox.logs.clear();
            let punts = std::mem::take(&mut self.outbox.punts);
            let messages = std::mem::take(&mut self.slow_outbox.to_worker);
            self.collect();
            for (_, handover) in std::mem::take(&mut self.outbox.handover) {
                let mut frames = ArrayVec::new();
                frames.push(handover);
                self.worker
                    .take_over(&mut frames, self.now, &mut self.outbox);
            }
            for punt in punts {
                let cut_up = match (punt.buf.token(), punt.kind) {
                    (FOLLOWED, PuntKind::Fragment(interface, _)) => Some(interface),
                    (_, _) => None,
                };
                self.slow_path.handle(punt, self.now, &mut self.slow_outbox);
                if let Some(interface) = cut_up {
                    self.cut_up(interface);
                }
            }
            for (_, message) in messages {
                self.returned(message);
            }
            self.slow_path.read_samples(self.now, &mut self.slow_outbox);
        }
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

    /// What has left.
    fn collect(&mut self) {
        for departure in std::mem::take(&mut self.outbox.tx) {
            let is_it = departure.buf.token() == FOLLOWED || self.in_parts;
            let sent = Sent {
                interface: departure.interface,
                frame: departure.buf.into_bytes(),
            };
            let mut followed = self.follower.0.borrow_mut();
            if is_it {
                followed.left.push(sent);
            } else {
                followed.answers.push(sent);
            }
        }
    }

    /// A packet that was cut up has left, though not as itself.
    fn cut_up(&mut self, interface: IfaceId) {
        let mut followed = self.follower.0.borrow_mut();
        let dropped = followed.end.is_some_and(|end| end.reason.is_some());
        if !dropped {
            self.in_parts = true;
            let before = followed.end;
            followed.end = Some(End {
                ending: Ending::Accept,
                reason: None,
                in_interface: before.and_then(|end| end.in_interface),
                out: Some(interface),
                state: before.and_then(|end| end.state),
                rule: before.and_then(|end| end.rule),
            });
        }
    }

    /// A message of the slow path for the worker.
    fn returned(&mut self, message: FromSlowPath<HeapBuffer>) {
        match assume(message, WORKER) {
            Assumed::Pass(message) => self.worker.resume(message, self.now, &mut self.outbox),
            Assumed::Answered(punt) => {
                self.slow_path.handle(punt, self.now, &mut self.slow_outbox);
            }
            Assumed::Dropped => {}
        }
    }
}
