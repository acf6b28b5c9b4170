//! The management API over a real socket, with a gateway that is made up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod made_up;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use made_up::MadeUp;
use turnpike_mgmt::api::{
    Limits, STREAMS_MAX, Streams, bind, metrics_router, open_metrics, router, serve_metrics,
    serve_socket,
};
use turnpike_mgmt::client::{Client, ClientError};
use turnpike_mgmt::config::services::MetricsConfig;
use turnpike_mgmt::report::{
    ConfigInEffect, Connections, Counted, Drops, DryRun, Explained, Flushed, Layer7Status,
    ListChanged, Lists, Log, Reloaded, Rules, Status,
};
use turnpike_mgmt::watch::Hub;

const PATIENCE: Duration = Duration::from_secs(5);

/// A server on a socket of its own; the directory goes when it is dropped.
struct Server {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    hub: Arc<Hub>,
    streams: Streams,
    runtime: tokio::runtime::Runtime,
}

fn start() -> Server {
    start_with(Limits {
        headers: Duration::from_millis(300),
        ..Limits::default()
    })
}

fn start_with(limits: Limits) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let bound = bind(&socket).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = bound.listener().unwrap();
    let (made_up, streams) = (Arc::new(MadeUp::default()), Streams::default());
    let (hub, places) = (Arc::clone(&made_up.hub), streams.clone());
    runtime.spawn(async move {
        let _bound = bound;
        serve_socket(listener, router(made_up), limits, places).await
    });
    Server {
        _dir: dir,
        socket,
        hub,
        streams,
        runtime,
    }
}

