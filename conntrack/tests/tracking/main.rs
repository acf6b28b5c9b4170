//! The public face of the crate, tested as its users see it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod associations;
mod calls;
mod eim;
mod events;
mod expect;
mod expect_model;
mod expect_race;
mod model;
mod nat;
mod play;
mod support;
mod table;
mod transcripts;
mod transplant;
