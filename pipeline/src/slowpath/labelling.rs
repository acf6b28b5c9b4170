//! Reading the samples that workers leave, and telling them what their connections carry.

use std::sync::Arc;

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::time::Tick;

use crate::buffer::BufferPool;
use crate::layer7::streams::Streams;
use crate::outbox::FromSlowPath;
use crate::slowpath::{SlowOutbox, SlowPath};

/// Samples of one worker that are read in one turn, so that nothing else has to wait for long.
const SAMPLES_PER_TURN_MAX: usize = 32;

impl<P: BufferPool, W> SlowPath<P, W> {
    /// Reads some of the samples that workers have left; how many.
    pub fn read_samples(&mut self, now: Tick, out: &mut SlowOutbox<P::Buf>) -> usize {
        let program = Arc::clone(&self.program);
        let layer7 = &program.layer7;
        self.streams.adopt(layer7);
        let mut read = 0;
        for (worker, samples) in (0..).map(WorkerId).zip(layer7.samples()) {
            for _ in 0..SAMPLES_PER_TURN_MAX {
                let tell = |owner, examination| {
                    let message = FromSlowPath::Examined(examination);
                    out.to_worker.push((owner, message));
                };
                let streams = &mut self.streams;
                let one = samples.take(|sample| streams.read(worker, sample, (now, layer7), tell));
                if one.is_none() {
                    break;
                }
                read += 1;
            }
        }
        read
    }

    /// The connections that are being looked at.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }
}
