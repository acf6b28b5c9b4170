//! The log: a bounded ring in memory, and standard error with a limit on lines per second.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::report::{Log, LogLine};

/// How many lines the ring keeps.
pub const LINES_MAX: usize = 4_096;
/// How many lines standard error gets in one second.
pub const LINES_PER_SECOND_MAX: u32 = 100;

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
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    lines: VecDeque<LogLine>,
    last: u64,
    suppressed_total: u64,
    limit: Limit,
}

/// A limit on lines per second that says how many it held back.
#[derive(Debug)]
struct Limit {
    window: Instant,
    written: u32,
    suppressed: u64,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                lines: VecDeque::with_capacity(LINES_MAX),
                last: 0,
                suppressed_total: 0,
                limit: Limit {
                    window: Instant::now(),
                    written: 0,
                    suppressed: 0,
                },
            }),
        }
    }
}

impl Logs {
    /// Keeps a line and writes it to standard error, unless this second's lines are used up.
    pub fn write(&self, topic: Topic, message: String) {
        self.write_at(now_ms(), topic, message);
    }

    /// The same for something that happened earlier, at `time_ms` since 1970.
    pub fn write_at(&self, time_ms: u64, topic: Topic, message: String) {
        let lines = {
            let mut inner = self.lock();
            let written = inner.limit.admit(Instant::now(), topic, &message);
            if written.is_empty() {
                inner.suppressed_total += 1;
            }
            inner.keep(time_ms, topic, message);
            written
        };
        let mut stderr = std::io::stderr().lock();
        for line in lines {
            // A log that cannot be written has no better place to say so.
            let _ = writeln!(stderr, "{line}");
        }
    }

    /// The lines after number `after`, at most `limit`, oldest first; zero means the newest ones.
    pub fn read(&self, after: u64, limit: usize) -> Log {
        let inner = self.lock();
        let kept_from = inner.lines.front().map_or(inner.last + 1, |l| l.sequence);
        let mut lines: Vec<LogLine> = if after == 0 {
            let skip = inner.lines.len().saturating_sub(limit);
            inner.lines.iter().skip(skip).cloned().collect()
        } else {
            let later = inner.lines.iter().filter(|l| l.sequence > after);
            later.take(limit).cloned().collect()
        };
        lines.truncate(limit);
        Log {
            last: lines.last().map_or(inner.last.min(after), |l| l.sequence),
            missed: if after == 0 {
                0
            } else {
                kept_from.saturating_sub(after + 1)
            },
            lines,
        }
    }

    /// Lines that standard error did not get.
    pub fn suppressed(&self) -> u64 {
        self.lock().suppressed_total
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing that holds the lock can leave the ring half changed.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, time_ms: u64, topic: Topic, message: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.last += 1;
        self.lines.push_back(LogLine {
            sequence: self.last,
            time_ms,
            topic: topic.name().to_owned(),
            message,
        });
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
                    "system: {} log lines were not written: more than {LINES_PER_SECOND_MAX} a \
                     second; `turnpike log` has the last {LINES_MAX}",
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

/// The time of day, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_lines_and_says_what_is_gone() {
        let logs = Logs::default();
        {
            let mut inner = logs.lock();
            for n in 0..LINES_MAX + 10 {
                inner.keep(0, Topic::Firewall, format!("line {n}"));
            }
        }
        let newest = logs.read(0, 2);
        assert_eq!(newest.lines.len(), 2);
        assert_eq!(newest.last, LINES_MAX as u64 + 10);
        let from_five = logs.read(5, 1);
        assert_eq!(from_five.lines[0].sequence, 11);
        assert_eq!(from_five.missed, 5);
        assert_eq!(logs.read(newest.last, 10).lines, []);
        assert_eq!(logs.read(newest.last, 10).last, newest.last);
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
}
