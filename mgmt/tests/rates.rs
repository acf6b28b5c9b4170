//! How matchers that count are read, and how a rule's canonical text has them.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use turnpike_mgmt::config::Config;
use turnpike_pipeline::policy::{
    Classifier, DestinationLimit, FlowFields, Hours, Nth, PacketAsk, Policy, RateAsk, RateLimit,
    RateUnit, Rule, ScanWeights, Table, Volume,
};

fn load(table: &str, rule: &str) -> Policy {
    let text = format!(
        "interfaces: {{ lan: {{ device: net_null0, address: 192.168.88.1/24 }} }}\n\
         firewall:\n  {table}:\n    - {rule}\n"
    );
    let config = Config::parse(&text, "t.yaml", Path::new(".")).unwrap_or_else(|r| panic!("{r}"));
    config.policy
}

fn only_rule(table: &Table) -> Rule {
    let mut rules = table.chains.iter().flat_map(|c| c.rules.clone());
    rules.next().unwrap_or_else(|| panic!("a rule"))
}

/// What the one matcher of a filter rule asks of the traffic, whether it is negated, and its
/// canonical text.
fn asked(matcher: &str) -> (RateAsk, bool, String) {
    let policy = load(
        "filter",
        &format!("{{ chain: input, {matcher}, action: drop }}"),
    );
    let rule = only_rule(&policy.filter);
    let text = rule.text.trim_start_matches("filter chain=input ");
    let text = text.trim_end_matches(" action=drop").to_owned();
    let [asked] = &rule.matchers.packet[..] else {
        panic!("one question: {:?}", rule.matchers.packet)
    };
    let PacketAsk::Rate(ask) = &asked.value else {
        panic!("a question about traffic: {asked:?}")
    };
    (*ask, asked.negated, text)
}

fn limit(rate: u64, secs: u64, burst: u64, unit: RateUnit) -> RateAsk {
    RateAsk::Limit(RateLimit {
        rate,
        per: Duration::from_secs(secs),
        burst,
        unit,
    })
}

#[test]
fn limit_is_a_rate_a_time_a_burst_and_what_is_counted() {
    for (written, ask, negated, text) in [
        (
            "5,10",
            limit(5, 1, 10, RateUnit::Packet),
            false,
            "5,10:packet",
        ),
        (
            "!5,10:packet",
            limit(5, 1, 10, RateUnit::Packet),
            true,
            "!5,10:packet",
        ),
        (
            "50/5s,2",
            limit(50, 5, 2, RateUnit::Packet),
            false,
            "50/5s,2:packet",
        ),
        (
            "3/m, 1",
            limit(3, 60, 1, RateUnit::Packet),
            false,
            "3/1m,1:packet",
        ),
        (
            "10M,64k:bit",
            limit(10_000_000, 1, 64_000, RateUnit::Bit),
            false,
            "10000000,64000:bit",
        ),
    ] {
        let expected = (ask, negated, format!("limit={text}"));
        assert_eq!(asked(&format!("limit: \"{written}\"")), expected);
    }
}

#[test]
fn nth_and_random_and_connection_bytes_are_read_as_they_are_written() {
    let nth = RateAsk::Nth(Nth {
        every: 3,
        packet: 1,
    });
    assert_eq!(asked("nth: \"3,1\""), (nth, false, "nth=3,1".to_owned()));
    let random = RateAsk::Random(30);
    assert_eq!(
        asked("random: \"!30\""),
        (random, true, "random=!30".to_owned())
    );
    let volume = |first, last| RateAsk::ConnectionBytes(Volume { first, last });
    assert_eq!(
        asked("connection-bytes: 500k-0"),
        (
            volume(500_000, None),
            false,
            "connection-bytes=500000-0".to_owned()
        )
    );
    assert_eq!(
        asked("connection-bytes: 0-1G"),
        (
            volume(0, Some(1_000_000_000)),
            false,
            "connection-bytes=0-1000000000".to_owned()
        )
    );
}

#[test]
fn per_connection_classifier_is_fields_and_a_class() {
    let rule = "{ chain: prerouting, per-connection-classifier: \"!both-addresses-and-ports:4/3\", \
                action: drop }";
    let rule = only_rule(&load("raw", rule).raw);
    let asked = rule
        .matchers
        .classifier
        .unwrap_or_else(|| panic!("a class"));
    let expected = Classifier {
        fields: FlowFields::CLASSIFIED[8].1,
        denominator: 4,
        remainder: 3,
    };
    assert_eq!((asked.value, asked.negated), (expected, true));
    assert!(
        rule.text
            .contains(" per-connection-classifier=!both-addresses-and-ports:4/3 ")
    );
    assert!(
        rule.matchers.packet.is_empty(),
        "a flow's class does not change"
    );
}

