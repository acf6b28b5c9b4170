//! The catalogue of services and protocols: names for numbers, and how safe a service is.
//!
//! Names are those a rule may write in place of a port or a protocol number; the rating is what
//! an audit says about a rule that exposes the service. The catalogue is data: it is sorted by
//! port, and a name may stand for several entries.

use turnpike_conntrack::tuple::Proto;

use Rating::{Chosen, Depends, Safe, Unsafe};
use Transport::{Both, Tcp, Udp};

/// One service: a name for ports of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The name that is printed.
    pub name: &'static str,
    /// Another name that is understood, empty if there is none.
    pub alias: &'static str,
    /// Its first port.
    pub first: u16,
    /// Its last port, not below the first.
    pub last: u16,
    /// The transports it uses.
    pub transport: Transport,
    /// How safe it is to expose.
    pub rating: Rating,
}

/// The transports that a service uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// TCP and UDP.
    Both,
}

impl Transport {
    /// Whether `proto` is one of these transports.
    pub const fn carries(self, proto: Proto) -> bool {
        match self {
            Self::Tcp => proto.0 == Proto::TCP.0,
            Self::Udp => proto.0 == Proto::UDP.0,
            Self::Both => proto.0 == Proto::TCP.0 || proto.0 == Proto::UDP.0,
        }
    }
}

/// How safe it is to let strangers reach a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rating {
    /// More or less safe.
    Safe,
    /// Not safe.
    Unsafe,
    /// Safe only towards chosen servers that are meant to be reached.
    Chosen,
    /// Depends on how it is used.
    Depends,
}

impl Rating {
    /// The rating as the catalogue prints it: `Y`, `N`, `-` or `?`.
    pub const fn letter(self) -> char {
        match self {
            Self::Safe => 'Y',
            Self::Unsafe => 'N',
            Self::Chosen => '-',
            Self::Depends => '?',
        }
    }
}

