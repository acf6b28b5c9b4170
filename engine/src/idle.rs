//! What a loop does when there is nothing to do.
//!
//! `spin` polls for ever: least latency, a core each. `adaptive` polls on for a while after the
//! last packet, then sleeps for longer and longer, up to half a millisecond: a quiet gateway
//! leaves its cores to others, and the first packet after a pause waits at most that long.

use std::time::Duration;

/// What to do between polls that find nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdlePolicy {
    /// Poll again at once.
    Spin,
    /// Poll for a while, then sleep between polls.
    #[default]
    Adaptive,
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// Something to do.
    Work,
    /// Nothing.
    Nothing,
}

/// What to do before the next poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: poll at once.
    None,
    /// Tell the core that this is a spin loop.
    Pause,
    /// Sleep.
    Sleep(Duration),
}

/// Empty polls that are followed by the next at once.
const EAGER_POLLS: u32 = 256;

/// Empty polls after which a loop sleeps.
const PATIENT_POLLS: u32 = 2_048;

/// Sleeps of one length before it doubles.
const SLEEPS_PER_LENGTH: u32 = 32;

/// The first sleep, in microseconds.
const SLEEP_FIRST_US: u64 = 20;

/// The longest sleep, in microseconds.
const SLEEP_MAX_US: u64 = 500;

/// A loop's quiet so far.
#[derive(Debug)]
pub struct Idle {
    policy: IdlePolicy,
    empty_polls: u32,
}

impl Idle {
    /// A loop that has just been busy.
    pub fn new(policy: IdlePolicy) -> Self {
        Self {
            policy,
            empty_polls: 0,
        }
    }

    /// Takes note of a poll and says what to do before the next.
    pub fn after(&mut self, polled: Polled) -> Rest {
        match (polled, self.policy) {
            (Polled::Work, IdlePolicy::Spin | IdlePolicy::Adaptive) => {
                self.empty_polls = 0;
                Rest::None
            }
            (Polled::Nothing, IdlePolicy::Spin) => Rest::Pause,
            (Polled::Nothing, IdlePolicy::Adaptive) => {
                self.empty_polls = self.empty_polls.saturating_add(1);
                self.adapted()
            }
        }
    }

    fn adapted(&self) -> Rest {
        if self.empty_polls <= EAGER_POLLS {
            return Rest::None;
        }
        let Some(sleeps) = self.empty_polls.checked_sub(PATIENT_POLLS + 1) else {
            return Rest::Pause;
        };
        let doublings = (sleeps / SLEEPS_PER_LENGTH).min(16);
        let length_us = (SLEEP_FIRST_US << doublings).min(SLEEP_MAX_US);
        Rest::Sleep(Duration::from_micros(length_us))
    }
}

impl Rest {
    /// Does it.
    pub fn take(self) {
        match self {
            Self::None => {}
            Self::Pause => std::hint::spin_loop(),
            Self::Sleep(length) => std::thread::sleep(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(idle: &mut Idle, polls: u32) -> Rest {
        (0..polls)
            .map(|_| idle.after(Polled::Nothing))
            .last()
            .unwrap()
    }

    #[test]
    fn a_quiet_loop_polls_then_pauses_then_sleeps_longer_and_longer() {
        let mut idle = Idle::new(IdlePolicy::Adaptive);
        assert_eq!(rests(&mut idle, EAGER_POLLS), Rest::None);
        assert_eq!(rests(&mut idle, 1), Rest::Pause);
        assert_eq!(rests(&mut idle, PATIENT_POLLS - EAGER_POLLS), first_sleep());
        assert_eq!(
            rests(&mut idle, SLEEPS_PER_LENGTH),
            Rest::Sleep(Duration::from_micros(40))
        );
        assert_eq!(
            rests(&mut idle, 10_000),
            Rest::Sleep(Duration::from_micros(SLEEP_MAX_US))
        );
    }

    #[test]
    fn a_packet_wakes_the_loop_at_once() {
        let mut idle = Idle::new(IdlePolicy::Adaptive);
        rests(&mut idle, 10_000);
        assert_eq!(idle.after(Polled::Work), Rest::None);
        assert_eq!(idle.after(Polled::Nothing), Rest::None);
    }

    #[test]
    fn a_spinning_loop_never_sleeps() {
        let mut idle = Idle::new(IdlePolicy::Spin);
        assert_eq!(rests(&mut idle, 100_000), Rest::Pause);
    }

    fn first_sleep() -> Rest {
        Rest::Sleep(Duration::from_micros(SLEEP_FIRST_US))
    }
}
