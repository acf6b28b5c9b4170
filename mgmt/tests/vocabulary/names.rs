//! The names of the vocabulary: `names.txt`, and the project's page where that is at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::directory;

/// The names by group.
pub fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(directory().join("names.txt")).unwrap();
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut group = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut group);
            continue;
        }
        for name in line.split_whitespace() {
            let fresh = groups
                .entry(group.clone())
                .or_default()
                .insert(name.to_owned());
            assert!(fresh, "{group}: `{name}` is listed twice");
        }
    }
    groups
}

/// The words of a text that can be names.
fn words(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.split(|c: char| !part(c) && !c.is_ascii_uppercase())
        .map(|word| word.trim_matches('-'))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

/// Every word of the project's page is a name that is listed, or known to be plain English. The
/// catalogue of services has a test of its own, in `tests/catalogue.rs`.
#[test]
fn no_name_of_the_vocabulary_is_missing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/VOCABULARY.md");
    let Ok(page) = fs::read_to_string(path) else {
        println!("skipped: there is no ../shared/VOCABULARY.md");
        return;
    };
    let (before, behind) = page.split_once("## Service catalogue").unwrap();
    let behind = behind.split_once("Advice to give").unwrap().1;
    let mut known: BTreeSet<String> = listed()
        .values()
        .flatten()
        .flat_map(|name| name.split('/').map(str::to_owned))
        .collect();
    let prose = fs::read_to_string(directory().join("prose.txt")).unwrap();
    known.extend(prose.split_whitespace().map(str::to_owned));
    let missing: Vec<String> = words(before)
        .union(&words(behind))
        .filter(|word| !known.contains(*word))
        .cloned()
        .collect();
    assert!(
        missing.is_empty(),
        "neither in names.txt nor, as plain English, in prose.txt: {}",
        missing.join(" ")
    );
}
