//! `turnpike log`: what rules logged, and what happened to the gateway.

use std::time::Duration;

use super::ask::Asking;
use super::{Failure, say};
use crate::client::target;
use crate::report::{Log, LogLine};

/// How often following looks for new lines.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// At most this many of the newest lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: usize,
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
        ];
        client.get::<Log>(&target("/v1/log", &query))
    };
    let mut log = fetch(0)?;
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

/// `2026-11-21 12:34:56.789`, in UTC.
fn time(ms: u64) -> String {
    // Times beyond the year 9999 are nobody's; the date is found by counting years.
    let ms = ms.min(253_402_300_799_999);
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}")
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_in_utc() {
        assert_eq!(time(0), "1970-01-01 00:00:00.000");
        assert_eq!(time(1_798_761_599_999), "2026-12-31 23:59:59.999");
        assert_eq!(time(951_782_400_123), "2000-02-29 00:00:00.123");
        assert_eq!(time(1_795_269_296_789), "2026-11-21 13:54:56.789");
    }
}
