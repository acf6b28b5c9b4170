//! The options of actions that change packets.

use turnpike_pipeline::policy::{Action, Edit, MarkKind, NewMss, NewPriority, Then, TtlChange};

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

/// The word of [`NewMss::FitsPath`].
const FITS_PATH: &str = "clamp-to-pmtu";

/// `new-mss`: a number, or `clamp-to-pmtu`.
pub fn mss(section: Section<'_>, problems: &mut Problems) -> Option<Action> {
    let node = section.required("new-mss", FITS_PATH, problems)?;
    let text = &scalar(node, problems)?.text;
    let read = || {
        if text == FITS_PATH {
            return Ok(NewMss::FitsPath);
        }
        let number = number(text, 40, 65_534).map_err(|e| format!("{e}, or {FITS_PATH}"))?;
        u16::try_from(number)
            .map(NewMss::AtMost)
            .map_err(|e| e.to_string())
    };
    let mss = or_report(read(), node.span, problems)?;
    Some(changing(section, Edit::Mss(mss), problems))
}

/// `new-priority`: 0 to 63, or where it is taken from.
pub fn priority(section: Section<'_>, problems: &mut Problems) -> Option<Action> {
    let node = section.required("new-priority", "from-dscp-high-3-bits", problems)?;
    let text = &scalar(node, problems)?.text;
    let named = NewPriority::NAMES.iter().find(|(name, _)| name == text);
    let read = || {
        if let Some((_, from)) = named {
            return Ok(*from);
        }
        let names = NewPriority::NAMES.map(|(name, _)| name).join(", ");
        let number = number(text, 0, 63).map_err(|e| format!("{e}, or one of {names}"))?;
        u8::try_from(number)
            .map(NewPriority::Set)
            .map_err(|e| e.to_string())
    };
    let priority = or_report(read(), node.span, problems)?;
    Some(changing(section, Edit::Priority(priority), problems))
}

/// The action that makes this change, and then does as `passthrough` says.
pub fn changing(section: Section<'_>, edit: Edit, problems: &mut Problems) -> Action {
    let then = match section.read("passthrough", problems, word::<Switch>) {
        Some(Switch::Off) => Then::Stop,
        Some(Switch::On) | None => Then::GoOn,
    };
    Action::Edit(edit, then)
}

/// A change of the time to live in canonical form.
fn show_ttl(change: TtlChange) -> String {
    match change.as_step() {
        Ok(set) => format!("set:{set}"),
        Err(by) if by < 0 => format!("decrement:{}", by.unsigned_abs()),
        Err(by) => format!("increment:{by}"),
    }
}

/// The option of a change, and its value in canonical form; `None` if it has none, or is of marks.
pub fn option(edit: Edit) -> Option<(&'static str, String)> {
    match edit {
        Edit::Mark(..) | Edit::ClearDf | Edit::StripOptions => None,
        Edit::Dscp(dscp) => Some(("new-dscp", dscp.to_string())),
        Edit::Ttl(change) => Some(("new-ttl", show_ttl(change))),
        Edit::Mss(NewMss::AtMost(mss)) => Some(("new-mss", mss.to_string())),
        Edit::Mss(NewMss::FitsPath) => Some(("new-mss", FITS_PATH.to_owned())),
        Edit::Priority(from) => Some(("new-priority", show_priority(from))),
    }
}

fn show_priority(from: NewPriority) -> String {
    let named = NewPriority::NAMES.iter().find(|(_, known)| *known == from);
    match (named, from) {
        (Some((name, _)), _) => (*name).to_owned(),
        (None, from) => from.of(0, 0).to_string(),
    }
}
