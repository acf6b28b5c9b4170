//! Memory of the large tables: taken and touched whole when they are made.
//!
//! A lookup in ten million connections reads three lines that lie anywhere in two gigabytes. On
//! pages of 4 KiB each of them costs a walk through page tables that are themselves out of the
//! cache; on pages of 2 MiB the walk ends a level earlier and its upper levels stay cached. So the
//! system is asked for large pages before the memory is first touched. It may not have them, which
//! costs speed and nothing else. Filling a table touches every page of it: none is left for a
//! packet to fault in.

/// From this size on large pages are asked for; below, the arrays fit the caches of the TLB.
const LARGE_MIN: usize = 4 << 20;

/// `count` copies of `value`, on large pages where there are some.
pub(crate) fn filled<T: Clone>(value: T, count: usize) -> Vec<T> {
    let mut places = Vec::with_capacity(count);
    if count.saturating_mul(size_of::<T>()) >= LARGE_MIN {
        ask_for_large_pages(&mut places);
    }
    places.resize(count, value);
    places
}

/// Asks for large pages behind the unused capacity of `places`.
#[cfg(target_os = "linux")]
fn ask_for_large_pages<T>(places: &mut Vec<T>) {
    use rustix::mm::{Advice, madvise};
    const PAGE: usize = 4096;
    let spare = places.spare_capacity_mut();
    let start = spare.as_mut_ptr().cast::<u8>();
    // The advice is about whole pages; those at the ends hold other things too, and stay out.
    let skip = start.align_offset(PAGE);
    let Some(len) = size_of_val(spare).checked_sub(skip) else {
        return;
    };
    let start = start.wrapping_add(skip).cast();
    // SAFETY: the range is whole pages of an allocation that `places` owns, and this advice
    // changes what backs the range, never what is in it. Worth it: a bulk lookup among ten million
    // connections takes about half as long (benches/benches/table.rs).
    let _refused_is_no_matter = unsafe { madvise(start, len / PAGE * PAGE, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages<T>(_places: &mut Vec<T>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_holds_the_value_on_either_kind_of_page() {
        for count in [0, 1, 1_000, LARGE_MIN / 8 + 3] {
            let places = filled(7u64, count);
            assert_eq!((places.len(), places.capacity()), (count, count));
            assert!(places.iter().all(|p| *p == 7));
        }
    }
}
