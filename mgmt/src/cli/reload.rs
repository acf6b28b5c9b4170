//! `turnpike reload`: read the configuration again.

use std::fmt::Write;

use super::Failure;
use super::ask::Asking;
use crate::client::ClientError;
use crate::report::Reloaded;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match args.asking.client().post::<Reloaded>("/v1/reload") {
        Ok(reloaded) => args.asking.print(&reloaded, human),
        Err(ClientError::Refused(failed)) => {
            let mut text = String::new();
            for problem in &failed.problems {
                // Writing into a string cannot fail.
                let _ = writeln!(text, "{problem}");
            }
            text.push_str("error: ");
            text.push_str(&failed.error);
            Err(Failure(text))
        }
        Err(other) => Err(other.into()),
    }
}

fn human(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    for warning in &reloaded.warnings {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{warning}");
    }
    let _ = writeln!(text, "{}", reloaded.summary);
    let _ = writeln!(
        text,
        "generation {} is in effect{}",
        reloaded.generation,
        if reloaded.adopted {
            " on every worker"
        } else {
            "; not every worker runs it yet"
        }
    );
    text
}
