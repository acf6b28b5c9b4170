//! Which worker polls which queue, and whether a port's own distribution is to be trusted.
//!
//! A device with a queue for each worker, whose scaling was read back and passes the self-test,
//! distributes by itself. Its word is checked by sample; once a packet arrives elsewhere than
//! predicted, the port's packets are distributed in software by the same hash. A device with fewer
//! queues is always distributed in software.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::rss::{Distribution, PortHashing};
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::buffer::Buffer;
use turnpike_pipeline::packet::parse::{Fragment, inspect};

use crate::port::Rss;
use crate::selftest::{Spreading, prove};

/// Of how many received packets one is checked.
pub const SAMPLE_INTERVAL: u32 = 1_024;

/// Who decides which worker a received packet goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Distributor {
    /// There is one worker.
    Nobody = 0,
    /// The device's receive-side scaling.
    Device = 1,
    /// The worker that received it.
    Software = 2,
}

impl Distributor {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Device => "device",
            Self::Software => "software",
        }
    }
}

/// How a port's packets get to their workers; shared by all workers.
#[derive(Debug)]
pub struct Spread {
    distributor: AtomicU8,
    mismatches: AtomicU64,
}

impl Spread {
    /// A port that starts with this distributor.
    pub fn new(distributor: Distributor) -> Self {
        Self {
            distributor: AtomicU8::new(distributor as u8),
            mismatches: AtomicU64::new(0),
        }
    }

    /// Who decides now.
    pub fn distributor(&self) -> Distributor {
        match self.distributor.load(Ordering::Relaxed) {
            0 => Distributor::Nobody,
            1 => Distributor::Device,
            _software => Distributor::Software,
        }
    }

    /// Takes note of a packet that arrived elsewhere than predicted: software distributes from
    /// now on.
    pub fn distrust(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
        self.distributor
            .store(Distributor::Software as u8, Ordering::Relaxed);
    }

    /// How many sampled packets arrived elsewhere than predicted.
    pub fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }
}

/// The distribution of a port with `queues` queues, and who carries it out: the device, if every
/// worker's answers find it by the device's own key and table.
pub fn negotiate(rss: &Rss, queues: u16, workers: u8) -> (Distribution, Distributor) {
    if workers < 2 {
        return (Distribution::software(workers), Distributor::Nobody);
    }
    if let Rss::Toeplitz { key, table } = rss
        && queues == u16::from(workers)
    {
        let workers = table
            .iter()
            .map(|queue| WorkerId(u8::try_from(*queue).unwrap_or(0)));
        let table: Vec<WorkerId> = workers.collect();
        let workers = u8::try_from(queues).unwrap_or(u8::MAX);
        let spreading = Spreading { key, table: &table };
        if let Ok(distribution) = Distribution::new(key, &table, PortHashing::COMMON)
            && prove(&distribution, spreading, workers).is_ok()
        {
            return (distribution, Distributor::Device);
        }
    }
    (Distribution::software(workers), Distributor::Software)
}

/// The worker that polls receive queue `queue` of port number `port`, which has `queues`.
///
/// With a queue for each worker it is the worker of the same number, as a port's indirection
/// table says; the queues of smaller ports are dealt out in turn.
pub fn poller(port: usize, queue: u16, queues: u16, workers: u8) -> WorkerId {
    let workers = usize::from(workers.max(1));
    let worker = if usize::from(queues) == workers {
        usize::from(queue)
    } else {
        (port + usize::from(queue)) % workers
    };
    WorkerId(u8::try_from(worker).unwrap_or(0))
}

/// Whether a device's hash covers this frame as the software's does: TCP and UDP, unfragmented.
pub(crate) fn is_predictable<B: Buffer>(frame: &B) -> bool {
    inspect(frame.head(), frame.frame_len()).is_ok_and(|parsed| {
        parsed.fragment == Fragment::Whole && matches!(parsed.proto, Proto::TCP | Proto::UDP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toeplitz() -> Rss {
        Rss::Toeplitz {
            key: [0x6d, 0x5a].repeat(20),
            table: (0..128).map(|n| n % 2).collect(),
        }
    }

    #[test]
    fn a_device_distributes_only_with_a_queue_for_each_worker() {
        assert_eq!(negotiate(&toeplitz(), 2, 2).1, Distributor::Device);
        assert_eq!(negotiate(&toeplitz(), 2, 3).1, Distributor::Software);
        assert_eq!(negotiate(&Rss::Off, 2, 2).1, Distributor::Software);
        assert_eq!(negotiate(&toeplitz(), 1, 1).1, Distributor::Nobody);
    }

    #[test]
    fn a_device_whose_table_leaves_a_worker_out_does_not_distribute() {
        let lopsided = Rss::Toeplitz {
            key: [0x6d, 0x5a].repeat(20),
            table: vec![0; 128],
        };
        assert_eq!(negotiate(&lopsided, 2, 2).1, Distributor::Software);
    }

    #[test]
    fn software_distribution_passes_the_self_test_with_any_number_of_workers() {
        for workers in [2, 3, 5, 8, 64] {
            let (distribution, distributor) = negotiate(&Rss::Off, 1, workers);
            assert_eq!(distributor, Distributor::Software);
            let table: Vec<_> = (0..128).map(|n| WorkerId(n % workers)).collect();
            let key = &turnpike_conntrack::rss::SYMMETRIC_KEY;
            let spreading = Spreading { key, table: &table };
            assert_eq!(prove(&distribution, spreading, workers), Ok(()));
        }
    }

    #[test]
    fn one_mismatch_ends_the_trust() {
        let spread = Spread::new(Distributor::Device);
        assert_eq!(spread.distributor(), Distributor::Device);
        spread.distrust();
        assert_eq!(spread.distributor(), Distributor::Software);
        assert_eq!(spread.mismatches(), 1);
    }

    #[test]
    fn single_queues_are_dealt_out_to_different_workers() {
        assert_eq!(poller(0, 0, 1, 2), WorkerId(0));
        assert_eq!(poller(1, 0, 1, 2), WorkerId(1));
        assert_eq!(poller(5, 1, 2, 2), WorkerId(1));
    }
}
