//! What rules with `log` say, on a whole gateway on one thread.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{SYN, SYN_ACK, one, tcp, udp};
use sim::{LAN, Sim, WAN, ip, is, masquerading_policy, rule};
use turnpike_pipeline::log::{LOG_EVENTS_FOR_QUIET_RULES, LOG_EVENTS_PER_SECOND_MAX};
use turnpike_pipeline::policy::{Action, AddressRange, Matchers, Policy, PortSet, Translation};

/// Masquerade, a server at 192.168.88.80 behind port 8080, and every forwarded packet logged.
fn logging_policy() -> Policy {
    let mut policy = masquerading_policy();
    let server = Translation {
        addresses: Some(AddressRange {
            first: ip("192.168.88.80"),
            last: ip("192.168.88.80"),
        }),
        ports: Some(turnpike_pipeline::policy::PortRange {
            first: 80,
            last: 80,
        }),
    };
    let to_server = Matchers {
        protocol: Some(is(turnpike_conntrack::tuple::Proto::TCP)),
        dst_port: Some(is(PortSet::new([8080..=8080]))),
        ..Matchers::default()
    };
    policy.nat.chains[0]
        .rules
        .push(rule(to_server, Action::DstNat(server)));
    policy.filter.chains[1]
        .rules
        .push(rule(Matchers::default(), Action::Log("all".into())));
    policy
}

/// The lines since the last call, without what comes before the protocol and behind the length.
fn lines(sim: &mut Sim) -> Vec<String> {
    let program = std::sync::Arc::clone(&sim.program);
    let events = sim.logged.drain(..);
    events
        .map(|event| {
            let line = event.line(&program).to_string();
            let from = line.find("connection-state:").unwrap();
            line[from..line.find(", dst-mac").unwrap()].to_owned()
        })
        .collect()
}

#[test]
fn a_line_shows_source_translation_as_soon_as_it_is_decided() {
    for workers in [1, 3] {
        let mut sim = Sim::new(&logging_policy(), workers);
        let inside = ("192.168.88.10:4000", "198.51.100.7:53");
        let sent = sim.inject(LAN, udp(LAN, inside.0, inside.1));
        assert_eq!(
            lines(&mut sim),
            [
                "connection-state:new src-mac 02:00:00:00:01:01, proto UDP, \
              192.168.88.10:4000->198.51.100.7:53, len 33"
            ],
        );
        let port = one(&sent, WAN).tuple().src_port.0;
        let outside = format!("203.0.113.2:{port}");
        sim.inject(WAN, udp(WAN, inside.1, &outside));
        sim.inject(LAN, udp(LAN, inside.0, inside.1));
        assert_eq!(
            lines(&mut sim),
            [
                format!(
                    "connection-state:established,snat src-mac 02:00:00:00:02:01, proto UDP, \
                     198.51.100.7:53->192.168.88.10:4000, NAT 198.51.100.7:53->({outside}->\
                     192.168.88.10:4000), len 33"
                ),
                format!(
                    "connection-state:established,snat src-mac 02:00:00:00:01:01, proto UDP, \
                     192.168.88.10:4000->198.51.100.7:53, NAT (192.168.88.10:4000->{outside})->\
                     198.51.100.7:53, len 33"
                ),
            ],
            "{workers} workers"
        );
    }
}

#[test]
fn a_line_shows_destination_translation_from_the_first_packet_on() {
    let mut sim = Sim::new(&logging_policy(), 1);
    let (client, gateway) = ("198.51.100.7:5000", "203.0.113.2:8080");
    sim.inject(WAN, tcp(WAN, client, gateway, SYN, 1, 0));
    sim.inject(LAN, tcp(LAN, "192.168.88.80:80", client, SYN_ACK, 9, 2));
    let lines = lines(&mut sim);
    assert_eq!(
        lines[0],
        "connection-state:new,dnat src-mac 02:00:00:00:02:01, proto TCP (SYN), \
         198.51.100.7:5000->192.168.88.80:80, NAT \
         198.51.100.7:5000->(203.0.113.2:8080->192.168.88.80:80), len 40"
    );
    assert!(
        lines[1].contains("NAT (192.168.88.80:80->203.0.113.2:8080)->198.51.100.7:5000"),
        "{}",
        lines[1]
    );
}

#[test]
fn what_is_over_the_budget_is_counted_and_a_quiet_rule_still_speaks() {
    let mut policy = logging_policy();
    let probe = Matchers {
        protocol: Some(is(turnpike_conntrack::tuple::Proto::UDP)),
        dst_port: Some(is(PortSet::new([9999..=9999]))),
        ..Matchers::default()
    };
    policy.filter.chains[0]
        .rules
        .push(rule(probe, Action::Log("quiet".into())));
    let mut sim = Sim::new(&policy, 1);
    let chatty = LOG_EVENTS_PER_SECOND_MAX - LOG_EVENTS_FOR_QUIET_RULES;
    for _ in 0..chatty + 40 {
        sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "198.51.100.7:53"));
    }
    assert_eq!(sim.logged.len(), chatty as usize);
    assert_eq!(sim.counters[0].logs_suppressed.read(), 40);
    sim.logged.clear();
    sim.inject(LAN, udp(LAN, "192.168.88.10:4000", "192.168.88.1:9999"));
    assert_eq!(sim.logged.len(), 1);
    assert_eq!(sim.counters[0].logs_suppressed.read(), 40);
}
