//! Which items a command means: `[find …]`, numbers, names.

use super::lex::{Relation, Value, Word, words};
use super::store::Record;

/// The items that a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Those that meet every condition.
    Found(Vec<Word>),
    /// Those at these places, from 0.
    Numbers(Vec<usize>),
    /// Those with one of these names.
    Names(Vec<String>),
}

impl Target {
    /// Reads what stands where items are named.
    ///
    /// # Errors
    /// Why only RouterOS can tell which items are meant.
    pub fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Script(text) => found(text),
            Value::Plain(text) | Value::Quoted(text) => Ok(listed(text)),
        }
    }

    /// The places of the items among `records`.
    ///
    /// # Errors
    /// Why a condition cannot be held against them.
    pub fn select(&self, records: &[Record]) -> Result<Vec<usize>, String> {
        match self {
            Self::Found(conditions) => {
                let mut places = Vec::new();
                for (place, record) in records.iter().enumerate() {
                    if meets(record, conditions)? {
                        places.push(place);
                    }
                }
                Ok(places)
            }
            Self::Numbers(numbers) => match numbers.iter().find(|n| **n >= records.len()) {
                Some(number) => Err(format!(
                    "there is no item {number}: numbers count what is read from this file, from 0"
                )),
                None => Ok(numbers.clone()),
            },
            Self::Names(names) => Ok((0..records.len())
                .filter(|place| {
                    let name = records.get(*place).and_then(|r| r.text("name"));
                    name.is_some_and(|name| names.iter().any(|n| n == name))
                })
                .collect()),
        }
    }

    /// The name, if the items are named by one.
    pub fn name(&self) -> Option<&str> {
        let by_default = |w: &Word| {
            let named = matches!(w.key.as_deref(), Some("name" | "default-name"));
            named && w.relation == Relation::Is
        };
        match self {
            Self::Names(names) => names.first().map(String::as_str),
            Self::Found(words) => words.iter().find(|w| by_default(w)).map(|w| w.value.text()),
            Self::Numbers(_) => None,
        }
    }
}

/// `0`, `0,2`, `ether1`, `ftp,tftp`.
fn listed(text: &str) -> Target {
    let parts = || text.split(',').map(str::trim).filter(|p| !p.is_empty());
    let numbers: Option<Vec<usize>> = parts().map(|p| p.parse().ok()).collect();
    match numbers {
        Some(numbers) if !numbers.is_empty() => Target::Numbers(numbers),
        Some(_) | None => Target::Names(parts().map(str::to_owned).collect()),
    }
}

fn found(text: &str) -> Result<Target, String> {
    let beyond = || {
        format!(
            "only RouterOS can tell what `{}` means",
            super::report::cut(text)
        )
    };
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let inside = inside.ok_or_else(beyond)?.trim();
    let conditions = inside.strip_prefix("find").ok_or_else(beyond)?;
    let mut kept = Vec::new();
    for mut word in words(conditions) {
        match (&word.key, &word.value) {
            (_, Value::Script(_)) => return Err(beyond()),
            (Some(_), Value::Plain(_) | Value::Quoted(_)) => kept.push(word),
            (None, Value::Plain(text)) => match text.as_str() {
                "where" | "and" | "&&" => {}
                "disabled" | "!disabled" => {
                    let value = if text.starts_with('!') { "no" } else { "yes" };
                    word.value = Value::Plain(value.to_owned());
                    word.key = Some("disabled".to_owned());
                    kept.push(word);
                }
                _ => return Err(beyond()),
            },
            (None, Value::Quoted(_)) => return Err(beyond()),
        }
    }
    Ok(Target::Found(kept))
}

