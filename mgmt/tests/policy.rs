//! What a configuration becomes: the policy, the engine's settings, the listeners.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use turnpike_conntrack::tuple::Proto;
use turnpike_mgmt::config::Config;
use turnpike_mgmt::config::engine::{Hugepages, Idle};
use turnpike_pipeline::ids::{ChainId, IfaceId, InterfaceListId, ListId, MarkId, PortId};
use turnpike_pipeline::policy::{
    Action, Edit, IpFamily, MarkKind, Matchers, NewMss, NewPriority, Policy, PortRange, PortSet,
    RejectWith, Rule, Table, Then, TtlChange, Unreachable, Via,
};

const INTERFACES: &str = r#"
interfaces:
  lan: { device: "net_af_packet0,iface=tp-lan", address: [192.168.88.1/24, "2001:db8:88::1/64"] }
  wan: { device: "net_af_packet1,iface=tp-wan", address: 203.0.113.2/24, mtu: 9000 }
vlans:
  guest: { interface: wan, vlan-id: 20, address: 10.20.0.1/24 }
interface-lists: { LAN: [guest, lan, lan] }
address-lists: { trusted: [10.5.101.0/24, "2001:db8:fade::/64", 10.0.0.1-10.0.0.3] }
"#;

fn load(rest: &str) -> Config {
    let text = format!("{INTERFACES}{rest}");
    Config::parse(&text, "t.yaml", Path::new(".")).unwrap_or_else(|r| panic!("{r}"))
}

fn filter(rule: &str) -> Rule {
    let config = load(&format!("firewall:\n  filter:\n    - {rule}\n"));
    only_rule(&config.policy.filter)
}

fn only_rule(table: &Table) -> Rule {
    let mut rules = table.chains.iter().flat_map(|c| c.rules.clone());
    let rule = rules.next().unwrap_or_else(|| panic!("a rule"));
    assert_eq!(rules.next(), None);
    rule
}

#[test]
fn interfaces_are_ports_first_then_vlans() {
    let Policy {
        interfaces,
        interface_lists,
        address_lists,
        ..
    } = load("").policy;
    let seen: Vec<_> = interfaces
        .iter()
        .map(|i| (i.name.as_str(), i.port, i.vlan, i.mtu))
        .collect();
    assert_eq!(
        seen,
        [
            ("lan", PortId(0), None, 1500),
            ("wan", PortId(1), None, 9000),
            ("guest", PortId(1), Some(20), 9000)
        ]
    );
    assert_eq!(interfaces[1].addresses[0].to_string(), "203.0.113.2/24");
    assert_eq!(interface_lists[0].name, "all");
    assert_eq!(
        interface_lists[0].members,
        [IfaceId(0), IfaceId(1), IfaceId(2)]
    );
    assert_eq!(interface_lists[1].members, [IfaceId(0), IfaceId(2)]);
    let nets: Vec<String> = address_lists[0]
        .prefixes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        nets,
        [
            "10.5.101.0/24",
            "2001:db8:fade::/64",
            "10.0.0.1/32",
            "10.0.0.2/31"
        ]
    );
}

#[test]
fn routes_find_the_link_of_their_gateway() {
    let config = load(
        r#"routes:
  - { dst-address: 0.0.0.0/0, gateway: 203.0.113.1 }
  - { dst-address: "::/0", gateway: "fe80::1%wan" }
  - { dst-address: 10.0.0.0/8, type: blackhole }
  - { dst-address: 10.9.0.0/16, gateway: guest }
  - { dst-address: 10.8.0.0/16, gateway: guest, disabled: yes }
"#,
    );
    let vias: Vec<Via> = config.policy.routes.iter().map(|r| r.via).collect();
    assert_eq!(
        vias,
        [
            Via::Gateway(IfaceId(1), [203, 0, 113, 1].into()),
            Via::Gateway(IfaceId(1), "fe80::1".parse::<std::net::IpAddr>().unwrap()),
            Via::Blackhole,
            Via::Interface(IfaceId(2)),
        ]
    );
}

