//! A gateway, the traffic around it, and the steps of time.

use std::collections::HashMap;
use std::net::IpAddr;

use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{Address, Proto, Tuple, V4};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{PortId, RuleId};
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::outbox::Found;
use turnpike_pipeline::packet::arp::{self, ArpKind, Station};
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec};
use turnpike_pipeline::packet::fragment::fragment;
use turnpike_pipeline::packet::nd::{self, Nd, Station6};
use turnpike_pipeline::packet::parse::{Net, Parsed, parse};
use turnpike_pipeline::packet::verify::{Checksum, verify_l4};
use turnpike_pipeline::witness::{End, Ending};

use crate::announce;
use crate::checks::{self, Translation};
use crate::policies::{Chosen, random_policy};
use crate::random::Random;
use crate::rings::{Emerged, Received, Rings, queue_of};
use crate::sim::{LAN, PEER_MAC, Sim, WAN, compile, ip};
use crate::traffic::{Kind, Macs, Session, Towards, ends_of, hostile, read};

/// What is known of a frame that went in.
#[derive(Debug, Clone)]
struct Record {
    /// Slot and number of its session.
    session: Option<(usize, u64, Towards)>,
    ttl: u8,
    checksum: Checksum,
    /// What its connection makes of it, where nothing can change that.
    expected: Option<Translation>,
    left: bool,
}

/// A frame on its way to the gateway.
type Waiting = (PortId, Option<(usize, u64, Towards)>, Vec<u8>);

/// How often the things happened that the simulation is for.
#[derive(Debug, Default)]
pub struct Seen(HashMap<&'static str, u64>);

impl Seen {
    fn note(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.note(what, *times);
        }
    }

    /// A check that was never reached has found nothing.
    pub fn assert_everything_happened(&self) {
        let all = [
            "forwarded",
            "made",
            "probed",
            "translated",
            "dropped",
            "hash",
            "owner",
            "returned",
            "opening",
            "crossed",
            "books of what is held",
            "reassembled",
            "cut",
            "evicted",
            "expired",
            "reloaded",
            "held",
            "related",
            "announced",
            "announced and met",
        ];
        for what in all {
            assert!(
                self.0.get(what).is_some_and(|n| *n > 0),
                "never {what}: {self:?}"
            );
        }
    }
}

