//! Random operations on expectations, masters and children, held against plain maps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::expect::{child, first, to_port};
use crate::support::{KEY, plain, tuple, udp};
use proptest::prelude::*;
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::expect::{
    ChildLife, Class, ExpectError, Expectation, ExpectationId, MasterId, Reservation, Uses,
};
use turnpike_conntrack::ids::{FlowId, WorkerId};
use turnpike_conntrack::nat::{Pools, reserve};
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::table::{CommitError, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Port, Proto, V4};

const WORKERS: u8 = 2;
const OUTSIDE: [u8; 4] = [203, 0, 113, 2];

#[derive(Debug, Clone)]
enum Act {
    /// A control connection opens, or a packet of it comes.
    Control {
        n: u16,
    },
    /// A master, alive or ended, announces a connection to a port.
    Expect {
        n: u16,
        port: u16,
        class: u8,
        uses: Uses,
        life: ChildLife,
        reserved: bool,
    },
    /// What is announced, or not, opens at a worker.
    Child {
        port: u16,
        worker: u8,
    },
    /// A master, a child or an expectation ends.
    EndMaster {
        n: u16,
    },
    EndChild {
        port: u16,
    },
    Withdraw {
        port: u16,
    },
    Wait(u64),
    Sweep(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let uses = prop_oneof![4 => Just(Uses::Once), 1 => Just(Uses::UntilTimeout)];
    let life = prop_oneof![Just(ChildLife::Own), Just(ChildLife::Master)];
    let port = || 0u16..6;
    let announcement = (0u16..4, port(), 0u8..2, uses, life, any::<bool>());
    prop_oneof![
        3 => (0u16..4).prop_map(|n| Act::Control { n }),
        6 => announcement.prop_map(|(n, port, class, uses, life, reserved)| {
            Act::Expect { n, port, class, uses, life, reserved }
        }),
        6 => (port(), 0..WORKERS).prop_map(|(port, worker)| Act::Child { port, worker }),
        2 => (0u16..4).prop_map(|n| Act::EndMaster { n }),
        2 => port().prop_map(|port| Act::EndChild { port }),
        1 => port().prop_map(|port| Act::Withdraw { port }),
        3 => (1u64..8_000).prop_map(Act::Wait),
        2 => (0usize..200).prop_map(Act::Sweep),
    ]
}

fn class(number: u8) -> Class {
    Class {
        number,
        max_expected: 1 + number,
        timeout: Duration::from_secs(10),
    }
}

/// An expectation as the model has it; there is one per port.
#[derive(Debug, Clone)]
struct Awaited {
    id: ExpectationId,
    master: MasterId,
    class: u8,
    uses: Uses,
    life: ChildLife,
    reserved: bool,
    deadline: u64,
    age: usize,
}

#[derive(Debug, Clone)]
struct Child {
    worker: u8,
    id: FlowId,
    master: MasterId,
    life: ChildLife,
    holds: bool,
    deadline: u64,
}

/// A master's place in the table and its deadline.
type Alive = (FlowId, u64);

struct World {
    now: u64,
    shared: Arc<Shared>,
    pools: Pools<V4>,
    tables: Vec<Table<V4>>,
    /// Every name that a control connection ever had, with its place while it lives.
    masters: BTreeMap<u16, Vec<(MasterId, Option<Alive>)>>,
    awaited: BTreeMap<u16, Awaited>,
    children: BTreeMap<u16, Child>,
    made: usize,
}

impl World {
    fn new() -> Self {
        let shared = Arc::new(Shared::new(1_000, KEY));
        let table = |n| Table::new(WorkerId(n), 64, KEY, Arc::clone(&shared));
        Self {
            now: 0,
            pools: Pools::build(None, [OUTSIDE]),
            tables: (0..WORKERS).map(table).collect(),
            masters: BTreeMap::new(),
            awaited: BTreeMap::new(),
            children: BTreeMap::new(),
            made: 0,
            shared,
        }
    }

    fn tick(&self) -> Tick {
        Tick::from_millis(self.now)
    }

    fn lives(&self, master: MasterId) -> bool {
        let mut all = self.masters.values().flatten();
        all.any(|(id, place)| *id == master && place.is_some())
    }

    /// What can be met on a port.
    fn awaits(&self, port: u16) -> Option<&Awaited> {
        let awaited = self.awaited.get(&port)?;
        (awaited.deadline > self.now && self.lives(awaited.master)).then_some(awaited)
    }