#[test]
fn every_matcher_arrives_where_it_belongs() {
    let rule = filter(
        "{ chain: forward, connection-state: \"!new,invalid\", connection-nat-state: dstnat, \
         protocol: tcp, src-address: 10.0.0.0/8, dst-address: \"!10.1.0.0-10.1.0.9\", \
         src-address-list: trusted, dst-address-list: \"!trusted\", src-address-type: \
         \"unicast,local\", dst-address-type: \"!broadcast\", src-port: 1024-65535, dst-port: \
         \"!https,22\", in-interface: \"!lan\", out-interface: wan, in-interface-list: LAN, \
         out-interface-list: all, action: drop, log: yes, log-prefix: \"x: \", comment: c, \
         disabled: yes }",
    );
    let m = &rule.matchers;
    assert_eq!(m.family, Some(IpFamily::V4));
    let states = m.connection_state.unwrap();
    assert_eq!((states.value.0, states.negated), (0b1001, true));
    assert_eq!(m.connection_nat_state.unwrap().value.0, 2);
    assert_eq!(m.protocol.unwrap().value, Proto::TCP);
    assert!(
        m.src_address
            .unwrap()
            .value
            .contains([10, 255, 0, 1].into())
    );
    let dst = m.dst_address.unwrap();
    assert!(dst.negated && dst.value.last == std::net::IpAddr::from([10, 1, 0, 9]));
    assert_eq!(m.src_address_list.unwrap().value, ListId(0));
    assert!(m.dst_address_list.unwrap().negated);
    assert_eq!(m.src_address_type.unwrap().value.0, 3);
    assert!(m.dst_address_type.unwrap().negated);
    assert_eq!(
        m.src_port.as_ref().unwrap().value,
        PortSet::new([1024..=65535])
    );
    let dst_port = m.dst_port.as_ref().unwrap();
    assert!(dst_port.negated && dst_port.value == PortSet::new([22..=22, 443..=443]));
    assert!(m.in_interface.unwrap().negated);
    assert_eq!(m.out_interface.unwrap().value, IfaceId(1));
    assert_eq!(m.in_interface_list.unwrap().value, InterfaceListId(1));
    assert_eq!(m.out_interface_list.unwrap().value, InterfaceListId(0));
    assert_eq!(
        (rule.action, rule.log.as_deref()),
        (Action::Drop, Some("x: "))
    );
    assert_eq!(
        (&*rule.comment, rule.disabled, rule.source.line),
        ("c", true, 11)
    );
}

