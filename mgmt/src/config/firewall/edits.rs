//! The options of actions that change packets.

use turnpike_pipeline::policy::{Action, Edit, MarkKind, Then, TtlChange};

use super::super::section::{Section, or_report, scalar, word};
use super::super::value::{Switch, number};
use super::rule::Context;
use crate::problem::Problems;

/// `new-connection-mark`, `new-packet-mark` or `new-routing-mark`.
pub fn mark(
    section: Section<'_>,
    kind: MarkKind,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Action> {
    let node = section.required(kind.option(), "voip", problems)?;
    let name = &scalar(node, problems)?.text;
    let mark = context.names.mark(name, node.span, problems)?;
    Some(changing(section, Edit::Mark(kind, mark), problems))
}

/// `new-dscp`: 0 to 63.
pub fn dscp(section: Section<'_>, problems: &mut Problems) -> Option<Action> {
    let node = section.required("new-dscp", "46", problems)?;
    let text = &scalar(node, problems)?.text;
    let value = or_report(number(text, 0, 63), node.span, problems)?;
    let dscp = u8::try_from(value).ok()?;
    Some(changing(section, Edit::Dscp(dscp), problems))
}

/// `new-ttl` or `new-hop-limit`: `set:`, `increment:` or `decrement:` and a number.
pub fn ttl(section: Section<'_>, key: &'static str, problems: &mut Problems) -> Option<Action> {
    let node = section.required(key, "\"set:64\"", problems)?;
    let text = &scalar(node, problems)?.text;
    let read = || -> Result<TtlChange, String> {
        let example = format!("write, for example, {key}: \"set:64\" or \"decrement:1\"");
        let (word, value) = text.split_once(':').unwrap_or(("set", text));
        let value = number(value, 0, 255).map_err(|e| format!("{e}; {example}"))?;
        let value = u8::try_from(value).map_err(|e| e.to_string())?;
        match word {
            "set" => Ok(TtlChange::set(value)),
            "increment" => Ok(TtlChange::increment(value)),
            "decrement" => Ok(TtlChange::decrement(value)),
            other => Err(format!("`{other}` is not a change; {example}")),
        }
    };
    let change = or_report(read(), node.span, problems)?;
    Some(changing(section, Edit::Ttl(change), problems))
}

/// The action that makes this change, and then does as `passthrough` says.
fn changing(section: Section<'_>, edit: Edit, problems: &mut Problems) -> Action {
    let then = match section.read("passthrough", problems, word::<Switch>) {
        Some(Switch::Off) => Then::Stop,
        Some(Switch::On) | None => Then::GoOn,
    };
    Action::Edit(edit, then)
}

/// A change of the time to live in canonical form.
pub fn show_ttl(change: TtlChange) -> String {
    match change.as_step() {
        Ok(set) => format!("set:{set}"),
        Err(by) if by < 0 => format!("decrement:{}", by.unsigned_abs()),
        Err(by) => format!("increment:{by}"),
    }
}
