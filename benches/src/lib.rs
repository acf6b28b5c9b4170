//! What the benches and the allocation test share: a worker under a realistic program, and
//! buffers that need no heap.

pub mod process;
pub mod rules;
pub mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{ConnState, Generation, WorkerId};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::segment::SYN;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::{Capacity, Conntrack, Shared};
use turnpike_conntrack::tuple::{Proto, V4};
use turnpike_pipeline::buffer::{Buffer, NoRoom, RxChecksum};
use turnpike_pipeline::burst::BURST_MAX;
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::ids::{IfaceId, Mac, PortId};
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::Outbox;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::policy::{
    Action, Chain, Interface, Match, Matchers, Policy, PortChoice, PortSet, Route, Rule, Source,
    StateSet, Table, TableKind, Via,
};
use turnpike_pipeline::program::{CompileContext, Program};
use turnpike_pipeline::worker::{Keep, Worker, WorkerSetup};

/// A fixed hash key with its bits spread, as a random one has them: small numbers make a bad hash.
pub const KEY: HashKey = HashKey([
    0x0123_4567_89ab_cdef,
    0x1032_5476_98ba_dcfe,
    0x5555_aaaa_3333_cccc,
    0x0f1e_2d3c_4b5a_6978,
]);

/// Where attempts go; the rules of a [`Rig`] are about the ports below.
pub const ATTEMPTED_PORT: u16 = 61_443;

/// Bytes an [`InlineBuffer`] holds.
pub const FRAME_MAX: usize = 128;

/// The port towards the inside hosts.
pub const LAN: PortId = PortId(0);
/// The port towards the servers.
pub const WAN: PortId = PortId(1);

const LAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const WAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 2, 1]);

/// A frame of up to [`FRAME_MAX`] bytes in the value itself.
#[derive(Debug, Clone)]
pub struct InlineBuffer {
    bytes: [u8; FRAME_MAX],
    len: usize,
}

impl InlineBuffer {
    /// A buffer with these bytes; what exceeds [`FRAME_MAX`] is cut.
    pub fn new(frame: &[u8]) -> Self {
        let len = frame.len().min(FRAME_MAX);
        let mut bytes = [0; FRAME_MAX];
        for (to, from) in bytes.iter_mut().zip(frame) {
            *to = *from;
        }
        Self { bytes, len }
    }
}

impl Buffer for InlineBuffer {
    fn head(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    fn frame_len(&self) -> usize {
        self.len
    }

    fn for_each_segment(&self, mut visit: impl FnMut(&[u8])) {
        visit(self.head());
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn grow_front(&mut self, _len: usize) -> Result<(), NoRoom> {
        Err(NoRoom)
    }

    fn shrink_front(&mut self, _len: usize) -> Result<(), NoRoom> {
        Err(NoRoom)
    }

    fn copy(&self) -> Option<Self> {
        Some(Self::new(self.head()))
    }

    fn rx_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }

    fn token(&self) -> u64 {
        0
    }
}

/// A worker with masquerade, `rules` filter rules and open connections.
#[derive(Debug)]
pub struct Rig {
    worker: Worker<InlineBuffer>,
    out: Outbox<InlineBuffer>,
    now: Tick,
}

impl Rig {
    /// A worker whose table holds `connections`, under a program with `rules` filter rules.
    pub fn new(connections: usize, rules: usize) -> Self {
        Self::sized(connections + connections / 8 + 64, rules)
    }

    /// A worker whose table has `places`, under a program with `rules` filter rules.
    pub fn sized(places: usize, rules: usize) -> Self {
        Self::under(places, compile(&policy(rules)))
    }

    /// A worker whose table has `places`, under this program.
    pub fn under(places: usize, program: Program) -> Self {
        let program = Arc::new(program);
        let shared = Arc::new(Shared::new(16, KEY));
        let capacity = Capacity { v4: places, v6: 16 };
        let setup = WorkerSetup {
            id: WorkerId(0),
            program,
            conntrack: Conntrack::new(WorkerId(0), capacity, KEY, shared),
            counters: Arc::new(WorkerCounters::default()),
            neighbours: Neighbours::Assume(PEER_MAC),
            keep: Keep::Outcomes,
            wall: Arc::default(),
        };
        Self {
            worker: Worker::new(setup, ()),
            out: Outbox::default(),
            now: Tick::from_secs(1),
        }
    }

    /// Opens connection `n` and lets its server answer once; `None` if a packet did not pass.
    pub fn open(&mut self, n: u32) -> Option<()> {
        let (inside, server) = ends(n);
        self.pass(LAN, &frame(LAN_MAC, inside, server)?)?;
        let port = inside.port();
        let outside = SocketAddr::new(IpAddr::V4(external(n)), port);
        self.pass(WAN, &frame(WAN_MAC, server, outside)?)
    }

    /// Takes a burst through the worker and gives the frames that left, at most a burst.
    pub fn run(&mut self, port: PortId, frames: &mut ArrayVec<InlineBuffer, BURST_MAX>) -> usize {
        self.worker.receive(port, frames, self.now, &mut self.out);
        let left = self.out.tx.len();
        self.out.tx.clear();
        self.out.punts.clear();
        left
    }

    /// Lets time pass, and the worker do what it does between bursts.
    pub fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.worker.housekeeping(self.now);
    }

    /// The worker's IPv4 connections.
    pub fn table(&self) -> &turnpike_conntrack::table::Table<V4> {
        &self.worker.conntrack().v4
    }

    fn pass(&mut self, port: PortId, frame: &[u8]) -> Option<()> {
        let mut frames = ArrayVec::new();
        frames.push(InlineBuffer::new(frame));
        (self.run(port, &mut frames) == 1).then_some(())
    }
}

