//! Ten million connections in one table: what they cost in memory, in time and in surprises.
//!
//! Prints what it measures and exits 1 where a promise is broken: ten million IPv4 connections in
//! 2 GiB, a bulk lookup at most three times as long as among a thousand, all memory taken when the
//! table is made, no page fault and no allocation afterwards. `--connections N` makes a smaller
//! table, for a short run; times are then printed and not judged.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is said on the terminal"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_benches::KEY;
use turnpike_benches::process::{faults, resident_bytes};
use turnpike_benches::table::{NOW, commit, key};
use turnpike_conntrack::ids::{FlowRef, WorkerId};
use turnpike_conntrack::table::{BULK_MAX, Table};
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Tuple, V4};

const CONNECTIONS: u32 = 10_000_000;
/// What they may take, everything that is taken per connection included.
const BYTES_MAX: u64 = 1 << 31;
/// How much longer a bulk lookup may take than among [`FEW`].
const SLOWDOWN_MAX: f64 = 3.0;
const FEW: u32 = 1_000;
/// Page faults that ten million insertions and lookups may meet: what the process itself does.
const FAULTS_MAX: u64 = 64;
const ROUNDS: usize = 101;
const BURSTS: u32 = 500;

fn main() -> ExitCode {
    let mut arguments = std::env::args()
        .skip_while(|a| a != "--connections")
        .skip(1);
    let connections = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(CONNECTIONS);
    let mut broken = Vec::new();
    let mut promise = |kept: bool, what: String| {
        println!("{} {what}", if kept { "ok    " } else { "BROKEN" });
        if !kept {
            broken.push(what);
        }
    };

    let before = resident_bytes();
    let mut table = empty(connections);
    let taken = resident_bytes() - before;
    let allowed = BYTES_MAX / u64::from(CONNECTIONS) * u64::from(connections) + (1 << 20);
    let each = taken / u64::from(connections);
    promise(
        taken <= allowed,
        format!("{connections} connections take {taken} bytes, {each} each; {allowed} are allowed"),
    );

    let (faults_before, start) = (faults(), Instant::now());
    let allocations = allocation_counter::measure(|| fill(&mut table, connections));
    let insert = start.elapsed() / connections;
    promise(
        table.len() == connections as usize,
        format!("{} of them are in, {insert:?} each", table.len()),
    );
    let more = faults() - faults_before;
    promise(
        more <= FAULTS_MAX,
        format!("{more} page faults since the table was made"),
    );
    promise(
        allocations.count_total == 0,
        format!("{} allocations since then", allocations.count_total),
    );

    let mut small = empty(FEW);
    fill(&mut small, FEW);
    let (few, many) = race(&small, &table, connections);
    let slowdown = many.as_secs_f64() / few.as_secs_f64();
    promise(
        slowdown <= SLOWDOWN_MAX || connections < CONNECTIONS,
        format!("a bulk lookup of {BULK_MAX} takes {few:?} among {FEW}, {many:?}: {slowdown:.2} x"),
    );
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn empty(connections: u32) -> Table<V4> {
    let shared = Arc::new(Shared::new(connections as usize, KEY));
    Table::new(WorkerId(0), connections as usize, KEY, shared)
}

fn fill(table: &mut Table<V4>, connections: u32) {
    for n in 0..connections {
        let _counted_by_the_caller = commit(table, n);
    }
}

/// The time of a bulk lookup in either table: the tenth percentile of many rounds, because whatever
/// else the machine does only adds. The tables take turns, so that it meets both.
fn race(few: &Table<V4>, many: &Table<V4>, connections: u32) -> (Duration, Duration) {
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    let mut at = [1, 1];
    for _ in 0..ROUNDS {
        for (n, (table, size)) in [(few, FEW), (many, connections)].into_iter().enumerate() {
            times[n].push(lookups(table, size, &mut at[n]) / BURSTS);
        }
    }
    let [few, many] = times.map(|mut t| {
        t.sort_unstable();
        t[ROUNDS / 10]
    });
    (few, many)
}

fn lookups(table: &Table<V4>, size: u32, at: &mut u32) -> Duration {
    let mut found: [Option<FlowRef>; BULK_MAX] = [None; BULK_MAX];
    let start = Instant::now();
    for _ in 0..BURSTS {
        let keys: [Tuple<V4>; BULK_MAX] = std::array::from_fn(|_| {
            // A multiplicative walk: no two bursts ask for neighbouring entries.
            *at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            key(*at % size)
        });
        table.lookup_bulk(&keys, &mut found, NOW);
        assert!(found.iter().all(Option::is_some), "every key is there");
        black_box(&found);
    }
    start.elapsed()
}
