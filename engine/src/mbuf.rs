//! DPDK's packet buffer as an owned value.
//!
//! An `Mbuf` is the only reference to its chain of segments, so its bytes can be lent out as
//! slices. It goes back to its pool when dropped.

use std::ptr::NonNull;
use std::slice;

use dpdk_sys::rte_mbuf;
use turnpike_pipeline::buffer::{Buffer, NoRoom, RxChecksum};

/// A packet buffer: one segment, or a chain of them for jumbo frames.
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the value is the only reference to the buffer, and pools take buffers back from any
// thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over a buffer.
    ///
    /// # Safety
    /// `raw` is a live buffer with a reference count of one, all of whose segments carry data, and
    /// nobody else will use it.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self(raw)
    }

    /// How many segments the frame has.
    pub fn segments(&self) -> usize {
        usize::from(self.header().nb_segs)
    }

    /// Appends bytes to a frame of one segment; `None` when there is no room for them.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Option<()> {
        let len = u16::try_from(bytes.len()).ok()?;
        // SAFETY: the buffer is live and ours; null comes back when the room is too small.
        let room = unsafe { dpdk_sys::tp_mbuf_append(self.0.as_ptr(), len) };
        let room = NonNull::new(room)?.cast::<u8>().as_ptr();
        // SAFETY: `room` is the start of `len` bytes inside the buffer, which `bytes` cannot
        // overlap as the buffer is borrowed mutably.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len()) };
        Some(())
    }

    /// Hangs `tail` behind this frame; `None`, and `tail` is freed, when the chain would be too
    /// long.
    pub(crate) fn chain(&mut self, tail: Self) -> Option<()> {
        // SAFETY: both buffers are live and ours, and no segment of one is a segment of the other.
        match unsafe { dpdk_sys::tp_mbuf_chain(self.0.as_ptr(), tail.0.as_ptr()) } {
            0 => {
                // The tail belongs to this chain now, and is freed with it.
                std::mem::forget(tail);
                Some(())
            }
            _too_long => None,
        }
    }

    /// Copies all segments into the first; `Err` when they do not fit.
    pub(crate) fn linearize(&mut self) -> Result<(), TooLong> {
        // SAFETY: the buffer is live and ours.
        match unsafe { dpdk_sys::tp_mbuf_linearize(self.0.as_ptr()) } {
            0 => Ok(()),
            _too_long => Err(TooLong),
        }
    }

    /// Puts a VLAN tag that the driver took off back into the frame.
    ///
    /// A driver may do so unasked (af_packet sees frames after the kernel has). The pipeline reads
    /// tags from the frame. Without headroom for it the frame is emptied, for the parser to drop:
    /// it must not pass as an untagged one.
    pub(crate) fn restore_stripped_tag(&mut self) {
        if self.header().ol_flags & dpdk_sys::TP_MBUF_RX_VLAN_STRIPPED == 0 {
            return;
        }
        let mut raw = self.0.as_ptr();
        // SAFETY: the buffer is live, ours and not shared; the function leaves it in place.
        let code = unsafe { dpdk_sys::tp_mbuf_vlan_insert(&raw mut raw) };
        if code != 0 {
            self.truncate(0);
        }
        let clear = dpdk_sys::TP_MBUF_RX_VLAN | dpdk_sys::TP_MBUF_RX_VLAN_STRIPPED;
        self.header_mut().ol_flags &= !clear;
    }

    fn header(&self) -> &rte_mbuf {
        // SAFETY: the pointer is to a live buffer that nobody else writes.
        unsafe { self.0.as_ref() }
    }

    fn header_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as for `header`, and `self` is borrowed mutably.
        unsafe { self.0.as_mut() }
    }
}

/// The frame does not fit into one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: the value is the only reference to the buffer and goes away.
        unsafe { dpdk_sys::tp_mbuf_free(self.0.as_ptr()) };
    }
}

/// Where a segment's data begins.
fn data(segment: &rte_mbuf) -> *mut u8 {
    let offset = usize::from(segment.data_off);
    // SAFETY: DPDK keeps `data_off` within the segment's memory, which begins at `buf_addr`.
    unsafe { segment.buf_addr.cast::<u8>().add(offset) }
}

