//! `layer7-protocols`: what connections are looked through for.
//!
//! A protocol's regular expression is written here, or in a file of such protocols, from which it
//! is taken by its name; the name `*` takes all that a file has.

use std::path::Path;
use std::sync::Arc;

use turnpike_helpers::layer7::Pattern;
use turnpike_pipeline::layer7::PROTOCOLS_MAX;
use turnpike_pipeline::policy::{Layer7Policy, Layer7Protocol};

use super::names::Names;
use super::section::{Keys, Section, Word, items, mapping, or_report, scalar, word};
use super::value::{Name, Text};
use super::{Unreadable, read_text};
use crate::problem::{Problems, Severity, Span, did_you_mean};
use crate::yaml::{self, Entry, Node};

/// The largest file of protocols, in bytes.
pub const FILE_MAX: u64 = 1 << 20;

/// The name that stands for every protocol of a file.
const EVERY: &str = "*";

const PROTOCOL: Keys = Keys {
    of: "a layer-7 protocol",
    known: &["regexp", "file", "comment"],
    later: &[],
    elsewhere: &[],
};

const FILE: Keys = Keys {
    of: "a file of layer-7 protocols",
    known: &["layer7-protocols"],
    later: &[],
    elsewhere: &[],
};

/// Reads `layer7-protocols:`; files are looked for beside the configuration, in `dir`.
pub fn decode(
    node: Option<&Node>,
    dir: &Path,
    names: &mut Names,
    problems: &mut Problems,
) -> Layer7Policy {
    let entries = node
        .and_then(|n| mapping(n, "`layer7-protocols`", problems))
        .unwrap_or_default();
    let mut reader = Reader {
        dir,
        found: Vec::new(),
        problems,
    };
    for entry in entries.iter().filter(|entry| entry.key != EVERY) {
        reader.named(entry);
    }
    for entry in entries.iter().filter(|entry| entry.key == EVERY) {
        reader.every(entry);
    }
    if let (Some(node), true) = (node, reader.found.len() > PROTOCOLS_MAX) {
        let message = format!("more than {PROTOCOLS_MAX} layer-7 protocols");
        reader.problems.error(node.span, message);
    }
    // One that is wrong keeps its name, so that rules that ask for it are not wrong as well.
    let named = entries.iter().map(|entry| &entry.key);
    let named = named.filter(|name| !reader.found.iter().any(|p| p.name == **name));
    names.layer7 = reader.found.iter().map(|p| p.name.clone()).collect();
    names.layer7.extend(named.cloned());
    Layer7Policy::new(reader.found)
}

