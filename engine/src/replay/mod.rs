//! Capture replay: captures through the pipeline, without a device, on a virtual clock.

mod checksums;
mod frame;
mod merge;
mod output;

use std::io;
use std::path::{Path, PathBuf};

use crate::pcap::CaptureError;

/// Why a replay could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// An input cannot be used.
    #[error(transparent)]
    Input(#[from] CaptureError),
    /// An output cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Output {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReplayError {
    fn output(path: &Path, source: io::Error) -> Self {
        Self::Output {
            path: path.to_owned(),
            source,
        }
    }
}