/// Sends raw bytes and returns everything that comes back.
fn raw(server: &Server, request: &str) -> String {
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn dropped_packets_are_found_by_what_is_known_of_them() {
    let server = start();
    let client = Client::new(&server.socket);
    let found = |query: &str| -> Vec<u64> {
        let drops: Drops = client.get(&format!("/v1/drops?{query}")).unwrap();
        drops.recent.iter().map(|dropped| dropped.number).collect()
    };
    assert_eq!(found(""), [0, 1, 2]);
    assert_eq!(found("limit=2"), [1, 2]);
    assert_eq!(found("reason=filter-rule"), [0, 1]);
    assert_eq!(found("reason=no-route&address=198.51.100.7"), [0; 0]);
    assert_eq!(found("address=2001:db8::7"), [1]);
    assert_eq!(found("port=4000"), [0, 1]);
    assert_eq!(found("port=53&limit=1"), [2]);
    assert_eq!(
        found("rule=gw.yaml:7&protocol=udp&in-interface=wan"),
        [0, 1, 2]
    );
    assert_eq!(found("rule=filter/input/2"), [0, 1, 2]);
    assert_eq!(found("rule=filter/input/3"), [0; 0]);
    assert_eq!(found("in-interface=lan"), [0; 0]);
    let refused = client.get::<Drops>("/v1/drops?reason=bogus").unwrap_err();
    assert!(refused.to_string().contains("`bogus` is no drop reason"));
    assert!(client.get::<Drops>("/v1/drops?color=red").is_err());
}

#[test]
fn every_path_answers_json() {
    let server = start();
    let client = Client::new(&server.socket);
    assert_eq!(client.get::<Status>("/v1/status").unwrap().version, "9.9.9");
    assert_eq!(client.get::<Rules>("/v1/rules").unwrap().rules.len(), 2);
    let nat: Rules = client.get("/v1/rules?table=nat").unwrap();
    assert_eq!(nat.rules.len(), 1);
    assert_eq!(client.get::<Layer7Status>("/v1/layer7").unwrap().opened, 12);
    assert!(client.get::<Drops>("/v1/drops").unwrap().drops.len() > 30);
    assert_eq!(
        client.get::<Log>("/v1/log?after=7&limit=3").unwrap().last,
        10
    );
    let dropped = |text: &str| client.get::<Log>(&format!("/v1/log?match={text}")).unwrap();
    assert_eq!(dropped("API%20DROP:").lines.len(), 1);
    assert_eq!(dropped("API%20Accept").lines, []);
    client.get::<ConfigInEffect>("/v1/config").unwrap();
    let list: Lists = client.get("/v1/lists?name=trusted").unwrap();
    assert_eq!(list.address_lists[0].address, ["10.0.0.0/8"]);
    let page: Connections = client
        .get("/v1/connections?protocol=udp&limit=99999")
        .unwrap();
    assert!(page.connections[0].protocol.contains("Proto(17)"));
    assert_eq!(page.connections[0].state, "1000");
}

#[test]
fn bad_questions_get_an_error_that_says_what_is_wrong() {
    let server = start();
    let client = Client::new(&server.socket);
    for (target, word) in [
        ("/v1/nothing", "/v1/status"),
        ("/v1/lists?name=nobody", "nobody"),
        ("/v1/connections?protocol=tpc", "tpc"),
        (
            "/v1/connections?src-address=10.0.0",
            "src-address: `10.0.0`",
        ),
        ("/v1/connections?dst-port=99999", "dst-port: `99999`"),
        ("/v1/connections?limit=0", "limit"),
        ("/v1/connections?limit=1&limit=2", "limit: given twice"),
        ("/v1/connections/count?limit=5", "`limit` is no filter"),
        ("/v1/connections/count?dst-port=80", "worker 3 is busy"),
        ("/v1/events?event=birth", "event: `birth`"),
        ("/v1/events?dst-prot=80", "did you mean `dst-port`"),
        ("/v1/connections?colour=red", "colour"),
        ("/v1/connections?cursor=bad", "cursor"),
        ("/v1/reload", "POST"),
    ] {
        match client.get::<serde_json::Value>(target) {
            Err(ClientError::Refused(failed)) => {
                assert!(failed.error.contains(word), "{target}: {}", failed.error);
            }
            other => assert_eq!(format!("{other:?}"), "a refusal", "{target}"),
        }
    }
}

#[test]
fn names_that_do_not_exist_are_a_bad_request_with_those_that_do() {
    let server = start();
    for (target, words) in [
        (
            "/v1/rules?table=bogus",
            "there are: raw, mangle, nat, filter",
        ),
        (
            "/v1/rules?chain=bogus",
            "there are: prerouting, output, input, forward, postrouting, dstnat, srcnat, guests",
        ),
        (
            "/v1/rules?table=nat&chain=forward",
            "`forward` is no chain of table nat; there are: dstnat, srcnat, input, output",
        ),
        ("/v1/connections?state=bogus", "there are: new, established"),
    ] {
        let answer = raw(
            &server,
            &format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        );
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
        assert!(answer.contains(words), "{target}: {answer}");
    }
    // Chains without rules are chains; so are those of the configuration's own.
    let client = Client::new(&server.socket);
    for (target, rules) in [
        ("/v1/rules?table=filter&chain=guests", 0),
        ("/v1/rules?chain=output", 0),
        ("/v1/rules?chain=srcnat", 1),
    ] {
        let found: Rules = client.get(target).unwrap();
        assert_eq!(found.rules.len(), rules, "{target}");
    }
    client
        .get::<Connections>("/v1/connections?state=time-wait")
        .unwrap();
}

#[test]
fn a_refused_reload_says_why_and_a_good_one_says_what_is_in_effect() {
    let server = start();
    let client = Client::new(&server.socket);
    let Err(ClientError::Refused(invalid)) = client.post::<Reloaded>("/v1/reload") else {
        unreachable!("the first reload is refused")
    };
    assert_eq!(invalid.problems[0].to_string(), "gw.yaml:3:7: error: wrong");
    let conflict = raw(
        &server,
        "POST /v1/reload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(conflict.starts_with("HTTP/1.1 409 "), "{conflict}");
    assert_eq!(client.post::<Reloaded>("/v1/reload").unwrap().generation, 2);
}

#[test]
fn a_reload_is_asked_for_its_options_and_for_nothing_that_contradicts_itself() {
    let server = start();
    let client = Client::new(&server.socket);
    for _ in 0..2 {
        client.post::<Reloaded>("/v1/reload").unwrap_err();
    }
    let plain: Reloaded = client.post("/v1/reload?dry-run=no").unwrap();
    assert_eq!((plain.ended, plain.confirm_within_seconds), (None, None));
    let both: Reloaded = client
        .post("/v1/reload?cut-refused=yes&confirm=1m30s")
        .unwrap();
    assert_eq!(
        (both.ended, both.confirm_within_seconds),
        (Some(7), Some(90))
    );
    let named: DryRun = client
        .post("/v1/reload?dry-run=yes&file=/etc/x%20y")
        .unwrap();
    assert_eq!(named.config, "/etc/x y");
    let own: DryRun = client.post("/v1/reload?dry-run=yes").unwrap();
    assert_eq!(own.config, "its own");
    for (query, status, word) in [
        ("dry-run=perhaps", 400, "dry-run: `perhaps`"),
        ("dry-run=yes&cut-refused=yes", 400, "stand alone"),
        ("dry-run=yes&confirm=60s", 400, "stand alone"),
        ("dry-run=yes&confirmed=yes", 400, "stand alone"),
        ("confirmed=yes&cut-refused=yes", 400, "stand alone"),
        ("file=/etc/x", 400, "dry-run=yes"),
        ("confirm=soon", 400, "confirm: `soon`"),
        ("confirm=0s", 400, "between 1s and 1d"),
        ("confirm=2d", 400, "between 1s and 1d"),
        ("undo=yes", 400, "undo"),
        ("confirmed=yes", 409, "no reload waits"),
    ] {
        let answer = raw(
            &server,
            &format!("POST /v1/reload?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        );
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&wanted), "{query}: {answer}");
        assert!(answer.contains(word), "{query}: {answer}");
    }
}

#[test]
fn metrics_are_plain_text_for_prometheus() {
    let server = start();
    let answer = raw(
        &server,
        "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(
        answer.contains("turnpike_build_info{version=\"9.9.9\"} 1"),
        "{answer}"
    );
}

#[test]
fn a_client_that_never_finishes_its_headers_is_let_go() {
    let server = start();
    let answer = raw(&server, "GET /v1/status HTTP/1.1\r\nhost: ");
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
}

#[test]
fn nobody_listening_is_said_with_what_to_do() {
    let client = Client::new(&PathBuf::from("/nonexistent/turnpike.sock"));
    let error = client.get::<Status>("/v1/status").unwrap_err().to_string();
    assert!(
        error.contains("turnpike run") && error.contains("--socket"),
        "{error}"
    );
}

/// The answer of a metrics listener that allows these prefixes.
fn scrape(allowed: &[&str]) -> String {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = MetricsConfig {
        port,
        allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let listener = open_metrics(port).unwrap();
    runtime.spawn(async move {
        let router = metrics_router(Arc::new(MadeUp::default()));
        serve_metrics(listener, config, router, Limits::default()).await
    });
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    // A refused peer may see its connection reset at any point.
    let _ = stream.write_all(request);
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn only_allowed_peers_may_scrape() {
    assert!(scrape(&["127.0.0.0/8"]).contains("turnpike_build_info"));
    assert_eq!(scrape(&["10.0.0.0/8", "::1/128"]), "");
}

#[test]
fn connections_are_counted_and_ended_by_filter_and_all_only_when_that_is_said() {
    let server = start();
    let client = Client::new(&server.socket);
    let counted: Counted = client.get("/v1/connections/count").unwrap();
    assert_eq!(counted.count, 7);
    let ended: Flushed = client.delete("/v1/connections?dst-port=80").unwrap();
    assert_eq!(ended.flushed, 2);
    let ended: Flushed = client.delete("/v1/connections?all=yes").unwrap();
    assert_eq!(ended.flushed, 7);
    for (target, word) in [
        ("/v1/connections", "all=yes"),
        ("/v1/connections?all=no", "all=yes"),
        ("/v1/connections?all=maybe", "all: `maybe`"),
        ("/v1/connections?all=yes&dst-port=80", "stands alone"),
        ("/v1/connections?dst-port=x", "dst-port: `x`"),
    ] {
        match client.delete::<Flushed>(target) {
            Err(ClientError::Refused(failed)) => {
                assert!(failed.error.contains(word), "{target}: {}", failed.error);
            }
            other => assert_eq!(format!("{other:?}"), "a refusal", "{target}"),
        }
    }
}

/// A stream that the server has answered, read up to its first line.
fn watch(server: &Server, query: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    let wait = Some(Duration::from_secs(5));
    stream.set_read_timeout(wait).unwrap();
    let request = format!("GET /v1/events{query} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    if line.starts_with("HTTP/1.1 200") {
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
    } else {
        assert!(line.starts_with("HTTP/1.1 503"), "{line}");
    }
    stream
}

/// The next line of a stream that is no size of a chunk.
fn next_line(stream: &mut BufReader<UnixStream>) -> String {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if !line.ends_with("\r\n") {
            return line.trim_end().to_owned();
        }
    }
}

fn publish(server: &Server, line: &str) {
    let line = format!("{line}\n");
    server.hub.publish(1, |_| true, || line.clone().into());
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_slow_stream_misses_lines_and_says_so_and_a_quick_one_misses_none() {
    let server = start();
    let mut quick = watch(&server, "");
    let mut slow = watch(&server, "");
    let text = "x".repeat(4_000);
    let mut sent = 0;
    // More than the socket and its queue hold.
    while server.hub.lost() < 100 {
        publish(&server, &format!("{sent} {text}"));
        assert_eq!(next_line(&mut quick), format!("{sent} {text}"));
        sent += 1;
        assert!(sent < 10_000, "the slow one never missed a line");
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < sent {
        let line = next_line(&mut slow);
        if let Some(number) = line.strip_prefix("missed ") {
            missed += number.parse::<u64>().unwrap();
        } else {
            assert_eq!(line, format!("{} {text}", seen + missed), "in order");
            seen += 1;
        }
        server.hub.tell_missed();
    }
    assert_eq!(missed, server.hub.lost());
}

#[test]
fn streams_take_no_place_of_requests_and_last_longer_than_they_may() {
    let server = start_with(Limits {
        connections: 1,
        lifetime: Duration::from_millis(100),
        headers: Duration::from_millis(300),
    });
    let mut streams: Vec<_> = (0..STREAMS_MAX).map(|_| watch(&server, "")).collect();
    assert_eq!(server.hub.len(), STREAMS_MAX as usize);
    std::thread::sleep(Duration::from_millis(500));
    let client = Client::new(&server.socket);
    client.get::<Status>("/v1/status").unwrap();
    match client.stream("/v1/events", |_| ControlFlow::Break(())) {
        Err(ClientError::Refused(failed)) => assert!(failed.error.contains("streams")),
        other => assert_eq!(format!("{other:?}"), "a refusal"),
    }
    publish(&server, "still here");
    for stream in &mut streams {
        assert_eq!(next_line(stream), "still here");
    }
    drop(streams);
    wait_until("those who went are forgotten", || server.hub.is_empty());
    watch(&server, "?event=new");
}

#[test]
fn a_stream_ends_whole_when_the_gateway_stops() {
    let server = start();
    let mut stream = watch(&server, "");
    publish(&server, "last words");
    server.hub.close();
    let ended = async { tokio::time::timeout(PATIENCE, server.streams.ended()).await };
    server.runtime.block_on(ended).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("last words\n"), "{rest}");
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the last chunk: {rest}");
    let late = watch(&server, "");
    drop(late);
}

#[test]
fn a_client_reads_lines_until_it_has_enough_or_the_gateway_ends_them() {
    let server = start();
    let client = Client::new(&server.socket);
    let mut lines = Vec::new();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            client.stream("/v1/events?event=new,update", |line| {
                lines.push(line.to_owned());
                if line == "enough" {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        });
        wait_until("it watches", || server.hub.len() == 1);
        for line in ["one", "two", "enough"] {
            publish(&server, line);
        }
        reading.join().unwrap().unwrap();
    });
    assert_eq!(lines, ["one", "two", "enough"]);
    wait_until("it has gone", || server.hub.is_empty());
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| client.stream("/v1/events", |_| ControlFlow::Continue(())));
        wait_until("it watches alone", || server.hub.len() == 1);
        server.hub.close();
        reading.join().unwrap().unwrap();
    });
}

