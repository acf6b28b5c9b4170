//! Control connections and what they announce, through a whole gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod sim;

use sim::packets::{SYN, SYN_ACK, at, balanced, see, tcp, to_gateway as frame};
use sim::{LAN, Sim, WAN, WAN_IF, is, masquerading_policy, open_policy, rule, states};
use turnpike_conntrack::ids::ConnState;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::PortId;
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::packet::parse::inspect;
use turnpike_pipeline::policy::{
    Action, AddressRange, Matchers, Policy, PortRange, ServicePorts, Translation, WhenFull,
};
use turnpike_pipeline::witness::Ending;

const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;
const FIN_ACK: u8 = 0x11;

/// Masquerade; from outside comes only what is established or related.
fn policy() -> Policy {
    let mut policy = masquerading_policy();
    guard(&mut policy);
    policy
}

fn guard(policy: &mut Policy) {
    let known = Matchers {
        connection_state: states(&[ConnState::Established, ConnState::Related]),
        ..Matchers::default()
    };
    let from_wan = Matchers {
        in_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    };
    policy.filter.chains[1].rules = vec![rule(known, Action::Accept), rule(from_wan, Action::Drop)];
}

/// One side of a TCP connection, as it counts itself.
#[derive(Debug, Clone)]
struct Side {
    port: PortId,
    own: String,
    peer: String,
    next: u32,
    /// What it has of the other side's.
    have: u32,
}

impl Side {
    fn frame(&self, flags: u8, seq: u32, options: &'static [u8], payload: &[u8]) -> Vec<u8> {
        let spec = TcpSpec {
            flags,
            seq,
            ack: self.have,
            options,
            ..TcpSpec::default()
        };
        let craft = Craft::tcp(at(&self.own), at(&self.peer), spec).unwrap();
        frame(self.port, craft.payload(payload))
    }

    /// Says something new.
    fn say(&mut self, sim: &mut Sim, payload: &str) -> Vec<Sent> {
        let frame = self.frame(PSH_ACK, self.next, &[], payload.as_bytes());
        self.next += u32::try_from(payload.len()).unwrap();
        sent(sim, self.port, frame)
    }

    /// Acknowledges what it has.
    fn ack(&self, sim: &mut Sim) -> Vec<Sent> {
        sent(sim, self.port, self.frame(ACK, self.next, &[], b""))
    }
}

/// A packet that came out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    port: PortId,
    words: String,
    seq: u32,
    ack: u32,
    flags: u8,
    text: String,
}

fn sent(sim: &mut Sim, port: PortId, frame: Vec<u8>) -> Vec<Sent> {
    let out = sim.inject(port, frame);
    out.into_iter()
        .map(|(port, frame)| read(port, &frame))
        .collect()
}

fn read(port: PortId, frame: &[u8]) -> Sent {
    let seen = see(frame);
    let tcp = seen.parsed.tcp().expect("a TCP segment");
    let payload = &frame[usize::from(seen.parsed.payload)..];
    Sent {
        port,
        words: seen.words(),
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        text: String::from_utf8_lossy(payload).into_owned(),
    }
}

fn one(sent: Vec<Sent>, port: PortId) -> Sent {
    let [only] = &sent[..] else {
        panic!("one packet is sent, not {sent:?}")
    };
    assert_eq!(only.port, port);
    only.clone()
}

const CLIENT: &str = "192.168.88.10:40000";
const OUTSIDE: &str = "203.0.113.2:40000";
const SERVER: &str = "198.51.100.7:21";

/// A session of a client behind the gateway, after its first words.
fn session(sim: &mut Sim) -> (Side, Side) {
    let client = Side {
        port: LAN,
        own: CLIENT.to_owned(),
        peer: SERVER.to_owned(),
        next: 1_000,
        have: 0,
    };
    let server = Side {
        port: WAN,
        own: SERVER.to_owned(),
        peer: OUTSIDE.to_owned(),
        next: 5_000,
        have: 0,
    };
    opened(sim, client, server)
}

