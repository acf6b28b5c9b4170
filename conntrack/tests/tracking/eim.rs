//! Endpoint-independent mappings: one port towards everybody, and back in by it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Barrier};

use crate::support::{KEY, shared, translated, tuple, udp};
use proptest::prelude::*;
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::WorkerId;
use turnpike_conntrack::nat::{
    Mapping, NatError, Pools, PortOrder, SourceRequest, Steer, Translated, choose_source,
};
use turnpike_conntrack::ports::{AddressPorts, PortSpace, Sharing};
use turnpike_conntrack::rss::Distribution;
use turnpike_conntrack::table::{NewConnection, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, V4, V6};

const OUTSIDE: [u8; 4] = [203, 0, 113, 2];
const UDP: PortSpace = PortSpace::Udp;

fn pools() -> Pools<V4> {
    Pools::build(None, [OUTSIDE])
}

fn ports(pools: &Pools<V4>) -> &Arc<AddressPorts> {
    pools.ports(OUTSIDE).expect("the pool")
}

fn request(words: &str) -> SourceRequest<V4> {
    let tuple = tuple(Proto::UDP, words);
    SourceRequest {
        tuple,
        inside: (tuple.src, tuple.src_port),
        addresses: (OUTSIDE, OUTSIDE),
        ports: None,
        sharing: Sharing::Shared,
        mapping: Mapping::EndpointIndependent,
        order: PortOrder::Preserve,
    }
}

/// What the worker `me` of four gives.
fn choose(
    pools: &Pools<V4>,
    request: &SourceRequest<V4>,
    me: u8,
) -> Result<Translated<V4>, NatError> {
    let distribution = Distribution::software(4);
    choose_source(pools, request, &distribution, WorkerId(me), &KEY)
}

fn given(pools: &Pools<V4>, words: &str, me: u8) -> Translated<V4> {
    choose(pools, &request(words), me).expect("a port")
}

fn inbound(pools: &Pools<V4>, port: u16) -> Option<([u8; 4], u16)> {
    let found = ports(pools).inbound::<V4>(UDP, Port(port), &KEY)?;
    Some((found.inside.0, found.inside.1.0))
}

#[test]
fn an_endpoint_has_one_port_towards_everybody_at_every_worker() {
    let pools = pools();
    // The first to come keeps the port; the second gets another, and keeps that.
    let first = given(&pools, "10.0.0.2:5060 > 198.51.100.7:53", 0);
    assert_eq!(first.tuple.src_port, Port(5060));
    let mut second = HashSet::new();
    let mut held = vec![first];
    for n in 0..40u8 {
        let words = format!("10.0.0.3:5060 > 198.51.100.{n}:53");
        let chosen = given(&pools, &words, n % 4);
        second.insert(chosen.tuple.src_port.0);
        let me = WorkerId(n % 4);
        let reply = chosen.tuple.inverse();
        let lands = Distribution::software(4).worker(&reply) == me;
        assert_eq!(chosen.steer == Steer::No, lands, "answers find worker {n}");
        held.push(chosen);
    }
    assert_eq!(second.len(), 1, "{second:?}");
    let port = second.into_iter().next().expect("one");
    assert!(port != 5060 && port % 2 == 0 && port > 1023, "{port}");
    assert_eq!(ports(&pools).in_use(UDP), 2);
    assert_eq!(ports(&pools).users(UDP, Port(port)), 40);
    assert_eq!(inbound(&pools, port), Some(([10, 0, 0, 3], 5060)));
    assert_eq!(inbound(&pools, 5060), Some(([10, 0, 0, 2], 5060)));
    assert_eq!(inbound(&pools, 5061), None);
    held.clear();
    assert_eq!(ports(&pools).in_use(UDP), 0);
}