#[test]
fn lists_are_changed_over_the_socket_and_mistakes_say_what_they_are() {
    let server = start();
    let client = Client::new(&server.socket);
    let entries = "/v1/lists/trusted/entries";
    let added: ListChanged = client
        .post(&format!(
            "{entries}?address=192.0.2.1-192.0.2.2&timeout=1h&comment=me"
        ))
        .unwrap();
    assert_eq!(added.address, ["192.0.2.1/32", "192.0.2.2/32"]);
    assert_eq!(added.result, "For(3600s) me");
    let stays: ListChanged = client.post(&format!("{entries}?address=::1")).unwrap();
    assert_eq!(stays.result, "NoneStatic ");
    let removed: ListChanged = client
        .delete("/v1/lists/a%20b/entries?address=10.0.0.0%2F8")
        .unwrap();
    assert_eq!((&*removed.list, &*removed.result), ("a b", "removed"));
    let refused = |result: Result<ListChanged, ClientError>| match result {
        Err(ClientError::Refused(failed)) => failed.error,
        other => panic!("{other:?}"),
    };
    for (target, said) in [
        ("/v1/lists/nobody/entries?address=::1", "no list is called"),
        ("/v1/lists/trusted/entries", "address"),
        (
            "/v1/lists/trusted/entries?address=10.0.0.1%2F8",
            "bits behind its prefix",
        ),
        (
            "/v1/lists/trusted/entries?address=::1&timeout=soon",
            "timeout: ",
        ),
        (
            "/v1/lists/trusted/entries?address=::1&tiemout=1h",
            "tiemout",
        ),
        (
            "/v1/lists/trusted/entries?address=::1-ffff::",
            "at the most",
        ),
    ] {
        let error = refused(client.post(target));
        assert!(error.contains(said), "{target}: {error}");
    }
    let configured = refused(client.delete(&format!("{entries}?address=10.0.0.1-10.0.0.2")));
    assert_eq!(configured, "it is configured");
}

#[test]
fn a_packet_is_explained_over_the_socket_with_those_before_it() {
    let server = start();
    let client = Client::new(&server.socket);
    let asked = |query: &str| client.post::<Explained>(&format!("/v1/explain?{query}"));
    let text = asked("in-interface=lan&packet=udp%20a%20%3E%20b&after=one%0Atwo")
        .unwrap()
        .text;
    assert!(text.contains("in_interface: \"lan\""), "{text}");
    assert!(
        text.contains("packet: \"udp a > b\", after: [\"one\", \"two\"]"),
        "{text}"
    );
    let refused = asked("in-interface=lan&packet=state").unwrap_err();
    assert!(refused.to_string().contains("leave `state` out"));
    assert!(asked("packet=x").is_err() && asked("in-interface=lan&packet=x&color=red").is_err());
    let many = format!("in-interface=lan&packet=x&after={}", "x%0A".repeat(65));
    assert!(asked(&many).unwrap_err().to_string().contains("at most 64"));
    let got = client.get::<Explained>("/v1/explain?in-interface=lan&packet=x");
    assert!(
        got.unwrap_err()
            .to_string()
            .contains("POST is for /v1/explain")
    );
}