fn opened(sim: &mut Sim, mut client: Side, mut server: Side) -> (Side, Side) {
    let syn = client.frame(SYN, client.next, &[], b"");
    let syn = one(sent(sim, client.port, syn), server.port);
    assert_eq!(syn.flags, SYN);
    // With several workers the outside port is chosen so that answers arrive at the right one.
    let outside = syn.words.split(" > ").next().unwrap();
    if !client.own.starts_with('[') {
        server.peer = outside.to_owned();
    }
    client.next += 1;
    server.have = client.next;
    let syn_ack = server.frame(SYN_ACK, server.next, &[], b"");
    one(sent(sim, server.port, syn_ack), client.port);
    server.next += 1;
    client.have = server.next;
    one(client.ack(sim), server.port);
    let hello = one(server.say(sim, "220 ready\r\n"), client.port);
    assert_eq!(hello.text, "220 ready\r\n");
    client.have = server.next;
    let user = one(client.say(sim, "USER anonymous\r\n"), server.port);
    assert_eq!(
        (user.text.as_str(), user.ack),
        ("USER anonymous\r\n", server.next)
    );
    server.have = client.next;
    one(server.ack(sim), client.port);
    (client, server)
}

/// The server opens the data connection to this port of the gateway.
fn data(sim: &mut Sim, port: u16) -> Vec<(PortId, Vec<u8>)> {
    let to = format!("203.0.113.2:{port}");
    let mut sent = sim.inject(WAN, tcp(WAN, "198.51.100.7:20", &to, SYN, 1, 0));
    sent.retain(|(port, _)| *port == LAN);
    sent
}

#[test]
fn an_active_client_behind_the_gateway_gets_its_data() {
    for workers in [1, 4] {
        let mut sim = Sim::new(&policy(), workers);
        let (mut client, mut server) = session(&mut sim);
        assert!(
            data(&mut sim, 50_000).is_empty(),
            "nothing is announced yet"
        );
        let port = one(client.say(&mut sim, "PORT 192,168,88,10,195,80\r\n"), WAN);
        assert_eq!(port.text, "PORT 203,0,113,2,195,80\r\n");
        assert_eq!(sim.last_end().ending, Ending::Accept);
        let came = data(&mut sim, 50_000);
        assert_eq!(
            see(&came[0].1).words(),
            "198.51.100.7:20 > 192.168.88.10:50000"
        );
        assert_eq!(sim.last_end().state, Some(ConnState::Related));
        // Two bytes fewer have arrived than were sent, from now on and in both directions.
        server.have = client.next - 2;
        let back = one(server.say(&mut sim, "200 ok\r\n"), LAN);
        assert_eq!((back.ack, back.seq), (client.next, server.next - 8));
        client.have = server.next;
        let list = one(client.say(&mut sim, "LIST\r\n"), WAN);
        assert_eq!((list.seq, list.ack), (server.have, server.next));
        assert_eq!(list.text, "LIST\r\n");
        balanced(&sim);
    }
}

#[test]
fn a_line_in_single_bytes_is_acknowledged_and_goes_out_whole() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, mut server) = session(&mut sim);
    let line = "PORT 192,168,88,10,195,80\r\n";
    let (head, last) = line.split_at(line.len() - 1);
    for byte in head.chars() {
        let ack = one(client.say(&mut sim, &byte.to_string()), LAN);
        assert_eq!(
            (ack.flags, ack.ack, ack.seq),
            (ACK, client.next, server.next)
        );
        assert_eq!(
            (ack.words, ack.text),
            (format!("{SERVER} > {CLIENT}"), String::new())
        );
        assert_eq!(sim.last_end().ending, Ending::Consumed);
    }
    let port = one(client.say(&mut sim, last), WAN);
    assert_eq!(port.text, "PORT 203,0,113,2,195,80\r\n");
    assert_eq!(port.seq, server.have);
    // It is lost: the client repeats its last byte, and all of it goes out again.
    client.next -= 1;
    let again = one(client.say(&mut sim, last), WAN);
    assert_eq!((&again.text, again.seq), (&port.text, port.seq));
    server.have += 25;
    assert_eq!(one(server.ack(&mut sim), LAN).ack, client.next);
    assert_eq!(data(&mut sim, 50_000).len(), 1);
    balanced(&sim);
}

