//! What the API says of layer 7.

use serde::{Deserialize, Serialize};

/// `/v1/layer7`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Layer7Status {
    /// The protocols of the configuration, those that rules ask for first, in the order in which
    /// they win.
    pub protocols: Vec<Layer7Protocol>,
    /// Why nothing is looked for although rules ask, if that is so.
    pub refused: Option<String>,
    /// Connections being looked at.
    pub open: u64,
    /// Bytes that those take.
    pub open_bytes: u64,
    /// Connections that were begun with.
    pub opened: u64,
    /// Of those, connections that got a label.
    pub found: u64,
    /// Connections in which nothing was found.
    pub unknown: u64,
    /// Connections that fell silent before anything was found.
    pub silent: u64,
    /// Connections that were not looked at, or not to the end, for want of room.
    pub unexamined: u64,
    /// Packets that were read.
    pub packets: u64,
    /// Bytes of payload that were read.
    pub bytes: u64,
}

/// A layer-7 protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Layer7Protocol {
    /// Its name.
    pub name: String,
    /// What it looks like.
    pub regexp: String,
    /// The comment.
    pub comment: String,
    /// Whether some enabled rule asks for it, so that connections are looked through for it.
    pub sought: bool,
    /// Connections that were found to be it.
    pub found: u64,
}
