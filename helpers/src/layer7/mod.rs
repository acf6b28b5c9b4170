//! Layer 7: telling what a connection carries by patterns, in the first data of it.
//!
//! A [`Pattern`] is an operator's regular expression, checked: in the extended syntax of POSIX,
//! without regard to case, a dot matching everything, `^` the start of the data. [`Patterns`] are
//! compiled together, so that one pass looks for all of them. A [`Reader`] takes connections
//! through that pass, packet by packet; a [`Reading`] is how far one of them has come.
//!
//! What is searched is one buffer for each connection: the payloads of both directions in order of
//! arrival, without their NUL bytes, [`BUFFER_MAX`] bytes at most. When a packet completes several
//! patterns, the first one in their order wins; a pattern that an earlier packet completes comes
//! before. `$` is the end of what has arrived, at each packet anew.

mod pattern;
mod reader;
mod syntax;

pub use pattern::{Fault, PATTERN_MAX, Pattern};
pub use reader::{Patterns, Progress, Reader, Reading};

/// How many bytes of a connection are searched.
pub const BUFFER_MAX: usize = 2_048;

/// How many packets of a connection are searched; those without payload do not count.
pub const PACKETS_MAX: u8 = 10;
