//! Rules that do nothing: what an earlier rule of their chain has already said.
//!
//! A rule covers another if it ends the chain for each packet that the other matches. That is seen
//! matcher by matcher, so a rule that several earlier ones cover together is not found.

use turnpike_pipeline::policy::{
    Action, AddressRange, InterfaceList, Match, Matchers, Policy, PortSet, Rule, StateSet,
    TableKind,
};

use super::probe::{Role, role};
use crate::report::{Finding, Severity};

/// Findings about rules that do nothing.
pub fn rules(policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in TableKind::ALL {
        for chain in &policy.table(kind).chains {
            in_chain(kind, &chain.name, &chain.rules, policy, &mut findings);
        }
    }
    findings
}

fn in_chain(
    kind: TableKind,
    name: &str,
    rules: &[Rule],
    policy: &Policy,
    findings: &mut Vec<Finding>,
) {
    let enabled: Vec<&Rule> = rules.iter().filter(|r| !r.disabled).collect();
    let at = |rule: &Rule, severity, advice: &str, message: String| Finding {
        severity,
        advice: advice.to_owned(),
        source: Some(rule.source.to_string()),
        message,
    };
    for (index, rule) in enabled.iter().enumerate() {
        let before = || enabled.iter().take(index);
        if let Some(last) = before().find(|r| ends_chain(r) && r.matchers == Matchers::default()) {
            let behind = enabled.len() - index;
            let message = format!(
                "{} of {}/{name} never seen: the rule on line {} takes every packet; move {} above \
                 it, or remove {}",
                if behind == 1 {
                    "this rule is".to_owned()
                } else {
                    format!("this rule and the {} behind it are", behind - 1)
                },
                kind.name(),
                last.source.line,
                if behind == 1 { "it" } else { "them" },
                if behind == 1 { "it" } else { "them" },
            );
            findings.push(at(rule, Severity::Medium, "after-catch-all", message));
            return;
        }
        if let Some(twin) = before().find(|r| r.text == rule.text && is_spent(r)) {
            let message = format!(
                "the same rule stands on line {}; remove one of the two",
                twin.source.line
            );
            findings.push(at(rule, Severity::Low, "duplicate", message));
            continue;
        }
        let lists = &policy.interface_lists;
        let covering = |r: &&&Rule| ends_chain(r) && covers(&r.matchers, &rule.matchers, lists);
        if let Some(earlier) = before().find(covering) {
            let message = format!(
                "this rule never matches: the one on line {} takes all that it would; move it up, \
                 or remove it",
                earlier.source.line
            );
            findings.push(at(rule, Severity::Medium, "shadowed", message));
        }
    }
}

/// Whether no packet that the rule's matchers hold for comes to the next rule of its chain.
///
/// A translation asks more than its matchers say (an address of the packet's family), so none is
/// said to end a chain.
fn ends_chain(rule: &Rule) -> bool {
    let plain = rule.action == Action::Accept
        || rule.action == Action::NoTrack
        || rule.action == Action::Return
        || role(&rule.action) == Role::Refuse;
    plain && rule.matchers.packet.is_empty() && rule.matchers.connection_limit.is_none()
}

/// Whether writing the rule twice does nothing more than writing it once.
fn is_spent(rule: &Rule) -> bool {
    let decides = match role(&rule.action) {
        Role::Admit | Role::Refuse => true,
        Role::Lead => rule.action == Action::Return,
        Role::Note => false,
    };
    decides && rule.matchers.packet.is_empty() && rule.matchers.connection_limit.is_none()
}

/// Whether what `b` asks holds for no packet that `a` does not hold for.
fn covers(a: &Matchers, b: &Matchers, lists: &[InterfaceList]) -> bool {
    // Taken apart, so that a matcher added to the language cannot be forgotten here.
    let Matchers {
        family,
        connection_state,
        connection_nat_state,
        connection_limit,
        protocol,
        src_address,
        dst_address,
        src_address_list,
        dst_address_list,
        src_address_type,
        dst_address_type,
        src_port,
        dst_port,
        port,
        icmp_options,
        in_interface,
        out_interface,
        in_interface_list,
        out_interface_list,
        marks,
        packet,
    } = a;
    let member = |list: &Option<Match<_>>, of: &Option<Match<_>>| {
        let (Some(list), Some(of)) = (list, of) else {
            return false;
        };
        let turnpike_pipeline::ids::InterfaceListId(index) = list.value;
        let members = lists.get(usize::from(index)).map(|l| &l.members);
        !list.negated && !of.negated && members.is_some_and(|m| m.contains(&of.value))
    };
    connection_limit.is_none()
        && packet.is_empty()
        && same(family, &b.family)
        && wider(connection_state, &b.connection_state, states)
        && same(connection_nat_state, &b.connection_nat_state)
        && same(protocol, &b.protocol)
        && wider(src_address, &b.src_address, addresses)
        && wider(dst_address, &b.dst_address, addresses)
        && same(src_address_list, &b.src_address_list)
        && same(dst_address_list, &b.dst_address_list)
        && same(src_address_type, &b.src_address_type)
        && same(dst_address_type, &b.dst_address_type)
        && wider(src_port, &b.src_port, ports)
        && wider(dst_port, &b.dst_port, ports)
        && wider(port, &b.port, ports)
        && same(icmp_options, &b.icmp_options)
        && same(in_interface, &b.in_interface)
        && same(out_interface, &b.out_interface)
        && (same(in_interface_list, &b.in_interface_list)
            || member(in_interface_list, &b.in_interface))
        && (same(out_interface_list, &b.out_interface_list)
            || member(out_interface_list, &b.out_interface))
        && marks.iter().all(|mark| b.marks.contains(mark))
}

/// Nothing asked, or the same.
fn same<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
    a.is_none() || a == b
}

/// Nothing asked, the same, or something that holds whenever the other does.
fn wider<T: PartialEq>(
    a: &Option<Match<T>>,
    b: &Option<Match<T>>,
    within: fn(&T, &T) -> bool,
) -> bool {
    if same(a, b) {
        return true;
    }
    match (a, b) {
        (Some(a), Some(b)) => !a.negated && !b.negated && within(&a.value, &b.value),
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

fn states(a: &StateSet, b: &StateSet) -> bool {
    a.0 & b.0 == b.0
}

fn addresses(a: &AddressRange, b: &AddressRange) -> bool {
    a.contains(b.first) && a.contains(b.last)
}

fn ports(a: &PortSet, b: &PortSet) -> bool {
    let inside = |first, last| a.0.iter().any(|r| r.0 <= first && last <= r.1);
    b.0.iter().all(|(first, last)| inside(*first, *last))
}
