//! Where SIP writes addresses: lists of URIs in header fields, hosts with ports, parameters.
//!
//! Only numeric hosts are found. What cannot be read is passed over, and so stays as it is.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::helper::Transport;
use crate::text;

/// The port of SIP where none is written.
pub(super) const PORT: u16 = 5060;
/// The port of SIP over TLS where none is written.
const PORT_TLS: u16 = 5061;

/// A numeric host, with a port if one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) address: IpAddr,
    /// The port that is written.
    pub(super) port: Option<u16>,
    /// The port that is meant where none is written.
    pub(super) default_port: u16,
    /// All of it, brackets and port too.
    pub(super) range: Range<usize>,
}

impl Host {
    /// The host at the start of a range.
    fn read(bytes: &[u8], range: Range<usize>, default_port: u16) -> Option<Self> {
        let text = text::of(bytes, range.clone());
        let (address, end) = if let Some(inside) = text.strip_prefix(b"[") {
            let length = inside.iter().position(|byte| *byte == b']')?;
            (text::of(inside, 0..length), length + 2)
        } else {
            let ends = |byte: &u8| text::is_space(*byte) || b":;,?>/".contains(byte);
            let length = text.iter().position(ends).unwrap_or(text.len());
            (text::of(text, 0..length), length)
        };
        let end = range.start + end;
        let port = written_port(bytes, end..range.end);
        let (port, end) = match port {
            Port::None => (None, end),
            Port::Written(port, end) => (Some(port), end),
            Port::Unreadable => return None,
        };
        Some(Self {
            address: text::address(address)?,
            port,
            default_port,
            range: range.start..end,
        })
    }

    /// The endpoint that is meant.
    pub(super) fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(self.default_port))
    }

    /// How this is written for another endpoint: with a port if this has one or if it is needed.
    pub(super) fn written(&self, new: SocketAddr) -> Option<text::Written> {
        let port = Some(new.port()).filter(|new| self.port.is_some() || *new != self.default_port);
        written(new.ip(), port)
    }

    /// How this is written with another address and what port it has.
    pub(super) fn written_address(&self, new: IpAddr) -> Option<text::Written> {
        written(new, self.port)
    }
}

fn written(address: IpAddr, port: Option<u16>) -> Option<text::Written> {
    match (address, port) {
        (IpAddr::V4(host), None) => text::written(format_args!("{host}")),
        (IpAddr::V6(host), None) => text::written(format_args!("[{host}]")),
        (host, Some(port)) => text::written(format_args!("{}", SocketAddr::new(host, port))),
    }
}

enum Port {
    None,
    Written(u16, usize),
    Unreadable,
}

/// The port behind a host: a colon and digits, with white space around the colon in a Via field.
fn written_port(bytes: &[u8], range: Range<usize>) -> Port {
    let rest = text::trimmed(bytes, range);
    let Some(digits) = text::of(bytes, rest.clone()).strip_prefix(b":") else {
        return Port::None;
    };
    let blank = digits.iter().take_while(|byte| text::is_space(**byte));
    let first = rest.start + 1 + blank.count();
    let digits = text::of(bytes, first..rest.end);
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let port = text::port(text::of(digits, 0..count)).filter(|port| *port != 0);
    port.map_or(Port::Unreadable, |port| Port::Written(port, first + count))
}

/// A SIP URI whose host is numeric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) host: Host,
    /// What carries SIP to it, if that is said.
    pub(super) transport: Said,
    /// Its parameters.
    pub(super) parameters: Range<usize>,
}

/// What is said of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Plain(Transport),
    /// One in which nothing can be read.
    Sealed,
}

impl Uri {
    /// The URI that a range is.
    pub(super) fn read(bytes: &[u8], range: Range<usize>) -> Option<Self> {
        let text = text::of(bytes, range.clone());
        let (scheme, sealed) = if text::starts_with(text, b"sips:") {
            (5, true)
        } else if text::starts_with(text, b"sip:") {
            (4, false)
        } else {
            return None;
        };
        let user = text.iter().rposition(|byte| *byte == b'@');
        let first = range.start + user.map_or(scheme, |at| at + 1);
        let said = if sealed { Said::Sealed } else { Said::Nothing };
        let host = Host::read(bytes, first..range.end, PORT)?;
        let parameters = host.range.end..range.end;
        let transport = Parameters::of(bytes, parameters.clone())
            .find(|(name, _)| text::of(bytes, name.clone()).eq_ignore_ascii_case(b"transport"))
            .map_or(said, |(_, value)| {
                transport(text::of(bytes, value)).max_sealed(said)
            });
        let default_port = match transport {
            Said::Sealed => PORT_TLS,
            Said::Nothing | Said::Plain(_) => PORT,
        };
        Some(Self {
            host: Host {
                default_port,
                ..host
            },
            transport,
            parameters,
        })
    }
}

