//! Rewriting in place: what comes out is what would have been built afresh, byte for byte.

#![expect(clippy::unwrap_used, reason = "what helps a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use turnpike_conntrack::segment::Checksum;
use turnpike_conntrack::tuple::{Address, Family, Port, Proto, Tuple, TuplePair, V4, V6};
use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::Mac;
use turnpike_pipeline::packet::craft::{Craft, DccpSpec, IcmpSpec, TcpSpec, UdpChecksum};
use turnpike_pipeline::packet::icmp::{IcmpError, write_error};
use turnpike_pipeline::packet::parse::{Parsed, VlanId, parse};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::packet::retag::{Tagging, retag};
use turnpike_pipeline::packet::rewrite::{
    Deltas, decrement_ttl, set_ethernet, translate, translate_quoted,
};
use turnpike_pipeline::packet::verify::verify_l4;

use turnpike_conntrack::ids::Direction;

fn open(frame: Vec<u8>) -> (Parsed, HeapBuffer) {
    let mut buf = HeapBuffer::new(frame, 0);
    let parsed = parse(&mut buf).unwrap();
    (parsed, buf)
}

/// The kinds of packet that are translated, each as a frame of a given tuple.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp,
    Udp,
    UdpWithoutChecksum,
    EchoRequest,
    EchoReply,
    UdpLite,
    UdpLitePartly,
    Dccp,
    DccpPartly,
    Sctp,
    GreCall,
    Other,
}

const KINDS: [Kind; 12] = [
    Kind::Tcp,
    Kind::Udp,
    Kind::UdpWithoutChecksum,
    Kind::EchoRequest,
    Kind::EchoReply,
    Kind::UdpLite,
    Kind::UdpLitePartly,
    Kind::Dccp,
    Kind::DccpPartly,
    Kind::Sctp,
    Kind::GreCall,
    Kind::Other,
];

fn echo_types<F: Family>() -> (Proto, u8, u8) {
    if F::VERSION == 4 {
        (Proto::ICMP, 8, 0)
    } else {
        (Proto::ICMPV6, 128, 129)
    }
}

/// Makes the tuple's protocol and ports those of `kind`.
fn shape<F: Family>(kind: Kind, mut tuple: Tuple<F>) -> Tuple<F> {
    let (icmp, request, _) = echo_types::<F>();
    tuple.proto = match kind {
        Kind::Tcp => Proto::TCP,
        Kind::Udp | Kind::UdpWithoutChecksum => Proto::UDP,
        Kind::EchoRequest | Kind::EchoReply => icmp,
        Kind::UdpLite | Kind::UdpLitePartly => Proto::UDPLITE,
        Kind::Dccp | Kind::DccpPartly => Proto::DCCP,
        Kind::Sctp => Proto::SCTP,
        Kind::GreCall => Proto::GRE,
        Kind::Other => Proto(50),
    };
    match kind {
        Kind::EchoRequest => tuple.dst_port = Port(u16::from(request)),
        Kind::EchoReply => tuple.src_port = Port(u16::from(request)),
        Kind::Other => (tuple.src_port, tuple.dst_port) = (Port(0), Port(0)),
        // The wire shows the receiver's call id only.
        Kind::GreCall => (tuple.src_port, tuple.dst_port.0) = (Port(0), tuple.dst_port.0 | 1),
        Kind::Tcp
        | Kind::Udp
        | Kind::UdpWithoutChecksum
        | Kind::UdpLite
        | Kind::UdpLitePartly
        | Kind::Dccp
        | Kind::DccpPartly
        | Kind::Sctp => {}
    }
    tuple
}