#[test]
fn segments_that_overtake_others_wait_for_them() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, _) = session(&mut sim);
    let first = client.frame(PSH_ACK, client.next, &[], b"PORT 192,168,");
    client.next += 13;
    assert!(
        client.say(&mut sim, "88,10,195,80\r\n").is_empty(),
        "it waits"
    );
    assert_eq!(sim.last_end().ending, Ending::Held);
    assert_eq!(sim.slow_counters.held.read(), 1);
    balanced(&sim);
    let came = sent(&mut sim, LAN, first);
    let [ack, port] = &came[..] else {
        panic!("{came:?}")
    };
    assert_eq!((ack.port, ack.flags), (LAN, ACK));
    assert_eq!(port.text, "PORT 203,0,113,2,195,80\r\n");
    assert_eq!(sim.slow_counters.held.read(), 0);
    balanced(&sim);
}

#[test]
fn selective_acknowledgements_are_carried_back() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, mut server) = session(&mut sim);
    one(client.say(&mut sim, "PORT 192,168,88,10,195,80\r\n"), WAN);
    server.have = client.next - 2;
    one(server.ack(&mut sim), LAN);
    one(client.say(&mut sim, "LIST\r\n"), WAN);
    one(client.say(&mut sim, "QUIT\r\n"), WAN);
    // LIST is lost, QUIT has come: 1000 + 1 + 16 + 27 - 2 + 6 and the six behind.
    let block: &'static [u8] = &[1, 1, 5, 10, 0, 0, 4, 24, 0, 0, 4, 30];
    let frame = server.frame(ACK, server.next, block, b"");
    let out = sim.inject(WAN, frame);
    let parsed = inspect(&out[0].1, out[0].1.len()).unwrap();
    let options = &out[0].1[usize::from(parsed.l4) + 20..usize::from(parsed.payload)];
    assert_eq!(options, [1, 1, 5, 10, 0, 0, 4, 26, 0, 0, 4, 32]);
    assert_eq!(
        sim.first_end().state,
        Some(ConnState::Established),
        "the tracker agrees"
    );
    assert_eq!(client.next, 1_056);
}

#[test]
fn what_grows_beyond_the_link_goes_in_several_packets() {
    let mut sim = Sim::new(&dst_nat(), 1);
    let (mut client, mut server) = inside_server(&mut sim);
    one(client.say(&mut sim, "PASV\r\n"), LAN);
    server.have = client.next;
    let text = "x".repeat(1_400);
    let long = format!("200-{text}\r\n200 y\r\n227 (10,0,0,9,195,80)\r\n");
    let pad = 1_460 - long.len();
    let long = long.replace(" y", &format!(" {}", "y".repeat(pad + 1)));
    assert_eq!(long.len(), 1_460, "a full packet");
    let came = server.say(&mut sim, &long);
    let texts: Vec<_> = came.iter().map(|sent| sent.text.len()).collect();
    assert_eq!(texts, [1_460, 3], "it grew by three bytes");
    let whole: String = came.iter().map(|sent| sent.text.as_str()).collect();
    assert!(whole.ends_with("227 (203,0,113,2,195,80)\r\n"));
    assert_eq!(came[1].seq, came[0].seq + 1_460);
    assert_eq!([came[0].flags, came[1].flags], [ACK, PSH_ACK]);
    balanced(&sim);
}

