//! Expectations under real threads: one maker, several takers, masters that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::expect::{child, first, to_port};
use crate::support::{KEY, plain, tuple, udp};
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::expect::{
    Class, Destination, ExpectError, Expectation, MasterId, Reservation, Uses,
};
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::nat::{Pools, reserve};
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::table::Table;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Port, Proto, V4};

const CLASS: Class = Class {
    number: 0,
    max_expected: 8,
    timeout: Duration::from_secs(10),
};
const NOW: Tick = Tick::from_secs(5);
const ROUNDS: u32 = 20_000;
const PORTS: u32 = 2;
const TAKERS: u8 = 3;

/// What is announced in a round says so twice in its translation: a torn read contradicts itself.
fn announced(port: u16, round: u32, uses: Uses, claim: Reservation) -> Expectation<V4> {
    let [.., a, b] = round.to_be_bytes();
    Expectation {
        uses,
        new_destination: Destination::To([10, a, b, a], Port(u16::from_be_bytes([a, b]))),
        reservation: claim,
        ..to_port(port)
    }
}

fn assert_whole(read: Destination<V4>) {
    let Destination::To([_, a, b, c], port) = read else {
        panic!("{read:?}");
    };
    let whole = c == a && port == Port(u16::from_be_bytes([a, b]));
    assert!(whole, "a torn read: {read:?}");
}

#[test]
fn of_workers_that_race_for_an_expectation_exactly_one_takes_it() {
    let shared = Arc::new(Shared::new(1_000, KEY));
    let pools = Pools::<V4>::build(None, [[203, 0, 113, 2]]);
    let table = |n| Table::<V4>::new(WorkerId(n), 4, KEY, Arc::clone(&shared));
    let mut control = table(9);
    let config = TrackingConfig::default();
    let new = plain(tuple(Proto::UDP, "10.0.0.2:1 > 198.51.100.7:21"));
    let id = control.commit(new, &udp(), NOW, &config).expect("room");
    let master = control.announce(id).expect("a place");
    let (made, taken, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for worker in 0..TAKERS {
            let (mut table, taken, done) = (table(worker), &taken, &done);
            let all = &shared.expectations;
            scope.spawn(move || {
                let mut port = u16::from(worker);
                let mut late = 0;
                while !done.load(Ordering::Acquire) || !all.is_empty() {
                    late += u32::from(done.load(Ordering::Relaxed));
                    assert!(late < 1_000_000, "what is left is never found");
                    port = (port + 1) % u16::try_from(PORTS).expect("small");
                    let Some(expected) = all.find(&first(port), NOW) else {
                        continue;
                    };
                    assert_whole(expected.new_destination);
                    let new = child(port, expected);
                    if let Ok(id) = table.commit(new, &udp(), NOW, &TrackingConfig::default()) {
                        taken.fetch_add(1, Ordering::Relaxed);
                        table.end(id, Cause::Flushed);
                    }
                }
            });
        }
        let _when_done = Done(&done);
        for round in 0..ROUNDS {
            // In the first half everybody waits for the same one; in the second it is replaced
            // while it is read.
            let ports = if round < ROUNDS / 2 { 1 } else { PORTS };
            while ports == 1 && !shared.expectations.is_empty() {
                std::hint::spin_loop();
            }
            let port = u16::try_from(round % ports).expect("small");
            let inside = ([10, 0, 0, 2], Port(port));
            let outside = ([203, 0, 113, 2], Port(port));
            let claim = reserve(&pools, Proto::UDP, outside, inside, &KEY).expect("its own");
            let new = announced(port, round, Uses::Once, Reservation::Destination(claim));
            match shared.expectations.expect(master, &CLASS, new, NOW) {
                Ok(_) => _ = made.fetch_add(1, Ordering::Relaxed),
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    let counts = shared.expectations.counts();
    assert_eq!(counts.fulfilled, u64::from(taken.into_inner()));
    assert_eq!(counts.fulfilled + counts.replaced, u64::from(ROUNDS));
    assert!(counts.fulfilled > 0, "{counts:?}");
    shared.expectations.check_invariants().expect("sound");
    let ports = pools.ports([203, 0, 113, 2]).expect("an address");
    assert_eq!(ports.in_use(PortSpace::Udp), 0, "every port is given back");
    control.end(id, Cause::Flushed);
    assert_eq!(shared.expectations.masters(), 0);
}

#[test]
fn nothing_of_an_ended_master_is_left_however_its_end_falls() {
    let shared = Arc::new(Shared::new(1_000, KEY));
    let config = TrackingConfig::default();
    let (name, ended) = (AtomicMaster::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let all = &shared.expectations;
        // The slow path announces for whichever master it heard of last.
        scope.spawn(|| {
            let mut port = 0;
            while !ended.load(Ordering::Acquire) {
                port = (port + 1) % 16;
                let Some(master) = name.load() else { continue };
                let new = announced(port, u32::from(port), Uses::UntilTimeout, Reservation::None);
                match all.expect(master, &CLASS, new, NOW) {
                    Ok(_) | Err(ExpectError::MasterGone | ExpectError::Clash) => {}
                    Err(error @ (ExpectError::Full | ExpectError::Reservation)) => {
                        panic!("{error:?}")
                    }
                }
            }
        });
        // A worker meets them, another one sweeps.
        scope.spawn(|| {
            let mut table = Table::<V4>::new(WorkerId(1), 4, KEY, Arc::clone(&shared));
            let mut port = 0;
            while !ended.load(Ordering::Acquire) {
                port = (port + 1) % 16;
                if let Some(expected) = all.find(&first(port), NOW) {
                    let new = child(port, expected);
                    if let Ok(id) = table.commit(new, &udp(), NOW, &config) {
                        table.end(id, Cause::Flushed);
                    }
                }
            }
        });
        scope.spawn(|| {
            let mut at = 0;
            while !ended.load(Ordering::Acquire) {
                at = all.sweep(at, 16, NOW);
            }
        });
        let _when_done = Done(&ended);
        let mut table = Table::<V4>::new(WorkerId(0), 4, KEY, Arc::clone(&shared));
        for _ in 0..ROUNDS {
            let new = plain(tuple(Proto::UDP, "10.0.0.2:1 > 198.51.100.7:21"));
            let id = table.commit(new, &udp(), NOW, &config).expect("room");
            name.store(table.announce(id).expect("a place"));
            table.end(id, Cause::Flushed);
        }
    });
    shared.expectations.sweep(0, usize::MAX / 2, NOW);
    assert!(shared.expectations.is_empty());
    assert_eq!(shared.expectations.masters(), 0);
    shared.expectations.check_invariants().expect("sound");
}

/// Tells the others to stop, also when a check fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The name of a master, passed between threads as a ring would.
#[derive(Default)]
struct AtomicMaster(std::sync::Mutex<Option<MasterId>>);

impl AtomicMaster {
    fn store(&self, master: MasterId) {
        *self.0.lock().expect("no panic") = Some(master);
    }

    fn load(&self) -> Option<MasterId> {
        *self.0.lock().expect("no panic")
    }
}
