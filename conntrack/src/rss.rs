//! Which worker a packet arrives at: the Toeplitz hash of receive-side scaling, in software.
//!
//! A [`Distribution`] is what one port does with received packets: its key, its indirection table
//! and which protocols it hashes with their ports. It predicts the worker of a reply
//! that has not come yet, and it stands in for the hardware where a port has fewer queues than
//! there are workers.

use crate::ids::WorkerId;
use crate::timeouts::Switch;
use crate::tuple::{Address, Family, Proto, Tuple};

/// The key under which both directions of a flow have one hash.
pub const SYMMETRIC_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
];

/// The lengths a key may have, in bytes.
pub const KEY_BYTES: std::ops::RangeInclusive<usize> = 40..=52;

/// The most entries an indirection table may have.
pub const TABLE_MAX: usize = 4096;

/// Bytes that are hashed at most: two IPv6 addresses and two ports.
const INPUT_MAX: usize = 36;

/// Which protocols are hashed with their ports; all others by their addresses alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortHashing {
    /// TCP.
    pub tcp: Switch,
    /// UDP.
    pub udp: Switch,
    /// SCTP.
    pub sctp: Switch,
}

impl PortHashing {
    /// TCP and UDP, as nearly every device does it.
    pub const COMMON: Self = Self {
        tcp: Switch::On,
        udp: Switch::On,
        sctp: Switch::Off,
    };

    /// Whether `proto` is hashed with its ports.
    pub const fn covers(self, proto: Proto) -> bool {
        let switch = match proto {
            Proto::TCP => self.tcp,
            Proto::UDP => self.udp,
            Proto::SCTP => self.sctp,
            _ => Switch::Off,
        };
        matches!(switch, Switch::On)
    }
}

/// Why a distribution could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RssError {
    /// The key has another length than 40 to 52 bytes.
    KeyLength(usize),
    /// The indirection table is empty or has more than [`TABLE_MAX`] entries.
    TableLength(usize),
}

impl std::fmt::Display for RssError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyLength(n) => write!(f, "an RSS key has 40 to 52 bytes, not {n}"),
            Self::TableLength(n) => {
                write!(f, "an RSS table has 1 to {TABLE_MAX} entries, not {n}")
            }
        }
    }
}

impl std::error::Error for RssError {}

/// What one port does with received packets. Immutable.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// For each input byte's position and value, what it adds to the hash.
    parts: Box<[[u32; 256]]>,
    table: Box<[WorkerId]>,
    ports: PortHashing,
}

impl Distribution {
    /// The distribution of a port with this hash key, indirection table and port hashing.
    pub fn new(key: &[u8], table: &[WorkerId], ports: PortHashing) -> Result<Self, RssError> {
        if !KEY_BYTES.contains(&key.len()) {
            return Err(RssError::KeyLength(key.len()));
        }
        if table.is_empty() || table.len() > TABLE_MAX {
            return Err(RssError::TableLength(table.len()));
        }
        Ok(Self {
            parts: parts(key),
            table: table.into(),
            ports,
        })
    }

    /// The distribution done in software over `workers` workers (at least one): the symmetric key
    /// and 128 entries in turn.
    pub fn software(workers: u8) -> Self {
        let table = (0..128u8).map(|n| WorkerId(n % workers.max(1))).collect();
        Self {
            parts: parts(&SYMMETRIC_KEY),
            table,
            ports: PortHashing::COMMON,
        }
    }

    /// The hash of a packet that comes in with `tuple`.
    #[inline]
    pub fn hash<F: Family>(&self, tuple: &Tuple<F>) -> u32 {
        let addresses = tuple.src.as_bytes().iter().chain(tuple.dst.as_bytes());
        let hash = (0..)
            .zip(addresses)
            .fold(0, |hash, (at, &byte)| hash ^ self.part(at, byte));
        if !self.hashes_ports(tuple.proto) {
            return hash;
        }
        hash ^ self.port::<F>(0, tuple.src_port.0) ^ self.port::<F>(1, tuple.dst_port.0)
    }

