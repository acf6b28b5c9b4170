//! The protocol helpers: what they read, what they have announced and changed.

use serde::{Deserialize, Serialize};

/// Every helper, what they read now, and what they have changed lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Helpers {
    /// Every helper and every tracker that RouterOS lists among them.
    pub helpers: Vec<Helper>,
    /// The control connections that are read now.
    pub sessions: Vec<HelperSession>,
    /// Connections that were announced and have not come yet.
    pub expected: u64,
    /// The last messages that were changed, oldest first.
    pub rewrites: Vec<HelperRewrite>,
}

/// One helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Helper {
    /// Its name.
    pub name: String,
    /// `active`, `disabled`, `inactive` while nothing is tracked, or `built-in` for a tracker.
    pub state: String,
    /// The ports of servers whose connections it reads.
    pub ports: Vec<u16>,
    /// What it has done.
    #[serde(flatten)]
    pub counts: HelperCounts,
}

/// What one helper has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct HelperCounts {
    /// Control connections that it reads now.
    pub reading: u64,
    /// Control connections that it has begun to read.
    pub sessions: u64,
    /// Packets that it was shown.
    pub packets: u64,
    /// Connections that it has announced.
    pub announced: u64,
    /// Messages that it has changed.
    pub rewrites: u64,
    /// Announcements that were refused.
    pub refused: u64,
    /// Packets that went on unread while the slow path had no room.
    #[serde(default)]
    pub unread: u64,
    /// Control connections that it has left: they turned out to be something else, or encrypted.
    pub left: u64,
}

/// A control connection that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct HelperSession {
    /// Its helper.
    pub helper: String,
    /// The client, as it knows itself.
    pub client: String,
    /// The server, as the client knows it.
    pub server: String,
    /// The client, as the server knows it.
    pub client_outside: String,
    /// The server, as it knows itself.
    pub server_inside: String,
}

/// A message that a helper has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct HelperRewrite {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The helper.
    pub helper: String,
    /// Who has sent the message, as it knows itself.
    pub from: String,
    /// Whom it was for, as the sender knows it.
    pub to: String,
    /// The part of it that was changed, as it was sent; what is no text is escaped.
    pub before: String,
    /// The same part as it arrived.
    pub after: String,
}
