//! The stages of the pipeline, in the order in which [`Worker`](crate::worker::Worker) runs them.
//!
//! | stage | reads | writes | drops |
//! |---|---|---|---|
//! | [`admit`] | frame | parsed headers, interface | malformed, not for us, martians |
//! | [`raw`] | addresses, ports, interface | exemption from tracking | `raw-rule` |
//! | [`track`] | tuple, TCP fields, checksum | connection, state | nothing |
//! | [`outcome`] | connection's cached outcome | way, counters | what was decided before |
//! | [`judge`] | everything | way, new connection, cached outcome | rules, routes, tables |
//! | [`sample`] | connection, payload | samples for the slow path | nothing |
//! | [`rewrite`] | connection, way | addresses, ports, checksums, TTL | `nat-untranslatable` |
//! | [`link`] | way | Ethernet header | neighbour and interface reasons |

pub mod admit;
pub mod ask;
pub mod control;
pub mod counting;
pub mod distribute;
pub mod family;
pub mod fate;
pub mod judge;
pub mod link;
pub mod logging;
pub mod nat;
pub mod outcome;
pub mod raw;
pub mod rewrite;
pub mod sample;
pub mod telling;
pub mod track;
pub mod transmit;
pub mod view;
