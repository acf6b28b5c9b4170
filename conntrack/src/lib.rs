//! Connection tracking and NAT: the part of Turnpike that remembers.
//!
//! One [`Conntrack`](tracker::Conntrack) belongs to one worker, which is its only writer. It holds
//! two flow tables of fixed size (IPv4 and IPv6), each connection indexed under both of its tuples,
//! a timer wheel driven by the caller's clock, the protocol trackers, and the worker's side of
//! what is shared by all workers: NAT port pools and the steering map.
//!
//! Promises: memory is taken at start and never grows; nothing here reads a clock, a packet header
//! or a random source; a full table, pool or map is an error value, never a panic.
#![deny(unsafe_code)]

pub mod commit;
mod dccp;
mod dccp_table;
pub mod eim;
pub mod entry;
pub mod events;
pub mod expect;
mod generic;
mod gre;
pub mod hash;
mod icmp;
pub mod ids;
mod index;
mod kin;
pub mod labels;
mod lent;
pub mod limits;
#[expect(unsafe_code, reason = "the advice about pages is an unsafe function")]
mod memory;
pub mod nat;
pub mod ports;
#[expect(unsafe_code, reason = "the prefetch intrinsic is an unsafe function")]
mod prefetch;
pub mod random;
mod registry;
pub mod rss;
mod sctp;
mod sctp_table;
pub mod segment;
mod space;
pub mod states;
pub mod steering;
mod syn_gate;
pub mod table;
mod tcp;
mod tcp_memory;
mod tcp_table;
mod tcp_window;
pub mod time;
pub mod timeouts;
pub mod tracker;
pub mod transplant;
pub mod tuple;
mod udp;
pub mod walk;
mod wheel;
