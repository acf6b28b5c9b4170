//! What rules ask of content and of connections' helpers, through the whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use std::time::Duration;

use sim::packets::{ACK, SYN, SYN_ACK, at, balanced, one, to_gateway, udp};
use sim::{LAN, Sim, WAN, is, masquerading_policy, open_policy, rule};
use turnpike_conntrack::expect::{
    Activity, ChildLife, Class, Destination, Expectation, Reservation, Source, Uses,
};
use turnpike_conntrack::ids::FlowId;
use turnpike_conntrack::tuple::{Port, Proto, V4};
use turnpike_helpers::glob::Glob;
use turnpike_helpers::helper::Reader;
use turnpike_helpers::names::helper_named;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::policy::{
    Action, Content, IpsecPolicy, IpsecSide, Match, Matchers, PacketAsk, PayloadAsk, Policy,
    Protection,
};

const FORWARD: usize = 1;

fn asking(ask: PayloadAsk, negated: bool) -> Matchers {
    Matchers {
        packet: vec![Match {
            value: PacketAsk::Payload(ask),
            negated,
        }],
        ..Matchers::default()
    }
}

fn forbidding(mut policy: Policy, matchers: Matchers) -> Policy {
    let forbidden = rule(matchers, Action::Drop);
    policy.filter.chains[FORWARD].rules.push(forbidden);
    policy
}

fn content(bytes: &[u8]) -> PayloadAsk {
    PayloadAsk::Content(Content::new(bytes).unwrap())
}

fn tls_host(pattern: &str) -> PayloadAsk {
    PayloadAsk::TlsHost(Glob::read(pattern).unwrap())
}

/// Whether the frame left; if not, a filter rule has dropped it.
fn passes(sim: &mut Sim, port: PortId, frame: Vec<u8>) -> bool {
    let sent = !sim.inject(port, frame).is_empty();
    let expected = (!sent).then_some(DropReason::FilterRule);
    assert_eq!(sim.last_end().reason, expected);
    sent
}

#[test]
fn content_is_looked_for_in_each_packet_of_either_family() {
    for (src, dst) in [
        ("192.168.88.10:4000", "198.51.100.7:53"),
        ("[fd00:88::10]:4000", "[2001:db8:7::7]:53"),
    ] {
        let with = |payload: &[u8]| {
            let craft = Craft::udp(at(src), at(dst)).unwrap().payload(payload);
            to_gateway(LAN, craft)
        };
        for (negated, expected) in [(false, [true, false, true]), (true, [false, true, false])] {
            let asked = asking(content(b"Evil\0"), negated);
            let mut sim = Sim::new(&forbidding(open_policy(), asked), 1);
            let frames = [with(b"evil\0"), with(b"not Evil\0 at all"), with(b"Evil")];
            let seen = frames.map(|frame| passes(&mut sim, LAN, frame));
            assert_eq!(seen, expected);
            balanced(&sim);
        }
    }
}

#[test]
fn content_is_looked_for_from_the_ip_header_on_and_no_further_than_its_end() {
    let frame = || udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    let passes_without = |bytes: &[u8], frame: Vec<u8>| {
        let asked = asking(content(bytes), false);
        let mut sim = Sim::new(&forbidding(open_policy(), asked), 1);
        passes(&mut sim, LAN, frame)
    };
    assert!(!passes_without(&[198, 51, 100, 7], frame()), "an address");
    assert!(!passes_without(&[0x45, 0], frame()), "the first bytes");
    assert!(passes_without(&[8, 0, 0x45, 0], frame()), "of the link's");
    let padded = [frame(), b"padding".to_vec()].concat();
    assert!(passes_without(b"padding", padded), "behind the packet");
}

/// A ClientHello for this name.
fn hello(name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap();
        [&len.to_be_bytes(), bytes].concat()
    };
    let host = [&[0][..], &sized(name.as_bytes())].concat();
    let server_name = [&[0, 0][..], &sized(&sized(&host))].concat();
    let padding = [&[0, 21][..], &sized(&[0; 600])].concat();
    let extensions = sized(&[padding.clone(), server_name, padding].concat());
    let fixed = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 19, 1], &[1, 0]].concat();
    let body = sized(&[fixed, extensions].concat());
    let message = [&[1, 0][..], &body].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

struct Client {
    from: &'static str,
    to: &'static str,
}

