//! `--follow-nat`: what the other side sends is carried over into the translated view.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails like the test itself"
)]

mod replays;

use std::net::SocketAddr;

use proptest::prelude::*;
use replays::{Packet, Replayed, WAN, files_of, is, ping, policy, replay, rule, tcp, udp};
use turnpike_engine::pcap::Captured;
use turnpike_engine::replay::{ReplayConfig, Sides};
use turnpike_pipeline::buffer::HeapBuffer;
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::packet::fragment::fragment;
use turnpike_pipeline::packet::headers::{TCP_ACK, TCP_SYN};
use turnpike_pipeline::packet::parse::{Parsed, inspect};
use turnpike_pipeline::packet::rewrite::decrement_ttl;
use turnpike_pipeline::packet::verify::{Checksum, verify_l4};
use turnpike_pipeline::policy::{Action, AddressRange, Matchers, PortRange, PortSet, Translation};

/// Two inside hosts that use the same port towards one server: the second gets another.
const FIRST: &str = "192.168.88.10:5000";
const SECOND: &str = "192.168.88.11:5000";
const SERVER: &str = "198.51.100.9:53";
const ROUTER: &str = "192.0.2.77";

fn one_side(config: &mut ReplayConfig) {
    config.sides = Sides::One;
}

fn frame(craft: Craft) -> Vec<u8> {
    craft.frame().unwrap()
}

fn one_after_the_other(frames: Vec<Vec<u8>>) -> Vec<Packet> {
    (0..).map(|n| n * 1_000).zip(frames).collect()
}

fn parsed(frame: &[u8]) -> Parsed {
    inspect(frame, frame.len()).unwrap()
}

/// What a captured packet is one hop later.
fn forwarded(captured: &[u8]) -> Vec<u8> {
    let mut frame = captured.to_vec();
    let parsed = parsed(&frame);
    decrement_ttl(&mut frame, &parsed).unwrap();
    frame.split_off(14)
}

/// The packets that left, without Ethernet.
fn packets(sent: &[Captured]) -> Vec<Vec<u8>> {
    sent.iter().map(|c| c.frame[14..].to_vec()).collect()
}

/// Both ends of a packet that left.
fn ends(sent: &Captured) -> (SocketAddr, SocketAddr) {
    let (head, parsed) = (&*sent.frame, parsed(&sent.frame));
    let (src_port, dst_port) = parsed.ports().unwrap();
    let end = |ip: Option<_>, port| SocketAddr::new(ip.unwrap(), port);
    (
        end(parsed.src_ip(head), src_port.0),
        end(parsed.dst_ip(head), dst_port.0),
    )
}

fn checksums_are_right(sent: &[Captured]) {
    for captured in sent {
        let parsed = parsed(&captured.frame);
        let buf = HeapBuffer::new(captured.frame.clone(), 0);
        assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
    }
}

/// Two questions and two answers, as the inside sees them.
fn conversations() -> Vec<Vec<u8>> {
    [
        udp(FIRST, SERVER).payload(b"one?"),
        udp(SECOND, SERVER).payload(b"two?"),
        udp(SERVER, SECOND).payload(b"two!"),
        udp(SERVER, FIRST).payload(b"one!"),
    ]
    .map(frame)
    .into()
}

#[test]
fn answers_find_the_host_whose_port_was_changed() {
    let captured = conversations();
    let inside = one_after_the_other(captured.clone());
    let followed = replay(&[("auto", &inside)], one_side);
    let states = followed.column("connection-state");
    assert_eq!(states, ["new", "new", "established", "established"]);
    let out = followed.sent("wan");
    let (first, second) = (ends(&out[0]).0, ends(&out[1]).0);
    assert_eq!(first.ip(), second.ip());
    assert_ne!(first.port(), second.port());
    let back = packets(&followed.sent("lan"));
    assert_eq!(back, [forwarded(&captured[2]), forwarded(&captured[3])]);
    assert_eq!(followed.summary.carried, Some(2));
    assert_eq!(followed.report("counters.json")["carried"], 2);

    // As they stand, they are addressed to nobody outside: new, and refused.
    let taken_literally = replay(&[("auto", &inside)], |_| {});
    let reasons = taken_literally.column("reason");
    assert_eq!(reasons, ["", "", "filter-rule", "filter-rule"]);
    assert_eq!(taken_literally.summary.carried, None);
}

