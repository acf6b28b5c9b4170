//! `turnpike helpers`: what the protocol helpers read, announce and change.

use super::Failure;
use super::ask::Asking;
use super::table::{Table, time};
use crate::report::{HelperRewrite, Helpers};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let helpers: Helpers = args.asking.client().get("/v1/helpers")?;
    args.asking.print(&helpers, human)
}

fn human(helpers: &Helpers) -> String {
    let numbers = [
        "reading",
        "sessions",
        "packets",
        "announced",
        "rewrites",
        "refused",
        "left",
    ];
    let mut headings = vec!["helper", "state", "ports"];
    headings.extend(numbers);
    let mut table = Table::new(&headings, &numbers);
    for helper in &helpers.helpers {
        let c = &helper.counts;
        let ports: Vec<String> = helper.ports.iter().map(ToString::to_string).collect();
        let mut row = vec![helper.name.clone(), helper.state.clone(), ports.join(",")];
        let counts = [
            c.reading,
            c.sessions,
            c.packets,
            c.announced,
            c.rewrites,
            c.refused,
            c.left,
        ];
        row.extend(counts.map(|count| count.to_string()));
        table.row(row);
    }
    let mut text = table.render();
    text.push_str(&format!(
        "\n{} announced and not come yet\n",
        helpers.expected
    ));
    if !helpers.sessions.is_empty() {
        let headings = [
            "session",
            "client",
            "server",
            "client outside",
            "server inside",
        ];
        let mut table = Table::new(&headings, &[]);
        for session in &helpers.sessions {
            table.row(vec![
                session.helper.clone(),
                session.client.clone(),
                session.server.clone(),
                session.client_outside.clone(),
                session.server_inside.clone(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    for rewrite in &helpers.rewrites {
        text.push_str(&one(rewrite));
    }
    text
}

fn one(rewrite: &HelperRewrite) -> String {
    format!(
        "\n{} {}: {} > {}\n  - {}\n  + {}\n",
        time(rewrite.time_ms),
        rewrite.helper,
        rewrite.from,
        rewrite.to,
        rewrite.before,
        rewrite.after
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Helper, HelperCounts};

    #[test]
    fn a_rewrite_is_shown_before_and_after() {
        let helpers = Helpers {
            helpers: vec![Helper {
                name: "ftp".into(),
                state: "active".into(),
                ports: vec![21, 2_121],
                counts: HelperCounts {
                    rewrites: 7,
                    ..HelperCounts::default()
                },
            }],
            rewrites: vec![HelperRewrite {
                helper: "ftp".into(),
                before: "PORT 10,0,0,2,1,2".into(),
                after: "PORT 203,0,113,2,1,2".into(),
                ..HelperRewrite::default()
            }],
            ..Helpers::default()
        };
        let text = human(&helpers);
        assert!(text.contains("21,2121"), "{text}");
        assert!(
            text.contains("  - PORT 10,0,0,2,1,2\n  + PORT 203,0,113,2,1,2\n"),
            "{text}"
        );
    }
}
