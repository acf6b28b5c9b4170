//! What must hold of a gateway at any moment, and of everything it sends.

use std::collections::HashMap;
use std::net::IpAddr;

use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::table::{Connection, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{Address, Family, Proto, Tuple};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::ids::RuleId;
use turnpike_pipeline::packet::parse::{Net, Parsed, parse};
use turnpike_pipeline::packet::verify::{Checksum, verify_l4};
use turnpike_pipeline::policy::{Action, TableKind};

use crate::sim::Sim;

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

/// One owner per tuple, and one inside endpoint per external port.
///
/// One exception: a worker that enters a steered reply tuple does not know which tuples the worker
/// has that the hash names. The answer goes to that one's connection.
fn tuples<'a, F: Family>(sim: &Sim, table: impl Fn(usize) -> &'a Table<F>) {
    let mut owners: HashMap<Tuple<F>, (usize, Direction, bool)> = HashMap::new();
    let mut inside: HashMap<(Endpoint<F>, Proto), Endpoint<F>> = HashMap::new();
    for worker in 0..sim.workers.len() {
        for c in connections(table(worker), sim.now) {
            let (original, reply) = (c.pair.original, c.pair.reply);
            let steered = c.flags.contains(Flags::STEERED);
            for (tuple, direction) in [(original, Direction::Original), (reply, Direction::Reply)] {
                let one = (worker, direction, steered);
                let Some(other) = owners.insert(tuple, one) else {
                    continue;
                };
                let apart = other.0 != worker;
                let by_steering = [one, other]
                    .iter()
                    .any(|(_, direction, steered)| *direction == Direction::Reply && *steered);
                assert!(
                    apart && by_steering,
                    "{tuple:?} lives twice: {one:?}, {other:?}"
                );
            }
            let numbered = original.proto.has_ports() || F::table_is_icmp(original.proto);
            if c.flags.contains(Flags::SRCNAT) && numbered {
                let external = ((reply.dst, reply.dst_port.0), reply.proto);
                let endpoint = (original.src, original.src_port.0);
                let known = *inside.entry(external).or_insert(endpoint);
                assert_eq!(known, endpoint, "two inside endpoints share {external:?}");
            }
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

/// What holds when nothing is under way.
pub fn at_rest(sim: &mut Sim, tally: &HashMap<RuleId, u64>) {
    let (came, went) = sim.books();
    assert_eq!(came, went, "the books add up");
    for worker in &mut sim.workers {
        worker.fold();
    }
    for (id, rule) in sim.program.rules.iter() {
        let decides = match (&rule.action, rule.table) {
            (Action::Accept | Action::Drop | Action::Reject(_), TableKind::Filter) => true,
            (Action::Drop, TableKind::Raw) => true,
            (_, TableKind::Filter | TableKind::Raw | TableKind::Nat) => false,
        };
        if decides {
            let counted = sim.program.rule_counts(id).packets;
            let decided = tally.get(&id).copied().unwrap_or(0);
            assert_eq!(counted, decided, "packets decided by {rule}");
        }
    }
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