#[test]
fn a_whole_tcp_session_of_both_families_passes() {
    for (host, server) in [
        ("192.168.88.10:40000", "198.51.100.7:443"),
        ("[fd00:88::10]:40000", "[2001:db8:77::7]:443"),
    ] {
        let segment = |from_host: bool, flags, seq, ack| {
            let spec = TcpSpec {
                flags,
                seq,
                ack,
                ..TcpSpec::default()
            };
            let (src, dst) = if from_host {
                (host, server)
            } else {
                (server, host)
            };
            frame(tcp(src, dst, spec))
        };
        let captured = vec![
            segment(true, TCP_SYN, 100, 0),
            segment(false, TCP_SYN | TCP_ACK, 500, 101),
            segment(true, TCP_ACK, 101, 501),
        ];
        let session = replay(
            &[("auto", &one_after_the_other(captured.clone()))],
            one_side,
        );
        let states = session.column("connection-state");
        assert_eq!(states, ["new", "established", "established"], "{host}");
        let back = packets(&session.sent("lan"));
        assert_eq!(back, [forwarded(&captured[1])]);
        checksums_are_right(&session.sent("wan"));
        let connection = &session.report("connections.json")[0];
        assert_eq!(connection["tcp-state"], "established");
        let addresses = ["203.0.113.2", "2001:db8:113::2"];
        let translated = connection["reply-dst-address"].as_str().unwrap();
        assert!(addresses.contains(&translated), "{translated}");
    }
}

#[test]
fn echo_replies_are_told_apart_by_the_identifier_that_left() {
    let captured: Vec<Vec<u8>> = [
        ping("192.168.88.10", "198.51.100.9", 8),
        ping("192.168.88.11", "198.51.100.9", 8),
        ping("198.51.100.9", "192.168.88.11", 0),
        ping("198.51.100.9", "192.168.88.10", 0),
    ]
    .map(frame)
    .into();
    let pings = replay(
        &[("auto", &one_after_the_other(captured.clone()))],
        one_side,
    );
    assert_eq!(
        pings.column("connection-state")[2..],
        ["established", "established"]
    );
    let back = packets(&pings.sent("lan"));
    assert_eq!(back, [forwarded(&captured[2]), forwarded(&captured[3])]);
    let id = |sent: &Captured| sent.frame[14 + 20 + 4..][..2].to_vec();
    let out = pings.sent("wan");
    assert_ne!(id(&out[0]), id(&out[1]));
}

/// An error of a router about a packet, which it quotes.
fn error_about(quoted: &[u8], from: &str, to: &str, kind: u8) -> Vec<u8> {
    let icmp = IcmpSpec {
        kind,
        ..IcmpSpec::default()
    };
    let craft = Craft::icmp(from.parse().unwrap(), to.parse().unwrap(), icmp).unwrap();
    frame(craft.payload(quoted))
}

#[test]
fn errors_are_carried_over_with_the_packet_they_quote() {
    for (host, server, router, kind) in [
        (SECOND, SERVER, ROUTER, 11),
        (
            "[fd00:88::11]:5000",
            "[2001:db8:77::9]:53",
            "2001:db8:66::1",
            3,
        ),
    ] {
        let question = frame(udp(host, server).payload(b"two?"));
        let to = host
            .parse::<SocketAddr>()
            .map(|a| a.ip().to_string())
            .unwrap();
        let other = host.replace("11", "10");
        let captured = vec![
            frame(udp(&other, server)),
            question.clone(),
            error_about(&forwarded(&question), router, &to, kind),
        ];
        let told = replay(
            &[("auto", &one_after_the_other(captured.clone()))],
            one_side,
        );
        assert_eq!(told.column("connection-state"), ["new", "new", "related"]);
        assert_eq!(packets(&told.sent("lan")), [forwarded(&captured[2])]);
        checksums_are_right(&told.sent("lan"));
    }
}

#[test]
fn an_error_for_somebody_else_stays_about_nothing() {
    let question = frame(udp(FIRST, SERVER));
    let stray = error_about(&forwarded(&question), ROUTER, "192.168.88.77", 11);
    let told = replay(
        &[("auto", &one_after_the_other(vec![question, stray]))],
        one_side,
    );
    assert_eq!(told.column("connection-state"), ["new", "invalid"]);
    assert!(told.sent("lan").is_empty());
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut captured = conversations();
    let checksum = 14 + 20 + 6;
    captured[2][checksum] ^= 0x55;
    let garbled = replay(&[("auto", &one_after_the_other(captured))], one_side);
    assert_eq!(
        garbled.column("connection-state")[2..],
        ["invalid", "established"]
    );
}

