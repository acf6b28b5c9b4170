//! What must hold of a gateway at any moment, and of everything it sends.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::nat::Pools;
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::table::{Connection, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{Address, Family, Proto, Tuple};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::ids::RuleId;
use turnpike_pipeline::packet::parse::{Net, Parsed, parse};
use turnpike_pipeline::packet::verify::{Checksum, verify_l4};
use turnpike_pipeline::policy::{Action, TableKind};

use crate::sim::{Sim, WAN};

/// Reads a frame that the gateway has sent; it has to be a sound one.
pub fn sound(frame: &[u8]) -> (Parsed, Checksum) {
    let mut buf = HeapBuffer::new(frame.to_vec(), 0);
    let parsed = parse(&mut buf).expect("what is sent can be read");
    let checksum = match parsed.net {
        Net::Arp => Checksum::Good,
        Net::V4 | Net::V6 => verify_l4(&buf, &parsed),
    };
    (parsed, checksum)
}

/// Every live connection of one table.
pub fn connections<F: Family>(table: &Table<F>, now: Tick) -> Vec<Connection<F>> {
    let mut all = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = table.walk(at, 1_000, now, |c| all.push(c));
    }
    all
}

/// What holds even while packets are under way.
pub fn always(sim: &Sim) {
    for worker in &sim.workers {
        worker.conntrack().v4.check_invariants().expect("IPv4");
        worker.conntrack().v6.check_invariants().expect("IPv6");
    }
    let expectations = &sim.shared.expectations;
    expectations.check_invariants().expect("expectations");
    tuples(sim, |w| &sim.workers[w].conntrack().v4);
    tuples(sim, |w| &sim.workers[w].conntrack().v6);
}

/// What is owned once: tuples by one connection of one worker, external ports by one inside
/// endpoint; and who asks for the owner of a tuple finds it.
fn tuples<'a, F: Family>(sim: &Sim, table: impl Fn(usize) -> &'a Table<F>) {
    let mut owners: HashMap<Tuple<F>, (usize, Direction)> = HashMap::new();
    let mut inside: HashMap<(Endpoint<F>, Proto), Endpoint<F>> = HashMap::new();
    for worker in 0..sim.workers.len() {
        for c in connections(table(worker), sim.now) {
            let (original, reply) = (c.pair.original, c.pair.reply);
            for (tuple, direction) in [(original, Direction::Original), (reply, Direction::Reply)] {
                let one = (worker, direction);
                let other = owners.insert(tuple, one);
                assert_eq!(other, None, "{tuple:?} lives twice, also as {one:?}");
            }
            found_by_all(sim, worker, &c);
            let numbered = original.proto.has_ports() || F::table_is_icmp(original.proto);
            let claimed = sim.pools(reply.dst.to_ip());
            if c.flags.contains(Flags::SRCNAT) && numbered && claimed {
                let external = ((reply.dst, reply.dst_port.0), reply.proto);
                let endpoint = (original.src, original.src_port.0);
                let known = *inside.entry(external).or_insert(endpoint);
                assert_eq!(known, endpoint, "two inside endpoints share {external:?}");
            }
        }
    }
}

/// A connection lives where its reply arrives; the steering map, or else the hash, leads its
/// original direction there, and leads its reply nowhere else.
fn found_by_all<F: Family>(sim: &Sim, worker: usize, c: &Connection<F>) {
    // Every port of the harness distributes alike.
    let port = sim.program.interfaces.port(WAN).expect("a port");
    let by_hash = |tuple| usize::from(port.distribution.worker(tuple).0);
    let steered = |tuple| sim.shared.steering.find(tuple).map(|w| usize::from(w.0));
    let (original, reply) = (&c.pair.original, &c.pair.reply);
    assert_eq!(
        by_hash(reply),
        worker,
        "the reply of {c:?} arrives elsewhere"
    );
    assert_eq!(steered(reply), None, "the reply of {c:?} is steered");
    let flagged = c.flags.contains(Flags::STEERED);
    assert_eq!(steered(original), flagged.then_some(worker), "{c:?}");
    assert!(
        flagged || by_hash(original) == worker,
        "the original direction of {c:?} arrives elsewhere, and nobody says where it lives"
    );
}

/// External ports of one address that connections hold. One whose source was translated to what
/// it had been holds a port and does not show it, and so does one that came in through a mapping.
#[derive(Debug, Default)]
struct Ports {
    must: BTreeSet<(u8, u16)>,
    may: BTreeSet<(u8, u16)>,
}

/// Whatever a connection holds, and nothing else, is held: places in the steering map, and ports.
///
/// Expired connections hold on until they are reclaimed, and packets under way hold something, so
/// this is asked when both are gone: whether it could be.
pub fn holds(sim: &Sim) -> bool {
    if !sim.workers.iter().all(|w| {
        let tracked = w.conntrack();
        is_reclaimed(&tracked.v4, sim.now) && is_reclaimed(&tracked.v6, sim.now)
    }) {
        return false;
    }
    if !sim.shared.expectations.is_empty() {
        return false; // They hold ports for those that they announce.
    }
    let mut steered = 0;
    let mut ports: HashMap<IpAddr, Ports> = HashMap::new();
    for worker in &sim.workers {
        let tracked = worker.conntrack();
        steered += held(&tracked.v4, sim.now, &mut ports);
        steered += held(&tracked.v6, sim.now, &mut ports);
    }
    assert_eq!(
        sim.shared.steering.len(),
        steered,
        "places in the steering map"
    );
    in_use(&sim.program.pools4, &mut ports);
    in_use(&sim.program.pools6, &mut ports);
    true
}

