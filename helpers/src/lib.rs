//! Protocol knowledge of Turnpike, as pure data and functions over bytes.
//!
//! The catalogue of services and protocols that rules name, the helpers' names, what a helper is
//! ([`helper::Helper`]), and the server name of TLS with the globs that rules hold it against.

pub mod catalogue;
pub mod ftp;
pub mod glob;
pub mod helper;
pub mod names;
pub mod readers;
pub mod testing;
pub mod tftp;
pub mod tls;
