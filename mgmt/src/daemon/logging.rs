//! From the workers' log events to lines, and a word about those that never became one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use turnpike_engine::gateway::{Gateway, LogLosses};

use super::{Daemon, RunError};
use crate::logs::{Topic, now_ms};
use crate::report::LogStatus;

/// How often log events are fetched from the engine.
const LOOK: Duration = Duration::from_millis(50);
/// How often the log says what was not logged, if anything was not.
const TELL: Duration = Duration::from_secs(1);

impl Daemon {
    /// Fetches log events until the gateway stops.
    pub(super) fn pump(self: &Arc<Self>) -> Result<thread::JoinHandle<()>, RunError> {
        let daemon = Arc::clone(self);
        let pump = move || {
            let (mut told, mut looked) = (LogLosses::default(), Instant::now());
            while !daemon.stopping.load(Ordering::Relaxed) {
                daemon.fetch_log_events();
                if looked.elapsed() >= TELL {
                    looked = Instant::now();
                    daemon.tell_losses(&mut told);
                }
                thread::sleep(LOOK);
            }
            daemon.fetch_log_events();
            daemon.tell_losses(&mut told);
        };
        let thread = thread::Builder::new().name("tp-log".into()).spawn(pump);
        thread.map_err(|source| RunError::System {
            what: "no thread for the log",
            source,
        })
    }

    fn fetch_log_events(&self) {
        let gateway = self.gateway();
        let Some(gateway) = gateway.as_ref() else {
            return;
        };
        while let Some(event) = gateway.next_log() {
            let program = {
                let state = self.state();
                let kept = state.programs.iter();
                kept.rev()
                    .find(|p| p.generation == event.generation)
                    .or(state.programs.back())
                    .cloned()
            };
            let Some(program) = program else { continue };
            let age = gateway.clock().now().since(event.at);
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            self.logs.write_at(
                now_ms().saturating_sub(age_ms),
                Topic::Firewall,
                event.line(&program).to_string(),
            );
        }
    }

    /// Says how many packets were not logged since it was `told` last.
    fn tell_losses(&self, told: &mut LogLosses) {
        let losses = self.gateway().as_ref().map(Gateway::log_losses);
        let Some(losses) = losses else { return };
        if let Some(line) = not_logged(told, &losses) {
            self.logs.write(Topic::System, line);
        }
        *told = losses;
    }

    pub(super) fn log_status(&self, gateway: Option<&Gateway>) -> LogStatus {
        let losses = gateway.map(Gateway::log_losses).unwrap_or_default();
        LogStatus {
            events_suppressed: losses.suppressed,
            events_lost: losses.lost,
            lines_suppressed: self.logs.suppressed(),
            targets: self.logs.targets(),
        }
    }
}

/// The line about packets that were not logged between two moments, if there were any.
fn not_logged(before: &LogLosses, now: &LogLosses) -> Option<String> {
    let packets = (now.suppressed + now.lost).saturating_sub(before.suppressed + before.lost);
    (packets > 0).then(|| {
        format!(
            "{packets} packets that rules log were not logged: they were more than the log takes; \
             log less, for example with `limit`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_logged_is_told_once() {
        let at = |suppressed, lost| LogLosses { suppressed, lost };
        let line = not_logged(&at(10, 1), &at(15, 3)).unwrap();
        assert!(line.starts_with("7 packets"), "{line}");
        assert_eq!(not_logged(&at(15, 3), &at(15, 3)), None);
    }
}
