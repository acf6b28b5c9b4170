//! The packet pipeline on plain buffers: what happens to a packet between receive and transmit.
//!
//! Nothing here knows DPDK, threads, files or clocks. A [`buffer::Buffer`] is whatever holds a
//! frame: an mbuf in the engine, a heap buffer in tests and in `turnpike replay`. Time comes in as
//! a [`Tick`](turnpike_conntrack::time::Tick).

pub mod buffer;
pub mod burst;
pub mod counters;
pub mod drops;
pub mod fib;
pub mod helping;
pub mod ids;
pub mod interfaces;
pub mod layer7;
pub mod lists;
pub mod log;
pub mod masquerade;
pub mod nexthop;
pub mod opening;
pub mod outbox;
pub mod outcome;
pub mod packet;
pub mod plans;
pub mod policy;
pub mod program;
pub mod recent;
pub mod rehearsal;
pub mod routing;
pub mod rules;
pub mod slowpath;
pub mod stages;
pub mod standing;
pub mod wall;
pub mod witness;
pub mod worker;

#[cfg(test)]
mod testing;
