//! What a program would do with the connections there are, and ending those it would refuse.
//!
//! Workers take their connections down in bounded pieces, as for listings; what would become of
//! them is worked out here, so that no worker waits for it.

use std::time::{Duration, Instant};

use turnpike_conntrack::ids::{Direction, WorkerId};
use turnpike_conntrack::table::Connection;
use turnpike_conntrack::tuple::Family;
use turnpike_engine::gateway::{AnyConnection, Cursor, FLUSH_MAX, Gateway, Surveyed};
use turnpike_pipeline::ids::RuleId;
use turnpike_pipeline::program::Program;
use turnpike_pipeline::rehearsal::{
    Certainty, Entrance, NewEnd, Refusal, Rehearsal, Retranslation, Subject,
};
use turnpike_pipeline::stages::family::Stack;

use super::connections::row_of;
use crate::report::{Affected, Effect, Effects};
use crate::running::Unanswered;

/// How long a dry run looks at connections before it says what it has found so far.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many connections are shown for each thing that would happen.
pub const EXAMPLES_MAX: usize = 20;

/// What would become of a connection.
struct Prospect {
    next: Option<(Direction, Refusal)>,
    opened: Result<Option<Retranslation>, Refusal>,
}

/// Whether a walk over all connections goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    GoOn,
    Enough,
}

/// What would become of the connections there are if `program` judged them.
///
/// # Errors
/// A worker that does not answer.
pub fn effects(gateway: &Gateway, program: &Program) -> Result<Effects, Unanswered> {
    let running = gateway.program();
    let began = Instant::now();
    let now_secs = gateway.clock().now().as_secs();
    let mut effects = Effects {
        complete: true,
        ..Effects::default()
    };
    each_piece(gateway, |worker, piece| {
        for surveyed in piece {
            let prospect = rehearse(gateway, program, &running, surveyed);
            let row = || row_of(worker, &surveyed.connection, now_secs, &running);
            effects.judged += 1;
            note(&mut effects, program, &prospect, row);
        }
        if began.elapsed() < PATIENCE {
            return Ok(Walk::GoOn);
        }
        effects.complete = false;
        Ok(Walk::Enough)
    })?;
    Ok(effects)
}

/// Ends the connections whose first packet would be refused if it came now; how many it has ended.
///
/// Those that depend on what only packets can answer live on.
///
/// # Errors
/// A worker that does not answer; what was ended until then has ended.
pub fn end_refused(gateway: &Gateway, program: &Program) -> Result<u64, Unanswered> {
    let mut ended = 0;
    each_piece(gateway, |worker, piece| {
        let refused = piece.iter().filter(|surveyed| {
            let prospect = rehearse(gateway, program, program, surveyed);
            let refusal = prospect.opened.err();
            refusal.is_some_and(|refusal| refusal.certainty == Certainty::Certain)
        });
        let refused: Vec<AnyConnection> = refused.map(|surveyed| surveyed.connection).collect();
        for few in refused.chunks(FLUSH_MAX) {
            let few = gateway.end_refused(worker, few.to_vec());
            ended += few.map_err(|e| Unanswered::worker(worker, e))? as u64;
        }
        Ok(Walk::GoOn)
    })?;
    Ok(ended)
}

/// Hands over the connections of all workers, piece by piece.
fn each_piece(
    gateway: &Gateway,
    mut take: impl FnMut(WorkerId, &[Surveyed]) -> Result<Walk, Unanswered>,
) -> Result<(), Unanswered> {
    let workers = u8::try_from(gateway.worker_count()).unwrap_or(u8::MAX);
    for worker in (0..workers).map(WorkerId) {
        let mut next = Some(Cursor::default());
        while let Some(cursor) = next {
            let piece = gateway.survey(worker, cursor);
            let piece = piece.map_err(|e| Unanswered::worker(worker, e))?;
            if take(worker, &piece.connections)? == Walk::Enough {
                return Ok(());
            }
            next = piece.next;
        }
    }
    Ok(())
}

fn rehearse(
    gateway: &Gateway,
    program: &Program,
    running: &Program,
    surveyed: &Surveyed,
) -> Prospect {
    let rehearsal = Rehearsal {
        program,
        shared: gateway.shared(),
        now: gateway.clock().now(),
    };
    let entrances = surveyed.entrances;
    let entrances = entrances.map(|entrance| entrance.in_program(running, program));
    match &surveyed.connection {
        AnyConnection::V4(connection) => prospect(&rehearsal, connection, entrances),
        AnyConnection::V6(connection) => prospect(&rehearsal, connection, entrances),
    }
}

fn prospect<F: Stack + Family>(
    rehearsal: &Rehearsal<'_>,
    connection: &Connection<F>,
    entrances: [Entrance; 2],
) -> Prospect {
    let subject = Subject {
        pair: connection.pair,
        flags: connection.flags,
        mark: connection.mark,
        layer7: connection.layer7,
        entrances,
    };
    let directions = [Direction::Original, Direction::Reply].into_iter();
    let refused = directions.filter_map(|direction| {
        let refusal = rehearsal.next_packet(&subject, direction)?;
        Some((direction, refusal))
    });
    Prospect {
        // What is certain goes first.
        next: refused.min_by_key(|(_, refusal)| refusal.certainty == Certainty::DependsOnPackets),
        opened: rehearsal.opened_now(&subject),
    }
}

fn note(
    effects: &mut Effects,
    program: &Program,
    prospect: &Prospect,
    row: impl Fn() -> crate::report::Connection,
) {
    let named = |rule: Option<RuleId>| rule.and_then(|rule| program.rule_name(rule));
    let refused = |refusal: &Refusal| Affected {
        reason: refusal.why.label().to_owned(),
        by: named(refusal.rule),
        connection: row(),
        ..Affected::default()
    };
    if let Some((direction, refusal)) = &prospect.next {
        add(&mut effects.cut, refusal.certainty, || Affected {
            direction: Some(
                match direction {
                    Direction::Original => "original",
                    Direction::Reply => "reply",
                }
                .to_owned(),
            ),
            ..refused(refusal)
        });
    }
    match &prospect.opened {
        Ok(None) => {}
        Err(refusal) => add(&mut effects.refused, refusal.certainty, || refused(refusal)),
        Ok(Some(other)) => add(&mut effects.translated, other.certainty, || Affected {
            reason: "translated".to_owned(),
            by: named(other.rule),
            becomes: Some(becomes(other.to)),
            connection: row(),
            ..Affected::default()
        }),
    }
}

fn add(effect: &mut Effect, certainty: Certainty, example: impl FnOnce() -> Affected) {
    let uncertain = certainty == Certainty::DependsOnPackets;
    effect.connections += 1;
    effect.uncertain += u64::from(uncertain);
    if effect.examples.len() < EXAMPLES_MAX {
        effect.examples.push(Affected {
            uncertain,
            ..example()
        });
    }
}

/// The other end, in words.
fn becomes(end: NewEnd) -> String {
    match end {
        NewEnd::Destination(ip, port) => {
            format!("destination {}", std::net::SocketAddr::from((ip, port)))
        }
        NewEnd::Source(addresses, ports) => {
            let mut text = format!("source {}", addresses.first);
            if addresses.last != addresses.first {
                text.push_str(&format!("-{}", addresses.last));
            }
            match ports {
                Some(ports) if ports.first == ports.last => {
                    text.push_str(&format!(" port {}", ports.first));
                }
                Some(ports) => text.push_str(&format!(" ports {}-{}", ports.first, ports.last)),
                None => {}
            }
            text
        }
    }
}
