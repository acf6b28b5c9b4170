//! `turnpike layer7`: what connections are looked through for, and what they were found to be.

use super::Failure;
use super::ask::Asking;
use super::table::Table;
use crate::report::Layer7Status;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asking: Asking,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let status: Layer7Status = args.asking.client().get("/v1/layer7")?;
    args.asking.print(&status, human)
}

fn human(status: &Layer7Status) -> String {
    let mut table = Table::new(
        &["flags", "protocol", "found", "regexp", "comment"],
        &["found"],
    );
    for protocol in &status.protocols {
        table.row(vec![
            if protocol.sought { "" } else { "I" }.to_owned(),
            protocol.name.clone(),
            protocol.found.to_string(),
            protocol.regexp.clone(),
            protocol.comment.clone(),
        ]);
    }
    let refused = status.refused.as_ref();
    let refused = refused.map_or_else(String::new, |why| format!("\nnothing is looked for: {why}"));
    format!(
        "Flags: I - no rule asks for it\n{}\n\
         connections: {} looked at now ({} bytes), {} so far: {} found, {} unknown, {} silent, \
         {} without room\nread: {} packets, {} bytes{refused}\n",
        table.render(),
        status.open,
        status.open_bytes,
        status.opened,
        status.found,
        status.unknown,
        status.silent,
        status.unexamined,
        status.packets,
        status.bytes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Layer7Protocol;

    #[test]
    fn protocols_are_listed_with_what_was_found_and_who_is_idle() {
        let protocol = |name: &str, sought, found| Layer7Protocol {
            name: name.to_owned(),
            regexp: format!("^{name}"),
            comment: String::new(),
            sought,
            found,
        };
        let text = human(&Layer7Status {
            protocols: vec![protocol("ssh", true, 3), protocol("rdp", false, 0)],
            opened: 7,
            refused: Some("too large".to_owned()),
            ..Layer7Status::default()
        });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].contains("ssh") && lines[2].contains('3'), "{text}");
        assert!(
            lines[3].starts_with("I ") && lines[3].contains("rdp"),
            "{text}"
        );
        assert!(text.contains("7 so far"), "{text}");
        assert!(
            text.ends_with("nothing is looked for: too large\n"),
            "{text}"
        );
    }
}
