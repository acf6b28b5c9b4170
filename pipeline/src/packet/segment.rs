//! What connection tracking is given of a packet.

use turnpike_conntrack::segment::{Checksum, IcmpQuery, L4, SackOffer, Segment, TcpSegment};
use turnpike_conntrack::tuple::Proto;

use super::parse::{Parsed, Tcp, Transport};
use super::tcp::tcp_options;
use super::tuple::IcmpRole;
use super::{dccp, sctp};

/// The packet in `head` as connection tracking sees it; `checksum` is what
/// [`verify_l4`](super::verify::verify_l4) said of it.
pub fn segment(head: &[u8], parsed: &Parsed, checksum: Checksum) -> Segment {
    let l4 = match parsed.transport {
        Transport::Tcp(tcp) => L4::Tcp(tcp_segment(head, parsed, tcp)),
        Transport::Ports { .. } => with_ports(head, parsed),
        Transport::Icmp { .. } => match parsed.icmp_role() {
            Some(IcmpRole::Request) => L4::Icmp(IcmpQuery::Request),
            Some(IcmpRole::Reply { .. }) => L4::Icmp(IcmpQuery::Reply),
            Some(IcmpRole::Error | IcmpRole::Other) | None => L4::Other,
        },
        Transport::Other if parsed.proto == Proto::GRE => L4::Gre,
        Transport::Other => L4::Other,
    };
    Segment {
        l4,
        payload_len: parsed.payload_len(),
        len: parsed.ip_len,
        checksum,
    }
}

/// Every protocol with ports but TCP.
fn with_ports(head: &[u8], parsed: &Parsed) -> L4 {
    match parsed.proto {
        Proto::UDP | Proto::UDPLITE => L4::Udp,
        Proto::SCTP => sctp::segment(head, parsed).map_or(L4::Malformed, L4::Sctp),
        Proto::DCCP => dccp::kind(head, parsed).map_or(L4::Malformed, L4::Dccp),
        _ => L4::Other,
    }
}

fn tcp_segment(head: &[u8], parsed: &Parsed, tcp: Tcp) -> TcpSegment {
    let options = tcp_options(head, parsed);
    TcpSegment {
        flags: tcp.flags,
        seq: tcp.seq,
        ack: tcp.ack,
        window: tcp.window,
        scale: options.window_scale,
        sack_permitted: if options.sack_permitted {
            SackOffer::Permitted
        } else {
            SackOffer::Absent
        },
        sack_end: options.sack_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::craft::{Craft, IcmpSpec, TcpSpec};
    use crate::packet::headers::TCP_SYN;
    use crate::packet::parse::inspect;

    fn of(craft: Option<Craft>) -> Segment {
        let frame = craft.unwrap().payload(b"abc").frame().unwrap();
        let parsed = inspect(&frame, frame.len()).unwrap();
        segment(&frame, &parsed, Checksum::Good)
    }

    #[test]
    fn tcp_is_told_with_its_options() {
        let tcp = TcpSpec {
            flags: TCP_SYN,
            seq: 7,
            ack: 8,
            window: 9,
            options: &[3, 3, 5, 4, 2, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        };
        let made = of(Craft::tcp(
            ([10, 0, 0, 1], 1).into(),
            ([10, 0, 0, 2], 2).into(),
            tcp,
        ));
        let want = TcpSegment {
            flags: TCP_SYN,
            seq: 7,
            ack: 8,
            window: 9,
            scale: Some(5),
            sack_permitted: SackOffer::Permitted,
            sack_end: Some(2),
        };
        assert_eq!(made.l4, L4::Tcp(want));
        assert_eq!((made.payload_len, made.len), (3, 59));
    }

    #[test]
    fn queries_datagrams_and_the_rest_are_told_apart() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(of(Craft::udp((a, 1).into(), (b, 2).into())).l4, L4::Udp);
        let icmp = |kind| {
            let icmp = IcmpSpec {
                kind,
                ..IcmpSpec::default()
            };
            of(Craft::icmp(a.into(), b.into(), icmp)).l4
        };
        assert_eq!(icmp(8), L4::Icmp(IcmpQuery::Request));
        assert_eq!(icmp(0), L4::Icmp(IcmpQuery::Reply));
        assert_eq!(icmp(3), L4::Other);
        assert_eq!(icmp(9), L4::Other);
        let esp = of(Craft::other(a.into(), b.into(), Proto(50)));
        assert_eq!((esp.l4, esp.payload_len, esp.len), (L4::Other, 3, 23));
    }
}
