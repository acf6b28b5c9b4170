//! What the API says of the log.

use serde::{Deserialize, Serialize};

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct LogLine {
    /// Its number, from 1.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was logged: `firewall` or `system`.
    pub topic: String,
    /// The line.
    pub message: String,
}

/// `/v1/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// What to pass as `after` to go on from here.
    pub last: u64,
    /// Lines that were wanted and are gone from the ring.
    pub missed: u64,
    /// How many lines the ring keeps; zero if the log is not kept in memory.
    pub size: u64,
}

/// What became of lines about packets and of the places they go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct LogStatus {
    /// Packets that a rule wanted logged and that were over a worker's budget.
    pub events_suppressed: u64,
    /// Log events that were lost before they became lines.
    pub events_lost: u64,
    /// Lines that standard error did not get, for more than its limit a second.
    pub lines_suppressed: u64,
    /// The log file and the system log, where they are targets.
    pub targets: Vec<LogTarget>,
}

/// A target of the log that can fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct LogTarget {
    /// `file` or `syslog`.
    pub target: String,
    /// Lines that it took.
    pub lines: u64,
    /// Lines that it did not take: it failed, or could not keep up.
    pub lost: u64,
}