#[test]
fn every_piece_of_an_answer_is_carried_over() {
    let question = frame(udp(SECOND, SERVER));
    let answer = frame(udp(SERVER, SECOND).payload_len(2_000).id(9).flags(0));
    let mut captured = vec![frame(udp(FIRST, SERVER)), question];
    fragment(&answer, 600, |piece| captured.push(piece.to_vec())).unwrap();
    assert_eq!(captured.len(), 2 + 4);
    for turned in [false, true] {
        // The pieces behind the first have no ports; they may even come before it.
        if turned {
            captured[2..].reverse();
        }
        let whole = replay(
            &[("auto", &one_after_the_other(captured.clone()))],
            |config| {
                one_side(config);
                config.policy.interfaces[0].mtu = 9_000;
            },
        );
        assert_eq!(packets(&whole.sent("lan")), [forwarded(&answer)]);
        assert_eq!(
            whole
                .column("connection-state")
                .iter()
                .filter(|s| *s == "established")
                .count(),
            4
        );
    }
}

#[test]
fn pieces_without_ports_go_where_the_first_one_went() {
    // The server is reached from an address of its own, and the host has used another since.
    let own = "203.0.113.5".parse().unwrap();
    let range = |ip| AddressRange {
        first: ip,
        last: ip,
    };
    let to_server = Matchers {
        dst_address: Some(is(range("198.51.100.9".parse().unwrap()))),
        ..Matchers::default()
    };
    let from_own = Action::SrcNat(Translation {
        addresses: Some(range(own)),
        ports: None,
    });
    let answer = frame(udp(SERVER, FIRST).payload_len(1_000).id(9).flags(0));
    let mut captured = vec![
        frame(udp(FIRST, SERVER)),
        frame(udp(FIRST, "198.51.100.77:53")),
    ];
    fragment(&answer, 600, |piece| captured.push(piece.to_vec())).unwrap();
    let whole = replay(&[("auto", &one_after_the_other(captured))], |config| {
        one_side(config);
        let rule = rule(30, to_server, from_own, "");
        config.policy.nat.chains[1].rules.insert(0, rule);
    });
    let out: Vec<_> = whole.sent("wan").iter().map(|s| ends(s).0.ip()).collect();
    assert_eq!(out[0], own);
    assert_ne!(out[1], own);
    assert_eq!(packets(&whole.sent("lan")), [forwarded(&answer)]);
}

/// A server behind dst-nat, and captures of what the outside sees.
fn with_server(config: &mut ReplayConfig) {
    one_side(config);
    let address = "192.168.88.80".parse().unwrap();
    let to_server = Translation {
        addresses: Some(AddressRange {
            first: address,
            last: address,
        }),
        ports: Some(PortRange {
            first: 8_080,
            last: 8_080,
        }),
    };
    let from_wan = Matchers {
        in_interface: Some(is(WAN)),
        ..Matchers::default()
    };
    let policy = &mut config.policy;
    policy.nat.chains[0]
        .rules
        .push(rule(30, from_wan, Action::DstNat(to_server), ""));
    policy.filter.chains[1].rules.clear();
}

#[test]
fn answers_of_a_server_behind_dst_nat_enter_where_it_is() {
    let (client, outside) = ("198.51.100.66:7000", "203.0.113.2:80");
    let question = frame(udp(client, outside).payload(b"get"));
    let captured = vec![
        question.clone(),
        frame(udp(outside, client).payload(b"got")),
        error_about(&forwarded(&question), "203.0.113.2", "198.51.100.66", 3),
        // The server opens a connection to the same client, from another port.
        frame(udp("203.0.113.2:20", "198.51.100.66:7001")),
    ];
    let served = replay(
        &[("auto", &one_after_the_other(captured.clone()))],
        with_server,
    );
    assert_eq!(served.column("interface"), ["wan", "lan", "lan", "lan"]);
    assert_eq!(
        served.column("connection-state"),
        ["new", "established", "related", "new"]
    );
    assert_eq!(
        ends(&served.sent("lan")[0]).1,
        "192.168.88.80:8080".parse().unwrap()
    );
    let out = served.sent("wan");
    let expected: Vec<_> = captured[1..].iter().map(|f| forwarded(f)).collect();
    assert_eq!(packets(&out), expected);
    assert_eq!(served.summary.undecided, 0);
}

