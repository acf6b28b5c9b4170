//! `connections.json`: the connection table at the last stamp.

use std::net::IpAddr;

use serde::Serialize;
use turnpike_conntrack::ids::Direction;
use turnpike_conntrack::table::Connection;
use turnpike_conntrack::table::Table;
use turnpike_conntrack::time::Tick;
use turnpike_conntrack::tracker::Conntrack;
use turnpike_conntrack::tuple::{Address, Family, Proto, Tuple};
use turnpike_helpers::helper::Reader;
use turnpike_pipeline::program::Program;

/// How many places of the table are looked at in one go.
const PIECE: usize = 1_024;

/// One connection, in the words of RouterOS's connection list.
///
/// For ICMP the identifier stands in the place of the asker's port and the type of its question in
/// that of the other; GRE calls have their ids, protocols without either zeros. `state` is the
/// tracker's state of any protocol; where a tracker has none, whether an answer has been seen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConnectionReport {
    protocol: u8,
    src_address: IpAddr,
    src_port: u16,
    dst_address: IpAddr,
    dst_port: u16,
    reply_src_address: IpAddr,
    reply_src_port: u16,
    reply_dst_address: IpAddr,
    reply_dst_port: u16,
    tcp_state: Option<&'static str>,
    state: &'static str,
    flags: String,
    timeout_ms: u64,
    orig_packets: u64,
    orig_bytes: u64,
    repl_packets: u64,
    repl_bytes: u64,
    start_seconds: u32,
    idle_ms: u32,
    connection_mark: Option<String>,
    helper: Option<&'static str>,
    layer7_label: Option<String>,
    generation: u32,
    rule: Option<String>,
}

/// Every live connection: IPv4 first, each family in the order of its tuples.
pub fn list(conntrack: &Conntrack, program: &Program, now: Tick) -> Vec<ConnectionReport> {
    let mut reports = family(&conntrack.v4, program, now);
    reports.append(&mut family(&conntrack.v6, program, now));
    reports
}

fn family<F: Family>(table: &Table<F>, program: &Program, now: Tick) -> Vec<ConnectionReport> {
    let mut found = Vec::with_capacity(table.len());
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = table.walk(from, PIECE, now, |connection| found.push(connection));
    }
    found.sort_by_key(|connection| order(&connection.pair.original));
    found
        .iter()
        .map(|connection| report(connection, program))
        .collect()
}

/// By protocol, then by who talks to whom: an order that does not depend on places in the table.
fn order<F: Family>(tuple: &Tuple<F>) -> (u8, F::Addr, u16, F::Addr, u16) {
    (
        tuple.proto.0,
        tuple.src,
        tuple.src_port.0,
        tuple.dst,
        tuple.dst_port.0,
    )
}

fn report<F: Family>(connection: &Connection<F>, program: &Program) -> ConnectionReport {
    let (original, reply) = (&connection.pair.original, &connection.pair.reply);
    let [orig, repl] = [Direction::Original, Direction::Reply].map(Direction::index);
    let count = |counts: &[u64; 2], direction: usize| counts.get(direction).copied().unwrap_or(0);
    ConnectionReport {
        protocol: original.proto.0,
        src_address: original.src.to_ip(),
        src_port: original.src_port.0,
        dst_address: original.dst.to_ip(),
        dst_port: original.dst_port.0,
        reply_src_address: reply.src.to_ip(),
        reply_src_port: reply.src_port.0,
        reply_dst_address: reply.dst.to_ip(),
        reply_dst_port: reply.dst_port.0,
        tcp_state: connection.state.filter(|_| original.proto == Proto::TCP),
        state: connection.state_word(),
        flags: connection.flags.to_string(),
        timeout_ms: u64::try_from(connection.timeout.as_millis()).unwrap_or(u64::MAX),
        orig_packets: count(&connection.packets, orig),
        orig_bytes: count(&connection.bytes, orig),
        repl_packets: count(&connection.packets, repl),
        repl_bytes: count(&connection.bytes, repl),
        start_seconds: connection.start_secs,
        idle_ms: connection.idle_ms,
        connection_mark: program.marks.name(connection.mark).map(str::to_owned),
        helper: connection
            .helper
            .and_then(Reader::numbered)
            .map(Reader::helper),
        layer7_label: connection
            .layer7
            .label()
            .and_then(|label| program.layer7.name(label))
            .map(str::to_owned),
        generation: connection.generation.0,
        rule: connection
            .rule
            .and_then(|rule| program.lasting_rule_name(rule)),
    }
}
