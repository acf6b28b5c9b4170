//! A packet as the connection trackers see it.

use turnpike_conntrack::segment::{Checksum, IcmpQuery, L4, SackOffer, Segment, TcpSegment};
use turnpike_conntrack::tuple::Proto;

use super::parse::{Parsed, Transport};
use super::tcp::tcp_options;

/// What connection tracking has to know of the packet in `head`.
pub fn segment(head: &[u8], parsed: &Parsed, checksum: Checksum) -> Segment {
    Segment {
        l4: l4(head, parsed),
        payload_len: parsed.payload_len(),
        len: parsed.ip_len,
        checksum,
    }
}

fn l4(head: &[u8], parsed: &Parsed) -> L4 {
    match parsed.transport {
        Transport::Tcp(tcp) => {
            let options = tcp_options(head, parsed);
            let sack_permitted = if options.sack_permitted {
                SackOffer::Permitted
            } else {
                SackOffer::Absent
            };
            L4::Tcp(TcpSegment {
                flags: tcp.flags,
                seq: tcp.seq,
                ack: tcp.ack,
                window: tcp.window,
                scale: options.window_scale,
                sack_permitted,
                sack_end: options.sack_end,
            })
        }
        Transport::Icmp { kind, .. } => {
            let version = parsed.version().unwrap_or_default();
            IcmpQuery::of_type(version, kind).map_or(L4::Other, L4::Icmp)
        }
        Transport::Ports { .. } if parsed.proto == Proto::UDP => L4::Udp,
        Transport::Ports { .. } | Transport::Other => L4::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::HeapBuffer;
    use crate::packet::craft::{Craft, IcmpSpec, TcpSpec};
    use crate::packet::parse::parse;

    fn seen(craft: &Craft) -> Segment {
        let mut buf = HeapBuffer::new(craft.frame().unwrap(), 0);
        let parsed = parse(&mut buf).unwrap();
        segment(crate::buffer::Buffer::head(&buf), &parsed, Checksum::Good)
    }

    #[test]
    fn a_tcp_segment_carries_its_numbers_and_lengths() {
        let spec = TcpSpec {
            flags: 0x18,
            seq: 7,
            ack: 9,
            ..TcpSpec::default()
        };
        let src = "192.0.2.1:1".parse().unwrap();
        let craft = Craft::tcp(src, "192.0.2.2:2".parse().unwrap(), spec).unwrap();
        let got = seen(&craft.payload(b"abc"));
        assert_eq!((got.payload_len, got.len), (3, 43));
        let L4::Tcp(tcp) = got.l4 else { panic!("tcp") };
        assert_eq!((tcp.flags, tcp.seq, tcp.ack), (0x18, 7, 9));
    }

    #[test]
    fn an_echo_is_a_query_and_an_error_is_not() {
        let icmp = |kind| {
            let spec = IcmpSpec {
                kind,
                ..IcmpSpec::default()
            };
            let (src, dst) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
            seen(&Craft::icmp(src, dst, spec).unwrap().payload(&[0; 28])).l4
        };
        assert_eq!(icmp(8), L4::Icmp(IcmpQuery::Request));
        assert_eq!(icmp(0), L4::Icmp(IcmpQuery::Reply));
        assert_eq!(icmp(3), L4::Other);
    }
}
