//! Turnpike on DPDK: ports, cores, rings, worker and slow-path loops, capture replay.

pub mod pcap;
pub mod replay;
