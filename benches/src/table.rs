//! Connections by number, for tables without a pipeline around them.

use turnpike_conntrack::commit::NewConnection;
use turnpike_conntrack::ids::{FlowId, Generation};
use turnpike_conntrack::segment::{Checksum, L4, SYN, SackOffer, Segment, TcpSegment};
use turnpike_conntrack::table::{CommitError, Table};
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::timeouts::TrackingConfig;
use turnpike_conntrack::tuple::{Port, Proto, Tuple, TuplePair, V4};

/// When everything happens.
pub const NOW: Tick = Tick::from_secs(1);

/// A SYN with sequence number `seq`.
pub const fn syn(seq: u32) -> Segment {
    Segment {
        l4: L4::Tcp(TcpSegment {
            flags: SYN,
            seq,
            ack: 0,
            window: 64_240,
            scale: Some(7),
            sack_permitted: SackOffer::Permitted,
            sack_end: None,
        }),
        payload_len: 0,
        len: 60,
        checksum: Checksum::Good,
    }
}

/// The original tuple of connection `n`: each has a source of its own.
pub const fn key(n: u32) -> Tuple<V4> {
    Tuple {
        src: n.to_be_bytes(),
        dst: [198, 51, 100, 7],
        src_port: Port(4_000),
        dst_port: Port(443),
        proto: Proto::TCP,
    }
}

/// Opens connection `n`, untranslated, with a SYN.
pub fn commit(table: &mut Table<V4>, n: u32) -> Result<FlowId, CommitError> {
    let original = key(n);
    let new = NewConnection {
        pair: TuplePair {
            original,
            reply: original.inverse(),
        },
        expected: None,
        helper: None,
        claim: None,
        mapping: None,
        steered: None,
        generation: Generation(1),
        rule: 0,
    };
    table.commit(new, &syn(n), NOW, &TrackingConfig::default())
}
