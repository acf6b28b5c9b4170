//! The log: a bounded ring in memory, standard error with a limit on lines per second, and
//! targets that may fail or be slow, each line written to them by a thread of their own.
//!
//! Whoever writes a line never waits for a file or a system log: what their queue has no room for
//! is counted. A target that fails says so once, and once more when it works again.

mod file;
mod outlet;
mod syslog;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::Switch;
use crate::config::logging::LoggingConfig;
use crate::report::{Log, LogLine, LogTarget};
use crate::running::LogWanted;
use outlet::{Entry, Outlet};

/// How many lines standard error gets in one second.
pub const LINES_PER_SECOND_MAX: u32 = 100;
/// How long targets may take over their last lines when the gateway stops.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A packet that a rule logs.
    Firewall,
    /// The gateway itself: starting, reloading, stopping.
    System,
}

impl Topic {
    /// The word in front of a line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firewall => "firewall",
            Self::System => "system",
        }
    }
}

/// The log of a running gateway.
#[derive(Debug)]
pub struct Logs {
    shared: Arc<Shared>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// What the writing thread needs of the log.
#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    outlet: Outlet,
}

#[derive(Debug)]
struct Inner {
    lines: VecDeque<LogLine>,
    lines_max: usize,
    last: u64,
    suppressed_total: u64,
    stderr: Switch,
    limit: Limit,
}

/// A limit on lines per second that says how many it held back.
#[derive(Debug)]
struct Limit {
    window: Instant,
    written: u32,
    suppressed: u64,
}

impl Logs {
    /// An empty log with these targets, and the thread that writes to those that may be slow.
    pub fn start(config: &LoggingConfig) -> Self {
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner::new(config)),
            outlet: Outlet::new(config),
        });
        let writing = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("tp-log-out".into())
            .spawn(move || writing.outlet.serve(&|line| writing.say(line)));
        let logs = Self {
            shared,
            writer: Mutex::new(None),
        };
        match writer {
            Ok(writer) => *lock(&logs.writer) = Some(writer),
            Err(error) => {
                logs.shared.outlet.close();
                logs.write(
                    Topic::System,
                    format!("no thread for the log's targets: {error}"),
                );
            }
        }
        logs
    }

    /// Goes on with these targets; a file is opened anew, in case it was moved away.
    pub fn configure(&self, config: &LoggingConfig) {
        let mut inner = lock(&self.shared.inner);
        inner.stderr = config.stderr;
        inner.lines_max = config.memory_lines;
        let over = inner.lines.len().saturating_sub(config.memory_lines);
        inner.lines.drain(..over);
        drop(inner);
        self.shared.outlet.configure(config);
    }

    /// Keeps a line and writes it to every target.
    pub fn write(&self, topic: Topic, message: String) {
        self.write_at(now_ms(), topic, message);
    }

    /// The same for something that happened earlier, at `time_ms` since 1970.
    pub fn write_at(&self, time_ms: u64, topic: Topic, message: String) {
        self.shared.write(Entry {
            time_ms,
            topic,
            message,
        });
    }

    /// The lines that are wanted, oldest first.
    pub fn read(&self, wanted: &LogWanted) -> Log {
        lock(&self.shared.inner).read(wanted)
    }

    /// Lines that standard error did not get.
    pub fn suppressed(&self) -> u64 {
        lock(&self.shared.inner).suppressed_total
    }

    /// The targets that can fail, with what they took.
    pub fn targets(&self) -> Vec<LogTarget> {
        self.shared.outlet.targets()
    }

    /// Writes what is waiting, for a moment at most, and ends the thread that does so.
    pub fn close(&self) {
        self.shared.outlet.close();
        let Some(writer) = lock(&self.writer).take() else {
            return;
        };
        let began = Instant::now();
        while !writer.is_finished() && began.elapsed() < LAST_LINES {
            thread::sleep(Duration::from_millis(5));
        }
        if writer.is_finished() {
            // A thread that panicked has nothing more to say.
            let _ = writer.join();
        }
    }
}

