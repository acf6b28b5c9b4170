//! The `turnpike` command line: one file per command, and how they end.
//!
//! A command prints its result to standard output and ends with 0; what went wrong goes to
//! standard error as sentences, and the command ends with 1 (2 for a command line that cannot be
//! read, as clap has it; 3 for an import that left something out).

mod ask;
mod audit;
mod check;
mod connections;
mod explain;
mod filter;
mod helpers;
mod import;
mod layer7;
mod lists;
mod log;
mod reload;
mod replay;
mod rules;
mod run;
mod status;
mod table;
mod trace;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Refused;

/// The configuration where none is named.
const CONFIG_DEFAULT: &str = "/etc/turnpike/turnpike.yaml";

/// A stateful firewall and NAT gateway on DPDK that speaks RouterOS's firewall vocabulary.
#[derive(Debug, Parser)]
#[command(name = "turnpike", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground; SIGHUP reloads, SIGTERM stops
    Run(run::Args),
    /// Check a configuration and run its tests: every error with its place, exit 0 or 1
    Check(check::Args),
    /// Say what the rules of a configuration expose, and what would be better
    Audit(audit::Args),
    /// Send captures through the pipeline without a device, and write what comes out
    Replay(replay::Args),
    /// Turn another router's configuration into one of Turnpike's
    Import(import::Args),
    /// Tell what becomes of a packet, and why: each stage and rule it meets
    Explain(explain::Args),
    /// Let a running gateway read its configuration again
    Reload(reload::Args),
    /// Show how a running gateway does
    Status(status::Args),
    /// List, count, flush or watch the connections of a running gateway
    Connections(Box<connections::Args>),
    /// List the rules of a running gateway with their counters
    Rules(rules::Args),
    /// Show the address lists of a running gateway, or add and remove entries
    Lists(lists::Args),
    /// Show what connections are looked through for, and what was found
    Layer7(layer7::Args),
    /// Show the last packets that a running gateway has dropped, and why
    Trace(trace::Args),
    /// Show the log of a running gateway
    Log(log::Args),
    /// Show what the protocol helpers of a running gateway read, announce and change
    Helpers(helpers::Args),
}

/// Why a command failed: the text for standard error.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    /// A configuration that was refused: its problems say for themselves that they are errors.
    fn refused(refused: &Refused) -> Self {
        Self(refused.to_string())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(format!("error: {error}"))
    }
}

/// Reads the command line, runs the command and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let success = |()| ExitCode::SUCCESS;
    let ended = match cli.command {
        Command::Import(args) => import::run(&args),
        Command::Run(args) => run::run(args).map(success),
        Command::Check(args) => check::run(&args).map(success),
        Command::Audit(args) => audit::run(&args).map(success),
        Command::Replay(args) => replay::run(args).map(success),
        Command::Explain(args) => explain::run(&args).map(success),
        Command::Reload(args) => reload::run(&args).map(success),
        Command::Status(args) => status::run(&args).map(success),
        Command::Connections(args) => connections::run(&args).map(success),
        Command::Rules(args) => rules::run(&args).map(success),
        Command::Lists(args) => lists::run(&args).map(success),
        Command::Layer7(args) => layer7::run(&args).map(success),
        Command::Trace(args) => trace::run(&args).map(success),
        Command::Log(args) => log::run(&args).map(success),
        Command::Helpers(args) => helpers::run(&args).map(success),
    };
    match ended {
        Ok(code) => code,
        Err(Failure(message)) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Prints one result to standard output. A reader that went away (`| head`) is no failure.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| {
        if text.ends_with('\n') {
            Ok(())
        } else {
            out.write_all(b"\n")
        }
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints to standard error; if that is gone there is nobody left to tell.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}
