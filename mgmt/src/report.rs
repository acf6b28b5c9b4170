//! What the management API says, as plain data: the server fills it in, clients print it.
//!
//! Names in JSON are RouterOS's where it has one, in kebab case; counters count from the start of
//! the gateway.

mod audit;
mod drops;
mod helpers;
mod layer7;
mod logs;
mod reload;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

pub use audit::{Audit, Finding, Reachable, Service, Severity};
pub use drops::{Drops, RecentDrop};
pub use helpers::{Helper, HelperCounts, HelperRewrite, HelperSession, Helpers};
pub use layer7::{Layer7Protocol, Layer7Status};
pub use logs::{Log, LogLine, LogStatus, LogTarget};
pub use reload::{
    Affected, Confirmed, Difference, DryRun, Effect, Effects, ListChange, MovedRule, NeverMatch,
    Reloaded, Reloads, RulePlace, Setting,
};

/// `/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The protocol helpers.
    #[serde(default)]
    pub helpers: Vec<Helper>,
    /// The version of the gateway.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// The configuration file.
    pub config: String,
    /// The generation of the program that judges packets.
    pub generation: u32,
    /// Whether every worker runs that generation already.
    pub adopted: bool,
    /// Reloads since the start.
    pub reloads: Reloads,
    /// One line per interface.
    pub interfaces: Vec<Interface>,
    /// One line per worker.
    pub workers: Vec<Worker>,
    /// The slow-path core.
    pub slow_path: SlowPath,
    /// Packet buffers.
    pub memory: Memory,
    /// Connections that are found through the steering map.
    pub steered_connections: u64,
    /// Connections that others have announced.
    pub expectations: Expectations,
    /// External addresses whose ports are in use or were exhausted, those in need first.
    pub pools: Vec<Pool>,
    /// What connections are looked through for.
    pub layer7: Layer7Status,
    /// The log: what was not logged, and what its targets took.
    pub log: LogStatus,
    /// Who watches connections now.
    pub event_watchers: u64,
    /// Events of connections that workers had no room to tell.
    pub events_lost: u64,
    /// Events of connections that watchers were too slow to take.
    pub events_missed: u64,
    /// What was noticed at start: no hugepages, for one.
    pub notices: Vec<String>,
}

/// Connections that others have announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Expectations {
    /// How many are waited for now.
    pub waiting: u64,
    /// How many can be.
    pub limit: u64,
    /// Announced since the start.
    pub created: u64,
    /// Connections that were related because of one.
    pub matched: u64,
    /// Ended because the one connection they waited for came.
    pub fulfilled: u64,
    /// Timed out.
    pub expired: u64,
    /// Ended with the connection that announced them.
    pub orphaned: u64,
    /// Gave way to a newer one of the same connection.
    pub replaced: u64,
    /// Taken back.
    pub withdrawn: u64,
    /// Not taken: no room, or another could be met by the same packet.
    pub refused: u64,
}

/// The ports of one external address and protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Pool {
    /// The address.
    pub address: String,
    /// The protocol.
    pub protocol: String,
    /// Ports that connections use.
    pub in_use: u64,
    /// Ports that there are.
    pub size: u64,
    /// Connections that found no port, for which they were dropped.
    pub exhausted: u64,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The device that carries it.
    pub device: String,
    /// DPDK's driver for the device.
    pub driver: String,
    /// Its VLAN, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vlan_id: Option<u16>,
    /// Its link address.
    pub mac_address: String,
    /// Its addresses.
    pub address: Vec<String>,
    /// The largest IP packet.
    pub mtu: u16,
    /// Whether its link is up.
    pub running: bool,
    /// Frames received and their bytes.
    pub rx: Traffic,
    /// Frames sent and their bytes.
    pub tx: Traffic,
    /// Who spreads its port's packets over the workers: `nobody`, `device` or `software`.
    #[serde(default)]
    pub distributor: String,
    /// Sampled packets of its port that arrived elsewhere than predicted, since when software does.
    #[serde(default)]
    pub mismatches: u64,
    /// What the device itself lost; nothing for a VLAN, whose port has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_errors: Option<DeviceErrors>,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a device counts that never reached a worker, or never left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceErrors {
    /// Frames lost because nobody fetched them in time.
    pub rx_missed: u64,
    /// Frames received broken.
    pub rx_errors: u64,
    /// Frames lost because there was no buffer.
    pub rx_no_buffer: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Worker {
    /// Its number.
    pub worker: u16,
    /// Its core.
    pub core: u32,
    /// The generation it runs.
    pub generation: u32,
    /// Connections in its table.
    pub connections: u64,
    /// Room for connections in its table.
    pub connections_max: u64,
    /// Connections that timed out.
    pub expired: u64,
    /// Unassured connections that made room for new ones.
    pub evicted: u64,
    /// Frames received.
    pub rx: Traffic,
    /// Frames sent.
    pub tx: Traffic,
    /// Packets that the gateway made.
    pub generated: u64,
    /// Copies it made of packets, for sniffers.
    pub copies: u64,
    /// Fragments it made of packets too large for their link.
    pub fragments_made: u64,
    /// Packets that ended here having done their work: ARP, neighbour discovery, echo.
    pub consumed: u64,
    /// Packets delivered to the host.
    pub to_host: u64,
    /// Packets given to the worker that owns their connection.
    pub handed_over: u64,
    /// The same, by how that worker was found.
    pub handovers: Vec<Count>,
    /// Packets that other workers gave to this one.
    pub taken_over: u64,
    /// Packets for which rules with `dst-limit` or `psd` had no room.
    #[serde(default)]
    pub unremembered: u64,
    /// Addresses that rules were to add to a list when there was no room.
    #[serde(default)]
    pub members_refused: u64,
    /// Packets waiting right now.
    pub held: u64,
    /// Packets dropped for any reason.
    pub dropped: u64,
    /// Turns of the loop that found work.
    pub busy_polls: u64,
    /// Turns of the loop that found none.
    pub idle_polls: u64,
    /// Packets given to the slow-path core, by cause.
    pub punted: Vec<Count>,
    /// Packets dropped, by reason; reasons that never occurred included.
    pub drops: Vec<Count>,
    /// Its rings.
    pub rings: Vec<Ring>,
}

