//! Protocol knowledge of Turnpike, as pure data and functions over bytes.
//!
//! The catalogue of services and protocols that rules name, the helpers' names, what a helper is
//! ([`helper::Helper`]), the server name of TLS with the globs that rules hold it against, and the
//! patterns that connections are told apart by ([`layer7`]).

pub mod catalogue;
pub mod ftp;
pub mod glob;
pub mod h323;
pub mod helper;
pub mod irc;
pub mod layer7;
pub mod names;
pub mod pptp;
pub mod readers;
pub mod rtsp;
pub mod sip;
pub mod testing;
pub mod text;
pub mod tftp;
pub mod tls;
