//! The table of names in the documentation, written from the cases.

use std::fmt::Write;

use serde_yaml::{Mapping, Value};
use turnpike_helpers::catalogue::{PROTOCOLS, SERVICES, Transport};

use super::case::{Case, Group, words};
use super::play::is_not_yet;

const HEAD: &str = "# The vocabulary, name by name

Each name of RouterOS's firewall that Turnpike takes, a rule that uses it, and the test that shows
it. Written by `BLESS=1 cargo test -p turnpike-mgmt --test vocabulary` from the cases in
`mgmt/tests/vocabulary/cases/`; a name without a case, a case whose rule never matches or always
does, and a page that is not as the cases have it fail that test.

* *N of M packets match*: the rule was held against so many packets in words, of both families
  unless one is named, and matched so many. *also with `!`*: negated, it matched the others.
* *a story*: packets one after the other, with time between them, and what became of each.
* *not yet*: the configuration is refused with an error that says so, which is tested.
";

/// How far a name has come.
enum Shown {
    Here(String),
    NotYet,
    NotHere(String),
}

/// The page.
pub fn written(groups: &[Group]) -> String {
    let all = || groups.iter().flat_map(|group| &group.cases);
    let count = |wanted: fn(&Shown) -> bool| all().filter(|c| wanted(&shown(c))).count();
    let here = count(|shown| matches!(shown, Shown::Here(_)));
    let not_yet = count(|shown| matches!(shown, Shown::NotYet));
    let not_here = count(|shown| matches!(shown, Shown::NotHere(_)));
    let mut page = String::from(HEAD);
    let catalogue = SERVICES.len() + PROTOCOLS.len();
    writeln!(
        page,
        "\n{} names: {} shown, {not_yet} not yet, {not_here} not here.",
        here + not_yet + not_here + catalogue,
        here + catalogue,
    )
    .unwrap();
    for group in groups {
        writeln!(page, "\n## {}\n", group.title).unwrap();
        writeln!(
            page,
            "Cases: `mgmt/tests/vocabulary/cases/{}.yaml`.\n",
            group.name
        )
        .unwrap();
        page.push_str("| name | example | shown by |\n|---|---|---|\n");
        for case in &group.cases {
            let by = match shown(case) {
                Shown::Here(by) => by,
                Shown::NotYet => "not yet".to_owned(),
                Shown::NotHere(why) => format!("not here: {why}"),
            };
            let note = case.note.as_ref().map(|note| format!(" ({note})"));
            let (example, note) = (example(group, case), note.unwrap_or_default());
            writeln!(page, "| `{}` | {example} | {by}{note} |", case.name).unwrap();
        }
    }
    catalogued(&mut page);
    page
}

fn shown(case: &Case) -> Shown {
    if let Some(why) = &case.not_here {
        return Shown::NotHere(why.clone());
    }
    if is_not_yet(case) {
        return Shown::NotYet;
    }
    let mut by = Vec::new();
    let hits = case.matched.len();
    if hits > 0 {
        let all = hits + case.unmatched.len() + case.neither.len();
        let family = case
            .family
            .as_ref()
            .map(|family| format!(", {family} only"));
        let negated = case.negated.as_ref().map_or("", |_| ", also with `!`");
        by.push(format!(
            "{hits} of {all} packets match{negated}{}",
            family.unwrap_or_default()
        ));
    }
    if !case.story.is_empty() {
        by.push(format!("a story of {} packets", case.story.len()));
    }
    if !case.tests.is_empty() {
        by.push(format!("{} tests in a configuration", case.tests.len()));
    }
    let elsewhere = case.shown_by.iter().chain(&case.once);
    by.extend(elsewhere.map(|test| format!("`{test}`")));
    Shown::Here(by.join("; "))
}

/// The first rule in question, or the section that the case is about. Helpers stand in a section,
/// and a rule only asks for them.
fn example(group: &Group, case: &Case) -> String {
    let rule = case.in_question().first().map(|rule| flow(rule));
    let section = case.with.iter().next();
    let section = section.map(|(name, value)| format!("{}: {}", words(name), any(value)));
    let both = match group.name.as_str() {
        "helpers" => section.or(rule),
        _ => rule.or(section),
    };
    match both {
        Some(text) => format!("`{}`", text.replace('|', "\\|")),
        None => String::new(),
    }
}

fn flow(mapping: &Mapping) -> String {
    let entry = |(key, value): (&Value, &Value)| format!("{}: {}", words(key), any(value));
    let is_mark = |key: &Value, value: &Value| {
        key.as_str() == Some("comment") && value.as_str() == Some("this")
    };
    let entries = mapping.iter().filter(|(key, value)| !is_mark(key, value));
    format!(
        "{{ {} }}",
        entries.map(entry).collect::<Vec<_>>().join(", ")
    )
}

fn any(value: &Value) -> String {
    match value {
        Value::Mapping(mapping) => flow(mapping),
        Value::Sequence(all) => {
            format!("[{}]", all.iter().map(any).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => {
            let special = |c: char| "!:,#[]{}*&\"'".contains(c);
            match text.contains(special) || text.contains(' ') {
                true => format!("{text:?}"),
                false => text.clone(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => words(value),
    }
}

/// Services and protocols, which are shown in a loop over the catalogue.
fn catalogued(page: &mut String) {
    let tests = "mgmt/tests/vocabulary/catalogue.rs";
    writeln!(
        page,
        "\n## Services by name\n\nEach in a rule, `{tests}:\
         each_service_of_the_catalogue_is_matched_at_its_ports_and_nowhere_else`; Y more or less \
         safe, N unsafe, - safe only for chosen servers, ? depends.\n\n\
         | name | ports | rating |\n|---|---|---|"
    )
    .unwrap();
    for service in SERVICES {
        let alias = match service.alias {
            "" => String::new(),
            alias => format!(", `{alias}`"),
        };
        let ports = match (service.first, service.last) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let transport = match service.transport {
            Transport::Tcp => "/tcp",
            Transport::Udp => "/udp",
            Transport::Both => "",
        };
        let rating = service.rating.letter();
        writeln!(
            page,
            "| `{}`{alias} | {ports}{transport} | {rating} |",
            service.name
        )
        .unwrap();
    }
    writeln!(
        page,
        "\n## Protocols by name\n\nEach in a rule, `{tests}:\
         each_protocol_of_the_catalogue_is_matched_by_its_name`.\n\n| name | number |\n|---|---|"
    )
    .unwrap();
    for (name, proto) in PROTOCOLS {
        writeln!(page, "| `{name}` | {} |", proto.0).unwrap();
    }
}