/// The slow-path core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct SlowPath {
    /// Its core, if it is pinned to one.
    pub core: Option<u32>,
    /// The generation it runs.
    pub generation: u32,
    /// Packets that it made.
    pub generated: u64,
    /// Packets that ended there having done their work.
    pub consumed: u64,
    /// Fragments it made of packets too large for their link.
    pub fragments_made: u64,
    /// Packets delivered to the host.
    pub to_host: u64,
    /// Packets waiting there right now.
    pub held: u64,
    /// Packets dropped for any reason.
    pub dropped: u64,
    /// Turns of its loop that found work.
    pub busy_polls: u64,
    /// Turns of its loop that found none.
    pub idle_polls: u64,
    /// ICMP errors and resets that exceeded their limit.
    pub answers_suppressed: u64,
    /// Packets dropped, by reason.
    pub drops: Vec<Count>,
}

/// A named count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// How many.
    pub packets: u64,
}

/// A ring between two cores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Ring {
    /// What it carries.
    pub name: String,
    /// How many entries wait in it.
    pub used: u64,
}

/// Packet buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// Packet buffers in use.
    pub mbufs_in_use: u64,
    /// Packet buffers in all.
    pub mbufs: u64,
    /// Whether they are in hugepages.
    pub hugepages: bool,
}

/// A rule, as `/v1/rules` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Rule {
    /// raw, nat or filter.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The place in the chain, from 1.
    pub number: u32,
    /// The rule in canonical words.
    pub text: String,
    /// The action's word.
    pub action: String,
    /// The comment.
    pub comment: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// `file:line`.
    pub source: String,
}

impl Rule {
    /// `table/chain/N`, as verdicts and metrics name the rule.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.table, self.chain, self.number)
    }
}

/// `/v1/rules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Rules {
    /// The rules, in the order of evaluation within each chain.
    pub rules: Vec<Rule>,
}

/// A connection, as `/v1/connections` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Connection {
    /// Its place: worker, IP version and place in the table. Used again when it has ended.
    pub id: String,
    /// The worker that owns it.
    pub worker: u16,
    /// RouterOS's letters: S seen-reply, A assured, C confirmed, D dying, F fasttrack, s srcnat,
    /// d dstnat, E expected.
    pub flags: String,
    /// The protocol by name, or by number if it has none.
    pub protocol: String,
    /// Where the first packet came from; `address:port` where there are ports.
    pub src_address: String,
    /// Where the first packet went to.
    pub dst_address: String,
    /// Where answers come from.
    pub reply_src_address: String,
    /// Where answers go to.
    pub reply_dst_address: String,
    /// The tracker's state: `established`, `time-wait`, `new` …
    pub state: String,
    /// How long it lives if nothing comes.
    pub timeout_seconds: u64,
    /// How long it has lived.
    pub age_seconds: u64,
    /// How long ago its last packet came.
    pub idle_seconds: u64,
    /// Packets and bytes from the opener.
    pub orig: Traffic,
    /// Packets and bytes towards the opener.
    pub repl: Traffic,
    /// The name of the connection mark.
    pub connection_mark: Option<String>,
    /// Its protocol helper.
    pub helper: Option<String>,
    /// The number of the layer-7 protocol that its payload was found to be.
    pub layer7_label: Option<String>,
    /// The connection that announced it, if that one still lives: its `id`.
    pub master: Option<String>,
    /// The generation of the program that judged it last.
    pub generation: u32,
    /// The rule that admitted it, where it stands now; nothing if it is no longer there.
    pub rule: Option<String>,
}

