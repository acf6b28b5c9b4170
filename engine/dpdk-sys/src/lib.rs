//! Generated bindings to the system's libdpdk, with a C shim for its inline functions.
