//! Generated bindings to the system's libdpdk, with a C shim for its inline functions.
//!
//! Everything here is as unsafe as C. The safe layer over it is the `engine` crate; nothing else
//! depends on this one.

mod bindings {
    #![expect(
        missing_docs,
        non_camel_case_types,
        non_upper_case_globals,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::undocumented_unsafe_blocks,
        clippy::multiple_unsafe_ops_per_block,
        reason = "generated from C headers"
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
