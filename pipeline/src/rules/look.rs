//! Holding one rule against a packet: what the facts answer first, then what costs or counts.

use turnpike_conntrack::entry::NONE;
use turnpike_conntrack::limits::Limit;

use crate::ids::RuleId;
use crate::program::Program;
use crate::rules::compiled::CompiledRule;
use crate::rules::facts::Facts;
use crate::rules::linear::{Look, Observer};

/// Holds one rule against a packet, questions that cost or count last.
pub(super) fn look(
    program: &Program,
    (id, rule): (RuleId, &CompiledRule),
    facts: &Facts,
    observer: &mut impl Observer,
) -> Look {
    if rule.asks_lists() {
        observer.asks_lists();
    }
    let mut look = rule.look(facts, program);
    if rule.asks_label() && !rule.disabled && rule.holds_but_for_label(facts, program) {
        look = match observer.asks_label(id) {
            Some(true) => Look::Matched,
            Some(false) => Look::Failed("layer7-protocol"),
            None => look,
        };
    }
    if look != Look::Matched {
        return look;
    }
    match residual_holds(program, (id, rule), facts, observer) {
        Ok(()) => Look::Matched,
        Err(failed) => Look::Failed(failed),
    }
}

/// Asks what only the packet at hand, and counters of connections, can answer.
///
/// # Errors
/// The name of the first question whose answer is not the one that the rule wants.
pub(super) fn residual_holds(
    program: &Program,
    (id, rule): (RuleId, &CompiledRule),
    facts: &Facts,
    observer: &mut impl Observer,
) -> Result<(), &'static str> {
    for asked in rule.packet_asks() {
        let answer = observer.packet(id, &asked.value, facts);
        if answer.is_none_or(|answer| answer == asked.negated) {
            return Err(asked.value.name());
        }
    }
    if let Some(asked) = rule.limit() {
        let limit = Limit {
            rule: program.lasting.number(id).unwrap_or(NONE),
            prefix: asked.value.prefix,
        };
        if !asked.holds(observer.connections(limit, facts.src)) {
            return Err("connection-limit");
        }
    }
    Ok(())
}
