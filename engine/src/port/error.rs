//! Why a port did not open, each in one sentence that says what to do.

use crate::eal::Said;

/// Why a port did not open.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The device string is neither a PCI address nor a software device.
    #[error(
        "device `{device}` is neither a PCI address (0000:01:00.0) nor a software device of DPDK \
         (net_af_packet0,iface=eth0); correct `device`"
    )]
    Syntax {
        /// The device string.
        device: String,
    },
    /// A software device on a kernel interface that is not there.
    #[error(
        "device `{device}`: interface {interface} does not exist; create it or correct `device`"
    )]
    InterfaceMissing {
        /// The device string.
        device: String,
        /// The interface it names.
        interface: String,
    },
    /// A software device on a file that is not there.
    #[error("device `{device}`: file {path} does not exist; correct `device`")]
    FileMissing {
        /// The device string.
        device: String,
        /// The file it names.
        path: String,
    },
    /// Nothing at this PCI address.
    #[error("device `{device}`: no such PCI device; `lspci` lists those that are there")]
    PciMissing {
        /// The device string.
        device: String,
    },
    /// Another port has it.
    #[error("device `{device}` is used by another port; give each port a device of its own")]
    Taken {
        /// The device string.
        device: String,
    },
    /// DPDK could not attach it.
    #[error(
        "device `{device}`: DPDK could not attach it ({reason}); check the driver's name and its \
         arguments{said}"
    )]
    Attach {
        /// The device string.
        device: String,
        /// What DPDK's error number means.
        reason: String,
        /// The last lines it logged.
        said: Said,
    },
    /// The device was attached and is no Ethernet port.
    #[error(
        "device `{device}`: DPDK made no Ethernet port of it; a PCI device has to be bound to \
         vfio-pci (`dpdk-devbind.py --status` shows to what it is)"
    )]
    NoPort {
        /// The device string.
        device: String,
    },
    /// The MTU is outside what the device takes.
    #[error("port {port}: the device takes an MTU from {min} to {max}, not {mtu}; correct `mtu`")]
    MtuRange {
        /// The port's name.
        port: String,
        /// What was asked for.
        mtu: u16,
        /// The least it takes.
        min: u16,
        /// The most it takes.
        max: u16,
    },
    /// The device refused its MTU.
    #[error(
        "port {port}: the device refused an MTU of {mtu} ({reason}); lower `mtu`, or give the \
         device larger frames (net_af_packet: `framesz=`)"
    )]
    MtuRefused {
        /// The port's name.
        port: String,
        /// What was asked for.
        mtu: u16,
        /// What DPDK's error number means.
        reason: String,
    },
    /// The device refused something else.
    #[error("port {port}: the device did not {step} ({reason}){said}")]
    Refused {
        /// The port's name.
        port: String,
        /// At what.
        step: Step,
        /// What DPDK's error number means.
        reason: String,
        /// The last lines it logged.
        said: Said,
    },
}

/// What a device was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Tell what it can do.
    ReadInfo,
    /// Tell its MTU.
    ReadMtu,
    /// Tell its Ethernet address.
    ReadAddress,
    /// Take its configuration.
    Configure,
    /// Take its numbers of descriptors.
    Descriptors,
    /// Set up a receive queue.
    ReceiveQueue,
    /// Set up a transmit queue.
    TransmitQueue,
    /// Start.
    Start,
    /// Take frames for other stations.
    Promiscuous,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ReadInfo => "say what it can do",
            Self::ReadMtu => "tell its MTU",
            Self::ReadAddress => "tell its Ethernet address",
            Self::Configure => "take its configuration",
            Self::Descriptors => "take its number of descriptors",
            Self::ReceiveQueue => "set up a receive queue",
            Self::TransmitQueue => "set up a transmit queue",
            Self::Start => "start",
            Self::Promiscuous => "become promiscuous",
        })
    }
}
