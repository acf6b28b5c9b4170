//! How routing tables, rules and marks are read, and how a rule's canonical text has them.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use turnpike_mgmt::config::Config;
use turnpike_pipeline::ids::{IfaceId, MarkId, RoutingTableId};
use turnpike_pipeline::policy::{
    Action, Edit, IpFamily, MarkKind, Policy, RoutingAction, Rule, TableKind, Then, Via,
};

const GATEWAY: &str = "\
interfaces:
  lan: { device: net_null0, address: [192.168.88.1/24, \"2001:db8:88::1/64\"] }
  wan: { device: net_null1, address: [203.0.113.2/24] }
routing-tables: [to_isp1, { name: to_isp2, comment: \"the second\" }, { name: x, disabled: yes }]
";

fn load(rest: &str) -> Policy {
    let text = format!("{GATEWAY}{rest}");
    let config = Config::parse(&text, "t.yaml", Path::new(".")).unwrap_or_else(|r| panic!("{r}"));
    config.policy
}

fn rule(table: TableKind, rule: &str) -> Rule {
    let policy = load(&format!("firewall:\n  {}:\n    - {rule}\n", table.name()));
    let mut rules = policy.table(table).chains.iter().flat_map(|c| &c.rules);
    rules.next().unwrap().clone()
}

#[test]
fn routes_go_to_the_table_that_they_name_and_to_main_without() {
    let policy = load(
        "routes:
  - { dst-address: 0.0.0.0/0, gateway: 203.0.113.1, routing-table: to_isp2 }
  - { dst-address: 0.0.0.0/0, gateway: 203.0.113.9 }
  - { dst-address: 10.0.0.0/8, type: blackhole, routing-table: main }
  - { dst-address: 10.0.0.0/8, type: blackhole, routing-table: to_isp2 }
",
    );
    let tables: Vec<(&str, usize)> = policy
        .routing
        .tables
        .iter()
        .map(|table| (&*table.name, table.routes.len()))
        .collect();
    assert_eq!(tables, [("to_isp1", 0), ("to_isp2", 2)]);
    let by = |last| Via::Gateway(IfaceId(1), [203, 0, 113, last].into());
    assert_eq!(policy.routing.tables[1].routes[0].via, by(1));
    let main: Vec<Via> = policy.routes.iter().map(|route| route.via).collect();
    assert_eq!(main, [by(9), Via::Blackhole]);
}

#[test]
fn routing_rules_arrive_in_their_order() {
    let policy = load(
        "routing-rules:
  - { src-address: 192.168.88.0/25, routing-mark: voip, interface: lan, table: to_isp1 }
  - { dst-address: 198.51.100.7, action: lookup-only-in-table, table: main, comment: \"x\" }
  - { action: unreachable, disabled: yes }
  - { dst-address: \"2001:db8::/32\", action: drop }
  - { action: unreachable }
",
    );
    let rules = &policy.routing.rules;
    let actions: Vec<RoutingAction> = rules.iter().map(|rule| rule.action).collect();
    assert_eq!(
        actions,
        [
            RoutingAction::Lookup(RoutingTableId(1)),
            RoutingAction::LookupOnly(RoutingTableId::MAIN),
            RoutingAction::Drop,
            RoutingAction::Unreachable,
        ]
    );
    let first = &rules[0];
    assert_eq!(first.src_address, Some("192.168.88.0/25".parse().unwrap()));
    assert_eq!(first.interface, Some(IfaceId(0)));
    assert_eq!(first.routing_mark, Some(MarkId(0)));
    assert_eq!(policy.marks, ["voip"]);
    assert_eq!(
        rules[1].dst_address,
        Some("198.51.100.7/32".parse().unwrap())
    );
    assert_eq!(rules[3].routing_mark, None);
}

#[test]
fn mark_routing_by_new_routing_mark_and_route_by_route_dst_have_a_canonical_text() {
    let mangle = |text| rule(TableKind::Mangle, text);
    let mark = mangle("{ chain: prerouting, action: mark-routing, new-routing-mark: to_isp1 }");
    let edit = Edit::Mark(MarkKind::Routing, Some(MarkId(0)));
    assert_eq!(mark.action, Action::Edit(edit, Then::GoOn));
    assert_eq!(
        &*mark.text,
        "mangle chain=prerouting action=mark-routing new-routing-mark=to_isp1"
    );
    let stop =
        mangle("{ chain: output, action: mark-routing, new-routing-mark: main, passthrough: no }");
    assert!(stop.text.ends_with("new-routing-mark=main passthrough=no"));
    let route = mangle("{ chain: prerouting, action: route, route-dst: 203.0.113.77 }");
    assert_eq!(
        &*route.text,
        "mangle chain=prerouting family=ipv4 action=route route-dst=203.0.113.77"
    );
    assert_eq!(route.matchers.family, Some(IpFamily::V4));
}

#[test]
fn routing_mark_and_routing_table_are_asked_in_filter_mangle_and_nat() {
    for (table, chain) in [
        (TableKind::Filter, "forward"),
        (TableKind::Mangle, "postrouting"),
        (TableKind::Nat, "srcnat"),
    ] {
        let asking = "routing-mark: \"!to_isp1\", routing-table: to_isp2";
        let rule = rule(
            table,
            &format!("{{ chain: {chain}, {asking}, action: accept }}"),
        );
        let text = format!(
            "{} chain={chain} routing-mark=!to_isp1 routing-table=to_isp2 action=accept",
            table.name()
        );
        assert_eq!(*rule.text, text);
        let asked = rule.matchers.routing_table.unwrap();
        assert_eq!((asked.value, asked.negated), (RoutingTableId(2), false));
    }
    let main = rule(
        TableKind::Filter,
        "{ chain: input, routing-table: \"!main\", action: drop }",
    );
    assert!(main.text.contains("routing-table=!main"));
}
