//! Pools of packet buffers, one per NUMA socket in use.
//!
//! A pool lives until EAL is cleaned up, so a buffer can always go back to it.

use std::ffi::CString;
use std::ptr::NonNull;

use turnpike_pipeline::buffer::BufferPool;

use crate::eal::{Eal, Said, errno_text, take_log};
use crate::mbuf::Mbuf;

/// Buffers that a registered thread keeps at hand; taken from and returned to the pool in bulk.
pub const POOL_CACHE: u32 = 256;

/// The room for data in one buffer, behind its headroom, in bytes.
pub const SEGMENT_BYTES: usize =
    (dpdk_sys::TP_MBUF_DATA_ROOM - dpdk_sys::TP_MBUF_HEADROOM) as usize;

/// What one buffer takes of packet memory in bytes, with its header and the pool's own.
pub const BUFFER_COST_BYTES: usize = 2_560;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The memory given to DPDK is too small.
    #[error(
        "{buffers} packet buffers do not fit into the packet memory ({reason}); raise `memory`, \
         or lower the number of descriptors{said}"
    )]
    Memory {
        /// How many were asked for.
        buffers: u32,
        /// What DPDK's error number means.
        reason: String,
        /// The last lines it logged.
        said: Said,
    },
}

/// A pool of packet buffers.
#[derive(Debug, Clone)]
pub struct MbufPool {
    handle: PoolHandle,
    buffers: u32,
    /// Keeps the pool's memory mapped.
    eal: Eal,
}

/// A pool as C knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolHandle(NonNull<dpdk_sys::rte_mempool>);

// SAFETY: mempools are made to be used from many threads at once; the handle is only a pointer to
// one, and pools are never freed before EAL is.
unsafe impl Send for PoolHandle {}
// SAFETY: as above.
unsafe impl Sync for PoolHandle {}

impl PoolHandle {
    pub fn as_ptr(self) -> *mut dpdk_sys::rte_mempool {
        self.0.as_ptr()
    }

    /// How many buffers are outside the pool and its caches.
    pub fn in_use(self) -> usize {
        // SAFETY: the pool exists, as pools are never freed.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.as_ptr()) as usize }
    }
}

impl MbufPool {
    /// Makes a pool of at least `buffers` buffers on a NUMA socket; `None` is any socket.
    pub fn create(eal: &Eal, socket: Option<u32>, buffers: u32) -> Result<Self, PoolError> {
        let _control = eal.control();
        // A pool is at its densest one short of a power of two, but any size works; the caches of
        // all threads must not be able to drain it.
        let buffers = buffers.max(POOL_CACHE * 2);
        let socket_name = socket.map_or_else(|| "any".to_owned(), |s| s.to_string());
        let refuse = |reason: String| PoolError::Memory {
            buffers,
            reason,
            said: take_log(),
        };
        let name = CString::new(format!("tp-mbuf-{socket_name}"))
            .map_err(|_| refuse("bad name".to_owned()))?;
        let socket_id = socket.and_then(|s| i32::try_from(s).ok());
        let room = u16::try_from(dpdk_sys::TP_MBUF_DATA_ROOM).unwrap_or(u16::MAX);
        // SAFETY: EAL runs, the name is a string that is copied, and the numbers are in range.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                name.as_ptr(),
                buffers,
                POOL_CACHE,
                0,
                room,
                socket_id.unwrap_or(dpdk_sys::TP_SOCKET_ANY),
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: reads the calling thread's error number.
            let code = unsafe { dpdk_sys::tp_errno() };
            return Err(refuse(errno_text(code)));
        };
        let handle = PoolHandle(raw);
        eal.remember_pool(handle);
        Ok(Self {
            handle,
            buffers,
            eal: eal.clone(),
        })
    }

    /// How many buffers the pool has.
    pub fn size(&self) -> usize {
        self.buffers as usize
    }

    /// How many buffers are outside the pool: in rings, queues, devices and hands.
    pub fn in_use(&self) -> usize {
        self.handle.in_use()
    }

    /// The EAL that the pool belongs to.
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.handle.as_ptr()
    }
}

impl BufferPool for MbufPool {
    type Buf = Mbuf;

    fn make(&mut self, frame: &[u8]) -> Option<Mbuf> {
        let mut pieces = frame.chunks(SEGMENT_BYTES);
        let mut whole = self.segment(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            whole.chain(self.segment(piece)?)?;
        }
        Some(whole)
    }
}

impl MbufPool {
    /// A buffer of one segment with these bytes.
    fn segment(&self, bytes: &[u8]) -> Option<Mbuf> {
        // SAFETY: the pool exists; null comes back when it is empty.
        let raw = unsafe { dpdk_sys::tp_mbuf_alloc(self.as_ptr()) };
        // SAFETY: an allocated buffer belongs to the caller alone.
        let mut buffer = unsafe { Mbuf::from_raw(NonNull::new(raw)?) };
        buffer.append(bytes)?;
        Some(buffer)
    }
}
