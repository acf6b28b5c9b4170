//! Every file in `tests/errors/` is refused with exactly the text beside it.
//!
//! `BLESS=1 cargo test -p turnpike-mgmt --test golden_errors` rewrites the texts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use turnpike_mgmt::config::Config;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    cases.sort();
    cases
}

/// What `turnpike check` prints: the refusal, or the warnings.
fn outcome(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    // Names stay relative, so that the expected text does not depend on where the clone is.
    let parsed = Config::parse(&text, name, Path::new("tests/errors"));
    match parsed.and_then(Config::tested) {
        Err(refused) => refused.to_string(),
        Ok(config) => {
            let lines: Vec<String> = config.warnings.iter().map(|w| format!("{w}\n")).collect();
            format!("{}{}\n", lines.concat(), config.summary())
        }
    }
}

#[test]
fn every_error_text_is_as_expected() {
    std::env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let expected_path = case.with_extension("expected");
        let actual = outcome(&case);
        if bless {
            fs::write(&expected_path, &actual).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != actual {
            wrong.push(format!("{}\n{actual}", case.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in .expected (BLESS=1 rewrites):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_case_has_its_text_and_every_text_its_case() {
    assert!(cases().len() >= 10);
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "expected") {
            assert!(path.with_extension("yaml").exists(), "{}", path.display());
        }
    }
}
