//! `turnpike rules`: every rule with what it counted.

use super::Failure;
use super::ask::Asking;
use super::table::Table;
use crate::client::target;
use crate::report::{Rule, Rules};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// Of this table: raw, filter or nat
    #[arg(long)]
    table: Option<String>,
    /// Of this chain
    #[arg(long)]
    chain: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let query = [("table", args.table.clone()), ("chain", args.chain.clone())];
    let rules: Rules = args.asking.client().get(&target("/v1/rules", &query))?;
    args.asking.print(&rules, |r| human(&r.rules))
}

fn human(rules: &[Rule]) -> String {
    let mut table = Table::new(
        &[
            "flags", "table", "chain", "n", "action", "packets", "bytes", "comment", "source",
        ],
        &["n", "packets", "bytes"],
    );
    for rule in rules {
        table.row(vec![
            if rule.disabled { "X" } else { "" }.to_owned(),
            rule.table.clone(),
            rule.chain.clone(),
            rule.number.to_string(),
            rule.action.clone(),
            rule.packets.to_string(),
            rule.bytes.to_string(),
            rule.comment.clone(),
            rule.source.clone(),
        ]);
    }
    format!("Flags: X - disabled\n{}", table.render())
}
