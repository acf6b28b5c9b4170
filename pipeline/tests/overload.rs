//! What happens when there is more than there is room for: floods, full tables, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use std::net::Ipv4Addr;

use sim::packets::{ACK, RST, SYN, SYN_ACK, balanced, tcp, udp};
use sim::{LAN, PEER_MAC, Sim, WAN, is, masquerading_policy, open_policy, rule, states};
use turnpike_conntrack::ids::ConnState;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::nexthop::Neighbours;
use turnpike_pipeline::policy::{Action, ConnectionLimit, Match, Matchers, Policy, PortSet, Rule};

/// Connections that a worker's table holds here.
const ENTRIES: usize = 512;
const SERVER: &str = "198.51.100.7:443";

/// A gateway that picks up no connection in the middle: a segment passes because its connection is
/// in the table, or not at all.
fn sim(policy: &Policy, workers: u8) -> Sim {
    let mut policy = policy.clone();
    policy.tracking.loose_tcp = false;
    drop_invalid(&mut policy);
    Sim::with_neighbours(&policy, workers, Neighbours::Assume(PEER_MAC), ENTRIES)
}

/// Refuses what fits no connection, behind all other rules.
fn drop_invalid(policy: &mut Policy) {
    let invalid = Matchers {
        connection_state: states(&[ConnState::Invalid]),
        ..Matchers::default()
    };
    policy.filter.chains[1]
        .rules
        .push(rule(invalid, Action::Drop));
}

fn dropped(sim: &Sim, reason: DropReason) -> u64 {
    sim.counters.iter().map(|c| c.dropped(reason).read()).sum()
}

fn evicted(sim: &Sim) -> u64 {
    sim.workers.iter().map(|w| w.conntrack().v4.evicted()).sum()
}

/// The `n`th inside host, one connection each.
fn host(n: u16) -> String {
    let [high, low] = n.to_be_bytes();
    format!("192.168.{}.{}:40000", 90 + high, low)
}

/// Sends a frame; what left, of which there is one.
fn passes(sim: &mut Sim, port: PortId, frame: Vec<u8>) -> bool {
    sim.inject(port, frame).len() == 1
}

/// A TCP handshake of `host` across the gateway, untranslated; whether each step passed.
fn handshake(sim: &mut Sim, host: &str) -> bool {
    passes(sim, LAN, tcp(LAN, host, SERVER, SYN, 100, 0)) && finish(sim, host)
}

/// The rest of a handshake.
fn finish(sim: &mut Sim, host: &str) -> bool {
    passes(sim, WAN, tcp(WAN, SERVER, host, SYN_ACK, 500, 101))
        && passes(sim, LAN, tcp(LAN, host, SERVER, ACK, 101, 501))
}

fn established(sim: &mut Sim, hosts: u16) {
    for n in 0..hosts {
        assert!(handshake(sim, &host(n)), "host {n}: {:?}", sim.last_end());
    }
}

fn all_pass(sim: &mut Sim, hosts: u16) {
    for n in 0..hosts {
        let (ack, back) = (
            tcp(LAN, &host(n), SERVER, ACK, 101, 501),
            tcp(WAN, SERVER, &host(n), ACK, 501, 101),
        );
        assert!(passes(sim, LAN, ack), "from host {n}");
        assert!(passes(sim, WAN, back), "to host {n}");
    }
}

/// Sources that nobody has: as many as one likes, each another one.
struct Spoofer(u32);

impl Spoofer {
    fn next(&mut self) -> String {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let port = 1_024 + self.0 % 60_000;
        format!("{}:{port}", Ipv4Addr::from(0x0a00_0000 | self.0 >> 8))
    }

    fn burst(&mut self, frame: impl Fn(&str) -> Vec<u8>) -> Vec<Vec<u8>> {
        (0..64).map(|_| frame(&self.next())).collect()
    }
}

fn datagram(source: &str) -> Vec<u8> {
    udp(LAN, source, "198.51.100.9:53")
}

fn attempt(source: &str) -> Vec<u8> {
    tcp(LAN, source, SERVER, SYN, 7, 0)
}

