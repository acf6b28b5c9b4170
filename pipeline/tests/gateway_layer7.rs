//! Connections told apart by what they carry, through the whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{ACK, SYN, SYN_ACK, at, balanced, echo, to_gateway};
use sim::{LAN, Sim, WAN, is, masquerading_policy, open_policy, rule};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tuple::{V4, V6};
use turnpike_conntrack::walk::Connection;
use turnpike_helpers::layer7::{BUFFER_MAX, PACKETS_MAX, Pattern};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{Layer7Id, MarkId, PortId};
use turnpike_pipeline::layer7::samples::SAMPLES_MAX;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::policy::{
    Action, Edit, Layer7Fail, Layer7Policy, Layer7Protocol, MarkKind, Match, Matchers, Policy,
    Rule, Then,
};

const FORWARD: usize = 1;
const HTTP: Layer7Id = Layer7Id(0);
const SSH: Layer7Id = Layer7Id(1);

fn protocol(name: &str, regexp: &str) -> Layer7Protocol {
    Layer7Protocol {
        name: name.to_owned(),
        pattern: Pattern::read(regexp).unwrap(),
        comment: "".into(),
    }
}

fn protocols() -> Layer7Policy {
    Layer7Policy::new(vec![
        protocol("http", "^get [^ ]+ http/1\\.[01]"),
        protocol("ssh", "^ssh-[12]\\.[0-9]"),
        protocol("banner", "220 .*ready"),
    ])
}

fn asking(protocol: Layer7Id, negated: bool) -> Matchers {
    Matchers {
        layer7_protocol: Some(Match {
            value: protocol,
            negated,
        }),
        ..Matchers::default()
    }
}

fn with(mut policy: Policy, rules: Vec<Rule>) -> Policy {
    policy.layer7 = protocols();
    policy.filter.chains[FORWARD].rules.extend(rules);
    policy
}

fn forbidding(protocol: Layer7Id) -> Policy {
    with(
        masquerading_policy(),
        vec![rule(asking(protocol, false), Action::Drop)],
    )
}

/// A TCP session between a client inside and a server outside, segment by segment.
struct Session {
    client: &'static str,
    server: &'static str,
    external: Option<String>,
    sent: [u32; 2],
}

impl Session {
    fn open(sim: &mut Sim, client: &'static str, server: &'static str) -> Self {
        let mut session = Self {
            client,
            server,
            external: None,
            sent: [1_000, 5_000],
        };
        session.send(sim, LAN, SYN, b"");
        session.send(sim, WAN, SYN_ACK, b"");
        session.send(sim, LAN, ACK, b"");
        session
    }

    /// A segment from the client, or else from the server; whether it passes the gateway.
    fn send(&mut self, sim: &mut Sim, port: PortId, flags: u8, data: &[u8]) -> bool {
        let from = usize::from(port == WAN);
        let external = self.external.clone();
        let inside = external.as_deref().unwrap_or(self.client);
        let (src, dst) = if port == LAN {
            (at(self.client), at(self.server))
        } else {
            (at(self.server), at(inside))
        };
        let spec = TcpSpec {
            flags,
            seq: self.sent[from],
            ack: self.sent[1 - from],
            ..TcpSpec::default()
        };
        self.sent[from] += u32::try_from(data.len()).unwrap() + u32::from(flags & SYN != 0);
        let craft = Craft::tcp(src, dst, spec).unwrap().payload(data);
        let sent = sim.inject(port, to_gateway(port, craft));
        if self.external.is_none() && !sent.is_empty() {
            let seen = sim::packets::see(&sent[0].1);
            let words = seen.words();
            let (src, _) = words.split_once(" > ").unwrap();
            self.external = src.starts_with("203").then(|| src.to_owned());
        }
        !sent.is_empty()
    }
}

const CLIENT: &str = "192.168.88.10:4000";
const SERVER: &str = "198.51.100.7:80";

fn connections(sim: &Sim) -> Vec<Connection<V4>> {
    let mut seen = Vec::new();
    for worker in &sim.workers {
        worker
            .conntrack()
            .v4
            .walk(0, 10_000, sim.now, |c| seen.push(c));
    }
    seen
}

/// The name of the label that the only connection has.
fn label(sim: &Sim) -> Option<String> {
    let all = connections(sim);
    assert_eq!(all.len(), 1);
    let label = all[0].layer7.label()?;
    sim.program.layer7.name(label).map(str::to_owned)
}

fn open_streams(sim: &Sim) -> usize {
    sim.slow.streams().len()
}

