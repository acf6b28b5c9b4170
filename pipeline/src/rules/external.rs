//! The addresses that source translation may give out: which port pools a program needs, and what
//! they say of a packet that comes in.

use std::collections::HashSet;
use std::net::IpAddr;

use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::tuple::{Address, Family, Port};

use crate::ids::ChainId;
use crate::interfaces::Interfaces;
use crate::policy::{Action, AddressRange, IpFamily};
use crate::program::Program;
use crate::rules::compiled::{CompiledRule, Rules};
use crate::rules::facts::Facts;

/// The external addresses of one family that a program may translate to, each once.
///
/// Every interface's own addresses come first, so that no large range can leave masquerade
/// without ports, and whether there is a masquerade rule or not, so that their ports stay known
/// while such rules come and go. Behind them come the ranges of enabled rules of src-nat and the
/// like, rule by rule, until there are `limit` addresses.
pub fn external_addresses<F: Family>(
    rules: &Rules,
    interfaces: &Interfaces,
    limit: usize,
) -> Vec<F::Addr> {
    let own = interfaces.iter().flat_map(|(_, iface)| {
        let families = [IpFamily::V4, IpFamily::V6].into_iter();
        families.flat_map(|family| iface.routable(family))
    });
    let own = own.filter_map(|net| F::Addr::from_ip(net.addr()));
    let ranges = rules
        .iter()
        .filter_map(|(_, rule)| source_range(rule))
        .flat_map(|range| range_addresses::<F>(&range, limit));
    let mut seen = HashSet::new();
    own.chain(ranges)
        .filter(|address| seen.insert(*address))
        .take(limit)
        .collect()
}

/// The first built-in chain of nat.
const DSTNAT: ChainId = ChainId(0);

/// The addresses that a rule translates sources to, if it does and is enabled.
fn source_range(rule: &CompiledRule) -> Option<AddressRange> {
    match &rule.action {
        Action::SrcNat(to) | Action::EndpointIndependent(to) if !rule.disabled => to.addresses,
        // In dstnat the range is on the inside.
        Action::Same(to, _) if !rule.disabled && rule.chain != DSTNAT => to.addresses,
        Action::SrcNat(_)
        | Action::EndpointIndependent(_)
        | Action::Same(..)
        | Action::Netmap(_)
        | Action::Accept
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
        | Action::Edit(..)
        | Action::Masquerade(_)
        | Action::DstNat(_)
        | Action::Redirect(_) => None,
    }
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

/// Whether a packet's destination is the external endpoint of a live mapping.
pub fn is_mapped(facts: &Facts, program: &Program) -> bool {
    let (Some(space), Some(port)) = (PortSpace::of(facts.proto), facts.dst_port) else {
        return false;
    };
    let port = Port(port);
    match facts.dst {
        IpAddr::V4(ip) => {
            let ports = program.pools4.ports(ip.octets());
            ports.is_some_and(|ports| ports.is_mapped(space, port))
        }
        IpAddr::V6(ip) => {
            let ports = program.pools6.ports(ip.octets());
            ports.is_some_and(|ports| ports.is_mapped(space, port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Rule, Translation};
    use crate::testing::{chain, gateway, ip, rule};
    use std::net::IpAddr;
    use turnpike_conntrack::tuple::{V4, V6};

    /// What the gateway has without any rule.
    const OWN: [&str; 3] = ["192.168.88.1", "203.0.113.2", "10.20.0.1"];

    fn src_nat(first: &str, last: &str) -> Rule {
        rule(Action::SrcNat(Translation {
            addresses: Some(AddressRange {
                first: ip(first),
                last: ip(last),
            }),
            ports: None,
        }))
    }

    fn external<F: Family>(rules: Vec<Rule>, limit: usize) -> Vec<IpAddr> {
        let mut policy = gateway();
        policy.interfaces[0]
            .addresses
            .push("fe80::1/64".parse().unwrap());
        policy.nat.chains = vec![chain("dstnat", vec![]), chain("srcnat", rules)];
        let rules = Rules::build(&policy);
        let interfaces = Interfaces::build(&policy, &[]);
        let addresses = external_addresses::<F>(&rules, &interfaces, limit);
        addresses.into_iter().map(Address::to_ip).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|t| ip(t)).collect()
    }

    #[test]
    fn every_routable_address_of_the_gateway_is_external() {
        assert_eq!(external::<V4>(vec![], 10), ips(&OWN));
        let own6 = ips(&["2001:db8:88::1", "2001:db8:ffff::2"]);
        assert_eq!(external::<V6>(vec![], 10), own6);
    }

    #[test]
    fn ranges_are_taken_whole_once_and_up_to_the_limit() {
        let rules = vec![
            src_nat("198.51.100.1", "198.51.100.3"),
            src_nat("198.51.100.3", "198.51.100.4"),
            src_nat("203.0.113.2", "203.0.113.2"),
        ];
        let more = [
            "198.51.100.1",
            "198.51.100.2",
            "198.51.100.3",
            "198.51.100.4",
        ];
        let all = ips(&[OWN.as_slice(), &more].concat());
        assert_eq!(external::<V4>(rules.clone(), 10), all);
        assert_eq!(external::<V4>(rules.clone(), 5), all[..5]);
        assert_eq!(external::<V6>(rules, 10).len(), 2);
    }

    #[test]
    fn a_huge_range_leaves_the_gateways_own_addresses_in() {
        let huge = vec![src_nat("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")];
        let expected = ips(&["2001:db8:88::1", "2001:db8:ffff::2", "::"]);
        assert_eq!(external::<V6>(huge, 3), expected);
    }

    #[test]
    fn a_disabled_rule_needs_no_address() {
        let disabled = Rule {
            disabled: true,
            ..src_nat("198.51.100.1", "198.51.100.3")
        };
        assert_eq!(external::<V4>(vec![disabled], 10), ips(&OWN));
    }
}
