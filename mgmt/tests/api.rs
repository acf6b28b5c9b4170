//! The management API over a real socket, with a gateway that is made up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use turnpike_mgmt::api::{
    Limits, bind, metrics_router, open_metrics, router, serve_metrics, serve_socket,
};
use turnpike_mgmt::client::{Client, ClientError};
use turnpike_mgmt::config::services::MetricsConfig;
use turnpike_mgmt::report::{
    AddressList, ConfigInEffect, ConfigProblem, Connection, Connections, Drops, Failed, Lists, Log,
    Reloaded, Rule, Rules, Status,
};
use turnpike_mgmt::running::{ConnectionFilter, Refusal, Running};
use turnpike_pipeline::policy::TableKind;

/// Reloads fail twice, each in its way, then work.
#[derive(Default)]
struct MadeUp {
    reloads: AtomicU32,
}

impl Running for MadeUp {
    fn status(&self) -> Status {
        Status {
            version: "9.9.9".into(),
            ..Status::default()
        }
    }

    fn rules(&self) -> Rules {
        let rule = |table: &str, chain: &str| Rule {
            table: table.into(),
            chain: chain.into(),
            number: 1,
            packets: 5,
            ..Rule::default()
        };
        Rules {
            rules: vec![rule("filter", "input"), rule("nat", "srcnat")],
        }
    }

    fn chains(&self, table: TableKind) -> Vec<String> {
        let mut names: Vec<String> = table
            .built_in_chains()
            .iter()
            .map(|n| (*n).into())
            .collect();
        if table == TableKind::Filter {
            names.push("guests".into());
        }
        names
    }

    fn lists(&self, name: Option<&str>) -> Lists {
        Lists {
            address_lists: vec![AddressList {
                name: "trusted".into(),
                prefixes: 1,
                address: name.map(|_| "10.0.0.0/8".to_owned()).into_iter().collect(),
            }],
        }
    }

    fn connections(
        &self,
        filter: &ConnectionFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Connections, String> {
        if cursor == Some("bad") {
            return Err("that is no cursor".into());
        }
        let row = Connection {
            protocol: format!("{:?}", filter.protocol.map(|p| p.0)),
            state: limit.to_string(),
            ..Connection::default()
        };
        Ok(Connections {
            connections: vec![row],
            next: cursor.is_none().then(|| "1".to_owned()),
        })
    }

    fn config(&self) -> ConfigInEffect {
        ConfigInEffect::default()
    }

    fn log(&self, after: u64, limit: usize) -> Log {
        Log {
            last: after + limit as u64,
            ..Log::default()
        }
    }

    fn reload(&self) -> Result<Reloaded, Refusal> {
        let failed = |error: &str| Failed {
            error: error.into(),
            problems: vec![ConfigProblem {
                file: "gw.yaml".into(),
                line: 3,
                column: 7,
                severity: "error".into(),
                message: "wrong".into(),
            }],
        };
        match self.reloads.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Refusal::Invalid(failed("the configuration is wrong"))),
            1 => Err(Refusal::StartOnly(failed("engine.workers cannot change"))),
            _ => Ok(Reloaded {
                generation: 2,
                ..Reloaded::default()
            }),
        }
    }
}

/// A server on a socket of its own; the directory goes when it is dropped.
struct Server {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

fn start() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let bound = bind(&socket).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = bound.listener().unwrap();
    let limits = Limits {
        headers: Duration::from_millis(300),
        ..Limits::default()
    };
    runtime.spawn(async move {
        let _bound = bound;
        serve_socket(listener, router(Arc::new(MadeUp::default())), limits).await
    });
    Server {
        _dir: dir,
        socket,
        _runtime: runtime,
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
fn every_path_answers_json() {
    let server = start();
    let client = Client::new(&server.socket);
    assert_eq!(client.get::<Status>("/v1/status").unwrap().version, "9.9.9");
    assert_eq!(client.get::<Rules>("/v1/rules").unwrap().rules.len(), 2);
    let nat: Rules = client.get("/v1/rules?table=nat").unwrap();
    assert_eq!(nat.rules.len(), 1);
    assert!(client.get::<Drops>("/v1/drops").unwrap().drops.len() > 30);
    assert_eq!(
        client.get::<Log>("/v1/log?after=7&limit=3").unwrap().last,
        10
    );
    client.get::<ConfigInEffect>("/v1/config").unwrap();
    let list: Lists = client.get("/v1/lists?name=trusted").unwrap();
    assert_eq!(list.address_lists[0].address, ["10.0.0.0/8"]);
    let page: Connections = client
        .get("/v1/connections?protocol=udp&limit=99999")
        .unwrap();
    assert_eq!(page.connections[0].protocol, "Some(17)");
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
        ("/v1/connections?src=10.0.0", "10.0.0"),
        ("/v1/connections?port=99999", "port"),
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
        ("/v1/rules?table=bogus", "there are: raw, nat, filter"),
        (
            "/v1/rules?chain=bogus",
            "there are: prerouting, output, dstnat, srcnat, input, forward, guests",
        ),
        (
            "/v1/rules?table=nat&chain=input",
            "`input` is no chain of table nat; there are: dstnat, srcnat",
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
