//! `turnpike connections`: the connection table, in RouterOS's columns, and what happens in it.

use std::io::Write;
use std::ops::ControlFlow;

use super::ask::Asking;
use super::filter::FilterArgs;
use super::table::{Table, duration, time};
use super::{Failure, complain};
use crate::client::target;
use crate::report::{Connection, Connections, Counted, Event, EventsLost, Flushed};
use crate::running::PAGE_MAX;

/// What is asked about connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Which there are
    List,
    /// How many there are
    Count,
    /// End them; nothing is sent to their ends
    Flush,
    /// Print what happens to them, until interrupted
    Watch,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do
    #[arg(value_enum, default_value = "list")]
    action: Action,
    #[command(flatten)]
    asking: Asking,
    /// list: at most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The same as `count`
    #[arg(long, conflicts_with = "watch")]
    count: bool,
    /// The same as `watch`
    #[arg(long)]
    watch: bool,
    /// flush: every connection
    #[arg(long)]
    all: bool,
    /// watch: only these of new, update, destroy
    #[arg(long, value_name = "EVENTS")]
    event: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl Args {
    /// What is to be done, if the options go with it.
    fn action(&self) -> Result<Action, Failure> {
        let action = match (self.action, self.count, self.watch) {
            (Action::List | Action::Count, true, _) => Action::Count,
            (Action::List | Action::Watch, _, true) => Action::Watch,
            (action, false, false) => action,
            (_, true, _) => return Err(misplaced("--count", "list")),
            (_, _, true) => return Err(misplaced("--watch", "list")),
        };
        if self.limit.is_some() && action != Action::List {
            return Err(misplaced("--limit", "list"));
        }
        if self.all && action != Action::Flush {
            return Err(misplaced("--all", "flush"));
        }
        if self.event.is_some() && action != Action::Watch {
            return Err(misplaced("--event", "watch"));
        }
        Ok(action)
    }
}

fn misplaced(option: &str, action: &str) -> Failure {
    Failure(format!("error: {option} goes with `{action}` alone"))
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.asking.client();
    let mut query = args.filter.query();
    match args.action()? {
        Action::List => {
            let found = Connections {
                connections: fetch(args)?,
                next: None,
            };
            args.asking.print(&found, |f| human(&f.connections))
        }
        Action::Count => {
            let counted: Counted = client.get(&target("/v1/connections/count", &query))?;
            args.asking.print(&counted, |c| c.count.to_string())
        }
        Action::Flush => {
            query.push(("all", args.all.then(|| "yes".to_owned())));
            let flushed: Flushed = client.delete(&target("/v1/connections", &query))?;
            args.asking
                .print(&flushed, |f| format!("{} connections ended", f.flushed))
        }
        Action::Watch => {
            query.push(("event", args.event.clone()));
            watch(args, &target("/v1/events", &query))
        }
    }
}