impl Said {
    const fn max_sealed(self, scheme: Self) -> Self {
        match (self, scheme) {
            (_, Self::Sealed) | (Self::Sealed, _) => Self::Sealed,
            (said, Self::Nothing | Self::Plain(_)) => said,
        }
    }
}

fn transport(name: &[u8]) -> Said {
    if name.eq_ignore_ascii_case(b"udp") {
        Said::Plain(Transport::Udp)
    } else if name.eq_ignore_ascii_case(b"tcp") {
        Said::Plain(Transport::Tcp)
    } else {
        Said::Sealed
    }
}

/// Whether bytes lie within quotes, one after the other.
#[derive(Debug, Clone, Copy, Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Whether the next byte is a quote or lies between two.
    const fn hide(&mut self, byte: u8) -> bool {
        let was_open = self.is_open;
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'"' {
            self.is_open = !was_open;
        } else {
            self.is_escaped = was_open && byte == b'\\';
        }
        was_open || self.is_open
    }
}

/// Parts of a range between separators, none of which is within quotes or angle brackets.
#[derive(Debug, Clone)]
struct Parts<'a> {
    bytes: &'a [u8],
    rest: Range<usize>,
    separator: u8,
}

impl Iterator for Parts<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut quotes, mut is_angled) = (Quotes::default(), false);
        let text = text::of(self.bytes, self.rest.clone());
        let length = text.iter().position(|byte| {
            if !is_angled && quotes.hide(*byte) {
                return false;
            }
            is_angled = (is_angled || *byte == b'<') && *byte != b'>';
            !is_angled && *byte == self.separator
        });
        let end = self.rest.start + length.unwrap_or(text.len());
        let part = self.rest.start..end;
        self.rest.start = self.rest.end.min(end + 1);
        Some(text::trimmed(self.bytes, part))
    }
}

/// An element of a list of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// The URI.
    pub(super) uri: Range<usize>,
    /// What follows it.
    pub(super) parameters: Range<usize>,
}

/// The elements of a header field that is a list of addresses.
pub(super) fn elements(
    bytes: &[u8],
    value: Range<usize>,
) -> impl Iterator<Item = Element> + use<'_> {
    let parts = Parts {
        bytes,
        rest: value,
        separator: b',',
    };
    parts.map(|part| element(bytes, part))
}

fn element(bytes: &[u8], part: Range<usize>) -> Element {
    let mut quotes = Quotes::default();
    let text = text::of(bytes, part.clone());
    let open = text
        .iter()
        .position(|byte| !quotes.hide(*byte) && *byte == b'<');
    let (first, ends): (_, &[u8]) =
        open.map_or((part.start, b";?"), |open| (part.start + open + 1, b">"));
    let rest = text::of(bytes, first..part.end);
    let length = rest.iter().position(|byte| ends.contains(byte));
    let end = first + length.unwrap_or(rest.len());
    Element {
        uri: text::trimmed(bytes, first..end),
        parameters: end..part.end,
    }
}

/// The parameters of a range, each a name and a value, which may be empty.
#[derive(Debug, Clone)]
pub(super) struct Parameters<'a>(Parts<'a>);

impl<'a> Parameters<'a> {
    /// What lies before the first semicolon is no parameter.
    pub(super) fn of(bytes: &'a [u8], range: Range<usize>) -> Self {
        let mut parts = Parts {
            bytes,
            rest: range,
            separator: b';',
        };
        let _ = parts.next();
        Self(parts)
    }

    /// The value of the first one with this name.
    pub(super) fn find_value(mut self, name: &[u8]) -> Option<Range<usize>> {
        let bytes = self.0.bytes;
        self.find(|(known, _)| text::of(bytes, known.clone()).eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Iterator for Parameters<'_> {
    type Item = (Range<usize>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.0.next()?;
        let bytes = self.0.bytes;
        let text = text::of(bytes, part.clone());
        // The headers of a URI follow its last parameter.
        let length = text.iter().position(|byte| *byte == b'?');
        let end = part.start + length.unwrap_or(text.len());
        let equals = text.iter().position(|byte| *byte == b'=');
        let name = part.start..part.start + equals.unwrap_or(text.len());
        let value = equals.map_or(end..end, |at| (part.start + at + 1).min(end)..end);
        Some((text::trimmed(bytes, name), text::trimmed(bytes, value)))
    }
}

/// One step of the way that a request has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Via {
    pub(super) host: Host,
    pub(super) parameters: Range<usize>,
}

/// The steps of a Via field whose hosts are numeric.
pub(super) fn vias(bytes: &[u8], value: Range<usize>) -> impl Iterator<Item = Via> + use<'_> {
    let parts = Parts {
        bytes,
        rest: value,
        separator: b',',
    };
    parts.filter_map(|part| via(bytes, part))
}

