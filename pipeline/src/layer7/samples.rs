//! Samples: copies of payloads on their way from a worker to the slow path.
//!
//! A worker has as many places as it may have samples under way, all made when the first program
//! asks for labels. It takes a free one, fills it and passes it on; the slow path reads it and
//! gives it back. Neither waits, and nothing is allocated; what finds no place is for the worker to
//! note.

use crossbeam::queue::ArrayQueue;
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::tuple::{Tuple, V4, V6};
use turnpike_helpers::layer7::BUFFER_MAX;

use crate::counters::Counter;

/// How many samples of one worker are under way.
pub const SAMPLES_MAX: usize = 512;

/// A connection as worker and slow path speak of it: its place, and its original tuple, by which
/// another one in the same place is told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    /// Of the IPv4 table.
    V4(FlowId, Tuple<V4>),
    /// Of the IPv6 table.
    V6(FlowId, Tuple<V6>),
}

/// The payload of one packet.
#[derive(Debug)]
pub struct Sample {
    /// Whose.
    pub connection: Sampled,
    /// How many of the connection's packets were sampled before it.
    pub nth: u8,
    len: usize,
    data: [u8; BUFFER_MAX],
}

impl Sample {
    /// The payload, or as much of it as is looked at.
    pub fn payload(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or_default()
    }

    /// Begins with another packet.
    pub fn begin(&mut self, connection: Sampled, nth: u8) {
        self.connection = connection;
        self.nth = nth;
        self.len = 0;
    }

    /// Adds to the payload; zeros, and what goes beyond what is looked at, are left out.
    pub fn add(&mut self, bytes: &[u8]) {
        let Some(room) = self.data.get_mut(self.len..) else {
            return;
        };
        let bytes = bytes.iter().filter(|byte| **byte != 0);
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
            self.len += 1;
        }
    }
}

/// One worker's samples.
#[derive(Debug)]
pub struct Samples {
    free: ArrayQueue<Box<Sample>>,
    filled: ArrayQueue<Box<Sample>>,
    /// Packets that were sampled.
    pub taken: Counter,
    /// Connections that were not sampled to the end for want of a place.
    pub missed: Counter,
}

impl Default for Samples {
    fn default() -> Self {
        let samples = Self {
            free: ArrayQueue::new(SAMPLES_MAX),
            filled: ArrayQueue::new(SAMPLES_MAX),
            taken: Counter::default(),
            missed: Counter::default(),
        };
        for _ in 0..SAMPLES_MAX {
            let nobodys = Sampled::V4(FlowId(0), Tuple::default());
            let sample = Box::new(Sample {
                connection: nobodys,
                nth: 0,
                len: 0,
                data: [0; BUFFER_MAX],
            });
            // There is a place for each.
            let _full = samples.free.push(sample);
        }
        samples
    }
}

impl Samples {
    /// Passes on a sample that `fill` fills; whether there was a place for it.
    pub fn offer(&self, fill: impl FnOnce(&mut Sample)) -> bool {
        let Some(mut sample) = self.free.pop() else {
            self.missed.add(1);
            return false;
        };
        fill(&mut sample);
        self.taken.add(1);
        // There are no more samples than places.
        self.filled.push(sample).is_ok()
    }

    /// Takes the next sample; `read` sees it before its place is free again. `None` without one.
    pub fn take<T>(&self, read: impl FnOnce(&Sample) -> T) -> Option<T> {
        let sample = self.filled.pop()?;
        let read = read(&sample);
        let _full = self.free.push(sample);
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(place: u32) -> Sampled {
        Sampled::V4(FlowId(place), Tuple::default())
    }

    #[test]
    fn samples_arrive_in_order_with_what_was_filled_in() {
        let samples = Samples::default();
        for (place, payload) in [(7, "one"), (8, "two")] {
            assert!(samples.offer(|sample| {
                sample.begin(sampled(place), 3);
                sample.add(&payload.as_bytes()[..1]);
                sample.add(&payload.as_bytes()[1..]);
            }));
        }
        let mut seen = Vec::new();
        let see = |s: &Sample| (s.connection, s.nth, s.payload().to_vec());
        while let Some(one) = samples.take(see) {
            seen.push(one);
        }
        assert_eq!(
            seen,
            [
                (sampled(7), 3, b"one".to_vec()),
                (sampled(8), 3, b"two".to_vec())
            ]
        );
    }

    #[test]
    fn a_place_is_free_again_when_its_sample_was_read_and_not_before() {
        let samples = Samples::default();
        let offer = |nth| samples.offer(|sample| sample.begin(sampled(1), nth));
        assert!((0..SAMPLES_MAX).all(|_| offer(0)));
        assert!(!offer(1));
        assert_eq!((samples.taken.read(), samples.missed.read()), (512, 1));
        assert_eq!(samples.take(|sample| sample.nth), Some(0));
        assert!(offer(2));
        assert!(!offer(3));
    }

    #[test]
    fn what_goes_beyond_what_is_looked_at_is_left_out() {
        let samples = Samples::default();
        samples.offer(|sample| {
            sample.begin(sampled(1), 0);
            sample.add(&[1; BUFFER_MAX - 1]);
            sample.add(&[2; 3]);
            sample.add(&[3; 3]);
        });
        let payload = samples.take(|sample| sample.payload().to_vec()).unwrap();
        assert_eq!(payload.len(), BUFFER_MAX);
        assert_eq!(payload.last(), Some(&2));
    }
}