/// What would become of a packet that came now, as `/v1/explain` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Explained {
    /// The generation of the program that was asked.
    pub generation: u32,
    /// The live connection that the packet belongs to.
    pub connection: Option<Connection>,
    /// What the next packet of that connection is treated by.
    pub standing: Option<String>,
    /// What it meets on its way, as `turnpike explain --json` has it.
    pub explanation: serde_json::Value,
    /// The same for people.
    pub text: String,
}

/// A page of `/v1/connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Connections {
    /// The connections of this page.
    pub connections: Vec<Connection>,
    /// What to pass as `cursor` for the next page, nothing at the end.
    pub next: Option<String>,
}

/// `/v1/connections/count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Counted {
    /// How many connections the filter wants.
    pub count: u64,
}

/// The answer to `DELETE /v1/connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Flushed {
    /// How many connections were ended.
    pub flushed: u64,
}

/// A line of `/v1/events`: what happened to a connection, and what it was after that, or at its
/// end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// `new`, `update` or `destroy`.
    pub event: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Why it ended: `expired`, `evicted`, `reopened`, `flushed`, `reload`, `master-ended` or
    /// `address-gone`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// When it was opened, in seconds since 1970.
    pub started_at: u64,
    /// The connection; its age is how long it has lived.
    #[serde(flatten)]
    pub connection: Connection,
}

/// A line of `/v1/events` in the place of events that were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct EventsLost {
    /// `lost`.
    pub event: String,
    /// When this was noticed, in milliseconds since 1970.
    pub time_ms: u64,
    /// How many.
    pub events: u64,
    /// The worker that had no room for them; nothing if this stream was read too slowly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker: Option<u16>,
}

/// An address list, as `/v1/lists` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct AddressList {
    /// Its name.
    pub name: String,
    /// How many prefixes the configuration gives it.
    pub prefixes: u64,
    /// How many members it has besides: those that rules, operators and host names brought.
    pub members: u64,
    /// The prefixes, if the list was asked for by name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub address: Vec<String>,
    /// When the prefixes were loaded, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loaded_at: Option<u64>,
    /// Prefixes that are disabled, if the list was asked for by name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub disabled: Vec<String>,
    /// The members, if the list was asked for by name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entries: Vec<ListEntry>,
}

/// A member of an address list that the configuration does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct ListEntry {
    /// The address or prefix.
    pub address: String,
    /// D for what a rule or a host name brought, or has a timeout.
    pub flags: String,
    /// When it came, in seconds since 1970.
    pub created_at: u64,
    /// How long it stays, in seconds; nothing for what has no timeout.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_seconds: Option<u64>,
    /// What the operator said of it, or the host name it belongs to.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub comment: String,
}

/// What became of a change to an address list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct ListChanged {
    /// The list.
    pub list: String,
    /// The addresses, as prefixes.
    pub address: Vec<String>,
    /// `added`, `refreshed`, `kept` or `removed`.
    pub result: String,
}

/// `/v1/lists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Lists {
    /// The address lists.
    pub address_lists: Vec<AddressList>,
}

/// A reason for drops, as `/v1/drops` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct DropCount {
    /// The reason's label.
    pub reason: String,
    /// What it means.
    pub description: String,
    /// How many packets, all cores together.
    pub packets: u64,
}

/// `/v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigInEffect {
    /// The file it was read from.
    pub file: String,
    /// The generation it became.
    pub generation: u32,
    /// The configuration as YAML, as it was when it was loaded.
    pub yaml: String,
}

/// The answer to anything that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// What is wrong and what to do.
    pub error: String,
    /// Every problem of a refused configuration.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<ConfigProblem>,
}

/// A problem of a refused configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigProblem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// `error` or `warning`.
    pub severity: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl From<&Problem> for ConfigProblem {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file.to_string(),
            line: problem.span.line,
            column: problem.span.column,
            severity: problem.severity.name().to_owned(),
            message: problem.message.clone(),
        }
    }
}

impl std::fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}: {}",
            self.file, self.line, self.column, self.severity, self.message
        )
    }
}
