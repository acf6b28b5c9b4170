//! `turnpike run`: the gateway, in the foreground.

use std::path::PathBuf;

use super::{CONFIG_DEFAULT, Failure};
use crate::daemon::{self, RunError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match daemon::run(args.config) {
        Err(RunError::Config(refused)) => Err(Failure::refused(&refused)),
        other => Ok(other?),
    }
}
