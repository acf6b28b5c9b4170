//! Frames from a capture file through a running gateway into another: routed, rewritten, counted.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

mod common;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_engine::eal::EalError;
use turnpike_engine::gateway::{Cursor, Gateway, GatewayConfig, PortSpec, StartError};
use turnpike_engine::hugepages::Hugepages;
use turnpike_pipeline::ids::Mac;

use common::{arp_request, books, program, read_capture, udp, write_capture};

/// net_pcap numbers its devices in the last byte.
const LAN_MAC: Mac = Mac([0x02, 0x70, 0x63, 0x61, 0x70, 0]);
const WAN_MAC: Mac = Mac([0x02, 0x70, 0x63, 0x61, 0x70, 1]);
const HOST_MAC: Mac = Mac([2, 0, 0, 0, 0, 5]);
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const WAN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

#[test]
fn a_capture_passes_through_a_running_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let requests: Vec<Vec<u8>> = (0..2_u8)
        .map(|n| udp((HOST_MAC, LAN_MAC), (HOST, 5_000), (SERVER, 53), &[n; 40]))
        .collect();
    write_capture(&path("lan-in.pcap"), &requests);
    // The server makes itself known by asking for the gateway.
    write_capture(
        &path("wan-in.pcap"),
        &[arp_request((SERVER_MAC, SERVER), WAN)],
    );
    let device = |n: u8, name: &str| {
        let (rx, tx) = (
            path(&format!("{name}-in.pcap")),
            path(&format!("{name}-out.pcap")),
        );
        format!(
            "net_pcap{n},rx_pcap={},tx_pcap={}",
            rx.display(),
            tx.display()
        )
    };
    let mut config = GatewayConfig::new(
        vec![0],
        vec![
            PortSpec::new("lan", &device(0, "lan")),
            PortSpec::new("wan", &device(1, "wan")),
        ],
    );
    config.hugepages = Hugepages::No;
    config.max_connections = 1_024;

    let gateway = Gateway::start(&config, |ports| program(ports, 1, None, 1)).unwrap();
    assert_eq!(gateway.facts()[1].mac, WAN_MAC);
    let second = Gateway::start(&config, |ports| program(ports, 1, None, 1));
    assert!(matches!(
        second,
        Err(StartError::Eal(EalError::AlreadyStarted))
    ));
    let received = || gateway.status().workers[0].counters.received.read().packets;
    let deadline = Instant::now() + Duration::from_secs(10);
    while received() < 3 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    a_connection_is_listed_and_ended(&gateway);
    a_reload_reaches_every_thread(&gateway);
    let status = gateway.status();
    let stopped = gateway.stop();
    assert_eq!(stopped.buffers_lost, 0);
    let (came, went) = books(&status);
    assert_eq!(came, went);

    let is_udp = |frame: &Vec<u8>| frame[12..14] == [8, 0] && frame[23] == 17;
    let out: Vec<Vec<u8>> = read_capture(&path("wan-out.pcap"))
        .into_iter()
        .filter(is_udp)
        .collect();
    let mut expected = requests;
    for frame in &mut expected {
        frame[..6].copy_from_slice(&SERVER_MAC.0);
        frame[6..12].copy_from_slice(&WAN_MAC.0);
        // One hop less; the checksum's high byte grows by one.
        frame[22] -= 1;
        frame[24] += 1;
    }
    assert_eq!(out, expected);
}

fn a_connection_is_listed_and_ended(gateway: &Gateway) {
    let worker = WorkerId(0);
    let page = gateway
        .connections(worker, Cursor::default(), |_| true)
        .unwrap();
    assert_eq!(page.connections.len(), 1);
    assert_eq!(page.next, Some(Cursor::V6(0)));
    let none = gateway
        .connections(worker, Cursor::default(), |_| false)
        .unwrap();
    assert!(none.connections.is_empty());
    let last = gateway
        .connections(worker, Cursor::V6(0), |_| true)
        .unwrap();
    assert_eq!(last.next, None);

    assert_eq!(gateway.connection_counts(worker).unwrap(), (1, 0));
    gateway
        .end_connection(worker, page.connections[0].flow())
        .unwrap();
    assert_eq!(gateway.connection_counts(worker).unwrap(), (0, 0));
    assert!(gateway.connection_counts(WorkerId(1)).is_err());
}

fn a_reload_reaches_every_thread(gateway: &Gateway) {
    let next = program(gateway.facts(), 2, Some(&*gateway.program()), 1);
    gateway.publish(next);
    gateway.wait_adopted(Duration::from_secs(5)).unwrap();
    let status = gateway.status();
    assert_eq!(status.generation, Generation(2));
    assert_eq!(status.workers[0].generation, Generation(2));
    assert_eq!(status.slow_path.generation, Generation(2));
}