/// Ten times as many packets as there are places, with the established ones looked at throughout.
fn flood(sim: &mut Sim, frame: impl Fn(&str) -> Vec<u8>, established: u16) -> (u64, u64) {
    let (mut sent, mut passed) = (0, 0);
    let mut spoofer = Spoofer(1);
    let bursts = 10 * ENTRIES * sim.workers.len() / 64;
    for burst in 0..bursts {
        let frames = spoofer.burst(&frame);
        sent += 64;
        passed += sim.inject_burst(LAN, frames).len() as u64;
        sim.advance(1);
        if burst % 16 == 0 {
            all_pass(sim, established);
        }
    }
    all_pass(sim, established);
    for worker in &sim.workers {
        let table = &worker.conntrack().v4;
        assert!(table.len() <= ENTRIES);
        table.check_invariants().expect("invariants");
    }
    balanced(sim);
    (sent, passed)
}

#[test]
fn a_flood_of_datagrams_takes_the_place_of_itself_and_of_no_established_connection() {
    for workers in [1, 3] {
        let mut sim = sim(&open_policy(), workers);
        established(&mut sim, 100);
        let (sent, passed) = flood(&mut sim, datagram, 100);
        assert!(evicted(&sim) > sent / 2, "{} evicted", evicted(&sim));
        let refused = dropped(&sim, DropReason::TableFull);
        assert_eq!(sent, passed + refused);
    }
}

#[test]
fn a_table_full_of_established_connections_refuses_every_new_one_with_a_reason() {
    for frame in [datagram, attempt] {
        let mut sim = sim(&open_policy(), 1);
        established(&mut sim, ENTRIES as u16);
        let (sent, passed) = flood(&mut sim, frame, ENTRIES as u16);
        assert_eq!((passed, evicted(&sim)), (0, 0));
        assert_eq!(dropped(&sim, DropReason::TableFull), sent);
    }
}

#[test]
fn a_syn_flood_stops_to_make_connections_and_every_syn_is_accounted_for() {
    for workers in [1, 3] {
        let mut sim = sim(&open_policy(), workers);
        established(&mut sim, 100);
        let (sent, passed) = flood(&mut sim, attempt, 100);
        let held_back = dropped(&sim, DropReason::SynFlood);
        assert_eq!(sent, passed + held_back);
        assert_eq!(
            (evicted(&sim), dropped(&sim, DropReason::TableFull)),
            (0, 0)
        );
        for worker in &sim.workers {
            assert_eq!(worker.conntrack().v4.half_open(), ENTRIES / 4);
        }
    }
}

#[test]
fn clients_that_repeat_their_syn_get_in_during_a_flood() {
    let mut sim = sim(&masquerading_policy(), 1);
    let mut spoofer = Spoofer(1);
    let clients: Vec<String> = (0..20).map(host).collect();
    let syn = |client: &String| tcp(LAN, client, SERVER, SYN, 100, 0);
    let mut answered = 0;
    // Forty milliseconds of flood at a time, a burst each; clients start after 300 ms.
    for step in 0..100 {
        let mut syns = spoofer.burst(attempt);
        syns.truncate(if step < 3 { 64 } else { 40 });
        sim.inject_burst(LAN, syns);
        sim.advance(40);
        let again = step == 8 || step == 8 + 25;
        for client in clients.iter().filter(|_| again) {
            let sent = sim.inject(LAN, syn(client));
            let first = step == 8;
            assert_eq!(sent.len(), usize::from(!first), "{client} at step {step}");
            let Some((_, frame)) = sent.first() else {
                assert_eq!(sim.last_end().reason, Some(DropReason::SynFlood));
                continue;
            };
            // The server sees a translated client and answers that one.
            let outside = sim::packets::see(frame).tuple();
            let outside = format!("203.0.113.2:{}", outside.src_port.0);
            assert!(passes(
                &mut sim,
                WAN,
                tcp(WAN, SERVER, &outside, SYN_ACK, 500, 101)
            ));
            assert!(passes(
                &mut sim,
                LAN,
                tcp(LAN, client, SERVER, ACK, 101, 501)
            ));
            answered += 1;
        }
    }
    assert_eq!(answered, 20);
    balanced(&sim);
}

#[test]
fn the_gate_looks_at_no_rule_and_leaves_other_protocols_alone() {
    let mut policy = open_policy();
    let all = rule(Matchers::default(), Action::Passthrough);
    policy.filter.chains[1].rules.push(all);
    let mut sim = sim(&policy, 1);
    let (sent, passed) = flood(&mut sim, attempt, 0);
    assert!(passed < sent);
    assert_eq!(sim.rule_packets(0), passed);
    assert!(passes(&mut sim, LAN, datagram("192.168.88.10:4000")));
    // Half of the handshakes time out, and first attempts are welcome again.
    sim.advance(6_000);
    assert!(passes(&mut sim, LAN, attempt("192.168.88.10:4000")));
}