/// Every service, sorted by its first port.
pub const SERVICES: &[Service] = &[
    service(1, 1, "tcpmux", "", Tcp, Unsafe),
    service(7, 7, "echo", "", Both, Unsafe),
    service(9, 9, "discard", "", Both, Safe),
    service(11, 11, "systat", "", Tcp, Unsafe),
    service(13, 13, "daytime", "", Both, Safe),
    service(15, 15, "netstat", "", Tcp, Unsafe),
    service(19, 19, "chargen", "", Both, Unsafe),
    service(20, 20, "ftp-data", "", Tcp, Unsafe),
    service(21, 21, "ftp", "", Tcp, Unsafe),
    service(22, 22, "ssh", "", Tcp, Safe),
    service(23, 23, "telnet", "", Tcp, Unsafe),
    service(25, 25, "smtp", "", Tcp, Chosen),
    service(37, 37, "time", "", Both, Safe),
    service(42, 42, "wins", "", Tcp, Unsafe),
    service(43, 43, "whois", "", Tcp, Unsafe),
    service(49, 49, "tacacs", "", Tcp, Unsafe),
    service(53, 53, "domain", "dns", Both, Chosen),
    service(67, 67, "bootps", "dhcp", Udp, Unsafe),
    service(68, 68, "bootpc", "", Udp, Unsafe),
    service(69, 69, "tftp", "", Udp, Unsafe),
    service(70, 70, "gopher", "", Tcp, Chosen),
    service(79, 79, "finger", "", Tcp, Unsafe),
    service(80, 80, "http", "www", Tcp, Chosen),
    service(87, 87, "link", "", Tcp, Unsafe),
    service(88, 88, "kerberos", "", Udp, Chosen),
    service(95, 95, "supdup", "", Tcp, Unsafe),
    service(109, 109, "pop2", "", Tcp, Chosen),
    service(110, 110, "pop3", "", Tcp, Chosen),
    service(111, 111, "sunrpc", "", Both, Unsafe),
    service(113, 113, "auth", "ident", Tcp, Depends),
    service(119, 119, "nntp", "", Tcp, Safe),
    service(123, 123, "ntp", "", Udp, Chosen),
    service(135, 135, "loc-srv", "msrpc", Tcp, Unsafe),
    service(137, 137, "netbios-ns", "", Udp, Unsafe),
    service(138, 138, "netbios-dgm", "", Udp, Unsafe),
    service(139, 139, "netbios-ssn", "", Tcp, Unsafe),
    service(143, 143, "imap", "", Tcp, Chosen),
    service(144, 144, "news", "", Tcp, Unsafe),
    service(161, 161, "snmp", "", Udp, Unsafe),
    service(162, 162, "snmptrap", "", Udp, Depends),
    service(177, 177, "xdmcp", "", Udp, Unsafe),
    service(179, 179, "bgp", "", Tcp, Safe),
    service(389, 389, "ldap", "ad", Tcp, Unsafe),
    service(443, 443, "https", "", Tcp, Chosen),
    service(445, 445, "microsoft-ds", "", Both, Unsafe),
    service(500, 500, "ike", "", Udp, Depends),
    service(512, 512, "exec", "", Tcp, Unsafe),
    service(512, 512, "biff", "", Udp, Unsafe),
    service(513, 513, "login", "", Tcp, Unsafe),
    service(513, 513, "who", "", Udp, Unsafe),
    service(514, 514, "shell", "", Tcp, Unsafe),
    service(514, 514, "syslog", "", Udp, Unsafe),
    service(515, 515, "printer", "", Tcp, Unsafe),
    service(517, 517, "talk", "", Udp, Unsafe),
    service(518, 518, "ntalk", "", Udp, Unsafe),
    service(520, 520, "rip", "", Udp, Unsafe),
    service(521, 521, "ripng", "", Udp, Unsafe),
    service(540, 540, "uucp", "", Tcp, Unsafe),
    service(543, 543, "klogind", "", Tcp, Unsafe),
    service(546, 546, "dhcpv6-client", "", Udp, Chosen),
    service(547, 547, "dhcpv6-server", "", Udp, Unsafe),
    service(554, 554, "rtsp", "", Tcp, Chosen),
    service(646, 646, "ldp", "", Both, Unsafe),
    service(749, 751, "kerberos-adm", "", Both, Depends),
    service(993, 993, "imaps", "", Tcp, Safe),
    service(1025, 1025, "listen", "", Tcp, Unsafe),
    service(1028, 1028, "inetinfo", "", Tcp, Unsafe),
    service(1080, 1080, "socks", "", Tcp, Unsafe),
    service(1433, 1433, "ms-sql", "", Tcp, Unsafe),
    service(1434, 1434, "ms-sql-m", "", Udp, Unsafe),
    service(1512, 1512, "wins-replication", "", Both, Unsafe),
    service(1698, 1699, "rsvp-te", "", Udp, Unsafe),
    service(1701, 1701, "l2tp", "", Udp, Depends),
    service(1723, 1723, "pptp", "", Tcp, Depends),
    service(1725, 1725, "pptp-ms", "", Tcp, Depends),
    service(1900, 1900, "ssdp", "", Udp, Unsafe),
    service(1966, 1966, "mme", "", Both, Unsafe),
    service(2000, 2000, "bandwidth-test", "", Tcp, Unsafe),
    service(2049, 2049, "nfs", "", Both, Unsafe),
    service(2766, 2766, "listen", "", Tcp, Unsafe),
    service(2828, 2828, "upnp", "", Tcp, Unsafe),
    service(3389, 3389, "ms-rdp", "", Tcp, Unsafe),
    service(4000, 4000, "icq", "", Udp, Unsafe),
    service(4144, 4144, "cim", "", Tcp, Depends),
    service(4480, 4480, "proxyplus", "", Tcp, Unsafe),
    service(5000, 5000, "upnp-event", "", Tcp, Unsafe),
    service(5060, 5061, "sip", "", Both, Depends),
    service(5190, 5190, "aol", "", Tcp, Depends),
    service(5246, 5247, "capsman", "", Udp, Unsafe),
    service(5556, 5556, "rwd", "", Tcp, Unsafe),
    service(5631, 5632, "pcanywhere", "", Both, Unsafe),
    service(5678, 5678, "neighbor-discovery", "", Udp, Unsafe),
    service(6000, 6063, "x11", "", Tcp, Unsafe),
    service(6343, 6343, "openflow", "", Tcp, Unsafe),
    service(6588, 6588, "analogx", "", Tcp, Unsafe),
    service(6667, 6667, "irc", "", Tcp, Unsafe),
    service(7000, 7000, "xfont", "", Tcp, Unsafe),
    service(8002, 8002, "rcgi", "", Tcp, Unsafe),
    service(8080, 8080, "http-alt", "", Tcp, Chosen),
    service(8291, 8291, "winbox", "", Tcp, Unsafe),
    service(8728, 8728, "api", "", Tcp, Unsafe),
    service(8729, 8729, "api-ssl", "", Tcp, Chosen),
    service(12345, 12346, "netbus", "", Tcp, Unsafe),
    service(20123, 20124, "netbus2", "", Tcp, Unsafe),
    service(20561, 20561, "mac-winbox", "", Udp, Unsafe),
    service(27374, 27374, "subseven", "", Tcp, Unsafe),
    service(31337, 31337, "back-orifice", "", Both, Unsafe),
];

