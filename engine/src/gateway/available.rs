//! Whether a gateway fits into the machine's memory, asked before any of it is taken.
//!
//! DPDK takes its memory at once and for good; a machine that has less would end whatever its
//! kernel picks.

use std::fs;

use crate::hugepages::Hugepages;

/// What a connection entry and its index cost on average, with its room in the steering map (16),
/// among the limits (2) and in the SYN gate (8): three quarters are IPv4 (192 bytes) and one
/// quarter is IPv6 (240 bytes).
const CONNECTION_COST_BYTES: usize = 232;

/// The MiB that connection tables of `entries` in all take.
pub fn tables_mb(entries: usize) -> usize {
    entries
        .saturating_mul(CONNECTION_COST_BYTES)
        .div_ceil(1 << 20)
}

/// What this process can still take, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Ordinary pages.
    pub ordinary_mb: usize,
    /// Hugepages that are reserved and free; only packet memory can be on them.
    pub hugepages_mb: usize,
}

impl Available {
    /// What is there now: what the kernel calls available, within the limit of the control group;
    /// `None` if the kernel does not say.
    pub fn now() -> Option<Self> {
        let machine = Self::of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
        let group = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
        let left = group("memory.max")
            .zip(group("memory.current"))
            .and_then(|(max, current)| {
                group_left_mb(&max, &current, &group("memory.stat").unwrap_or_default())
            });
        // Hugepages are not in that limit.
        let ordinary_mb = left.map_or(machine.ordinary_mb, |mb| mb.min(machine.ordinary_mb));
        Some(Self {
            ordinary_mb,
            ..machine
        })
    }

    /// What can hold `buffers` MiB of packet memory and everything else: free hugepages count as
    /// far as packet memory fills them, and not at all where it may not use them.
    pub fn usable_mb(self, buffers: usize, hugepages: Hugepages) -> usize {
        let covered = match hugepages {
            Hugepages::No => 0,
            Hugepages::Auto | Hugepages::Yes => self.hugepages_mb.min(buffers),
        };
        self.ordinary_mb.saturating_add(covered)
    }

    fn of_machine(meminfo: &str) -> Option<Self> {
        let pages = field(meminfo, "HugePages_Free:").unwrap_or(0);
        let page_kb = field(meminfo, "Hugepagesize:").unwrap_or(0);
        Some(Self {
            ordinary_mb: field(meminfo, "MemAvailable:")? / 1024,
            hugepages_mb: pages.saturating_mul(page_kb) / 1024,
        })
    }
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<usize> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines
        .find_map(|mut words| (words.next() == Some(name)).then(|| words.next()))?
        .and_then(|number| number.parse().ok())
}

/// What a control group may still take; files that nobody uses are given up for it.
fn group_left_mb(max: &str, current: &str, stat: &str) -> Option<usize> {
    // "max" is no number: there is no limit.
    let max = max.trim().parse::<usize>().ok()?;
    let current = current.trim().parse::<usize>().ok()?;
    let used = current.saturating_sub(field(stat, "inactive_file").unwrap_or(0));
    Some(max.saturating_sub(used) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\n\
        MemAvailable:    2048000 kB\nHugePages_Total:      20\nHugePages_Free:       10\n\
        Hugepagesize:       2048 kB\n";

    #[test]
    fn free_hugepages_count_for_the_packet_memory_that_may_be_on_them() {
        let machine = Available::of_machine(MEMINFO).unwrap();
        assert_eq!((machine.ordinary_mb, machine.hugepages_mb), (2_000, 20));
        assert_eq!(machine.usable_mb(100, Hugepages::Auto), 2_020);
        assert_eq!(machine.usable_mb(5, Hugepages::Yes), 2_005);
        assert_eq!(machine.usable_mb(100, Hugepages::No), 2_000);
        assert_eq!(Available::of_machine("MemTotal: 1 kB\n"), None);
        assert_eq!(Available::of_machine("MemAvailable: x kB\n"), None);
    }

    #[test]
    fn a_control_group_leaves_what_it_has_not_used() {
        let stat = "anon 1\ninactive_file 268435456\nactive_file 7\n";
        assert_eq!(group_left_mb("1073741824\n", "536870912\n", ""), Some(512));
        assert_eq!(
            group_left_mb("1073741824\n", "536870912\n", stat),
            Some(768)
        );
        assert_eq!(group_left_mb("max\n", "536870912\n", stat), None);
        assert_eq!(group_left_mb("1048576", "2097152", ""), Some(0));
    }

    #[test]
    fn ten_million_connections_are_expected_in_about_two_gibibytes() {
        assert!((2_000..2_300).contains(&tables_mb(10_000_000)));
    }
}
