//! Source translation: which port, at which worker, and never the same for two endpoints.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::support::{KEY, tuple};
use proptest::prelude::*;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::nat::{
    Mapping, NAT_ADDRESSES_MAX, NatError, Pools, PortOrder, SourceRequest, Steer, Translated,
    choose_source, steer,
};
use turnpike_conntrack::ports::{PortSpace, Sharing};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, V4, V6};

const OUTSIDE: [u8; 4] = [203, 0, 113, 2];
const SPARE: [u8; 4] = [203, 0, 113, 3];

fn pools() -> Pools<V4> {
    Pools::build(None, [OUTSIDE, SPARE])
}

fn request(proto: Proto, words: &str) -> SourceRequest<V4> {
    let tuple = tuple(proto, words);
    SourceRequest {
        tuple,
        inside: (tuple.src, tuple.src_port),
        addresses: (OUTSIDE, OUTSIDE),
        ports: None,
        sharing: Sharing::Shared,
        mapping: Mapping::PerConnection,
        order: PortOrder::Preserve,
    }
}

fn choose(
    pools: &Pools<V4>,
    request: &SourceRequest<V4>,
    workers: u8,
    me: u8,
) -> Result<Translated<V4>, NatError> {
    let distribution = Distribution::software(workers);
    choose_source(pools, request, &distribution, WorkerId(me), &KEY)
}

#[test]
fn one_worker_preserves_the_port() {
    let pools = pools();
    for port in [1, 511, 600, 40000, 65535] {
        let request = request(Proto::TCP, &format!("10.0.0.2:{port} > 198.51.100.7:443"));
        let chosen = choose(&pools, &request, 1, 0).expect("a port");
        assert_eq!(
            chosen.tuple,
            Tuple {
                src: OUTSIDE,
                ..request.tuple
            }
        );
        assert_eq!(chosen.steer, Steer::No);
        assert_eq!(chosen.claim.map(|claim| claim.port()), Some(Port(port)));
    }
}

#[test]
fn a_second_endpoint_gets_a_port_of_the_same_range_and_parity() {
    let pools = pools();
    for (port, range) in [(53, 1..=511), (600, 512..=1023), (40001, 1024..=65535)] {
        let first = request(Proto::UDP, &format!("10.0.0.2:{port} > 198.51.100.7:53"));
        let second = request(Proto::UDP, &format!("10.0.0.3:{port} > 198.51.100.7:53"));
        let first = choose(&pools, &first, 1, 0).expect("a port");
        let second = choose(&pools, &second, 1, 0).expect("a port");
        let (kept, other) = (first.tuple.src_port.0, second.tuple.src_port.0);
        assert_eq!(kept, port);
        assert!(
            other != port && other % 2 == port % 2 && range.contains(&other),
            "{other}"
        );
    }
}

#[test]
fn one_endpoint_keeps_its_port_towards_several_destinations() {
    let pools = pools();
    let first = request(Proto::UDP, "10.0.0.2:5060 > 198.51.100.7:5060");
    let second = request(Proto::UDP, "10.0.0.2:5060 > 198.51.100.8:5060");
    let first = choose(&pools, &first, 1, 0).expect("a port");
    let second = choose(&pools, &second, 1, 0).expect("a port");
    assert_eq!(
        (first.tuple.src_port, second.tuple.src_port),
        (Port(5060), Port(5060))
    );
    let users = || {
        pools
            .ports(OUTSIDE)
            .map(|p| p.users(PortSpace::Udp, Port(5060)))
    };
    assert_eq!(users(), Some(2));
    drop((first, second));
    assert_eq!(users(), Some(0));
}

#[test]
fn connections_whose_destination_is_translated_too_share_no_port() {
    let pools = pools();
    let both = |words| SourceRequest {
        sharing: Sharing::Exclusive,
        ..request(Proto::UDP, words)
    };
    // Two destinations were made one before this: the tuples differ in nothing but the port.
    let first = choose(&pools, &both("10.0.0.2:5060 > 198.51.100.7:53"), 1, 0).expect("a port");
    let second = choose(&pools, &both("10.0.0.2:5060 > 198.51.100.7:53"), 1, 0).expect("a port");
    assert_ne!(first.tuple, second.tuple);
    let plain = request(Proto::UDP, "10.0.0.2:5060 > 198.51.100.7:53");
    let third = choose(&pools, &plain, 1, 0).expect("a port");
    assert_ne!(first.tuple, third.tuple);
}

