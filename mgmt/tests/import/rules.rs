//! What becomes of single rules: their keys arrive or the rule does not.

use turnpike_mgmt::problem::Problems;
use turnpike_mgmt::yaml::{Node, Value, parse};

use super::import;

/// Every matcher and option of the vocabulary, with a value as RouterOS writes it.
const KEYS: &[(&str, &str)] = &[
    ("address-list", "x"),
    ("address-list-timeout", "1d00:00:00"),
    ("connection-bytes", "1000-2000"),
    ("connection-limit", "100,32"),
    ("connection-mark", "m"),
    ("connection-nat-state", "!dstnat"),
    ("connection-rate", "10k-1M"),
    ("connection-state", "established,related"),
    ("connection-type", "ftp"),
    ("content", "\"a b\""),
    ("dscp", "46"),
    ("dst-address", "10.0.0.0/8"),
    ("dst-address-list", "!x"),
    ("dst-address-type", "local"),
    ("dst-limit", "5,10,dst-address/1m"),
    ("dst-port", "!22,80-90"),
    ("fragment", "yes"),
    ("hop-limit", "equal:1"),
    ("hotspot", "auth"),
    ("icmp-options", "8:0"),
    ("in-bridge-port", "ether2"),
    ("in-interface", "!lan"),
    ("in-interface-list", "!LAN"),
    ("ingress-priority", "3"),
    ("ipsec-policy", "in,none"),
    ("ipv4-options", "any"),
    ("jump-target", "x"),
    ("layer7-protocol", "rdp"),
    ("limit", "5,10:packet"),
    ("new-connection-mark", "m"),
    ("nth", "2,1"),
    ("out-interface", "lan"),
    ("out-interface-list", "LAN"),
    ("p2p", "all-p2p"),
    ("packet-mark", "no-mark"),
    ("packet-size", "0-500"),
    ("passthrough", "yes"),
    ("per-connection-classifier", "src-address:2/0"),
    ("port", "53"),
    ("priority", "1"),
    ("protocol", "tcp"),
    ("psd", "21,3s,3,1"),
    ("random", "50"),
    ("realm", "1"),
    ("reject-with", "tcp-reset"),
    ("routing-mark", "m"),
    ("routing-table", "t"),
    ("src-address", "!10.0.0.1-10.0.0.9"),
    ("src-address-list", "x"),
    ("src-address-type", "!local"),
    ("src-mac-address", "02:00:5E:10:00:01"),
    ("src-port", "1024-65535"),
    ("tcp-flags", "syn,!ack"),
    ("tcp-mss", "0-500"),
    ("time", "8h-17h,mon,tue"),
    ("tls-host", "*.example.org"),
    ("to-addresses", "10.0.0.1"),
    ("to-ports", "80"),
    ("ttl", "less-than:5"),
];

/// The rules of a table as keys and values.
fn rules(yaml: &str, table: &str) -> Vec<Vec<(String, String)>> {
    let mut problems = Problems::new("t.yaml".into());
    let tree = parse(yaml, &mut problems).unwrap();
    let child = |node: &Node, key: &str| {
        let Value::Mapping(entries) = &node.value else {
            return None;
        };
        let entry = entries.iter().find(|e| e.key == key);
        entry.map(|e| e.value.clone())
    };
    let node = child(&tree, "firewall").and_then(|f| child(&f, table));
    let Some(Value::Sequence(nodes)) = node.map(|n| n.value) else {
        return Vec::new();
    };
    nodes.iter().map(words).collect()
}

fn words(rule: &Node) -> Vec<(String, String)> {
    let Value::Mapping(entries) = &rule.value else {
        panic!("{rule:?}");
    };
    let words = entries.iter().map(|e| {
        let Value::Scalar(scalar) = &e.value.value else {
            panic!("{e:?}");
        };
        (e.key.clone(), scalar.text.clone())
    });
    words.collect()
}

