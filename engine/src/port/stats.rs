//! What a device says about itself while it runs.

use std::ffi::CStr;

use dpdk_sys::{rte_eth_link, rte_eth_stats, rte_eth_xstat, rte_eth_xstat_name};

/// The state of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether the link is up.
    pub up: bool,
    /// Its speed in Mbit/s, if the driver knows.
    pub speed_mbps: Option<u32>,
}

/// A port's basic counters, since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets the device dropped because its queue was full.
    pub rx_missed: u64,
    /// Packets received with an error.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped for want of a buffer.
    pub rx_no_buffer: u64,
}

pub(super) fn link(port: u16) -> Link {
    let mut link = rte_eth_link::default();
    // SAFETY: the port is attached and the pointer is to a local.
    let code = unsafe { dpdk_sys::rte_eth_link_get_nowait(port, &raw mut link) };
    let known = link.link_speed != 0 && link.link_speed != u32::MAX;
    Link {
        up: code == 0 && link.link_status() == 1,
        speed_mbps: known.then_some(link.link_speed),
    }
}

pub(super) fn basic(port: u16) -> PortStats {
    let mut stats = rte_eth_stats::default();
    // SAFETY: the port is attached and the pointer is to a local. On failure it stays zero.
    unsafe { dpdk_sys::rte_eth_stats_get(port, &raw mut stats) };
    PortStats {
        rx_packets: stats.ipackets,
        rx_bytes: stats.ibytes,
        tx_packets: stats.opackets,
        tx_bytes: stats.obytes,
        rx_missed: stats.imissed,
        rx_errors: stats.ierrors,
        tx_errors: stats.oerrors,
        rx_no_buffer: stats.rx_nombuf,
    }
}

pub(super) fn extended(port: u16) -> Vec<(String, u64)> {
    // SAFETY: with no room the call only says how many there are.
    let count = unsafe { dpdk_sys::rte_eth_xstats_get_names(port, std::ptr::null_mut(), 0) };
    let Ok(count) = usize::try_from(count) else {
        return Vec::new();
    };
    let mut names = vec![rte_eth_xstat_name::default(); count];
    let mut values = vec![rte_eth_xstat::default(); count];
    let size = u32::try_from(count).unwrap_or(0);
    // SAFETY: there is room for `size` names.
    let named = unsafe { dpdk_sys::rte_eth_xstats_get_names(port, names.as_mut_ptr(), size) };
    // SAFETY: there is room for `size` values.
    let valued = unsafe { dpdk_sys::rte_eth_xstats_get(port, values.as_mut_ptr(), size) };
    let got = usize::try_from(named.min(valued)).unwrap_or(0).min(count);
    let by_id = |value: &rte_eth_xstat| {
        let name = names.get(usize::try_from(value.id).ok()?)?;
        // SAFETY: DPDK ends every name with a NUL inside its array.
        let name = unsafe { CStr::from_ptr(name.name.as_ptr()) };
        Some((name.to_string_lossy().into_owned(), value.value))
    };
    values.iter().take(got).filter_map(by_id).collect()
}