#[test]
fn a_mapping_lets_in_only_while_it_is_used_and_its_port_is_remembered() {
    let pools = pools();
    let first = given(&pools, "10.0.0.2:700 > 198.51.100.7:53", 0);
    let other = given(&pools, "10.0.0.3:700 > 198.51.100.7:53", 0);
    let port = other.tuple.src_port.0;
    let held = ports(&pools).inbound::<V4>(UDP, Port(port), &KEY);
    drop(other);
    assert!(
        inbound(&pools, port).is_some(),
        "the one from outside uses it"
    );
    drop(held);
    assert_eq!(inbound(&pools, port), None);
    assert_eq!(ports(&pools).in_use(UDP), 1);
    // Port 700 is free now, but the endpoint finds what it had.
    drop(first);
    let again = given(&pools, "10.0.0.3:700 > 198.51.100.9:53", 3);
    assert_eq!(again.tuple.src_port, Port(port));
    drop(again);
    // Somebody else takes it: it is gone.
    let taker = given(&pools, &format!("10.0.0.4:{port} > 198.51.100.7:53"), 1);
    assert_eq!(taker.tuple.src_port, Port(port));
    let third = given(&pools, "10.0.0.3:700 > 198.51.100.9:53", 3);
    assert_eq!(third.tuple.src_port, Port(700));
    assert_eq!(inbound(&pools, port), Some(([10, 0, 0, 4], port)));
}

#[test]
fn a_port_that_is_for_connections_lets_nobody_in() {
    let pools = pools();
    let plain = SourceRequest {
        mapping: Mapping::PerConnection,
        ..request("10.0.0.2:4000 > 198.51.100.7:53")
    };
    let one_worker = Distribution::software(1);
    let choose = |request| choose_source(&pools, request, &one_worker, WorkerId(0), &KEY);
    let held = choose(&plain).expect("a port");
    assert_eq!(inbound(&pools, 4000), None);
    // The same endpoint may have a mapping there, which ends the secrecy, and only with it.
    let mapped = given(&pools, "10.0.0.2:4000 > 198.51.100.8:53", 0);
    assert_eq!(mapped.tuple.src_port, Port(4000));
    assert!(inbound(&pools, 4000).is_some());
    drop((mapped, held));
    let held = choose(&plain).expect("a port");
    assert_eq!(inbound(&pools, 4000), None);
    drop(held);
}

#[test]
fn a_translated_destination_does_not_change_the_mapping() {
    let pools = pools();
    let out = given(&pools, "10.0.0.2:4000 > 198.51.100.7:53", 0);
    let hairpin = SourceRequest {
        sharing: Sharing::Exclusive,
        ..request("10.0.0.2:4000 > 10.0.0.3:5000")
    };
    let hairpin = choose(&pools, &hairpin, 0).expect("a port");
    assert_eq!(hairpin.tuple.src_port, out.tuple.src_port);
    // A port that is used alone is no mapping: there has to be another.
    let alone = SourceRequest {
        sharing: Sharing::Exclusive,
        mapping: Mapping::PerConnection,
        ..request("10.0.0.5:6000 > 10.0.0.3:5000")
    };
    let one_worker = Distribution::software(1);
    let alone = choose_source(&pools, &alone, &one_worker, WorkerId(0), &KEY).expect("a port");
    assert_eq!(alone.tuple.src_port, Port(6000));
    let beside = given(&pools, "10.0.0.5:6000 > 198.51.100.7:53", 0);
    assert_ne!(beside.tuple.src_port, Port(6000));
    drop(alone);
    let again = given(&pools, "10.0.0.5:6000 > 198.51.100.8:53", 0);
    assert_eq!(again.tuple.src_port, beside.tuple.src_port);
}

#[test]
fn given_ports_hold_for_mappings_too() {
    let pools = pools();
    let within = |host: u8, range| SourceRequest {
        ports: Some(range),
        ..request(&format!("10.0.0.{host}:80 > 198.51.100.7:53"))
    };
    let mut held = Vec::new();
    for host in 1..=10 {
        let chosen = choose(&pools, &within(host, (7000, 7009)), host % 4).expect("a port");
        assert!((7000..=7009).contains(&chosen.tuple.src_port.0));
        held.push(chosen);
    }
    let full = choose(&pools, &within(11, (7000, 7009)), 0).err();
    assert_eq!(full, Some(NatError::PortsExhausted));
    assert_eq!(ports(&pools).exhausted(UDP), 1);
    assert_eq!(ports(&pools).exhausted(PortSpace::Tcp), 0);
    // A mapping outside the range that another rule gives is not that rule's.
    let elsewhere = choose(&pools, &within(1, (8000, 8009)), 0).expect("a port");
    assert!((8000..=8009).contains(&elsewhere.tuple.src_port.0));
    let back = choose(&pools, &within(1, (7000, 7009)), 2).expect("a port");
    assert_eq!(back.tuple.src_port, held[0].tuple.src_port);
}

