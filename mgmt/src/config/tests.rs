//! `tests`: packets, and what the rules have to make of them.
//!
//! A test passes if everything that it expects holds. A configuration whose tests do not pass is
//! refused by [`Config::load_tested`](super::Config::load_tested), each failing test with its place
//! and its explanation.

use std::net::{IpAddr, SocketAddr};

use turnpike_pipeline::drops::DropReason;
use turnpike_pipeline::ids::IfaceId;
use turnpike_pipeline::policy::Policy;

use super::section::{Keys, Section, Word, scalar, sequence, word};
use super::value::{Text, choice};
use crate::explain::{Earlier, Explanation, Question, Scene};
use crate::problem::{Problems, Span, did_you_mean};
use crate::words::Words;
use crate::yaml::{Node, Value};

/// The most tests of a configuration.
pub const TESTS_MAX: usize = 10_000;
/// The most packets that one test sends before its own.
pub const AFTER_MAX: usize = 64;
/// How many failing tests are shown with what their packets met.
const EXPLAINED_MAX: usize = 20;

const TEST: Keys = Keys {
    of: "a test",
    known: &[
        "name",
        "in-interface",
        "packet",
        "expect",
        "reason",
        "nat-src",
        "nat-dst",
        "out-interface",
        "rule",
        "after",
    ],
    later: &[],
    elsewhere: &[],
};

const EARLIER: Keys = Keys {
    of: "a packet that was sent before",
    known: &["in-interface", "packet"],
    later: &[],
    elsewhere: &[],
};

/// A packet, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// What it is called; empty if it has no name.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// The packet.
    pub question: Question,
    /// What is to become of it.
    pub expected: Expected,
}

/// What a test expects; `None` where it does not care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// How the packet ends.
    pub verdict: Ends,
    /// Why it is dropped.
    pub reason: Option<&'static str>,
    /// The source it is translated to.
    pub nat_src: Option<Endpoint>,
    /// The destination it is translated to.
    pub nat_dst: Option<Endpoint>,
    /// The interface it leaves by.
    pub out_interface: Option<String>,
    /// The comment of the rule that decides.
    pub rule: Option<String>,
}

/// How a packet of a test can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It leaves.
    Accept,
    /// It is dropped.
    Drop,
    /// It is dropped, and its sender told, because a rule says so.
    Reject,
    /// The rules let it through to the gateway itself.
    Local,
}

impl Ends {
    const ALL: [(&'static str, Self); 4] = [
        ("accept", Self::Accept),
        ("drop", Self::Drop),
        ("reject", Self::Reject),
        ("local", Self::Local),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Local => "local",
        }
    }
}

impl Word for Ends {
    fn read(text: &str) -> Result<Self, String> {
        choice(text, "how a packet ends", &Self::ALL)
    }
}

/// An address, and a port if that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    ip: IpAddr,
    port: Option<u16>,
}

impl Endpoint {
    fn is(self, found: Option<SocketAddr>) -> bool {
        found.is_some_and(|found| {
            found.ip() == self.ip && self.port.is_none_or(|port| port == found.port())
        })
    }
}

impl Word for Endpoint {
    fn read(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(both) => Ok(Self {
                ip: both.ip(),
                port: Some(both.port()),
            }),
            Err(_) => Err(format!(
                "`{}` is no endpoint; write 203.0.113.2, 203.0.113.2:443 or [2001:db8::2]:443",
                super::value::printable(text)
            )),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.ip, port)),
            None => write!(f, "{}", self.ip),
        }
    }
}

