//! Turnpike's management plane.
//!
//! What is here: YAML configuration with every error at its place, and its translation into the
//! pipeline's `Policy` and the engine's settings.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod logs;
pub mod metrics;
pub mod problem;
pub mod report;
pub mod running;
pub mod yaml;