#[test]
fn random_ports_are_not_the_preserved_ones_and_a_mapping_stays() {
    let pools = pools();
    let random = |host: u8, number, mapping| SourceRequest {
        order: PortOrder::Random(number),
        mapping,
        ..request(&format!("10.0.0.{host}:5061 > 198.51.100.7:53"))
    };
    let third = u64::MAX / 3;
    let chosen = |host, number, mapping| {
        let chosen = choose(&pools, &random(host, number, mapping), 0).expect("a port");
        (chosen.tuple.src_port.0, chosen)
    };
    let (low, _a) = chosen(1, third, Mapping::EndpointIndependent);
    let (high, _b) = chosen(2, 2 * third, Mapping::EndpointIndependent);
    let (again, _c) = chosen(1, 2 * third, Mapping::EndpointIndependent);
    // A third and two thirds of the way from 1024 to 65535, odd as the port they stand for.
    assert_eq!((low, high, again), (22_527, 44_031, low));
    let (one, _d) = chosen(3, third, Mapping::PerConnection);
    let (other, _e) = chosen(4, 2 * third, Mapping::PerConnection);
    assert!((22_000..23_000).contains(&one) && (44_000..45_000).contains(&other));
}

#[test]
fn an_ipv6_endpoint_is_told_from_its_whole_address() {
    let outside: [u8; 16] = [0x20; 16];
    let pools = Pools::<V6>::build(None, [outside]);
    let inside = |n: u16| {
        let mut address = [0xfd; 16];
        address[14..].copy_from_slice(&n.to_be_bytes());
        address
    };
    let map = |n: u16| {
        let tuple = Tuple {
            src: inside(n),
            dst: [0x30; 16],
            src_port: Port(4000),
            dst_port: Port(53),
            proto: Proto::UDP,
        };
        let request = SourceRequest {
            tuple,
            inside: (tuple.src, tuple.src_port),
            addresses: (outside, outside),
            ports: None,
            sharing: Sharing::Shared,
            mapping: Mapping::EndpointIndependent,
            order: PortOrder::Preserve,
        };
        let distribution = Distribution::software(2);
        choose_source(&pools, &request, &distribution, WorkerId(0), &KEY).expect("a port")
    };
    let held: Vec<_> = (0..300).map(map).collect();
    for (n, chosen) in (0..).zip(&held) {
        let again = map(n);
        assert_eq!(again.tuple.src_port, chosen.tuple.src_port);
        let ports = pools.ports(outside).expect("the pool");
        let found = ports.inbound::<V6>(UDP, chosen.tuple.src_port, &KEY);
        assert_eq!(found.map(|f| f.inside), Some((inside(n), Port(4000))));
    }
}

#[test]
fn a_connection_from_outside_keeps_the_mapping_until_it_ends() {
    let pools = pools();
    let mut table = Table::<V4>::new(WorkerId(0), 4, KEY, shared());
    let out = given(&pools, "10.0.0.2:4000 > 198.51.100.7:53", 0);
    let found = ports(&pools).inbound::<V4>(UDP, Port(4000), &KEY);
    let original = tuple(Proto::UDP, "192.0.2.9:99 > 203.0.113.2:4000");
    let reply = tuple(Proto::UDP, "10.0.0.2:4000 > 192.0.2.9:99");
    let new = NewConnection {
        mapping: found.map(|found| found.claim),
        ..translated(original, reply)
    };
    let config = TrackingConfig::default();
    let now = Tick::from_millis(1_000);
    let id = table.commit(new, &udp(), now, &config).expect("a place");
    drop(out);
    assert_eq!(ports(&pools).users(UDP, Port(4000)), 1);
    assert!(inbound(&pools, 4000).is_some());
    table.end(id, Cause::Flushed);
    assert_eq!(ports(&pools).users(UDP, Port(4000)), 0);
    assert_eq!(ports(&pools).in_use(UDP), 0);
}

