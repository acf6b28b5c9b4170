//! Filters against connections made by hand, and against a reading of them in plain words.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use turnpike_conntrack::events::Cause;
use turnpike_conntrack::ids::{FlowId, Generation};
use turnpike_conntrack::labels::Layer7;
use turnpike_conntrack::tuple::{Port, TuplePair, V4};
use turnpike_helpers::names::helper_named;

use super::*;

fn tuple(proto: Proto, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Tuple<V4> {
    Tuple {
        src: src.0.octets(),
        dst: dst.0.octets(),
        src_port: Port(src.1),
        dst_port: Port(dst.1),
        proto,
    }
}

fn connection(original: Tuple<V4>, reply: Tuple<V4>) -> Connection<V4> {
    Connection {
        id: FlowId(7),
        pair: TuplePair { original, reply },
        state: (original.proto == Proto::TCP).then_some("established"),
        flags: Flags::CONFIRMED.with(Flags::SEEN_REPLY),
        packets: [5, 4],
        bytes: [500, 400],
        timeout: Duration::from_secs(30),
        start_secs: 0,
        idle_ms: 0,
        mark: 0x25,
        generation: Generation(1),
        rule: None,
        master: None,
        helper: None,
        layer7: Layer7::Unknown,
    }
}

/// 10.0.0.2:40000 > 203.0.113.2:443, answered by 192.168.88.80:8443 to 198.51.100.1:50000.
fn translated() -> Connection<V4> {
    let end = |a: [u8; 4], port| (Ipv4Addr::from(a), port);
    let plain = connection(
        tuple(
            Proto::TCP,
            end([10, 0, 0, 2], 40_000),
            end([203, 0, 113, 2], 443),
        ),
        tuple(
            Proto::TCP,
            end([192, 168, 88, 80], 8443),
            end([198, 51, 100, 1], 50_000),
        ),
    );
    Connection {
        helper: helper_named("ftp"),
        flags: plain.flags.with(Flags::SRCNAT).with(Flags::DSTNAT),
        ..plain
    }
}

fn questions_of(asks: &[(&str, &str)]) -> Result<Filter, String> {
    let mut filter = Filter::default();
    for (name, value) in asks {
        filter.ask(name, value)?;
    }
    Ok(filter)
}

fn wants(asks: &[(&str, &str)]) -> bool {
    questions_of(asks)
        .unwrap()
        .wants(WorkerId(3), &translated().into())
}

#[test]
fn nothing_asked_wants_everything() {
    assert!(Filter::default().is_all());
    assert!(wants(&[]));
}

#[test]
fn each_question_can_hold_and_can_refuse() {
    let questions = [
        ("src-address", "10.0.0.0/8", "203.0.113.2"),
        ("dst-address", "203.0.113.2", "192.168.88.80"),
        ("reply-src-address", "192.168.88.80", "203.0.113.2"),
        ("reply-dst-address", "198.51.100.0/24", "10.0.0.2"),
        ("any-address", "192.168.88.80", "192.168.88.81"),
        ("src-port", "40000", "443"),
        ("dst-port", "https", "8443"),
        ("reply-src-port", "8000-9000", "443"),
        ("reply-dst-port", "1,50000", "40000"),
        ("any-port", "8443", "80"),
        ("protocol", "udp,tcp", "17"),
        ("family", "ipv4", "ipv6"),
        ("connection-state", "established", "new,related"),
        ("state", "established", "time-wait"),
        ("tcp-state", "established,close", "time-wait"),
        ("connection-mark", "0x20/0xf0", "0x20"),
        ("connection-nat-state", "srcnat", "!srcnat,dstnat"),
        ("flags", "SCs!A", "SA"),
        ("helper", "sip,ftp", "!ftp"),
        ("timeout-less", "31s", "30s"),
        ("timeout-greater", "29s", "30s"),
        ("worker", "1,3", "2"),
    ];
    assert_eq!(questions.map(|(name, ..)| name), NAMES, "none is left out");
    for (name, holds, refuses) in questions {
        assert!(wants(&[(name, holds)]), "{name}={holds}");
        assert!(!wants(&[(name, refuses)]), "{name}={refuses}");
    }
}

#[test]
fn any_end_is_any_of_the_four() {
    for (address, port) in [
        ("10.0.0.2", "40000"),
        ("203.0.113.2", "443"),
        ("192.168.88.80", "8443"),
        ("198.51.100.1", "50000"),
    ] {
        assert!(wants(&[("any-address", address)]), "{address}");
        assert!(wants(&[("any-port", port)]), "{port}");
    }
}

#[test]
fn all_questions_must_hold_and_a_negated_one_must_not() {
    assert!(wants(&[("dst-port", "443"), ("protocol", "tcp")]));
    assert!(!wants(&[("dst-port", "443"), ("protocol", "udp")]));
    assert!(wants(&[
        ("dst-port", "!80,8443"),
        ("src-address", "!10.1.0.0/16")
    ]));
    assert!(!wants(&[("dst-port", "!1-1000")]));
}

#[test]
fn a_protocol_without_ports_has_none_to_be_asked_for() {
    let a = (Ipv4Addr::new(10, 0, 0, 1), 8);
    let echo = tuple(Proto::ICMP, a, a);
    let ping = AnyConnection::V4(connection(echo, echo));
    let wants = |name, value| {
        questions_of(&[(name, value)])
            .unwrap()
            .wants(WorkerId(0), &ping)
    };
    assert!(!wants("any-port", "8"));
    assert!(!wants("tcp-state", "established"));
    assert!(wants("state", "established"), "an answer was seen");
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_name() {
    for (name, value) in [
        ("src-address", "10.0.0"),
        ("dst-address", "10.0.0.0/33"),
        ("any-address", ""),
        ("src-port", "99999"),
        ("dst-port", "90-80"),
        ("any-port", "80,,81"),
        ("protocol", "tpc"),
        ("protocol", "256"),
        ("family", "ipv5"),
        ("connection-state", "invalid"),
        ("state", "bogus"),
        ("tcp-state", "new"),
        ("connection-mark", "4294967296"),
        ("connection-mark", "1/0x"),
        ("connection-mark", "0x+5"),
        ("connection-nat-state", "nat"),
        ("flags", ""),
        ("flags", "X"),
        ("flags", "S!"),
        ("helper", "gopher"),
        ("timeout-less", "soon"),
        ("worker", "64"),
        ("worker", "!"),
    ] {
        let error = questions_of(&[(name, value)]).unwrap_err();
        assert!(
            error.starts_with(&format!("{name}: ")),
            "{name}={value}: {error}"
        );
    }
    let many = vec!["1"; VALUES_MAX + 1].join(",");
    assert!(questions_of(&[("dst-port", &many)]).is_err());
}

#[test]
fn names_that_are_none_and_names_given_twice_are_refused() {
    let unknown = questions_of(&[("dst-prot", "80")]).unwrap_err();
    assert!(unknown.contains("did you mean `dst-port`"), "{unknown}");
    let twice = questions_of(&[("dst-port", "80"), ("dst-port", "81")]).unwrap_err();
    assert!(twice.starts_with("dst-port: given twice"), "{twice}");
}

#[test]
fn an_event_filter_asks_what_happened_too() {
    let wants = |asks: &[(&str, &str)], change| {
        let mut filter = EventFilter::default();
        for (name, value) in asks {
            filter.ask(name, value).unwrap();
        }
        filter.wants(WorkerId(0), change, &translated().into())
    };
    let ended = Change::Destroy(Cause::Expired);
    assert!(wants(&[], Change::Update));
    assert!(wants(&[("event", "new,destroy")], ended));
    assert!(!wants(&[("event", "new,destroy")], Change::Update));
    assert!(!wants(&[("event", "new"), ("dst-port", "80")], Change::New));
    let mut filter = EventFilter::default();
    assert!(filter.ask("event", "gone").unwrap_err().contains("event: "));
    filter.ask("event", "new").unwrap();
    assert!(filter.ask("event", "update").unwrap_err().contains("twice"));
}

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(from.to_vec())
}

/// Few values, so that questions hold about as often as they do not.
fn ends() -> impl Strategy<Value = (Ipv4Addr, u16)> {
    (0..4_u8, 0..4_u16).prop_map(|(a, port)| (Ipv4Addr::new(10, 0, 0, a), 80 + port))
}

fn connections() -> impl Strategy<Value = Connection<V4>> {
    let protos = pick(&[Proto::TCP, Proto::UDP, Proto::ICMP, Proto(50)]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let rest = (0..4_u32, 0..4_u64, pick(&["established", "close"]));
    (protos, [ends(), ends(), ends(), ends()], flags, rest).prop_map(
        |(proto, [a, b, c, d], (seen, expected, srcnat), (mark, secs, state))| {
            let mut flags = Flags::CONFIRMED;
            for (is, flag) in [
                (seen, Flags::SEEN_REPLY),
                (expected, Flags::EXPECTED),
                (srcnat, Flags::SRCNAT),
            ] {
                flags = if is { flags.with(flag) } else { flags };
            }
            Connection {
                flags,
                mark,
                state: (proto == Proto::TCP).then_some(state),
                timeout: Duration::from_secs(secs),
                ..connection(tuple(proto, a, b), tuple(proto, c, d))
            }
        },
    )
}

/// A question with its name and text, and what it means in plain words.
#[derive(Debug, Clone)]
struct Question {
    name: &'static str,
    value: String,
    negated: bool,
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let value = |name: &'static str| -> BoxedStrategy<String> {
        if name.ends_with("address") {
            return (0..4_u8, pick(&["", "/31", "/32", "/0"]))
                .prop_map(|(a, len)| format!("10.0.0.{a}{len}"))
                .boxed();
        }
        if name.ends_with("port") {
            return prop_oneof![
                (80..84_u16).prop_map(|p| p.to_string()),
                (80..82_u16).prop_map(|p| format!("{p}-82")),
                (80..82_u16).prop_map(|p| format!("{p},83")),
            ]
            .boxed();
        }
        match name {
            "protocol" => pick(&["tcp", "17", "icmp,tcp"])
                .prop_map(String::from)
                .boxed(),
            "connection-state" => pick(&["new", "established", "related"])
                .prop_map(String::from)
                .boxed(),
            "connection-mark" => pick(&["1", "0x2/0x2", "no-mark"])
                .prop_map(String::from)
                .boxed(),
            "flags" => pick(&["S", "!S", "sE", "C!E"])
                .prop_map(String::from)
                .boxed(),
            _timeouts => (1..4_u8).prop_map(|s| format!("{s}s")).boxed(),
        }
    };
    const ASKED: [&str; 16] = [
        "src-address",
        "dst-address",
        "reply-src-address",
        "reply-dst-address",
        "any-address",
        "src-port",
        "dst-port",
        "reply-src-port",
        "reply-dst-port",
        "any-port",
        "protocol",
        "connection-state",
        "connection-mark",
        "flags",
        "timeout-less",
        "timeout-greater",
    ];
    let question = pick(&ASKED).prop_flat_map(move |name| {
        (value(name), any::<bool>()).prop_map(move |(value, negated)| Question {
            name,
            value,
            negated: negated && name != "flags",
        })
    });
    prop::collection::vec(question, 0..4).prop_map(|mut asked| {
        let mut seen = Vec::new();
        asked.retain(|q| {
            !seen.contains(&q.name) && {
                seen.push(q.name);
                true
            }
        });
        asked
    })
}

/// The question answered from its text, without the filter's types.
fn naive(question: &Question, c: &Connection<V4>) -> bool {
    let (o, r) = (&c.pair.original, &c.pair.reply);
    let ends = [
        ("src", o.src, o.src_port.0),
        ("dst", o.dst, o.dst_port.0),
        ("reply-src", r.src, r.src_port.0),
        ("reply-dst", r.dst, r.dst_port.0),
    ];
    let has = |letter| c.flags.letters().any(|l| l == letter);
    let value = &*question.value;
    let words = || value.split(',');
    let holds = if let Some(end) = question.name.strip_suffix("-address") {
        let (address, len) = value.split_once('/').unwrap_or((value, "32"));
        let bits = u32::from(address.parse::<Ipv4Addr>().unwrap());
        let shift = 32 - len.parse::<u32>().unwrap();
        ends.iter().filter(|e| end == "any" || end == e.0).any(|e| {
            let other = u32::from(Ipv4Addr::from(e.1));
            shift == 32 || bits >> shift == other >> shift
        })
    } else if let Some(end) = question.name.strip_suffix("-port") {
        let within = |port: u16| {
            words().any(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                first.parse::<u16>().unwrap() <= port && port <= last.parse::<u16>().unwrap()
            })
        };
        let ported = [Proto::TCP, Proto::UDP].contains(&o.proto);
        let mut asked = ends.iter().filter(|e| end == "any" || end == e.0);
        ported && asked.any(|e| within(e.2))
    } else {
        let seconds = || value.trim_end_matches('s').parse::<u64>().unwrap();
        match question.name {
            "protocol" => words().any(|word| {
                word == match o.proto {
                    Proto::TCP => "tcp",
                    Proto::UDP => "17",
                    Proto::ICMP => "icmp",
                    _ => "none",
                }
            }),
            "connection-state" => match (has('S'), has('E')) {
                (true, _) => value == "established",
                (false, true) => value == "related",
                (false, false) => value == "new",
            },
            "connection-mark" => match value {
                "1" => c.mark == 1,
                "no-mark" => c.mark == 0,
                _second_bit => c.mark & 2 == 2,
            },
            "flags" => match value {
                "S" => has('S'),
                "!S" => !has('S'),
                "sE" => has('s') && has('E'),
                _c_without_e => has('C') && !has('E'),
            },
            "timeout-less" => c.timeout.as_secs() < seconds(),
            _greater => c.timeout.as_secs() > seconds(),
        }
    };
    holds != question.negated
}

