//! Frames the gateway makes itself: they parse, their checksums are right, and they say what the
//! RFCs want said.

#![expect(clippy::unwrap_used, reason = "what helps a test fails by panicking")]

use std::net::IpAddr;

use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::tuple::{Proto, V4};
use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::Mac;
use turnpike_pipeline::packet::arp::{self, Arp, ArpKind, Station};
use turnpike_pipeline::packet::craft::{Craft, IcmpSpec, TcpSpec};
use turnpike_pipeline::packet::headers::{TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN};
use turnpike_pipeline::packet::icmp::{IcmpError, may_answer, write_error};
use turnpike_pipeline::packet::nd::{self, Nd, SolicitTo, Station6};
use turnpike_pipeline::packet::parse::{Parsed, parse};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::packet::verify::verify_l4;
use turnpike_pipeline::packet::{echo, reset};
use turnpike_pipeline::policy::Unreachable;

const US: Mac = Mac([2, 0, 0, 0, 0, 9]);
const THEM: Mac = Mac([2, 0, 0, 0, 0, 8]);

fn open(frame: Vec<u8>) -> (Parsed, HeapBuffer) {
    let mut buf = HeapBuffer::new(frame, 0);
    let parsed = parse(&mut buf).unwrap();
    (parsed, buf)
}

/// Opens a frame made here, which must be valid down to its last checksum.
fn open_made(frame: Vec<u8>) -> (Parsed, HeapBuffer) {
    let len = frame.len();
    let (parsed, buf) = open(frame);
    assert_eq!(buf.frame_len(), len, "nothing behind the packet");
    assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
    (parsed, buf)
}

fn udp(src: &str, dst: &str, len: usize) -> Craft {
    Craft::udp(src.parse().unwrap(), dst.parse().unwrap())
        .unwrap()
        .payload_len(len)
}

fn icmp(src: &str, dst: &str, kind: u8) -> Craft {
    let icmp = IcmpSpec {
        kind,
        code: 0,
        id: 77,
        seq: 5,
    };
    Craft::icmp(src.parse().unwrap(), dst.parse().unwrap(), icmp).unwrap()
}

#[test]
fn arp_comes_back_as_it_was_written() {
    let us = Station {
        mac: US,
        ip: [192, 168, 88, 1],
    };
    let them = Station {
        mac: THEM,
        ip: [192, 168, 88, 10],
    };
    let mut out = vec![1, 2, 3];
    arp::request(&mut out, us, Mac::BROADCAST, them.ip);
    let (parsed, buf) = open(out.clone());
    assert_eq!(parsed.link.dst, Mac::BROADCAST);
    let asked = arp::read(buf.head(), &parsed).unwrap();
    assert_eq!((asked.kind, asked.sender), (ArpKind::Request, us));
    assert_eq!(asked.target.ip, them.ip);

    arp::reply(&mut out, us, them);
    let (parsed, buf) = open(out.clone());
    assert_eq!((parsed.link.dst, parsed.link.src), (THEM, US));
    let want = Arp {
        kind: ArpKind::Reply,
        sender: us,
        target: them,
    };
    assert_eq!(arp::read(buf.head(), &parsed), Some(want));

    arp::announce(&mut out, us);
    let (parsed, buf) = open(out);
    let told = arp::read(buf.head(), &parsed).unwrap();
    assert_eq!((told.sender, told.target.ip), (us, us.ip));
}

#[test]
fn an_arp_packet_that_is_not_ethernet_and_ipv4_is_malformed() {
    let us = Station {
        mac: US,
        ip: [192, 168, 88, 1],
    };
    let mut frame = Vec::new();
    arp::announce(&mut frame, us);
    let refused = |frame: Vec<u8>| parse(&mut HeapBuffer::new(frame, 0)).unwrap_err();
    for at in 14..22 {
        let mut frame = frame.clone();
        frame[at] ^= 0x04;
        assert_eq!(refused(frame), DropReason::ArpMalformed, "{at}");
    }
    frame.truncate(41);
    assert_eq!(refused(frame), DropReason::ArpMalformed);
}

fn station6(ip: &str, mac: Mac) -> Station6 {
    let ip: std::net::Ipv6Addr = ip.parse().unwrap();
    Station6 {
        mac,
        ip: ip.octets(),
    }
}

