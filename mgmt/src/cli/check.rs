//! `turnpike check`: is this configuration right?

use std::path::PathBuf;

use super::{Failure, complain, say};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load_tested(&args.file).map_err(|r| Failure::refused(&r))?;
    for warning in &config.warnings {
        complain(&warning.to_string());
    }
    say(&config.summary())
}
