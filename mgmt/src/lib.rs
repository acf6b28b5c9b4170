//! Turnpike's management plane.
//!
//! What is here: YAML configuration with every error at its place, and its translation into the
//! pipeline's `Policy` and the engine's settings.

pub mod cli;
pub mod config;
pub mod problem;
pub mod yaml;
