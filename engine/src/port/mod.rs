//! Ports: a device with its queues, negotiated to what the device can do.
//!
//! Opening a port attaches the device, settles queues, offloads, MTU and receive-side scaling, and
//! starts it. What the device said about scaling is read back from it, never assumed. Errors are
//! one sentence each that says what to do. The device stops and detaches when the port and all of
//! its queues have been dropped.

mod device;
mod error;
mod queues;
mod rss;
mod stats;

use std::ffi::{CStr, CString};
use std::sync::Arc;

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};
use turnpike_pipeline::ids::{Mac, PortId};

pub use device::is_pci;
pub use error::PortError;
pub use queues::{RxQueue, TxQueue};
pub use rss::Rss;
pub use stats::{Link, PortStats};

use crate::eal::{errno_text, take_log};
use crate::mempool::{MbufPool, SEGMENT_BYTES};
use error::Step;

/// The bytes of an Ethernet header with two VLAN tags: what a frame is longer than its packet.
const FRAME_OVERHEAD: usize = 22;

/// Whether a port takes frames for other stations too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Promiscuous {
    /// All frames.
    On,
    /// Its own, broadcast and multicast.
    #[default]
    Off,
}

/// What is wanted of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortConfig {
    /// Queues wanted, one per worker; a device with fewer gets what it has.
    pub queues: u16,
    /// The largest IP packet in bytes; `None` leaves what the device has.
    pub mtu: Option<u16>,
    /// Receive descriptors per queue; the device may round.
    pub rx_descriptors: u16,
    /// Transmit descriptors per queue; the device may round.
    pub tx_descriptors: u16,
    /// Whether it takes frames for other stations.
    pub promiscuous: Promiscuous,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            queues: 1,
            mtu: None,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            promiscuous: Promiscuous::Off,
        }
    }
}

/// A port, as the control side sees it: facts, statistics, link.
#[derive(Debug)]
pub struct Port {
    id: PortId,
    name: String,
    device: String,
    driver: String,
    mac: Mac,
    mtu: u16,
    rss: Rss,
    queues: u16,
    inner: Arc<Attached>,
}

/// A port that was just opened, with the queues to hand out.
#[derive(Debug)]
pub struct OpenPort {
    /// The control side.
    pub port: Port,
    /// Its receive queues, in order.
    pub rx: Vec<RxQueue>,
    /// Its transmit queues, in order.
    pub tx: Vec<TxQueue>,
}

/// A device attached to this process; detached when the last holder drops it.
#[derive(Debug)]
struct Attached {
    number: u16,
    device: DevicePointer,
    /// The pool that the device's receive queues are filled from, and EAL under it.
    pool: MbufPool,
}

#[derive(Debug)]
struct DevicePointer(*mut dpdk_sys::rte_device);

// SAFETY: the pointer is only given back to DPDK, once, when the device is detached.
unsafe impl Send for DevicePointer {}
// SAFETY: as above.
unsafe impl Sync for DevicePointer {}

impl Drop for Attached {
    fn drop(&mut self) {
        let _control = self.pool.eal().control();
        // SAFETY: every queue holds this value, so no thread polls the port any more. Stopping a
        // port that never started does nothing.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.number) };
        // SAFETY: the port is stopped, and its number is not used again.
        unsafe { dpdk_sys::rte_eth_dev_close(self.number) };
        if !self.device.0.is_null() {
            // SAFETY: the device was attached by `open` and is detached once, here.
            unsafe { dpdk_sys::rte_dev_remove(self.device.0) };
        }
    }
}

impl Port {
    /// Attaches `device` and starts it as the port called `name`.
    ///
    /// `device` is a PCI address or a software device as DPDK writes them, with arguments behind
    /// commas. A PCI device must have been named to EAL when it started.
    pub fn open(
        id: PortId,
        name: &str,
        device: &str,
        config: &PortConfig,
        pool: &MbufPool,
    ) -> Result<OpenPort, PortError> {
        let _quiet = take_log();
        let number = {
            let _control = pool.eal().control();
            device::attach(device)?
        };
        let mut attached = Attached {
            number,
            device: DevicePointer(std::ptr::null_mut()),
            pool: pool.clone(),
        };
        let info = device_info(name, number)?;
        attached.device = DevicePointer(info.device);
        let opening = Opening {
            name,
            number,
            info: &info,
            config,
        };
        let settled = opening.settle(pool)?;
        let inner = Arc::new(attached);
        let rx = (0..settled.queues).map(|queue| RxQueue::new(&inner, queue));
        let tx = (0..settled.queues).map(|queue| TxQueue::new(&inner, queue, settled.segments));
        Ok(OpenPort {
            rx: rx.collect(),
            tx: tx.collect(),
            port: Self {
                id,
                name: name.to_owned(),
                device: device.to_owned(),
                driver: driver_name(&info),
                mac: settled.mac,
                mtu: settled.mtu,
                rss: settled.rss,
                queues: settled.queues,
                inner,
            },
        })
    }

