//! Two workers on ports with one queue: packets are distributed in software, none is lost
//! unaccounted, and stopping leaves no buffer behind.

#[expect(dead_code, reason = "other tests use the rest")]
mod common;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use turnpike_engine::distribute::Distributor;
use turnpike_engine::gateway::{Gateway, GatewayConfig, PortSpec, RingSizes};
use turnpike_engine::hugepages::Hugepages;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::Mac;

use common::{books, program, udp, write_capture};

const LAN_MAC: Mac = Mac([0x02, 0x70, 0x63, 0x61, 0x70, 0]);
const HOST_MAC: Mac = Mac([2, 0, 0, 0, 0, 5]);

#[test]
fn two_workers_share_one_queue_and_the_books_add_up() {
    if thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: this machine has one core");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("lan.pcap");
    let frames: Vec<Vec<u8>> = (0..64).map(flow).collect();
    write_capture(&capture, &frames);
    let lan = format!(
        "net_pcap0,rx_pcap={},infinite_rx=1,tx_drop=1",
        capture.display()
    );
    let lan = lan.replace(",tx_drop=1", "");
    let mut config = GatewayConfig::new(
        vec![0, 1],
        vec![
            PortSpec::new("lan", &lan),
            PortSpec::new("wan", "net_null0,no-rx=1"),
        ],
    );
    config.hugepages = Hugepages::No;
    config.max_connections = 4_096;
    // A small ring to the other worker is full now and then.
    config.rings = RingSizes {
        handover: 64,
        ..RingSizes::default()
    };

    let gateway = Gateway::start(&config, |ports| program(ports, 1, None, 2)).unwrap();
    assert_eq!(gateway.status().ports[0].distributor, Distributor::Software);
    let taken_over = || {
        let workers = gateway.status().workers;
        workers
            .iter()
            .map(|w| w.counters.taken_over.read())
            .sum::<u64>()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while taken_over() < 10_000 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    // The counters outlive the gateway.
    let status = gateway.status();
    assert!(status.workers.iter().all(|w| w.load.busy_turns > 0));
    let stopped = gateway.stop();
    assert_eq!(stopped.buffers_lost, 0);

    let handed: u64 = status
        .workers
        .iter()
        .map(|w| w.counters.handed_over_in_all())
        .sum();
    let taken: u64 = status
        .workers
        .iter()
        .map(|w| w.counters.taken_over.read())
        .sum();
    let lost: u64 = [DropReason::HandoverRingFull, DropReason::Stopping]
        .iter()
        .flat_map(|reason| {
            status
                .workers
                .iter()
                .map(|w| w.counters.dropped(*reason).read())
        })
        .sum();
    assert!(taken >= 10_000, "{taken} packets were taken over");
    assert_eq!(handed, taken + lost);
    let (came, went) = books(&status);
    assert_eq!(came, went);
}

/// A packet of flow number `n` from the LAN to beyond the gateway.
fn flow(n: u8) -> Vec<u8> {
    udp(
        (HOST_MAC, LAN_MAC),
        (Ipv4Addr::new(192, 168, 1, n + 2), 1_000 + u16::from(n)),
        (Ipv4Addr::new(198, 51, 100, 7), 53),
        b"question",
    )
}