fn craft<F: Family>(kind: Kind, tuple: &Tuple<F>, len: usize) -> Craft {
    let (_, request, reply) = echo_types::<F>();
    let (src, dst) = (tuple.src.to_ip(), tuple.dst.to_ip());
    let from = SocketAddr::new(src, tuple.src_port.0);
    let to = SocketAddr::new(dst, tuple.dst_port.0);
    let echo = |kind, id: Port| {
        let icmp = IcmpSpec {
            kind,
            code: 0,
            id: id.0,
            seq: 3,
        };
        Craft::icmp(src, dst, icmp)
    };
    let craft = match kind {
        Kind::Tcp => Craft::tcp(from, to, TcpSpec::default()),
        Kind::Udp => Craft::udp(from, to),
        Kind::UdpWithoutChecksum => {
            Craft::udp(from, to).map(|craft| craft.udp_checksum(UdpChecksum::Zero))
        }
        Kind::EchoRequest => echo(request, tuple.src_port),
        Kind::EchoReply => echo(reply, tuple.dst_port),
        Kind::UdpLite => Craft::udp_lite(from, to, 0),
        Kind::UdpLitePartly => Craft::udp_lite(from, to, 8),
        Kind::Dccp => Craft::dccp(from, to, DccpSpec::default()),
        Kind::DccpPartly => {
            let coverage = 1;
            Craft::dccp(
                from,
                to,
                DccpSpec {
                    coverage,
                    ..DccpSpec::default()
                },
            )
        }
        Kind::Sctp => Craft::sctp(from, to, 7),
        Kind::GreCall => return gre_call(src, dst, tuple.dst_port.0, len),
        Kind::Other => Craft::other(src, dst, tuple.proto),
    };
    craft.unwrap().payload_len(len)
}

fn gre_call(src: IpAddr, dst: IpAddr, call: u16, len: usize) -> Craft {
    let mut bytes = vec![0x20, 1, 0x88, 0x0b, 0, 0];
    bytes.extend(call.to_be_bytes());
    bytes.resize(8 + len, 0xaa);
    Craft::other(src, dst, Proto::GRE).unwrap().payload(&bytes)
}

fn any_tuple<F: Family>() -> impl Strategy<Value = Tuple<F>> {
    any::<(u128, u128, u16, u16)>().prop_map(|(src, dst, src_port, dst_port)| Tuple {
        src: F::Addr::from_bits(src),
        dst: F::Addr::from_bits(dst),
        src_port: Port(src_port),
        dst_port: Port(dst_port),
        proto: Proto(0),
    })
}

fn translation_is_rebuilding<F: Family>(kind: Kind, a: Tuple<F>, b: Tuple<F>, len: usize) {
    let (a, b) = (shape(kind, a), shape(kind, b));
    let (parsed, mut buf) = open(craft(kind, &a, len).frame().unwrap());
    let before = buf.clone();
    let deltas = Deltas::between(&a, &b);
    translate(buf.head_mut(), &parsed, &b, &deltas).unwrap();
    assert_eq!(parsed.tuple::<F>(buf.head()), Some(b));
    let (again, whole) = open(craft(kind, &b, len).frame().unwrap());
    assert_eq!(buf, whole, "{kind:?} {a:?} -> {b:?}");
    assert_eq!(verify_l4(&whole, &again), Checksum::Good);
    translate(buf.head_mut(), &parsed, &a, &deltas.inverse()).unwrap();
    assert_eq!(buf, before);
}

/// An error about a packet of `direction` of a translated flow, sent by `router` to where the
/// packet came from on its last link, translated on its way back.
fn error_is_translated<F: Family>(
    kind: Kind,
    pair: &TuplePair<F>,
    direction: Direction,
    router: F::Addr,
    len: usize,
) {
    let seen = pair.outgoing(direction);
    let sent = *pair.incoming(direction);
    let error = IcmpError::TtlExceeded;
    let make = |from: F::Addr, tuple: &Tuple<F>| {
        let (parsed, buf) = open(craft(kind, tuple, len).frame().unwrap());
        let mut out = Vec::new();
        write_error(&mut out, from.to_ip(), &buf, &parsed, error).unwrap();
        out
    };
    let back = direction.flip();
    let (parsed, mut buf) = open(make(router, &seen));
    let quote = quoted::<F>(buf.head(), &parsed).unwrap();
    assert_eq!(quote.tuple, seen);
    assert_eq!(
        quote.tuple.inverse(),
        *pair.incoming(back),
        "how it is looked up"
    );
    let (incoming, outgoing) = (pair.incoming(back), pair.outgoing(back));
    translate_quoted(buf.head_mut(), &parsed, &quote, incoming, &outgoing).unwrap();
    let from = if incoming.src == outgoing.src {
        router
    } else {
        outgoing.src
    };
    assert_eq!(buf.into_bytes(), make(from, &sent), "{kind:?}");
}

