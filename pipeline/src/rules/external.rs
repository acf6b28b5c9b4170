//! The addresses that source translation may give out: which port pools a program needs.

use std::collections::HashSet;

use turnpike_conntrack::tuple::{Address, Family};

use crate::interfaces::Interfaces;
use crate::policy::{Action, AddressRange, IpFamily, TableKind};
use crate::rules::compiled::{CompiledRule, Rules};

/// The external addresses of one family that some nat rule may translate to, each once.
///
/// Addresses of interfaces that a masquerade rule can leave by come first, then the ranges of
/// src-nat rules, rule by rule, until there are `limit`. Disabled rules need none.
pub fn external_addresses<F: Family>(
    rules: &Rules,
    interfaces: &Interfaces,
    limit: usize,
) -> Vec<F::Addr> {
    let active = || {
        let nat = rules.iter().map(|(_, rule)| rule);
        nat.filter(|rule| rule.table == TableKind::Nat && !rule.disabled)
    };
    let masquerading = active()
        .filter(|rule| matches!(rule.action, Action::Masquerade(_)))
        .flat_map(|rule| leaving_addresses::<F>(rule, interfaces));
    let ranges = active()
        .filter_map(|rule| match &rule.action {
            Action::SrcNat(to) => to.addresses,
            Action::Accept
            | Action::Drop
            | Action::Reject(_)
            | Action::Log(_)
            | Action::Passthrough
            | Action::Jump(_)
            | Action::Return
            | Action::NoTrack
            | Action::Fasttrack
            | Action::Masquerade(_)
            | Action::DstNat(_)
            | Action::Redirect(_) => None,
        })
        .flat_map(|range| range_addresses::<F>(&range, limit));
    let mut seen = HashSet::new();
    masquerading
        .chain(ranges)
        .filter(|address| seen.insert(*address))
        .take(limit)
        .collect()
}

/// The addresses of every interface that packets matching `rule` can leave by.
fn leaving_addresses<F: Family>(
    rule: &CompiledRule,
    interfaces: &Interfaces,
) -> impl Iterator<Item = F::Addr> {
    let leaving = interfaces.iter().filter(|(id, _)| {
        let mut tests = rule.tests().iter();
        tests.all(|test| test.admits_out(*id, interfaces))
    });
    leaving
        .flat_map(|(_, iface)| [IpFamily::V4, IpFamily::V6].map(|f| iface.routable(f)))
        .flatten()
        .filter_map(|net| F::Addr::from_ip(net.addr()))
}

/// The addresses of a range, the first `limit` of them; none if it is of the other family.
fn range_addresses<F: Family>(
    range: &AddressRange,
    limit: usize,
) -> impl Iterator<Item = F::Addr> + use<F> {
    let ends = F::Addr::from_ip(range.first).zip(F::Addr::from_ip(range.last));
    ends.into_iter().flat_map(move |(first, last)| {
        let bits = first.to_bits()..=last.to_bits();
        bits.take(limit).map(F::Addr::from_bits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{IfaceId, InterfaceListId};
    use crate::policy::{InterfaceList, Match, Matchers, Policy, Rule, Translation};
    use crate::testing::{chain, gateway, rule};
    use std::net::{IpAddr, Ipv4Addr};
    use turnpike_conntrack::tuple::{V4, V6};

    fn masquerade(matchers: Matchers) -> Rule {
        Rule {
            matchers,
            ..rule(Action::Masquerade(None))
        }
    }

    fn src_nat(first: &str, last: &str) -> Rule {
        rule(Action::SrcNat(Translation {
            addresses: Some(AddressRange {
                first: first.parse().unwrap(),
                last: last.parse().unwrap(),
            }),
            ports: None,
        }))
    }

    fn external<F: Family>(rules: Vec<Rule>, limit: usize) -> Vec<IpAddr> {
        let mut policy: Policy = gateway();
        policy.interface_lists = vec![InterfaceList {
            name: "WAN".to_owned(),
            members: vec![IfaceId(1)],
        }];
        policy.nat.chains = vec![chain("dstnat", vec![]), chain("srcnat", rules)];
        let rules = Rules::build(&policy);
        let interfaces = Interfaces::build(&policy, &[]);
        let addresses = external_addresses::<F>(&rules, &interfaces, limit);
        addresses.into_iter().map(Address::to_ip).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn masquerade_needs_the_addresses_of_the_interfaces_it_can_leave_by() {
        let by_wan = Matchers {
            out_interface: Some(Match {
                value: IfaceId(1),
                negated: false,
            }),
            ..Matchers::default()
        };
        let rules = vec![masquerade(by_wan)];
        assert_eq!(external::<V4>(rules.clone(), 10), ips(&["203.0.113.2"]));
        assert_eq!(external::<V6>(rules, 10), ips(&["2001:db8:ffff::2"]));

        let by_wan_list = Matchers {
            out_interface_list: Some(Match {
                value: InterfaceListId(0),
                negated: true,
            }),
            ..Matchers::default()
        };
        let rules = vec![masquerade(by_wan_list)];
        assert_eq!(
            external::<V4>(rules, 10),
            ips(&["192.168.88.1", "10.20.0.1"])
        );
    }

    #[test]
    fn masquerade_without_an_interface_needs_every_address() {
        let all = external::<V4>(vec![masquerade(Matchers::default())], 10);
        assert_eq!(all, ips(&["192.168.88.1", "203.0.113.2", "10.20.0.1"]));
    }

    #[test]
    fn ranges_are_taken_whole_once_and_up_to_the_limit() {
        let rules = vec![
            src_nat("198.51.100.1", "198.51.100.3"),
            src_nat("198.51.100.3", "198.51.100.4"),
        ];
        let expected: Vec<IpAddr> = (1..=4)
            .map(|n| Ipv4Addr::new(198, 51, 100, n).into())
            .collect();
        assert_eq!(external::<V4>(rules.clone(), 10), expected);
        assert_eq!(external::<V4>(rules.clone(), 2), expected[..2]);
        assert!(external::<V6>(rules, 10).is_empty());
        let huge = vec![src_nat("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")];
        assert_eq!(external::<V6>(huge, 3), ips(&["::", "::1", "::2"]));
    }

    #[test]
    fn a_disabled_rule_needs_no_address() {
        let disabled = Rule {
            disabled: true,
            ..src_nat("198.51.100.1", "198.51.100.3")
        };
        assert!(external::<V4>(vec![disabled], 10).is_empty());
    }
}
