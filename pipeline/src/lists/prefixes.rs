//! A set of prefixes that does not change: sorted intervals, searched by halving.
//!
//! Overlapping and adjacent prefixes are one interval, so that an address lies in one at most. A
//! million prefixes of IPv4 are 8 MB and are built by one sort.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses of both families.
#[derive(Debug, Clone, Default)]
pub struct PrefixSet {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
    prefixes: usize,
}

/// First and last address of each interval; ascending, apart from each other.
#[derive(Debug, Clone, Default)]
struct Intervals<A> {
    firsts: Box<[A]>,
    lasts: Box<[A]>,
}

impl<A: Ord + Copy> Intervals<A> {
    /// The union of `all`; `next` is the address behind one, `None` behind the last.
    fn build(mut all: Vec<(A, A)>, next: impl Fn(A) -> Option<A>) -> Self {
        all.sort_unstable();
        let mut firsts = Vec::with_capacity(all.len());
        let mut lasts: Vec<A> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match lasts.last_mut() {
                Some(end) if next(*end).is_none_or(|next| first <= next) => *end = last.max(*end),
                Some(_) | None => {
                    firsts.push(first);
                    lasts.push(last);
                }
            }
        }
        Self {
            firsts: firsts.into(),
            lasts: lasts.into(),
        }
    }

    fn contains(&self, address: A) -> bool {
        let behind = self.firsts.partition_point(|first| *first <= address);
        let last = behind.checked_sub(1).and_then(|at| self.lasts.get(at));
        last.is_some_and(|last| address <= *last)
    }
}

impl PrefixSet {
    /// The set of all addresses of these prefixes; host bits do not count.
    pub fn build(prefixes: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match prefix {
                IpNet::V4(p) => v4.push((p.network().to_bits(), p.broadcast().to_bits())),
                IpNet::V6(p) => v6.push((p.network().to_bits(), p.broadcast().to_bits())),
            }
        }
        let different = distinct(&mut v4) + distinct(&mut v6);
        Self {
            v4: Intervals::build(v4, |last| last.checked_add(1)),
            v6: Intervals::build(v6, |last| last.checked_add(1)),
            prefixes: different,
        }
    }

    /// Whether the address is in one of the prefixes.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.contains(ip.to_bits()),
        }
    }

    /// How many different prefixes it was built from.
    pub const fn len(&self) -> usize {
        self.prefixes
    }

    /// Whether it was built from none.
    pub const fn is_empty(&self) -> bool {
        self.prefixes == 0
    }
}

/// Sorts, removes repeats, and says how many are left.
fn distinct<A: Ord>(all: &mut Vec<(A, A)>) -> usize {
    all.sort_unstable();
    all.dedup();
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn set(prefixes: &[&str]) -> PrefixSet {
        let prefixes: Vec<IpNet> = prefixes.iter().map(|p| p.parse().unwrap()).collect();
        PrefixSet::build(&prefixes)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_and_overlaps_become_one_interval_and_are_counted_apart() {
        let set = set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.0/25", "10.0.0.0/24"]);
        assert_eq!((set.v4.firsts.len(), set.len()), (1, 3));
        assert!(set.contains(ip("10.0.0.0")) && set.contains(ip("10.0.1.255")));
        assert!(!set.contains(ip("10.0.2.0")) && !set.contains(ip("9.255.255.255")));
    }

    #[test]
    fn the_ends_of_a_family_are_addresses_like_others() {
        let set = set(&["0.0.0.0/1", "255.255.255.255/32", "::/0", "ffff::/16"]);
        assert!(set.contains(ip("0.0.0.0")) && set.contains(ip("255.255.255.255")));
        assert!(!set.contains(ip("255.255.255.254")) && !set.contains(ip("128.0.0.0")));
        assert!(set.contains(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
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
            let set = PrefixSet::build(&prefixes);
            for probe in probes {
                let ip = probe.addr();
                let scanned = prefixes.iter().any(|p| p.contains(&ip));
                prop_assert_eq!(set.contains(ip), scanned, "{}", ip);
            }
        }
    }
}