/// `SIP / 2.0 / UDP host:port;parameters`, where white space may surround the slashes.
fn via(bytes: &[u8], part: Range<usize>) -> Option<Via> {
    let text = text::of(bytes, part.clone());
    let slashes = text.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let (second, _) = slashes.take(2).nth(1)?;
    let carrier = text::trimmed(bytes, part.start + second + 1..part.end);
    let name = text::of(bytes, carrier.clone());
    let length = name.iter().position(|byte| text::is_space(*byte))?;
    let default_port = if text::of(name, 0..length).eq_ignore_ascii_case(b"tls") {
        PORT_TLS
    } else {
        PORT
    };
    let host = text::trimmed(bytes, carrier.start + length..carrier.end);
    let host = Host::read(bytes, host, default_port)?;
    let parameters = host.range.end..part.end;
    Some(Via { host, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(text: &str) -> Option<(String, Option<u16>, Said)> {
        let uri = Uri::read(text.as_bytes(), 0..text.len())?;
        Some((
            uri.host.endpoint().to_string(),
            uri.host.port,
            uri.transport,
        ))
    }

    #[test]
    fn hosts_are_found_behind_users_and_before_parameters() {
        let plain = |at: &str, port| Some((at.to_owned(), port, Said::Nothing));
        let at = "10.0.0.2:5060";
        assert_eq!(uri("sip:10.0.0.2"), plain(at, None));
        assert_eq!(uri("SIP:a:pw@10.0.0.2:5060"), plain(at, Some(5060)));
        assert_eq!(uri("sip:+49;ext=1@10.0.0.2;lr?h=v"), plain(at, None));
        assert_eq!(
            uri("sip:a@[2001:db8::2]"),
            plain("[2001:db8::2]:5060", None)
        );
        let tcp = Said::Plain(Transport::Tcp);
        let found = Some((at.to_owned(), None, tcp));
        assert_eq!(uri("sip:a@10.0.0.2;x=y;Transport=TCP?q=r"), found);
        let sealed = Some(("10.0.0.2:5061".to_owned(), None, Said::Sealed));
        assert_eq!(uri("sips:a@10.0.0.2"), sealed);
        assert_eq!(uri("sip:a@10.0.0.2;transport=tls"), sealed);
        for wrong in [
            "tel:+49",
            "sip:a@host.example",
            "sip:10.0.0.2:0",
            "sip:[::1",
            "x",
        ] {
            assert_eq!(uri(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lists_are_cut_at_commas_outside_of_quotes_and_brackets() {
        let text = r#""a, \"b" <sip:x,y@10.0.0.2>;q=1,sip:c@10.0.0.3;expires=5 , *"#;
        let found: Vec<_> = elements(text.as_bytes(), 0..text.len())
            .map(|element| (&text[element.uri], &text[element.parameters]))
            .collect();
        let wanted = [
            ("sip:x,y@10.0.0.2", ">;q=1"),
            ("sip:c@10.0.0.3", ";expires=5"),
            ("*", ""),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn each_step_of_a_via_field_is_found() {
        let text = "SIP/2.0/UDP 10.0.0.2;rport;branch=1, SIP / 2.0 / TLS [::1] : 7;a,SIP/2.0/UDP x";
        let found: Vec<_> = vias(text.as_bytes(), 0..text.len())
            .map(|via| (via.host.endpoint().to_string(), &text[via.host.range]))
            .collect();
        let wanted = [
            ("10.0.0.2:5060".to_owned(), "10.0.0.2"),
            ("[::1]:7".to_owned(), "[::1] : 7"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn parameters_have_names_and_perhaps_values() {
        let text = r#">;expires=60;+sip.instance="<a;b>" ;ob"#;
        let expires = Parameters::of(text.as_bytes(), 0..text.len()).find_value(b"EXPIRES");
        assert_eq!(expires.map(|range| &text[range]), Some("60"));
        let ob = Parameters::of(text.as_bytes(), 0..text.len()).find_value(b"ob");
        assert_eq!(ob.map(|range| &text[range]), Some(""));
        let names = Parameters::of(text.as_bytes(), 0..text.len()).count();
        assert_eq!(names, 3);
    }

    proptest! {
        #[test]
        fn every_range_lies_in_the_value(text in r#"[sipSIP2.0/UDP :;,<>"=@\[\]\\1?\r\n]{0,80}"#) {
            let (bytes, end) = (text.as_bytes(), text.len());
            for element in elements(bytes, 0..end) {
                prop_assert!(element.uri.end <= end && element.parameters.end <= end);
                if let Some(uri) = Uri::read(bytes, element.uri) {
                    prop_assert!(uri.host.range.end <= end);
                }
            }
            for via in vias(bytes, 0..end) {
                prop_assert!(via.host.range.end <= end && via.parameters.end <= end);
                for (name, value) in Parameters::of(bytes, via.parameters) {
                    prop_assert!(name.end <= end && value.end <= end);
                }
            }
        }
    }
}