struct Reader<'a> {
    dir: &'a Path,
    found: Vec<Layer7Protocol>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    /// A protocol that is written here, or taken from a file.
    fn named(&mut self, entry: &Entry) {
        or_report(Name::read(&entry.key), entry.key_span, self.problems);
        let Some(section) = Section::open(&entry.value, &PROTOCOL, self.problems) else {
            return;
        };
        let comment = section.read("comment", self.problems, word::<Text>);
        let protocol = match (section.field("regexp"), section.field("file")) {
            (Some(node), None) => pattern(node, self.problems).map(|pattern| Layer7Protocol {
                name: entry.key.clone(),
                pattern,
                comment: "".into(),
            }),
            (None, Some(file)) => self.taken(&entry.key, file),
            (Some(_), Some(file)) => {
                let message = "a protocol has `regexp` or `file`; remove one of them";
                self.problems.error(file.span, message);
                None
            }
            (None, None) => {
                section.required("regexp", "\"^ssh-[12]\\\\.\"", self.problems);
                None
            }
        };
        if let Some(mut protocol) = protocol {
            if let Some(Text(comment)) = comment {
                protocol.comment = comment.into();
            }
            self.found.push(protocol);
        }
    }

    /// The protocol of this name in a file.
    fn taken(&mut self, name: &str, file: &Node) -> Option<Layer7Protocol> {
        let path = scalar(file, self.problems)?.text.clone();
        let all = self.library(&path, file.span, &|found| found == name)?;
        let names: Vec<String> = all.names;
        let found = all.protocols.into_iter().next();
        if found.is_none() && !names.iter().any(|n| n == name) {
            let near = did_you_mean(name, names.iter().map(String::as_str));
            let message = format!("`{path}` has no protocol called `{name}`{near}");
            self.problems.error(file.span, message);
        }
        found
    }

    /// Every protocol of some files that is not written here.
    fn every(&mut self, entry: &Entry) {
        let Some(section) = Section::open(&entry.value, &PROTOCOL, self.problems) else {
            return;
        };
        if let Some(entry) = section.entry("regexp").or_else(|| section.entry("comment")) {
            let message =
                format!("`{EVERY}` stands for the protocols of a file, and has only `file`");
            self.problems.error(entry.key_span, message);
        }
        let Some(files) = section.required("file", "layer7/web.yaml", self.problems) else {
            return;
        };
        for item in items(files, self.problems).unwrap_or_default() {
            let known: Vec<String> = self.found.iter().map(|p| p.name.clone()).collect();
            let new = |name: &str| !known.iter().any(|known| known == name);
            if let Some(library) = self.library(item.text, item.span, &new) {
                self.found.extend(library.protocols);
            }
        }
    }

    /// The protocols of a file that are wanted.
    fn library(
        &mut self,
        path: &str,
        span: Span,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Option<Library> {
        let path = self.dir.join(path);
        let text = match read_file(&path) {
            Ok(text) => text,
            Err(message) => {
                self.problems.error(span, message);
                return None;
            }
        };
        let file: Arc<str> = path.to_string_lossy().into();
        let mut inside = Problems::new(Arc::clone(&file));
        let library = library(&text, wanted, &mut inside);
        let (found, _) = inside.into_sorted();
        for problem in found.into_iter().filter(|p| p.severity == Severity::Error) {
            self.problems
                .error_in(Arc::clone(&file), problem.span, problem.message);
        }
        library
    }
}

/// What a file of protocols has.
struct Library {
    /// Every name in it.
    names: Vec<String>,
    /// The protocols that were wanted.
    protocols: Vec<Layer7Protocol>,
}

/// Reads a file of protocols; patterns that nobody wants are not looked at.
fn library(text: &str, wanted: &dyn Fn(&str) -> bool, problems: &mut Problems) -> Option<Library> {
    let tree = yaml::parse(text, problems)?;
    let section = Section::open(&tree, &FILE, problems)?;
    let node = section.required("layer7-protocols", "{ ssh: { regexp: … } }", problems)?;
    let entries = mapping(node, "`layer7-protocols`", problems)?;
    let mut library = Library {
        names: entries.iter().map(|entry| entry.key.clone()).collect(),
        protocols: Vec::new(),
    };
    for entry in entries.iter().filter(|entry| wanted(&entry.key)) {
        or_report(Name::read(&entry.key), entry.key_span, problems);
        let Some(section) = Section::open(&entry.value, &PROTOCOL, problems) else {
            continue;
        };
        if let Some(file) = section.entry("file") {
            problems.error(
                file.key_span,
                "a file of protocols cannot name another file",
            );
        }
        let comment = section.read("comment", problems, word::<Text>);
        let node = section.required("regexp", "\"^ssh-[12]\\\\.\"", problems);
        if let Some(pattern) = node.and_then(|node| pattern(node, problems)) {
            library.protocols.push(Layer7Protocol {
                name: entry.key.clone(),
                pattern,
                comment: comment.unwrap_or_default().0.into(),
            });
        }
    }
    Some(library)
}

/// Reads a regular expression.
fn pattern(node: &Node, problems: &mut Problems) -> Option<Pattern> {
    let scalar = scalar(node, problems)?;
    let read = Pattern::read(&scalar.text)
        .map_err(|fault| format!("the pattern cannot be looked for: {fault}"));
    or_report(read, node.span, problems)
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    read_text(path, FILE_MAX).map_err(|why| match why {
        Unreadable::System(e) => {
            format!("cannot read `{shown}`: {e}; create it or correct `file`")
        }
        Unreadable::TooLarge => format!("`{shown}` has more than {FILE_MAX} bytes; split it"),
        Unreadable::NotText => format!("`{shown}` is not UTF-8; convert it"),
    })
}
