//! Reading the configuration again: all of it takes effect, or nothing does.
//!
//! A reload may ask to be confirmed. Until that happens the old configuration is kept, and comes
//! back by itself when the time is up: neither the client nor its connection is needed for that,
//! nor the file, which is left as it is. While one waits, no other is begun, by signal neither.
//! What cannot be taken back, ending the connections that would be refused, waits for the
//! confirmation.

use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use turnpike_conntrack::ids::Generation;
use turnpike_engine::gateway::Gateway;
use turnpike_pipeline::program::{CompileContext, Program};

use super::{Daemon, PROGRAMS_KEPT, compile, rehearse};
use crate::config::services::ServicesConfig;
use crate::config::{Config, Refused, Switch};
use crate::difference;
use crate::logs::{Topic, now_ms};
use crate::report::{ConfigProblem, Confirmed, DryRun, Failed, Reloaded};
use crate::running::{Refusal, ReloadOptions, Unanswered};

/// How long a reload waits until every worker runs the new program.
const ADOPTION: Duration = Duration::from_secs(2);

/// A configuration that waits to be confirmed, and what comes back if it is not.
pub(super) struct Pending {
    /// The generation that waits.
    generation: Generation,
    /// When the old configuration comes back.
    deadline: Instant,
    /// Whether the connections that would be refused are ended when it is confirmed.
    cut_refused: Switch,
    config: Config,
    program: Arc<Program>,
}

impl Pending {
    /// How long it still waits.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Daemon {
    /// Reloads, and says in the log how it went.
    pub(super) fn reload_and_log(&self, options: &ReloadOptions) -> Result<Reloaded, Refusal> {
        let result = self.try_reload(options);
        let mut lines = Vec::new();
        match &result {
            Ok(reloaded) => {
                lines.extend(reloaded.warnings.iter().cloned());
                lines.push(format!(
                    "reloaded as generation {}; {}",
                    reloaded.generation, reloaded.summary
                ));
                lines.extend(reloaded.ended.map(ended_line));
                lines.extend(reloaded.confirm_within_seconds.map(|seconds| {
                    format!("it is taken back in {seconds} s unless it is confirmed")
                }));
            }
            Err(refusal) => {
                let failed = refusal.failed();
                // What a failing test's packet met is in the answer, not in the log.
                let first =
                    |problem: &ConfigProblem| problem.to_string().lines().next().map(str::to_owned);
                lines.extend(failed.problems.iter().filter_map(first));
                let how = match refusal {
                    Refusal::Unfinished(_) => "reload unfinished",
                    Refusal::Invalid(_) | Refusal::StartOnly(_) | Refusal::NotNow(_) => {
                        "reload refused"
                    }
                };
                lines.push(format!("{how}: {}", failed.error));
            }
        }
        for line in lines {
            self.logs.write(Topic::System, line);
        }
        result
    }

    fn try_reload(&self, options: &ReloadOptions) -> Result<Reloaded, Refusal> {
        let _one_at_a_time = self.one_reload();
        let result = self.reload_once(options);
        let mut state = self.state();
        match &result {
            // Unfinished is not undone.
            Ok(_) | Err(Refusal::Unfinished(_)) => {
                state.reloads.done += 1;
                state.reloads.loaded_at = now_ms() / 1_000;
            }
            Err(Refusal::Invalid(_) | Refusal::StartOnly(_) | Refusal::NotNow(_)) => {
                state.reloads.refused += 1;
            }
        }
        result
    }

    fn reload_once(&self, options: &ReloadOptions) -> Result<Reloaded, Refusal> {
        if let Some(pending) = &self.state().pending {
            return Err(Refusal::NotNow(failed(&format!(
                "generation {} waits to be confirmed for {} s more; say `turnpike reload \
                 --confirmed`, or wait until it is taken back",
                pending.generation.0,
                pending.left().as_secs()
            ))));
        }
        let next = self.candidate(&self.path)?;
        let changed = self.start_only_changes(&next);
        if !changed.is_empty() {
            return Err(Refusal::StartOnly(failed(&format!(
                "{} cannot change while the gateway runs; nothing was changed: restart it, or put \
                 the old value back",
                changed.join(", ")
            ))));
        }
        self.replace(next, options)
    }

