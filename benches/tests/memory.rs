//! A table takes its memory when it is made: little enough, all of it, and none later.

use std::sync::Arc;

use turnpike_benches::KEY;
use turnpike_benches::process::{faults, resident_bytes};
use turnpike_benches::table::{NOW, commit, key};
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::table::{BULK_MAX, Table};
use turnpike_conntrack::tracker::Shared;

const CONNECTIONS: u32 = 300_000;
/// A ten-millionth of 2 GiB.
const BYTES_EACH_MAX: u64 = (1 << 31) / 10_000_000;
/// What the process itself may fault in meanwhile: there are 15,000 pages in the table.
const FAULTS_MAX: u64 = 64;

#[test]
fn a_table_is_in_memory_before_its_first_connection_and_takes_no_more_than_it_may() {
    let before = resident_bytes();
    if before == 0 {
        println!("skipped: this kernel does not say what memory a process has");
        return;
    }
    let shared = Arc::new(Shared::new(CONNECTIONS as usize, KEY));
    let mut table = Table::new(WorkerId(0), CONNECTIONS as usize, KEY, shared);
    let taken = resident_bytes().saturating_sub(before);
    let arrays = table.bytes() as u64;
    assert!(
        arrays <= 192 * u64::from(CONNECTIONS),
        "entries and index take {arrays} bytes"
    );
    assert!(
        taken >= arrays,
        "{taken} bytes of {arrays} are in memory: the rest would be taken by packets"
    );
    // The SYN gate does not grow with a large table.
    let allowed = BYTES_EACH_MAX * u64::from(CONNECTIONS) + (8 << 20);
    assert!(taken <= allowed, "{taken} bytes, {allowed} are allowed");

    let faults_before = faults();
    let used = allocation_counter::measure(|| {
        for n in 0..CONNECTIONS {
            assert!(commit(&mut table, n).is_ok(), "there is room");
        }
        let keys: [_; BULK_MAX] = std::array::from_fn(|n| key(n as u32 * 4_000));
        let mut found = [None; BULK_MAX];
        table.lookup_bulk(&keys, &mut found, NOW);
        assert!(found.iter().all(Option::is_some));
    });
    let more = faults() - faults_before;
    assert!(more <= FAULTS_MAX, "{more} page faults");
    assert_eq!(used.count_total, 0);
}
