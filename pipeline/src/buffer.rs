//! What the pipeline asks of a packet buffer.

/// The longest headers the pipeline looks at; a buffer's head must hold them or the whole frame.
///
/// Ethernet with two tags (22), IPv6 with a bounded chain of extensions, TCP with options.
pub const HEAD_MAX: usize = 512;

/// A frame in memory: one contiguous head with all headers, and perhaps more segments behind it.
///
/// The data starts at the Ethernet header. Dropping the value gives the memory back to its owner.
pub trait Buffer: Sized + Send {
    /// The first segment.
    fn head(&self) -> &[u8];

    /// The first segment, to rewrite headers in place.
    fn head_mut(&mut self) -> &mut [u8];

    /// The frame's length over all segments.
    fn frame_len(&self) -> usize;

    /// Calls `visit` with each segment in order, the head first.
    fn for_each_segment(&self, visit: impl FnMut(&[u8]));

    /// Cuts the frame to `len` bytes (padding behind the IP total length); longer than the frame
    /// is a no-op.
    fn truncate(&mut self, len: usize);

    /// Puts `n` bytes in front of the frame, whatever they hold; the caller writes them.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the buffer has no such room; the frame is then unchanged.
    fn grow_front(&mut self, n: usize) -> Result<(), NoRoom>;

    /// Takes `n` bytes from the front of the frame.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the head is shorter than that; the frame is then unchanged.
    fn shrink_front(&mut self, n: usize) -> Result<(), NoRoom>;

    /// Another frame with the same bytes, nobody's number and nothing known of its checksums;
    /// `None` when there is no memory for it.
    fn copy(&self) -> Option<Self>;

    /// What the device said about the checksums of the frame as it was received.
    fn rx_checksum(&self) -> RxChecksum;

    /// A number the owner of the buffer gave it: the index of a replayed packet, else zero.
    fn token(&self) -> u64;
}

/// The buffer has no room in front, or nothing to take from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NoRoom;

/// What the receiving device said about the layer-4 checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RxChecksum {
    /// Nothing: it has to be computed.
    #[default]
    Unknown,
    /// Checked and right.
    Good,
    /// Checked and wrong.
    Bad,
}

/// Where new frames come from: copies, replies and errors made by the gateway itself.
pub trait BufferPool {
    /// The buffers it makes.
    type Buf: Buffer;

    /// A frame with these bytes; `None` when the pool is empty or the frame too long for it.
    fn make(&mut self, frame: &[u8]) -> Option<Self::Buf>;
}

/// A frame on the heap, for tests and for replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeapBuffer {
    bytes: Vec<u8>,
    token: u64,
}

impl HeapBuffer {
    /// A buffer holding `bytes`, known to its owner as `token`.
    pub fn new(bytes: Vec<u8>, token: u64) -> Self {
        Self { bytes, token }
    }

    /// The frame's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Buffer for HeapBuffer {
    fn head(&self) -> &[u8] {
        &self.bytes
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn frame_len(&self) -> usize {
        self.bytes.len()
    }

    fn for_each_segment(&self, mut visit: impl FnMut(&[u8])) {
        visit(&self.bytes);
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn grow_front(&mut self, n: usize) -> Result<(), NoRoom> {
        self.bytes.splice(0..0, std::iter::repeat_n(0, n));
        Ok(())
    }

    fn shrink_front(&mut self, n: usize) -> Result<(), NoRoom> {
        if n > self.bytes.len() {
            return Err(NoRoom);
        }
        self.bytes.drain(..n);
        Ok(())
    }

    fn copy(&self) -> Option<Self> {
        Some(Self::new(self.bytes.clone(), 0))
    }

    fn rx_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }

    fn token(&self) -> u64 {
        self.token
    }
}

/// A pool without a bottom, for tests and for replay; every frame it makes has token zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeapPool;

impl BufferPool for HeapPool {
    type Buf = HeapBuffer;

    fn make(&mut self, frame: &[u8]) -> Option<HeapBuffer> {
        Some(HeapBuffer::new(frame.to_vec(), 0))
    }
}