#[test]
fn the_watermark_is_the_configured_share_of_the_table() {
    let mut policy = open_policy();
    policy.tracking.syn_flood_watermark = 50;
    let mut sim = sim(&policy, 1);
    flood(&mut sim, attempt, 0);
    assert_eq!(sim.workers[0].conntrack().v4.half_open(), ENTRIES / 2);
}

fn limited(count: u32, prefix: u8, action: Action) -> Rule {
    let limit = ConnectionLimit { count, prefix };
    let matchers = Matchers {
        connection_limit: Some(is(limit)),
        ..Matchers::default()
    };
    rule(matchers, action)
}

fn forward(rules: Vec<Rule>) -> Policy {
    let mut policy = open_policy();
    policy.filter.chains[1].rules = rules;
    policy
}

fn opens(sim: &mut Sim, source: &str) -> bool {
    passes(sim, LAN, attempt(source))
}

#[test]
fn the_connection_above_the_limit_is_refused_until_one_has_closed() {
    let mut sim = sim(&forward(vec![limited(3, 32, Action::Drop)]), 1);
    for port in 1..=3 {
        assert!(handshake(&mut sim, &format!("192.168.88.10:{port}")));
    }
    assert!(!opens(&mut sim, "192.168.88.10:4"));
    assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
    assert!(opens(&mut sim, "192.168.88.11:4"), "another source");
    // Those within the limit go on: their packets are compared, and count nobody twice.
    for port in 1..=3 {
        let ack = tcp(LAN, &format!("192.168.88.10:{port}"), SERVER, ACK, 101, 501);
        assert!(passes(&mut sim, LAN, ack));
    }
    let reset = tcp(LAN, "192.168.88.10:2", SERVER, RST, 101, 0);
    assert!(passes(&mut sim, LAN, reset));
    assert!(opens(&mut sim, "192.168.88.10:4"));
    assert!(!opens(&mut sim, "192.168.88.10:5"));
    sim.advance(20_000);
    assert!(
        opens(&mut sim, "192.168.88.10:6"),
        "what did not answer has expired"
    );
    balanced(&sim);
}

#[test]
fn a_block_of_addresses_shares_a_limit_and_negation_means_within_it() {
    let mut sim = sim(&forward(vec![limited(2, 24, Action::Drop)]), 1);
    assert!(opens(&mut sim, "10.1.1.1:1") && opens(&mut sim, "10.1.1.2:1"));
    assert!(!opens(&mut sim, "10.1.1.3:1") && opens(&mut sim, "10.1.2.3:1"));

    let mut within = limited(2, 64, Action::Accept);
    within.matchers.connection_limit = Some(Match {
        value: ConnectionLimit {
            count: 2,
            prefix: 64,
        },
        negated: true,
    });
    let rules = vec![within, rule(Matchers::default(), Action::Drop)];
    let mut sim = self::sim(&forward(rules), 1);
    let mut opens6 = |n: u16| {
        let source = format!("[fd00:88::{n}]:{n}");
        passes(&mut sim, LAN, udp(LAN, &source, "[2001:db8:7::7]:53"))
    };
    assert!(opens6(11) && opens6(12) && !opens6(13));
}

#[test]
fn only_what_the_rest_of_the_rule_holds_for_is_counted() {
    let mut only_https = limited(1, 32, Action::Drop);
    only_https.matchers.protocol = Some(is(turnpike_conntrack::tuple::Proto::TCP));
    only_https.matchers.dst_port = Some(is(PortSet::new([443..=443])));
    let mut sim = sim(&forward(vec![only_https]), 1);
    for port in 1..5 {
        assert!(passes(
            &mut sim,
            LAN,
            datagram(&format!("192.168.88.10:{port}"))
        ));
    }
    assert!(opens(&mut sim, "192.168.88.10:1") && !opens(&mut sim, "192.168.88.10:2"));
    assert_eq!(sim.shared.limits.total(), 1);
}