/// Why a packet was dropped, by its label.
struct Reason(&'static str);

impl Word for Reason {
    fn read(text: &str) -> Result<Self, String> {
        let mut labels = DropReason::ALL.iter().map(|reason| reason.label());
        labels
            .clone()
            .find(|label| *label == text)
            .map(Self)
            .ok_or_else(|| {
                let near = did_you_mean(text, labels.by_ref());
                format!(
                    "`{}` is no drop reason{near}; /v1/drops and the metrics list them",
                    super::value::printable(text)
                )
            })
    }
}

/// Reads `tests:` of a file whose policy is otherwise right.
pub fn decode(file: &Node, policy: &Policy, problems: &mut Problems) -> Vec<PolicyTest> {
    let Value::Mapping(entries) = &file.value else {
        return Vec::new();
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "tests") else {
        return Vec::new();
    };
    let nodes = sequence(&entry.value, "tests", problems).unwrap_or_default();
    if let Some(node) = nodes.get(TESTS_MAX) {
        problems.error(node.span, format!("more than {TESTS_MAX} tests"));
    }
    let nodes = nodes.iter().take(TESTS_MAX);
    nodes
        .filter_map(|node| test(node, policy, problems))
        .collect()
}

fn test(node: &Node, policy: &Policy, problems: &mut Problems) -> Option<PolicyTest> {
    let section = Section::open(node, &TEST, problems)?;
    let name = section.read("name", problems, word::<Text>);
    let entrance = section
        .required("in-interface", "lan", problems)
        .and_then(|node| interface(node, policy, problems));
    let packet = section
        .required(
            "packet",
            "\"tcp 10.0.0.2:40000 > 1.1.1.1:443 syn\"",
            problems,
        )
        .and_then(|node| packet(node, problems));
    let verdict = section
        .required("expect", "accept", problems)
        .and_then(|node| word::<Ends>(node, problems));
    let reason = section.read("reason", problems, word::<Reason>);
    let nat_src = section.read("nat-src", problems, word::<Endpoint>);
    let nat_dst = section.read("nat-dst", problems, word::<Endpoint>);
    let out = section.read("out-interface", problems, |n, p| interface(n, policy, p));
    let rule = section.read("rule", problems, word::<Text>);
    let after = section.read("after", problems, |n, p| after(n, policy, p));
    let out_interface = out.and_then(|id| policy.interfaces.get(usize::from(id.0)));
    Some(PolicyTest {
        name: name.unwrap_or_default().0,
        span: section.span(),
        question: Question {
            in_interface: entrance?,
            packet: packet?,
            after: after.unwrap_or_default(),
        },
        expected: Expected {
            verdict: verdict?,
            reason: reason.map(|Reason(label)| label),
            nat_src,
            nat_dst,
            out_interface: out_interface.map(|iface| iface.name.clone()),
            rule: rule.map(|text| text.0),
        },
    })
}

fn interface(node: &Node, policy: &Policy, problems: &mut Problems) -> Option<IfaceId> {
    let name = &scalar(node, problems)?.text;
    let mut all = (0..).map(IfaceId).zip(&policy.interfaces);
    let found = all.find(|(_, iface)| iface.name == *name);
    if found.is_none() {
        let names = policy.interfaces.iter().map(|iface| iface.name.as_str());
        let near = did_you_mean(name, names);
        let message = format!("no interface is called `{name}`{near}");
        problems.error(node.span, message);
    }
    found.map(|(id, _)| id)
}

fn packet(node: &Node, problems: &mut Problems) -> Option<Words> {
    let scalar = scalar(node, problems)?;
    match Words::parse(&scalar.text) {
        Ok(packet) => Some(packet),
        Err(error) => {
            let columns = scalar.lead() + error.column.saturating_sub(1);
            problems.error(node.span.shifted(columns), error.message);
            None
        }
    }
}

fn after(node: &Node, policy: &Policy, problems: &mut Problems) -> Option<Vec<Earlier>> {
    let nodes = match &node.value {
        Value::Scalar(_) => std::slice::from_ref(node),
        Value::Sequence(_) | Value::Mapping(_) | Value::Refused => {
            sequence(node, "packets", problems)?
        }
    };
    if let Some(node) = nodes.get(AFTER_MAX) {
        problems.error(
            node.span,
            format!("more than {AFTER_MAX} packets before one"),
        );
    }
    let earlier = |node: &Node| match &node.value {
        Value::Mapping(_) => {
            let section = Section::open(node, &EARLIER, problems)?;
            let example = "\"udp 10.0.0.2 > 1.1.1.1:53\"";
            let words = section.required("packet", example, problems);
            let entrance = section.read("in-interface", problems, |n, p| interface(n, policy, p));
            Some(Earlier {
                in_interface: entrance,
                packet: packet(words?, problems)?,
            })
        }
        Value::Scalar(_) | Value::Sequence(_) | Value::Refused => Some(Earlier {
            in_interface: None,
            packet: packet(node, problems)?,
        }),
    };
    Some(nodes.iter().take(AFTER_MAX).filter_map(earlier).collect())
}

/// Runs tests; each that fails is an error at its place.
pub fn run(tests: &[PolicyTest], policy: &Policy, problems: &mut Problems) {
    if tests.is_empty() {
        return;
    }
    let scene = Scene::new(policy);
    let mut failed = 0;
    for test in tests {
        let called = match &*test.name {
            "" => "the test".to_owned(),
            name => format!("test `{name}`"),
        };
        let explanation = match scene.explain(&test.question) {
            Ok(explanation) => explanation,
            Err(why) => {
                problems.error(test.span, format!("{called} cannot be run: {why}"));
                continue;
            }
        };
        let misses = test.expected.misses(&explanation);
        if misses.is_empty() {
            continue;
        }
        failed += 1;
        let mut message = format!("{called} fails: {}", misses.join("; "));
        if failed <= EXPLAINED_MAX {
            for line in explanation.to_string().lines() {
                message.push_str("\n    ");
                message.push_str(line);
            }
        }
        problems.error(test.span, message);
    }
}

impl Expected {
    /// Everything that is not as it should be, in words.
    fn misses(&self, found: &Explanation) -> Vec<String> {
        let mut misses = Vec::new();
        let mut check = |holds: bool, what: &str, wanted: &str, found: Option<&str>| {
            if !holds {
                let found = found.unwrap_or("none");
                misses.push(format!("{what} is {found}, not {wanted}"));
            }
        };
        let verdict = self.verdict.name();
        let is = verdict == found.verdict;
        check(is, "the verdict", verdict, Some(&found.verdict));
        if let Some(reason) = self.reason {
            let is = found.reason.as_deref() == Some(reason);
            check(is, "the reason", reason, found.reason.as_deref());
        }
        for (wanted, found, what) in [
            (self.nat_src, found.nat_src, "nat-src"),
            (self.nat_dst, found.nat_dst, "nat-dst"),
        ] {
            if let Some(wanted) = wanted {
                let shown = found.map(|found| found.to_string());
                check(
                    wanted.is(found),
                    what,
                    &wanted.to_string(),
                    shown.as_deref(),
                );
            }
        }
        if let Some(out) = &self.out_interface {
            let is = found.out_interface.as_ref() == Some(out);
            check(is, "out-interface", out, found.out_interface.as_deref());
        }
        if let Some(rule) = &self.rule {
            let decided = found.rule.as_ref();
            let is = decided.is_some_and(|decided| decided.comment == *rule);
            let named = decided.map(|decided| match &*decided.comment {
                "" => decided.rule.clone(),
                comment => format!("{} `{comment}`", decided.rule),
            });
            check(is, "the rule", &format!("`{rule}`"), named.as_deref());
        }
        misses
    }
}
