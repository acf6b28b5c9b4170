//! Address lists: named sets of prefixes that a rule asks for by [`ListId`].
//!
//! Membership is a longest-prefix lookup, so that a list of a million prefixes costs a packet as
//! much as a list of ten. A list may hold both families. Immutable: a program is compiled with
//! its lists.

use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixSet;

use crate::ids::ListId;
use crate::policy::AddressList;

/// Every address list of a program.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    lists: Box<[List]>,
}

#[derive(Debug, Clone)]
struct List {
    name: Box<str>,
    prefixes: JointPrefixSet<IpNet>,
}

impl Lists {
    /// Builds the sets; a [`ListId`] is an index into `lists`.
    pub fn build(lists: &[AddressList]) -> Self {
        let lists = lists.iter().map(|list| List {
            name: list.name.as_str().into(),
            prefixes: list.prefixes.iter().map(IpNet::trunc).collect(),
        });
        Self {
            lists: lists.collect(),
        }
    }

    /// Whether `ip` is in the list; a list that does not exist contains nothing.
    pub fn contains(&self, id: ListId, ip: IpAddr) -> bool {
        self.lists
            .get(usize::from(id.0))
            .is_some_and(|list| list.prefixes.get_lpm(&IpNet::from(ip)).is_some())
    }

    /// The list's name and how many different prefixes it holds, `None` if there is no such list.
    pub fn describe(&self, id: ListId) -> Option<(&str, usize)> {
        let list = self.lists.get(usize::from(id.0))?;
        Some((&list.name, list.prefixes.len()))
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn list(prefixes: &[&str]) -> Lists {
        Lists::build(&[AddressList {
            name: "trusted".to_owned(),
            prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        }])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_holds_both_families_and_keeps_them_apart() {
        let lists = list(&["10.5.101.0/24", "2001:db8:fade::/64"]);
        assert!(lists.contains(ListId(0), ip("10.5.101.255")));
        assert!(!lists.contains(ListId(0), ip("10.5.102.0")));
        assert!(lists.contains(ListId(0), ip("2001:db8:fade::1")));
        assert!(!lists.contains(ListId(0), ip("2001:db8:fadf::1")));
        assert!(!lists.contains(ListId(0), ip("::ffff:10.5.101.1")));
    }

    #[test]
    fn a_prefix_with_host_bits_is_its_network() {
        let lists = list(&["192.168.88.7/24"]);
        assert!(lists.contains(ListId(0), ip("192.168.88.200")));
    }

    #[test]
    fn a_list_that_does_not_exist_contains_nothing() {
        assert!(!list(&["0.0.0.0/0"]).contains(ListId(1), ip("10.0.0.1")));
    }

    #[test]
    fn the_whole_of_a_family_is_not_the_whole_of_the_other() {
        let lists = list(&["0.0.0.0/0"]);
        assert!(lists.contains(ListId(0), ip("0.0.0.0")));
        assert!(lists.contains(ListId(0), ip("255.255.255.255")));
        assert!(!lists.contains(ListId(0), ip("::")));
    }

    #[test]
    fn a_list_says_its_name_and_how_many_prefixes_it_holds() {
        let lists = list(&["10.0.0.0/8", "10.0.0.1/8", "::1/128"]);
        assert_eq!(lists.describe(ListId(0)), Some(("trusted", 2)));
        assert_eq!(lists.describe(ListId(1)), None);
    }

    prop_compose! {
        // Few bits vary, so that prefixes overlap and probes hit.
        fn near_prefix()(v6: bool, bits in 0u32..64, len in 0u8..=128) -> IpNet {
            let wide = u128::from(bits) << 122 | u128::from(bits & 3);
            match v6 {
                true => IpNet::new(Ipv6Addr::from(wide).into(), len).unwrap(),
                false => {
                    let narrow = bits << 26 | bits & 3;
                    IpNet::new(Ipv4Addr::from(narrow).into(), len.min(32)).unwrap()
                }
            }
        }
    }

    proptest! {
        #[test]
        fn membership_is_what_a_scan_over_the_prefixes_says(
            prefixes in proptest::collection::vec(near_prefix(), 0..12),
            probes in proptest::collection::vec(near_prefix(), 1..40),
        ) {
            let lists = Lists::build(&[AddressList {
                name: String::new(),
                prefixes: prefixes.clone(),
            }]);
            for probe in probes {
                let ip = probe.addr();
                let scanned = prefixes.iter().any(|p| p.contains(&ip));
                prop_assert_eq!(lists.contains(ListId(0), ip), scanned, "{}", ip);
            }
        }
    }
}