#[test]
fn a_solicitation_reaches_the_group_of_its_target() {
    let us = station6("fe80::1", US);
    let them = station6("2001:db8::12:3456", THEM);
    let mut out = Vec::new();
    nd::solicit(&mut out, us, them.ip, SolicitTo::Group);
    let (parsed, buf) = open_made(out.clone());
    assert_eq!(parsed.link.dst, Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
    assert_eq!(
        parsed.dst_ip(buf.head()),
        Some("ff02::1:ff12:3456".parse().unwrap())
    );
    let Some(Nd::Solicitation(asked)) = nd::read(&buf, &parsed) else {
        panic!("no solicitation");
    };
    assert_eq!((asked.from, asked.target), (us.ip, them.ip));
    assert_eq!(asked.link, Some(US));

    nd::solicit(&mut out, us, them.ip, SolicitTo::Unicast(THEM));
    let (parsed, buf) = open_made(out);
    assert_eq!(parsed.link.dst, THEM);
    assert_eq!(parsed.dst_ip(buf.head()), Some(IpAddr::from(them.ip)));
}

#[test]
fn an_advertisement_answers_who_asked_or_everybody() {
    let us = station6("fe80::1", US);
    let mut asked = nd::Solicitation {
        from: station6("fe80::8", THEM).ip,
        target: us.ip,
        link: Some(THEM),
    };
    let mut out = Vec::new();
    let read = |out: &[u8]| {
        let (parsed, buf) = open_made(out.to_vec());
        let Some(Nd::Advertisement(told)) = nd::read(&buf, &parsed) else {
            panic!("no advertisement");
        };
        assert_eq!((told.target, told.link), (us.ip, Some(US)));
        assert!(told.router && told.overrides);
        (told.solicited, parsed.link.dst)
    };
    nd::advertise(&mut out, us, &asked, THEM);
    assert_eq!(read(&out), (true, THEM));
    asked.from = [0; 16];
    nd::advertise(&mut out, us, &asked, THEM);
    let all_nodes = Mac([0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(read(&out), (false, all_nodes));
    nd::announce(&mut out, us);
    assert_eq!(read(&out), (false, all_nodes));
}

/// Changes bytes of an ND frame and makes its checksum right again.
fn with_nd(frame: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Option<Nd> {
    let mut frame = frame.to_vec();
    change(&mut frame);
    frame[56..58].fill(0);
    let mut sum = turnpike_pipeline::packet::checksum::Sum::pseudo_header(
        &frame[22..38],
        &frame[38..54],
        Proto::ICMPV6,
        u32::try_from(frame.len() - 54).unwrap(),
    );
    sum.add(&frame[54..]);
    let sum = sum.checksum().to_be_bytes();
    frame[56..58].copy_from_slice(&sum);
    let (parsed, buf) = open(frame);
    nd::read(&buf, &parsed)
}

#[test]
fn discovery_that_fails_a_check_is_ignored() {
    let us = station6("fe80::1", US);
    let them = station6("fe80::8", THEM);
    let mut out = Vec::new();
    nd::solicit(&mut out, them, us.ip, SolicitTo::Group);
    assert!(with_nd(&out, |_| {}).is_some());
    assert_eq!(with_nd(&out, |f| f[21] = 254), None, "crossed a router");
    assert_eq!(with_nd(&out, |f| f[55] = 1), None, "code");
    assert_eq!(with_nd(&out, |f| f[62] = 0xff), None, "target is a group");
    assert_eq!(with_nd(&out, |f| f[79] = 0), None, "option without length");
    assert_eq!(with_nd(&out, |f| f[79] = 2), None, "option beyond the end");
    let short = |f: &mut Vec<u8>| {
        f.truncate(77);
        f[19] = 23;
    };
    assert_eq!(with_nd(&out, short), None, "too short");
    let probe = |f: &mut Vec<u8>| f[22..38].fill(0);
    assert_eq!(with_nd(&out, probe), None, "a probe with an address");
    let mut wrong = out.clone();
    wrong[70] ^= 1;
    let (parsed, buf) = open(wrong);
    assert_eq!(nd::read(&buf, &parsed), None, "checksum");
    let probe = |f: &mut Vec<u8>| {
        f[22..38].fill(0);
        f.truncate(78);
        f[19] = 24;
    };
    assert!(with_nd(&out, probe).is_some(), "a probe for a free address");

    nd::announce(&mut out, them);
    assert_eq!(
        with_nd(&out, |f| f[58] |= 0x40),
        None,
        "solicited, to everybody"
    );
}

#[test]
fn an_echo_request_is_answered_with_its_data() {
    for (asker, us, request, reply) in [
        ("10.0.0.2", "10.0.0.1", 8, 0),
        ("fe80::2", "fe80::1", 128, 129),
    ] {
        for len in [0, 1, 56, 1401, 65_000] {
            let ask = icmp(asker, us, request).tos(0x28).payload_len(len);
            let (parsed, buf) = open(ask.frame().unwrap());
            let mut out = Vec::new();
            echo::write_reply(&mut out, us.parse().unwrap(), &buf, &parsed).unwrap();
            let (made, _) = open_made(out.clone());
            assert_eq!((made.ttl, made.tos), (64, 0x28));
            let want = icmp(us, asker, reply).tos(0x28).payload_len(len);
            assert_eq!(out[14..], want.frame().unwrap()[14..]);
        }
    }
}

#[test]
fn what_is_no_echo_request_gets_no_echo() {
    let answered = |craft: Craft| {
        let (parsed, buf) = open(craft.frame().unwrap());
        let mut out = Vec::new();
        echo::write_reply(&mut out, "10.0.0.1".parse().unwrap(), &buf, &parsed).is_some()
    };
    assert!(answered(icmp("10.0.0.2", "10.0.0.1", 8)));
    assert!(!answered(icmp("10.0.0.2", "10.0.0.1", 0)));
    assert!(!answered(icmp("10.0.0.2", "10.0.0.1", 13)));
    assert!(!answered(icmp("224.0.0.5", "10.0.0.1", 8)));
    assert!(!answered(icmp("0.0.0.0", "10.0.0.1", 8)));
    assert!(!answered(icmp("10.0.0.2", "10.0.0.1", 8).flags(0x2000)));
    assert!(!answered(icmp("fe80::2", "fe80::1", 8)));
}

#[test]
fn an_error_quotes_as_much_as_the_rfcs_allow() {
    for (src, dst, us, longest) in [
        ("10.0.0.2:5000", "1.1.1.1:53", "10.0.0.1", 576),
        (
            "[2001:db8::2]:5000",
            "[2001:db8::9]:53",
            "2001:db8::1",
            1280,
        ),
    ] {
        for len in [0, 100, 1400] {
            let (parsed, buf) = open(udp(src, dst, len).frame().unwrap());
            let mut out = Vec::new();
            let from: IpAddr = us.parse().unwrap();
            write_error(&mut out, from, &buf, &parsed, IcmpError::TtlExceeded).unwrap();
            let (made, made_buf) = open_made(out);
            let head = if from.is_ipv4() { 28 } else { 48 };
            let whole = head + parsed.ip_len;
            assert_eq!(made.ip_len, whole.min(longest));
            assert_eq!(made.src_ip(made_buf.head()), Some(from));
            assert_eq!(made.dst_ip(made_buf.head()), parsed.src_ip(buf.head()));
            let quote = &made_buf.head()[usize::from(made.payload)..];
            assert_eq!(quote, &buf.head()[14..14 + quote.len()]);
        }
    }
}

#[test]
fn each_error_has_the_type_code_and_mtu_of_its_family() {
    use Unreachable as U;
    let v4 = udp("10.0.0.2:5000", "1.1.1.1:53", 10);
    let v6 = udp("[2001:db8::2]:5000", "[2001:db8::9]:53", 10);
    let made = |craft: &Craft, us: &str, error| {
        let (parsed, buf) = open(craft.frame().unwrap());
        let mut out = Vec::new();
        write_error(&mut out, us.parse().unwrap(), &buf, &parsed, error).unwrap();
        let (made, buf) = open_made(out);
        let at = usize::from(made.l4);
        let rest = u32::from_be_bytes(buf.head()[at + 4..at + 8].try_into().unwrap());
        let (kind, code) = made.icmp().unwrap();
        (kind, code, rest)
    };
    let table = [
        (IcmpError::Unreachable(U::Network), (3, 0, 0), (1, 0, 0)),
        (IcmpError::Unreachable(U::Host), (3, 1, 0), (1, 3, 0)),
        (IcmpError::Unreachable(U::Protocol), (3, 2, 0), (1, 4, 0)),
        (IcmpError::Unreachable(U::Port), (3, 3, 0), (1, 4, 0)),
        (
            IcmpError::Unreachable(U::NetProhibited),
            (3, 9, 0),
            (1, 1, 0),
        ),
        (
            IcmpError::Unreachable(U::HostProhibited),
            (3, 10, 0),
            (1, 1, 0),
        ),
        (
            IcmpError::Unreachable(U::AdminProhibited),
            (3, 13, 0),
            (1, 1, 0),
        ),
        (IcmpError::TooBig { mtu: 1400 }, (3, 4, 1400), (2, 0, 1400)),
        (IcmpError::TtlExceeded, (11, 0, 0), (3, 0, 0)),
        (IcmpError::ReassemblyTimeExceeded, (11, 1, 0), (3, 1, 0)),
    ];
    for (error, four, six) in table {
        assert_eq!(made(&v4, "10.0.0.1", error), four);
        assert_eq!(made(&v6, "2001:db8::1", error), six);
    }
}

#[test]
fn the_quoted_packet_of_our_own_error_can_be_looked_up() {
    let (parsed, buf) = open(udp("10.0.0.2:5000", "1.1.1.1:53", 9).frame().unwrap());
    let tuple = parsed.tuple::<V4>(buf.head());
    let mut out = Vec::new();
    let us = "10.0.0.1".parse().unwrap();
    write_error(&mut out, us, &buf, &parsed, IcmpError::TtlExceeded).unwrap();
    let (parsed, buf) = open_made(out);
    assert_eq!(quoted::<V4>(buf.head(), &parsed).map(|q| q.tuple), tuple);
}

#[test]
fn nothing_is_said_about_errors_groups_and_later_fragments() {
    let ttl = IcmpError::TtlExceeded;
    let big = IcmpError::TooBig { mtu: 1280 };
    let asked = |craft: Craft, error| {
        let (parsed, buf) = open(craft.frame().unwrap());
        may_answer(buf.head(), &parsed, error)
    };
    assert!(asked(udp("10.0.0.2:1", "1.1.1.1:2", 9), ttl));
    assert!(asked(icmp("10.0.0.2", "1.1.1.1", 8), ttl));
    for kind in [3, 4, 5, 11, 12, 9, 200] {
        assert!(!asked(icmp("10.0.0.2", "1.1.1.1", kind), ttl), "{kind}");
    }
    for src in [
        "0.0.0.0:1",
        "127.0.0.1:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "240.0.0.1:1",
    ] {
        assert!(!asked(udp(src, "1.1.1.1:2", 9), ttl), "{src}");
    }
    for dst in ["224.0.0.1:2", "255.255.255.255:2"] {
        assert!(!asked(udp("10.0.0.2:1", dst, 9), ttl), "{dst}");
    }
    assert!(!asked(
        udp("10.0.0.2:1", "1.1.1.1:2", 9).macs(Mac::BROADCAST, THEM),
        ttl
    ));
    assert!(!asked(udp("10.0.0.2:1", "1.1.1.1:2", 9).flags(1), ttl));
    assert!(!asked(udp("[::]:1", "[2001:db8::1]:2", 9), ttl));
    assert!(!asked(udp("[::1]:1", "[2001:db8::1]:2", 9), ttl));
    assert!(!asked(udp("[2001:db8::2]:1", "[ff0e::1]:2", 9), ttl));
    assert!(asked(udp("[2001:db8::2]:1", "[ff0e::1]:2", 9), big));
    assert!(!asked(icmp("fe80::2", "fe80::1", 1), big));
}

fn segment(flags: u8, seq: u32, ack: u32, len: usize) -> Craft {
    let tcp = TcpSpec {
        flags,
        seq,
        ack,
        ..TcpSpec::default()
    };
    let src = "10.0.0.2:40000".parse().unwrap();
    let dst = "1.1.1.1:443".parse().unwrap();
    Craft::tcp(src, dst, tcp).unwrap().payload_len(len)
}

#[test]
fn a_reset_has_the_numbers_of_rfc_9293() {
    for (flags, seq, ack, len, want) in [
        (TCP_SYN, 100, 0, 0, (0, 101, TCP_RST | TCP_ACK)),
        (TCP_SYN | TCP_FIN, u32::MAX, 0, 4, (0, 5, TCP_RST | TCP_ACK)),
        (TCP_ACK, 100, 777, 0, (777, 0, TCP_RST)),
        (TCP_ACK | TCP_PSH, 100, 777, 50, (777, 0, TCP_RST)),
        (TCP_SYN | TCP_ACK, 100, 778, 0, (778, 0, TCP_RST)),
        (0, 100, 9, 7, (0, 107, TCP_RST | TCP_ACK)),
    ] {
        let (parsed, buf) = open(segment(flags, seq, ack, len).frame().unwrap());
        let mut out = Vec::new();
        reset::write_reset(&mut out, buf.head(), &parsed).unwrap();
        let (made, made_buf) = open_made(out);
        let tcp = made.tcp().unwrap();
        assert_eq!((tcp.seq, tcp.ack, tcp.flags), want);
        let there = parsed.tuple::<V4>(buf.head()).unwrap();
        assert_eq!(made.tuple::<V4>(made_buf.head()), Some(there.inverse()));
    }
}

#[test]
fn a_reset_is_never_answered_with_one() {
    for craft in [
        segment(TCP_RST, 1, 0, 0),
        segment(TCP_SYN, 1, 0, 0).macs(Mac::BROADCAST, THEM),
        segment(TCP_SYN, 1, 0, 0).flags(0x2000),
        udp("10.0.0.2:1", "1.1.1.1:2", 9),
    ] {
        let (parsed, buf) = open(craft.frame().unwrap());
        assert_eq!(
            reset::write_reset(&mut Vec::new(), buf.head(), &parsed),
            None
        );
    }
}
