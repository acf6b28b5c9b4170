//! Putting a gateway together: ports opened, queues dealt out, threads started.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use core_affinity::CoreId;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::WorkerId;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::interfaces::PortFacts;

use super::config::{GatewayConfig, PortSpec, StartError};
use crate::distribute::{Spread, negotiate, poller};
use crate::eal::Eal;
use crate::hugepages::Memory;
use crate::mempool::MbufPool;
use crate::port::{OpenPort, Port, PortConfig, TxQueue, is_pci};
use crate::worker::{RxShare, TxShare, TxSlot};

/// Secrets of this run, from the operating system.
pub(super) struct Keys {
    pub tracking: HashKey,
    pub shared: HashKey,
    pub answers: u64,
}

impl Keys {
    pub fn draw() -> Result<Self, StartError> {
        let mut bytes = [0_u8; 72];
        let mut source = File::open("/dev/urandom").map_err(StartError::Randomness)?;
        source
            .read_exact(&mut bytes)
            .map_err(StartError::Randomness)?;
        let mut words = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_ne_bytes(*word));
        let mut word = || words.next().unwrap_or_default();
        Ok(Self {
            tracking: HashKey([word(), word(), word(), word()]),
            shared: HashKey([word(), word(), word(), word()]),
            answers: word(),
        })
    }
}

/// One worker's queues.
#[derive(Debug, Default)]
pub(super) struct WorkerQueues {
    pub rx: Vec<RxShare>,
    pub tx: Vec<TxSlot>,
}

/// A port with how its packets are spread.
#[derive(Debug)]
pub(super) struct SpreadPort {
    pub port: Port,
    pub spread: Arc<Spread>,
}

/// Ports opened and their queues dealt out.
pub(super) struct Wiring {
    pub ports: Vec<SpreadPort>,
    pub facts: Vec<PortFacts>,
    pub queues: Vec<WorkerQueues>,
}

/// Pools by NUMA socket, made when the first port on it asks.
pub(super) struct Pools {
    eal: Eal,
    memory: Memory,
    buffers: u32,
    by_socket: BTreeMap<Option<u32>, MbufPool>,
}

impl Pools {
    pub fn new(eal: &Eal, memory: Memory, buffers: u32) -> Self {
        Self {
            eal: eal.clone(),
            memory,
            buffers,
            by_socket: BTreeMap::new(),
        }
    }

    /// The pool on this socket. Ordinary memory is not bound to sockets, so it is one pool.
    pub fn on(&mut self, socket: Option<u32>) -> Result<MbufPool, StartError> {
        let socket = match self.memory {
            Memory::Huge { page_kb: _ } => socket,
            Memory::Ordinary => None,
        };
        if let Some(pool) = self.by_socket.get(&socket) {
            return Ok(pool.clone());
        }
        let pool = MbufPool::create(&self.eal, socket, self.buffers)?;
        self.by_socket.insert(socket, pool.clone());
        Ok(pool)
    }

    pub fn into_vec(self) -> Vec<MbufPool> {
        self.by_socket.into_values().collect()
    }
}

/// Opens every port and deals its queues out to `workers` workers.
pub(super) fn wire(
    config: &GatewayConfig,
    workers: u8,
    pools: &mut Pools,
) -> Result<Wiring, StartError> {
    let mut wiring = Wiring {
        ports: Vec::new(),
        facts: Vec::new(),
        queues: (0..workers).map(|_| WorkerQueues::default()).collect(),
    };
    for (number, spec) in (0_u8..).zip(&config.ports) {
        let pool = pools.on(socket_of(&spec.device))?;
        let open = open(PortId(number), spec, workers, &pool)?;
        wiring.add(open, workers);
    }
    Ok(wiring)
}

fn open(id: PortId, spec: &PortSpec, workers: u8, pool: &MbufPool) -> Result<OpenPort, StartError> {
    let config = PortConfig {
        queues: u16::from(workers),
        mtu: spec.mtu,
        rx_descriptors: spec.rx_descriptors,
        tx_descriptors: spec.tx_descriptors,
        promiscuous: spec.promiscuous,
    };
    Ok(Port::open(id, &spec.name, &spec.device, &config, pool)?)
}

