//! The library against recorded traffic whose protocols another program has told.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use turnpike_conntrack::tuple::Proto;
use turnpike_engine::pcap::CaptureFile;
use turnpike_pipeline::packet::parse::inspect;

use crate::Library;

/// Where captures are, if there are any.
fn captures_dir() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let dir = std::env::var_os("TURNPIKE_CAPTURES").map_or_else(beside, PathBuf::from);
    let dir = dir.join("ndpi");
    if dir.join("results").is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: captures in {} absent", dir.display());
    None
}

/// What nDPI calls the protocols that ship here, by its numbers.
const NDPI: &[(&str, &[u32])] = &[
    ("ftp", &[1, 311]),
    ("pop3", &[2]),
    ("smtp", &[3]),
    ("imap", &[4]),
    ("dns", &[5, 263]),
    ("http", &[7, 130, 131, 349]),
    ("mdns", &[8]),
    ("ntp", &[9]),
    ("netbios", &[10]),
    ("sunrpc", &[11]),
    ("ssdp", &[12]),
    ("bgp", &[13]),
    ("snmp", &[14]),
    ("smb", &[16, 41]),
    ("syslog", &[17]),
    ("dhcp", &[18]),
    ("postgresql", &[19]),
    ("mysql", &[20]),
    ("dtls", &[30]),
    ("gnutella", &[35]),
    ("edonkey", &[36]),
    ("bit-torrent", &[37]),
    ("memcached", &[40]),
    ("rtsp", &[50]),
    ("irc", &[65]),
    ("xmpp", &[67]),
    ("nats", &[68]),
    ("telnet", &[77]),
    ("stun", &[78]),
    ("ike", &[79]),
    ("rdp", &[88]),
    ("vnc", &[89]),
    ("tls", &[91, 23, 29, 51, 64]),
    ("ssh", &[92]),
    ("nntp", &[93]),
    ("mgcp", &[94]),
    ("tftp", &[96]),
    ("sip", &[100]),
    ("kerberos", &[111]),
    ("ldap", &[112]),
    ("mssql", &[114]),
    ("h323", &[158]),
    ("openvpn", &[159]),
    ("rsync", &[166]),
    ("socks", &[172]),
    ("quic", &[188]),
    ("mqtt", &[222]),
    ("git", &[226]),
    ("websocket", &[251]),
    ("pptp", &[115]),
    ("slp", &[347]),
    ("mumble", &[387]),
];

/// Connections that begin as one protocol and go on as another, which nDPI tells: what is first.
const BEGIN_AS: &[(&str, &[&str])] = &[
    ("dtls", &["stun"]),
    ("tls", &["imap", "pop3", "smtp", "xmpp"]),
];

/// Captures in which nDPI was told, or guesses, another name for what is there.
const NAMED_OTHERWISE: &[(&str, &str)] = &[
    // Names of its own configuration for addresses.
    ("custom_rules_ipv6.pcapng", "dns"),
    ("custom_rules_ipv6.pcapng", "dtls"),
    // The name of the site that is asked for, and of another user of port 1299.
    ("ossfuzz_seed_fake_traces_3.pcapng", "http"),
    ("ossfuzz_seed_fake_traces_2.pcapng", "xmpp"),
    // A question for NetBIOS names that is sent from port 53.
    ("netbios_wildcard_dns_query.pcap", "netbios"),
    // Messages of syslog that begin in a way which it does not know.
    ("syslog.pcap", "syslog"),
];

/// A connection, whichever side spoke first.
type Key = (u8, SocketAddr, SocketAddr);

fn key(proto: u8, a: SocketAddr, b: SocketAddr) -> Key {
    (proto, a.min(b), a.max(b))
}

/// The connections that nDPI saw in a capture, each with the numbers it found.
fn told(results: &Path) -> BTreeMap<Key, Vec<u32>> {
    let text = String::from_utf8_lossy(&fs::read(results).unwrap()).into_owned();
    let line = |line: &str| -> Option<(Key, Vec<u32>)> {
        let mut words = line.split_whitespace();
        words.next()?.parse::<u32>().ok()?;
        let proto = match words.next()? {
            "TCP" => 6,
            "UDP" => 17,
            _ => return None,
        };
        let a: SocketAddr = words.next()?.parse().ok()?;
        words.next()?;
        let b: SocketAddr = words.next()?.parse().ok()?;
        let found = line.split_once("[proto: ")?.1.split_once('/')?.0;
        let numbers: Option<Vec<u32>> = found.split('.').map(|n| n.parse().ok()).collect();
        Some((key(proto, a, b), numbers?))
    };
    text.lines().filter_map(line).collect()
}

