//! What rules cost: a new connection, and a packet held against raw, among ten and ten thousand.
//!
//! Prints what it measures and exits 1 where a promise is broken: with 10,000 rules a new
//! connection costs at most twice what it costs with 10, and so does an established packet under
//! raw; 10,000 rules are compiled in 200 ms and 65,536 in 2 s, and take no more memory than is
//! said.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is said on the terminal"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use turnpike_benches::compile;
use turnpike_benches::rules::{Attempts, Established, blocklist, count, everything, realistic};
use turnpike_pipeline::burst::BURST_MAX;
use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::rules::classify::Index;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// How much more the most rules may cost than the fewest.
const SLOWDOWN_MAX: f64 = 2.0;
const ROUNDS: usize = 1_000;
const COMPILATIONS: usize = 3;
const COMPILE_10_000_MAX: Duration = Duration::from_millis(200);
const COMPILE_65_536_MAX: Duration = Duration::from_secs(2);
/// Bytes of indexes per rule, however many fields it asks about.
const BYTES_PER_RULE_MAX: usize = 1_536;

fn main() -> ExitCode {
    let mut broken = false;
    let mut promise = |kept: bool, what: String| {
        println!("{} {what}", if kept { "ok    " } else { "BROKEN" });
        broken |= !kept;
    };

    let mut rigs = SIZES.map(|rules| Attempts::under(&realistic(rules)));
    grows(
        &mut promise,
        "a new connection",
        rigs.each_mut().map(|rig| || rig.burst()),
    );
    let mut rigs = SIZES.map(|rules| Established::under(&blocklist(rules)));
    grows(
        &mut promise,
        "an established packet under raw",
        rigs.each_mut().map(|rig| || rig.burst()),
    );

    for (policy, max) in [
        (realistic(10_000), COMPILE_10_000_MAX),
        (realistic(65_535), COMPILE_65_536_MAX),
        (blocklist(65_535), COMPILE_65_536_MAX),
        (everything(65_535), COMPILE_65_536_MAX),
    ] {
        compiles(&mut promise, &policy, max);
    }
    if broken {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The time of a burst under each number of rules, the rigs taking turns: the tenth percentile,
/// because whatever else the machine does only adds.
fn grows(
    promise: &mut impl FnMut(bool, String),
    what: &str,
    mut rigs: [impl FnMut() -> Duration; SIZES.len()],
) {
    let mut times = SIZES.map(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (rig, times) in rigs.iter_mut().zip(&mut times) {
            times.push(rig());
        }
    }
    let each = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 10].as_secs_f64() * 1e9 / BURST_MAX as f64
    });
    for (rules, ns) in SIZES.iter().zip(each) {
        println!("       {what} under {rules} rules: {ns:.0} ns");
    }
    let slowdown = each[SIZES.len() - 1] / each[0];
    promise(
        slowdown <= SLOWDOWN_MAX,
        format!("{what}, most rules against fewest: {slowdown:.2} x"),
    );
}

fn compiles(promise: &mut impl FnMut(bool, String), policy: &Policy, max: Duration) {
    let rules = count(policy);
    // The fastest of a few: whatever else the machine does only adds.
    let mut taken = Duration::MAX;
    for _ in 0..COMPILATIONS {
        let start = Instant::now();
        black_box(compile(policy));
        taken = taken.min(start.elapsed());
    }
    let program = compile(policy);
    let bytes: usize = program.rules.indexes().map(Index::bytes).sum();
    promise(
        taken <= max && bytes <= rules * BYTES_PER_RULE_MAX,
        format!("{rules} rules are compiled in {taken:?}, their indexes take {bytes} bytes"),
    );
}
