//! Explaining a packet by what a running gateway is and knows now.
//!
//! The answer comes from a gateway of its own, which begins with copies: the configuration in
//! effect, the live connection that the packet belongs to, the members of lists, what rules
//! remember, the counts of limits, and the clock. So nothing of the running one moves, and what its
//! workers are asked for is one lookup each.

use std::sync::Arc;

use turnpike_conntrack::ids::WorkerId;
use turnpike_engine::explain::{Explainer, compile_apart};
use turnpike_engine::gateway::{Found, Gateway};
use turnpike_pipeline::policy::Policy;
use turnpike_pipeline::program::Program;
use turnpike_pipeline::standing::Standing;

use super::play::Play;
use super::{Earlier, explained, interface_named};
use crate::report::{Connection, Explained};
use crate::running::{Asked, Unanswered};
use crate::words::{Words, WordsError};

/// Explains a packet as it would fare now; `row` shows a connection as listings do.
///
/// # Errors
/// A packet or an interface that is none, or a worker that does not answer.
pub fn explain_live(
    gateway: &Gateway,
    (policy, program): (&Policy, &Program),
    asked: &Asked,
    row: impl Fn(WorkerId, &Found) -> Connection,
) -> Result<Explained, Unanswered> {
    let packet = words(&asked.packet)?;
    if packet.state.is_some() {
        return Err(Unanswered::Wrong(format!(
            "packet: `{}` is asked of a running gateway, which has the connection or has it not; \
             leave `state` out",
            asked.packet
        )));
    }
    let after: Vec<Words> = asked
        .after
        .iter()
        .map(|text| words(text))
        .collect::<Result<_, _>>()?;
    let frame = packet.frame(None).unwrap_or_default();
    let found = find(gateway, &frame)?;
    let clock = gateway.clock();
    let now = clock.now();
    let apart = Arc::new(compile_apart(policy, program, now));
    let interface = interface_named(&apart, &asked.in_interface).map_err(Unanswered::Wrong)?;
    let mut explainer = Explainer::beside(Arc::clone(&apart), gateway.shared(), clock);
    if let Some((_, found)) = &found {
        explainer.take_in(&found.graft);
    }
    let mut play = Play::new(explainer);
    let mut before = Vec::new();
    for packet in after {
        let earlier = Earlier {
            in_interface: None,
            packet,
        };
        before.push(play.earlier(&earlier).map_err(Unanswered::Wrong)?);
    }
    let numbers = found.as_ref().and_then(|(_, found)| found.next_numbers);
    let followed = match numbers {
        Some(numbers) => play.send(interface, packet.segment_at(numbers).unwrap_or(frame)),
        None => play.packet(interface, &packet).map_err(Unanswered::Wrong)?,
    };
    let mut explanation = explained(&apart, interface, Some(&packet), &followed);
    explanation.packet = packet.to_string();
    explanation.after = before;
    let connection = found.as_ref().map(|(worker, found)| row(*worker, found));
    let standing = found.as_ref().map(|(_, found)| standing(found.standing));
    let text = shown(
        connection.as_ref(),
        standing.as_deref(),
        &explanation.to_string(),
    );
    Ok(Explained {
        generation: program.generation.0,
        connection,
        standing,
        explanation: serde_json::to_value(&explanation).unwrap_or_default(),
        text,
    })
}

fn words(text: &str) -> Result<Words, Unanswered> {
    Words::parse(text).map_err(|WordsError { column, message }| {
        Unanswered::Wrong(format!("packet: column {column} of `{text}`: {message}"))
    })
}

/// The live connection of a frame, and whose it is.
fn find(gateway: &Gateway, frame: &[u8]) -> Result<Option<(WorkerId, Found)>, Unanswered> {
    let workers = u8::try_from(gateway.worker_count()).unwrap_or(u8::MAX);
    for worker in (0..workers).map(WorkerId) {
        let found = gateway.find_connection(worker, frame);
        let found = found.map_err(|e| Unanswered::worker(worker, e))?;
        if let Some(found) = found {
            return Ok(Some((worker, found)));
        }
    }
    Ok(None)
}

fn standing(standing: Standing) -> String {
    match standing {
        Standing::Unjudged => "nothing is kept of its judgement: its next packet is held against \
                               every rule"
            .to_owned(),
        Standing::Outdated(generation) => {
            format!(
                "judged by generation {}: its next packet is judged again",
                generation.0
            )
        }
        Standing::Outcome => "its outcome is kept: no rule is looked at until something that it \
                              depends on changes"
            .to_owned(),
        Standing::Plan => {
            "its plan is kept: only rules that ask each packet are looked at".to_owned()
        }
    }
}

fn shown(connection: Option<&Connection>, standing: Option<&str>, explanation: &str) -> String {
    let mut text = String::new();
    match connection {
        Some(c) => {
            text.push_str(&format!(
                "connection {}: {} {} > {}, answered by {} > {}\n  state {}, flags {}, timeout \
                 {} s, {} packets and {} back",
                c.id,
                c.protocol,
                c.src_address,
                c.dst_address,
                c.reply_src_address,
                c.reply_dst_address,
                c.state,
                c.flags,
                c.timeout_seconds,
                c.orig.packets,
                c.repl.packets
            ));
            if let Some(name) = &c.connection_mark {
                text.push_str(&format!(", connection-mark {name}"));
            }
            if let Some(rule) = &c.rule {
                text.push_str(&format!("\n  admitted by {rule}"));
            }
            text.push_str(&format!("\n  {}\n", standing.unwrap_or_default()));
        }
        None => text.push_str("no live connection has this packet's addresses and ports\n"),
    }
    text.push_str(explanation);
    text
}
