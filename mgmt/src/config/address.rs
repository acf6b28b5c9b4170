//! Addresses, prefixes and ranges as they are written.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use turnpike_pipeline::policy::{AddressRange, IpFamily};

use super::section::Word;
use super::value::printable;

/// The family of an address.
pub fn family_of(ip: IpAddr) -> IpFamily {
    match ip {
        IpAddr::V4(_) => IpFamily::V4,
        IpAddr::V6(_) => IpFamily::V6,
    }
}

/// The name of a family, for messages.
pub fn family_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    }
}

/// One address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl Word for Address {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!(
                "`{}` is not an address; write, for example, 192.0.2.1 or 2001:db8::1",
                printable(text)
            )
        })
    }
}

/// An address with the length of its prefix, host bits and all: an interface's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressWithPrefix(pub IpNet);

impl Word for AddressWithPrefix {
    fn read(text: &str) -> Result<Self, String> {
        prefix(text).map(Self).ok_or_else(|| {
            format!(
                "`{}` is not an address with its prefix; write, for example, 192.0.2.1/24 or \
                 2001:db8::1/64",
                printable(text)
            )
        })
    }
}

/// A prefix without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix(pub IpNet);

impl Word for Prefix {
    fn read(text: &str) -> Result<Self, String> {
        let net = prefix(text).ok_or_else(|| {
            format!(
                "`{}` is not a prefix; write, for example, 192.0.2.0/24 or 2001:db8::/64",
                printable(text)
            )
        })?;
        without_host_bits(text, net).map(Self)
    }
}

/// An address, a prefix or `first-last`, as a matcher or a list entry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses(pub AddressRange);

impl Word for Addresses {
    fn read(text: &str) -> Result<Self, String> {
        if let Some((first, last)) = text.split_once('-') {
            return range(text, first, last).map(Self);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(AddressRange {
                first: ip,
                last: ip,
            }));
        }
        let net = prefix(text).ok_or_else(|| {
            format!(
                "`{}` is no address; write an address (192.0.2.1), a prefix (192.0.2.0/24, \
                 2001:db8::/64) or a range (192.0.2.1-192.0.2.9)",
                printable(text)
            )
        })?;
        without_host_bits(text, net).map(|net| Self(net.into()))
    }
}

impl Addresses {
    /// The prefixes that cover exactly these addresses.
    pub fn prefixes(&self) -> Vec<IpNet> {
        match (self.0.first, self.0.last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Ipv4Subnets::new(a, b, 0).map(IpNet::V4).collect(),
            (IpAddr::V6(a), IpAddr::V6(b)) => Ipv6Subnets::new(a, b, 0).map(IpNet::V6).collect(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
        }
    }
}

/// An address range in the shortest of the forms it can be written in.
pub fn show(range: &AddressRange) -> String {
    if range.first == range.last {
        return range.first.to_string();
    }
    match Addresses(*range).prefixes().as_slice() {
        [net] => net.to_string(),
        _ => format!("{}-{}", range.first, range.last),
    }
}

fn prefix(text: &str) -> Option<IpNet> {
    let (_, len) = text.split_once('/')?;
    let plain = len == "0" || !len.starts_with(['0', '+']);
    plain.then(|| text.parse().ok()).flatten()
}

fn without_host_bits(text: &str, net: IpNet) -> Result<IpNet, String> {
    if net.trunc() == net {
        return Ok(net);
    }
    Err(format!(
        "`{text}` has bits behind its prefix; write {} for the network or {} for the host",
        net.trunc(),
        net.addr()
    ))
}

fn range(text: &str, first: &str, last: &str) -> Result<AddressRange, String> {
    let first = Address::read(first.trim())?.0;
    let last = Address::read(last.trim())?.0;
    if family_of(first) != family_of(last) {
        return Err(format!(
            "`{text}` mixes IPv4 and IPv6; write both ends of one family"
        ));
    }
    if first > last {
        return Err(format!(
            "`{text}` ends before it begins; write {last}-{first}"
        ));
    }
    Ok(AddressRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        Addresses::read(text).map(|a| show(&a.0))
    }

    #[test]
    fn addresses_prefixes_and_ranges_are_read_and_shown_alike() {
        for text in [
            "192.0.2.1",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
            "10.0.0.1-10.0.0.9",
            "2001:db8::1-2001:db8::5",
        ] {
            assert_eq!(shown(text).as_deref(), Ok(text));
        }
        assert_eq!(shown("10.0.0.0-10.0.0.255").as_deref(), Ok("10.0.0.0/24"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "010.0.0.1",
            "10.0.0.1-",
            "1",
            "any",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-::1",
            "10.0.0.0/255.0.0.0",
            "::1%lo",
            "10.0.0.1 ",
        ] {
            assert!(shown(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn host_bits_are_refused_with_both_ways_to_mean_it() {
        let message = shown("10.0.0.1/24").unwrap_err();
        assert!(message.contains("10.0.0.0/24") && message.contains("10.0.0.1 for the host"));
    }

    #[test]
    fn a_range_becomes_the_prefixes_that_cover_it_exactly() {
        let nets = Addresses::read("10.0.0.1-10.0.0.4").unwrap().prefixes();
        let text: Vec<String> = nets.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]);
    }
}
