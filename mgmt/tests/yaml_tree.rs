//! The tree and `serde_yaml` read the same documents the same way.

use proptest::prelude::*;
use serde_yaml::Value as Yaml;
use turnpike_mgmt::problem::Problems;
use turnpike_mgmt::yaml::{Node, Value, parse};

fn tree(text: &str) -> (Option<Node>, Vec<String>) {
    let mut problems = Problems::new("t.yaml".into());
    let node = parse(text, &mut problems);
    let (found, _) = problems.into_sorted();
    (node, found.iter().map(ToString::to_string).collect())
}

/// Characters that break lines in YAML 1.1, which `serde_yaml` writes, and not in YAML 1.2.
const BREAKS_OF_1_1: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Documents of strings, lists and mappings, as configurations are.
fn document() -> impl Strategy<Value = Yaml> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "[!*&#:,{}\\[\\]'\"|>%@`-]{1,4}",
        "\\PC{0,8}".prop_filter("a line break of YAML 1.1 only", |s| !s
            .contains(BREAKS_OF_1_1)),
        Just("null".to_owned()),
        Just("no".to_owned()),
        Just("010".to_owned()),
        Just("!10.0.0.0/8".to_owned()),
    ];
    let leaf = text.clone().prop_map(Yaml::String);
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Yaml::Sequence),
            prop::collection::btree_map("[a-z][a-z0-9-]{0,9}", inner, 0..5).prop_map(|map| {
                Yaml::Mapping(map.into_iter().map(|(k, v)| (Yaml::String(k), v)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_serde_yaml_writes_is_read_back_whole(value in document()) {
        let text = serde_yaml::to_string(&value).unwrap();
        let (node, problems) = tree(&text);
        prop_assert_eq!(&problems, &Vec::<String>::new(), "{}", text);
        let node = node.unwrap();
        prop_assert_eq!(node.to_yaml(), value, "{}", text);
        let again = node.to_text().unwrap();
        prop_assert_eq!(tree(&again).0.unwrap().to_yaml(), node.to_yaml());
    }

    #[test]
    fn nothing_that_is_typed_makes_reading_panic(
        text in "[ \\n\\t!*&a-c0-2:,{}\\[\\]'\"|>#?%~<-]{0,80}",
    ) {
        let (node, problems) = tree(&text);
        prop_assert!(node.is_some() || !problems.is_empty());
    }

    #[test]
    fn a_document_that_both_accept_means_the_same(text in "[ \\na-c:,{}\\[\\]'\"-]{0,60}") {
        let (Some(node), problems) = tree(&text) else { return Ok(()) };
        let Ok(theirs) = serde_yaml::from_str::<Yaml>(&text) else { return Ok(()) };
        prop_assume!(problems.is_empty());
        prop_assert_eq!(node.to_yaml(), theirs, "{:?}", text);
    }
}

#[test]
fn places_count_lines_and_columns_from_one() {
    let (node, problems) = tree("a: 1\nlonger:\n  - x\n  - \"é\"\n  - { k: v }\n");
    assert_eq!(problems, Vec::<String>::new());
    let Value::Mapping(entries) = node.unwrap().value else {
        panic!("a mapping")
    };
    assert_eq!(
        (entries[0].key_span.line, entries[0].key_span.column),
        (1, 1)
    );
    assert_eq!(
        (entries[0].value.span.line, entries[0].value.span.column),
        (1, 4)
    );
    let Value::Sequence(items) = &entries[1].value.value else {
        panic!("a sequence")
    };
    let places: Vec<_> = items.iter().map(|n| (n.span.line, n.span.column)).collect();
    assert_eq!(places, [(3, 5), (4, 5), (5, 5)]);
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_key() {
    let (node, problems) = tree("\u{feff}a: 1\n");
    assert_eq!(problems, Vec::<String>::new());
    assert!(matches!(node.unwrap().value, Value::Mapping(e) if e[0].key == "a"));
}

#[test]
fn nesting_is_bounded() {
    let (_, problems) = tree(&format!("{}{}", "[".repeat(100), "]".repeat(100)));
    assert!(problems[0].contains("nested deeper"), "{problems:?}");
}

#[test]
fn an_alias_of_something_defined_is_refused_too() {
    let (_, problems) = tree("a: &x 1\nb: *x\n");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].contains("t.yaml:2:4") && problems[1].contains("alias"));
}

#[test]
fn a_refused_value_never_reads_as_empty() {
    for text in ["a: !10.0.0.0/8", "a: *x", "a: ~", "a:", "a: &x 1"] {
        let (node, problems) = tree(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let Some(Node {
            value: Value::Mapping(entries),
            ..
        }) = node
        else {
            panic!("{text}: a mapping")
        };
        assert_eq!(entries[0].value.value, Value::Refused, "{text}");
    }
}
