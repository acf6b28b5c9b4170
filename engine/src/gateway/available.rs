//! Whether a gateway fits into the machine's memory, asked before any of it is taken.
//!
//! DPDK takes its memory at once and for good; a machine that has less would end whatever its
//! kernel picks.

use std::fs;

/// What a connection entry and its index cost on average, with its room in the steering map:
/// three quarters are IPv4 (192 bytes) and one quarter is IPv6 (240 bytes).
const CONNECTION_COST_BYTES: usize = 224;

/// The MiB that connection tables of `entries` in all take.
pub fn tables_mb(entries: usize) -> usize {
    entries
        .saturating_mul(CONNECTION_COST_BYTES)
        .div_ceil(1 << 20)
}

/// The MiB that this process can still take: what the kernel calls available and what is free of
/// reserved hugepages, within the limit of its control group; `None` if the kernel does not say.
pub fn available_mb() -> Option<usize> {
    let machine = machine_mb(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let left = group("memory.max")
        .zip(group("memory.current"))
        .and_then(|(max, current)| group_left_mb(&max, &current));
    Some(left.map_or(machine, |left| left.min(machine)))
}

fn machine_mb(meminfo: &str) -> Option<usize> {
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.get(name.len()..)?
            .split_whitespace()
            .next()?
            .parse::<usize>()
            .ok()
    };
    let available = field("MemAvailable:")?;
    let pages = field("HugePages_Free:").unwrap_or(0) * field("Hugepagesize:").unwrap_or(0);
    Some((available + pages) / 1024)
}

fn group_left_mb(max: &str, current: &str) -> Option<usize> {
    // "max" is no number: there is no limit.
    let max = max.trim().parse::<usize>().ok()?;
    let current = current.trim().parse::<usize>().ok()?;
    Some(max.saturating_sub(current) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\n\
        MemAvailable:    2048000 kB\nHugePages_Total:      20\nHugePages_Free:       10\n\
        Hugepagesize:       2048 kB\n";

    #[test]
    fn free_hugepages_are_available_too() {
        assert_eq!(machine_mb(MEMINFO), Some(2_000 + 20));
        assert_eq!(machine_mb("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_control_group_leaves_what_it_has_not_used() {
        assert_eq!(group_left_mb("1073741824\n", "536870912\n"), Some(512));
        assert_eq!(group_left_mb("max\n", "536870912\n"), None);
        assert_eq!(group_left_mb("1048576", "2097152"), Some(0));
    }

    #[test]
    fn ten_million_connections_are_expected_in_about_two_gibibytes() {
        assert!((2_000..2_300).contains(&tables_mb(10_000_000)));
    }
}