    /// Reloads happen one after the other; what is asked meanwhile is answered.
    fn one_reload(&self) -> MutexGuard<'_, ()> {
        self.reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration in `file` as it is on disk now.
    fn candidate(&self, file: &Path) -> Result<Config, Refusal> {
        Config::load_tested(file).map_err(|refused| Refusal::Invalid(invalid(&refused)))
    }

    /// What a configuration changes and a running gateway cannot.
    fn start_only_changes(&self, next: &Config) -> Vec<String> {
        let old = &self.state().config;
        let mut changed = old.engine.start_only_changes(&next.engine);
        changed.extend(service_changes(&old.services, &next.services));
        changed.sort();
        changed
    }

    fn replace(&self, next: Config, options: &ReloadOptions) -> Result<Reloaded, Refusal> {
        let gateway = self.gateway();
        let gateway = gateway.as_ref().ok_or_else(stopping)?;
        let before = gateway.program();
        let generation = following(&before);
        let workers = gateway.worker_count();
        let program = compile(&next, generation, workers, gateway.facts(), Some(&before));
        let warnings = next.warnings.iter().map(ToString::to_string).collect();
        let summary = next.summary();
        let old = self.adopt(next, &program);
        if let Some(within) = options.confirm_within {
            self.state().pending = Some(Pending {
                generation,
                deadline: Instant::now() + within,
                cut_refused: options.cut_refused,
                config: old,
                program: before,
            });
        }
        let refused = gateway.publish(Arc::clone(&program));
        if refused > 0 {
            let line = format!("there is no room for {refused} entries of lists with a timeout");
            self.logs.write(Topic::System, line);
        }
        self.configure_logs();
        let adopted = gateway.wait_adopted(ADOPTION).is_ok();
        if adopted && options.confirm_within.is_none() {
            gateway.forget_gone_lists();
        }
        let ended = match (options.cut_refused, options.confirm_within) {
            (Switch::On, None) => Some(end_refused(gateway, &program)?),
            (Switch::On | Switch::Off, _) => None,
        };
        Ok(Reloaded {
            generation: generation.0,
            adopted,
            warnings,
            summary,
            ended,
            confirm_within_seconds: options.confirm_within.map(|within| within.as_secs()),
        })
    }

    /// Makes `next` the configuration in effect; what was.
    fn adopt(&self, next: Config, program: &Arc<Program>) -> Config {
        // Before the program is published: its log events need it.
        let mut state = self.state();
        state.programs.push_back(Arc::clone(program));
        while state.programs.len() > PROGRAMS_KEPT {
            state.programs.pop_front();
        }
        std::mem::replace(&mut state.config, next)
    }

    /// Has the log go where the configuration in effect wants it.
    fn configure_logs(&self) {
        let logging = self.state().config.logging.clone();
        self.logs.configure(&logging);
    }

    /// Keeps the configuration that waits to be confirmed.
    pub(super) fn keep_reload(&self) -> Result<Confirmed, Refusal> {
        let _one_at_a_time = self.one_reload();
        let Some(pending) = self.state().pending.take() else {
            return Err(Refusal::NotNow(failed(
                "no reload waits to be confirmed; the log says whether one was taken back",
            )));
        };
        let generation = pending.generation.0;
        self.logs.write(
            Topic::System,
            format!("generation {generation} is confirmed and stays"),
        );
        let gateway = self.gateway();
        let gateway = gateway.as_ref().ok_or_else(stopping)?;
        if gateway.wait_adopted(ADOPTION).is_ok() {
            gateway.forget_gone_lists();
        }
        let ended = match pending.cut_refused {
            Switch::On => Some(end_refused(gateway, &gateway.program())?),
            Switch::Off => None,
        };
        if let Some(line) = ended.map(ended_line) {
            self.logs.write(Topic::System, line);
        }
        Ok(Confirmed { generation, ended })
    }

