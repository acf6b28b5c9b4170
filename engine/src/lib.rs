//! Turnpike on DPDK: ports, cores, rings, worker and slow-path loops, capture replay.
//!
//! The layers, bottom up: [`eal`] starts DPDK; [`mempool`] and [`mbuf`] own packet memory;
//! [`port`] owns devices and their queues. Unsafe code ends there. [`rings`], [`mailbox`] and
//! [`publish`] are how threads talk; [`distribute`] says which worker polls what. [`gateway`] puts
//! it all together and is what management holds. Nothing here knows a rule or a configuration file.

pub mod clock;
pub mod distribute;
pub mod eal;
pub mod events;
mod exchange;
pub mod explain;
pub mod gateway;
pub mod hugepages;
pub mod idle;
pub mod load;
pub mod mailbox;
pub mod mbuf;
pub mod mempool;
pub mod pcap;
pub mod port;
pub mod publish;
pub mod replay;
pub mod rings;
pub mod selftest;
mod slowpath;
mod worker;