fn meets(record: &Record, conditions: &[Word]) -> Result<bool, String> {
    for condition in conditions {
        let key = condition.key.as_deref().unwrap_or_default();
        let has = record.text(key).unwrap_or(match key {
            "disabled" | "dynamic" | "invalid" | "log" => "no",
            "action" => "accept",
            _ => "",
        });
        let wanted = condition.value.text();
        let met = match condition.relation {
            Relation::Is => same(has, wanted),
            Relation::IsNot => !same(has, wanted),
            Relation::Like => like(has, wanted)?,
        };
        if !met {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same(a: &str, b: &str) -> bool {
    let plain = |text: &str| match text {
        "true" => "yes".to_owned(),
        "false" => "no".to_owned(),
        other => other.to_owned(),
    };
    plain(a) == plain(b)
}

/// A regular expression without operators: text, with `^` and `$` at its ends.
fn like(has: &str, pattern: &str) -> Result<bool, String> {
    let begins = pattern.starts_with('^');
    let ends = pattern.len() > usize::from(begins) && pattern.ends_with('$');
    let text = pattern.strip_prefix('^').unwrap_or(pattern);
    let text = if ends {
        text.strip_suffix('$').unwrap_or(text)
    } else {
        text
    };
    if text.contains([
        '.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$',
    ]) {
        return Err(format!(
            "`~\"{}\"` is a pattern that only RouterOS can match",
            super::report::cut(pattern)
        ));
    }
    Ok(match (begins, ends) {
        (true, true) => has == text,
        (true, false) => has.starts_with(text),
        (false, true) => has.ends_with(text),
        (false, false) => has.contains(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::lex;

    fn records(lines: &[&str]) -> Vec<Record> {
        let one = |(index, line): (usize, &&str)| Record::new(index, &lex::words(line));
        lines.iter().enumerate().map(one).collect()
    }

    fn places(find: &str, lines: &[&str]) -> Result<Vec<usize>, String> {
        Target::read(&Value::Script(find.to_owned()))?.select(&records(lines))
    }

    const RULES: &[&str] = &[
        "chain=input action=drop comment=\"from outside\"",
        "chain=input comment=\"late answers\" disabled=yes",
        "chain=forward action=drop",
    ];

    #[test]
    fn every_condition_has_to_be_met() {
        assert_eq!(places("[find]", RULES), Ok(vec![0, 1, 2]));
        assert_eq!(places("[find chain=input]", RULES), Ok(vec![0, 1]));
        assert_eq!(
            places("[find where chain=input and action!=drop]", RULES),
            Ok(vec![1])
        );
        assert_eq!(places("[find action=accept]", RULES), Ok(vec![1]));
        assert_eq!(places("[find !disabled]", RULES), Ok(vec![0, 2]));
        assert_eq!(places("[ find disabled ]", RULES), Ok(vec![1]));
    }

    #[test]
    fn plain_patterns_are_matched_and_others_are_refused() {
        assert_eq!(places("[find comment~\"answers\"]", RULES), Ok(vec![1]));
        assert_eq!(places("[find comment~\"^from\"]", RULES), Ok(vec![0]));
        assert_eq!(places("[find comment~\"^answers\"]", RULES), Ok(vec![]));
        assert_eq!(places("[find comment~\"outside$\"]", RULES), Ok(vec![0]));
        assert!(places("[find comment~\"a.*b\"]", RULES).is_err());
    }

    #[test]
    fn what_only_routeros_knows_is_refused() {
        for find in [
            "[find dynamic]",
            "[find chain=input or chain=forward]",
            "[find (chain=input)]",
            "[/ip route find]",
            "$x",
        ] {
            assert!(places(find, RULES).is_err(), "{find}");
        }
    }

    #[test]
    fn numbers_and_names_are_told_apart() {
        let read = |text: &str| Target::read(&Value::Plain(text.to_owned())).unwrap();
        assert_eq!(read("0,2"), Target::Numbers(vec![0, 2]));
        assert_eq!(
            read("ftp,tftp"),
            Target::Names(vec!["ftp".to_owned(), "tftp".to_owned()])
        );
        assert!(read("3").select(&records(RULES)).is_err());
    }
}