#[test]
fn a_rule_is_carried_over_with_every_key_or_not_at_all() {
    let (mut whole, mut out) = (0, 0);
    for table in ["filter", "nat", "mangle", "raw"] {
        for action in ["accept", "drop", "jump", "mark-connection", "dst-nat"] {
            for (key, value) in KEYS {
                let chain = if table == "nat" {
                    "dstnat"
                } else {
                    "prerouting"
                };
                let chain = if table == "filter" { "input" } else { chain };
                let text = format!(
                    "/interface list\nadd name=LAN\n/ip firewall {table}\n\
                     add chain=x protocol=udp comment=other action=accept\n\
                     add chain={chain} action={action} protocol=tcp {key}={value}\n"
                );
                let imported = import(&text);
                let found = rules(&imported.yaml, table);
                let rule = found
                    .iter()
                    .find(|r| r.iter().all(|(k, v)| k != "comment" || v != "other"));
                let fate = imported.report.fates.last().unwrap();
                match rule {
                    Some(rule) => {
                        whole += 1;
                        assert!(fate.left_out.is_empty(), "{text}{fate:?}");
                        let wanted = match *key {
                            "address-list-timeout" => "1d",
                            _ => value.trim_matches('"'),
                        };
                        assert!(
                            rule.iter().any(|(k, v)| k == key && v == wanted),
                            "{text}{rule:?}"
                        );
                    }
                    None => {
                        out += 1;
                        assert!(!fate.left_out.is_empty(), "{text}{}", imported.yaml);
                        assert!(imported.yaml.contains("# left out: "), "{}", imported.yaml);
                    }
                }
            }
        }
    }
    // Both happen, or nothing was shown.
    assert!(whole > 50 && out > 50, "{whole} {out}");
}

/// The only rule of a filter, as `key=value` words, with the notes on its command.
fn one(command: &str) -> (String, Vec<String>) {
    let imported = import(&format!("/ip firewall filter\n{command}\n"));
    let fate = &imported.report.fates[0];
    let notes = [&*fate.left_out, &*fate.notes].concat();
    let rules = rules(&imported.yaml, "filter");
    let words = rules.first().map(|rule| {
        let words: Vec<String> = rule.iter().map(|(k, v)| format!("{k}={v}")).collect();
        words.join(" ")
    });
    (words.unwrap_or_default(), notes)
}

/// A slip: what is read, and how often it is told.
fn slip(command: &str, read: &str, notes: usize) {
    let (rule, told) = one(command);
    assert_eq!(
        (rule.as_str(), told.len()),
        (read, notes),
        "{command}: {told:?}"
    );
}

#[test]
fn the_slips_of_manuals_are_taken_with_a_note() {
    const DROP: &str = "chain=input family=ipv4 protocol=tcp port=23 action=drop";
    slip("add chain=input protocol=tcp ports=23 action=drop", DROP, 1);
    slip("add chain=input protocol=tcp port=23 drop", DROP, 1);
    slip("[admin@MikroTik] > add chain=input", "", 1);
    slip(
        "[admin@MikroTik] /ip firewall filter> add chain=input protocol=tcp port=23 action=drop",
        DROP,
        0,
    );
    slip(
        "add chain=input action=drop comment=\"no way",
        "chain=input family=ipv4 action=drop comment=no way",
        1,
    );
    slip(
        "add chain=input comment=\"no way action=drop",
        "chain=input family=ipv4 action=drop comment=no way",
        1,
    );
    slip(
        "add chain=input src-address=192.168.88.1/24",
        "chain=input src-address=192.168.88.0/24 action=accept",
        2,
    );
    slip(
        "add chain=input action=accept protocol=udp-lite hw-offload=yes log=no disabled=no",
        "chain=input family=ipv4 protocol=udplite action=accept",
        1,
    );
}

#[test]
fn a_doubtful_line_never_becomes_a_rule_that_accepts() {
    for command in [
        "add chain=input comment=\"drop it",
        "add chain=input drop now",
        "add chain=input action=accept drop",
        "add chain=input src-address= 10.0.0.0/8 action=accept",
        "add chain=input src-address=$inside action=accept",
        "add chain=input src-address=[/ip address get 0] action=accept",
        "add chain=input protocol=tcp dst-port= action=accept",
        "add chain=input family=ipv6 action=accept",
        "add action=accept",
        "add chain=input nonsense=1 action=accept",
        "chain=input action=accept",
    ] {
        slip_out(command);
    }
}