/// The gateway's port 21 is a server behind it, which has another prefix than the clients see.
fn dst_nat() -> Policy {
    let mut policy = policy();
    policy.interfaces[0].addresses[0] = "10.0.0.1/24".parse().unwrap();
    let from_wan = Matchers {
        in_interface: Some(is(WAN_IF)),
        ..Matchers::default()
    };
    let server = "10.0.0.9".parse().unwrap();
    let to = Translation {
        addresses: Some(AddressRange {
            first: server,
            last: server,
        }),
        ports: Some(PortRange {
            first: 21,
            last: 21,
        }),
    };
    policy.nat.chains[0].rules = vec![rule(from_wan.clone(), Action::DstNat(to))];
    let new = Matchers {
        connection_state: states(&[ConnState::New]),
        dst_port: Some(is(turnpike_pipeline::policy::PortSet::new([21..=21]))),
        protocol: Some(is(turnpike_conntrack::tuple::Proto::TCP)),
        ..Matchers::default()
    };
    policy.filter.chains[1]
        .rules
        .insert(0, rule(new, Action::Accept));
    policy
}

fn inside_server(sim: &mut Sim) -> (Side, Side) {
    let client = Side {
        port: WAN,
        own: "198.51.100.7:40000".to_owned(),
        peer: "203.0.113.2:21".to_owned(),
        next: 1_000,
        have: 0,
    };
    let server = Side {
        port: LAN,
        own: "10.0.0.9:21".to_owned(),
        peer: "198.51.100.7:40000".to_owned(),
        next: 5_000,
        have: 0,
    };
    opened(sim, client, server)
}

#[test]
fn a_passive_server_behind_the_gateway_is_reached() {
    let mut sim = Sim::new(&dst_nat(), 2);
    let (mut client, mut server) = inside_server(&mut sim);
    one(client.say(&mut sim, "PASV\r\nEPSV\r\n"), LAN);
    server.have = client.next;
    let passive = one(
        server.say(&mut sim, "227 Passive (10,0,0,9,195,80)\r\n"),
        WAN,
    );
    assert_eq!(passive.text, "227 Passive (203,0,113,2,195,80)\r\n");
    let extended = one(server.say(&mut sim, "229 Extended (|||50001|)\r\n"), WAN);
    assert_eq!(extended.text, "229 Extended (|||50001|)\r\n");
    assert_eq!(extended.seq, passive.seq + 34);
    for port in [50_000, 50_001] {
        let to = format!("203.0.113.2:{port}");
        let out = sim.inject(WAN, tcp(WAN, "198.51.100.7:41000", &to, SYN, 1, 0));
        assert_eq!(out.len(), 1, "{:?}", sim.last_end());
        assert_eq!(
            see(&out[0].1).words(),
            format!("198.51.100.7:41000 > 10.0.0.9:{port}")
        );
    }
    balanced(&sim);
}