#[test]
fn given_ports_are_the_range_and_then_exhausted() {
    let pools = pools();
    let mut kept = Vec::new();
    for n in 0..10 {
        let request = SourceRequest {
            ports: Some((7000, 7009)),
            ..request(Proto::TCP, &format!("10.0.0.{n}:80 > 198.51.100.7:443"))
        };
        let chosen = choose(&pools, &request, 2, 0).expect("a port");
        assert!((7000..=7009).contains(&chosen.tuple.src_port.0));
        kept.push(chosen);
    }
    let request = SourceRequest {
        ports: Some((7000, 7009)),
        ..request(Proto::TCP, "10.0.0.99:80 > 198.51.100.7:443")
    };
    assert_eq!(
        choose(&pools, &request, 2, 0).err(),
        Some(NatError::PortsExhausted)
    );
    kept.pop();
    assert!(choose(&pools, &request, 2, 0).is_ok());
}

#[test]
fn a_low_range_that_is_full_goes_on_above_1023() {
    let pools = pools();
    let mut kept = Vec::new();
    for n in 0..512u32 {
        let inside = Ipv4Addr::from(0x0a00_0000 + n);
        let request = request(Proto::UDP, &format!("{inside}:123 > 198.51.100.7:123"));
        kept.push(choose(&pools, &request, 1, 0).expect("a port"));
    }
    let low = kept.iter().filter(|t| t.tuple.src_port.0 < 512).count();
    assert_eq!((low, kept.len() - low), (511, 1));
    assert!(
        kept.iter()
            .all(|t| t.tuple.src_port.0 < 512 || t.tuple.src_port.0 > 1023)
    );
}

#[test]
fn an_address_that_is_no_pool_is_an_error() {
    let nowhere = SourceRequest {
        addresses: ([192, 0, 2, 9], [192, 0, 2, 9]),
        ..request(Proto::TCP, "10.0.0.2:1000 > 198.51.100.7:443")
    };
    assert_eq!(
        choose(&pools(), &nowhere, 1, 0).err(),
        Some(NatError::NoPool)
    );
}

#[test]
fn one_inside_address_keeps_to_one_outside_address_and_both_are_used() {
    let pools = pools();
    let mut used = HashMap::new();
    for n in 1..60 {
        let mut seen = Vec::new();
        for port in [1000, 2000, 3000] {
            let request = SourceRequest {
                addresses: (OUTSIDE, SPARE),
                ..request(Proto::TCP, &format!("10.0.0.{n}:{port} > 198.51.100.7:443"))
            };
            seen.push(choose(&pools, &request, 1, 0).expect("a port").tuple.src);
        }
        assert!(seen.iter().all(|address| *address == seen[0]));
        *used.entry(seen[0]).or_insert(0) += 1;
    }
    assert!(
        used.len() == 2 && used.values().all(|n| *n > 15),
        "{used:?}"
    );
}

#[test]
fn answers_to_identifiers_are_steered_where_addresses_alone_lead_elsewhere() {
    let pools = pools();
    let ping = request(Proto::ICMP, "10.0.0.2:77 > 198.51.100.7:8");
    let distribution = Distribution::software(2);
    let arrives = distribution
        .worker(
            &Tuple {
                src: OUTSIDE,
                ..ping.tuple
            }
            .inverse(),
        )
        .0;
    let here = choose(&pools, &ping, 2, arrives).expect("an identifier");
    assert_eq!((here.tuple.src_port, here.steer), (Port(77), Steer::No));
    drop(here);
    let elsewhere = choose(&pools, &ping, 2, 1 - arrives).expect("an identifier");
    assert_eq!(
        (elsewhere.tuple.src_port, elsewhere.steer),
        (Port(77), Steer::Yes)
    );
}

#[test]
fn a_protocol_without_ports_has_its_address_translated_only() {
    let esp = request(Proto(50), "10.0.0.2:0 > 198.51.100.7:0");
    let chosen = choose(&pools(), &esp, 1, 0).expect("a translation");
    assert!(chosen.claim.is_none());
    assert_eq!(
        chosen.tuple,
        Tuple {
            src: OUTSIDE,
            ..esp.tuple
        }
    );
}

#[test]
fn a_new_program_keeps_the_ports_of_addresses_it_has_in_common() {
    let old = pools();
    let request = request(Proto::TCP, "10.0.0.2:1000 > 198.51.100.7:443");
    let held = choose(&old, &request, 1, 0).expect("a port");
    let new = Pools::build(Some(&old), [OUTSIDE, [203, 0, 113, 4]]);
    drop(old);
    let users = |pools: &Pools<V4>| {
        pools
            .ports(OUTSIDE)
            .map(|ports| ports.users(PortSpace::Tcp, Port(1000)))
    };
    assert_eq!(users(&new), Some(1));
    assert!(new.ports(SPARE).is_none());
    drop(held);
    assert_eq!(users(&new), Some(0));
}