    fn has_child(&self, port: u16) -> bool {
        self.children.get(&port).is_some_and(|c| {
            c.deadline > self.now && (c.life == ChildLife::Own || self.lives(c.master))
        })
    }

    fn control(&mut self, n: u16) {
        let now = self.tick();
        let tuple = tuple(Proto::UDP, &format!("10.0.0.2:{n} > 198.51.100.7:21"));
        let table = &mut self.tables[0];
        let config = TrackingConfig::default();
        let id = match table.lookup(&tuple, now) {
            Some(flow) => {
                table.track(flow, &udp(), now, &config);
                flow.id
            }
            None => {
                // The one before has expired, if there was one; its place may be taken again.
                let new = plain(tuple);
                let id = table.commit(new, &udp(), now, &config).expect("room");
                let old = self.masters.entry(n).or_default();
                old.iter_mut().for_each(|(_, place)| *place = None);
                id
            }
        };
        let master = table.announce(id).expect("a place");
        let all = self.masters.entry(n).or_default();
        all.retain(|(known, _)| *known != master);
        all.push((master, Some((id, self.now + 10_000))));
    }

    /// The table has ended what has expired; so does the model.
    fn reap(&mut self) {
        let now = self.tick();
        for table in &mut self.tables {
            table.expire(now, 10_000);
        }
        // The wheel is as much as a tick late; a master ends when its place is reclaimed.
        for (_, place) in self.masters.values_mut().flatten() {
            if let Some((id, deadline)) = *place
                && deadline <= self.now
            {
                self.tables[0].end(id, Cause::Flushed);
                *place = None;
            }
        }
        let now = self.now;
        self.children.retain(|_, child| child.deadline > now);
    }
}

/// What the table must say to an announcement.
fn verdict(
    world: &World,
    master: MasterId,
    port: u16,
    number: u8,
) -> Result<Option<u16>, ExpectError> {
    if let Some(other) = world.awaits(port) {
        if other.master != master || other.class != number {
            return Err(ExpectError::Clash);
        }
        return Ok(Some(port));
    }
    let mine = world
        .awaited
        .iter()
        .filter(|(p, a)| a.master == master && a.class == number && world.awaits(**p).is_some());
    let mut mine: Vec<_> = mine.map(|(p, a)| (a.age, *p)).collect();
    mine.sort_unstable();
    let crowded = mine.len() >= usize::from(class(number).max_expected);
    Ok(mine.first().filter(|_| crowded).map(|(_, p)| *p))
}

fn announce(world: &mut World, act: &Act) -> Result<(), TestCaseError> {
    let &Act::Expect {
        n,
        port,
        class: number,
        uses,
        life,
        reserved,
    } = act
    else {
        return Ok(());
    };
    let Some((master, place)) = world.masters.get(&n).and_then(|all| all.last()).copied() else {
        return Ok(());
    };
    let inside = ([10, 0, 0, 2], Port(port));
    let claim = reserve(
        &world.pools,
        Proto::UDP,
        (OUTSIDE, Port(port)),
        inside,
        &KEY,
    );
    let reservation = match claim.filter(|_| reserved) {
        Some(claim) => Reservation::Destination(claim),
        None => Reservation::None,
    };
    let new = Expectation {
        uses,
        life,
        reservation,
        ..to_port(port)
    };
    let expected = if place.is_some() {
        verdict(world, master, port, number)
    } else {
        Err(ExpectError::MasterGone)
    };
    let all = &world.shared.expectations;
    let made = all.expect(master, &class(number), new, world.tick());
    match (made, expected) {
        (Ok(id), Ok(gone)) => {
            if let Some(gone) = gone {
                world.awaited.remove(&gone);
            }
            world.made += 1;
            world.awaited.insert(
                port,
                Awaited {
                    id,
                    master,
                    class: number,
                    uses,
                    life,
                    reserved,
                    deadline: world.now + 10_000,
                    age: world.made,
                },
            );
        }
        // Of a master that is gone, the clash may be seen first.
        (Err(ExpectError::Clash), Err(ExpectError::MasterGone)) => {
            prop_assert!(world.awaits(port).is_some());
        }
        (made, expected) => prop_assert_eq!(made.map(|_| None), expected),
    }
    Ok(())
}

fn open(world: &mut World, port: u16, worker: u8) -> Result<(), TestCaseError> {
    let now = world.tick();
    let found = world.shared.expectations.find(&first(port), now);
    let awaited = world.awaits(port).cloned();
    prop_assert_eq!(found.is_some(), awaited.is_some());
    let (Some(expected), Some(awaited)) = (found, awaited) else {
        return Ok(());
    };
    let known = world.children.get(&port).map(|c| c.worker);
    if known.is_some_and(|known| known != worker) && world.has_child(port) {
        return Ok(());
    }
    let opened = world.tables[usize::from(worker)].commit(
        child(port, expected),
        &udp(),
        now,
        &TrackingConfig::default(),
    );
    if world.has_child(port) {
        prop_assert_eq!(opened, Err(CommitError::NatClash));
        return Ok(());
    }
    let Ok(id) = opened else {
        return Err(TestCaseError::fail(format!("{opened:?}")));
    };
    if let Some(old) = world.children.remove(&port)
        && old.worker != worker
    {
        // An orphan that nobody has asked for since is still in its table.
        world.tables[usize::from(old.worker)].end(old.id, Cause::Flushed);
    }
    let once = awaited.uses == Uses::Once;
    if once {
        world.awaited.remove(&port);
    }
    world.children.insert(
        port,
        Child {
            worker,
            id,
            master: awaited.master,
            life: awaited.life,
            holds: once && awaited.reserved,
            deadline: world.now + 10_000,
        },
    );
    Ok(())
}

fn end(world: &mut World, act: &Act) {
    match *act {
        Act::EndMaster { n } => {
            let last = world.masters.get_mut(&n).and_then(|all| all.last_mut());
            if let Some((_, place)) = last
                && let Some((id, _)) = place.take()
            {
                world.tables[0].end(id, Cause::Flushed);
            }
        }
        Act::EndChild { port } => {
            if let Some(child) = world.children.remove(&port) {
                world.tables[usize::from(child.worker)].end(child.id, Cause::Flushed);
            }
        }
        Act::Withdraw { port } => {
            if let Some(awaited) = world.awaited.remove(&port) {
                world.shared.expectations.withdraw(awaited.id);
            }
        }
        Act::Control { .. } | Act::Expect { .. } | Act::Child { .. } => {}
        Act::Wait(ms) => {
            world.now += ms;
            world.reap();
        }
        Act::Sweep(budget) => {
            let all = &world.shared.expectations;
            all.sweep(budget, budget, world.tick());
        }
    }
}

fn compare(world: &World) -> Result<(), TestCaseError> {
    let all = &world.shared.expectations;
    all.check_invariants().map_err(TestCaseError::fail)?;
    for table in &world.tables {
        table.check_invariants().map_err(TestCaseError::fail)?;
    }
    for port in 0..6 {
        let found = all.find(&first(port), world.tick());
        prop_assert_eq!(
            found.is_some(),
            world.awaits(port).is_some(),
            "port {}",
            port
        );
    }
    for child in world.children.values() {
        let table = &world.tables[usize::from(child.worker)];
        let listed = table.connection(child.id, world.tick());
        let ended = child.life == ChildLife::Master && !world.lives(child.master);
        prop_assert_eq!(listed.is_some(), !ended);
        let master = listed.and_then(|c| c.master);
        prop_assert_eq!(master.is_some(), !ended && world.lives(child.master));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn expectations_do_what_maps_do_and_leave_nothing_behind(
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        let mut world = World::new();
        for act in acts {
            match act {
                Act::Control { n } => world.control(n),
                Act::Expect { .. } => announce(&mut world, &act)?,
                Act::Child { port, worker } => open(&mut world, port, worker)?,
                Act::EndMaster { .. } | Act::EndChild { .. } | Act::Withdraw { .. }
                | Act::Wait(_) | Act::Sweep(_) => end(&mut world, &act),
            }
            compare(&world)?;
        }
        let all = &world.shared.expectations;
        all.sweep(0, usize::MAX / 2, world.tick());
        let held: Vec<_> = world.children.values().filter(|c| c.holds).collect();
        let waiting = world.awaited.iter().filter(|(p, a)| {
            a.reserved && world.awaits(**p).is_some()
        });
        let held = held.len() + waiting.count();
        let ports = world.pools.ports(OUTSIDE).expect("an address");
        let in_use: usize = (0..6).map(|p| ports.users(PortSpace::Udp, Port(p))).sum();
        prop_assert_eq!(in_use, held, "ports are held by who is there");
        world.now += 1_000_000;
        world.reap();
        world.shared.expectations.sweep(0, usize::MAX / 2, world.tick());
        prop_assert_eq!(world.shared.expectations.masters(), 0);
        prop_assert!(world.shared.expectations.is_empty());
    }
}
