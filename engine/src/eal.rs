//! The environment abstraction layer: DPDK's process-wide start and end.
//!
//! EAL starts once per process, on a thread of its own because it pins the thread it starts on.
//! Its output goes to a bounded buffer in memory, from which errors quote the end. It is
//! cleaned up when the last port and pool are gone, and never under a buffer that is still out.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::marker::PhantomData;
use std::os::raw::c_char;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::hugepages::{self, Hugepages, HugepagesError, Memory, Reservation};
use crate::mempool::PoolHandle;

/// How EAL is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EalConfig {
    /// What to do about hugepages.
    pub hugepages: Hugepages,
    /// Packet memory in MiB.
    pub memory_mb: usize,
    /// PCI devices to attach, by address with their arguments; empty leaves the PCI bus alone.
    pub pci_devices: Vec<String>,
}

/// Why EAL did not start.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// It was started before.
    #[error("DPDK was already started in this process; it cannot be started twice")]
    AlreadyStarted,
    /// Hugepages are required and cannot be had.
    #[error(transparent)]
    Hugepages(#[from] HugepagesError),
    /// A word of its command line holds a NUL.
    #[error("a device name contains a NUL character; correct `device`")]
    Argument,
    /// The thread to start it on could not be made.
    #[error("no thread to start DPDK on: {0}")]
    Thread(std::io::Error),
    /// The machine says on which cores this process may run, and it does not.
    #[error("the cores that this process may run on are not known; check its CPU affinity")]
    Cores,
    /// DPDK refused.
    #[error("DPDK did not start: {reason}{said}")]
    Init {
        /// What its error number means.
        reason: String,
        /// The last lines it logged.
        said: Said,
    },
}

/// The last lines DPDK logged before it failed, printed as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said(Option<String>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(line) => write!(f, " (DPDK says: {line})"),
            None => Ok(()),
        }
    }
}

/// DPDK, running in this process.
#[derive(Debug, Clone)]
pub struct Eal {
    shared: Arc<EalShared>,
}

/// What a start brought.
#[derive(Debug)]
pub struct Started {
    /// The running EAL.
    pub eal: Eal,
    /// What its memory is made of.
    pub memory: Memory,
    /// What should be known and is no reason to stop: sentences for the log.
    pub warnings: Vec<String>,
}

/// Kept alive by every port, pool and queue; the last one cleans up.
#[derive(Debug)]
pub(crate) struct EalShared {
    /// Held while devices or pools are made or removed: EAL's control functions are not
    /// thread-safe among themselves.
    control: Mutex<()>,
    pools: Mutex<Vec<PoolHandle>>,
    /// Given back after the cleanup, as fields are dropped after `drop`.
    _reservation: Option<Reservation>,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL.
    ///
    /// It can be tried once per process: DPDK keeps what a failed start left behind.
    pub fn start(config: &EalConfig) -> Result<Started, EalError> {
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        let plan = hugepages::plan(config.hugepages, config.memory_mb)?;
        let arguments = arguments(config, plan.memory)?;
        thread::Builder::new()
            .name("tp-eal".to_owned())
            .spawn(move || init(arguments))
            .map_err(EalError::Thread)?
            .join()
            .map_err(|_| EalError::Init {
                reason: "its thread ended early".to_owned(),
                said: take_log(),
            })??;
        Ok(Started {
            eal: Self {
                shared: Arc::new(EalShared {
                    control: Mutex::new(()),
                    pools: Mutex::new(Vec::new()),
                    _reservation: plan.reservation,
                }),
            },
            memory: plan.memory,
            warnings: plan.warning.into_iter().collect(),
        })
    }

    /// Makes the calling thread known to EAL, which gives it mempool caches of its own.
    ///
    /// `None` when EAL has no room for another thread; the thread works without, only slower.
    /// Pin the thread before.
    pub fn register_thread(&self) -> Option<Registered> {
        // SAFETY: EAL is running as `self` exists; a thread that is registered already is refused.
        let code = unsafe { dpdk_sys::rte_thread_register() };
        (code == 0).then(|| Registered {
            _eal: self.clone(),
            _not_send: PhantomData,
        })
    }

