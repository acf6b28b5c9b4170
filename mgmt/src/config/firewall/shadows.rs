//! Warns of rules that can never match, because an earlier one takes all that they ask for.

use std::collections::BTreeMap;

use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::rules::shadow::shadowed;

use crate::problem::{Problems, Span};
use crate::yaml::{Node, Value};

/// Warns of what no packet reaches; `firewall` is where the rules were written.
pub fn warn(policy: &Policy, firewall: Option<&Node>, problems: &mut Problems) {
    let places = places(firewall);
    let shadows = shadowed(policy);
    let mut ended = None;
    for shadow in &shadows.found {
        let (rule, by) = (shadow.rule.0, shadow.by.0);
        let line = by.source.line;
        let message = if shadow.is_behind_catch_all() {
            // Once for all that stand behind it.
            let chain = (shadow.table, shadow.chain);
            if ended.replace(chain) == Some(chain) {
                continue;
            }
            format!(
                "this rule and those after it in its chain are never reached: the rule on line \
                 {line} takes every packet"
            )
        } else {
            format!(
                "this rule never matches: the rule on line {line} takes all that it asks for; \
                 remove it, or put it before that one"
            )
        };
        let line = rule.source.line;
        let place = places.get(&line).copied();
        problems.warning(place.unwrap_or(Span { line, column: 1 }), message);
    }
    if shadows.unlooked > 0 {
        let place = firewall.map_or(Span::START, |node| node.span);
        problems.warning(
            place,
            format!(
                "{} rules were not looked at for whether they can match; there are too many to \
                 compare them all",
                shadows.unlooked
            ),
        );
    }
}

/// Where each rule begins, by its line.
fn places(firewall: Option<&Node>) -> BTreeMap<u32, Span> {
    let mut places = BTreeMap::new();
    let Some(Value::Mapping(tables)) = firewall.map(|node| &node.value) else {
        return places;
    };
    for table in tables {
        if let Value::Sequence(rules) = &table.value.value {
            places.extend(rules.iter().map(|rule| (rule.span.line, rule.span)));
        }
    }
    places
}
