//! `turnpike import`: another router's configuration as one of Turnpike's.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Failure, complain, say};
use crate::import::{self, TEXT_MAX};

/// The configuration is written, and something of the input is missing from it.
const LEFT_OUT: u8 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// Read what RouterOS's /export prints, or commands as its manuals have them
    ///
    /// Writes a configuration that `turnpike check` accepts, with a placeholder for each device. A
    /// command that cannot be carried over is named with its line and the reason, on the screen
    /// and as a comment in the configuration; a rule is carried over whole or not at all. Ends
    /// with 0, or with 3 if commands of sections that Turnpike has were left out.
    Routeros(Routeros),
}

#[derive(Debug, clap::Args)]
struct Routeros {
    /// The export (.rsc), or - for standard input
    file: PathBuf,
    /// Where the configuration is written, by default to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let From::Routeros(args) = &args.from;
    let bytes = read(&args.file)?;
    let (text, whole) = match String::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (
            String::from_utf8_lossy(error.as_bytes()).into_owned(),
            false,
        ),
    };
    let name = match args.file.file_name() {
        Some(name) if args.file != Path::new("-") => name.to_string_lossy().into_owned(),
        Some(_) | None => "standard input".to_owned(),
    };
    let mut imported = import::routeros(&text, &name)?;
    if !whole {
        let note = "some characters are not UTF-8 and became question marks";
        imported.report.notes.push(note.to_owned());
    }
    let report = imported.report.to_string();
    match &args.output {
        Some(path) => {
            std::fs::write(path, &imported.yaml)
                .map_err(|e| Failure(format!("error: cannot write {}: {e}", path.display())))?;
            say(&format!("{report}written to {}", path.display()))?;
        }
        None => {
            say(&imported.yaml)?;
            complain(&report);
        }
    }
    Ok(match imported.report.count().left_out {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(LEFT_OUT),
    })
}

/// Reads at most [`TEXT_MAX`] bytes.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |e: std::io::Error| Failure(format!("error: cannot read {}: {e}", path.display()));
    let mut bytes = Vec::new();
    let most = TEXT_MAX as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(unreadable)?;
        file.take(most).read_to_end(&mut bytes)
    }
    .map_err(unreadable)?;
    if bytes.len() > TEXT_MAX {
        let path = path.display();
        return Err(Failure(format!(
            "error: {path} has more than {TEXT_MAX} bytes; import it in parts"
        )));
    }
    Ok(bytes)
}
