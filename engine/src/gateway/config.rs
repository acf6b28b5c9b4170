//! What a gateway is started with, and why it did not start.

use std::collections::BTreeSet;

use turnpike_conntrack::ids::WORKERS_MAX;
use turnpike_pipeline::ids::PORTS_MAX;

use super::available::{self, Available};
use crate::eal::EalError;
use crate::exchange::RingSizes;
use crate::hugepages::Hugepages;
use crate::idle::IdlePolicy;
use crate::mempool::{BUFFER_COST_BYTES, POOL_CACHE, PoolError};
use crate::port::{PortError, Promiscuous};

/// What DPDK needs of packet memory besides buffers, in MiB.
const OVERHEAD_MB: usize = 32;

/// A port to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Its name in the configuration.
    pub name: String,
    /// The device: a PCI address, or a software device as DPDK writes them.
    pub device: String,
    /// The largest IP packet in bytes; `None` leaves what the device has.
    pub mtu: Option<u16>,
    /// Receive descriptors per queue.
    pub rx_descriptors: u16,
    /// Transmit descriptors per queue.
    pub tx_descriptors: u16,
    /// Whether it takes frames for other stations.
    pub promiscuous: Promiscuous,
}

impl PortSpec {
    /// A port with the usual number of descriptors and the MTU its device has.
    pub fn new(name: &str, device: &str) -> Self {
        Self {
            name: name.to_owned(),
            device: device.to_owned(),
            mtu: None,
            rx_descriptors: 1_024,
            tx_descriptors: 1_024,
            promiscuous: Promiscuous::Off,
        }
    }
}

/// How much packet memory to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PacketMemory {
    /// As much as the queues and rings can hold.
    #[default]
    Auto,
    /// So many MiB.
    Mb(usize),
    /// Room for so many packets.
    Buffers(u32),
}

/// What a gateway is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The core of each worker.
    pub workers: Vec<usize>,
    /// The slow path's core; `None` lets it run where there is room.
    pub slow_path_core: Option<usize>,
    /// What threads do when there is nothing to do.
    pub idle: IdlePolicy,
    /// What to do about hugepages.
    pub hugepages: Hugepages,
    /// Packet memory.
    pub memory: PacketMemory,
    /// The ports; a `PortId` is an index here.
    pub ports: Vec<PortSpec>,
    /// The most connections of all workers together.
    pub max_connections: usize,
    /// The sizes of the rings between threads.
    pub rings: RingSizes,
}

impl GatewayConfig {
    /// A gateway on these cores with these ports, and the usual for all else.
    pub fn new(workers: Vec<usize>, ports: Vec<PortSpec>) -> Self {
        Self {
            workers,
            slow_path_core: None,
            idle: IdlePolicy::default(),
            hugepages: Hugepages::default(),
            memory: PacketMemory::default(),
            ports,
            max_connections: 262_144,
            rings: RingSizes::default(),
        }
    }
}

/// Why a gateway did not start, each in one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No worker was asked for, or more than there can be.
    #[error("{0} workers were asked for; name 1 to {WORKERS_MAX} cores in `workers`")]
    Workers(usize),
    /// More ports than there can be, or none.
    #[error("{0} ports were asked for; a gateway has 1 to {PORTS_MAX}")]
    Ports(usize),
    /// A core that this process cannot use.
    #[error("core {core} does not exist or is not allowed here; usable cores are {usable}")]
    Core {
        /// The core asked for.
        core: usize,
        /// Those that exist, as a list of ranges.
        usable: String,
    },
    /// Two workers on one core.
    #[error("core {0} is given to two workers; give each a core of its own")]
    CoreTwice(usize),
    /// The memory asked for does not hold the buffers needed.
    #[error(
        "{given} MiB of packet memory are too little: these ports, queues and rings need {needed} \
         MiB; raise `memory`, or lower the number of descriptors"
    )]
    Memory {
        /// What was asked for, in MiB.
        given: usize,
        /// What is needed, in MiB.
        needed: usize,
    },
    /// Fewer buffers than are needed.
    #[error(
        "{given} packet buffers are too few: these ports, queues and rings need {needed}; raise \
         `mbufs`"
    )]
    Buffers {
        /// What was asked for.
        given: usize,
        /// What is needed.
        needed: usize,
    },
    /// The machine has not the memory for what is asked.
    #[error(
        "{needed} MiB of memory are needed ({buffers} for packet buffers, {tables} for connection \
         tables) and {available} MiB are available; lower {lower}, or give the machine more memory"
    )]
    TooLittleMemory {
        /// For everything, in MiB.
        needed: usize,
        /// For packet buffers, in MiB.
        buffers: usize,
        /// For connection tables, in MiB.
        tables: usize,
        /// What the machine has, in MiB.
        available: usize,
        /// The key that frees the most.
        lower: &'static str,
    },
    /// DPDK did not start.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// No buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A port did not open.
    #[error(transparent)]
    Port(#[from] PortError),
    /// No randomness for the keys of hash tables.
    #[error("no randomness from /dev/urandom: {0}")]
    Randomness(std::io::Error),
    /// A thread could not be made.
    #[error("no thread for {name}: {reason}")]
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A thread could not be pinned to its core.
    #[error("{name} could not be pinned to core {core}; check the CPU affinity of this process")]
    Pin {
        /// The thread's name.
        name: String,
        /// Its core.
        core: usize,
    },
}

