//! Reading the configuration again: all of it takes effect, or nothing does.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use turnpike_conntrack::ids::Generation;

use super::{Daemon, PROGRAMS_KEPT, compile};
use crate::config::services::ServicesConfig;
use crate::config::{Config, Refused};
use crate::logs::{Topic, now_ms};
use crate::report::{ConfigProblem, Failed, Reloaded};
use crate::running::Refusal;

/// How long a reload waits until every worker runs the new program.
const ADOPTION: Duration = Duration::from_secs(2);

impl Daemon {
    /// Reloads, and says in the log how it went.
    pub(super) fn reload_and_log(&self) -> Result<Reloaded, Refusal> {
        let result = self.try_reload();
        let mut lines = Vec::new();
        match &result {
            Ok(reloaded) => {
                lines.extend(reloaded.warnings.iter().cloned());
                lines.push(format!(
                    "reloaded as generation {}; {}",
                    reloaded.generation, reloaded.summary
                ));
            }
            Err(Refusal::Invalid(failed) | Refusal::StartOnly(failed)) => {
                // What a failing test's packet met is in the answer, not in the log.
                let first =
                    |problem: &ConfigProblem| problem.to_string().lines().next().map(str::to_owned);
                lines.extend(failed.problems.iter().filter_map(first));
                lines.push(format!("reload refused: {}", failed.error));
            }
        }
        for line in lines {
            self.logs.write(Topic::System, line);
        }
        result
    }

    fn try_reload(&self) -> Result<Reloaded, Refusal> {
        // Reloads happen one after the other; what is asked meanwhile is answered.
        let _one_at_a_time = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = self.candidate().and_then(|next| self.replace(next));
        let mut state = self.state();
        match &result {
            Ok(_) => {
                state.reloads.done += 1;
                state.reloads.loaded_at = now_ms() / 1_000;
            }
            Err(_) => state.reloads.refused += 1,
        }
        result
    }

    /// The configuration as it is on disk now, if it can take over in a running gateway.
    fn candidate(&self) -> Result<Config, Refusal> {
        let next = Config::load_tested(&self.path)
            .map_err(|refused| Refusal::Invalid(invalid(&refused)))?;
        let mut changed = {
            let old = &self.state().config;
            let mut changed = old.engine.start_only_changes(&next.engine);
            changed.extend(service_changes(&old.services, &next.services));
            changed
        };
        changed.sort();
        if changed.is_empty() {
            return Ok(next);
        }
        Err(Refusal::StartOnly(failed(&format!(
            "{} cannot change while the gateway runs; nothing was changed: restart it, or put the \
             old value back",
            changed.join(", ")
        ))))
    }

    fn replace(&self, next: Config) -> Result<Reloaded, Refusal> {
        let gateway = self.gateway();
        let gateway = gateway
            .as_ref()
            .ok_or_else(|| Refusal::StartOnly(failed("the gateway is stopping; start it again")))?;
        let before = gateway.program();
        let generation = Generation(before.generation.0.wrapping_add(1).max(1));
        let workers = gateway.worker_count();
        let program = compile(&next, generation, workers, gateway.facts(), Some(&before));
        let warnings = next.warnings.iter().map(ToString::to_string).collect();
        let summary = next.summary();
        let logging = next.logging.clone();
        {
            // Before it is published: its log events need it.
            let mut state = self.state();
            state.programs.push_back(Arc::clone(&program));
            while state.programs.len() > PROGRAMS_KEPT {
                state.programs.pop_front();
            }
            state.config = next;
        }
        gateway.publish(program);
        self.logs.configure(&logging);
        Ok(Reloaded {
            generation: generation.0,
            adopted: gateway.wait_adopted(ADOPTION).is_ok(),
            warnings,
            summary,
        })
    }
}

/// Listeners are opened once, at start.
fn service_changes(old: &ServicesConfig, next: &ServicesConfig) -> Vec<String> {
    let mut changed = Vec::new();
    if old.socket != next.socket {
        changed.push("services.api.socket".to_owned());
    }
    if old.metrics != next.metrics {
        changed.push("services.metrics".to_owned());
    }
    changed
}

fn failed(error: &str) -> Failed {
    Failed {
        error: error.to_owned(),
        problems: Vec::new(),
    }
}

fn invalid(refused: &Refused) -> Failed {
    Failed {
        error: format!(
            "{} is wrong; the gateway goes on with its old configuration",
            refused.file
        ),
        problems: refused.problems.iter().map(ConfigProblem::from).collect(),
    }
}