    /// The worker that a packet with `tuple` arrives at.
    #[inline]
    pub fn worker<F: Family>(&self, tuple: &Tuple<F>) -> WorkerId {
        self.worker_of(self.hash(tuple))
    }

    /// The worker of a hash.
    #[inline]
    pub fn worker_of(&self, hash: u32) -> WorkerId {
        let at = hash as usize % self.table.len();
        self.table.get(at).copied().unwrap_or_default()
    }

    /// Whether the ports of `proto` are part of its hash.
    pub fn hashes_ports(&self, proto: Proto) -> bool {
        self.ports.covers(proto)
    }

    /// Whether every packet goes to one worker, so that there is nothing to choose.
    pub fn is_single(&self) -> bool {
        self.table
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a == b))
    }

    /// What a destination port adds to the hash: a search for a port that lands on a worker
    /// exchanges this part and hashes the rest once.
    #[inline]
    pub fn destination_port<F: Family>(&self, port: u16) -> u32 {
        self.port::<F>(1, port)
    }

    #[inline]
    fn port<F: Family>(&self, which: usize, port: u16) -> u32 {
        let at = 2 * F::Addr::BYTES + 2 * which;
        let [high, low] = port.to_be_bytes();
        self.part(at, high) ^ self.part(at + 1, low)
    }

    #[inline]
    fn part(&self, at: usize, byte: u8) -> u32 {
        self.parts
            .get(at)
            .map_or(0, |values| values[usize::from(byte)])
    }
}

/// The window of 32 key bits that starts at `bit`.
fn window(key: &[u8], bit: usize) -> u32 {
    let byte = |n: usize| u64::from(key.get(bit / 8 + n).copied().unwrap_or(0));
    let bits = (0..5).fold(0, |bits, n| bits << 8 | byte(n));
    u32::try_from(bits >> (8 - bit % 8) & 0xffff_ffff).unwrap_or(0)
}