/// The wheel reaches a connection up to a tick after its deadline.
fn is_reclaimed<F: Family>(table: &Table<F>, now: Tick) -> bool {
    connections(table, now).len() == table.len()
}

fn held<F: Family>(table: &Table<F>, now: Tick, ports: &mut HashMap<IpAddr, Ports>) -> usize {
    let all = connections(table, now);
    for c in &all {
        let reply = c.pair.reply;
        let Some(space) = PortSpace::of(reply.proto) else {
            continue;
        };
        let original = c.pair.original;
        let through = ports.entry(original.dst.to_ip()).or_default();
        through.may.insert((space as u8, original.dst_port.0));
        let own = ports.entry(reply.dst.to_ip()).or_default();
        let port = (space as u8, reply.dst_port.0);
        own.may.insert(port);
        if c.flags.contains(Flags::SRCNAT) {
            own.must.insert(port);
        }
    }
    let steered = all.iter().filter(|c| c.flags.contains(Flags::STEERED));
    steered.count()
}

fn in_use<F: Family>(pools: &Pools<F>, ports: &mut HashMap<IpAddr, Ports>) {
    for address in pools.addresses() {
        let held = ports.remove(&address.to_ip()).unwrap_or_default();
        let pool = pools.ports(address).expect("one of its own");
        for space in [PortSpace::Tcp, PortSpace::Udp, PortSpace::Icmp] {
            let of = |held: &BTreeSet<(u8, u16)>| {
                held.iter().filter(|(of, _)| *of == space as u8).count()
            };
            let (used, must, may) = (pool.in_use(space), of(&held.must), of(&held.may));
            assert!(
                (must..=may).contains(&used),
                "{used} {space:?} ports of {address:?} are in use, for {must} to {may} connections"
            );
        }
    }
}

trait IcmpOf {
    fn table_is_icmp(proto: Proto) -> bool;
}

impl<F: Family> IcmpOf for F {
    fn table_is_icmp(proto: Proto) -> bool {
        proto
            == if F::VERSION == 4 {
                Proto::ICMP
            } else {
                Proto::ICMPV6
            }
    }
}

/// What holds when nothing is under way; `lost` packets were judged and did not end under the
/// rule that decided.
pub fn at_rest(sim: &mut Sim, tally: &HashMap<RuleId, u64>, lost: u64) {
    let mut unnamed = 0;
    let (came, went) = sim.books();
    assert_eq!(came, went, "the books add up");
    for worker in &mut sim.workers {
        worker.fold();
    }
    for (id, rule) in sim.program.rules.iter() {
        let decides = match (&rule.action, rule.table) {
            (Action::Accept | Action::Drop | Action::Reject(_), TableKind::Filter) => true,
            (Action::Drop, TableKind::Raw) => true,
            (_, TableKind::Filter | TableKind::Raw | TableKind::Mangle | TableKind::Nat) => false,
        };
        if decides {
            let counted = sim.program.rule_counts(id).packets;
            let decided = tally.get(&id).copied().unwrap_or(0);
            assert!(
                counted >= decided,
                "{counted} of {decided} packets decided by {rule}"
            );
            unnamed += counted - decided;
        }
    }
    assert!(
        unnamed <= lost,
        "{unnamed} packets decided by rules have no end"
    );
}

/// An address and a number: a port, or an identifier.
type Endpoint<F> = (<F as Family>::Addr, u16);

/// Where the connection that has this tuple would send the packet: source and destination.
pub fn translation(sim: &Sim, frame: &[u8], parsed: &Parsed) -> Option<Translation> {
    match parsed.version()? {
        4 => of_family(sim, parsed.tuple(frame)?, |w| {
            &sim.workers[w].conntrack().v4
        }),
        _ => of_family(sim, parsed.tuple(frame)?, |w| {
            &sim.workers[w].conntrack().v6
        }),
    }
}

/// What a live connection makes of one of its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    pub from: (IpAddr, u16),
    pub to: (IpAddr, u16),
}

fn of_family<'a, F: Family>(
    sim: &Sim,
    key: Tuple<F>,
    table: impl Fn(usize) -> &'a Table<F>,
) -> Option<Translation> {
    (0..sim.workers.len()).find_map(|worker| {
        let flow = table(worker).lookup(&key, sim.now)?;
        let out = table(worker).pair(flow.id).outgoing(flow.direction);
        Some(Translation {
            from: (out.src.to_ip(), out.src_port.0),
            to: (out.dst.to_ip(), out.dst_port.0),
        })
    })
}