pub struct World {
    sim: Sim,
    rings: Rings,
    random: Random,
    chosen: Chosen,
    received: Received,
    macs: Macs,
    sessions: Vec<(u64, Session)>,
    born: u64,
    waiting: Vec<Waiting>,
    records: HashMap<u64, Record>,
    tally: HashMap<RuleId, u64>,
    token: u64,
    /// How many connections were judged by one program and entered under another: their rules have
    /// counted, and the ends of their packets name none.
    crossed: u64,
    pub seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let chosen = random_policy(&mut random);
        let workers = random.pick(&[1, 2, 4]);
        let entries = random.pick(&[2, 5, 40, 1_000]);
        let (neighbours, macs) = if random.chance(50) {
            (Neighbours::Learn, Macs::Own)
        } else {
            (Neighbours::Assume(PEER_MAC), Macs::Assumed)
        };
        let room = random.pick(&[1_024, 1_024, 1_024, 8]);
        let lossy = random.pick(&[0, 0, 5]);
        let received = random.pick(&[Received::ByDevice, Received::BySoftware]);
        let sessions = (0..30).map(|n| (n, Session::random(&mut random))).collect();
        Self {
            sim: Sim::with_neighbours(&chosen.policy, workers, neighbours, entries),
            rings: Rings::new(usize::from(workers), room, lossy),
            random,
            chosen,
            received,
            macs,
            sessions,
            born: 30,
            waiting: Vec::new(),
            records: HashMap::new(),
            tally: HashMap::new(),
            token: 0,
            crossed: 0,
            seen: Seen::default(),
        }
    }

    /// One thing happens, and everything is checked.
    pub fn step(&mut self) {
        match self.random.below(100) {
            0..40 => self.burst(),
            40..70 => self.gentle(),
            70..80 => self.probe(),
            80..88 => self.pass_time(),
            88..92 => self.reload(),
            92..96 => self.announce(),
            _ => self.rest(),
        }
        self.collect();
        checks::always(&self.sim);
    }

    /// Everything under way arrives.
    pub fn rest(&mut self) {
        self.rings.settle(&mut self.sim, &mut self.random);
        self.collect();
        let unnamed = self.crossed + self.rings.lost_openings;
        checks::at_rest(&mut self.sim, &self.tally, unnamed);
        for worker in &mut self.sim.workers {
            worker.conntrack_mut().v4.expire(self.sim.now, usize::MAX);
            worker.conntrack_mut().v6.expire(self.sim.now, usize::MAX);
        }
        let held = checks::holds(&self.sim);
        self.seen.note("books of what is held", u64::from(held));
    }

    /// The end of the world: what the gateway itself has counted.
    pub fn end(&mut self) {
        self.rest();
        for worker in &self.sim.workers {
            let table = &worker.conntrack().v4;
            self.seen.note("evicted", table.evicted());
            self.seen.note("expired", table.expired());
        }
        for counters in &self.sim.counters {
            for found in Found::ALL {
                self.seen
                    .note(found.label(), counters.handed_over(found).read());
            }
        }
        self.seen.note("crossed", self.crossed);
        let slow = &self.sim.slow_counters;
        let counts = self.sim.shared.expectations.counts();
        self.seen.note("announced", counts.created);
        self.seen.note("announced and met", counts.matched);
        self.seen.note("reassembled", slow.consumed.read());
        self.seen.note("cut", slow.fragments_made.read());
        announce::nothing_is_left(&mut self.sim);
    }

    /// Up to 64 frames of one port, and some of what follows from them.
    fn burst(&mut self) {
        let count = 1 + self.random.below(64);
        for _ in 0..count {
            let frame = self.frame();
            self.waiting.extend(frame);
        }
        let port = self.random.pick(&[LAN, WAN]);
        let mut frames = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() && frames.len() < 64 {
            if self.waiting[at].0 == port && !self.random.chance(20) {
                frames.push(self.waiting.swap_remove(at));
            } else {
                at += 1;
            }
        }
        self.inject(port, frames, None);
        for _ in 0..self.random.below(6) {
            self.rings.step(&mut self.sim, &mut self.random);
        }
    }

    /// A frame of the world, or several.
    fn frame(&mut self) -> Vec<Waiting> {
        let slot = self.random.below(self.sessions.len());
        if self.random.chance(4) {
            self.born += 1;
            self.sessions[slot] = (self.born, Session::random(&mut self.random));
        }
        let macs = self.macs;
        let (number, session) = &mut self.sessions[slot];
        let number = *number;
        match self.random.below(100) {
            0..75 => {
                let (port, towards, frame) = session.packet(&mut self.random, macs);
                vec![(port, Some((slot, number, towards)), frame)]
            }
            75..83 => {
                let error = session.error(&mut self.random, macs);
                error.into_iter().map(|(port, f)| (port, None, f)).collect()
            }
            83..85 => {
                let (port, frame) = announce::call(&mut self.random, macs);
                vec![(port, None, frame)]
            }
            85..87 => self.pieces(),
            87..89 => vec![self.question()],
            _ => {
                let (port, _, sample) = session.packet(&mut self.random, macs);
                vec![(port, None, hostile(&mut self.random, &sample))]
            }
        }
    }

    /// A datagram in fragments, some of which may be lost, in any order.
    fn pieces(&mut self) -> Vec<Waiting> {
        let (from, to) = if self.random.chance(50) {
            ("192.168.88.10:5000", "198.51.100.1:90")
        } else {
            ("[fd00:88::10]:5000", "[2001:db8:7::1]:90")
        };
        let from: std::net::SocketAddr = from.parse().unwrap();
        let craft = Craft::udp(from, to.parse().unwrap()).unwrap();
        let len = 1_500 + self.random.below(3_000);
        let id = u16::from(self.random.byte());
        let lan = crate::sim::LAN_MAC;
        let craft = craft
            .macs(lan, self.macs.of(from.ip()))
            .payload_len(len)
            .id(id);
        let mut pieces = Vec::new();
        // IPv6 packets cannot be cut on the way; those stay whole and are too big.
        let frame = craft.frame().unwrap();
        if fragment(&frame, 1_400, |piece| pieces.push(piece.to_vec())).is_err() {
            pieces.push(frame);
        }
        let lossless = self.random.chance(80);
        pieces.retain(|_| lossless || self.random.chance(60));
        pieces.into_iter().map(|piece| (LAN, None, piece)).collect()
    }

    /// A host looks for the gateway.
    fn question(&mut self) -> Waiting {
        let mut frame = Vec::new();
        if self.random.chance(50) {
            let host = Station {
                mac: self.macs.of(ip("192.168.88.10")),
                ip: [192, 168, 88, 10],
            };
            let to = turnpike_pipeline::ids::Mac::BROADCAST;
            arp::request(&mut frame, host, to, [192, 168, 88, 1]);
        } else {
            let v6 = |text: &str| match ip(text) {
                IpAddr::V6(ip) => ip.octets(),
                IpAddr::V4(_) => unreachable!(),
            };
            let host = Station6 {
                mac: self.macs.of(ip("fd00:88::10")),
                ip: v6("fd00:88::10"),
            };
            nd::solicit(&mut frame, host, v6("fd00:88::1"), nd::SolicitTo::Group);
        }
        (LAN, None, frame)
    }

    /// One frame alone: what its connection makes of it is known beforehand.
    fn gentle(&mut self) {
        self.rest();
        for (port, session, frame) in self.frame() {
            let expected = read(&frame)
                .filter(|p| {
                    p.icmp_role() != Some(turnpike_pipeline::packet::tuple::IcmpRole::Error)
                })
                .and_then(|parsed| checks::translation(&self.sim, &frame, &parsed));
            self.inject(port, vec![(port, session, frame)], expected);
            self.rest();
        }
    }

    /// A connection announces others, and somebody calls.
    fn announce(&mut self) {
        for _ in 0..3 {
            announce::announce(&mut self.sim, &mut self.random);
        }
        for _ in 0..4 {
            let (port, frame) = announce::call(&mut self.random, self.macs);
            self.inject(port, vec![(port, None, frame)], None);
        }
    }

    /// An answer to a live translated connection reaches the inside host.
    fn probe(&mut self) {
        self.rest();
        let now = self.sim.now;
        let mut candidates: Vec<(Tuple<V4>, Tuple<V4>)> = Vec::new();
        for worker in &self.sim.workers {
            for c in checks::connections(&worker.conntrack().v4, now) {
                let plain = matches!(c.pair.reply.proto, Proto::UDP | Proto::ICMP);
                let inside = c.pair.original.src.to_ip();
                if c.flags.contains(Flags::SRCNAT) && plain && inside.to_string().starts_with("192")
                {
                    candidates.push((c.pair.reply, c.pair.original));
                }
            }
        }
        if candidates.is_empty() {
            return;
        }
        let (reply, original) = self.random.pick(&candidates);
        let Some(frame) = answer(&reply, self.macs) else {
            return;
        };
        let expected = Translation {
            from: (original.dst.to_ip(), original.dst_port.0),
            to: (original.src.to_ip(), original.src_port.0),
        };
        self.inject(WAN, vec![(WAN, None, frame)], Some(expected));
        let token = self.token;
        self.rings.settle(&mut self.sim, &mut self.random);
        let end = self.sim.ends_of(token).pop().expect("every packet ends");
        self.collect();
        self.seen.note("probed", 1);
        let lost = matches!(
            end.reason,
            Some(
                DropReason::TxQueueFull
                    | DropReason::NeighbourUnreachable
                    | DropReason::NeighbourQueueFull
            )
        );
        let refused = !self.chosen.keeps_established
            && matches!(
                end.reason,
                Some(DropReason::FilterRule | DropReason::FilterReject)
            );
        let delivered = matches!(end.ending, Ending::Accept | Ending::Held);
        assert!(
            delivered || lost || refused,
            "an answer to {original:?} ends in {end:?}"
        );
    }

    fn pass_time(&mut self) {
        let millis = self.random.pick(&[1, 10, 200, 1_100, 6_000, 31_000]);
        let later = self.sim.now.as_micros() + millis * 1_000;
        self.sim.now = Tick::from_micros(later);
        // Not every worker finds the time to keep house.
        for worker in &mut self.sim.workers {
            if self.random.chance(70) {
                worker.housekeeping(self.sim.now);
            }
        }
        self.rings
            .at_slow_path(&mut self.sim, |sim, out| sim.slow.tick(sim.now, out));
    }

    fn reload(&mut self) {
        self.collect();
        self.crossed += self.rings.openings();
        if self.random.chance(70) {
            self.chosen = random_policy(&mut self.random);
        }
        let workers = u8::try_from(self.sim.workers.len()).unwrap();
        let before = std::sync::Arc::clone(&self.sim.program);
        let program = compile(&self.chosen.policy, workers, Some(&before));
        let program = std::sync::Arc::new(program);
        for worker in &mut self.sim.workers {
            worker.adopt(std::sync::Arc::clone(&program));
        }
        self.sim.program = std::sync::Arc::clone(&program);
        self.rings.at_slow_path(&mut self.sim, |sim, out| {
            sim.slow
                .adopt(std::sync::Arc::clone(&program), sim.now, out);
        });
        let old = std::mem::take(&mut self.tally);
        for (id, _) in program.rules.iter() {
            let counted = program.carried_from(id).and_then(|from| old.get(&from));
            self.tally.insert(id, counted.copied().unwrap_or(0));
        }
        self.seen.note("reloaded", 1);
    }

    fn inject(&mut self, port: PortId, frames: Vec<Waiting>, expected: Option<Translation>) {
        let workers = self.sim.workers.len();
        let mut queues: Vec<Vec<HeapBuffer>> = vec![Vec::new(); workers];
        for (_, session, frame) in frames {
            self.token += 1;
            let mut buf = HeapBuffer::new(frame.clone(), self.token);
            let parsed = parse(&mut buf);
            let record = Record {
                session,
                ttl: parsed.as_ref().map_or(0, |p| p.ttl),
                checksum: parsed
                    .as_ref()
                    .map_or(Checksum::Bad, |p| verify_l4(&buf, p)),
                expected,
                left: false,
            };
            self.records.insert(self.token, record);
            // A device knows nothing of what errors quote, and hashes fragments by address only.
            let stray = parsed.is_ok_and(|p| {
                p.fragment.is_fragment()
                    || p.icmp_role() == Some(turnpike_pipeline::packet::tuple::IcmpRole::Error)
            });
            let queue = match self.received {
                Received::BySoftware => 0,
                Received::ByDevice if stray => self.random.below(workers),
                Received::ByDevice => usize::from(queue_of(&self.sim, port, &frame).0),
            };
            queues[queue].push(HeapBuffer::new(frame, self.token));
        }
        for (at, frames) in queues.into_iter().enumerate() {
            let (sim, random) = (&mut self.sim, &mut self.random);
            self.rings
                .receive(sim, at, port, frames, self.received, random);
        }
    }

    /// Takes in what the gateway has sent and said.
    fn collect(&mut self) {
        for worker in &mut self.sim.workers {
            for (rule, packets) in std::mem::take(&mut worker.witness_mut().1) {
                *self.tally.entry(RuleId(rule)).or_default() += packets;
            }
        }
        let ends: Vec<(u64, End)> = self
            .sim
            .workers
            .iter_mut()
            .flat_map(|w| std::mem::take(&mut w.witness_mut().0))
            .collect();
        for (token, end) in ends {
            self.note_end(token, &end);
        }
        for emerged in std::mem::take(&mut self.rings.emerged) {
            self.hear(emerged);
        }
        self.sim.slow.witness_mut().0.clear();
    }

    fn note_end(&mut self, token: u64, end: &End) {
        // A packet that does not fit its connection is not translated by it, and a segment may
        // have opened the connection anew, under the rules of now.
        let record = self.records.get_mut(&token).expect("it went in");
        let session = record.session.map(|(slot, ..)| self.sessions[slot].1.kind);
        match end.state {
            Some(ConnState::Established) => {}
            Some(ConnState::New) if session != Some(Kind::Tcp) => {}
            Some(_) => record.expected = None,
            None => {}
        }
        match end.ending {
            Ending::Held => self.seen.note("held", 1),
            Ending::Drop | Ending::Reject => self.seen.note("dropped", 1),
            Ending::Accept | Ending::Local | Ending::Consumed => {}
        }
        if end.state == Some(ConnState::Related) {
            self.seen.note("related", 1);
        }
    }

    fn hear(&mut self, emerged: Emerged) {
        let (parsed, checksum) = checks::sound(&emerged.frame);
        if emerged.token == 0 {
            self.seen.note("made", 1);
            // A packet put together or cut up is a forwarded one; its checksum is its sender's.
            let forwarded = parsed.net != Net::Arp && !matches!(parsed.ttl, 64 | 255);
            assert!(
                forwarded || checksum == Checksum::Good,
                "a made frame: {parsed:?}"
            );
            assert!(parsed.net == Net::Arp || parsed.ttl > 0);
            self.answer_question(emerged.port, &emerged.frame, &parsed);
            return;
        }
        self.seen.note("forwarded", 1);
        let record = self.records.get_mut(&emerged.token).expect("it went in");
        assert!(!record.left, "a frame leaves once");
        record.left = true;
        assert_eq!(parsed.ttl + 1, record.ttl, "one hop less");
        assert_eq!(checksum, record.checksum, "{parsed:?} of {record:?}");
        let ends = ends_of(&emerged.frame, &parsed).expect("forwarded frames have addresses");
        assert!(!ends.0.0.is_multicast() && !ends.0.0.is_loopback());
        if let Some(Translation { from, to }) = record.expected {
            assert_eq!(ends, (from, to), "translated as its connection says");
            self.seen.note("translated", 1);
        }
        let Some((slot, number, towards)) = record.session else {
            return;
        };
        let (now, session) = &mut self.sessions[slot];
        if *now == number && !self.random.chance(10) {
            session.hear(towards, emerged.port, &emerged.frame, &parsed);
        }
    }

    /// Stations answer who looks for them, most of the time.
    fn answer_question(&mut self, port: PortId, frame: &[u8], parsed: &Parsed) {
        if self.random.chance(20) {
            return;
        }
        let mut answer = Vec::new();
        if let Some(asked) = arp::read(frame, parsed)
            && asked.kind == ArpKind::Request
            && asked.sender.ip != asked.target.ip
        {
            let target = IpAddr::from(asked.target.ip);
            let station = Station {
                mac: self.macs.of(target),
                ip: asked.target.ip,
            };
            arp::reply(&mut answer, station, asked.sender);
        }
        let buf = HeapBuffer::new(frame.to_vec(), 0);
        if let Some(Nd::Solicitation(asked)) = nd::read(&buf, parsed) {
            let station = Station6 {
                mac: self.macs.of(asked.target.into()),
                ip: asked.target,
            };
            nd::advertise(&mut answer, station, &asked, parsed.link.src);
        }
        if !answer.is_empty() {
            self.waiting.push((port, None, answer));
        }
    }
}

/// What the far end of a translated connection would send; `None` for what has no answer.
fn answer(reply: &Tuple<V4>, macs: Macs) -> Option<Vec<u8>> {
    let (src, dst) = (reply.src.to_ip(), reply.dst.to_ip());
    let craft = if reply.proto == Proto::UDP {
        let from = (src, reply.src_port.0).into();
        Craft::udp(from, (dst, reply.dst_port.0).into())?
    } else if reply.src_port.0 == 8 {
        let spec = IcmpSpec {
            id: reply.dst_port.0,
            ..IcmpSpec::default()
        };
        Craft::icmp(src, dst, spec)?
    } else {
        return None;
    };
    craft.macs(crate::sim::WAN_MAC, macs.of(src)).frame()
}