#[test]
fn layer7_protocol_lets_the_first_packets_pass_and_drops_what_comes_behind_the_label() {
    for workers in [1, 3] {
        let mut sim = Sim::new(&forbidding(HTTP), workers);
        let mut session = Session::open(&mut sim, CLIENT, SERVER);
        assert_eq!(label(&sim), None);
        assert!(session.send(&mut sim, LAN, ACK, b"GET /secret H"));
        assert_eq!((label(&sim), open_streams(&sim)), (None, 1));
        assert!(
            session.send(&mut sim, LAN, ACK, b"TTP/1.1\r\n"),
            "a copy is read"
        );
        assert_eq!(label(&sim).as_deref(), Some("http"));
        assert_eq!(open_streams(&sim), 0, "its memory is free");
        assert!(!session.send(&mut sim, LAN, ACK, b"Host: x\r\n"));
        assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
        assert!(
            !session.send(&mut sim, WAN, ACK, b"HTTP/1.1 200"),
            "both directions"
        );
        assert_eq!(sim.rule_packets(1), 2);
        balanced(&sim);
    }
}

#[test]
fn layer7_protocol_negated_holds_until_the_label_is_there_and_not_behind_it() {
    let policy = with(
        open_policy(),
        vec![Rule {
            ..rule(asking(SSH, true), Action::Passthrough)
        }],
    );
    let mut sim = Sim::new(&policy, 1);
    let mut session = Session::open(&mut sim, CLIENT, "198.51.100.7:22");
    assert_eq!(sim.rule_packets(0), 3);
    session.send(&mut sim, WAN, ACK, b"SSH-2.0-OpenSSH_9.2p1\r\n");
    assert_eq!(sim.rule_packets(0), 4);
    assert_eq!(label(&sim).as_deref(), Some("ssh"));
    session.send(&mut sim, LAN, ACK, b"SSH-2.0-x\r\n");
    assert_eq!(sim.rule_packets(0), 4);
}

#[test]
fn both_directions_are_one_buffer_in_order_of_arrival() {
    let mut policy = open_policy();
    policy.layer7 = Layer7Policy::new(vec![protocol("dialogue", "^helo.*welcome")]);
    let wanted = Matchers {
        in_interface: Some(is(turnpike_pipeline::ids::IfaceId(0))),
        ..asking(HTTP, false)
    };
    policy.filter.chains[FORWARD].rules = vec![rule(wanted, Action::Drop)];
    let mut sim = Sim::new(&policy, 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, LAN, ACK, b"HELO");
    session.send(&mut sim, WAN, ACK, b"\0Welcome");
    assert_eq!(
        label(&sim).as_deref(),
        Some("dialogue"),
        "though the rule sees one only"
    );
    assert!(!session.send(&mut sim, LAN, ACK, b"x"));
    assert!(session.send(&mut sim, WAN, ACK, b"x"));
}

#[test]
fn udp_icmp_and_ipv6_are_looked_through_as_well() {
    let mut policy = open_policy();
    policy.layer7 = Layer7Policy::new(vec![protocol("ping", "ping")]);
    policy.filter.chains[FORWARD].rules = vec![rule(asking(HTTP, false), Action::Drop)];
    for (src, dst) in [
        ("192.168.88.10:4000", "198.51.100.7:53"),
        ("[fd00:88::10]:4000", "[2001:db8:7::7]:53"),
    ] {
        let mut sim = Sim::new(&policy, 1);
        let udp = |payload: &[u8]| {
            let craft = Craft::udp(at(src), at(dst)).unwrap().payload(payload);
            to_gateway(LAN, craft)
        };
        assert!(!sim.inject(LAN, udp(b"a ping")).is_empty());
        assert!(sim.inject(LAN, udp(b"more")).is_empty());
    }
    let mut sim = Sim::new(&policy, 1);
    let ping = || echo(LAN, "192.168.88.10", "198.51.100.7", 8, 7);
    assert!(!sim.inject(LAN, ping()).is_empty());
    assert!(sim.inject(LAN, ping()).is_empty());
    let spec = IcmpSpec {
        kind: 128,
        ..IcmpSpec::default()
    };
    let mut sim = Sim::new(&policy, 1);
    let (src, dst) = (sim::ip("fd00:88::10"), sim::ip("2001:db8:7::7"));
    let craft = || Craft::icmp(src, dst, spec).unwrap().payload(b"ping");
    assert!(!sim.inject(LAN, to_gateway(LAN, craft())).is_empty());
    assert!(sim.inject(LAN, to_gateway(LAN, craft())).is_empty());
    let mut seen = 0;
    let v6 = &sim.workers[0].conntrack().v6;
    v6.walk(0, 100, sim.now, |c: Connection<V6>| {
        seen += usize::from(c.layer7.label().is_some());
    });
    assert_eq!(seen, 1);
}

