//! An established packet costs no allocation.

use arrayvec::ArrayVec;
use turnpike_benches::{LAN, Rig, outward};

#[test]
fn an_established_packet_allocates_nothing() {
    let mut rig = Rig::new(1_000, 50);
    assert_eq!((0..1_000).filter_map(|n| rig.open(n)).count(), 1_000);
    let bursts: Vec<ArrayVec<_, 64>> = (0..10)
        .map(|b| {
            (0..64)
                .filter_map(|n| outward((b * 64 + n) % 1_000))
                .collect()
        })
        .collect();
    let mut sent = 0;
    let allocations = allocation_counter::measure(|| {
        for mut burst in bursts {
            sent += rig.run(LAN, &mut burst);
        }
    });
    assert_eq!(sent, 640);
    assert_eq!(allocations.count_total, 0);
}
