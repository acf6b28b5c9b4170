//! `engine`: cores, memory and idling; all of it is fixed at start.

use turnpike_conntrack::ids::WORKERS_MAX;

use super::interfaces::Device;
use super::section::{Keys, Section, items, or_report, scalar};
use super::value::{choice, number};
use crate::problem::Problems;
use crate::yaml::Node;

/// The fewest packet buffers.
pub const MBUFS_MIN: u32 = 4_096;
/// The most packet buffers.
pub const MBUFS_MAX: u32 = 16_777_216;
/// The highest core number that can be written; which cores there are is seen at start.
pub const CORE_MAX: usize = 65_535;

const ENGINE: Keys = Keys {
    of: "`engine`",
    known: &["workers", "slow-path-core", "idle", "memory"],
    later: &[],
    elsewhere: &[],
};

const MEMORY: Keys = Keys {
    of: "`memory`",
    known: &["hugepages", "mbufs"],
    later: &[],
    elsewhere: &[],
};

/// What a worker does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Polls without rest.
    Spin,
    /// Sleeps a little longer the longer it is quiet.
    Adaptive,
}

/// Whether hugepages are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hugepages {
    /// If they can be had.
    Auto,
    /// Always; starting fails without.
    Yes,
    /// Never.
    No,
}

/// What the engine is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The cores of the workers; a worker's number is its place here.
    pub workers: Vec<usize>,
    /// The core of the slow path.
    pub slow_path_core: usize,
    /// What idle workers do.
    pub idle: Idle,
    /// Whether hugepages are used.
    pub hugepages: Hugepages,
    /// Packet buffers of the whole gateway; `None` takes as many as its queues can hold.
    pub mbufs: Option<u32>,
    /// Connections of the whole gateway.
    pub max_entries: usize,
    /// The devices, by port number.
    pub devices: Vec<Device>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: vec![1],
            slow_path_core: 0,
            idle: Idle::Adaptive,
            hugepages: Hugepages::Auto,
            mbufs: None,
            max_entries: super::tracking::ENTRIES_DEFAULT,
            devices: Vec::new(),
        }
    }
}

impl EngineConfig {
    /// What differs in `next` and cannot change while the gateway runs, as key names.
    pub fn start_only_changes(&self, next: &Self) -> Vec<String> {
        let mut changed: Vec<String> = [
            ("engine.workers", self.workers != next.workers),
            (
                "engine.slow-path-core",
                self.slow_path_core != next.slow_path_core,
            ),
            ("engine.idle", self.idle != next.idle),
            ("engine.memory.hugepages", self.hugepages != next.hugepages),
            ("engine.memory.mbufs", self.mbufs != next.mbufs),
            (
                "connection-tracking.max-entries",
                self.max_entries != next.max_entries,
            ),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key.to_owned())
        .collect();
        for (index, device) in next.devices.iter().enumerate() {
            let old = self
                .devices
                .get(index)
                .filter(|old| old.name == device.name);
            if old.is_none_or(|old| old.device != device.device) {
                changed.push(format!("interfaces.{}.device", device.name));
            } else if old.is_some_and(|old| old.mtu != device.mtu) {
                changed.push(format!("interfaces.{}.mtu", device.name));
            }
        }
        let gone = |old: &&Device| !next.devices.iter().any(|new| new.name == old.name);
        let removed = self.devices.iter().filter(gone);
        changed.extend(removed.map(|d| format!("interfaces.{}.device", d.name)));
        changed
    }
}

/// Reads `engine:`; devices and `max-entries` come from other sections.
pub fn decode(node: Option<&Node>, problems: &mut Problems) -> EngineConfig {
    let mut out = EngineConfig::default();
    let Some(section) = node.and_then(|n| Section::open(n, &ENGINE, problems)) else {
        return out;
    };
    if let Some(workers) = section.read("workers", problems, workers) {
        out.workers = workers;
    }
    if let Some(core) = section.read("slow-path-core", problems, |n, problems| {
        core(&scalar(n, problems)?.text, n.span, problems)
    }) {
        out.slow_path_core = core;
    }
    if let Some(idle) = section.read("idle", problems, |n, problems| {
        const IDLE: &[(&str, Idle)] = &[("spin", Idle::Spin), ("adaptive", Idle::Adaptive)];
        let text = &scalar(n, problems)?.text;
        or_report(choice(text, "a way to idle", IDLE), n.span, problems)
    }) {
        out.idle = idle;
    }
    if let Some(memory) = section.read("memory", problems, |n, p| Section::open(n, &MEMORY, p)) {
        decode_memory(memory, &mut out, problems);
    }
    let shared = out.workers.contains(&out.slow_path_core);
    if shared && out.idle == Idle::Spin {
        let span = section
            .field("slow-path-core")
            .map_or(section.span(), |n| n.span);
        problems.warning(
            span,
            format!(
                "core {} is a worker that spins and the slow path too; give the slow path a core \
                 of its own, or write `idle: adaptive`",
                out.slow_path_core
            ),
        );
    }
    out
}

fn decode_memory(memory: Section<'_>, out: &mut EngineConfig, problems: &mut Problems) {
    const HUGEPAGES: &[(&str, Hugepages)] = &[
        ("auto", Hugepages::Auto),
        ("yes", Hugepages::Yes),
        ("no", Hugepages::No),
        ("true", Hugepages::Yes),
        ("false", Hugepages::No),
    ];
    if let Some(hugepages) = memory.read("hugepages", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        or_report(
            choice(text, "a use of hugepages", HUGEPAGES),
            n.span,
            problems,
        )
    }) {
        out.hugepages = hugepages;
    }
    if let Some(mbufs) = memory.read("mbufs", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        let read = number(text, u64::from(MBUFS_MIN), u64::from(MBUFS_MAX));
        or_report(read, n.span, problems).and_then(|n| u32::try_from(n).ok())
    }) {
        out.mbufs = Some(mbufs);
    }
}

fn workers(node: &Node, problems: &mut Problems) -> Option<Vec<usize>> {
    let items = items(node, problems)?;
    let mut cores: Vec<usize> = Vec::new();
    for item in &items {
        let Some(core) = core(item.text, item.span, problems) else {
            continue;
        };
        if cores.contains(&core) {
            problems.error(
                item.span,
                format!("core {core} is listed twice; one worker runs on one core"),
            );
        }
        cores.push(core);
    }
    if items.is_empty() {
        problems.error(
            node.span,
            "the gateway needs a worker; write, for example, [1]",
        );
    }
    if cores.len() > WORKERS_MAX {
        problems.error(
            node.span,
            format!(
                "{} workers; a gateway has at most {WORKERS_MAX}",
                cores.len()
            ),
        );
    }
    Some(cores)
}

fn core(text: &str, span: crate::problem::Span, problems: &mut Problems) -> Option<usize> {
    or_report(number(text, 0, CORE_MAX as u64), span, problems)
        .and_then(|n| usize::try_from(n).ok())
}
