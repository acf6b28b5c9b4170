//! Packets: checked views, rewriting, and packets made here.
//!
//! [`parse::parse`] is the only door. What it accepts is a [`parse::Parsed`]: plain offsets and
//! facts, every one checked against the buffer, so that what reads or rewrites the packet later
//! cannot fall off its end. Everything else works on the same bytes in place, or builds a new
//! frame into the caller's vector. Nothing here decides anything about a packet.

pub mod arp;
mod bare;
pub mod bytes;
pub mod checksum;
pub mod craft;
mod dccp;
pub mod echo;
pub mod edit;
pub mod fragment;
pub mod frame;
mod gre;
pub mod headers;
pub mod icmp;
pub mod ipv6;
pub mod nd;
pub mod numbers;
pub mod parse;
pub mod quoted;
pub mod reassembly;
pub mod reset;
pub mod retag;
pub mod rewrite;
pub mod sctp;
pub mod segment;
pub mod sniff;
pub mod tarpit;
pub mod tcp;
mod transport;
pub mod tuple;
pub mod verify;