impl Shared {
    /// A line about the log itself.
    fn say(&self, message: String) {
        self.write(Entry {
            time_ms: now_ms(),
            topic: Topic::System,
            message,
        });
    }

    fn write(&self, entry: Entry) {
        let lines = {
            let mut inner = lock(&self.inner);
            let admitted = inner.admit(&entry);
            inner.keep(&entry);
            admitted
        };
        {
            let mut stderr = std::io::stderr().lock();
            for line in lines {
                // A log that cannot be written has no better place to say so.
                let _ = writeln!(stderr, "{line}");
            }
        }
        self.outlet.push(entry);
    }
}

impl Inner {
    fn new(config: &LoggingConfig) -> Self {
        Self {
            lines: VecDeque::new(),
            lines_max: config.memory_lines,
            last: 0,
            suppressed_total: 0,
            stderr: config.stderr,
            limit: Limit {
                window: Instant::now(),
                written: 0,
                suppressed: 0,
            },
        }
    }

    /// What standard error gets now.
    fn admit(&mut self, entry: &Entry) -> Vec<String> {
        if entry.topic == Topic::Firewall && !self.stderr.is_on() {
            return Vec::new();
        }
        let admitted = self
            .limit
            .admit(Instant::now(), entry.topic, &entry.message);
        if admitted.is_empty() {
            self.suppressed_total += 1;
        }
        admitted
    }

    fn keep(&mut self, entry: &Entry) {
        self.last += 1;
        if self.lines_max == 0 {
            return;
        }
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine {
            sequence: self.last,
            time_ms: entry.time_ms,
            topic: entry.topic.name().to_owned(),
            message: entry.message.clone(),
        });
    }

    fn read(&self, wanted: &LogWanted) -> Log {
        let kept_from = self.lines.front().map_or(self.last + 1, |l| l.sequence);
        let later = self.lines.iter().filter(|l| l.sequence > wanted.after);
        let mut matching = later.filter(|line| wanted.wants(line));
        let lines: Vec<LogLine> = if wanted.after == 0 {
            let mut newest: Vec<LogLine> = matching.rev().take(wanted.limit).cloned().collect();
            newest.reverse();
            newest
        } else {
            matching.by_ref().take(wanted.limit).cloned().collect()
        };
        // A full answer is gone on from behind its last line; any other has seen everything.
        let last = match lines.last() {
            Some(line) if lines.len() == wanted.limit && wanted.after > 0 => line.sequence,
            Some(_) | None => self.last,
        };
        Log {
            lines,
            last,
            missed: if wanted.after == 0 {
                0
            } else {
                kept_from.saturating_sub(wanted.after + 1)
            },
            size: self.lines_max as u64,
        }
    }
}