/// Protocols by name, sorted by number.
pub const PROTOCOLS: &[(&str, Proto)] = &[
    ("icmp", Proto::ICMP),
    ("igmp", Proto(2)),
    ("ipip", Proto(4)),
    ("tcp", Proto::TCP),
    ("udp", Proto::UDP),
    ("dccp", Proto::DCCP),
    ("ipv6", Proto(41)),
    ("rsvp", Proto(46)),
    ("gre", Proto::GRE),
    ("ipsec-esp", Proto(50)),
    ("ipsec-ah", Proto(51)),
    ("icmpv6", Proto::ICMPV6),
    ("ospf", Proto(89)),
    ("pim", Proto(103)),
    ("vrrp", Proto(112)),
    ("sctp", Proto::SCTP),
    ("udplite", Proto::UDPLITE),
];

const fn service(
    first: u16,
    last: u16,
    name: &'static str,
    alias: &'static str,
    transport: Transport,
    rating: Rating,
) -> Service {
    Service {
        name,
        alias,
        first,
        last,
        transport,
        rating,
    }
}

/// Every service that goes by `name`, which may be an alias; most names have one.
pub fn services_named(name: &str) -> impl Iterator<Item = &'static Service> {
    SERVICES
        .iter()
        .filter(move |s| s.name == name || (!s.alias.is_empty() && s.alias == name))
}

/// Every service that uses `port` over `proto`.
pub fn services_at(port: u16, proto: Proto) -> impl Iterator<Item = &'static Service> {
    SERVICES
        .iter()
        .take_while(move |s| s.first <= port)
        .filter(move |s| port <= s.last && s.transport.carries(proto))
}

/// The number of the protocol called `name`, `None` for a name that is not in the catalogue.
pub fn protocol_named(name: &str) -> Option<Proto> {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, proto)| *proto)
}

/// The name of `proto`, `None` for a number that has none here.
pub fn protocol_name(proto: Proto) -> Option<&'static str> {
    PROTOCOLS
        .iter()
        .find(|(_, known)| *known == proto)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_and_its_alias_find_the_same_service() {
        let by_name: Vec<_> = services_named("domain").collect();
        let by_alias: Vec<_> = services_named("dns").collect();
        assert_eq!(by_name, by_alias);
        assert_eq!(by_name.len(), 1);
        assert_eq!((by_name[0].first, by_name[0].last), (53, 53));
    }

    #[test]
    fn a_name_may_stand_for_several_entries() {
        let ports: Vec<u16> = services_named("listen").map(|s| s.first).collect();
        assert_eq!(ports, [1025, 2766]);
    }

    #[test]
    fn the_empty_name_finds_nothing() {
        assert_eq!(services_named("").count(), 0);
        assert_eq!(protocol_named(""), None);
    }

    #[test]
    fn a_port_is_looked_up_by_transport() {
        let name = |port, proto| services_at(port, proto).map(|s| s.name).collect::<Vec<_>>();
        assert_eq!(name(512, Proto::TCP), ["exec"]);
        assert_eq!(name(512, Proto::UDP), ["biff"]);
        assert_eq!(name(53, Proto::UDP), ["domain"]);
        assert_eq!(name(6010, Proto::TCP), ["x11"]);
        assert!(name(6064, Proto::TCP).is_empty());
        assert!(name(443, Proto::SCTP).is_empty());
    }

    #[test]
    fn ratings_are_those_of_the_catalogue() {
        let letter = |name| services_named(name).map(|s| s.rating.letter()).next();
        assert_eq!(letter("ssh"), Some('Y'));
        assert_eq!(letter("telnet"), Some('N'));
        assert_eq!(letter("https"), Some('-'));
        assert_eq!(letter("sip"), Some('?'));
    }

    #[test]
    fn the_catalogue_is_sorted_and_without_repeats() {
        assert!(SERVICES.is_sorted_by_key(|s| s.first));
        assert!(SERVICES.iter().all(|s| s.first <= s.last));
        let unique: BTreeSet<_> = SERVICES.iter().map(|s| (s.name, s.first)).collect();
        assert_eq!(unique.len(), SERVICES.len());
    }

    #[test]
    fn protocol_names_and_numbers_agree_both_ways() {
        assert!(PROTOCOLS.is_sorted_by_key(|(_, proto)| *proto));
        for (name, proto) in PROTOCOLS {
            assert_eq!(protocol_named(name), Some(*proto));
            assert_eq!(protocol_name(*proto), Some(*name));
        }
        assert_eq!(protocol_named("ospf"), Some(Proto(89)));
        assert_eq!(protocol_name(Proto(255)), None);
    }
}
