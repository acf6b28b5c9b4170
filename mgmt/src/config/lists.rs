//! `address-lists`: entries in the configuration and in files beside it.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use turnpike_pipeline::policy::{AddressList, ListTimeout};

use super::address::Addresses;
use super::host::HostName;
use super::names::Names;
use super::section::{Item, Keys, Section, Word, items, mapping, or_report, scalar, word};
use super::value::{Name, Switch, Text};
use super::{Unreadable, read_text};
use crate::problem::{Problems, Span};
use crate::yaml::{Entry, Node, Value};

/// The most address lists.
pub const LISTS_MAX: usize = 4_096;
/// The most prefixes of all lists together.
pub const PREFIXES_MAX: usize = 4_000_000;
/// The most host names of one list.
pub const HOSTS_MAX: usize = 256;
/// The most prefixes with a timeout of all lists together.
pub const TIMED_MAX: usize = 32_768;
/// The largest list file, in bytes.
pub const FILE_MAX: u64 = 128 << 20;

const ENTRY: Keys = Keys {
    of: "an entry of an address list",
    known: &["address", "file", "timeout", "comment", "disabled"],
    later: &[],
    elsewhere: &[],
};

/// Reads `address-lists:`; files are looked for beside the configuration, in `dir`.
pub fn decode(
    node: Option<&Node>,
    dir: &Path,
    names: &mut Names,
    problems: &mut Problems,
) -> Vec<AddressList> {
    let entries = node
        .and_then(|n| mapping(n, "`address-lists`", problems))
        .unwrap_or_default();
    if let Some(entry) = entries.get(LISTS_MAX) {
        problems.error(
            entry.key_span,
            format!("more than {LISTS_MAX} address lists"),
        );
    }
    let mut reader = Reader {
        dir,
        total: 0,
        timed: 0,
        problems,
    };
    let lists: Vec<AddressList> = entries
        .iter()
        .take(LISTS_MAX)
        .map(|entry| reader.list(entry))
        .collect();
    names.address_lists = lists.iter().map(|l| l.name.clone()).collect();
    lists
}

/// Adds the lists that are only filled by rules, in the order of their identifiers.
pub fn add_filled(names: &Names, lists: &mut Vec<AddressList>) {
    let filled = names.address_lists.iter().skip(lists.len());
    let list = |name: &String| AddressList {
        name: name.clone(),
        ..AddressList::default()
    };
    let filled: Vec<AddressList> = filled.map(list).collect();
    lists.extend(filled);
}

struct Reader<'a> {
    dir: &'a Path,
    total: usize,
    timed: usize,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn list(&mut self, entry: &Entry) -> AddressList {
        or_report(Name::read(&entry.key), entry.key_span, self.problems);
        let mut list = AddressList {
            name: entry.key.clone(),
            ..AddressList::default()
        };
        match &entry.value.value {
            Value::Sequence(nodes) => {
                for node in nodes {
                    self.entry(node, &mut list);
                }
            }
            Value::Mapping(_) => self.entry(&entry.value, &mut list),
            Value::Scalar(_) => {
                for item in items(&entry.value, self.problems).unwrap_or_default() {
                    self.address(item, &mut list);
                }
            }
            Value::Refused => {}
        }
        self.total += list.prefixes.len();
        self.timed += list.timed.len();
        self.bounds(entry, &list);
        list
    }

    fn bounds(&mut self, entry: &Entry, list: &AddressList) {
        if list.hosts.len() > HOSTS_MAX {
            self.problems.error(
                entry.key_span,
                format!("the list has more than {HOSTS_MAX} host names"),
            );
        }
        if self.timed > TIMED_MAX {
            self.problems.error(
                entry.key_span,
                format!("the lists have more than {TIMED_MAX} prefixes with a timeout up to here"),
            );
        }
        if self.total > PREFIXES_MAX {
            self.problems.error(
                entry.key_span,
                format!("the lists hold more than {PREFIXES_MAX} prefixes up to here"),
            );
        }
    }

    fn entry(&mut self, node: &Node, list: &mut AddressList) {
        if let Value::Scalar(scalar) = &node.value {
            let item = Item {
                text: &scalar.text,
                span: node.span,
            };
            self.address(item, list);
            return;
        }
        let Some(section) = Section::open(node, &ENTRY, self.problems) else {
            return;
        };
        section.read("comment", self.problems, word::<Text>);
        let disabled = section.read("disabled", self.problems, word::<Switch>);
        let timeout = section.read("timeout", self.problems, word::<ListTimeout>);
        let mut found = AddressList::default();
        match (section.field("address"), section.field("file")) {
            (Some(address), None) => {
                for item in items(address, self.problems).unwrap_or_default() {
                    self.address(item, &mut found);
                }
            }
            (None, Some(file)) => self.file(file, &mut found.prefixes),
            (Some(_), Some(file)) => self.problems.error(
                file.span,
                "an entry has `address` or `file`; write two entries",
            ),
            (None, None) => {
                section.required("address", "192.0.2.0/24", self.problems);
            }
        }
        if let (Some(entry), false) = (section.entry("timeout"), found.hosts.is_empty()) {
            self.problems.error(
                entry.key_span,
                "the addresses of a host name come and go with the name; remove the timeout",
            );
        }
        if disabled == Some(Switch::On) {
            list.disabled.append(&mut found.prefixes);
            return;
        }
        match timeout {
            Some(ListTimeout::For(timeout)) => {
                let prefixes = found.prefixes.into_iter();
                list.timed.extend(prefixes.map(|prefix| (prefix, timeout)));
            }
            // What the configuration says stays until it says otherwise.
            Some(ListTimeout::NoneDynamic | ListTimeout::NoneStatic) | None => {
                list.prefixes.append(&mut found.prefixes);
            }
        }
        list.hosts.append(&mut found.hosts);
    }

    fn address(&mut self, item: Item<'_>, list: &mut AddressList) {
        if let Ok(host) = HostName::read(item.text) {
            if !list.hosts.contains(&host.0) {
                list.hosts.push(host.0);
            }
            return;
        }
        let read = Addresses::read(item.text);
        if let Some(addresses) = or_report(read, item.span, self.problems) {
            list.prefixes.extend(addresses.prefixes());
        }
    }

    /// One address, prefix or range a line; `#` begins a comment.
    fn file(&mut self, node: &Node, prefixes: &mut Vec<IpNet>) {
        let Some(name) = scalar(node, self.problems) else {
            return;
        };
        let path = self.dir.join(&name.text);
        let text = match read_file(&path) {
            Ok(text) => text,
            Err(message) => {
                self.problems.error(node.span, message);
                return;
            }
        };
        let file: Arc<str> = path.to_string_lossy().into();
        for (number, line) in (1..).zip(text.lines()) {
            let word = line.split('#').next().unwrap_or_default();
            let lead = word.chars().take_while(|c| c.is_whitespace()).count();
            if word.trim().is_empty() {
                continue;
            }
            match Addresses::read(word.trim()) {
                Ok(addresses) => prefixes.extend(addresses.prefixes()),
                Err(message) => {
                    let span = Span {
                        line: number,
                        column: 1,
                    };
                    self.problems
                        .error_in(Arc::clone(&file), span.shifted(lead), message);
                }
            }
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    read_text(path, FILE_MAX).map_err(|why| match why {
        Unreadable::System(e) => {
            format!("cannot read `{shown}`: {e}; create it or correct `file`")
        }
        Unreadable::TooLarge => {
            format!("`{shown}` has more than {FILE_MAX} bytes; split it into several lists")
        }
        Unreadable::NotText => format!("`{shown}` is not UTF-8; convert it"),
    })
}
