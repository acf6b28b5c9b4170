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
#[path = "sim/residual.rs"]
mod residual;
#[path = "sim/rings.rs"]
mod rings;
#[path = "sim/traffic.rs"]
mod traffic;
#[path = "sim/world.rs"]
mod world;

use policies::random_policy;
use random::Random;
use residual::residual_rules;
use sim::{Ends, PEER_MAC, Sim};
use traffic::{Macs, Session};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::Family;
use turnpike_conntrack::walk::Connection;
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::worker::{Keep, Worker};
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

/// Every packet held against every rule has the end that it has by what its flow keeps, an outcome
/// or a plan: the same frames, verdicts, connections and counters.
#[test]
fn what_a_flow_keeps_says_what_judging_anew_would_say() {
    let (mut kept, mut led) = ((0, 0), 0);
    for seed in seeds() {
        let _named = Named(seed, "what_a_flow_keeps");
        let mut random = Random::new(seed);
        let mut policy = random_policy(&mut random).policy;
        residual_rules(&mut policy, &mut random);
        let workers = random.pick(&[1, 2]);
        let [mut keeping, mut forgetting] = [Keep::Outcomes, Keep::Nothing].map(|keep| {
            Sim::keeping(
                &policy,
                workers,
                (Neighbours::Assume(PEER_MAC), 1_000),
                keep,
            )
        });
        let mut sessions: Vec<_> = (0..6).map(|_| Session::random(&mut random)).collect();
        for _ in 0..STEPS {
            let slot = random.below(sessions.len());
            let session = &mut sessions[slot];
            let (port, towards, frame) = session.packet(&mut random, Macs::Assumed);
            let sent = keeping.inject(port, frame.clone());
            let again = forgetting.inject(port, frame);
            assert_eq!(sent, again, "the same frames");
            let (end, other) = (keeping.last_end(), forgetting.last_end());
            assert_eq!(end, other, "the same end");
            led += usize::from(end.out == Some(residual::WAN2_IF));
            let through = sent
                .iter()
                .find(|(out, _)| end.out.is_some() && *out != port);
            if let Some((out, frame)) = through {
                session.hear(towards, *out, frame, &checks::sound(frame).0);
            }
        }
        for sim in [&mut keeping, &mut forgetting] {
            sim.workers.iter_mut().for_each(Worker::fold);
            let (came, went) = sim.books();
            assert_eq!(came, went, "the books add up");
        }
        for (id, rule) in keeping.program.rules.iter() {
            let (counts, others) = (
                keeping.program.rule_counts(id),
                forgetting.program.rule_counts(id),
            );
            assert_eq!(counts, others, "{rule}");
        }
        for (worker, other) in keeping.workers.iter().zip(&forgetting.workers) {
            let (outcomes, plans) = worker.kept();
            kept = (kept.0 + outcomes, kept.1 + plans);
            assert_eq!(other.kept(), (0, 0));
            let (these, those) = (
                connections(worker, keeping.now),
                connections(other, forgetting.now),
            );
            assert_eq!(these, those, "the same connections");
        }
    }
    assert!(kept.0 > 0 && kept.1 > 0, "outcomes and plans: {kept:?}");
    assert!(led > 100, "by the second way: {led}");
}

/// What may be known of a worker's live connections.
fn connections(worker: &Worker<HeapBuffer, Ends>, now: Tick) -> Vec<String> {
    let mut all = Vec::new();
    let conntrack = worker.conntrack();
    conntrack
        .v4
        .walk(0, usize::MAX, now, |c| all.push(words(&c)));
    conntrack
        .v6
        .walk(0, usize::MAX, now, |c| all.push(words(&c)));
    all
}

fn words<F: Family>(connection: &Connection<F>) -> String {
    let Connection {
        pair,
        state,
        flags,
        packets,
        bytes,
        timeout,
        mark,
        rule,
        ..
    } = connection;
    format!("{pair:?} {state:?} {flags} {packets:?} {bytes:?} {timeout:?} {mark} {rule:?}")
}
