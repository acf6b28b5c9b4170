//! What the kernel says about this process.

/// Memory of this process in bytes, huge pages included; zero where the kernel does not say.
pub fn resident_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kilobytes = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        matches!(name, "Rss" | "Private_Hugetlb" | "Shared_Hugetlb")
            .then(|| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())?
    };
    rollup.lines().filter_map(kilobytes).sum::<u64>() << 10
}

/// Page faults of this process so far that no disk was read for; zero where nobody counts.
pub fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the command's name, which is in parentheses: state, and `minflt` seven fields on.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let minflt = fields.split(' ').nth(7);
    minflt.and_then(|n| n.parse().ok()).unwrap_or(0)
}
