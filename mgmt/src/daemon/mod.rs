//! A running gateway: started, watched, reloaded and stopped.
//!
//! The main thread waits for signals. A thread of its own takes log events from the engine; the
//! API runs on a small event loop. What they share is the [`Daemon`].

mod connections;
mod drops;
mod events;
mod helpers;
mod layer7;
mod listeners;
mod lists;
mod logging;
mod rehearse;
mod reload;
mod status;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::Generation;
use turnpike_engine::gateway::{Gateway, GatewayConfig, PacketMemory, PortSpec, StartError};
use turnpike_engine::hugepages;
use turnpike_engine::idle::IdlePolicy;
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::program::{CompileContext, Program};

use crate::api::{self, SocketError};
use crate::config::engine::{EngineConfig, Hugepages, Idle};
use crate::config::{Config, Refused};
use crate::logs::{Logs, Topic, now_ms};
use crate::report::Reloads;
use crate::running::ReloadOptions;
use events::Events;
use listeners::Listeners;
use lists::Notes;
use reload::Pending;

/// How often it is looked whether a reload was not confirmed in time.
const CONFIRM_LOOK: Duration = Duration::from_millis(100);
/// How many old programs are kept to name the rules of late log events.
const PROGRAMS_KEPT: usize = 8;

/// Why a gateway did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Refused),
    /// The management socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The metrics port cannot be had.
    #[error(
        "cannot listen on metrics port {port}: {source}; stop what uses it, or write \
         another `services: {{ metrics: {{ port: … }} }}`"
    )]
    MetricsPort {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The engine did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refuses something every process needs.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running gateway with everything around it.
pub struct Daemon {
    path: PathBuf,
    /// Taken out when it stops.
    gateway: RwLock<Option<Gateway>>,
    /// Taken after `gateway` where both are, and never for long.
    state: Mutex<State>,
    /// Held by a reload from reading the file to its adoption.
    reloading: Mutex<()>,
    logs: Logs,
    notes: Notes,
    events: Events,
    stopping: AtomicBool,
}

/// What changes with a reload.
struct State {
    config: Config,
    reloads: Reloads,
    programs: VecDeque<Arc<Program>>,
    /// A configuration that waits to be confirmed.
    pending: Option<Pending>,
}

/// Runs a gateway with the configuration at `path` until it is told to stop.
///
/// # Errors
/// Why it did not start; once it runs, it ends well.
pub fn run(path: PathBuf) -> Result<(), RunError> {
    let config = Config::load_tested(&path)?;
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    // Before anything is started: a signal during the start is answered after it.
    let mut signals =
        Signals::new([SIGHUP, SIGTERM, SIGINT]).map_err(|source| RunError::System {
            what: "cannot listen for signals",
            source,
        })?;
    // The socket comes first: a second gateway must not get as far as the devices.
    let socket = api::bind(&config.services.socket)?;
    let listeners = Listeners::open(socket, config.services.metrics.clone())?;
    let daemon = Arc::new(Daemon::start(path, config)?);
    for warning in warnings {
        daemon.logs.write(Topic::System, warning);
    }
    let pump = daemon.pump()?;
    let guard = daemon.guard()?;
    let carrier = daemon.carry_events()?;
    daemon.resolve_hosts()?;
    let serving = listeners.serve(&daemon)?;
    daemon.announce();
    for signal in &mut signals {
        if signal == SIGHUP {
            daemon.hang_up();
        } else {
            break;
        }
    }
    notify(sd_notify::NotifyState::Stopping);
    daemon.stopping.store(true, Ordering::Relaxed);
    daemon.events.hub.close();
    serving.stop();
    // A thread that panicked has nothing more to say.
    let _ = (carrier.join(), pump.join(), guard.join());
    daemon.stop();
    daemon.logs.close();
    Ok(())
}

impl Daemon {
    fn start(path: PathBuf, config: Config) -> Result<Self, RunError> {
        let workers = config.engine.workers.len();
        let gateway = Gateway::start(&gateway_config(&config.engine), |facts| {
            compile(&config, Generation(1), workers, facts, None)
        })?;
        let logs = Logs::start(&config.logging);
        for warning in gateway.warnings() {
            logs.write(Topic::System, warning.clone());
        }
        Ok(Self {
            path,
            state: Mutex::new(State {
                programs: VecDeque::from([gateway.program()]),
                config,
                pending: None,
                reloads: Reloads {
                    loaded_at: now_ms() / 1_000,
                    ..Reloads::default()
                },
            }),
            gateway: RwLock::new(Some(gateway)),
            reloading: Mutex::new(()),
            logs,
            notes: Notes::default(),
            events: Events::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Says that the gateway forwards: to the log, and to the service manager.
    fn announce(&self) {
        let summary = self.state().config.summary();
        self.logs
            .write(Topic::System, format!("the gateway is up; {summary}"));
        notify(sd_notify::NotifyState::Ready);
    }

    fn hang_up(&self) {
        // Whatever comes out of it is in the log.
        let _ = self.reload_and_log(&ReloadOptions::default());
    }

    /// Takes back what was not confirmed in time, until the gateway stops.
    fn guard(self: &Arc<Self>) -> Result<thread::JoinHandle<()>, RunError> {
        let daemon = Arc::clone(self);
        let guard = move || {
            while !daemon.stopping.load(Ordering::Relaxed) {
                daemon.roll_back_if_due();
                thread::sleep(CONFIRM_LOOK);
            }
        };
        let thread = thread::Builder::new().name("tp-confirm".into());
        thread.spawn(guard).map_err(|source| RunError::System {
            what: "no thread for taking reloads back",
            source,
        })
    }

    fn stop(&self) {
        let gateway = self
            .gateway
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(gateway) = gateway else { return };
        if self.state().pending.is_some() {
            let line = "a reload was waiting to be confirmed; the next start reads its file";
            self.logs.write(Topic::System, line.to_owned());
        }
        let stopped = gateway.stop();
        let message = match stopped.buffers_lost {
            0 => "the gateway has stopped".to_owned(),
            lost => format!("the gateway has stopped; {lost} packet buffers did not come back"),
        };
        self.logs.write(Topic::System, message);
    }

    fn gateway(&self) -> RwLockReadGuard<'_, Option<Gateway>> {
        self.gateway.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What holds the lock replaces whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the service manager, if there is one; one that is gone cannot be told.
fn notify(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}

fn compile(
    config: &Config,
    generation: Generation,
    workers: usize,
    ports: &[PortFacts],
    previous: Option<&Program>,
) -> Arc<Program> {
    let context = CompileContext {
        generation,
        workers,
        ports,
        previous,
        key: random_key(),
    };
    Arc::new(Program::compile(&config.policy, &context))
}

/// A key that nobody can guess: the standard library seeds its hashers from the system.
fn random_key() -> HashKey {
    HashKey(std::array::from_fn(|_| RandomState::new().hash_one(0)))
}

/// The engine's words for what the configuration says.
fn gateway_config(engine: &EngineConfig) -> GatewayConfig {
    let ports = engine.devices.iter().map(|device| PortSpec {
        mtu: device.mtu,
        ..PortSpec::new(&device.name, &device.device)
    });
    GatewayConfig {
        slow_path_core: Some(engine.slow_path_core),
        idle: match engine.idle {
            Idle::Spin => IdlePolicy::Spin,
            Idle::Adaptive => IdlePolicy::Adaptive,
        },
        hugepages: match engine.hugepages {
            Hugepages::Auto => hugepages::Hugepages::Auto,
            Hugepages::Yes => hugepages::Hugepages::Yes,
            Hugepages::No => hugepages::Hugepages::No,
        },
        memory: engine
            .mbufs
            .map_or(PacketMemory::Auto, PacketMemory::Buffers),
        max_connections: engine.max_entries,
        ..GatewayConfig::new(engine.workers.clone(), ports.collect())
    }
}
