//! Metrics for Prometheus, made afresh from a [`Status`] at every scrape.
//!
//! Names follow Prometheus's practice: `turnpike_…_total` for what only grows, base units, labels
//! of bounded number. A rule is labelled by `table/chain/N` and the beginning of its comment.

mod causes;
mod families;
mod helpers;
mod layer7;
mod logs;
mod pools;

use prometheus::{Encoder, TextEncoder};

use crate::report::{Interface, Rule, Status, Worker};
use families::Families;

/// The longest comment in a label, in characters.
pub const COMMENT_MAX: usize = 64;

/// All metrics as text.
///
/// # Errors
/// Fails where the `prometheus` crate refuses a name or a label, which a test rules out.
pub fn render(status: &Status, rules: &[Rule]) -> Result<String, prometheus::Error> {
    let mut families = Families::default();
    process(status, &mut families)?;
    interfaces(status, &mut families)?;
    workers(status, &mut families)?;
    causes::add(status, &mut families)?;
    slow_path(status, &mut families)?;
    expectations(status, &mut families)?;
    helpers::add(status, &mut families)?;
    memory_and_rings(status, &mut families)?;
    pools::add(status, &mut families)?;
    layer7::add(status, &mut families)?;
    logs::add(status, &mut families)?;
    rule_counters(rules, &mut families)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&families.gather(), &mut text)?;
    String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
}

fn process(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    families.gauge(
        "turnpike_build_info",
        "The version of the gateway; always 1.",
        &["version"],
        &[(vec![&status.version], 1)],
    )?;
    families.gauge::<&str>(
        "turnpike_uptime_seconds",
        "How long the gateway has been running.",
        &[],
        &[(vec![], status.uptime_seconds)],
    )?;
    families.gauge::<&str>(
        "turnpike_config_generation",
        "The generation of the program that judges packets.",
        &[],
        &[(vec![], u64::from(status.generation))],
    )?;
    families.gauge::<&str>(
        "turnpike_config_loaded_timestamp_seconds",
        "When the present configuration took effect, in seconds since 1970.",
        &[],
        &[(vec![], status.reloads.loaded_at)],
    )?;
    families.counter(
        "turnpike_config_reloads_total",
        "Reloads of the configuration by result.",
        &["result"],
        &[
            (vec!["done"], status.reloads.done),
            (vec!["refused"], status.reloads.refused),
            (vec!["rolled-back"], status.reloads.rolled_back),
        ],
    )
}

fn interfaces(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let rows = |value: fn(&Interface) -> u64| {
        let each = status.interfaces.iter();
        each.map(|i| (vec![i.name.as_str()], value(i)))
            .collect::<Vec<_>>()
    };
    let labels = &["interface"];
    families.gauge(
        "turnpike_interface_up",
        "Whether the interface's link is up.",
        labels,
        &rows(|i| u64::from(i.running)),
    )?;
    families.gauge(
        "turnpike_interface_mtu_bytes",
        "The largest IP packet that the interface carries.",
        labels,
        &rows(|i| u64::from(i.mtu)),
    )?;
    families.counter(
        "turnpike_interface_receive_packets_total",
        "Frames received on the interface.",
        labels,
        &rows(|i| i.rx.packets),
    )?;
    families.counter(
        "turnpike_interface_receive_bytes_total",
        "Bytes of frames received on the interface.",
        labels,
        &rows(|i| i.rx.bytes),
    )?;
    families.counter(
        "turnpike_interface_transmit_packets_total",
        "Frames sent by the interface.",
        labels,
        &rows(|i| i.tx.packets),
    )?;
    families.counter(
        "turnpike_interface_transmit_bytes_total",
        "Bytes of frames sent by the interface.",
        labels,
        &rows(|i| i.tx.bytes),
    )?;
    let lost: Vec<_> = status
        .interfaces
        .iter()
        .filter_map(|i| i.device_errors.map(|e| (i.name.as_str(), e)))
        .flat_map(|(name, e)| {
            [
                ("rx-missed", e.rx_missed),
                ("rx-errors", e.rx_errors),
                ("rx-no-buffer", e.rx_no_buffer),
                ("tx-errors", e.tx_errors),
            ]
            .map(|(kind, count)| (vec![name, kind], count))
        })
        .collect();
    families.counter(
        "turnpike_interface_device_errors_total",
        "Frames that the device lost before or after the gateway, by kind.",
        &["interface", "kind"],
        &lost,
    )
}

