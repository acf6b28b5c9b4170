//! A running gateway as management sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::states::STATE_NAMES;
use turnpike_engine::mailbox::AskError;
use turnpike_pipeline::policy::{ListTimeout, TableKind};

use crate::config::Switch;
use crate::filter::{EventFilter, Filter};
use crate::report::{
    ConfigInEffect, Confirmed, Connections, DryRun, Explained, Failed, Helpers, ListChanged, Lists,
    Log, LogLine, RecentDrop, Reloaded, Rules, Status,
};
use crate::watch::Watching;

/// The most connections of one page.
pub const PAGE_MAX: usize = 1_000;

/// What the API asks of a gateway. Calls may block for a moment and are made off the event loop.
pub trait Running: Send + Sync + 'static {
    /// Everything that is counted, and the state of things.
    fn status(&self) -> Status;
    /// Every rule with its counters.
    fn rules(&self) -> Rules;
    /// The names of a table's chains, those without rules too.
    fn chains(&self, table: TableKind) -> Vec<String>;
    /// The address lists; with prefixes for the one called `name`.
    fn lists(&self, name: Option<&str>) -> Lists;
    /// Adds addresses to a list.
    ///
    /// # Errors
    /// Why nothing, or not all of it, was added.
    fn add_to_list(&self, list: &str, new: &NewEntry) -> Result<ListChanged, Unlisted>;
    /// Takes addresses out of a list.
    ///
    /// # Errors
    /// Why they are in it still, or never were.
    fn remove_from_list(&self, list: &str, prefixes: &[IpNet]) -> Result<ListChanged, Unlisted>;
    /// A page of connections, from `cursor` on.
    ///
    /// # Errors
    /// A cursor that is none, or a worker that does not answer.
    fn connections(
        &self,
        filter: &Arc<Filter>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Connections, Unanswered>;
    /// How many connections there are.
    ///
    /// # Errors
    /// A worker that does not answer.
    fn count_connections(&self, filter: &Arc<Filter>) -> Result<u64, Unanswered>;
    /// Ends connections; how many it has ended. Nothing is sent to their ends.
    ///
    /// # Errors
    /// A worker that does not answer; what was ended until then has ended.
    fn flush_connections(&self, filter: &Arc<Filter>) -> Result<u64, Unanswered>;
    /// What happens to connections, from now on.
    ///
    /// # Errors
    /// A worker that does not answer, or a gateway that is stopping.
    fn watch(&self, wanted: EventFilter) -> Result<Watching, Unanswered>;
    /// What would become of a packet that came now. Nothing does.
    ///
    /// # Errors
    /// A question that is none, or a worker that does not answer.
    fn explain(&self, asked: &Asked) -> Result<Explained, Unanswered>;
    /// The last packets that were dropped, oldest first.
    fn recent_drops(&self) -> Vec<RecentDrop>;
    /// The protocol helpers and what they have done.
    fn helpers(&self) -> Helpers;
    /// The configuration in effect.
    fn config(&self) -> ConfigInEffect;
    /// The log lines that are wanted.
    fn log(&self, wanted: &LogWanted) -> Log;
    /// Loads the configuration file again.
    ///
    /// # Errors
    /// Why the old configuration stays.
    fn reload(&self, options: &ReloadOptions) -> Result<Reloaded, Refusal>;
    /// What loading `file`, or the configuration file again, would change.
    ///
    /// # Errors
    /// The file is wrong, or a worker does not answer.
    fn dry_run(&self, file: Option<&Path>) -> Result<DryRun, Refusal>;
    /// Keeps the configuration that waits to be confirmed.
    ///
    /// # Errors
    /// None does.
    fn confirm_reload(&self) -> Result<Confirmed, Refusal>;
}

/// A packet to explain, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where it comes in.
    pub in_interface: String,
    /// The packet.
    pub packet: String,
    /// Packets that come before it, each in by where the route back to its source points.
    pub after: Vec<String>,
}

/// Which lines of the log are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWanted {
    /// Those behind the one with this number; zero means the newest.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    text: Option<String>,
}

impl LogWanted {
    /// At most `limit` lines behind number `after`, with `text` in them, whatever its case.
    pub fn new(after: u64, limit: usize, text: Option<&str>) -> Self {
        Self {
            after,
            limit,
            text: text.map(str::to_lowercase),
        }
    }

    /// Whether the text is in this line, its topic included.
    pub fn wants(&self, line: &LogLine) -> bool {
        let Some(text) = &self.text else { return true };
        let shown = format!("{}: {}", line.topic, line.message);
        shown.to_lowercase().contains(text)
    }
}

/// The longest that a reload can wait to be confirmed.
pub const CONFIRM_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a reload is asked for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadOptions {
    /// Whether the connections that would be refused if opened now are ended.
    pub cut_refused: Switch,
    /// Take it back unless it is confirmed within this time, at most [`CONFIRM_MAX`].
    pub confirm_within: Option<Duration>,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        Self {
            cut_refused: Switch::Off,
            confirm_within: None,
        }
    }
}

/// Why a reload was not done as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The file is wrong.
    Invalid(Failed),
    /// It changes what is fixed at start.
    StartOnly(Failed),
    /// It cannot be done now: another waits to be confirmed, or none does, or the gateway stops.
    NotNow(Failed),
    /// A worker did not answer.
    Unfinished(Failed),
}

impl Refusal {
    /// What is said about it.
    pub const fn failed(&self) -> &Failed {
        match self {
            Self::Invalid(failed)
            | Self::StartOnly(failed)
            | Self::NotNow(failed)
            | Self::Unfinished(failed) => failed,
        }
    }
}

/// Addresses to be added to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The addresses.
    pub prefixes: Vec<IpNet>,
    /// How long they stay.
    pub timeout: ListTimeout,
    /// What is to be said of them; empty for nothing.
    pub comment: String,
}

/// Why a list was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlisted {
    /// There is no such list, or no such entry.
    Unknown(String),
    /// The configuration says otherwise.
    Configured(String),
    /// There is no room, or the gateway is stopping.
    NotNow(String),
}

/// Why a question about connections has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// It cannot be answered by anybody.
    Wrong(String),
    /// The gateway cannot answer it now.
    NotNow(String),
}

impl Unanswered {
    /// A worker did not answer.
    pub fn worker(worker: WorkerId, error: AskError) -> Self {
        Self::NotNow(format!("worker {}: {error}", worker.0))
    }

    /// The gateway is going down.
    pub fn stopping() -> Self {
        Self::NotNow("the gateway is stopping".to_owned())
    }
}

/// A connection's state by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateName(&'static str);

impl StateName {
    /// The state called `text`, `None` if none is.
    pub fn named(text: &str) -> Option<Self> {
        STATE_NAMES.into_iter().find(|name| *name == text).map(Self)
    }

    /// Whether it is `text`.
    pub fn is(self, text: &str) -> bool {
        self.0 == text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_cannot_be_one_is_no_name() {
        for text in ["", "bogus", "Established", "a-state-that-is-far-too-long"] {
            assert_eq!(StateName::named(text), None, "{text}");
        }
        for name in STATE_NAMES {
            assert!(StateName::named(name).is_some_and(|state| state.is(name)));
        }
    }
}
