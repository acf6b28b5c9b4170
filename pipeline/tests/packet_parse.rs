//! The door: what passes, and every way a frame is turned away.

#![expect(clippy::unwrap_used, reason = "what helps a test fails by panicking")]

use std::net::SocketAddr;

use proptest::prelude::*;
use turnpike_conntrack::segment::{Checksum, DccpType, L4};
use turnpike_conntrack::tuple::{Port, Proto, V4, V6};
use turnpike_pipeline::buffer::{Buffer, HeapBuffer};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::packet::craft::{Craft, DccpSpec, IcmpSpec, TcpSpec, UdpChecksum};
use turnpike_pipeline::packet::headers::{TCP_ACK, TCP_SYN};
use turnpike_pipeline::packet::parse::{Fragment, Net, Parsed, Transport, VlanId, parse};
use turnpike_pipeline::packet::quoted::quoted;
use turnpike_pipeline::packet::segment::segment;
use turnpike_pipeline::packet::tcp::tcp_options;
use turnpike_pipeline::packet::verify::verify_l4;
use turnpike_pipeline::packet::{arp, nd};

const ETH: usize = 14;

fn tcp4() -> Craft {
    let tcp = TcpSpec {
        flags: TCP_SYN | TCP_ACK,
        seq: 0x0102_0304,
        ack: 0x0506_0708,
        window: 4096,
        options: &[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1],
    };
    Craft::tcp(
        "10.0.0.2:40000".parse().unwrap(),
        "1.1.1.1:443".parse().unwrap(),
        tcp,
    )
    .unwrap()
}

fn udp4() -> Craft {
    Craft::udp(
        "10.0.0.2:5000".parse().unwrap(),
        "1.1.1.1:53".parse().unwrap(),
    )
    .unwrap()
    .payload(b"hello")
}

fn udp6() -> Craft {
    Craft::udp(
        "[2001:db8::2]:5000".parse().unwrap(),
        "[2001:db8::1]:53".parse().unwrap(),
    )
    .unwrap()
    .payload(b"hello")
}

fn echo4(kind: u8) -> Craft {
    let icmp = IcmpSpec {
        kind,
        code: 0,
        id: 77,
        seq: 1,
    };
    Craft::icmp(
        "10.0.0.2".parse().unwrap(),
        "1.1.1.1".parse().unwrap(),
        icmp,
    )
    .unwrap()
}

fn open(frame: Vec<u8>) -> Result<(Parsed, HeapBuffer), DropReason> {
    let mut buf = HeapBuffer::new(frame, 0);
    parse(&mut buf).map(|parsed| (parsed, buf))
}

/// Writes the right header checksum after a test has changed an IPv4 header.
fn seal_ipv4(frame: &mut [u8]) {
    let len = usize::from(frame[ETH] & 0x0f) * 4;
    frame[ETH + 10..ETH + 12].fill(0);
    let mut sum = turnpike_pipeline::packet::checksum::Sum::new();
    sum.add(&frame[ETH..ETH + len]);
    let sum = sum.checksum().to_be_bytes();
    frame[ETH + 10..ETH + 12].copy_from_slice(&sum);
}

#[track_caller]
fn refused(frame: Vec<u8>, reason: DropReason) {
    let before = HeapBuffer::new(frame, 7);
    let mut buf = before.clone();
    assert_eq!(parse(&mut buf), Err(reason));
    assert_eq!(buf, before, "a refused frame is left as it was");
}

/// The frame after `change`, its IPv4 header checksum made right again.
#[track_caller]
fn refused_with(craft: &Craft, change: impl FnOnce(&mut Vec<u8>), reason: DropReason) {
    let mut frame = craft.frame().unwrap();
    change(&mut frame);
    if frame.len() > ETH + 20 && frame[12..14] == [8, 0] && reason != DropReason::IpChecksum {
        seal_ipv4(&mut frame);
    }
    refused(frame, reason);
}

