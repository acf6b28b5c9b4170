//! Metrics of layer 7: what was looked at, and what it was found to be.

use super::families::Families;
use crate::report::Status;

/// Adds them; a series for each protocol that rules ask for.
pub fn add(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let layer7 = &status.layer7;
    let sought = layer7.protocols.iter().filter(|p| p.sought);
    let found: Vec<(Vec<&str>, u64)> = sought.map(|p| (vec![&*p.name], p.found)).collect();
    families.counter(
        "turnpike_layer7_found_total",
        "Connections that were found to be of a layer-7 protocol.",
        &["protocol"],
        &found,
    )?;
    let ended = [
        ("found", layer7.found),
        ("unknown", layer7.unknown),
        ("silent", layer7.silent),
        ("unexamined", layer7.unexamined),
    ];
    let ended: Vec<(Vec<&str>, u64)> = ended.iter().map(|(how, n)| (vec![*how], *n)).collect();
    families.counter(
        "turnpike_layer7_connections_total",
        "Connections that were looked at, by what came of it.",
        &["result"],
        &ended,
    )?;
    families.gauge::<&str>(
        "turnpike_layer7_open",
        "Connections being looked at.",
        &[],
        &[(vec![], layer7.open)],
    )?;
    families.gauge::<&str>(
        "turnpike_layer7_open_bytes",
        "Memory that the connections being looked at take.",
        &[],
        &[(vec![], layer7.open_bytes)],
    )?;
    families.counter::<&str>(
        "turnpike_layer7_bytes_total",
        "Bytes of payload that were looked at.",
        &[],
        &[(vec![], layer7.bytes)],
    )
}