fn slip_out(command: &str) {
    let (rule, told) = one(command);
    assert_eq!(rule, "", "{command}");
    assert!(!told.is_empty(), "{command}");
}

#[test]
fn the_traps_of_yaml_are_quoted() {
    let imported = import(
        "/interface list add name=no\n/ip firewall filter\n\
         add chain=input in-interface-list=!no dst-port=22,80 protocol=tcp action=drop \
         comment=\"yes: # {no} 'x' \\\"y\\\" \\\\ null\"\n\
         add chain=null action=accept\n",
    );
    assert_eq!(imported.report.count().left_out, 0, "{}", imported.report);
    let text = "in-interface-list: \"!no\", dst-port: \"22,80\"";
    assert!(imported.yaml.contains(text), "{}", imported.yaml);
    let comment = rules(&imported.yaml, "filter").remove(0).pop().unwrap();
    assert_eq!(comment.1, "yes: # {no} 'x' \"y\" \\ null");
}

#[test]
fn a_rule_is_of_the_family_of_its_menu_unless_an_address_says_it() {
    let imported = import(
        "/ip firewall filter add chain=input protocol=icmp action=accept\n\
         /ipv6 firewall filter add chain=input protocol=icmpv6 action=accept\n\
         /ipv6 firewall filter add chain=input src-address=2001:db8::/32 action=drop\n\
         /ip firewall filter add chain=input action=drop\n",
    );
    let families: Vec<Option<String>> = rules(&imported.yaml, "filter")
        .into_iter()
        .map(|rule| rule.into_iter().find(|(k, _)| k == "family").map(|f| f.1))
        .collect();
    let v4 = || Some("ipv4".to_owned());
    assert_eq!(families, [v4(), v4(), Some("ipv6".to_owned()), None]);
}

#[test]
fn a_file_of_this_machine_is_never_opened() {
    let text = "/ip firewall address-list add list=x file=/etc/hostname\n\
                /ip firewall layer7-protocol add name=y file=/etc/hostname\n\
                /interface ethernet set ether1 device=net_null9\n";
    let imported = import(text);
    assert!(!imported.yaml.contains("y: { file"), "{}", imported.yaml);
    assert!(!imported.yaml.contains("- { file"), "{}", imported.yaml);
    assert!(!imported.yaml.contains("net_null9,"), "{}", imported.yaml);
    assert!(imported.report.to_string().contains("no property `file`"));
}

#[test]
fn what_nothing_fills_is_named() {
    let imported = import(
        "/ip firewall filter add chain=input src-address-list=blocked action=drop\n\
         /ip firewall address-list add list=known address=10.0.0.1\n\
         /ip firewall filter add chain=input src-address-list=known action=accept\n",
    );
    assert!(
        imported.yaml.contains("  blocked: []\n"),
        "{}",
        imported.yaml
    );
    assert_eq!(imported.report.notes.len(), 1, "{}", imported.report);
    assert!(imported.report.notes[0].contains("`blocked`"));
}

#[test]
fn more_interfaces_than_a_gateway_has_are_left_out_with_what_names_them() {
    let mut text = String::from("/ip firewall filter\n");
    for number in 1..=40 {
        text.push_str(&format!(
            "add chain=input in-interface=ether{number} action=drop\n"
        ));
    }
    let imported = import(&text);
    let count = imported.report.count();
    assert_eq!(
        (count.mapped, count.left_out),
        (32, 8),
        "{}",
        imported.report
    );
}

#[test]
fn a_list_that_includes_more_than_plain_lists_is_left_out_with_the_rules_that_name_it() {
    let imported = import(
        "/interface list\n\
         add name=WAN\n\
         add name=OUT include=WAN\n\
         add name=ALL include=OUT\n\
         add name=ANY include=dynamic\n\
         /interface list member\n\
         add list=WAN interface=ether1\n\
         /ip firewall filter\n\
         add chain=input in-interface-list=OUT action=drop\n\
         add chain=input in-interface-list=ALL action=drop\n\
         add chain=input in-interface-list=ANY action=drop\n",
    );
    let count = imported.report.count();
    assert_eq!(
        (count.mapped, count.left_out),
        (4, 4),
        "{}",
        imported.report
    );
}
