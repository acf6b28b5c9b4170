//! Capture replay: captures through the pipeline, without a device, on a virtual clock.
//!
//! One worker runs the very stages that the engine's workers run, over frames on the heap, with
//! the slow path inline: what it is asked for is done before the next packet. The clock is the
//! largest stamp seen, so timeouts pass as they did when the capture was taken. Nothing is read
//! from the machine it runs on: the same input and the same seed give the same bytes out.
//!
//! What a replay assumes, where a capture does not say:
//! * Every frame is taken whatever station it was sent to; only packets for groups stay as they
//!   are.
//! * A frame fed to a VLAN interface gets its tag if it has none.
//! * A packet of an `auto` input enters where the route back to its source points. One whose
//!   source is the gateway itself, or is on no route, enters by the first interface and is
//!   counted in [`Summary::undecided`].
//! * Captures show each packet on the side where it enters, unless [`Sides::One`] says that they
//!   were taken on one side: then the other side's packets are carried over into its view.
//! * Neighbours have a made-up address, unless [`Resolution::Learn`] asks for the pipeline's own
//!   ARP and neighbour discovery, which then needs the answers to be in the captures.
//!
//! Every packet has one verdict line; one that had to wait has a second when it is decided, and
//! fragments have that of the packet they became. At the end of the captures the clock stops:
//! what waits then is still held.

pub(crate) mod assume;
mod checksums;
mod clock;
mod connections;
mod drive;
mod feed;
pub(crate) mod follow;
pub(crate) mod frame;
mod ledger;
mod merge;
mod output;
mod recent;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::worker::Keep;

use crate::pcap::CaptureError;

pub use report::Books;

/// The most inputs one replay can have.
pub const INPUTS_MAX: usize = 64;

/// What to replay, through what, and where to.
#[derive(Debug, Clone)]
pub struct ReplayConfig {
    /// The gateway's policy; its ports are made up.
    pub policy: Policy,
    /// The most connections, of both families together.
    pub max_entries: usize,
    /// The captures, in the order in which ties of time are decided.
    pub inputs: Vec<Input>,
    /// The directory to write to; created where it is missing.
    pub out_dir: PathBuf,
    /// Where everything random starts.
    pub seed: u64,
    /// Whether checksums are taken as captured.
    pub checksums: Checksums,
    /// Whose view the captures are.
    pub sides: Sides,
    /// How neighbours are found.
    pub resolution: Resolution,
    /// Whether what rules say of a flow is kept, which changes nothing of what comes out.
    pub keep: Keep,
}

/// A capture, and where its packets enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where they enter.
    pub entry: Entry,
    /// The capture file.
    pub path: PathBuf,
}

/// Where the packets of a capture enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// By the interface of this name.
    Interface(String),
    /// Each where the route back to its source points.
    Auto,
}

/// Whether checksums are taken as captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// As captured.
    #[default]
    Keep,
    /// Recomputed, for captures taken on a host with checksum offload.
    Fix,
}

/// Whose view of a session the captures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sides {
    /// Each packet is as the side where it enters sees it.
    #[default]
    Both,
    /// All are as one side of a translation sees them; what the other side sends is carried over
    /// into the view that it has here, as soon as packets that left have shown it.
    One,
}

/// How neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolution {
    /// Every neighbour has a made-up address.
    #[default]
    Assume,
    /// By ARP and neighbour discovery, as far as the captures hold it.
    Learn,
}

/// Why a replay could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is nothing to replay, or too much.
    #[error("{0} inputs were given; a replay takes between 1 and {INPUTS_MAX}")]
    Inputs(usize),
    /// An input names an interface that the policy does not have.
    #[error("no interface is named `{name}`; there are: {known}")]
    UnknownInterface {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The policy has no interface.
    #[error("the configuration has no interface, so no packet can enter")]
    NoInterface,
    /// An input cannot be used.
    #[error(transparent)]
    Input(#[from] CaptureError),
    /// An output would replace one of the inputs.
    #[error(
        "{path} is one of the captures to replay; give `--out-dir` another directory",
        path = _0.display()
    )]
    Overwrites(PathBuf),
    /// An output cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Output {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReplayError {
    fn output(path: &Path, source: io::Error) -> Self {
        Self::Output {
            path: path.to_owned(),
            source,
        }
    }
}

/// What a replay came to; the files in its directory say it in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Packets fed to the pipeline.
    pub packets: u64,
    /// Packets by their last verdict; those still held at the end count as held.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Packets that ended without a verdict: none, unless the pipeline has a fault.
    pub unexplained: u64,
    /// Packets of `auto` inputs that entered by the first interface for want of a route back.
    pub undecided: u64,
    /// Packets carried over into the translated view; `None` for captures of both sides.
    pub carried: Option<u64>,
    /// Every packet accounted for.
    pub books: Books,
    /// The inputs, in order.
    pub inputs: Vec<InputSummary>,
}

/// What became of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSummary {
    /// The file.
    pub path: PathBuf,
    /// Packets fed.
    pub packets: u64,
    /// Packets passed over because their link type cannot become Ethernet, or because the file
    /// does not describe the interface they name.
    pub passed_over: u64,
    /// The numbers of the link types among those; empty if all name an interface that is absent.
    pub passed_link_types: BTreeSet<u32>,
    /// What was found wrong with the file.
    pub damage: Option<String>,
}

/// Replays captures through a policy and writes the results.
///
/// # Errors
/// An input cannot be used or names no interface, or an output cannot be written. A damaged input
/// is no error: what could be read of it is used, and the summary says so.
pub fn run(config: ReplayConfig) -> Result<Summary, ReplayError> {
    drive::run(config)
}
