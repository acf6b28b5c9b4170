//! Frames from a capture file through a running gateway into another: routed, rewritten, counted.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

mod common;

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use turnpike_conntrack::events::{Cause, Change, Event};
use turnpike_conntrack::ids::{Generation, WorkerId};
use turnpike_engine::eal::EalError;
use turnpike_engine::events::Told;
use turnpike_engine::gateway::{
    AnyConnection, AnyFlow, Cursor, Gateway, GatewayConfig, PortSpec, StartError,
};
use turnpike_engine::hugepages::Hugepages;
use turnpike_pipeline::ids::Mac;
use turnpike_pipeline::worker::Worker;

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
    config.rings.events = 4;

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
    a_connection_is_listed_and_watched(&gateway);
    a_connection_is_counted_and_flushed(&gateway);
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

fn a_connection_is_listed_and_watched(gateway: &Gateway) {
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

    let AnyFlow::V4(id) = page.connections[0].flow() else {
        unreachable!("the capture has IPv4 alone")
    };
    let mark = move |gateway: &Gateway, marks: std::ops::Range<u32>| {
        let set = move |worker: &mut Worker<_>| {
            marks.for_each(|mark| worker.conntrack_mut().v4.set_mark(id, mark));
        };
        gateway.ask_worker(worker, set).unwrap();
    };
    mark(gateway, 1..3);
    assert!(told(gateway).is_empty(), "nobody watches yet");
    gateway.watch(worker).unwrap();
    mark(gateway, 3..5);
    let marks = |told: Vec<Told>| -> Vec<u32> {
        let mark = |told: &Told| match told {
            Told::Event(Event {
                change: Change::Update,
                connection: AnyConnection::V4(connection),
                ..
            }) => connection.mark,
            Told::Event(_) | Told::Lost(_) => unreachable!("{told:?}"),
        };
        told.iter().map(mark).collect()
    };
    assert_eq!(marks(wait_for(gateway, 2)), [3, 4]);

    // Six into a ring for four: two are lost, and that is said once there is room.
    mark(gateway, 5..11);
    wait_until(|| gateway.status().events_lost == 2);
    let mut all = wait_for(gateway, 5);
    assert_eq!(all.pop(), Some(Told::Lost(2)));
    assert_eq!(marks(all), [5, 6, 7, 8]);

    gateway.unwatch(worker).unwrap();
    mark(gateway, 11..13);
    assert!(told(gateway).is_empty(), "nobody watches any more");
}

fn a_connection_is_counted_and_flushed(gateway: &Gateway) {
    let worker = WorkerId(0);
    gateway.watch(worker).unwrap();
    let count = |filter: fn(&AnyConnection) -> bool| {
        let v4 = gateway.count_connections(worker, Cursor::default(), filter);
        v4.unwrap().connections
    };
    assert_eq!((count(|_| true), count(|_| false)), (1, 0));
    let flush = |filter: fn(&AnyConnection) -> bool| {
        let v4 = gateway.flush_connections(worker, Cursor::default(), filter);
        v4.unwrap()
    };
    assert_eq!(flush(|_| false).connections, 0);
    assert_eq!(gateway.connection_counts(worker).unwrap(), (1, 0));
    let flushed = flush(|_| true);
    assert_eq!(
        (flushed.connections, flushed.next),
        (1, Some(Cursor::V6(0)))
    );
    assert_eq!(gateway.connection_counts(worker).unwrap(), (0, 0));
    let ended = wait_for(gateway, 1);
    let [Told::Event(event)] = ended[..] else {
        unreachable!("{ended:?}")
    };
    assert_eq!(event.change, Change::Destroy(Cause::Flushed));
    let AnyConnection::V4(connection) = event.connection else {
        unreachable!("the capture has IPv4 alone")
    };
    assert_eq!((connection.packets, connection.mark), ([2, 0], 12));
    assert!(gateway.connection_counts(WorkerId(1)).is_err());
}

fn told(gateway: &Gateway) -> Vec<Told> {
    std::iter::from_fn(|| gateway.next_event(WorkerId(0))).collect()
}

/// What the worker tells until it is so much.
fn wait_for(gateway: &Gateway, most: usize) -> Vec<Told> {
    let seen = RefCell::new(Vec::new());
    wait_until(|| {
        seen.borrow_mut().extend(told(gateway));
        seen.borrow().len() >= most
    });
    seen.into_inner()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "it took too long");
        thread::sleep(Duration::from_millis(1));
    }
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