const CLIENT4: Client = Client {
    from: "192.168.88.10:4000",
    to: "198.51.100.7:443",
};
const CLIENT6: Client = Client {
    from: "[fd00:88::10]:4000",
    to: "[2001:db8:7::7]:443",
};

impl Client {
    /// A segment of the client, or else of the server, from `seq` on.
    fn segment(&self, port: PortId, flags: u8, (seq, ack): (u32, u32), data: &[u8]) -> Vec<u8> {
        let (src, dst) = if port == LAN {
            (at(self.from), at(self.to))
        } else {
            (at(self.to), at(self.from))
        };
        let spec = TcpSpec {
            flags,
            seq,
            ack,
            ..TcpSpec::default()
        };
        to_gateway(port, Craft::tcp(src, dst, spec).unwrap().payload(data))
    }

    fn connect(&self, sim: &mut Sim) {
        assert!(passes(sim, LAN, self.segment(LAN, SYN, (100, 0), b"")));
        let answer = self.segment(WAN, SYN_ACK, (500, 101), b"");
        assert!(passes(sim, WAN, answer));
        assert!(passes(sim, LAN, self.segment(LAN, ACK, (101, 501), b"")));
    }

    /// Whether this part of what the client sends first passes.
    fn sends(&self, sim: &mut Sim, bytes: &[u8], from: usize, to: usize) -> bool {
        let seq = 101 + u32::try_from(from).unwrap();
        passes(
            sim,
            LAN,
            self.segment(LAN, ACK, (seq, 501), &bytes[from..to]),
        )
    }
}

#[test]
fn tls_host_is_the_name_that_a_client_hello_asks_for() {
    for client in [CLIENT4, CLIENT6] {
        for (name, pattern, negated, passing) in [
            ("www.Example.org", "*.example.org", false, false),
            ("example.org", "*.example.org", false, true),
            ("www.example.org", "*.example.org", true, true),
            ("example.com", "*.example.org", true, false),
        ] {
            let asked = asking(tls_host(pattern), negated);
            let mut sim = Sim::new(&forbidding(open_policy(), asked), 1);
            client.connect(&mut sim);
            let bytes = hello(name);
            let whole = client.sends(&mut sim, &bytes, 0, bytes.len());
            assert_eq!(whole, passing, "{name} {pattern}");
            let answer = client.segment(WAN, ACK, (501, 101), b"\x16\x03\x03\0\x05\x02hello");
            assert!(passes(&mut sim, WAN, answer), "a server has no such name");
            balanced(&sim);
        }
    }
}

#[test]
fn tls_host_of_a_client_hello_in_several_segments_is_that_of_the_one_that_completes_it() {
    for client in [CLIENT4, CLIENT6] {
        let asked = asking(tls_host("*.example.org"), false);
        let mut sim = Sim::new(&forbidding(open_policy(), asked), 1);
        client.connect(&mut sim);
        let bytes = hello("www.example.org");
        let at = bytes
            .windows(15)
            .position(|w| w == b"www.example.org")
            .unwrap();
        assert!(client.sends(&mut sim, &bytes, 0, 100));
        assert!(client.sends(&mut sim, &bytes, 100, at + 14));
        // The client repeats what nobody acknowledges.
        for _ in 0..3 {
            assert!(!client.sends(&mut sim, &bytes, at + 14, bytes.len()));
        }
        assert!(!client.sends(&mut sim, &bytes, 100, bytes.len()));
        balanced(&sim);
    }
}

#[test]
fn tls_host_is_seen_by_more_than_one_rule_and_table() {
    let mut policy = forbidding(open_policy(), asking(tls_host("b.*"), false));
    policy = forbidding(policy, asking(tls_host("a.*"), false));
    let noted = rule(asking(tls_host("a.*"), false), Action::Passthrough);
    policy.raw.chains[0].rules.push(noted.clone());
    policy.mangle.chains[2].rules.push(noted);
    let mut sim = Sim::new(&policy, 1);
    CLIENT4.connect(&mut sim);
    let bytes = hello("a.example.org");
    assert!(CLIENT4.sends(&mut sim, &bytes, 0, 300));
    assert!(!CLIENT4.sends(&mut sim, &bytes, 300, bytes.len()));
    let counted: Vec<u64> = (0..4).map(|rule| sim.rule_packets(rule)).collect();
    assert_eq!(counted.iter().sum::<u64>(), 3, "{counted:?}");
    assert!(counted.iter().all(|packets| *packets <= 1), "{counted:?}");
}