    /// Its number in the pipeline.
    pub fn id(&self) -> PortId {
        self.id
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device string it was opened with.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The name of DPDK's driver for it.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The largest IP packet it carries, in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// How many queues it has in each direction.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// How the device spreads packets over its queues, as read back from it.
    pub fn rss(&self) -> &Rss {
        &self.rss
    }

    /// The link as the driver last saw it.
    pub fn link(&self) -> Link {
        stats::link(self.inner.number)
    }

    /// The device's basic counters.
    pub fn stats(&self) -> PortStats {
        stats::basic(self.inner.number)
    }

    /// The driver's own counters by name, in its order.
    pub fn extended_stats(&self) -> Vec<(String, u64)> {
        stats::extended(self.inner.number)
    }
}

/// Whether a transmit queue takes frames of several segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segments {
    Many,
    One,
}

/// A port between being attached and being started.
struct Opening<'a> {
    name: &'a str,
    number: u16,
    info: &'a rte_eth_dev_info,
    config: &'a PortConfig,
}

/// What was agreed with the device.
struct Settled {
    mac: Mac,
    mtu: u16,
    queues: u16,
    rss: Rss,
    segments: Segments,
}

impl Opening<'_> {
    fn settle(&self, pool: &MbufPool) -> Result<Settled, PortError> {
        let queues = self
            .config
            .queues
            .min(self.info.max_rx_queues)
            .min(self.info.max_tx_queues)
            .max(1);
        let mtu = self.mtu()?;
        let wanted = rss::wanted(self.info, queues);
        self.configure(queues, mtu, wanted.as_ref())?;
        self.apply_mtu(mtu)?;
        self.set_up_queues(queues, pool)?;
        // SAFETY: the port is configured and all of its queues are set up.
        let code = unsafe { dpdk_sys::rte_eth_dev_start(self.number) };
        self.check(Step::Start, code)?;
        self.choose_frames()?;
        let rss = match wanted {
            Some(wanted) => rss::apply(self.number, self.info, queues, &wanted),
            None => Rss::Off,
        };
        let segments = match self.info.tx_offload_capa & dpdk_sys::TP_TX_OFFLOAD_MULTI_SEGS {
            0 => Segments::One,
            _capable => Segments::Many,
        };
        Ok(Settled {
            mac: self.mac()?,
            mtu,
            queues,
            rss,
            segments,
        })
    }

    /// The wanted MTU if the device can have it, else the one it has.
    fn mtu(&self) -> Result<u16, PortError> {
        let mtu = match self.config.mtu {
            Some(mtu) => mtu,
            None => {
                let mut mtu = 0;
                // SAFETY: the port is attached and the pointer is to a local.
                let code = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.number, &raw mut mtu) };
                self.check(Step::ReadMtu, code)?;
                mtu
            }
        };
        if mtu < self.info.min_mtu || mtu > self.info.max_mtu {
            return Err(PortError::MtuRange {
                port: self.name.to_owned(),
                mtu,
                min: self.info.min_mtu,
                max: self.info.max_mtu,
            });
        }
        Ok(mtu)
    }

    fn configure(
        &self,
        queues: u16,
        mtu: u16,
        wanted: Option<&rss::Wanted>,
    ) -> Result<(), PortError> {
        let checksums = dpdk_sys::TP_RX_OFFLOAD_IPV4_CKSUM
            | dpdk_sys::TP_RX_OFFLOAD_UDP_CKSUM
            | dpdk_sys::TP_RX_OFFLOAD_TCP_CKSUM;
        let mut offloads = checksums & self.info.rx_offload_capa;
        if usize::from(mtu) + FRAME_OVERHEAD > SEGMENT_BYTES {
            offloads |= dpdk_sys::TP_RX_OFFLOAD_SCATTER & self.info.rx_offload_capa;
        }
        let mut conf = rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(mtu);
        conf.rxmode.offloads = offloads;
        conf.txmode.offloads = dpdk_sys::TP_TX_OFFLOAD_MULTI_SEGS & self.info.tx_offload_capa;
        // The key is only read, but the structure says otherwise.
        let mut key = wanted.map(|w| w.key.clone()).unwrap_or_default();
        if let Some(wanted) = wanted {
            conf.rxmode.mq_mode = dpdk_sys::TP_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = u8::try_from(key.len()).unwrap_or(0);
            conf.rx_adv_conf.rss_conf.rss_hf = wanted.flow_types;
        }
        // SAFETY: the port is attached and stopped; `conf`, and the key it points to, outlive the
        // call, which copies them.
        let code = unsafe {
            dpdk_sys::rte_eth_dev_configure(self.number, queues, queues, &raw const conf)
        };
        self.check(Step::Configure, code)
    }

    /// Tells the device its MTU; some need telling besides being configured with it.
    fn apply_mtu(&self, mtu: u16) -> Result<(), PortError> {
        if self.config.mtu.is_none() {
            return Ok(());
        }
        // SAFETY: the port is configured.
        match unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.number, mtu) } {
            0 => Ok(()),
            // It has no such operation; being configured with it is all there is.
            code if code == -ENOTSUP => Ok(()),
            code => Err(PortError::MtuRefused {
                port: self.name.to_owned(),
                mtu,
                reason: errno_text(code),
            }),
        }
    }

    fn set_up_queues(&self, queues: u16, pool: &MbufPool) -> Result<(), PortError> {
        let (mut rx, mut tx) = (self.config.rx_descriptors, self.config.tx_descriptors);
        // SAFETY: the port is configured and the pointers are to locals.
        let code = unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.number, &raw mut rx, &raw mut tx)
        };
        self.check(Step::Descriptors, code)?;
        // SAFETY: the port is attached.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.number) };
        let socket = u32::try_from(socket).unwrap_or(0);
        for queue in 0..queues {
            // SAFETY: the port is configured with more than `queue` queues; a null configuration
            // asks for the driver's own; the pool lives as long as the attached device.
            let code = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(
                    self.number,
                    queue,
                    rx,
                    socket,
                    std::ptr::null(),
                    pool.as_ptr(),
                )
            };
            self.check(Step::ReceiveQueue, code)?;
            // SAFETY: as for the receive queue.
            let code = unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(self.number, queue, tx, socket, std::ptr::null())
            };
            self.check(Step::TransmitQueue, code)?;
        }
        Ok(())
    }

    /// Which frames the device lets in.
    fn choose_frames(&self) -> Result<(), PortError> {
        // Neighbour discovery needs groups. A driver that cannot choose lets everything in, so
        // what it answers does not matter; the pipeline looks at addresses itself.
        // SAFETY: the port is started.
        unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.number) };
        let code = match self.config.promiscuous {
            // SAFETY: the port is started.
            Promiscuous::On => unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.number) },
            Promiscuous::Off => 0,
        };
        if code == -ENOTSUP {
            return Ok(());
        }
        self.check(Step::Promiscuous, code)
    }

    fn mac(&self) -> Result<Mac, PortError> {
        let mut address = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port is attached and the pointer is to a local.
        let code = unsafe { dpdk_sys::rte_eth_macaddr_get(self.number, &raw mut address) };
        self.check(Step::ReadAddress, code)?;
        Ok(Mac(address.addr_bytes))
    }

    fn check(&self, step: Step, code: i32) -> Result<(), PortError> {
        if code == 0 {
            return Ok(());
        }
        Err(PortError::Refused {
            port: self.name.to_owned(),
            step,
            reason: errno_text(code),
            said: take_log(),
        })
    }
}

/// `ENOTSUP` on Linux.
const ENOTSUP: i32 = 95;

fn device_info(name: &str, number: u16) -> Result<rte_eth_dev_info, PortError> {
    let mut info = rte_eth_dev_info::default();
    // SAFETY: the port is attached and the pointer is to a local.
    let code = unsafe { dpdk_sys::rte_eth_dev_info_get(number, &raw mut info) };
    if code == 0 {
        return Ok(info);
    }
    Err(PortError::Refused {
        port: name.to_owned(),
        step: Step::ReadInfo,
        reason: errno_text(code),
        said: take_log(),
    })
}

fn driver_name(info: &rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: a driver's name is a static string of the loaded driver.
    let name = unsafe { CStr::from_ptr(info.driver_name) };
    name.to_string_lossy().into_owned()
}

fn c_string(device: &str) -> Result<CString, PortError> {
    CString::new(device).map_err(|_| PortError::Syntax {
        device: device.replace('\0', "\\0"),
    })
}
