//! What a case holds, and the configuration that it makes.

use std::fs;

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::directory;

/// The cases of one file.
pub struct Group {
    /// The file's name without its ending.
    pub name: String,
    /// What the group is, in the words over the file.
    pub title: String,
    /// The cases.
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    cases: Vec<Case>,
}

/// How a name is shown.
///
/// The rule in question is the one with the comment `this`, or the only one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Case {
    /// The name as `names.txt` has it; what is behind the last slash stands in the configuration.
    pub name: String,
    /// Sections in place of those of `gateway.yaml`.
    pub with: Mapping,
    /// Rules, as they stand in a configuration.
    pub raw: Vec<Mapping>,
    /// The same for mangle.
    pub mangle: Vec<Mapping>,
    /// The same for filter.
    pub filter: Vec<Mapping>,
    /// The same for nat.
    pub nat: Vec<Mapping>,
    /// Packets that the rule matches, as `INTERFACE: PACKET`.
    pub matched: Vec<String>,
    /// Packets that it does not match.
    pub unmatched: Vec<String>,
    /// Packets that it does not match either, negated or not.
    pub neither: Vec<String>,
    /// The key under which a `!` makes it match the unmatched and not the matched.
    pub negated: Option<String>,
    /// The only family that knows the name.
    pub family: Option<String>,
    /// Tests of the configuration, which have to pass.
    pub tests: Vec<Value>,
    /// Packets one after the other, and what becomes of them; see `play.rs`.
    pub story: Vec<String>,
    /// Tests in Rust, as `path/from/the/root.rs:function`.
    pub shown_by: Vec<String>,
    /// What the refusal says as long as the gateway does not have it. Once it is accepted, the rest
    /// of the case has to show it; that it has come so far is in the table, which goes stale.
    pub not_yet: Option<String>,
    /// Tests in Rust that come with it: looked for once it is accepted.
    pub once: Vec<String>,
    /// What the refusal says of what is not to be had here at all.
    pub refused: Option<String>,
    /// Why it is refused for good, where it is.
    pub not_here: Option<String>,
    /// What else there is to say of it.
    pub note: Option<String>,
}

impl Group {
    /// Reads the cases of a group.
    pub fn read(name: &str) -> Self {
        let path = directory().join("cases").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file: File = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{name}.yaml: {e}"));
        Self {
            name: name.to_owned(),
            title: file.title,
            cases: file.cases,
        }
    }
}

impl Case {
    /// What stands in a configuration.
    pub fn word(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The rules by table.
    pub fn tables(&self) -> [(&'static str, &Vec<Mapping>); 4] {
        [
            ("raw", &self.raw),
            ("mangle", &self.mangle),
            ("filter", &self.filter),
            ("nat", &self.nat),
        ]
    }

    /// Whether the case has rules or sections of its own.
    pub fn has_configuration(&self) -> bool {
        !self.with.is_empty() || self.tables().iter().any(|(_, rules)| !rules.is_empty())
    }

    /// Whether anything of it names what it is to show.
    pub fn uses_the_name(&self) -> bool {
        let sections = serde_yaml::to_string(&self.with).unwrap();
        let rules = self
            .tables()
            .map(|(_, rules)| serde_yaml::to_string(rules).unwrap());
        let text = format!("{sections}{}", rules.concat());
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        text.split(|c| !name(c)).any(|word| word == self.word())
    }

    /// The rules in question: those with the comment `this`, or the only one.
    pub fn in_question(&self) -> Vec<&Mapping> {
        let all: Vec<&Mapping> = self.tables().iter().flat_map(|(_, rules)| *rules).collect();
        match &all[..] {
            [_] => all,
            _ => all.into_iter().filter(|rule| is_this(rule)).collect(),
        }
    }

    /// The whole configuration as YAML.
    pub fn configuration(&self) -> String {
        let base = fs::read_to_string(directory().join("gateway.yaml")).unwrap();
        let mut whole: Mapping = serde_yaml::from_str(&base).unwrap();
        for (section, value) in &self.with {
            whole.insert(section.clone(), value.clone());
        }
        let mut firewall = Mapping::new();
        let alone = self.in_question().len() == 1 && !self.in_question().iter().any(|r| is_this(r));
        for (table, rules) in self.tables() {
            let mut rules = rules.clone();
            if let (true, Some(rule)) = (alone, rules.first_mut())
                && !rule.contains_key("comment")
            {
                rule.insert("comment".into(), "this".into());
            }
            if !rules.is_empty() {
                let rules = rules.into_iter().map(Value::Mapping).collect();
                firewall.insert(table.into(), Value::Sequence(rules));
            }
        }
        if !firewall.is_empty() {
            whole.insert("firewall".into(), Value::Mapping(firewall));
        }
        if !self.tests.is_empty() {
            whole.insert("tests".into(), Value::Sequence(self.tests.clone()));
        }
        serde_yaml::to_string(&whole).unwrap()
    }

    /// The same case with a `!` before the values of `key` in the rules in question.
    pub fn with_negated(&self, key: &str) -> Self {
        let mut case = self.clone();
        let alone = self
            .tables()
            .iter()
            .map(|(_, rules)| rules.len())
            .sum::<usize>()
            == 1;
        for rules in [
            &mut case.raw,
            &mut case.mangle,
            &mut case.filter,
            &mut case.nat,
        ] {
            for rule in rules.iter_mut().filter(|rule| alone || is_this(rule)) {
                if let Some(value) = rule.get_mut(key) {
                    *value = Value::String(format!("!{}", words(value)));
                }
            }
        }
        case
    }
}

/// Whether the rule is marked as the one in question.
fn is_this(rule: &Mapping) -> bool {
    rule.get("comment").and_then(Value::as_str) == Some("this")
}

/// A value as one writes it in one string.
pub fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(on) => on.to_string(),
        Value::Sequence(all) => all.iter().map(words).collect::<Vec<_>>().join(","),
        Value::Null | Value::Mapping(_) | Value::Tagged(_) => panic!("{value:?} is no word"),
    }
}