impl Wiring {
    fn add(&mut self, open: OpenPort, workers: u8) {
        let OpenPort { port, rx, tx } = open;
        let (distribution, distributor) = negotiate(port.rss(), port.queues(), workers);
        let spread = Arc::new(Spread::new(distributor));
        self.facts.push(PortFacts {
            mac: port.mac(),
            mtu: port.mtu(),
            distribution: Arc::new(distribution),
        });
        for queue in rx {
            let at = usize::from(port.id().0);
            let worker = poller(at, queue.number(), port.queues(), workers);
            if let Some(queues) = self.queues.get_mut(usize::from(worker.0)) {
                queues
                    .rx
                    .push(RxShare::new(port.id(), queue, Arc::clone(&spread)));
            }
        }
        for (queues, share) in self.queues.iter_mut().zip(deal_out(tx, workers)) {
            queues.tx.push(TxSlot::new(share));
        }
        self.ports.push(SpreadPort { port, spread });
    }
}

/// A transmit queue for each worker: its own where there are enough, else shared in turn.
fn deal_out(queues: Vec<TxQueue>, workers: u8) -> Vec<TxShare> {
    let workers = usize::from(workers);
    if queues.len() >= workers {
        return queues.into_iter().take(workers).map(TxShare::Own).collect();
    }
    let shared: Vec<Arc<Mutex<TxQueue>>> = queues
        .into_iter()
        .map(|queue| Arc::new(Mutex::new(queue)))
        .collect();
    shared
        .iter()
        .cycle()
        .take(workers)
        .map(|queue| TxShare::Shared(Arc::clone(queue)))
        .collect()
}

/// The NUMA socket that a PCI device is on, if it says.
fn socket_of(device: &str) -> Option<u32> {
    if !is_pci(device) {
        return None;
    }
    let address = device.split(',').next()?;
    let address = match address.matches(':').count() {
        1 => format!("0000:{address}"),
        _full => address.to_owned(),
    };
    let node = fs::read_to_string(format!("/sys/bus/pci/devices/{address}/numa_node")).ok()?;
    // Minus one where the machine has no sockets to tell apart.
    node.trim().parse().ok()
}

/// A thread to start: its name, its core, and EAL to register with.
pub(super) struct Berth {
    pub name: String,
    pub core: Option<usize>,
    pub eal: Eal,
}

impl Berth {
    pub fn of_worker(id: WorkerId, core: usize, eal: &Eal) -> Self {
        Self {
            name: format!("tp-worker-{}", id.0),
            core: Some(core),
            eal: eal.clone(),
        }
    }

    /// Starts a thread, pins and registers it, has it `build` what it runs, and returns when that
    /// is ready. It `run`s when `go` says so, and not at all if `go` goes away.
    pub fn start<T: 'static>(
        self,
        go: mpsc::Receiver<()>,
        build: impl FnOnce() -> T + Send + 'static,
        run: impl FnOnce(T) + Send + 'static,
    ) -> Result<JoinHandle<()>, StartError> {
        let Self { name, core, eal } = self;
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            if let Some(core) = core
                && !core_affinity::set_for_current(CoreId { id: core })
            {
                let _waiting = ready.send(Err(core));
                return;
            }
            // Without room for another registration the thread has no mempool cache, only slower.
            let _registered = eal.register_thread();
            let state = build();
            if ready.send(Ok(())).is_ok() && go.recv().is_ok() {
                run(state);
            }
        });
        let thread = thread.map_err(|reason| StartError::Thread {
            name: name.clone(),
            reason,
        })?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(core)) => Err(StartError::Pin { name, core }),
            Err(_ended) => Err(StartError::Thread {
                name,
                reason: std::io::Error::other("it ended while it started"),
            }),
        }
    }
}