fn tuple4(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Tuple<V4> {
    Tuple {
        src,
        dst,
        src_port: Port(src_port),
        dst_port: Port(dst_port),
        proto: Proto::UDP,
    }
}

#[test]
fn errors_about_masqueraded_and_redirected_flows_show_what_the_sender_sent() {
    let (inside, outside, us) = ([10, 0, 0, 2], [1, 1, 1, 1], [203, 0, 113, 2]);
    let router = [198, 51, 100, 9];
    for kind in [
        Kind::Tcp,
        Kind::Udp,
        Kind::UdpWithoutChecksum,
        Kind::EchoRequest,
        Kind::UdpLite,
        Kind::UdpLitePartly,
        Kind::Dccp,
        Kind::DccpPartly,
        Kind::Sctp,
    ] {
        let source = TuplePair {
            original: shape(kind, tuple4(inside, 5000, outside, 53)),
            reply: shape(kind, tuple4(us, 6000, outside, 53)).inverse(),
        };
        let destination = TuplePair {
            original: shape(kind, tuple4(outside, 5000, us, 80)),
            reply: shape(kind, tuple4(outside, 5000, inside, 8080)).inverse(),
        };
        for len in [0, 1, 40, 700] {
            error_is_translated(kind, &source, Direction::Original, router, len);
            error_is_translated(kind, &destination, Direction::Original, router, len);
        }
    }
}

/// One of all ports brings the UDP checksum to zero, which is sent as ones.
#[test]
fn every_port_translates_to_what_would_be_built() {
    let inside = shape(Kind::Udp, tuple4([10, 0, 0, 2], 5000, [1, 1, 1, 1], 53));
    for port in 0..=u16::MAX {
        let outside = shape(Kind::Udp, tuple4([203, 0, 113, 2], port, [1, 1, 1, 1], 53));
        translation_is_rebuilding(Kind::Udp, inside, outside, 3);
        let pair = TuplePair {
            original: outside,
            reply: inside.inverse(),
        };
        error_is_translated(Kind::Udp, &pair, Direction::Original, [9; 4], 3);
    }
}

#[test]
fn a_quote_cut_behind_eight_bytes_is_translated() {
    let sent = tuple4([10, 0, 0, 2], 5000, [1, 1, 1, 1], 80);
    let seen = tuple4([203, 0, 113, 2], 6000, [1, 1, 1, 1], 80);
    let short = |tuple: &Tuple<V4>| {
        let tcp = craft(Kind::Tcp, tuple, 100).frame().unwrap();
        let icmp = IcmpSpec {
            kind: 3,
            code: 1,
            ..IcmpSpec::default()
        };
        let craft = Craft::icmp([9, 9, 9, 9].into(), tuple.src.into(), icmp).unwrap();
        craft.payload(&tcp[14..14 + 28]).frame().unwrap()
    };
    let (parsed, mut buf) = open(short(&seen));
    let quote = quoted::<V4>(buf.head(), &parsed).unwrap();
    let (incoming, outgoing) = (quote.tuple.inverse(), {
        let mut sent = sent.inverse();
        sent.proto = Proto::TCP;
        sent
    });
    translate_quoted(buf.head_mut(), &parsed, &quote, &incoming, &outgoing).unwrap();
    assert_eq!(buf.into_bytes(), short(&sent));
}

#[test]
fn a_quote_without_ports_names_no_connection() {
    let tcp = craft(Kind::Tcp, &tuple4([1; 4], 1, [2; 4], 2), 10)
        .frame()
        .unwrap();
    let icmp = IcmpSpec {
        kind: 3,
        ..IcmpSpec::default()
    };
    let quoting = |bytes: &[u8]| {
        let craft = Craft::icmp([9, 9, 9, 9].into(), [1, 1, 1, 1].into(), icmp).unwrap();
        let (parsed, buf) = open(craft.payload(bytes).frame().unwrap());
        quoted::<V4>(buf.head(), &parsed)
    };
    let ip = &tcp[14..];
    assert!(quoting(&ip[..28]).is_some());
    for cut in 0..28 {
        assert_eq!(quoting(&ip[..cut]), None, "{cut}");
    }
    let mut later = ip.to_vec();
    later[7] = 1;
    assert_eq!(quoting(&later), None, "a later fragment");
    let mut version = ip.to_vec();
    version[0] = 0x65;
    assert_eq!(quoting(&version), None, "not IPv4");
    let mut error = ip.to_vec();
    (error[9], error[20]) = (1, 3);
    assert_eq!(quoting(&error), None, "an error about an error");
}

#[test]
fn a_wrong_checksum_stays_wrong_by_the_same_bits() {
    let inside = tuple4([10, 0, 0, 2], 5000, [1, 1, 1, 1], 53);
    let outside = tuple4([203, 0, 113, 2], 6000, [1, 1, 1, 1], 53);
    for (kind, at) in [(Kind::Sctp, 8), (Kind::Dccp, 6), (Kind::UdpLite, 6)] {
        let (a, b) = (shape(kind, inside), shape(kind, outside));
        let mut frame = craft(kind, &a, 40).frame().unwrap();
        frame[14 + 20 + at] ^= 0x10;
        let (parsed, mut buf) = open(frame);
        translate(buf.head_mut(), &parsed, &b, &Deltas::between(&a, &b)).unwrap();
        let (parsed, buf) = open(buf.into_bytes());
        assert_eq!(verify_l4(&buf, &parsed), Checksum::Bad, "{kind:?}");
    }
}

#[test]
fn an_sctp_fragment_whose_ports_would_change_is_refused() {
    let inside = shape(Kind::Sctp, tuple4([10, 0, 0, 2], 5000, [1, 1, 1, 1], 53));
    let more_fragments = 0x2000;
    let piece = craft(Kind::Sctp, &inside, 40).flags(more_fragments);
    let (parsed, mut buf) = open(piece.frame().unwrap());
    let before = buf.clone();
    let mut out = inside;
    out.src_port = Port(8);
    let deltas = Deltas::between(&inside, &out);
    let result = translate(buf.head_mut(), &parsed, &out, &deltas);
    assert_eq!(result, Err(DropReason::NatUntranslatable));
    assert_eq!(buf, before);
    out = Tuple {
        src: [203, 0, 113, 2],
        ..inside
    };
    let deltas = Deltas::between(&inside, &out);
    assert!(translate(buf.head_mut(), &parsed, &out, &deltas).is_ok());
}

#[test]
fn a_tunnel_is_translated_by_its_addresses_and_keeps_the_call_ids_it_carries() {
    let inside = shape(Kind::GreCall, tuple4([10, 0, 0, 2], 0, [1, 1, 1, 1], 9));
    let (parsed, mut buf) = open(craft(Kind::GreCall, &inside, 9).frame().unwrap());
    let mut out = inside.without_call();
    out.src = [203, 0, 113, 2];
    let deltas = Deltas::between(&inside.without_call(), &out);
    translate(buf.head_mut(), &parsed, &out, &deltas).unwrap();
    let kept = Tuple {
        src: out.src,
        ..inside
    };
    let whole = craft(Kind::GreCall, &kept, 9).frame().unwrap();
    assert_eq!(buf.into_bytes(), whole);
}

/// An SCTP packet of which an error quotes only the common header still shows a checksum that
/// its sender would have computed.
#[test]
fn a_quoted_sctp_checksum_is_right_however_much_of_the_packet_is_quoted() {
    let (a, b) = ([10, 0, 0, 2], [203, 0, 113, 2]);
    let sent = shape(Kind::Sctp, tuple4(a, 5000, [1, 1, 1, 1], 80));
    let seen = shape(Kind::Sctp, tuple4(b, 6000, [1, 1, 1, 1], 80));
    let short = |tuple: &Tuple<V4>, quoted: usize| {
        let frame = craft(Kind::Sctp, tuple, 900).frame().unwrap();
        let icmp = IcmpSpec {
            kind: 3,
            code: 1,
            ..IcmpSpec::default()
        };
        let craft = Craft::icmp([9, 9, 9, 9].into(), tuple.src.into(), icmp).unwrap();
        craft.payload(&frame[14..14 + 20 + quoted]).frame().unwrap()
    };
    for quoted_len in [8, 12, 100] {
        let (parsed, mut buf) = open(short(&seen, quoted_len));
        let quote = quoted::<V4>(buf.head(), &parsed).unwrap();
        let (incoming, outgoing) = (quote.tuple.inverse(), sent.inverse());
        translate_quoted(buf.head_mut(), &parsed, &quote, &incoming, &outgoing).unwrap();
        assert_eq!(buf.into_bytes(), short(&sent, quoted_len), "{quoted_len}");
    }
}

#[test]
fn a_packet_of_the_other_family_is_not_translated() {
    let (parsed, mut buf) = open(
        craft(
            Kind::Udp,
            &shape(Kind::Udp, tuple4([1; 4], 1, [2; 4], 2)),
            3,
        )
        .frame()
        .unwrap(),
    );
    let out = Tuple::<V6>::default();
    assert_eq!(
        translate(buf.head_mut(), &parsed, &out, &Deltas::default()),
        Err(DropReason::NatUntranslatable)
    );
}

#[test]
fn the_last_hop_is_refused() {
    for ttl in [0, 1] {
        let tuple = shape(Kind::Udp, tuple4([1; 4], 1, [2; 4], 2));
        let (parsed, mut buf) = open(craft(Kind::Udp, &tuple, 3).ttl(ttl).frame().unwrap());
        let before = buf.clone();
        assert_eq!(
            decrement_ttl(buf.head_mut(), &parsed),
            Err(DropReason::TtlExceeded)
        );
        assert_eq!(buf, before);
    }
}

#[test]
fn any_tagging_becomes_any_other() {
    let plain = || {
        craft(
            Kind::Udp,
            &shape(Kind::Udp, tuple4([1; 4], 1, [2; 4], 2)),
            9,
        )
    };
    let (a, b) = (VlanId(20), VlanId(30));
    let frames = [plain(), plain().vlan(a), plain().qinq(b, a)].map(|c| c.frame().unwrap());
    for frame in frames {
        for (tagging, want) in [
            (Tagging::Untagged, plain()),
            (Tagging::Tagged(b, None), plain().vlan(b)),
        ] {
            let (mut parsed, mut buf) = open(frame.clone());
            retag(&mut buf, &mut parsed, tagging).unwrap();
            let (again, whole) = open(want.frame().unwrap());
            assert_eq!(buf, whole);
            assert_eq!(parsed, again);
        }
    }
}

#[test]
fn ethernet_addresses_are_written_and_nothing_else() {
    let (dst, src) = (Mac([2, 3, 4, 5, 6, 7]), Mac([8, 9, 10, 11, 12, 13]));
    let made = || {
        craft(
            Kind::Udp,
            &shape(Kind::Udp, tuple4([1; 4], 1, [2; 4], 2)),
            9,
        )
    };
    let mut frame = made().frame().unwrap();
    set_ethernet(&mut frame, dst, src);
    assert_eq!(frame, made().macs(dst, src).frame().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn translating_ipv4_equals_building_anew(
        kind in prop::sample::select(&KINDS[..]),
        a in any_tuple::<V4>(), b in any_tuple::<V4>(), len in 0usize..90,
    ) {
        translation_is_rebuilding(kind, a, b, len);
    }

    #[test]
    fn translating_ipv6_equals_building_anew(
        kind in prop::sample::select(&KINDS[..]),
        a in any_tuple::<V6>(), b in any_tuple::<V6>(), len in 0usize..90,
    ) {
        translation_is_rebuilding(kind, a, b, len);
    }

    #[test]
    fn errors_over_ipv6_are_translated(
        kind in prop::sample::select(&KINDS[..5]),
        ports in any::<[u16; 4]>(), len in 0usize..1400,
    ) {
        let host = |n: u16| u128::from(n) | 0x2001_0db8 << 96;
        let tuple = |src, dst| shape(kind, Tuple::<V6> {
            src: u128::to_be_bytes(src), dst: u128::to_be_bytes(dst),
            src_port: Port(ports[0]), dst_port: Port(ports[1]), proto: Proto::UDP,
        });
        let mut outside = tuple(host(3), host(2));
        if matches!(kind, Kind::EchoReply) {
            outside.dst_port = Port(ports[2]);
        } else {
            outside.src_port = Port(ports[2]);
        }
        let pair = TuplePair { original: tuple(host(1), host(2)), reply: outside.inverse() };
        error_is_translated(kind, &pair, Direction::Original, host(9).to_be_bytes(), len);
    }

    #[test]
    fn decrementing_the_ttl_equals_building_anew(
        tuple in any_tuple::<V4>(), ttl in 2u8.., tos in any::<u8>(), len in 0usize..50,
    ) {
        let made = |ttl| {
            craft(Kind::Udp, &shape(Kind::Udp, tuple), len).ttl(ttl).tos(tos).frame().unwrap()
        };
        let (parsed, mut buf) = open(made(ttl));
        decrement_ttl(buf.head_mut(), &parsed).unwrap();
        prop_assert_eq!(buf.into_bytes(), made(ttl - 1));
    }

    #[test]
    fn decrementing_the_hop_limit_changes_one_byte(tuple in any_tuple::<V6>(), ttl in 2u8..) {
        let made = |ttl| craft(Kind::Udp, &shape(Kind::Udp, tuple), 5).ttl(ttl).frame().unwrap();
        let (parsed, mut buf) = open(made(ttl));
        decrement_ttl(buf.head_mut(), &parsed).unwrap();
        prop_assert_eq!(buf.into_bytes(), made(ttl - 1));
    }
}
