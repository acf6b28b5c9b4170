//! What the gateway's tests share: frames, capture files, books.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use turnpike_conntrack::hash::HashKey;
use turnpike_conntrack::ids::Generation;
use turnpike_engine::gateway::Status;
use turnpike_pipeline::counters::WorkerCounters;
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::{Mac, PortId};
use turnpike_pipeline::interfaces::PortFacts;
use turnpike_pipeline::policy::{Chain, Interface, Policy, Table, TableKind};
use turnpike_pipeline::program::{CompileContext, Program};

/// A UDP packet between two endpoints in an Ethernet frame.
pub fn udp(
    macs: (Mac, Mac),
    src: (Ipv4Addr, u16),
    dst: (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_len).to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend(src.0.octets());
    ip.extend(dst.0.octets());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = Vec::new();
    udp.extend(src.1.to_be_bytes());
    udp.extend(dst.1.to_be_bytes());
    udp.extend(udp_len.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let pseudo = words(&ip[12..20]) + 17 + u32::from(udp_len);
    let sum = checksum(&udp, pseudo);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    ethernet(macs, 0x0800, &[ip, udp].concat())
}

/// An ARP request for `target`, from a station that lets itself be known by it.
pub fn arp_request(from: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(from.0.0);
    arp.extend(from.1.octets());
    arp.extend([0; 6]);
    arp.extend(target.octets());
    ethernet((from.0, Mac::BROADCAST), 0x0806, &arp)
}

/// A frame from the first address to the second, padded as a wire would have it.
fn ethernet((from, to): (Mac, Mac), kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn words(bytes: &[u8]) -> u32 {
    let word = |w: &[u8]| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Writes a capture file of these frames.
pub fn write_capture(path: &Path, frames: &[Vec<u8>]) {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [0, 0, len, len] {
            out.extend(u32::to_le_bytes(word));
        }
        out.extend(frame);
    }
    fs::write(path, out).unwrap();
}

/// The frames in a capture file.
pub fn read_capture(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

/// Both sides of the books over all threads: what came in or was made, and what became of it.
pub fn books(status: &Status) -> (u64, u64) {
    let workers = status.workers.iter().map(|w| &*w.counters);
    let all = workers.chain([&*status.slow_path.counters]);
    let (mut came, mut went) = (0, 0);
    for counters in all {
        came += counters.received.read().packets + counters.generated.read();
        went += counters.sent.read().packets
            + counters.consumed.read()
            + counters.to_host.read()
            + counters.held.read()
            + ended_by_drop(counters);
    }
    (came, went)
}

/// Drops, without those of frames that had been counted as sent.
fn ended_by_drop(counters: &WorkerCounters) -> u64 {
    counters.dropped_in_all() - counters.dropped(DropReason::TxQueueFull).read()
}

/// A program without rules between 192.168.1.1/24 on the first port and 198.51.100.1/24 on the
/// second.
pub fn program(
    ports: &[PortFacts],
    generation: u32,
    previous: Option<&Program>,
    workers: usize,
) -> Arc<Program> {
    let interface = |name: &str, port, address: &str| Interface {
        name: name.to_owned(),
        port: PortId(port),
        vlan: None,
        addresses: vec![address.parse().unwrap()],
        mtu: 1_500,
    };
    let policy = Policy {
        interfaces: vec![
            interface("lan", 0, "192.168.1.1/24"),
            interface("wan", 1, "198.51.100.1/24"),
        ],
        raw: empty_table(TableKind::Raw),
        mangle: empty_table(TableKind::Mangle),
        nat: empty_table(TableKind::Nat),
        filter: empty_table(TableKind::Filter),
        ..Policy::default()
    };
    let context = CompileContext {
        generation: Generation(generation),
        workers,
        ports,
        previous,
        key: HashKey([
            0x0123_4567_89ab_cdef,
            0x1032_5476_98ba_dcfe,
            0x5555_aaaa_3333_cccc,
            0x0f1e_2d3c_4b5a_6978,
        ]),
    };
    Arc::new(Program::compile(&policy, &context))
}

/// A table whose built-in chains have no rules.
fn empty_table(kind: TableKind) -> Table {
    let chain = |name: &&str| Chain {
        name: (*name).to_owned(),
        rules: Vec::new(),
    };
    Table {
        chains: kind.built_in_chains().iter().map(chain).collect(),
    }
}