#[test]
fn workers_that_map_one_endpoint_at_the_same_time_agree_on_a_port() {
    const WORKERS: u8 = 4;
    const ROUNDS: u16 = 400;
    let pools = pools();
    let barrier = Barrier::new(usize::from(WORKERS));
    // All want the same few ports for different endpoints, and give them back each round.
    let seen: Vec<Vec<(u8, u16)>> = std::thread::scope(|scope| {
        let workers = (0..WORKERS).map(|me| {
            let (pools, barrier) = (&pools, &barrier);
            scope.spawn(move || {
                let mut seen = Vec::new();
                for round in 0..ROUNDS {
                    barrier.wait();
                    let mut held = Vec::new();
                    for n in 0..8u8 {
                        // Each worker begins with another endpoint.
                        let host = 1 + (n + me * 2) % 8;
                        let words = format!("10.0.{}.{host}:7 > 198.51.100.{me}:9", round % 7);
                        let within = SourceRequest {
                            ports: Some((30_000, 30_015)),
                            ..request(&words)
                        };
                        let chosen = choose(pools, &within, me).expect("a port");
                        seen.push((host, chosen.tuple.src_port.0));
                        held.push(chosen);
                    }
                    barrier.wait();
                }
                seen
            })
        });
        let workers: Vec<_> = workers.collect();
        let joined = workers.into_iter().map(|w| w.join().expect("a worker"));
        joined.collect()
    });
    for round in 0..usize::from(ROUNDS) {
        let mut by_host: HashMap<u8, u16> = HashMap::new();
        for worker in &seen {
            for &(host, port) in &worker[round * 8..(round + 1) * 8] {
                let agreed = *by_host.entry(host).or_insert(port);
                assert_eq!(agreed, port, "host {host} in round {round}");
            }
        }
        let distinct: HashSet<u16> = by_host.values().copied().collect();
        assert_eq!(distinct.len(), 8, "round {round}: {by_host:?}");
    }
    assert_eq!(ports(&pools).in_use(UDP), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mappings_never_share_a_port_and_never_change_while_they_are_used(
        ops in proptest::collection::vec((0u8..6, 1u16..4, any::<bool>(), 0usize..40), 1..200)
    ) {
        let pools = pools();
        let mut held: Vec<((u8, u16), Mapping, Translated<V4>)> = Vec::new();
        for (host, port, mapped, ends) in ops {
            let mapping = match mapped {
                true => Mapping::EndpointIndependent,
                false => Mapping::PerConnection,
            };
            let within = SourceRequest {
                mapping,
                ports: Some((40_000, 40_005)),
                ..request(&format!("10.0.0.{host}:{port} > 198.51.100.7:{}", held.len() + 1))
            };
            match choose(&pools, &within, host % 4) {
                Ok(chosen) => held.push(((host, port), mapping, chosen)),
                Err(error) => prop_assert_eq!(error, NatError::PortsExhausted),
            }
            if ends < held.len() {
                held.swap_remove(ends);
            }
            let mut owners: HashMap<u16, (u8, u16)> = HashMap::new();
            let mut mappings: HashMap<(u8, u16), u16> = HashMap::new();
            for (inside, mapping, chosen) in &held {
                let external = chosen.tuple.src_port.0;
                let owner = *owners.entry(external).or_insert(*inside);
                prop_assert_eq!(owner, *inside, "two endpoints share {}", external);
                if *mapping == Mapping::EndpointIndependent {
                    let one = *mappings.entry(*inside).or_insert(external);
                    prop_assert_eq!(one, external, "{:?} is mapped twice", inside);
                }
            }
            prop_assert_eq!(ports(&pools).in_use(UDP), owners.len());
            for (inside, external) in mappings {
                let address: [u8; 4] = [10, 0, 0, inside.0];
                prop_assert_eq!(inbound(&pools, external), Some((address, inside.1)));
            }
        }
        held.clear();
        prop_assert_eq!(ports(&pools).in_use(UDP), 0);
    }
}
