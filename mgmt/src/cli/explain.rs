//! `turnpike explain`: what becomes of a packet, and why.

use std::path::PathBuf;

use turnpike_engine::explain::{Explainer, Followed, compile};
use turnpike_engine::pcap::{CaptureFile, Stamp};

use super::{CONFIG_DEFAULT, Failure, complain, say};
use crate::client::{Client, target};
use crate::config::Config;
use crate::config::services::SOCKET_DEFAULT;
use crate::explain::{Earlier, Explanation, Question, Scene, explained};
use crate::report::Explained;
use crate::words::{Words, of_frame};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// Ask the running gateway, with the connections, list members and limits that it has now;
    /// nothing of it changes
    #[arg(long, conflicts_with_all = ["config", "index"])]
    running: bool,
    /// The management socket of the gateway
    #[arg(long, value_name = "PATH", default_value = SOCKET_DEFAULT, requires = "running")]
    socket: PathBuf,
    /// Where the packet comes in: an interface, or a capture with the packet, as
    /// INTERFACE=PCAP, and `--index`
    #[arg(long = "in", value_name = "INTERFACE[=PCAP]")]
    entry: String,
    /// Which packet of the capture, from 1; those before it are played first
    #[arg(long, value_name = "N", conflicts_with = "packet")]
    index: Option<u64>,
    /// A packet that is sent before, in by where the route back to its source points
    #[arg(long, value_name = "PACKET")]
    after: Vec<String>,
    /// The packet: `PROTO SRC[:PORT] > DST[:PORT] [syn|ack|…] [type N] [code N] [len N] [ttl N]
    /// [state S]`
    #[arg(value_name = "PACKET", required_unless_present = "index")]
    packet: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.running {
        return of_running(args);
    }
    let config = Config::load(&args.config).map_err(|r| Failure::refused(&r))?;
    for warning in &config.warnings {
        complain(&warning.to_string());
    }
    let scene = Scene::new(&config.policy);
    let explanation = match (args.entry.split_once('='), &args.packet, args.index) {
        (None, Some(packet), None) => {
            let question = Question {
                in_interface: scene.interface(&args.entry).map_err(failure)?,
                packet: words(packet)?,
                after: args
                    .after
                    .iter()
                    .map(|earlier| {
                        Ok(Earlier {
                            in_interface: None,
                            packet: words(earlier)?,
                        })
                    })
                    .collect::<Result<_, Failure>>()?,
            };
            scene.explain(&question).map_err(failure)?
        }
        (Some((interface, path)), None, Some(index)) => {
            let interface = scene.interface(interface).map_err(failure)?;
            of_capture(&config, interface, &PathBuf::from(path), index)?
        }
        (Some(_), _, None) => {
            return Err(failure(
                "which packet of the capture is meant? write, for example, --index 1".to_owned(),
            ));
        }
        (_, _, _) => {
            return Err(failure(
                "--index is a packet of a capture; write --in INTERFACE=PCAP".to_owned(),
            ));
        }
    };
    if args.json {
        say(&serde_json::to_string_pretty(&explanation)?)
    } else {
        say(&explanation.to_string())
    }
}

/// Asks a running gateway.
fn of_running(args: &Args) -> Result<(), Failure> {
    let packet = args.packet.as_deref().unwrap_or_default();
    // What is wrong with a packet is shown at its place.
    for text in args.after.iter().map(String::as_str).chain([packet]) {
        words(text)?;
    }
    let after = (!args.after.is_empty()).then(|| args.after.join("\n"));
    let query = [
        ("in-interface", Some(args.entry.clone())),
        ("packet", Some(packet.to_owned())),
        ("after", after),
    ];
    let explained: Explained = Client::new(&args.socket).post(&target("/v1/explain", &query))?;
    if args.json {
        say(&serde_json::to_string_pretty(&explained)?)
    } else {
        say(&explained.text)
    }
}

fn failure(message: String) -> Failure {
    Failure(format!("error: {message}"))
}

/// Reads a packet; what is wrong is shown at its place.
fn words(text: &str) -> Result<Words, Failure> {
    Words::parse(text).map_err(|error| {
        let before = " ".repeat(error.column.saturating_sub(1));
        failure(format!("{}\n  {text}\n  {before}^", error.message))
    })
}

/// Explains a packet of a capture, in the place that those before it have made for it.
fn of_capture(
    config: &Config,
    interface: turnpike_pipeline::ids::IfaceId,
    path: &std::path::Path,
    index: u64,
) -> Result<Explanation, Failure> {
    let program = std::sync::Arc::new(compile(&config.policy, None));
    let mut explainer = Explainer::new(std::sync::Arc::clone(&program));
    let mut file = CaptureFile::open(path)?;
    let mut last: Option<Stamp> = None;
    let mut seen = 0;
    while let Some(packet) = file.next_packet() {
        seen = packet.index;
        let pause = last.map_or(0, |last| packet.stamp.micros_since(last));
        last = last.max(Some(packet.stamp));
        explainer.wait(std::time::Duration::from_micros(pause));
        let words = of_frame(&packet.frame);
        let followed: Followed = explainer.send(interface, packet.frame);
        if packet.index < index {
            continue;
        }
        let mut explanation = explained(&program, interface, words.as_ref(), &followed);
        if explanation.packet.is_empty() {
            explanation.packet = format!("packet {index}");
        }
        return Ok(explanation);
    }
    Err(failure(format!(
        "{} has {seen} packets and no packet {index}",
        path.display()
    )))
}
