//! Everything that Vectorscan takes is given back.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use hs_sys::{Database, Scanner, ffi};

static TAKEN: AtomicIsize = AtomicIsize::new(0);

/// Room in front of each allocation for its size; scratch wants to lie on lines of its own.
const FRONT: usize = 64;

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes + FRONT, FRONT).unwrap()
}

unsafe extern "C" fn take(bytes: usize) -> *mut c_void {
    // SAFETY: the layout is never empty.
    let at = unsafe { alloc(layout(bytes)) };
    // SAFETY: the front is there, and aligned.
    unsafe { at.cast::<usize>().write(bytes) };
    TAKEN.fetch_add(bytes.cast_signed(), Ordering::SeqCst);
    // SAFETY: what follows the front belongs to the same allocation.
    unsafe { at.add(FRONT) }.cast()
}

unsafe extern "C" fn give_back(at: *mut c_void) {
    if at.is_null() {
        return;
    }
    // SAFETY: it comes from `take`, so the front is there.
    let front = unsafe { at.cast::<u8>().sub(FRONT) };
    // SAFETY: `take` has written it.
    let bytes = unsafe { front.cast::<usize>().read() };
    TAKEN.fetch_sub(bytes.cast_signed(), Ordering::SeqCst);
    // SAFETY: it was allocated with this layout.
    unsafe { dealloc(front, layout(bytes)) };
}

#[test]
fn streams_scanners_databases_and_errors_give_back_what_they_took() {
    // SAFETY: both functions are a pair, and nothing has been allocated before.
    let status = unsafe { ffi::hs_set_allocator(Some(take), Some(give_back)) };
    assert_eq!(status, ffi::SUCCESS);
    let taken = || TAKEN.load(Ordering::SeqCst);
    let text = |text: &str| CString::new(text).unwrap();

    let database = Database::compile(&[text("^ssh-[12]\\.[0-9]"), text("b.{20}e\\z")]).unwrap();
    let database = Arc::new(database);
    let mut scanner = Scanner::new(&database).unwrap();
    let before = taken();
    assert!(before > 0, "nothing is counted");
    let mut streams: Vec<_> = (0..100).map(|_| scanner.open().unwrap()).collect();
    let each = (taken() - before) / 100;
    let stated = database.stream_bytes().cast_signed();
    assert!(
        (stated..=stated + 64).contains(&each),
        "{each}, not {stated}"
    );
    for stream in &mut streams {
        scanner.scan(stream, b"ssh-2.0");
        scanner.scan_end(stream);
    }
    drop(streams);
    assert_eq!(taken(), before);
    assert!(Database::compile(&[text("(a)\\1")]).is_err());
    assert_eq!(taken(), before);
    drop(database);
    drop(scanner);
    assert_eq!(taken(), 0);
}
