//! `turnpike log`: what rules logged, and what happened to the gateway.

use std::time::Duration;

use super::ask::Asking;
use super::table::time;
use super::{Failure, complain, say};
use crate::client::target;
use crate::report::{Log, LogLine};

/// How often following looks for new lines.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What there is to say of a gateway whose log is elsewhere.
const NOT_KEPT: &str = "this gateway does not keep its log in memory (`memory` is none of \
                        `logging: { targets: … }`): look where its targets are";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// At most this many of the newest lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only lines with this text in them, whatever its case: a log prefix, an address, a rule
    #[arg(long = "match", short = 'm', value_name = "TEXT")]
    text: Option<String>,
    /// Go on printing new lines as they come
    #[arg(long, short)]
    follow: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.asking.client();
    let fetch = |after: u64| {
        let query = [
            ("after", Some(after.to_string())),
            ("limit", Some(args.limit.to_string())),
            ("match", args.text.clone()),
        ];
        client.get::<Log>(&target("/v1/log", &query))
    };
    let mut log = fetch(0)?;
    if log.size == 0 {
        complain(NOT_KEPT);
    }
    if !args.follow {
        return args.asking.print(&log, |l| human(&l.lines));
    }
    loop {
        if log.missed > 0 {
            say(&format!("… {} lines are gone from the ring", log.missed))?;
        }
        for line in &log.lines {
            if args.asking.json {
                say(&serde_json::to_string(line)?)?;
            } else {
                say(&human(std::slice::from_ref(line)))?;
            }
        }
        std::thread::sleep(LOOK_AGAIN);
        // An empty log has no number to go on from; then the newest lines are all there are.
        log = fetch(log.last)?;
    }
}

fn human(lines: &[LogLine]) -> String {
    let lines: Vec<String> = lines.iter().map(line).collect();
    lines.concat()
}

fn line(line: &LogLine) -> String {
    format!("{} {}: {}\n", time(line.time_ms), line.topic, line.message)
}