#[test]
fn the_data_of_an_active_server_behind_the_gateway_comes_from_the_gateways_port_20() {
    let mut sim = Sim::new(&dst_nat(), 2);
    let (mut client, _) = inside_server(&mut sim);
    let line = "PORT 198,51,100,7,195,80\r\n";
    assert_eq!(one(client.say(&mut sim, line), LAN).text, line);
    let out = sim.inject(
        LAN,
        tcp(LAN, "10.0.0.9:20", "198.51.100.7:50000", SYN, 1, 0),
    );
    assert_eq!(
        see(&out[0].1).words(),
        "203.0.113.2:20 > 198.51.100.7:50000"
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
}

#[test]
fn ports_of_services_and_of_others_open_nothing() {
    for line in [
        "PORT 192,168,88,10,0,22\r\n",
        "PORT 192,168,88,11,195,80\r\n",
    ] {
        let mut sim = Sim::new(&policy(), 1);
        let (mut client, _) = session(&mut sim);
        assert_eq!(one(client.say(&mut sim, line), WAN).text, line);
        assert_eq!(sim.shared.expectations.len(), 0);
        assert_eq!(sim.slow_counters.helpers[0].refused.read(), 1);
        assert!(data(&mut sim, 22).is_empty() && data(&mut sim, 50_000).is_empty());
    }
}

#[test]
fn a_port_that_is_taken_becomes_another_of_its_parity() {
    let mut sim = Sim::new(&policy(), 1);
    // Another host of the inside has the port.
    let other = tcp(LAN, "192.168.88.77:50001", "198.51.100.9:80", SYN, 1, 0);
    assert_eq!(see(&sim.inject(LAN, other)[0].1).tuple().src_port.0, 50_001);
    let (mut client, _) = session(&mut sim);
    let port = one(client.say(&mut sim, "PORT 192,168,88,10,195,81\r\n"), WAN);
    assert_eq!(port.text, "PORT 203,0,113,2,195,83\r\n", "50003");
    let again = one(client.say(&mut sim, "PORT 192,168,88,10,195,81\r\n"), WAN);
    assert_eq!(again.text, port.text, "the same listener has the same port");
    let came = data(&mut sim, 50_003);
    assert_eq!(
        see(&came[0].1).words(),
        "198.51.100.7:20 > 192.168.88.10:50001"
    );
}

#[test]
fn a_browsers_request_is_not_read_and_opens_nothing() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, mut server) = browser(&mut sim);
    let filler = "a".repeat(1_000);
    let request = format!("POST / HTTP/1.1\r\nHost: 198.51.100.7:21\r\n\r\n{filler}");
    assert_eq!(one(client.say(&mut sim, &request), WAN).text, request);
    // The next segment begins with what an FTP client would say.
    let line = "PORT 192,168,88,10,195,80\r\n";
    assert_eq!(one(client.say(&mut sim, line), WAN).text, line);
    assert_eq!(sim.shared.expectations.len(), 0);
    assert!(data(&mut sim, 50_000).is_empty());
    let counters = &sim.slow_counters.helpers[0];
    assert_eq!((counters.left.read(), counters.reading.read()), (1, 0));
    let packets = counters.packets.read();
    server.have = client.next;
    one(server.ack(&mut sim), LAN);
    assert_eq!(
        sim.slow_counters.helpers[0].packets.read(),
        packets,
        "it goes by the workers"
    );
}

fn browser(sim: &mut Sim) -> (Side, Side) {
    let mut client = Side {
        port: LAN,
        own: CLIENT.to_owned(),
        peer: SERVER.to_owned(),
        next: 1_001,
        have: 5_001,
    };
    let server = Side {
        port: WAN,
        own: SERVER.to_owned(),
        peer: OUTSIDE.to_owned(),
        next: 5_001,
        have: 1_001,
    };
    client.have = 0;
    sent(sim, LAN, client.frame(SYN, 1_000, &[], b""));
    sent(sim, WAN, server.frame(SYN_ACK, 5_000, &[], b""));
    client.have = 5_001;
    client.ack(sim);
    (client, server)
}

#[test]
fn numbers_go_on_being_shifted_after_the_helper_is_disabled() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, mut server) = session(&mut sim);
    one(client.say(&mut sim, "PORT 192,168,88,10,195,80\r\n"), WAN);
    let mut without = policy();
    without.service_ports = ServicePorts::none();
    sim.reload(&without);
    // Not acknowledged yet: what was changed is still answered with the same bytes.
    client.next -= 27;
    let again = one(client.say(&mut sim, "PORT 192,168,88,10,195,80\r\n"), WAN);
    assert_eq!(again.text, "PORT 203,0,113,2,195,80\r\n");
    server.have = client.next - 2;
    assert_eq!(one(server.ack(&mut sim), LAN).ack, client.next);
    let packets = sim.slow_counters.helpers[0].packets.read();
    let plain = one(client.say(&mut sim, "PORT 192,168,88,10,195,84\r\n"), WAN);
    assert_eq!(
        (plain.seq, plain.text.len()),
        (server.have, 27),
        "nobody changes it"
    );
    server.have += 27;
    let back = one(server.say(&mut sim, "200 ok\r\n"), LAN);
    assert_eq!(back.ack, client.next);
    assert_eq!(
        sim.slow_counters.helpers[0].packets.read(),
        packets,
        "nobody reads it"
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Established));
    balanced(&sim);
}