/// A segment's data.
fn bytes(segment: &rte_mbuf) -> &[u8] {
    // SAFETY: DPDK keeps `data_off + data_len` within the segment's memory; the memory was zeroed
    // when the pool was made; whoever lends the segment owns it.
    unsafe { slice::from_raw_parts(data(segment), usize::from(segment.data_len)) }
}

/// The segment behind `segment`.
fn next(segment: &rte_mbuf) -> Option<&rte_mbuf> {
    // SAFETY: `next` is null or a live segment of the same chain, owned along with it.
    unsafe { segment.next.as_ref() }
}

impl Buffer for Mbuf {
    fn head(&self) -> &[u8] {
        bytes(self.header())
    }

    fn head_mut(&mut self) -> &mut [u8] {
        let header = self.header_mut();
        let (start, len) = (data(header), usize::from(header.data_len));
        // SAFETY: as in `bytes`; `self` is borrowed mutably for as long as the slice lives, and
        // the reference count is one, so nothing else refers to this memory.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    fn frame_len(&self) -> usize {
        self.header().pkt_len as usize
    }

    fn for_each_segment(&self, mut visit: impl FnMut(&[u8])) {
        let mut segment = Some(self.header());
        while let Some(this) = segment {
            visit(bytes(this));
            segment = next(this);
        }
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.frame_len() {
            return;
        }
        let mut kept_segments = 1;
        let mut left = len;
        let mut segment = self.header_mut();
        while left > usize::from(segment.data_len) {
            left -= usize::from(segment.data_len);
            // SAFETY: `next` is null or the next live segment of this chain, which is ours.
            match unsafe { segment.next.as_mut() } {
                Some(behind) => segment = behind,
                // The lengths contradict each other: keep what is there.
                None => break,
            }
            kept_segments += 1;
        }
        // `left` is at most `data_len`, or the whole last segment is kept.
        let kept = usize::from(segment.data_len).min(left);
        segment.data_len = u16::try_from(kept).unwrap_or(segment.data_len);
        let rest = std::mem::replace(&mut segment.next, std::ptr::null_mut());
        let header = self.header_mut();
        header.nb_segs = kept_segments;
        header.pkt_len = u32::try_from(len).unwrap_or(header.pkt_len);
        if !rest.is_null() {
            // SAFETY: the chain behind was cut off just now, so this is its only reference; a
            // segment can be freed as a frame of its own.
            unsafe { dpdk_sys::tp_mbuf_free(rest) };
        }
    }

    fn grow_front(&mut self, n: usize) -> Result<(), NoRoom> {
        let n = u16::try_from(n).map_err(|_| NoRoom)?;
        // SAFETY: the buffer is live and ours; null comes back when its headroom is too small.
        let start = unsafe { dpdk_sys::tp_mbuf_prepend(self.0.as_ptr(), n) };
        if start.is_null() { Err(NoRoom) } else { Ok(()) }
    }

    fn shrink_front(&mut self, n: usize) -> Result<(), NoRoom> {
        let n = u16::try_from(n).map_err(|_| NoRoom)?;
        // SAFETY: the buffer is live and ours; null comes back when its head is shorter.
        let start = unsafe { dpdk_sys::tp_mbuf_adj(self.0.as_ptr(), n) };
        if start.is_null() { Err(NoRoom) } else { Ok(()) }
    }

    fn copy(&self) -> Option<Self> {
        // SAFETY: the buffer is live and only read; its pool outlives it.
        let raw = unsafe { dpdk_sys::tp_mbuf_copy(self.0.as_ptr()) };
        let mut copy = NonNull::new(raw).map(Self)?;
        // What the device has checked was another buffer.
        copy.header_mut().ol_flags = 0;
        Some(copy)
    }

    fn rx_checksum(&self) -> RxChecksum {
        match self.header().ol_flags & dpdk_sys::TP_MBUF_RX_L4_MASK {
            dpdk_sys::TP_MBUF_RX_L4_GOOD => RxChecksum::Good,
            dpdk_sys::TP_MBUF_RX_L4_BAD => RxChecksum::Bad,
            // Not looked at, or "none": the pseudo header was right and the rest is not known.
            _unknown => RxChecksum::Unknown,
        }
    }

    fn token(&self) -> u64 {
        0
    }
}
