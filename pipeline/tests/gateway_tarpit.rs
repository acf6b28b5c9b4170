//! Clients that are kept hanging, through the whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{ACK, RST, SYN, SYN_ACK, at, balanced, one, tcp, to_gateway};
use sim::{LAN, Sim, is, open_policy, rule};
use turnpike_conntrack::tuple::Proto;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::policy::{Action, Matchers, RejectWith};

fn tarpit() -> Sim {
    let mut policy = open_policy();
    let only_tcp = Matchers {
        protocol: Some(is(Proto::TCP)),
        ..Matchers::default()
    };
    let tarpit = Action::Reject(RejectWith::Tarpit);
    policy.filter.chains[1].rules.push(rule(only_tcp, tarpit));
    Sim::new(&policy, 2)
}

const FIN: u8 = 0x01;
const V4: (&str, &str) = ("192.168.88.10:40000", "198.51.100.7:25");
const V6: (&str, &str) = ("[fd00:88::10]:40000", "[2001:db8:7::7]:25");

/// A client that looks at what it is answered with.
struct Client(Sim, (&'static str, &'static str));

impl Client {
    fn segment(&self, flags: u8, seq: u32, ack: u32, len: usize) -> Vec<u8> {
        let spec = TcpSpec {
            flags,
            seq,
            ack,
            ..TcpSpec::default()
        };
        let craft = Craft::tcp(at(self.1.0), at(self.1.1), spec).unwrap();
        to_gateway(LAN, craft.payload_len(len))
    }

    /// Flags and numbers of what a segment with `len` bytes is answered with.
    fn sends(&mut self, flags: u8, seq: u32, ack: u32, len: usize) -> Option<(u8, u32, u32)> {
        let segment = self.segment(flags, seq, ack, len);
        let sent = self.0.inject(LAN, segment);
        assert_eq!(self.0.last_end().reason, Some(DropReason::FilterReject));
        if sent.is_empty() {
            return None;
        }
        let seen = one(&sent, LAN);
        let ports = seen.parsed.ports().map(|(s, d)| (s.0, d.0));
        assert_eq!(ports, Some((25, 40_000)));
        let answer = seen.parsed.tcp().unwrap();
        assert_eq!(answer.window, 0, "there is never room");
        Some((answer.flags, answer.seq, answer.ack))
    }
}

#[test]
fn tarpit_accepts_a_connection_and_takes_no_data_for_ever() {
    for ends in [V4, V6] {
        let mut client = Client(tarpit(), ends);
        let began = u32::MAX;
        let (flags, server, ack) = client.sends(SYN, began, 0, 0).unwrap();
        assert_eq!((flags, ack), (SYN_ACK, 0));
        let again = client.sends(SYN, began, 0, 0);
        assert_eq!(again, Some((SYN_ACK, server, 0)));
        let next = server.wrapping_add(1);
        let through = client.sends(ACK, 0, next, 0);
        assert_eq!(through, None, "the handshake is through");
        let still = Some((ACK, next, 0));
        for _ in 0..3 {
            assert_eq!(client.sends(ACK, 0, next, 100), still, "data");
            assert_eq!(client.sends(ACK, began, next, 0), still, "a bare probe");
            assert_eq!(client.sends(ACK, began, next, 1), still, "one with a byte");
            client.0.advance(60_000);
        }
        assert_eq!(client.0.connections(), 0, "nothing is remembered");
        balanced(&client.0);
    }
}

#[test]
fn tarpit_answers_nothing_that_could_be_answered_in_turn() {
    let mut client = Client(tarpit(), V4);
    let (_, server, _) = client.sends(SYN, 100, 0, 0).unwrap();
    let next = server.wrapping_add(1);
    for (flags, seq, ack, len) in [
        (RST, 101, 0, 0),
        (RST | ACK, 101, next, 0),
        (SYN_ACK, 100, next, 0),
        (FIN | ACK, 101, next, 0),
        // Of nothing that was accepted here.
        (ACK, 101, next.wrapping_add(9), 10),
        (ACK, 7_000, next, 10),
    ] {
        let answer = client.sends(flags, seq, ack, len);
        assert_eq!(answer, None, "{flags:#x} {seq}");
    }
    balanced(&client.0);
}

#[test]
fn tarpit_is_held_to_the_rate_of_answers() {
    let mut sim = tarpit();
    let mut answers = 0;
    for port in 1..=200 {
        let client = format!("192.168.88.10:{port}");
        answers += sim.inject(LAN, tcp(LAN, &client, V4.1, SYN, 1, 0)).len();
    }
    assert_eq!(answers, 50);
    assert_eq!(sim.slow_counters.answers_suppressed.read(), 150);
    balanced(&sim);
}
