//! The rule language: what a rule asks, in which order rules are looked at, what they decide.
//!
//! * [`facts`]: what is known about a packet when it meets the rules.
//! * [`matchers`]: each question a rule can ask, and its answer.
//! * [`compiled`]: the rules of a program, flat, and where each chain begins.
//! * [`linear`]: the evaluator, one rule after the other. It defines the meaning; whatever is
//!   faster has to agree with it.
//! * [`classify`]: the evaluator that packets meet, which leaves out rules that cannot match.
//! * [`path`]: which rules matched on the way to a verdict.
//! * [`plan`]: what is left of the rules for one flow, walked by each of its packets.
//! * [`rates`]: answers that depend on the traffic so far.
//! * [`shadow`]: which rules can never match.
//! * [`external`]: the addresses that nat rules may translate sources to.

pub mod classify;
pub mod compiled;
pub mod edits;
pub mod external;
pub mod facts;
pub mod flow_class;
mod headers;
pub mod hellos;
pub mod lasting;
pub mod linear;
mod look;
pub mod marks;
pub mod matchers;
pub mod packet;
pub mod path;
mod payload;
pub mod plan;
pub mod rates;
pub mod shadow;

pub use classify::evaluate;
pub use compiled::{CompiledRule, Rules};
pub use edits::{Edits, Phase};
pub use facts::Facts;
pub use hellos::Hellos;
pub use linear::{Decision, Look, Observer, Verdict};
pub use marks::{MarkNumbers, Marks};
pub use packet::Sight;
pub use path::{Path, Recorder};
pub use rates::{Carried, Rates, RuleStates};