/// A 64-byte datagram (60 without the frame check sequence) from the inside host of connection
/// `n`, `None` if it cannot be made.
pub fn outward(n: u32) -> Option<InlineBuffer> {
    let (inside, server) = ends(n);
    Some(InlineBuffer::new(&frame(LAN_MAC, inside, server)?))
}

/// A SYN from the inside host of connection `n`, to a port that no rule of a [`Rig`] asks for;
/// `None` if it cannot be made.
pub fn attempt(n: u32) -> Option<InlineBuffer> {
    let (inside, mut server) = ends(n);
    server.set_port(ATTEMPTED_PORT);
    let syn = TcpSpec {
        flags: SYN,
        seq: n,
        ..TcpSpec::default()
    };
    let craft = Craft::tcp(inside, server, syn)?.macs(LAN_MAC, PEER_MAC);
    Some(InlineBuffer::new(&craft.frame()?))
}

/// Inside host and server of connection `n`: 64,000 connections per inside host, which masquerade
/// keeps on their own ports.
fn ends(n: u32) -> (SocketAddr, SocketAddr) {
    let [_, _, a, b] = (n / 64_000).to_be_bytes();
    let port = u16::try_from(1_024 + n % 64_000).unwrap_or(u16::MAX);
    let inside = Ipv4Addr::new(10, 0, a, b.saturating_add(10));
    let server = Ipv4Addr::new(198, 51, 100, 7);
    (
        SocketAddr::new(inside.into(), port),
        SocketAddr::new(server.into(), 53),
    )
}

/// The external address that the inside host of connection `n` leaves by.
fn external(_n: u32) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 2)
}

fn frame(to: Mac, src: SocketAddr, dst: SocketAddr) -> Option<Vec<u8>> {
    Craft::udp(src, dst)?
        .macs(to, PEER_MAC)
        .payload_len(18)
        .frame()
}

/// The policy compiled for one worker and the two ports.
pub fn compile(policy: &Policy) -> Program {
    let port = |mac| PortFacts {
        mac,
        mtu: 1_500,
        distribution: Arc::new(Distribution::software(1)),
    };
    let context = CompileContext {
        generation: Generation(1),
        workers: 1,
        ports: &[port(LAN_MAC), port(WAN_MAC)],
        previous: None,
        key: HashKey([
            0x0123_4567_89ab_cdef,
            0x1032_5476_98ba_dcfe,
            0x5555_aaaa_3333_cccc,
            0x0f1e_2d3c_4b5a_6978,
        ]),
    };
    Program::compile(policy, &context)
}

/// Masquerade, an established-accept, and rules that look at ports and do not match.
fn policy(rules: usize) -> Policy {
    let mut policy = gateway();
    filter(&mut policy, rules);
    policy
}

/// Two interfaces, a default route and masquerade.
pub fn gateway() -> Policy {
    let wan = IfaceId(1);
    let iface = |name: &str, port, address: &str| Interface {
        name: name.to_owned(),
        port,
        vlan: None,
        addresses: address.parse().into_iter().collect(),
        mtu: 1_500,
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
    let gateway = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    let mut policy = Policy {
        interfaces: vec![
            iface("lan", LAN, "10.0.0.1/8"),
            iface("wan", WAN, "203.0.113.2/24"),
        ],
        routes: "0.0.0.0/0"
            .parse()
            .map(|destination| Route {
                destination,
                via: Via::Gateway(wan, gateway),
            })
            .into_iter()
            .collect(),
        raw: table(TableKind::Raw),
        mangle: table(TableKind::Mangle),
        nat: table(TableKind::Nat),
        filter: table(TableKind::Filter),
        ..Policy::default()
    };
    masquerade(&mut policy, wan);
    policy
}

fn masquerade(policy: &mut Policy, wan: IfaceId) {
    let out_wan = Matchers {
        out_interface: Some(is(wan)),
        ..Matchers::default()
    };
    let mut chains = policy.nat.chains.iter_mut();
    if let Some(srcnat) = chains.find(|chain| chain.name == "srcnat") {
        srcnat.rules.push(rule(out_wan, Action::Masquerade(None)));
    }
}

/// The established-accept, and `rules` rules behind it.
fn filter(policy: &mut Policy, rules: usize) {
    let chains = &mut policy.filter.chains;
    let Some(forward) = chains.iter_mut().find(|chain| chain.name == "forward") else {
        return;
    };
    forward.rules.push(accept_known());
    for port in (0..rules).filter_map(|n| u16::try_from(n % 60_000).ok()) {
        let matchers = Matchers {
            protocol: Some(is(Proto::TCP)),
            dst_port: Some(is(PortSet::new([port..=port]))),
            ..Matchers::default()
        };
        forward.rules.push(rule(matchers, Action::Drop));
    }
}

/// The rule that lets established and related connections pass.
fn accept_known() -> Rule {
    let states = StateSet::default()
        .with(ConnState::Established)
        .with(ConnState::Related);
    let known = Matchers {
        connection_state: Some(is(states)),
        ..Matchers::default()
    };
    rule(known, Action::Accept)
}

const fn is<T>(value: T) -> Match<T> {
    Match {
        value,
        negated: false,
    }
}

fn rule(matchers: Matchers, action: Action) -> Rule {
    Rule {
        text: format!("{matchers:?} {action:?}").into(),
        matchers,
        action,
        log: None,
        comment: "".into(),
        disabled: false,
        port_choice: PortChoice::Preserved,
        source: Source {
            file: "bench".into(),
            line: 1,
        },
    }
}