#[test]
fn an_unfinished_line_goes_out_when_its_sender_ends_or_its_helper_goes() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, server) = session(&mut sim);
    assert_eq!(one(client.say(&mut sim, "PORT 19"), LAN).flags, ACK);
    let fin = client.frame(FIN_ACK, client.next, &[], b"");
    let last = one(sent(&mut sim, LAN, fin), WAN);
    assert_eq!(
        (last.text.as_str(), last.flags, last.seq),
        ("PORT 19", FIN_ACK, server.have)
    );
    balanced(&sim);
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, server) = session(&mut sim);
    client.say(&mut sim, "PORT 19");
    let mut without = policy();
    without.service_ports = ServicePorts::none();
    let program_sends = sim.reload_and_see(&without);
    let flushed = read(program_sends[0].0, &program_sends[0].1);
    assert_eq!(
        (flushed.text.as_str(), flushed.seq),
        ("PORT 19", server.have)
    );
    // Its sender takes it for arrived, so the gateway itself sends it again if it is lost.
    let again = [sim.advance(1_100), sim.advance(1_100), sim.advance(1_100)].concat();
    assert!(!again.is_empty());
    assert_eq!(read(again[0].0, &again[0].1).text, "PORT 19");
    balanced(&sim);
}

#[test]
fn rules_know_the_helper_of_the_first_packet_and_of_announced_ones() {
    let mut policy = masquerading_policy();
    let ftp = turnpike_helpers::names::helper_named("ftp").unwrap();
    let of_ftp = Matchers {
        connection_type: Some(is(ftp)),
        ..Matchers::default()
    };
    policy.filter.chains[1].rules = vec![rule(of_ftp, Action::Drop)];
    let mut sim = Sim::new(&policy, 1);
    let syn = tcp(LAN, CLIENT, SERVER, SYN, 1, 0);
    assert!(sim.inject(LAN, syn).is_empty());
    assert_eq!(sim.last_end().reason, Some(DropReason::FilterRule));
    let syn = tcp(LAN, CLIENT, "198.51.100.7:80", SYN, 1, 0);
    assert_eq!(sim.inject(LAN, syn).len(), 1);
}

#[test]
fn ipv6_says_eprt_and_epsv_without_translation() {
    let mut policy = open_policy();
    guard(&mut policy);
    let mut sim = Sim::new(&policy, 2);
    let client = Side {
        port: LAN,
        own: "[fd00:88::10]:40000".to_owned(),
        peer: "[2001:db8:7::7]:21".to_owned(),
        next: 1_000,
        have: 0,
    };
    let server = Side {
        port: WAN,
        own: "[2001:db8:7::7]:21".to_owned(),
        peer: "[fd00:88::10]:40000".to_owned(),
        next: 5_000,
        have: 0,
    };
    let (mut client, _) = opened(&mut sim, client, server);
    let line = "EPRT |2|fd00:88::10|50000|\r\n";
    assert_eq!(one(client.say(&mut sim, line), WAN).text, line);
    let syn = |to| tcp(WAN, "[2001:db8:7::7]:20", to, SYN, 1, 0);
    assert_eq!(sim.inject(WAN, syn("[fd00:88::10]:50000")).len(), 1);
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
    assert!(sim.inject(WAN, syn("[fd00:88::10]:50001")).is_empty());
}

