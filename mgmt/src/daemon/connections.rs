//! Pages of the connection table: workers are asked one after the other, a piece at a time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_conntrack::expect::MasterRef;
use turnpike_conntrack::ids::{FlowId, WorkerId};
use turnpike_conntrack::table::Connection;
use turnpike_conntrack::tuple::{Address, Family, Proto, Tuple};
use turnpike_engine::gateway::{AnyConnection, Cursor, Gateway, Tally};
use turnpike_engine::mailbox::AskError;
use turnpike_helpers::catalogue::protocol_name;
use turnpike_helpers::helper::Reader;
use turnpike_pipeline::program::Program;

use crate::filter::Filter;
use crate::report::{self, Connections, Traffic};
use crate::running::Unanswered;

/// How long one page may take; a page may come back with less than was asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A place in the tables of all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    worker: u8,
    cursor: Cursor,
}

impl Place {
    /// Where it goes on: in the same worker's tables, or with the next worker.
    fn after(self, next: Option<Cursor>) -> Self {
        match next {
            Some(cursor) => Self { cursor, ..self },
            None => Self {
                worker: self.worker.saturating_add(1),
                cursor: Cursor::default(),
            },
        }
    }
}

/// A page of at most `limit` connections that `filter` wants, from `cursor` on.
///
/// # Errors
/// A cursor that is none, a mark that nobody knows, or a worker that does not answer.
pub fn page(
    gateway: &Gateway,
    filter: &Arc<Filter>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Connections, Unanswered> {
    let mut place = match cursor {
        Some(text) => Some(parse(text).ok_or_else(|| {
            Unanswered::Wrong(format!(
                "cursor: `{text}` is none; take the one that the page before gave as `next`"
            ))
        })?),
        None => Some(Place::default()),
    };
    let began = Instant::now();
    let now_secs = gateway.clock().now().as_secs();
    let program = gateway.program();
    let filter = &numbered(filter, &program)?;
    let mut connections = Vec::new();
    while let Some(here) = place {
        if usize::from(here.worker) >= gateway.worker_count() {
            place = None;
            break;
        }
        let worker = WorkerId(here.worker);
        let piece = gateway
            .connections(worker, here.cursor, wanted(filter, worker))
            .map_err(|e| Unanswered::worker(worker, e))?;
        for connection in piece.connections {
            if connections.len() == limit {
                return Ok(Connections {
                    connections,
                    next: Some(show(at(here.worker, &connection))),
                });
            }
            connections.push(row_of(worker, &connection, now_secs, &program));
        }
        place = Some(here.after(piece.next));
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(Connections {
        connections,
        next: place.map(show),
    })
}

/// How many connections `filter` wants.
///
/// # Errors
/// A worker that does not answer, or a mark that nobody knows.
pub fn count(gateway: &Gateway, filter: &Arc<Filter>) -> Result<u64, Unanswered> {
    let filter = &numbered(filter, &gateway.program())?;
    in_pieces(gateway, |worker, cursor| {
        gateway.count_connections(worker, cursor, wanted(filter, worker))
    })
}

/// Ends the connections that `filter` wants; how many it has ended.
///
/// # Errors
/// A worker that does not answer, or a mark that nobody knows.
pub fn flush(gateway: &Gateway, filter: &Arc<Filter>) -> Result<u64, Unanswered> {
    let filter = &numbered(filter, &gateway.program())?;
    in_pieces(gateway, |worker, cursor| {
        gateway.flush_connections(worker, cursor, wanted(filter, worker))
    })
}

/// Adds up what each piece of each worker's tables has.
fn in_pieces(
    gateway: &Gateway,
    piece: impl Fn(WorkerId, Cursor) -> Result<Tally, AskError>,
) -> Result<u64, Unanswered> {
    let mut place = Place::default();
    let mut connections = 0;
    while usize::from(place.worker) < gateway.worker_count() {
        let worker = WorkerId(place.worker);
        let tally = piece(worker, place.cursor).map_err(|e| Unanswered::worker(worker, e))?;
        connections += tally.connections as u64;
        place = place.after(tally.next);
    }
    Ok(connections)
}

/// The filter with the numbers that marks have now.
fn numbered(filter: &Filter, program: &Program) -> Result<Arc<Filter>, Unanswered> {
    let filter = filter.under(&program.marks).map_err(Unanswered::Wrong)?;
    Ok(Arc::new(filter))
}

/// The filter as a worker asks it. The worker gives back a reference, not memory.
fn wanted(filter: &Arc<Filter>, worker: WorkerId) -> impl Fn(&AnyConnection) -> bool + use<> {
    let filter = Arc::clone(filter);
    move |connection| filter.wants(worker, connection)
}

/// The place of a connection that did not fit any more.
fn at(worker: u8, connection: &AnyConnection) -> Place {
    let cursor = match connection {
        AnyConnection::V4(Connection { id: FlowId(id), .. }) => Cursor::V4(*id),
        AnyConnection::V6(Connection { id: FlowId(id), .. }) => Cursor::V6(*id),
    };
    Place { worker, cursor }
}

/// A place as a cursor.
fn show(place: Place) -> String {
    match place.cursor {
        Cursor::V4(at) => place_name(place.worker, 4, FlowId(at)),
        Cursor::V6(at) => place_name(place.worker, 6, FlowId(at)),
    }
}

/// `worker.version.place`.
fn place_name(worker: u8, version: u8, FlowId(at): FlowId) -> String {
    format!("{worker}.{version}.{at}")
}

fn parse(text: &str) -> Option<Place> {
    let mut parts = text.split('.');
    let worker = parts.next()?.parse().ok()?;
    let family = parts.next()?;
    let at = parts.next()?.parse().ok()?;
    let cursor = match family {
        "4" => Cursor::V4(at),
        "6" => Cursor::V6(at),
        _ => return None,
    };
    parts.next().is_none().then_some(Place { worker, cursor })
}

/// A connection as listings and events show it, at a time of the gateway's clock.
pub fn row_of(
    worker: WorkerId,
    connection: &AnyConnection,
    now_secs: u64,
    program: &Program,
) -> report::Connection {
    match connection {
        AnyConnection::V4(connection) => row(worker.0, connection, now_secs, program),
        AnyConnection::V6(connection) => row(worker.0, connection, now_secs, program),
    }
}

fn row<F: Family>(
    worker: u8,
    connection: &Connection<F>,
    now_secs: u64,
    program: &Program,
) -> report::Connection {
    let protocol = connection.pair.original.proto;
    let ends = |tuple: &Tuple<F>| {
        [
            address(protocol, (tuple.src.to_ip(), tuple.src_port.0)),
            address(protocol, (tuple.dst.to_ip(), tuple.dst_port.0)),
        ]
    };
    let reader = connection.helper.and_then(Reader::numbered);
    let [src_address, dst_address] = ends(&connection.pair.original);
    let [reply_src_address, reply_dst_address] = ends(&connection.pair.reply);
    let ([orig_packets, repl_packets], [orig_bytes, repl_bytes]) =
        (connection.packets, connection.bytes);
    let master = |MasterRef {
                      worker,
                      version,
                      id,
                  }| place_name(worker.0, version, id);
    report::Connection {
        id: place_name(worker, F::VERSION, connection.id),
        worker: u16::from(worker),
        flags: connection.flags.to_string(),
        protocol: protocol_name(protocol).map_or_else(|| protocol.0.to_string(), str::to_owned),
        src_address,
        dst_address,
        reply_src_address,
        reply_dst_address,
        state: connection.state_word().to_owned(),
        timeout_seconds: connection.timeout.as_secs(),
        age_seconds: now_secs.saturating_sub(u64::from(connection.start_secs)),
        orig: Traffic {
            packets: orig_packets,
            bytes: orig_bytes,
        },
        repl: Traffic {
            packets: repl_packets,
            bytes: repl_bytes,
        },
        idle_seconds: u64::from(connection.idle_ms / 1_000),
        connection_mark: program.marks.name(connection.mark).map(str::to_owned),
        helper: reader.map(|reader| reader.helper().to_owned()),
        layer7_label: connection
            .layer7
            .label()
            .and_then(|label| program.layer7.name(label))
            .map(str::to_owned),
        master: connection.master.map(master),
        generation: connection.generation.0,
        rule: connection
            .rule
            .and_then(|rule| program.lasting_rule_name(rule)),
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, or the address alone where there are no ports.
fn address(protocol: Proto, (ip, port): (IpAddr, u16)) -> String {
    if protocol.has_ports() {
        std::net::SocketAddr::from((ip, port)).to_string()
    } else {
        ip.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_written_down() {
        for place in [
            Place {
                worker: 0,
                cursor: Cursor::V4(0),
            },
            Place {
                worker: 63,
                cursor: Cursor::V6(u32::MAX),
            },
        ] {
            assert_eq!(parse(&show(place)), Some(place));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "1", "0.5.1", "0.4", "0.4.x", "0.4.1.2", "256.4.0"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_have_their_port_where_there_is_one() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(address(Proto::TCP, (v6, 80)), "[2001:db8::1]:80");
        assert_eq!(
            address(Proto::UDP, ([10, 0, 0, 1].into(), 53)),
            "10.0.0.1:53"
        );
        assert_eq!(address(Proto::ICMP, ([10, 0, 0, 1].into(), 8)), "10.0.0.1");
    }
}
