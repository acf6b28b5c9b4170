//! Protocol knowledge of Turnpike, as pure data and functions over bytes.
//!
//! What is here now is the catalogue of services and protocols that rules name, and the helpers'
//! names. Protocol helpers and layer-7 matching will be built in this crate; none is yet.

pub mod catalogue;
pub mod names;
