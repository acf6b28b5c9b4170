//! Metrics of the log: what was not logged, and what its targets took.

use super::families::Families;
use crate::report::{LogTarget, Status};

/// Adds them; two series per target that can fail.
pub fn add(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let log = &status.log;
    families.counter::<&str>(
        "turnpike_log_events_suppressed_total",
        "Packets that a rule wanted logged and that were over a worker's budget.",
        &[],
        &[(vec![], log.events_suppressed)],
    )?;
    families.counter::<&str>(
        "turnpike_log_events_lost_total",
        "Log events that were lost before they became lines.",
        &[],
        &[(vec![], log.events_lost)],
    )?;
    families.counter::<&str>(
        "turnpike_log_lines_suppressed_total",
        "Log lines that standard error did not get.",
        &[],
        &[(vec![], log.lines_suppressed)],
    )?;
    let rows = |value: fn(&LogTarget) -> u64| -> Vec<(Vec<&str>, u64)> {
        let targets = log.targets.iter();
        targets.map(|t| (vec![&*t.target], value(t))).collect()
    };
    families.counter(
        "turnpike_log_target_lines_total",
        "Log lines that a target took.",
        &["target"],
        &rows(|target| target.lines),
    )?;
    families.counter(
        "turnpike_log_target_lost_total",
        "Log lines that a target did not take, because it failed or could not keep up.",
        &["target"],
        &rows(|target| target.lost),
    )
}