fn parts(key: &[u8]) -> Box<[[u32; 256]]> {
    let mut parts = vec![[0u32; 256]; INPUT_MAX].into_boxed_slice();
    for (at, values) in parts.iter_mut().enumerate() {
        for (byte, value) in values.iter_mut().enumerate() {
            *value = (0..8)
                .filter(|bit| byte >> (7 - bit) & 1 == 1)
                .fold(0, |hash, bit| hash ^ window(key, at * 8 + bit));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::{Port, V4, V6};
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The key of Microsoft's published verification suite.
    const MICROSOFT: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn v4(src: &str, src_port: u16, dst: &str, dst_port: u16, proto: Proto) -> Tuple<V4> {
        Tuple {
            src: src.parse::<Ipv4Addr>().unwrap().octets(),
            dst: dst.parse::<Ipv4Addr>().unwrap().octets(),
            src_port: Port(src_port),
            dst_port: Port(dst_port),
            proto,
        }
    }

    fn v6(src: &str, src_port: u16, dst: &str, dst_port: u16, proto: Proto) -> Tuple<V6> {
        Tuple {
            src: src.parse::<Ipv6Addr>().unwrap().octets(),
            dst: dst.parse::<Ipv6Addr>().unwrap().octets(),
            src_port: Port(src_port),
            dst_port: Port(dst_port),
            proto,
        }
    }

    fn microsoft() -> Distribution {
        Distribution::new(&MICROSOFT, &[WorkerId(0)], PortHashing::COMMON).unwrap()
    }

    #[test]
    fn the_published_ipv4_vectors_hold() {
        let d = microsoft();
        for (dst, dst_port, src, src_port, alone, with_ports) in [
            (
                "161.142.100.80",
                1766,
                "66.9.149.187",
                2794,
                0x323e_8fc2,
                0x51cc_c178,
            ),
            (
                "65.69.140.83",
                4739,
                "199.92.111.2",
                14230,
                0xd718_262a,
                0xc626_b0ea,
            ),
            (
                "12.22.207.184",
                38024,
                "24.19.198.95",
                12898,
                0xd2d0_a5de,
                0x5c2b_394a,
            ),
            (
                "209.142.163.6",
                2217,
                "38.27.205.30",
                48228,
                0x8298_9176,
                0xafc7_327f,
            ),
            (
                "202.188.127.2",
                1303,
                "153.39.163.191",
                44251,
                0x5d18_09c5,
                0x10e8_28a2,
            ),
        ] {
            assert_eq!(
                d.hash(&v4(src, src_port, dst, dst_port, Proto::TCP)),
                with_ports
            );
            assert_eq!(d.hash(&v4(src, src_port, dst, dst_port, Proto::GRE)), alone);
        }
    }

    #[test]
    fn the_published_ipv6_vectors_hold() {
        let d = microsoft();
        for (src, src_port, dst, dst_port, alone, with_ports) in [
            (
                "3ffe:2501:200:1fff::7",
                2794,
                "3ffe:2501:200:3::1",
                1766,
                0x2cc1_8cd5,
                0x4020_7d3d,
            ),
            (
                "3ffe:501:8::260:97ff:fe40:efab",
                14230,
                "ff02::1",
                4739,
                0x0f0c_461c,
                0xdde5_1bbf,
            ),
            (
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44251,
                "fe80::200:f8ff:fe21:67cf",
                38024,
                0x4b61_e985,
                0x02d1_feef,
            ),
        ] {
            assert_eq!(
                d.hash(&v6(src, src_port, dst, dst_port, Proto::UDP)),
                with_ports
            );
            assert_eq!(
                d.hash(&v6(src, src_port, dst, dst_port, Proto::ICMPV6)),
                alone
            );
        }
    }

    #[test]
    fn keys_and_tables_of_wrong_length_are_refused() {
        let new = |key: &[u8], table: &[WorkerId]| {
            Distribution::new(key, table, PortHashing::COMMON).map(|_| ())
        };
        assert_eq!(new(&[0; 39], &[WorkerId(0)]), Err(RssError::KeyLength(39)));
        assert_eq!(new(&[0; 53], &[WorkerId(0)]), Err(RssError::KeyLength(53)));
        assert_eq!(new(&[0; 40], &[]), Err(RssError::TableLength(0)));
        assert_eq!(new(&[0; 52], &[WorkerId(0)]), Ok(()));
    }

    #[test]
    fn software_distribution_uses_every_worker() {
        let d = Distribution::software(3);
        let mut seen = [0; 3];
        for port in 0..3_000 {
            let t = v4("10.0.0.1", port, "192.0.2.1", 80, Proto::TCP);
            seen[usize::from(d.worker(&t).0)] += 1;
        }
        assert!(seen.iter().all(|&n| n > 700), "{seen:?}");
        assert!(!d.is_single());
        assert!(Distribution::software(1).is_single());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_symmetric_key_gives_both_directions_one_worker(
            src in any::<[u8; 16]>(), dst in any::<[u8; 16]>(),
            ports in any::<(u16, u16)>(), proto in any::<u8>(),
        ) {
            let d = Distribution::software(7);
            let t = Tuple::<V6> {
                src, dst, src_port: Port(ports.0), dst_port: Port(ports.1), proto: Proto(proto),
            };
            prop_assert_eq!(d.hash(&t), d.hash(&t.inverse()));
            prop_assert_eq!(d.worker(&t), d.worker(&t.inverse()));
        }

        #[test]
        fn exchanging_the_port_part_equals_hashing_anew(
            src in any::<[u8; 4]>(), dst in any::<[u8; 4]>(), ports in any::<[u16; 3]>(),
        ) {
            let d = microsoft();
            let [src_port, old, new] = ports;
            let t = Tuple::<V4> {
                src, dst, src_port: Port(src_port), dst_port: Port(old), proto: Proto::UDP,
            };
            let exchanged = d.hash(&t)
                ^ d.destination_port::<V4>(old)
                ^ d.destination_port::<V4>(new);
            prop_assert_eq!(exchanged, d.hash(&Tuple { dst_port: Port(new), ..t }));
        }
    }
}
