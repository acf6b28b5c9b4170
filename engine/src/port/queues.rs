//! Receive and transmit queues: one owner each, moved into its worker.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;
use turnpike_pipeline::ids::PORTS_MAX;

use super::{Attached, Segments};
use crate::mbuf::Mbuf;

// A queue's burst is passed to C as an array of pointers.
const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut rte_mbuf>());
const _: () = assert!(PORTS_MAX <= dpdk_sys::RTE_MAX_ETHPORTS as usize);

/// A receive queue of a port.
#[derive(Debug)]
pub struct RxQueue {
    port: Arc<Attached>,
    queue: u16,
    /// DPDK queues may move between threads and not be used from two at once.
    _not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    pub(super) fn new(port: &Arc<Attached>, queue: u16) -> Self {
        Self {
            port: Arc::clone(port),
            queue,
            _not_sync: PhantomData,
        }
    }

    /// Its number on the port.
    pub fn number(&self) -> u16 {
        self.queue
    }

    /// Fills `frames` up with frames that have arrived; returns how many were added.
    pub fn receive<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        let before = frames.len();
        let room = u16::try_from(frames.remaining_capacity()).unwrap_or(u16::MAX);
        // SAFETY: `before` is at most the capacity, so the pointer stays in the array.
        let free = unsafe { frames.as_mut_ptr().add(before) }.cast::<*mut rte_mbuf>();
        // SAFETY: the port is started, the queue exists and is polled from here only, and there is
        // room for `room` pointers, which is what an `Mbuf` is.
        let n = unsafe { dpdk_sys::tp_rx_burst(self.port.number, self.queue, free, room) };
        let n = usize::from(n);
        // SAFETY: the driver wrote `n` pointers to buffers that now belong to the caller.
        unsafe { frames.set_len(before + n) };
        for frame in frames.iter_mut().skip(before) {
            frame.restore_stripped_tag();
        }
        n
    }
}

/// A transmit queue of a port.
#[derive(Debug)]
pub struct TxQueue {
    port: Arc<Attached>,
    queue: u16,
    segments: Segments,
    _not_sync: PhantomData<Cell<()>>,
}

impl TxQueue {
    pub(super) fn new(port: &Arc<Attached>, queue: u16, segments: Segments) -> Self {
        Self {
            port: Arc::clone(port),
            queue,
            segments,
            _not_sync: PhantomData,
        }
    }

    /// Hands frames to the device, from the first on; those it did not take stay in `frames`.
    ///
    /// A frame of several segments is joined for a device that takes one only. If it does not fit
    /// into one segment it is never taken: it stays in `frames`, with those behind it.
    pub fn transmit<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        let ready = match self.segments {
            Segments::Many => frames.len(),
            Segments::One => frames
                .iter_mut()
                .map_while(|f| (f.segments() == 1 || f.linearize().is_ok()).then_some(()))
                .count(),
        };
        let first = frames.as_mut_ptr().cast::<*mut rte_mbuf>();
        let ready = u16::try_from(ready).unwrap_or(u16::MAX);
        // SAFETY: the port is started, the queue exists and is used from here only, and the array
        // holds at least `ready` pointers to live buffers.
        let taken = unsafe { dpdk_sys::tp_tx_burst(self.port.number, self.queue, first, ready) };
        let taken = usize::from(taken);
        for frame in frames.drain(..taken) {
            // The device owns it now and gives it back to its pool.
            std::mem::forget(frame);
        }
        taken
    }
}
