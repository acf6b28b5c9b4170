//! Cache prefetch: the one hint the compiler cannot give by itself.
//!
//! A bulk lookup touches three cold cache lines per packet; asking for all of a burst's before
//! reading the first hides most of their latency. It changes no result.

/// Asks the processor to fetch the line that holds the start of `place`.
#[inline]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch accesses no memory as far as the program can tell and cannot fault,
        // and the pointer comes from a live reference; SSE is part of every x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(place).cast::<i8>()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
