//! Metrics of the protocol helpers.

use super::families::Families;
use crate::report::{HelperCounts, Status};

/// Adds them, by helper.
pub fn add(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let rows = |value: fn(&HelperCounts) -> u64| {
        let each = status
            .helpers
            .iter()
            .filter(|helper| !helper.ports.is_empty());
        each.map(|helper| (vec![helper.name.as_str()], value(&helper.counts)))
            .collect::<Vec<_>>()
    };
    let labels = &["helper"];
    families.gauge(
        "turnpike_helper_sessions",
        "Control connections that the helper reads now.",
        labels,
        &rows(|c| c.reading),
    )?;
    families.counter(
        "turnpike_helper_sessions_total",
        "Control connections that the helper has begun to read.",
        labels,
        &rows(|c| c.sessions),
    )?;
    families.counter(
        "turnpike_helper_packets_total",
        "Packets that the helper was shown.",
        labels,
        &rows(|c| c.packets),
    )?;
    families.counter(
        "turnpike_helper_announced_total",
        "Connections that the helper has announced.",
        labels,
        &rows(|c| c.announced),
    )?;
    families.counter(
        "turnpike_helper_rewrites_total",
        "Messages that the helper has changed.",
        labels,
        &rows(|c| c.rewrites),
    )?;
    families.counter(
        "turnpike_helper_refused_total",
        "Announcements of the helper that were refused.",
        labels,
        &rows(|c| c.refused),
    )?;
    families.counter(
        "turnpike_helper_unread_total",
        "Packets that went on unread while the slow path had no room.",
        labels,
        &rows(|c| c.unread),
    )?;
    families.counter(
        "turnpike_helper_left_total",
        "Control connections that the helper has left.",
        labels,
        &rows(|c| c.left),
    )
}
