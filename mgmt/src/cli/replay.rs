//! `turnpike replay`: captures through the same pipeline, without a device.

use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;

use turnpike_engine::replay::{
    self, Checksums, Entry, Input, InputSummary, ReplayConfig, Resolution, Sides, Summary,
};
use turnpike_pipeline::worker::Keep;

use super::{CONFIG_DEFAULT, Failure, complain, say};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// A capture and where its packets enter: an interface, or `auto` for the one that the route
    /// back to each packet's source points to
    #[arg(long = "in", value_name = "INTERFACE=PCAP", required = true)]
    inputs: Vec<Source>,
    /// The directory for what comes out
    #[arg(long, value_name = "DIR")]
    out_dir: PathBuf,
    /// Where everything random starts: the same seed, the same bytes out
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Recompute checksums first, for captures taken on a host with checksum offload
    #[arg(long)]
    fix_checksums: bool,
    /// The captures were taken on one side of a translation: carry what the other side sends over
    /// into the view that it has here (addresses, ports, identifiers, quoted packets)
    #[arg(long)]
    follow_nat: bool,
    /// How neighbours are found
    #[arg(long, value_enum, default_value_t = Neighbours::Assume)]
    neighbours: Neighbours,
}

#[derive(Debug, Clone)]
struct Source(Input);

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write, for example, lan=a.pcap or auto=a.pcap";
        let (entry, path) = text.split_once('=').ok_or(example)?;
        if entry.is_empty() || path.is_empty() {
            return Err(example.to_owned());
        }
        let entry = match entry {
            "auto" => Entry::Auto,
            name => Entry::Interface(name.to_owned()),
        };
        Ok(Self(Input {
            entry,
            path: path.into(),
        }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Neighbours {
    /// Every neighbour has a made-up address
    Assume,
    /// By the ARP and neighbour discovery that the captures hold
    Learn,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = Config::load(&args.config).map_err(|r| Failure::refused(&r))?;
    for warning in &config.warnings {
        complain(&warning.to_string());
    }
    let summary = replay::run(ReplayConfig {
        policy: config.policy,
        max_entries: config.engine.max_entries,
        inputs: args.inputs.into_iter().map(|s| s.0).collect(),
        out_dir: args.out_dir.clone(),
        seed: args.seed,
        checksums: if args.fix_checksums {
            Checksums::Fix
        } else {
            Checksums::Keep
        },
        sides: if args.follow_nat {
            Sides::One
        } else {
            Sides::Both
        },
        keep: Keep::Outcomes,
        resolution: match args.neighbours {
            Neighbours::Assume => Resolution::Assume,
            Neighbours::Learn => Resolution::Learn,
        },
    })?;
    for input in &summary.inputs {
        if let Some(damage) = &input.damage {
            complain(&format!("warning: {}: {damage}", input.path.display()));
        }
        if let Some(text) = passed_over(input) {
            complain(&format!("warning: {}: {text}", input.path.display()));
        }
    }
    say(&human(&summary, &args.out_dir))
}

/// How many packets of an input were passed over, and why.
fn passed_over(input: &InputSummary) -> Option<String> {
    const ABSENT: &str = "name an interface that the file does not describe";
    let types: Vec<String> = input
        .passed_link_types
        .iter()
        .map(ToString::to_string)
        .collect();
    let why = match &*types {
        [] => ABSENT.to_owned(),
        // The two are not counted apart.
        numbers => format!(
            "have a link type that cannot become Ethernet ({}) or {ABSENT}",
            numbers.join(", ")
        ),
    };
    (input.passed_over > 0)
        .then(|| format!("packets passed over: {}; they {why}", input.passed_over))
}

fn human(summary: &Summary, out_dir: &std::path::Path) -> String {
    let verdicts: Vec<String> = summary
        .verdicts
        .iter()
        .map(|(verdict, packets)| format!("{verdict} {packets}"))
        .collect();
    let mut text = format!("{} packets: {}\n", summary.packets, verdicts.join(", "));
    // Writing into a string cannot fail.
    if summary.undecided > 0 {
        let _ = writeln!(
            text,
            "{} packets entered by the first interface: no route points back to their source",
            summary.undecided
        );
    }
    if let Some(carried) = summary.carried {
        let _ = writeln!(
            text,
            "{carried} packets carried over into the translated view"
        );
    }
    let _ = writeln!(text, "written to {}", out_dir.display());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(packets: u64, link_types: &[u32]) -> Option<String> {
        passed_over(&InputSummary {
            path: "a.pcapng".into(),
            packets: 1,
            passed_over: packets,
            passed_link_types: link_types.iter().copied().collect(),
            damage: None,
        })
    }

    #[test]
    fn packets_of_an_absent_interface_are_not_blamed_on_their_link_type() {
        assert_eq!(passed(0, &[]), None);
        assert_eq!(
            passed(2, &[]).unwrap(),
            "packets passed over: 2; they name an interface that the file does not describe"
        );
        let mixed = passed(3, &[105, 127]).unwrap();
        assert!(
            mixed.contains("a link type that cannot become Ethernet (105, 127) or name"),
            "{mixed}"
        );
    }
}
