//! `turnpike reload`: read the configuration again, or find out what that would do.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Failure;
use super::ask::Asking;
use crate::client::{ClientError, target};
use crate::report::{Affected, Confirmed, Difference, DryRun, Effect, Reloaded, RulePlace};

/// How long a gateway with many connections may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Change nothing: show what would change, which connections would be cut, refused or
    /// translated otherwise, and which rules can never match; of FILE, or of the gateway's own file
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    dry_run: Option<Option<PathBuf>>,
    /// End the connections that would be refused if they were opened now; with --confirm, once it
    /// is confirmed
    #[arg(long, conflicts_with = "dry_run")]
    cut_refused: bool,
    /// Go back to the configuration of before, unless `turnpike reload --confirmed` is said within
    /// this time (60s, 5m)
    #[arg(long, value_name = "DURATION", conflicts_with = "dry_run")]
    confirm: Option<String>,
    /// Keep the configuration that waits to be confirmed
    #[arg(long, conflicts_with_all = ["dry_run", "cut_refused", "confirm"])]
    confirmed: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let yes = |on: bool| on.then(|| "yes".to_owned());
    if let Some(file) = &args.dry_run {
        let file = file.as_deref().map(absolute).transpose()?;
        let query = [("dry-run", yes(true)), ("file", file)];
        let found: DryRun = post(args, &query)?;
        args.asking.print(&found, foreseen)?;
        if !found.start_only.is_empty() {
            return Err(Failure(format!(
                "error: such a reload would be refused: {} cannot change while the gateway runs",
                found.start_only.join(", ")
            )));
        }
        return Ok(());
    }
    if args.confirmed {
        let confirmed: Confirmed = post(args, &[("confirmed", yes(true))])?;
        return args.asking.print(&confirmed, kept);
    }
    let query = [
        ("cut-refused", yes(args.cut_refused)),
        ("confirm", args.confirm.clone()),
    ];
    let reloaded: Reloaded = post(args, &query)?;
    args.asking.print(&reloaded, human)
}

/// The gateway reads the file, and may stand elsewhere.
fn absolute(file: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(file)?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(Failure(format!(
            "error: the name of {} is not UTF-8; rename it",
            path.display()
        ))),
    }
}

fn post<T: DeserializeOwned>(args: &Args, query: &[(&str, Option<String>)]) -> Result<T, Failure> {
    let client = args.asking.client().with_patience(PATIENCE);
    client.post(&target("/v1/reload", query)).map_err(|error| {
        let ClientError::Refused(failed) = error else {
            return error.into();
        };
        let mut text = String::new();
        for problem in &failed.problems {
            // Writing into a string cannot fail, here and below.
            let _ = writeln!(text, "{problem}");
        }
        text.push_str("error: ");
        text.push_str(&failed.error);
        Failure(text)
    })
}

fn human(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    for warning in &reloaded.warnings {
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
    text.push_str(&ended(reloaded.ended));
    if let Some(seconds) = reloaded.confirm_within_seconds {
        let _ = writeln!(
            text,
            "it is taken back in {seconds} s, unless you say: turnpike reload --confirmed"
        );
    }
    text
}

fn kept(confirmed: &Confirmed) -> String {
    let generation = confirmed.generation;
    format!("generation {generation} stays\n{}", ended(confirmed.ended))
}

fn ended(connections: Option<u64>) -> String {
    connections.map_or_else(String::new, |connections| {
        format!("{connections} connections were ended, which would be refused if opened now\n")
    })
}

fn foreseen(found: &DryRun) -> String {
    let mut text = String::new();
    for warning in &found.warnings {
        let _ = writeln!(text, "{warning}");
    }
    let (config, generation) = (&found.config, found.generation);
    let _ = writeln!(
        text,
        "{config} against generation {generation}; nothing was changed"
    );
    if found.difference.is_empty() {
        text.push_str("  no difference\n");
    }
    differences(&found.difference, &mut text);
    for shadow in &found.never_match {
        let (rule, by) = (&shadow.rule, &shadow.by);
        let _ = writeln!(text, "  never matches: {}", named(rule));
        let _ = writeln!(text, "      {} takes all that it asks for", named(by));
    }
    let effects = &found.connections;
    let _ = writeln!(
        text,
        "{} connections looked at{}",
        effects.judged,
        if effects.complete {
            ""
        } else {
            "; there was no time for the others"
        }
    );
    effect("would be cut at their next packet", &effects.cut, &mut text);
    effect(
        "would be refused if opened now",
        &effects.refused,
        &mut text,
    );
    let otherwise = "would be translated otherwise if opened now";
    effect(otherwise, &effects.translated, &mut text);
    text
}

fn named(rule: &RulePlace) -> String {
    let RulePlace {
        table,
        chain,
        number,
        source,
        ..
    } = rule;
    format!("{table}/{chain}/{number} {source}")
}

fn differences(difference: &Difference, text: &mut String) {
    let mut rule = |sign: &str, rule: &RulePlace, note: &str| {
        let off = if rule.disabled { " (disabled)" } else { "" };
        let _ = writeln!(text, "  {sign} {}{note}{off}: {}", named(rule), rule.text);
    };
    for removed in &difference.removed {
        rule("-", removed, "");
    }
    for added in &difference.added {
        rule("+", added, "");
    }
    for moved in &difference.moved {
        rule("~", &moved.to, &format!(" moved from {}", moved.from));
    }
    for switched in &difference.switched {
        let note = if switched.disabled { "" } else { " enabled" };
        rule("~", switched, note);
    }
    for setting in &difference.settings {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        let (before, after) = (value(&setting.before), value(&setting.after));
        let _ = writeln!(text, "  ~ {}: {before} → {after}", setting.name);
    }
    for list in &difference.lists {
        let (name, added, removed) = (&list.name, list.added, list.removed);
        let _ = writeln!(
            text,
            "  ~ address list {name}: {added} added, {removed} removed"
        );
    }
}

fn effect(what: &str, effect: &Effect, text: &mut String) {
    let _ = write!(text, "  {} {what}", effect.connections);
    if effect.uncertain > 0 {
        let _ = write!(
            text,
            ", {} of them depending on their packets",
            effect.uncertain
        );
    }
    text.push('\n');
    for affected in &effect.examples {
        example(affected, text);
    }
    let shown = effect.examples.len() as u64;
    if shown < effect.connections {
        let _ = writeln!(text, "      … and {} more", effect.connections - shown);
    }
}

fn example(affected: &Affected, text: &mut String) {
    let connection = &affected.connection;
    let _ = write!(
        text,
        "      {} {} > {}: {}",
        connection.protocol, connection.src_address, connection.dst_address, affected.reason
    );
    for (word, value) in [
        (" in direction", &affected.direction),
        (" to", &affected.becomes),
        (" by", &affected.by),
    ] {
        if let Some(value) = value {
            let _ = write!(text, "{word} {value}");
        }
    }
    text.push('\n');
}