proptest! {
    #[test]
    fn a_filter_wants_what_its_words_say(c in connections(), asked in questions()) {
        let mut filter = Filter::default();
        for q in &asked {
            let sign = if q.negated { "!" } else { "" };
            let value = format!("{sign}{}", q.value);
            filter.ask(q.name, &value).unwrap();
            let alone = questions_of(&[(q.name, &value)]).unwrap();
            prop_assert_eq!(alone.wants(WorkerId(0), &c.into()), naive(q, &c), "{:?}", q);
        }
        let meant = asked.iter().all(|q| naive(q, &c));
        prop_assert_eq!(filter.wants(WorkerId(0), &c.into()), meant);
    }

    #[test]
    fn no_text_makes_a_filter_panic(at in 0..NAMES.len(), value in ".{0,24}") {
        let _ = Filter::default().ask(NAMES[at], &value);
    }
}

#[test]
fn connection_mark_is_asked_by_name_once_the_gateway_has_numbered_it() {
    let names = ["bulk", "voip", "37"].map(str::to_owned);
    let marks = MarkNumbers::build(&names, None);
    let asks = |value: &str| {
        let mut filter = Filter::default();
        filter.ask("connection-mark", value).unwrap();
        let filter = filter.under(&marks)?;
        let (_, sense, ask) = filter.asks.into_iter().next().unwrap();
        Ok::<_, String>((sense, ask))
    };
    let mark = |value| Ask::Mark {
        value,
        mask: u32::MAX,
    };
    assert_eq!(asks("voip"), Ok((Sense::Plain, mark(2))));
    assert_eq!(asks("!bulk"), Ok((Sense::Negated, mark(1))));
    assert_eq!(
        asks("37"),
        Ok((Sense::Plain, mark(3))),
        "its name is a number"
    );
    assert_eq!(asks("38"), Ok((Sense::Plain, mark(38))));
    assert_eq!(asks("no-mark"), Ok((Sense::Plain, mark(0))));
    assert_eq!(
        asks("viop").unwrap_err(),
        "connection-mark: no rule names a mark `viop` (did you mean `voip`?)"
    );
}
