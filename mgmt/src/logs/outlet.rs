//! The queue to targets that may fail or be slow, and the thread that empties it.
//!
//! One failure is one line in the log; until the target works again it is tried once a second, and
//! what it does not take is counted.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::file::LogFile;
use super::syslog::Syslog;
use super::{Topic, lock};
use crate::config::logging::LoggingConfig;
use crate::report::LogTarget;

/// How many lines wait for the targets at most.
pub const QUEUE_MAX: usize = 8_192;
/// How long a target that failed is left alone.
pub const RETRY: Duration = Duration::from_secs(1);

/// A line on its way to a target.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// When it happened, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// What it is about.
    pub(super) topic: Topic,
    /// The line.
    pub(super) message: String,
}

/// The targets by place: a file, a system log.
const NAMES: [&str; 2] = ["file", "syslog"];

/// What a target took and did not take.
#[derive(Debug, Default)]
struct Counts {
    lines: AtomicU64,
    lost: AtomicU64,
}

/// Lines on their way out, and what became of them.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: Mutex<Queue>,
    wake: Condvar,
    counts: [Counts; 2],
}

#[derive(Debug)]
struct Queue {
    lines: VecDeque<Entry>,
    /// Which targets there are.
    wanted: [bool; 2],
    /// Targets to go on with, not opened yet.
    next: Option<LoggingConfig>,
    closed: bool,
}

/// What the thread has to do.
enum Work {
    Configure(LoggingConfig),
    Write(Entry),
    End,
}

impl Outlet {
    /// A queue for the targets of `config` that may be slow.
    pub(super) fn new(config: &LoggingConfig) -> Self {
        Self {
            queue: Mutex::new(Queue {
                lines: VecDeque::new(),
                wanted: wanted(config),
                next: Some(config.clone()),
                closed: false,
            }),
            wake: Condvar::new(),
            counts: Default::default(),
        }
    }

    /// Goes on with these targets, opened anew.
    pub(super) fn configure(&self, config: &LoggingConfig) {
        let mut queue = lock(&self.queue);
        queue.wanted = wanted(config);
        queue.next = Some(config.clone());
        self.wake.notify_one();
    }

    /// Puts a line into the queue, or counts it as lost for each target.
    pub(super) fn push(&self, entry: Entry) {
        let mut queue = lock(&self.queue);
        if queue.wanted == [false; 2] {
            return;
        }
        if queue.lines.len() < QUEUE_MAX && !queue.closed {
            queue.lines.push_back(entry);
            self.wake.notify_one();
            return;
        }
        for (counts, wanted) in self.counts.iter().zip(queue.wanted) {
            counts.lost.fetch_add(u64::from(wanted), Ordering::Relaxed);
        }
    }

    /// No more lines: the thread ends when those in the queue are written.
    pub(super) fn close(&self) {
        lock(&self.queue).closed = true;
        self.wake.notify_one();
    }

    /// The targets there are, with what they took.
    pub(super) fn targets(&self) -> Vec<LogTarget> {
        let wanted = lock(&self.queue).wanted;
        let each = NAMES.iter().zip(&self.counts).zip(wanted);
        each.filter(|(_, wanted)| *wanted)
            .map(|((name, counts), _)| LogTarget {
                target: (*name).to_owned(),
                lines: counts.lines.load(Ordering::Relaxed),
                lost: counts.lost.load(Ordering::Relaxed),
            })
            .collect()
    }

    /// Writes lines until the queue is closed and empty; `say` tells what there is to tell.
    pub(super) fn serve(&self, say: &dyn Fn(String)) {
        let mut targets: Vec<Target> = Vec::new();
        loop {
            match self.work() {
                Work::Configure(config) => targets = Target::of(&config),
                Work::Write(entry) => {
                    for target in &mut targets {
                        let Some(counts) = self.counts.get(target.place) else {
                            continue;
                        };
                        if let Some(notice) = target.deliver(&entry, Instant::now(), counts) {
                            say(notice);
                        }
                    }
                }
                Work::End => return,
            }
        }
    }

