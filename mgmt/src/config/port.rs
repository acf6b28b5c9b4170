//! Ports by number, range and service name.

use turnpike_helpers::catalogue::{SERVICES, services_named};
use turnpike_pipeline::policy::{PortRange, PortSet};

use super::section::{Item, Word};
use super::value::number;
use crate::problem::{Problems, did_you_mean};

/// The ports that one word stands for: a number, a range, or a service's.
pub(crate) fn ranges(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let named: Vec<(u16, u16)> = services_named(text).map(|s| (s.first, s.last)).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if let Some((first, last)) = text.split_once('-')
        && numeric(first)
        && numeric(last)
    {
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!(
                "`{text}` ends before it begins; write {last}-{first}"
            ));
        }
        return Ok(vec![(first, last)]);
    }
    if numeric(text) {
        let port = port(text)?;
        return Ok(vec![(port, port)]);
    }
    let near = did_you_mean(text, SERVICES.iter().map(|s| s.name));
    Err(format!(
        "`{text}` is neither a port nor a known service{near}; write 443, 8000-8100 or https"
    ))
}

fn port(text: &str) -> Result<u16, String> {
    let number = number(text, 0, u64::from(u16::MAX))?;
    u16::try_from(number).map_err(|e| e.to_string())
}

/// A set of ports from the words of a list.
pub fn port_set(items: &[Item<'_>], problems: &mut Problems) -> Option<PortSet> {
    let mut found = Vec::new();
    let mut whole = true;
    for item in items {
        match ranges(item.text) {
            Ok(ranges) => found.extend(ranges.into_iter().map(|(first, last)| first..=last)),
            Err(message) => {
                problems.error(item.span, message);
                whole = false;
            }
        }
    }
    (whole && !found.is_empty()).then(|| PortSet::new(found))
}

/// One range of ports to translate to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToPorts(pub PortRange);

impl Word for ToPorts {
    fn read(text: &str) -> Result<Self, String> {
        match ranges(text)?.as_slice() {
            [(0, _)] => Err("port 0 cannot be translated to; write 1-65535 or less".into()),
            [(first, last)] => Ok(Self(PortRange {
                first: *first,
                last: *last,
            })),
            _ => Err(format!(
                "`{text}` stands for several ports; write the one that is meant"
            )),
        }
    }
}

/// A set of ports in the form it is written.
pub fn show_set(set: &PortSet) -> String {
    let words: Vec<String> = set
        .0
        .iter()
        .map(|&(first, last)| show_range(PortRange { first, last }))
        .collect();
    words.join(",")
}

/// A range of ports in the form it is written.
pub fn show_range(range: PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::section::split;
    use crate::problem::Span;

    fn set(text: &str) -> Option<String> {
        let mut problems = Problems::new("t".into());
        port_set(&split(text, Span::START), &mut problems).map(|s| show_set(&s))
    }

    #[test]
    fn numbers_ranges_and_names_mix() {
        assert_eq!(set("22,80-90").as_deref(), Some("22,80-90"));
        assert_eq!(set("https, ssh").as_deref(), Some("22,443"));
        assert_eq!(set("sip").as_deref(), Some("5060-5061"));
        assert_eq!(set("ms-sql-m").as_deref(), Some("1434"));
        assert_eq!(set("listen").as_deref(), Some("1025,2766"));
        assert_eq!(set("0-65535").as_deref(), Some("0-65535"));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "", "22,", "65536", "90-80", "22-", "080", "htps", "22:80", "22;80",
        ] {
            assert_eq!(set(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_port_to_translate_to_is_one_range_and_not_zero() {
        assert!(ToPorts::read("8080").is_ok());
        assert!(ToPorts::read("1024-65535").is_ok());
        assert!(ToPorts::read("0").is_err());
        assert!(ToPorts::read("listen").is_err());
    }
}
