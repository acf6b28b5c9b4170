//! `turnpike status`: is it running, and how does it do?

use std::fmt::Write;

use super::Failure;
use super::ask::Asking;
use super::table::{Table, duration};
use crate::api::drops_of;
use crate::report::{Status, Worker};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let status: Status = args.asking.client().get("/v1/status")?;
    args.asking.print(&status, human)
}

fn human(status: &Status) -> String {
    let mut text = format!(
        "turnpike {} (pid {}) up {}\n{} generation {}, {}; reloads {}, refused {}\n",
        status.version,
        status.pid,
        duration(status.uptime_seconds),
        status.config,
        status.generation,
        if status.adopted {
            "every worker runs it"
        } else {
            "not every worker runs it yet"
        },
        status.reloads.done,
        status.reloads.refused,
    );
    // Writing into a string cannot fail.
    if let Some(seconds) = status.reloads.confirm_within_seconds {
        let _ = writeln!(
            text,
            "note: taken back in {seconds} s, unless you say: turnpike reload --confirmed"
        );
    }
    let _ = writeln!(
        text,
        "packet buffers {} of {} in use, {}",
        status.memory.mbufs_in_use,
        status.memory.mbufs,
        if status.memory.hugepages {
            "in hugepages"
        } else {
            "without hugepages"
        },
    );
    for notice in &status.notices {
        let _ = writeln!(text, "note: {notice}");
    }
    let _ = write!(text, "\n{}\n{}", interfaces(status), workers(status));
    if !status.pools.is_empty() {
        let _ = write!(text, "\n{}", pools(status));
    }
    let drops: Vec<_> = drops_of(status);
    let mut seen = drops.iter().filter(|d| d.packets > 0).peekable();
    if seen.peek().is_some() {
        let mut table = Table::new(&["dropped", "packets", "because"], &["packets"]);
        for drop in seen {
            table.row(vec![
                drop.reason.clone(),
                drop.packets.to_string(),
                drop.description.clone(),
            ]);
        }
        let _ = write!(text, "\n{}", table.render());
    }
    text
}

fn interfaces(status: &Status) -> String {
    let mut table = Table::new(
        &[
            "interface",
            "link",
            "mac-address",
            "rx-packets",
            "rx-bytes",
            "tx-packets",
            "tx-bytes",
            "address",
        ],
        &["rx-packets", "rx-bytes", "tx-packets", "tx-bytes"],
    );
    for i in &status.interfaces {
        table.row(vec![
            i.name.clone(),
            if i.running { "up" } else { "down" }.to_owned(),
            i.mac_address.clone(),
            i.rx.packets.to_string(),
            i.rx.bytes.to_string(),
            i.tx.packets.to_string(),
            i.tx.bytes.to_string(),
            i.address.join(", "),
        ]);
    }
    table.render()
}

/// Pools that a person is shown; all of them are in the JSON.
const POOLS_SHOWN: usize = 16;

fn pools(status: &Status) -> String {
    let mut table = Table::new(
        &["nat-address", "protocol", "ports", "of", "exhausted"],
        &["ports", "of", "exhausted"],
    );
    for pool in status.pools.iter().take(POOLS_SHOWN) {
        table.row(vec![
            pool.address.clone(),
            pool.protocol.clone(),
            pool.in_use.to_string(),
            pool.size.to_string(),
            pool.exhausted.to_string(),
        ]);
    }
    table.render()
}

/// How many packets went to other workers, and by which way those were found.
fn handed_over(worker: &Worker) -> String {
    let ways = worker.handovers.iter().filter(|c| c.packets > 0);
    let ways: Vec<_> = ways.map(|c| format!("{} {}", c.name, c.packets)).collect();
    match ways.as_slice() {
        [] => worker.handed_over.to_string(),
        ways => format!("{} ({})", worker.handed_over, ways.join(", ")),
    }
}

fn workers(status: &Status) -> String {
    let mut table = Table::new(
        &[
            "worker",
            "core",
            "connections",
            "of",
            "rx-packets",
            "tx-packets",
            "handed-over",
            "dropped",
            "busy",
        ],
        &[
            "worker",
            "core",
            "connections",
            "of",
            "rx-packets",
            "tx-packets",
            "handed-over",
            "dropped",
            "busy",
        ],
    );
    for w in &status.workers {
        let polls = w.busy_polls.saturating_add(w.idle_polls).max(1);
        table.row(vec![
            w.worker.to_string(),
            w.core.to_string(),
            w.connections.to_string(),
            w.connections_max.to_string(),
            w.rx.packets.to_string(),
            w.tx.packets.to_string(),
            handed_over(w),
            w.dropped.to_string(),
            format!("{}%", w.busy_polls.saturating_mul(100) / polls),
        ]);
    }
    table.render()
}
