//! From a configuration file to a checked [`Config`], or to everything that is wrong with it.
//!
//! One file here per section. Sections are read in the order in which they name each other, every
//! error is collected, and a configuration comes back only if there was none.

pub mod address;
pub mod engine;
mod firewall;
pub(crate) mod host;
pub mod interfaces;
mod layer7;
mod lists;
pub mod logging;
mod names;
pub(crate) mod port;
mod routes;
mod routing;
pub(crate) mod section;
mod service_ports;
pub mod services;
pub mod tests;
mod timezone;
mod tracking;
pub(crate) mod value;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use turnpike_pipeline::policy::{Policy, Rule, Table, TableKind, Tracking};

use crate::problem::{Problem, Problems};
use crate::yaml::{self, Node};
use engine::EngineConfig;
use logging::LoggingConfig;
use names::Names;
use section::{Keys, Section};
use services::ServicesConfig;
use tracking::Enabled;

pub use firewall::adding_action;
pub use value::{Switch, number};

const FILE: Keys = Keys {
    of: "the configuration",
    known: &[
        "interfaces",
        "vlans",
        "interface-lists",
        "routes",
        "routing-tables",
        "routing-rules",
        "connection-tracking",
        "address-lists",
        "layer7-protocols",
        "firewall",
        "services",
        "logging",
        "engine",
        "tests",
        "timezone",
        "service-ports",
    ],
    later: &[],
    elsewhere: &[
        ("filter", "it belongs under `firewall:`"),
        ("nat", "it belongs under `firewall:`"),
        ("raw", "it belongs under `firewall:`"),
    ],
};

/// A configuration without errors.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file as it was named.
    pub file: Arc<str>,
    /// What the pipeline is compiled from.
    pub policy: Policy,
    /// What the engine is started with.
    pub engine: EngineConfig,
    /// The listeners to run.
    pub services: ServicesConfig,
    /// Where the log goes.
    pub logging: LoggingConfig,
    /// What the rules have to make of packets.
    pub tests: Vec<tests::PolicyTest>,
    /// What looks wrong and works nevertheless.
    pub warnings: Vec<Problem>,
    /// The file as a tree.
    pub tree: Node,
}

/// A configuration that was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Refused {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Everything that is wrong with it, by place; warnings too.
    pub problems: Vec<Problem>,
    /// How many problems there were beyond those kept.
    pub more: usize,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        if self.more > 0 {
            writeln!(f, "{}: and {} more problems", self.file, self.more)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, the file being unreadable included.
    pub fn load(path: &Path) -> Result<Self, Refused> {
        let file: Arc<str> = path.to_string_lossy().into();
        let unreadable = |message: String| {
            let mut problems = Problems::new(Arc::clone(&file));
            problems.error(crate::problem::Span::START, message);
            refuse(&file, problems)
        };
        let text = read_text(path, yaml::TEXT_MAX as u64).map_err(|why| match why {
            Unreadable::System(e) => {
                unreadable(format!("cannot read the file: {e}; check its name"))
            }
            Unreadable::TooLarge => unreadable(format!(
                "the file has more than {} bytes; put large lists into a `file:`",
                yaml::TEXT_MAX
            )),
            Unreadable::NotText => unreadable("the file is not UTF-8; convert it".to_owned()),
        })?;
        let dir = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &file, dir)
    }

    /// Reads and checks the file at `path`, and runs its tests.
    ///
    /// # Errors
    /// Everything that is wrong with it, failing tests included.
    pub fn load_tested(path: &Path) -> Result<Self, Refused> {
        Self::load(path)?.tested()
    }

    /// Runs the configuration's tests.
    ///
    /// # Errors
    /// Every test that fails, with what its packet met.
    pub fn tested(self) -> Result<Self, Refused> {
        let mut problems = Problems::new(Arc::clone(&self.file));
        tests::run(&self.tests, &self.policy, &mut problems);
        if problems.errors() == 0 {
            return Ok(self);
        }
        Err(refuse(&self.file, problems))
    }

    /// Checks a configuration in memory; `dir` is where files that it names are looked for.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &str, dir: &Path) -> Result<Self, Refused> {
        Self::parse_into(text, Problems::new(file.into()), dir)
    }

    /// The same, with every problem, however many there are.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse_all(text: &str, file: &str, dir: &Path) -> Result<Self, Refused> {
        Self::parse_into(text, Problems::keeping(usize::MAX, file.into()), dir)
    }

    fn parse_into(text: &str, mut problems: Problems, dir: &Path) -> Result<Self, Refused> {
        let file = Arc::clone(problems.file());
        let Some(tree) = yaml::parse(text, &mut problems) else {
            return Err(refuse(&file, problems));
        };
        let decoded = decode(&tree, dir, &mut problems);
        let tests = match &decoded {
            Some((policy, ..)) => tests::decode(&tree, policy, &mut problems),
            None => Vec::new(),
        };
        let Some((policy, engine, services, logging)) = decoded.filter(|_| problems.errors() == 0)
        else {
            return Err(refuse(&file, problems));
        };
        let (warnings, _) = problems.into_sorted();
        Ok(Self {
            file,
            policy,
            engine,
            services,
            logging,
            tests,
            warnings,
            tree,
        })
    }

    /// One line that says what the configuration holds.
    pub fn summary(&self) -> String {
        let rules = |table: &Table| table.chains.iter().map(|c| c.rules.len()).sum::<usize>();
        let policy = &self.policy;
        let tables = policy.routing.tables.iter();
        let routes = policy.routes.len() + tables.map(|t| t.routes.len()).sum::<usize>();
        let total: usize = TableKind::ALL
            .iter()
            .map(|kind| rules(policy.table(*kind)))
            .sum();
        format!(
            "{}: ok: {}, {}, {}, {}, connection tracking {}{}",
            self.file,
            count(policy.interfaces.len(), "interface"),
            count(routes, "route"),
            count(total, "rule"),
            count(policy.address_lists.len(), "address list"),
            if policy.tracking.enabled { "on" } else { "off" },
            match self.tests.len() {
                0 => String::new(),
                tests => format!(", {}", count(tests, "test")),
            },
        )
    }
}