fn fetch(args: &Args) -> Result<Vec<Connection>, Failure> {
    let client = args.asking.client();
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut found: Vec<Connection> = Vec::new();
    let mut cursor = None;
    while found.len() < limit {
        let page_size = PAGE_MAX.min(limit.saturating_sub(found.len()));
        let mut query = args.filter.query();
        query.push(("limit", Some(page_size.to_string())));
        query.push(("cursor", cursor.take()));
        let page: Connections = client.get(&target("/v1/connections", &query))?;
        found.extend(page.connections);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

/// Prints events as they come. It ends with the gateway, or with whoever reads.
fn watch(args: &Args, target: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let mut ended = Ok(());
    args.asking.client().stream(target, |line| {
        let written = if args.asking.json {
            writeln!(out, "{line}")
        } else {
            writeln!(out, "{}", human_event(line))
        };
        match written.and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                ended = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match ended {
        Ok(()) => complain("the gateway has ended the stream"),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// An event in one line; what cannot be read as one as it is.
fn human_event(line: &str) -> String {
    if let Ok(lost) = serde_json::from_str::<EventsLost>(line) {
        let place = lost.worker.map_or_else(
            || "read too slowly".to_owned(),
            |worker| format!("worker {worker} had no room"),
        );
        return format!(
            "{} lost {} events: {place}",
            time(lost.time_ms),
            lost.events
        );
    }
    let Ok(event) = serde_json::from_str::<Event>(line) else {
        return line.to_owned();
    };
    let c = &event.connection;
    let cause = event.cause.map(|cause| format!(" ({cause})"));
    format!(
        "{} {:<7} {} {} > {}, reply {} > {}, {} {}, {}/{} packets, {}/{} bytes, {}{}",
        time(event.time_ms),
        event.event,
        c.protocol,
        c.src_address,
        c.dst_address,
        c.reply_src_address,
        c.reply_dst_address,
        c.flags,
        c.state,
        c.orig.packets,
        c.repl.packets,
        c.orig.bytes,
        c.repl.bytes,
        duration(c.age_seconds),
        cause.unwrap_or_default(),
    )
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
            "age",
            "idle",
            "connection-mark",
            "helper",
            "layer7",
            "rule",
        ],
        &[
            "timeout",
            "orig-packets",
            "orig-bytes",
            "repl-packets",
            "repl-bytes",
            "age",
            "idle",
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
            duration(c.age_seconds),
            duration(c.idle_seconds),
            c.connection_mark.clone().unwrap_or_default(),
            c.helper.clone().unwrap_or_default(),
            c.layer7_label.clone().unwrap_or_default(),
            c.rule.clone().unwrap_or_default(),
        ]);
    }
    format!(
        "Flags: S - seen-reply, A - assured, C - confirmed, D - dying, F - fasttrack, s - srcnat, \
         d - dstnat, E - expected\n{}",
        table.render()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn action(words: &str) -> Result<Action, String> {
        let words = ["turnpike"].into_iter().chain(words.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|e| e.to_string())?;
        command.args.action().map_err(|Failure(message)| message)
    }

    #[test]
    fn options_are_refused_where_they_would_do_nothing() {
        assert_eq!(action(""), Ok(Action::List));
        assert_eq!(action("--count"), Ok(Action::Count));
        assert_eq!(action("count --count"), Ok(Action::Count));
        assert_eq!(action("--watch --event new"), Ok(Action::Watch));
        assert_eq!(action("flush --dst-port 80"), Ok(Action::Flush));
        for words in [
            "flush --count",
            "count --watch",
            "watch --limit 3",
            "count --all",
            "list --event new",
            "--count --watch",
        ] {
            assert!(action(words).is_err(), "{words}");
        }
    }

    #[test]
    fn an_event_is_a_line_for_people() {
        let event = Event {
            event: "destroy".to_owned(),
            time_ms: 951_782_400_123,
            cause: Some("flushed".to_owned()),
            started_at: 951_782_390,
            connection: Connection {
                flags: "SACs".to_owned(),
                protocol: "tcp".to_owned(),
                src_address: "10.0.0.2:4000".to_owned(),
                dst_address: "192.0.2.7:80".to_owned(),
                reply_src_address: "192.0.2.7:80".to_owned(),
                reply_dst_address: "203.0.113.2:4000".to_owned(),
                state: "established".to_owned(),
                age_seconds: 10,
                ..Connection::default()
            },
        };
        assert_eq!(
            human_event(&serde_json::to_string(&event).unwrap()),
            "2000-02-29 00:00:00.123 destroy tcp 10.0.0.2:4000 > 192.0.2.7:80, reply \
             192.0.2.7:80 > 203.0.113.2:4000, SACs established, 0/0 packets, 0/0 bytes, 10s \
             (flushed)"
        );
        let lost = r#"{"event":"lost","time-ms":0,"events":7,"worker":1}"#;
        assert_eq!(
            human_event(lost),
            "1970-01-01 00:00:00.000 lost 7 events: worker 1 had no room"
        );
    }
}
