//! Whatever a configuration file holds: no panic, errors that point into it, and what is accepted
//! compiles, forwards a packet, is audited, and differs in nothing from itself.
//!
//! The fuzz target of the YAML. What it is fed is made from this repository's own files: spoilt
//! byte by byte, with words of the language put in the place of others, with lines repeated, left
//! out, moved and taken from other files. `scripts/test --long --only fuzz` runs it with more
//! cases and other seeds; `FUZZ_SECONDS=120 scripts/test …` says for how long.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use turnpike_mgmt::audit::audit;
use turnpike_mgmt::config::Config;
use turnpike_mgmt::difference::{between, never_match};
use turnpike_mgmt::explain::{Question, Scene};
use turnpike_mgmt::report::Difference;
use turnpike_mgmt::words::Words;
use turnpike_pipeline::ids::IfaceId;

/// Every configuration in the repository, wrong ones too.
static EXAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "../configs",
        "tests/errors",
        "tests/audit",
        "tests/explain",
        "tests/import/golden",
        "tests/vocabulary",
    ];
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    paths.sort();
    let mut texts: Vec<String> = paths
        .iter()
        .map(|p| fs::read_to_string(p).unwrap())
        .collect();
    texts.retain(|text| !text.is_empty());
    assert!(texts.len() > 40, "{}", texts.len());
    texts
});

/// The words of the examples: keys, values and what stands between them.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut words: Vec<String> = EXAMPLES
        .iter()
        .flat_map(|text| text.split(|c: char| c.is_whitespace() || "{}[],".contains(c)))
        .filter(|word| !word.is_empty() && word.len() < 60)
        .map(str::to_owned)
        .collect();
    let odd = [
        "!",
        "!!",
        "&x",
        "*x",
        "~",
        "\"\"",
        "''",
        "-",
        "- ",
        "|",
        ">",
        "0",
        "-1",
        "65536",
        "4294967296",
        "18446744073709551616",
        "0.0.0.0/0",
        "::/0",
        "255.255.255.255",
        "1-0",
        "\"5,10:packet\"",
        "\"0,0\"",
        "\"1/0s,1\"",
        "24d",
        "25d",
        "99999999d",
        "0s",
        "1ms",
        "no-mark",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "#",
        "\u{feff}",
        "é",
        "\\",
        "\t",
    ];
    words.extend(odd.map(str::to_owned));
    words.sort();
    words.dedup();
    words
});

/// One thing that is done to a text.
#[derive(Debug, Clone)]
enum Spoil {
    Byte(Index, u8),
    Cut(Index, usize),
    Word(Index, Index),
    Put(Index, Index),
    Repeat(Index, usize),
    LeaveOut(Index),
    Swap(Index, Index),
    Take(Index, Index, Index),
    Nest(Index, usize),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let at = any::<Index>;
    prop_oneof![
        1 => (at(), any::<u8>()).prop_map(|(i, b)| Spoil::Byte(i, b)),
        1 => (at(), 1..20usize).prop_map(|(i, n)| Spoil::Cut(i, n)),
        8 => (at(), at()).prop_map(|(i, w)| Spoil::Word(i, w)),
        2 => (at(), at()).prop_map(|(i, w)| Spoil::Put(i, w)),
        1 => (at(), 1..9usize).prop_map(|(i, n)| Spoil::Repeat(i, n)),
        1 => at().prop_map(Spoil::LeaveOut),
        1 => (at(), at()).prop_map(|(a, b)| Spoil::Swap(a, b)),
        3 => (at(), at(), at()).prop_map(|(i, f, l)| Spoil::Take(i, f, l)),
        1 => (at(), 1..200usize).prop_map(|(i, n)| Spoil::Nest(i, n)),
    ]
}

