//! Host names, as an address list may hold them.

use super::section::Word;

/// The longest host name, in bytes (RFC 1035, 2.3.4).
const HOST_MAX: usize = 253;
/// The longest part of one.
const LABEL_MAX: usize = 63;

/// A host name with at least one dot, in small letters: what is no address and looks like a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(pub String);

impl Word for HostName {
    fn read(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            let edges = label.starts_with('-') || label.ends_with('-');
            let letters = label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            !label.is_empty() && label.len() <= LABEL_MAX && letters && !edges
        };
        let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        let (front, last) = name.rsplit_once('.').unwrap_or(("", name));
        let named = last.len() > 1 && last.bytes().any(|b| b.is_ascii_alphabetic());
        // What is all numbers but for its end is an address with a slip in it.
        let slip = front.split('.').all(numeric);
        if name.len() > HOST_MAX || !named || slip || !name.split('.').all(is_label) {
            return Err(format!(
                "`{text}` is no host name; write, for example, vpn.example.com"
            ));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_dot_are_names_and_slips_in_addresses_are_not() {
        for name in [
            "vpn.example.com",
            "VPN.Example.com.",
            "a-b.xn--p1ai",
            "1.pool.ntp.org",
        ] {
            assert!(HostName::read(name).is_ok(), "{name}");
        }
        assert_eq!(
            HostName::read("VPN.Example.com.").unwrap().0,
            "vpn.example.com"
        );
        let long = format!("{}.com", "a".repeat(64));
        for text in [
            "localhost",
            "10.0.0.1",
            "10.0.0.xx",
            "10.0.0.0/2x",
            "2001:db8::zz",
            "a..com",
            "-a.com",
            "",
            ".com",
            "10.0.0.1-10.0.0.9",
            "a b.com",
            &long,
        ] {
            assert!(HostName::read(text).is_err(), "{text}");
        }
    }
}