/// A name, a help text and where the value is.
type Column = (&'static str, &'static str, fn(&Worker) -> u64);

/// What every worker counts; names go between `turnpike_worker_` and `_total`.
const WORKER_COUNTERS: &[Column] = &[
    ("receive_packets", "Frames the worker received.", |w| {
        w.rx.packets
    }),
    (
        "receive_bytes",
        "Bytes of frames the worker received.",
        |w| w.rx.bytes,
    ),
    ("transmit_packets", "Frames the worker sent.", |w| {
        w.tx.packets
    }),
    ("transmit_bytes", "Bytes of frames the worker sent.", |w| {
        w.tx.bytes
    }),
    (
        "generated_packets",
        "Packets that the worker made itself.",
        |w| w.generated,
    ),
    (
        "copied_packets",
        "Copies that the worker made of packets, for sniffers.",
        |w| w.copies,
    ),
    (
        "fragments_made",
        "Fragments made of packets too large for their link.",
        |w| w.fragments_made,
    ),
    (
        "consumed_packets",
        "Packets that ended here having done their work.",
        |w| w.consumed,
    ),
    ("to_host_packets", "Packets delivered to the host.", |w| {
        w.to_host
    }),
    (
        "handed_over_packets",
        "Packets given to the worker that owns their connection.",
        |w| w.handed_over,
    ),
    (
        "taken_over_packets",
        "Packets that other workers gave to this one.",
        |w| w.taken_over,
    ),
    (
        "dropped_packets",
        "Packets the worker dropped for any reason.",
        |w| w.dropped,
    ),
    (
        "busy_polls",
        "Turns of the worker's loop that found work.",
        |w| w.busy_polls,
    ),
    (
        "idle_polls",
        "Turns of the worker's loop that found none.",
        |w| w.idle_polls,
    ),
];

/// What a worker's connection table counts, by whole name.
const TABLE_COUNTERS: &[Column] = &[
    (
        "turnpike_connections_expired_total",
        "Connections that timed out.",
        |w| w.expired,
    ),
    (
        "turnpike_connections_evicted_total",
        "Unassured connections that made room for new ones.",
        |w| w.evicted,
    ),
    (
        "turnpike_rule_memory_full_total",
        "Packets for which rules with dst-limit or psd had no room.",
        |w| w.unremembered,
    ),
    (
        "turnpike_list_members_refused_total",
        "Addresses that rules were to add to an address list when there was no room.",
        |w| w.members_refused,
    ),
];

/// Levels of a worker, by whole name.
const WORKER_GAUGES: &[Column] = &[
    (
        "turnpike_worker_held_packets",
        "Packets waiting at the worker right now.",
        |w| w.held,
    ),
    (
        "turnpike_worker_generation",
        "The generation of the program that the worker runs.",
        |w| u64::from(w.generation),
    ),
    (
        "turnpike_connections",
        "Connections in the worker's table.",
        |w| w.connections,
    ),
    (
        "turnpike_connections_limit",
        "Room for connections in the worker's table.",
        |w| w.connections_max,
    ),
];

fn workers(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let rows = |value: fn(&Worker) -> u64| -> Vec<(Vec<String>, u64)> {
        let each = status.workers.iter();
        each.map(|w| (vec![w.worker.to_string()], value(w)))
            .collect()
    };
    let labels = &["worker"];
    for (name, help, value) in WORKER_COUNTERS {
        let name = format!("turnpike_worker_{name}_total");
        families.counter(&name, help, labels, &rows(*value))?;
    }
    for (name, help, value) in TABLE_COUNTERS {
        families.counter(name, help, labels, &rows(*value))?;
    }
    for (name, help, value) in WORKER_GAUGES {
        families.gauge(name, help, labels, &rows(*value))?;
    }
    Ok(())
}

