//! A whole gateway in a hostile world, from a seed: workers, slow path and rings in an order that
//! chance decides, loss, reordering, reloads, small tables, and checks after each step.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_SEED=s` runs the one that a failure has named.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

#[path = "sim/announce.rs"]
mod announce;
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

use policies::random_policy;
use random::Random;
use sim::Sim;
use traffic::{Macs, Session};
use turnpike_conntrack::ids::ConnState;
use turnpike_pipeline::worker::Worker;
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

/// Every packet judged anew, because a reload of the same policy comes before it, has the end that
/// it has by the outcome its flow keeps: the same frames, verdicts and counters.
#[test]
fn a_kept_outcome_says_what_judging_anew_would_say() {
    let mut kept = 0;
    for seed in seeds() {
        let _named = Named(seed, "kept_outcome");
        let mut random = Random::new(seed);
        let mut chosen = random_policy(&mut random);
        while !chosen.keeps_established {
            // A reload ends connections that the rules refuse; here it must not matter.
            chosen = random_policy(&mut random);
        }
        let workers = random.pick(&[1, 2]);
        let mut kept_outcomes = Sim::new(&chosen.policy, workers);
        let mut judged_anew = Sim::new(&chosen.policy, workers);
        let mut sessions: Vec<_> = (0..6).map(|_| Session::random(&mut random)).collect();
        for _ in 0..STEPS {
            let slot = random.below(sessions.len());
            let session = &mut sessions[slot];
            let (port, towards, frame) = session.packet(&mut random, Macs::Assumed);
            let sent = kept_outcomes.inject(port, frame.clone());
            judged_anew.reload(&chosen.policy);
            let again = judged_anew.inject(port, frame);
            assert_eq!(sent, again, "the same frames");
            let (end, other) = (kept_outcomes.last_end(), judged_anew.last_end());
            assert_eq!(end, other, "the same end");
            kept += usize::from(end.state == Some(ConnState::Established));
            let through = sent
                .iter()
                .find(|(out, _)| end.out.is_some() && *out != port);
            if let Some((out, frame)) = through {
                session.hear(towards, *out, frame, &checks::sound(frame).0);
            }
        }
        for sim in [&mut kept_outcomes, &mut judged_anew] {
            sim.workers.iter_mut().for_each(Worker::fold);
            let (came, went) = sim.books();
            assert_eq!(came, went, "the books add up");
        }
        for (id, rule) in kept_outcomes.program.rules.iter() {
            let (counts, others) = (
                kept_outcomes.program.rule_counts(id),
                judged_anew.program.rule_counts(id),
            );
            assert_eq!(counts, others, "{rule}");
        }
    }
    assert!(kept > 0, "no connection was answered");
}