impl Limit {
    /// What to write now: the line, with a word about those held back before it, or nothing.
    fn admit(&mut self, now: Instant, topic: Topic, message: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if now.duration_since(self.window) >= Duration::from_secs(1) {
            self.window = now;
            self.written = 0;
            if self.suppressed > 0 {
                lines.push(format!(
                    "system: {} log lines were not written here: more than \
                     {LINES_PER_SECOND_MAX} a second; `turnpike log` has the newest",
                    self.suppressed
                ));
                self.suppressed = 0;
            }
        }
        let admitted = self.written < LINES_PER_SECOND_MAX || topic == Topic::System;
        if admitted {
            self.written = self.written.saturating_add(1);
            lines.push(format!("{}: {message}", topic.name()));
        } else {
            self.suppressed += 1;
        }
        lines
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here that holds a lock can leave what it guards half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time of day, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(lines: usize) -> Inner {
        Inner::new(&LoggingConfig {
            memory_lines: lines,
            ..LoggingConfig::default()
        })
    }

    fn keep(inner: &mut Inner, message: &str) {
        inner.keep(&Entry {
            time_ms: 0,
            topic: Topic::Firewall,
            message: message.to_owned(),
        });
    }

    fn wanted(after: u64, limit: usize, text: Option<&str>) -> LogWanted {
        LogWanted::new(after, limit, text)
    }

    fn numbers(log: &Log) -> Vec<u64> {
        log.lines.iter().map(|l| l.sequence).collect()
    }

    #[test]
    fn the_ring_keeps_the_newest_lines_and_says_what_is_gone() {
        let mut inner = keeping(100);
        for n in 0..110 {
            keep(&mut inner, &format!("line {n}"));
        }
        let newest = inner.read(&wanted(0, 2, None));
        assert_eq!(numbers(&newest), [109, 110]);
        assert_eq!((newest.last, newest.size), (110, 100));
        let from_five = inner.read(&wanted(5, 1, None));
        assert_eq!((numbers(&from_five), from_five.last), (vec![11], 11));
        assert_eq!(from_five.missed, 5);
        let nothing_new = inner.read(&wanted(110, 10, None));
        assert_eq!((nothing_new.lines.len(), nothing_new.last), (0, 110));
    }

    #[test]
    fn a_text_picks_lines_and_the_next_question_goes_on_behind_what_was_looked_at() {
        let mut inner = keeping(100);
        for n in 0..30 {
            let prefix = if n % 10 == 0 { "API Drop" } else { "other" };
            keep(&mut inner, &format!("{prefix}: input: {n}"));
        }
        let all = inner.read(&wanted(0, 10, Some("api drop")));
        assert_eq!((numbers(&all), all.last), (vec![1, 11, 21], 30));
        let newest = inner.read(&wanted(0, 1, Some("API")));
        assert_eq!((numbers(&newest), newest.last), (vec![21], 30));
        let first = inner.read(&wanted(2, 1, Some("API Drop")));
        assert_eq!((numbers(&first), first.last), (vec![11], 11));
        let rest = inner.read(&wanted(first.last, 5, Some("API Drop")));
        assert_eq!((numbers(&rest), rest.last), (vec![21], 30));
        let none = inner.read(&wanted(0, 5, Some("nobody says this")));
        assert_eq!((numbers(&none), none.last), (vec![], 30));
        assert_eq!(
            numbers(&inner.read(&wanted(0, 1, Some("firewall: oth")))),
            [30]
        );
    }

    #[test]
    fn a_log_that_is_not_kept_in_memory_says_so() {
        let mut inner = keeping(0);
        keep(&mut inner, "x");
        let log = inner.read(&wanted(0, 10, None));
        assert_eq!((log.lines.len(), log.size), (0, 0));
    }

    #[test]
    fn more_than_the_limit_is_held_back_and_counted_aloud() {
        let start = Instant::now();
        let mut limit = Limit {
            window: start,
            written: 0,
            suppressed: 0,
        };
        let written: usize = (0..LINES_PER_SECOND_MAX + 50)
            .map(|_| limit.admit(start, Topic::Firewall, "x").len())
            .sum();
        assert_eq!(written, LINES_PER_SECOND_MAX as usize);
        assert_eq!(limit.admit(start, Topic::System, "y").len(), 1);
        let later = limit.admit(start + Duration::from_secs(1), Topic::Firewall, "x");
        assert_eq!(later.len(), 2);
        assert!(
            later[0].contains("50 log lines were not written"),
            "{later:?}"
        );
    }

    #[test]
    fn standard_error_is_spared_lines_about_packets_where_it_is_no_target() {
        let mut inner = Inner::new(&LoggingConfig {
            stderr: Switch::Off,
            ..LoggingConfig::default()
        });
        let mut admitted = |topic| {
            let message = String::new();
            let time_ms = 0;
            inner
                .admit(&Entry {
                    time_ms,
                    topic,
                    message,
                })
                .len()
        };
        assert_eq!((admitted(Topic::Firewall), admitted(Topic::System)), (0, 1));
        assert_eq!(inner.suppressed_total, 0);
    }

    #[test]
    fn fewer_lines_to_keep_are_fewer_lines_kept_at_once() {
        let logs = Logs::start(&LoggingConfig::default());
        for n in 0..10 {
            logs.write(Topic::Firewall, format!("{n}"));
        }
        logs.configure(&LoggingConfig {
            memory_lines: 3,
            ..LoggingConfig::default()
        });
        assert_eq!(numbers(&logs.read(&wanted(0, 10, None))), [8, 9, 10]);
        logs.close();
    }
}
