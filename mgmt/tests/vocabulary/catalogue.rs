//! The catalogue of services and of protocols: each name in a rule, and packets for and beside it.

use std::path::Path;

use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::{PROTOCOLS, SERVICES, Transport, services_named};
use turnpike_mgmt::config::Config;
use turnpike_mgmt::explain::{Question, Scene};
use turnpike_mgmt::words::Words;

/// Asks what a gateway whose only rule drops `matchers` makes of packets, `drop` or not.
fn verdicts(matchers: &str, packets: &[String]) -> Vec<bool> {
    let base = std::fs::read_to_string(super::directory().join("gateway.yaml")).unwrap();
    let text = format!(
        "{base}\nfirewall: {{ filter: [ {{ chain: forward, {matchers}, action: drop }} ] }}\n"
    );
    let config = Config::parse(&text, "t.yaml", Path::new(".")).unwrap();
    let scene = Scene::new(&config.policy);
    let dropped = |packet: &String| {
        let packet = Words::parse(packet).unwrap_or_else(|e| panic!("{packet}: {e}"));
        let in_interface = scene.interface("lan").unwrap();
        let question = Question {
            in_interface,
            packet,
            after: Vec::new(),
        };
        scene.explain(&question).unwrap().verdict == "drop"
    };
    packets.iter().map(dropped).collect()
}

#[test]
fn each_service_of_the_catalogue_is_matched_at_its_ports_and_nowhere_else() {
    for service in SERVICES {
        let transport = match service.transport {
            Transport::Udp => "udp",
            Transport::Tcp | Transport::Both => "tcp",
        };
        let own: Vec<_> = services_named(service.name).collect();
        let beside = (1..=u16::MAX).find(|p| !own.iter().any(|s| (s.first..=s.last).contains(p)));
        let to = |port: u16| {
            [
                format!("{transport} 192.168.88.10 > 1.1.1.1:{port}"),
                format!("{transport} [2001:db8:88::10] > [2001:db8:2::1]:{port}"),
            ]
        };
        let packets = [to(service.first), to(service.last), to(beside.unwrap())].concat();
        let matchers = format!("protocol: {transport}, dst-port: {}", service.name);
        let found = verdicts(&matchers, &packets);
        assert_eq!(
            found,
            [true, true, true, true, false, false],
            "{}",
            service.name
        );
    }
}

#[test]
fn each_protocol_of_the_catalogue_is_matched_by_its_name() {
    for (name, proto) in PROTOCOLS {
        let v4 = "192.168.88.10 > 1.1.1.1";
        let v6 = "[2001:db8:88::10] > [2001:db8:2::1]";
        let port = if proto.has_ports() { ":9" } else { "" };
        let packets = match *proto {
            Proto::ICMP => vec![format!("icmp {v4}"), format!("udp {v4}:9")],
            Proto::ICMPV6 => vec![format!("icmpv6 {v6}"), format!("udp {v6}:9")],
            Proto::UDP => vec![format!("udp {v4}:9"), format!("tcp {v6}:9")],
            _ => vec![format!("{name} {v4}{port}"), format!("udp {v6}:9")],
        };
        assert_eq!(
            verdicts(&format!("protocol: {name}"), &packets),
            [true, false],
            "{name}"
        );
    }
}
