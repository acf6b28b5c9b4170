//! `turnpike lists`: the address lists, or what is in one of them.

use super::Failure;
use super::ask::Asking;
use super::table::Table;
use crate::client::target;
use crate::report::Lists;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// Print the prefixes of this list
    name: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let query = [("name", args.name.clone())];
    let lists: Lists = args.asking.client().get(&target("/v1/lists", &query))?;
    args.asking.print(&lists, human)
}

fn human(lists: &Lists) -> String {
    let prefixes: Vec<&str> = lists
        .address_lists
        .iter()
        .flat_map(|l| l.address.iter().map(String::as_str))
        .collect();
    if !prefixes.is_empty() {
        return prefixes.join("\n");
    }
    let mut table = Table::new(&["list", "prefixes"], &["prefixes"]);
    for list in &lists.address_lists {
        table.row(vec![list.name.clone(), list.prefixes.to_string()]);
    }
    table.render()
}
