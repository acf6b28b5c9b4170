//! What the commands that ask a running gateway have in common.

use std::path::PathBuf;

use serde::Serialize;

use super::{Failure, say};
use crate::client::Client;
use crate::config::services::SOCKET_DEFAULT;

/// Options of every command that asks a running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct Asking {
    /// The management socket of the gateway
    #[arg(long, value_name = "PATH", default_value = SOCKET_DEFAULT)]
    pub(super) socket: PathBuf,
    /// Print JSON as the API gives it
    #[arg(long)]
    pub(super) json: bool,
}

impl Asking {
    /// A client of the gateway that was named.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// Prints an answer, as JSON if that was asked for.
    pub(super) fn print<T: Serialize>(
        &self,
        answer: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            say(&serde_json::to_string_pretty(answer)?)
        } else {
            say(&human(answer))
        }
    }
}