#[test]
fn a_new_connection_to_a_host_that_has_spoken_is_tried_at_its_outside_address() {
    let stranger = "198.51.100.200:9";
    let captured = vec![
        frame(udp(FIRST, SERVER)),
        frame(udp(stranger, FIRST)),
        frame(udp(stranger, "192.168.88.10:6000")),
        frame(udp(stranger, "192.168.88.99:6000")),
    ];
    let open = |config: &mut ReplayConfig| {
        one_side(config);
        config.policy.filter.chains[0].rules.clear();
        config.policy.filter.chains[1].rules.clear();
    };
    let tried = replay(&[("auto", &one_after_the_other(captured))], open);
    // The last one has not spoken: what it would be outside is not known.
    let reasons = tried.column("reason");
    assert_eq!(reasons, ["", "no-listener", "no-listener", ""]);
    assert_eq!(tried.summary.carried, Some(2));
}

#[test]
fn what_is_not_translated_stays_as_captured() {
    let guest = "192.168.20.5:7";
    let captured = vec![
        frame(udp(FIRST, SERVER)),
        // Between two inside networks nothing is translated, and a known host stays itself.
        frame(udp(FIRST, guest)),
        frame(udp(guest, FIRST)),
        frame(udp(guest, "192.168.88.10:9999")),
        // Nor is what the gateway itself sent, though others have left with its address.
        frame(udp(SERVER, FIRST)),
        frame(udp("203.0.113.2:5000", SERVER)),
    ];
    let plain = replay(&[("auto", &one_after_the_other(captured))], one_side);
    assert_eq!(
        plain.column("connection-state")[..5],
        ["new", "new", "established", "new", "established"]
    );
    assert_eq!(plain.summary.carried, Some(1), "the answer alone");
    assert_eq!(plain.summary.undecided, 1);
}

#[test]
fn hairpinned_sessions_are_followed_on_both_legs() {
    // The inside host reaches the inside server by the outside address: what is captured at the
    // host, with its answers.
    let captured = vec![
        frame(udp(FIRST, "203.0.113.2:80")),
        frame(udp("203.0.113.2:80", FIRST).payload(b"got")),
        // A neighbour of the host speaks to it, not to what it left its own network as.
        frame(udp("192.168.88.20:9", FIRST)),
    ];
    let hairpin = replay(
        &[("auto", &one_after_the_other(captured.clone()))],
        |config| {
            with_server(config);
            config.policy.nat.chains[0].rules[0].matchers.in_interface = None;
            config.policy.nat.chains[0].rules[0].matchers.dst_port =
                Some(is(PortSet::new([80..=80])));
            config.policy.nat.chains[1].rules[0].matchers.out_interface = None;
        },
    );
    let states = hairpin.column("connection-state");
    assert_eq!(states, ["new", "established", "new"]);
    assert_eq!(hairpin.summary.carried, Some(1));
    let sent = hairpin.sent("lan");
    assert_eq!(ends(&sent[0]).1, "192.168.88.80:8080".parse().unwrap());
    assert_eq!(sent[1].frame[14..], forwarded(&captured[1]));
}

fn same_twice(packets: &[Packet]) -> [Replayed; 2] {
    [(); 2].map(|()| replay(&[("auto", packets)], one_side))
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let packets = one_after_the_other(conversations());
    let [first, second] = same_twice(&packets).map(|r| files_of(&r.out_dir()));
    assert!(!first.is_empty());
    // Reports name the input, which lies in another directory each time.
    for (name, bytes) in first.iter().filter(|(name, _)| *name != "counters.json") {
        assert!(*bytes == second[name], "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `replay` itself checks that each packet is explained and that the books add up.
    #[test]
    fn garbled_frames_are_followed_as_far_as_they_go(
        garbles in prop::collection::vec(
            (0..5_usize, any::<prop::sample::Index>(), any::<u8>()),
            1..8,
        ),
    ) {
        let mut captured = conversations();
        captured.push(error_about(&forwarded(&captured[0]), ROUTER, "192.168.88.10", 3));
        for (packet, at, value) in garbles {
            let frame = &mut captured[packet];
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let followed = replay(&[("auto", &one_after_the_other(captured))], |config| {
            one_side(config);
            config.policy = policy();
        });
        prop_assert_eq!(followed.summary.packets, 5);
    }
}