    fn work(&self) -> Work {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(config) = queue.next.take() {
                return Work::Configure(config);
            }
            if let Some(entry) = queue.lines.pop_front() {
                return Work::Write(entry);
            }
            if queue.closed {
                return Work::End;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn wanted(config: &LoggingConfig) -> [bool; 2] {
    [config.file.is_some(), config.syslog.is_some()]
}

/// One target and how it does.
struct Target {
    place: usize,
    what: String,
    sink: Box<dyn Sink>,
    trouble: Option<Trouble>,
}

/// Somewhere lines can be written, or not.
pub(super) trait Sink {
    /// Writes one line; whoever fails opens what it needs anew next time.
    fn write(&mut self, entry: &Entry) -> io::Result<()>;
}

/// A target that failed.
struct Trouble {
    tried: Instant,
    lost: u64,
}

impl Target {
    fn of(config: &LoggingConfig) -> Vec<Self> {
        let file = config.file.as_ref().map(|file| {
            let what = format!("the log file {}", file.path.display());
            let sink: Box<dyn Sink> = Box::new(LogFile::new(file.clone()));
            (0, what, sink)
        });
        let syslog = config.syslog.as_ref().map(|syslog| {
            let syslog = Syslog::new(syslog.clone());
            let what = format!("the system log {}", syslog.to());
            let sink: Box<dyn Sink> = Box::new(syslog);
            (1, what, sink)
        });
        let targets = file.into_iter().chain(syslog);
        targets
            .map(|(place, what, sink)| Self {
                place,
                what,
                sink,
                trouble: None,
            })
            .collect()
    }

    /// Writes a line or counts it as lost; a sentence if that is news.
    fn deliver(&mut self, entry: &Entry, now: Instant, counts: &Counts) -> Option<String> {
        let left_alone = |t: &Trouble| now.saturating_duration_since(t.tried) < RETRY;
        if let Some(trouble) = self.trouble.as_mut().filter(|t| left_alone(t)) {
            trouble.lost += 1;
            counts.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        match self.sink.write(entry) {
            Ok(()) => {
                counts.lines.fetch_add(1, Ordering::Relaxed);
                let trouble = self.trouble.take()?;
                Some(format!(
                    "{} takes lines again; it has lost {}",
                    self.what, trouble.lost
                ))
            }
            Err(error) => {
                counts.lost.fetch_add(1, Ordering::Relaxed);
                let before = self.trouble.as_ref().map(|t| t.lost);
                self.trouble = Some(Trouble {
                    tried: now,
                    lost: before.unwrap_or(0) + 1,
                });
                before.is_none().then(|| {
                    format!(
                        "{} does not take lines: {error}; they are counted as lost until it does",
                        self.what
                    )
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// Fails while it is told to.
    struct Fickle(Arc<AtomicBool>);

    impl Sink for Fickle {
        fn write(&mut self, _: &Entry) -> io::Result<()> {
            if self.0.load(Ordering::Relaxed) {
                return Err(io::Error::other("no space"));
            }
            Ok(())
        }
    }

    fn entry(message: &str) -> Entry {
        Entry {
            time_ms: 0,
            topic: Topic::Firewall,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_failing_target_says_so_once_counts_and_says_when_it_works_again() {
        let failing = Arc::new(AtomicBool::new(true));
        let mut target = Target {
            place: 0,
            what: "it".to_owned(),
            sink: Box::new(Fickle(Arc::clone(&failing))),
            trouble: None,
        };
        let (counts, start) = (Counts::default(), Instant::now());
        let mut deliver =
            |ms| target.deliver(&entry("x"), start + Duration::from_millis(ms), &counts);
        let said = deliver(0).unwrap();
        assert!(
            said.starts_with("it does not take lines: no space"),
            "{said}"
        );
        assert_eq!(deliver(1), None);
        assert_eq!(deliver(1_500), None, "tried again, failed again");
        failing.store(false, Ordering::Relaxed);
        assert_eq!(deliver(1_600), None, "left alone");
        let said = deliver(2_600).unwrap();
        assert_eq!(said, "it takes lines again; it has lost 4");
        assert_eq!(deliver(2_601), None);
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        assert_eq!((read(&counts.lines), read(&counts.lost)), (2, 4));
    }

    #[test]
    fn a_full_queue_loses_lines_and_counts_them_without_waiting() {
        let outlet = Outlet::new(&LoggingConfig {
            file: Some(Default::default()),
            ..LoggingConfig::default()
        });
        for _ in 0..QUEUE_MAX + 7 {
            outlet.push(entry("x"));
        }
        let targets = outlet.targets();
        assert_eq!(targets.len(), 1);
        assert_eq!((&*targets[0].target, targets[0].lost), ("file", 7));
    }

    #[test]
    fn a_closed_queue_is_written_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let outlet = Outlet::new(&LoggingConfig {
            file: Some(crate::config::logging::FileConfig {
                path: path.clone(),
                ..Default::default()
            }),
            ..LoggingConfig::default()
        });
        for n in 0..100 {
            outlet.push(entry(&format!("line {n}")));
        }
        outlet.close();
        let said = RefCell::new(Vec::new());
        outlet.serve(&|line| said.borrow_mut().push(line));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 100);
        assert!(text.ends_with("firewall: line 99\n"), "{text}");
        assert_eq!(said.borrow().len(), 0);
        assert_eq!(outlet.targets()[0].lines, 100);
    }
}
