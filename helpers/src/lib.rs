//! Protocol knowledge of Turnpike, as pure data and functions over bytes.
//!
//! What is here now is the catalogue of services and protocols that rules name, the helpers' names,
//! and the server name of TLS with the globs that rules hold it against. Protocol helpers and
//! layer-7 matching will be built in this crate; none is yet.

pub mod catalogue;
pub mod glob;
pub mod names;
pub mod tls;