#[test]
fn what_waits_is_dropped_when_its_connection_ends() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, _) = session(&mut sim);
    client.next += 10;
    assert!(client.say(&mut sim, "too early").is_empty());
    let reset = client.frame(0x14, client.next - 19, &[], b"");
    sent(&mut sim, LAN, reset);
    for _ in 0..20 {
        sim.advance(1_000);
    }
    let ended = sim.slow_counters.dropped(DropReason::HelperEnded).read();
    assert_eq!((ended, sim.slow_counters.held.read()), (1, 0));
    assert_eq!(sim.slow_counters.helpers[0].reading.read(), 0);
    balanced(&sim);
}

#[test]
fn more_than_fits_is_not_kept() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, _) = session(&mut sim);
    client.next += 10;
    for n in 0..40 {
        client.next += 1;
        client.say(&mut sim, &format!("early {n}"));
    }
    assert_eq!(sim.slow_counters.held.read(), 32);
    assert_eq!(
        sim.slow_counters.dropped(DropReason::HelperBacklog).read(),
        8
    );
    balanced(&sim);
}

#[test]
fn an_announcement_without_room_is_held_back() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, _) = session(&mut sim);
    // Every port that could be given is taken by others.
    let ports = sim.program.pools4.ports([203, 0, 113, 2]).unwrap().clone();
    let key = sim.shared.key;
    let pools = &sim.program.pools4;
    let taken: Vec<_> = (1_024..=u16::MAX)
        .filter_map(|port| {
            let port = turnpike_conntrack::tuple::Port(port);
            let proto = turnpike_conntrack::tuple::Proto::TCP;
            let outside = ([203, 0, 113, 2], port);
            turnpike_conntrack::nat::reserve(pools, proto, outside, ([10, 9, 9, 9], port), &key)
        })
        .collect();
    assert!(taken.len() > 60_000 && ports.in_use(turnpike_conntrack::ports::PortSpace::Tcp) > 0);
    assert!(
        client
            .say(&mut sim, "PORT 192,168,88,10,195,80\r\n")
            .is_empty()
    );
    assert_eq!(sim.last_end().reason, Some(DropReason::HelperRefused));
    drop(taken);
    client.next -= 27;
    let again = one(client.say(&mut sim, "PORT 192,168,88,10,195,80\r\n"), WAN);
    assert_eq!(again.text, "PORT 203,0,113,2,195,80\r\n");
    balanced(&sim);
}

#[test]
fn the_answer_of_a_tftp_server_is_related() {
    let mut sim = Sim::new(&policy(), 2);
    let request = Craft::udp(at("192.168.88.10:40000"), at("198.51.100.7:69")).unwrap();
    let request = frame(LAN, request.payload(b"\0\x01file\0octet\0"));
    let out = sim.inject(LAN, request);
    assert_eq!(
        see(&out[0].1).words(),
        "203.0.113.2:40000 > 198.51.100.7:69"
    );
    let answer = |from| {
        let craft = Craft::udp(at(from), at("203.0.113.2:40000")).unwrap();
        frame(WAN, craft.payload(b"\0\x03\0\x01data"))
    };
    let mut refused = sim.inject(WAN, answer("198.51.100.8:5000"));
    refused.retain(|(port, _)| *port == LAN);
    assert!(refused.is_empty(), "somebody else's is not");
    let out = sim.inject(WAN, answer("198.51.100.7:5000"));
    assert_eq!(
        see(&out[0].1).words(),
        "198.51.100.7:5000 > 192.168.88.10:40000"
    );
    assert_eq!(sim.last_end().state, Some(ConnState::Related));
    balanced(&sim);
}