    /// Takes back the configuration that waits to be confirmed, if its time is up.
    pub(super) fn roll_back_if_due(&self) {
        let due = |pending: &Pending| pending.deadline <= Instant::now();
        if !self.state().pending.as_ref().is_some_and(due) {
            return;
        }
        let _one_at_a_time = self.one_reload();
        // It may have been confirmed while this waited for its turn, and another come since.
        if !self.state().pending.as_ref().is_some_and(due) {
            return;
        }
        let Some(pending) = self.state().pending.take() else {
            return;
        };
        let gateway = self.gateway();
        let Some(gateway) = gateway.as_ref() else {
            return;
        };
        let left = gateway.program();
        let context = CompileContext {
            generation: following(&left),
            workers: gateway.worker_count(),
            ports: gateway.facts(),
            previous: Some(&pending.program),
            key: super::random_key(),
        };
        let program = Program::compile_back(&pending.config.policy, &context, &left);
        let (program, generation) = (Arc::new(program), context.generation.0);
        let summary = pending.config.summary();
        self.adopt(pending.config, &program);
        gateway.publish_back(program);
        self.configure_logs();
        {
            let mut state = self.state();
            state.reloads.rolled_back += 1;
            state.reloads.loaded_at = now_ms() / 1_000;
        }
        self.logs.write(
            Topic::System,
            format!(
                "generation {} was not confirmed and is taken back; generation {generation} is \
                 what was before: {summary}. The file is as it is: the next reload reads it",
                pending.generation.0
            ),
        );
        match gateway.wait_adopted(ADOPTION) {
            Ok(()) => gateway.forget_gone_lists(),
            Err(late) => self.logs.write(Topic::System, late.to_string()),
        }
    }

    /// What a reload of `file` would change; nothing is.
    pub(super) fn dry_run_of(&self, file: Option<&Path>) -> Result<DryRun, Refusal> {
        let next = self.candidate(file.unwrap_or(&self.path))?;
        let start_only = self.start_only_changes(&next);
        let difference = difference::between(&self.state().config, &next);
        let gateway = self.gateway();
        let gateway = gateway.as_ref().ok_or_else(stopping)?;
        let running = gateway.program();
        let (workers, ports) = (gateway.worker_count(), gateway.facts());
        let program = compile(&next, following(&running), workers, ports, Some(&running));
        let connections = rehearse::effects(gateway, &program).map_err(unanswered)?;
        Ok(DryRun {
            config: next.file.to_string(),
            generation: running.generation.0,
            start_only,
            warnings: next.warnings.iter().map(ToString::to_string).collect(),
            difference,
            never_match: difference::never_match(&next.policy),
            connections,
        })
    }
}

/// The generation after a program's.
fn following(program: &Program) -> Generation {
    Generation(program.generation.0.wrapping_add(1).max(1))
}

fn end_refused(gateway: &Gateway, program: &Program) -> Result<u64, Refusal> {
    rehearse::end_refused(gateway, program).map_err(|why| {
        let (Unanswered::Wrong(why) | Unanswered::NotNow(why)) = why;
        Refusal::Unfinished(failed(&format!(
            "the new configuration is in effect, but not every connection that it refuses was \
             ended: {why}; `turnpike connections flush` ends what a filter names"
        )))
    })
}

fn ended_line(ended: u64) -> String {
    format!("{ended} connections were ended, because they would be refused if opened now")
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

fn stopping() -> Refusal {
    Refusal::NotNow(failed("the gateway is stopping; start it again"))
}

fn unanswered(why: Unanswered) -> Refusal {
    let (Unanswered::Wrong(why) | Unanswered::NotNow(why)) = why;
    Refusal::Unfinished(failed(&why))
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
