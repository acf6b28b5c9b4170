//! `counters.json` and `connections.json`.

use std::collections::BTreeMap;

use serde::Serialize;
use turnpike_pipeline::counters::{Counts, PuntCause, WorkerCounters};
use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::program::Program;

/// Every packet accounted for: what came in or was made equals what went out or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Books {
    /// Frames received.
    #[serde(rename = "in")]
    pub received: u64,
    /// Packets the gateway made.
    pub generated: u64,
    /// Copies made of packets, for sniffers.
    pub copies: u64,
    /// Fragments made of packets too large for their link.
    pub fragments_made: u64,
    /// Frames sent.
    pub out: u64,
    /// Packets delivered to the host.
    pub to_host: u64,
    /// Packets that did their work here: ARP, neighbour discovery, echo, reassembled or cut up.
    pub consumed: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Packets waiting.
    pub held: u64,
}

impl Books {
    /// Adds up the counters of all parts of the gateway.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a WorkerCounters>) -> Self {
        parts.into_iter().fold(Self::default(), |sum, part| Self {
            received: sum.received + part.received.read().packets,
            generated: sum.generated + part.generated.read(),
            copies: sum.copies + part.copies.read(),
            fragments_made: sum.fragments_made + part.fragments_made.read(),
            out: sum.out + part.sent.read().packets,
            to_host: sum.to_host + part.to_host.read(),
            consumed: sum.consumed + part.consumed.read(),
            drops: sum.drops + part.dropped_in_all(),
            held: sum.held + part.held.read(),
        })
    }

    /// Whether nothing was lost and nothing invented.
    pub const fn add_up(&self) -> bool {
        self.received + self.generated + self.copies + self.fragments_made
            == self.out + self.to_host + self.consumed + self.drops + self.held
    }
}

/// `counters.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CountersReport<'a> {
    packets: u64,
    verdicts: &'a BTreeMap<&'static str, u64>,
    unexplained: u64,
    undecided: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    carried: Option<u64>,
    books: BooksReport,
    drops: BTreeMap<&'static str, u64>,
    interfaces: BTreeMap<&'a str, InterfaceReport>,
    rules: Vec<RuleReport>,
    punts: BTreeMap<&'static str, u64>,
    answers_suppressed: u64,
    unremembered: u64,
    logged: u64,
    logs_suppressed: u64,
    inputs: Vec<InputReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BooksReport {
    #[serde(flatten)]
    books: Books,
    add_up: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InterfaceReport {
    rx_packets: u64,
    rx_bytes: u64,
    tx_packets: u64,
    tx_bytes: u64,
}

#[derive(Debug, Serialize)]
struct RuleReport {
    rule: String,
    packets: u64,
    bytes: u64,
    comment: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InputReport {
    file: String,
    packets: u64,
    passed_over: u64,
    damage: Option<String>,
}

impl<'a> CountersReport<'a> {
    /// Reads the counters; `parts` are those of the worker and of the slow path.
    pub fn new(
        summary: &'a super::Summary,
        program: &'a Program,
        parts: &[&WorkerCounters],
        logged: u64,
    ) -> Self {
        let total = |read: &dyn Fn(&WorkerCounters) -> u64| -> u64 {
            parts.iter().map(|part| read(part)).sum()
        };
        let named = |entries: Vec<(&'static str, u64)>| -> BTreeMap<&'static str, u64> {
            entries
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        let drops = DropReason::ALL.iter();
        let punts = PuntCause::ALL.iter();
        Self {
            packets: summary.packets,
            verdicts: &summary.verdicts,
            unexplained: summary.unexplained,
            undecided: summary.undecided,
            carried: summary.carried,
            books: BooksReport {
                books: summary.books,
                add_up: summary.books.add_up(),
            },
            drops: named(
                drops
                    .map(|r| (r.label(), total(&|p| p.dropped(*r).read())))
                    .collect(),
            ),
            interfaces: interfaces(program),
            rules: rules(program),
            punts: named(
                punts
                    .map(|c| (c.label(), total(&|p| p.punted(*c).read())))
                    .collect(),
            ),
            answers_suppressed: total(&|p| p.answers_suppressed.read()),
            unremembered: total(&|p| p.unremembered.read()),
            logged,
            logs_suppressed: total(&|p| p.logs_suppressed.read()),
            inputs: summary.inputs.iter().map(InputReport::new).collect(),
        }
    }
}

impl InputReport {
    fn new(input: &super::InputSummary) -> Self {
        Self {
            file: input.path.display().to_string(),
            packets: input.packets,
            passed_over: input.passed_over,
            damage: input.damage.clone(),
        }
    }
}

fn interfaces(program: &Program) -> BTreeMap<&str, InterfaceReport> {
    let each = program.interfaces.iter().map(|(id, facts)| {
        let (received, sent) = program.interface_counts(id);
        let report = InterfaceReport {
            rx_packets: received.packets,
            rx_bytes: received.bytes,
            tx_packets: sent.packets,
            tx_bytes: sent.bytes,
        };
        (&*facts.name, report)
    });
    each.collect()
}

fn rules(program: &Program) -> Vec<RuleReport> {
    let each = program.rules.iter().map(|(id, rule)| {
        let Counts { packets, bytes } = program.rule_counts(id);
        RuleReport {
            rule: rule.to_string(),
            packets,
            bytes,
            comment: rule.comment.to_string(),
        }
    });
    each.collect()
}
