//! Publishing a program: one pointer store, adopted by every thread between bursts.
//!
//! Management publishes; workers and the slow path look at a generation number once per turn and
//! take the program over when it changed. Each says which generation it runs, so that a reload can
//! wait until the old program judges nothing any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::utils::CachePadded;
use turnpike_conntrack::ids::Generation;
use turnpike_pipeline::program::Program;

/// How often waiting for an adoption looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A published program was not taken over in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{threads} of the gateway's threads still run an older program after {waited_ms} ms")]
pub struct NotAdopted {
    /// How many threads have not taken it over.
    pub threads: usize,
    /// How long was waited.
    pub waited_ms: u128,
}

/// The current program, and who runs which.
#[derive(Debug)]
pub struct Publisher {
    program: ArcSwap<Program>,
    generation: CachePadded<AtomicU32>,
    adopted: Box<[CachePadded<AtomicU32>]>,
}

impl Publisher {
    /// A publisher of `program` to `threads` threads that start with it.
    pub fn new(program: Arc<Program>, threads: usize) -> Self {
        let generation = program.generation.0;
        let slot = || CachePadded::new(AtomicU32::new(generation));
        Self {
            program: ArcSwap::new(program),
            generation: slot(),
            adopted: (0..threads).map(|_| slot()).collect(),
        }
    }

    /// The program published last.
    pub fn current(&self) -> Arc<Program> {
        self.program.load_full()
    }

    /// Makes `program` the one that every thread adopts on its next turn.
    pub fn publish(&self, program: Arc<Program>) {
        let generation = program.generation.0;
        self.program.store(program);
        // After the pointer: whoever sees the new number finds the new program, or a newer one.
        self.generation.store(generation, Ordering::Release);
    }

    /// The generation that a thread runs, by its number.
    pub fn adopted(&self, thread: usize) -> Option<Generation> {
        let slot = self.adopted.get(thread)?;
        Some(Generation(slot.load(Ordering::Acquire)))
    }

    /// Waits until every thread runs the current program.
    pub fn wait_adopted(&self, timeout: Duration) -> Result<(), NotAdopted> {
        let start = Instant::now();
        loop {
            let wanted = self.generation.load(Ordering::Acquire);
            let behind = |slot: &&CachePadded<AtomicU32>| slot.load(Ordering::Acquire) != wanted;
            let threads = self.adopted.iter().filter(behind).count();
            if threads == 0 {
                return Ok(());
            }
            if start.elapsed() >= timeout {
                let waited_ms = start.elapsed().as_millis();
                return Err(NotAdopted { threads, waited_ms });
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// One thread's view of what is published.
#[derive(Debug)]
pub struct Subscription {
    publisher: Arc<Publisher>,
    thread: usize,
    running: u32,
}

impl Subscription {
    /// The view of the thread with this number, which runs the current program.
    pub fn new(publisher: &Arc<Publisher>, thread: usize) -> Self {
        Self {
            publisher: Arc::clone(publisher),
            thread,
            running: publisher.current().generation.0,
        }
    }

    /// A program to adopt, if another one was published since the last call.
    pub fn changed(&mut self) -> Option<Arc<Program>> {
        if self.publisher.generation.load(Ordering::Acquire) == self.running {
            return None;
        }
        let program = self.publisher.current();
        // The pointer may be ahead of the number that was read; then the next call finds it equal.
        self.running = program.generation.0;
        Some(program)
    }

    /// Says that the thread runs the program that `changed` returned.
    pub fn confirm(&self) {
        if let Some(slot) = self.publisher.adopted.get(self.thread) {
            slot.store(self.running, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_conntrack::hash::HashKey;
    use turnpike_pipeline::policy::Policy;
    use turnpike_pipeline::program::CompileContext;

    fn program(generation: u32) -> Arc<Program> {
        let context = CompileContext {
            generation: Generation(generation),
            workers: 2,
            ports: &[],
            previous: None,
            key: HashKey([
                0x0123_4567_89ab_cdef,
                0x1032_5476_98ba_dcfe,
                0x5555_aaaa_3333_cccc,
                0x0f1e_2d3c_4b5a_6978,
            ]),
        };
        Arc::new(Program::compile(&Policy::default(), &context))
    }

    #[test]
    fn a_published_program_is_seen_once_by_each_thread() {
        let publisher = Arc::new(Publisher::new(program(1), 2));
        let mut first = Subscription::new(&publisher, 0);
        let mut second = Subscription::new(&publisher, 1);
        assert!(first.changed().is_none());
        publisher.publish(program(2));
        assert_eq!(first.changed().unwrap().generation, Generation(2));
        assert!(first.changed().is_none());
        publisher.publish(program(3));
        assert_eq!(second.changed().unwrap().generation, Generation(3));
        assert_eq!(first.changed().unwrap().generation, Generation(3));
    }

    #[test]
    fn waiting_ends_when_the_last_thread_has_confirmed() {
        let publisher = Arc::new(Publisher::new(program(1), 2));
        let mut first = Subscription::new(&publisher, 0);
        let mut second = Subscription::new(&publisher, 1);
        assert_eq!(publisher.wait_adopted(Duration::ZERO), Ok(()));
        publisher.publish(program(2));
        first.changed().unwrap();
        first.confirm();
        second.changed().unwrap();
        let late = publisher
            .wait_adopted(Duration::from_millis(2))
            .unwrap_err();
        assert_eq!(late.threads, 1);
        assert_eq!(publisher.adopted(1), Some(Generation(1)));
        second.confirm();
        assert_eq!(publisher.wait_adopted(Duration::ZERO), Ok(()));
    }
}
