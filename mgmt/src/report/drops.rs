//! What the API says of dropped packets.

use serde::{Deserialize, Serialize};

use super::DropCount;

/// `/v1/drops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Drops {
    /// Every reason, those that never occurred included.
    pub drops: Vec<DropCount>,
    /// The last packets that were dropped, oldest first.
    pub recent: Vec<RecentDrop>,
}

/// A packet that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct RecentDrop {
    /// The worker; none for the slow path.
    pub worker: Option<u8>,
    /// Its number among those of the worker, from 0.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Why, as metrics name it.
    pub reason: String,
    /// The generation that judged it.
    pub generation: u32,
    /// The rule that decided, as `table/chain/N file:line`; none if none did, or it is gone.
    pub rule: Option<String>,
    /// Where it came in.
    pub in_interface: Option<String>,
    /// The state of its connection, if it came that far.
    pub connection_state: Option<String>,
    /// Its protocol, by name or number; none if its headers could not be read.
    pub protocol: Option<String>,
    /// Its source, with the port if it has one.
    pub src: Option<String>,
    /// Its destination, with the port if it has one.
    pub dst: Option<String>,
    /// The length of the IP packet.
    pub length: Option<u32>,
}
