//! `turnpike run`: the gateway, in the foreground.

use std::path::PathBuf;

use super::{CONFIG_DEFAULT, Failure};
use crate::daemon;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    Ok(daemon::run(args.config)?)
}
