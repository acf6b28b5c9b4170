//! Connection tracking and NAT: the part of Turnpike that remembers.
//!
//! One `Conntrack` belongs to one worker, which is its only writer. It holds
//! two flow tables of fixed size (IPv4 and IPv6), each connection indexed under both of its tuples,
//! a timer wheel driven by the caller's clock, the protocol trackers, and the worker's side of
//! what is shared by all workers: NAT port pools and the steering map.
//!
//! Promises: memory is taken at start and never grows; nothing here reads a clock, a packet header
//! or a random source; a full table, pool or map is an error value, never a panic.

pub mod ids;
pub mod time;
pub mod timeouts;
pub mod tuple;