/// Packet memory, settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub memory_mb: usize,
    pub buffers: u32,
}

impl GatewayConfig {
    /// Checks what can be checked before DPDK starts; returns the number of workers.
    pub(super) fn check(&self, usable: &[usize]) -> Result<u8, StartError> {
        let workers = u8::try_from(self.workers.len()).ok();
        let workers = workers.filter(|w| (1..=WORKERS_MAX).contains(&usize::from(*w)));
        let workers = workers.ok_or(StartError::Workers(self.workers.len()))?;
        if !(1..=PORTS_MAX).contains(&self.ports.len()) {
            return Err(StartError::Ports(self.ports.len()));
        }
        for core in self.workers.iter().chain(&self.slow_path_core) {
            if !usable.contains(core) {
                return Err(StartError::Core {
                    core: *core,
                    usable: ranges(usable),
                });
            }
        }
        let mut cores = BTreeSet::new();
        if let Some(core) = self.workers.iter().find(|core| !cores.insert(**core)) {
            return Err(StartError::CoreTwice(*core));
        }
        let mut devices = BTreeSet::new();
        let name = |port: &PortSpec| port.device.split(',').next().map(str::to_owned);
        if let Some(port) = self.ports.iter().find(|port| !devices.insert(name(port))) {
            let device = port.device.clone();
            return Err(PortError::Taken { device }.into());
        }
        Ok(workers)
    }

    /// How many buffers there are to be, and the memory for them.
    pub(super) fn budget(&self, workers: u8) -> Result<Budget, StartError> {
        let workers = usize::from(workers);
        let descriptors = self.ports.iter().map(|port| {
            workers * (usize::from(port.rx_descriptors) + usize::from(port.tx_descriptors))
        });
        let rings = self.rings.handover + self.rings.punt + self.rings.back;
        // A thread's cache grows to one and a half times its size before it is flushed.
        let caches = (workers + 2) * POOL_CACHE as usize * 3 / 2;
        let needed = descriptors.sum::<usize>() + workers * rings + caches;
        let mb_of = |buffers: usize| (buffers * BUFFER_COST_BYTES).div_ceil(1 << 20) + OVERHEAD_MB;
        let needed_mb = mb_of(needed);
        let memory_mb = match self.memory {
            PacketMemory::Auto => needed_mb,
            PacketMemory::Mb(given) if given < needed_mb => {
                return Err(StartError::Memory {
                    given,
                    needed: needed_mb,
                });
            }
            PacketMemory::Mb(given) => given,
            PacketMemory::Buffers(given) => {
                let given = usize::try_from(given).unwrap_or(usize::MAX);
                if given < needed {
                    return Err(StartError::Buffers { given, needed });
                }
                mb_of(given)
            }
        };
        let buffers = ((memory_mb - OVERHEAD_MB) << 20) / BUFFER_COST_BYTES;
        Ok(Budget {
            memory_mb,
            buffers: u32::try_from(buffers).unwrap_or(u32::MAX),
        })
    }
}

impl GatewayConfig {
    /// Refuses what the machine has no memory for; a machine that does not say is taken to have
    /// enough.
    pub(super) fn fits(&self, budget: &Budget) -> Result<(), StartError> {
        Available::now().map_or(Ok(()), |available| self.fits_into(budget, available))
    }