/// A SIP message, from or to the telephone, that names its contact.
fn sip(sim: &mut Sim, port: PortId, first: &str, method: &str, call: &str) {
    let (from, to, contact) = if port == LAN {
        ("192.168.88.10:40000", "198.51.100.7:5060", "192.168.88.10")
    } else {
        ("198.51.100.7:5060", "203.0.113.2:40000", "203.0.113.2")
    };
    let text = format!(
        "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1;rport\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:a@{contact}:5060>;expires=600\r\nContent-Length: 0\r\n\r\n"
    );
    let craft = Craft::udp(at(from), at(to)).unwrap();
    let sent = sim.inject(port, frame(port, craft.payload(text.as_bytes())));
    assert_eq!(sent.len(), 1, "{first}");
}

#[test]
fn a_registered_telephone_is_called_after_a_call_of_its_own_has_ended() {
    let mut sim = Sim::new(&policy(), 1);
    sip(&mut sim, LAN, "REGISTER sip:r SIP/2.0", "REGISTER", "r");
    sip(&mut sim, WAN, "SIP/2.0 200 OK", "REGISTER", "r");
    sip(&mut sim, LAN, "INVITE sip:b@r SIP/2.0", "INVITE", "i");
    sip(&mut sim, LAN, "BYE sip:b@r SIP/2.0", "BYE", "i");
    let craft = Craft::udp(at("198.51.100.7:6000"), at("203.0.113.2:5060")).unwrap();
    let call = frame(
        WAN,
        craft.payload(b"INVITE sip:a@203.0.113.2 SIP/2.0\r\n\r\n"),
    );
    let out = sim.inject(WAN, call);
    assert_eq!(
        see(&out[0].1).words(),
        "198.51.100.7:6000 > 192.168.88.10:5060"
    );
    balanced(&sim);
}

#[test]
fn rewrites_are_remembered_before_and_after() {
    let mut sim = Sim::new(&policy(), 1);
    let (mut client, _) = session(&mut sim);
    one(client.say(&mut sim, "PORT 192,168,88,10,195,80\r\n"), WAN);
    let [rewrite] = &sim.slow.rewrites().cloned().collect::<Vec<_>>()[..] else {
        panic!("one rewrite")
    };
    assert_eq!(rewrite.before, b"PORT 192,168,88,10,195,80\r\n");
    assert_eq!(rewrite.after, b"PORT 203,0,113,2,195,80\r\n");
    let sessions: Vec<_> = sim.slow.control_sessions().collect();
    assert_eq!(sessions[0].1.server.peer, at(OUTSIDE));
    let counters = &sim.slow_counters.helpers[0];
    let counts = [&counters.sessions, &counters.announced, &counters.rewrites];
    assert_eq!(counts.map(|c| c.read()), [1, 1, 1]);
}

#[test]
fn while_the_slow_path_has_no_room_only_what_needs_no_change_passes_and_only_if_asked() {
    let pass = |policy: &mut Policy| policy.service_ports.helpers[0].when_full = WhenFull::Pass;
    // Whether something comes out, of a bare acknowledgement and of a line.
    let tried = |mut policy: Policy, asked: bool| {
        if asked {
            pass(&mut policy);
        }
        let mut sim = Sim::new(&policy, 1);
        let (mut client, _) = session(&mut sim);
        sim.ring_full = true;
        let bare = client.ack(&mut sim).len();
        let line = client.say(&mut sim, "NOOP\r\n").len();
        assert_eq!(sim.last_end().reason, Some(DropReason::SlowPathRingFull));
        sim.ring_full = false;
        client.next -= 6;
        assert_eq!(
            client.say(&mut sim, "NOOP\r\n").len(),
            1,
            "it goes on where it was"
        );
        balanced(&sim);
        (bare, line)
    };
    let mut plain = open_policy();
    guard(&mut plain);
    assert_eq!(tried(plain.clone(), false), (0, 0));
    assert_eq!(
        tried(plain, true),
        (1, 0),
        "nothing of it has to be changed"
    );
    assert_eq!(tried(policy(), true), (0, 0), "it is translated");
}
