//! `turnpike trace`: the last packets that were dropped, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::Asking;
use super::table::{Table, time};
use super::{Failure, say};
use crate::client::target;
use crate::report::{Drops, RecentDrop};

/// How often watching looks for new drops.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The most drops that one look asks for.
const LOOK_MAX: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// The packets that were dropped: the last 1,024 of each worker
    #[arg(long, required = true)]
    drops: bool,
    /// Only for this reason, as metrics name it
    #[arg(long)]
    reason: Option<String>,
    /// Only by this rule: table/chain/N, or file:line
    #[arg(long)]
    rule: Option<String>,
    /// Only in by this interface
    #[arg(long)]
    in_interface: Option<String>,
    /// Only of this protocol
    #[arg(long)]
    protocol: Option<String>,
    /// Only from or to this address
    #[arg(long)]
    address: Option<String>,
    /// Only from or to this port
    #[arg(long)]
    port: Option<u16>,
    /// At most this many of the newest
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on printing drops as they come; a worker that drops more than it keeps between two looks,
    /// half a second apart, shows the last of them
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.asking.client();
    let fetch = |limit: usize| {
        let query = [
            ("reason", args.reason.clone()),
            ("rule", args.rule.clone()),
            ("in-interface", args.in_interface.clone()),
            ("protocol", args.protocol.clone()),
            ("address", args.address.clone()),
            ("port", args.port.map(|port| port.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        client.get::<Drops>(&target("/v1/drops", &query))
    };
    let mut recent = fetch(args.limit)?.recent;
    if !args.watch {
        return args.asking.print(&recent, |recent| human(recent));
    }
    // By worker, the number of the first drop that has not been printed.
    let mut next: BTreeMap<Option<u8>, u64> = BTreeMap::new();
    loop {
        recent.retain(|dropped| dropped.number >= next.get(&dropped.worker).copied().unwrap_or(0));
        for dropped in &recent {
            next.insert(dropped.worker, dropped.number + 1);
            if args.asking.json {
                say(&serde_json::to_string(dropped)?)?;
            } else {
                say(&line(dropped))?;
            }
        }
        std::thread::sleep(LOOK_AGAIN);
        recent = fetch(LOOK_MAX)?.recent;
    }
}

/// What is known of a drop, in the order of the columns.
fn cells(dropped: &RecentDrop) -> Vec<String> {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        time(dropped.time_ms),
        dropped.reason.clone(),
        known(&dropped.in_interface),
        known(&dropped.protocol),
        known(&dropped.src),
        known(&dropped.dst),
        dropped
            .length
            .map_or_else(|| "-".to_owned(), |n| n.to_string()),
        known(&dropped.connection_state),
        known(&dropped.rule),
    ]
}

fn line(dropped: &RecentDrop) -> String {
    cells(dropped).join("  ")
}

fn human(recent: &[RecentDrop]) -> String {
    let headings = [
        "time",
        "reason",
        "in",
        "protocol",
        "source",
        "destination",
        "length",
        "state",
        "rule",
    ];
    let mut table = Table::new(&headings, &["length"]);
    for dropped in recent {
        table.row(cells(dropped));
    }
    table.render()
}
