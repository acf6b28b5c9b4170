//! Pages of the connection table: workers are asked one after the other, a piece at a time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::{ConnState, FlowId, WorkerId};
use turnpike_conntrack::table::Connection;
use turnpike_conntrack::tuple::{Address, Family, Proto, Tuple};
use turnpike_engine::gateway::{AnyConnection, Cursor, Gateway};
use turnpike_helpers::catalogue::protocol_name;

use crate::report::{self, Connections, Traffic};
use crate::running::{ConnectionFilter, Ends};

/// How long one page may take; a page may come back with less than was asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A place in the tables of all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    worker: u8,
    cursor: Cursor,
}

/// A page of at most `limit` connections that `filter` wants, from `cursor` on.
///
/// # Errors
/// A cursor that is none, or a worker that does not answer.
pub fn page(
    gateway: &Gateway,
    filter: ConnectionFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Connections, String> {
    let mut place = match cursor {
        Some(text) => Some(parse(text).ok_or_else(|| {
            format!("`{text}` is no cursor; take the one that the page before gave as `next`")
        })?),
        None => Some(Place {
            worker: 0,
            cursor: Cursor::default(),
        }),
    };
    let began = Instant::now();
    let now_secs = gateway.clock().now().as_secs();
    let mut connections = Vec::new();
    while let Some(here) = place {
        if usize::from(here.worker) >= gateway.worker_count() {
            place = None;
            break;
        }
        let wanted = move |c: &AnyConnection| match c {
            AnyConnection::V4(c) => filter.wants(&ends(c), state(c)),
            AnyConnection::V6(c) => filter.wants(&ends(c), state(c)),
        };
        let piece = gateway
            .connections(WorkerId(here.worker), here.cursor, wanted)
            .map_err(|e| format!("worker {}: {e}", here.worker))?;
        for connection in piece.connections {
            if connections.len() == limit {
                return Ok(Connections {
                    connections,
                    next: Some(show(at(here.worker, &connection))),
                });
            }
            connections.push(match &connection {
                AnyConnection::V4(c) => row(here.worker, c, now_secs),
                AnyConnection::V6(c) => row(here.worker, c, now_secs),
            });
        }
        place = Some(match piece.next {
            Some(cursor) => Place { cursor, ..here },
            None => Place {
                worker: here.worker.saturating_add(1),
                cursor: Cursor::default(),
            },
        });
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(Connections {
        connections,
        next: place.map(show),
    })
}

/// The place of a connection that did not fit any more.
fn at(worker: u8, connection: &AnyConnection) -> Place {
    let cursor = match connection {
        AnyConnection::V4(Connection { id: FlowId(id), .. }) => Cursor::V4(*id),
        AnyConnection::V6(Connection { id: FlowId(id), .. }) => Cursor::V6(*id),
    };
    Place { worker, cursor }
}

/// `worker.family.place`.
fn show(place: Place) -> String {
    let (family, at) = match place.cursor {
        Cursor::V4(at) => (4, at),
        Cursor::V6(at) => (6, at),
    };
    format!("{}.{family}.{at}", place.worker)
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

fn ends<F: Family>(connection: &Connection<F>) -> Ends {
    let of = |tuple: &Tuple<F>| {
        [
            (tuple.src.to_ip(), tuple.src_port.0),
            (tuple.dst.to_ip(), tuple.dst_port.0),
        ]
    };
    Ends {
        protocol: connection.pair.original.proto,
        original: of(&connection.pair.original),
        reply: of(&connection.pair.reply),
    }
}

/// The tracker's state; of protocols that have none, whether an answer has been seen.
fn state<F: Family>(connection: &Connection<F>) -> &'static str {
    connection.state.unwrap_or_else(|| {
        if connection.flags.contains(Flags::SEEN_REPLY) {
            ConnState::Established.name()
        } else {
            ConnState::New.name()
        }
    })
}

fn row<F: Family>(worker: u8, connection: &Connection<F>, now_secs: u64) -> report::Connection {
    let Ends {
        protocol,
        original: [src, dst],
        reply: [reply_src, reply_dst],
    } = ends(connection);
    let show = |end| address(protocol, end);
    let ([orig_packets, repl_packets], [orig_bytes, repl_bytes]) =
        (connection.packets, connection.bytes);
    report::Connection {
        worker: u16::from(worker),
        flags: connection.flags.to_string(),
        protocol: protocol_name(protocol).map_or_else(|| protocol.0.to_string(), str::to_owned),
        src_address: show(src),
        dst_address: show(dst),
        reply_src_address: show(reply_src),
        reply_dst_address: show(reply_dst),
        state: state(connection).to_owned(),
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
        connection_mark: connection.mark,
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