#[test]
fn pools_are_bounded() {
    let many = (0..NAT_ADDRESSES_MAX as u32 + 10).map(|n| (0xcb00_0000 + n).to_be_bytes());
    let pools = Pools::<V4>::build(None, many);
    assert_eq!(pools.addresses().count(), NAT_ADDRESSES_MAX);
}

#[test]
fn ipv6_endpoints_do_not_share_ports_either() {
    let outside = [0xfd; 16];
    let pools = Pools::<V6>::build(None, [outside]);
    let distribution = Distribution::software(1);
    let mut ports = Vec::new();
    let mut kept = Vec::new();
    for n in 0..50 {
        let mut src = [0xfe; 16];
        src[15] = n;
        let tuple = Tuple::<V6> {
            src,
            dst: [0x20; 16],
            src_port: Port(5000),
            dst_port: Port(443),
            proto: Proto::TCP,
        };
        let request = SourceRequest {
            tuple,
            inside: (src, Port(5000)),
            addresses: (outside, outside),
            ports: None,
            sharing: Sharing::Shared,
            mapping: Mapping::PerConnection,
            order: PortOrder::Preserve,
        };
        let chosen =
            choose_source(&pools, &request, &distribution, WorkerId(0), &KEY).expect("a port");
        ports.push(chosen.tuple.src_port);
        kept.push(chosen);
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
}

/// What a random run does next: open from (host, port) to a destination at a worker, or close.
#[derive(Debug, Clone)]
enum Act {
    Open {
        host: u8,
        port: u16,
        destination: u8,
        worker: u8,
        both: bool,
    },
    Close(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let open = (
        0u8..4,
        prop_oneof![Just(100u16), 2000u16..2004],
        0u8..3,
        0u8..2,
        any::<bool>(),
    );
    prop_oneof![
        3 => open.prop_map(|(host, port, destination, worker, both)| Act::Open {
            host, port, destination, worker, both,
        }),
        1 => any::<usize>().prop_map(Act::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_port_serves_two_endpoints_no_tuple_two_connections_and_answers_find_their_owner(
        acts in proptest::collection::vec(act(), 1..120),
        narrow in any::<bool>(),
    ) {
        let pools = pools();
        let distribution = Distribution::software(2);
        // The inside endpoint, the original tuple, and the translation.
        let mut open: Vec<((_, Port), Tuple<V4>, Translated<V4>)> = Vec::new();
        let mut exhausted = false;
        for act in acts {
            match act {
                Act::Close(n) => {
                    if !open.is_empty() {
                        let n = n % open.len();
                        open.swap_remove(n);
                    }
                }
                Act::Open { host, port, destination, worker, both } => {
                    let words = format!("10.0.0.{host}:{port} > 198.51.100.{destination}:443");
                    let original = tuple(Proto::TCP, &words);
                    if open.iter().any(|(_, other, _)| *other == original) {
                        continue;
                    }
                    let plain = request(Proto::TCP, &words);
                    // With a destination translation, all destinations become one.
                    let sharing = if both { Sharing::Exclusive } else { Sharing::Shared };
                    let dst = if both { [198, 51, 100, 0] } else { plain.tuple.dst };
                    let ports = narrow.then_some((2000, 2007));
                    let request = SourceRequest {
                        tuple: Tuple { dst, ..plain.tuple }, sharing, ports, ..plain
                    };
                    let me = WorkerId(worker);
                    let chosen = choose_source(&pools, &request, &distribution, me, &KEY);
                    let Ok(chosen) = chosen else {
                        exhausted = true;
                        prop_assert!(narrow && !open.is_empty());
                        continue;
                    };
                    let needed = steer(&distribution, &chosen.tuple.inverse(), me);
                    prop_assert_eq!(chosen.steer, needed);
                    // Far from exhaustion a port that lands on its owner is always found.
                    prop_assert!(narrow || chosen.steer == Steer::No);
                    for (inside, _, other) in &open {
                        prop_assert_ne!(other.tuple, chosen.tuple);
                        if other.tuple.src_port == chosen.tuple.src_port {
                            prop_assert_eq!(*inside, request.inside);
                        }
                    }
                    open.push((request.inside, original, chosen));
                }
            }
        }
        let users: usize = (0..=u16::MAX)
            .map(|port| pools.ports(OUTSIDE).map_or(0, |p| p.users(PortSpace::Tcp, Port(port))))
            .sum();
        prop_assert_eq!(users, open.len());
        prop_assert!(exhausted || open.len() <= 12 || !narrow);
        drop(open);
        prop_assert_eq!(pools.ports(OUTSIDE).map(|p| p.in_use(PortSpace::Tcp)), Some(0));
    }
}
