//! Random operations on a table, held against a map that does the same the plain way.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{table, translated, tuple, udp};
use proptest::prelude::*;
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{Direction, FlowId, FlowRef};
use turnpike_conntrack::table::{CommitError, Tracked};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::{Proto, Tuple, V4};

const CAPACITY: usize = 12;

#[derive(Debug, Clone)]
enum Act {
    /// A packet with this original tuple and, if it is new, this external port.
    Packet {
        port: u16,
        external: u16,
    },
    Answer {
        external: u16,
    },
    Close {
        port: u16,
    },
    Wait(u64),
    Expire(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0u16..24, 0u16..24).prop_map(|(port, external)| Act::Packet { port, external }),
        3 => (0u16..24).prop_map(|external| Act::Answer { external }),
        1 => (0u16..24).prop_map(|port| Act::Close { port }),
        2 => (1u64..8_000).prop_map(Act::Wait),
        2 => (0usize..40).prop_map(Act::Expire),
    ]
}

fn original(port: u16) -> Tuple<V4> {
    tuple(Proto::UDP, &format!("10.0.0.2:{port} > 198.51.100.7:53"))
}

fn reply(external: u16) -> Tuple<V4> {
    tuple(
        Proto::UDP,
        &format!("198.51.100.7:53 > 203.0.113.2:{external}"),
    )
}

/// A connection as the model has it.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    external: u16,
    deadline: u64,
    start_secs: u64,
    answered: bool,
    assured: bool,
    packets: [u64; 2],
}

#[derive(Default)]
struct World {
    now: u64,
    connections: BTreeMap<u16, Model>,
}

impl World {
    fn live(&self, port: u16) -> bool {
        self.connections
            .get(&port)
            .is_some_and(|c| c.deadline > self.now)
    }

    fn by_external(&self, external: u16) -> Option<u16> {
        let mut live = self
            .connections
            .iter()
            .filter(|(port, _)| self.live(**port));
        live.find(|(_, c)| c.external == external)
            .map(|(port, _)| *port)
    }

    fn packet(&mut self, port: u16, direction: Direction) {
        let (now, c) = (
            self.now,
            self.connections.get_mut(&port).expect("a connection"),
        );
        c.packets[direction.index()] += 1;
        c.assured |= c.answered && now / 1_000 - c.start_secs >= 2;
        c.deadline = now + if c.assured { 180_000 } else { 10_000 };
        c.answered |= direction == Direction::Reply;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_table_does_what_a_map_does(
        acts in proptest::collection::vec(act(), 1..250),
        start in prop_oneof![Just(0u64), Just(u64::from(u32::MAX) - 20_000)],
    ) {
        let mut table = table(CAPACITY);
        let config = TrackingConfig::default();
        let mut world = World { now: start, ..World::default() };
        for act in acts {
            let now = Tick::from_millis(world.now);
            match act {
                Act::Packet { port, external } => {
                    let found = table.lookup(&original(port), now);
                    prop_assert_eq!(found.is_some(), world.live(port));
                    if let Some(flow) = found {
                        let tracked = table.track(flow, &udp(), now, &config);
                        prop_assert!(matches!(tracked, Tracked::Valid(_)));
                        world.packet(port, Direction::Original);
                    } else {
                        open(&mut table, &mut world, port, external)?;
                    }
                }
                Act::Answer { external } => {
                    let found = table.lookup(&reply(external), now);
                    let known = world.by_external(external);
                    prop_assert_eq!(found.is_some(), known.is_some());
                    if let (Some(flow), Some(port)) = (found, known) {
                        prop_assert_eq!(table.pair(flow.id).original, original(port));
                        table.track(flow, &udp(), now, &config);
                        world.packet(port, Direction::Reply);
                    }
                }
                Act::Close { port } => {
                    if let Some(flow) = table.lookup(&original(port), now) {
                        table.end(flow.id, Cause::Flushed);
                        world.connections.remove(&port);
                    }
                }
                Act::Wait(ms) => world.now += ms,
                Act::Expire(budget) => {
                    let before = table.len();
                    let expired = table.expire(now, budget);
                    prop_assert!(expired <= budget);
                    prop_assert_eq!(table.len(), before - expired);
                }
            }
            table.check_invariants().map_err(TestCaseError::fail)?;
            compare(&table, &world)?;
        }
        world.now += 400_000;
        table.expire(Tick::from_millis(world.now), 10_000);
        prop_assert!(table.is_empty());
    }
}

fn open(
    table: &mut turnpike_conntrack::table::Table<V4>,
    world: &mut World,
    port: u16,
    external: u16,
) -> Result<(), TestCaseError> {
    let now = Tick::from_millis(world.now);
    let evicted = table.evicted();
    let clash = world.by_external(external).is_some();
    let room = world.connections.keys().filter(|p| world.live(**p)).count() < CAPACITY;
    let new = translated(original(port), reply(external));
    match table.commit(new, &udp(), now, &TrackingConfig::default()) {
        Ok(_) => {
            prop_assert!(!clash);
            if table.evicted() > evicted {
                // Which one had to go is the table's choice, but it must not have been assured.
                prop_assert!(!room);
                let gone = world.connections.iter().find(|(port, _)| {
                    world.live(**port) && table.lookup(&original(**port), now).is_none()
                });
                let (gone, model) = gone.map(|(p, m)| (*p, m.clone())).expect("one is gone");
                prop_assert!(!model.assured);
                world.connections.remove(&gone);
            }
            world.connections.insert(
                port,
                Model {
                    external,
                    deadline: world.now + 10_000,
                    start_secs: world.now / 1_000,
                    answered: false,
                    assured: false,
                    packets: [1, 0],
                },
            );
        }
        Err(CommitError::NatClash) => prop_assert!(clash),
        Err(CommitError::TableFull) => {
            prop_assert!(!room && !clash);
            let assured = |(p, c): (&u16, &Model)| !world.live(*p) || c.assured;
            prop_assert!(world.connections.iter().all(assured));
        }
        Err(other) => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}

/// Everything that lives in the world is shown by a walk, as the world has it, and nothing else.
fn compare(
    table: &turnpike_conntrack::table::Table<V4>,
    world: &World,
) -> Result<(), TestCaseError> {
    let now = Tick::from_millis(world.now);
    let mut shown = BTreeMap::new();
    table.walk(0, usize::MAX, now, |c| {
        shown.insert(c.pair.original.src_port.0, c);
    });
    let live: Vec<u16> = world
        .connections
        .keys()
        .copied()
        .filter(|p| world.live(*p))
        .collect();
    prop_assert_eq!(shown.keys().copied().collect::<Vec<_>>(), live);
    for (port, c) in shown {
        let model = world.connections.get(&port).expect("it is live");
        prop_assert_eq!(c.packets, model.packets);
        prop_assert_eq!(c.pair.reply, reply(model.external));
        prop_assert_eq!(c.timeout, Duration::from_millis(model.deadline - world.now));
        prop_assert_eq!(c.flags.to_string().contains('A'), model.assured);
        let flow = FlowRef {
            id: FlowId(c.id.0),
            direction: Direction::Reply,
        };
        prop_assert!(table.is_current(flow, &reply(model.external)));
    }
    Ok(())
}
