//! `turnpike connections`: the connection table, in RouterOS's columns.

use super::ask::Asking;
use super::table::{Table, duration};
use super::{Failure, say};
use crate::client::target;
use crate::report::{Connection, Connections};
use crate::running::PAGE_MAX;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// Of this protocol: a name or a number
    #[arg(long, visible_alias = "proto")]
    protocol: Option<String>,
    /// Opened from this address or prefix
    #[arg(long, value_name = "PREFIX")]
    src: Option<String>,
    /// Opened to this address or prefix, before or after translation
    #[arg(long, value_name = "PREFIX")]
    dst: Option<String>,
    /// With this port on either side
    #[arg(long)]
    port: Option<u16>,
    /// In this state: established, syn-sent, time-wait …
    #[arg(long)]
    state: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How many there are, instead of which
    #[arg(long)]
    count: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let found = Connections {
        connections: fetch(args)?,
        next: None,
    };
    if args.count {
        return say(&found.connections.len().to_string());
    }
    args.asking.print(&found, |f| human(&f.connections))
}

fn fetch(args: &Args) -> Result<Vec<Connection>, Failure> {
    let client = args.asking.client();
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut found: Vec<Connection> = Vec::new();
    let mut cursor = None;
    while found.len() < limit {
        let page_size = PAGE_MAX.min(limit.saturating_sub(found.len()));
        let page: Connections = client.get(&target(
            "/v1/connections",
            &[
                ("protocol", args.protocol.clone()),
                ("src", args.src.clone()),
                ("dst", args.dst.clone()),
                ("port", args.port.map(|p| p.to_string())),
                ("state", args.state.clone()),
                ("limit", Some(page_size.to_string())),
                ("cursor", cursor.take()),
            ],
        ))?;
        found.extend(page.connections);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

fn human(connections: &[Connection]) -> String {
    let mut table = Table::new(
        &[
            "flags",
            "protocol",
            "src-address",
            "dst-address",
            "reply-src-address",
            "reply-dst-address",
            "state",
            "timeout",
            "orig-packets",
            "orig-bytes",
            "repl-packets",
            "repl-bytes",
        ],
        &[
            "timeout",
            "orig-packets",
            "orig-bytes",
            "repl-packets",
            "repl-bytes",
        ],
    );
    for c in connections {
        table.row(vec![
            c.flags.clone(),
            c.protocol.clone(),
            c.src_address.clone(),
            c.dst_address.clone(),
            c.reply_src_address.clone(),
            c.reply_dst_address.clone(),
            c.state.clone(),
            duration(c.timeout_seconds),
            c.orig.packets.to_string(),
            c.orig.bytes.to_string(),
            c.repl.packets.to_string(),
            c.repl.bytes.to_string(),
        ]);
    }
    format!(
        "Flags: S - seen-reply, A - assured, C - confirmed, D - dying, F - fasttrack, s - srcnat, \
         d - dstnat, E - expected\n{}",
        table.render()
    )
}