    fn fits_into(&self, budget: &Budget, available: Available) -> Result<(), StartError> {
        let buffers = budget.memory_mb;
        let tables = available::tables_mb(self.max_connections);
        let needed = buffers.saturating_add(tables);
        let available = available.usable_mb(buffers, self.hugepages);
        if needed <= available {
            return Ok(());
        }
        let lower = if tables > buffers {
            "`max-entries`"
        } else {
            match self.memory {
                PacketMemory::Auto => "the number of workers, descriptors or `max-entries`",
                PacketMemory::Mb(_) => "`memory`",
                PacketMemory::Buffers(_) => "`mbufs`",
            }
        };
        Err(StartError::TooLittleMemory {
            needed,
            buffers,
            tables,
            available,
            lower,
        })
    }
}

/// Sorted numbers as people write them: `0-3, 8`.
fn ranges(sorted: &[usize]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = sorted;
    while let Some((first, _)) = rest.split_first() {
        let length = rest
            .iter()
            .zip(*first..)
            .take_while(|(core, n)| **core == *n)
            .count();
        let last = first + length - 1;
        words.push(if length > 1 {
            format!("{first}-{last}")
        } else {
            first.to_string()
        });
        rest = rest.get(length..).unwrap_or(&[]);
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(workers: Vec<usize>) -> GatewayConfig {
        GatewayConfig::new(workers, vec![PortSpec::new("lan", "net_null0")])
    }

    #[test]
    fn a_core_that_does_not_exist_is_named_with_those_that_do() {
        let error = config(vec![0, 9]).check(&[0, 1, 2, 5]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "core 9 does not exist or is not allowed here; usable cores are 0-2, 5"
        );
    }

    #[test]
    fn a_core_or_a_device_is_given_out_once() {
        let error = config(vec![1, 1]).check(&[0, 1]).unwrap_err();
        assert!(matches!(error, StartError::CoreTwice(1)));
        let mut twice = config(vec![0]);
        twice.ports.push(PortSpec::new("wan", "net_null0,size=64"));
        let error = twice.check(&[0]).unwrap_err();
        assert!(error.to_string().contains("is used by another port"));
    }

    #[test]
    fn a_gateway_has_workers_and_ports() {
        assert!(matches!(
            config(vec![]).check(&[0]),
            Err(StartError::Workers(0))
        ));
        let mut portless = config(vec![0]);
        portless.ports.clear();
        assert!(matches!(portless.check(&[0]), Err(StartError::Ports(0))));
    }

    #[test]
    fn too_little_memory_says_how_much_is_needed() {
        let mut config = config(vec![0, 1]);
        let auto = config.budget(2).unwrap();
        // Every queue and every ring can be full at once.
        assert!(auto.buffers as usize >= 2 * (2_048 + 2_048 + 1_024 + 1_024));
        config.memory = PacketMemory::Buffers(auto.buffers);
        assert!(config.budget(2).unwrap().buffers >= auto.buffers);
        config.memory = PacketMemory::Buffers(9);
        let error = config.budget(2).unwrap_err().to_string();
        assert!(error.starts_with("9 packet buffers are too few"), "{error}");
        config.memory = PacketMemory::Mb(auto.memory_mb - 1);
        let error = config.budget(2).unwrap_err().to_string();
        assert!(
            error.contains(&format!("need {} MiB", auto.memory_mb)),
            "{error}"
        );
    }

    #[test]
    fn what_the_machine_cannot_hold_is_refused_with_the_key_to_lower() {
        let mut config = config(vec![0]);
        config.hugepages = Hugepages::No;
        config.memory = PacketMemory::Buffers(1 << 24);
        let budget = config.budget(1).unwrap();
        let machine = Available {
            ordinary_mb: 23 << 10,
            hugepages_mb: 64 << 10,
        };
        let error = config.fits_into(&budget, machine).unwrap_err().to_string();
        assert!(error.contains("23552 MiB are available"), "{error}");
        assert!(error.contains("lower `mbufs`"), "{error}");
        config.hugepages = Hugepages::Auto;
        assert!(config.fits_into(&budget, machine).is_ok());

        config.memory = PacketMemory::Auto;
        config.max_connections = 1 << 30;
        let budget = config.budget(1).unwrap();
        let error = config.fits_into(&budget, machine).unwrap_err().to_string();
        assert!(error.contains("lower `max-entries`"), "{error}");
    }
}
