//! Which addresses source translation can use: those that need port pools.

use std::net::IpAddr;

use turnpike_conntrack::tuple::Address;

use crate::policy::{Action, AddressRange, Policy, Rule};

/// The most addresses of one `to-addresses` range that get a pool; a range beyond that is used
/// from its start.
pub const RANGE_ADDRESSES_MAX: u128 = 4_096;

/// The external addresses of a policy, in the order of the rules that use them.
#[derive(Debug, Default)]
pub struct ExternalAddresses {
    /// IPv4.
    pub v4: Vec<[u8; 4]>,
    /// IPv6.
    pub v6: Vec<[u8; 16]>,
}

impl ExternalAddresses {
    /// Collects them: the ranges of src-nat rules, and the addresses of every interface, because
    /// masquerade may leave by any of them.
    pub fn of(policy: &Policy) -> Self {
        let mut found = Self::default();
        for rule in policy.nat.chains.iter().flat_map(|chain| &chain.rules) {
            if let Some(range) = range_of(rule) {
                found.add_range(range);
            }
        }
        for net in policy
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
        {
            found.add(net.addr());
        }
        found
    }

    fn add_range(&mut self, range: AddressRange) {
        match (range.first, range.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                self.v4.extend(each(first.octets(), last.octets()));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                self.v6.extend(each(first.octets(), last.octets()));
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }

    fn add(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.v4.push(ip.octets()),
            IpAddr::V6(ip) => self.v6.push(ip.octets()),
        }
    }
}

fn range_of(rule: &Rule) -> Option<AddressRange> {
    match &rule.action {
        Action::SrcNat(translation) if !rule.disabled => translation.addresses,
        Action::SrcNat(_)
        | Action::Accept
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
    }
}

fn each<A: Address>(first: A, last: A) -> impl Iterator<Item = A> {
    let (first, last) = (first.to_bits(), last.to_bits());
    let last = last.min(first.saturating_add(RANGE_ADDRESSES_MAX - 1));
    (first..=last).map(A::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_up_to_its_limit() {
        assert_eq!(each([10, 0, 0, 254], [10, 0, 1, 1]).count(), 4);
        assert_eq!(each([10, 0, 0, 0], [10, 255, 255, 255]).count(), 4_096);
        assert_eq!(each([255; 16], [255; 16]).count(), 1);
    }
}