/// Why a file is no text to go on with.
enum Unreadable {
    System(std::io::Error),
    TooLarge,
    NotText,
}

/// Reads a text file of at most `max` bytes; a device that never ends is too large, too.
fn read_text(path: &Path, max: u64) -> Result<String, Unreadable> {
    let file = File::open(path).map_err(Unreadable::System)?;
    let mut bytes = Vec::new();
    let read = file.take(max.saturating_add(1)).read_to_end(&mut bytes);
    let read = read.map_err(Unreadable::System)?;
    if read as u64 > max {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| Unreadable::NotText)
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn refuse(file: &Arc<str>, problems: Problems) -> Refused {
    let (problems, more) = problems.into_sorted();
    Refused {
        file: Arc::clone(file),
        problems,
        more,
    }
}

fn decode(
    tree: &Node,
    dir: &Path,
    problems: &mut Problems,
) -> Option<(Policy, EngineConfig, ServicesConfig, LoggingConfig)> {
    let file = Section::open(tree, &FILE, problems)?;
    let mut names = Names::default();
    let ports = interfaces::decode(
        file.field("interfaces"),
        file.field("vlans"),
        &mut names,
        problems,
    );
    let addresses = ports.interfaces.iter().flat_map(|i| &i.addresses);
    names.links = addresses.copied().collect();
    let interface_lists =
        interfaces::decode_lists(file.field("interface-lists"), &mut names, problems);
    let mut address_lists = lists::decode(file.field("address-lists"), dir, &mut names, problems);
    routing::decode_tables(file.field("routing-tables"), &mut names, problems);
    let layer7 = layer7::decode(file.field("layer7-protocols"), dir, &mut names, problems);
    let routes = routes::decode(file.field("routes"), &ports.interfaces, &names, problems);
    routing::collect_marks(file.field("routing-rules"), &mut names);
    let routing_rules = routing::decode_rules(file.field("routing-rules"), &names, problems);
    let (routes, routing) = routing::sorted(&names, routes, routing_rules);
    let tracking = tracking::decode(file.field("connection-tracking"), problems);
    let tables = firewall::decode(file.field("firewall"), &mut names, problems);
    lists::add_filled(&names, &mut address_lists);
    let services = services::decode(file.field("services"), problems);
    let logging = logging::decode(file.field("logging"), problems);
    let zone = timezone::decode(file, problems);
    let mut engine = engine::decode(file.field("engine"), problems);
    engine.max_entries = tracking.max_entries;
    engine.devices = ports.devices;
    if tracking.enabled == Enabled::No {
        without_tracking(&tables, &tracking, problems);
    }
    let mut policy = Policy {
        interfaces: ports.interfaces,
        interface_lists,
        routes,
        routing,
        address_lists,
        layer7,
        tracking: Tracking {
            enabled: tracking.enabled == Enabled::Yes,
            loose_tcp: tracking.loose_tcp.is_on(),
            syn_flood_watermark: tracking.syn_flood_watermark,
            liberal_tcp: tracking.liberal_tcp.is_on(),
            timeouts: tracking.timeouts,
        },
        service_ports: service_ports::decode(file.field("service-ports"), problems),
        zone,
        marks: names.marks,
        raw: tables.raw,
        mangle: tables.mangle,
        nat: tables.nat,
        filter: tables.filter,
    };
    if tracking.enabled == Enabled::Auto {
        policy.tracking.enabled = policy.needs_tracking();
    }
    if problems.errors() == 0 {
        firewall::shadows::warn(&policy, file.field("firewall"), problems);
    }
    Some((policy, engine, services, logging))
}

fn enabled_rules(table: &Table) -> impl Iterator<Item = &Rule> {
    let rules = table.chains.iter().flat_map(|c| &c.rules);
    rules.filter(|r| !r.disabled)
}

/// With tracking off nothing can be translated, and a rule about states does not do what it says.
fn without_tracking(
    tables: &firewall::Tables,
    tracking: &tracking::Decoded,
    problems: &mut Problems,
) {
    if let Some(rule) = enabled_rules(&tables.nat).next() {
        problems.error(
            tracking.span,
            format!(
                "the nat rule on line {} needs connection tracking; write `enabled: auto`, or \
                 disable the nat rules",
                rule.source.line
            ),
        );
    }
    let mut rules = enabled_rules(&tables.filter).chain(enabled_rules(&tables.mangle));
    if let Some(rule) = rules.find(|rule| rule.needs_tracking()) {
        problems.warning(
            tracking.span,
            format!(
                "with connection tracking off every packet is untracked, so the rule on line {} \
                 does not do what it says",
                rule.source.line
            ),
        );
    }
}
