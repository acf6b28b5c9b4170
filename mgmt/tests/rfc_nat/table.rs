//! The table in `mgmt/docs/rfc.md` is whole: every requirement stands in it once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use turnpike_mgmt::config::Config;

/// Each document's requirements, with those of their parts that are named by letters.
const REQUIREMENTS: [(&str, &str); 3] = [
    (
        "4787",
        "1 2 3 3a 4 5 5a 5b 5c 6 6a 7 8 8a 9 9a 10 10a 11 12 12a 12b 13 13a 14 14a",
    ),
    ("5382", "1 2 2a 3 3a 3b 4 4a 5 5a 6 7 8 8a 9 10"),
    (
        "5508",
        "1 1a 2 2a 3 3a 3b 3c 3d 4 4a 4b 4c 5 5a 5b 5c 6 7 7a 8 9 10 10a 10b 10c 10d 10e 10f 11",
    ),
];
/// RFC 7857 numbers its sections instead.
const SECTIONS: &str = "2 2.1 2.2 3 4 5 6 7 8 9 10 11 12 13";
const VERDICTS: [&str; 3] = ["meets", "deviates", "not applicable"];

/// The rows below each heading `## RFC nnnn`: requirement, verdict, the rest.
fn rows() -> BTreeMap<String, Vec<[String; 3]>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rfc.md");
    let text = fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::<String, Vec<[String; 3]>>::new();
    let mut document = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## RFC ") {
            document = heading.split(' ').next().unwrap().to_owned();
        }
        let Some(cells) = line.strip_prefix("| ") else {
            continue;
        };
        let cells: Vec<&str> = cells.trim_end_matches(" |").split(" | ").collect();
        let is_row = cells[0].starts_with("REQ-") || cells[0].starts_with('§');
        if is_row {
            let row = [cells[0], cells[2], cells[3]].map(str::to_owned);
            rows.entry(document.clone()).or_default().push(row);
        }
    }
    rows
}

#[test]
fn every_requirement_of_the_four_documents_has_one_row() {
    let rows = rows();
    let names = |document: &str| -> Vec<String> {
        rows[document].iter().map(|row| row[0].clone()).collect()
    };
    for (document, requirements) in REQUIREMENTS {
        let wanted: Vec<_> = requirements
            .split(' ')
            .map(|number| format!("REQ-{number}"))
            .collect();
        assert_eq!(names(document), wanted, "RFC {document}");
    }
    let sections: Vec<_> = SECTIONS.split(' ').map(|n| format!("§{n}")).collect();
    assert_eq!(names("7857"), sections);
}

#[test]
fn every_row_has_a_verdict_and_what_is_met_names_its_test() {
    for (document, rows) in rows() {
        for [requirement, verdict, why] in rows {
            let verdict = verdict.trim_matches('*');
            assert!(
                VERDICTS.contains(&verdict),
                "RFC {document} {requirement}: `{verdict}` is none of {VERDICTS:?}"
            );
            let names_a_test = why.contains(".rs:") || why.contains("scripts/netns/");
            assert!(
                names_a_test || verdict != "meets",
                "RFC {document} {requirement}: no test is named"
            );
        }
    }
}

#[test]
fn the_defaults_are_the_deviations_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/quickstart.yaml");
    let timeouts = Config::load(&path).unwrap().policy.tracking.timeouts;
    let seconds = [
        (timeouts.udp, 10),
        (timeouts.udp_stream, 180),
        (timeouts.tcp_unacked, 300),
        (timeouts.tcp_max_retrans, 300),
        (timeouts.tcp_syn_sent, 5),
        (timeouts.tcp_close, 10),
        (timeouts.icmp, 10),
    ];
    for (timeout, wanted) in seconds {
        assert_eq!(timeout, Duration::from_secs(wanted));
    }
}

#[test]
fn no_helper_reads_but_that_of_ftp() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/rfc-nat.yaml");
    let helpers = Config::load(&path).unwrap().policy.service_ports.helpers;
    let on = helpers.iter().filter(|helper| !helper.disabled);
    assert_eq!(on.map(|helper| helper.helper).collect::<Vec<_>>(), ["ftp"]);
}