    /// How many packet buffers of all pools are outside their pools.
    pub fn buffers_in_use(&self) -> usize {
        self.shared.buffers_in_use()
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, ()> {
        self.shared
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember_pool(&self, pool: PoolHandle) {
        self.shared.pools().push(pool);
    }
}

impl EalShared {
    fn pools(&self) -> MutexGuard<'_, Vec<PoolHandle>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffers_in_use(&self) -> usize {
        self.pools().iter().map(|pool| pool.in_use()).sum()
    }
}

impl Drop for EalShared {
    fn drop(&mut self) {
        // Cleaning up unmaps the buffers' memory. If one is still out, leaking is the safe end.
        if self.buffers_in_use() == 0 {
            // SAFETY: EAL was started, and no port, pool or registered thread is left, because
            // each of them holds this value; no buffer is outside its pool.
            unsafe { dpdk_sys::rte_eal_cleanup() };
        }
    }
}

/// The calling thread's registration with EAL; ends when dropped.
#[derive(Debug)]
pub struct Registered {
    _eal: Eal,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: the value is not `Send`, so this is the thread that was registered.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

/// The command line that says what `config` says.
fn arguments(config: &EalConfig, memory: Memory) -> Result<Vec<CString>, EalError> {
    let cores: BTreeSet<usize> = core_affinity::get_core_ids()
        .ok_or(EalError::Cores)?
        .into_iter()
        .map(|core| core.id)
        .collect();
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut words = vec![
        "turnpike".to_owned(),
        // One EAL core, free to run anywhere: workers are threads of our own.
        "--lcores".to_owned(),
        format!("0@({})", cores.join(",")),
        "--no-telemetry".to_owned(),
        "-m".to_owned(),
        config.memory_mb.to_string(),
    ];
    match memory {
        Memory::Huge { page_kb: _ } => words.push("--in-memory".to_owned()),
        Memory::Ordinary => {
            words.push("--no-huge".to_owned());
            words.push("--no-shconf".to_owned());
        }
    }
    if config.pci_devices.is_empty() {
        words.push("--no-pci".to_owned());
        words.push("--iova-mode=va".to_owned());
    }
    for device in &config.pci_devices {
        words.push("-a".to_owned());
        words.push(device.clone());
    }
    words
        .into_iter()
        .map(|word| CString::new(word).map_err(|_| EalError::Argument))
        .collect()
}

fn init(arguments: Vec<CString>) -> Result<(), EalError> {
    // SAFETY: called before EAL starts, which is allowed; it only sets where the log goes.
    unsafe { dpdk_sys::tp_log_capture() };
    // SAFETY: sets a number.
    unsafe { dpdk_sys::rte_log_set_global_level(dpdk_sys::TP_LOG_NOTICE) };
    // EAL keeps pointers into its command line for good, so the words are never freed.
    let mut words: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let count = i32::try_from(words.len()).map_err(|_| EalError::Argument)?;
    words.push(std::ptr::null_mut());
    let words: &'static mut [*mut c_char] = Vec::leak(words);
    // SAFETY: `words` are `count` strings that live for ever, with a null behind them.
    if unsafe { dpdk_sys::rte_eal_init(count, words.as_mut_ptr()) } >= 0 {
        return Ok(());
    }
    // SAFETY: reads the calling thread's error number.
    let code = unsafe { dpdk_sys::tp_errno() };
    Err(EalError::Init {
        reason: errno_text(code),
        said: take_log(),
    })
}

/// What an error number means, without Rust's "(os error N)".
pub(crate) fn errno_text(code: i32) -> String {
    let text = std::io::Error::from_raw_os_error(code.abs()).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The last lines DPDK logged since the last call; empties its log.
pub(crate) fn take_log() -> Said {
    let mut bytes = vec![0_u8; 4096];
    // SAFETY: the buffer has as many bytes as said.
    let n = unsafe { dpdk_sys::tp_log_take(bytes.as_mut_ptr().cast::<c_char>(), bytes.len()) };
    bytes.truncate(n);
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // The last line is often only "failed"; the one before it says why.
    let lines: Vec<&str> = lines.collect();
    let end = lines.get(lines.len().saturating_sub(2)..).unwrap_or(&[]);
    Said((!end.is_empty()).then(|| end.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(config: &EalConfig, memory: Memory) -> Vec<String> {
        let words = arguments(config, memory).unwrap();
        words
            .into_iter()
            .map(|w| w.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_pci_bus_is_left_alone_unless_a_device_on_it_is_configured() {
        let mut config = EalConfig {
            hugepages: Hugepages::No,
            memory_mb: 64,
            pci_devices: Vec::new(),
        };
        let without = words(&config, Memory::Ordinary);
        assert!(without.contains(&"--no-pci".to_owned()));
        assert!(without.contains(&"--no-huge".to_owned()));

        config.pci_devices.push("0000:01:00.0".to_owned());
        let with = words(&config, Memory::Huge { page_kb: 2048 });
        assert!(!with.contains(&"--no-pci".to_owned()));
        assert!(!with.contains(&"--no-huge".to_owned()));
        assert!(with.ends_with(&["-a".to_owned(), "0000:01:00.0".to_owned()]));
    }

    #[test]
    fn a_nul_in_a_device_is_refused_before_dpdk_starts() {
        let config = EalConfig {
            hugepages: Hugepages::No,
            memory_mb: 64,
            pci_devices: vec!["0000:01\0".to_owned()],
        };
        let result = arguments(&config, Memory::Ordinary);
        assert!(matches!(result, Err(EalError::Argument)));
    }
}
