//! An audit against the stages: what it says of a packet is what becomes of that packet.
//!
//! Every packet that an audit of the small configurations imagines is sent through a whole
//! gateway. Where nothing is uncertain both must agree; where a rule asks what only the packet at
//! hand can answer, whatever gets through must have been said to.

#[path = "../../../pipeline/tests/sim/mod.rs"]
mod sim;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use sim::packets::to_gateway;
use sim::{PEER_MAC, Sim};
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::policy::{Action, IpFamily};
use turnpike_pipeline::witness::Ending;

use super::cast::Cast;
use super::probe::{Doubt, End, Packet, send};
use super::{Subject, compile, facing_outside};
use crate::config::Config;

/// Room for every connection that one configuration's packets open, far below a flood.
const ENTRIES: usize = 100_000;

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("tests/audit"), root.join("../configs")];
    let entries = folders.iter().flat_map(|f| fs::read_dir(f).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

/// Every packet that an audit imagines and that can be made: TCP, UDP and echo requests.
fn packets(config: &Config, cast: &Cast) -> Vec<Packet> {
    let mut packets = Vec::new();
    for sender in &cast.senders {
        let iface = &config.policy.interfaces[usize::from(sender.iface.0)];
        let family = IpFamily::of(sender.address);
        let same = |ip: &&IpAddr| IpFamily::of(**ip) == family && **ip != sender.address;
        for receiver in cast.receivers.iter().filter(same) {
            for speech in cast.speeches.iter().filter(|s| s.fits(family)) {
                let known = matches!(
                    speech.proto,
                    Proto::TCP | Proto::UDP | Proto::ICMP | Proto::ICMPV6
                );
                if !known || iface.vlan.is_some() {
                    continue;
                }
                for port in &speech.ports {
                    let source_ports = cast.source_ports.iter();
                    let tries = if port.is_some() { usize::MAX } else { 1 };
                    packets.extend(source_ports.take(tries).map(|source_port| Packet {
                        iface: sender.iface,
                        src: (sender.address, port.map(|_| *source_port)),
                        dst: (*receiver, *port),
                        proto: speech.proto,
                        icmp: speech.icmp(),
                    }));
                }
            }
        }
    }
    packets
}

fn craft(packet: &Packet, nth: u16) -> Craft {
    let end = |(ip, port): (IpAddr, Option<u16>)| SocketAddr::new(ip, port.unwrap_or(0));
    let (src, dst) = (end(packet.src), end(packet.dst));
    match packet.proto {
        Proto::TCP => Craft::tcp(
            src,
            dst,
            TcpSpec {
                flags: 2,
                ..TcpSpec::default()
            },
        )
        .unwrap(),
        Proto::UDP => Craft::udp(src, dst).unwrap(),
        Proto(_) => {
            let spec = IcmpSpec {
                kind: packet.icmp.unwrap().0,
                id: nth,
                ..IcmpSpec::default()
            };
            Craft::icmp(src.ip(), dst.ip(), spec).unwrap()
        }
    }
}

/// Where a whole gateway lets a packet end.
fn played(sim: &mut Sim, config: &Config, packet: &Packet, nth: u16) -> End {
    let port = config.policy.interfaces[usize::from(packet.iface.0)].port;
    sim.inject(port, to_gateway(port, craft(packet, nth)));
    let end = sim.last_end();
    match (end.ending, end.reason) {
        (Ending::Accept, _) => End::Interface(end.out.unwrap()),
        (Ending::Local, _) | (_, Some(DropReason::NoListener)) => End::Gateway,
        (Ending::Reject, _) => End::Rejected,
        (_, Some(DropReason::FilterRule | DropReason::RawRule)) => End::Dropped,
        (_, Some(DropReason::NoRoute)) => End::Nowhere,
        (ending, reason) => panic!("{packet:?}: {ending:?} {reason:?}"),
    }
}

#[test]
fn an_audit_says_of_each_packet_what_the_stages_do_with_it() {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for file in files() {
        let config = Config::load(&file).unwrap();
        let program = compile(&config.policy);
        let untrusted = facing_outside(&config.policy);
        let subject = Subject {
            config: &config,
            program: &program,
            untrusted: &untrusted,
        };
        let cast = Cast::of(&subject);
        // A mapping that one packet makes lets others in: what they reach is not the rules' alone.
        let maps = |action: &Action| matches!(action, Action::EndpointIndependent(_));
        if program.rules.iter().any(|(_, rule)| maps(&rule.action)) {
            continue;
        }
        let certain = program.rules.iter().all(|(_, rule)| {
            rule.packet_asks().is_empty() && rule.limit().is_none() && !rule.asks_label()
        });
        let fresh =
            || Sim::with_neighbours(&config.policy, 1, Neighbours::Assume(PEER_MAC), ENTRIES);
        let (mut sim, mut from) = (fresh(), IfaceId(0));
        for (nth, packet) in (0..).zip(packets(&config, &cast)) {
            // What one side has opened, the other side would only answer.
            if std::mem::replace(&mut from, packet.iface) != packet.iface {
                sim = fresh();
            }
            let real = played(&mut sim, &config, &packet, nth);
            let said = [Doubt::Stay, Doubt::Go].map(|doubt| send(&program, &packet, doubt).end);
            let passes = matches!(real, End::Gateway | End::Interface(_));
            if certain || passes {
                assert!(said.contains(&real), "{}: {packet:?}", file.display());
            }
            if certain {
                let name = format!("{real:?}");
                *ends
                    .entry(name.split('(').next().unwrap().to_owned())
                    .or_default() += 1;
            }
        }
    }
    let seen: Vec<&str> = ends.keys().map(String::as_str).collect();
    assert_eq!(
        seen,
        ["Dropped", "Gateway", "Interface", "Nowhere", "Rejected"],
        "{ends:?}"
    );
}
