//! A whole gateway in a hostile world, from a seed: workers, slow path and rings in an order that
//! chance decides, loss, reordering, reloads, small tables, and checks after each step.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_SEED=s` runs the one that a failure has named.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

#[path = "sim/checks.rs"]
mod checks;
#[path = "sim/policies.rs"]
mod policies;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/rings.rs"]
mod rings;
#[path = "sim/traffic.rs"]
mod traffic;
#[path = "sim/world.rs"]
mod world;

use world::World;

/// Seeds of a run that says nothing else.
const SEEDS: u64 = 60;
/// What happens in one world.
const STEPS: usize = 150;

/// Says which seed it was, if the world ends in a panic.
struct Named(u64, &'static str);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, test) = self;
            eprintln!(
                "seed {seed}; again: SIM_SEED={seed} cargo test -p turnpike-pipeline \
                 --test simulation {test}"
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn a_gateway_in_a_hostile_world_keeps_its_promises() {
    let mut seen = world::Seen::default();
    for seed in seeds() {
        let _named = Named(seed, "hostile");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        seen.add(&world.seen);
    }
    if number("SIM_SEED").is_none() {
        seen.assert_everything_happened();
    }
}
