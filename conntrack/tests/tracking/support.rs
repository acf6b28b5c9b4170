//! What the integration tests share: small tables, tuples in words, segments.

use std::net::Ipv4Addr;
use std::sync::Arc;

use turnpike_conntrack::entry::NONE;
use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_conntrack::segment::{
    ACK, Checksum, FIN, IcmpQuery, L4, RST, SYN, SackOffer, Segment, TcpSegment,
};
use turnpike_conntrack::table::{NewConnection, Table};
use turnpike_conntrack::tracker::Shared;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, TuplePair, V4};

/// A fixed key.
pub const KEY: HashKey = HashKey([
    0x0123_4567_89ab_cdef,
    0x1032_5476_98ba_dcfe,
    0x5555_aaaa_3333_cccc,
    0x0f1e_2d3c_4b5a_6978,
]);

/// What workers share, with a small steering map.
pub fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(32, KEY))
}

/// An empty table of worker 0.
pub fn table(capacity: usize) -> Table<V4> {
    Table::new(WorkerId(0), capacity, KEY, shared())
}

/// A tuple in words: `10.0.0.1:1000 > 192.0.2.1:80`.
pub fn tuple(proto: Proto, words: &str) -> Tuple<V4> {
    let (src, dst) = words.split_once(" > ").expect("SRC:PORT > DST:PORT");
    let end = |s: &str| {
        let (address, port) = s.split_once(':').expect("ADDRESS:PORT");
        let address = address.parse::<Ipv4Addr>().expect("an address").octets();
        (address, Port(port.parse().expect("a port")))
    };
    let ((src, src_port), (dst, dst_port)) = (end(src), end(dst));
    Tuple {
        src,
        dst,
        src_port,
        dst_port,
        proto,
    }
}

/// A connection from one tuple, without translation.
pub fn plain(original: Tuple<V4>) -> NewConnection<V4> {
    translated(original, original.inverse())
}

/// A connection with the given reply tuple.
pub fn translated(original: Tuple<V4>, reply: Tuple<V4>) -> NewConnection<V4> {
    NewConnection {
        pair: TuplePair { original, reply },
        expected: None,
        helper: None,
        claim: None,
        mapping: None,
        steered: None,
        generation: Generation(1),
        rule: NONE,
    }
}

/// A UDP datagram of 100 bytes.
pub fn udp() -> Segment {
    Segment {
        l4: L4::Udp,
        payload_len: 72,
        len: 100,
        checksum: Checksum::Good,
    }
}

/// An ICMP query message of 84 bytes.
pub fn icmp(query: IcmpQuery) -> Segment {
    Segment {
        l4: L4::Icmp(query),
        payload_len: 56,
        len: 84,
        checksum: Checksum::Good,
    }
}

/// A packet of a protocol without a tracker.
pub fn other() -> Segment {
    Segment {
        l4: L4::Other,
        payload_len: 0,
        len: 60,
        checksum: Checksum::Good,
    }
}

/// A packet of 60 bytes.
pub fn segment(l4: L4) -> Segment {
    Segment { l4, ..other() }
}

/// A TCP segment in words: `S 100:100(0) ack 5 win 1000 scale 7 sack edge 300`.
///
/// Flags are letters of `SFRPU` with `.` for ACK, or `-` for none; the numbers are sequence, its
/// end without SYN and FIN, and payload length, as tcpdump writes them.
pub fn tcp(words: &str) -> Segment {
    let mut words = words.split_whitespace();
    let flags = words.next().expect("flags").chars().fold(0, |flags, c| {
        flags
            | match c {
                'S' => SYN,
                'F' => FIN,
                'R' => RST,
                'P' => 0x08,
                '.' => ACK,
                'U' => 0x20,
                '-' => 0,
                other => panic!("flag {other}"),
            }
    });
    let numbers = words.next().expect("SEQ:END(LEN)");
    let (seq, rest) = numbers.split_once(':').expect("a colon");
    let (end, len) = rest
        .trim_end_matches(')')
        .split_once('(')
        .expect("a length");
    let seq: u32 = seq.parse().expect("a sequence number");
    let payload_len: u32 = len.parse().expect("a length");
    assert_eq!(
        seq.wrapping_add(payload_len),
        end.parse::<u32>().expect("an end"),
        "{numbers}"
    );
    let mut tcp = TcpSegment {
        flags,
        seq,
        ack: 0,
        window: 1000,
        scale: None,
        sack_permitted: SackOffer::Absent,
        sack_end: None,
    };
    while let Some(word) = words.next() {
        let mut number = || {
            words
                .next()
                .and_then(|n| n.parse::<u32>().ok())
                .expect(word)
        };
        match word {
            "ack" => tcp.ack = number(),
            "win" => tcp.window = u16::try_from(number()).expect("a window"),
            "scale" => tcp.scale = Some(u8::try_from(number()).expect("a scale")),
            "edge" => tcp.sack_end = Some(number()),
            "sack" => tcp.sack_permitted = SackOffer::Permitted,
            other => panic!("word {other}"),
        }
    }
    Segment {
        l4: L4::Tcp(tcp),
        payload_len,
        len: payload_len + 40,
        checksum: Checksum::Good,
    }
}
