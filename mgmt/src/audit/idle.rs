//! Rules that do nothing, because an earlier rule of their chain takes all that they ask for.

use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::rules::shadow::{Shadowed, shadowed};

use crate::report::{Finding, Severity};

/// Findings about rules that do nothing.
pub fn rules(policy: &Policy) -> Vec<Finding> {
    let found = shadowed(policy).found;
    let mut findings: Vec<Finding> = Vec::new();
    let mut rest = &*found;
    while let Some(shadow) = rest.first() {
        // Those behind a rule that takes everything are one finding.
        let alike = |other: &&Shadowed<'_>| {
            shadow.is_behind_catch_all() && other.by.0.source == shadow.by.0.source
        };
        let count = rest.iter().take_while(alike).count().max(1);
        findings.push(finding(shadow, count));
        rest = rest.get(count..).unwrap_or_default();
    }
    findings
}

fn finding(shadow: &Shadowed<'_>, count: usize) -> Finding {
    let (rule, by) = (shadow.rule.0, shadow.by.0);
    let line = by.source.line;
    let (severity, advice, message) = if rule.text == by.text {
        let message = format!("the same rule stands on line {line}; remove one of the two");
        (Severity::Low, "duplicate", message)
    } else if shadow.is_behind_catch_all() {
        let these = match count {
            1 => "no packet comes to this rule".to_owned(),
            2 => "no packet comes to this rule and the one behind it".to_owned(),
            more => format!(
                "no packet comes to this rule and the {} behind it",
                more - 1
            ),
        };
        let message = format!(
            "{these}: the one on line {line} takes every packet of {}/{}; move what is meant above \
             it, and remove the rest",
            shadow.table.name(),
            shadow.chain
        );
        (Severity::Medium, "after-catch-all", message)
    } else {
        let message = format!(
            "this rule never matches: the one on line {line} takes all that it asks for; move it \
             up, or remove it"
        );
        (Severity::Medium, "shadowed", message)
    };
    Finding {
        severity,
        advice: advice.to_owned(),
        source: Some(rule.source.to_string()),
        message,
    }
}
