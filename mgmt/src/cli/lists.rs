//! `turnpike lists`: the address lists, what is in one of them, and changes to it.

use super::Failure;
use super::ask::Asking;
use super::table::{Table, duration, time};
use crate::client::{escaped, target};
use crate::report::{AddressList, ListChanged, Lists};

#[derive(Debug, clap::Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    asking: Asking,
    /// Print what is in this list
    name: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print what is in a list
    Show(Show),
    /// Add an address, a prefix or a range to a list
    Add(Add),
    /// Take an address, a prefix or a range out of a list
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    asking: Asking,
    /// The list
    name: String,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    asking: Asking,
    /// The list
    name: String,
    /// 192.0.2.1, 192.0.2.0/24 or 192.0.2.1-192.0.2.9
    address: String,
    /// How long it stays, as 10m or 1d; without, until it is removed or the gateway restarts
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// What to say of it
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    asking: Asking,
    /// The list
    name: String,
    /// The address, prefix or range as it was added
    address: String,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        None => show(&args.asking, args.name.as_deref()),
        Some(Action::Show(Show { asking, name })) => show(asking, Some(name)),
        Some(Action::Add(add)) => {
            let query = [
                ("address", Some(add.address.clone())),
                ("timeout", add.timeout.clone()),
                ("comment", add.comment.clone()),
            ];
            let target = target(&entries(&add.name), &query);
            let changed: ListChanged = add.asking.client().post(&target)?;
            add.asking.print(&changed, change)
        }
        Some(Action::Remove(remove)) => {
            let query = [("address", Some(remove.address.clone()))];
            let target = target(&entries(&remove.name), &query);
            let changed: ListChanged = remove.asking.client().delete(&target)?;
            remove.asking.print(&changed, change)
        }
    }
}

/// The path of a list's entries.
fn entries(list: &str) -> String {
    format!("/v1/lists/{}/entries", escaped(list))
}

fn show(asking: &Asking, name: Option<&str>) -> Result<(), Failure> {
    let query = [("name", name.map(str::to_owned))];
    let lists: Lists = asking.client().get(&target("/v1/lists", &query))?;
    asking.print(&lists, |lists| human(lists, name))
}

fn change(changed: &ListChanged) -> String {
    let ListChanged {
        list,
        address,
        result,
    } = changed;
    format!("{} {result} in {list}", address.join(", "))
}

fn human(lists: &Lists, name: Option<&str>) -> String {
    if name.is_some() {
        let each = lists.address_lists.iter().map(contents);
        return each.collect();
    }
    let mut table = Table::new(&["list", "prefixes", "members"], &["prefixes", "members"]);
    for list in &lists.address_lists {
        table.row(vec![
            list.name.clone(),
            list.prefixes.to_string(),
            list.members.to_string(),
        ]);
    }
    table.render()
}

/// A time to the second.
fn second(seconds: u64) -> String {
    let text = time(seconds.saturating_mul(1_000));
    text.split('.').next().unwrap_or_default().to_owned()
}

/// What is in a list: D for dynamic, X for disabled.
fn contents(list: &AddressList) -> String {
    let mut table = Table::new(
        &["flags", "address", "created", "timeout", "comment"],
        &["timeout"],
    );
    let loaded = list.loaded_at.map_or_else(String::new, second);
    let configured = list.address.iter().map(|address| ("", address));
    let disabled = list.disabled.iter().map(|address| ("X", address));
    for (flags, address) in configured.chain(disabled) {
        let cells = [flags, address.as_str(), &loaded, "", ""];
        table.row(cells.map(str::to_owned).into());
    }
    for entry in &list.entries {
        table.row(vec![
            entry.flags.clone(),
            entry.address.clone(),
            second(entry.created_at),
            entry.timeout_seconds.map_or_else(String::new, duration),
            entry.comment.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ListEntry;

    #[test]
    fn flags_creation_and_what_is_left_of_the_timeout_are_printed() {
        let list = AddressList {
            name: "blocked".into(),
            prefixes: 1,
            members: 1,
            address: vec!["10.0.0.0/8".into()],
            loaded_at: Some(0),
            disabled: vec!["192.0.2.0/24".into()],
            entries: vec![ListEntry {
                address: "198.51.100.9".into(),
                flags: "D".into(),
                created_at: 86_400,
                timeout_seconds: Some(864_000),
                comment: "vpn.example.com".into(),
            }],
        };
        let lists = Lists {
            address_lists: vec![list],
        };
        let text = human(&lists, Some("blocked"));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("FLAGS"), "{text}");
        assert!(
            lines[1].contains("10.0.0.0/8") && lines[1].contains("1970-01-01"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("X ") && lines[2].contains("192.0.2.0/24"),
            "{text}"
        );
        assert!(
            lines[3].starts_with("D ") && lines[3].contains("1970-01-02"),
            "{text}"
        );
        assert!(
            lines[3].contains("10d") && lines[3].ends_with("vpn.example.com"),
            "{text}"
        );
        assert!(human(&lists, None).contains("blocked"));
    }

    #[test]
    fn a_name_is_one_part_of_the_path_whatever_it_holds() {
        assert_eq!(entries("a/../b ?"), "/v1/lists/a%2F..%2Fb%20%3F/entries");
    }
}