#[test]
fn parsed_fits_in_96_bytes() {
    assert!(size_of::<Parsed>() <= 96, "{}", size_of::<Parsed>());
}

#[test]
fn tcp_over_ipv4_is_read_whole() {
    let (parsed, buf) = open(tcp4().ttl(9).tos(0xb8).payload(b"abc").frame().unwrap()).unwrap();
    assert_eq!(parsed.net, Net::V4);
    assert_eq!((parsed.l3, parsed.l4, parsed.payload), (14, 34, 66));
    assert_eq!((parsed.ttl, parsed.tos), (9, 0xb8));
    assert_eq!(parsed.payload_len(), 3);
    let tcp = parsed.tcp().unwrap();
    assert_eq!((tcp.seq, tcp.ack), (0x0102_0304, 0x0506_0708));
    assert_eq!((tcp.flags, tcp.window), (TCP_SYN | TCP_ACK, 4096));
    let options = tcp_options(buf.head(), &parsed);
    assert_eq!(options.mss, Some(1460));
    assert_eq!(options.window_scale, Some(7));
    assert!(options.sack_permitted);
    assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
    let tuple = parsed.tuple::<V4>(buf.head()).unwrap();
    assert_eq!((tuple.src, tuple.src_port), ([10, 0, 0, 2], Port(40000)));
    assert_eq!((tuple.dst, tuple.dst_port), ([1, 1, 1, 1], Port(443)));
    assert_eq!(parsed.tuple::<V6>(buf.head()), None);
}

#[test]
fn the_highest_sack_edge_wins_over_the_wrap() {
    let tcp = TcpSpec {
        options: &[
            1, 1, 5, 18, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0, 0, 0, 9,
        ],
        ..TcpSpec::default()
    };
    let craft = Craft::tcp(
        "10.0.0.2:1".parse().unwrap(),
        "10.0.0.3:2".parse().unwrap(),
        tcp,
    );
    let (parsed, buf) = open(craft.unwrap().frame().unwrap()).unwrap();
    assert_eq!(tcp_options(buf.head(), &parsed).sack_end, Some(9));
}

#[test]
fn an_echo_request_and_its_reply_have_inverse_ports() {
    let (parsed, buf) = open(echo4(8).frame().unwrap()).unwrap();
    let request = parsed.tuple::<V4>(buf.head()).unwrap();
    assert_eq!((request.src_port, request.dst_port), (Port(77), Port(8)));
    let (parsed, buf) = open(echo4(0).frame().unwrap()).unwrap();
    let reply = parsed.tuple::<V4>(buf.head()).unwrap();
    assert_eq!((reply.src_port, reply.dst_port), (Port(8), Port(77)));
}

#[test]
fn tags_are_read_and_a_priority_tag_is_no_vlan() {
    let (parsed, _) = open(udp4().vlan(VlanId(20)).frame().unwrap()).unwrap();
    assert_eq!((parsed.link.vlan, parsed.l3), (Some(VlanId(20)), 18));
    let (parsed, _) = open(udp4().qinq(VlanId(5), VlanId(6)).frame().unwrap()).unwrap();
    assert_eq!(parsed.link.vlan, Some(VlanId(5)));
    assert_eq!(parsed.link.inner_vlan, Some(VlanId(6)));
    assert_eq!(parsed.link.len, 22);
    let (parsed, _) = open(udp4().vlan(VlanId(0xe000)).frame().unwrap()).unwrap();
    assert_eq!((parsed.link.vlan, parsed.link.len), (None, 18));
}

#[test]
fn padding_is_cut() {
    let mut frame = udp4().frame().unwrap();
    let whole = frame.clone();
    frame.resize(60, 0xee);
    let (_, buf) = open(frame).unwrap();
    assert_eq!(buf.into_bytes(), whole);
}

