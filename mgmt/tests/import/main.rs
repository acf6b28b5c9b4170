//! The importer on the exports in `configs/import/`: what it writes, what it says, and that the
//! result does with packets what RouterOS would.
//!
//! `BLESS=1 cargo test -p turnpike-mgmt --test import` rewrites what is expected.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod command;
mod fuzz;
mod rules;
mod verdicts;

use std::fs;
use std::path::{Path, PathBuf};

use turnpike_mgmt::config::Config;
use turnpike_mgmt::import::{Imported, routeros};

/// The exports, by name.
fn examples() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/import");
    let mut found: Vec<(String, String)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rsc"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn golden(file: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/golden");
    dir.join(file)
}

/// An import, which never fails, and whose result is always accepted.
fn import(text: &str) -> Imported {
    let imported = routeros(text, "t.rsc").unwrap();
    accepted(&imported.yaml);
    imported
}

fn accepted(yaml: &str) -> Config {
    Config::parse(yaml, "t.yaml", Path::new(".")).unwrap_or_else(|r| panic!("{r}\n{yaml}"))
}

#[test]
fn every_example_becomes_what_is_kept_of_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, text) in examples() {
        let imported = routeros(&text, &format!("{name}.rsc")).unwrap();
        accepted(&imported.yaml);
        let answers = [
            (format!("{name}.yaml"), imported.yaml),
            (format!("{name}.report"), imported.report.to_string()),
        ];
        for (file, got) in answers {
            if bless {
                fs::write(golden(&file), &got).unwrap();
            } else if fs::read_to_string(golden(&file)).unwrap_or_default() != got {
                wrong.push(format!("{file}:\n{got}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in tests/import/golden (BLESS=1 rewrites):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_command_of_every_example_has_an_answer() {
    assert!(examples().len() >= 7);
    for (name, text) in examples() {
        let report = routeros(&text, &name).unwrap().report;
        let count = report.count();
        assert_eq!(
            count.mapped + count.noted + count.left_out + count.foreign,
            count.commands
        );
        let lines = text.lines().filter(|l| {
            let words = ["add ", "set ", ":", "/ip firewall filter print"];
            words
                .iter()
                .any(|w| l.starts_with(w) || l.contains(&format!(" {w}")))
        });
        assert!(count.commands >= lines.count().min(12), "{name}: {count:?}");
    }
}
