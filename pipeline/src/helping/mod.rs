//! Control connections as helpers read them: streams in order, and numbers that fit again.
//!
//! Pure types; the slow path makes packets of what they say, and workers keep copies of [`shift`]s.

pub mod copies;
pub mod shift;
pub mod stream;
pub mod talk;
