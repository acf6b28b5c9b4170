//! Names that show in what packets carry: helpers' options, and patterns of layer 7.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use turnpike_engine::explain::{Explainer, compile};
use turnpike_mgmt::config::Config;
use turnpike_mgmt::explain::{Explanation, Scene, explained};
use turnpike_pipeline::packet::craft::{Craft, TcpSpec};
use turnpike_pipeline::packet::headers::{TCP_ACK, TCP_PSH, TCP_SYN};
use turnpike_pipeline::program::Program;

/// The gateway of the cases with more sections, and the packets that it gets.
struct Gateway {
    config: Config,
    program: Arc<Program>,
    explainer: Explainer,
}

impl Gateway {
    fn new(sections: &str) -> Self {
        let base = std::fs::read_to_string(super::directory().join("gateway.yaml")).unwrap();
        let tracking = "connection-tracking: { enabled: yes }";
        let text = format!("{base}\n{tracking}\n{sections}\n");
        let config = Config::parse(&text, "t.yaml", Path::new(env!("CARGO_MANIFEST_DIR")))
            .unwrap_or_else(|refused| panic!("{refused}"));
        let program = Arc::new(compile(&config.policy, None));
        Self {
            explainer: Explainer::new(Arc::clone(&program)),
            config,
            program,
        }
    }

    fn send(&mut self, interface: &str, craft: &Craft) -> Explanation {
        let interface = Scene::new(&self.config.policy)
            .interface(interface)
            .unwrap();
        let followed = self.explainer.send(interface, craft.frame().unwrap());
        explained(&self.program, interface, None, &followed)
    }

    fn udp(&mut self, interface: &str, src: &str, dst: &str, payload: &[u8]) -> Explanation {
        let craft = Craft::udp(src.parse().unwrap(), dst.parse().unwrap()).unwrap();
        self.send(interface, &craft.payload(payload))
    }

    fn tcp(
        &mut self,
        interface: &str,
        (src, dst): (&str, &str),
        spec: TcpSpec,
        said: &[u8],
    ) -> Explanation {
        let craft = Craft::tcp(src.parse().unwrap(), dst.parse().unwrap(), spec).unwrap();
        self.send(interface, &craft.payload(said))
    }

    fn wait(&mut self, pause: Duration) {
        let stride = Duration::from_millis(500);
        let mut waited = Duration::ZERO;
        while waited < pause {
            self.explainer.wait(stride);
            waited += stride;
        }
    }
}

/// The state of the data connection that an FTP client has asked its server on this port for.
fn data_of_ftp(service_ports: &str, port: u16) -> Option<String> {
    let mut gateway = Gateway::new(&format!("service-ports: {service_ports}"));
    let (client, server) = ("192.168.88.10:40000", format!("1.1.1.1:{port}"));
    let (out, back) = ((client, server.as_str()), (server.as_str(), client));
    let segment = |flags, seq, ack| TcpSpec {
        flags,
        seq,
        ack,
        ..TcpSpec::default()
    };
    gateway.tcp("lan", out, segment(TCP_SYN, 1_000, 0), b"");
    gateway.tcp("wan", back, segment(TCP_SYN | TCP_ACK, 5_000, 1_001), b"");
    gateway.tcp("lan", out, segment(TCP_ACK, 1_001, 5_001), b"");
    let user = segment(TCP_PSH | TCP_ACK, 1_001, 5_001);
    gateway.tcp("lan", out, user, b"USER a\r\n");
    let asked = segment(TCP_PSH | TCP_ACK, 1_009, 5_001);
    let asked = gateway.tcp("lan", out, asked, b"PORT 192,168,88,10,195,80\r\n");
    assert_eq!(asked.connection_state.as_deref(), Some("established"));
    let data = ("1.1.1.1:20", "192.168.88.10:50000");
    let data = gateway.tcp("wan", data, segment(TCP_SYN, 1, 0), b"");
    data.connection_state
}

#[test]
fn ports_are_those_at_which_a_helper_reads() {
    let at = |port| data_of_ftp("{ ftp: { ports: [2121] } }", port);
    assert_eq!(at(2_121).as_deref(), Some("related"));
    assert_eq!(at(21).as_deref(), Some("new"));
    assert_eq!(data_of_ftp("{}", 21).as_deref(), Some("related"));
}

#[test]
fn a_disabled_helper_announces_nothing() {
    let with = |disabled| data_of_ftp(&format!("{{ ftp: {{ disabled: {disabled} }} }}"), 21);
    assert_eq!(with("yes").as_deref(), Some("new"));
    assert_eq!(with("no").as_deref(), Some("related"));
}

const PHONE: &str = "192.168.88.10:5060";
const EXCHANGE: &str = "1.1.1.1:5060";

