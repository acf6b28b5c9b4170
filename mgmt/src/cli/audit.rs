//! `turnpike audit`: what the rules expose.

use std::path::PathBuf;

use super::table::Table;
use super::{Failure, say};
use crate::audit;
use crate::config::Config;
use crate::report::{Audit, Finding, Reachable, Service, Severity};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Connections are imagined from everybody whom the rules tell apart to every place and service they \
tell apart, and judged by the rules as packets are. Ratings: Y more or less safe, N unsafe, - safe \
only towards chosen servers, ? depends. What a rate, a count or a packet's inside decides is taken \
to let in.")]
pub(super) struct Args {
    /// The configuration
    file: PathBuf,
    /// An interface, or a list of them, behind which nobody is trusted; may be repeated. Where none
    /// is named: those with a default route, and the members of a list called WAN
    #[arg(long, value_name = "NAME")]
    untrusted: Vec<String>,
    /// End with 1 if there is a finding of severity high
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.file).map_err(|r| Failure::refused(&r))?;
    let untrusted: Vec<String> = args
        .untrusted
        .iter()
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    let audit = audit::audit(&config, &untrusted).map_err(|e| Failure(format!("error: {e}")))?;
    if args.json {
        say(&serde_json::to_string_pretty(&audit)?)?;
    } else {
        say(&human(&audit))?;
    }
    match count(&audit, Severity::High) {
        0 => Ok(()),
        _ if !args.strict => Ok(()),
        high => Err(Failure(format!(
            "error: {high} of the findings are of severity high"
        ))),
    }
}

fn count(audit: &Audit, severity: Severity) -> usize {
    let findings = audit.findings.iter();
    findings.filter(|f| f.severity == severity).count()
}

fn human(audit: &Audit) -> String {
    let outside = match &*audit.untrusted {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    };
    let numbers = [Severity::High, Severity::Medium, Severity::Low]
        .map(|severity| format!("{} {}", count(audit, severity), severity.name()));
    let mut text = format!(
        "{}: {}; untrusted: {outside}\n",
        audit.file,
        numbers.join(", ")
    );
    if !audit.findings.is_empty() {
        text.push('\n');
        text.push_str(&findings(&audit.findings));
    }
    text.push_str("\nWhat new connections reach:\n\n");
    text.push_str(&reachable(&audit.reachable));
    text
}

fn findings(findings: &[Finding]) -> String {
    let mut table = Table::new(&["severity", "advice", "where", "message"], &[]);
    for finding in findings {
        table.row(vec![
            finding.severity.name().to_owned(),
            finding.advice.clone(),
            finding.source.clone().unwrap_or_default(),
            finding.message.clone(),
        ]);
    }
    table.render()
}

fn reachable(rows: &[Reachable]) -> String {
    let mut table = Table::new(&["from", "who", "to", "services"], &[]);
    for row in rows {
        table.row(vec![
            row.from.clone(),
            row.who.clone(),
            row.to.clone(),
            services(row),
        ]);
    }
    table.render()
}

/// What is reached, in one line.
fn services(row: &Reachable) -> String {
    let mut words = Vec::new();
    let mut rest: Vec<&Service> = row.services.iter().collect();
    if row.everything {
        let mut all = "everything".to_owned();
        if !row.except.is_empty() {
            all.push_str(&format!(" but {}", row.except.join(", ")));
        }
        words.push(all);
        rest.retain(|s| s.translated_to.is_some() || s.source_port.is_some());
    }
    // A port that nobody names stands for all others of its transport.
    for transport in ["tcp", "udp"] {
        let unnamed = format!("other {transport}");
        let Some(open) = rest.iter().find(|s| s.service == unnamed).copied() else {
            continue;
        };
        let other = format!("/{transport}");
        let alike = |s: &Service| {
            (s.source_port, &s.translated_to) == (open.source_port, &open.translated_to)
        };
        rest.retain(|s| !(alike(s) && (s.service == unnamed || s.service.ends_with(&other))));
        let named = Service {
            service: format!("any {transport}"),
            ..open.clone()
        };
        words.push(service(&named));
    }
    words.extend(rest.into_iter().map(service));
    words.join(", ")
}

fn service(service: &Service) -> String {
    let mut text = service.service.clone();
    if let Some(rating) = service.rating {
        text.push_str(&format!(" ({rating})"));
    }
    if let Some(to) = &service.translated_to {
        text.push_str(&format!(" at {to}"));
    }
    if let Some(port) = service.source_port {
        text.push_str(&format!(" from port {port}"));
    }
    text
}
