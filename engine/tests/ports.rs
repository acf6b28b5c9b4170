//! EAL, pools, buffers and ports against DPDK's software devices, without root or hugepages.
//!
//! EAL starts once per process, so this file is one test that walks through its parts.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

#[expect(dead_code, reason = "other tests use the rest")]
mod common;

use arrayvec::ArrayVec;
use turnpike_engine::eal::{Eal, EalConfig, EalError};
use turnpike_engine::hugepages::{Hugepages, Memory};
use turnpike_engine::mbuf::Mbuf;
use turnpike_engine::mempool::{MbufPool, SEGMENT_BYTES};
use turnpike_engine::port::{OpenPort, Port, PortConfig, PortError, Rss};
use turnpike_pipeline::buffer::{Buffer, BufferPool};
use turnpike_pipeline::ids::PortId;

use common::{read_capture, write_capture};

const CONFIG: EalConfig = EalConfig {
    hugepages: Hugepages::No,
    memory_mb: 64,
    pci_devices: Vec::new(),
};

#[test]
fn buffers_and_ports_work_on_a_machine_without_nics() {
    let started = Eal::start(&CONFIG).unwrap();
    assert_eq!(started.memory, Memory::Ordinary);
    assert!(started.warnings.is_empty());
    let second = Eal::start(&CONFIG).unwrap_err();
    assert!(matches!(second, EalError::AlreadyStarted));

    let pool = MbufPool::create(&started.eal, None, 4_096).unwrap();
    buffers_come_from_the_pool_and_go_back(&pool);
    a_long_frame_is_a_chain_that_can_be_cut(&pool);
    frames_pass_from_one_file_to_another(&pool);
    errors_say_what_to_do(&pool);
    queues_are_what_the_device_has(&pool);

    let registered = started.eal.register_thread();
    assert!(registered.is_some());
    assert_eq!(started.eal.buffers_in_use(), 0);
}

fn buffers_come_from_the_pool_and_go_back(pool: &MbufPool) {
    let mut pool = pool.clone();
    let frame = [7_u8; 100];
    let mut buffer = pool.make(&frame).unwrap();
    assert_eq!(pool.in_use(), 1);
    assert_eq!(buffer.head(), frame);
    assert_eq!(buffer.frame_len(), 100);
    buffer.head_mut()[3] = 9;
    buffer.truncate(60);
    buffer.truncate(99);
    assert_eq!(buffer.frame_len(), 60);
    assert_eq!(buffer.head()[3], 9);
    drop(buffer);
    assert_eq!(pool.in_use(), 0);

    let long: Vec<u8> = (0..65_549_u32).map(|i| (i % 251) as u8).collect();
    for (bytes, segments) in [(SEGMENT_BYTES, 1), (SEGMENT_BYTES + 1, 2), (long.len(), 33)] {
        let made = pool.make(&long[..bytes]).unwrap();
        assert_eq!((made.frame_len(), made.segments()), (bytes, segments));
        let mut read = Vec::new();
        made.for_each_segment(|segment| read.extend_from_slice(segment));
        assert_eq!(read, long[..bytes]);
    }
    assert_eq!(pool.in_use(), 0);
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.make(&frame)).collect();
    assert_eq!(all.len(), pool.size());
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

/// net_pcap makes chains of frames longer than a buffer.
fn a_long_frame_is_a_chain_that_can_be_cut(pool: &MbufPool) {
    let directory = tempfile::tempdir().unwrap();
    let frame: Vec<u8> = (0..9_000_u32).map(|i| (i % 251) as u8).collect();
    let path = directory.path().join("in.pcap");
    write_capture(&path, std::slice::from_ref(&frame));
    let out = directory.path().join("out.pcap");
    let device = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        path.display(),
        out.display()
    );
    let mut open = open(&device, 1, pool).unwrap();
    let mut frames: ArrayVec<Mbuf, 4> = ArrayVec::new();
    assert_eq!(open.rx[0].receive(&mut frames), 1);
    let mut long = frames.pop().unwrap();
    assert!(long.segments() > 3);
    assert_eq!(bytes(&long), frame);
    long.truncate(5_000);
    assert_eq!(bytes(&long), frame[..5_000]);
    assert_eq!(long.frame_len(), 5_000);
    let in_use = pool.in_use();
    long.truncate(10);
    assert_eq!(bytes(&long), frame[..10]);
    assert_eq!(long.segments(), 1);
    assert_eq!(pool.in_use(), in_use - 2);
}

fn frames_pass_from_one_file_to_another(pool: &MbufPool) {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Vec<u8>> = (60..=64_u8).map(|n| vec![n; usize::from(n)]).collect();
    let (from, to) = (
        directory.path().join("in.pcap"),
        directory.path().join("out.pcap"),
    );
    write_capture(&from, &frames);
    let device = format!(
        "net_pcap1,rx_pcap={},tx_pcap={}",
        from.display(),
        to.display()
    );
    let mut port = open(&device, 1, pool).unwrap();
    assert_eq!(port.port.driver(), "net_pcap");
    assert_eq!(port.port.mtu(), 1_500);

    let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
    assert_eq!(port.rx[0].receive(&mut burst), 5);
    assert_eq!(port.tx[0].transmit(&mut burst), 5);
    assert!(burst.is_empty());
    let stats = port.port.stats();
    assert_eq!((stats.rx_packets, stats.tx_packets), (5, 5));
    assert_eq!(stats.tx_bytes, 60 + 61 + 62 + 63 + 64);
    let extended = port.port.extended_stats();
    assert!(extended.contains(&("tx_good_packets".to_owned(), 5)));
    drop(port);
    assert_eq!(read_capture(&to), frames);
    assert_eq!(pool.in_use(), 0);
}

fn errors_say_what_to_do(pool: &MbufPool) {
    let unknown = open("net_nonesuch0", 1, pool).unwrap_err().to_string();
    assert!(
        unknown.contains("device `net_nonesuch0`: DPDK could not attach it"),
        "{unknown}"
    );

    let kept = open("net_null7,no-rx=1", 1, pool).unwrap();
    let taken = open("net_null7,no-rx=1", 1, pool).unwrap_err();
    assert!(matches!(taken, PortError::Taken { .. }), "{taken}");
    drop(kept);
    // Closing gives the name back.
    drop(open("net_null7,no-rx=1", 1, pool).unwrap());
}

fn queues_are_what_the_device_has(pool: &MbufPool) {
    // net_null has many queues, names RSS types and keeps a table; what it says is read back.
    let many = open("net_null8", 4, pool).unwrap();
    assert_eq!((many.rx.len(), many.tx.len()), (4, 4));
    match many.port.rss() {
        Rss::Off => {}
        Rss::Toeplitz { key, table } => {
            assert!(key.starts_with(&[0x6d, 0x5a, 0x6d, 0x5a]));
            assert!(table.iter().all(|q| *q < 4));
        }
    }
    let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
    let mut rx = many.rx;
    assert_eq!(rx[3].receive(&mut burst), 64);
    assert!(many.port.link().speed_mbps.is_some());
}

fn open(device: &str, queues: u16, pool: &MbufPool) -> Result<OpenPort, PortError> {
    let config = PortConfig {
        queues,
        rx_descriptors: 64,
        tx_descriptors: 64,
        ..PortConfig::default()
    };
    Port::open(PortId(0), "lan", device, &config, pool)
}

fn bytes(frame: &Mbuf) -> Vec<u8> {
    let mut all = Vec::new();
    frame.for_each_segment(|segment| all.extend_from_slice(segment));
    all
}
