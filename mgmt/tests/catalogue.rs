//! The catalogue of services against the project's vocabulary, and each of its names in a rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::{PROTOCOLS, SERVICES, Transport, services_named};
use turnpike_mgmt::config::Config;
use turnpike_pipeline::policy::{Match, PortSet};

/// A configuration whose one filter rule has these matchers.
fn rule(matchers: &str) -> Config {
    let text = format!(
        "interfaces: {{ lan: {{ device: net_null0, address: [192.168.88.1/24] }} }}\n\
         firewall: {{ filter: [ {{ chain: input, {matchers}, action: accept }} ] }}\n"
    );
    Config::parse(&text, "t.yaml", Path::new(".")).unwrap()
}

#[test]
fn each_service_names_its_ports_in_a_rule_by_either_name() {
    for service in SERVICES {
        let names = [service.name, service.alias];
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            let transport = match service.transport {
                Transport::Udp => "udp",
                Transport::Tcp | Transport::Both => "tcp",
            };
            let config = rule(&format!("protocol: {transport}, dst-port: {name}"));
            let matchers = &config.policy.filter.chains[0].rules[0].matchers;
            let all = services_named(name).map(|s| s.first..=s.last);
            let wanted = Match {
                value: PortSet::new(all),
                negated: false,
            };
            assert_eq!(matchers.dst_port, Some(wanted), "{name}");
            let ports = matchers.dst_port.as_ref().unwrap();
            assert!(ports.value.contains(service.first), "{name}");
            assert!(ports.value.contains(service.last), "{name}");
        }
    }
}

#[test]
fn each_protocol_is_named_in_a_rule() {
    for (name, proto) in PROTOCOLS {
        let config = rule(&format!("protocol: {name}"));
        let matchers = &config.policy.filter.chains[0].rules[0].matchers;
        assert_eq!(matchers.protocol.map(|m| m.value), Some(*proto), "{name}");
    }
}

/// The text behind `start` up to the first full stop.
fn sentence<'a>(text: &'a str, start: &str) -> &'a str {
    let from = text.find(start).unwrap() + start.len();
    text[from..].split(".\n").next().unwrap().trim()
}

#[test]
fn the_catalogue_is_the_vocabularys_with_its_ratings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/VOCABULARY.md");
    let Ok(text) = fs::read_to_string(path) else {
        println!("skipped: there is no ../shared/VOCABULARY.md");
        return;
    };
    let line = sentence(&text, "? depends.\n");
    let mut seen = 0;
    for entry in line.split(';') {
        let mut words = entry.split_whitespace();
        let name = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        let (alias, rest) = match rest.split_first() {
            Some((alias, rest)) if alias.starts_with('(') => (alias.trim_matches(['(', ')']), rest),
            _ => ("", &*rest),
        };
        let &[ports, rating] = rest else {
            panic!("`{entry}` has another form");
        };
        let (ports, transport) = match ports.split_once('/') {
            Some((ports, "tcp")) => (ports, Transport::Tcp),
            Some((ports, _)) => (ports, Transport::Udp),
            None => (ports, Transport::Both),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
        let found = services_named(name).find(|s| s.first == first);
        let found = found.unwrap_or_else(|| panic!("{name} {first} is not in the catalogue"));
        assert_eq!(
            (
                found.last,
                found.transport,
                found.rating.letter().to_string()
            ),
            (last, transport, rating.to_owned()),
            "{name}"
        );
        assert!(alias.is_empty() || found.alias == alias, "{name} ({alias})");
        seen += 1;
    }
    assert_eq!(seen, SERVICES.len());
    let protocols: BTreeSet<(String, Proto)> = sentence(&text, "Protocols: ")
        .split(", ")
        .map(|entry| {
            let (name, number) = entry.split_once(' ').unwrap();
            (name.to_owned(), Proto(number.parse().unwrap()))
        })
        .collect();
    let ours = PROTOCOLS
        .iter()
        .map(|(name, proto)| ((*name).to_owned(), *proto));
    assert_eq!(protocols, ours.collect());
}
