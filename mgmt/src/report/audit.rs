//! What an audit finds.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Strangers reach what they should not.
    High,
    /// It does not do what it seems to do, or does more.
    Medium,
    /// It could be better.
    Low,
}

impl Severity {
    /// The word that is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// What the rules of one configuration expose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Audit {
    /// The file as it was named.
    pub file: String,
    /// The interfaces behind which nobody is trusted.
    pub untrusted: Vec<String>,
    /// What is wrong or could be better, the worst first.
    pub findings: Vec<Finding>,
    /// What new connections reach.
    pub reachable: Vec<Reachable>,
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind it is, one word.
    pub advice: String,
    /// The rule it is about: its file and line, if it is about one.
    pub source: Option<String>,
    /// What is so, and what would be better.
    pub message: String,
}

/// What senders behind one interface reach at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reachable {
    /// The interface that the senders are behind.
    pub from: String,
    /// Who they are: `anybody`, an address list, or addresses that rules name.
    pub who: String,
    /// `gateway`, or the interface that leads there.
    pub to: String,
    /// Whether every port and protocol that no rule and no catalogue names is reached, too.
    pub everything: bool,
    /// What is reached.
    pub services: Vec<Service>,
    /// With `everything`: what is not reached, nevertheless.
    pub except: Vec<String>,
}

/// One service that is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// Its name and port: `ssh 22/tcp`.
    pub service: String,
    /// How safe it is to show to strangers: `Y`, `N`, `-` (towards chosen servers), `?` (depends);
    /// nothing for what the catalogue does not know.
    pub rating: Option<char>,
    /// The rule that accepts it; none where a chain ends.
    pub rule: Option<String>,
    /// Where it goes in truth, if a rule translates it.
    pub translated_to: Option<String>,
    /// It is reached from this source port only.
    pub source_port: Option<u16>,
}
