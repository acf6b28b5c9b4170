//! Whatever is typed: no panic, every command has an answer, and the result is accepted.
//!
//! The importer's fuzz target: `scripts/test --long` runs it with more cases and other seeds.

use proptest::prelude::*;
use turnpike_mgmt::config::Config;
use turnpike_mgmt::import::{quoted, routeros};
use turnpike_mgmt::problem::Problems;
use turnpike_mgmt::yaml::{Value, parse};

/// Any text becomes a configuration that is accepted.
fn holds(text: &str) -> Result<(), TestCaseError> {
    let imported = routeros(text, "t.rsc");
    let imported = imported.map_err(|e| TestCaseError::fail(format!("{text:?}: {e}")))?;
    let checked = Config::parse(&imported.yaml, "t.yaml", std::path::Path::new("."));
    prop_assert!(checked.is_ok(), "{:?}\n{}", text, imported.yaml);
    let count = imported.report.count();
    prop_assert_eq!(
        count.mapped + count.noted + count.left_out + count.foreign,
        count.commands
    );
    Ok(())
}

/// Pieces that exports are made of, so that most lines mean something.
fn piece() -> impl Strategy<Value = String> {
    let keys = "(chain|action|protocol|src-address|dst-address|dst-port|in-interface|list|address|\
                interface|name|comment|disabled|vlan-id|gateway|limit|jump-target|mtu|numbers|\
                src-address-list|address-list|place-before|default-name|enabled|file|include)";
    let value = prop_oneof![
        "(input|forward|srcnat|drop|accept|jump|masquerade|dst-nat|tcp|udp|x|LAN|ether[0-9])",
        "(yes|no)",
        "!?[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(/[0-9]{1,2})?",
        "[0-9]{1,5}(,[0-9]{1,5}(-[0-9]{1,5})?)?",
        "\"[ -~]{0,12}\"?",
        "\\[find [a-z]{1,8}=[a-z0-9]{0,4}\\]",
        "[0-9a-f:]{2,12}(/64)?",
        "\\PC{0,6}",
    ];
    prop_oneof![
        3 => (keys, value).prop_map(|(k, v)| format!("{k}={v}")),
        1 => "(/ip|/ipv6|firewall|filter|nat|raw|mangle|address-list|/interface|vlan|list|member|\
              ethernet|bridge|address|/ip route|connection tracking|service|layer7-protocol)",
        1 => "(add|set|remove|move|enable|disable|unset|comment|print) ?[0-9*]?",
        1 => Just("\\\n    ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => "[ -~]{0,6}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let menu = "(/ip firewall filter|/ip firewall nat|/ip firewall address-list|/ip address|\
                /interface vlan|/interface list|/interface list member|/ip route|/ip service|\
                /ip firewall connection tracking|/ipv6 firewall filter|/interface bridge)";
    let verb = "(add|add|add|set 0|set \\[find\\]|remove 0|move 1 0)";
    let words = prop::collection::vec(piece(), 0..6);
    (menu, verb, words).prop_map(|(menu, verb, words)| format!("{menu} {verb} {}", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_imported_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        holds(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn nearly_commands_are_imported_without_a_panic(
        lines in prop::collection::vec(line(), 0..8),
    ) {
        holds(&lines.join("\n"))?;
    }

    #[test]
    fn quotes_and_brackets_in_any_order_are_read(
        text in "[a-c \"\\\\\\[\\]{}()$;#=!~/:\n\u{201c}]{0,80}",
    ) {
        holds(&text)?;
    }

    #[test]
    fn what_is_quoted_reads_the_same(text in "\\PC{0,20}|[\\x00-\\x7f]{0,12}") {
        let yaml = format!("x: {{ {}: {} }}\n", quoted(&format!("k{text}")), quoted(&text));
        let mut problems = Problems::new("t.yaml".into());
        let tree = parse(&yaml, &mut problems).unwrap();
        prop_assert_eq!(problems.errors(), 0, "{}", yaml);
        let Value::Mapping(top) = &tree.value else { panic!("{yaml}") };
        let Value::Mapping(inner) = &top[0].value.value else { panic!("{yaml}") };
        let Value::Scalar(scalar) = &inner[0].value.value else { panic!("{yaml}") };
        prop_assert_eq!(&scalar.text, &text);
        prop_assert_eq!(&inner[0].key, &format!("k{text}"));
    }
}