#[test]
fn ipv4_options_are_walked() {
    let mut frame = udp4().frame().unwrap();
    frame.splice(ETH + 20..ETH + 20, [1, 7, 3, 4, 1, 0, 0xff, 0xff]);
    frame[ETH] = 0x47;
    frame[ETH + 3] += 8;
    seal_ipv4(&mut frame);
    let (parsed, buf) = open(frame.clone()).unwrap();
    assert_eq!(parsed.l4, 42);
    assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
    for bad in [[7, 0], [7, 1], [7, 9]] {
        let mut frame = frame.clone();
        frame[ETH + 21..ETH + 23].copy_from_slice(&bad);
        seal_ipv4(&mut frame);
        refused(frame, DropReason::IpOptions);
    }
    frame[ETH + 25..ETH + 28].copy_from_slice(&[1, 1, 7]);
    seal_ipv4(&mut frame);
    refused(frame, DropReason::IpOptions);
}

#[test]
fn extension_headers_are_walked_to_the_transport() {
    let udp = udp6().frame().unwrap();
    let mut chain = vec![60, 0, 1, 4, 0, 0, 0, 0]; // hop-by-hop, next: destination
    chain.extend([43, 0, 1, 4, 0, 0, 0, 0]); // destination, next: routing
    chain.extend([51, 0, 0, 0, 0, 0, 0, 0]); // routing, next: authentication
    chain.extend([17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]); // authentication of 12 bytes
    let (parsed, buf) = open(with_chain(&udp, 0, &chain)).unwrap();
    assert_eq!(parsed.l4, 14 + 40 + 36);
    assert_eq!(parsed.proto, Proto::UDP);
    assert_eq!(parsed.payload_len(), 5);
    assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
}

/// An IPv6 frame with a chain of headers put behind its IP header.
fn with_chain(frame: &[u8], first: u8, chain: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[ETH + 6] = first;
    let len = u16::from_be_bytes([frame[ETH + 4], frame[ETH + 5]]) + chain.len() as u16;
    frame[ETH + 4..ETH + 6].copy_from_slice(&len.to_be_bytes());
    frame.splice(ETH + 40..ETH + 40, chain.iter().copied());
    frame
}