#[test]
fn mangle_rules_and_what_they_ask_arrive_where_they_belong() {
    let config = load(
        "firewall:
  mangle:
    - { chain: prerouting, packet-size: \"!100-200\", hop-limit: \"less-than:5\", \
         connection-mark: no-mark, packet-mark: \"!bulk\", action: mark-connection, \
         new-connection-mark: voip, passthrough: no }
    - { chain: postrouting, action: change-dscp, new-dscp: 46 }
    - { chain: forward, action: change-ttl, new-ttl: \"decrement:2\" }
    - { chain: input, action: mark-packet, new-packet-mark: no-mark }
",
    );
    assert_eq!(config.policy.marks, ["bulk", "voip"]);
    let rules: Vec<&Rule> = config
        .policy
        .mangle
        .chains
        .iter()
        .flat_map(|c| &c.rules)
        .collect();
    let [marks, unmarks, ttl, dscp] = rules[..] else {
        panic!("four rules in the order of their chains: {rules:?}");
    };
    assert_eq!(
        &*marks.text,
        "mangle chain=prerouting connection-mark=no-mark packet-mark=!bulk \
         packet-size=!100-200 ttl=less-than:5 action=mark-connection new-connection-mark=voip \
         passthrough=no"
    );
    let voip = Some(MarkId(1));
    let mark = Edit::Mark(MarkKind::Connection, voip);
    assert_eq!(marks.action, Action::Edit(mark, Then::Stop));
    assert_eq!(dscp.action, Action::Edit(Edit::Dscp(46), Then::GoOn));
    let down = TtlChange::decrement(2);
    assert_eq!(ttl.action, Action::Edit(Edit::Ttl(down), Then::GoOn));
    assert_eq!(
        unmarks.action,
        Action::Edit(Edit::Mark(MarkKind::Packet, None), Then::GoOn)
    );
}

#[test]
fn change_mss_clear_df_strip_ipv4_options_and_set_priority_arrive_in_canonical_words() {
    for (written, edit, canonical) in [
        (
            "protocol: tcp, action: change-mss, new-mss: 1360",
            Edit::Mss(NewMss::AtMost(1_360)),
            "protocol=tcp action=change-mss new-mss=1360",
        ),
        (
            "protocol: tcp, tcp-flags: syn, action: change-mss, new-mss: clamp-to-pmtu",
            Edit::Mss(NewMss::FitsPath),
            "protocol=tcp tcp-flags=syn action=change-mss new-mss=clamp-to-pmtu",
        ),
        (
            "action: clear-df",
            Edit::ClearDf,
            "family=ipv4 action=clear-df",
        ),
        (
            "action: strip-ipv4-options",
            Edit::StripOptions,
            "family=ipv4 action=strip-ipv4-options",
        ),
        (
            "action: set-priority, new-priority: 5",
            Edit::Priority(NewPriority::Set(5)),
            "action=set-priority new-priority=5",
        ),
        (
            "action: set-priority, new-priority: from-dscp-high-3-bits",
            Edit::Priority(NewPriority::FromDscpHigh),
            "action=set-priority new-priority=from-dscp-high-3-bits",
        ),
        (
            "action: set-priority, new-priority: from-dscp",
            Edit::Priority(NewPriority::FromDscp),
            "action=set-priority new-priority=from-dscp",
        ),
        (
            "action: set-priority, new-priority: from-ingress, passthrough: no",
            Edit::Priority(NewPriority::FromIngress),
            "action=set-priority new-priority=from-ingress passthrough=no",
        ),
    ] {
        let config = load(&format!(
            "firewall:\n  mangle: [ {{ chain: forward, {written} }} ]\n"
        ));
        let rule = &config.policy.mangle.chains[2].rules[0];
        let Action::Edit(made, _) = rule.action else {
            panic!("{rule:?}");
        };
        assert_eq!(made, edit);
        // The family is in front in every text.
        let mut words: Vec<&str> = rule.text.split(' ').collect();
        assert_eq!(
            words.drain(..2).collect::<Vec<_>>(),
            ["mangle", "chain=forward"]
        );
        assert_eq!(words.join(" "), canonical);
    }
}

#[test]
fn tarpit_sniff_tzsp_and_sniff_pc_arrive_in_canonical_words() {
    for (table, written, canonical) in [
        (
            "filter",
            "protocol: tcp, action: tarpit",
            "protocol=tcp action=tarpit",
        ),
        (
            "mangle",
            "action: sniff-tzsp, sniff-target: 10.0.0.9",
            "action=sniff-tzsp sniff-target=10.0.0.9 sniff-target-port=37008",
        ),
        (
            "mangle",
            "action: sniff-tzsp, sniff-target: \"2001:db8::9\", sniff-target-port: 5000",
            "action=sniff-tzsp sniff-target=2001:db8::9 sniff-target-port=5000",
        ),
        (
            "mangle",
            "action: sniff-pc, sniff-target: 10.0.0.9, sniff-id: 4711",
            "action=sniff-pc sniff-id=4711 sniff-target=10.0.0.9 sniff-target-port=37008",
        ),
    ] {
        let config = load(&format!(
            "firewall:\n  {table}: [ {{ chain: forward, {written} }} ]\n"
        ));
        let tables = [&config.policy.filter, &config.policy.mangle];
        let mut rules = tables.iter().flat_map(|t| &t.chains).flat_map(|c| &c.rules);
        let text = &*rules.next().unwrap().text;
        assert_eq!(text, format!("{table} chain=forward {canonical}"));
    }
}

#[test]
fn every_reject_with_has_its_word_and_canonical_text() {
    for (written, canonical) in [
        ("icmp-network-unreachable", "icmp-network-unreachable"),
        ("icmp-host-unreachable", "icmp-host-unreachable"),
        ("icmp-port-unreachable", "icmp-port-unreachable"),
        ("icmp-protocol-unreachable", "icmp-protocol-unreachable"),
        ("icmp-net-prohibited", "icmp-net-prohibited"),
        ("icmp-host-prohibited", "icmp-host-prohibited"),
        ("icmp-admin-prohibited", "icmp-admin-prohibited"),
        ("icmp-no-route", "icmp-network-unreachable"),
        ("icmp-address-unreachable", "icmp-host-unreachable"),
        ("icmp-not-neighbour", "icmp-not-neighbour"),
        ("icmp-err-src-routing-header", "icmp-err-src-routing-header"),
        ("icmp-headers-too-long", "icmp-headers-too-long"),
        ("tcp-reset", "tcp-reset"),
    ] {
        let reject = format!("action: reject, reject-with: {written}");
        let config = load(&format!(
            "firewall:\n  filter: [ {{ chain: forward, {reject} }} ]\n"
        ));
        let rule = &config.policy.filter.chains[1].rules[0];
        let expected = format!("filter chain=forward action=reject reject-with={canonical}");
        assert_eq!(&*rule.text, expected);
    }
}

#[test]
fn questions_about_headers_arrive_in_canonical_words() {
    for (written, canonical) in [
        ("dscp: \"!46\"", "dscp=!46"),
        (
            "protocol: tcp, tcp-flags: \"ack,!fin,syn\"",
            "protocol=tcp tcp-flags=!fin,syn,ack",
        ),
        (
            "protocol: tcp, tcp-flags: [cwr, \"!ece\"]",
            "protocol=tcp tcp-flags=!ece,cwr",
        ),
        (
            "protocol: tcp, tcp-mss: \"!1300-1500\"",
            "protocol=tcp tcp-mss=!1300-1500",
        ),
        ("protocol: tcp, tcp-mss: 536", "protocol=tcp tcp-mss=536"),
        (
            "src-mac-address: \"!00-0C-42-AA-02-03\"",
            "src-mac-address=!00:0c:42:aa:02:03",
        ),
        (
            "src-mac-address: 00:0c:42:01:02:03",
            "src-mac-address=00:0c:42:01:02:03",
        ),
        ("fragment: yes", "fragment=yes"),
        ("fragment: no", "fragment=no"),
        ("ipv4-options: any", "family=ipv4 ipv4-options=any"),
        (
            "ipv4-options: \"!no-timestamp\"",
            "family=ipv4 ipv4-options=!no-timestamp",
        ),
        (
            "headers: \"frag,hop:contains\"",
            "family=ipv6 headers=hop,frag:contains",
        ),
        ("headers: \"!proto:exact\"", "family=ipv6 headers=!proto"),
        ("ingress-priority: \"!5\"", "ingress-priority=!5"),
        ("priority: 46", "priority=46"),
        (
            "content: \"GET /\\\\0D\\\\\\\\!\"",
            "content=\"GET /\\\\0D\\\\5C!\"",
        ),
        ("content: '!\\21a\\00'", "content=!\\21a\\00"),
        ("tls-host: \"!*.Example.ORG\"", "tls-host=!*.example.org"),
        ("connection-type: sip", "connection-type=sip"),
        ("connection-type: \"!ftp\"", "connection-type=!ftp"),
        ("ipsec-policy: \"in,none\"", "ipsec-policy=in,none"),
        ("ipsec-policy: [out, ipsec]", "ipsec-policy=out,ipsec"),
        ("hop-limit: \"less-than:5\"", "ttl=less-than:5"),
        (
            "family: ipv6, ttl: \"less-than:5\"",
            "family=ipv6 hop-limit=less-than:5",
        ),
        (
            "family: ipv6, hop-limit: 1",
            "family=ipv6 hop-limit=equal:1",
        ),
    ] {
        let rule = filter(&format!("{{ chain: forward, {written}, action: drop }}"));
        let text = format!("filter chain=forward {canonical} action=drop");
        assert_eq!(&*rule.text, text, "{written}");
    }
}

#[test]
fn a_sequence_and_a_comma_string_are_the_same_list() {
    let one =
        filter("{ chain: forward, connection-state: [established, related], action: accept }");
    let two =
        filter("{ chain: forward, connection-state: \"established,related\", action: accept }");
    assert_eq!(one, two);
}

#[test]
fn the_canonical_text_ignores_how_and_where_a_rule_is_written() {
    let one = filter(
        "{ action: accept, chain: forward, protocol: tcp, dst-port: \"443,22\", comment: a }",
    );
    let two = filter(
        "{ chain: forward, dst-port: [ssh, https], protocol: 6, disabled: yes, action: accept }",
    );
    assert_eq!(
        &*one.text,
        "filter chain=forward protocol=tcp dst-port=22,443 action=accept"
    );
    assert_eq!(one.text, two.text);
    let other = filter("{ chain: forward, dst-port: ssh, protocol: tcp, action: accept }");
    assert_ne!(one.text, other.text);
}

#[test]
fn a_connection_limit_is_a_count_and_a_netmask() {
    let rule = filter("{ chain: forward, connection-limit: \"!100,24\", action: drop }");
    let limit = rule
        .matchers
        .connection_limit
        .unwrap_or_else(|| panic!("a limit"));
    assert!(limit.negated);
    assert_eq!((limit.value.count, limit.value.prefix), (100, 24));
    assert_eq!(
        &*rule.text,
        "filter chain=forward connection-limit=!100,24 action=drop"
    );
    let config = load(
        "firewall:\n  nat:\n    - { chain: dstnat, connection-limit: \"5,128\", action: accept }\n",
    );
    let limit = only_rule(&config.policy.nat).matchers.connection_limit;
    assert_eq!(
        limit.map(|l| (l.value.count, l.value.prefix)),
        Some((5, 128))
    );
}

#[test]
fn a_connection_limit_needs_tracking_and_the_watermark_is_a_percentage() {
    let tracking = |text: &str| load(text).policy.tracking;
    let limited =
        "firewall:\n  filter:\n    - { connection-limit: \"5,32\", chain: input, action: drop }\n";
    assert!(tracking(limited).enabled && !tracking("").enabled);
    assert_eq!(tracking("").syn_flood_watermark, 25);
    let raised = tracking("connection-tracking: { syn-flood-watermark: 60 }\n");
    assert_eq!(raised.config().syn_flood_watermark, 60);
}

#[test]
fn an_address_decides_the_family_of_its_rule() {
    let family = |rule: &str| filter(rule).matchers.family;
    assert_eq!(
        family("{ chain: input, src-address: \"!10.0.0.0/8\", action: drop }"),
        Some(IpFamily::V4)
    );
    assert_eq!(
        family("{ chain: input, dst-address: \"::1\", action: drop }"),
        Some(IpFamily::V6)
    );
    assert_eq!(
        family("{ chain: input, family: ipv6, action: drop }"),
        Some(IpFamily::V6)
    );
    assert_eq!(family("{ chain: input, family: any, action: drop }"), None);
    let rule = filter("{ chain: input, action: drop }");
    assert_eq!(rule.matchers, Matchers::default());
}

#[test]
fn jumps_go_to_chains_written_further_down() {
    let config = load(
        "firewall:\n  filter:\n    - { chain: forward, action: jump, jump-target: later }\n    - { \
         chain: later, protocol: tcp, action: reject, reject-with: icmp-no-route }\n    - { chain: \
         later, action: return }\n",
    );
    let chains = &config.policy.filter.chains;
    let names: Vec<&str> = chains.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["input", "forward", "output", "later"]);
    assert_eq!(chains[1].rules[0].action, Action::Jump(ChainId(3)));
    assert_eq!(
        chains[3].rules[0].action,
        Action::Reject(RejectWith::Icmp(Unreachable::Network))
    );
}

#[test]
fn translations_carry_their_targets() {
    let nat = |rule: &str| {
        only_rule(
            &load(&format!("firewall:\n  nat:\n    - {rule}\n"))
                .policy
                .nat,
        )
    };
    let dst = nat(
        "{ chain: dstnat, protocol: tcp, dst-port: 80, action: dst-nat, to-addresses: \
         192.168.88.2, to-ports: 8080 }",
    );
    let Action::DstNat(to) = dst.action else {
        panic!("{:?}", dst.action)
    };
    assert_eq!(
        to.addresses.unwrap().first,
        std::net::IpAddr::from([192, 168, 88, 2])
    );
    assert_eq!(
        to.ports,
        Some(PortRange {
            first: 8080,
            last: 8080
        })
    );
    assert_eq!(dst.matchers.family, Some(IpFamily::V4));
    let masquerade = nat("{ chain: srcnat, out-interface: wan, action: masquerade }");
    assert_eq!(masquerade.action, Action::Masquerade(None));
}

#[test]
fn auto_tracking_follows_the_rules() {
    let tracked = |rest: &str| load(rest).policy.tracking.enabled;
    let firewall = |table: &str, rule: &str| format!("firewall:\n  {table}:\n    - {rule}\n");
    assert!(!tracked(""));
    assert!(!tracked(&firewall(
        "filter",
        "{ chain: input, action: drop }"
    )));
    let state = "{ chain: input, connection-state: new, action: drop }";
    assert!(tracked(&firewall("filter", state)));
    let disabled = "{ chain: input, connection-state: new, action: drop, disabled: yes }";
    assert!(!tracked(&firewall("filter", disabled)));
    assert!(tracked(&firewall(
        "nat",
        "{ chain: srcnat, action: masquerade }"
    )));
    assert!(tracked("connection-tracking: { enabled: yes }"));
}

#[test]
fn settings_have_their_defaults_and_take_what_is_written() {
    let config = load("");
    assert_eq!(config.engine.workers, [1]);
    assert_eq!(config.engine.idle, Idle::Adaptive);
    assert_eq!(config.engine.max_entries, 262_144);
    assert_eq!(
        config.services.socket,
        PathBuf::from("/run/turnpike/api.sock")
    );
    assert_eq!(config.services.metrics, None);
    assert_eq!(config.policy.tracking.timeouts.udp, Duration::from_secs(10));
    let config = load(
        "connection-tracking: { udp-timeout: 1m30s, max-entries: 1000000, \
         loose-tcp-tracking: no }\n\
         services: { api: { socket: /tmp/x.sock }, metrics: { port: 9999, address: [10.0.0.0/8, \
         \"::1\"] } }\nengine: { workers: [2, 3], slow-path-core: 1, idle: spin, memory: { \
         hugepages: no, mbufs: 8192 } }\n",
    );
    assert_eq!(config.policy.tracking.timeouts.udp, Duration::from_secs(90));
    assert!(!config.policy.tracking.loose_tcp);
    assert_eq!(config.engine.workers, [2, 3]);
    assert_eq!(
        (config.engine.slow_path_core, config.engine.idle),
        (1, Idle::Spin)
    );
    assert_eq!(
        (config.engine.hugepages, config.engine.mbufs),
        (Hugepages::No, Some(8192))
    );
    let metrics = config.services.metrics.unwrap();
    assert!(metrics.allows("10.1.1.1".parse().unwrap()));
    assert!(metrics.allows("::ffff:10.1.1.1".parse().unwrap()));
    assert!(metrics.allows("::1".parse().unwrap()));
    assert!(!metrics.allows("127.0.0.1".parse().unwrap()));
}

#[test]
fn what_is_fixed_at_start_is_named_when_it_changes() {
    let old = load("").engine;
    assert!(
        old.start_only_changes(&load("services: {}").engine)
            .is_empty()
    );
    let next =
        load("engine: { workers: [2] }\nconnection-tracking: { max-entries: 2048 }\n").engine;
    assert_eq!(
        old.start_only_changes(&next),
        ["engine.workers", "connection-tracking.max-entries"]
    );
    let text = INTERFACES.replace("tp-wan", "tp-dmz");
    let moved = Config::parse(&text, "t.yaml", Path::new("."))
        .unwrap()
        .engine;
    assert_eq!(old.start_only_changes(&moved), ["interfaces.wan.device"]);
}

#[test]
fn list_files_are_read_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("l.txt"),
        "10.0.0.0/8\n# x\n\n2001:db8::1 # host\n",
    )
    .unwrap();
    let path = dir.path().join("gw.yaml");
    std::fs::write(
        &path,
        "interfaces: { a: { device: net_null0 } }\naddress-lists: { l: { file: l.txt } }\n",
    )
    .unwrap();
    let config = Config::load(&path).unwrap_or_else(|r| panic!("{r}"));
    let nets: Vec<String> = config.policy.address_lists[0]
        .prefixes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(nets, ["10.0.0.0/8", "2001:db8::1/128"]);
    let missing = Config::load(&dir.path().join("none.yaml")).unwrap_err();
    assert!(
        missing.to_string().contains("cannot read the file"),
        "{missing}"
    );
}
