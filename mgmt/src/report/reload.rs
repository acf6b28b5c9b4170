//! What reloads did, and would do, in the API's words.

use serde::{Deserialize, Serialize};

use super::Connection;

/// How reloads went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Reloads {
    /// Reloads that took effect.
    pub done: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// Reloads that were taken back, because nobody has confirmed them in time.
    pub rolled_back: u64,
    /// When the present configuration took effect, in seconds since 1970.
    pub loaded_at: u64,
    /// How long the present configuration still waits to be confirmed before it is taken back;
    /// nothing if it does not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirm_within_seconds: Option<u64>,
}

/// The answer to `/v1/reload` if it took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// The generation that now judges packets.
    pub generation: u32,
    /// Whether every worker has taken it over already.
    pub adopted: bool,
    /// What looks wrong in the new configuration, as lines.
    pub warnings: Vec<String>,
    /// One line about the new configuration.
    pub summary: String,
    /// How many connections were ended, because they would be refused if opened now; nothing if
    /// that was not asked for, or waits to be confirmed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<u64>,
    /// How long it waits to be confirmed before it is taken back; nothing if it does not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirm_within_seconds: Option<u64>,
}

/// The answer to `POST /v1/reload?confirmed=yes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Confirmed {
    /// The generation that stays.
    pub generation: u32,
    /// How many connections were ended, because they would be refused if opened now; nothing if
    /// the reload had not asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<u64>,
}

/// The answer to `POST /v1/reload?dry-run=yes`: what a reload would change. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct DryRun {
    /// The file that was read.
    pub config: String,
    /// The generation that it was compared with.
    pub generation: u32,
    /// What it changes and cannot: such a reload would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub start_only: Vec<String>,
    /// What looks wrong with the file and works nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
    /// The difference between the two configurations.
    pub difference: Difference,
    /// Rules of the file that can never match.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub never_match: Vec<NeverMatch>,
    /// What would become of the connections there are.
    pub connections: Effects,
}

/// How one configuration differs from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Rules that the new one has more.
    pub added: Vec<RulePlace>,
    /// Rules that it has no more.
    pub removed: Vec<RulePlace>,
    /// Rules that stand elsewhere among those that both have.
    pub moved: Vec<MovedRule>,
    /// Rules that both have, and that are enabled in one only; as the new one has them.
    pub switched: Vec<RulePlace>,
    /// Settings that are written otherwise.
    pub settings: Vec<Setting>,
    /// Address lists that hold other addresses.
    pub lists: Vec<ListChange>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct RulePlace {
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its place in the chain, from 1.
    pub number: u32,
    /// Where it was written.
    pub source: String,
    /// The rule in canonical words.
    pub text: String,
    /// Whether it is disabled.
    pub disabled: bool,
}

/// A rule that stands elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct MovedRule {
    /// Where it stood in its chain.
    pub from: u32,
    /// Where it stands now.
    pub to: RulePlace,
}

/// A setting that is written otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// Its name, section by section.
    pub name: String,
    /// What it was; nothing if it was not written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<String>,
    /// What it is; nothing if it is not written any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<String>,
}

/// An address list that holds other addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct ListChange {
    /// Its name.
    pub name: String,
    /// How many prefixes it has more.
    pub added: u64,
    /// How many it has no more.
    pub removed: u64,
}

/// A rule that can never match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct NeverMatch {
    /// The rule.
    pub rule: RulePlace,
    /// The rule that takes all that it asks for.
    pub by: RulePlace,
}

/// What would become of the connections there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Effects {
    /// How many connections were looked at.
    pub judged: u64,
    /// Whether these were all; if not, there was no time for more.
    pub complete: bool,
    /// Those whose next packet would be refused, in the state in which they are.
    pub cut: Effect,
    /// Those whose first packet would be refused if it came now.
    pub refused: Effect,
    /// Those that would be translated otherwise if their first packet came now.
    pub translated: Effect,
}

/// Connections to which one thing would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Effect {
    /// How many.
    pub connections: u64,
    /// How many of these depend on what only their packets can answer.
    pub uncertain: u64,
    /// Some of them.
    pub examples: Vec<Affected>,
}

/// A connection to which something would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub struct Affected {
    /// Why: a drop reason's label, `untracked`, or `translated`.
    pub reason: String,
    /// The rule that would decide it, `table/chain/N file:line`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// The direction whose packet would be refused: `original` or `reply`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<String>,
    /// What it would be translated to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub becomes: Option<String>,
    /// Whether it depends on what only its packets can answer.
    pub uncertain: bool,
    /// The connection as it is.
    pub connection: Connection,
}