#[test]
fn eight_extension_headers_pass_and_nine_do_not() {
    let udp = udp6().frame().unwrap();
    let chain = |n: usize| {
        let mut chain = Vec::new();
        for i in 1..=n {
            chain.extend([if i == n { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        chain
    };
    assert!(open(with_chain(&udp, 60, &chain(8))).is_ok());
    refused(with_chain(&udp, 60, &chain(9)), DropReason::Ipv6Extension);
}

#[test]
fn a_broken_extension_chain_is_refused() {
    let udp = udp6().frame().unwrap();
    let late_hop_by_hop = [0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
    let off_the_end = [17, 9, 1, 4, 0, 0, 0, 0];
    let two_fragments = [44, 0, 0, 1, 0, 0, 0, 1, 17, 0, 0, 1, 0, 0, 0, 1];
    for (first, chain) in [
        (60, &late_hop_by_hop[..]),
        (60, &off_the_end[..]),
        (44, &two_fragments[..]),
    ] {
        refused(with_chain(&udp, first, chain), DropReason::Ipv6Extension);
    }
}

#[test]
fn fragments_are_told_apart() {
    let udp = udp6().frame().unwrap();
    let piece = |field: u16| {
        let [hi, lo] = field.to_be_bytes();
        open(with_chain(&udp, 44, &[17, 0, hi, lo, 0, 0, 0, 9]))
    };
    let whole = piece(0).unwrap().0;
    assert_eq!(whole.fragment, Fragment::Whole);
    let (middle, buf) = piece(0x0011).unwrap();
    assert_eq!(middle.fragment, Fragment::Middle { id: 9, offset: 16 });
    assert_eq!(middle.transport, Transport::Other);
    let tuple = middle.tuple::<V6>(buf.head()).unwrap();
    assert_eq!((tuple.src_port, tuple.proto), (Port(0), Proto::UDP));
    assert_eq!(
        piece(0x0010).unwrap().0.fragment,
        Fragment::Last { id: 9, offset: 16 }
    );

    let first = udp4().id(5).flags(0x2000);
    let mut frame = first.frame().unwrap();
    frame[ETH + 20 + 5] = 200; // The datagram is longer than its first piece.
    let (parsed, buf) = open(frame).unwrap();
    assert_eq!(parsed.fragment, Fragment::First { id: 5 });
    assert_eq!(parsed.tuple::<V4>(buf.head()).unwrap().src_port, Port(5000));
    refused_with(&first, |_| {}, DropReason::L4Truncated);
    refused_with(&udp4().flags(0x1fff), |_| {}, DropReason::FragmentInvalid);
}

#[test]
fn every_malformed_frame_has_its_reason() {
    use DropReason as D;
    refused(vec![0; 13], D::EthernetTruncated);
    let tagged = udp4().vlan(VlanId(3)).frame().unwrap();
    refused(tagged[..17].to_vec(), D::EthernetTruncated);
    let double = udp4().qinq(VlanId(3), VlanId(4)).frame().unwrap();
    refused(double[..21].to_vec(), D::EthernetTruncated);
    refused_with(&udp4(), |f| f[13] = 1, D::EthertypeUnknown);

    refused_with(&udp4(), |f| f.truncate(ETH), D::IpTruncated);
    refused_with(&udp4(), |f| f.truncate(ETH + 19), D::IpTruncated);
    refused_with(&udp6(), |f| f.truncate(ETH + 39), D::IpTruncated);
    refused_with(&udp4(), |f| f[ETH] = 0x65, D::IpVersion);
    refused_with(&udp6(), |f| f[ETH] = 0x45, D::IpVersion);
    refused_with(&udp4(), |f| f[ETH] = 0x44, D::IpHeaderLength);
    let short = |f: &mut Vec<u8>| {
        f[ETH] = 0x4f;
        f.truncate(ETH + 40);
    };
    let mut frame = udp4().payload_len(50).frame().unwrap();
    short(&mut frame);
    refused(frame, D::IpHeaderLength);
    refused_with(&udp4(), |f| f[ETH + 3] = 19, D::IpTotalLength);
    refused_with(&udp4(), |f| f[ETH + 3] += 1, D::IpTotalLength);
    refused_with(&udp6(), |f| f[ETH + 5] += 1, D::IpTotalLength);
    refused_with(&udp4(), |f| f[ETH + 11] ^= 1, D::IpChecksum);
}

#[test]
fn every_malformed_transport_is_truncated() {
    let reason = DropReason::L4Truncated;
    let cut = |len: u8| move |f: &mut Vec<u8>| f[ETH + 3] = 20 + len;
    refused_with(&tcp4(), cut(19), reason);
    refused_with(&tcp4(), |f| f[ETH + 32] = 0x40, reason); // Data offset 4.
    refused_with(&tcp4(), |f| f[ETH + 32] = 0xf0, reason); // Beyond the segment.
    refused_with(&udp4(), cut(7), reason);
    refused_with(&udp4(), |f| f[ETH + 25] = 7, reason);
    refused_with(&udp4(), |f| f[ETH + 25] = 14, reason); // Longer than the packet.
    refused_with(&echo4(8), cut(7), reason);
    let lite = |coverage: u8| {
        let craft = Craft::other(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.3".parse().unwrap(),
            Proto::UDPLITE,
        );
        craft.unwrap().payload(&[0, 1, 0, 2, 0, coverage, 0, 0, 1])
    };
    refused_with(&lite(7), |_| {}, reason);
    refused_with(&lite(10), |_| {}, reason);
    assert!(open(lite(9).frame().unwrap()).is_ok());
}

#[test]
fn a_wrong_checksum_is_bad_and_none_is_not() {
    for craft in [tcp4(), udp4(), udp6(), echo4(8)] {
        let mut frame = craft.payload_len(31).frame().unwrap();
        let (parsed, buf) = open(frame.clone()).unwrap();
        assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
        *frame.last_mut().unwrap() ^= 0x40;
        let (parsed, buf) = open(frame).unwrap();
        assert_eq!(verify_l4(&buf, &parsed), Checksum::Bad);
    }
    let none = |craft: Craft| {
        let (parsed, buf) = open(craft.udp_checksum(UdpChecksum::Zero).frame().unwrap()).unwrap();
        verify_l4(&buf, &parsed)
    };
    // RFC 6936, section 5: who stands between the ends of a tunnel lets it pass over IPv6, too.
    assert_eq!(none(udp4()), Checksum::Good);
    assert_eq!(none(udp6()), Checksum::Good);
}

fn at4(port: u16) -> SocketAddr {
    ([10, 0, 0, 2], port).into()
}

fn sctp4() -> Craft {
    Craft::sctp(at4(5), at4(6), 7).unwrap()
}

fn dccp4(coverage: u8) -> Craft {
    let dccp = DccpSpec {
        coverage,
        ..DccpSpec::default()
    };
    Craft::dccp(at4(5), at4(6), dccp).unwrap()
}

fn gre4() -> Craft {
    let a = at4(0).ip();
    Craft::other(a, a, Proto::GRE).unwrap()
}

/// The layer-4 part of a frame starts here.
const L4_AT: usize = ETH + 20;

#[test]
fn an_sctp_checksum_covers_header_and_chunks() {
    let mut frame = sctp4().payload_len(31).frame().unwrap();
    let check = |frame: &[u8]| {
        let (parsed, buf) = open(frame.to_vec()).unwrap();
        verify_l4(&buf, &parsed)
    };
    assert_eq!(check(&frame), Checksum::Good);
    for at in L4_AT..frame.len() {
        frame[at] ^= 0x40;
        assert_eq!(check(&frame), Checksum::Bad, "{at}");
        frame[at] ^= 0x40;
    }
    refused_with(&sctp4(), |f| f[ETH + 3] = 20 + 11, DropReason::L4Truncated);
}

#[test]
fn a_dccp_checksum_covers_what_its_coverage_says() {
    let check = |frame: &[u8]| {
        let (parsed, buf) = open(frame.to_vec()).unwrap();
        verify_l4(&buf, &parsed)
    };
    for (coverage, covered) in [(0, 40), (1, 28), (3, 36)] {
        let mut frame = dccp4(coverage).payload_len(12).frame().unwrap();
        assert_eq!(check(&frame), Checksum::Good);
        for at in L4_AT..frame.len() {
            // Data offset and coverage say what is covered, and are: other tests change them.
            if (4..=5).contains(&(at - L4_AT)) {
                continue;
            }
            frame[at] ^= 0x40;
            let wanted = if at < L4_AT + covered {
                Checksum::Bad
            } else {
                Checksum::Good
            };
            assert_eq!(check(&frame), wanted, "{coverage}: {at}");
            frame[at] ^= 0x40;
        }
    }
    let frame = dccp4(5).payload_len(12).frame().unwrap();
    assert_eq!(check(&frame), Checksum::Bad, "covers what is not there");
}

#[test]
fn a_dccp_header_that_cannot_be_is_refused_or_malformed() {
    let reason = DropReason::L4Truncated;
    refused_with(&dccp4(0), |f| f[ETH + 3] = 20 + 11, reason);
    refused_with(&dccp4(0), |f| f[L4_AT + 4] = 3, reason); // Shorter than its sequence number.
    refused_with(&dccp4(0), |f| f[L4_AT + 4] = 8, reason); // Beyond the packet.
    let kind = |change: fn(&mut [u8])| {
        let mut frame = dccp4(0).frame().unwrap();
        change(&mut frame[L4_AT..]);
        let (parsed, buf) = open(frame).unwrap();
        segment(buf.head(), &parsed, Checksum::Good).l4
    };
    assert_eq!(kind(|_| {}), L4::Dccp(DccpType::Request));
    assert_eq!(kind(|l4| l4[8] = 15), L4::Dccp(DccpType::Reset));
    assert_eq!(kind(|l4| l4[8] = 4), L4::Dccp(DccpType::Data));
    assert_eq!(kind(|l4| l4[8] = 21), L4::Malformed, "a reserved type");
    assert_eq!(kind(|l4| l4[8] = 0), L4::Malformed, "a short Request");
    assert_eq!(
        kind(|l4| (l4[4], l4[8]) = (6, 3)),
        L4::Malformed,
        "no Response fits"
    );
    assert_eq!(kind(|l4| l4[5] = 2), L4::Malformed, "covers too much");
}

#[test]
fn udp_lite_is_checked_up_to_its_coverage() {
    let src = "10.0.0.2".parse().unwrap();
    let dst = "10.0.0.3".parse().unwrap();
    let craft = Craft::other(src, dst, Proto::UDPLITE).unwrap();
    let mut lite = vec![0, 1, 0, 2, 0, 8, 0, 0, 0xaa, 0xbb];
    let mut sum = turnpike_pipeline::packet::checksum::Sum::pseudo_header(
        &[10, 0, 0, 2],
        &[10, 0, 0, 3],
        Proto::UDPLITE,
        10,
    );
    sum.add(&lite[..8]);
    lite[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
    let check = |bytes: &[u8]| {
        let (parsed, buf) = open(craft.clone().payload(bytes).frame().unwrap()).unwrap();
        verify_l4(&buf, &parsed)
    };
    assert_eq!(check(&lite), Checksum::Good);
    lite[9] ^= 1;
    assert_eq!(check(&lite), Checksum::Good, "behind the coverage");
    lite[3] ^= 1;
    assert_eq!(check(&lite), Checksum::Bad);
}

/// A frame in several pieces, cut anywhere.
struct Segments(Vec<Vec<u8>>);

impl Buffer for Segments {
    fn head(&self) -> &[u8] {
        &self.0[0]
    }
    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0[0]
    }
    fn frame_len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
    fn for_each_segment(&self, visit: impl FnMut(&[u8])) {
        self.0.iter().map(Vec::as_slice).for_each(visit);
    }
    fn truncate(&mut self, len: usize) {
        let mut left = len;
        for segment in &mut self.0 {
            segment.truncate(left);
            left -= segment.len();
        }
    }
    fn grow_front(&mut self, n: usize) -> Result<(), turnpike_pipeline::buffer::NoRoom> {
        self.0[0].splice(0..0, std::iter::repeat_n(0, n));
        Ok(())
    }
    fn shrink_front(&mut self, n: usize) -> Result<(), turnpike_pipeline::buffer::NoRoom> {
        self.0[0].drain(..n);
        Ok(())
    }
    fn copy(&self) -> Option<Self> {
        Some(Self(self.0.clone()))
    }
    fn rx_checksum(&self) -> turnpike_pipeline::buffer::RxChecksum {
        turnpike_pipeline::buffer::RxChecksum::Unknown
    }
    fn token(&self) -> u64 {
        0
    }
}

#[test]
fn segments_cut_anywhere_behind_the_headers_change_nothing() {
    let mut frame = tcp4().payload_len(40).frame().unwrap();
    let whole = frame.len();
    frame.extend([0xee; 7]);
    for cut in 66..whole {
        for second in [1, 2, 3] {
            let middle = (cut + second).min(whole);
            let mut buf = Segments(vec![
                frame[..cut].to_vec(),
                frame[cut..middle].to_vec(),
                frame[middle..].to_vec(),
            ]);
            let parsed = parse(&mut buf).unwrap();
            assert_eq!(buf.frame_len(), whole);
            assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
        }
    }
    for (cut, reason) in [
        (13, DropReason::EthernetTruncated),
        (20, DropReason::IpTruncated),
        (50, DropReason::L4Truncated),
    ] {
        let mut buf = Segments(vec![frame[..cut].to_vec(), frame[cut..].to_vec()]);
        assert_eq!(parse(&mut buf), Err(reason));
    }
}

/// Everything that reads a packet, on whatever passed the door.
fn read_everything(buf: &HeapBuffer, parsed: &Parsed) {
    let head = buf.head();
    let _ = (parsed.tuple::<V4>(head), parsed.tuple::<V6>(head));
    let _ = (quoted::<V4>(head, parsed), quoted::<V6>(head, parsed));
    let _ = (tcp_options(head, parsed), verify_l4(buf, parsed));
    let _ = segment(head, parsed, Checksum::Good);
    let _ = (arp::read(head, parsed), nd::read(buf, parsed));
    assert!(usize::from(parsed.payload) <= head.len());
    if parsed.net != Net::Arp {
        let (src, dst) = (parsed.src_ip(head).unwrap(), parsed.dst_ip(head).unwrap());
        assert_eq!(src.is_ipv4(), dst.is_ipv4());
        assert_eq!(
            buf.frame_len(),
            usize::from(parsed.l3) + parsed.ip_len as usize
        );
        assert!(parsed.tuple::<V4>(head).is_some() || parsed.tuple::<V6>(head).is_some());
    }
}

fn any_valid() -> impl Strategy<Value = Vec<u8>> {
    let v6_echo = || {
        let icmp = IcmpSpec {
            kind: 128,
            ..IcmpSpec::default()
        };
        Craft::icmp("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap(), icmp).unwrap()
    };
    let kinds: Vec<Craft> = vec![
        tcp4(),
        udp4(),
        udp6(),
        echo4(8),
        echo4(3),
        v6_echo(),
        sctp4(),
        dccp4(3),
        Craft::udp_lite(at4(5), at4(6), 8).unwrap(),
        gre4(),
        udp4().vlan(VlanId(9)),
        udp6().qinq(VlanId(9), VlanId(10)),
    ];
    (prop::sample::select(kinds), 0usize..200)
        .prop_map(|(craft, len)| craft.payload_len(len).frame().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(frame in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok((parsed, buf)) = open(frame) {
            read_everything(&buf, &parsed);
        }
    }

    #[test]
    fn mutated_packets_never_panic(
        mut frame in any_valid(),
        changes in proptest::collection::vec((0usize..120, any::<u8>()), 1..6),
        cut in 0usize..400,
    ) {
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(cut);
        if frame.len() > ETH + 60 {
            seal_ipv4(&mut frame);
        }
        if let Ok((parsed, buf)) = open(frame) {
            read_everything(&buf, &parsed);
        }
    }

    #[test]
    fn what_was_crafted_is_what_is_parsed(
        ports in any::<(u16, u16)>(),
        src in any::<[u8; 4]>(),
        dst in any::<[u8; 4]>(),
        seq in any::<u32>(),
        fields in any::<(u8, u8, u8, u16)>(),
        len in 0usize..1400,
    ) {
        let (ttl, tos, flags, id) = fields;
        let tcp = TcpSpec { flags, seq, ..TcpSpec::default() };
        let craft = Craft::tcp((src, ports.0).into(), (dst, ports.1).into(), tcp)
            .unwrap().ttl(ttl).tos(tos).id(id).payload_len(len);
        let frame = craft.frame().unwrap();
        let (parsed, buf) = open(frame.clone()).unwrap();
        let tuple = parsed.tuple::<V4>(buf.head()).unwrap();
        let back = parsed.tcp().unwrap();
        let again = TcpSpec { flags: back.flags, seq: back.seq, ack: back.ack,
            window: back.window, options: &[] };
        let rebuilt = Craft::tcp(
            (tuple.src, tuple.src_port.0).into(),
            (tuple.dst, tuple.dst_port.0).into(),
            again,
        ).unwrap().ttl(parsed.ttl).tos(parsed.tos).id(id)
            .payload(&buf.head()[usize::from(parsed.payload)..]);
        prop_assert_eq!(rebuilt.frame().unwrap(), frame);
        prop_assert_eq!(verify_l4(&buf, &parsed), Checksum::Good);
    }
}
