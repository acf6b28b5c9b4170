//! Protocol knowledge of Turnpike, as pure data and functions over bytes.
//!
//! What is here now is the catalogue of services and protocols that rules name. Protocol helpers
//! and layer-7 matching will be built in this crate; none is yet.

pub mod catalogue;
