//! Connections that others announce: chance announces them, and calls as announced, or not.

use std::time::Duration;

use turnpike_conntrack::expect::{
    Activity, ChildLife, Class, Destination, Expectation, Reservation, Source, Uses,
};
use turnpike_conntrack::ids::HelperId;
use turnpike_conntrack::nat::reserve;
use turnpike_conntrack::ports::PortSpace;
use turnpike_conntrack::tuple::{Port, Proto, V4};
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::Craft;

use crate::checks::connections;
use crate::random::Random;
use crate::sim::{LAN, LAN_MAC, Sim, WAN, WAN_MAC, ip};
use crate::traffic::Macs;

const EXTERNAL: [u8; 4] = [203, 0, 113, 2];
const INSIDE: [u8; 4] = [192, 168, 88, 10];
const SERVER: [u8; 4] = [198, 51, 100, 1];
const FIRST: u16 = 6_000;
const PORTS: usize = 6;

fn port(random: &mut Random) -> Port {
    Port(FIRST + u16::try_from(random.below(PORTS)).unwrap())
}

/// Some live connection announces another, as a helper would have it do.
pub fn announce(sim: &mut Sim, random: &mut Random) {
    let at = random.below(sim.workers.len());
    let masters = connections(&sim.workers[at].conntrack().v4, sim.now);
    if masters.is_empty() {
        return;
    }
    let id = random.pick(&masters).id;
    let Some(master) = sim.workers[at].conntrack_mut().v4.announce(id) else {
        return;
    };
    let (external, inside) = ((EXTERNAL, port(random)), (INSIDE, port(random)));
    let pools = &sim.program.pools4;
    let claim = reserve(pools, Proto::UDP, external, inside, &sim.shared.key);
    let claim = claim.filter(|_| random.chance(60));
    let inbound = random.chance(60);
    let common = Expectation::<V4> {
        proto: Proto::UDP,
        destination: external,
        source: random.chance(50).then_some(SERVER),
        source_port: None,
        uses: random.pick(&[Uses::Once, Uses::Once, Uses::UntilTimeout]),
        activity: Activity::Active,
        helper: HelperId::new(random.byte()),
        life: random.pick(&[ChildLife::Own, ChildLife::Master]),
        new_destination: Destination::To(inside.0, inside.1),
        new_source: random.pick(&[Source::Keep, Source::Rules, Source::Address(EXTERNAL)]),
        reservation: Reservation::None,
    };
    let new = if inbound {
        Expectation {
            reservation: claim.map_or(Reservation::None, Reservation::Destination),
            ..common
        }
    } else {
        Expectation {
            destination: (SERVER, port(random)),
            source: Some(inside.0),
            source_port: Some(inside.1),
            new_destination: Destination::Keep,
            new_source: Source::Endpoint(external.0, external.1),
            reservation: claim.map_or(Reservation::None, Reservation::Source),
            ..common
        }
    };
    let class = Class {
        number: random.byte() % 2,
        max_expected: 2,
        timeout: Duration::from_secs(8),
    };
    // What is refused, for a clash for one, is no business of the simulation.
    let _made = sim.shared.expectations.expect(master, &class, new, sim.now);
}

/// A first packet such as is announced.
pub fn call(random: &mut Random, macs: Macs) -> (PortId, Vec<u8>) {
    let (from, to) = (port(random).0, port(random).0);
    let (at, mac, src, dst) = if random.chance(50) {
        (WAN, WAN_MAC, ("198.51.100.1", from), ("203.0.113.2", to))
    } else {
        (LAN, LAN_MAC, ("192.168.88.10", from), ("198.51.100.1", to))
    };
    let (src, dst) = ((ip(src.0), src.1), (ip(dst.0), dst.1));
    let craft = Craft::udp(src.into(), dst.into()).unwrap();
    (at, craft.macs(mac, macs.of(src.0)).frame().unwrap())
}

/// When everything has ended nothing is left: no master, no port, no place in the steering map.
pub fn nothing_is_left(sim: &mut Sim) {
    for _ in 0..100 {
        sim.now = sim.now.after(Duration::from_secs(3_600 * 24));
        for worker in &mut sim.workers {
            worker.housekeeping(sim.now);
        }
    }
    assert_eq!(sim.connections(), 0);
    assert_eq!(sim.shared.steering.len(), 0);
    assert_eq!(sim.shared.expectations.len(), 0);
    assert_eq!(sim.shared.expectations.masters(), 0);
    let pools = &sim.program.pools4;
    for ports in pools.addresses().filter_map(|address| pools.ports(address)) {
        for space in [PortSpace::Tcp, PortSpace::Udp, PortSpace::Icmp] {
            assert_eq!(ports.in_use(space), 0, "{space:?}");
        }
    }
}