fn slow_path(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let slow = &status.slow_path;
    let counters = [
        (
            "generated_packets",
            "Packets that the slow path made.",
            slow.generated,
        ),
        (
            "consumed_packets",
            "Packets that ended at the slow path having done their work.",
            slow.consumed,
        ),
        (
            "fragments_made",
            "Fragments made at the slow path of packets too large for their link.",
            slow.fragments_made,
        ),
        (
            "dropped_packets",
            "Packets that the slow path dropped for any reason.",
            slow.dropped,
        ),
        (
            "busy_polls",
            "Turns of the slow path's loop that found work.",
            slow.busy_polls,
        ),
        (
            "idle_polls",
            "Turns of the slow path's loop that found none.",
            slow.idle_polls,
        ),
        (
            "answers_suppressed",
            "ICMP errors and resets that exceeded their limit.",
            slow.answers_suppressed,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("turnpike_slow_path_{name}_total");
        families.counter::<&str>(&name, help, &[], &[(vec![], value)])?;
    }
    families.gauge::<&str>(
        "turnpike_slow_path_held_packets",
        "Packets waiting at the slow path right now.",
        &[],
        &[(vec![], slow.held)],
    )
}

fn expectations(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let now = &status.expectations;
    families.gauge::<&str>(
        "turnpike_expectations",
        "Connections that others have announced and that have not come yet.",
        &[],
        &[(vec![], now.waiting)],
    )?;
    families.gauge::<&str>(
        "turnpike_expectations_limit",
        "Room for connections that others have announced.",
        &[],
        &[(vec![], now.limit)],
    )?;
    families.counter::<&str>(
        "turnpike_expectations_created_total",
        "Connections that others have announced.",
        &[],
        &[(vec![], now.created)],
    )?;
    families.counter::<&str>(
        "turnpike_expectations_matched_total",
        "Connections that came as they were announced.",
        &[],
        &[(vec![], now.matched)],
    )?;
    families.counter::<&str>(
        "turnpike_expectations_refused_total",
        "Announcements that were not taken.",
        &[],
        &[(vec![], now.refused)],
    )?;
    families.counter(
        "turnpike_expectations_ended_total",
        "Announcements that ended, by what ended them.",
        &["cause"],
        &[
            (vec!["fulfilled"], now.fulfilled),
            (vec!["expired"], now.expired),
            (vec!["orphaned"], now.orphaned),
            (vec!["replaced"], now.replaced),
            (vec!["withdrawn"], now.withdrawn),
        ],
    )
}

fn memory_and_rings(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    let memory = status.memory;
    for (name, help, value) in [
        (
            "turnpike_mbufs_in_use",
            "Packet buffers in use.",
            memory.mbufs_in_use,
        ),
        ("turnpike_mbufs", "Packet buffers in all.", memory.mbufs),
        (
            "turnpike_hugepages_enabled",
            "Whether packet buffers are in hugepages.",
            u64::from(memory.hugepages),
        ),
    ] {
        families.gauge::<&str>(name, help, &[], &[(vec![], value)])?;
    }
    let mut used = Vec::new();
    for worker in &status.workers {
        let rings = worker.rings.iter();
        used.extend(rings.map(|r| (vec![worker.worker.to_string(), r.name.clone()], r.used)));
    }
    families.gauge(
        "turnpike_ring_entries",
        "Entries waiting in a ring between two cores.",
        &["worker", "ring"],
        &used,
    )?;
    families.gauge::<&str>(
        "turnpike_steered_connections",
        "Connections that are found through the steering map.",
        &[],
        &[(vec![], status.steered_connections)],
    )?;
    events(status, families)
}

fn events(status: &Status, families: &mut Families) -> Result<(), prometheus::Error> {
    families.gauge::<&str>(
        "turnpike_event_watchers",
        "Who watches what happens to connections.",
        &[],
        &[(vec![], status.event_watchers)],
    )?;
    families.counter::<&str>(
        "turnpike_events_lost_total",
        "Events of connections that workers had no room to tell.",
        &[],
        &[(vec![], status.events_lost)],
    )?;
    families.counter::<&str>(
        "turnpike_events_missed_total",
        "Events of connections that watchers were too slow to take.",
        &[],
        &[(vec![], status.events_missed)],
    )
}

fn rule_counters(rules: &[Rule], families: &mut Families) -> Result<(), prometheus::Error> {
    let rows = |value: fn(&Rule) -> u64| {
        let each = rules.iter();
        each.map(|rule| {
            let comment: String = rule.comment.chars().take(COMMENT_MAX).collect();
            (vec![rule.name(), rule.action.clone(), comment], value(rule))
        })
        .collect::<Vec<_>>()
    };
    let labels = &["rule", "action", "comment"];
    families.counter(
        "turnpike_rule_packets_total",
        "Packets that matched the rule.",
        labels,
        &rows(|r| r.packets),
    )?;
    families.counter(
        "turnpike_rule_bytes_total",
        "Bytes of packets that matched the rule.",
        labels,
        &rows(|r| r.bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Count, DeviceErrors, Pool, Ring, Traffic};
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn status() -> Status {
        let worker = |n| Worker {
            worker: n,
            rx: Traffic {
                packets: 7,
                bytes: 420,
            },
            drops: vec![Count {
                name: "filter-rule".into(),
                packets: 3,
            }],
            punted: vec![Count {
                name: "arp".into(),
                packets: 2,
            }],
            handovers: vec![Count {
                name: "opening".into(),
                packets: 4,
            }],
            rings: vec![Ring {
                name: "handover".into(),
                used: 1,
            }],
            ..Worker::default()
        };
        Status {
            version: "0.1.0".into(),
            interfaces: vec![Interface {
                name: "lan".into(),
                running: true,
                device_errors: Some(DeviceErrors::default()),
                ..Interface::default()
            }],
            workers: vec![worker(0), worker(1)],
            pools: vec![Pool {
                address: "203.0.113.2".into(),
                protocol: "udp".into(),
                in_use: 65_535,
                size: 65_535,
                exhausted: 7,
            }],
            ..Status::default()
        }
    }

    fn rules() -> Vec<Rule> {
        let rule = |number, comment: &str| Rule {
            table: "filter".into(),
            chain: "forward".into(),
            number,
            action: "drop".into(),
            comment: comment.into(),
            packets: u64::from(number) * 10,
            ..Rule::default()
        };
        vec![
            rule(1, "a \"quoted\" \\ comment"),
            rule(2, &"ü".repeat(200)),
        ]
    }

    fn value(text: &str, series: &str) -> Option<u64> {
        let line = text.lines().find(|l| l.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn counters_arrive_under_their_labels() {
        let text = render(&status(), &rules()).unwrap();
        let drops = "turnpike_dropped_packets_total{reason=\"filter-rule\",worker=\"1\"}";
        assert_eq!(value(&text, drops), Some(3), "{text}");
        let rule = "turnpike_rule_packets_total{action=\"drop\",comment=\"a \\\"quoted\\\" \
                    \\\\ comment\",rule=\"filter/forward/1\"}";
        assert_eq!(value(&text, rule), Some(10), "{text}");
        let up = "turnpike_interface_up{interface=\"lan\"}";
        assert_eq!(value(&text, up), Some(1));
        let pool = "{address=\"203.0.113.2\",protocol=\"udp\"}";
        let exhausted = format!("turnpike_nat_pool_exhausted_total{pool}");
        assert_eq!(value(&text, &exhausted), Some(7));
        let in_use = format!("turnpike_nat_pool_ports_in_use{pool}");
        assert_eq!(value(&text, &in_use), Some(65_535));
    }

    #[test]
    fn a_comment_is_cut_to_its_limit() {
        let text = render(&status(), &rules()).unwrap();
        assert!(text.contains(&"ü".repeat(COMMENT_MAX)));
        assert!(!text.contains(&"ü".repeat(COMMENT_MAX + 1)));
    }

    #[test]
    fn every_family_has_help_and_a_type() {
        let text = render(&status(), &rules()).unwrap();
        let names = |kind: &str| {
            let prefix = format!("# {kind} ");
            let lines = text.lines().filter_map(move |l| l.strip_prefix(&prefix));
            let names: Vec<String> = lines
                .filter_map(|l| l.split(' ').next().map(str::to_owned))
                .collect();
            names
        };
        assert_eq!(names("HELP"), names("TYPE"));
        assert!(names("HELP").len() > 30);
    }

    #[test]
    fn promtool_has_no_complaint() {
        let spawned = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            eprintln!("skipped: promtool absent");
            return;
        };
        let text = render(&status(), &rules()).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.trim().is_empty(), "{said}");
    }
}
