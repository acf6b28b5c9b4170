//! Asking a pinned thread for something it owns.
//!
//! A worker's tables belong to it alone. Management sends it a closure, which the worker runs
//! between two bursts, and waits for what comes out. A closure must be short: packets wait
//! meanwhile. Long walks are many short closures with a cursor.

use std::sync::mpsc;
use std::time::Duration;

use crate::rings::Ring;

/// Closures that can wait for one thread.
pub const JOBS_MAX: usize = 64;

/// Closures that a thread runs between two bursts.
pub const JOBS_PER_TURN_MAX: usize = 4;

/// How long an answer may take before it is given up on.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The thread has more questions waiting than it can answer.
    #[error("too many questions are waiting for this thread; try again")]
    Busy,
    /// The thread did not answer in time, or it is stopping.
    #[error("no answer from the thread; it is overloaded or stopping")]
    NoAnswer,
}

/// Where closures for the owner of a `T` wait.
pub struct Mailbox<T> {
    jobs: Ring<Job<T>>,
}

impl<T> std::fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("waiting", &self.jobs.len())
            .finish()
    }
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            jobs: Ring::new(JOBS_MAX),
        }
    }
}

impl<T> Mailbox<T> {
    /// Has `question` run by the owner and waits for what it returns.
    pub fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, AskError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let job = move |state: &mut T| {
            // Whoever asked may have given up; then nobody needs the answer.
            let _unheard = reply.send(question(state));
        };
        self.jobs.push(Box::new(job)).map_err(|_| AskError::Busy)?;
        answer
            .recv_timeout(ANSWER_TIMEOUT)
            .map_err(|_| AskError::NoAnswer)
    }

    /// Runs what waits, a few at a time; returns how many were run. For the owner.
    pub fn serve(&self, state: &mut T) -> usize {
        let mut served = 0;
        while served < JOBS_PER_TURN_MAX {
            let Some(job) = self.jobs.pop() else { break };
            job(state);
            served += 1;
        }
        served
    }

    /// Throws away what waits, so that nobody waits for a thread that has ended.
    pub fn close(&self) {
        while self.jobs.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn the_owner_answers_between_its_turns() {
        let mailbox = Mailbox::<u32>::default();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = 41;
                while !done.load(Ordering::Relaxed) {
                    mailbox.serve(&mut state);
                    thread::yield_now();
                }
            });
            let answer = mailbox.ask(|state| {
                *state += 1;
                *state
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(answer, Ok(42));
        });
    }

    #[test]
    fn a_turn_runs_only_a_few() {
        let mailbox = Mailbox::<u32>::default();
        for _ in 0..6 {
            let job: Job<u32> = Box::new(|state| *state += 1);
            assert!(mailbox.jobs.push(job).is_ok());
        }
        let mut state = 0;
        assert_eq!(mailbox.serve(&mut state), JOBS_PER_TURN_MAX);
        assert_eq!(mailbox.serve(&mut state), 2);
        assert_eq!(state, 6);
    }

    #[test]
    fn a_closed_mailbox_answers_nobody_and_keeps_nobody_waiting() {
        let mailbox = Mailbox::<u32>::default();
        thread::scope(|scope| {
            let asking = scope.spawn(|| mailbox.ask(|state| *state));
            while mailbox.jobs.is_empty() {
                thread::yield_now();
            }
            mailbox.close();
            assert_eq!(asking.join().unwrap(), Err(AskError::NoAnswer));
        });
    }
}