fn spoilt(text: &str, how: &Spoil) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    let lines_len = lines.len();
    let mut bytes = text.as_bytes().to_vec();
    match how {
        Spoil::Byte(at, byte) if !bytes.is_empty() => {
            let len = bytes.len();
            bytes[at.index(len)] = *byte;
        }
        Spoil::Cut(at, len) if !bytes.is_empty() => {
            let from = at.index(bytes.len());
            bytes.drain(from..(from + len).min(bytes.len()));
        }
        Spoil::Put(at, word) => {
            let from = at.index(bytes.len() + 1);
            bytes.splice(from..from, WORDS[word.index(WORDS.len())].bytes());
        }
        Spoil::Nest(at, deep) => {
            let from = at.index(bytes.len() + 1);
            bytes.splice(from..from, "[".repeat(*deep).into_bytes());
        }
        Spoil::Byte(..) | Spoil::Cut(..) => {}
        Spoil::Word(at, word) => {
            let found: Vec<(usize, usize)> = spans(text);
            if let Some((from, to)) = (!found.is_empty()).then(|| found[at.index(found.len())]) {
                bytes.splice(from..to, WORDS[word.index(WORDS.len())].bytes());
            }
        }
        Spoil::Repeat(at, times) => {
            let line = lines[at.index(lines_len)].clone();
            let from = at.index(lines_len);
            lines.splice(from..from, vec![line; *times]);
            return lines.join("\n");
        }
        Spoil::LeaveOut(at) => {
            lines.remove(at.index(lines_len));
            return lines.join("\n");
        }
        Spoil::Swap(a, b) => {
            lines.swap(a.index(lines_len), b.index(lines_len));
            return lines.join("\n");
        }
        Spoil::Take(at, file, line) => {
            let other = &EXAMPLES[file.index(EXAMPLES.len())];
            let others: Vec<&str> = other.lines().collect();
            lines.insert(
                at.index(lines_len),
                others[line.index(others.len())].to_owned(),
            );
            return lines.join("\n");
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where the words of a text are, in bytes.
fn spans(text: &str) -> Vec<(usize, usize)> {
    let between = |c: char| c.is_whitespace() || "{}[],".contains(c);
    let start = text.as_ptr() as usize;
    let words = text.split(between).filter(|word| !word.is_empty());
    let at = |word: &str| word.as_ptr() as usize - start;
    words
        .map(|word| (at(word), at(word) + word.len()))
        .collect()
}

fn holds(text: &str) -> Result<(), TestCaseError> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let config = match Config::parse(text, "t.yaml", &directory) {
        Err(refused) => {
            prop_assert!(!refused.problems.is_empty(), "{text:?}");
            // YAML counts a carriage return as well, and the end of the file may be a line more.
            let lines = text.split(['\n', '\r']).count() + 1;
            for problem in refused.problems {
                let line = problem.span.line as usize;
                prop_assert!((1..=lines).contains(&line), "{problem} of {text:?}");
                prop_assert!(!problem.message.is_empty());
            }
            return Ok(());
        }
        Ok(config) => config,
    };
    for (line, packet) in [
        "tcp 192.168.88.10:40000 > 1.1.1.1:443 syn",
        "udp [2001:db8:88::10]:5000 > [2001:db8:2::1]:53 ttl 2",
        "icmp 10.0.0.1 > 192.168.88.1",
    ]
    .into_iter()
    .enumerate()
    {
        let interfaces = config.policy.interfaces.len();
        if interfaces == 0 {
            break;
        }
        let iface = u16::try_from(line % interfaces).unwrap();
        let question = Question {
            in_interface: IfaceId(iface),
            packet: Words::parse(packet).unwrap(),
            after: Vec::new(),
        };
        let explained = Scene::new(&config.policy).explain(&question);
        let explained = explained.map_err(|e| TestCaseError::fail(format!("{e}: {text:?}")))?;
        prop_assert_ne!(explained.verdict, "lost", "{}", text);
    }
    // Who is untrusted may have to be said; then the audit says so.
    let _ = audit(&config, &[]);
    never_match(&config.policy);
    prop_assert_eq!(between(&config, &config), Difference::default(), "{}", text);
    Ok(())
}

/// What is fed has to get further than the first check often enough.
#[test]
fn the_examples_hold_as_they_are_and_many_are_accepted() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let accepted = |text: &&String| Config::parse(text, "t.yaml", &directory).is_ok();
    assert!(EXAMPLES.iter().filter(accepted).count() >= 20);
    assert!(WORDS.len() > 1_000, "{}", WORDS.len());
    for text in EXAMPLES.iter() {
        holds(text).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_configuration_and_no_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        holds(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn spoilt_examples_are_refused_with_places_or_work(
        example in any::<Index>(),
        spoils in prop::collection::vec(spoil(), 0..6),
    ) {
        let whole = EXAMPLES[example.index(EXAMPLES.len())].clone();
        let text = spoils.iter().fold(whole, |text, how| spoilt(&text, how));
        holds(&text)?;
    }

    #[test]
    fn rules_of_any_words_are_refused_with_places_or_work(
        table in "(raw|mangle|filter|nat)",
        chain in "(input|forward|output|prerouting|postrouting|srcnat|dstnat|x)",
        keys in prop::collection::vec((any::<Index>(), any::<Index>()), 0..5),
        action in any::<Index>(),
    ) {
        let pick = |words: &[String], at: &Index| words[at.index(words.len())].clone();
        let is_key = |word: &&String| word.ends_with(':') && word.len() > 2;
        let all_keys: Vec<String> = WORDS.iter().filter(is_key).cloned().collect();
        let values: Vec<String> = WORDS.iter().filter(|w| !is_key(w)).cloned().collect();
        let base = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vocabulary/gateway.yaml"),
        ).unwrap();
        let mut rule = format!("chain: {chain}, action: {}", pick(&values, &action));
        for (key, value) in &keys {
            rule.push_str(&format!(", {} {}", pick(&all_keys, key), pick(&values, value)));
        }
        holds(&format!("{base}firewall: {{ {table}: [ {{ {rule} }} ] }}\n"))?;
    }
}