#[test]
fn the_first_rule_in_order_wins_and_a_labelled_connection_is_left_alone() {
    let rules = vec![
        rule(asking(Layer7Id(2), false), Action::Passthrough),
        rule(asking(SSH, false), Action::Drop),
        rule(asking(Layer7Id(2), false), Action::Passthrough),
    ];
    let mut policy = with(open_policy(), rules);
    policy.layer7.protocols[1] = protocol("ssh", "220 ");
    let mut sim = Sim::new(&policy, 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, WAN, ACK, b"220 FTP ready\r\n");
    assert_eq!(
        label(&sim).as_deref(),
        Some("banner"),
        "both match in this packet"
    );
    assert!(
        session.send(&mut sim, WAN, ACK, b"220 again\r\n"),
        "another pattern"
    );
    let counts: Vec<u64> = (0..3).map(|rule| sim.rule_packets(rule)).collect();
    assert_eq!(
        counts,
        [1, 0, 1],
        "the same pattern in a later rule matches, too"
    );
}

#[test]
fn a_connection_that_no_rule_could_label_is_not_sampled() {
    let only_udp = Matchers {
        protocol: Some(is(turnpike_conntrack::tuple::Proto::UDP)),
        ..asking(HTTP, false)
    };
    let accept_first = rule(
        Matchers {
            port: Some(is(turnpike_pipeline::policy::PortSet::new([80..=80]))),
            ..Matchers::default()
        },
        Action::Accept,
    );
    let disabled = Rule {
        disabled: true,
        ..rule(asking(HTTP, false), Action::Drop)
    };
    for (rules, samples) in [
        (vec![rule(only_udp.clone(), Action::Drop)], 0),
        (
            vec![accept_first, rule(asking(HTTP, false), Action::Drop)],
            0,
        ),
        (vec![disabled, rule(only_udp, Action::Drop)], 0),
        (vec![], 0),
        (vec![rule(asking(HTTP, false), Action::Drop)], 1),
    ] {
        let mut sim = Sim::new(&with(open_policy(), rules), 1);
        let mut session = Session::open(&mut sim, CLIENT, SERVER);
        session.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n");
        let taken: u64 = sim
            .program
            .layer7
            .samples()
            .iter()
            .map(|s| s.taken.read())
            .sum();
        assert_eq!(taken, samples);
    }
}

