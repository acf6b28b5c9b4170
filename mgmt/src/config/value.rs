//! Single values: switches, numbers, durations, names and free text.

use std::time::Duration;

use super::section::Word;
use crate::problem::did_you_mean;

/// `yes`/`true` or `no`/`false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// `yes`, `true`.
    On,
    /// `no`, `false`.
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl Word for Switch {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "yes" | "true" => Ok(Self::On),
            "no" | "false" => Ok(Self::Off),
            other => Err(format!("`{other}` is not a switch; write yes or no")),
        }
    }
}

/// Reads a whole number from `min` to `max`, digits only: `010`, `0x50`, `1_000` and `+5` mean
/// different things in different readers and are refused.
///
/// # Errors
/// Says what a number looks like and the range.
pub fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(format!(
            "`{text}` is not a whole number; write one from {min} to {max}"
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!(
            "`{text}` begins with a zero, which some read as octal; write it without"
        ));
    }
    text.parse()
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("`{text}` is out of range; write a number from {min} to {max}"))
}

/// One of `choices`, by its name.
///
/// # Errors
/// Lists the names and guesses the one that was meant.
pub fn choice<T: Copy>(text: &str, what: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let near = did_you_mean(text, names.iter().copied());
            format!(
                "`{text}` is not {what}{near}; write one of {}",
                names.join(", ")
            )
        })
}

impl Word for Duration {
    fn read(text: &str) -> Result<Self, String> {
        duration(text).ok_or_else(|| {
            format!("`{text}` is not a duration; write, for example, 10s, 5m, 1h30m or 1d")
        })
    }
}

/// Whole numbers with falling units (`1d12h`), or seconds alone.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 6] = [
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, ms) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(count.parse::<u64>().ok()?.checked_mul(*ms)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// The longest name of an interface, list or chain, in bytes.
pub const NAME_MAX: usize = 63;

/// A name of an interface, a list or a chain: it appears in file names, metrics and rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub String);

impl Word for Name {
    fn read(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@' | ' ');
        let first = text
            .chars()
            .next()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        if first && text.chars().all(plain) && !text.ends_with(' ') && text.len() <= NAME_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{}` cannot be a name; write at most {NAME_MAX} letters, digits and - _ . + @, \
             beginning with a letter or digit",
            printable(text)
        ))
    }
}

/// The longest comment or log prefix, in bytes.
pub const TEXT_MAX: usize = 255;

/// A comment or a log prefix: one line of free text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(pub String);

impl Word for Text {
    fn read(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("the text has line breaks or control characters; write one line".into());
        }
        if text.len() > TEXT_MAX {
            return Err(format!(
                "the text has {} bytes; write at most {TEXT_MAX}",
                text.len()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `text` with control characters replaced and cut to a length that fits a message.
pub fn printable(text: &str) -> String {
    text.chars()
        .take(NAME_MAX + 1)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_yes_no_true_false_and_nothing_else() {
        assert_eq!(Switch::read("yes"), Ok(Switch::On));
        assert_eq!(Switch::read("false"), Ok(Switch::Off));
        for word in ["on", "off", "Yes", "1", "y", ""] {
            assert!(Switch::read(word).is_err(), "{word}");
        }
    }

    #[test]
    fn numbers_that_readers_disagree_about_are_refused() {
        assert_eq!(number("80", 1, 100), Ok(80));
        assert_eq!(number("0", 0, 100), Ok(0));
        for word in ["010", "0x50", "1_000", "+5", "-1", "1e3", "", "101", "²"] {
            assert!(number(word, 1, 100).is_err(), "{word}");
        }
    }

    #[test]
    fn durations_have_falling_units() {
        let ms = |text| duration(text).map(|d| d.as_millis());
        assert_eq!(ms("10s"), Some(10_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("1d"), Some(86_400_000));
        assert_eq!(ms("1w2d"), Some(777_600_000));
        assert_eq!(ms("250ms"), Some(250));
        assert_eq!(ms("1m5ms"), Some(60_005));
        assert_eq!(ms("30"), Some(30_000));
        for word in [
            "", "s", "1x", "30m1h", "1h1h", "1.5h", "10 s", "-1s", "1h30",
        ] {
            assert_eq!(ms(word), None, "{word}");
        }
        assert_eq!(ms("99999999999999999999d"), None);
    }

    #[test]
    fn a_name_holds_nothing_that_a_path_or_a_metric_cannot() {
        assert!(Name::read("lan").is_ok());
        assert!(Name::read("pppoe-out1").is_ok());
        for word in [
            "",
            "!lan",
            "a/b",
            "a,b",
            "a\nb",
            "-x",
            "..",
            "a ",
            &"x".repeat(64),
        ] {
            assert!(Name::read(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn free_text_is_one_line() {
        assert!(Text::read("").is_ok());
        assert!(Text::read("Drop invalid").is_ok());
        assert!(Text::read("a\nb").is_err());
        assert!(Text::read("a\u{1b}[31m").is_err());
    }
}
