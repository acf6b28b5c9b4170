//! Metrics of external addresses: how many ports are in use, and who found none.

use super::families::Families;
use crate::report::{Pool, Status};

/// Adds them; as many series as the status tells of pools.
pub fn add(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let rows = |value: fn(&Pool) -> u64| -> Vec<(Vec<&str>, u64)> {
        let pools = status.pools.iter();
        pools
            .map(|pool| (vec![&*pool.address, &*pool.protocol], value(pool)))
            .collect()
    };
    let labels = ["address", "protocol"];
    families.counter(
        "turnpike_nat_pool_exhausted_total",
        "Connections dropped because an external address had no port left.",
        &labels,
        &rows(|pool| pool.exhausted),
    )?;
    families.gauge(
        "turnpike_nat_pool_ports_in_use",
        "Ports of an external address that connections use.",
        &labels,
        &rows(|pool| pool.in_use),
    )
}
