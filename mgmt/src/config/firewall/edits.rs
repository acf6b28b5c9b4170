//! The options of actions that change packets.

use std::net::IpAddr;

use ipnet::IpNet;
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
    if kind == MarkKind::Routing && mark.is_some() && !context.names.leads_somewhere(name) {
        problems.warning(
            node.span,
            format!(
                "no routing table is called `{name}` and no routing rule asks for it, so it leads \
                 nowhere but by the main table; add it under `routing-tables:`"
            ),
        );
    }
    Some(changing(section, Edit::Mark(kind, mark), problems))
}

/// `route-dst`: a router on a link of the gateway's.
pub fn route(
    section: Section<'_>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Action> {
    let node = section.required("route-dst", "192.0.2.1", problems)?;
    let text = &scalar(node, problems)?.text;
    let router = or_report(router(text, &context.names.links), node.span, problems)?;
    Some(changing(section, Edit::Route(router), problems))
}

/// The next router: an address on one of these links that is not the gateway's.
fn router(text: &str, links: &[IpNet]) -> Result<IpAddr, String> {
    let Ok(router) = text.parse::<IpAddr>() else {
        return Err(format!(
            "`{text}` is not an address; write that of the next router, for example 192.0.2.1"
        ));
    };
    if links.iter().any(|net| net.addr() == router) {
        return Err(format!(
            "{router} is the gateway's own address; write that of the next router"
        ));
    }
    let on_link = |net: &IpNet| net.contains(&router) && net.prefix_len() < net.max_prefix_len();
    if !links.iter().any(on_link) {
        return Err(format!(
            "{router} is on no link of this gateway; write a router on a connected prefix"
        ));
    }
    Ok(router)
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
        Edit::Route(router) => Some(("route-dst", router.to_string())),
    }
}

fn show_priority(from: NewPriority) -> String {
    let named = NewPriority::NAMES.iter().find(|(_, known)| *known == from);
    match (named, from) {
        (Some((name, _)), _) => (*name).to_owned(),
        (None, from) => from.of(0, 0).to_string(),
    }
}
