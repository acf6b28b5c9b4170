//! Metrics of why: drops by reason, punts by cause, handovers by how the other worker was found.

use super::families::Families;
use crate::report::{Count, Status};

/// Adds them, by worker.
pub fn add(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let names: Vec<String> = status
        .workers
        .iter()
        .map(|w| w.worker.to_string())
        .collect();
    let mut drops = Vec::new();
    let mut punts = Vec::new();
    let mut handovers = Vec::new();
    for (worker, name) in status.workers.iter().zip(&names) {
        let labelled = |c: &Count| (vec![name.clone(), c.name.clone()], c.packets);
        drops.extend(worker.drops.iter().map(labelled));
        punts.extend(worker.punted.iter().map(labelled));
        handovers.extend(worker.handovers.iter().map(labelled));
    }
    let slow = status.slow_path.drops.iter();
    drops.extend(slow.map(|c| (vec!["slow-path".to_owned(), c.name.clone()], c.packets)));
    families.counter(
        "turnpike_dropped_packets_total",
        "Packets dropped, by reason.",
        &["worker", "reason"],
        &drops,
    )?;
    families.counter(
        "turnpike_punted_packets_total",
        "Packets given to the slow-path core, by cause.",
        &["worker", "cause"],
        &punts,
    )?;
    families.counter(
        "turnpike_handovers_total",
        "Packets given to another worker, by how that worker was found.",
        &["worker", "found"],
        &handovers,
    )
}
