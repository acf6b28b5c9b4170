//! An explanation as text for people, and what a rule's canonical text says of one property.

use std::fmt;
use std::fmt::Write;

use turnpike_pipeline::routing::MAIN;

use super::{Explanation, Failed, RuleLook, Step};
use crate::words::shown;

/// What a rule's canonical text says for `key`, without the quotes.
pub(super) fn property(text: &str, key: &str) -> Option<String> {
    properties(text)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// A rule's action, with what belongs to it.
pub(super) fn action(text: &str) -> String {
    let mut behind = properties(text).skip_while(|(name, _)| *name != "action");
    let Some((_, mut words)) = behind.next() else {
        return String::new();
    };
    for (name, value) in behind {
        // Writing into a string cannot fail.
        let _ = match value.contains(' ') {
            true => write!(words, " {name}={value:?}"),
            false => write!(words, " {name}={value}"),
        };
    }
    words
}

/// Every `name=value` of a canonical text.
fn properties(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return None;
            }
            let name_end = rest.find(['=', ' ']).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(name_end);
            let Some(behind) = behind.strip_prefix('=') else {
                rest = behind;
                continue;
            };
            let end = value_end(behind);
            let (value, behind) = behind.split_at(end);
            rest = behind;
            return Some((name, value.trim_matches('"').replace("\\\"", "\"")));
        }
    })
}

/// Where a value ends: at a space that is not inside quotes.
fn value_end(text: &str) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, in by {}", self.packet, self.in_interface)?;
        for earlier in &self.after {
            writeln!(f, "  after {earlier}")?;
        }
        for step in &self.steps {
            write!(f, "{step}")?;
        }
        write!(f, "{}", self.verdict)?;
        match (&self.reason, &self.description) {
            (Some(reason), Some(description)) => writeln!(f, ": {reason}: {description}")?,
            (_, _) => writeln!(f)?,
        }
        match &self.rule {
            Some(rule) if rule.comment.is_empty() => writeln!(f, "  decided by {}", rule.rule)?,
            Some(rule) => writeln!(f, "  decided by {}  # {}", rule.rule, rule.comment)?,
            None => writeln!(f, "  no rule decided")?,
        }
        if let Some(src) = self.nat_src {
            writeln!(f, "  its source becomes {}", shown(src, src.port() != 0))?;
        }
        if let Some(dst) = self.nat_dst {
            writeln!(
                f,
                "  its destination becomes {}",
                shown(dst, dst.port() != 0)
            )?;
        }
        for packet in &self.leaves {
            let by = self.out_interface.as_deref().unwrap_or("?");
            writeln!(f, "  leaves by {by}: {packet}")?;
        }
        for answer in &self.answers {
            writeln!(f, "  the gateway answers: {answer}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracking { state: Some(state) } => writeln!(f, "tracking: {state}"),
            Self::Tracking { state: None } => {
                writeln!(f, "tracking: no connection; it may open one")
            }
            Self::Route {
                destination,
                out_interface: Some(out),
                table,
            } => match table.as_str() {
                MAIN => writeln!(f, "route to {destination}: out by {out}"),
                other => writeln!(f, "route to {destination}: out by {out}, table {other}"),
            },
            Self::Route { destination, .. } => {
                writeln!(f, "route to {destination}: the gateway itself")
            }
            Self::Chain {
                chain,
                sees,
                verdict,
                rules,
            } => {
                writeln!(f, "{chain}: {verdict}, for {sees}")?;
                if rules.is_empty() {
                    writeln!(f, "    no rules")?;
                }
                rules.iter().try_for_each(|rule| write!(f, "{rule}"))
            }
        }
    }
}

impl fmt::Display for RuleLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.matched { '+' } else { '-' };
        write!(f, "  {sign} {}: {}", self.name.rule, self.action)?;
        if self.disabled {
            f.write_str("; disabled")?;
        }
        if let Some(failed) = &self.failed {
            write!(f, "; {failed}")?;
        }
        if !self.name.comment.is_empty() {
            write!(f, "  # {}", self.name.comment)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asks {
            Some(asks) => write!(f, "{} asks {asks}", self.matcher)?,
            None => write!(f, "{} does not hold", self.matcher)?,
        }
        match &self.has {
            Some(has) => write!(f, ", the packet has {has}"),
            None => f.write_str(", the packet has none"),
        }
    }
}
