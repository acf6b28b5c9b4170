//! A payload for each protocol, made here, or of the kind that its specification shows.

use crate::Library;

/// Each protocol with what its connections say first, packet by packet.
const SAID: &[(&str, &[&[u8]])] = &[
    (
        "bit-torrent",
        &[b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05"],
    ),
    (
        "bit-torrent",
        &[b"GET /announce?info_hash=%12%34&peer_id=-TP0001- HTTP/1.1\r\n"],
    ),
    (
        "bit-torrent",
        &[b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"],
    ),
    (
        "edonkey",
        &[b"\xe3\x3d\0\0\0\x01\x10ABCDEFGHIJKLMNOP\xc0\xa8\x01\x02\x36\x12"],
    ),
    (
        "gnutella",
        &[b"GNUTELLA CONNECT/0.6\r\nUser-Agent: made up\r\n\r\n"],
    ),
    ("direct-connect", &[b"$Lock EXTENDEDPROTOCOLabc Pk=made|"]),
    (
        "fasttrack",
        &[b"GET /.hash=0123 HTTP/1.1\r\nX-Kazaa-Username: nobody\r\n"],
    ),
    ("ssh", &[b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"]),
    ("telnet", &[b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23"]),
    (
        "rdp",
        &[b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"],
    ),
    (
        "rdp",
        &[b"\x03\0\0\x2a\x25\xe0\0\0\0\0\0Cookie: mstshash=user\r\n"],
    ),
    ("vnc", &[b"RFB 003.008\n"]),
    ("rsync", &[b"@RSYNCD: 31.0\n"]),
    (
        "git",
        &[b"0033git-upload-pack /project.git\0host=example.net\0"],
    ),
    ("smtp", &[b"220 mail.example.net ESMTP Postfix\r\n"]),
    (
        "smtp",
        &[b"220 mail.example.net\r\n", b"EHLO client.example.org\r\n"],
    ),
    ("pop3", &[b"+OK POP3 server ready\r\n"]),
    ("pop3", &[b"+OK hello\r\n", b"CAPA\r\n"]),
    ("imap", &[b"* OK [CAPABILITY IMAP4rev1] ready\r\n"]),
    (
        "nntp",
        &[b"200 news.example.net InterNetNews NNRP server INN 2.7\r\n"],
    ),
    ("ftp", &[b"220 (vsFTPd 3.0.3)\r\n"]),
    (
        "ftp",
        &[
            b"220 welcome\r\n",
            b"USER anonymous\r\n",
            b"331 password, please\r\n",
        ],
    ),
    ("tftp", &[b"\0\x01boot/pxelinux.0\0octet\0"]),
    ("smb", &[b"\0\0\0\x54\xffSMB\x72\0\0\0\0"]),
    ("smb", &[b"\0\0\0\xf8\xfeSMB\x40\0"]),
    (
        "netbios",
        &[
            b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\0 FHEPFCELEHFCEPFFFACACACAC\
        ACACABL\0\0\x20\0\x01",
        ],
    ),
    (
        "sunrpc",
        &[b"\x80\0\0\x28\x11\x22\x33\x44\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x03"],
    ),
    (
        "ldap",
        &[b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0"],
    ),
    (
        "kerberos",
        &[b"\x6a\x81\xb0\x30\x81\xad\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a"],
    ),
    ("mysql", &[b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0"]),
    ("postgresql", &[b"\0\0\0\x08\x04\xd2\x16\x2f"]),
    (
        "postgresql",
        &[b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0db\0\0"],
    ),
    (
        "mssql",
        &[b"\x12\x01\0\x2f\0\0\x01\0\0\0\x1a\0\x06\x01\0\x20\0\x01\x02"],
    ),
    ("redis", &[b"*1\r\n$4\r\nPING\r\n"]),
    ("memcached", &[b"set key 0 60 5\r\nvalue\r\n"]),
    ("mqtt", &[b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd"]),
    ("amqp", &[b"AMQP\0\0\x09\x01"]),
    (
        "nats",
        &[b"INFO {\"server_id\":\"NB\",\"version\":\"2.10\"}\r\n"],
    ),
    ("irc", &[b"NICK nobody\r\nUSER nobody 0 * :Nobody\r\n"]),
    (
        "xmpp",
        &[b"<?xml version='1.0'?><stream:stream to='example.net'>"],
    ),
    (
        "sip",
        &[b"INVITE sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n"],
    ),
    ("sip", &[b"SIP/2.0 200 OK\r\n"]),
    (
        "rtsp",
        &[b"OPTIONS rtsp://example.net/stream RTSP/1.0\r\nCSeq: 1\r\n"],
    ),
    ("stun", &[b"\0\x01\0\x08\x21\x12\xa4\x42ABCDEFGHIJKL"]),
    ("mgcp", &[b"RSIP 1204 *@gw.example.net MGCP 1.0\r\n"]),
    (
        "h323",
        &[
            b"\x03\0\0\x40\x08\x02\x12\x34\x05\x04\x03\x88\x93\xa5\x28\x01\
        A\x7e\0\x30\x05 made",
        ],
    ),
    (
        "mumble",
        &[b"\0\0\0\0\0\x1b\x08\x80\x86\x04\x12\x0cMumble 1.5.5"],
    ),
    ("steam", &[b"\xff\xff\xff\xffTSource Engine Query\0"]),
    (
        "ssdp",
        &[b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"],
    ),
    (
        "ssdp",
        &[b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\n"],
    ),
    (
        "mdns",
        &[b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01"],
    ),
    (
        "dns",
        &[b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03net\0\0\x01\0\x01"],
    ),
    (
        "dns",
        &[
            b"\0\x1d\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x07example\x03org\
        \0\0\x1c\0\x01\0\0\x29",
        ],
    ),
    (
        "slp",
        &[b"\x02\x01\0\0\x36\x20\0\0\0\0\0\x01\0\x02en\0\0\0\x15service"],
    ),
    (
        "snmp",
        &[b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x01"],
    ),
    ("snmp", &[b"\x30\x3e\x02\x01\x03\x30\x11\x02\x04"]),
    (
        "dhcp",
        &[
            b"\x01\x01\x06\0\x12\x34\x56\x78\0\0\0\0\x02\0\x5e\x10\0\x01\x63\
        \x82\x53\x63\x35\x01\x01",
        ],
    ),
    ("syslog", &[b"<34>Oct 11 22:14:15 host su: failed"]),
    (
        "syslog",
        &[b"<165>1 2026-11-21T10:00:00Z host app - - - text"],
    ),
    (
        "radius",
        &[b"\x01\x2a\0\x38ABCDEFGHIJKLMNOP\x01\x07steve\x02\x12"],
    ),
    (
        "bgp",
        &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\x1d\x01\x04"],
    ),
    (
        "websocket",
        &[b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"],
    ),
    ("http", &[b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n"]),
    ("http", &[b"HTTP/1.0 404 Not Found\r\n"]),
    ("tls", &[b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"]),
    ("tls", &[b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03"]),
    ("dtls", &[b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x50\x01\0\0\x44"]),
    ("pptp", &[b"\0\x9c\0\x01\x1a\x2b\x3c\x4d\0\x01\0\0\x01\0"]),
    (
        "ike",
        &[b"ABCDEFGH\0\0\0\0\0\0\0\0\x21\x20\x22\x08\0\0\0\0\0\0\x01\x50"],
    ),
    (
        "socks",
        &[
            b"\x05\x01\0",
            b"\x05\0",
            b"\x05\x01\0\x03\x0bexample.net\0\x50",
        ],
    ),
    (
        "openvpn",
        &[
            b"\x38ABCDEFGH\0\0\0\0\0",
            b"\x40abcdefgh\x01\0\0\0\0ABCDEFGH\0\0\0\0",
        ],
    ),
];

/// What speaks for itself in captures only, for its length or its randomness.
const BY_CAPTURE: [&str; 3] = ["quic", "ntp", "diameter"];

#[test]
fn each_protocol_is_found_in_what_it_says_first() {
    let mut library = Library::load();
    for (name, payloads) in SAID {
        let found = library.label(payloads.iter().copied()).map(str::to_owned);
        assert_eq!(found.as_deref(), Some(*name), "{payloads:?}");
    }
    let untested: Vec<&String> = library
        .names
        .iter()
        .filter(|name| !SAID.iter().any(|(said, _)| said == name))
        .filter(|name| !BY_CAPTURE.contains(&name.as_str()))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
}

/// What rides on HTTP is that to whoever has seen no more than a request's first line.
const ON_HTTP: [&str; 4] = ["fasttrack", "websocket", "ssdp", "bit-torrent"];

#[test]
fn each_protocol_is_found_wherever_its_first_words_are_cut() {
    let mut library = Library::load();
    let mut others = Vec::new();
    for (name, payloads) in SAID.iter().filter(|(_, payloads)| payloads.len() == 1) {
        let whole = payloads[0];
        for cut in 1..whole.len() {
            let (front, rest) = whole.split_at(cut);
            let found = library.label([front, rest]).unwrap_or("nothing");
            if found != *name && !(found == "http" && ON_HTTP.contains(name)) {
                others.push(format!("{found} for {name}, cut at {cut}"));
            }
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}