#[test]
fn what_a_later_rule_refuses_is_counted_for_no_limit() {
    let rules = vec![
        limited(100, 32, Action::Drop),
        rule(Matchers::default(), Action::Drop),
    ];
    let mut sim = sim(&forward(rules), 1);
    for port in 1..50 {
        assert!(!opens(&mut sim, &format!("192.168.88.10:{port}")));
    }
    assert_eq!((sim.shared.limits.total(), sim.connections()), (0, 0));
}

#[test]
fn a_nat_rule_counts_too_and_once_however_often_it_is_met() {
    let mut policy = open_policy();
    let limit = limited(2, 32, Action::Accept);
    policy.nat.chains[0].rules.push(limit);
    let mut sim = sim(&policy, 1);
    for port in 1..=5 {
        assert!(opens(&mut sim, &format!("192.168.88.10:{port}")));
        assert!(
            opens(&mut sim, &format!("192.168.88.10:{port}")),
            "a repeated SYN"
        );
    }
    assert_eq!(sim.rule_packets(0), 3, "the third and those behind it");
    assert_eq!(sim.shared.limits.total(), 5);
}

#[test]
fn a_limit_holds_for_all_workers_together() {
    let mut sim = sim(&forward(vec![limited(10, 32, Action::Drop)]), 3);
    let admitted = (1..=100).filter(|p| opens(&mut sim, &format!("192.168.88.10:{p}")));
    assert_eq!(admitted.count(), 10);
    let busy = sim.workers.iter().filter(|w| !w.conntrack().v4.is_empty());
    assert!(busy.count() > 1, "more than one worker has some of them");
}

#[test]
fn a_limit_outlives_a_reload_with_its_rule_and_ends_with_it() {
    let limit = || limited(3, 32, Action::Drop);
    let first = rule(Matchers::default(), Action::Passthrough);
    let mut sim = sim(&forward(vec![limit()]), 1);
    for port in 1..=3 {
        assert!(handshake(&mut sim, &format!("192.168.88.10:{port}")));
    }
    sim.reload(&forward(vec![first, limit()]));
    assert!(!opens(&mut sim, "192.168.88.10:4"));
    let ack = tcp(LAN, "192.168.88.10:1", SERVER, ACK, 101, 501);
    assert!(
        passes(&mut sim, LAN, ack),
        "judged again, and within the limit"
    );
    // Another rule has not counted the connections that came before it.
    sim.reload(&forward(vec![limited(4, 32, Action::Drop)]));
    for port in 5..=8 {
        assert!(opens(&mut sim, &format!("192.168.88.10:{port}")));
    }
    assert!(!opens(&mut sim, "192.168.88.10:9"));
}

#[test]
fn a_connection_is_taken_off_its_limits_however_it_ends() {
    let rules = || {
        vec![
            limited(1, 32, Action::Passthrough),
            limited(0, 0, Action::Passthrough),
        ]
    };
    for workers in [1, 3] {
        let mut sim = sim(&forward(rules()), workers);
        established(&mut sim, 50);
        flood(&mut sim, datagram, 50);
        flood(&mut sim, attempt, 50);
        assert!(evicted(&sim) > 0);
        assert_eq!(sim.shared.limits.total(), 2 * sim.connections() as u64);
        for n in 0..25 {
            sim.inject(LAN, tcp(LAN, &host(n), SERVER, RST, 101, 0));
        }
        sim.reload(&forward(vec![rule(
            Matchers {
                connection_state: states(&[ConnState::Established]),
                ..Matchers::default()
            },
            Action::Drop,
        )]));
        for n in 25..40 {
            sim.inject(LAN, tcp(LAN, &host(n), SERVER, ACK, 101, 501));
        }
        for _ in 0..100 {
            sim.advance(200);
        }
        assert_eq!(
            sim.connections(),
            10,
            "ten were neither closed nor judged again"
        );
        assert_eq!(sim.shared.limits.total(), 20);
        balanced(&sim);
    }
}

#[test]
fn what_cannot_be_counted_is_refused_with_a_reason() {
    // More rules count it than a connection can remember.
    let many: Vec<Rule> = (0..17)
        .map(|n| limited(100 + n, 32, Action::Drop))
        .collect();
    let mut sim = sim(&forward(many), 1);
    assert!(!opens(&mut sim, "192.168.88.10:1"));
    assert_eq!(sim.last_end().reason, Some(DropReason::ConnectionLimitFull));
    assert_eq!((sim.shared.limits.total(), sim.connections()), (0, 0));
}