#[test]
fn what_keeps_count_is_asked_last_however_it_is_written() {
    let rule = "{ limit: \"5,10\", dst-limit: \"5,10,src-port\", psd: \"21,3s,3,1\", time: 1h-2h, \
                connection-rate: 1-0, nth: \"2,1\", connection-bytes: 1-0, random: 5, \
                packet-size: 9, chain: forward, action: accept }";
    let rule = only_rule(&load("mangle", rule).mangle);
    let names: Vec<&str> = rule
        .matchers
        .packet
        .iter()
        .map(|m| m.value.name())
        .collect();
    let expected = [
        "packet-size",
        "time",
        "connection-bytes",
        "connection-rate",
        "random",
        "nth",
        "psd",
        "dst-limit",
        "limit",
    ];
    assert_eq!(names, expected);
}

#[test]
fn only_what_is_asked_of_connections_needs_them_to_be_tracked() {
    let tracked = |matcher: &str| {
        let rule = format!("{{ chain: input, {matcher}, action: drop }}");
        load("filter", &rule).tracking.enabled
    };
    assert!(tracked("connection-bytes: 1-0"));
    assert!(!tracked("limit: \"5,10\"") && !tracked("random: 5") && !tracked("nth: \"2,1\""));
}

#[test]
fn dst_limit_is_a_limit_and_fields_with_a_time_after_a_slash_or_a_comma() {
    let ask = |fields: usize, secs| {
        let RateAsk::Limit(limit) = limit(32, 1, 64, RateUnit::Packet) else {
            panic!("a limit")
        };
        RateAsk::DestinationLimit(DestinationLimit {
            limit,
            fields: FlowFields::LIMITED[fields].1,
            expire: Duration::from_secs(secs),
        })
    };
    for (written, fields, secs, text) in [
        (
            "32,64,src-and-dst-addresses/10s",
            6,
            10,
            "src-and-dst-addresses/10s",
        ),
        ("32,64:packet,dst-address,1m", 0, 60, "dst-address/1m"),
        ("32/1s, 64, dst-port", 2, 100, "dst-port/1m40s"),
    ] {
        let expected = (
            ask(fields, secs),
            false,
            format!("dst-limit=32,64:packet,{text}"),
        );
        assert_eq!(asked(&format!("dst-limit: \"{written}\"")), expected);
    }
}

#[test]
fn psd_is_a_threshold_a_delay_and_two_weights() {
    let scan = RateAsk::Scan(ScanWeights {
        threshold: 21,
        delay: Duration::from_secs(3),
        low_port: 3,
        high_port: 1,
    });
    let expected = (scan, true, "psd=!21,3s,3,1".to_owned());
    assert_eq!(asked("psd: \"!21,3s,3,1\""), expected);
}

#[test]
fn time_is_a_part_of_the_day_on_some_days() {
    let hours = |first, last, days| RateAsk::Time(Hours { first, last, days });
    for (written, ask, text) in [
        (
            "8h-17h,mon,fri",
            hours(28_800, 61_200, 0b10_0010),
            "8h-17h,mon,fri",
        ),
        (
            "08:30-17:00:30,sat",
            hours(30_600, 61_230, 0b100_0000),
            "8h30m-17h30s,sat",
        ),
        (
            "22h-6h",
            hours(79_200, 21_600, 0x7f),
            "22h-6h,sun,mon,tue,wed,thu,fri,sat",
        ),
        ("0s-1d,sun", hours(0, 86_400, 1), "0s-1d,sun"),
    ] {
        let expected = (ask, false, format!("time={text}"));
        assert_eq!(asked(&format!("time: \"{written}\"")), expected);
    }
}

#[test]
fn connection_rate_is_a_range_of_bits_per_second() {
    let fast = RateAsk::ConnectionRate(Volume {
        first: 100_000,
        last: Some(100_000_000),
    });
    let expected = (fast, false, "connection-rate=100000-100000000".to_owned());
    assert_eq!(asked("connection-rate: 100k-100M"), expected);
}

#[test]
fn the_timezone_of_a_configuration_reaches_its_rules() {
    let zone = |line: &str| {
        let text = format!("interfaces: {{ lan: {{ device: net_null0 }} }}\n{line}");
        let config = Config::parse(&text, "t.yaml", Path::new("."));
        config.unwrap_or_else(|r| panic!("{r}")).policy.zone
    };
    // A Tuesday in July, noon in London.
    let noon = 1_783_422_000;
    assert_eq!(zone("timezone: Europe/London").local(noon), (2, 12 * 3_600));
    assert_eq!(zone("").local(noon), (2, 11 * 3_600));
}