#[test]
fn ten_packets_or_two_kilobytes_are_looked_at_and_then_the_memory_is_free() {
    let mut sim = Sim::new(&forbidding(HTTP), 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    for n in 1..=PACKETS_MAX {
        assert!(session.send(&mut sim, LAN, ACK, b"x"));
        assert_eq!(
            open_streams(&sim),
            usize::from(n < PACKETS_MAX),
            "packet {n}"
        );
    }
    for data in [&b"GET / HTTP/1.1\r\n"[..], b"y"] {
        assert!(session.send(&mut sim, LAN, ACK, data));
    }
    let counters = sim.program.layer7.counters();
    assert_eq!((counters.packets.read(), counters.unknown.read()), (10, 1));

    let mut sim = Sim::new(&forbidding(HTTP), 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    assert!(session.send(&mut sim, LAN, ACK, &[b'x'; 1_400]));
    assert_eq!(open_streams(&sim), 1);
    assert!(session.send(&mut sim, WAN, ACK, &[b'x'; BUFFER_MAX - 1_400]));
    assert_eq!(open_streams(&sim), 0);
    assert!(session.send(&mut sim, LAN, ACK, b"x"));
    assert_eq!(sim.program.layer7.counters().packets.read(), 2);
    assert_eq!(connections(&sim)[0].layer7, Layer7::Unknown);
}

#[test]
fn mangle_marks_by_layer7_protocol_behind_the_label() {
    let mut policy = with(open_policy(), vec![]);
    policy.marks = vec!["web".to_owned()];
    let mark = Action::Edit(
        Edit::Mark(MarkKind::Connection, Some(MarkId(0))),
        Then::GoOn,
    );
    policy.mangle.chains[0].rules = vec![rule(asking(HTTP, false), mark)];
    let mut sim = Sim::new(&policy, 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, LAN, ACK, b"GET / HTTP/1.0\r\n");
    assert_eq!(connections(&sim)[0].mark, 0);
    session.send(&mut sim, LAN, ACK, b"\r\n");
    assert_eq!(connections(&sim)[0].mark, 1);
}

#[test]
fn a_reload_keeps_labels_and_goes_on_with_what_it_does_not_change() {
    let mut sim = Sim::new(&forbidding(SSH), 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, LAN, ACK, b"SSH");
    sim.reload(&forbidding(SSH));
    assert_eq!(open_streams(&sim), 1, "the same is looked for");
    session.send(&mut sim, LAN, ACK, b"-2.0-x\r\n");
    assert_eq!(label(&sim).as_deref(), Some("ssh"));
    // Another protocol comes before it, so that numbers of the configuration move.
    let mut policy = forbidding(Layer7Id(2));
    policy.layer7.protocols.insert(0, protocol("new", "^new"));
    sim.reload(&policy);
    assert_eq!(
        label(&sim).as_deref(),
        Some("ssh"),
        "a label outlives programs"
    );
    assert!(
        !session.send(&mut sim, LAN, ACK, b"x"),
        "the third is ssh now"
    );
}

#[test]
fn a_reload_that_looks_for_something_else_ends_what_was_begun_with() {
    let mut sim = Sim::new(&forbidding(SSH), 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, LAN, ACK, b"GET ");
    sim.reload(&forbidding(HTTP));
    session.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n");
    assert_eq!((label(&sim), open_streams(&sim)), (None, 0));
    // A connection that is opened now is looked at from its start.
    let mut next = Session::open(&mut sim, "192.168.88.10:4001", SERVER);
    next.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n");
    assert!(!next.send(&mut sim, LAN, ACK, b"x"));
}

#[test]
fn a_connection_that_is_older_than_what_is_looked_at_is_left_alone() {
    let mut sim = Sim::new(&open_policy(), 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    for _ in 0..10 {
        session.send(&mut sim, LAN, ACK, b"x");
    }
    let mut policy = open_policy();
    policy.layer7 = Layer7Policy::new(vec![protocol("get", "get")]);
    policy.filter.chains[FORWARD].rules = vec![rule(asking(HTTP, false), Action::Drop)];
    sim.reload(&policy);
    for _ in 0..3 {
        assert!(session.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n"));
    }
    assert_eq!(sim.program.layer7.counters().opened.read(), 0);
}

/// A policy in which a rule asks for `ssh` and says what becomes of what could not be looked at.
fn failing(fail: Option<Layer7Fail>) -> Policy {
    let matchers = Matchers {
        layer7_fail: fail,
        ..asking(SSH, false)
    };
    with(open_policy(), vec![rule(matchers, Action::Drop)])
}

#[test]
fn without_room_for_samples_a_rule_fails_open_or_closed_as_it_says() {
    for (fail, passes) in [
        (None, true),
        (Some(Layer7Fail::Open), true),
        (Some(Layer7Fail::Closed), false),
    ] {
        let mut sim = Sim::new(&failing(fail), 1);
        sim.samples_wait = true;
        // Whoever fills all places with samples that nobody reads.
        for n in 0..SAMPLES_MAX {
            let from = format!("192.168.88.11:{}", 1_000 + n);
            let craft = Craft::udp(at(&from), at("198.51.100.9:9")).unwrap();
            sim.inject(LAN, to_gateway(LAN, craft.payload(b"x")));
        }
        let mut session = Session::open(&mut sim, CLIENT, SERVER);
        assert!(session.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n"));
        assert_eq!(session.send(&mut sim, LAN, ACK, b"x"), passes, "{fail:?}");
        assert_eq!(sim.program.layer7.samples()[0].missed.read(), 1);
        sim.samples_wait = false;
        while open_streams(&sim) < SAMPLES_MAX {
            sim.read_samples();
        }
        let mut next = Session::open(&mut sim, "192.168.88.10:4001", SERVER);
        assert!(next.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n"));
        assert!(next.send(&mut sim, LAN, ACK, b"x"), "there is room again");
        balanced(&sim);
    }
}

#[test]
fn silent_connections_are_given_up_after_a_while() {
    let mut sim = Sim::new(&forbidding(SSH), 1);
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, LAN, ACK, b"SSH-");
    sim.advance(59_000);
    assert_eq!(open_streams(&sim), 1);
    sim.advance(1_000);
    assert_eq!(open_streams(&sim), 0);
    assert_eq!(sim.program.layer7.counters().silent.read(), 1);
    session.send(&mut sim, LAN, ACK, b"2.0-x\r\n");
    assert_eq!((label(&sim), open_streams(&sim)), (None, 0));
}

#[test]
fn what_was_found_is_not_told_of_another_connection_in_the_same_place() {
    let mut sim = Sim::new(&forbidding(HTTP), 1);
    sim.samples_wait = true;
    let mut session = Session::open(&mut sim, CLIENT, SERVER);
    session.send(&mut sim, LAN, ACK, b"GET / HTTP/1.1\r\n");
    let gone = connections(&sim)[0].id;
    let later = Tick::from_micros(sim.now.as_micros() + 10 * 86_400_000_000);
    sim.now = later;
    sim.advance(1);
    assert_eq!(sim.connections(), 0);
    let mut other = Session::open(&mut sim, "192.168.88.10:4001", SERVER);
    assert_eq!(connections(&sim)[0].id, gone);
    sim.samples_wait = false;
    sim.read_samples();
    assert_eq!(label(&sim), None);
    assert!(other.send(&mut sim, LAN, ACK, b"x"));
}