/// The payloads of each connection of a capture, in order.
pub fn connections(path: &Path) -> BTreeMap<Key, Vec<Vec<u8>>> {
    let mut found: BTreeMap<Key, Vec<Vec<u8>>> = BTreeMap::new();
    let Ok(mut file) = CaptureFile::open(path) else {
        return found;
    };
    while let Some(packet) = file.next_packet() {
        let frame = &packet.frame;
        let Ok(parsed) = inspect(frame, frame.len()) else {
            continue;
        };
        let (Some(src), Some(dst), Some((from, to))) =
            (parsed.src_ip(frame), parsed.dst_ip(frame), parsed.ports())
        else {
            continue;
        };
        if ![Proto::TCP, Proto::UDP].contains(&parsed.proto) || parsed.payload_len() == 0 {
            continue;
        }
        let start = usize::from(parsed.payload);
        let end = start + parsed.payload_len() as usize;
        let end = end.min(frame.len());
        let end_of = |ip: IpAddr, port: u16| SocketAddr::new(ip, port);
        let key = key(parsed.proto.0, end_of(src, from.0), end_of(dst, to.0));
        let payloads = found.entry(key).or_default();
        payloads.push(frame.get(start..end).unwrap_or_default().to_vec());
    }
    found
}

fn begins_as(told: &str, label: &str) -> bool {
    let mut all = BEGIN_AS.iter();
    all.any(|(name, first)| *name == told && first.contains(&label))
}

#[test]
fn in_captures_no_label_is_wrong_and_four_of_five_connections_are_found() {
    let Some(dir) = captures_dir() else { return };
    let mut library = Library::load();
    let ours = |number: u32| {
        let mut all = NDPI.iter();
        all.find(|(_, n)| n.contains(&number))
            .map(|(name, _)| *name)
    };
    let (mut seen, mut hit) = (BTreeMap::<&str, [usize; 2]>::new(), 0);
    let (mut missed, mut wrong) = (Vec::new(), Vec::new());
    let mut paths: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let results = dir.join("results").join(format!("{name}.out"));
        if !results.is_file() {
            continue;
        }
        let told = told(&results);
        for (key, payloads) in connections(&path) {
            let Some(numbers) = told.get(&key) else {
                continue;
            };
            let expected: Vec<&str> = numbers.iter().filter_map(|n| ours(*n)).collect();
            let label = library.label(payloads.iter().map(Vec::as_slice));
            let place = || format!("{name} {}-{} {numbers:?}", key.1, key.2);
            match (expected.first(), label) {
                (None, None) => {}
                (Some(first), found) => {
                    let count = seen.entry(first).or_default();
                    count[0] += 1;
                    match found {
                        Some(label) if expected.contains(&label) || begins_as(first, label) => {
                            count[1] += 1;
                            hit += 1;
                        }
                        Some(label) if NAMED_OTHERWISE.contains(&(&name, label)) => count[0] -= 1,
                        Some(label) => wrong.push(format!("{} as {label}", place())),
                        None => missed.push(format!("{} ({first})", place())),
                    }
                }
                (None, Some(label)) if NAMED_OTHERWISE.contains(&(&name, label)) => {}
                (None, Some(label)) => wrong.push(format!("{} as {label}", place())),
            }
        }
    }
    for (name, [all, found]) in &seen {
        println!("{name}: {found} of {all}");
    }
    missed.iter().for_each(|m| println!("missed: {m}"));
    wrong.iter().for_each(|w| println!("wrong: {w}"));
    let all: usize = seen.values().map(|count| count[0]).sum();
    println!("{hit} of {all} connections found, {} wrong", wrong.len());
    assert!(wrong.is_empty());
    assert!(hit * 5 >= all * 4, "{hit} of {all}");
}