#[test]
fn ipsec_policy_none_always_holds_and_ipsec_never() {
    let policy = |side, protection| {
        let asked = Matchers {
            ipsec_policy: Some(is(IpsecPolicy { side, protection })),
            ..Matchers::default()
        };
        let mut sim = Sim::new(&forbidding(open_policy(), asked), 1);
        let frame = udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
        passes(&mut sim, LAN, frame)
    };
    for side in [IpsecSide::In, IpsecSide::Out] {
        assert!(!policy(side, Protection::None));
        assert!(policy(side, Protection::Ipsec));
    }
}

#[test]
fn connection_type_is_the_helper_of_an_announced_connection_from_its_first_packet_on() {
    let of = |name: &str, negated| {
        let asked = Matchers {
            connection_type: Some(Match {
                value: helper_named(name).unwrap(),
                negated,
            }),
            ..Matchers::default()
        };
        let mut sim = Sim::new(&forbidding(masquerading_policy(), asked), 1);
        let master = udp(LAN, "192.168.88.10:5070", "198.51.100.7:5070");
        let passed = passes(&mut sim, LAN, master.clone());
        // What nobody has announced has no helper: negated, the question holds.
        assert_eq!(passed, !negated);
        if negated {
            return;
        }
        // The number of this reader is that of no helper: only by its helper is it known.
        announce(&mut sim, Reader::Registration);
        let call = || udp(WAN, "198.51.100.7:7000", "203.0.113.2:6000");
        let answer = || udp(LAN, "192.168.88.10:6000", "198.51.100.7:7000");
        for _ in 0..2 {
            assert_eq!(passes(&mut sim, WAN, call()), name != "h323", "{name}");
        }
        if name != "h323" {
            assert!(passes(&mut sim, LAN, answer()));
        }
        assert!(passes(&mut sim, LAN, master));
    };
    of("h323", false);
    of("ftp", false);
    of("h323", true);
}

#[test]
fn connection_type_is_the_helper_that_reads_a_connection() {
    let asked = Matchers {
        connection_type: Some(is(helper_named("h323").unwrap())),
        ..Matchers::default()
    };
    let mut sim = Sim::new(&forbidding(open_policy(), asked), 1);
    let frame = || udp(LAN, "192.168.88.10:4000", "198.51.100.7:53");
    one(&sim.inject(LAN, frame()), WAN);
    let id = only_connection(&sim);
    let table = &mut sim.workers[0].conntrack_mut().v4;
    table.set_helper(id, Reader::Registration.number());
    // A helper is given before a connection is judged; here a reload has it judged again.
    let policy = forbidding(
        open_policy(),
        Matchers {
            connection_type: Some(is(helper_named("h323").unwrap())),
            ..Matchers::default()
        },
    );
    sim.reload(&policy);
    assert!(!passes(&mut sim, LAN, frame()));
}

fn only_connection(sim: &Sim) -> FlowId {
    let mut found = Vec::new();
    let table = &sim.workers[0].conntrack().v4;
    table.walk(0, 1_000, sim.now, |c| found.push(c.id));
    assert_eq!(found.len(), 1);
    found[0]
}

/// The connection that there is announces one to port 6000 of the same host.
fn announce(sim: &mut Sim, reader: Reader) {
    let id = only_connection(sim);
    let table = &mut sim.workers[0].conntrack_mut().v4;
    let master = table.announce(id).unwrap();
    let expected = Expectation::<V4> {
        proto: Proto::UDP,
        destination: ([203, 0, 113, 2], Port(6_000)),
        source: None,
        source_port: None,
        uses: Uses::UntilTimeout,
        activity: Activity::Active,
        helper: reader.number(),
        life: ChildLife::Own,
        new_destination: Destination::To([192, 168, 88, 10], Port(6_000)),
        new_source: Source::Keep,
        reservation: Reservation::None,
    };
    let class = Class {
        number: 0,
        max_expected: 4,
        timeout: Duration::from_secs(60),
    };
    let made = sim
        .shared
        .expectations
        .expect(master, &class, expected, sim.now);
    assert!(made.is_ok(), "{made:?}");
}
