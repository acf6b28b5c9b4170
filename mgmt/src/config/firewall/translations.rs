//! Whether a translation fits the built-in chains that it is reached from.

use turnpike_pipeline::policy::{Action, AddressRange, Match};

use super::super::address::show;
use super::rule::Draft;
use crate::problem::Problems;

/// Checks a rule that translates; `roots` are the built-in chains that it is reached from.
pub fn check(draft: &Draft<'_>, roots: &[&str], problems: &mut Problems) {
    let (word, allowed): (&str, &[&str]) = match &draft.rule.action {
        Action::SrcNat(_) => ("src-nat", &["srcnat", "input"]),
        Action::Masquerade(_) => ("masquerade", &["srcnat"]),
        Action::DstNat(_) => ("dst-nat", &["dstnat", "output"]),
        Action::Redirect(_) => ("redirect", &["dstnat"]),
        Action::EndpointIndependent(_) => {
            let keys = ["to-addresses", "to-ports", "randomise-ports"];
            only_in_srcnat(draft, "endpoint-independent-nat", &keys, roots, problems);
            ("endpoint-independent-nat", &["srcnat", "dstnat"])
        }
        Action::Same(..) => {
            only_in_srcnat(draft, "same", &["randomise-ports"], roots, problems);
            ("same", &["srcnat", "dstnat"])
        }
        Action::Netmap(to) => return one_to_one(draft, to, roots, problems),
        Action::Accept
        | Action::Drop
        | Action::Reject(_)
        | Action::Log(_)
        | Action::Passthrough
        | Action::Jump(_)
        | Action::Return
        | Action::NoTrack
        | Action::Fasttrack
        | Action::AddToList(..)
        | Action::Sniff(_)
        | Action::Edit(..) => return,
    };
    if let Some(root) = roots.iter().find(|r| !allowed.contains(r)) {
        let span = draft.section.field("action").map(|n| n.span);
        problems.error(
            span.unwrap_or_else(|| draft.section.span()),
            format!(
                "`{word}` does not work in {root}; move the rule to {}",
                allowed.join(" or ")
            ),
        );
    }
}

/// Options of an action that mean something for sources only.
fn only_in_srcnat(
    draft: &Draft<'_>,
    word: &str,
    keys: &[&str],
    roots: &[&str],
    problems: &mut Problems,
) {
    if roots.contains(&"srcnat") || !roots.contains(&"dstnat") {
        return;
    }
    for key in keys {
        if let Some(entry) = draft.section.entry(key) {
            problems.error(
                entry.key_span,
                format!(
                    "`{key}` does nothing with `{word}` in {}, only in srcnat; remove it",
                    roots.join(" and ")
                ),
            );
        }
    }
}

/// netmap has a counterpart for each address that the rule matches, and no others.
fn one_to_one(draft: &Draft<'_>, to: &AddressRange, roots: &[&str], problems: &mut Problems) {
    let matchers = &draft.rule.matchers;
    let Some(node) = draft.section.field("to-addresses") else {
        return;
    };
    for root in roots {
        let (key, matcher) = if ["dstnat", "output"].contains(root) {
            ("dst-address", matchers.dst_address)
        } else {
            ("src-address", matchers.src_address)
        };
        match matcher {
            Some(Match {
                value: from,
                negated: false,
            }) if last_offset(&from) != last_offset(to) => problems.error(
                node.span,
                format!(
                    "netmap gives each address its own, but {} and `{key}` {} are not of one \
                     size; make them equal",
                    show(to),
                    show(&from)
                ),
            ),
            Some(Match { negated: false, .. }) => {}
            Some(Match { negated: true, .. }) | None if !is_prefix(to) => problems.error(
                node.span,
                format!(
                    "without a `{key}` of the same size, netmap keeps host parts, and {} is no \
                     prefix; write one, or add `{key}`",
                    show(to)
                ),
            ),
            Some(Match { negated: true, .. }) | None => {}
        }
    }
}

/// How far the last address of a range is from the first.
fn last_offset(range: &AddressRange) -> u128 {
    bits(range.last).saturating_sub(bits(range.first))
}

/// Whether a range is all the addresses under one prefix.
fn is_prefix(range: &AddressRange) -> bool {
    let hosts = bits(range.first) ^ bits(range.last);
    hosts & hosts.wrapping_add(1) == 0 && bits(range.first) & hosts == 0
}

fn bits(ip: std::net::IpAddr) -> u128 {
    match ip {
        std::net::IpAddr::V4(ip) => u128::from(ip.to_bits()),
        std::net::IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_prefix_if_it_begins_and_ends_where_one_does() {
        let range = |first: &str, last: &str| AddressRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        };
        assert!(is_prefix(&range("10.0.0.0", "10.0.0.255")));
        assert!(is_prefix(&range("10.0.0.7", "10.0.0.7")));
        assert!(is_prefix(&range(
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        )));
        assert!(!is_prefix(&range("10.0.0.1", "10.0.0.2")));
        assert!(!is_prefix(&range("10.0.0.0", "10.0.0.2")));
        assert!(!is_prefix(&range("10.0.0.8", "10.0.0.23")));
        assert_eq!(last_offset(&range("10.0.0.8", "10.0.0.23")), 15);
    }
}
