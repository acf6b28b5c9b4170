//! Values that RouterOS and Turnpike write differently.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::section::Word;
use crate::config::value::{NAME_MAX, Name, TEXT_MAX};
use crate::import::lex::unprintable;

/// Protocols by names that only RouterOS has.
const PROTOCOLS: &[(&str, &str)] = &[
    ("egp", "8"),
    ("encap", "98"),
    ("etherip", "97"),
    ("ggp", "3"),
    ("hmp", "20"),
    ("idpr-cmtp", "38"),
    ("ipencap", "4"),
    ("ipv6-encap", "41"),
    ("ipv6-frag", "44"),
    ("ipv6-nonxt", "59"),
    ("ipv6-opts", "60"),
    ("ipv6-route", "43"),
    ("iso-tp4", "29"),
    ("l2tp", "115"),
    ("pup", "12"),
    ("rdp", "27"),
    ("rspf", "73"),
    ("st", "5"),
    ("udp-lite", "udplite"),
    ("vmtp", "81"),
    ("xns-idp", "22"),
    ("xtp", "36"),
];

/// A value with its `!` apart.
pub fn negation(text: &str) -> (&str, &str) {
    match text.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", text),
    }
}

/// A name that Turnpike can have: the same if it can be, else what is left of it with a number
/// made of the whole, so that two names never become one.
pub fn name(text: &str) -> String {
    if Name::read(text).is_ok() {
        return text.to_owned();
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@' | ' ');
    let plain = text.chars().map(|c| if fits(c) { c } else { '-' });
    let mut out = String::new();
    for c in plain.skip_while(|c| !c.is_alphanumeric()) {
        if out.len() + c.len_utf8() > NAME_MAX - "-12345678".len() {
            break;
        }
        out.push(c);
    }
    let out = match out.trim_end_matches(|c: char| !c.is_alphanumeric()) {
        "" => "unnamed",
        left => left,
    };
    // FNV-1a.
    let number = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{out}-{number:08x}")
}

/// A comment on one line, no longer than Turnpike has them.
pub fn text(text: &str) -> String {
    line(text.trim()).trim_end().to_owned()
}

/// The same with the blanks at its ends, which a log prefix keeps.
pub fn line(text: &str) -> String {
    let plain = text.chars().map(|c| if unprintable(c) { ' ' } else { c });
    let mut out = String::new();
    for c in plain {
        if out.len() + c.len_utf8() > TEXT_MAX {
            break;
        }
        out.push(c);
    }
    out
}

/// A protocol by a name or number that Turnpike has.
pub fn protocol(text: &str) -> &str {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
    known.map_or(text, |(_, number)| number)
}

/// An address or prefix without host bits, as RouterOS keeps it; anything else as it is.
pub fn prefix(text: &str) -> String {
    match text.parse::<IpNet>() {
        Ok(net) if net.trunc() != net => net.trunc().to_string(),
        Ok(_) | Err(_) => text.to_owned(),
    }
}

/// Whether `text` begins with an address: it says which family it is of.
pub fn has_family(text: &str) -> bool {
    let (_, text) = negation(text);
    let first = text.split(['/', '-']).next().unwrap_or_default();
    first.parse::<IpAddr>().is_ok()
}

/// `1d02:03:04` as `1d2h3m4s`; anything else as it is.
pub fn duration(text: &str) -> String {
    let begin = text
        .rfind(|c: char| c.is_ascii_alphabetic())
        .map_or(0, |i| i + 1);
    let (units, clock) = text.split_at(begin);
    let parts: Vec<Option<u64>> = clock.split(':').map(|p| p.parse().ok()).collect();
    let [Some(hours), Some(minutes), Some(seconds)] = *parts else {
        return text.to_owned();
    };
    let mut out = units.to_owned();
    for (count, unit) in [(hours, "h"), (minutes, "m"), (seconds, "s")] {
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_what_they_can() {
        assert_eq!(name("ether1-gateway"), "ether1-gateway");
        assert!(name("<pppoe-a>").starts_with("pppoe-a-"));
        assert_ne!(name("WAN (1)"), name("WAN [1]"));
        assert!(name("***").starts_with("unnamed-") && name("***") != name("???"));
        assert!(Name::read(&name(&"ж".repeat(99))).is_ok());
    }

    #[test]
    fn clock_times_become_durations() {
        assert_eq!(duration("1d00:00:00"), "1d");
        assert_eq!(duration("00:10:05"), "10m5s");
        assert_eq!(duration("1w2d03:00:00"), "1w2d3h");
        assert_eq!(duration("00:00:00"), "0s");
        for text in ["10m", "1d", "none-dynamic", "", "a:b:c"] {
            assert_eq!(duration(text), text);
        }
    }

    #[test]
    fn prefixes_lose_their_host_bits_as_in_routeros() {
        assert_eq!(prefix("192.168.88.1/24"), "192.168.88.0/24");
        assert_eq!(prefix("2001:db8::1/32"), "2001:db8::/32");
        for text in ["10.0.0.1", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "x"] {
            assert_eq!(prefix(text), text);
        }
    }

    #[test]
    fn addresses_say_their_family() {
        assert!(has_family("!10.0.0.0/8") && has_family("::1") && has_family("1.1.1.1-1.1.1.9"));
        assert!(!has_family("example.org") && !has_family(""));
    }

    #[test]
    fn long_comments_are_cut_between_characters() {
        assert_eq!(text(" a\r\nb "), "a  b");
        assert!(text(&"é".repeat(200)).len() <= TEXT_MAX);
    }
}
