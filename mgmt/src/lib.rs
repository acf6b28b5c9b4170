//! Turnpike's management plane.
//!
//! From the outside in: [`cli`] is the `turnpike` command; [`daemon`] runs a gateway and is what
//! [`api`] and [`metrics`] ask through [`running`], in the words of [`report`]; [`client`] asks the
//! same from another process. [`filter`] says which connections are meant, [`watch`] who is told of
//! them. [`config`] turns [`yaml`] into the pipeline's policy and the engine's
//! settings, or into every [`problem`] at its place. [`words`] are packets as people write them,
//! [`explain`] says what becomes of one and why.

pub mod api;
pub mod audit;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod daytime;
pub mod difference;
pub mod explain;
pub mod filter;
pub mod import;
pub mod logs;
pub mod metrics;
pub mod problem;
pub mod report;
pub mod running;
pub mod watch;
pub mod words;
pub mod yaml;