/// A gateway whose telephone has just invited somebody, and hears them at port 6000.
fn calling(sip: &str) -> Gateway {
    let mut gateway = Gateway::new(&format!("service-ports: {{ sip: {sip} }}"));
    let media = "v=0\r\no=- 7 7 IN IP4 192.168.88.10\r\ns=-\r\nc=IN IP4 192.168.88.10\r\nt=0 0\r\n\
                 m=audio 6000 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:bob@1.1.1.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.88.10;branch=z9hG4bK1\r\n\
         From: <sip:alice@192.168.88.10>;tag=1\r\nTo: <sip:bob@1.1.1.1>\r\nCall-ID: one\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@192.168.88.10>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{media}",
        media.len()
    );
    let invited = gateway.udp("lan", PHONE, EXCHANGE, invite.as_bytes());
    assert_eq!(invited.verdict, "accept");
    gateway
}

#[test]
fn without_sip_direct_media_anybody_may_send_media() {
    let from = |sip: &str, whom: &str| {
        let heard = calling(sip).udp("wan", whom, "192.168.88.10:6000", b"media");
        heard.connection_state
    };
    for (sip, of_others) in [
        ("{}", "new"),
        ("{ sip-direct-media: yes }", "new"),
        ("{ sip-direct-media: no }", "related"),
    ] {
        let exchange = from(sip, "1.1.1.1:7000");
        assert_eq!(exchange.as_deref(), Some("related"), "{sip}");
        let other = from(sip, "9.9.9.9:7000");
        assert_eq!(other.as_deref(), Some(of_others), "{sip}");
    }
}

#[test]
fn signalling_is_remembered_for_sip_timeout() {
    for (sip, minutes, state) in [
        ("{ sip-timeout: 30m }", 29, "established"),
        ("{ sip-timeout: 30m }", 31, "new"),
        ("{}", 59, "established"),
        ("{}", 61, "new"),
        ("{ disabled: yes }", 1, "new"),
    ] {
        let mut gateway = calling(sip);
        gateway.wait(Duration::from_secs(60 * minutes));
        let answer = gateway.udp("wan", EXCHANGE, PHONE, b"SIP/2.0 180 Ringing\r\n\r\n");
        let found = answer.connection_state;
        assert_eq!(found.as_deref(), Some(state), "{sip} {minutes}");
    }
}

/// Whether a rule that asks for this drops what follows these words.
fn is_dropped(layer7: &str, matcher: &str, said: &[u8]) -> bool {
    let rule = format!("{{ chain: forward, {matcher}, action: drop }}");
    let mut gateway = Gateway::new(&format!(
        "layer7-protocols: {layer7}\nfirewall: {{ filter: [ {rule} ] }}"
    ));
    let (client, server) = ("192.168.88.10:40000", "1.1.1.1:4000");
    let first = gateway.udp("lan", client, server, said);
    assert_eq!(first.verdict, "accept", "{matcher}");
    gateway.udp("lan", client, server, b"more").verdict == "drop"
}

#[test]
fn a_regexp_and_its_comment_are_those_of_the_protocol() {
    let protocols = "{ rdp: { regexp: \"rdpdr.*cliprdr.*rdpsnd\", comment: \"remote desktops\" } }";
    let config = Gateway::new(&format!("layer7-protocols: {protocols}")).config;
    let [rdp] = &config.policy.layer7.protocols[..] else {
        panic!("one protocol")
    };
    assert_eq!((&*rdp.name, &*rdp.comment), ("rdp", "remote desktops"));
    let asked = |said| is_dropped(protocols, "layer7-protocol: rdp", said);
    assert!(asked(b"a rdpdr b cliprdr c rdpsnd d"));
    assert!(!asked(b"a rdpdr b rdpsnd c cliprdr d"));
}

#[test]
fn p2p_is_the_protocol_called_so_and_all_p2p_any_of_them() {
    let library = "{ \"*\": { file: ../configs/layer7/p2p.yaml } }";
    let said: [(&str, &[u8]); 5] = [
        (
            "bit-torrent",
            b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05",
        ),
        (
            "edonkey",
            b"\xe3\x3d\0\0\0\x01\x10ABCDEFGHIJKLMNOP\xc0\xa8\x01\x02\x36\x12",
        ),
        (
            "gnutella",
            b"GNUTELLA CONNECT/0.6\r\nUser-Agent: made up\r\n\r\n",
        ),
        ("direct-connect", b"$Lock EXTENDEDPROTOCOLabc Pk=made|"),
        ("", b"GET / HTTP/1.1\r\n\r\n"),
    ];
    for group in ["all-p2p", "bit-torrent", "edonkey", "gnutella"] {
        for (protocol, said) in said {
            let meant = protocol == group || group == "all-p2p" && !protocol.is_empty();
            let dropped = is_dropped(library, &format!("p2p: {group}"), said);
            assert_eq!(dropped, meant, "{group}, {protocol}");
        }
    }
}
