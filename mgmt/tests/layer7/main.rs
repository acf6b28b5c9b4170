//! The patterns that ship: each finds its protocol, in made payloads and in captures, and no other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod captures;
mod payloads;
mod replayed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use turnpike_helpers::layer7::{Patterns, Progress, Reader};
use turnpike_mgmt::config::Config;

/// The files, in an order in which rules would ask: what is particular before what is general.
pub const FILES: [&str; 10] = [
    "p2p",
    "remote",
    "mail",
    "files",
    "databases",
    "chat",
    "voice",
    "web",
    "vpn",
    "infrastructure",
];

/// Looks for every pattern that ships.
pub struct Library {
    names: Vec<String>,
    reader: Reader,
}

impl Library {
    fn load() -> Self {
        let config = config();
        let all = &config.policy.layer7.protocols;
        let patterns = all.iter().map(|p| p.pattern.clone()).collect();
        let patterns = Arc::new(Patterns::compile(patterns).unwrap());
        Self {
            names: all.iter().map(|p| p.name.clone()).collect(),
            reader: Reader::new(&patterns).unwrap(),
        }
    }

    /// The protocol of a connection with these payloads.
    pub fn label<'a>(&mut self, payloads: impl IntoIterator<Item = &'a [u8]>) -> Option<&str> {
        let mut reading = self.reader.open().unwrap();
        for payload in payloads.into_iter().take(10) {
            match self.reader.read(&mut reading, payload) {
                Progress::More => {}
                Progress::Full => return None,
                Progress::Found(place) => return Some(&self.names[place]),
            }
        }
        None
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/layer7")
}

/// A configuration that takes every file of the library.
fn config() -> Config {
    let files: Vec<String> = FILES.iter().map(|f| format!("{f}.yaml")).collect();
    let text = format!(
        "interfaces: {{ lan: {{ device: \"net_null0\", address: [192.0.2.1/24] }} }}\n\
         layer7-protocols: {{ \"*\": {{ file: [{}] }} }}\n",
        files.join(", ")
    );
    Config::parse(&text, "library.yaml", &directory()).unwrap_or_else(|refused| panic!("{refused}"))
}

#[test]
fn at_least_thirty_protocols_ship_each_with_a_comment_and_every_file_is_known() {
    let config = config();
    let protocols = &config.policy.layer7.protocols;
    assert!(protocols.len() >= 30, "{}", protocols.len());
    assert!(protocols.iter().all(|p| !p.comment.is_empty()));
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = FILES.iter().any(|file| name == format!("{file}.yaml"));
        assert!(known, "{name}");
    }
}
