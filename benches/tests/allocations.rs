//! An established packet costs no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use turnpike_benches::{LAN, Rig, outward};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`, which is this call's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`, and `alloc` is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut sent = 0;
    for mut burst in bursts {
        sent += rig.run(LAN, &mut burst);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(sent, 640);
    assert_eq!(allocations, 0);
}
