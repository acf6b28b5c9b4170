//! Receive-side scaling: asked for with a symmetric key, and read back from the device.
//!
//! A port's scaling is used only if the device says that it does exactly what was asked: the key,
//! the indirection table and the flow types, all read back. Everything else is [`Rss::Off`].

use dpdk_sys::{rte_eth_dev_info, rte_eth_rss_conf, rte_eth_rss_reta_entry64};

/// The shortest Toeplitz key that covers IPv6 addresses and ports, in bytes.
const KEY_MIN: usize = 40;

/// How a device spreads packets over its receive queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rss {
    /// It does not, or does not say how: one queue, or queues that cannot be predicted.
    Off,
    /// By the Toeplitz hash with this key over addresses, and the ports of TCP and UDP.
    Toeplitz {
        /// The key as read back.
        key: Vec<u8>,
        /// The queue for each value of the hash modulo the table's length, as read back.
        table: Vec<u16>,
    },
}

/// What a device is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub key: Vec<u8>,
    pub flow_types: u64,
}

/// What to ask of a device with `queues` queues; `None` if it cannot do what is needed.
pub(super) fn wanted(info: &rte_eth_dev_info, queues: u16) -> Option<Wanted> {
    let ports = dpdk_sys::TP_RSS_TCP | dpdk_sys::TP_RSS_UDP;
    let flow_types = info.flow_type_rss_offloads & (dpdk_sys::TP_RSS_ADDRESSES | ports);
    if queues < 2 || flow_types & ports != ports {
        return None;
    }
    let length = match usize::from(info.hash_key_size) {
        0 => KEY_MIN,
        length if length < KEY_MIN => return None,
        length => length,
    };
    Some(Wanted {
        key: symmetric_key(length),
        flow_types,
    })
}

/// The key whose hash is the same for both directions of a flow.
fn symmetric_key(length: usize) -> Vec<u8> {
    [0x6d, 0x5a].into_iter().cycle().take(length).collect()
}

/// Spreads the indirection table over the queues and reads everything back.
pub(super) fn apply(port: u16, info: &rte_eth_dev_info, queues: u16, wanted: &Wanted) -> Rss {
    let length = usize::from(info.reta_size);
    if length == 0 || set_table(port, length, queues).is_none() {
        return Rss::Off;
    }
    match (read_key(port, wanted), read_table(port, length)) {
        (Some(key), Some(table)) if key == wanted.key && table.iter().all(|q| *q < queues) => {
            Rss::Toeplitz { key, table }
        }
        _other_than_asked => Rss::Off,
    }
}

fn groups(length: usize) -> Vec<rte_eth_rss_reta_entry64> {
    let group = dpdk_sys::TP_RETA_GROUP as usize;
    let empty = rte_eth_rss_reta_entry64 {
        mask: 0,
        reta: [0; 64],
    };
    let mut groups = vec![empty; length.div_ceil(group)];
    for entry in 0..length {
        if let Some(group_of_entry) = groups.get_mut(entry / group) {
            group_of_entry.mask |= 1 << (entry % group);
        }
    }
    groups
}

fn set_table(port: u16, length: usize, queues: u16) -> Option<()> {
    let mut groups = groups(length);
    let entries = groups.iter_mut().flat_map(|g| g.reta.iter_mut());
    for (entry, queue) in entries.zip((0..queues).cycle()) {
        *entry = queue;
    }
    let size = u16::try_from(length).ok()?;
    // SAFETY: the port is configured, and there is a group for every 64 of `size` entries.
    let code = unsafe { dpdk_sys::rte_eth_dev_rss_reta_update(port, groups.as_mut_ptr(), size) };
    (code == 0).then_some(())
}

fn read_table(port: u16, length: usize) -> Option<Vec<u16>> {
    let mut groups = groups(length);
    let size = u16::try_from(length).ok()?;
    // SAFETY: as for the update.
    let code = unsafe { dpdk_sys::rte_eth_dev_rss_reta_query(port, groups.as_mut_ptr(), size) };
    let entries = groups.iter().flat_map(|g| g.reta);
    (code == 0).then(|| entries.take(length).collect())
}

fn read_key(port: u16, wanted: &Wanted) -> Option<Vec<u8>> {
    let mut key = vec![0_u8; wanted.key.len()];
    let mut conf = rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: u8::try_from(key.len()).ok()?,
        rss_hf: 0,
    };
    // SAFETY: the port is configured, and the key has as many bytes as said.
    let code = unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(port, &raw mut conf) };
    let as_asked = code == 0 && conf.rss_hf & wanted.flow_types == wanted.flow_types;
    as_asked.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_table_is_asked_for_and_none_beyond() {
        let groups = groups(100);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].mask, u64::MAX);
        assert_eq!(groups[1].mask, (1 << 36) - 1);
    }

    #[test]
    fn a_device_with_one_queue_or_without_ports_in_its_hash_is_not_asked() {
        let mut info = rte_eth_dev_info {
            flow_type_rss_offloads: u64::MAX,
            hash_key_size: 52,
            ..Default::default()
        };
        assert!(wanted(&info, 1).is_none());
        assert_eq!(wanted(&info, 2).unwrap().key.len(), 52);
        info.flow_type_rss_offloads = dpdk_sys::TP_RSS_ADDRESSES;
        assert!(wanted(&info, 2).is_none());
    }
}
