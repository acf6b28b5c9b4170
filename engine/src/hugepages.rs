//! Hugepages: whether they can be had, and putting back what was reserved.
//!
//! DPDK runs a little faster on hugepages and well enough without. So `auto` takes what is free,
//! reserves more where it may, and otherwise says in one sentence that it did not get them.

use std::fs;
use std::path::{Path, PathBuf};

/// What the configuration says about hugepages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hugepages {
    /// Use them if they can be had.
    #[default]
    Auto,
    /// Do not start without them.
    Yes,
    /// Do not use them.
    No,
}

/// What packet memory will be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages of this many KiB.
    Huge {
        /// The size of a page in KiB.
        page_kb: usize,
    },
    /// Ordinary pages.
    Ordinary,
}

/// A decision about packet memory.
#[derive(Debug)]
pub(crate) struct Plan {
    pub memory: Memory,
    pub warning: Option<String>,
    /// Pages that were reserved for this process; given back when dropped.
    pub reservation: Option<Reservation>,
}

/// Hugepages are required and cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "hugepages are required but {needed_mb} MiB of them cannot be had ({reason}); reserve them \
     with `echo {pages} > /sys/kernel/mm/hugepages/hugepages-{page_kb}kB/nr_hugepages`, or set \
     `hugepages: auto`"
)]
pub struct HugepagesError {
    needed_mb: usize,
    pages: usize,
    page_kb: usize,
    reason: String,
}

/// Pages added to the system's pool by this process.
#[derive(Debug)]
pub(crate) struct Reservation {
    file: PathBuf,
    added: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Other processes may have changed the number meanwhile, so subtract instead of restoring.
        // A failure leaves pages reserved, which the administrator can see and undo.
        if let Some(now) = read_number(&self.file) {
            let _ignored = fs::write(&self.file, now.saturating_sub(self.added).to_string());
        }
    }
}

/// Decides what `memory_mb` MiB of packet memory are made of.
pub(crate) fn plan(wanted: Hugepages, memory_mb: usize) -> Result<Plan, HugepagesError> {
    plan_in(Path::new("/"), wanted, memory_mb, probe)
}

fn plan_in(
    root: &Path,
    wanted: Hugepages,
    memory_mb: usize,
    probe: impl Fn(usize, usize) -> Result<(), String>,
) -> Result<Plan, HugepagesError> {
    let ordinary = |warning| Plan {
        memory: Memory::Ordinary,
        warning,
        reservation: None,
    };
    if wanted == Hugepages::No {
        return Ok(ordinary(None));
    }
    let page_kb = default_page_kb(root).unwrap_or(2048);
    let pages = (memory_mb * 1024).div_ceil(page_kb);
    let outcome = obtain(root, page_kb, pages).and_then(|reservation| {
        probe(pages * page_kb * 1024, page_kb * 1024)?;
        Ok(reservation)
    });
    match (outcome, wanted) {
        (Ok(reservation), Hugepages::Auto | Hugepages::Yes | Hugepages::No) => Ok(Plan {
            memory: Memory::Huge { page_kb },
            warning: None,
            reservation,
        }),
        (Err(reason), Hugepages::Yes) => Err(HugepagesError {
            needed_mb: memory_mb,
            pages,
            page_kb,
            reason,
        }),
        (Err(reason), Hugepages::Auto | Hugepages::No) => Ok(ordinary(Some(format!(
            "running without hugepages, which costs some speed: {reason}"
        )))),
    }
}

/// Makes sure that `pages` are free, reserving what is missing.
fn obtain(root: &Path, page_kb: usize, pages: usize) -> Result<Option<Reservation>, String> {
    let directory = root.join(format!("sys/kernel/mm/hugepages/hugepages-{page_kb}kB"));
    let total_file = directory.join("nr_hugepages");
    let free = || read_number(&directory.join("free_hugepages")).unwrap_or(0);
    let missing = pages.saturating_sub(free());
    if missing == 0 {
        return Ok(None);
    }
    let total = read_number(&total_file).ok_or("this kernel has no hugepages")?;
    fs::write(&total_file, (total + missing).to_string())
        .map_err(|e| format!("{pages} pages are needed, {} are free: {e}", free()))?;
    // The kernel gives what it can; from here on dropping the reservation gives that back.
    let added = read_number(&total_file)
        .unwrap_or(total)
        .saturating_sub(total);
    let reservation = Reservation {
        file: total_file,
        added,
    };
    if free() < pages {
        return Err(format!("{pages} pages are needed, {} are free", free()));
    }
    Ok(Some(reservation))
}

fn probe(bytes: usize, page_bytes: usize) -> Result<(), String> {
    // SAFETY: the function maps and unmaps fresh anonymous memory and touches nothing else.
    match unsafe { dpdk_sys::tp_hugepages_probe(bytes, page_bytes) } {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code).to_string()),
    }
}

fn default_page_kb(root: &Path) -> Option<usize> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = meminfo.lines().find(|l| l.starts_with("Hugepagesize:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn read_number(file: &Path) -> Option<usize> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file tree as the kernel would show it.
    fn system(total: usize, free: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("sys/kernel/mm/hugepages/hugepages-2048kB");
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(
            root.path().join("proc/meminfo"),
            "Hugepagesize:       2048 kB\n",
        )
        .unwrap();
        fs::write(directory.join("nr_hugepages"), total.to_string()).unwrap();
        fs::write(directory.join("free_hugepages"), free.to_string()).unwrap();
        root
    }

    fn works(_: usize, _: usize) -> Result<(), String> {
        Ok(())
    }

    #[test]
    fn free_pages_are_used_without_reserving_more() {
        let root = system(100, 64);
        let plan = plan_in(root.path(), Hugepages::Auto, 128, works).unwrap();
        assert_eq!(plan.memory, Memory::Huge { page_kb: 2048 });
        assert!(plan.warning.is_none());
        assert!(plan.reservation.is_none());
    }

    #[test]
    fn pages_that_cannot_be_had_are_a_warning_for_auto_and_an_error_for_yes() {
        // The fake system does not grow its free pages when more are asked for.
        let root = system(0, 0);
        let plan = plan_in(root.path(), Hugepages::Auto, 128, works).unwrap();
        assert_eq!(plan.memory, Memory::Ordinary);
        assert!(
            plan.warning
                .unwrap()
                .contains("64 pages are needed, 0 are free")
        );

        let error = plan_in(root.path(), Hugepages::Yes, 128, works).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("echo 64 > /sys/kernel/mm/hugepages")
        );
    }

    #[test]
    fn what_was_reserved_in_vain_is_given_back() {
        let root = system(3, 0);
        let total = root
            .path()
            .join("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
        plan_in(root.path(), Hugepages::Auto, 128, works).unwrap();
        assert_eq!(read_number(&total), Some(3));
    }

    #[test]
    fn pages_that_do_not_map_are_not_used() {
        let root = system(64, 64);
        let refuse = |_, _| Err("Cannot allocate memory".to_owned());
        let plan = plan_in(root.path(), Hugepages::Auto, 128, refuse).unwrap();
        assert_eq!(plan.memory, Memory::Ordinary);
    }

    #[test]
    fn no_asks_the_system_for_nothing() {
        let root = tempfile::tempdir().unwrap();
        let plan = plan_in(root.path(), Hugepages::No, 128, works).unwrap();
        assert_eq!(plan.memory, Memory::Ordinary);
        assert!(plan.warning.is_none());
    }
}
